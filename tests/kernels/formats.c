// SPDX-License-Identifier: Apache-2.0
// ref's NV12 and P010 against its I420, which the golden tests hold against others' arithmetic: the
// same samples in another order of bytes give the same faces, detector inputs and composites; ten
// bits that are eight bits and two zeros too, but that what is written has two bits more. Six bits
// of P010 count for nothing.
#include <math.h>

#include "kernels/plane.h"
#include "kernels/ref/ref.h"
#include "tests/kernels/_pictures.h"
#include "tests/unit/_check.h"

enum { SIZE = LS_FACE_SIZE, BYTES = SIZE * SIZE * 3 };

static const struct {
    const char *name;
    struct ls_frame frame;
    struct ls_box box;
} rows[] = {
    {"601", {.width_px = 200, .height_px = 140}, {31.3f, 20.7f, 140.2f, 130.1f}},
    {"709, odd sides",
     {.width_px = 141, .height_px = 99, .matrix = LS_MATRIX_BT709},
     {-10.5f, 30, 90, 170.25f}},
    {"2020", {.width_px = 64, .height_px = 17, .matrix = LS_MATRIX_BT2020}, {0, 0, 64, 17}},
    {"full range", {.width_px = 99, .height_px = 200, .full_range = true}, {50, 50, 99, 110.5f}},
};

// The I420 picture in another format; of P010 the lower six bits are `dirt`.
static struct picture convert(const struct picture *from, enum ls_pixel format, int dirt)
{
    struct ls_frame shape = from->frame;
    struct picture to;

    shape.format = format;
    memset(shape.plane, 0, sizeof shape.plane);
    to = picture_new(&shape, FILL_BLACK, 1);
    for (int c = 0; c < 3; c++) {
        struct ls_plane a, b;

        ls_plane_init(&a, &from->frame, c);
        ls_plane_init(&b, &to.frame, c);
        CHECK(a.width == b.width && a.height == b.height, "planes of one size");
        for (int y = 0; y < a.height; y++)
            for (int x = 0; x < a.width; x++) {
                ls_plane_put(&b, x, y, ls_plane_get(&a, x, y));
                if (format == LS_PIX_P010)
                    *ls_plane_at(&b, x, y) |= (uint8_t)dirt;
            }
    }
    return to;
}

// Full range in ten bits ends at 255.75, so its colours are 0.3 % apart from eight bits'.
static int most_of(const struct picture *p)
{
    return p->frame.format == LS_PIX_P010 && p->frame.full_range ? 1 : 0;
}

static void check_crop(const char *row, const struct picture *a, const struct picture *b,
                       const struct ls_box *box)
{
    static uint8_t got[2][BYTES];

    CHECK(ls_ref_crop(got[0], &a->frame, box, 0, false, NULL) == LS_OK, row);
    CHECK(ls_ref_crop(got[1], &b->frame, box, 0, false, NULL) == LS_OK, row);
    CHECK(differ_byte(row, got[1], got[0], BYTES, most_of(b)) <= most_of(b), row);
}

static void check_letterbox(const char *row, const struct picture *a, const struct picture *b)
{
    enum { NET = 96 };
    static float got[2][3 * NET * NET];
    struct ls_letterbox l = {.net_width = NET,
                             .net_height = NET,
                             .image_width = 90,
                             .image_height = 61,
                             .gain = 1,
                             .empty = -7};

    ls_ref_letterbox(got[0], &a->frame, &l);
    ls_ref_letterbox(got[1], &b->frame, &l);
    CHECK(differ_float(row, got[1], got[0], 3 * NET * NET, most_of(b)) <= most_of(b), row);
}

static void check_composite(const char *row, const struct picture *before, const struct picture *b,
                            struct ls_paste *paste)
{
    struct picture want = picture_copy(before), got = picture_copy(b);
    // Ten bits are rounded by at most an eighth, eight bits by a half.
    float most = b->frame.format == LS_PIX_P010 ? 0.6251f + (float)most_of(b) : 0, worst = 0;

    CHECK(ls_ref_composite(&want.frame, paste, NULL) == LS_OK, row);
    CHECK(ls_ref_composite(&got.frame, paste, NULL) == LS_OK, row);
    for (int c = 0; c < 3; c++) {
        struct ls_plane p, q;

        ls_plane_init(&p, &want.frame, c);
        ls_plane_init(&q, &got.frame, c);
        for (int y = 0; y < p.height; y++)
            for (int x = 0; x < p.width; x++)
                worst = fmaxf(worst, fabsf(ls_plane_get(&p, x, y) - ls_plane_get(&q, x, y)));
    }
    if (!CHECK(worst <= most, row))
        printf("%g apart, at most %g\n", (double)worst, (double)most);
    for (size_t i = 0; i < got.size; i++)
        if (got.memory[i] != b->memory[i] && !CHECK(picture_is_pixel(&got, i), row))
            break;
    picture_free(&want);
    picture_free(&got);
}

static void check_samples(void)
{
    static const struct {
        float v;
        int want;
    } puts[] = {{0, 0},         {0.124f, 0},  {0.125f, 1}, {100.25f, 401}, {255.75f, 1023},
                {255.9f, 1023}, {1e9f, 1023}, {-1, 0},     {NAN, 0}};
    uint8_t bytes[4] = {0x55, 0xff, 0xff, 0x55};
    struct ls_plane p = {.data = bytes + 1, .step = 2, .width = 1, .height = 1, .deep = true};

    CHECK(ls_plane_get(&p, 0, 0) == 255.75f, "all bits");
    for (size_t i = 0; i < sizeof puts / sizeof puts[0]; i++) {
        ls_plane_put(&p, 0, 0, puts[i].v);
        CHECK((bytes[1] | bytes[2] << 8) == puts[i].want << 6, "ten bits");
        CHECK(ls_plane_get(&p, 0, 0) == (float)puts[i].want / 4, "ten bits back");
    }
    CHECK(bytes[0] == 0x55 && bytes[3] == 0x55, "a sample's neighbours");
}

int main(void)
{
    static const struct {
        enum ls_pixel format;
        int dirt;
    } others[] = {{LS_PIX_NV12, 0}, {LS_PIX_P010, 0}, {LS_PIX_P010, 63}};
    static float face[BYTES];
    static uint8_t source[BYTES];
    uint64_t seed = 3;

    for (int i = 0; i < BYTES; i++) {
        face[i] = random_float(&seed, 0, 1);
        source[i] = (uint8_t)random_next(&seed);
    }
    check_samples();
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct picture plain = picture_new(&rows[i].frame, FILL_RANDOM, i);

        for (size_t k = 0; k < sizeof others / sizeof others[0]; k++) {
            struct picture other = convert(&plain, others[k].format, others[k].dirt);
            char row[80];

            snprintf(row, sizeof row, "%s as %s, %d", rows[i].name,
                     others[k].format == LS_PIX_NV12 ? "NV12" : "P010", others[k].dirt);
            check_crop(row, &plain, &other, &rows[i].box);
            check_letterbox(row, &plain, &other);
            for (int m = 0; m < 4; m++) {
                struct ls_paste paste = {.box = rows[i].box,
                                         .face = face,
                                         .source = source,
                                         .mask = (enum ls_mask)(m % 3),
                                         .mouth = {0.5f, 0.7f, 0.3f, 0.2f},
                                         .feather_px = 9,
                                         .colour_match = 0.5f,
                                         .strength = 0.9f,
                                         .exact = m == 3};

                check_composite(row, &plain, &other, &paste);
            }
            picture_free(&other);
        }
        picture_free(&plain);
    }
    return check_done();
}
