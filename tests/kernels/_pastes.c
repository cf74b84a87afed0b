// SPDX-License-Identifier: Apache-2.0
// check.c's part for crops and pastes (_pair.h): frames of all formats and odd sizes, boxes that
// stick out, faces of 20 to 1500 px, turned and upright, masks and sharpness of all kinds. The
// pasted faces are the crop with a changed mouth, so that some of it is kept, some made and some
// in between.
#include "kernels/backend.h"
#include "tests/kernels/_made.h"
#include "tests/kernels/_pair.h"
#include "tests/kernels/_pictures.h"
#include "tests/unit/_check.h"

enum { SIZE = 96, FACE_BYTES = SIZE * SIZE * 3 };

static const struct {
    const char *name;
    struct ls_frame frame;
    enum fill fill;
} pictures[] = {
    {"I420 601", {.width_px = 320, .height_px = 240, .matrix = LS_MATRIX_BT601}, FILL_RANDOM},
    {"I420 709", {.width_px = 321, .height_px = 179, .matrix = LS_MATRIX_BT709}, FILL_RANDOM},
    {"I420 2020 full",
     {.width_px = 97, .height_px = 211, .matrix = LS_MATRIX_BT2020, .full_range = true},
     FILL_RANDOM},
    {"I420 16x17", {.width_px = 16, .height_px = 17}, FILL_RANDOM},
    {"I420 smooth", {.width_px = 640, .height_px = 360}, FILL_SMOOTH},
    {"I420 black", {.width_px = 99, .height_px = 98}, FILL_BLACK},
    {"I420 white", {.width_px = 98, .height_px = 99}, FILL_WHITE},
    {"RGB24", {.width_px = 320, .height_px = 240, .format = LS_PIX_RGB24}, FILL_RANDOM},
    {"RGB24 odd", {.width_px = 61, .height_px = 333, .format = LS_PIX_RGB24}, FILL_RANDOM},
    {"NV12", {.width_px = 320, .height_px = 241, .format = LS_PIX_NV12}, FILL_RANDOM},
    {"NV12 709 full",
     {.width_px = 99,
      .height_px = 98,
      .format = LS_PIX_NV12,
      .matrix = LS_MATRIX_BT709,
      .full_range = true},
     FILL_SMOOTH},
    {"P010",
     {.width_px = 161, .height_px = 120, .format = LS_PIX_P010, .matrix = LS_MATRIX_BT2020},
     FILL_RANDOM},
    {"P010 white", {.width_px = 17, .height_px = 18, .format = LS_PIX_P010}, FILL_WHITE},
    {"RGB24 white", {.width_px = 17, .height_px = 16, .format = LS_PIX_RGB24}, FILL_WHITE},
};

// In parts of the frame's size.
static const struct {
    const char *name;
    struct ls_box box;
} boxes[] = {
    {"middle", {0.3f, 0.2f, 0.7f, 0.9f}},
    {"sticking out", {-0.4f, -0.3f, 0.5f, 0.6f}},
    {"low right", {0.613f, 0.55f, 1.7f, 2}},
    {"outside", {-3, -3, -1, -1}},
    {"everything", {0, 0, 1, 1}},
    {"far around", {-8, -9, 11, 9}},
    {"tiny", {0.5f, 0.5f, 0.503f, 0.502f}},
    {"thin", {0.41f, -1, 0.43f, 2}},
};

static struct ls_box box_in(const struct ls_frame *f, size_t idx)
{
    const struct ls_box *b = &boxes[idx].box;

    return (struct ls_box){b->x0 * f->width_px, b->y0 * f->height_px, b->x1 * f->width_px,
                           b->y1 * f->height_px};
}

static const float rolls[] = {0, 0.0009f, 0.3f, -0.97f};
enum { ROLLS = sizeof rolls / sizeof rolls[0], BOXES = sizeof boxes / sizeof boxes[0] };

// Exact where roll is NAN.
static void check_crop(const struct pair *p, const char *row, const struct ls_frame *frame,
                       const struct ls_box *box, float roll)
{
    static uint8_t got[2][FACE_BYTES + 1];
    bool exact = isnan(roll);
    int r[2], most = exact ? 0 : 1;

    for (int n = 0; n < 2; n++) {
        got[n][FACE_BYTES] = 77;
        r[n] = ls_crop(p->lane[n], got[n], frame, box, exact ? 0 : roll, exact, NULL);
        CHECK(got[n][FACE_BYTES] == 77, row);
    }
    CHECK(r[0] == r[1], row);
    if (r[0] == 0)
        CHECK(differ_byte(row, got[1], got[0], FACE_BYTES, most) <= most, row);
}

int check_crops(const struct pair *p)
{
    int before = check_failures;

    for (size_t i = 0; i < sizeof pictures / sizeof pictures[0]; i++) {
        if (!ls_backend_takes(p->back_end[1], pictures[i].frame.format))
            continue;

        struct picture picture = picture_new(&pictures[i].frame, pictures[i].fill, i);

        for (int k = 0; k < BOXES * (ROLLS + 1); k++) {
            struct ls_box box = box_in(&picture.frame, (size_t)(k / (ROLLS + 1)));
            float roll = k % (ROLLS + 1) < ROLLS ? rolls[k % (ROLLS + 1)] : NAN;
            char row[80];

            if (isnan(roll) && picture.frame.format != LS_PIX_RGB24)
                continue;
            snprintf(row, sizeof row, "crop %s, %s, roll %g", pictures[i].name,
                     boxes[k / (ROLLS + 1)].name, (double)roll);
            check_crop(p, row, &picture.frame, &box, roll);
        }
        picture_free(&picture);
    }
    return check_failures - before;
}

