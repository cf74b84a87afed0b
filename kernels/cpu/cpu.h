// SPDX-License-Identifier: Apache-2.0
// The cpu back end's own words: fast versions of what kernels/ref defines, for ordinary processors.
// cpu.c puts them into the table of ../backend.h, whose comments are the contract; arguments were
// validated by ../backend.c. A lane belongs to one thread at a time. Arithmetic that reproduces the
// original to the bit (exact) is the reference's own code, called from here.
#ifndef LS_CPU_H
#define LS_CPU_H

#include "../backend.h"
#include "dnn.h"

struct ls_cpu_detect; // detect.c's: the detector planned for a few picture sizes

// Masks that were used last; sessions rarely differ in them, and lower_face costs 0.5 ms to make.
struct ls_cpu_masks {
    struct {
        bool used;
        enum ls_mask mask;
        float mouth[4], feather_px, strength;
        float alpha[LS_FACE_SIZE * LS_FACE_SIZE];
        int first_row, end_row, first_column, end_column; // outside of these alpha is 0
    } entry[4];
    int next; // to be replaced
};

struct ls_cpu_lane {
    const struct ls_model *model; // borrowed
    struct ls_dnn_lane *generator;
    struct ls_cpu_detect *detect; // made when first needed
    struct ls_cpu_masks masks;
    float planes[3 * LS_FACE_SIZE * LS_FACE_SIZE];
    float byte_value[256]; // v / 255
};

LS_MUST int ls_cpu_mel(float *out, const struct ls_mel_job *job, struct ls_err *err);
LS_MUST int ls_cpu_crop(uint8_t *out, const struct ls_frame *frame, const struct ls_box *box,
                        float roll_rad, bool exact, struct ls_err *err);
LS_MUST int ls_cpu_composite(struct ls_cpu_masks *masks, const struct ls_frame *frame,
                             const struct ls_paste *paste, struct ls_err *err);
LS_MUST int ls_cpu_detect(struct ls_cpu_lane *lane, struct ls_face *out, int *count,
                          const struct ls_frame *frame, const struct ls_detect_params *params,
                          struct ls_err *err);
void ls_cpu_detect_done(struct ls_cpu_detect **detect);

#endif
