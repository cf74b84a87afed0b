// SPDX-License-Identifier: Apache-2.0
// The border between the server and a decode process: the process read a stranger's bytes, so each
// of its records is checked as if the stranger had written it. Nothing but sizes, indexes, times
// and finite samples gets past here; pixels need no check, any byte is one. Loop thread, no state
// but the counters.
#include "decode_impl.h"

#include <math.h>
#include <string.h>

#define PTS_MAX ((int64_t)1 << 50)

static int bad(struct ls_err *err, const char *what)
{
    return ls_fail(err, LS_EDECODER, "the decode process broke its protocol: %s", what);
}

void ls_printable(char *text, size_t size)
{
    size_t i;

    text[size - 1] = '\0';
    for (i = 0; text[i]; i++) {
        if (text[i] < ' ' || text[i] > '~')
            text[i] = '?';
    }
}

static bool is_text(const char *text, size_t size)
{
    size_t i;

    for (i = 0; i < size && text[i]; i++) {
        if (text[i] < ' ' || text[i] > '~')
            return false;
    }
    return i < size;
}

int ls_check_video(const struct ls_decode_video *v, struct ls_err *err)
{
    uint8_t flag[2];

    memcpy(&flag[0], &v->constant_rate,
           1); // a bool that is neither 0 nor 1 must not be read as one
    memcpy(&flag[1], &v->full_range, 1);
    if (v->width_px < 1 || v->height_px < 1 || v->width_px > 65536 || v->height_px > 65536)
        return bad(err, "size");
    if (v->sar_num < 1 || v->sar_den < 1)
        return bad(err, "sample aspect");
    if (v->rate_num < 0 || v->rate_den < 1)
        return bad(err, "rate");
    if (flag[0] > 1 || flag[1] > 1 || (unsigned)v->matrix > LS_MATRIX_BT2020)
        return bad(err, "colour");
    if ((unsigned)v->pixel > LS_PIX_NV12)
        return bad(err, "pixel format");
    if (v->rotation_deg != 0 && v->rotation_deg != 90 && v->rotation_deg != 180 &&
        v->rotation_deg != 270)
        return bad(err, "rotation");
    if (v->duration < 0)
        return bad(err, "length");
    if (!is_text(v->codec, sizeof v->codec) || !is_text(v->container, sizeof v->container))
        return bad(err, "names");
    return 0;
}

int ls_check_audio(const struct ls_decode_audio *a, struct ls_err *err)
{
    if (a->sample_rate_hz < 8000 || a->sample_rate_hz > 96000 || a->channels < 1 || a->channels > 2)
        return bad(err, "sound format");
    if (a->duration < 0)
        return bad(err, "sound duration");
    if (!is_text(a->codec, sizeof a->codec) || !is_text(a->container, sizeof a->container))
        return bad(err, "names");
    return 0;
}

int ls_check_limits(const struct ls_decode_video *v, const struct ls_options *opt,
                    struct ls_err *err)
{
    int side = v->width_px > v->height_px ? v->width_px : v->height_px;
    int64_t pixels = (int64_t)v->width_px * v->height_px;

    if (v->width_px < 16 || v->height_px < 16)
        return ls_fail_field(err, LS_EMEDIA, "video",
                             "the video input is %dx%d; the least is 16x16", v->width_px,
                             v->height_px);
    if (side > opt->side_px_max)
        return ls_fail_field(err, LS_ELIMIT, "video",
                             "the video input is %dx%d; the limit for a side is %lld", v->width_px,
                             v->height_px, (long long)opt->side_px_max);
    if (pixels > opt->pixels_max)
        return ls_fail_field(err, LS_ELIMIT, "video",
                             "the video input is %dx%d; the limit for width times height is %lld",
                             v->width_px, v->height_px, (long long)opt->pixels_max);
    if (v->rate_num > (double)opt->rate_max * v->rate_den)
        return ls_fail_field(err, LS_ELIMIT, "video",
                             "the video input has %d/%d frames a second; the limit is %lld",
                             v->rate_num, v->rate_den, (long long)opt->rate_max);
    return 0;
}

int ls_check_frame(struct ls_decode_check *c, const struct ls_wire_frame *f, struct ls_err *err)
{
    if (!c->has_ring || c->pass_over)
        return bad(err, "a frame out of order");
    if (f->slot < 0 || f->slot >= c->slots || c->slot_out[f->slot])
        return bad(err, "slot");
    if (f->idx != c->next_idx || f->idx < 0)
        return bad(err, "frame index");
    if (c->frames == 0 ? f->pts != 0 : f->pts <= c->last_pts)
        return bad(err, "time");
    if (f->pts > PTS_MAX || f->duration < 1 || f->duration > PTS_MAX)
        return bad(err, "duration");
    c->slot_out[f->slot] = true;
    c->slots_out++;
    c->frames++;
    c->next_idx += c->backward ? -1 : 1;
    c->last_pts = f->pts;
    c->last_end = f->pts + f->duration;
    return 0;
}

int ls_check_sound(struct ls_decode_check *c, const uint8_t *payload, size_t size,
                   struct ls_err *err)
{
    struct ls_wire_sound s;
    size_t n, i;

    if (!c->has_info || c->pass_over)
        return bad(err, "sound out of order");
    if (size < sizeof s)
        return bad(err, "size of sound");
    memcpy(&s, payload, sizeof s);
    if (s.mono_count < 0 || s.voice_count < 0 || s.mono_count > LS_WIRE_BYTES_MAX ||
        s.voice_count > LS_WIRE_BYTES_MAX)
        return bad(err, "count of samples");
    n = (size_t)(s.mono_count + s.voice_count * c->channels);
    if (size != sizeof s + n * sizeof(float))
        return bad(err, "size of sound");
    for (i = 0; i < n; i++) {
        float x;

        memcpy(&x, payload + sizeof s + i * sizeof x, sizeof x);
        if (!isfinite(x))
            return bad(err, "a sample that is no number");
    }
    c->mono_count += s.mono_count;
    c->voice_count += s.voice_count;
    return 0;
}

int ls_check_end(struct ls_decode_check *c, const struct ls_decode_end *e, bool video,
                 struct ls_err *err)
{
    if (!c->has_info || c->pass_over)
        return bad(err, "an end out of order");
    if (e->frame_count != c->frames || (video && e->frame_count < 1))
        return bad(err, "count of frames");
    if (e->duration < 0 || e->duration > 2 * PTS_MAX || (video && e->duration < c->last_pts))
        return bad(err, "length");
    c->pass_over = true;
    c->first_pass_frames = c->frames;
    return 0;
}

int ls_check_warning(const struct ls_decode_warning *w, struct ls_err *err)
{
    size_t i;

    if (!is_text(w->text, sizeof w->text) || !is_text(w->reason, sizeof w->reason))
        return bad(err, "text of a warning");
    for (i = 0; w->reason[i]; i++) {
        if ((w->reason[i] < 'A' || w->reason[i] > 'Z') && w->reason[i] != '_')
            return bad(err, "reason of a warning");
    }
    return i ? 0 : bad(err, "reason of a warning");
}

void ls_check_again(struct ls_decode_check *c, bool backward)
{
    c->pass_over = false;
    c->backward = backward;
    c->frames = c->mono_count = c->voice_count = 0;
    c->next_idx = backward ? c->first_pass_frames - 1 : 0;
}
