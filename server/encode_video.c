// SPDX-License-Identifier: Apache-2.0
// Frames to H.264, 4:2:0 with 8 bits, by libx264 (through libavcodec), or by the device's encoder
// where there is one and it takes the stream (encode_nvenc.c). Part of the encoder: one
// thread at a time. The caller's planes are lent to x264, which copies them inside the call; only
// RGB24 is converted into memory of ours, and odd sizes are: H.264 crops 4:2:0 pictures in units of
// two pixels (ITU-T H.264 7.4.2.1.1, CropUnitX and CropUnitY), so an odd size cannot be signalled
// and the last column or row is shown twice.
#include "encode_parts.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <libavcodec/avcodec.h>
#include <libavutil/opt.h>

// Durations by pts, for packets come out later than frames go in and in another order. x264 holds
// at most lookahead (16) + B-frames (2) + threads (16) + 1 of them.
enum { PENDING_MAX = 32 };

struct ls_h264 {
    AVCodecContext *ctx;
    AVFrame *frame;
    const struct ls_video_device *device; // NVENC's; NULL: libx264
    struct ls_convert *convert;           // RGB24 -> I420; NULL if the frames are I420
    uint8_t *own;              // packed picture of even size; NULL when planes are lent as they are
    struct ls_frame own_frame; // its planes
    int width_px, height_px;   // of the frames that come
    enum ls_pixel format;
    AVBufferRef *lend; // says that planes are lent; the same for all frames
    struct {
        int64_t pts, duration;
    } pending[PENDING_MAX];
    int pending_count;
};

// What each speed does, chosen for memory: a reconstructed 720p frame takes about 5 MB in x264, one
// that waits 2.5 MB, and a further session may take 60 MB in all. The two fast ones and low latency
// have no B-frames: dts equals pts, and no picture waits for a later one. None has macroblock-tree
// rate control: it wants a lookahead of ten frames or more, and with x264's AVX2 code (r3095,
// 160x112, "veryfast") 14 of 40 runs on the same frames gave other bytes; without the one or the
// other none of 40 did.
static const struct {
    const char *preset;
    int refs, b_frames;
} speeds[] = {
    [LS_SPEED_ULTRAFAST] = {"ultrafast", 1, 0}, [LS_SPEED_SUPERFAST] = {"superfast", 1, 0},
    [LS_SPEED_VERYFAST] = {"veryfast", 1, 2},   [LS_SPEED_FASTER] = {"faster", 2, 2},
    [LS_SPEED_MEDIUM] = {"medium", 2, 2},
};

static AVRational nominal_rate(const struct ls_encode_params *p)
{
    if (p->rate_num > 0 && p->rate_den > 0)
        return (AVRational){p->rate_num, p->rate_den};
    return (AVRational){25, 1};
}

int ls_h264_segment_frames(const struct ls_encode_params *p)
{
    AVRational rate = nominal_rate(p);
    int second = (int)av_rescale(1, rate.num, rate.den);
    int few = (int)av_rescale(160, rate.num, 1000 * (int64_t)rate.den); // 160 ms: 4 at 25 fps

    if (p->latency == LS_LATENCY_NORMAL)
        return second < 1 ? 1 : second;
    return few < 1 ? 1 : few > 4 ? 4 : few;
}

int ls_h264_gop_frames(const struct ls_encode_params *p)
{
    AVRational rate = nominal_rate(p);
    int segment = ls_h264_segment_frames(p);
    int two_seconds = (int)av_rescale(2, rate.num, rate.den);
    int segments = (two_seconds + segment / 2) / segment;

    return segment * (segments < 1 ? 1 : segments);
}

static void set_colours(AVCodecContext *ctx, const struct ls_encode_params *p)
{
    static const enum AVColorSpace matrices[] = {
        [LS_MATRIX_BT601] = AVCOL_SPC_SMPTE170M,
        [LS_MATRIX_BT709] = AVCOL_SPC_BT709,
        [LS_MATRIX_BT2020] = AVCOL_SPC_BT2020_NCL,
    };

    ctx->colorspace = matrices[p->matrix]; // primaries and transfer are not known: left unsaid
    ctx->color_range = p->full_range ? AVCOL_RANGE_JPEG : AVCOL_RANGE_MPEG;
    ctx->chroma_sample_location = AVCHROMA_LOC_LEFT;
    if (p->sar_num > 0 && p->sar_den > 0)
        ctx->sample_aspect_ratio = (AVRational){p->sar_num, p->sar_den};
}

