// SPDX-License-Identifier: Apache-2.0
// A frame as the detector's input, reduced by area means: struct ls_letterbox of ../detect.h says
// what it must be. A room belongs to one thread at a time.
#ifndef LS_CPU_REDUCE_H
#define LS_CPU_REDUCE_H

#include "../detect.h"

// What reducing works in: valid when zeroed, kept from frame to frame, and made anew where their
// size changes.
struct ls_reduce_room {
    int width_px, height_px, target_width, target_height;
    void *memory; // of all that follows
    // Of full resolution and of chroma; columns, rows.
    struct ls_reduce_axis {
        int count, *first, *fours, *at; // as struct ls_resample_axis
        float *weight;
    } axis[2][2];
    float *sum[3], *pixels; // a row of samples
    float *row[3];          // and of the input
};

// input [3][net_height][net_width], all of it is written.
LS_MUST int ls_cpu_reduce(struct ls_reduce_room *room, float *input, const struct ls_frame *frame,
                          const struct ls_letterbox *box, struct ls_err *err);
void ls_cpu_reduce_done(struct ls_reduce_room *room);

#endif
