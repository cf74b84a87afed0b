// SPDX-License-Identifier: Apache-2.0
// Output without a container: raw frames come out bit for bit, tightly packed and cut to the
// message's size, and converted between I420 and RGB24 by the formulas of the matrix and range that
// were named.
#include "server/encode.h"
#include "tests/unit/_encode.h"

// Every row of every plane, packed.
static uint8_t *packed(const struct ls_frame *f, size_t *size)
{
    uint8_t *all = NULL;

    *size = 0;
    for (int i = 0; i < 3 && f->plane[i]; i++) {
        for (int y = 0; y < enc_rows(f, i); y++) {
            size_t row = (size_t)enc_row_size(f, i);
            all = realloc(all, *size + row);
            if (!all)
                abort();
            memcpy(all + *size, f->plane[i] + y * f->stride[i], row);
            *size += row;
        }
    }
    return all;
}

static void pass(const char *name, enum ls_pixel format, int width_px, int height_px, int part)
{
    struct enc_clip c = {.params = enc_params(), .frame_count = 3, .sample_count = 5000};
    struct ls_err err = {0};
    struct enc_out out;
    size_t at = 0;

    c.params.container = LS_CONTAINER_NONE;
    c.params.video = format == LS_PIX_RGB24 ? LS_VIDEO_RGB24 : LS_VIDEO_I420;
    c.params.format = format;
    c.params.width_px = width_px;
    c.params.height_px = height_px;
    c.params.chunk_bytes_max = part;
    if (!CHECK(enc_run(&c, ENC_IN_STEP, 100, &out, &err) == 0, name))
        return;
    for (int n = 0, i = 0; n < 3; n++) {
        struct ls_frame f;
        size_t size, got = 0;
        uint8_t *want;
        enc_picture(&f, &c.params, n);
        want = packed(&f, &size);
        for (; got < size && i < out.piece_count; i++) {
            const struct ls_media *m = &out.piece[i].media;
            CHECK(m->kind == LS_MEDIA_FRAME && m->first_frame == n && m->pts == 3600 * n, name);
            CHECK(m->frame_count == (got == 0) && m->is_keyframe == (got == 0), name);
            CHECK(m->size <= (size_t)part && out.piece[i].frames_given == n + 1, name);
            got += m->size;
        }
        CHECK(got == size && !memcmp(out.bytes + at, want, size), name);
        at += size;
        free(want);
        enc_picture_free(&f);
    }
    CHECK(at == out.size && out.offset == 0, name);
    enc_out_free(&out);
}

// --- conversion of flat colours, by the definition (ITU-R BT.601, BT.709, BT.2020)
// --------------------

static const double luma_weights[][2] = {[LS_MATRIX_BT601] = {0.299, 0.114},
                                         [LS_MATRIX_BT709] = {0.2126, 0.0722},
                                         [LS_MATRIX_BT2020] = {0.2627, 0.0593}};

static void rgb_to_yuv(double yuv[3], const int rgb[3], enum ls_matrix matrix, bool full)
{
    double kr = luma_weights[matrix][0], kb = luma_weights[matrix][1];
    double y = kr * rgb[0] + (1 - kr - kb) * rgb[1] + kb * rgb[2];

    yuv[0] = full ? y : 16 + y * 219 / 255;
    yuv[1] = 128 + (rgb[2] - y) / (2 - 2 * kb) * (full ? 1 : 224.0 / 255);
    yuv[2] = 128 + (rgb[0] - y) / (2 - 2 * kr) * (full ? 1 : 224.0 / 255);
}

static double worst(double worst_before, double want, int got)
{
    double d = fabs(want - got);
    return d > worst_before ? d : worst_before;
}

static uint8_t *convert_flat(const struct enc_clip *c, const uint8_t colour[3], struct enc_out *out)
{
    struct ls_encode *e = NULL;
    struct ls_err err = {0};
    struct ls_frame f;

    *out = (struct enc_out){0};
    enc_picture(&f, &c->params, 0);
    for (int i = 0; i < 3 && f.plane[i]; i++) {
        for (int y = 0; y < enc_rows(&f, i); y++) {
            for (int x = 0; x < enc_row_size(&f, i); x++)
                f.plane[i][y * f.stride[i] + x] = colour[f.format == LS_PIX_RGB24 ? x % 3 : i];
        }
    }
    CHECK(ls_encode_open(&e, &c->params, &err) == 0, "conversion");
    CHECK(ls_encode_frame(e, &f, 0, 3600, &err) == 0 && ls_encode_finish(e, &err) == 0,
          "conversion");
    enc_take(e, out, 1);
    ls_encode_close(&e);
    enc_picture_free(&f);
    return out->bytes;
}

