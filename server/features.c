// SPDX-License-Identifier: Apache-2.0
// Voice features of one session. Flow: decode -> here -> (device: mel) -> session. A column depends
// on samples up to 400 beyond its centre, so a frame at time t needs sound up to t + 212.5 ms; only
// the last two columns need to know where the voice ends (reflection). Columns beyond either end of
// the voice are digital silence, -4. Loop thread.
#include "features.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "stretch.h"

enum {
    LEVEL_SAMPLES = 160, // 10 ms: one block of the silence gate
    LEVEL_AHEAD = 10,    // blocks: 100 ms, so that a word's start is not clipped
    PCM_MARGIN = 1024,   // 401 samples before and 400 behind a block of columns, rounded up
};

struct ls_features {
    struct ls_features_params p;
    struct ls_stretch mono;   // samples
    struct ls_stretch column; // [80]
    struct ls_stretch level;  // mean square of a block
    struct ls_stretch voice;  // [channels]
    double block_sum;         // of the level block that is being filled
    int block_count;
    bool ended;
};

int ls_features_new(struct ls_features **out, const struct ls_features_params *params,
                    struct ls_err *err)
{
    struct ls_features *f = calloc(1, sizeof(*f));

    if (!f)
        return ls_fail(err, LS_ENOMEM, "voice features");
    f->p = *params;
    f->mono.width = 1;
    f->column.width = LS_MEL_BANDS;
    f->level.width = 1;
    f->voice.width = params->channels;
    *out = f;
    return 0;
}

void ls_features_free(struct ls_features **f)
{
    if (!f || !*f)
        return;
    ls_stretch_done(&(*f)->mono);
    ls_stretch_done(&(*f)->column);
    ls_stretch_done(&(*f)->level);
    ls_stretch_done(&(*f)->voice);
    free(*f);
    *f = NULL;
}

static int push_levels(struct ls_features *f, const float *mono, int count, struct ls_err *err)
{
    float level;
    int i, r;

    for (i = 0; i < count; i++) {
        f->block_sum += (double)mono[i] * (double)mono[i];
        if (++f->block_count < LEVEL_SAMPLES)
            continue;
        level = (float)(f->block_sum / LEVEL_SAMPLES);
        f->block_sum = 0;
        f->block_count = 0;
        r = ls_stretch_push(&f->level, &level, 1, err);
        if (r < 0)
            return r;
    }
    return 0;
}

int ls_features_push(struct ls_features *f, const float *mono, int mono_count, const float *voice,
                     int voice_count, struct ls_err *err)
{
    int r;

    assert(!f->ended);
    r = push_levels(f, mono, mono_count, err);
    if (r == 0)
        r = ls_stretch_push(&f->mono, mono, mono_count, err);
    if (r == 0)
        r = ls_stretch_push(&f->voice, voice, voice_count, err);
    return r;
}

void ls_features_end(struct ls_features *f)
{
    f->ended = true;
}

bool ls_features_ended(const struct ls_features *f)
{
    return f->ended;
}

int64_t ls_features_ticks(const struct ls_features *f)
{
    return ls_stretch_end(&f->voice) * LS_TICKS / f->p.sample_rate_hz;
}

int64_t ls_features_samples(const struct ls_features *f)
{
    return ls_stretch_end(&f->mono);
}

int64_t ls_features_voice_end(const struct ls_features *f)
{
    return ls_stretch_end(&f->voice);
}

int64_t ls_features_columns(const struct ls_features *f)
{
    return f->ended ? 1 + ls_stretch_end(&f->mono) / LS_MEL_HOP : -1;
}

