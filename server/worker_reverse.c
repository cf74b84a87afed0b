// SPDX-License-Identifier: Apache-2.0
// The backward pass over a container's video, in constant memory: windows of frames, from the last
// to the first. A window is decoded forward from a key frame that the first pass marked
// (worker_video.c), its frames lie in the spool file behind the input, within the bytes that the
// server granted, and go out from there in reverse. A container that cannot be positioned exactly
// is decoded from its start instead.
#include "worker.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { WINDOW_MAX = 256 };

struct window {
    int64_t first, count;    // frames [first, first + count)
    int64_t pts[WINDOW_MAX]; // of the forward pass
    int64_t base;            // in the spool file
    uint8_t *buffer;         // one slot
};

static int store(struct ls_worker *w, struct ls_film *film, struct window *win, const AVFrame *f,
                 int64_t i, struct ls_err *err)
{
    int64_t size = w->ring.slot_bytes, done = 0;
    uint8_t *plane[3];
    int k, r;

    for (k = 0; k < 3; k++)
        plane[k] = win->buffer + w->ring.offset[k];
    r = ls_picture_put(&film->picture, f, plane, w->ring.stride, err);
    while (r == 0 && done < size) {
        ssize_t n = pwrite(w->spool, win->buffer + done, (size_t)(size - done),
                           win->base + i * size + done);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return ls_fail(err, LS_EIO, "no room on disk for a backward pass: %s", strerror(errno));
        done += n;
    }
    return r;
}

// Decodes until the window is full. exact: start at the mark, which must then be met. 1: it was
// not.
static int fill(struct ls_worker *w, struct ls_film *film, struct window *win, struct ls_input *in,
                const struct ls_mark *mark, AVFrame *f, struct ls_err *err)
{
    int64_t idx = 0, guess = 3600;
    bool met = !mark;
    int r;

    film->clock.offset = mark ? mark->offset : 0;
    film->clock.last = mark ? mark->pts - 1 : 0;
    film->clock.started = mark != NULL; // else the first frame starts it anew, at the same zero
    if (mark)
        idx = mark->idx;
    while (idx < win->first + win->count) {
        int64_t ts, pts;

        r = ls_input_next(in, f, err);
        if (r < 0)
            return r;
        if (r == 0)
            return mark ? 1
                        : ls_fail(err, LS_EMEDIA, "frame %lld is gone in a later pass",
                                  (long long)idx);
        ts = f->best_effort_timestamp;
        if (!met) {
            if (ts != AV_NOPTS_VALUE && ts < mark->ts)
                continue; // between the place that was found and the mark
            if (ts != mark->ts)
                return 1;
            met = true;
        }
        pts = ls_clock_pts(w, &film->clock, ts, guess);
        if (mark && idx == mark->idx && pts != mark->pts)
            return 1;
        if (idx >= win->first) {
            win->pts[idx - win->first] = pts;
            r = store(w, film, win, f, idx - win->first, err);
            if (r < 0)
                return r;
        }
        av_frame_unref(f);
        idx++;
    }
    return 0;
}

static int fill_window(struct ls_worker *w, struct ls_film *film, struct window *win,
                       const struct ls_sniff *sniff, struct ls_input *in, bool *seeks, AVFrame *f,
                       struct ls_err *err)
{
    const struct ls_mark *mark = NULL;
    int i, r;

    for (i = 0; i < film->mark_count && film->mark[i].idx <= win->first; i++)
        mark = &film->mark[i];
    if (*seeks && mark && mark->idx > 0 && ls_input_seek(in, mark->ts) >= 0) {
        r = fill(w, film, win, in, mark, f, err);
        if (r <= 0)
            return r;
        *seeks = false;
    }
    ls_input_close(in);
    // Read as in the first pass, so that the same frames come.
    r = ls_input_open(in, w, sniff, *seeks || sniff->moov_last, AVMEDIA_TYPE_VIDEO, err);
    return r < 0 ? r : fill(w, film, win, in, NULL, f, err);
}

// until: where the window's last frame ends, on the forward clock.
static int send_window(struct ls_worker *w, struct ls_film *film, struct window *win, int64_t until,
                       struct ls_err *err)
{
    int64_t size = w->ring.slot_bytes, i;

    for (i = win->count - 1; i >= 0; i--) {
        struct ls_wire_frame out = {0};
        int64_t done = 0;

        uint8_t *to = w->device ? w->stage : NULL;

        out.slot = ls_worker_slot(w);
        if (out.slot < 0)
            return ls_fail(err, LS_ECANCEL, "the server is gone");
        if (!to)
            to = w->map + out.slot * size;
        out.idx = win->first + i;
        out.pts = film->end - until;
        out.duration = until - win->pts[i];
        out.key = out.pts == 0;
        until = win->pts[i];
        while (done < size) {
            ssize_t n =
                pread(w->spool, to + done, (size_t)(size - done), win->base + i * size + done);

            if (n < 0 && errno == EINTR)
                continue;
            if (n <= 0)
                return ls_fail(err, LS_EIO, "the frames of a backward pass cannot be read: %s",
                               strerror(errno));
            done += n;
        }
        if (w->device && ls_worker_upload(w, out.slot, to, err) < 0)
            return LS_EDEVICE;
        ls_worker_send(w, LS_WIRE_FRAME, &out, sizeof out);
    }
    return 0;
}

int ls_film_backward(struct ls_worker *w, struct ls_film *film, const struct ls_sniff *sniff,
                     struct ls_err *err)
{
    int64_t fits = w->again.scratch_bytes / w->ring.slot_bytes, next = film->frame_count;
    int64_t until = film->end;
    struct window *win = calloc(1, sizeof *win);
    struct ls_input in = {0};
    struct ls_decode_end end = {film->frame_count, film->end};
    AVFrame *f = av_frame_alloc();
    bool seeks = true;
    int r = 0;

    if (win)
        win->buffer = malloc((size_t)w->ring.slot_bytes);
    if (!win || !f || !win->buffer) {
        r = ls_fail(err, LS_ENOMEM, "no memory for a backward pass");
        goto done;
    }
    if (fits < 1) {
        r = ls_fail(err, LS_ELIMIT,
                    "%lld bytes of disk are left to play the video backward; a frame has %lld",
                    (long long)w->again.scratch_bytes, (long long)w->ring.slot_bytes);
        goto done;
    }
    if (fits > WINDOW_MAX)
        fits = WINDOW_MAX;
    win->base = (w->available + 4095) / 4096 * 4096;
    r = ls_input_open(&in, w, sniff, true, AVMEDIA_TYPE_VIDEO, err);
    while (r == 0 && next > 0) {
        win->count = next < fits ? next : fits;
        win->first = next - win->count;
        r = fill_window(w, film, win, sniff, &in, &seeks, f, err);
        if (r == 0)
            r = send_window(w, film, win, until, err);
        until = win->pts[0];
        next = win->first;
    }
    (void)!ftruncate(w->spool, w->available); // the room behind the input is given back
    if (r == 0)
        ls_worker_send(w, LS_WIRE_END, &end, sizeof end);
done:
    ls_input_close(&in);
    av_frame_free(&f);
    if (win)
        free(win->buffer);
    free(win);
    return r;
}
