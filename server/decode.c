// SPDX-License-Identifier: Apache-2.0
// The server's side of one input: feeds the spool, passes the process's checked records on as
// callbacks, and finds out why it stopped. Loop thread. No callback is made from inside a call of
// the session: what a call finds out is told by the `kick` timer on the next turn of the loop. A
// callback may close the decoder; every loop below looks for that after each one.
#include "decode_impl.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    SCRATCH_BYTES_MAX = 256 << 20, // of a backward pass; 182 frames of 1280x720
    SPOOL_SLACK = 16 << 20,        // blocks of the file system, holes not punched yet
    YIELD_NICE = 10,               // a tenth of the weight of others at the processor
};

// Keeps the pool's sum of what all inputs hold on disk.
static void count_disk(struct ls_decode *d)
{
    int64_t held = ls_spool_held(&d->spool) + d->scratch;

    ls_decode_pool_spool(d->pool, held - d->counted);
    d->counted = held;
}

static void free_decode(struct ls_decode *d)
{
    if (!d->closed || d->timers > 0 || d->spool.busy)
        return;
    ls_spool_done(&d->spool);
    if (d->ring_fd >= 0)
        close(d->ring_fd);
    free(d);
}

static void on_timer_closed(uv_handle_t *handle)
{
    struct ls_decode *d = handle->data;

    d->timers--;
    free_decode(d);
}

static void dispatch(struct ls_decode *d);

static void on_kick(uv_timer_t *timer)
{
    struct ls_decode *d = timer->data;

    if (d->failure.code && !d->failure_told) {
        d->failure_told = true;
        uv_timer_stop(&d->watch);
        d->events.on_error(d->user, &d->failure);
        return;
    }
    if (!d->failure.code)
        dispatch(d);
}

static void kick(struct ls_decode *d)
{
    uv_timer_start(&d->kick, on_kick, 0, 0);
}

// The first failure counts; it is told on the next turn. A text that names no field gets the
// input's.
static void fail(struct ls_decode *d, const struct ls_err *err)
{
    if (d->failure.code || d->closed)
        return;
    d->failure = *err;
    if (!d->failure.field[0])
        snprintf(d->failure.field, sizeof d->failure.field, "%s", ls_decode_side(d));
    uv_read_stop((uv_stream_t *)&d->proc->events);
    ls_decode_proc_kill(d->proc);
    kick(d);
}

// --- orders ---
struct order_out {
    uv_write_t req;
    struct ls_wire_head head;
    uint8_t payload[];
};

static void on_order_sent(uv_write_t *req, int status)
{
    (void)status; // a process that does not read is found out by its exit
    free(req->data);
}

void ls_decode_order(struct ls_decode *d, int type, const void *payload, size_t size)
{
    struct order_out *o = malloc(sizeof *o + size);
    struct ls_err err = {0};
    uv_buf_t buf;

    if (!o) {
        ls_fail(&err, LS_ENOMEM, "no memory for an order to the decode process");
        fail(d, &err);
        return;
    }
    o->head = (struct ls_wire_head){(uint32_t)type, (uint32_t)size};
    memcpy(o->payload, payload, size);
    o->req.data = o;
    buf = uv_buf_init((char *)&o->head, (unsigned)(sizeof o->head + size));
    if (uv_write(&o->req, (uv_stream_t *)&d->proc->control, &buf, 1, on_order_sent) < 0)
        free(o);
}

static void tell_available(struct ls_decode *d)
{
    struct ls_wire_available a = {d->spool.written,
                                  d->input_ended && d->spool.written == d->spool.fed};

    if (d->closed || d->failure.code || d->over)
        return;
    if (a.bytes == d->told_written && (!a.ended || d->end_told))
        return;
    d->told_written = a.bytes;
    d->end_told = a.ended;
    ls_decode_order(d, LS_WIRE_AVAILABLE, &a, sizeof a);
}

static void on_spooled(void *user)
{
    struct ls_decode *d = user;
    struct ls_err err = {0};

    if (d->closed) {
        free_decode(d);
        return;
    }
    count_disk(d);
    if (d->spool.error) {
        // A full disk becomes free again: the caller may try later.
        ls_fail(&err, d->spool.error == ENOSPC || d->spool.error == EDQUOT ? LS_EFULL : LS_EIO,
                "spool file of the %s input in %s: %s", ls_decode_side(d), d->opt->spool_dir,
                strerror(d->spool.error));
        fail(d, &err);
        return;
    }
    tell_available(d);
}

