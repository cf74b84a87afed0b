// SPDX-License-Identifier: Apache-2.0
// The decode process's side of the pipes, the ring and the spool file. Orders are read whenever the
// process needs something (bytes, a free slot) and in passing at each read; events are written at
// once. When the server is gone a process ends here, wherever it was: it holds nothing that needs
// saving. A thread of the server goes on with `gone` set, and unwinds.
#include "worker.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum {
    TELL_BYTES = 32768, // half of the smallest --feed-bytes-ahead: the feeder is never starved
    TELL_MS = 50,       // half of the smallest --decoder-stuck-max
};

static int64_t now_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void leave(struct ls_worker *w, int status)
{
    if (!w->device)
        _exit(status);
    w->gone = true;
}

void ls_worker_send2(struct ls_worker *w, int type, const void *data, size_t size, const void *more,
                     size_t more_size)
{
    struct ls_wire_head head = {(uint32_t)type, (uint32_t)(size + more_size)};
    struct iovec part[3] = {{&head, sizeof head}, {(void *)data, size}, {(void *)more, more_size}};
    int i = 0;

    while (i < 3 && !w->gone) {
        ssize_t n = writev(w->events, part + i, 3 - i);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            leave(w, 0);
            return;
        }
        while (i < 3 && (size_t)n >= part[i].iov_len)
            n -= (ssize_t)part[i++].iov_len;
        if (i < 3) {
            part[i].iov_base = (char *)part[i].iov_base + n;
            part[i].iov_len -= (size_t)n;
        }
    }
    w->told_ms = now_ms();
    if (w->device)
        w->device->told(w->device->user);
}

void ls_worker_send(struct ls_worker *w, int type, const void *data, size_t size)
{
    ls_worker_send2(w, type, data, size, NULL, 0);
}

void ls_worker_warn(struct ls_worker *w, const char *reason, const char *fmt, ...)
{
    struct ls_decode_warning warning = {0};
    va_list args;

    snprintf(warning.reason, sizeof warning.reason, "%s", reason);
    va_start(args, fmt);
    vsnprintf(warning.text, sizeof warning.text, fmt, args);
    va_end(args);
    ls_worker_send(w, LS_WIRE_WARNING, &warning, sizeof warning);
}

static void take(struct ls_worker *w, void *to, size_t size)
{
    size_t done = 0;

    while (done < size && !w->gone) {
        ssize_t n = read(w->control, (char *)to + done, size - done);

        if (n < 0 && errno == EINTR)
            continue;
        if (n > 0)
            done += (size_t)n;
        else
            leave(w, 0);
    }
    if (w->gone)
        memset(to, 0, size);
}

// The server is trusted; the sizes are checked all the same, since a mismatch means two builds.
static void take_as(struct ls_worker *w, const struct ls_wire_head *head, void *to, size_t size)
{
    if (head->size != size) {
        fprintf(stderr, "order %u has %u bytes instead of %zu: another build?\n", head->type,
                head->size, size);
        leave(w, 2);
    }
    take(w, to, size);
}

static void order(struct ls_worker *w)
{
    struct ls_wire_head head;
    struct ls_wire_available available;
    struct ls_wire_release release;

    take(w, &head, sizeof head);
    if (w->gone)
        return;
    switch (head.type) {
    case LS_WIRE_JOB:
        take_as(w, &head, &w->job, sizeof w->job);
        w->has_job = true;
        break;
    case LS_WIRE_AVAILABLE:
        take_as(w, &head, &available, sizeof available);
        w->available = available.bytes;
        w->ended = available.ended;
        break;
    case LS_WIRE_RING:
        take_as(w, &head, &w->ring, sizeof w->ring);
        break;
    case LS_WIRE_RELEASE:
        take_as(w, &head, &release, sizeof release);
        if (release.slot >= 0 && release.slot < LS_WIRE_SLOTS_MAX)
            w->slot_free[release.slot] = true;
        break;
    case LS_WIRE_AGAIN:
        take_as(w, &head, &w->again, sizeof w->again);
        w->has_again = true;
        break;
    default:
        fprintf(stderr, "unknown order %u\n", head.type);
        leave(w, 2);
    }
}

void ls_worker_order(struct ls_worker *w, bool wait)
{
    struct pollfd fd = {w->control, POLLIN, 0};

    if (wait && !w->gone)
        order(w);
    while (!w->gone && poll(&fd, 1, 0) > 0)
        order(w);
}

