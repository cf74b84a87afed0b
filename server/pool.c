// SPDX-License-Identifier: Apache-2.0
// Jobs for the thread pool. Flow: outlet -> here -> libuv's threads -> back to the outlet. Loop
// thread, but for run_job. libuv's own queue knows no classes; so it is never given more jobs than
// it has threads for, and the line is kept here, which a failing session's job leaves at once.
#include "server/pool.h"

#include <assert.h>
#include <stdlib.h>
#include <sys/prctl.h>

#include <uv.h>

enum { LIVE, INTERACTIVE, BATCH, RANKS }; // who goes first

// A job that libuv has, or room for one.
struct slot {
    uv_work_t work;
    struct ls_pool *pool;
    struct ls_pool_job *job;
    struct slot *next_free;
};

struct line {
    struct ls_pool_job *first, **last;
};

struct ls_pool {
    struct uv_loop_s *loop;
    struct line line[RANKS];
    int waiting, running;
    struct slot *free;
    struct slot slot[];
};

static int rank_of(const struct ls_pool_job *job)
{
    if (job->live)
        return LIVE;
    return job->class == LS_CLASS_INTERACTIVE ? INTERACTIVE : BATCH;
}

static void line_init(struct line *l)
{
    l->first = NULL;
    l->last = &l->first;
}

// Unlinks the job that *at points to.
static struct ls_pool_job *line_take(struct line *l, struct ls_pool_job **at)
{
    struct ls_pool_job *job = *at;

    *at = job->next;
    if (!*at)
        l->last = at;
    job->next = NULL;
    return job;
}

static void run_job(uv_work_t *work)
{
    static _Thread_local bool named; // libuv starts the threads, for files, too
    struct slot *slot = work->data;

    if (!named)
        named = prctl(PR_SET_NAME, "encode") == 0;
    slot->job->run(slot->job);
}

static void after_job(uv_work_t *work, int status);

static void start_some(struct ls_pool *p)
{
    struct slot *slot;
    int rank = LIVE, r;

    while (p->free && p->waiting > 0) {
        while (!p->line[rank].first)
            rank++;
        slot = p->free;
        p->free = slot->next_free;
        slot->job = line_take(&p->line[rank], &p->line[rank].first);
        slot->job->request = slot;
        p->waiting--;
        p->running++;
        r = uv_queue_work(p->loop, &slot->work, run_job, after_job);
        assert(r == 0); // it refuses nothing but a missing function
        (void)r;
    }
}

static void after_job(uv_work_t *work, int status)
{
    struct slot *slot = work->data;
    struct ls_pool *p = slot->pool;
    struct ls_pool_job *job = slot->job;

    (void)status; // jobs that began to run are not cancelled
    slot->job = NULL;
    slot->next_free = p->free;
    p->free = slot;
    p->running--;
    job->request = NULL;
    job->on_done(job); // first: the job that follows on it may precede those that wait
    start_some(p);
}

int ls_pool_open(struct ls_pool **out, struct uv_loop_s *loop, int threads, struct ls_err *err)
{
    struct ls_pool *p;

    assert(threads >= 1);
    p = calloc(1, sizeof *p + (size_t)threads * sizeof *p->slot);
    if (!p)
        return ls_fail(err, LS_ENOMEM, "a pool of %d threads", threads);
    p->loop = loop;
    for (int i = 0; i < RANKS; i++)
        line_init(&p->line[i]);
    for (int i = threads - 1; i >= 0; i--) {
        p->slot[i].pool = p;
        p->slot[i].work.data = &p->slot[i];
        p->slot[i].next_free = p->free;
        p->free = &p->slot[i];
    }
    *out = p;
    return 0;
}

void ls_pool_close(struct ls_pool **p)
{
    if (!p || !*p)
        return;
    assert((*p)->waiting == 0 && (*p)->running == 0);
    free(*p);
    *p = NULL;
}

void ls_pool_push(struct ls_pool *p, struct ls_pool_job *job)
{
    struct line *l = &p->line[rank_of(job)];

    job->next = NULL;
    job->request = NULL;
    *l->last = job;
    l->last = &job->next;
    p->waiting++;
    start_some(p);
}

bool ls_pool_revoke(struct ls_pool *p, struct ls_pool_job *job)
{
    struct line *l = &p->line[rank_of(job)];
    struct ls_pool_job **at;

    for (at = &l->first; *at; at = &(*at)->next)
        if (*at == job) {
            line_take(l, at);
            p->waiting--;
            return true;
        }
    return false;
}

int ls_pool_waiting(const struct ls_pool *p)
{
    return p->waiting;
}
