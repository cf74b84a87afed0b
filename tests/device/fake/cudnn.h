// SPDX-License-Identifier: Apache-2.0
// What a test may tell and ask the cuDNN for tests (cudnn.c): which engines there are and how they
// fail. One thread sets it; plans may be built by many.
#ifndef LS_TEST_CUDNN_H
#define LS_TEST_CUDNN_H

#include <stdatomic.h>
#include <stdbool.h>

struct fake_engine {
    int id;
    int slow_us;     // a run
    bool wrong;      // one number of the result is
    int other_from;  // from this batch size on the last bit of each item is another; 0: never
    int turned_from; // from this batch size on it adds up in the opposite order (ordinary fp16
                     // ones)
    int fails_from;  // from this batch size on it cannot be had; 0: never
    int workspace_size;
    bool random; // says that its result is not repeatable
};

enum { FAKE_ENGINES_MAX = 8 };
extern struct fake_engine fake_engines[FAKE_ENGINES_MAX]; // in the order of proposal; id 0: no more
extern int fake_favourite_to; // up to this batch size engine `fake_favourite` is proposed first
extern int fake_favourite;
extern atomic_int fake_built, fake_read, fake_alive; // plans compiled, read; descriptors
extern int fake_last_engine;                         // of the plan that ran last

#endif
