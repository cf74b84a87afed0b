// SPDX-License-Identifier: Apache-2.0
// Which rectangle of every row's result the decoder has to make when only a part of the face will
// be read. The decoder is a chain of levels (between two transposed convolutions), each twice the
// size of the one before; the rows of a level store one common rectangle, padded at its edges as if
// they were the picture's. What is wrong beside such an edge never reaches a pixel that is read.
// Pure functions of shapes; any thread.
#ifndef LS_CUDA_REGION_H
#define LS_CUDA_REGION_H

#include "../net.h"
#include "../paste.h"

// The parts of the output that can be had. Each is a set of plans of its own for every batch
// bucket, so there are few. With the default feather of 8 pixels LOWER serves the LOWER_FACE masks
// of all of 426 faces found in the shared clips, MOUTH the MOUTH masks of 90 % of them; what the
// others read begins a few rows higher or lies aside. Rows 35 on would serve 97 % for 1.5 % less
// arithmetic, rows 33 and 38 on 94 % for 3 % more: margins grow and are rounded from level to
// level.
enum ls_cuda_cut { LS_CUDA_CUT_WHOLE, LS_CUDA_CUT_LOWER, LS_CUDA_CUT_MOUTH, LS_CUDA_CUTS };
extern const struct ls_int_box ls_cuda_cut_box[LS_CUDA_CUTS];

// The smallest cut that contains what is read. Items of one batch may want different ones: made as
// parts of another cut they differ by rounding, so whoever promises an item the same bytes in any
// company asks once for the items of each cut.
enum ls_cuda_cut ls_cuda_cut_of(const struct ls_int_box *reads);

enum { LS_CUDA_REGION_SIDE_MIN = 24 }; // smaller results are made whole: little would be saved

struct ls_cuda_region {
    struct ls_int_box made;    // of the output
    struct ls_int_box *stored; // [node_count] of each row's result
    struct ls_int_box *taken;  // [node_count] what each row reads of from[0]; inside what is
                               // stored of it. Empty for inputs
    double mac;                // of the rows that are computed, with their original channels
};
// made: not empty, inside the output. The region is the caller's, to be given to done. After a
// failure there is nothing to be done.
LS_MUST int ls_cuda_region_init(struct ls_cuda_region *out, const struct ls_net *net,
                                const struct ls_int_box *made, struct ls_err *err);
void ls_cuda_region_done(struct ls_cuda_region *region);

#endif
