// SPDX-License-Identifier: Apache-2.0
// What a paste says of itself before anything is computed: outside its extent the mask is zero, and
// of the face nothing is read outside what ls_paste_reads says. The face there is poisoned with
// numbers that are none: whoever looks at them shows it. And lips are never kept.
#include <math.h>

#include "kernels/detail.h"
#include "kernels/mask.h"
#include "kernels/paste.h"
#include "kernels/ref/ref.h"
#include "tests/kernels/_pictures.h"
#include "tests/unit/_check.h"

enum { SIZE = LS_FACE_SIZE, PASTES = 200 };

static const struct {
    const char *name;
    struct ls_paste paste;
    struct ls_int_box reads;
} rows[] = {
    {"lower face", {.mask = LS_MASK_LOWER_FACE, .feather_px = 8}, {12, 50, 84, 96}},
    {"rectangle", {.mask = LS_MASK_RECTANGLE, .feather_px = 8}, {0, 0, 96, 96}},
    {"exact", {.exact = true}, {0, 0, 96, 96}},
    {"mouth",
     {.mask = LS_MASK_MOUTH, .mouth = {0.5f, 0.75f, 0.3f, 0.2f}, .feather_px = 14},
     {8, 44, 88, 96}},
    {"mouth beside the face", {.mask = LS_MASK_MOUTH, .mouth = {3, 3, 0.1f, 0.1f}}, {0, 0, 4, 4}},
    {"mouth over everything", {.mask = LS_MASK_MOUTH, .mouth = {0.5f, 0.5f, 4, 4}}, {0, 0, 96, 96}},
};

static void check_rows(void)
{
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const struct ls_int_box *want = &rows[i].reads;
        struct ls_int_box got;

        ls_paste_reads(&got, &rows[i].paste);
        if (!CHECK(!memcmp(&got, want, sizeof got), rows[i].name))
            printf("%d,%d..%d,%d\n", got.x0, got.y0, got.x1, got.y1);
    }
}

static struct ls_paste random_paste(uint64_t *seed, const struct ls_frame *f)
{
    static const float corner[] = {0, 0.5f, 1, 14, 24};
    struct ls_paste p = {.mask = (enum ls_mask)(random_next(seed) % 3)};

    p.box.x0 = random_float(seed, -60, (float)f->width_px);
    p.box.y0 = random_float(seed, -60, (float)f->height_px);
    p.box.x1 = p.box.x0 + random_float(seed, 4, 200);
    p.box.y1 = p.box.y0 + random_float(seed, 4, 200);
    p.mouth[0] = random_float(seed, -0.4f, 1.4f);
    p.mouth[1] = random_float(seed, -0.4f, 1.4f);
    p.mouth[2] = random_float(seed, 0.001f, 0.6f);
    p.mouth[3] = random_float(seed, 0.001f, 0.6f);
    p.feather_px =
        random_next(seed) % 2 ? random_float(seed, 0, 24) : corner[random_next(seed) % 5];
    p.colour_match = random_next(seed) % 3 ? random_float(seed, 0, 1) : 0;
    p.strength = random_next(seed) % 3 ? 1 : random_float(seed, 0, 1);
    p.sharpness = random_next(seed) % 4 ? random_float(seed, 0, 2) : 0;
    p.roll_rad = random_next(seed) % 3 ? random_float(seed, -1, 1) : 0;
    return p;
}

static void check_extent(const char *row, const struct ls_paste *paste)
{
    struct ls_mask_shape shape;
    struct ls_int_box e;

    ls_mask_init(&shape, paste);
    ls_paste_extent(&e, paste);
    for (int i = 0; i < SIZE * SIZE; i++) {
        bool inside = i % SIZE >= e.x0 && i % SIZE < e.x1 && i / SIZE >= e.y0 && i / SIZE < e.y1;

        if (!inside &&
            !CHECK(ls_mask_at(&shape, (float)(i % SIZE) + 0.5f, (float)(i / SIZE) + 0.5f) == 0,
                   row))
            return;
    }
}

