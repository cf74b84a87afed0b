// SPDX-License-Identifier: Apache-2.0
// The unlinked file through which an input goes to its decode process. Bytes are copied into chunks
// and written by libuv's threads, one job at a time and in order; the same job gives back the disk
// space of what was read, so that a streamed input of any length lies on disk for a few megabytes
// only. Loop thread, except on_work, which touches nothing but its job's own fields.
#include "decode_impl.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    CHUNK_BYTES = 65536, // small pieces are joined up to this
    PUNCH_BYTES =
        1 << 20, // at least so much at once: each hole is a transaction of the file system
};

static void on_work(uv_work_t *work)
{
    struct ls_spool *s = work->data;
    struct ls_chunk *c = s->writing;
    size_t done = 0;

    while (c && done < c->size) {
        ssize_t n = pwrite(s->fd, c->data + done, c->size - done, s->written + (int64_t)done);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            s->error = n < 0 ? errno : ENOSPC;
            return;
        }
        done += (size_t)n;
    }
    // Space that cannot be given back (a file system without holes) costs disk, nothing else.
    if (s->job_punch_to > s->job_punch_from)
        (void)fallocate(s->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, s->job_punch_from,
                        s->job_punch_to - s->job_punch_from);
}

static void on_after(uv_work_t *work, int status);

static void next_job(struct ls_spool *s, struct uv_loop_s *loop)
{
    if (s->busy || s->error || s->stopped)
        return;
    s->writing = s->first;
    s->job_punch_from = s->job_punch_to = s->punched;
    if (s->punch_to - s->punched >= PUNCH_BYTES)
        s->job_punch_to = s->punch_to / PUNCH_BYTES * PUNCH_BYTES;
    if (!s->writing && s->job_punch_to == s->job_punch_from)
        return;
    s->work.data = s;
    s->busy = uv_queue_work(loop, &s->work, on_work, on_after) == 0;
}

static void on_after(uv_work_t *work, int status)
{
    struct ls_spool *s = work->data;
    struct ls_chunk *c = s->writing;

    s->busy = false;
    s->writing = NULL;
    if (!s->error && status != UV_ECANCELED) {
        s->punched = s->job_punch_to;
        if (c) {
            s->written += (int64_t)c->size;
            s->first = c->next;
            if (!s->first)
                s->last = NULL;
            free(c);
        }
        next_job(s, work->loop);
    }
    s->on_done(s->user);
}

int ls_spool_push(struct ls_spool *s, struct uv_loop_s *loop, const void *data, size_t size,
                  struct ls_err *err)
{
    struct ls_chunk *c = s->last;

    if (!c || c == s->writing || c->capacity - c->size < size) {
        size_t capacity = size > CHUNK_BYTES ? size : CHUNK_BYTES;

        c = malloc(sizeof *c + capacity);
        if (!c)
            return ls_fail(err, LS_ENOMEM, "no memory for %zu bytes of input", size);
        c->next = NULL;
        c->size = 0;
        c->capacity = capacity;
        if (s->last)
            s->last->next = c;
        else
            s->first = c;
        s->last = c;
    }
    memcpy(c->data + c->size, data, size);
    c->size += size;
    s->fed += (int64_t)size;
    next_job(s, loop);
    return 0;
}

void ls_spool_punch(struct ls_spool *s, struct uv_loop_s *loop, int64_t to)
{
    if (to > s->punch_to && to <= s->written) {
        s->punch_to = to;
        next_job(s, loop);
    }
}

int64_t ls_spool_held(const struct ls_spool *s)
{
    return s->fed - s->punched;
}

void ls_spool_stop(struct ls_spool *s)
{
    s->stopped = true;
    if (s->busy)
        uv_cancel((uv_req_t *)&s->work); // no harm if it has begun: on_after comes in any case
}

void ls_spool_done(struct ls_spool *s)
{
    while (s->first) {
        struct ls_chunk *c = s->first;

        s->first = c->next;
        free(c);
    }
    s->last = NULL;
    if (s->fd >= 0)
        close(s->fd);
    s->fd = -1;
}
