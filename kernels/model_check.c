// SPDX-License-Identifier: Apache-2.0
// The start-up check: a seeded network and a mel column through a back end, against values made by
// other code (golden.h). It finds a wrong library, a broken processor feature and a wrong build; it
// says nothing about the weights that the process loaded. One thread, well under a second.
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "backend.h"
#include "golden.h"
#include "splitmix.h"

// A picture's value may differ by a quarter of an 8-bit step, a mel value by what float32 loses on
// noise. Ten bits of mantissa lose up to 6.2 steps on random weights, which amplify any rounding;
// trained ones lose a tenth of a step (COMPUTE section 3).
#define PICTURE_WITHIN (0.25f / 255)
#define SHORT_WITHIN   (8.0f / 255)
#define BYTES_WITHIN   (60.0f / 255)
#define MEL_WITHIN     1e-3f

struct check_data {
    uint8_t face[LS_FACE_SIZE * LS_FACE_SIZE * 3];
    float mel[LS_MEL_WINDOW * LS_MEL_BANDS];
    float pcm[LS_GOLDEN_PCM];
    float picture[LS_FACE_SIZE * LS_FACE_SIZE * 3];
    float column[LS_MEL_BANDS];
};

static void fill(struct check_data *d)
{
    uint64_t state = LS_GOLDEN_INPUT_SEED;

    for (size_t i = 0; i < sizeof d->face; i++)
        d->face[i] = (uint8_t)(ls_splitmix_next(&state) >> 56);
    for (int i = 0; i < LS_MEL_WINDOW * LS_MEL_BANDS; i++)
        d->mel[i] = (float)(4 * ls_splitmix_uniform(&state));
    for (int i = 0; i < LS_GOLDEN_PCM; i++)
        d->pcm[i] = (float)(ls_splitmix_uniform(&state) / 4);
}

static int compare(const struct check_data *d, const char *arithmetic, struct ls_err *err)
{
    float within = !strncmp(arithmetic, "fp32", 4)   ? PICTURE_WITHIN
                   : !strncmp(arithmetic, "int8", 4) ? BYTES_WITHIN
                                                     : SHORT_WITHIN;
    float picture = 0, mel = 0;

    for (int i = 0; i < LS_GOLDEN_SAMPLES; i++) {
        float gap = fabsf(d->picture[ls_golden_picture[i].idx] - ls_golden_picture[i].value);

        picture = gap <= picture ? picture : gap; // a NaN stays
    }
    for (int i = 0; i < LS_MEL_BANDS; i++) {
        float gap = fabsf(d->column[i] - ls_golden_mel[i]);

        mel = gap <= mel ? mel : gap;
    }
    if (picture <= within && mel <= MEL_WITHIN)
        return 0;
    return ls_fail(err, LS_EDEVICE,
                   "the picture differs by up to %g (%g allowed), the mel column by %g (%g)",
                   (double)picture, (double)within, (double)mel, (double)MEL_WITHIN);
}

// What the golden picture's results reach: a calibration of other weights would be of no use.
static int calibrate(struct ls_calibration *out, const struct ls_model *model, struct check_data *d,
                     struct ls_err *err)
{
    struct ls_backend_params params = {.name = "cpu", .model = model, .batch_max = 1};
    struct ls_backend *be = NULL;
    struct ls_lane *lane = NULL;
    int r = ls_ranges_new(&params.ranges, model->generator, err);

    if (r == 0)
        r = ls_backend_open(&be, &params, err);
    if (r == 0)
        r = ls_lane_open(&lane, be, err);
    if (r == 0)
        r = ls_generate(lane, d->picture, d->face, d->mel, 1, err);
    if (r == 0)
        ls_ranges_calibration(out, params.ranges, 100);
    ls_lane_close(&lane);
    ls_backend_close(&be);
    ls_ranges_free(&params.ranges);
    return r;
}

int ls_model_check(const struct ls_backend_params *params, struct ls_err *err)
{
    static const struct ls_model_params seeded = {.seed = LS_GOLDEN_SEED};
    struct ls_backend_params backend = *params;
    struct check_data *d = malloc(sizeof *d);
    struct ls_calibration calibration;
    struct ls_model *model = NULL;
    struct ls_backend *be = NULL;
    struct ls_lane *lane = NULL;
    struct ls_mel_job job = {
        .pcm_count = LS_GOLDEN_PCM, .total = LS_GOLDEN_PCM, .first = LS_GOLDEN_COLUMN, .count = 1};
    int r;

    if (!d)
        return ls_fail(err, LS_ENOMEM, "no memory for the check");
    fill(d);
    job.pcm = d->pcm;
    r = ls_model_open(&model, &seeded, err);
    backend.model = model;
    backend.batch_max = 1;
    backend.plan_early = false;
    backend.cache = NULL; // its plans are of no use to the real model
    if (r == 0 && backend.calibration) {
        r = calibrate(&calibration, model, d, err);
        backend.calibration = &calibration;
    }
    if (r == 0)
        r = ls_backend_open(&be, &backend, err);
    if (r == 0)
        r = ls_lane_open(&lane, be, err);
    if (r == 0)
        r = ls_generate(lane, d->picture, d->face, d->mel, 1, err);
    if (r == 0)
        r = ls_mel(lane, d->column, &job, err);
    if (r == 0)
        r = compare(d, ls_backend_arithmetic(be), err);
    ls_lane_close(&lane);
    ls_backend_close(&be);
    ls_model_close(&model);
    free(d);
    return r;
}
