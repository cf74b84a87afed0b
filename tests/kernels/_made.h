// SPDX-License-Identifier: Apache-2.0
// A face as a generator makes it, for checks and benchmarks of pastes.
#ifndef LS_TESTS_MADE_H
#define LS_TESTS_MADE_H

#include <stdlib.h>

#include "tests/kernels/_pictures.h"

// face and source [96][96][3]: the crop, with another mouth, a little softer and darker elsewhere.
static inline void make_face(float *face, const uint8_t *source, uint64_t seed)
{
    for (int y = 0; y < 96; y++)
        for (int x = 0; x < 96; x++)
            for (int c = 0; c < 3; c++) {
                int at = (y * 96 + x) * 3 + c, up = y > 0 ? at - 3 * 96 : at;
                float v = (float)(source[at] + source[up]) / 510 * 0.97f;

                if (abs(x - 48) < 20 && abs(y - 70) < 9)
                    v = random_float(&seed, 0, 1) * 0.3f + (y > 68 ? 0.5f : 0.1f);
                face[at] = v;
            }
}

#endif
