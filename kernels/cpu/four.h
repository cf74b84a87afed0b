// SPDX-License-Identifier: Apache-2.0
// Four floats as one, by GCC's and Clang's vector extension: for sums over a kernel's four pixels
// that lie where a table says, which compilers leave as single products or gather one by one. All
// else is plain loops. No state; any thread.
#ifndef LS_CPU_FOUR_H
#define LS_CPU_FOUR_H

#include <string.h>

typedef float ls_four __attribute__((vector_size(16)));

static inline ls_four ls_four_get(const float *at) // of any alignment
{
    ls_four v;

    memcpy(&v, at, sizeof v);
    return v;
}

static inline void ls_four_put(float *at, ls_four v)
{
    memcpy(at, &v, sizeof v);
}

static inline float ls_four_sum(ls_four v)
{
    return v[0] + v[1] + (v[2] + v[3]);
}

#endif
