// SPDX-License-Identifier: Apache-2.0
// What a seeded network of the demo's shape and one mel column must give, for the start-up check.
// golden.c is made by tests/golden/golden_net.py, which shares no code with the kernels.
#ifndef LS_GOLDEN_H
#define LS_GOLDEN_H

#include <stdint.h>

enum {
    LS_GOLDEN_SEED = 1, // of the weights
    LS_GOLDEN_INPUT_SEED =
        2, // splitmix64: face (top 8 bits each), then mel (4 u), then voice (u / 4)
    LS_GOLDEN_SAMPLES = 64, // values of the picture
    LS_GOLDEN_PCM = 2000,   // samples of the voice, all of it
    LS_GOLDEN_COLUMN = 5,   // of its mel
};

struct ls_golden_sample {
    int idx;     // into [96][96][3]
    float value; // BGR, 0..1
};

extern const struct ls_golden_sample ls_golden_picture[LS_GOLDEN_SAMPLES];
extern const float ls_golden_mel[80];

#endif