static void check_poisoned(const char *row, const struct picture *before, struct ls_paste *paste,
                           const float *face)
{
    struct picture after[2] = {picture_copy(before), picture_copy(before)};
    float poisoned[SIZE * SIZE * 3];
    struct ls_int_box r;

    ls_paste_reads(&r, paste);
    for (int i = 0; i < SIZE * SIZE * 3; i++) {
        int x = i / 3 % SIZE, y = i / 3 / SIZE;

        poisoned[i] = x >= r.x0 && x < r.x1 && y >= r.y0 && y < r.y1 ? face[i] : NAN;
    }
    paste->face = face;
    CHECK(ls_ref_composite(&after[0].frame, paste, NULL) == LS_OK, row);
    paste->face = poisoned;
    CHECK(ls_ref_composite(&after[1].frame, paste, NULL) == LS_OK, row);
    CHECK(differ_picture(row, &after[1], &after[0], 0) == 0, row);
    picture_free(&after[0]);
    picture_free(&after[1]);
}

// A face that is the source's own but for a little of the lips: it is kept around them, but the
// lips are the generated ones, as far down as a wide open mouth has them. Where they were kept, a
// source that spoke itself went on speaking.
static void check_lips(const uint8_t *source)
{
    static const struct {
        const char *name;
        int x, y;
        float least, most;
    } places[] = {
        {"between the lips", 48, 72, 0, 0},
        {"corner of the mouth", 59, 72, 0, 0.01f},
        {"lower lip, mouth wide open", 48, 80, 0, 0.01f},
        {"skin above the upper lip", 48, 59, 0.9f, 1},
        {"beside the mouth", 29, 72, 0.4f, 1},
        {"cheek", 48, 56, 1, 1},
    };
    static struct ls_detail d;
    static float face[SIZE * SIZE * 3];
    struct ls_frame frame = {.width_px = 96, .height_px = 96, .format = LS_PIX_RGB24};
    struct ls_paste paste = {.box = {0, 0, SIZE, SIZE},
                             .mask = LS_MASK_MOUTH,
                             .mouth = {0.5f, 0.76f, 0.17f, 0.16f},
                             .feather_px = 14,
                             .strength = 1,
                             .sharpness = 1,
                             .face = face,
                             .source = source};

    for (int i = 0; i < SIZE * SIZE * 3; i++)
        face[i] = (float)source[i] / 255;
    for (int i = 70 * SIZE + 38; i < 70 * SIZE + 58; i++) // a line between the lips
        for (int y = 0; y < 3; y++)
            for (int c = 0; c < 3; c++)
                face[3 * (i + y * SIZE) + c] = 0;
    if (!CHECK(ls_detail_make(&d, &frame, &paste), "maps of a face"))
        return;
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        float keep = d.keep[places[i].y * SIZE + places[i].x];

        if (!CHECK(keep >= places[i].least && keep <= places[i].most, places[i].name))
            printf("keeps %g\n", (double)keep);
    }
}

int main(void)
{
    static float face[SIZE * SIZE * 3];
    static uint8_t source[SIZE * SIZE * 3];
    uint64_t seed = 21;

    check_rows();
    for (int i = 0; i < SIZE * SIZE * 3; i++) {
        face[i] = random_float(&seed, 0, 1);
        source[i] = (uint8_t)random_next(&seed);
    }
    for (int i = 0; i < PASTES; i++) {
        struct ls_frame shape = {
            .width_px = 120, .height_px = 101, .format = (enum ls_pixel)(i % (LS_PIX_P010 + 1))};
        struct picture picture = picture_new(&shape, FILL_RANDOM, (uint64_t)i);
        struct ls_paste paste = random_paste(&seed, &shape);
        char row[120];

        snprintf(row, sizeof row, "paste %d: mask %d, mouth %g %g %g %g, feather %g", i,
                 (int)paste.mask, (double)paste.mouth[0], (double)paste.mouth[1],
                 (double)paste.mouth[2], (double)paste.mouth[3], (double)paste.feather_px);
        paste.source = source;
        check_extent(row, &paste);
        check_poisoned(row, &picture, &paste, face);
        picture_free(&picture);
    }
    check_lips(source);
    return check_done();
}
