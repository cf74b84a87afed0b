// SPDX-License-Identifier: Apache-2.0
// Encodes frames and sound and muxes them into the output's bytes. Any one thread at a time (a pool
// job of the session), but that ls_encode_sound may run on a second one while ls_encode_frame runs,
// as long as the sound has not ended. What comes out depends on the sequence of frames and the
// sequence of samples alone, not on how calls for picture and sound interleave or how sound is
// chunked.
#ifndef LS_ENCODE_H
#define LS_ENCODE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "job.h"
#include "kernels/err.h"
#include "kernels/frame.h"

enum ls_media_kind { LS_MEDIA_INIT, LS_MEDIA_SEGMENT, LS_MEDIA_FRAME };

// One piece of output; the data of all pieces, joined, is the output file.
struct ls_media {
    uint8_t *data; // malloc'ed; owned by whoever holds the struct
    size_t size;
    enum ls_media_kind kind;
    int64_t first_frame; // output frame index; of a SEGMENT or FRAME
    int frame_count;     // that begin in this piece (a segment split by chunk_bytes_max: all in the
                         // first)
    int64_t pts;         // ticks, of its first frame
    bool is_keyframe;
};

struct ls_video_device;

struct ls_encode_params {
    enum ls_container container;
    enum ls_video video;
    enum ls_audio audio;
    int crf;
    int64_t bit_rate;
    enum ls_speed speed;
    enum ls_latency latency;
    int threads;                          // of x264
    const struct ls_video_device *device; // of frames that lie there, and of NVENC; or NULL
    int chunk_bytes_max;
    int width_px, height_px;
    enum ls_pixel format; // of the frames that come: I420, RGB24, or NV12
    bool on_device;       // they lie in the device's memory
    enum ls_matrix matrix;
    bool full_range;
    int sar_num, sar_den;
    int rate_num, rate_den;       // nominal; 0/1: unknown
    int sample_rate_hz, channels; // of the sound that comes; 0: no sound
    const atomic_bool *stop;      // once true, calls return LS_ECANCEL soon: within a frame of the
                                  // picture or of the sound. Outlives the encoder; NULL: never
};

struct ls_encode;

LS_MUST int ls_encode_open(struct ls_encode **out, const struct ls_encode_params *params,
                           struct ls_err *err);
// pts rises strictly, in ticks; the frame's memory may be written again when the call returns.
LS_MUST int ls_encode_frame(struct ls_encode *e, const struct ls_frame *frame, int64_t pts,
                            int64_t duration, struct ls_err *err);
// Interleaved float, count samples per channel, follows on from the call before; the first sample
// is heard at pts 0. Clipped to -1..1.
LS_MUST int ls_encode_sound(struct ls_encode *e, const float *voice, int count, struct ls_err *err);
// The sound is complete: from here on silence follows by itself as frames come. Without it a
// picture that is longer than its sound waits for ls_encode_finish, at most 120 s of it.
LS_MUST int ls_encode_sound_end(struct ls_encode *e, struct ls_err *err);
// Nothing more comes: cuts or pads the sound to the end of the last frame and writes all that is
// left.
LS_MUST int ls_encode_finish(struct ls_encode *e, struct ls_err *err);
// Takes the next finished piece; false when there is none yet. The caller owns out->data.
bool ls_encode_pop(struct ls_encode *e, struct ls_media *out);
// Audio-video offset of the output in ticks (start of the first heard sample minus the first
// frame), and H.264/AAC details for the summary.
int64_t ls_encode_offset(const struct ls_encode *e);
void ls_encode_close(struct ls_encode **e);

#endif
