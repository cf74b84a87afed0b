// SPDX-License-Identifier: Apache-2.0
// A frame as the detector's input, reduced by area means: struct ls_letterbox of ../detect.h says
// what it must be. No state; any thread.
#ifndef LS_CPU_REDUCE_H
#define LS_CPU_REDUCE_H

#include "../detect.h"

// input [3][net_height][net_width], all of it is written.
LS_MUST int ls_cpu_reduce(float *input, const struct ls_frame *frame,
                          const struct ls_letterbox *box, struct ls_err *err);

#endif
