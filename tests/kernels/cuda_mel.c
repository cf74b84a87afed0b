// SPDX-License-Identifier: Apache-2.0
// The device's mel columns against ref: every kind of sound that a float transform would get wrong,
// voices cut anywhere, many voices in one batch, more columns than one launch takes. A column must
// have the same bytes in every batch, and each job gets only the samples that it needs, so that a
// sanitizer sees a step outside. Every call of CUDA may fail once.
#include <math.h>

#include "kernels/cuda/mel.h"
#include "kernels/mel.h"
#include "kernels/ref/ref.h"
#include "tests/kernels/_pictures.h"
#include "tests/unit/_check.h"

enum { SAMPLES = 260000 };
#define WITHIN 1e-4 // of -4..4, what the network hears; measured here: 1e-6

enum sound { NOISE, SILENCE, LOUD, CLICK, TONE, TINY, LOUD_TONE, BIT16_TONE, CHORD, SWEEP };

static const struct row {
    const char *name;
    enum sound sound;
    int total, first, count; // total: of the voice
    bool known;              // that it ends there
} rows[] = {
    {"noise", NOISE, 16000, 0, 79, false},
    {"end known", NOISE, 16000, 0, 81, true},
    {"odd length", NOISE, 4321, 3, 19, true},
    {"shortest", NOISE, 401, 0, 3, true},
    {"its last column", NOISE, 401, 2, 1, true},
    {"its first column", NOISE, 401, 0, 1, true},
    {"silence", SILENCE, 3000, 0, 16, true},
    {"loud", LOUD, 3000, 0, 16, true},
    {"clicks", CLICK, 9000, 2, 40, true},
    {"tone", TONE, 5000, 0, 25, true},
    {"tiny", TINY, 3000, 1, 14, true},
    {"loud tone", LOUD_TONE, 8000, 0, 41, true},
    {"tone of 16 bits", BIT16_TONE, 8000, 4, 30, false},
    {"chord", CHORD, 8000, 0, 41, true},
    {"sweep", SWEEP, SAMPLES, 0, SAMPLES / LS_MEL_HOP + 1, true}, // more than a launch takes
    {"far inside a voice", NOISE, SAMPLES, 1100, 7, false},
};

enum { JOBS = sizeof rows / sizeof rows[0] };

static float voice_at(enum sound sound, int i, uint64_t *seed)
{
    switch (sound) {
    case NOISE:
        return random_float(seed, -1, 1);
    case LOUD:
        return random_next(seed) & 1 ? 60000 : -60000;
    case CLICK:
        return i % 1500 == 700 ? 1 : 0;
    case TONE:
        return (float)sin(i * 0.3);
    case TINY:
        return random_float(seed, -1e-6f, 1e-6f);
    case LOUD_TONE:
        return (float)(60000 * sin(i * 0.8));
    case BIT16_TONE:
        return (float)(round(32767 * sin(i * 1.3)) / 32768);
    case CHORD:
        return (float)(0.9 * sin(i * 0.07) + 0.1 * sin(i * 2.7));
    case SWEEP:
        return (float)sin(i * (double)i * 5e-6);
    default:
        return 0;
    }
}

// A job with exactly the samples that it hears.
static struct ls_mel_job job_new(const struct row *row)
{
    struct ls_mel_job job = {
        .total = row->known ? row->total : -1, .first = row->first, .count = row->count};
    uint64_t seed = 11;
    int64_t last;
    float *pcm;

    ls_mel_span(&job.pcm_first, &last, &job);
    job.pcm_count = last - job.pcm_first + 1;
    pcm = malloc((size_t)job.pcm_count * sizeof *pcm);
    if (!pcm)
        abort();
    for (int i = 0; i <= last; i++) {
        float v = voice_at(row->sound, i, &seed);

        if (i >= job.pcm_first)
            pcm[i - job.pcm_first] = v;
    }
    job.pcm = pcm;
    return job;
}

struct made {
    struct ls_mel_job job[JOBS];
    float *want[JOBS], *got[JOBS];
};

static size_t size_of(const struct ls_mel_job *job)
{
    return (size_t)job->count * LS_MEL_BANDS;
}

static float *columns(const struct ls_mel_job *job) // one number more, to be left alone
{
    float *out = malloc((size_of(job) + 1) * sizeof *out);

    if (!out)
        abort();
    out[size_of(job)] = 12345;
    return out;
}

static void run(struct ls_cuda_mel *mel, float *const *out, const struct ls_mel_job *job, int count,
                const char *row)
{
    struct ls_err err = {0};

    if (!CHECK(ls_cuda_mel_run(mel, out, job, count, NULL, &err) == LS_OK, row))
        printf("%s\n", err.text);
}

// Each job alone.
static void check_values(struct ls_cuda_mel *mel, struct made *m)
{
    for (int i = 0; i < JOBS; i++) {
        size_t size = size_of(&m->job[i]);

        CHECK(ls_ref_mel(m->want[i], &m->job[i], NULL) == LS_OK, rows[i].name);
        run(mel, &m->got[i], &m->job[i], 1, rows[i].name);
        CHECK(differ_float(rows[i].name, m->got[i], m->want[i], size, WITHIN) <= WITHIN,
              rows[i].name);
        CHECK(m->got[i][size] == 12345, rows[i].name);
    }
}