// A process that ended before its work did.
static void look_at_exit(struct ls_decode *d)
{
    struct ls_err err = {0};
    const struct ls_decode_proc *p = d->proc;
    const char *line = p->last_line;

    if (!d->eof || !p->exited || d->over || d->failure.code || d->closed || d->paused)
        return;
    if (p->term_signal)
        ls_fail(&err, LS_EDECODER,
                "the decode process of the %s input was ended by signal %d (%s)%s%s",
                ls_decode_side(d), p->term_signal, strsignal(p->term_signal), line[0] ? "; " : "",
                line);
    else
        ls_fail(&err, LS_EDECODER, "the decode process of the %s input ended with status %lld%s%s",
                ls_decode_side(d), (long long)p->exit_status, line[0] ? "; " : "", line);
    fail(d, &err);
}

// Hands on all whole records in the buffer.
static void dispatch(struct ls_decode *d)
{
    struct ls_err err = {0};
    size_t at = 0;

    while (!d->paused && !d->failure.code && d->got - at >= sizeof(struct ls_wire_head)) {
        struct ls_wire_head head;
        int r;

        memcpy(&head, d->buffer + at, sizeof head);
        if (head.size > LS_WIRE_BYTES_MAX) {
            ls_fail(&err, LS_EDECODER, "the decode process sent a record of %u bytes", head.size);
            fail(d, &err);
            return;
        }
        if (d->got - at < sizeof head + head.size)
            break;
        r = ls_decode_record(d, &head, d->buffer + at + sizeof head, &err);
        if (d->closed) // by the callback; d lives on until its handles are closed
            return;
        if (r < 0) {
            fail(d, &err);
            return;
        }
        at += sizeof head + head.size;
    }
    memmove(d->buffer, d->buffer + at, d->got - at);
    d->got -= at;
    look_at_exit(d);
}

static void on_alloc(uv_handle_t *handle, size_t size, uv_buf_t *buf)
{
    struct ls_decode *d = ((struct ls_decode_proc *)handle->data)->user;

    (void)size;
    *buf = uv_buf_init((char *)d->buffer + d->got, (unsigned)(sizeof d->buffer - d->got));
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    struct ls_decode *d = ((struct ls_decode_proc *)stream->data)->user;

    (void)buf;
    if (n < 0) {
        uv_read_stop(stream);
        d->eof = true;
        look_at_exit(d);
        return;
    }
    if (n > 0) {
        d->got += (size_t)n;
        d->heard_ms = (int64_t)uv_now(stream->loop);
        dispatch(d);
    }
}

static void on_exit_of_process(void *user)
{
    look_at_exit(user);
}

// --- the watch ---
static bool has_work(const struct ls_decode *d)
{
    if (d->paused || d->check.pass_over || d->over || d->failure.code)
        return false;
    if (d->check.has_ring && d->check.slots_out == d->check.slots)
        return false;
    // It said that it waits, and what it waits for is not there.
    return !(d->reader_waits && d->read >= d->told_written && !d->end_told);
}

static void on_watch(uv_timer_t *timer)
{
    struct ls_decode *d = timer->data;
    int64_t now = (int64_t)uv_now(timer->loop);
    struct ls_err err = {0};

    struct stat file;

    // The process can write to the spool file, for backward passes; nobody else would notice how
    // much.
    if (!d->failure.code && fstat(d->spool.fd, &file) == 0 &&
        file.st_blocks * INT64_C(512) > d->opt->spool_bytes_max + SPOOL_SLACK) {
        ls_fail(&err, LS_EDECODER, "the decode process of the %s input filled the disk: %lld bytes",
                ls_decode_side(d), (long long)file.st_blocks * 512);
        fail(d, &err);
    } else if (!has_work(d)) {
        d->heard_ms = now;
    } else if (now - d->heard_ms > d->opt->decoder_stuck_ms_max) {
        ls_fail(&err, LS_EDECODER,
                "the decode process of the %s input hangs: no sign for %lld ms "
                "at byte %lld",
                ls_decode_side(d), (long long)(now - d->heard_ms), (long long)d->read);
        fail(d, &err);
    }
}