static void set_bit_rate(AVCodecContext *ctx, const struct ls_encode_params *p)
{
    if (p->bit_rate <= 0)
        return;
    ctx->bit_rate = p->bit_rate;
    ctx->rc_max_rate = p->bit_rate + p->bit_rate / 2;
    ctx->rc_buffer_size = (int)(p->bit_rate < INT32_MAX / 2 ? 2 * p->bit_rate : INT32_MAX);
}

static void set_rate_control(AVCodecContext *ctx, const struct ls_encode_params *p)
{
    set_bit_rate(ctx, p);
    // x264 takes 0 as lossless, which needs a profile that hardly any player has.
    if (p->bit_rate <= 0)
        av_opt_set_double(ctx->priv_data, "crf", p->crf < 1 ? 1 : p->crf, 0);
}

static void set_speed(AVCodecContext *ctx, const struct ls_encode_params *p)
{
    bool low = p->latency == LS_LATENCY_LOW;
    int b_frames = low ? 0 : speeds[p->speed].b_frames;
    char params[160];

    // force-cfr saves one frame of delay (x264 then needs no next timestamp for a duration); the
    // timestamps pass through all the same. Slices instead of frames in parallel save the others.
    snprintf(params, sizeof params,
             "ref=%d:bframes=%d:b-pyramid=none:mbtree=0:rc-lookahead=0:sync-lookahead=0:"
             "lookahead-threads=1:force-cfr=%d:sliced-threads=%d",
             speeds[p->speed].refs, b_frames, low, low && p->threads > 1);
    av_opt_set(ctx->priv_data, "preset", speeds[p->speed].preset, 0);
    av_opt_set(ctx->priv_data, "x264-params", params, 0);
    ctx->thread_count = p->threads < 1 ? 1 : p->threads;
}

// The context for an encoder, with what all of them are told.
static int make_context(struct ls_h264 *h, const char *name, const struct ls_encode_params *p,
                        struct ls_err *err)
{
    const AVCodec *codec = avcodec_find_encoder_by_name(name);

    avcodec_free_context(&h->ctx);
    if (!codec)
        return ls_fail(err, LS_EENCODE, "this FFmpeg has no %s", name);
    h->ctx = avcodec_alloc_context3(codec);
    if (!h->ctx)
        return ls_fail(err, LS_ENOMEM, "H.264 encoder");
    h->ctx->width = p->width_px + (p->width_px & 1);
    h->ctx->height = p->height_px + (p->height_px & 1);
    h->ctx->pix_fmt = AV_PIX_FMT_YUV420P;
    h->ctx->time_base = (AVRational){1, LS_TICKS_PER_S};
    h->ctx->framerate = nominal_rate(p);
    h->ctx->flags |= AV_CODEC_FLAG_BITEXACT;
    if (p->container == LS_CONTAINER_FMP4)
        h->ctx->flags |= AV_CODEC_FLAG_GLOBAL_HEADER;
    h->ctx->gop_size = ls_h264_gop_frames(p);
    set_colours(h->ctx, p);
    return 0;
}

static int open_codec(struct ls_h264 *h, const struct ls_encode_params *p, struct ls_err *err)
{
    int r;

    h->frame = av_frame_alloc();
    if (!h->frame)
        return ls_fail(err, LS_ENOMEM, "H.264 encoder");
    // A device that has no encoder left for this stream is no reason to refuse it.
    if (ls_nvenc_fits(p) && make_context(h, "h264_nvenc", p, NULL) == 0) {
        set_bit_rate(h->ctx, p);
        if (ls_nvenc_open(h->ctx, p, NULL) == 0) {
            h->device = p->device;
            return 0;
        }
    }
    r = make_context(h, "libx264", p, err);
    if (r < 0)
        return r;
    set_speed(h->ctx, p);
    set_rate_control(h->ctx, p);
    r = avcodec_open2(h->ctx, h->ctx->codec, NULL);
    if (r < 0)
        return ls_fail(err, LS_EENCODE, "libx264 refuses %dx%d, %s, %d threads: %s", h->ctx->width,
                       h->ctx->height, speeds[p->speed].preset, p->threads, av_err2str(r));
    return 0;
}