#define ALL                 .strength = 1, .colour_match = 1, .sharpness = 1
#define ELLIPSE(x, y, w, h) .mask = LS_MASK_MOUTH, .mouth = {x, y, w, h}
static const struct {
    const char *name;
    struct ls_paste paste;
} pastes[] = {
    {"mouth", {ELLIPSE(0.5f, 0.75f, 0.3f, 0.2f), .feather_px = 14, ALL}},
    {"mouth, turned", {ELLIPSE(0.5f, 0.75f, 0.3f, 0.2f), .feather_px = 9, ALL, .roll_rad = -0.4f}},
    {"mouth, hard", {ELLIPSE(0.1f, 1.0f, 0.2f, 0.3f), .strength = 1}},
    {"lower face",
     {.mask = LS_MASK_LOWER_FACE,
      .feather_px = 8,
      .colour_match = 0.5f,
      .strength = 0.8f,
      .sharpness = 0.6f}},
    {"lower face, turned",
     {.mask = LS_MASK_LOWER_FACE,
      .mouth = {0.45f, 0.7f, 0.25f, 0.2f},
      .feather_px = 16,
      .strength = 1,
      .sharpness = 2,
      .roll_rad = 1}},
    {"rectangle", {.mask = LS_MASK_RECTANGLE, .strength = 1}},
    {"soft rectangle", {.mask = LS_MASK_RECTANGLE, .feather_px = 24, .strength = 1}},
    {"sharp rectangle, turned",
     {.mask = LS_MASK_RECTANGLE, .feather_px = 5, ALL, .roll_rad = 0.2f}},
    {"nothing", {.mask = LS_MASK_RECTANGLE, .feather_px = 3, .sharpness = 1}},
    {"mask outside", {ELLIPSE(3, 3, 0.1f, 0.1f), .feather_px = 2, ALL}},
    {"exact", {.exact = true}},
};

// Outside the frame's pixels nothing may change at all.
static void check_pasted(const char *row, const struct picture *got, const struct picture *want,
                         const struct picture *before, int most)
{
    CHECK(differ_picture(row, got, want, most) <= most, row);
    for (size_t i = 0; i < got->size; i++)
        if (got->memory[i] != before->memory[i] && !picture_is_pixel(got, i)) {
            printf("FAIL %s: byte %zu is no pixel but was written\n", row, i);
            CHECK(false, row);
            return;
        }
}

static void check_paste(const struct pair *p, const char *row, const struct picture *before,
                        struct ls_paste *paste)
{
    static float face[FACE_BYTES];
    static uint8_t source[FACE_BYTES];
    struct picture after[2] = {picture_copy(before), picture_copy(before)};
    int most = paste->exact ? 0 : before->frame.format == LS_PIX_P010 ? 4 : 1, r[2];

    CHECK(ls_crop(p->lane[0], source, &before->frame, &paste->box, paste->roll_rad, false, NULL) ==
              0,
          row);
    make_face(face, source, 5);
    paste->face = face;
    paste->source = source;
    for (int n = 0; n < 2; n++)
        r[n] = ls_composite(p->lane[n], &after[n].frame, paste, NULL);
    CHECK(r[0] == r[1], row);
    check_pasted(row, &after[1], &after[0], before, most);
    picture_free(&after[0]);
    picture_free(&after[1]);
}

// Faces of many sizes at odd places, where kernels are widened or not.
static void check_sizes(const struct pair *p, enum ls_pixel format)
{
    static const float sides[] = {20, 51.7f, 53.1f, 97, 191.5f, 193, 420, 1500};
    enum { KINDS = sizeof pastes / sizeof pastes[0] };

    for (int i = 0; i < 8; i++) {
        int around = (int)sides[i] + 60;
        struct ls_frame shape = {.width_px = around, .height_px = around, .format = format};
        struct picture before = picture_new(&shape, FILL_SMOOTH, (uint64_t)i);

        for (int k = 0; k < KINDS; k++) {
            struct ls_paste paste = pastes[k].paste;
            char row[96];

            if (sides[i] > 1000 && k > 1) // which takes ref seconds
                continue;
            snprintf(row, sizeof row, "format %d, face of %g, %s", (int)format, (double)sides[i],
                     pastes[k].name);
            if (paste.exact && format != LS_PIX_RGB24)
                continue;
            paste.box = (struct ls_box){20.3f, 31.6f, 20.3f + sides[i], 31.6f + sides[i] * 1.1f};
            check_crop(p, row, &before.frame, &paste.box, paste.roll_rad);
            check_paste(p, row, &before, &paste);
        }
        picture_free(&before);
    }
}

int check_pastes(const struct pair *p)
{
    enum { KINDS = sizeof pastes / sizeof pastes[0] };
    int failures = check_failures;

    for (size_t i = 0; i < sizeof pictures / sizeof pictures[0]; i++) {
        if (!ls_backend_takes(p->back_end[1], pictures[i].frame.format))
            continue;

        struct picture before = picture_new(&pictures[i].frame, pictures[i].fill, i);

        for (int k = 0; k < KINDS * BOXES; k++) {
            struct ls_paste paste = pastes[k % KINDS].paste;
            char row[96];

            snprintf(row, sizeof row, "composite %s, %s, %s", pictures[i].name,
                     pastes[k % KINDS].name, boxes[k / KINDS].name);
            paste.box = box_in(&before.frame, (size_t)(k / KINDS));
            check_paste(p, row, &before, &paste);
        }
        picture_free(&before);
    }
    for (int format = 0; format <= LS_PIX_P010; format++)
        if (ls_backend_takes(p->back_end[1], (enum ls_pixel)format))
            check_sizes(p, (enum ls_pixel)format);
    return check_failures - failures;
}
