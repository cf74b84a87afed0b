// SPDX-License-Identifier: Apache-2.0
// The inside of lipstream-decode: one process, one thread, one input of a stranger's bytes. With
// --decode-on-device the same code is a thread of the server (decode_thread.c). worker.c is the
// process's main, worker_job.c the order of passes, worker_io.c talks to the server and reads the
// spool, worker_sniff.c and worker_input.c open and decode a container, worker_video.c,
// worker_reverse.c, worker_raw.c, worker_still.c make frames, worker_picture.c turns a picture into
// the ring's format, worker_sound.c makes sound. Everything blocks where it must wait: that is the
// back-pressure.
#ifndef LS_WORKER_H
#define LS_WORKER_H

#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>

#include <libavcodec/avcodec.h>
#include <libavformat/avformat.h>
#include <libswscale/swscale.h>

#include "decode_wire.h"
#include "kernels/backend.h"

// Where frames go when the decoder is a thread of the server: device memory.
struct ls_worker_device {
    void *user;
    int (*copy)(void *user, const struct ls_copy *copy, struct ls_err *err);
    uint8_t *(*ring)(void *user); // the ring's memory, once RING has come
    struct AVBufferRef *hw;       // FFmpeg's device that decodes; NULL: decoded by software
    void (*told)(void *user);     // a record went out
};

struct ls_worker {
    int control, events, spool, ring_file; // descriptors
    const struct ls_worker_device *device; // NULL: a process, its ring is shared memory
    bool gone;                             // the server left: unwind (a process just ends)
    uint8_t *stage;                        // device: a slot's size on the host
    struct ls_wire_job job;
    bool has_job;
    int64_t available; // bytes in the spool
    bool ended;        // no more will come
    bool rewinds;      // the reader may go back: nothing may be punched out
    int64_t read_max, told_read;
    int64_t told_ms; // when the server last heard of us
    uint8_t *map;    // the ring
    struct ls_wire_ring ring;
    bool slot_free[LS_WIRE_SLOTS_MAX];
    bool has_again;
    struct ls_wire_again again;
    char log[192]; // what FFmpeg complained about last
    bool warned_log;
};

// worker_io.c. When the server is gone a process ends inside these. A thread goes on with `gone`
// set: nothing is sent, inputs seem to end, no slot (-1) is to be had.
void ls_worker_send(struct ls_worker *w, int type, const void *data, size_t size);
void ls_worker_send2(struct ls_worker *w, int type, const void *data, size_t size, const void *more,
                     size_t more_size);
void ls_worker_warn(struct ls_worker *w, const char *reason, const char *fmt, ...) LS_PRINTF(3, 4);
void ls_worker_order(struct ls_worker *w,
                     bool wait);         // reads the orders that are there, or the next
int ls_worker_slot(struct ls_worker *w); // waits for a free one and takes it
// Puts slot_bytes of the host, laid out as a slot, into a slot of a ring on the device.
LS_MUST int ls_worker_upload(struct ls_worker *w, int64_t slot, const uint8_t *from,
                             struct ls_err *err);
void ls_worker_alive(struct ls_worker *w, int64_t pos); // tells that work goes on, if it is time to
// Waits until there is a byte at pos; how many are there, 0 at the end of the input.
int64_t ls_worker_wait(struct ls_worker *w, int64_t pos);
// Waits for all of them; fewer only at the end of the input.
int ls_worker_read(struct ls_worker *w, int64_t pos, void *data, int size);
int ls_worker_map(struct ls_worker *w, struct ls_err *err); // waits for RING and maps it
LS_MUST int ls_worker_av(struct ls_worker *w, struct ls_err *err, int av, const char *what);

// worker_job.c: waits for the job and does it, up to END or ERROR.
void ls_worker_run(struct ls_worker *w);
void ls_worker_log(void *context, int level, const char *fmt, va_list args); // for av_log

// worker_sniff.c: what the first bytes say.
struct ls_sniff {
    const char *container; // FFmpeg's demuxer; NULL: none that is accepted
    const char *still;     // FFmpeg's decoder, of a picture
    const char *other;     // the name of something that is known and not accepted
    bool moov_last;        // ISO: reading needs the end of the file first
    int64_t head_bytes;    // WAV: what stands before the samples; else 0
};
LS_MUST int ls_sniff_input(struct ls_worker *w, struct ls_sniff *out, struct ls_err *err);