static void keep(void *opaque, uint8_t *data) // what is lent is not freed
{
    (void)opaque;
    (void)data;
}

int ls_h264_open(struct ls_h264 **out, const struct ls_encode_params *p, struct ls_err *err)
{
    struct ls_h264 *h = calloc(1, sizeof *h);
    bool odd = (p->width_px | p->height_px) & 1;
    int r;

    if (!h)
        return ls_fail(err, LS_ENOMEM, "H.264 encoder");
    h->width_px = p->width_px;
    h->height_px = p->height_px;
    h->format = p->format;
    r = open_codec(h, p, err);
    if (r < 0)
        goto done;
    // Its one byte is never read.
    h->lend = av_buffer_create((uint8_t *)h, 1, keep, NULL, AV_BUFFER_FLAG_READONLY);
    if (!h->lend) {
        r = ls_fail(err, LS_ENOMEM, "H.264 encoder");
        goto done;
    }
    if (!h->device && (odd || p->format == LS_PIX_RGB24)) {
        h->own = calloc(1, ls_packed_size(LS_PIX_I420, h->ctx->width, h->ctx->height));
        if (!h->own) {
            r = ls_fail(err, LS_ENOMEM, "a picture of %dx%d", h->ctx->width, h->ctx->height);
            goto done;
        }
        ls_packed_planes(&h->own_frame, h->own, LS_PIX_I420, h->ctx->width, h->ctx->height);
    }
    if (!h->device && p->format == LS_PIX_RGB24) {
        struct ls_frame like = {.width_px = p->width_px,
                                .height_px = p->height_px,
                                .format = LS_PIX_RGB24,
                                .matrix = p->matrix,
                                .full_range = p->full_range};
        r = ls_convert_open(&h->convert, &like, LS_PIX_I420, err);
        if (r < 0)
            goto done;
    }
    *out = h;
    h = NULL;
done:
    ls_h264_close(&h);
    return r;
}

// Makes the luma plane even by repeating its last column and row; 4:2:0 chroma of an odd size
// already has the rounded-up size.
static void pad_luma(struct ls_frame *f, int width_px, int height_px)
{
    size_t stride = (size_t)f->stride[0];

    if (width_px & 1) {
        for (int y = 0; y < height_px; y++)
            f->plane[0][(size_t)y * stride + (size_t)width_px] =
                f->plane[0][(size_t)y * stride + (size_t)width_px - 1];
    }
    if (height_px & 1)
        memcpy(f->plane[0] + (size_t)height_px * stride,
               f->plane[0] + (size_t)(height_px - 1) * stride, stride);
}

// The picture that x264 shall see: the caller's planes or ours.
static int make_picture(struct ls_h264 *h, struct ls_frame *out, const struct ls_frame *frame,
                        struct ls_err *err)
{
    *out = *frame;
    if (!h->own)
        return 0;
    *out = h->own_frame;
    if (h->convert) {
        int r = ls_convert_run(h->convert, frame, out->plane, out->stride, err);
        if (r < 0)
            return r;
    } else {
        for (int y = 0; y < h->height_px; y++)
            memcpy(out->plane[0] + (size_t)y * (size_t)out->stride[0],
                   frame->plane[0] + (size_t)y * (size_t)frame->stride[0], (size_t)h->width_px);
        for (int i = 1; i < 3; i++) {
            out->plane[i] = frame->plane[i];
            out->stride[i] = frame->stride[i];
        }
    }
    pad_luma(out, h->width_px, h->height_px);
    return 0;
}

