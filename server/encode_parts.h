// SPDX-License-Identifier: Apache-2.0
// The parts that encode.c is made of, for the encode*.c and mux.c files alone: finished pieces,
// pixel conversion, the H.264 and AAC encoders. All of them follow encode.h's rule: one thread at a
// time. FFmpeg's structs appear by name only.
#ifndef LS_ENCODE_PARTS_H
#define LS_ENCODE_PARTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "encode.h"
#include "video_device.h"

struct AVCodecContext;
struct AVFrame;
struct AVPacket;

enum { LS_TICKS_PER_S = 90000 };

// --- pieces (encode_pieces.c): the finished output, waiting for ls_encode_pop
// ------------------------
struct ls_piece;
struct ls_pieces { // valid when zeroed
    struct ls_piece *first, *last;
};
// Takes *data (malloc'ed, `about` describes it; its data and size are not read) in any case, and
// sets *data to NULL. Cut in pieces of at most part_bytes_max.
LS_MUST int ls_pieces_push(struct ls_pieces *p, uint8_t **data, size_t size, size_t part_bytes_max,
                           const struct ls_media *about, struct ls_err *err);
bool ls_pieces_pop(struct ls_pieces *p, struct ls_media *out);
void ls_pieces_done(struct ls_pieces *p);

// --- pixels (encode_convert.c)
// ----------------------------------------------------------------------
struct ls_convert;
// Between I420 and RGB24 of the same size. matrix and full_range are those of the I420 side.
LS_MUST int ls_convert_open(struct ls_convert **out, const struct ls_frame *like, enum ls_pixel to,
                            struct ls_err *err);
LS_MUST int ls_convert_run(struct ls_convert *c, const struct ls_frame *from,
                           uint8_t *const plane[3], const int stride[3], struct ls_err *err);
void ls_convert_close(struct ls_convert **c);
// A tightly packed picture of this format: bytes of it, and its planes and strides at `data`.
size_t ls_packed_size(enum ls_pixel format, int width_px, int height_px);
void ls_packed_planes(struct ls_frame *f, uint8_t *data, enum ls_pixel format, int width_px,
                      int height_px);

// --- H.264 (encode_video.c)
// -------------------------------------------------------------------------
struct ls_h264;
LS_MUST int ls_h264_open(struct ls_h264 **out, const struct ls_encode_params *params,
                         struct ls_err *err);
// After each push, and after the end, pop until it returns 0: only then may the next push come.
LS_MUST int ls_h264_push(struct ls_h264 *h, const struct ls_frame *frame, int64_t pts,
                         int64_t duration, struct ls_err *err);
LS_MUST int ls_h264_end(struct ls_h264 *h, struct ls_err *err);
// 1: *pkt holds a packet with pts, dts and duration in ticks; 0: none yet; or an error.
LS_MUST int ls_h264_pop(struct ls_h264 *h, struct AVPacket *pkt, struct ls_err *err);
const struct AVCodecContext *ls_h264_codec(const struct ls_h264 *h);
int ls_h264_gop_frames(const struct ls_encode_params *params);     // keyframe interval
int ls_h264_segment_frames(const struct ls_encode_params *params); // divides the keyframe interval
bool ls_h264_takes_device(const struct ls_h264 *h);                // NVENC is at work
void ls_h264_close(struct ls_h264 **h);

// --- NVENC (encode_nvenc.c), for encode_video.c
// ----------------------------------------------------
bool ls_nvenc_fits(const struct ls_encode_params *p); // whether to try it
// ctx: allocated for h264_nvenc, all but what is NVENC's own set.
LS_MUST int ls_nvenc_open(struct AVCodecContext *ctx, const struct ls_encode_params *p,
                          struct ls_err *err);
// Gives `to` a surface with the frame's picture.
LS_MUST int ls_nvenc_fill(struct AVCodecContext *ctx, struct AVFrame *to,
                          const struct ls_frame *frame, const struct ls_video_device *device,
                          struct ls_err *err);
// Encodes one picture: 0, or why it cannot.
LS_MUST int ls_nvenc_probe(const struct ls_video_device *device, struct ls_err *err);

// --- NVDEC (video_probe.c), for video_device.c
// ----------------------------------------------------
// Decodes one picture that x264 made: 0, or why the device does not.
LS_MUST int ls_nvdec_probe(struct AVBufferRef *hw, struct ls_err *err);

// --- frames from the device (encode_fetch.c)
// --------------------------------------------------------
struct ls_fetch;
LS_MUST int ls_fetch_new(struct ls_fetch **out, const struct ls_video_device *device,
                         struct ls_err *err);
void ls_fetch_free(struct ls_fetch **fetch);
// out: the frame on the host, valid until the next call; NV12 becomes I420.
LS_MUST int ls_fetch_run(struct ls_fetch *fetch, struct ls_frame *out, const struct ls_frame *frame,
                         struct ls_err *err);

// --- AAC (encode_audio.c)
// ---------------------------------------------------------------------------
struct ls_aac;
typedef int ls_aac_on_packet(void *user, struct AVPacket *pkt, struct ls_err *err);
// on_packet gets every packet, in order, with pts = dts in samples at ls_aac_rate; it may take its
// content.
LS_MUST int ls_aac_open(struct ls_aac **out, int sample_rate_hz, int channels,
                        ls_aac_on_packet *on_packet, void *user, struct ls_err *err);
// Interleaved; NULL: silence.
LS_MUST int ls_aac_push(struct ls_aac *a, const float *samples, int count, struct ls_err *err);
// Pushes silence until the packets that are heard up to this time (ticks) have come.
LS_MUST int ls_aac_cover(struct ls_aac *a, int64_t end, struct ls_err *err);
int64_t ls_aac_samples(const struct ls_aac *a, int64_t ticks); // nearest sample, at ls_aac_rate
const struct AVCodecContext *ls_aac_codec(const struct ls_aac *a);
void ls_aac_close(struct ls_aac **a);

#endif
