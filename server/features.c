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
    LEVEL_MS = 10, // one block of the silence gate
    LEVEL_SAMPLES = 160,
    LEVEL_AHEAD_MS = 100, // so that a word's start is not clipped
    KNOWN_MS = 200,       // of the voice behind a frame's time are there when its window is
    PCM_MARGIN = 1024,    // 401 samples before and 400 behind a block of columns, rounded up
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
                out[k] = LS_MEL_QUIET;
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

// Milliseconds of the voice that a frame at `ticks` listens to.
static int64_t ms_of(const struct ls_features *f, int64_t ticks)
{
    return ticks * 1000 / LS_TICKS + f->p.offset_ms;
}

// The first level block that a frame at `ms` may ask about.
static int64_t level_first(const struct ls_features *f, int64_t ms)
{
    int64_t first = (ms - f->p.hold_ms - LS_FADE_MS_MAX) / LEVEL_MS - 1;

    return first > 0 ? first : 0;
}

// The part of a fade that `since` of `whole` milliseconds make: a raised cosine.
static float ease(int64_t since, int64_t whole)
{
    if (since <= 0)
        return 0;
    return since >= whole ? 1 : 0.5f - 0.5f * cosf(3.14159265f * (float)since / (float)whole);
}

// What a loud block alone makes of a frame at `ms`.
static float voiced_by(const struct ls_features *f, int64_t block, int64_t ms, int64_t scene,
                       int fade_ms)
{
    int64_t opens = block * LEVEL_MS - (fade_ms ? KNOWN_MS : LEVEL_AHEAD_MS);
    int64_t closes = (block + 1) * LEVEL_MS + f->p.hold_ms;

    if (ms < opens)
        return 0;
    if (ms >= closes)
        return closes < scene || !fade_ms ? 0 : 1 - ease(ms - closes, fade_ms);
    if (ms >= block * LEVEL_MS || opens < scene)
        return 1;
    return fade_ms ? ease(ms - opens, fade_ms < KNOWN_MS ? fade_ms : KNOWN_MS) : 1;
}

float ls_features_voiced(const struct ls_features *f, int64_t ticks, int64_t scene, int fade_ms)
{
    double limit = pow(10.0, (double)f->p.threshold_dbfs / 10.0);
    int64_t ms = ms_of(f, ticks), i = level_first(f, ms), end;
    float most = 0;

    // Blocks that end within what the frame's window hears are there, the others need not be.
    end = (ms + KNOWN_MS) / LEVEL_MS;
    if (i < f->level.first)
        i = f->level.first;
    for (; i < end && i < ls_stretch_end(&f->level) && most < 1; i++)
        if ((double)*ls_stretch_at(&f->level, i) >= limit)
            most = fmaxf(most, voiced_by(f, i, ms, ms_of(f, scene), fade_ms));
    return most;
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
    int64_t columns = ls_features_columns(f), start;

    ls_stretch_drop(&f->level, level_first(f, ms_of(f, ticks)));
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
