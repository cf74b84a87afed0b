// SPDX-License-Identifier: Apache-2.0
// Opens what the process computes with: the generator's checkpoint (or a seeded one) is planned at
// once; its file stays mapped, but not in memory, in case it is to be planned again; the detector's
// is, because its plan depends on the size it runs at. Runs at start-up on one thread.
#include "model.h"

#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "wav2lip.h"

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash ? slash + 1 : path;
}

static void take_name(char name[64], const struct ls_weights *w, const char *path)
{
    const char *given = ls_weights_meta(w, "name");

    snprintf(name, 64, "%s", given && *given ? given : base_name(path));
}

static int take_levels(bool *levels, const struct ls_weights *w, const char *path,
                       struct ls_err *err)
{
    const char *given = ls_weights_meta(w, "input_levels");

    // Whatever else a file may ask for, its faces would be wrong without it.
    if (given && strcmp(given, "face") != 0)
        return ls_fail(err, LS_EMODEL, "%s: input_levels \"%.32s\" is not known (face)", path,
                       given);
    *levels = given != NULL;
    return 0;
}

// Residuals are folded into the weights: COMPUTE.md 0.3 (b), exact but for rounding.
static const struct ls_net_params shape = {
    .input = {{6, LS_FACE_SIZE, LS_FACE_SIZE}, {1, LS_MEL_BANDS, LS_MEL_WINDOW}},
    .fold_residual = true};

static int seed_weights(struct ls_weights **out, bool wide, uint64_t seed, struct ls_err *err)
{
    int r = ls_weights_new(out, err);

    return r < 0 ? r : ls_wav2lip_seed(*out, wide, seed, err);
}

static int open_generator(struct ls_model *m, const struct ls_model_params *params,
                          struct ls_err *err)
{
    const char *path = params->generator_path;
    struct ls_weights *w = NULL;
    const char *mask;
    int r;

    if (path)
        r = ls_weights_open(&w, path, err);
    else
        r = seed_weights(&w, params->seed_wide, params->seed, err);
    if (r < 0)
        goto done;
    r = ls_net_plan(&m->generator, &ls_wav2lip, w, &shape, err);
    if (r < 0) {
        if (path)
            ls_fail_prefix(err, "%s", path);
        goto done;
    }
    r = take_levels(&m->input_levels, w, path, err);
    if (r < 0)
        goto done;
    m->seeded = !path;
    if (path)
        take_name(m->generator_name, w, path);
    else
        snprintf(m->generator_name, sizeof m->generator_name, "seeded (%s, %llu)",
                 params->seed_wide ? "wide" : "small", (unsigned long long)params->seed);
    mask = ls_weights_meta(w, "paste_mask");
    snprintf(m->mask, sizeof m->mask, "%s", mask ? mask : "");
    m->seed = params->seed;
    m->seed_wide = params->seed_wide;
    if (path) {
        ls_weights_rest(w);
        m->generator_weights = w;
        w = NULL;
    }
done:
    ls_weights_close(&w);
    return r;
}

static int open_detector(struct ls_model *m, const char *path, struct ls_err *err)
{
    const char *kind;
    int r = ls_weights_open(&m->detector_weights, path, err);

    if (r < 0)
        return r;
    kind = ls_weights_meta(m->detector_weights, "detector");
    if (kind && !strcmp(kind, "blazeface"))
        m->detector = LS_DETECTOR_BLAZEFACE;
    else if (ls_weights_find(m->detector_weights, "bbox_head.multi_level_obj.0.conv2.weight"))
        m->detector = LS_DETECTOR_YUNET;
    else
        return ls_fail(err, LS_EMODEL, "%s: neither YuNet nor a converted BlazeFace", path);
    take_name(m->detector_name, m->detector_weights, path);
    return 0;
}

int ls_model_open(struct ls_model **out, const struct ls_model_params *params, struct ls_err *err)
{
    struct ls_model *m = calloc(1, sizeof *m);
    int r;

    if (!m)
        return ls_fail(err, LS_ENOMEM, "no memory for a model");
    r = open_generator(m, params, err);
    if (r == 0 && params->detector_path)
        r = open_detector(m, params->detector_path, err);
    if (r < 0)
        ls_model_close(&m);
    else
        *out = m;
    return r;
}

int ls_model_plan(struct ls_net **out, const struct ls_model *model, struct ls_err *err)
{
    struct ls_weights *w = NULL;
    int r;

    if (model->generator_weights) {
        r = ls_net_plan(out, &ls_wav2lip, model->generator_weights, &shape, err);
        ls_weights_rest(model->generator_weights);
        return r;
    }
    r = seed_weights(&w, model->seed_wide, model->seed, err);
    if (r == 0)
        r = ls_net_plan(out, &ls_wav2lip, w, &shape, err);
    ls_weights_close(&w);
    return r;
}

void ls_model_trim(struct ls_model *model)
{
    ls_net_trim(model->generator);
    malloc_trim(0); // glibc keeps freed blocks of up to 32 MB otherwise
}

void ls_model_close(struct ls_model **model)
{
    if (!model || !*model)
        return;
    ls_net_free(&(*model)->generator);
    ls_weights_close(&(*model)->generator_weights);
    ls_weights_close(&(*model)->detector_weights);
    free(*model);
    *model = NULL;
}
