// SPDX-License-Identifier: Apache-2.0
// The second half of making a plan (plan.h): in which order steps and items run, and where in one
// arena each buffer lies, so that results whose lives do not meet share memory. Any thread.
#ifndef LS_CPU_MEMORY_H
#define LS_CPU_MEMORY_H

#include "../err.h"

struct ls_plan;

// Needs the plan's places, steps and buffers' sizes; fills segments, and the rest of the buffers.
LS_MUST int ls_memory_plan(struct ls_plan *plan, struct ls_err *err);

#endif
