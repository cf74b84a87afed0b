// SPDX-License-Identifier: Apache-2.0
// Sums of a plane's samples by weights, rows first and then columns: what crops and the detector's
// picture are made of. Loops that a compiler can vectorise. No state; any thread.
#ifndef LS_CPU_RESAMPLE_H
#define LS_CPU_RESAMPLE_H

#include "../plane.h"

// Points along an axis: point i is the sum over k < 4 * fours[i] of weight[at[i] + k] times sample
// first[i] + k. Beyond the last sample weights are 0.
struct ls_resample_axis {
    int count;
    const int *first, *fours, *at;
    const float *weight;
};

// Samples that points 0..count look at.
int ls_resample_left(const struct ls_resample_axis *across);
int ls_resample_right(const struct ls_resample_axis *across, const struct ls_plane *p);
// sum[left * step .. right * step], bytes of the plane's memory: the rows of point j.
void ls_resample_rows(float *sum, const struct ls_plane *p, const struct ls_resample_axis *down,
                      int j, int left, int right);
// The same parted: samples left..right of three rows from interleaved ones.
void ls_resample_part(float *const *out, const float *pixels, int left, int right);
// out [across->count]; sum: a plane's row and three more numbers, which may be anything finite.
void ls_resample_columns(float *out, const float *sum, const struct ls_resample_axis *across);

#endif
