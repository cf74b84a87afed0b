// SPDX-License-Identifier: Apache-2.0
// Voice features: the same columns and windows however the sound arrives, edges padded with
// silence, "not yet" exactly until frame time + 212.5 ms, the silence gate, and memory that does
// not grow.
#include "server/features.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "_check.h"

enum { SECONDS = 3, SAMPLES = SECONDS * LS_SAMPLE_RATE, COLUMNS = 1 + SAMPLES / LS_MEL_HOP };

static struct ls_model *model;
static struct ls_backend *backend;
static struct ls_lane *lane;
static float voice[SAMPLES];

static void compute(struct ls_features *f, struct ls_err *err)
{
    static float pcm[LS_MEL_BLOCK * LS_MEL_HOP + 1024], column[LS_MEL_BLOCK * LS_MEL_BANDS];
    struct ls_mel_job job;

    while (ls_features_mel_next(f, &job, pcm))
        if (ls_mel(lane, column, &job, err) < 0 ||
            ls_features_mel_put(f, column, job.count, err) < 0)
            return;
}

static struct ls_features *feed(int chunk, struct ls_err *err)
{
    struct ls_features_params p = {
        .sample_rate_hz = LS_SAMPLE_RATE, .channels = 1, .threshold_dbfs = -50, .hold_ms = 200};
    struct ls_features *f = NULL;
    int i, n;

    if (ls_features_new(&f, &p, err) < 0)
        return NULL;
    for (i = 0; i < SAMPLES; i += n) {
        n = SAMPLES - i < chunk ? SAMPLES - i : chunk;
        if (ls_features_push(f, voice + i, n, voice + i, n, err) < 0)
            break;
        compute(f, err);
    }
    ls_features_end(f);
    compute(f, err);
    return f;
}

static void check_chunks(void)
{
    static const int chunk[] = {1, 160, 1023, 16000, SAMPLES};
    static float want[COLUMNS * LS_MEL_BANDS];
    struct ls_mel_job all = {
        .pcm = voice, .pcm_count = SAMPLES, .total = SAMPLES, .count = COLUMNS};
    float window[LS_MEL_WINDOW * LS_MEL_BANDS];
    struct ls_err err = {0};
    char row[60];
    size_t i;
    int c, same;

    CHECK(ls_mel(lane, want, &all, &err) == 0, "offline columns");
    for (i = 0; i < sizeof(chunk) / sizeof(chunk[0]); i++) {
        struct ls_features *f = feed(chunk[i], &err);

        same = f && ls_features_columns(f) == COLUMNS;
        for (c = 0; same && c + LS_MEL_WINDOW <= COLUMNS; c++)
            same = ls_features_window_at(f, c, window) &&
                   memcmp(window, want + c * LS_MEL_BANDS, sizeof(window)) == 0;
        snprintf(row, sizeof(row), "chunks of %d samples give the offline columns", chunk[i]);
        CHECK(same, row);
        same = f && ls_features_window_at(f, -3, window) && window[0] == -4 &&
               window[3 * LS_MEL_BANDS - 1] == -4 && window[3 * LS_MEL_BANDS] == want[0] &&
               ls_features_window_at(f, COLUMNS - 1, window) && window[LS_MEL_BANDS] == -4;
        snprintf(row, sizeof(row), "chunks of %d: silence beyond both ends", chunk[i]);
        CHECK(same, row);
        ls_features_free(&f);
    }
}

// The window of a frame at t must be there when sound up to t + 212.5 ms is, and not much earlier.
static void check_latency(void)
{
    struct ls_features_params p = {
        .sample_rate_hz = LS_SAMPLE_RATE, .channels = 1, .threshold_dbfs = -50, .hold_ms = 200};
    float window[LS_MEL_WINDOW * LS_MEL_BANDS];
    struct ls_features *f = NULL;
    struct ls_err err = {0};
    int frame, had = 0, need, early = 0, late = 0;

    CHECK(ls_features_new(&f, &p, &err) == 0, "new");
    for (frame = 1; frame < 40; frame++) {
        need = (int)(ls_mel_start(frame * 3600, 0) + 15) * LS_MEL_HOP + LS_MEL_FFT / 2;
        if (ls_features_push(f, voice + had, need - 1 - had, voice + had, need - 1 - had, &err) < 0)
            break;
        compute(f, &err);
        early += ls_features_window(f, frame * 3600, window);
        if (ls_features_push(f, voice + need - 1, 1, voice + need - 1, 1, &err) < 0)
            break;
        had = need;
        compute(f, &err);
        late += !ls_features_window(f, frame * 3600, window);
    }
    CHECK(frame == 40 && early == 0, "no window before its sound is there");
    CHECK(late == 0, "a window as soon as frame time + 212.5 ms of sound is there");
    ls_features_free(&f);
}

