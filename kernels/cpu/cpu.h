// SPDX-License-Identifier: Apache-2.0
// The cpu back end's own words: fast versions of what kernels/ref defines, for ordinary processors.
// cpu.c puts them into the table of ../backend.h, whose comments are the contract; arguments were
// validated by ../backend.c. A lane belongs to one thread at a time. Arithmetic that reproduces the
// original to the bit (exact) is the reference's own code, called from here.
#ifndef LS_CPU_H
#define LS_CPU_H

#include "../backend.h"
#include "../crop.h"
#include "composite.h"

struct ls_cpu_detect; // detect.c's: the detector planned for a few picture sizes

// Weights of all points of a crop's lattice along an axis: a sample belongs to at most four points'
// kernels, but for the edges, to which kernels of up to 2732 samples (backend.c's largest box) add
// once each. Each point has three more at most, which are 0.
enum { LS_CPU_WEIGHTS = 4 * 8192 + 20 * 2732 + 3 * LS_LATTICE_MAX };
struct ls_cpu_axis {
    // Samples, in fours, and where their weights begin.
    int first[LS_LATTICE_MAX], fours[LS_LATTICE_MAX], at[LS_LATTICE_MAX];
    float weight[LS_CPU_WEIGHTS];
};

// What a crop works in.
struct ls_cpu_crop {
    struct ls_cpu_axis axis[2][2]; // of full resolution and of chroma; columns, rows
    float sum[3][8192 + 4];        // a row of samples of each channel; finite beyond its end
    float pixels[3 * 8192];        // and of all
    float map[4 * LS_LATTICE_MAX * LS_LATTICE_MAX];
};

struct ls_cpu_lane {
    const struct ls_model *model; // borrowed
    struct ls_cpu_detect *detect; // made when first needed
    struct ls_cpu_crop crop;
    struct ls_cpu_paste paste;
};

LS_MUST int ls_cpu_mel(float *out, const struct ls_mel_job *job, struct ls_err *err);
LS_MUST int ls_cpu_crop(struct ls_cpu_crop *room, uint8_t *out, const struct ls_frame *frame,
                        const struct ls_box *box, float roll_rad, bool exact, struct ls_err *err);
LS_MUST int ls_cpu_composite(struct ls_cpu_paste *room, const struct ls_frame *frame,
                             const struct ls_paste *paste, struct ls_err *err);
LS_MUST int ls_cpu_detect(struct ls_cpu_lane *lane, struct ls_face *out, int *count,
                          const struct ls_frame *frame, const struct ls_detect_params *params,
                          struct ls_err *err);
void ls_cpu_detect_done(struct ls_cpu_detect **detect);

#endif
