// SPDX-License-Identifier: Apache-2.0
// Makes clips for the encoder's tests: a moving picture and a voice that are functions of the
// frame's and the sample's number, given to an encoder in a chosen order of calls. Header only; one
// thread.
#ifndef LS_TEST_ENCODE_H
#define LS_TEST_ENCODE_H

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server/encode.h"
#include "tests/unit/_check.h"

enum enc_order { ENC_IN_STEP, ENC_SOUND_FIRST, ENC_PICTURE_FIRST, ENC_RANDOM, ENC_ORDERS };

struct enc_piece {
    struct ls_media media; // data: offset in bytes is `at`, not a pointer
    size_t at;
    int frames_given; // before it came
};
struct enc_out {
    uint8_t *bytes;
    size_t size;
    struct enc_piece *piece;
    int piece_count;
    int64_t offset;
};
struct enc_clip {
    struct ls_encode_params params;
    int frame_count;
    const int64_t *pts; // [frame_count + 1], the last one the end; NULL: by the nominal rate
    int sample_count;
    bool sound_end; // say so after the last sample
};

static inline struct ls_encode_params enc_params(void)
{
    return (struct ls_encode_params){.container = LS_CONTAINER_FMP4,
                                     .video = LS_VIDEO_H264,
                                     .audio = LS_AUDIO_AAC,
                                     .crf = 20,
                                     .speed = LS_SPEED_SUPERFAST,
                                     .latency = LS_LATENCY_NORMAL,
                                     .threads = 1,
                                     .chunk_bytes_max = 1 << 20,
                                     .width_px = 160,
                                     .height_px = 112,
                                     .format = LS_PIX_I420,
                                     .matrix = LS_MATRIX_BT601,
                                     .sar_num = 1,
                                     .sar_den = 1,
                                     .rate_num = 25,
                                     .rate_den = 1,
                                     .sample_rate_hz = 16000,
                                     .channels = 1};
}

static inline int64_t enc_pts(const struct enc_clip *c, int n)
{
    if (c->pts)
        return c->pts[n];
    return (90000ll * n * c->params.rate_den + c->params.rate_num / 2) / c->params.rate_num;
}

// Any sample, all channels alike but for their level: tones that never repeat within a clip.
static inline float enc_sample(int rate_hz, int i, int channel)
{
    double t = (double)i / rate_hz;
    return (float)(0.3 * sin(6.28318530718 * (200 + 40 * t) * t) / (1 + channel) +
                   0.1 * sin(6.28318530718 * 1100 * t));
}

static inline int enc_row_size(const struct ls_frame *f, int plane)
{
    if (f->format == LS_PIX_RGB24)
        return 3 * f->width_px;
    return plane ? (f->width_px + 1) / 2 : f->width_px;
}

static inline int enc_rows(const struct ls_frame *f, int plane)
{
    return plane ? (f->height_px + 1) / 2 : f->height_px;
}

// Fresh memory of exactly the needed size (so that reading beyond is seen by AddressSanitizer),
// with strides wider than the rows.
static inline void enc_picture(struct ls_frame *f, const struct ls_encode_params *p, int n)
{
    *f = (struct ls_frame){.width_px = p->width_px,
                           .height_px = p->height_px,
                           .format = p->format,
                           .matrix = p->matrix,
                           .full_range = p->full_range};
    for (int i = 0; i < (p->format == LS_PIX_RGB24 ? 1 : 3); i++) {
        int size = enc_row_size(f, i), rows = enc_rows(f, i);
        f->stride[i] = size + 13;
        f->plane[i] = malloc((size_t)f->stride[i] * (size_t)(rows - 1) + (size_t)size);
        if (!f->plane[i])
            abort();
        for (int y = 0; y < rows; y++) {
            for (int x = 0; x < size; x++)
                f->plane[i][y * f->stride[i] + x] =
                    (uint8_t)(128 + 70 * sin(0.05 * (x + 2 * n)) * cos(0.07 * y + i));
        }
    }
}

