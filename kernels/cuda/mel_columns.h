// SPDX-License-Identifier: Apache-2.0
// The launcher of mel.cu and what it reads. Included by mel.c and by mel.cu. Device thread.
#ifndef LS_CUDA_MEL_COLUMNS_H
#define LS_CUDA_MEL_COLUMNS_H

#include <cuda_runtime_api.h>

#include "../mel.h"

#ifdef __cplusplus
extern "C" {
#endif

// A column of any voice. Indices count from the first staged sample of its voice, `offset` is that
// sample's place in the staging. `start`: of the window; `zero`: the voice's first sample; `last`:
// its last one. A zero far below or a last far above what the window reaches stands for none.
struct ls_cuda_mel_column {
    int offset, start, zero, last;
};

enum { LS_CUDA_MEL_FAR = 1 << 28, LS_CUDA_MEL_WEIGHTS = 2 * LS_MEL_BINS }; // a bin is in two bands

struct ls_cuda_mel_table {
    double unit[LS_MEL_FFT][2]; // exp(-2 pi i n / 800), real and imaginary part
    float weight[LS_CUDA_MEL_WEIGHTS];
    int bin_first[LS_MEL_BANDS], bin_end[LS_MEL_BANDS]; // as struct ls_mel_table has them
    int weight_first[LS_MEL_BANDS];                     // of the band's weights
};

// out [count][80]; all pointers are device memory. Returns a cudaError_t.
int ls_cuda_mel_columns(float *out, const float *pcm, const struct ls_cuda_mel_column *column,
                        int count, const struct ls_cuda_mel_table *table, cudaStream_t stream);

#ifdef __cplusplus
}
#endif

#endif
