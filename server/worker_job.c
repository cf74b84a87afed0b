// SPDX-License-Identifier: Apache-2.0
// The order of work on one input: what it is, then pass after pass as the server asks for them.
// Runs in a decode process, or on a decode thread of the server.
#include "worker.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static _Thread_local struct ls_worker *speaker; // FFmpeg's log callback has no other way to it

// Keeps the last complaint, printable and without addresses, for the error that may follow.
void ls_worker_log(void *context, int level, const char *fmt, va_list args)
{
    char line[sizeof speaker->log];
    size_t i;

    (void)context;
    if (level > AV_LOG_ERROR || !speaker)
        return;
    vsnprintf(line, sizeof line, fmt, args);
    line[strcspn(line, "\n")] = '\0';
    for (i = 0; line[i]; i++) {
        if (line[i] < ' ' || line[i] > '~')
            line[i] = '?';
    }
    // Of several, the one with the numbers is kept (worker_still.c looks for it).
    if (line[0] && !strstr(speaker->log, "Picture size"))
        memcpy(speaker->log, line, sizeof line);
}

static int run_film(struct ls_worker *w, const struct ls_sniff *sniff, struct ls_err *err)
{
    enum ls_source source = w->job.params.source;
    struct ls_film *film = calloc(1, sizeof *film);
    bool backward = false;
    int r;

    if (!film)
        return ls_fail(err, LS_ENOMEM, "no memory for a video");
    for (;;) {
        if (source == LS_SOURCE_FRAMES)
            r = ls_raw_pass(w, film, backward, err);
        else if (source == LS_SOURCE_STILL)
            r = ls_still_pass(w, film, err);
        else if (backward)
            r = ls_film_backward(w, film, sniff, err);
        else
            r = ls_film_forward(w, film, sniff, err);
        if (r < 0 || !w->job.params.keep)
            break;
        while (!w->has_again && !w->gone)
            ls_worker_order(w, true);
        if (w->gone)
            break;
        w->has_again = false;
        backward = w->again.backward;
    }
    ls_picture_done(&film->picture);
    free(film);
    return r;
}

static int run_sound(struct ls_worker *w, const struct ls_sniff *sniff, struct ls_err *err)
{
    int r;

    for (;;) {
        r = ls_sound_pass(w, sniff, err);
        if (r < 0 || !w->job.params.keep)
            return r;
        while (!w->has_again && !w->gone)
            ls_worker_order(w, true);
        if (w->gone)
            return 0;
        w->has_again = false;
    }
}

static int run(struct ls_worker *w, struct ls_err *err)
{
    const struct ls_decode_params *p = &w->job.params;
    struct ls_sniff sniff = {0};
    int r;

    w->rewinds = true; // nothing is read for good yet
    if (p->source == LS_SOURCE_CONTAINER) {
        r = ls_sniff_input(w, &sniff, err);
        if (r < 0)
            return r;
        if (sniff.still)
            return ls_fail(err, LS_ECODEC, "it is a picture (%s), not a %s", sniff.still,
                           p->video ? "video: send it as `still`" : "voice");
        if (!sniff.container)
            return ls_fail(err, LS_ECODEC, "%s is not accepted", sniff.other);
    }
    return p->video ? run_film(w, &sniff, err) : run_sound(w, &sniff, err);
}

void ls_worker_run(struct ls_worker *w)
{
    struct ls_err err = {0};
    struct ls_wire_error out = {0};

    speaker = w;
    while (!w->has_job && !w->gone)
        ls_worker_order(w, true);
    if (!w->gone && run(w, &err) < 0) {
        out.code = err.code;
        snprintf(out.text, sizeof out.text, "%s", err.text);
        ls_worker_send(w, LS_WIRE_ERROR, &out, sizeof out);
    }
    free(w->stage);
    w->stage = NULL;
    speaker = NULL;
}