static inline void enc_picture_free(struct ls_frame *f)
{
    for (int i = 0; i < 3; i++) {
        if (f->plane[i]) // what comes out must not depend on this memory any more
            memset(f->plane[i], 0x5a, 1);
        free(f->plane[i]);
        f->plane[i] = NULL;
    }
}

static inline void enc_take(struct ls_encode *e, struct enc_out *out, int frames_given)
{
    struct ls_media m;

    while (ls_encode_pop(e, &m)) {
        out->bytes = realloc(out->bytes, out->size + m.size);
        out->piece = realloc(out->piece, sizeof *out->piece * (size_t)(out->piece_count + 1));
        if (!out->bytes || !out->piece)
            abort();
        memcpy(out->bytes + out->size, m.data, m.size);
        free(m.data);
        m.data = NULL;
        out->piece[out->piece_count++] =
            (struct enc_piece){.media = m, .at = out->size, .frames_given = frames_given};
        out->size += m.size;
    }
}

static inline void enc_out_free(struct enc_out *out)
{
    free(out->bytes);
    free(out->piece);
    *out = (struct enc_out){0};
}

static inline int enc_give_sound(struct ls_encode *e, const struct enc_clip *c, int first,
                                 int count, struct ls_err *err)
{
    int channels = c->params.channels, r;
    float *s = malloc(sizeof *s * (size_t)(count * channels + 1));

    if (!s)
        abort();
    for (int i = 0; i < count * channels; i++)
        s[i] = enc_sample(c->params.sample_rate_hz, first + i / channels, i % channels);
    r = ls_encode_sound(e, s, count, err);
    free(s);
    if (r >= 0 && c->sound_end && first + count == c->sample_count)
        r = ls_encode_sound_end(e, err);
    return r;
}

static inline int enc_give_frame(struct ls_encode *e, const struct enc_clip *c, int n,
                                 struct ls_err *err)
{
    struct ls_frame f;
    int r;

    enc_picture(&f, &c->params, n);
    r = ls_encode_frame(e, &f, enc_pts(c, n), enc_pts(c, n + 1) - enc_pts(c, n), err);
    enc_picture_free(&f);
    return r;
}

// Which comes next: true: sound.
static inline bool enc_sound_next(const struct enc_clip *c, enum enc_order order, int frames,
                                  int samples, unsigned *seed)
{
    if (samples == c->sample_count || frames == c->frame_count)
        return samples < c->sample_count;
    *seed = *seed * 1664525u + 1013904223u;
    switch (order) {
    case ENC_SOUND_FIRST:
        return true;
    case ENC_PICTURE_FIRST:
        return false;
    case ENC_RANDOM:
        return *seed >> 31;
    default:
        return samples * 90000ll < enc_pts(c, frames + 1) * c->params.sample_rate_hz;
    }
}

// Encodes the clip. chunk: samples in a call; 0: of many sizes.
static inline int enc_run(const struct enc_clip *c, enum enc_order order, int chunk,
                          struct enc_out *out, struct ls_err *err)
{
    struct ls_encode *e = NULL;
    unsigned seed = 12345u + (unsigned)chunk;
    int frames = 0, samples = 0, r;

    *out = (struct enc_out){0};
    r = ls_encode_open(&e, &c->params, err);
    while (r >= 0 && (frames < c->frame_count || samples < c->sample_count)) {
        if (enc_sound_next(c, order, frames, samples, &seed)) {
            int count = chunk ? chunk : 1 + (int)(seed >> 19 & 4095);
            if (count > c->sample_count - samples)
                count = c->sample_count - samples;
            r = enc_give_sound(e, c, samples, count, err);
            samples += count;
        } else {
            r = enc_give_frame(e, c, frames++, err);
        }
        if (order != ENC_RANDOM || seed & 256)
            enc_take(e, out, frames);
    }
    if (r >= 0)
        r = ls_encode_finish(e, err);
    if (r >= 0) {
        enc_take(e, out, frames);
        out->offset = ls_encode_offset(e);
    }
    ls_encode_close(&e);
    return r;
}

#endif
