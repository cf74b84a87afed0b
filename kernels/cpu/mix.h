// SPDX-License-Identifier: Apache-2.0
// Rows of samples for pastes: where a row looks at a map and with which weights, the mask, and how
// samples are mixed (6 of ../detail.h). Loops that a compiler can vectorise, for composite.c and
// composite_turned.c. No state; any thread.
#ifndef LS_CPU_MIX_H
#define LS_CPU_MIX_H

#include "../detail.h"

enum {
    LS_CPU_STRIP = 256, // samples of a row at a time
    LS_CPU_TAPS = 16,   // of the kernel, where it is widened by up to 3.7
    LS_CPU_PAD = 10,    // how far it reaches beyond a map's edge
};
#define LS_CPU_WIDEN_MAX 3.7f

// The kernel at `count` places along an axis of a map: place i is the sum over k < n, 4, 8, 12 or
// 16, of weight[i * n + k] times pixel first[i] + k.
struct ls_cpu_taps {
    int count, n, first[LS_CPU_STRIP];
    float weight[LS_CPU_STRIP * LS_CPU_TAPS];
};

// count and at [count], in face pixels (0..96 count); samples: along the box's side.
void ls_cpu_taps_init(struct ls_cpu_taps *t, const double *at, int count, double samples, int side);
// out [t->count]: a map's row [side] at the places.
void ls_cpu_widen_row(float *out, const float *row, int side, const struct ls_cpu_taps *t);
// out [count]: the sum of n rows by their weights.
void ls_cpu_mix_rows(float *out, const float *const *row, const float *weight, int n, int count);

// An upright face's columns: squares of the distance from the mask's middle and the lips', and the
// distance from the border.
struct ls_cpu_columns {
    float mask[LS_CPU_STRIP], lips[LS_CPU_STRIP], edge[LS_CPU_STRIP];
};

void ls_cpu_columns_init(struct ls_cpu_columns *c, const struct ls_mask_shape *shape,
                         const double *u, int count);

// What a row of samples of up to three channels is mixed from.
struct ls_cpu_row {
    float opacity[LS_CPU_STRIP], limit[LS_CPU_STRIP];
    float base[4][LS_CPU_STRIP]; // k and C, of chroma k and G
    float fine[4][LS_CPU_STRIP]; // T; one to spare
    float old[3][LS_CPU_STRIP];
};

// The samples from *first to *end are those whose opacity is not 0.
void ls_cpu_mask_row(struct ls_cpu_row *row, int *first, int *end, const struct ls_cpu_columns *c,
                     const struct ls_mask_shape *shape, float v, float strength, int count);
void ls_cpu_mask_turned(struct ls_cpu_row *row, int *first, int *end,
                        const struct ls_mask_shape *shape, const double *u, const double *v,
                        float strength, int count);
// row->limit of the samples first..end.
void ls_cpu_limit_row(struct ls_cpu_row *row, const struct ls_cpu_columns *c,
                      const struct ls_mask_shape *shape, float v, float limit, int first, int end);
void ls_cpu_limit_turned(struct ls_cpu_row *row, const struct ls_mask_shape *shape, const double *u,
                         const double *v, float limit, int first, int end);

// Mixes samples first..end; at: of each channel the row's sample 0, step bytes from sample to
// sample: 1, or 3 where at[0..2] are a pixel's last to first. full: a row of full resolution.
void ls_cpu_put_row(struct ls_cpu_row *row, uint8_t *const *at, int channels, int step, bool full,
                    float black, int first, int end);

#endif
