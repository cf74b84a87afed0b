// SPDX-License-Identifier: Apache-2.0
// Chooses engines by measurement (graph_tune.h). All that cuDNN does on the host is gathered into
// lists of jobs first, for many shapes at once, and only then is the device asked, shape by shape.
// What surprises: the fastest configuration is not taken for good until it, or one with the very
// same bytes, is there for every batch size; else the next one has its turn.
#include "graph_tune.h"

#ifndef LS_CUDA_NO_CUDNN

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "graph_bench.h"
#include "graph_jobs.h"

enum {
    GROUP_MAX = 16, // shapes at once: work enough for many processors, and a bound on memory
    CANDIDATES_MAX = LS_CUDA_PROPOSALS_MAX,
    CANDIDATES_FEW = 4, // where few processors would take many minutes to compile more
    WIDTH_FULL = 8,     // processors that are not few
    FAVOURITES_MAX = 2,
    OPTIONS_MAX = 1 + FAVOURITES_MAX // at the other batch sizes: the choice, cuDNN's favourites
};

struct option {
    struct ls_cuda_config config;
    struct ls_cuda_plan *plan;
    struct ls_cuda_trial trial;
};

// A shape while it is being tuned.
struct tuning {
    struct ls_cuda_tuned *t;
    struct option candidate[CANDIDATES_MAX]; // at the first batch size
    int candidate_count;
    struct ls_cuda_config favourite[LS_CUDA_BATCHES_MAX][FAVOURITES_MAX];
    int favourite_count[LS_CUDA_BATCHES_MAX];
    struct option *chosen; // the candidate whose turn it is
    struct option option[LS_CUDA_BATCHES_MAX][OPTIONS_MAX];
    int option_count[LS_CUDA_BATCHES_MAX];
    bool is_settled;
};

struct group {
    struct tuning tuning[GROUP_MAX];
    int count;
    struct ls_cuda_job *job; // grows
    int job_count, job_room;
    const struct ls_cuda_tune_params *params;
    struct ls_cuda_bench *bench;
};

// Appends a job for a shape at one of its batch sizes.
static int add_job(struct group *g, const struct tuning *tuning, int batch_idx,
                   const struct ls_cuda_job *job, struct ls_err *err)
{
    if (g->job_count == g->job_room) {
        int room = g->job_room ? g->job_room * 2 : 64;
        struct ls_cuda_job *grown = realloc(g->job, (size_t)room * sizeof *grown);

        if (!grown)
            return ls_fail(err, LS_ENOMEM, "no memory to choose convolutions");
        g->job = grown;
        g->job_room = room;
    }
    g->job[g->job_count] = *job;
    g->job[g->job_count].shape = tuning->t->shape;
    g->job[g->job_count++].shape.batch = tuning->t->batch[batch_idx];
    return LS_OK;
}

static void run_jobs(struct group *g)
{
    ls_cuda_jobs_run(g->job, g->job_count, g->params->description, g->params->device_idx);
}

// What jobs made and nobody took.
static void clear_jobs(struct group *g)
{
    for (int i = 0; i < g->job_count; i++)
        ls_cuda_plan_free(&g->job[i].plan);
    g->job_count = 0;
}

// --- what cuDNN proposes -----------------------------------------------------------------------

// How many proposals are worth their compilation. Above the tuned batch size more than one: there
// throughput is made.
static int proposals_for(const struct ls_cuda_tuned *t, int batch_idx)
{
    bool few = ls_cuda_jobs_width() < WIDTH_FULL;

    if (batch_idx == 0)
        return few ? CANDIDATES_FEW : CANDIDATES_MAX;
    return !few && t->batch[batch_idx] > t->batch[0] ? FAVOURITES_MAX : 1;
}

