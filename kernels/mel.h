// SPDX-License-Identifier: Apache-2.0
// The mel front end's numbers, one definition for every back end: window, Slaney filters, framing
// with pre-emphasis and reflection, loudness to the network's -4..4. A back end adds the Fourier
// transform between ls_mel_gather and ls_mel_column. The tables are made once per process, on first
// use, and are read only from then on; any thread.
#ifndef LS_MEL_H
#define LS_MEL_H

#include <stdint.h>

#include "backend.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { LS_MEL_BINS = LS_MEL_FFT / 2 + 1 };

struct ls_mel_table {
    double window[LS_MEL_FFT]; // Hann, periodic
    double cosine[LS_MEL_FFT]; // cos(2 pi i / 800); its sine is cosine[(i + 600) % 800]
    float filter[LS_MEL_BANDS][LS_MEL_BINS]; // Slaney scale and area normalisation, 55..7600 Hz
    int bin_first[LS_MEL_BANDS];             // the filter's bins that are not zero: [first, end)
    int bin_end[LS_MEL_BANDS];
};

const struct ls_mel_table *ls_mel_table(void); // never NULL; lives as long as the process

// The first and last sample that the job's columns hear, reflection and pre-emphasis included.
void ls_mel_span(int64_t *first, int64_t *last, const struct ls_mel_job *job);

// The pre-emphasised, reflected and windowed samples of one column, ready for the transform.
void ls_mel_gather(double *out, const struct ls_mel_job *job, int64_t column); // out [800]

// magnitude [401] of the transform to one column [80].
void ls_mel_column(float *out, const float *magnitude);

#ifdef __cplusplus
}
#endif

#endif
