// SPDX-License-Identifier: Apache-2.0
// Mel columns of a voice by the discrete Fourier transform's definition, in double: the numbers
// that the network hears. Any thread. What surprises: the sums run over half the window, because a
// real signal's sample n meets the same cosine as sample 800 - n, and the opposite sine.
#include "ref.h"

#include <math.h>

#include "../mel.h"

// |X[k]| of x [800] for k = 0..400: 2 * 401 * 399 multiply-adds.
static void magnitudes(float *out, const double *x)
{
    enum { half = LS_MEL_FFT / 2, quarter = LS_MEL_FFT / 4 };
    const double *cosine = ls_mel_table()->cosine;
    double even[half], odd[half];

    for (int n = 1; n < half; n++) {
        even[n] = x[n] + x[LS_MEL_FFT - n];
        odd[n] = x[n] - x[LS_MEL_FFT - n];
    }
    for (int k = 0; k < LS_MEL_BINS; k++) {
        double re = x[0] + (k % 2 ? -x[half] : x[half]), im = 0;

        for (int n = 1, turn = k; n < half; n++, turn += k) {
            if (turn >= LS_MEL_FFT) // turn = n k mod 800
                turn -= LS_MEL_FFT;
            re += even[n] * cosine[turn];
            im += odd[n] * cosine[turn >= quarter ? turn - quarter : turn + 3 * quarter];
        }
        out[k] = (float)sqrt(re * re + im * im);
    }
}

int ls_ref_mel(float *out, const struct ls_mel_job *job, struct ls_err *err)
{
    double x[LS_MEL_FFT];
    float magnitude[LS_MEL_BINS];

    (void)err; // arguments were validated; nothing else can fail
    for (int c = 0; c < job->count; c++) {
        ls_mel_gather(x, job, job->first + c);
        magnitudes(magnitude, x);
        ls_mel_column(out + c * LS_MEL_BANDS, magnitude);
    }
    return LS_OK;
}
