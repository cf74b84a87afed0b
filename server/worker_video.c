// SPDX-License-Identifier: Apache-2.0
// The forward pass over a container's video: frames in shown order, with times on one clock of
// 1/90000 s that starts at the first shown frame and rises strictly. A frame goes out as soon as
// its duration is known: at once at a constant rate, else when the next one has come. Frames
// between which the clock must be repaired (times that go back, jump, or are missing) are kept; a
// warning says so.
#include "worker.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

#include <libavutil/display.h>

enum { SECOND = 90000 };             // ticks
#define TICKS_MAX ((int64_t)1 << 48) // 99 years: a time beyond it is not one
static const AVRational tick = {1, SECOND};

static int64_t on_grid(AVRational rate, int64_t n)
{
    return av_rescale(n, (int64_t)SECOND * rate.den, rate.num);
}

static int64_t grid_idx(AVRational rate, int64_t ticks)
{
    return av_rescale(ticks, rate.num, (int64_t)SECOND * rate.den);
}

// Containers with coarse times (Matroska: 1 ms) round; a constant rate tells where the frame truly
// is.
static int64_t snap(const struct ls_clock *c, int64_t ticks)
{
    int64_t unit = av_rescale_q_rnd(1, c->base, tick, AV_ROUND_UP);
    int64_t grid;

    if (c->rate.num <= 0)
        return ticks;
    grid = on_grid(c->rate, grid_idx(c->rate, ticks));
    return llabs(grid - ticks) <= unit ? grid : ticks;
}

int64_t ls_clock_pts(struct ls_worker *w, struct ls_clock *c, int64_t ts, int64_t guess)
{
    const char *wrong = NULL;
    int64_t ticks;

    if (!c->started) {
        c->zero = ts == AV_NOPTS_VALUE ? 0 : ts;
        c->started = true;
        c->last = 0;
        return 0;
    }
    if (ts == AV_NOPTS_VALUE) {
        ticks = c->last + guess;
    } else {
        ticks = av_rescale_q(av_sat_sub64(ts, c->zero), c->base, tick);
        if (ticks > TICKS_MAX || ticks < -TICKS_MAX || llabs(c->offset) > TICKS_MAX) {
            ticks = c->last + guess;
            wrong = "out of range";
        } else {
            ticks = snap(c, ticks) + c->offset;
        }
        if (ticks + SECOND <= c->last) { // a new start: its times follow on
            c->offset += c->last + guess - ticks;
            ticks = c->last + guess;
            wrong = "going back";
        } else if (ticks <= c->last) {
            ticks = c->last + 1;
            wrong = "not rising";
        }
    }
    if (wrong && !c->warned) {
        c->warned = true;
        ls_worker_warn(w, "TIMESTAMPS", "timestamps %s near %.3f s were repaired", wrong,
                       (double)c->last / SECOND);
    }
    c->last = ticks;
    return ticks;
}

// Into a slot on the device: from the decoder's own memory, or by way of the host.
static int put_on_device(struct ls_worker *w, struct ls_film *film, const AVFrame *frame,
                         int64_t slot, struct ls_err *err)
{
    const struct ls_frame shape = {
        .width_px = frame->width, .height_px = frame->height, .format = film->picture.work};
    uint8_t *plane[3];
    int i, r;

    for (i = 0; i < 3; i++)
        plane[i] = w->stage + w->ring.offset[i];
    if (!ls_picture_direct(&film->picture, frame)) {
        r = ls_picture_put(&film->picture, frame, plane, w->ring.stride, err);
        return r < 0 ? r : ls_worker_upload(w, slot, w->stage, err);
    }
    for (i = 0, r = 0; i < ls_frame_planes(shape.format) && r == 0; i++) {
        struct ls_copy copy = {.to = w->map + slot * w->ring.slot_bytes + w->ring.offset[i],
                               .from = frame->data[i],
                               .to_stride = (size_t)w->ring.stride[i],
                               .from_stride = (size_t)frame->linesize[i],
                               .row_size = (size_t)ls_frame_row_size(&shape, i),
                               .row_count = ls_frame_row_count(&shape, i),
                               .to_device = true,
                               .from_device = true};

        r = w->device->copy(w->device->user, &copy, err);
    }
    return r;
}

int ls_film_emit(struct ls_worker *w, struct ls_film *film, const AVFrame *frame, int64_t idx,
                 int64_t pts, int64_t duration, struct ls_err *err)
{
    struct ls_wire_frame out = {0};
    uint8_t *plane[3];
    int i, r;

    out.slot = ls_worker_slot(w);
    if (out.slot < 0)
        return ls_fail(err, LS_ECANCEL, "the server is gone");
    out.idx = idx;
    out.pts = pts;
    out.duration = duration > 0 ? duration : 1;
    out.key = pts == 0;
    if (w->device) {
        r = put_on_device(w, film, frame, out.slot, err);
    } else {
        for (i = 0; i < 3; i++)
            plane[i] = w->map + out.slot * w->ring.slot_bytes + w->ring.offset[i];
        r = ls_picture_put(&film->picture, frame, plane, w->ring.stride, err);
    }
    if (r < 0)
        return r;
    ls_worker_send(w, LS_WIRE_FRAME, &out, sizeof out);
    if (film->picture.scaled && !film->warned_scaled) {
        film->warned_scaled = true;
        ls_worker_warn(w, "SIZE_CHANGED",
                       "from frame %lld on the picture is %dx%d; it is scaled to %dx%d",
                       (long long)idx, frame->width, frame->height, film->picture.in_width,
                       film->picture.in_height);
    }
    return 0;
}

