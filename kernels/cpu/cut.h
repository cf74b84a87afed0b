// SPDX-License-Identifier: Apache-2.0
// Which part of each result is made when only a part of the outputs is wanted (COMPUTE section 10):
// the wanted rectangle is walked back through the network, each convolution widening it by its
// reach, each transposed one halving it. Any thread.
#ifndef LS_CPU_CUT_H
#define LS_CPU_CUT_H

#include "plan.h"

// Fills first and end of every place.
LS_MUST int ls_cut_plan(struct ls_plan *plan, const struct ls_plan_params *params,
                        struct ls_err *err);
// What all phases of a transposed convolution together make of what is stored of its source.
void ls_cut_phases(int *h, int *w, const struct ls_plan *plan, int idx);

#endif