// --- calls ---
static void start_job(struct ls_decode *d)
{
    struct ls_wire_job job = {
        .params = d->params, .pixels_max = d->opt->pixels_max, .side_px_max = d->opt->side_px_max};
    uint64_t tick_ms = (uint64_t)d->opt->decoder_stuck_ms_max / 8 + 10;

    d->proc->user = d;
    d->proc->on_exit = on_exit_of_process;
    // One way, for an ordinary user cannot take it back; the process serves nobody else.
    if (d->params.yields && !d->proc->thread)
        (void)setpriority(PRIO_PROCESS, (id_t)d->proc->process.pid, YIELD_NICE);
    d->heard_ms = (int64_t)uv_now(ls_decode_pool_loop(d->pool));
    ls_decode_order(d, LS_WIRE_JOB, &job, sizeof job);
    uv_read_start((uv_stream_t *)&d->proc->events, on_alloc, on_read);
    uv_timer_start(&d->watch, on_watch, tick_ms, tick_ms);
}

int ls_decode_open(struct ls_decode **out, struct ls_decode_pool *pool,
                   const struct ls_decode_params *params, const struct ls_decode_events *events,
                   void *user, struct ls_err *err)
{
    struct uv_loop_s *loop = ls_decode_pool_loop(pool);
    struct ls_decode *d;
    int r;

    if (params->video && (params->slots < 1 || params->slots > LS_WIRE_SLOTS_MAX))
        return ls_fail(err, LS_EINTERNAL, "a ring of %d frames", params->slots);
    d = calloc(1, sizeof *d);
    if (!d)
        return ls_fail(err, LS_ENOMEM, "no memory for a decoder");
    r = ls_decode_proc_take(&d->proc, pool, params->on_device, err);
    if (r < 0) {
        free(d);
        return r;
    }
    d->pool = pool;
    d->opt = ls_decode_pool_options(pool);
    d->params = *params;
    d->events = *events;
    d->user = user;
    d->was_hungry = true;
    d->spool.fd = d->proc->spool_fd;
    d->ring_fd = d->proc->ring_fd;
    d->proc->spool_fd = d->proc->ring_fd = -1;
    d->spool.on_done = on_spooled;
    d->spool.user = d;
    d->kick.data = d->watch.data = d;
    uv_timer_init(loop, &d->kick);
    uv_timer_init(loop, &d->watch);
    d->timers = 2;
    start_job(d);
    *out = d;
    return 0;
}

int ls_decode_feed(struct ls_decode *d, const void *data, size_t size, struct ls_err *err)
{
    int64_t total;
    int r;

    if (d->input_ended)
        return ls_fail(err, LS_EORDER, "bytes after the end of the %s input", ls_decode_side(d));
    if (size == 0 || d->over || d->failure.code) {
        d->spool.fed += (int64_t)size; // nobody will read them
        return 0;
    }
    if (ls_spool_held(&d->spool) + (int64_t)size > d->opt->spool_bytes_max) {
        ls_fail(err, LS_ELIMIT,
                "the %s input holds %lld bytes on disk and %zu more came; the limit is %lld "
                "(--spool-bytes-max)",
                ls_decode_side(d), (long long)ls_spool_held(&d->spool), size,
                (long long)d->opt->spool_bytes_max);
        if (err)
            snprintf(err->field, sizeof err->field, "%s", ls_decode_side(d));
        return LS_ELIMIT;
    }
    total = ls_decode_pool_spooled(d->pool) + (int64_t)size;
    if (total > d->opt->spool_total_bytes_max)
        return ls_fail(err, LS_EFULL,
                       "with %zu bytes more of the %s input, all inputs would hold %lld bytes on "
                       "disk; the limit is %lld (--spool-total-max)",
                       size, ls_decode_side(d), (long long)total,
                       (long long)d->opt->spool_total_bytes_max);
    r = ls_spool_push(&d->spool, ls_decode_pool_loop(d->pool), data, size, err);
    if (r == 0) {
        d->was_hungry = ls_decode_hungry(d);
        count_disk(d);
    }
    return r;
}

