// SPDX-License-Identifier: Apache-2.0
// Mel columns of many voices in one launch: the samples that the columns hear and a description of
// each column go up in one copy, the columns come back in one. Device thread. What surprises: at
// most 1024 columns go at a time (a live batch of 64 sessions has a few hundred), so that the
// pinned memory has one size however long a voice is; a column's bytes do not depend on where the
// cuts fall.
#include "mel.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "mel_columns.h"

enum {
    COLUMNS_MAX = 1024,
    // A piece of n columns hears 200 n + 600 samples; all in pieces of one.
    SAMPLES_MAX = COLUMNS_MAX * LS_MEL_FFT,
};

struct ls_cuda_mel {
    struct ls_cuda_mel_table *table; // device
    struct ls_cuda_twin in;          // the batch's columns, then its samples
    struct ls_cuda_twin out;         // [COLUMNS_MAX][80]
};

// A place in the list of jobs.
struct place {
    int job, column;
};

// Columns of one job that go in one launch.
struct piece {
    struct ls_mel_job job;
    float *out;
};

static void fill_table(struct ls_cuda_mel_table *out)
{
    const struct ls_mel_table *t = ls_mel_table();
    int n = 0;

    for (int i = 0; i < LS_MEL_FFT; i++) {
        out->unit[i][0] = t->cosine[i];
        out->unit[i][1] = -t->cosine[(i + 3 * LS_MEL_FFT / 4) % LS_MEL_FFT];
    }
    for (int b = 0; b < LS_MEL_BANDS; b++) {
        out->bin_first[b] = t->bin_first[b];
        out->bin_end[b] = t->bin_end[b];
        out->weight_first[b] = n;
        assert(n + t->bin_end[b] - t->bin_first[b] <= LS_CUDA_MEL_WEIGHTS);
        for (int k = t->bin_first[b]; k < t->bin_end[b]; k++)
            out->weight[n++] = t->filter[b][k];
    }
}

// From pinned memory, on the caller's stream.
static int put_table(struct ls_cuda_mel *mel, cudaStream_t stream, struct ls_err *err)
{
    void *device = NULL;
    int r = ls_cuda_alloc(&device, sizeof *mel->table, err);

    if (r < 0)
        return r;
    mel->table = device;
    memset(mel->in.host, 0, sizeof *mel->table);
    fill_table(mel->in.host);
    r = ls_cuda_check(err,
                      cudaMemcpyAsync(mel->table, mel->in.host, sizeof *mel->table,
                                      cudaMemcpyHostToDevice, stream),
                      "the mel tables");
    if (r == 0)
        r = ls_cuda_check(err, cudaStreamSynchronize(stream), "the mel tables");
    return r;
}

int ls_cuda_mel_new(struct ls_cuda_mel **out, cudaStream_t stream, struct ls_err *err)
{
    struct ls_cuda_mel *mel = calloc(1, sizeof *mel);
    int r;

    if (!mel)
        return ls_fail(err, LS_ENOMEM, "no memory for mel columns");
    r = ls_cuda_twin_reserve(
        &mel->in, COLUMNS_MAX * sizeof(struct ls_cuda_mel_column) + SAMPLES_MAX * sizeof(float),
        err);
    if (r == 0)
        r = ls_cuda_twin_reserve(&mel->out, COLUMNS_MAX * LS_MEL_BANDS * sizeof(float), err);
    if (r == 0)
        r = put_table(mel, stream, err);
    if (r == 0) {
        *out = mel;
        mel = NULL;
    }
    ls_cuda_mel_free(&mel);
    return r;
}

void ls_cuda_mel_free(struct ls_cuda_mel **mel)
{
    void *table;

    if (!mel || !*mel)
        return;
    table = (*mel)->table;
    ls_cuda_free(&table);
    ls_cuda_twin_done(&(*mel)->in);
    ls_cuda_twin_done(&(*mel)->out);
    free(*mel);
    *mel = NULL;
}