static int propose(struct group *g, struct ls_err *err)
{
    int r = LS_OK, job = 0;

    for (int i = 0; i < g->count; i++)
        for (int b = 0; b < g->tuning[i].t->batch_count && r == 0; b++)
            r = add_job(g, &g->tuning[i], b,
                        &(struct ls_cuda_job){.kind = LS_CUDA_JOB_PROPOSE,
                                              .proposals_max = proposals_for(g->tuning[i].t, b)},
                        err);
    if (r < 0)
        return r;
    run_jobs(g);
    for (int i = 0; i < g->count; i++)
        for (int b = 0; b < g->tuning[i].t->batch_count; b++) {
            struct tuning *tuning = &g->tuning[i];
            const struct ls_cuda_job *done = &g->job[job++];
            int found = done->r == 0 ? done->proposal_count : 0; // a shape it knows nothing of

            for (int k = 0; k < found && b == 0; k++)
                tuning->candidate[tuning->candidate_count++].config = done->proposal[k];
            for (int k = 0; k < found && b > 0; k++)
                tuning->favourite[b][tuning->favourite_count[b]++] = done->proposal[k];
        }
    clear_jobs(g);
    return LS_OK;
}

// --- candidates at the first batch size --------------------------------------------------------

static int build_candidates(struct group *g, struct ls_err *err)
{
    int r = LS_OK, job = 0;

    for (int i = 0; i < g->count; i++)
        for (int k = 0; k < g->tuning[i].candidate_count && r == 0; k++)
            r = add_job(g, &g->tuning[i], 0,
                        &(struct ls_cuda_job){.kind = LS_CUDA_JOB_BUILD,
                                              .config = g->tuning[i].candidate[k].config},
                        err);
    if (r == 0)
        run_jobs(g);
    for (int i = 0; i < g->count && r == 0; i++)
        for (int k = 0; k < g->tuning[i].candidate_count; k++, job++) {
            g->tuning[i].candidate[k].plan = g->job[job].plan; // NULL: this engine cannot
            g->job[job].plan = NULL;
        }
    clear_jobs(g);
    return r;
}

static int try_candidates(struct group *g, struct tuning *tuning, struct ls_err *err)
{
    int r = tuning->candidate_count > 0 ? ls_cuda_bench_load(g->bench, &tuning->t->shape, err) : 0;

    for (int k = 0; k < tuning->candidate_count && r == 0; k++) {
        struct option *c = &tuning->candidate[k];

        if (c->plan)
            r = ls_cuda_bench_try(&c->trial, g->bench, c->plan, tuning->t->batch[0], err);
    }
    return r;
}

// The fastest whose turn has not been; a candidate that has had it is not ok any more.
static struct option *best_candidate(struct tuning *tuning)
{
    struct option *best = NULL;

    for (int k = 0; k < tuning->candidate_count; k++) {
        struct option *c = &tuning->candidate[k];

        if (c->trial.ok && (!best || c->trial.us < best->trial.us))
            best = c;
    }
    return best;
}

// --- the other batch sizes ---------------------------------------------------------------------

static void add_option(struct tuning *tuning, int b, const struct ls_cuda_config *config)
{
    int n = tuning->option_count[b];

    for (int i = 0; i < n; i++)
        if (ls_cuda_config_is_same(&tuning->option[b][i].config, config))
            return;
    assert(n < OPTIONS_MAX);
    tuning->option[b][n] = (struct option){.config = *config};
    tuning->option_count[b]++;
}

static void free_options(struct tuning *tuning)
{
    for (int b = 0; b < LS_CUDA_BATCHES_MAX; b++) {
        for (int i = 0; i < tuning->option_count[b]; i++)
            ls_cuda_plan_free(&tuning->option[b][i].plan);
        tuning->option_count[b] = 0;
    }
}

