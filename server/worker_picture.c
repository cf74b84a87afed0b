// SPDX-License-Identifier: Apache-2.0
// Brings any decoded picture into the ring's format: I420, RGB24 or (on a device) NV12, turned the
// right way up, at the size of the first picture. 8 bit 4:2:0 is copied; grey gets neutral colour
// planes; all else goes through swscale. YUV keeps its matrix and range, which are reported; RGB
// becomes BT.601 (below 720 rows) or BT.709, limited range. Transparency is ignored: colours are
// taken as they are stored.
#include "worker.h"

#include <stdlib.h>
#include <string.h>

#include <libavutil/hwcontext.h>
#include <libavutil/imgutils.h>
#include <libavutil/opt.h>
#include <libavutil/pixdesc.h>

struct ls_turn ls_turn_matrix(const int32_t *m)
{
    struct ls_turn turn = {0};

    // x' = m[0] x + m[3] y, y' = m[1] x + m[4] y (libavutil/display.h)
    if (!m)
        return turn;
    turn.swap = llabs((long long)m[0]) < llabs((long long)m[1]);
    turn.flip_x = (turn.swap ? m[3] : m[0]) < 0;
    turn.flip_y = (turn.swap ? m[1] : m[4]) < 0;
    return turn;
}

struct ls_turn ls_turn_exif(int orientation)
{
    static const struct ls_turn turns[9] = {
        [2] = {0, 1, 0}, [3] = {0, 1, 1}, [4] = {0, 0, 1}, [5] = {1, 0, 0},
        [6] = {1, 1, 0}, [7] = {1, 1, 1}, [8] = {1, 0, 1},
    };

    return turns[orientation >= 1 && orientation <= 8 ? orientation : 0];
}

// Clockwise; of a mirrored picture, the part that is rotation.
static int degrees(const struct ls_turn *t)
{
    if (t->swap)
        return t->flip_y ? 270 : 90;
    return t->flip_x && t->flip_y ? 180 : 0;
}

static enum AVPixelFormat without_j(enum AVPixelFormat fmt)
{
    switch (fmt) {
    case AV_PIX_FMT_YUVJ420P:
        return AV_PIX_FMT_YUV420P;
    case AV_PIX_FMT_YUVJ422P:
        return AV_PIX_FMT_YUV422P;
    case AV_PIX_FMT_YUVJ444P:
        return AV_PIX_FMT_YUV444P;
    case AV_PIX_FMT_YUVJ440P:
        return AV_PIX_FMT_YUV440P;
    case AV_PIX_FMT_YUVJ411P:
        return AV_PIX_FMT_YUV411P;
    default:
        return fmt;
    }
}

static bool is_rgb(enum AVPixelFormat fmt)
{
    const AVPixFmtDescriptor *d = av_pix_fmt_desc_get(fmt);

    return d && (d->flags & (AV_PIX_FMT_FLAG_RGB | AV_PIX_FMT_FLAG_PAL));
}

static bool is_grey(enum AVPixelFormat fmt)
{
    const AVPixFmtDescriptor *d = av_pix_fmt_desc_get(fmt);

    return d && d->nb_components <= 2 && !is_rgb(fmt);
}

bool ls_picture_on_device(const AVFrame *frame)
{
    return frame->format == AV_PIX_FMT_CUDA;
}

// The format of the pixels, wherever they lie.
static enum AVPixelFormat pixels_of(const AVFrame *f)
{
    return ls_picture_on_device(f) ? ((AVHWFramesContext *)f->hw_frames_ctx->data)->sw_format
                                   : (enum AVPixelFormat)f->format;
}

static bool is_full(const AVFrame *f)
{
    if (f->color_range != AVCOL_RANGE_UNSPECIFIED)
        return f->color_range == AVCOL_RANGE_JPEG;
    return without_j(pixels_of(f)) != pixels_of(f) || is_grey(pixels_of(f));
}

static enum ls_matrix matrix_of(const AVFrame *f)
{
    if (!is_rgb(pixels_of(f))) {
        switch (f->colorspace) {
        case AVCOL_SPC_BT709:
            return LS_MATRIX_BT709;
        case AVCOL_SPC_BT2020_NCL:
        case AVCOL_SPC_BT2020_CL:
            return LS_MATRIX_BT2020;
        case AVCOL_SPC_BT470BG:
        case AVCOL_SPC_SMPTE170M:
        case AVCOL_SPC_FCC:
            return LS_MATRIX_BT601;
        default:
            break;
        }
    }
    return f->height >= 720 || f->width >= 1280 ? LS_MATRIX_BT709 : LS_MATRIX_BT601;
}

static const int *coefficients(enum ls_matrix matrix)
{
    return sws_getCoefficients(matrix == LS_MATRIX_BT709    ? SWS_CS_ITU709
                               : matrix == LS_MATRIX_BT2020 ? SWS_CS_BT2020
                                                            : SWS_CS_ITU601);
}

static bool turned(const struct ls_picture *p)
{
    return p->turn.swap || p->turn.flip_x || p->turn.flip_y;
}

