// SPDX-License-Identifier: Apache-2.0
// check.c's part for whole faces on their way through a device (_pair.h): frames of all formats,
// odd sizes, boxes that stick out, masks of all kinds.
#include <stdlib.h>
#include <string.h>

#include "tests/kernels/_pair.h"
#include "tests/kernels/_pictures.h"
#include "tests/unit/_check.h"

enum { SCENES = PAIR_BATCH, MEL = LS_MEL_WINDOW * LS_MEL_BANDS, FACE = 96 * 96 * 3 };

#define LOWER .mask = LS_MASK_LOWER_FACE, .feather_px = 8, .strength = 1
#define MOUTH(x, y, rx, ry)                                                                        \
    .mask = LS_MASK_MOUTH, .mouth = {x, y, rx, ry}, .feather_px = 14, .strength = 1
static const struct {
    const char *name;
    struct ls_frame shape;
    struct ls_paste paste;
} scenes[SCENES] = {
    {"I420, lower face",
     {.width_px = 181, .height_px = 133},
     {.box = {40.3f, 20.7f, 130.2f, 120.1f}, .colour_match = 0.5f, LOWER}},
    {"NV12, mouth",
     {.width_px = 143, .height_px = 121, .format = LS_PIX_NV12, .matrix = LS_MATRIX_BT709},
     {.box = {11, 9, 120, 118}, .colour_match = 1, MOUTH(0.5f, 0.75f, 0.25f, 0.15f)}},
    {"P010, full range, lower face",
     {.width_px = 160, .height_px = 122, .format = LS_PIX_P010, .full_range = true},
     {.box = {30.5f, 5, 150.5f, 119}, LOWER}},
    {"RGB24, over all edges",
     {.width_px = 64, .height_px = 50, .format = LS_PIX_RGB24},
     {.box = {-20, -30, 90, 80}, .mask = LS_MASK_RECTANGLE, .feather_px = 12, .strength = 0.8f}},
    {"RGB24, exact",
     {.width_px = 150, .height_px = 130, .format = LS_PIX_RGB24},
     {.box = {20.9f, 10.2f, 121.5f, 111.5f}, .exact = true}},
    {"I420, mouth high up",
     {.width_px = 99, .height_px = 101, .matrix = LS_MATRIX_BT709},
     {.box = {3, 4, 95, 96}, .colour_match = 0.3f, MOUTH(0.4f, 0.4f, 0.3f, 0.2f)}},
    {"I420, outside", {.width_px = 40, .height_px = 40}, {.box = {100, 100, 200, 200}, LOWER}},
    {"NV12, small face",
     {.width_px = 320, .height_px = 180, .format = LS_PIX_NV12},
     {.box = {150.1f, 80.2f, 171.9f, 104.4f}, .colour_match = 0.5f, LOWER}},
    {"I420 16x16",
     {.width_px = 16, .height_px = 16},
     {.box = {2, 1, 19, 17}, MOUTH(0.5f, 0.8f, 0.4f, 0.3f)}},
};

static struct picture want[SCENES]; // by the back end, in the first batch

struct batch {
    int count, scene[PAIR_BATCH];
    struct picture picture[PAIR_BATCH];
    float mel[PAIR_BATCH][MEL];
    struct ls_face_job job[PAIR_BATCH];
};

// A scene's number is its key, if there are keys: the same pixels in the same box.
static void batch_fill(struct batch *b, const int *scene, int count, bool keys)
{
    b->count = count;
    for (int i = 0; i < count; i++) {
        int n = scene[i];
        uint64_t seed = (uint64_t)n + 100;

        b->scene[i] = n;
        b->picture[i] = picture_new(&scenes[n].shape, FILL_SMOOTH, seed);
        for (int k = 0; k < MEL; k++)
            b->mel[i][k] = random_float(&seed, -4, 4);
        b->job[i] = (struct ls_face_job){.frame = &b->picture[i].frame,
                                         .paste = scenes[n].paste,
                                         .mel = b->mel[i],
                                         .source_key = keys ? (uint64_t)n + 1 : 0};
    }
}

static void batch_start(const struct pair *p, const char *row, struct batch *b)
{
    struct ls_err err = {0};

    if (!CHECK(ls_faces_start(p->lane[1], b->job, b->count, &err) == 0, row))
        printf("  %s\n", err.text);
}

