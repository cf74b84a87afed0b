// SPDX-License-Identifier: Apache-2.0
// What crops and pastes promise whatever the formulas are, of ref and cpu: nothing outside the mask
// changes by a bit; a face that did not change leaves the frame as it is; a crop skips nothing, a
// ramp stays a ramp to a part of a pixel, a box that moves by a quarter of a pixel moves the crop
// by it; a turned crop of a turned picture is the upright crop of the upright one.
#include <math.h>

#include "kernels/cpu/cpu.h"
#include "kernels/cubic.h"
#include "kernels/mask.h"
#include "kernels/plane.h"
#include "kernels/ref/ref.h"
#include "tests/kernels/_pictures.h"
#include "tests/unit/_check.h"

enum { SIZE = LS_FACE_SIZE, BYTES = SIZE * SIZE * 3 };

static struct ls_cpu_crop *crop_room;
static struct ls_cpu_paste *paste_room;
static uint8_t source[BYTES];
static float face[BYTES];

static bool cpu_takes(enum ls_pixel format)
{
    return ls_backend_cpu.formats >> format & 1;
}

// by: 0 ref, 1 cpu.
static void crop(int by, uint8_t *out, const struct ls_frame *f, const struct ls_box *box,
                 float roll)
{
    int r = by ? ls_cpu_crop(crop_room, out, f, box, roll, false, NULL)
               : ls_ref_crop(out, f, box, roll, false, NULL);

    CHECK(r == 0, "a crop");
}

static void paste_by(int by, const struct ls_frame *f, const struct ls_paste *paste)
{
    int r = by ? ls_cpu_composite(paste_room, f, paste, NULL) : ls_ref_composite(f, paste, NULL);

    CHECK(r == 0, "a paste");
}

static struct ls_paste random_paste(uint64_t *seed, const struct ls_frame *f)
{
    struct ls_paste p = {.mask = (enum ls_mask)(random_next(seed) % 3), .colour_match = 1};

    p.box.x0 = random_float(seed, -30, (float)f->width_px / 2);
    p.box.y0 = random_float(seed, -30, (float)f->height_px / 2);
    p.box.x1 = p.box.x0 + random_float(seed, 20, 150);
    p.box.y1 = p.box.y0 + random_float(seed, 20, 150);
    p.mouth[0] = random_float(seed, 0.3f, 0.7f);
    p.mouth[1] = random_float(seed, 0.5f, 0.9f);
    p.mouth[2] = random_float(seed, 0.1f, 0.3f);
    p.mouth[3] = random_float(seed, 0.1f, 0.3f);
    p.feather_px = random_float(seed, 0, 24);
    p.strength = 1;
    p.sharpness = random_float(seed, 0, 2);
    p.roll_rad = random_next(seed) % 2 ? random_float(seed, -1, 1) : 0;
    p.face = face;
    p.source = source;
    return p;
}

// Every sample where the mask is 0, and all that is no sample. Returns whether anything changed.
static bool check_outside(const char *row, const struct picture *before,
                          const struct picture *after, const struct ls_paste *paste)
{
    struct ls_mask_shape shape;
    struct ls_turn turn;
    int changed = 0;

    ls_mask_init(&shape, paste);
    ls_turn_init(&turn, &paste->box, paste->roll_rad);
    for (size_t i = 0; i < before->size; i++)
        if (before->memory[i] != after->memory[i] && !CHECK(picture_is_pixel(before, i), row))
            return false;
    for (int c = 0; c < 3; c++) {
        struct ls_plane p, q;

        ls_plane_init(&p, &before->frame, c);
        ls_plane_init(&q, &after->frame, c);
        for (int k = 0; k < p.width * p.height; k++) {
            int x = k % p.width, y = k / p.width;
            double u, v;

            if (!memcmp(ls_plane_at(&p, x, y), ls_plane_at(&q, x, y), p.deep ? 2 : 1))
                continue;
            changed++;
            ls_turn_face(&u, &v, &turn, p.scale * x + p.x_at, p.scale * y + p.y_at);
            if (!CHECK(ls_mask_at(&shape, (float)u, (float)v) > 0, row))
                return false;
        }
    }
    return changed > 0;
}