// Without a reference-counted buffer, however empty, libavcodec would copy the picture.
static void lend(struct ls_h264 *h, const struct ls_frame *picture)
{
    h->frame->buf[0] = h->lend;
    for (int i = 0; i < 3; i++) {
        h->frame->data[i] = picture->plane[i];
        h->frame->linesize[i] = picture->stride[i];
    }
}

// Whether libavcodec has let go of it.
static bool take_back(struct ls_h264 *h)
{
    if (h->device)
        return true;
    h->frame->buf[0] = NULL; // ours
    return av_buffer_get_ref_count(h->lend) == 1;
}

static void describe(struct ls_h264 *h, int64_t pts)
{
    AVFrame *f = h->frame;

    f->format = h->ctx->pix_fmt;
    f->width = h->ctx->width;
    f->height = h->ctx->height;
    f->pts = pts;
    f->colorspace = h->ctx->colorspace;
    f->color_range = h->ctx->color_range;
    f->sample_aspect_ratio = h->ctx->sample_aspect_ratio;
}

int ls_h264_push(struct ls_h264 *h, const struct ls_frame *frame, int64_t pts, int64_t duration,
                 struct ls_err *err)
{
    struct ls_frame picture;
    bool given_back;
    int r;

    if (h->pending_count == PENDING_MAX)
        return ls_fail(err, LS_EENCODE, "%s holds back %d frames", h->ctx->codec->name,
                       h->pending_count);
    if (h->device) {
        r = ls_nvenc_fill(h->ctx, h->frame, frame, h->device, err);
    } else {
        r = make_picture(h, &picture, frame, err);
        if (r == 0)
            lend(h, &picture);
    }
    if (r < 0)
        return r;
    describe(h, pts);
    r = avcodec_send_frame(h->ctx, h->frame);
    given_back = take_back(h);
    av_frame_unref(h->frame);
    if (r < 0)
        return ls_fail(err, LS_EENCODE, "%s, frame at %lld: %s", h->ctx->codec->name,
                       (long long)pts, av_err2str(r));
    if (!given_back)
        return ls_fail(err, LS_EINTERNAL, "libavcodec kept the frame at %lld", (long long)pts);
    h->pending[h->pending_count].pts = pts;
    h->pending[h->pending_count++].duration = duration;
    return 0;
}

int ls_h264_end(struct ls_h264 *h, struct ls_err *err)
{
    int r = avcodec_send_frame(h->ctx, NULL);

    if (r < 0)
        return ls_fail(err, LS_EENCODE, "%s, end: %s", h->ctx->codec->name, av_err2str(r));
    return 0;
}

static int64_t take_duration(struct ls_h264 *h, int64_t pts)
{
    for (int i = 0; i < h->pending_count; i++) {
        if (h->pending[i].pts == pts) {
            int64_t duration = h->pending[i].duration;
            h->pending[i] = h->pending[--h->pending_count];
            return duration;
        }
    }
    return -1;
}

int ls_h264_pop(struct ls_h264 *h, struct AVPacket *pkt, struct ls_err *err)
{
    int r = avcodec_receive_packet(h->ctx, pkt);

    if (r == AVERROR(EAGAIN) || r == AVERROR_EOF)
        return 0;
    if (r < 0)
        return ls_fail(err, LS_EENCODE, "%s: %s", h->ctx->codec->name, av_err2str(r));
    pkt->duration = take_duration(h, pkt->pts);
    if (pkt->duration < 0)
        return ls_fail(err, LS_EENCODE, "%s made up a frame at %lld", h->ctx->codec->name,
                       (long long)pkt->pts);
    return 1;
}

const struct AVCodecContext *ls_h264_codec(const struct ls_h264 *h)
{
    return h->ctx;
}

bool ls_h264_takes_device(const struct ls_h264 *h)
{
    return h->device != NULL;
}

void ls_h264_close(struct ls_h264 **h)
{
    if (!*h)
        return;
    avcodec_free_context(&(*h)->ctx);
    av_frame_free(&(*h)->frame);
    av_buffer_unref(&(*h)->lend);
    ls_convert_close(&(*h)->convert);
    free((*h)->own);
    free(*h);
    *h = NULL;
}
