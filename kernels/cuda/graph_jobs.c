// SPDX-License-Identifier: Apache-2.0
// Runs jobs on as many threads as there are processors (graph_jobs.h). The threads share nothing
// but the number of the next job and the device's description, which is only read.
#include "graph_jobs.h"

#ifndef LS_CUDA_NO_CUDNN

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

enum {
    WIDTH_MAX = 16,        // a compiler takes some 100 MB
    STACK_SIZE = 16 << 20, // more than musl's and some containers' default; compilers recurse
};

struct work {
    struct ls_cuda_job *job;
    int count;
    atomic_int next;
    cudnnBackendDescriptor_t description;
    int device_idx;
};

static void run_job(struct ls_cuda_job *job, cudnnBackendDescriptor_t description)
{
    switch (job->kind) {
    case LS_CUDA_JOB_PROPOSE:
        job->r = ls_cuda_graph_configs(job->proposal, &job->proposal_count, job->proposals_max,
                                       &job->shape, description, &job->err);
        break;
    case LS_CUDA_JOB_BUILD:
        job->r = ls_cuda_plan_build(&job->plan, &job->shape, &job->config, description, &job->err);
        break;
    case LS_CUDA_JOB_READ:
        job->r = ls_cuda_plan_read(&job->plan, job->text, job->text_size, description, &job->err);
        break;
    }
}

static void *work_on(void *arg)
{
    struct work *w = arg;
    int i;

    // Machine code is loaded into the current device of the thread that makes the plan. Where
    // there is none, the plan says so itself.
    if (cudaSetDevice(w->device_idx) != cudaSuccess)
        (void)cudaGetLastError();
    while ((i = atomic_fetch_add(&w->next, 1)) < w->count)
        run_job(&w->job[i], w->description);
    return NULL;
}

int ls_cuda_jobs_width(void)
{
    cpu_set_t set;
    int count = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;

    return count < WIDTH_MAX ? count : WIDTH_MAX;
}

void ls_cuda_jobs_run(struct ls_cuda_job *job, int count, cudnnBackendDescriptor_t description,
                      int device_idx)
{
    struct work w = {
        .job = job, .count = count, .description = description, .device_idx = device_idx};
    int wanted = ls_cuda_jobs_width() - 1, started = 0;
    pthread_t thread[WIDTH_MAX];
    pthread_attr_t attr;

    if (wanted > count - 1)
        wanted = count - 1;
    atomic_init(&w.next, 0);
    if (wanted > 0 && pthread_attr_init(&attr) == 0) {
        (void)pthread_attr_setstacksize(&attr, STACK_SIZE);
        while (started < wanted && pthread_create(&thread[started], &attr, work_on, &w) == 0)
            started++;
        (void)pthread_attr_destroy(&attr);
    }
    work_on(&w); // this thread too; all of it, if no other could be had
    while (started > 0)
        (void)pthread_join(thread[--started], NULL);
}

#endif
