// SPDX-License-Identifier: Apache-2.0
// The cpu back end's table: what kernels/cpu does, by lane. Lanes run at the same time on a thread
// each.
#include "cpu.h"

#include <stdlib.h>

#include "generator.h"

static void cpu_close(void **be)
{
    struct ls_cpu_generator *generator = be ? *be : NULL;

    ls_cpu_generator_close(&generator);
    if (be)
        *be = NULL;
}

static int cpu_open(void **be, const struct ls_backend_params *backend, struct ls_err *err)
{
    struct ls_cpu_generator *generator = NULL;
    int r = ls_cpu_generator_open(&generator, backend, err);

    if (r == LS_OK)
        *be = generator;
    return r;
}

static const char *cpu_arithmetic(void *be)
{
    return ls_cpu_generator_arithmetic(be);
}

struct lane {
    struct ls_cpu_lane shared;
    struct ls_cpu_generator_lane *generator;
};

static void cpu_lane_close(void **lane)
{
    struct lane *l = lane ? *lane : NULL;

    if (!l)
        return;
    ls_cpu_detect_done(&l->shared.detect);
    ls_cpu_generator_lane_close(&l->generator);
    free(l);
    *lane = NULL;
}

static int cpu_lane_open(void **lane, void *be, struct ls_err *err)
{
    struct lane *l = calloc(1, sizeof *l);
    int r;

    if (!l)
        return ls_fail(err, LS_ENOMEM, "no memory for a lane");
    l->shared.model = ls_cpu_generator_model(be);
    r = ls_cpu_generator_lane_open(&l->generator, be, err);
    if (r < 0) {
        free(l);
        return r;
    }
    *lane = l;
    return LS_OK;
}

static int cpu_generate_part(void *lane, const struct ls_generate_job *job, struct ls_err *err)
{
    return ls_cpu_generate(((struct lane *)lane)->generator, job, err);
}

static int cpu_generate(void *lane, float *out, const uint8_t *face, const float *mel, int count,
                        struct ls_err *err)
{
    return cpu_generate_part(
        lane, &(struct ls_generate_job){.out = out, .face = face, .mel = mel, .count = count}, err);
}

static int cpu_mel(void *lane, float *out, const struct ls_mel_job *job, struct ls_err *err)
{
    (void)lane;
    return ls_cpu_mel(out, job, err);
}

static int cpu_detect(void *lane, struct ls_face *out, int *count, const struct ls_frame *frame,
                      const struct ls_detect_params *params, struct ls_err *err)
{
    return ls_cpu_detect(&((struct lane *)lane)->shared, out, count, frame, params, err);
}

static int cpu_crop(void *lane, uint8_t *out, const struct ls_frame *frame,
                    const struct ls_box *box, float roll_rad, bool exact, struct ls_err *err)
{
    return ls_cpu_crop(&((struct lane *)lane)->shared.crop, out, frame, box, roll_rad, exact, err);
}

static int cpu_composite(void *lane, const struct ls_frame *frame, const struct ls_paste *paste,
                         struct ls_err *err)
{
    return ls_cpu_composite(&((struct lane *)lane)->shared.paste, frame, paste, err);
}

const struct ls_backend_ops ls_backend_cpu = {
    .name = "cpu",
    .open = cpu_open,
    .close = cpu_close,
    .arithmetic = cpu_arithmetic,
    .lane_open = cpu_lane_open,
    .lane_close = cpu_lane_close,
    .mel = cpu_mel,
    .detect = cpu_detect,
    .crop = cpu_crop,
    .generate = cpu_generate,
    .composite = cpu_composite,
    .holds_weights = true,
    .generate_part = cpu_generate_part,
    .formats = 1U << LS_PIX_I420 | 1U << LS_PIX_RGB24,
    .batch_usual = LS_CPU_LANE_ITEMS,
};
