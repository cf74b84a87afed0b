// SPDX-License-Identifier: Apache-2.0
// The device queue. Flow: session -> here -> infer -> back to the session. push, revoke, open and
// close run on the loop; lane_run on the device threads. They share the lines of what waits and the
// lists of what runs (under the lock), and the done stack (atomic; it wakes the loop on
// empty-to-full only). Who is next is decided by batch_lines.c.
#include "server/batch.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>

#include <uv.h>

#include "server/batch_lines.h"
#include "server/clock.h"
#include "server/infer.h"
#include "server/metrics.h"

enum { LANES_MAX = 256, TAKE_MAX = 64 };

// A device thread.
struct lane {
    struct ls_batch *batch;
    struct ls_infer *infer;
    pthread_t thread;
    struct ls_turn turn;               // the thread's own
    struct ls_work *running[TAKE_MAX]; // what ls_infer_run was given; under the lock
    int running_count;
};

struct ls_batch {
    pthread_mutex_t lock;
    pthread_cond_t ready;
    struct ls_lines lines; // under the lock
    _Atomic(struct ls_work *) done;
    uv_async_t wake;
    struct ls_metrics *metrics;
    struct lane *lane;
    int lane_count, thread_count, batch_max;
};

static void wait_until(struct ls_batch *b, int64_t late_us)
{
    struct timespec until = {.tv_sec = late_us / 1000000, .tv_nsec = late_us % 1000000 * 1000};

    if (late_us == INT64_MAX)
        pthread_cond_wait(&b->ready, &b->lock);
    else
        pthread_cond_timedwait(&b->ready, &b->lock, &until);
}

// Whether the lane's thread computes it, in ls_infer_run.
static bool runs_here(const struct lane *lane, const struct ls_work *first)
{
    return lane->turn.depth == 0 || first->kind != LS_WORK_FACE;
}

