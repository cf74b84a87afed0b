// SPDX-License-Identifier: Apache-2.0
// The reference back end's own words: each operation in plain C, in an order that a reader can
// check against the paper it comes from. ref.c puts them into the table of ../backend.h, whose
// comments are the contract; arguments were validated by ../backend.c. Nothing here starts a
// thread; a lane is used by one thread at a time, functions without a lane by any number.
#ifndef LS_REF_H
#define LS_REF_H

#include "../backend.h"
#include "../detect.h"
#include "../net.h"

struct ls_ref_detect; // detect.c's: the detector planned for a size, with its buffers

struct ls_ref_lane {
    const struct ls_model *model; // borrowed
    int batch_max;
    struct ls_ref_detect
        *detect; // made by ls_ref_detect when first needed, freed by ls_ref_detect_done
};

// Runs a planned network on `count` items. inputs: one per LS_NET_INPUT row, outputs: one per row
// marked `output`, both in table order, NCHW float32: [count][c][h][w]. Any plan may be run by many
// threads.
LS_MUST int ls_ref_net_run(const struct ls_net *net, const float *const *inputs,
                           float *const *outputs, int count, struct ls_err *err);

// As ls_mel, ls_detect, ls_crop and ls_composite of ../backend.h.
LS_MUST int ls_ref_mel(float *out, const struct ls_mel_job *job, struct ls_err *err);
LS_MUST int ls_ref_detect(struct ls_ref_lane *lane, struct ls_face *out, int *count,
                          const struct ls_frame *frame, const struct ls_detect_params *params,
                          struct ls_err *err);
void ls_ref_detect_done(
    struct ls_ref_lane *lane); // frees lane->detect, sets it to NULL; NULL is fine
// Fills a detector's input, [3][net_height][net_width], from the frame.
void ls_ref_letterbox(float *input, const struct ls_frame *frame,
                      const struct ls_letterbox *letterbox);
LS_MUST int ls_ref_crop(uint8_t *out, const struct ls_frame *frame, const struct ls_box *box,
                        float roll_rad, bool exact, struct ls_err *err);
LS_MUST int ls_ref_composite(const struct ls_frame *frame, const struct ls_paste *paste,
                             struct ls_err *err);

#endif