// Batch sizes from `first` on of shapes that are not settled.
static int build_options(struct group *g, int first, struct ls_err *err)
{
    int r = LS_OK, job = 0;

    for (int i = 0; i < g->count; i++)
        for (int b = first; b < g->tuning[i].t->batch_count && !g->tuning[i].is_settled; b++)
            for (int k = 0; k < g->tuning[i].option_count[b] && r == 0; k++)
                r = add_job(g, &g->tuning[i], b,
                            &(struct ls_cuda_job){.kind = LS_CUDA_JOB_BUILD,
                                                  .config = g->tuning[i].option[b][k].config},
                            err);
    if (r == 0)
        run_jobs(g);
    for (int i = 0; i < g->count && r == 0; i++)
        for (int b = first; b < g->tuning[i].t->batch_count && !g->tuning[i].is_settled; b++)
            for (int k = 0; k < g->tuning[i].option_count[b]; k++, job++) {
                g->tuning[i].option[b][k].plan = g->job[job].plan;
                g->job[job].plan = NULL;
            }
    clear_jobs(g);
    return r;
}

// *found: the fastest option of a batch size that gives the digest; NULL if none does.
static int try_options(struct option **found, struct group *g, struct tuning *tuning, int b,
                       uint64_t digest, struct ls_err *err)
{
    struct option *best = NULL;
    int r = LS_OK;

    for (int k = 0; k < tuning->option_count[b] && r == 0; k++) {
        struct option *o = &tuning->option[b][k];

        if (!o->plan)
            continue;
        r = ls_cuda_bench_try(&o->trial, g->bench, o->plan, tuning->t->batch[b], err);
        if (r == 0 && o->trial.ok && o->trial.digest == digest &&
            (!best || o->trial.us < best->trial.us))
            best = o;
    }
    *found = best;
    return r;
}

// Settles a shape if every batch size from `first` on has an option, and takes their plans.
static int try_settle(struct group *g, struct tuning *tuning, int first, uint64_t digest,
                      struct ls_err *err)
{
    struct option *best[LS_CUDA_BATCHES_MAX] = {NULL};
    bool all = true;
    int r = tuning->t->batch_count > first ? ls_cuda_bench_load(g->bench, &tuning->t->shape, err)
                                           : LS_OK;

    for (int b = first; b < tuning->t->batch_count && r == 0 && all; b++) {
        r = try_options(&best[b], g, tuning, b, digest, err);
        all = best[b];
    }
    if (r < 0 || !all)
        return r;
    for (int b = first; b < tuning->t->batch_count; b++) {
        tuning->t->plan[b] = best[b]->plan;
        best[b]->plan = NULL;
    }
    tuning->is_settled = true;
    return LS_OK;
}

// Gives the next candidate of each shape its turn. *open: shapes that are not settled.
static int try_turn(struct group *g, int *open, struct ls_err *err)
{
    int r;

    for (int i = 0; i < g->count; i++) {
        struct tuning *tuning = &g->tuning[i];

        if (tuning->is_settled)
            continue;
        tuning->chosen = best_candidate(tuning);
        tuning->is_settled = tuning->t->choice.plain = !tuning->chosen;
        for (int b = 1; b < tuning->t->batch_count && tuning->chosen; b++) {
            add_option(tuning, b, &tuning->chosen->config);
            for (int k = 0; k < tuning->favourite_count[b]; k++)
                add_option(tuning, b, &tuning->favourite[b][k]);
        }
    }
    r = build_options(g, 1, err);
    *open = 0;
    for (int i = 0; i < g->count && r == 0; i++) {
        struct tuning *tuning = &g->tuning[i];

        if (!tuning->is_settled) {
            r = try_settle(g, tuning, 1, tuning->chosen->trial.digest, err);
            tuning->chosen->trial.ok = false; // its turn has been
        }
        if (tuning->is_settled && tuning->chosen && !tuning->t->plan[0]) {
            tuning->t->choice.config = tuning->chosen->config;
            tuning->t->choice.digest = tuning->chosen->trial.digest;
            tuning->t->plan[0] = tuning->chosen->plan;
            tuning->chosen->plan = NULL;
        }
        free_options(tuning);
        *open += !tuning->is_settled;
    }
    return r;
}

// --- groups ------------------------------------------------------------------------------------

