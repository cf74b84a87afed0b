// SPDX-License-Identifier: Apache-2.0
// What a person sees while the call runs: a bar on a terminal, plain lines or JSON lines elsewhere.
// Main thread. Everything else that is printed meanwhile goes through ls_view_line, which takes the
// bar away and lets it come back below.
#ifndef LS_CLIENT_VIEW_H
#define LS_CLIENT_VIEW_H

#include <stdbool.h>
#include <stdio.h>

#include <lipstream/v1/lip_sync.pb-c.h>

#include "client/options.h"

struct ls_view {
    FILE *to;
    enum ls_progress_mode mode; // never AUTO after ls_view_open
    bool utf8;
    bool shown; // a bar stands on the last line
    int turn;   // of the bar that has no end yet
    // The last progress message's numbers.
    int stage, queue;
    int64_t frames_out, frames_total;
    double frames_per_s, eta_s; // eta -1: not known
    double eta_at_s;            // when it was told
};

// AUTO: bar if `to` is a terminal that can move its cursor, else plain lines.
void ls_view_open(struct ls_view *view, FILE *to, enum ls_progress_mode mode);
void ls_view_progress(struct ls_view *view, const Lipstream__V1__Progress *progress, double now_s);
// Redraws the bar; call it every 0.1 s while ls_view_moves.
void ls_view_tick(struct ls_view *view, double now_s);
bool ls_view_moves(const struct ls_view *view);
// A line of its own, cleaned for a terminal.
void ls_view_line(struct ls_view *view, const char *fmt, ...) LS_PRINTF(2, 3);
void ls_view_clear(struct ls_view *view); // takes the bar away

#endif