// Sound from 1 s to 2 s. At once: it is heard from 100 ms before to 200 ms after. With a fade of
// 160 ms: from 200 ms before it, whole 40 ms before it, and gone 360 ms after it.
static void check_gate(void)
{
    static const struct {
        const char *name;
        int ms, fade_ms, scene_ms;
        float want;
    } rows[] = {
        {"start", 0, 0, 0, 0},
        {"880 ms", 880, 0, 0, 0},
        {"920 ms", 920, 0, 0, 1},
        {"middle", 1500, 0, 0, 1},
        {"2100 ms: held", 2100, 0, 0, 1},
        {"2190 ms", 2190, 0, 0, 1},
        {"2200 ms", 2200, 0, 0, 0},
        {"end", 2960, 0, 0, 0},
        {"fade: not yet", 800, 160, 0, 0},
        {"fade: a quarter in", 840, 160, 0, 0.1464f},
        {"fade: half in", 880, 160, 0, 0.5f},
        {"fade: all in before the sound", 960, 160, 0, 1},
        {"fade: middle", 1500, 160, 0, 1},
        {"fade: held", 2200, 160, 0, 1},
        {"fade: half out", 2280, 160, 0, 0.5f},
        {"fade: out", 2360, 160, 0, 0},
        {"a long fade is all in when the sound begins", 1000, 1000, 0, 1},
        {"a long fade is half in 100 ms before", 900, 1000, 0, 0.5f},
        {"a long fade out", 2700, 1000, 0, 0.5f},
        {"a scene that begins while it rises", 880, 160, 860, 1},
        {"a scene that begins before it rises", 880, 160, 790, 0.5f},
        {"a scene that begins while it falls", 2280, 160, 2260, 0},
        {"a scene that begins before it falls", 2280, 160, 2100, 0.5f},
    };
    struct ls_err err = {0};
    struct ls_features *f;
    size_t i;
    float got;

    for (i = 0; i < SAMPLES; i++)
        if (i < LS_SAMPLE_RATE || i >= 2 * LS_SAMPLE_RATE)
            voice[i] = 0;
    f = feed(4000, &err);
    for (i = 0; f && i < sizeof(rows) / sizeof(rows[0]); i++) {
        got = ls_features_voiced(f, (int64_t)rows[i].ms * 90, (int64_t)rows[i].scene_ms * 90,
                                 rows[i].fade_ms);
        if (!CHECK(fabsf(got - rows[i].want) < 1e-3f, rows[i].name))
            printf("%g\n", (double)got);
    }
    ls_features_free(&f);
}

// What a frame is told when its window is there is what it is told when all the sound is.
static void check_gate_early(void)
{
    struct ls_features_params p = {
        .sample_rate_hz = LS_SAMPLE_RATE, .channels = 1, .threshold_dbfs = -50, .hold_ms = 200};
    float window[LS_MEL_WINDOW * LS_MEL_BANDS], early[70] = {0};
    struct ls_features *f = NULL;
    struct ls_err err = {0};
    int frame = 0, i, same = 1;

    CHECK(ls_features_new(&f, &p, &err) == 0, "new");
    for (i = 0; i + 50 <= SAMPLES; i += 50) {
        if (ls_features_push(f, voice + i, 50, voice + i, 50, &err) < 0)
            break;
        compute(f, &err);
        for (; frame < 70 && ls_features_window(f, frame * 3600, window); frame++)
            early[frame] = ls_features_voiced(f, frame * 3600, 0, 160);
    }
    for (i = 0; i < 70; i++)
        same &= i < frame && early[i] == ls_features_voiced(f, i * 3600, 0, 160);
    CHECK(frame == 70 && same, "the gate does not depend on how much sound came");
    ls_features_free(&f);
}

int main(void)
{
    struct ls_model_params params = {.seed = 1};
    struct ls_err err = {0};
    int i;

    for (i = 0; i < SAMPLES; i++)
        voice[i] = 0.3f * sinf((float)i * 0.05f) + 0.1f * sinf((float)(i % 977) * 0.31f);
    if (ls_model_open(&model, &params, &err) < 0 ||
        ls_backend_open(&backend,
                        &(struct ls_backend_params){.name = "ref", .model = model, .batch_max = 1},
                        &err) < 0 ||
        ls_lane_open(&lane, backend, &err) < 0) {
        fprintf(stderr, "%s\n", err.text);
        return 1;
    }
    check_chunks();
    check_latency();
    check_gate();
    check_gate_early();
    ls_lane_close(&lane);
    ls_backend_close(&backend);
    ls_model_close(&model);
    return check_done();
}