void ls_decode_end_input(struct ls_decode *d)
{
    d->input_ended = true;
    tell_available(d);
}

bool ls_decode_hungry(const struct ls_decode *d)
{
    if (d->input_ended || d->failure.code)
        return false;
    return d->over || d->spool.fed - d->read < d->opt->feed_bytes_ahead;
}

int64_t ls_decode_busy_us(const struct ls_decode *d)
{
    struct timespec t;
    clockid_t clock;

    if (d->stopped)
        return d->stopped_busy_us;
    if (d->proc && d->proc->thread)
        return ls_decode_thread_busy_us(d->proc->thread);
    // A process that has ended and was waited for has no clock any more.
    if (!d->proc || d->proc->exited || clock_getcpuclockid(d->proc->process.pid, &clock) != 0 ||
        clock_gettime(clock, &t) != 0)
        return 0;
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

void ls_decode_pause(struct ls_decode *d, bool paused)
{
    if (d->paused == paused || d->closed)
        return;
    d->paused = paused;
    if (d->failure.code)
        return;
    if (paused) {
        uv_read_stop((uv_stream_t *)&d->proc->events);
        return;
    }
    d->heard_ms = (int64_t)uv_now(ls_decode_pool_loop(d->pool));
    if (!d->eof)
        uv_read_start((uv_stream_t *)&d->proc->events, on_alloc, on_read);
    kick(d); // records that were read already
}

void ls_decode_release(struct ls_decode *d, int slot)
{
    struct ls_wire_release release = {slot};

    if (slot < 0 || slot >= d->check.slots || !d->check.slot_out[slot])
        return;
    d->check.slot_out[slot] = false;
    d->check.slots_out--;
    if (!d->failure.code && !d->over)
        ls_decode_order(d, LS_WIRE_RELEASE, &release, sizeof release);
}

// A backward pass writes pictures behind the input, at most all of the first pass, and keeps the
// room for the next one.
static void reserve_scratch(struct ls_decode *d)
{
    const int64_t bound[] = {
        d->opt->spool_bytes_max - ls_spool_held(&d->spool),
        d->opt->spool_total_bytes_max - ls_decode_pool_spooled(d->pool) + d->scratch,
        (d->check.first_pass_frames + 1) * d->ring.slot_bytes,
    };
    int64_t bytes = SCRATCH_BYTES_MAX;

    for (size_t i = 0; i < sizeof bound / sizeof *bound; i++)
        bytes = bound[i] < bytes ? bound[i] : bytes;
    d->scratch = bytes > 0 ? bytes : 0;
    count_disk(d);
}

void ls_decode_again(struct ls_decode *d, bool backward)
{
    struct ls_wire_again again = {backward, 0};

    if (!d->check.pass_over || !d->params.keep || d->failure.code)
        return;
    if (backward)
        reserve_scratch(d);
    again.scratch_bytes = d->scratch;
    ls_check_again(&d->check, backward);
    d->heard_ms = (int64_t)uv_now(ls_decode_pool_loop(d->pool));
    ls_decode_order(d, LS_WIRE_AGAIN, &again, sizeof again);
}

void ls_decode_stop(struct ls_decode *d)
{
    if (!d || d->stopped)
        return;
    d->stopped_busy_us = ls_decode_busy_us(d);
    d->stopped = d->failure_told = true;
    if (!d->failure.code)
        d->failure.code = LS_ECANCEL;
    uv_read_stop((uv_stream_t *)&d->proc->events);
    uv_timer_stop(&d->watch);
    ls_decode_proc_kill(d->proc);
    ls_spool_stop(&d->spool);
}

void ls_decode_close(struct ls_decode **at)
{
    struct ls_decode *d = *at;

    if (!d)
        return;
    *at = NULL;
    d->closed = true;
    ls_spool_stop(&d->spool);
    ls_decode_pool_spool(d->pool, -d->counted);
    d->counted = 0;
    if (d->map && !d->proc->thread)
        munmap(d->map, d->map_size);
    d->map = NULL;
    ls_decode_proc_drop(&d->proc);
    uv_close((uv_handle_t *)&d->kick, on_timer_closed);
    uv_close((uv_handle_t *)&d->watch, on_timer_closed);
}
