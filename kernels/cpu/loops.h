// SPDX-License-Identifier: Apache-2.0
// The steps that are no convolution, on one item in channel blocks: [blocks][h][w][block]
// (plan.h): floats, and interleaving and copying of bfloat16, too. All of them only move memory or
// nearly so; none shows in a generated frame's time but the weaving (under 4 %). Plain loops over
// whole pixels of a block. Any thread.
#ifndef LS_CPU_LOOPS_H
#define LS_CPU_LOOPS_H

#include "plan.h"

// Runs a step of any kind but CONV. base is the arena; item says which of the buffers' parts.
void ls_loop_step(const struct ls_plan *plan, const struct ls_step *step, void *base, int item);

// out [c][h][w] of the node's logical channels and stored rows.
void ls_loop_unblock(float *out, const struct ls_plan *plan, int node, const void *base, int item);

#endif