static void batch_finish(const struct pair *p, const char *row, struct batch *b)
{
    struct ls_err err = {0};

    if (!CHECK(ls_faces_finish(p->lane[1], &err) == 0, row))
        printf("  %s\n", err.text);
    for (int i = 0; i < b->count; i++) {
        const struct picture *w = &want[b->scene[i]];

        if (!CHECK(b->job[i].err.code == 0, row))
            printf("  %s: %s\n", scenes[b->scene[i]].name, b->job[i].err.text);
        if (w->memory && !CHECK(!memcmp(b->picture[i].memory, w->memory, w->size), row))
            printf("  %s: not the bytes that it had in a batch of all\n", scenes[b->scene[i]].name);
    }
}

static void batch_free(struct batch *b)
{
    for (int i = 0; i < b->count; i++)
        picture_free(&b->picture[i]);
}

static void by_ref(const struct pair *p, const char *row, const struct ls_face_job *job)
{
    static uint8_t source[FACE];
    static float made[FACE];
    struct ls_paste paste = job->paste;
    const struct ls_generate_job generate = {
        .out = made, .face = source, .mel = job->mel, .exact = &paste.exact, .count = 1};

    paste.face = made;
    paste.source = source;
    CHECK(ls_crop(p->lane[0], source, job->frame, &paste.box, paste.roll_rad, paste.exact, NULL) ==
                  0 &&
              ls_generate_part(p->lane[0], &generate, NULL) == 0 &&
              ls_composite(p->lane[0], job->frame, &paste, NULL) == 0,
          row);
}

// All scenes in one batch against ref.
static void check_all(const struct pair *p, const char *row, int most)
{
    static const int all[SCENES] = {0, 1, 2, 3, 4, 5, 6, 7, 8};
    static struct batch b, ref;

    batch_fill(&b, all, SCENES, false);
    batch_fill(&ref, all, SCENES, false);
    batch_start(p, row, &b);
    batch_finish(p, row, &b);
    for (int i = 0; i < SCENES; i++) {
        const struct picture *got = &b.picture[i];
        int steps = got->frame.format == LS_PIX_P010 ? 4 * most : most;
        struct picture before = picture_copy(&ref.picture[i]);

        by_ref(p, scenes[i].name, &ref.job[i]);
        if (!CHECK(differ_picture(scenes[i].name, got, &ref.picture[i], steps) <= steps, row))
            printf("  %s\n", scenes[i].name);
        // What changes nothing would pass any comparison of this kind.
        CHECK((memcmp(before.memory, got->memory, got->size) == 0) == (i == 6), scenes[i].name);
        want[i] = picture_copy(got);
        picture_free(&before);
    }
    batch_free(&b);
    batch_free(&ref);
}

// Batches of other sizes, orders and neighbours, two in flight; faces of one key come again.
static void check_flights(const struct pair *p, const char *row, bool keys)
{
    static const struct {
        int count, scene[PAIR_BATCH];
    } rows[] = {
        {1, {2}},    {9, {8, 7, 6, 5, 4, 3, 2, 1, 0}},
        {2, {7, 0}}, {3, {1, 5, 1}},
        {1, {5}},    {5, {0, 3, 0, 4, 2}},
    };
    enum { ROWS = sizeof rows / sizeof rows[0] };
    static struct batch batch[ROWS];
    int depth = ls_backend_faces_depth(p->back_end[1]);

    for (int i = 0; i < ROWS + depth - 1; i++) {
        if (i < ROWS) {
            batch_fill(&batch[i], rows[i].scene, rows[i].count, keys);
            batch_start(p, row, &batch[i]);
        }
        if (i >= depth - 1)
            batch_finish(p, row, &batch[i - (depth - 1)]);
    }
    for (int i = 0; i < ROWS; i++)
        batch_free(&batch[i]);
}

int check_faces(const struct pair *p, const char *row, int most)
{
    int before = check_failures;

    check_all(p, row, most);
    check_flights(p, row, false);
    check_flights(p, row, true);
    for (int i = 0; i < SCENES; i++)
        picture_free(&want[i]);
    return check_failures - before;
}