static void outside(void)
{
    uint64_t seed = 9;
    int changed = 0;

    for (int i = 0; i < BYTES; i++) {
        source[i] = (uint8_t)random_next(&seed);
        face[i] = random_float(&seed, 0, 1);
    }
    for (int i = 0; i < 120; i++) {
        struct ls_frame shape = {
            .width_px = 131, .height_px = 120, .format = (enum ls_pixel)(i % (LS_PIX_P010 + 1))};
        struct picture before = picture_new(&shape, FILL_RANDOM, (uint64_t)i);
        struct ls_paste paste = random_paste(&seed, &shape);

        for (int by = 0; by < 1 + cpu_takes(shape.format); by++) {
            struct picture after = picture_copy(&before);
            char row[80];

            snprintf(row, sizeof row, "outside, paste %d by %d, mask %d, roll %g", i, by,
                     (int)paste.mask, (double)paste.roll_rad);
            paste_by(by, &after.frame, &paste);
            changed += check_outside(row, &before, &after, &paste);
            picture_free(&after);
        }
        picture_free(&before);
    }
    CHECK(changed > 150, "most pastes change something"); // of 180; some lie beside the frame
}

// The crop pasted again, at full sharpness: not a bit changes, enlarged, reduced and turned.
static void identity(void)
{
    uint64_t seed = 4;

    for (int i = 0; i < 120; i++) {
        struct ls_frame shape = {
            .width_px = 131, .height_px = 120, .format = (enum ls_pixel)(i % (LS_PIX_P010 + 1))};
        struct picture before = picture_new(&shape, i % 3 ? FILL_SMOOTH : FILL_RANDOM, seed);
        struct ls_paste paste = random_paste(&seed, &shape);

        paste.sharpness = 1;
        for (int by = 0; by < 1 + cpu_takes(shape.format); by++) {
            struct picture after = picture_copy(&before);

            crop(by, source, &before.frame, &paste.box, paste.roll_rad);
            for (int k = 0; k < BYTES; k++)
                face[k] = (float)source[k] / 255;
            paste_by(by, &after.frame, &paste);
            CHECK(differ_picture("identity", &after, &before, 0) == 0, "identity");
            picture_free(&after);
        }
        picture_free(&before);
    }
}

// A grey RGB24 picture of a function of its pixels' centres.
static struct picture paint(int width, int height, double (*value)(double x, double y))
{
    struct ls_frame shape = {.width_px = width, .height_px = height, .format = LS_PIX_RGB24};
    struct picture p = picture_new(&shape, FILL_BLACK, 1);

    for (int y = 0; y < height; y++)
        for (int x = 0; x < 3 * width; x++)
            p.frame.plane[0][y * p.frame.stride[0] + x] =
                (uint8_t)fmin(fmax(value(x / 3 + 0.5, y + 0.5) + 0.5, 0), 255);
    return p;
}

static double chess(double x, double y)
{
    return ((int)x + (int)y) % 2 ? 255 : 0;
}

static double ramp(double x, double y)
{
    return 20 + x * 0.4312 + y * 0.1733; // no fraction, so that rounding errs all ways
}

// Waves of 40 px, turned by 0.3 about (200, 200).
static double waves(double x, double y)
{
    return 128 + 60 * sin(x * 0.157) + 50 * cos(y * 0.157);
}

static double turned_waves(double x, double y)
{
    double dx = x - 200, dy = y - 200, c = cos(0.3), s = sin(0.3);

    return waves(200 + dx * c + dy * s, 200 + dy * c - dx * s);
}

static const struct ls_box middle = {80.5f, 90.25f, 320.5f, 310};

