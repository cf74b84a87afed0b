// SPDX-License-Identifier: Apache-2.0
// What the tests of whole batches on the device share: the module's table opened on the host's
// shim with a small generator, eight scenes (frame, box, paste), and batches of them. Header only;
// one thread.
#ifndef LS_TEST_BATCHES_H
#define LS_TEST_BATCHES_H

#include <stdlib.h>
#include <string.h>

#include "kernels/cuda/module.h"
#include "kernels/ref/ref.h"
#include "tests/kernels/_narrow.h"
#include "tests/kernels/_pictures.h"
#include "tests/unit/_check.h"

enum { SCENES = 8, BATCH = 8, MEL = LS_MEL_WINDOW * LS_MEL_BANDS, FACE = 96 * 96 * 3 };

static struct ls_model *model;

static inline void make_model(void)
{
    struct ls_err err = {0};

    if (!CHECK(narrow_open(&model, NULL, &err) == 0, err.text))
        exit(1);
}

// --- the back end -------------------------------------------------------------------------------

struct rig {
    const struct ls_backend_ops *ops;
    void *be, *lane;
};

static inline struct rig rig_open(const char *arithmetic, int batch_max, int64_t cache_bytes)
{
    const struct ls_backend_params params = {.name = "cuda",
                                             .model = model,
                                             .batch_max = batch_max,
                                             .arithmetic = arithmetic,
                                             .face_cache_bytes = cache_bytes};
    struct rig rig = {.ops = ls_cuda_module.ops};
    struct ls_err err = {0};

    if (!CHECK(rig.ops->open(&rig.be, &params, &err) == 0, err.text) ||
        !CHECK(rig.ops->lane_open(&rig.lane, rig.be, &err) == 0, err.text))
        exit(1);
    return rig;
}

static inline void rig_close(struct rig *rig)
{
    rig->ops->lane_close(&rig->lane);
    rig->ops->close(&rig->be);
}

// --- scenes -------------------------------------------------------------------------------------

static const struct scene {
    const char *name;
    struct ls_frame shape;
    struct ls_paste paste;
} scenes[SCENES] = {
    {"lower face, I420",
     {.width_px = 200, .height_px = 160, .format = LS_PIX_I420, .matrix = LS_MATRIX_BT601},
     {.box = {40.3f, 20.7f, 130.2f, 140.1f},
      .mask = LS_MASK_LOWER_FACE,
      .feather_px = 8,
      .colour_match = 0.5f,
      .strength = 1,
      .sharpness = 1}},
    {"mouth, NV12, odd size, turned",
     {.width_px = 143, .height_px = 121, .format = LS_PIX_NV12, .matrix = LS_MATRIX_BT709},
     {.box = {11, 9, 120, 118},
      .roll_rad = 0.3f,
      .mask = LS_MASK_MOUTH,
      .mouth = {0.5f, 0.75f, 0.25f, 0.15f},
      .feather_px = 10,
      .colour_match = 1,
      .strength = 0.8f,
      .sharpness = 1}},
    {"exact, RGB24",
     {.width_px = 150, .height_px = 130, .format = LS_PIX_RGB24},
     {.box = {20.9f, 10.2f, 121.5f, 111.5f}, .exact = true}},
    {"lower face, P010, full range",
     {.width_px = 180,
      .height_px = 140,
      .format = LS_PIX_P010,
      .matrix = LS_MATRIX_BT2020,
      .full_range = true},
     {.box = {30.5f, 10, 150.5f, 130},
      .mask = LS_MASK_LOWER_FACE,
      .mouth = {0.5f, 0.74f, 0.26f, 0.234f},
      .feather_px = 4,
      .strength = 1,
      .sharpness = 2}},
    {"rectangle, RGB24, over the edges, turned",
     {.width_px = 64, .height_px = 50, .format = LS_PIX_RGB24},
     {.box = {-20, -30, 90, 80},
      .roll_rad = -0.2f,
      .mask = LS_MASK_RECTANGLE,
      .feather_px = 12,
      .strength = 1,
      .sharpness = 0.5f}},
    {"mouth high up, I420",
     {.width_px = 99, .height_px = 101, .format = LS_PIX_I420, .matrix = LS_MATRIX_BT709},
     {.box = {3, 4, 95, 96},
      .mask = LS_MASK_MOUTH,
      .mouth = {0.4f, 0.4f, 0.3f, 0.2f},
      .feather_px = 14,
      .colour_match = 0.3f,
      .strength = 1}},
    {"outside, I420",
     {.width_px = 40, .height_px = 40, .format = LS_PIX_I420},
     {.box = {100, 100, 200, 200}, .mask = LS_MASK_LOWER_FACE, .feather_px = 8, .strength = 1}},
    {"small face, NV12",
     {.width_px = 320, .height_px = 180, .format = LS_PIX_NV12},
     {.box = {150.1f, 80.2f, 171.9f, 104.4f},
      .mask = LS_MASK_LOWER_FACE,
      .feather_px = 6,
      .colour_match = 0.5f,
      .strength = 1}},
};

