// SPDX-License-Identifier: Apache-2.0
// Admission: who may begin a session now, who waits for a place, who is refused; and what running
// sessions together may hold (pixels in memory, disk) and promise (live frames a second). Decided
// at header time, before anything of a call's body was read; what is known later (size, rate) is
// reserved later. Loop thread only.
#ifndef LS_ADMIT_H
#define LS_ADMIT_H

#include <stdbool.h>
#include <stdint.h>

#include "kernels/err.h"
#include "server/load.h"
#include "server/options.h"

struct uv_loop_s;
struct ls_admit;
struct ls_metrics;

// The order is that of precedence.
enum ls_class { LS_CLASS_INTERACTIVE, LS_CLASS_BATCH, LS_CLASSES };
const char *ls_class_name(enum ls_class class); // "interactive"

// A place in the line or in the house. Its owner keeps it in place from enter to leave; zeroed, it
// is out.
struct ls_place {
    enum ls_class class;
    // On the loop, never inside ls_admit_enter: at each change, and once a second while it waits.
    void (*on_turn)(struct ls_place *p);
    void *user;
    int position;      // its number in the line, from 1; 0: admitted. Changes come by on_turn
    struct ls_err err; // refused while waiting (time, drain): the place is left already
    int64_t waited_us; // until it was admitted or refused, or left the line
    // Private to admit.c.
    struct ls_admit *admit;
    struct ls_place_list *list; // that it is in
    struct ls_place *prev, *next;
    int64_t since_us, pixels;
    struct ls_load_demand demand;
    bool inside, live, changed;
};

// opt and metrics (may be NULL) are borrowed.
LS_MUST int ls_admit_open(struct ls_admit **out, struct uv_loop_s *loop,
                          const struct ls_options *opt, struct ls_metrics *metrics,
                          struct ls_err *err);
void ls_admit_close(struct ls_admit **a); // no place may be left
// How many lanes there are, when the back end has said so, and whether they run on the cores (else
// on a device). Before: opt->threads, on the cores.
void ls_admit_lanes(struct ls_admit *a, int lanes, bool on_cores);

// 0: admitted, or in the line (position > 0): on_turn tells of every change. LS_EBUSY: no place and
// no waiting; LS_EFULL: what sessions hold together is used up; LS_EDRAIN. An interactive call that
// finds the line full takes the place of the last one of class batch.
LS_MUST int ls_admit_enter(struct ls_admit *a, struct ls_place *place, enum ls_class class,
                           struct ls_err *err);
// In the line or inside; gives back all that was reserved. Harmless on one that is out.
void ls_admit_leave(struct ls_place *place);
// Its work is over: frames and promise are given back. The place stays, for output that is not read
// yet.
void ls_admit_rest(struct ls_place *place);
// Those in the line are refused, nobody enters any more.
void ls_admit_drain(struct ls_admit *a);

// Reserves frames in memory: LS_EFULL beyond --pixels-total-max.
LS_MUST int ls_admit_pixels(struct ls_place *place, int64_t pixels, struct ls_err *err);
// Promises a live stream its frames: LS_ELIVE if the lanes or cores cannot keep them beside what is
// promised already. Once a place.
LS_MUST int ls_admit_live(struct ls_place *place, double frames_per_second, int64_t pixels,
                          struct ls_err *err);
// Before its size and rate are known: LS_ELIVE where not even a stream like the least that ran of
// late would be promised; else so much is held for it until then. So callers too many are told
// before anything of theirs was taken.
LS_MUST int ls_admit_live_hope(struct ls_place *place, struct ls_err *err);

// What load.c learns from: microseconds of lane time and of core time that `frames` frames of
// `pixels` each took. From sessions, as work comes back. frames may be 0: work that belongs to
// those before or after.
void ls_admit_learn_lane(struct ls_admit *a, int64_t lane_us, int frames);
void ls_admit_learn_core(struct ls_admit *a, int64_t core_us, int frames, int64_t pixels);
// A live frame left this long after its inputs were there. Those beyond --live-lag-max are counted
// as late and close the door for further live streams for some seconds.
void ls_admit_live_lag(struct ls_admit *a, int64_t lag_us);

struct ls_admit_state {
    int inside[LS_CLASSES], waiting[LS_CLASSES], live;
    int places_max, batch_places_max, queue_max;
    int64_t pixels, pixels_max;
    double lane_load, core_load; // promised to live streams, shares of what --live-load-max allows
};
void ls_admit_state(const struct ls_admit *a, struct ls_admit_state *out);

#endif
