// SPDX-License-Identifier: Apache-2.0
// The device queue. Flow: session -> here -> infer -> back to the session. push, revoke, open and
// close run on the loop; lane_run on the device threads; the two lists (todo under the lock, done
// by an atomic stack) are all that they share. The done stack wakes the loop on empty-to-full only.
#include "batch.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <uv.h>

#include "clock.h"
#include "infer.h"

enum {
    LANES_MAX = 256,
    TAKE_MAX = 64,
    SMALL_RUN_MAX = 4, // small launches, 2 ms or less, between two looks at the faces
};

// What a device thread knows of its lane: how many batches may be, and are, begun and not finished;
// small launches since it last looked at the faces.
struct lane_state {
    int depth, flying, small_run;
};

struct queue {
    struct ls_work *first, **last;
    int count;
};

struct ls_batch {
    pthread_mutex_t lock;
    pthread_cond_t ready;
    struct queue small, face; // under the lock
    bool stopping;            // under the lock
    _Atomic(struct ls_work *) done;
    uv_async_t wake;
    struct ls_infer *infer[LANES_MAX];
    pthread_t thread[LANES_MAX];
    int lane_count, thread_count, batch_max;
    atomic_int lane_next;
    int64_t wait_us_max;
};

static void queue_init(struct queue *q)
{
    q->first = NULL;
    q->last = &q->first;
    q->count = 0;
}

static void queue_push(struct queue *q, struct ls_work *w)
{
    w->next = NULL;
    *q->last = w;
    q->last = &w->next;
    q->count++;
}

static struct ls_work *queue_pop(struct queue *q)
{
    struct ls_work *w = q->first;

    q->first = w->next;
    if (!q->first)
        q->last = &q->first;
    q->count--;
    return w;
}

// Mel work of several voices goes in one launch where that is cheaper.
static int take_small(struct ls_batch *b, struct ls_work **work, bool gather)
{
    int n = 0;

    do
        work[n++] = queue_pop(&b->small);
    while (gather && n < b->batch_max && b->small.count > 0 && work[0]->kind == LS_WORK_MEL &&
           b->small.first->kind == LS_WORK_MEL);
    return n;
}

// Whether small work goes first. On a device a batch costs the thread little: to begin one that is
// due, or to finish one that may be through by now, must not wait until there is no small work.
static bool small_first(const struct ls_batch *b, struct lane_state *lane)
{
    if (b->small.count == 0)
        return false;
    if (lane->depth == 0 || lane->small_run < SMALL_RUN_MAX)
        return true;
    lane->small_run = 0;
    return lane->flying == 0 && b->face.count == 0;
}

// Takes what is to be done next into `work`; waits for it unless the lane is busy. Returns how many
// pieces; 0: nothing is due, or stop. Lock held.
static int take(struct ls_batch *b, struct ls_work **work, struct lane_state *lane)
{
    struct timespec until;
    int64_t late_us;
    int n = 0, share;

    for (;;) {
        if (small_first(b, lane)) {
            lane->small_run++;
            return take_small(b, work, lane->depth > 0);
        }
        if (b->face.count > 0) {
            late_us = b->face.first->pushed_us + b->wait_us_max;
            if (b->face.count >= b->batch_max || b->stopping || ls_now_us() >= late_us)
                break;
            if (lane->flying > 0)
                return 0;
            if (b->small.count > 0)
                continue;
            until.tv_sec = late_us / 1000000;
            until.tv_nsec = late_us % 1000000 * 1000;
            pthread_cond_timedwait(&b->ready, &b->lock, &until);
            continue;
        }
        if (b->stopping || lane->flying > 0)
            return 0;
        pthread_cond_wait(&b->ready, &b->lock);
    }
    // No more than this lane's share: with few frames in flight one lane would idle while another
    // one holds up the order of all with a large batch.
    share = (b->face.count + b->lane_count - 1) / b->lane_count;
    while (n < b->batch_max && n < share)
        work[n++] = queue_pop(&b->face);
    if (b->face.count > 0)
        pthread_cond_signal(&b->ready); // another lane's share is left
    return n;
}

static void post_done(struct ls_batch *b, struct ls_work *w)
{
    struct ls_work *head = atomic_load_explicit(&b->done, memory_order_relaxed);

    do {
        w->next = head;
    } while (!atomic_compare_exchange_weak_explicit(&b->done, &head, w, memory_order_release,
                                                    memory_order_relaxed));
    if (!head)
        uv_async_send(&b->wake);
}

static void post_all(struct ls_batch *b, struct ls_work **work, int count)
{
    for (int i = 0; i < count; i++)
        post_done(b, work[i]);
}

static void finish_oldest(struct ls_batch *b, struct ls_infer *infer, struct lane_state *lane)
{
    struct ls_work *work[TAKE_MAX];
    int n = ls_infer_finish(infer, work);

    lane->flying--;
    post_all(b, work, n);
}

// Begins faces. A batch that is refused as a whole is done again one by one, so that each session
// has its own error only.
static void begin_faces(struct ls_batch *b, struct ls_infer *infer, struct lane_state *lane,
                        struct ls_work **work, int count)
{
    if (ls_infer_start(infer, work, count)) {
        lane->flying++;
        return;
    }
    while (count > 1 && lane->flying > 0)
        finish_oldest(b, infer, lane);
    for (int i = 0; i < count; i++) {
        if (count > 1) {
            work[i]->err = (struct ls_err){0};
            if (ls_infer_start(infer, &work[i], 1)) {
                lane->flying++;
                finish_oldest(b, infer, lane);
                continue;
            }
        }
        post_done(b, work[i]);
    }
}

