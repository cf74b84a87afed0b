// SPDX-License-Identifier: Apache-2.0
// One input of a session, decoded by a process of its own (lipstream-decode). Bytes go to an
// unlinked spool file, of which what was read is punched out again unless the input must loop; the
// process reads it, and writes frames into a ring of shared memory and events to its pipe. When the
// ring is full or nobody reads the sound, it waits: that is the back-pressure. A process that
// crashes, hangs or grows is killed, and the session learns why. Loop thread only; callbacks come
// from the loop, never from inside a call. One process decodes ONE input (the session has two), so
// that neither can hold up the other.
#ifndef LS_DECODE_H
#define LS_DECODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "job.h"
#include "kernels/err.h"
#include "kernels/frame.h"
#include "options.h"

struct uv_loop_s;
struct ls_video_device;
struct ls_decode_pool; // started processes that wait for work
struct ls_decode;

// Keeps opt->warm_decoders processes ready. opt and device are borrowed. path: of lipstream-decode.
// device: where ls_decode_params.on_device puts frames, or NULL.
LS_MUST int ls_decode_pool_open(struct ls_decode_pool **out, struct uv_loop_s *loop,
                                const char *path, const struct ls_options *opt,
                                const struct ls_video_device *device, struct ls_err *err);
// Kills the idle processes, waits for the threads for decoder_stuck_ms_max. Every ls_decode must be
// closed. The loop must still run until its handles close. False: a thread hangs in a decoder; the
// device that it writes to must not be closed.
bool ls_decode_pool_close(struct ls_decode_pool **pool);
int ls_decode_pool_live(const struct ls_decode_pool *pool); // processes alive now, idle and busy
int64_t
ls_decode_pool_spooled(const struct ls_decode_pool *pool); // disk that all inputs hold, bytes
// No input could begin: less than feed_bytes_ahead is left of spool_total_bytes_max.
bool ls_decode_pool_full(const struct ls_decode_pool *pool);
int ls_decode_pool_idle(const struct ls_decode_pool *pool); // of them, those that wait for work

struct ls_decode_params {
    bool video;                   // else audio
    enum ls_source source;        // AUDIO: CONTAINER, PCM; VIDEO: CONTAINER, STILL, FRAMES
    int sample_rate_hz, channels; // PCM
    enum ls_sample sample;        // PCM
    int width_px, height_px;      // FRAMES
    enum ls_pixel pixel;          // FRAMES
    int rate_num, rate_den;       // FRAMES; STILL: the rate at which it is shown
    enum ls_pixel work;           // what the frames in the ring shall be
    bool on_device; // a container's video is decoded by a thread of the server into device memory
    bool keep;      // the input may be asked for again (loops): nothing is punched out
    int slots;      // frames in the ring
    bool yields;    // the process comes after others at the processor
};

// What a video turned out to be; before its first frame.
struct ls_decode_video {
    int width_px, height_px; // as shown: the rotation is already applied to the frames
    int sar_num, sar_den;    // sample aspect, 1:1 if unknown
    int rate_num, rate_den;  // nominal rate; 0/1 if unknown
    bool constant_rate;      // as the container declares it; timestamps decide all the same
    enum ls_matrix matrix;
    bool full_range;
    enum ls_pixel pixel; // of the frames in the ring
    int rotation_deg;    // that was applied, clockwise: 0, 90, 180, 270
    char codec[24], container[24];
    int64_t duration; // ticks, as the container declares it; 0: it does not. Not to be relied on
};
struct ls_decode_audio {
    int sample_rate_hz, channels; // of the voice in the output: 8000..96000 Hz, 1 or 2 channels
    char codec[24], container[24];
    int64_t duration; // ticks, as the container declares it; 0: it does not. Not to be relied on
};
struct ls_decode_frame {
    int slot;              // to be given back by ls_decode_release
    struct ls_frame frame; // points into the ring; writable; valid until the release
    int64_t idx;           // source frame, from 0; a later pass starts again at 0 (or counts down)
    int64_t pts;           // ticks of 1/90000 s; the first shown frame of the first pass is 0
    int64_t duration; // ticks, > 0; a guess (the last gap, the nominal rate) for the last frame
    bool key;         // the first frame of a pass
};
// Non-fatal findings of the process ("MOOV_LAST", "CORRUPT_PACKETS", "INTERLACED", …).
struct ls_decode_warning {
    char reason[32];
    char text[192];
};
struct ls_decode_end {
    int64_t frame_count; // of this pass
    int64_t duration;    // ticks: end of the last frame, or of the sound
};

struct ls_decode_events {
    void (*on_video)(void *user, const struct ls_decode_video *info);
    void (*on_audio)(void *user, const struct ls_decode_audio *info);
    void (*on_frame)(void *user, const struct ls_decode_frame *frame);
    // The same stretch of time twice: mono 16 kHz for the network (mean of channels), and
    // interleaved float at the output's rate. Either count may be 0. Borrowed until return.
    void (*on_sound)(void *user, const float *mono, int mono_count, const float *voice,
                     int voice_count); // voice_count: samples per channel
    void (*on_warning)(void *user, const struct ls_decode_warning *warning);
    void (*on_end)(void *user, const struct ls_decode_end *end); // of a pass
    void (*on_hungry)(void *user);                               // ls_decode_hungry became true
    void (*on_error)(void *user, const struct ls_err *err); // the last event; only close is allowed
};

// Takes a warm process (or starts one). On failure no callback ever comes.
LS_MUST int ls_decode_open(struct ls_decode **out, struct ls_decode_pool *pool,
                           const struct ls_decode_params *params,
                           const struct ls_decode_events *events, void *user, struct ls_err *err);
// Copies the bytes; they are written to the spool in the background. LS_ELIMIT beyond
// spool_bytes_max, LS_EFULL beyond what is left of spool_total_bytes_max. Any size; the caller
// keeps the amount in memory bounded by feeding only while hungry.
LS_MUST int ls_decode_feed(struct ls_decode *d, const void *data, size_t size, struct ls_err *err);
void ls_decode_end_input(struct ls_decode *d); // no more bytes; idempotent
// True while less than feed_bytes_ahead bytes lie before the reader and the input is open.
bool ls_decode_hungry(const struct ls_decode *d);
int64_t
ls_decode_busy_us(const struct ls_decode *d); // processor time of its process; 0 when it has ended
// Sound only: stop and go on reading its events (the process waits when its pipe is full).
void ls_decode_pause(struct ls_decode *d, bool paused);
// The frame's memory may be written again by the process.
void ls_decode_release(struct ls_decode *d, int slot);
// After on_end of a pass, with keep: decode it once more, from the first frame or, backward, from
// the last. Timestamps of a pass start at 0 and rise; idx falls when backward. Frames come as
// before.
void ls_decode_again(struct ls_decode *d, bool backward);
// Nothing more is wanted: kills the process (a thread ends at its next record) and writes nothing
// more to disk. No callback comes after it; frames that are out stay until close. Accepts NULL.
void ls_decode_stop(struct ls_decode *d);
// Kills the process, frees all; slots still out become invalid at once, so call it when none is in
// use by another thread. No callback comes after it. Sets *d to NULL; accepts NULL.
void ls_decode_close(struct ls_decode **d);

#endif
