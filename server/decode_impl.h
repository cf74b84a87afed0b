// SPDX-License-Identifier: Apache-2.0
// What the decode*.c files share: the server's side of one
// decode process. Loop thread only, except the work half of decode_spool.c. A process
// (ls_decode_proc) outlives the ls_decode that used it by the moment that it takes to die and be
// waited for.
#ifndef LS_DECODE_IMPL_H
#define LS_DECODE_IMPL_H

#include <uv.h>

#include "decode_wire.h"

// --- decode_thread.c: the same work on a thread of this process, frames in device memory. It
// speaks through the same pipes, ends when they are closed, and outlives them by what it has in
// hand.
struct ls_decode_thread;
struct ls_decode_threads; // how many live
LS_MUST int ls_decode_threads_new(struct ls_decode_threads **out,
                                  const struct ls_video_device *device, struct ls_err *err);
// Waits until all have ended: their pipes must be closed. False: some have not within wait_ms; then
// they and what they use (the device) must be left as they are until the process ends.
bool ls_decode_threads_free(struct ls_decode_threads **threads, int64_t wait_ms);
// Takes the descriptors in any case.
LS_MUST int ls_decode_thread_start(struct ls_decode_thread **out, struct ls_decode_threads *threads,
                                   int control, int events, int spool, struct ls_err *err);
// Makes its ring, which lives until both the thread and ls_decode_thread_drop are through.
LS_MUST int ls_decode_thread_ring(struct ls_decode_thread *thread, uint8_t **out, size_t size,
                                  struct ls_err *err);
int64_t ls_decode_thread_busy_us(const struct ls_decode_thread *thread);
void ls_decode_thread_drop(struct ls_decode_thread **thread);

// --- decode_pool.c: one started process, or a thread in its place ---
struct ls_decode_proc {
    struct ls_decode_pool *pool;
    struct ls_decode_proc *next; // idle ones
    uv_process_t process;
    uv_pipe_t control, events, errors;
    int spool_fd, ring_fd;           // -1 when taken out
    struct ls_decode_thread *thread; // in place of the process
    int handles;                     // not closed yet
    bool exited, dropped;
    int64_t exit_status;
    int term_signal;
    char last_line[160]; // of its standard error
    size_t line_size;
    char line_buffer[256];
    void (*on_exit)(void *user);
    void *user;
};
LS_MUST int ls_decode_proc_take(struct ls_decode_proc **out, struct ls_decode_pool *pool,
                                bool on_device, struct ls_err *err);
void ls_decode_proc_kill(struct ls_decode_proc *p);
// Kills and forgets it; *p becomes NULL. No callback comes from its handles any more.
void ls_decode_proc_drop(struct ls_decode_proc **p);
// Of the disk that all inputs hold; delta may be negative.
void ls_decode_pool_spool(struct ls_decode_pool *pool, int64_t delta);
const struct ls_options *ls_decode_pool_options(const struct ls_decode_pool *pool);
struct uv_loop_s *ls_decode_pool_loop(const struct ls_decode_pool *pool);

// --- decode_spool.c: the unlinked file ---
struct ls_chunk {
    struct ls_chunk *next;
    size_t size, capacity;
    uint8_t data[];
};
struct ls_spool {
    int fd;
    struct ls_chunk *first, *last;
    int64_t fed, written; // bytes
    int64_t punched, punch_to;
    uv_work_t work;
    bool busy, stopped;
    // of the job in flight
    struct ls_chunk *writing;
    int64_t job_punch_from, job_punch_to;
    int error;                   // errno, set by the job
    void (*on_done)(void *user); // a job ended: look at written, busy and error
    void *user;
};
LS_MUST int ls_spool_push(struct ls_spool *s, struct uv_loop_s *loop, const void *data, size_t size,
                          struct ls_err *err);
// The bytes before `to` may go.
void ls_spool_punch(struct ls_spool *s, struct uv_loop_s *loop, int64_t to);
int64_t ls_spool_held(const struct ls_spool *s); // bytes on disk, or on their way
// Nobody reads it any more: what was not begun is not written, and busy ends with the job in
// flight.
void ls_spool_stop(struct ls_spool *s);
void ls_spool_done(struct ls_spool *s); // not while busy

// --- decode_check.c: what a process may say ---
struct ls_decode_check {
    bool has_info, has_ring, pass_over;
    bool slot_out[LS_WIRE_SLOTS_MAX];
    int slots, slots_out;
    bool backward;
    int64_t frames, next_idx, last_pts, last_end; // of the pass
    int64_t first_pass_frames;
    int channels;
    int64_t mono_count, voice_count;
    int voice_rate;
};
// 0, or LS_EDECODER with what is wrong. size is the payload's.
LS_MUST int ls_check_video(const struct ls_decode_video *v, struct ls_err *err);
LS_MUST int ls_check_audio(const struct ls_decode_audio *a, struct ls_err *err);
LS_MUST int ls_check_frame(struct ls_decode_check *c, const struct ls_wire_frame *f,
                           struct ls_err *err);
LS_MUST int ls_check_sound(struct ls_decode_check *c, const uint8_t *payload, size_t size,
                           struct ls_err *err);
LS_MUST int ls_check_end(struct ls_decode_check *c, const struct ls_decode_end *e, bool video,
                         struct ls_err *err);
LS_MUST int ls_check_warning(const struct ls_decode_warning *w, struct ls_err *err);
void ls_check_again(struct ls_decode_check *c, bool backward);
// LS_ELIMIT with the values, or 0.
LS_MUST int ls_check_limits(const struct ls_decode_video *v, const struct ls_options *opt,
                            struct ls_err *err);
void ls_printable(char *text, size_t size); // ends it and replaces what is no printable ASCII

// --- decode.c and decode_events.c ---
enum { LS_DECODE_READ_BYTES = 2 * (LS_WIRE_BYTES_MAX + (int)sizeof(struct ls_wire_head)) };
struct ls_decode {
    struct ls_decode_pool *pool;
    const struct ls_options *opt;
    struct ls_decode_proc *proc;
    struct ls_decode_params params;
    struct ls_decode_events events;
    void *user;
    struct ls_spool spool;
    struct ls_decode_check check;
    struct ls_decode_video video;
    struct ls_decode_audio audio;
    struct ls_wire_ring ring;
    uint8_t *map;
    size_t map_size;
    int ring_fd;
    int64_t read;             // the reader's place
    int64_t counted, scratch; // disk: what the pool knows of, what the process may write itself
    bool reader_waits, input_ended, end_told, was_hungry;
    bool paused, closed, over; // over: no more passes will come
    bool eof;                  // of the events
    int64_t heard_ms, told_written;
    uv_timer_t kick, watch;
    int timers;
    struct ls_err failure; // also of one that was stopped: told already
    bool failure_told, stopped;
    int64_t stopped_busy_us;
    size_t got; // bytes in the buffer
    uint8_t buffer[LS_DECODE_READ_BYTES];
};
static inline const char *ls_decode_side(const struct ls_decode *d)
{
    return d->params.video ? "video" : "audio";
}
void ls_decode_order(struct ls_decode *d, int type, const void *payload, size_t size);
// Checks one record and calls back; a failure is the caller's to tell.
LS_MUST int ls_decode_record(struct ls_decode *d, const struct ls_wire_head *head,
                             const uint8_t *payload, struct ls_err *err);

#endif
