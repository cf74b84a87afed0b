// SPDX-License-Identifier: Apache-2.0
// splitmix64 (Steele, Lea, Flood, OOPSLA 2014): random numbers that are the same bits everywhere,
// for seeded weights and for the inputs of checks. tests/golden/golden_net.py has the same in
// numpy.
#ifndef LS_SPLITMIX_H
#define LS_SPLITMIX_H

#include <stdint.h>

// Advances the state.
static inline uint64_t ls_splitmix_next(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15u;

    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

// Uniform in -1..1 (1 not included), 24 bits.
static inline double ls_splitmix_uniform(uint64_t *state)
{
    return (double)(ls_splitmix_next(state) >> 40) * 0x1p-23 - 1;
}

#endif
