// SPDX-License-Identifier: Apache-2.0
// What a session knows of the voice: mel columns (computed once each, by the device), loudness for
// the silence gate, and the samples that wait to be encoded. Everything is asked for by time on the
// session's clock and answered "not yet" while the sound is still arriving. Memory is bounded by
// the caller, who stops the sound while ls_features_ahead is long and forgets what lies behind.
// Loop thread only.
#ifndef LS_FEATURES_H
#define LS_FEATURES_H

#include <stdbool.h>
#include <stdint.h>

#include "kernels/backend.h"
#include "kernels/err.h"

struct ls_features;

struct ls_features_params {
    int sample_rate_hz, channels; // of the voice that is encoded
    float threshold_dbfs;         // of the silence gate
    int hold_ms;
    int offset_ms; // lips hear the voice this much later
};

enum {
    LS_MEL_BLOCK = 64, // columns of one device job
    LS_FADE_MS_MAX = 1000,
};

LS_MUST int ls_features_new(struct ls_features **out, const struct ls_features_params *params,
                            struct ls_err *err);
void ls_features_free(struct ls_features **f);

// A stretch of sound, as decode.h's on_sound gives it. After ls_features_end nothing more may come.
LS_MUST int ls_features_push(struct ls_features *f, const float *mono, int mono_count,
                             const float *voice, int voice_count, struct ls_err *err);
void ls_features_end(struct ls_features *f);
bool ls_features_ended(const struct ls_features *f);
// Length of the voice so far (whole, once ended), in ticks, rounded down.
int64_t ls_features_ticks(const struct ls_features *f);
int64_t ls_features_samples(const struct ls_features *f); // mono, 16 kHz
int64_t
ls_features_voice_end(const struct ls_features *f); // samples per channel so far, at its own rate
// Mel columns of the whole voice, 1 + floor(samples / 200); -1 before its end is known.
int64_t ls_features_columns(const struct ls_features *f);

// The next block of columns that can be computed: fills job, whose samples lie in `pcm`
// ([LS_MEL_BLOCK * 200 + 1024]), and returns true; false: nothing new. Put the result back before
// asking again.
bool ls_features_mel_next(const struct ls_features *f, struct ls_mel_job *job, float *pcm);
LS_MUST int ls_features_mel_put(struct ls_features *f, const float *column, int count,
                                struct ls_err *err);

// The window of a frame shown at `ticks`: out [16][80]. false: not there yet.
bool ls_features_window(const struct ls_features *f, int64_t ticks, float *out);
// The window that starts at this column (WAV2LIP_EXACT).
bool ls_features_window_at(const struct ls_features *f, int64_t start, float *out);
// How far the voice is there for a frame at `ticks`: 0 in silence, 1 from 100 ms before a sound to
// hold_ms after it. Over fade_ms (0: at once; at most LS_FADE_MS_MAX) it falls then, and rises
// before, from 200 ms before the sound on and in 200 ms at most, which is as far as a window hears
// ahead. What began to rise or fall before `scene` (ticks) is done. May be asked when
// ls_features_window said yes.
float ls_features_voiced(const struct ls_features *f, int64_t ticks, int64_t scene, int fade_ms);

// Voice samples [from, to) of what was pushed, interleaved; they must not be forgotten yet. Returns
// how many are there from `from` on, at most to - from.
int ls_features_voice(const struct ls_features *f, int64_t from, int64_t to, const float **out);
// Frames before `ticks` will not be asked about again, voice samples before voice_from neither.
void ls_features_forget(struct ls_features *f, int64_t ticks, int64_t voice_from);
// Seconds of sound held beyond `ticks`.
double ls_features_ahead(const struct ls_features *f, int64_t ticks);

#endif
