// SPDX-License-Identifier: Apache-2.0
// The pool's order, without clocks: each job waits on a semaphore that the test holds, so what has
// begun and what waits is known exactly. The order of classes, live before all, arrival within a
// class, no more at once than asked for, taking back, and jobs pushed from on_done.
#include "server/pool.h"

#include <pthread.h>
#include <semaphore.h>
#include <stdbool.h>
#include <string.h>

#include <uv.h>

#include "_check.h"

enum { JOBS = 16 };

struct job {
    struct ls_pool_job base;
    char name;
    sem_t go;
    struct job *then; // pushed by on_done
};

static struct ls_pool *pool;
static uv_loop_t loop;
static sem_t begun; // posted by each job that begins
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char order[JOBS + 1]; // names of jobs in the order in which they began; under the lock
static char finished[JOBS + 1];

static void add(char *list, char name)
{
    size_t n = strlen(list);

    list[n] = name;
    list[n + 1] = '\0';
}

static void run(struct ls_pool_job *base)
{
    struct job *job = base->user;

    pthread_mutex_lock(&lock);
    add(order, job->name);
    pthread_mutex_unlock(&lock);
    sem_post(&begun);
    sem_wait(&job->go);
}

static void on_done(struct ls_pool_job *base)
{
    struct job *job = base->user;

    add(finished, job->name);
    if (job->then)
        ls_pool_push(pool, &job->then->base);
}

static void init(struct job *job, char name, enum ls_class class, bool live)
{
    memset(job, 0, sizeof *job);
    job->base = (struct ls_pool_job){
        .run = run, .on_done = on_done, .user = job, .class = class, .live = live};
    job->name = name;
    sem_init(&job->go, 0, 0);
}

static bool begin(int threads, const char *row)
{
    struct ls_err err = {0};

    order[0] = finished[0] = '\0';
    sem_init(&begun, 0, 0);
    return CHECK(ls_pool_open(&pool, &loop, threads, &err) == 0, row);
}

static void end(const char *row, const char *want)
{
    CHECK(ls_pool_waiting(pool) == 0, row);
    ls_pool_close(&pool);
    CHECK(!pool, row);
    if (!CHECK(!strcmp(order, want), row))
        printf("  began as %s, not %s\n", order, want);
    sem_destroy(&begun);
}

// Lower case: class batch; upper case: interactive; a digit: live.
static void init_all(struct job *job, const char *names)
{
    for (int i = 0; names[i]; i++)
        init(&job[i], names[i], names[i] >= 'a' ? LS_CLASS_BATCH : LS_CLASS_INTERACTIVE,
             names[i] <= '9');
}

static void order_of_one_thread(void)
{
    static const struct {
        const char *name, *pushed, *want;
    } rows[] = {
        {"arrival", "ABCD", "ABCD"},
        {"interactive overtakes batch", "abAcB", "aABbc"},
        {"live overtakes both", "aAb1B2", "a12ABb"},
        {"nobody overtakes what runs", "a1", "a1"},
    };
    struct job job[JOBS];

    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        int n = (int)strlen(rows[i].pushed);

        if (!begin(1, rows[i].name))
            return;
        init_all(job, rows[i].pushed);
        for (int k = 0; k < n; k++)
            ls_pool_push(pool, &job[k].base);
        sem_wait(&begun); // the first one runs, and holds the others up
        CHECK(ls_pool_waiting(pool) == n - 1, rows[i].name);
        for (int k = 0; k < n; k++)
            sem_post(&job[k].go);
        uv_run(&loop, UV_RUN_DEFAULT);
        CHECK(!strcmp(finished, rows[i].want), rows[i].name);
        end(rows[i].name, rows[i].want);
    }
}

static void two_at_once(void)
{
    struct job job[4];

    if (!begin(2, "two threads"))
        return;
    init_all(job, "abAB");
    for (int i = 0; i < 4; i++)
        ls_pool_push(pool, &job[i].base);
    sem_wait(&begun);
    sem_wait(&begun);
    CHECK(ls_pool_waiting(pool) == 2, "two threads: two wait");
    CHECK(sem_trywait(&begun) != 0, "two threads: not three");
    sem_post(&job[1].go); // b ends, A begins
    while (ls_pool_waiting(pool) == 2)
        uv_run(&loop, UV_RUN_ONCE);
    sem_wait(&begun);
    CHECK(order[2] == 'A' && !strcmp(finished, "b"), "two threads: interactive is next");
    for (int i = 0; i < 4; i++)
        if (i != 1)
            sem_post(&job[i].go);
    uv_run(&loop, UV_RUN_DEFAULT);
    CHECK(strlen(finished) == 4, "two threads: all are done");
    CHECK(ls_pool_waiting(pool) == 0, "two threads: nothing waits");
    ls_pool_close(&pool);
    sem_destroy(&begun);
}

static void taking_back(void)
{
    struct job job[6];

    if (!begin(1, "revoke"))
        return;
    init_all(job, "aBcd1E");
    for (int i = 0; i < 6; i++)
        ls_pool_push(pool, &job[i].base);
    sem_wait(&begun);
    CHECK(!ls_pool_revoke(pool, &job[0].base), "revoke: not one that runs");
    CHECK(ls_pool_revoke(pool, &job[3].base), "revoke: the last of its line");
    CHECK(ls_pool_revoke(pool, &job[1].base), "revoke: the first of its line");
    CHECK(!ls_pool_revoke(pool, &job[1].base), "revoke: not twice");
    CHECK(ls_pool_revoke(pool, &job[4].base), "revoke: live");
    CHECK(ls_pool_waiting(pool) == 2, "revoke: two are left");
    ls_pool_push(pool, &job[3].base); // the line's end still is where it should be
    for (int i = 0; i < 6; i++)
        sem_post(&job[i].go);
    uv_run(&loop, UV_RUN_DEFAULT);
    CHECK(!ls_pool_revoke(pool, &job[0].base), "revoke: not one that is done");
    end("revoke", "aEcd");
}

static void pushing_from_done(void)
{
    struct job job[3];

    if (!begin(1, "push from on_done"))
        return;
    init_all(job, "aAb");
    job[0].then = &job[1];
    ls_pool_push(pool, &job[0].base);
    ls_pool_push(pool, &job[2].base);
    for (int i = 0; i < 3; i++)
        sem_post(&job[i].go);
    uv_run(&loop, UV_RUN_DEFAULT);
    end("push from on_done", "aAb"); // its place is given away only afterwards
}

int main(void)
{
    setvbuf(stdout, NULL, _IONBF, 0);
    uv_loop_init(&loop);
    order_of_one_thread();
    two_at_once();
    taking_back();
    pushing_from_done();
    CHECK(uv_loop_close(&loop) == 0, "no handle is left");
    return check_done();
}