int ls_worker_slot(struct ls_worker *w)
{
    int i;

    ls_worker_order(w, false);
    while (!w->gone) {
        for (i = 0; i < w->ring.slots; i++) {
            if (w->slot_free[i]) {
                w->slot_free[i] = false;
                return i;
            }
        }
        ls_worker_order(w, true);
    }
    return -1;
}

static void progress(struct ls_worker *w, int64_t pos, bool waiting)
{
    struct ls_wire_progress p = {0};

    if (pos > w->read_max)
        w->read_max = pos;
    p.read = w->read_max;
    p.needed = w->rewinds || w->read_max < LS_WORKER_REACH ? 0 : w->read_max - LS_WORKER_REACH;
    p.waiting = waiting;
    w->told_read = w->read_max;
    ls_worker_send(w, LS_WIRE_PROGRESS, &p, sizeof p);
}

void ls_worker_alive(struct ls_worker *w, int64_t pos)
{
    if (pos > w->read_max)
        w->read_max = pos;
    if (w->read_max - w->told_read >= TELL_BYTES || now_ms() - w->told_ms >= TELL_MS)
        progress(w, pos, false);
}

int64_t ls_worker_wait(struct ls_worker *w, int64_t pos)
{
    ls_worker_order(w, false);
    if (pos >= w->available && !w->ended) {
        progress(w, pos, true);
        while (pos >= w->available && !w->ended && !w->gone)
            ls_worker_order(w, true);
    }
    if (w->gone)
        return 0;
    ls_worker_alive(w, pos < w->available ? pos : w->available);
    return pos < w->available ? w->available - pos : 0;
}

int ls_worker_read(struct ls_worker *w, int64_t pos, void *data, int size)
{
    int done = 0;

    while (done < size) {
        int64_t there = ls_worker_wait(w, pos + done);
        ssize_t n;

        if (there == 0)
            break;
        if (there > size - done)
            there = size - done;
        n = pread(w->spool, (char *)data + done, (size_t)there, pos + done);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            fprintf(stderr, "spool file at %lld: %s\n", (long long)(pos + done),
                    n < 0 ? strerror(errno) : "shorter than announced");
            leave(w, 2);
            break;
        }
        done += (int)n;
    }
    return done;
}

// A ring on the device: frames that the host made are laid out here and go up whole.
static int stage_ring(struct ls_worker *w, struct ls_err *err)
{
    w->map = w->device->ring(w->device->user);
    w->stage = calloc(1, (size_t)w->ring.slot_bytes);
    if (!w->stage)
        return ls_fail(err, LS_ENOMEM, "no memory for a frame of %lld bytes",
                       (long long)w->ring.slot_bytes);
    for (int i = 0; i < w->ring.slots; i++)
        w->slot_free[i] = true;
    return 0;
}

int ls_worker_upload(struct ls_worker *w, int64_t slot, const uint8_t *from, struct ls_err *err)
{
    size_t size = (size_t)w->ring.slot_bytes;
    struct ls_copy copy = {.to = w->map + slot * w->ring.slot_bytes,
                           .from = from,
                           .to_stride = size,
                           .from_stride = size,
                           .row_size = size,
                           .row_count = 1,
                           .to_device = true};

    return w->device->copy(w->device->user, &copy, err);
}

int ls_worker_map(struct ls_worker *w, struct ls_err *err)
{
    size_t size;
    int i;

    while (w->ring.slots == 0 && !w->gone)
        ls_worker_order(w, true);
    if (w->gone)
        return ls_fail(err, LS_ECANCEL, "the server is gone");
    if (w->device)
        return stage_ring(w, err);
    size = (size_t)(w->ring.slot_bytes * w->ring.slots);
    w->map = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, w->ring_file, 0);
    if (w->map == MAP_FAILED) {
        w->map = NULL;
        return ls_fail(err, LS_ENOMEM, "no room for %zu bytes of frames: %s", size,
                       strerror(errno));
    }
    for (i = 0; i < w->ring.slots; i++)
        w->slot_free[i] = true;
    return 0;
}

int ls_worker_av(struct ls_worker *w, struct ls_err *err, int av, const char *what)
{
    char why[AV_ERROR_MAX_STRING_SIZE] = "";

    if (av == AVERROR(ENOMEM))
        return ls_fail(err, LS_ENOMEM, "%s needs more memory than a decode process may have", what);
    av_strerror(av, why, sizeof why);
    return ls_fail(err, LS_EMEDIA, "%s: %s%s%s", what, why, w->log[0] ? "; " : "", w->log);
}