// All at once, and backwards: the same bytes as alone.
static void check_batch(struct ls_cuda_mel *mel, const struct made *m)
{
    struct ls_mel_job job[JOBS];
    float *out[JOBS];

    for (int backwards = 0; backwards < 2; backwards++) {
        for (int i = 0; i < JOBS; i++) {
            job[i] = m->job[backwards ? JOBS - 1 - i : i];
            out[i] = columns(&job[i]);
        }
        run(mel, out, job, JOBS, "batch");
        for (int i = 0; i < JOBS; i++) {
            int k = backwards ? JOBS - 1 - i : i;

            CHECK(!memcmp(out[i], m->got[k], (size_of(&job[i]) + 1) * sizeof(float)), rows[k].name);
            free(out[i]);
        }
    }
}

// Each job in pieces, five to a batch, with no more samples than a piece hears.
static void check_pieces(struct ls_cuda_mel *mel, const struct made *m, int i)
{
    enum { PIECES = 5 };
    const struct ls_mel_job *whole = &m->job[i];
    struct ls_mel_job job[PIECES];
    float *out[PIECES];
    int count = whole->count < PIECES ? 1 : PIECES;

    for (int k = 0; k < count; k++) {
        int first = whole->count * k / count;
        int64_t last;

        job[k] = *whole;
        job[k].first += first;
        job[k].count = whole->count * (k + 1) / count - first;
        ls_mel_span(&job[k].pcm_first, &last, &job[k]);
        job[k].pcm_count = last - job[k].pcm_first + 1;
        job[k].pcm += job[k].pcm_first - whole->pcm_first;
        out[k] = columns(&job[k]);
    }
    run(mel, out, job, count, rows[i].name);
    for (int k = 0; k < count; k++) {
        CHECK(!memcmp(out[k], m->got[i] + (job[k].first - whole->first) * LS_MEL_BANDS,
                      size_of(&job[k]) * sizeof(float)),
              rows[i].name);
        free(out[k]);
    }
}

#ifdef LS_SHIM_CUDA_RUNTIME_API_H
// Each of CUDA's calls fails once: an error, nothing written, and the next run is well.
static void check_failures_of_cuda(const struct made *m)
{
    const int jobs[] = {2, 14}; // of one launch and of two
    long calls = 0;

    for (long fail = 1; fail == 1 || fail <= calls; fail++) {
        struct ls_cuda_mel *mel = NULL;

        ls_shim_fail(0);
        if (fail == 1) { // how many there are
            CHECK(ls_cuda_mel_new(&mel, NULL, NULL) == LS_OK, "new");
            calls = ls_shim_fail(0);
        } else {
            ls_shim_fail(fail - 1);
            CHECK(ls_cuda_mel_new(&mel, NULL, NULL) < 0 && !mel, "a failing call of new");
        }
        ls_cuda_mel_free(&mel);
    }
    CHECK(calls > 3, "new has calls that can fail");
    for (int k = 0; k < 2; k++) {
        const struct ls_mel_job *job = &m->job[jobs[k]];
        float *out = columns(job);
        struct ls_cuda_mel *mel = NULL;

        CHECK(ls_cuda_mel_new(&mel, NULL, NULL) == LS_OK, "new");
        ls_shim_fail(0);
        run(mel, &out, job, 1, rows[jobs[k]].name);
        calls = ls_shim_fail(0);
        CHECK(calls >= 3, "a run has calls that can fail");
        for (long fail = 1; fail <= calls; fail++) {
            struct ls_err err = {0};

            ls_shim_fail(fail);
            CHECK(ls_cuda_mel_run(mel, &out, job, 1, NULL, &err) == LS_EDEVICE && err.text[0],
                  "a failing call of a run");
            ls_shim_fail(0);
            run(mel, &out, job, 1, "after a failure");
            CHECK(!memcmp(out, m->got[jobs[k]], size_of(job) * sizeof *out), "after a failure");
        }
        ls_cuda_mel_free(&mel);
        free(out);
    }
}
#endif

int main(void)
{
    struct ls_cuda_mel *mel = NULL;
    struct ls_cuda_device device;
    struct ls_err err = {0};
    struct made m;

    if (ls_cuda_device_open(&device, 0, &err) < 0)
        CHECK_SKIP("%s", err.text);
    if (!CHECK(ls_cuda_mel_new(&mel, NULL, &err) == LS_OK, "new"))
        return check_done();
    for (int i = 0; i < JOBS; i++) {
        m.job[i] = job_new(&rows[i]);
        m.want[i] = columns(&m.job[i]);
        m.got[i] = columns(&m.job[i]);
    }
    check_values(mel, &m);
    check_batch(mel, &m);
    for (int i = 0; i < JOBS; i++)
        check_pieces(mel, &m, i);
#ifdef LS_SHIM_CUDA_RUNTIME_API_H
    check_failures_of_cuda(&m);
#endif
    for (int i = 0; i < JOBS; i++) {
        free((float *)m.job[i].pcm);
        free(m.want[i]);
        free(m.got[i]);
    }
    ls_cuda_mel_free(&mel);
    return check_done();
}