static void convert(enum ls_matrix matrix, bool full, int width_px, int height_px)
{
    static const int colours[][3] = {{0, 0, 0},       {255, 255, 255}, {128, 128, 128},
                                     {255, 0, 0},     {0, 255, 0},     {0, 0, 255},
                                     {200, 150, 120}, {30, 60, 90},    {250, 240, 5}};
    struct enc_clip c = {.params = enc_params()};
    double to_yuv = 0, to_rgb = 0;
    int w = width_px, h = height_px, cw = (w + 1) / 2, ch = (h + 1) / 2;
    char name[80];

    snprintf(name, sizeof name, "matrix %d, %s range, %dx%d", matrix, full ? "full" : "limited", w,
             h);
    c.params.container = LS_CONTAINER_NONE;
    c.params.matrix = matrix;
    c.params.full_range = full;
    c.params.width_px = w;
    c.params.height_px = h;
    for (int k = 0; k < (int)(sizeof colours / sizeof colours[0]); k++) {
        const int *rgb = colours[k];
        uint8_t from_rgb[3] = {(uint8_t)rgb[0], (uint8_t)rgb[1], (uint8_t)rgb[2]}, from_yuv[3];
        struct enc_out out;
        double yuv[3];
        uint8_t *p;
        rgb_to_yuv(yuv, rgb, matrix, full);
        for (int i = 0; i < 3; i++)
            from_yuv[i] = (uint8_t)fmin(255, fmax(0, floor(yuv[i] + 0.5)));
        c.params.format = LS_PIX_RGB24;
        c.params.video = LS_VIDEO_I420;
        p = convert_flat(&c, from_rgb, &out);
        CHECK(out.size == (size_t)(w * h + 2 * cw * ch), name);
        for (int i = 0; i < (int)out.size; i++) {
            int plane = i < w * h ? 0 : i < w * h + cw * ch ? 1 : 2;
            to_yuv = worst(to_yuv, fmin(255, yuv[plane]), p[i]);
        }
        enc_out_free(&out);
        c.params.format = LS_PIX_I420;
        c.params.video = LS_VIDEO_RGB24;
        p = convert_flat(&c, from_yuv, &out);
        CHECK(out.size == (size_t)(3 * w * h), name);
        for (int i = 0; i < (int)out.size; i++)
            to_rgb = worst(to_rgb, rgb[i % 3], p[i]);
        enc_out_free(&out);
    }
    // One rounding of ours and swscale's 15 bit tables; back: YUV rounded by half a step,
    // times 2.2.
    if (!CHECK(to_yuv <= 1.1 && to_rgb <= 3, name))
        printf("  worst: %.2f to YUV, %.2f to RGB\n", to_yuv, to_rgb);
}

// A horizontal ramp of red shows where chroma samples lie: the one at x belongs to the pixel at 2x.
static void siting(void)
{
    struct enc_clip c = {.params = enc_params()};
    struct ls_encode *e = NULL;
    struct ls_err err = {0};
    struct enc_out out = {0};
    struct ls_frame f;
    double off = 0;

    c.params.container = LS_CONTAINER_NONE;
    c.params.video = LS_VIDEO_I420;
    c.params.format = LS_PIX_RGB24;
    c.params.full_range = true;
    c.params.width_px = c.params.height_px = 64;
    enc_picture(&f, &c.params, 0);
    for (int i = 0; i < 64 * 64; i++) {
        uint8_t *rgb = f.plane[0] + i / 64 * f.stride[0] + 3 * (i % 64);
        rgb[0] = (uint8_t)(4 * (i % 64));
        rgb[1] = rgb[2] = 0;
    }
    CHECK(ls_encode_open(&e, &c.params, &err) == 0, "siting");
    CHECK(ls_encode_frame(e, &f, 0, 3600, &err) == 0, "siting");
    enc_take(e, &out, 1);
    for (int x = 2; x < 30 && out.size; x++)
        off = worst(off, 128 + 0.5 * 8 * x, out.bytes[64 * 64 + 32 * 32 + 32 * 16 + x]);
    if (!CHECK(out.size && off <= 0.75, "siting")) // half a pixel to the right would be 1 more
        printf("  off by %.2f\n", off);
    enc_out_free(&out);
    ls_encode_close(&e);
    enc_picture_free(&f);
}

int main(void)
{
    siting();
    pass("I420", LS_PIX_I420, 160, 112, 1 << 20);
    pass("I420, odd", LS_PIX_I420, 161, 113, 1 << 20);
    pass("I420, odd, small parts", LS_PIX_I420, 161, 113, 4096);
    pass("I420, smallest", LS_PIX_I420, 16, 17, 4096);
    pass("RGB24", LS_PIX_RGB24, 160, 112, 1 << 20);
    pass("RGB24, odd, small parts", LS_PIX_RGB24, 161, 113, 4096);
    pass("RGB24, part = frame", LS_PIX_RGB24, 32, 32, 3072);
    for (int m = LS_MATRIX_BT601; m <= LS_MATRIX_BT2020; m++) {
        convert((enum ls_matrix)m, false, 64, 48);
        convert((enum ls_matrix)m, true, 64, 48);
        convert((enum ls_matrix)m, false, 61, 47);
    }
    return check_done();
}