// worker_input.c: a container and the decoder of one of its streams.
struct ls_input {
    struct ls_worker *w;
    AVFormatContext *fmt;
    AVIOContext *io;
    AVCodecContext *dec;
    AVPacket *pkt;
    AVStream *stream; // fmt's
    int64_t pos;
    int64_t head_bytes; // while opening: the file seems to end there; 0: all of it is seen
    int64_t corrupt_count;
    bool draining, cut_off;
    bool timeline; // the container's times start at 0, whatever its streams do
};
// rewinds: the reader may jump (all of the input is there, or it will be waited for).
LS_MUST int ls_input_open(struct ls_input *in, struct ls_worker *w, const struct ls_sniff *sniff,
                          bool rewinds, enum AVMediaType kind, struct ls_err *err);
// hw: FFmpeg's device that decodes if it can, or NULL.
LS_MUST int ls_input_decoder(AVCodecContext **out, const AVCodecParameters *par, int64_t pixels_max,
                             struct AVBufferRef *hw, struct ls_err *err);
// 1: a frame; 0: the end.
LS_MUST int ls_input_next(struct ls_input *in, AVFrame *frame, struct ls_err *err);
LS_MUST int ls_input_seek(struct ls_input *in, int64_t ts);
int64_t
ls_input_start_gap(const struct ls_input *in); // us that the stream starts after the earliest
void ls_input_close(struct ls_input *in);

// worker_picture.c: any picture into the ring's format, turned the right way up.
struct ls_turn {
    bool swap, flip_x, flip_y; // rows become columns; then the result is mirrored
};
struct ls_picture {
    int in_width, in_height; // of the first picture; later ones are scaled to it
    struct ls_turn turn;
    struct ls_decode_video info; // size, matrix, range, sample aspect, rotation
    enum ls_pixel work;
    struct SwsContext *sws;
    int sws_key[6];
    AVFrame *upright, *fetched; // fetched: from a decoder's device memory
    bool scaled;                // a later picture had another size
};
bool ls_picture_on_device(const AVFrame *frame);
// Whether the frame's own planes in device memory are what is wanted: upright NV12 of this size.
bool ls_picture_direct(const struct ls_picture *p, const AVFrame *frame);
struct ls_turn ls_turn_matrix(const int32_t *matrix); // a display matrix, or NULL
struct ls_turn ls_turn_exif(int orientation);
LS_MUST int ls_picture_init(struct ls_picture *p, const AVFrame *first, const struct ls_turn *turn,
                            AVRational sar, enum ls_pixel work, struct ls_err *err);
LS_MUST int ls_picture_put(struct ls_picture *p, const AVFrame *from, uint8_t *const plane[3],
                           const int stride[3], struct ls_err *err);
void ls_picture_done(struct ls_picture *p);

// worker_video.c: the clock of a video and what is known of it after the first pass.
struct ls_mark { // a key frame of the first pass
    int64_t ts, idx, pts, offset;
};
struct ls_clock {
    AVRational base, rate; // rate: of a constant one, else 0/1
    int64_t zero, offset, last;
    bool started, warned;
};
enum { LS_MARKS_MAX = 4096 };
enum { LS_WORKER_REACH = 256 * 1024 }; // bytes that a stream may go back
struct ls_film {
    struct ls_picture picture;
    struct ls_clock clock;
    struct ls_decode_video info;
    int64_t frame_count, end; // of the first pass; ticks
    struct ls_mark mark[LS_MARKS_MAX];
    int mark_count;
    int64_t mark_spacing;
    bool warned_interlaced, warned_scaled;
};
int64_t ls_clock_pts(struct ls_worker *w, struct ls_clock *clock, int64_t ts, int64_t guess);
// Takes a slot, fills it and tells the server.
LS_MUST int ls_film_emit(struct ls_worker *w, struct ls_film *film, const AVFrame *frame,
                         int64_t idx, int64_t pts, int64_t duration, struct ls_err *err);
LS_MUST int ls_film_start(struct ls_worker *w, struct ls_film *film, struct ls_err *err);
LS_MUST int ls_film_forward(struct ls_worker *w, struct ls_film *film, const struct ls_sniff *sniff,
                            struct ls_err *err);
// worker_reverse.c
LS_MUST int ls_film_backward(struct ls_worker *w, struct ls_film *film,
                             const struct ls_sniff *sniff, struct ls_err *err);
// worker_raw.c, worker_still.c, worker_sound.c: whole jobs, END included.
LS_MUST int ls_raw_pass(struct ls_worker *w, struct ls_film *film, bool backward,
                        struct ls_err *err);
LS_MUST int ls_still_pass(struct ls_worker *w, struct ls_film *film, struct ls_err *err);
LS_MUST int ls_sound_pass(struct ls_worker *w, const struct ls_sniff *sniff, struct ls_err *err);

#endif