// A batch of scenes with frames of its own.
struct batch {
    struct picture picture[BATCH];
    float mel[BATCH][MEL];
    struct ls_face_job job[BATCH];
    int count;
};

static inline void batch_fill(struct batch *b, const int *scene, int count, bool keys)
{
    b->count = count;
    for (int i = 0; i < count; i++) {
        const struct scene *s = &scenes[scene[i]];
        uint64_t seed = (uint64_t)scene[i] + 100;

        b->picture[i] = picture_new(&s->shape, FILL_SMOOTH, seed);
        for (int k = 0; k < MEL; k++)
            b->mel[i][k] = random_float(&seed, -4, 4);
        b->job[i] = (struct ls_face_job){.frame = &b->picture[i].frame,
                                         .paste = s->paste,
                                         .mel = b->mel[i],
                                         .source_key = keys ? (uint64_t)scene[i] + 1 : 0};
    }
}

static inline void batch_free(struct batch *b)
{
    for (int i = 0; i < b->count; i++)
        picture_free(&b->picture[i]);
}

// What fp32 makes of a scene alone, and what it made it of.
static struct picture want[SCENES], original[SCENES];

static inline const char *name_of(const struct ls_face_job *job)
{
    for (int i = 0; i < SCENES; i++)
        if (!memcmp(&job->paste, &scenes[i].paste, sizeof job->paste))
            return scenes[i].name;
    return "?";
}

static inline void check_batch(const char *row, const struct batch *b, const int *scene)
{
    for (int i = 0; i < b->count; i++) {
        const struct picture *w = &want[scene[i]];

        if (!CHECK(b->job[i].err.code == 0, row) ||
            !CHECK(memcmp(b->picture[i].memory, w->memory, w->size) == 0, row))
            printf("  scene \"%s\": %s\n", name_of(&b->job[i]), b->job[i].err.text);
    }
}

static inline void start(struct rig *rig, struct batch *b, const char *row)
{
    struct ls_err err = {0};

    if (!CHECK(rig->ops->faces_start(rig->lane, b->job, b->count, &err) == 0, row))
        printf("  %s\n", err.text);
}

static inline void finish(struct rig *rig, const char *row)
{
    struct ls_err err = {0};

    if (!CHECK(rig->ops->faces_finish(rig->lane, &err) == 0, row))
        printf("  %s\n", err.text);
}

// Fills `want` and `original` of a scene.
static inline void want_scene(int scene)
{
    static struct batch b;
    struct rig rig = rig_open("fp32", 1, 0);

    batch_fill(&b, &scene, 1, false);
    original[scene] = picture_copy(&b.picture[0]);
    start(&rig, &b, scenes[scene].name);
    finish(&rig, scenes[scene].name);
    want[scene] = picture_copy(&b.picture[0]);
    batch_free(&b);
    rig_close(&rig);
}

static inline void wanted_free(void)
{
    for (int i = 0; i < SCENES; i++) {
        picture_free(&want[i]);
        picture_free(&original[i]);
    }
    ls_model_close(&model);
}

#endif
