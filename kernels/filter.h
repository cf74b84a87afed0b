// SPDX-License-Identifier: Apache-2.0
// Filters of a face's maps, for detail.c: blurs, the span of what lies around, doubling and a step
// of steepening, each for the pixels of a rectangle. Maps are [size][size]; beyond their edges the
// edge repeats. No state; any thread.
#ifndef LS_FILTER_H
#define LS_FILTER_H

#include "frame.h"

#ifdef __cplusplus
extern "C" {
#endif

// radius: LS_BLUR1, LS_BLUR2 or LS_BLUR3 of detail.h. out may be in. size: 96.
void ls_filter_blur(float *out, const float *in, int radius, const struct ls_int_box *r);
// Smallest and largest of the 5 x 5 values around. size: 96.
void ls_filter_spans(float *low, float *high, const float *in, const struct ls_int_box *r);
// out [192][192]: in [96][96] doubled; r: of out.
void ls_filter_double(float *out, const float *in, const struct ls_int_box *r);
// A step of 4 of detail.h, map [192][192].
void ls_filter_steepen(float *map, float amount, const struct ls_int_box *r);

#ifdef __cplusplus
}
#endif

#endif