bool ls_picture_direct(const struct ls_picture *p, const AVFrame *frame)
{
    return ls_picture_on_device(frame) && pixels_of(frame) == AV_PIX_FMT_NV12 &&
           p->work == LS_PIX_NV12 && !turned(p) && frame->width == p->in_width &&
           frame->height == p->in_height;
}

int ls_picture_init(struct ls_picture *p, const AVFrame *first, const struct ls_turn *turn,
                    AVRational sar, enum ls_pixel work, struct ls_err *err)
{
    enum AVPixelFormat pixels = pixels_of(first);
    bool swap = turn->swap;

    if (!av_pix_fmt_desc_get(pixels) || !sws_isSupportedInput(without_j(pixels)))
        return ls_fail(err, LS_ECODEC, "pixel format %s is not accepted",
                       av_get_pix_fmt_name(pixels) ? av_get_pix_fmt_name(pixels) : "?");
    p->in_width = first->width;
    p->in_height = first->height;
    p->turn = *turn;
    p->work = work;
    if (work == LS_PIX_I420 && ls_picture_on_device(first) && pixels == AV_PIX_FMT_NV12 &&
        !turned(p))
        p->work = LS_PIX_NV12; // as it comes from the decoder
    p->info.pixel = p->work;
    p->info.width_px = swap ? first->height : first->width;
    p->info.height_px = swap ? first->width : first->height;
    if (sar.num <= 0 || sar.den <= 0 || sar.num > 1 << 20 || sar.den > 1 << 20)
        sar = (AVRational){1, 1};
    p->info.sar_num = swap ? sar.den : sar.num;
    p->info.sar_den = swap ? sar.num : sar.den;
    p->info.matrix = matrix_of(first);
    p->info.full_range = work == LS_PIX_I420 && !is_rgb(pixels) && is_full(first);
    p->info.rotation_deg = degrees(turn);
    return 0;
}

static enum AVPixelFormat work_format(enum ls_pixel work)
{
    return work == LS_PIX_RGB24  ? AV_PIX_FMT_RGB24
           : work == LS_PIX_NV12 ? AV_PIX_FMT_NV12
                                 : AV_PIX_FMT_YUV420P;
}

// A scaler for pictures like f; kept until one comes that differs.
static int scaler(struct ls_picture *p, const AVFrame *f, struct ls_err *err)
{
    enum AVPixelFormat from = without_j(f->format);
    bool rgb_in = is_rgb(from), rgb_out = p->work == LS_PIX_RGB24;
    // swscale takes grey as full range whatever it is told, so the answer is made to agree.
    int range_in = rgb_in || is_grey(from) ? 1 : is_full(f);
    int range_out = rgb_out ? 1 : is_grey(from) ? 1 : p->info.full_range;
    int key[6] = {f->width, f->height, from, range_in, matrix_of(f), 1};
    const AVPixFmtDescriptor *d = av_pix_fmt_desc_get(from);
    struct SwsContext *s;

    if (memcmp(key, p->sws_key, sizeof key) == 0)
        return 0;
    sws_freeContext(p->sws);
    p->sws = NULL;
    memset(p->sws_key, 0, sizeof p->sws_key);
    s = sws_alloc_context();
    if (!s)
        return ls_fail(err, LS_ENOMEM, "no memory for a scaler");
    av_opt_set_int(s, "srcw", f->width, 0);
    av_opt_set_int(s, "srch", f->height, 0);
    av_opt_set_int(s, "src_format", from, 0);
    av_opt_set_int(s, "dstw", p->in_width, 0);
    av_opt_set_int(s, "dsth", p->in_height, 0);
    av_opt_set_int(s, "dst_format", work_format(p->work), 0);
    av_opt_set_int(
        s, "sws_flags",
        SWS_BICUBIC | SWS_ACCURATE_RND | SWS_BITEXACT | SWS_FULL_CHR_H_INT | SWS_FULL_CHR_H_INP, 0);
    if (!rgb_out &&
        d->log2_chroma_w == 0) // frame.h: chroma sited left; 4:4:4 and RGB have the choice
        av_opt_set_int(s, "dst_h_chr_pos", 0, 0);
    sws_setColorspaceDetails(s, coefficients(matrix_of(f)), range_in, coefficients(p->info.matrix),
                             range_out, 0, 1 << 16, 1 << 16);
    if (sws_init_context(s, NULL, NULL) < 0) {
        sws_freeContext(s);
        return ls_fail(err, LS_ECODEC, "pixel format %s at %dx%d cannot be converted",
                       av_get_pix_fmt_name(from), f->width, f->height);
    }
    sws_setColorspaceDetails(s, coefficients(matrix_of(f)), range_in, coefficients(p->info.matrix),
                             range_out, 0, 1 << 16, 1 << 16);
    p->sws = s;
    memcpy(p->sws_key, key, sizeof key);
    return 0;
}

static int plane_count(enum ls_pixel work)
{
    return work == LS_PIX_RGB24 ? 1 : 3; // NV12 is never turned
}

static int plane_side(int side, int plane)
{
    return plane ? (side + 1) / 2 : side;
}