// Takes what is to be done next into `work`; waits for it unless the lane is busy. Returns how many
// pieces; 0: nothing is to be begun, or stop. Lock held.
static int take(struct ls_batch *b, struct ls_work **work, struct lane *lane)
{
    int64_t late_us;
    int n;

    for (;;) {
        n = ls_lines_take(&b->lines, work, &lane->turn, &late_us);
        if (n > 0 || lane->turn.flying > 0 || (b->lines.stopping && ls_lines_empty(&b->lines)))
            break;
        wait_until(b, late_us);
    }
    if (n > 0 && runs_here(lane, work[0])) {
        memcpy(lane->running, work, (size_t)n * sizeof(*work));
        lane->running_count = n;
    }
    if (n > 0 && !ls_lines_empty(&b->lines))
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

// What the device has finished goes back, and places become free.
static void let_go(struct ls_batch *b, struct ls_work **work, int count)
{
    pthread_mutex_lock(&b->lock);
    ls_lines_finished(&b->lines, work, count);
    if (!ls_lines_empty(&b->lines))
        pthread_cond_signal(&b->ready); // another lane may have waited for room
    pthread_mutex_unlock(&b->lock);
    for (int i = 0; i < count; i++)
        post_done(b, work[i]);
}

static void finish_oldest(struct lane *lane)
{
    struct ls_work *work[TAKE_MAX];
    int n = ls_infer_finish(lane->infer, work);

    lane->turn.flying--;
    let_go(lane->batch, work, n);
}

// Begins faces. A batch that is refused as a whole is done again one by one, so that each session
// has its own error only.
static void begin_faces(struct lane *lane, struct ls_work **work, int count)
{
    if (ls_infer_start(lane->infer, work, count)) {
        lane->turn.flying++;
        return;
    }
    while (count > 1 && lane->turn.flying > 0)
        finish_oldest(lane);
    for (int i = 0; i < count; i++) {
        if (count > 1) {
            work[i]->err = (struct ls_err){0};
            if (ls_infer_start(lane->infer, &work[i], 1)) {
                lane->turn.flying++;
                finish_oldest(lane);
                continue;
            }
        }
        let_go(lane->batch, &work[i], 1);
    }
}

// A revoked piece leaves its run before the others do.
static void on_drop(void *user, struct ls_work *w)
{
    struct lane *lane = user;
    struct ls_batch *b = lane->batch;
    int i = 0;

    ls_fail(&w->err, LS_ECANCEL, "revoked");
    pthread_mutex_lock(&b->lock);
    while (lane->running[i] != w)
        i++;
    lane->running[i] = lane->running[--lane->running_count];
    pthread_mutex_unlock(&b->lock);
    post_done(b, w);
}

// The lane's thread computes.
static void run(struct lane *lane, struct ls_work **work, int count)
{
    struct ls_batch *b = lane->batch;

    ls_infer_run(lane->infer, work, count);
    pthread_mutex_lock(&b->lock);
    count = lane->running_count;
    memcpy(work, lane->running, (size_t)count * sizeof(*work));
    lane->running_count = 0;
    pthread_mutex_unlock(&b->lock);
    for (int i = 0; i < count; i++)
        post_done(b, work[i]);
}

static void measure(struct ls_batch *b, struct ls_work *const *work, int count)
{
    int64_t now_us = ls_now_us();

    if (work[0]->kind != LS_WORK_FACE)
        return;
    ls_metrics_observe(b->metrics, LS_HISTOGRAM_BATCH, 0, count);
    for (int i = 0; i < count; i++)
        ls_metrics_observe(b->metrics, LS_HISTOGRAM_BATCH_WAIT, (int)work[i]->class,
                           (double)(now_us - work[i]->pushed_us) * 1e-6);
}

static void *lane_run(void *arg)
{
    struct lane *lane = arg;
    struct ls_work *work[TAKE_MAX];
    int n;

    prctl(PR_SET_NAME, "lane"); // as top -H shows it
    for (;;) {
        pthread_mutex_lock(&lane->batch->lock);
        n = take(lane->batch, work, lane);
        pthread_mutex_unlock(&lane->batch->lock);
        if (n == 0 && lane->turn.flying == 0)
            return NULL;
        if (n > 0)
            measure(lane->batch, work, n);
        if (n > 0 && runs_here(lane, work[0]))
            run(lane, work, n);
        else if (n > 0)
            begin_faces(lane, work, n);
        if (lane->turn.flying > 0 && (n == 0 || lane->turn.flying == lane->turn.depth))
            finish_oldest(lane);
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
        struct lane *lane = &b->lane[i];

        r = ls_infer_open(&lane->infer, backend, b->batch_max, err);
        if (r < 0)
            return r;
        lane->batch = b;
        lane->turn.depth = ls_infer_depth(lane->infer);
        ls_infer_on_drop(lane->infer, on_drop, lane);
        b->lane_count++;
    }
    // Signals are the loop's: device threads block them all.
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    for (i = 0; i < lanes && r == 0; i++) {
        r = pthread_create(&b->lane[i].thread, NULL, lane_run, &b->lane[i]);
        if (r == 0)
            b->thread_count++;
    }
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    return r == 0 ? 0 : ls_fail(err, LS_EIO, "device thread: %s", strerror(r));
}

static void batch_free(struct ls_batch *b)
{
    free(b->lane);
    free(b);
}

static void on_closed(uv_handle_t *handle)
{
    struct ls_batch *b = handle->data;

    pthread_cond_destroy(&b->ready);
    pthread_mutex_destroy(&b->lock);
    batch_free(b);
}

static void init_lock(struct ls_batch *b)
{
    pthread_condattr_t attr;

    pthread_mutex_init(&b->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&b->ready, &attr);
    pthread_condattr_destroy(&attr);
}

int ls_batch_open(struct ls_batch **out, struct uv_loop_s *loop, struct ls_backend *backend,
                  int lanes, int batch_max, int wait_us_max, struct ls_metrics *metrics,
                  struct ls_err *err)
{
    struct ls_batch *b = calloc(1, sizeof(*b));
    int r;

    assert(lanes >= 1 && lanes <= LANES_MAX && batch_max >= 1 && batch_max <= TAKE_MAX);
    if (b)
        b->lane = calloc((size_t)lanes, sizeof(*b->lane));
    if (!b || !b->lane) {
        free(b);
        return ls_fail(err, LS_ENOMEM, "device queue");
    }
    b->batch_max = batch_max;
    ls_lines_init(&b->lines);
    b->lines.lane_count = lanes;
    b->lines.batch_max = batch_max;
    b->lines.wait_us_max = wait_us_max;
    b->metrics = metrics;
    r = uv_async_init(loop, &b->wake, on_wake);
    if (r < 0) {
        batch_free(b);
        return ls_fail(err, LS_EIO, "device queue: %s", uv_strerror(r));
    }
    b->wake.data = b;
    init_lock(b);
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
    (*b)->lines.stopping = true;
    pthread_cond_broadcast(&(*b)->ready);
    pthread_mutex_unlock(&(*b)->lock);
    for (i = 0; i < (*b)->thread_count; i++)
        pthread_join((*b)->lane[i].thread, NULL);
    for (i = 0; i < (*b)->lane_count; i++)
        ls_infer_close(&(*b)->lane[i].infer);
    uv_close((uv_handle_t *)&(*b)->wake, on_closed);
    *b = NULL;
}

void ls_batch_push(struct ls_batch *b, struct ls_work *work)
{
    work->err = (struct ls_err){0};
    memset(work->busy_us, 0, sizeof(work->busy_us));
    atomic_store_explicit(&work->revoked, false, memory_order_relaxed);
    work->pushed_us = ls_now_us();
    pthread_mutex_lock(&b->lock);
    ls_lines_push(&b->lines, work);
    pthread_cond_signal(&b->ready);
    pthread_mutex_unlock(&b->lock);
}

int ls_batch_revoke(struct ls_batch *b, void *user)
{
    int n;

    pthread_mutex_lock(&b->lock);
    n = ls_lines_revoke(&b->lines, user);
    for (int i = 0; i < b->lane_count; i++)
        for (int k = 0; k < b->lane[i].running_count; k++)
            if (b->lane[i].running[k]->user == user)
                atomic_store_explicit(&b->lane[i].running[k]->revoked, true, memory_order_relaxed);
    pthread_mutex_unlock(&b->lock);
    return n;
}

int ls_batch_waiting(struct ls_batch *b, enum ls_class class, bool faces)
{
    int n;

    pthread_mutex_lock(&b->lock);
    n = b->lines.waiting[class][faces];
    pthread_mutex_unlock(&b->lock);
    return n;
}
