// SPDX-License-Identifier: Apache-2.0
// The levels of a face (../levels.h), found by a block from the bytes that prepare cut out. Both
// sides of the network ask anew: that is 11 KB read, where keeping levels beside each record would
// be one more thing to keep right. Included by .cu files only.
#ifndef LS_CUDA_LEVELS_H
#define LS_CUDA_LEVELS_H

#include "launch.h"

#include "../levels.h"

struct ls_cuda_levels {
    struct ls_levels_sum sum;
    struct ls_levels levels;
};

// Called by all `count` threads of the block, a multiple of 32; `thread` is one's number among
// them. levels->levels is there for all afterwards. levels: in shared memory; source: [96][96][3].
LS_DEVICE void ls_cuda_levels_find(struct ls_cuda_levels *levels, const uint8_t *source, int thread,
                                   int count)
{
    enum { WIDTH = LS_LEVELS_X1 - LS_LEVELS_X0, ALL = WIDTH * (LS_LEVELS_Y1 - LS_LEVELS_Y0) };
    struct ls_levels_sum sum;

    for (int c = 0; c < 3; c++)
        sum.value[c] = sum.square[c] = 0;
    for (int i = thread; i < ALL; i += count) {
        int x = LS_LEVELS_X0 + i % WIDTH, y = LS_LEVELS_Y0 + i / WIDTH;

        ls_levels_add(&sum, source + 3 * (y * LS_FACE_SIZE + x));
    }
    for (int c = 0; c < 3; c++)
        for (int with = 16; with > 0; with /= 2) {
            sum.value[c] += __shfl_xor_sync(0xffffffffu, sum.value[c], with);
            sum.square[c] += __shfl_xor_sync(0xffffffffu, sum.square[c], with);
        }
    if (thread < 3)
        levels->sum.value[thread] = levels->sum.square[thread] = 0;
    __syncthreads();
    for (int c = 0; c < 3 && thread % 32 == 0; c++) {
        atomicAdd(&levels->sum.value[c], sum.value[c]);
        atomicAdd(&levels->sum.square[c], sum.square[c]);
    }
    __syncthreads();
    if (thread == 0)
        ls_levels_of(&levels->levels, &levels->sum);
    __syncthreads();
}

#endif