static int tune_group(struct group *g, struct ls_err *err)
{
    int open = g->count, r = propose(g, err);

    if (r == 0)
        r = build_candidates(g, err);
    for (int i = 0; i < g->count && r == 0; i++)
        r = try_candidates(g, &g->tuning[i], err);
    while (r == 0 && open > 0)
        r = try_turn(g, &open, err);
    return r;
}

// The earlier start's choice alone, at every batch size.
static int retune_group(struct group *g, struct ls_err *err)
{
    int r;

    for (int i = 0; i < g->count; i++)
        for (int b = 0; b < g->tuning[i].t->batch_count; b++)
            add_option(&g->tuning[i], b, &g->tuning[i].t->choice.config);
    r = build_options(g, 0, err);
    for (int i = 0; i < g->count && r == 0; i++) {
        struct tuning *tuning = &g->tuning[i];

        r = try_settle(g, tuning, 0, tuning->t->choice.digest, err);
        tuning->t->choice.plain = !tuning->is_settled;
    }
    return r;
}

static void free_group(struct group *g)
{
    clear_jobs(g);
    free(g->job);
    for (int i = 0; i < g->count; i++) {
        for (int k = 0; k < g->tuning[i].candidate_count; k++)
            ls_cuda_plan_free(&g->tuning[i].candidate[k].plan);
        free_options(&g->tuning[i]);
    }
    free(g);
}

static int for_group(struct ls_cuda_tuned *tuned, int count, struct ls_cuda_bench *bench,
                     const struct ls_cuda_tune_params *params,
                     int (*tune)(struct group *g, struct ls_err *err), struct ls_err *err)
{
    struct group *g = calloc(1, sizeof *g);
    int r;

    if (!g)
        return ls_fail(err, LS_ENOMEM, "no memory to choose convolutions");
    g->params = params;
    g->bench = bench;
    g->count = count;
    for (int i = 0; i < count; i++)
        g->tuning[i].t = &tuned[i];
    r = tune(g, err);
    free_group(g);
    return r;
}

static int for_all(struct ls_cuda_tuned *tuned, int count, const struct ls_cuda_tune_params *params,
                   int (*tune)(struct group *g, struct ls_err *err), struct ls_err *err)
{
    struct ls_cuda_bench_params bench_params = {
        .shape_count = count, .handle = params->handle, .stream = params->stream};
    const struct ls_cuda_conv_shape **shape = calloc((size_t)count, sizeof *shape);
    struct ls_cuda_bench *bench = NULL;
    int r = LS_OK;

    if (!shape)
        return ls_fail(err, LS_ENOMEM, "no memory to choose convolutions");
    for (int i = 0; i < count; i++) {
        shape[i] = &tuned[i].shape;
        for (int b = 0; b < tuned[i].batch_count; b++)
            if (tuned[i].batch[b] > bench_params.batch_max)
                bench_params.batch_max = tuned[i].batch[b];
    }
    bench_params.shape = shape;
    r = ls_cuda_bench_new(&bench, &bench_params, err);
    for (int i = 0; i < count && r == 0; i += GROUP_MAX) {
        char why[64];

        snprintf(why, sizeof why, "plans for %d of %d convolutions are chosen", i, count);
        if (params->on_wait && i > 0)
            params->on_wait(why);
        r = for_group(&tuned[i], count - i < GROUP_MAX ? count - i : GROUP_MAX, bench, params, tune,
                      err);
    }
    if (r < 0)
        for (int i = 0; i < count; i++)
            for (int b = 0; b < LS_CUDA_BATCHES_MAX; b++)
                ls_cuda_plan_free(&tuned[i].plan[b]);
    ls_cuda_bench_free(&bench);
    free(shape);
    return r;
}

int ls_cuda_tune(struct ls_cuda_tuned *tuned, int count, const struct ls_cuda_tune_params *params,
                 struct ls_err *err)
{
    return for_all(tuned, count, params, tune_group, err);
}

int ls_cuda_retune(struct ls_cuda_tuned *tuned, int count, const struct ls_cuda_tune_params *params,
                   struct ls_err *err)
{
    return for_all(tuned, count, params, retune_group, err);
}

#endif
