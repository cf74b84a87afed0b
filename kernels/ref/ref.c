// SPDX-License-Identifier: Apache-2.0
// The reference back end: fills the table of operations. Slow and plain; it can run the whole
// service, and what it gives is right by definition. A lane holds only the detector's plan, so
// lanes are cheap.
#include "ref.h"

#include <stdlib.h>
#include <string.h>

enum { PLANE = LS_FACE_SIZE * LS_FACE_SIZE };

struct back_end {
    const struct ls_model *model;
    int batch_max;
};

static int open_ref(void **be, const struct ls_backend_params *params, struct ls_err *err)
{
    struct back_end *b;

    if (strcmp(params->arithmetic, "auto") != 0 && strcmp(params->arithmetic, "fp32") != 0)
        return ls_fail(err, LS_EFIELD, "arithmetic \"%s\": the back end ref computes in fp32",
                       params->arithmetic);
    b = malloc(sizeof *b);
    if (!b)
        return ls_fail(err, LS_ENOMEM, "no memory for the back end");
    *b = (struct back_end){.model = params->model, .batch_max = params->batch_max};
    *be = b;
    return 0;
}

static void close_ref(void **be)
{
    free(*be);
    *be = NULL;
}

static const char *arithmetic(void *be)
{
    (void)be;
    return "fp32 plain C";
}

static int lane_open(void **lane, void *be, struct ls_err *err)
{
    const struct back_end *b = be;
    struct ls_ref_lane *l = calloc(1, sizeof *l);

    if (!l)
        return ls_fail(err, LS_ENOMEM, "no memory for a lane");
    l->model = b->model;
    l->batch_max = b->batch_max;
    *lane = l;
    return 0;
}

static void lane_close(void **lane)
{
    if (*lane)
        ls_ref_detect_done(*lane);
    free(*lane);
    *lane = NULL;
}

static int mel(void *lane, float *out, const struct ls_mel_job *job, struct ls_err *err)
{
    (void)lane;
    return ls_ref_mel(out, job, err);
}

static int detect(void *lane, struct ls_face *out, int *count, const struct ls_frame *frame,
                  const struct ls_detect_params *params, struct ls_err *err)
{
    return ls_ref_detect(lane, out, count, frame, params, err);
}

static int crop(void *lane, uint8_t *out, const struct ls_frame *frame, const struct ls_box *box,
                float roll_rad, bool exact, struct ls_err *err)
{
    (void)lane;
    return ls_ref_crop(out, frame, box, roll_rad, exact, err);
}

static int composite(void *lane, const struct ls_frame *frame, const struct ls_paste *paste,
                     struct ls_err *err)
{
    (void)lane;
    return ls_ref_composite(frame, paste, err);
}

// [96][96][3] bytes to [6][96][96]: the face with its lower half blank, then the face.
static void put_face(float *out, const uint8_t *face)
{
    for (int c = 0; c < 3; c++) {
        for (int i = 0; i < PLANE; i++) {
            // The original divides in double precision and rounds once: WAV2LIP.md section 4.
            float v = (float)(face[3 * i + c] / 255.0);

            out[c * PLANE + i] = i < PLANE / 2 ? v : 0;
            out[(c + 3) * PLANE + i] = v;
        }
    }
}

// [16][80] to [80][16]
static void put_mel(float *out, const float *window)
{
    for (int band = 0; band < LS_MEL_BANDS; band++)
        for (int column = 0; column < LS_MEL_WINDOW; column++)
            out[band * LS_MEL_WINDOW + column] = window[column * LS_MEL_BANDS + band];
}

static int generate(void *lane, float *out, const uint8_t *face, const float *window, int count,
                    struct ls_err *err)
{
    enum { FACE = 6 * PLANE, MEL = LS_MEL_BANDS * LS_MEL_WINDOW, PICTURE = 3 * PLANE };
    const struct ls_ref_lane *l = lane;
    float *buffer = malloc((size_t)(FACE + MEL + PICTURE) * sizeof *buffer);
    const float *inputs[2];
    float *picture;
    int r = 0;

    if (!buffer)
        return ls_fail(err, LS_ENOMEM, "no memory to generate a face");
    inputs[0] = buffer;
    inputs[1] = buffer + FACE;
    picture = buffer + FACE + MEL;
    for (int k = 0; k < count && r == 0; k++) {
        put_face(buffer, face + (size_t)k * PICTURE);
        put_mel(buffer + FACE, window + (size_t)k * MEL);
        r = ls_ref_net_run(l->model->generator, inputs, &picture, 1, err);
        for (int i = 0; r == 0 && i < PICTURE; i++)
            out[(size_t)k * PICTURE + i] = picture[i % 3 * PLANE + i / 3];
    }
    free(buffer);
    return r;
}

const struct ls_backend_ops ls_backend_ref = {
    .name = "ref",
    .open = open_ref,
    .close = close_ref,
    .arithmetic = arithmetic,
    .lane_open = lane_open,
    .lane_close = lane_close,
    .mel = mel,
    .detect = detect,
    .crop = crop,
    .generate = generate,
    .composite = composite,
    .formats = 1U << LS_PIX_I420 | 1U << LS_PIX_RGB24 | 1U << LS_PIX_NV12 | 1U << LS_PIX_P010,
    .batch_usual = 4,
};
