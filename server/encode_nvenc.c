// SPDX-License-Identifier: Apache-2.0
// H.264 by the device's own encoder (NVENC), through libavcodec. Part of the encoder: one thread at
// a time; the probe runs once, on the loop. Every frame is copied into a surface of the encoder's
// pool, on the device if it lies there, else up to it; so a picture is free again when the call
// returns. No B-frames: they would hold frames back, and a stream here is watched while it is made.
#include <libavcodec/avcodec.h>
#include <libavutil/hwcontext.h>
#include <libavutil/opt.h>

#include "encode_parts.h"

// p6 and p7 may look ahead (libavcodec/nvenc.c), which may hold back more frames than
// encode_video.c keeps durations for, and cannot be switched off by an option.
static const char *const presets[] = {
    [LS_SPEED_ULTRAFAST] = "p1", [LS_SPEED_SUPERFAST] = "p2", [LS_SPEED_VERYFAST] = "p3",
    [LS_SPEED_FASTER] = "p4",    [LS_SPEED_MEDIUM] = "p5",
};

// The pool of surfaces that frames are copied into.
static int make_pool(AVCodecContext *ctx, const struct ls_encode_params *p, struct ls_err *err)
{
    AVBufferRef *pool = av_hwframe_ctx_alloc(p->device->hw);
    AVHWFramesContext *frames;
    int r;

    if (!pool)
        return ls_fail(err, LS_ENOMEM, "surfaces for NVENC");
    frames = (AVHWFramesContext *)pool->data;
    frames->format = AV_PIX_FMT_CUDA;
    frames->sw_format = p->format == LS_PIX_NV12 ? AV_PIX_FMT_NV12 : AV_PIX_FMT_YUV420P;
    frames->width = ctx->width;
    frames->height = ctx->height;
    r = av_hwframe_ctx_init(pool);
    if (r < 0) {
        av_buffer_unref(&pool);
        return ls_fail(err, LS_EENCODE, "surfaces of %dx%d for NVENC: %s", ctx->width, ctx->height,
                       av_err2str(r));
    }
    ctx->hw_frames_ctx = pool; // the context's from here on
    ctx->pix_fmt = AV_PIX_FMT_CUDA;
    return 0;
}

static void set_options(AVCodecContext *ctx, const struct ls_encode_params *p)
{
    bool low = p->latency == LS_LATENCY_LOW;

    ctx->max_b_frames = 0;
    av_opt_set(ctx->priv_data, "preset", presets[p->speed], 0);
    av_opt_set(ctx->priv_data, "tune", low ? "ll" : "hq", 0);
    av_opt_set(ctx->priv_data, "rc", "vbr", 0);
    av_opt_set_int(ctx->priv_data, "delay", 0, 0);
    av_opt_set_int(ctx->priv_data, "zerolatency", low, 0);
    av_opt_set_int(ctx->priv_data, "no-scenecut", 1, 0); // segments begin where they are planned
    av_opt_set_int(ctx->priv_data, "forced-idr", 1, 0);
    if (p->bit_rate <= 0) // its quality scale is x264's, 0 means "choose"
        av_opt_set_double(ctx->priv_data, "cq", p->crf < 1 ? 1 : p->crf, 0);
}

bool ls_nvenc_fits(const struct ls_encode_params *p)
{
    return p->device && p->device->encodes && !((p->width_px | p->height_px) & 1) &&
           (p->format == LS_PIX_I420 || p->format == LS_PIX_NV12);
}

int ls_nvenc_open(AVCodecContext *ctx, const struct ls_encode_params *p, struct ls_err *err)
{
    int r = make_pool(ctx, p, err);

    if (r < 0)
        return r;
    set_options(ctx, p);
    r = avcodec_open2(ctx, ctx->codec, NULL);
    return r < 0 ? ls_fail(err, LS_EENCODE, "NVENC refuses %dx%d: %s", ctx->width, ctx->height,
                           av_err2str(r))
                 : 0;
}

int ls_nvenc_fill(AVCodecContext *ctx, AVFrame *to, const struct ls_frame *frame,
                  const struct ls_video_device *device, struct ls_err *err)
{
    int r = av_hwframe_get_buffer(ctx->hw_frames_ctx, to, 0);
    struct ls_frame surface = *frame;

    if (r < 0)
        return ls_fail(err, LS_EENCODE, "a surface for NVENC: %s", av_err2str(r));
    surface.on_device = true;
    for (int i = 0; i < 3; i++) {
        surface.plane[i] = to->data[i];
        surface.stride[i] = to->linesize[i];
    }
    return ls_video_copy(&surface, frame, device, err);
}

int ls_nvenc_probe(const struct ls_video_device *device, struct ls_err *err)
{
    // Above the least size that any NVENC takes (146x50 for H.264).
    struct ls_video_device all = *device;
    struct ls_encode_params p = {.width_px = 320,
                                 .height_px = 192,
                                 .format = LS_PIX_NV12,
                                 .speed = LS_SPEED_SUPERFAST,
                                 .crf = 23,
                                 .sar_num = 1,
                                 .sar_den = 1,
                                 .device = &all};
    struct ls_frame shape = {.stride = {320, 320},
                             .width_px = 320,
                             .height_px = 192,
                             .format = LS_PIX_NV12,
                             .on_device = true};
    struct ls_frame frame;
    struct ls_h264 *h = NULL;
    AVPacket *pkt = av_packet_alloc();
    void *memory = NULL;
    int r = pkt ? 0 : ls_fail(err, LS_ENOMEM, "a packet");

    all.encodes = true;
    if (r == 0)
        r = ls_h264_open(&h, &p, err);
    if (r == 0 && !ls_h264_takes_device(h))
        r = ls_fail(err, LS_EENCODE, "NVENC does not open");
    if (r == 0)
        r = ls_video_place(&frame, &memory, &shape, device, err);
    if (r == 0)
        r = ls_h264_push(h, &frame, 0, 3600, err);
    if (r == 0)
        r = ls_h264_end(h, err);
    if (r == 0 && ls_h264_pop(h, pkt, err) != 1)
        r = ls_fail(err, LS_EENCODE, "NVENC gives no picture");
    ls_video_free(&memory, true, device);
    ls_h264_close(&h);
    av_packet_free(&pkt);
    return r;
}