int ls_film_start(struct ls_worker *w, struct ls_film *film, struct ls_err *err)
{
    const struct ls_decode_video *v = &film->info;
    int side = v->width_px > v->height_px ? v->width_px : v->height_px;

    if (side > w->job.side_px_max || (int64_t)v->width_px * v->height_px > w->job.pixels_max)
        return ls_fail(
            err, LS_ELIMIT,
            "it is %dx%d; the limits are %lld for a side and %lld for width times height",
            v->width_px, v->height_px, (long long)w->job.side_px_max, (long long)w->job.pixels_max);
    ls_worker_send(w, LS_WIRE_VIDEO, v, sizeof *v);
    return ls_worker_map(w, err);
}

static bool valid(AVRational r)
{
    return r.num > 0 && r.den > 0;
}

static void find_rate(struct ls_film *film, const AVStream *st)
{
    AVRational real = st->r_frame_rate, mean = st->avg_frame_rate;
    double ratio = valid(real) && valid(mean) ? av_q2d(real) / av_q2d(mean) : 0;

    // Means over the few frames that were seen so far are off by their rounding.
    film->info.constant_rate = ratio > 0.995 && ratio < 1.005;
    if (!film->info.constant_rate)
        real = valid(mean) ? mean : (AVRational){0, 1};
    av_reduce(&real.num, &real.den, real.num, real.den, INT_MAX);
    film->info.rate_num = real.num;
    film->info.rate_den = real.num ? real.den : 1;
}

static int64_t declared_duration(const struct ls_input *in)
{
    int64_t ticks = 0;

    if (in->stream->duration != AV_NOPTS_VALUE)
        ticks = av_rescale_q(in->stream->duration, in->stream->time_base, tick);
    else if (in->fmt->duration != AV_NOPTS_VALUE)
        ticks = av_rescale_q(in->fmt->duration, AV_TIME_BASE_Q, tick);
    return ticks > 0 && ticks < TICKS_MAX ? ticks : 0;
}

static int begin(struct ls_input *in, struct ls_film *film, const AVFrame *f, struct ls_err *err)
{
    AVStream *st = in->stream;
    const AVFrameSideData *side = av_frame_get_side_data(f, AV_FRAME_DATA_DISPLAYMATRIX);
    size_t size = 0;
    const uint8_t *data = av_stream_get_side_data(st, AV_PKT_DATA_DISPLAYMATRIX, &size);
    int32_t matrix[9];
    bool turned = true;
    struct ls_turn turn;
    int r;

    if (data && size >= sizeof matrix)
        memcpy(matrix, data, sizeof matrix);
    else if (side && side->size >= sizeof matrix)
        memcpy(matrix, side->data, sizeof matrix);
    else
        turned = false;
    turn = ls_turn_matrix(turned ? matrix : NULL);
    r = ls_picture_init(&film->picture, f, &turn,
                        av_guess_sample_aspect_ratio(in->fmt, st, (AVFrame *)f),
                        in->w->job.params.work, err);
    if (r < 0)
        return r;
    film->info = film->picture.info;
    film->info.duration = declared_duration(in);
    find_rate(film, st);
    snprintf(film->info.codec, sizeof film->info.codec, "%s", avcodec_get_name(in->dec->codec_id));
    snprintf(film->info.container, sizeof film->info.container, "%.*s",
             (int)strcspn(in->fmt->iformat->name, ","), in->fmt->iformat->name);
    return ls_film_start(in->w, film, err);
}

static void add_mark(struct ls_film *film, int64_t ts, int64_t idx, int64_t pts)
{
    struct ls_mark *m = film->mark;
    int i;

    if (film->mark_count > 0 && idx - m[film->mark_count - 1].idx < film->mark_spacing)
        return;
    if (film->mark_count == LS_MARKS_MAX) { // every second one is enough from here on
        for (i = 0; i < LS_MARKS_MAX / 2; i++)
            m[i] = m[2 * i];
        film->mark_count = LS_MARKS_MAX / 2;
        film->mark_spacing = 2 * (idx / film->mark_count);
    }
    m[film->mark_count++] = (struct ls_mark){ts, idx, pts, film->clock.offset};
}

// One pass. The held frame waits for its successor to know its duration.
struct pass {
    struct ls_input in;
    AVFrame *held;
    int64_t held_pts, held_duration; // what its packet says, in ticks, or 0
    int64_t count, last_gap, end;
    bool is_held;
};

