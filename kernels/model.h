// SPDX-License-Identifier: Apache-2.0
// What a process loads once: the generator's weights (planned and folded) and the detector's. Read
// only after ls_model_open, so every thread and lane may use it.
#ifndef LS_MODEL_H
#define LS_MODEL_H

#include <stdbool.h>
#include <stdint.h>

#include "err.h"
#include "net.h"

enum ls_detector { LS_DETECTOR_NONE, LS_DETECTOR_YUNET, LS_DETECTOR_BLAZEFACE };

struct ls_model {
    struct ls_net *generator;             // residuals folded
    struct ls_weights *generator_weights; // its file stays mapped for ls_model_plan; NULL: seeded
    uint64_t seed;
    bool seed_wide;
    char generator_name[64]; // metadata "name", else the file's name
    char mask[16];           // metadata "paste_mask" ("MOUTH"), "" if the file names none
    bool input_levels;       // metadata "input_levels" is "face": levels.h
    bool seeded;             // random weights: the pictures mean nothing
    struct ls_weights *detector_weights; // planned by the back ends, per input size
    enum ls_detector detector;           // told apart by the tensors in the file
    char detector_name[64];
};

struct ls_model_params {
    const char *generator_path; // NULL: a seeded random network of the demo model's shape
    const char *detector_path;  // NULL: none; only given boxes work
    uint64_t seed;
    bool seed_wide; // the seeded network has the original's widths
};

LS_MUST int ls_model_open(struct ls_model **out, const struct ls_model_params *params,
                          struct ls_err *err);
void ls_model_close(struct ls_model **model);
// Frees the generator's float weights (145 MB for the original's widths) and gives the memory back
// to the system. Only when the one back end that will ever use the model is open and
// ls_backend_holds_weights says so; no lane may be at work.
void ls_model_trim(struct ls_model *model);

// The generator once more, with its weights, also after ls_model_trim. Any thread.
LS_MUST int ls_model_plan(struct ls_net **out, const struct ls_model *model, struct ls_err *err);

struct ls_backend_params;

// Runs a small seeded network and a mel frame through a back end opened as params says (but for its
// model, batch and cache) and compares with values that tests/golden made independently. LS_OK or
// LS_EDEVICE with the largest difference in err's text.
LS_MUST int ls_model_check(const struct ls_backend_params *params, struct ls_err *err);

#endif
