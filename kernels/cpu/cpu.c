// SPDX-License-Identifier: Apache-2.0
// The cpu back end's table: opens the generator as oneDNN primitives, gives each lane its buffers,
// and feeds faces and mel windows in and out of them. Lanes run at the same time on a thread each.
#include "cpu.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    SIZE = LS_FACE_SIZE,
    PLANE = SIZE * SIZE,
    // Items that a lane holds at once. The weights (170 MB for the original's widths) come from
    // memory once for so many frames; from 4 on a frame gets no faster, but a lane grows by 5 MB an
    // item.
    LANE_ITEMS = 4,
    CUTS = 4,
    // Below 24 rows little is saved, and other Winograd kernels would want weights of their own.
    CUT_HEIGHT_MIN = 24,
};

// The generator cut to a part of its face (COMPUTE section 10), each inside the one before: all of
// it; what the mask of the lower face, a mouth's large ellipse, a mouth's usual one reads.
static const struct ls_int_box cuts[CUTS] = {
    {0, 0, SIZE, SIZE}, {0, 40, SIZE, SIZE}, {8, 40, 88, SIZE}, {16, 44, 80, SIZE}};

struct cpu {
    const struct ls_model *model;
    struct ls_dnn *generator[CUTS]; // the first one's weights serve all
    int items_max;
    char arithmetic[64];
};

static void cpu_close(void **be)
{
    struct cpu *cpu = be ? *be : NULL;

    if (!cpu)
        return;
    for (int i = CUTS - 1; i >= 0; i--)
        ls_dnn_free(&cpu->generator[i]);
    free(cpu);
    *be = NULL;
}

static int cpu_open(void **be, const struct ls_backend_params *backend, struct ls_err *err)
{
    bool bf16 = !strcmp(backend->arithmetic, "bf16");
    const char *how;
    struct cpu *cpu;
    int r = LS_OK;

    if (!bf16 && strcmp(backend->arithmetic, "auto") != 0 &&
        strcmp(backend->arithmetic, "fp32") != 0)
        return ls_fail(err, LS_EFIELD, "arithmetic \"%s\": the back end cpu has fp32 and bf16",
                       backend->arithmetic);
    if (bf16 && !ls_dnn_has_bf16()) // emulated it would be several times slower than fp32
        return ls_fail(err, LS_EFIELD,
                       "arithmetic \"bf16\": this processor (%s) does not multiply bfloat16",
                       ls_dnn_isa());
    cpu = calloc(1, sizeof *cpu);
    if (!cpu)
        return ls_fail(err, LS_ENOMEM, "no memory for the cpu back end");
    cpu->model = backend->model;
    cpu->items_max = backend->batch_max < LANE_ITEMS ? backend->batch_max : LANE_ITEMS;
    for (int i = 0; i < CUTS && r == LS_OK; i++) {
        struct ls_dnn_params params = {.items_max = cpu->items_max,
                                       .first = {cuts[i].y0, cuts[i].x0},
                                       .end = {cuts[i].y1, cuts[i].x1},
                                       .height_min = CUT_HEIGHT_MIN,
                                       .bf16 = bf16,
                                       .weights_of = i ? cpu->generator[0] : NULL};

        r = ls_dnn_new(&cpu->generator[i], backend->model->generator, &params, err);
    }
    if (r < 0) {
        void *half = cpu;

        cpu_close(&half);
        return r;
    }
    how = ls_dnn_winograd(cpu->generator[0]) ? "fp32 Winograd" : "fp32 direct";
    snprintf(cpu->arithmetic, sizeof cpu->arithmetic, "%s, %s", bf16 ? "bf16" : how, ls_dnn_isa());
    *be = cpu;
    return LS_OK;
}

static const char *cpu_arithmetic(void *be)
{
    return ((struct cpu *)be)->arithmetic;
}

struct lane {
    struct ls_cpu_lane shared;
    struct cpu *cpu;
};

static void cpu_lane_close(void **lane)
{
    struct lane *l = lane ? *lane : NULL;

    if (!l)
        return;
    ls_cpu_detect_done(&l->shared.detect);
    ls_dnn_lane_free(&l->shared.generator);
    free(l);
    *lane = NULL;
}

