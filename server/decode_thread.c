// SPDX-License-Identifier: Apache-2.0
// A decode thread: the code of lipstream-decode inside the server, for --decode-on-device, where
// frames go to device memory and NVDEC decodes what it can. Called by decode_pool.c and
// decode_events.c on the loop; run() is the thread. It shares with the loop only what stands under
// `lock`, its pipes and its ring. Unlike a process it cannot be killed: when its pipes are closed
// it ends by itself, at the next record that it would send or read.
#include "decode_impl.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "video_device.h"
#include "worker.h"

struct ls_decode_threads {
    const struct ls_video_device *device;
    pthread_mutex_t lock;
    pthread_cond_t fewer;
    int count; // under the lock
};

struct ls_decode_thread {
    struct ls_decode_threads *all;
    struct ls_worker worker; // the thread's
    struct ls_worker_device device;
    void *ring;           // written by the loop before the order that tells of it
    atomic_int holders;   // the thread, and the loop until it drops it
    atomic_llong busy_us; // of the thread's processor time
};

int ls_decode_threads_new(struct ls_decode_threads **out, const struct ls_video_device *device,
                          struct ls_err *err)
{
    struct ls_decode_threads *t = calloc(1, sizeof *t);

    if (!t)
        return ls_fail(err, LS_ENOMEM, "no memory for decode threads");
    t->device = device;
    pthread_mutex_init(&t->lock, NULL);
    pthread_cond_init(&t->fewer, NULL);
    av_log_set_callback(ls_worker_log);
    *out = t;
    return 0;
}

bool ls_decode_threads_free(struct ls_decode_threads **threads, int64_t wait_ms)
{
    struct ls_decode_threads *t = *threads;
    struct timespec until;
    bool ended;

    if (!t)
        return true;
    *threads = NULL;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += (time_t)(wait_ms / 1000);
    until.tv_nsec += (long)(wait_ms % 1000) * 1000000;
    if (until.tv_nsec >= 1000000000) {
        until.tv_sec++;
        until.tv_nsec -= 1000000000;
    }
    pthread_mutex_lock(&t->lock);
    while (t->count > 0 && pthread_cond_timedwait(&t->fewer, &t->lock, &until) != ETIMEDOUT)
        ;
    ended = t->count == 0;
    pthread_mutex_unlock(&t->lock);
    if (!ended)
        return false;
    pthread_cond_destroy(&t->fewer);
    pthread_mutex_destroy(&t->lock);
    free(t);
    return true;
}

static void let_go(struct ls_decode_thread *t)
{
    if (atomic_fetch_sub(&t->holders, 1) > 1)
        return;
    ls_backend_memory_free(t->all->device->backend, &t->ring);
    free(t);
}

static int copy(void *user, const struct ls_copy *c, struct ls_err *err)
{
    struct ls_decode_thread *t = user;

    return ls_backend_copy(t->all->device->backend, c, err);
}

static uint8_t *ring(void *user)
{
    return ((struct ls_decode_thread *)user)->ring;
}

static void told(void *user)
{
    struct ls_decode_thread *t = user;
    struct timespec now;

    if (clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now) == 0)
        atomic_store(&t->busy_us, (long long)now.tv_sec * 1000000 + now.tv_nsec / 1000);
}

static void *run(void *arg)
{
    struct ls_decode_thread *t = arg;
    struct ls_decode_threads *all = t->all;

    ls_worker_run(&t->worker);
    close(t->worker.control);
    close(t->worker.spool);
    // The last of ours that the loop sees. What the thread held of the device goes before the count
    // does: with it goes the back end.
    close(t->worker.events);
    let_go(t);
    pthread_mutex_lock(&all->lock);
    all->count--;
    pthread_cond_signal(&all->fewer);
    pthread_mutex_unlock(&all->lock);
    return NULL;
}

static int start(struct ls_decode_thread *t, struct ls_err *err)
{
    pthread_attr_t attr;
    pthread_t thread;
    sigset_t all, old;
    int r;

    pthread_attr_init(&attr);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    sigfillset(&all); // signals are the loop's
    pthread_sigmask(SIG_SETMASK, &all, &old);
    r = pthread_create(&thread, &attr, run, t);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    pthread_attr_destroy(&attr);
    return r ? ls_fail(err, LS_EIO, "a decode thread does not start (%d)", r) : 0;
}

int ls_decode_thread_start(struct ls_decode_thread **out, struct ls_decode_threads *threads,
                           int control, int events, int spool, struct ls_err *err)
{
    struct ls_decode_thread *t = calloc(1, sizeof *t);
    int r = t ? 0 : ls_fail(err, LS_ENOMEM, "no memory for a decode thread");

    if (t) {
        t->all = threads;
        t->device = (struct ls_worker_device){
            .user = t, .copy = copy, .ring = ring, .hw = NULL, .told = told};
        if (threads->device->decodes)
            t->device.hw = threads->device->hw;
        t->worker.control = control;
        t->worker.events = events;
        t->worker.spool = spool;
        t->worker.ring_file = -1;
        t->worker.device = &t->device;
        atomic_init(&t->holders, 2);
        pthread_mutex_lock(&threads->lock);
        threads->count++;
        pthread_mutex_unlock(&threads->lock);
        r = start(t, err);
    }
    if (r == 0) {
        *out = t;
        return 0;
    }
    if (t) {
        pthread_mutex_lock(&threads->lock);
        threads->count--;
        pthread_mutex_unlock(&threads->lock);
    }
    free(t);
    close(control);
    close(events);
    close(spool);
    return r;
}

int ls_decode_thread_ring(struct ls_decode_thread *t, uint8_t **out, size_t size,
                          struct ls_err *err)
{
    int r = ls_backend_memory_alloc(t->all->device->backend, &t->ring, size, err);

    if (r == 0)
        *out = t->ring;
    return r;
}

int64_t ls_decode_thread_busy_us(const struct ls_decode_thread *t)
{
    return atomic_load(&t->busy_us);
}

void ls_decode_thread_drop(struct ls_decode_thread **thread)
{
    if (*thread)
        let_go(*thread);
    *thread = NULL;
}