static void *lane_run(void *arg)
{
    struct ls_batch *b = arg;
    struct ls_infer *infer = b->infer[atomic_fetch_add(&b->lane_next, 1)];
    struct lane_state lane = {.depth = ls_infer_depth(infer)};
    struct ls_work *work[TAKE_MAX];
    int n;

    for (;;) {
        pthread_mutex_lock(&b->lock);
        n = take(b, work, &lane);
        pthread_mutex_unlock(&b->lock);
        if (n == 0 && lane.flying == 0)
            return NULL;
        if (n > 0 && lane.depth > 0 && work[0]->kind == LS_WORK_FACE) {
            begin_faces(b, infer, &lane, work, n);
        } else if (n > 0) {
            ls_infer_run(infer, work, n);
            post_all(b, work, n);
        }
        if (lane.flying > 0 && (n == 0 || lane.flying == lane.depth))
            finish_oldest(b, infer, &lane);
    }
}

// Loop: hands finished work back, in the order in which it was finished.
static void on_wake(uv_async_t *handle)
{
    struct ls_batch *b = handle->data;
    struct ls_work *w = atomic_exchange_explicit(&b->done, NULL, memory_order_acquire);
    struct ls_work *next, *first = NULL;

    for (; w; w = next) {
        next = w->next;
        w->next = first;
        first = w;
    }
    for (w = first; w; w = next) {
        next = w->next;
        w->on_done(w);
    }
}

static int start_lanes(struct ls_batch *b, struct ls_backend *backend, int lanes,
                       struct ls_err *err)
{
    sigset_t all, old;
    int i, r = 0;

    for (i = 0; i < lanes; i++) {
        r = ls_infer_open(&b->infer[i], backend, b->batch_max, err);
        if (r < 0)
            return r;
        b->lane_count++;
    }
    // Signals are the loop's: device threads block them all.
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    for (i = 0; i < lanes && r == 0; i++) {
        r = pthread_create(&b->thread[i], NULL, lane_run, b);
        if (r == 0)
            b->thread_count++;
    }
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    return r == 0 ? 0 : ls_fail(err, LS_EIO, "device thread: %s", strerror(r));
}

static void on_closed(uv_handle_t *handle)
{
    struct ls_batch *b = handle->data;

    pthread_cond_destroy(&b->ready);
    pthread_mutex_destroy(&b->lock);
    free(b);
}

int ls_batch_open(struct ls_batch **out, struct uv_loop_s *loop, struct ls_backend *backend,
                  int lanes, int batch_max, int wait_us_max, struct ls_err *err)
{
    struct ls_batch *b = calloc(1, sizeof(*b));
    pthread_condattr_t attr;
    int r;

    assert(lanes >= 1 && lanes <= LANES_MAX && batch_max >= 1 && batch_max <= TAKE_MAX);
    if (!b)
        return ls_fail(err, LS_ENOMEM, "device queue");
    queue_init(&b->small);
    queue_init(&b->face);
    b->batch_max = batch_max;
    b->wait_us_max = wait_us_max;
    r = uv_async_init(loop, &b->wake, on_wake);
    if (r < 0) {
        free(b);
        return ls_fail(err, LS_EIO, "device queue: %s", uv_strerror(r));
    }
    b->wake.data = b;
    pthread_mutex_init(&b->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&b->ready, &attr);
    pthread_condattr_destroy(&attr);
    r = start_lanes(b, backend, lanes, err);
    if (r < 0)
        ls_batch_close(&b);
    else
        *out = b;
    return r;
}

void ls_batch_close(struct ls_batch **b)
{
    int i;

    if (!b || !*b)
        return;
    pthread_mutex_lock(&(*b)->lock);
    (*b)->stopping = true;
    pthread_cond_broadcast(&(*b)->ready);
    pthread_mutex_unlock(&(*b)->lock);
    for (i = 0; i < (*b)->thread_count; i++)
        pthread_join((*b)->thread[i], NULL);
    for (i = 0; i < (*b)->lane_count; i++)
        ls_infer_close(&(*b)->infer[i]);
    uv_close((uv_handle_t *)&(*b)->wake, on_closed);
    *b = NULL;
}

void ls_batch_push(struct ls_batch *b, struct ls_work *work)
{
    work->err = (struct ls_err){0};
    memset(work->busy_us, 0, sizeof(work->busy_us));
    work->pushed_us = ls_now_us();
    pthread_mutex_lock(&b->lock);
    queue_push(work->kind == LS_WORK_FACE ? &b->face : &b->small, work);
    pthread_cond_signal(&b->ready);
    pthread_mutex_unlock(&b->lock);
}

static int queue_revoke(struct queue *q, const void *user)
{
    struct queue kept;
    struct ls_work *w;
    int n = 0;

    queue_init(&kept);
    while (q->count > 0) {
        w = queue_pop(q);
        if (w->user == user)
            n++;
        else
            queue_push(&kept, w);
    }
    queue_init(q);
    while (kept.count > 0)
        queue_push(q, queue_pop(&kept));
    return n;
}

int ls_batch_revoke(struct ls_batch *b, void *user)
{
    int n;

    pthread_mutex_lock(&b->lock);
    n = queue_revoke(&b->small, user) + queue_revoke(&b->face, user);
    pthread_mutex_unlock(&b->lock);
    return n;
}