bool ls_features_mel_next(const struct ls_features *f, struct ls_mel_job *job, float *pcm)
{
    int64_t end = ls_stretch_end(&f->mono), first = ls_stretch_end(&f->column);
    int64_t last = 0, from, to;

    // Columns 0 and 1 are reflected at the start, which takes two samples more.
    if (f->ended)
        last = ls_features_columns(f);
    else if (end >= LS_MEL_FFT / 2 + 2)
        last = (end - LS_MEL_FFT / 2) / LS_MEL_HOP + 1;
    if (last > first + LS_MEL_BLOCK)
        last = first + LS_MEL_BLOCK;
    if (last <= first)
        return false;
    from = first * LS_MEL_HOP - LS_MEL_FFT / 2 - 1;
    // The reflected end looks back by as much as it would have looked ahead.
    if (f->ended && from > end - LS_MEL_FFT - 2)
        from = end - LS_MEL_FFT - 2;
    if (from < f->mono.first)
        from = f->mono.first;
    to = (last - 1) * LS_MEL_HOP + LS_MEL_FFT / 2;
    if (to > end)
        to = end;
    // The reflected start mirrors samples 1..400, which the first columns alone would not reach.
    if (to < LS_MEL_FFT / 2 + 2)
        to = end < LS_MEL_FFT / 2 + 2 ? end : LS_MEL_FFT / 2 + 2;
    assert(to - from <= LS_MEL_BLOCK * LS_MEL_HOP + PCM_MARGIN);
    memcpy(pcm, ls_stretch_at(&f->mono, from), (size_t)(to - from) * sizeof(float));
    *job = (struct ls_mel_job){.pcm = pcm,
                               .pcm_first = from,
                               .pcm_count = to - from,
                               .total = f->ended ? end : -1,
                               .first = first,
                               .count = (int)(last - first)};
    return true;
}

int ls_features_mel_put(struct ls_features *f, const float *column, int count, struct ls_err *err)
{
    int r = ls_stretch_push(&f->column, column, count, err);

    // The next block looks 401 samples back, its reflected end up to 802.
    if (r == 0)
        ls_stretch_drop(&f->mono, ls_stretch_end(&f->column) * LS_MEL_HOP - LS_MEL_FFT - 402);
    return r;
}

bool ls_features_window_at(const struct ls_features *f, int64_t start, float *out)
{
    int64_t columns = ls_features_columns(f), c;
    int i, k;

    for (i = 0; i < LS_MEL_WINDOW; i++, out += LS_MEL_BANDS) {
        c = start + i;
        if (c < 0 || (columns >= 0 && c >= columns)) {
            for (k = 0; k < LS_MEL_BANDS; k++)
                out[k] = -4.0f;
            continue;
        }
        if (c >= ls_stretch_end(&f->column))
            return false;
        memcpy(out, ls_stretch_at(&f->column, c), LS_MEL_BANDS * sizeof(float));
    }
    return true;
}

bool ls_features_window(const struct ls_features *f, int64_t ticks, float *out)
{
    return ls_features_window_at(f, ls_mel_start(ticks, f->p.offset_ms), out);
}

// First and one past the last level block that a frame at `ticks` listens to.
static void gate_range(const struct ls_features *f, int64_t ticks, int64_t *first, int64_t *end)
{
    int64_t ms = ticks * 1000 / LS_TICKS + f->p.offset_ms;

    *first = (ms - f->p.hold_ms) / 10;
    *end = ms / 10 + LEVEL_AHEAD + 1;
    if (*first < 0)
        *first = 0;
}

bool ls_features_silent(const struct ls_features *f, int64_t ticks)
{
    double limit = pow(10.0, (double)f->p.threshold_dbfs / 10.0);
    int64_t i, end;

    gate_range(f, ticks, &i, &end);
    if (i < f->level.first)
        i = f->level.first;
    for (; i < end && i < ls_stretch_end(&f->level); i++)
        if ((double)*ls_stretch_at(&f->level, i) >= limit)
            return false;
    return true;
}

int ls_features_voice(const struct ls_features *f, int64_t from, int64_t to, const float **out)
{
    int64_t end = ls_stretch_end(&f->voice);

    if (to > end)
        to = end;
    if (from >= to)
        return 0;
    *out = ls_stretch_at(&f->voice, from);
    return (int)(to - from);
}

void ls_features_forget(struct ls_features *f, int64_t ticks, int64_t voice_from)
{
    int64_t first, end, columns = ls_features_columns(f), start;

    gate_range(f, ticks, &first, &end);
    ls_stretch_drop(&f->level, first);
    start = ls_mel_start(ticks, f->p.offset_ms);
    // The exact profile may still ask for the voice's last 16 columns.
    if (columns >= 0 && start > columns - LS_MEL_WINDOW)
        start = columns - LS_MEL_WINDOW;
    if (start > ls_stretch_end(&f->column) - LS_MEL_WINDOW)
        start = ls_stretch_end(&f->column) - LS_MEL_WINDOW;
    ls_stretch_drop(&f->column, start);
    ls_stretch_drop(&f->voice, voice_from);
}

double ls_features_ahead(const struct ls_features *f, int64_t ticks)
{
    return (double)(ls_features_ticks(f) - ticks) / LS_TICKS;
}
