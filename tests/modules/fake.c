// SPDX-License-Identifier: Apache-2.0
// Stands in for liblipstream_cuda.so: a back end of "cuda" without a device, so that the border's
// checks of what only devices do can be tested anywhere. Faces are not generated: a batch begun
// writes a mark into its frames, a batch finished writes another, into the jobs' err as well.
#include <stdlib.h>
#include <string.h>

#include "kernels/cuda/module.h"

struct fake {
    char arithmetic[16];
    struct ls_face_job *job[2]; // begun, oldest first
    int count[2], flying;
};

static int fake_open(void **be, const struct ls_backend_params *params, struct ls_err *err)
{
    struct fake *f;

    if (!strcmp(params->arithmetic, "fp32"))
        return ls_fail(err, LS_EDEVICE, "this fake wants no %s", params->arithmetic);
    f = calloc(1, sizeof *f);
    if (!f)
        return ls_fail(err, LS_ENOMEM, "no memory for a fake");
    memcpy(f->arithmetic, params->arithmetic, strlen(params->arithmetic) + 1);
    *be = f;
    return LS_OK;
}

static void fake_close(void **be)
{
    free(*be);
    *be = NULL;
}

static const char *fake_arithmetic(void *be)
{
    return ((struct fake *)be)->arithmetic;
}

static const char *fake_device(void *be)
{
    (void)be;
    return "a fake";
}

static int fake_lane_open(void **lane, void *be, struct ls_err *err)
{
    (void)err;
    *lane = be;
    return LS_OK;
}

static void fake_lane_close(void **lane)
{
    *lane = NULL;
}

static int fake_mel_batch(void *lane, float *const *out, const struct ls_mel_job *job, int count,
                          struct ls_err *err)
{
    (void)lane;
    (void)err;
    for (int i = 0; i < count; i++)
        for (int k = 0; k < job[i].count * LS_MEL_BANDS; k++)
            out[i][k] = (float)(i + 1);
    return LS_OK;
}

static int fake_crop(void *lane, uint8_t *out, const struct ls_frame *frame,
                     const struct ls_box *box, float roll_rad, bool exact, struct ls_err *err)
{
    (void)lane;
    (void)frame;
    (void)box;
    (void)roll_rad;
    (void)exact;
    (void)err;
    out[0] = 9;
    return LS_OK;
}

static int fake_faces_start(void *lane, struct ls_face_job *job, int count, struct ls_err *err)
{
    struct fake *f = lane;

    (void)err;
    for (int i = 0; i < count; i++)
        job[i].frame->plane[0][0] = 1;
    f->job[f->flying] = job;
    f->count[f->flying++] = count;
    return LS_OK;
}

static int fake_faces_finish(void *lane, struct ls_err *err)
{
    struct fake *f = lane;

    for (int i = 0; i < f->count[0]; i++) {
        f->job[0][i].frame->plane[0][0] = 2;
        f->job[0][i].err = (struct ls_err){.code = 0};
    }
    f->job[0] = f->job[1];
    f->count[0] = f->count[1];
    f->flying--;
    return f->count[0] == 3 ? ls_fail(err, LS_EDEVICE, "the batch of 3 is next") : LS_OK;
}

static int fake_memory_alloc(void *be, void **out, size_t size, struct ls_err *err)
{
    void *memory = malloc(size);

    (void)be;
    if (!memory)
        return ls_fail(err, LS_ENOMEM, "no memory");
    *out = memory;
    return LS_OK;
}

static void fake_memory_free(void *be, void **memory)
{
    (void)be;
    free(*memory);
    *memory = NULL;
}

static int fake_copy(void *be, const struct ls_copy *copy, struct ls_err *err)
{
    (void)be;
    (void)err;
    memcpy(copy->to, copy->from, copy->row_size);
    return LS_OK;
}

static const struct ls_backend_ops ops = {
    .name = "cuda",
    .open = fake_open,
    .close = fake_close,
    .arithmetic = fake_arithmetic,
    .lane_open = fake_lane_open,
    .lane_close = fake_lane_close,
    .crop = fake_crop,
    .formats = 1U << LS_PIX_I420 | 1U << LS_PIX_NV12 | 1U << LS_PIX_P010 | 1U << LS_PIX_RGB24,
    .device_frames = true,
    .lanes_max = 1,
    .device = fake_device,
    .mel_batch = fake_mel_batch,
    .faces_start = fake_faces_start,
    .faces_finish = fake_faces_finish,
    .depth = 2,
    .batch_usual = 64,
    .memory_alloc = fake_memory_alloc,
    .memory_free = fake_memory_free,
    .copy = fake_copy,
};

const struct ls_cuda_module ls_cuda_module = {.abi = LS_CUDA_MODULE_ABI, .ops = &ops};
