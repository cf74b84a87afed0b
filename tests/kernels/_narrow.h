// SPDX-License-Identifier: Apache-2.0
// The generator with eight channels everywhere and random weights: every layer is there, and a
// frame costs a hundredth of the original's. Header only; one thread.
#ifndef LS_TEST_NARROW_H
#define LS_TEST_NARROW_H

#include "kernels/model.h"
#include "kernels/wav2lip.h"

static inline int narrow_width(void *user, int row)
{
    (void)user;
    return ls_wav2lip.layer[row].act == LS_ACT_SIGMOID ? 3 : 8;
}

// detector_path may be NULL. out: to be closed by ls_model_close.
static inline int narrow_open(struct ls_model **out, const char *detector_path, struct ls_err *err)
{
    struct ls_net_params shape = {
        .input = {{6, LS_FACE_SIZE, LS_FACE_SIZE}, {1, LS_MEL_BANDS, LS_MEL_WINDOW}},
        .fold_residual = true};
    struct ls_model *model = NULL;
    struct ls_weights *w = NULL;
    int r = ls_model_open(
        &model, &(struct ls_model_params){.seed = 3, .detector_path = detector_path}, err);

    if (r < 0)
        return r;
    ls_net_free(&model->generator);
    r = ls_weights_new(&w, err);
    if (r == 0)
        r = ls_net_seed(w, &ls_wav2lip, &shape, narrow_width, NULL, 3, err);
    if (r == 0)
        r = ls_net_plan(&model->generator, &ls_wav2lip, w, &shape, err);
    ls_weights_close(&w);
    if (r < 0)
        ls_model_close(&model);
    else
        *out = model;
    return r;
}

#endif
