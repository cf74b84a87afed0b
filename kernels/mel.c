// SPDX-License-Identifier: Apache-2.0
// Tables and framing of the mel front end, as Wav2Lip's audio.py and hparams.py have them by way of
// librosa 0.7 (WAV2LIP's pinned version): pre-emphasis in double, reflected padding of 400 samples,
// magnitudes (not power), Slaney filters in float32. What surprises: filters are rounded to float32
// twice, before and after the area normalisation, because librosa does; it shows in the seventh
// digit.
#include "mel.h"

#include <assert.h>
#include <math.h>
#include <pthread.h>

static struct ls_mel_table table;
static pthread_once_t table_once = PTHREAD_ONCE_INIT;

// Slaney's scale: 3/200 mel a hertz up to 1 kHz, then 27 steps for each factor of 6.4.
static double hz_of_mel(double mel)
{
    return mel < 15 ? mel * 200 / 3 : 1000 * exp((mel - 15) * log(6.4) / 27);
}

static double mel_of_hz(double hz)
{
    return hz < 1000 ? hz * 3 / 200 : 15 + log(hz / 1000) * 27 / log(6.4);
}

static void filter_init(float *filter, int *first, int *end, const double *edge) // edge [3], Hz
{
    double norm = 2 / (edge[2] - edge[0]);

    *first = LS_MEL_BINS;
    *end = 0;
    for (int k = 0; k < LS_MEL_BINS; k++) {
        double hz = (double)k * LS_SAMPLE_RATE / LS_MEL_FFT;
        double up = (hz - edge[0]) / (edge[1] - edge[0]);
        double down = (edge[2] - hz) / (edge[2] - edge[1]);

        filter[k] = (float)fmax(0, fmin(up, down));
        filter[k] = (float)(filter[k] * norm);
        if (filter[k] > 0) {
            *first = k < *first ? k : *first;
            *end = k + 1;
        }
    }
    assert(*first < *end); // every band has a bin: the narrowest is 66 Hz wide, a bin 20 Hz
}

static void table_init(void)
{
    double lowest = mel_of_hz(55), highest = mel_of_hz(7600); // fmin and fmax of hparams.py
    double edge[LS_MEL_BANDS + 2];

    for (int i = 0; i < LS_MEL_FFT; i++) {
        table.cosine[i] = cos(2 * M_PI * i / LS_MEL_FFT);
        table.window[i] = 0.5 - 0.5 * table.cosine[i];
    }
    for (int i = 0; i < LS_MEL_BANDS + 2; i++)
        edge[i] = hz_of_mel(lowest + (highest - lowest) * i / (LS_MEL_BANDS + 1));
    for (int b = 0; b < LS_MEL_BANDS; b++)
        filter_init(table.filter[b], &table.bin_first[b], &table.bin_end[b], edge + b);
}

const struct ls_mel_table *ls_mel_table(void)
{
    pthread_once(&table_once, table_init);
    return &table;
}

void ls_mel_span(int64_t *first, int64_t *last, const struct ls_mel_job *job)
{
    // The periodic window's first value is 0, so it does not count.
    int64_t low = LS_MEL_HOP * job->first - LS_MEL_FFT / 2 + 1;
    int64_t high = LS_MEL_HOP * (job->first + job->count - 1) + LS_MEL_FFT / 2 - 1;

    *last = high > -low ? high : -low; // index -i is read at i
    if (job->total >= 0 && *last > job->total - 1)
        *last = job->total - 1;
    if (job->total >= 0 && high > job->total - 1 && 2 * (job->total - 1) - high < low)
        low = 2 * (job->total - 1) - high; // and index total - 1 + i at total - 1 - i
    *first = low > 1 ? low - 1 : 0;        // one more for the pre-emphasis
}

// Sample i of the pre-emphasised voice, i inside it: y[n] = x[n] - 0.97 x[n-1], y[0] = x[0].
static double emphasised(const struct ls_mel_job *job, int64_t i)
{
    const float *x = job->pcm + (i - job->pcm_first);

    assert(i >= job->pcm_first && i < job->pcm_first + job->pcm_count);
    assert(i == 0 || i > job->pcm_first);
    return i == 0 ? x[0] : x[0] - 0.97 * x[-1];
}

void ls_mel_gather(double *out, const struct ls_mel_job *job, int64_t column)
{
    const double *window = ls_mel_table()->window;
    int64_t start = column * LS_MEL_HOP - LS_MEL_FFT / 2;

    out[0] = 0; // the periodic window begins with zero, so its sample need not be at hand
    for (int n = 1; n < LS_MEL_FFT; n++) {
        int64_t i = start + n;

        if (i < 0)
            i = -i;
        if (job->total >= 0 && i >= job->total)
            i = 2 * (job->total - 1) - i;
        out[n] = window[n] * emphasised(job, i);
    }
}

void ls_mel_column(float *out, const float *magnitude)
{
    const struct ls_mel_table *t = ls_mel_table();

    for (int b = 0; b < LS_MEL_BANDS; b++) {
        double sum = 0;
        float db;

        for (int k = t->bin_first[b]; k < t->bin_end[b]; k++)
            sum += (double)t->filter[b][k] * magnitude[k];
        db = (float)(20 * log10(fmax(1e-5, sum)) - 20); // floor of -100 dB, ref_level_db 20
        out[b] = fminf(fmaxf(8 * (db + 100) / 100 - 4, -4), 4);
    }
}