static int flush_held(struct ls_worker *w, struct ls_film *film, struct pass *p, int64_t duration,
                      struct ls_err *err)
{
    int r = ls_film_emit(w, film, p->held, p->count - 1, p->held_pts, duration, err);

    av_frame_unref(p->held);
    p->is_held = false;
    p->end = p->held_pts + (duration > 0 ? duration : 1);
    return r;
}

static int64_t packet_ticks(const struct pass *p, const AVFrame *f)
{
    int64_t ticks = av_rescale_q(f->pkt_duration, p->in.stream->time_base, tick);

    return ticks > 0 && ticks < TICKS_MAX ? ticks : 0;
}

static int take_frame(struct ls_worker *w, struct ls_film *film, struct pass *p, AVFrame *f,
                      struct ls_err *err)
{
    const struct ls_clock *c = &film->clock;
    int64_t nominal = valid(c->rate) ? on_grid(c->rate, 1) : 0;
    int64_t guess = p->last_gap > 0 ? p->last_gap : nominal > 0 ? nominal : SECOND / 25;
    int64_t pts = ls_clock_pts(w, &film->clock, f->best_effort_timestamp, guess);
    int r = 0;

    if (p->is_held) {
        p->last_gap = pts - p->held_pts;
        r = flush_held(w, film, p, p->last_gap, err);
        if (r < 0)
            return r;
    } else if (p->count > 0) {
        p->last_gap = pts - p->held_pts;
    }
    if (w->job.params.keep && (f->flags & AV_FRAME_FLAG_CORRUPT) == 0 && f->key_frame &&
        f->best_effort_timestamp != AV_NOPTS_VALUE && film->frame_count == 0)
        add_mark(film, f->best_effort_timestamp, p->count, pts);
    if (f->interlaced_frame && !film->warned_interlaced) {
        film->warned_interlaced = true;
        ls_worker_warn(w, "INTERLACED",
                       "the video is interlaced; its two fields are shown as one frame");
    }
    p->count++;
    p->held_pts = pts;
    p->held_duration = packet_ticks(p, f);
    p->is_held = true;
    av_frame_move_ref(p->held, f);
    if (nominal > 0 && llabs(p->held_duration - nominal) <= nominal / 20)
        r = flush_held(w, film, p, on_grid(c->rate, grid_idx(c->rate, pts) + 1) - pts, err);
    return r;
}

static int finish(struct ls_worker *w, struct ls_film *film, struct pass *p, struct ls_err *err)
{
    struct ls_decode_end end;
    int64_t last = p->held_duration > 0      ? p->held_duration
                   : p->last_gap > 0         ? p->last_gap
                   : valid(film->clock.rate) ? on_grid(film->clock.rate, 1)
                                             : SECOND / 25;
    int r = 0;

    if (p->count == 0)
        return ls_fail(err, LS_EMEDIA,
                       "none of its frames can be decoded (%lld broken packets)%s%s",
                       (long long)p->in.corrupt_count, w->log[0] ? "; " : "", w->log);
    if (p->is_held)
        r = flush_held(w, film, p, last, err);
    if (r < 0)
        return r;
    if (film->frame_count == 0) {
        if (p->in.corrupt_count > 0)
            ls_worker_warn(w, "CORRUPT_PACKETS", "%lld packets of the video are broken",
                           (long long)p->in.corrupt_count);
        if (p->in.cut_off)
            ls_worker_warn(w, "TRUNCATED", "the video is cut off; %s", w->log);
        film->frame_count = p->count;
        film->end = p->end;
    }
    end = (struct ls_decode_end){.frame_count = p->count, .duration = p->end};
    ls_worker_send(w, LS_WIRE_END, &end, sizeof end);
    return 0;
}

int ls_film_forward(struct ls_worker *w, struct ls_film *film, const struct ls_sniff *sniff,
                    struct ls_err *err)
{
    struct pass p = {0};
    AVFrame *f = av_frame_alloc();
    int r;

    p.held = av_frame_alloc();
    if (!f || !p.held) {
        r = ls_fail(err, LS_ENOMEM, "no memory for a frame");
        goto done;
    }
    // The same way in every pass, so that every pass gives the same frames.
    r = ls_input_open(&p.in, w, sniff, sniff->moov_last, AVMEDIA_TYPE_VIDEO, err);
    if (r < 0)
        goto done;
    for (;;) {
        r = ls_input_next(&p.in, f, err);
        if (r <= 0)
            break;
        if (p.count == 0) {
            if (film->frame_count == 0)
                r = begin(&p.in, film, f, err);
            if (r < 0)
                break;
            film->clock = (struct ls_clock){.base = p.in.stream->time_base, .rate = {0, 1}};
            if (film->info.constant_rate)
                film->clock.rate = (AVRational){film->info.rate_num, film->info.rate_den};
        }
        r = take_frame(w, film, &p, f, err);
        if (r < 0)
            break;
    }
    if (r == 0)
        r = finish(w, film, &p, err);
done:
    ls_input_close(&p.in);
    av_frame_free(&f);
    av_frame_free(&p.held);
    return r;
}
