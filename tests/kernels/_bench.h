// SPDX-License-Identifier: Apache-2.0
// `check --bench [--csv]`: how fast each operation is, on one thread, per second of processor time,
// so that other jobs on the machine do not show.
#ifndef LS_TEST_BENCH_H
#define LS_TEST_BENCH_H

#include <stdbool.h>

int bench(bool csv); // what main returns

#endif
