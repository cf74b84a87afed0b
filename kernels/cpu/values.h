// SPDX-License-Identifier: Apache-2.0
// Which numbers each result of a plan is stored as, and which convolutions compute with narrow ones
// (plan.h). Any thread.
#ifndef LS_CPU_VALUES_H
#define LS_CPU_VALUES_H

#include "plan.h"

// Fills value and scale of every place; their shapes are known.
LS_MUST int ls_values_plan(struct ls_plan *plan, const struct ls_plan_params *params,
                           struct ls_err *err);
// A convolution whose source and weights are the plan's narrow numbers.
bool ls_values_narrow(const struct ls_plan *plan, int idx);

#endif
