// SPDX-License-Identifier: Apache-2.0
// Whether the device's own decoder (NVDEC) is to be had: one picture is encoded by x264 and decoded
// by FFmpeg with the device. Called by video_device.c at start, on the loop. What surprises: FFmpeg
// goes back to software by itself (no libnvcuvid in the container, no such engine), so the decoded
// frame's place is the answer, not an error code.
#include <stdlib.h>

#include <libavcodec/avcodec.h>

#include "encode_parts.h"

// One grey picture as H.264.
static int encode_one(AVPacket *pkt, struct ls_err *err)
{
    // A transport stream's pictures bring their headers along.
    struct ls_encode_params p = {.container = LS_CONTAINER_MPEG_TS,
                                 .width_px = 320,
                                 .height_px = 192,
                                 .format = LS_PIX_I420,
                                 .speed = LS_SPEED_SUPERFAST,
                                 .crf = 23,
                                 .sar_num = 1,
                                 .sar_den = 1};
    struct ls_frame frame = {.width_px = 320, .height_px = 192, .format = LS_PIX_I420};
    size_t size = ls_packed_size(LS_PIX_I420, p.width_px, p.height_px);
    uint8_t *data = malloc(size);
    struct ls_h264 *h = NULL;
    int r = data ? ls_h264_open(&h, &p, err) : ls_fail(err, LS_ENOMEM, "a picture");

    if (r == 0) {
        for (size_t i = 0; i < size; i++)
            data[i] = 128;
        ls_packed_planes(&frame, data, LS_PIX_I420, p.width_px, p.height_px);
        r = ls_h264_push(h, &frame, 0, 3600, err);
    }
    if (r == 0)
        r = ls_h264_end(h, err);
    if (r == 0 && ls_h264_pop(h, pkt, err) != 1)
        r = ls_fail(err, LS_EENCODE, "x264 gives no picture to try NVDEC with");
    ls_h264_close(&h);
    free(data);
    return r;
}

static int decode_one(AVFrame *frame, const AVPacket *pkt, AVBufferRef *hw)
{
    const AVCodec *codec = avcodec_find_decoder(AV_CODEC_ID_H264);
    AVCodecContext *dec = codec ? avcodec_alloc_context3(codec) : NULL;
    int r = dec ? 0 : AVERROR(ENOMEM);

    if (r == 0) {
        dec->thread_count = 1;
        dec->hw_device_ctx = hw ? av_buffer_ref(hw) : NULL;
        r = avcodec_open2(dec, codec, NULL);
    }
    if (r == 0)
        r = avcodec_send_packet(dec, pkt);
    if (r == 0)
        r = avcodec_send_packet(dec, NULL);
    if (r == 0)
        r = avcodec_receive_frame(dec, frame);
    avcodec_free_context(&dec);
    return r;
}

int ls_nvdec_probe(AVBufferRef *hw, struct ls_err *err)
{
    AVPacket *pkt = av_packet_alloc();
    AVFrame *frame = av_frame_alloc();
    int r = pkt && frame ? encode_one(pkt, err) : ls_fail(err, LS_ENOMEM, "a picture"), av;

    if (r == 0) {
        av = decode_one(frame, pkt, hw);
        if (av < 0)
            r = ls_fail(err, LS_EDEVICE, "NVDEC: %s", av_err2str(av));
        else if (frame->format != AV_PIX_FMT_CUDA)
            r = ls_fail(err, LS_EDEVICE, "NVDEC does not decode H.264");
    }
    av_frame_free(&frame);
    av_packet_free(&pkt);
    return r;
}
