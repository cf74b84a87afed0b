// SPDX-License-Identifier: Apache-2.0
// Jobs for the thread pool (encoding), by class: at most --pool-threads of them are with libuv, the
// rest wait here, interactive (live first) before batch, each class in order of arrival. Loop
// thread; `run` is called on a pool thread.
#ifndef LS_POOL_H
#define LS_POOL_H

#include <stdbool.h>

#include "kernels/err.h"
#include "server/admit.h"

struct uv_loop_s;
struct ls_pool;

// Owned by whoever pushes it, kept until on_done.
struct ls_pool_job {
    void (*run)(struct ls_pool_job *job);     // on a pool thread
    void (*on_done)(struct ls_pool_job *job); // on the loop
    void *user;
    enum ls_class class;
    bool live;
    struct ls_pool_job *next; // the pool's
    void *request;            // the pool's
};

LS_MUST int ls_pool_open(struct ls_pool **out, struct uv_loop_s *loop, int threads,
                         struct ls_err *err);
void ls_pool_close(struct ls_pool **p); // no job may be left
void ls_pool_push(struct ls_pool *p, struct ls_pool_job *job);
// Takes back a job that has not begun: true, and on_done will not come.
bool ls_pool_revoke(struct ls_pool *p, struct ls_pool_job *job);
int ls_pool_waiting(const struct ls_pool *p);

#endif