static void reduces(int by)
{
    static const float rolls[] = {0, 0.3f};
    struct picture p = paint(400, 400, chess);
    uint8_t got[BYTES];

    for (int k = 0; k < 2; k++) {
        int low = 255, high = 0;

        crop(by, got, &p.frame, &middle, rolls[k]);
        for (int i = 0; i < BYTES; i++) {
            low = got[i] < low ? got[i] : low;
            high = got[i] > high ? got[i] : high;
        }
        if (!CHECK(low >= 118 && high <= 137, "a chess board of single pixels is grey"))
            printf("by %d: %d..%d\n", by, low, high);
    }
    picture_free(&p);
}

// The mean difference from what the picture is at the pixels' places, and the largest.
static void compare(const char *row, const uint8_t *got, const struct ls_box *box, float roll,
                    double (*value)(double x, double y), double most)
{
    double sum = 0, worst = 0;
    struct ls_turn turn;

    ls_turn_init(&turn, box, roll);
    for (int i = 0; i < SIZE * SIZE; i++) {
        double x, y, difference;

        ls_turn_frame(&x, &y, &turn, i % SIZE + 0.5, i / SIZE + 0.5);
        difference = got[3 * i] - value(x, y);
        sum += difference;
        worst = fmax(worst, fabs(difference));
    }
    if (!CHECK(worst <= most && fabs(sum / (SIZE * SIZE)) < 0.05, row))
        printf("%g at worst, %g in the mean\n", worst, sum / (SIZE * SIZE));
}

static void ramps(int by)
{
    struct picture p = paint(400, 400, ramp);
    uint8_t got[BYTES], moved[BYTES];
    double sum = 0;

    for (int k = 0; k < 4; k++) {
        // reduced, nearly as it is (97: bytes of all phases, which round all ways), enlarged
        float side = k == 0 ? 220.3f : k == 1 ? 97 : 50.7f, roll = k == 3 ? -0.4f : 0;
        struct ls_box box = {100.3f, 120.6f, 100.3f + side, 120.6f + side};
        struct ls_box beside = {box.x0 + 0.25f, box.y0, box.x1 + 0.25f, box.y1};

        crop(by, got, &p.frame, &box, roll);
        compare("a ramp stays a ramp", got, &box, roll, ramp, 1.01);
        crop(by, moved, &p.frame, &beside, roll);
        sum = 0;
        for (int i = 0; i < BYTES; i++)
            sum += moved[i] - got[i];
        // a quarter of what the ramp has a pixel, but for rounding
        if (!CHECK(fabs(sum / BYTES - 0.1078) < 0.02, "a quarter of a pixel beside"))
            printf("by %d, side %g: %g\n", by, (double)side, sum / BYTES);
    }
    picture_free(&p);
}

static void turns(int by)
{
    struct picture upright = paint(400, 400, waves), turned = paint(400, 400, turned_waves);
    static const struct ls_box box = {90, 90, 310, 310}; // around (200, 200)
    uint8_t got[2][BYTES];

    crop(by, got[0], &upright.frame, &box, 0);
    crop(by, got[1], &turned.frame, &box, 0.3f);
    CHECK(differ_byte("a turned crop of a turned picture", got[1], got[0], BYTES, 3) <= 3, "turns");
    crop(by, got[1], &turned.frame, &box, -0.3f);
    CHECK(differ_byte("", got[1], got[0], BYTES, 255) > 50, "the other way round is another one");
    picture_free(&upright);
    picture_free(&turned);
}

int main(void)
{
    crop_room = calloc(1, sizeof *crop_room);
    paste_room = calloc(1, sizeof *paste_room);
    if (!crop_room || !paste_room)
        return 1;
    outside();
    identity();
    for (int by = 0; by < 2; by++) {
        reduces(by);
        ramps(by);
        turns(by);
    }
    free(crop_room);
    free(paste_room);
    return check_done();
}