// The next columns, at most `count_max`, of what is left from *at on; moves *at behind them. The
// same cuts each time, so the way down finds what the way up took.
static struct piece next_piece(struct place *at, float *const *out, const struct ls_mel_job *job,
                               int count_max)
{
    struct piece p = {.job = job[at->job],
                      .out = out[at->job] + (int64_t)at->column * LS_MEL_BANDS};

    p.job.first += at->column;
    p.job.count -= at->column;
    if (p.job.count > count_max) {
        p.job.count = count_max;
        at->column += count_max;
    } else {
        *at = (struct place){.job = at->job + 1};
    }
    return p;
}

static int far_at_most(int64_t v)
{
    return v < LS_CUDA_MEL_FAR ? (int)v : LS_CUDA_MEL_FAR;
}

// Stages the piece's samples at pcm + offset and describes its columns; returns how many samples.
static int stage(struct ls_cuda_mel_column *column, float *pcm, int offset, const struct piece *p)
{
    const struct ls_mel_job *job = &p->job;
    int64_t first, last, size;

    ls_mel_span(&first, &last, job);
    size = last - first + 1;
    assert(size > 0 && size <= (int64_t)LS_MEL_HOP * job->count + 600);
    memcpy(pcm + offset, job->pcm + (first - job->pcm_first), (size_t)size * sizeof *pcm);
    for (int c = 0; c < job->count; c++) {
        column[c] = (struct ls_cuda_mel_column){
            .offset = offset,
            .start = (int)((job->first + c) * LS_MEL_HOP - LS_MEL_FFT / 2 - first),
            .zero = -far_at_most(first),
            .last = job->total < 0 ? LS_CUDA_MEL_FAR : far_at_most(job->total - 1 - first),
        };
    }
    return (int)size;
}

// One launch of `count` columns from *at on.
static int run_some(struct ls_cuda_mel *mel, struct place *at, float *const *out,
                    const struct ls_mel_job *job, int count, cudaStream_t stream,
                    struct ls_err *err)
{
    struct ls_cuda_mel_column *column = mel->in.host;
    float *pcm = (float *)(column + count);
    const struct ls_cuda_mel_column *device = mel->in.device;
    const float *made = mel->out.host;
    struct place down = *at;
    int size = 0, r;

    for (int done = 0; done < count;) {
        struct piece p = next_piece(at, out, job, count - done);

        size += stage(column + done, pcm, size, &p);
        done += p.job.count;
    }
    r = ls_cuda_check(err,
                      cudaMemcpyAsync(mel->in.device, mel->in.host,
                                      (size_t)count * sizeof *column + (size_t)size * sizeof *pcm,
                                      cudaMemcpyHostToDevice, stream),
                      "copying voices");
    if (r == 0)
        r = ls_cuda_check(err,
                          ls_cuda_mel_columns(mel->out.device, (const float *)(device + count),
                                              device, count, mel->table, stream),
                          "mel columns");
    if (r == 0)
        r = ls_cuda_check(err,
                          cudaMemcpyAsync(mel->out.host, mel->out.device,
                                          (size_t)count * LS_MEL_BANDS * sizeof *made,
                                          cudaMemcpyDeviceToHost, stream),
                          "copying mel columns");
    if (r < 0) {
        (void)cudaStreamSynchronize(stream); // the staging must not be in flight
        return r;
    }
    r = ls_cuda_check(err, cudaStreamSynchronize(stream), "mel columns");
    for (int done = 0; done < count && r == 0;) {
        struct piece p = next_piece(&down, out, job, count - done);

        memcpy(p.out, made + (size_t)done * LS_MEL_BANDS,
               (size_t)p.job.count * LS_MEL_BANDS * sizeof *made);
        done += p.job.count;
    }
    return r;
}

int ls_cuda_mel_run(struct ls_cuda_mel *mel, float *const *out, const struct ls_mel_job *job,
                    int count, cudaStream_t stream, struct ls_err *err)
{
    struct place at = {0};
    int64_t left = 0;
    int r = LS_OK;

    for (int i = 0; i < count; i++)
        left += job[i].count;
    while (left > 0 && r == LS_OK) {
        int some = left < COLUMNS_MAX ? (int)left : COLUMNS_MAX;

        r = run_some(mel, &at, out, job, some, stream, err);
        left -= some;
    }
    return r;
}
