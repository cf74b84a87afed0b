// SPDX-License-Identifier: Apache-2.0
// I420 <-> RGB24 by swscale, for callers whose frames have another format than the output. Part of
// the encoder: one thread at a time. The surprising part: without SWS_ACCURATE_RND and SWS_BITEXACT
// the result depends on the processor's SIMD, and the same input would not give the same bytes.
#include "encode_parts.h"

#include <stdlib.h>

#include <libavutil/opt.h>
#include <libswscale/swscale.h>

struct ls_convert {
    struct SwsContext *sws;
    int height_px;
};

static const int *coefficients(enum ls_matrix matrix)
{
    static const int spaces[] = {
        [LS_MATRIX_BT601] = SWS_CS_ITU601,
        [LS_MATRIX_BT709] = SWS_CS_ITU709,
        [LS_MATRIX_BT2020] = SWS_CS_BT2020,
    };
    return sws_getCoefficients(spaces[matrix]);
}

static void set_options(struct SwsContext *sws, const struct ls_frame *like, enum ls_pixel to)
{
    enum AVPixelFormat av[] = {
        [LS_PIX_I420] = AV_PIX_FMT_YUV420P, [LS_PIX_RGB24] = AV_PIX_FMT_RGB24};
    const char *chroma_h = to == LS_PIX_I420 ? "dst_h_chr_pos" : "src_h_chr_pos";
    const char *chroma_v = to == LS_PIX_I420 ? "dst_v_chr_pos" : "src_v_chr_pos";

    av_opt_set_int(sws, "srcw", like->width_px, 0);
    av_opt_set_int(sws, "srch", like->height_px, 0);
    av_opt_set_int(sws, "dstw", like->width_px, 0);
    av_opt_set_int(sws, "dsth", like->height_px, 0);
    av_opt_set_int(sws, "src_format", av[like->format], 0);
    av_opt_set_int(sws, "dst_format", av[to], 0);
    av_opt_set_int(sws, "sws_flags",
                   SWS_BILINEAR | SWS_ACCURATE_RND | SWS_BITEXACT | SWS_FULL_CHR_H_INT |
                       SWS_FULL_CHR_H_INP,
                   0);
    av_opt_set_int(sws, chroma_h, 0, 0);   // sited left, in 1/256 of a luma pixel
    av_opt_set_int(sws, chroma_v, 128, 0); // and between two rows
}

int ls_convert_open(struct ls_convert **out, const struct ls_frame *like, enum ls_pixel to,
                    struct ls_err *err)
{
    struct ls_convert *c = calloc(1, sizeof *c);
    const int *table = coefficients(like->matrix);
    bool from_rgb = like->format == LS_PIX_RGB24;
    int r = 0;

    if (!c || !(c->sws = sws_alloc_context())) {
        r = ls_fail(err, LS_ENOMEM, "pixel conversion");
        goto done;
    }
    c->height_px = like->height_px;
    set_options(c->sws, like, to);
    sws_setColorspaceDetails(c->sws, table, from_rgb || like->full_range, table,
                             !from_rgb || like->full_range, 0, 1 << 16, 1 << 16);
    if (sws_init_context(c->sws, NULL, NULL) < 0) {
        r = ls_fail(err, LS_EENCODE, "no conversion of %dx%d from %s", like->width_px,
                    like->height_px, from_rgb ? "RGB24 to I420" : "I420 to RGB24");
        goto done;
    }
    *out = c;
    c = NULL;
done:
    ls_convert_close(&c);
    return r;
}

int ls_convert_run(struct ls_convert *c, const struct ls_frame *from, uint8_t *const plane[3],
                   const int stride[3], struct ls_err *err)
{
    const uint8_t *source[4] = {from->plane[0], from->plane[1], from->plane[2], NULL};
    const int source_stride[4] = {from->stride[0], from->stride[1], from->stride[2], 0};
    uint8_t *const target[4] = {plane[0], plane[1], plane[2], NULL};
    const int target_stride[4] = {stride[0], stride[1], stride[2], 0};
    int rows = sws_scale(c->sws, source, source_stride, 0, c->height_px, target, target_stride);

    if (rows != c->height_px)
        return ls_fail(err, LS_EENCODE, "pixel conversion gave %d of %d rows", rows, c->height_px);
    return 0;
}

void ls_convert_close(struct ls_convert **c)
{
    if (!*c)
        return;
    sws_freeContext((*c)->sws);
    free(*c);
    *c = NULL;
}

size_t ls_packed_size(enum ls_pixel format, int width_px, int height_px)
{
    size_t w = (size_t)width_px, h = (size_t)height_px;

    if (format == LS_PIX_RGB24)
        return 3 * w * h;
    return w * h + 2 * ((w + 1) / 2) * ((h + 1) / 2);
}

void ls_packed_planes(struct ls_frame *f, uint8_t *data, enum ls_pixel format, int width_px,
                      int height_px)
{
    int chroma_w = (width_px + 1) / 2, chroma_h = (height_px + 1) / 2;

    *f = (struct ls_frame){.width_px = width_px, .height_px = height_px, .format = format};
    f->plane[0] = data;
    f->stride[0] = format == LS_PIX_RGB24 ? 3 * width_px : width_px;
    if (format == LS_PIX_RGB24)
        return;
    f->plane[1] = data + (size_t)width_px * (size_t)height_px;
    f->plane[2] = f->plane[1] + (size_t)chroma_w * (size_t)chroma_h;
    f->stride[1] = f->stride[2] = chroma_w;
}