// The picture as it is stored, in the work format.
static int convert(struct ls_picture *p, const AVFrame *f, uint8_t *const plane[3],
                   const int stride[3], struct ls_err *err)
{
    bool same_size = f->width == p->in_width && f->height == p->in_height;
    uint8_t *to[4] = {plane[0], plane[1], plane[2], NULL};
    int steps[4] = {stride[0], stride[1], stride[2], 0};
    int i, r;

    if (same_size && p->work == LS_PIX_I420 && is_full(f) == p->info.full_range &&
        (without_j(f->format) == AV_PIX_FMT_YUV420P || f->format == AV_PIX_FMT_GRAY8)) {
        for (i = 0; i < 3; i++) {
            int width = plane_side(f->width, i), height = plane_side(f->height, i);

            if (i == 0 || f->format != AV_PIX_FMT_GRAY8)
                av_image_copy_plane(to[i], steps[i], f->data[i], f->linesize[i], width, height);
            else
                memset(to[i], 128, (size_t)steps[i] * (size_t)height);
        }
        return 0;
    }
    if (same_size && p->work == LS_PIX_RGB24 && f->format == AV_PIX_FMT_RGB24) {
        av_image_copy_plane(to[0], steps[0], f->data[0], f->linesize[0], 3 * f->width, f->height);
        return 0;
    }
    if (!same_size)
        p->scaled = true;
    if (!sws_isSupportedInput(without_j(f->format)))
        return ls_fail(err, LS_ECODEC, "pixel format %s is not accepted",
                       av_get_pix_fmt_name(f->format));
    r = scaler(p, f, err);
    if (r < 0)
        return r;
    r = sws_scale(p->sws, (const uint8_t *const *)f->data, f->linesize, 0, f->height, to, steps);
    return r < 0 ? ls_fail(err, LS_EMEDIA, "a picture of %dx%d cannot be converted", f->width,
                           f->height)
                 : 0;
}

enum { TILE = 32 }; // rows and columns: both sides of a turn stay in the first-level cache

// to [height][width][bytes]; sizes are those of the result.
static void turn_plane(uint8_t *to, int to_step, const uint8_t *from, int from_step, int width,
                       int height, int bytes, const struct ls_turn *t)
{
    int x0, y0, x, y;

    for (y0 = 0; y0 < height; y0 += TILE) {
        for (x0 = 0; x0 < width; x0 += TILE) {
            for (y = y0; y < y0 + TILE && y < height; y++) {
                for (x = x0; x < x0 + TILE && x < width; x++) {
                    int u = t->flip_x ? width - 1 - x : x, v = t->flip_y ? height - 1 - y : y;
                    const uint8_t *s = t->swap ? from + (int64_t)u * from_step + v * bytes
                                               : from + (int64_t)v * from_step + u * bytes;
                    uint8_t *d = to + (int64_t)y * to_step + x * bytes;

                    d[0] = s[0];
                    if (bytes == 3) {
                        d[1] = s[1];
                        d[2] = s[2];
                    }
                }
            }
        }
    }
}

// From the decoder's device memory to the host: pictures that must be turned, scaled or converted.
static int fetch(struct ls_picture *p, const AVFrame *from, struct ls_err *err)
{
    int r;

    if (!p->fetched)
        p->fetched = av_frame_alloc();
    if (!p->fetched)
        return ls_fail(err, LS_ENOMEM, "no memory for a frame");
    av_frame_unref(p->fetched);
    r = av_hwframe_transfer_data(p->fetched, from, 0);
    if (r == 0)
        r = av_frame_copy_props(p->fetched, from);
    return r < 0 ? ls_fail(err, LS_EMEDIA, "a frame cannot be fetched from the device: %s",
                           av_err2str(r))
                 : 0;
}

int ls_picture_put(struct ls_picture *p, const AVFrame *from, uint8_t *const plane[3],
                   const int stride[3], struct ls_err *err)
{
    int bytes = p->work == LS_PIX_RGB24 ? 3 : 1;
    int i, r;

    if (ls_picture_on_device(from)) {
        r = fetch(p, from, err);
        if (r < 0)
            return r;
        from = p->fetched;
    }
    if (!turned(p))
        return convert(p, from, plane, stride, err);
    if (!p->upright) {
        AVFrame *f = av_frame_alloc();

        if (f) {
            f->width = p->in_width;
            f->height = p->in_height;
            f->format = work_format(p->work);
        }
        if (!f || av_frame_get_buffer(f, 0) < 0) {
            av_frame_free(&f);
            return ls_fail(err, LS_ENOMEM, "no memory to turn a picture");
        }
        p->upright = f;
    }
    r = convert(p, from, p->upright->data, p->upright->linesize, err);
    if (r < 0)
        return r;
    for (i = 0; i < plane_count(p->work); i++)
        turn_plane(plane[i], stride[i], p->upright->data[i], p->upright->linesize[i],
                   plane_side(p->info.width_px, i), plane_side(p->info.height_px, i), bytes,
                   &p->turn);
    return 0;
}

void ls_picture_done(struct ls_picture *p)
{
    sws_freeContext(p->sws);
    p->sws = NULL;
    av_frame_free(&p->upright);
    av_frame_free(&p->fetched);
}