static int cpu_lane_open(void **lane, void *be, struct ls_err *err)
{
    struct lane *l = calloc(1, sizeof *l);
    int r;

    if (!l)
        return ls_fail(err, LS_ENOMEM, "no memory for a lane");
    l->cpu = be;
    l->shared.model = l->cpu->model;
    for (int i = 0; i < 256; i++)
        l->shared.byte_value[i] = (float)(i / 255.0);
    r = ls_dnn_lane_new(&l->shared.generator, (const struct ls_dnn *const *)l->cpu->generator, CUTS,
                        err);
    if (r < 0) {
        free(l);
        return r;
    }
    *lane = l;
    return LS_OK;
}

// face [96][96][3], mel [16][80] to the network's [6][96][96] (the lower half of the first three
// black) and [80][16].
static void put_item(struct ls_cpu_lane *lane, int item, const uint8_t *face, const float *mel)
{
    float *picture = ls_dnn_input(lane->generator, 0, item);
    float *sound = ls_dnn_input(lane->generator, 1, item);

    for (int i = 0; i < PLANE; i++)
        for (int c = 0; c < 3; c++) {
            float v = lane->byte_value[face[3 * i + c]];

            picture[(3 + c) * PLANE + i] = v;
            picture[c * PLANE + i] = i < PLANE / 2 ? v : 0;
        }
    for (int t = 0; t < LS_MEL_WINDOW; t++)
        for (int b = 0; b < LS_MEL_BANDS; b++)
            sound[b * LS_MEL_WINDOW + t] = mel[t * LS_MEL_BANDS + b];
}

// What was not made is black.
static void get_item(struct ls_cpu_lane *lane, int item, float *out)
{
    struct ls_dnn_part made;
    int width, height;

    ls_dnn_output(lane->planes, &made, lane->generator, 0, item);
    height = made.end[0] - made.first[0];
    width = made.end[1] - made.first[1];
    if (height < SIZE || width < SIZE)
        memset(out, 0, sizeof *out * 3 * PLANE);
    for (int y = 0; y < height; y++)
        for (int x = 0; x < width; x++)
            for (int c = 0; c < 3; c++)
                out[3 * ((made.first[0] + y) * SIZE + made.first[1] + x) + c] =
                    lane->planes[(c * height + y) * width + x];
}

static bool holds(const struct ls_int_box *cut, const struct ls_int_box *part)
{
    return part->x0 >= cut->x0 && part->y0 >= cut->y0 && part->x1 <= cut->x1 && part->y1 <= cut->y1;
}

static int cut_for(const struct ls_int_box *part, int item)
{
    int cut = 0;

    while (part && cut + 1 < CUTS && holds(&cuts[cut + 1], &part[item]))
        cut++;
    return cut;
}

// Which items of a job are in the lane.
struct loaded {
    const struct ls_generate_job *job;
    int item[LANE_ITEMS];
};

static bool wanted(void *user, int idx)
{
    const struct loaded *in = user;

    return in->job->wanted(in->job->user, in->item[idx]);
}

// Runs the items of one cut, as many as a lane holds at a time.
static int generate_cut(struct lane *l, int cut, const struct ls_generate_job *job,
                        struct ls_err *err)
{
    struct loaded in = {.job = job};
    int n = 0, r;

    ls_dnn_use(l->shared.generator, cut);
    for (int i = 0; i <= job->count; i++) {
        if (i < job->count && cut_for(job->part, i) == cut) {
            put_item(&l->shared, n, job->face + (size_t)i * 3 * PLANE,
                     job->mel + (size_t)i * LS_MEL_WINDOW * LS_MEL_BANDS);
            in.item[n++] = i;
        }
        if (n == 0 || (n < l->cpu->items_max && i < job->count))
            continue;
        r = ls_dnn_run_wanted(l->shared.generator, n, job->wanted ? wanted : NULL, &in, err);
        if (r < 0)
            return r;
        for (int k = 0; k < n; k++)
            if (!job->wanted || wanted(&in, k))
                get_item(&l->shared, k, job->out + (size_t)in.item[k] * 3 * PLANE);
        n = 0;
    }
    return LS_OK;
}

static int cpu_generate_part(void *lane, const struct ls_generate_job *job, struct ls_err *err)
{
    int r = LS_OK;

    for (int cut = 0; cut < CUTS && r == LS_OK; cut++)
        r = generate_cut(lane, cut, job, err);
    return r;
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
    .batch_usual = LANE_ITEMS,
};
