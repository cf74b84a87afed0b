// SPDX-License-Identifier: Apache-2.0
// What cuDNN does on the host (proposing, compiling and reading plans), for many plans at once on
// all processors: a compilation takes a processor for up to 3 s and a network has hundreds. The
// caller waits; no thread outlives the call.
#ifndef LS_CUDA_GRAPH_JOBS_H
#define LS_CUDA_GRAPH_JOBS_H

#include "graph.h"

enum { LS_CUDA_PROPOSALS_MAX = 6 };

enum ls_cuda_job_kind { LS_CUDA_JOB_PROPOSE, LS_CUDA_JOB_BUILD, LS_CUDA_JOB_READ };
struct ls_cuda_job {
    enum ls_cuda_job_kind kind;
    struct ls_cuda_conv_shape shape; // propose, build
    struct ls_cuda_config config;    // build
    const char *text;                // read
    size_t text_size;
    int proposals_max; // propose
    // Results; r as ls_cuda_graph_configs, ls_cuda_plan_build and ls_cuda_plan_read return it.
    int r;
    struct ls_err err;
    struct ls_cuda_config proposal[LS_CUDA_PROPOSALS_MAX];
    int proposal_count;
    struct ls_cuda_plan *plan; // the caller's
};
int ls_cuda_jobs_width(void); // how many jobs run at once
void ls_cuda_jobs_run(struct ls_cuda_job *job, int count, cudnnBackendDescriptor_t description,
                      int device_idx);

#endif
