// SPDX-License-Identifier: Apache-2.0
// Raw frames (I420 or RGB24, rows without gaps, one after the other) from the spool into the ring,
// at the constant rate that the caller gave. No FFmpeg unless the work format differs. Backward is
// a matter of where to read. A rest that is no whole frame is left out with a warning.
#include "worker.h"

#include <string.h>

#include <libavutil/imgutils.h>

static int frame_bytes(const struct ls_decode_params *p)
{
    return av_image_get_buffer_size(p->pixel == LS_PIX_RGB24 ? AV_PIX_FMT_RGB24
                                                             : AV_PIX_FMT_YUV420P,
                                    p->width_px, p->height_px, 1);
}

// The clock of a constant rate: exact, never a sum of rounded durations.
static int64_t at(const struct ls_decode_params *p, int64_t idx)
{
    return av_rescale(idx, (int64_t)90000 * p->rate_den, p->rate_num);
}

static int start(struct ls_worker *w, struct ls_film *film, AVFrame *f, struct ls_err *err)
{
    const struct ls_decode_params *p = &w->job.params;
    struct ls_turn none = {0};
    int r;

    r = ls_picture_init(&film->picture, f, &none, (AVRational){1, 1}, p->work, err);
    if (r < 0)
        return r;
    film->info = film->picture.info;
    film->info.rate_num = p->rate_num;
    film->info.rate_den = p->rate_den;
    film->info.constant_rate = true;
    strcpy(film->info.codec, "rawvideo");
    strcpy(film->info.container, "raw");
    return ls_film_start(w, film, err);
}

static int emit_all(struct ls_worker *w, struct ls_film *film, AVFrame *f, bool backward,
                    struct ls_decode_end *end, struct ls_err *err)
{
    const struct ls_decode_params *p = &w->job.params;
    int size = frame_bytes(p), got = 0, r;
    int64_t total = film->end;
    int64_t i;

    for (i = 0; !backward || i < film->frame_count; i++) {
        int64_t idx = backward ? film->frame_count - 1 - i : i;
        int64_t pts = backward ? total - at(p, idx + 1) : at(p, idx);

        got = ls_worker_read(w, idx * size, f->data[0], size);
        if (got < size)
            break;
        r = ls_film_emit(w, film, f, idx, pts, at(p, idx + 1) - at(p, idx), err);
        if (r < 0)
            return r;
    }
    if (i == 0)
        return ls_fail(err, LS_EMEDIA, "it has %d bytes; a frame has %d", got, size);
    if (film->frame_count == 0 && got > 0)
        ls_worker_warn(w, "TRUNCATED", "the last %d bytes are no whole frame of %d", got, size);
    end->frame_count = i;
    end->duration = at(p, i);
    return 0;
}

int ls_raw_pass(struct ls_worker *w, struct ls_film *film, bool backward, struct ls_err *err)
{
    const struct ls_decode_params *p = &w->job.params;
    int size = frame_bytes(p);
    struct ls_decode_end end = {0};
    AVFrame *f = av_frame_alloc();
    int r = 0;

    if (size <= 0 || p->rate_num <= 0 || p->rate_den <= 0) {
        r = ls_fail(err, LS_EMEDIA, "frames of %dx%d at %d/%d are none", p->width_px, p->height_px,
                    p->rate_num, p->rate_den);
        goto done;
    }
    if (f)
        f->buf[0] = av_buffer_alloc((size_t)size + 64);
    if (!f || !f->buf[0]) {
        r = ls_fail(err, LS_ENOMEM, "no memory for a frame of %d bytes", size);
        goto done;
    }
    f->format = p->pixel == LS_PIX_RGB24 ? AV_PIX_FMT_RGB24 : AV_PIX_FMT_YUV420P;
    f->width = p->width_px;
    f->height = p->height_px;
    av_image_fill_arrays(f->data, f->linesize, f->buf[0]->data, f->format, f->width, f->height, 1);
    w->rewinds = p->keep;
    if (!w->map)
        r = start(w, film, f, err);
    if (r == 0)
        r = emit_all(w, film, f, backward, &end, err);
    if (r == 0) {
        film->frame_count = end.frame_count;
        film->end = end.duration;
        ls_worker_send(w, LS_WIRE_END, &end, sizeof end);
    }
done:
    av_frame_free(&f);
    return r;
}
