// SPDX-License-Identifier: Apache-2.0
// `check --bench [--csv]`: how fast each operation is, on one thread, per second of processor time,
// so that other jobs on the machine do not show.
#ifndef LS_TEST_BENCH_H
#define LS_TEST_BENCH_H

#include <stdbool.h>

struct bench_params {
    bool csv;
    const char *back_end; // NULL: ref and cpu
    const char *module;   // liblipstream_cuda.so
};
int bench(const struct bench_params *params); // what main returns

#endif
