// SPDX-License-Identifier: Apache-2.0
// ref's pastes against flow.bin (golden_flow.py: OpenCV for the exact ones, numpy in double for the
// default): exact ones bit for bit, default ones to 1 of 255 (a half may round the other way), and
// what no mask covers bit for bit.
#include <math.h>
#include <stdlib.h>

#include "kernels/ref/ref.h"
#include "tests/golden/_noise.h"
#include "tests/golden/_read.h"
#include "tests/unit/_check.h"

enum { BYTES = 96 * 96 * 3 };

static float face[BYTES];
static uint8_t source[BYTES];

static void read_box(struct read_file *f, struct ls_box *box)
{
    box->x0 = read_f32(f);
    box->y0 = read_f32(f);
    box->x1 = read_f32(f);
    box->y1 = read_f32(f);
}

static void exact(struct read_file *f, int idx)
{
    int width = read_i32(f), height = read_i32(f), seed = read_i32(f);
    struct ls_frame frame = noise_frame(LS_PIX_RGB24, width, height, seed);
    struct ls_paste paste = {.face = face, .exact = true};
    uint32_t want, got = 0;
    char row[80];

    read_box(f, &paste.box);
    read_i32(f); // the crop's: crop.c
    want = (uint32_t)read_i32(f);
    noise_face(face, seed + 1);
    snprintf(row, sizeof row, "exact %d: %dx%d, box %g x %g", idx, width, height,
             paste.box.x1 - paste.box.x0, paste.box.y1 - paste.box.y0);
    CHECK(ls_ref_composite(&frame, &paste, NULL) == LS_OK, row);
    for (int y = 0; y < height; y++)
        got = noise_crc(got, frame.plane[0] + y * frame.stride[0], 3 * width);
    CHECK(got == want, row);
    CHECK(noise_guarded(&frame), row);
    free(frame.plane[0]);
}

static void compare(struct read_file *f, const struct ls_frame *frame,
                    const struct ls_frame *before, const char *row)
{
    int worst = 0, differing = 0, changed = 0, total = 0;

    for (int p = 0; p < noise_planes(frame); p++) {
        int width, height;
        const uint8_t *want = read_bytes(f, (size_t)noise_plane_size(frame, p, &width, &height));

        for (int i = 0; i < width * height; i++) {
            int at = i / width * frame->stride[p] + i % width;
            int difference = abs(frame->plane[p][at] - want[i]);

            worst = difference > worst ? difference : worst;
            differing += difference > 0;
            changed += frame->plane[p][at] != before->plane[p][at];
            CHECK(want[i] != before->plane[p][at] || difference <= 1, row);
        }
        total += width * height;
    }
    CHECK(worst <= 1, row);
    CHECK(differing <= total / 100, row);
    CHECK(changed > 50 && changed < total, row);
    CHECK(noise_guarded(frame), row);
}

// A crop that has something of a picture: noise, each byte the mean of four of its row.
static void noise_source(uint8_t *out, int64_t seed)
{
    static uint8_t noise[BYTES + 9];

    noise_bytes(noise, &seed, BYTES + 9);
    for (int i = 0; i < BYTES; i++)
        out[i] = (uint8_t)((noise[i] + noise[i + 3] + noise[i + 6] + noise[i + 9]) / 4);
}

// A face as a generator makes it: the crop, a little darker, with noise of its own at the mouth.
static void softer(float *out, const uint8_t *from, int64_t seed)
{
    noise_face(out, seed);
    for (int i = 0; i < BYTES; i++) {
        int x = i / 3 % 96, y = i / 3 / 96;

        if (x < 30 || x >= 66 || y < 62 || y >= 80)
            out[i] = (float)(from[i] / 255.0 * 0.96);
    }
}

static void plain(struct read_file *f, int idx)
{
    enum ls_pixel format = (enum ls_pixel)read_i32(f);
    int matrix = read_i32(f), full = read_i32(f), width = read_i32(f), height = read_i32(f);
    int64_t seed = read_i32(f);
    struct ls_frame frame = noise_frame(format, width, height, seed);
    struct ls_frame before = noise_frame(format, width, height, seed);
    struct ls_paste paste = {.face = face, .source = source};
    char row[40];

    frame.matrix = (enum ls_matrix)matrix;
    frame.full_range = full;
    paste.mask = (enum ls_mask)read_i32(f);
    read_box(f, &paste.box);
    paste.roll_rad = read_f32(f);
    for (int i = 0; i < 4; i++)
        paste.mouth[i] = read_f32(f);
    paste.feather_px = read_f32(f);
    paste.colour_match = read_f32(f);
    paste.strength = read_f32(f);
    paste.sharpness = read_f32(f);
    noise_source(source, seed + 2);
    softer(face, source, seed + 1);
    snprintf(row, sizeof row, "default %d: %dx%d", idx, width, height);
    CHECK(ls_ref_composite(&frame, &paste, NULL) == LS_OK, row);
    compare(f, &frame, &before, row);
    free(frame.plane[0]);
    free(before.plane[0]);
}

// Strength 0 and a box beside the frame change nothing; an exact box beside it is an error.
static void nothing(void)
{
    struct ls_frame frame = noise_frame(LS_PIX_I420, 33, 35, 9);
    struct ls_frame before = noise_frame(LS_PIX_I420, 33, 35, 9);
    struct ls_paste paste = {.box = {2, 2, 30, 30}, .face = face, .mask = LS_MASK_RECTANGLE};

    CHECK(ls_ref_composite(&frame, &paste, NULL) == LS_OK, "strength 0");
    paste.strength = 1;
    paste.box = (struct ls_box){50, 50, 90, 90};
    CHECK(ls_ref_composite(&frame, &paste, NULL) == LS_OK, "box beside the frame");
    paste.exact = true;
    CHECK(ls_ref_composite(&frame, &paste, NULL) == LS_EFIELD, "exact box beside the frame");
    CHECK(!memcmp(frame.plane[0], before.plane[0],
                  (size_t)(frame.stride[0] * 35 + 2 * frame.stride[1] * 18)),
          "nothing was written");
    free(frame.plane[0]);
    free(before.plane[0]);
}

// The exact paste in planes: what the box holds, converted, for odd edges of the box too.
static void exact_planes(void)
{
    static float grey[BYTES];
    struct ls_frame frame = noise_frame(LS_PIX_I420, 41, 39, 9);
    struct ls_frame before = noise_frame(LS_PIX_I420, 41, 39, 9);
    struct ls_paste paste = {.box = {5, 7, 30, 39}, .face = grey, .exact = true};

    for (int i = 0; i < BYTES; i++)
        grey[i] = 1;
    CHECK(ls_ref_composite(&frame, &paste, NULL) == LS_OK, "exact in planes");
    for (int y = 0; y < 39; y++)
        for (int x = 0; x < 41; x++) {
            int inside = x >= 5 && x < 30 && y >= 7;
            int at = y * frame.stride[0] + x, chroma = y / 2 * frame.stride[1] + x / 2;

            CHECK(frame.plane[0][at] == (inside ? 235 : before.plane[0][at]), "white luma");
            if (inside)
                CHECK(frame.plane[1][chroma] == 128 && frame.plane[2][chroma] == 128, "chroma");
            else if (x < 4 || x > 30 || y < 6)
                CHECK(frame.plane[1][chroma] == before.plane[1][chroma], "chroma outside");
        }
    CHECK(noise_guarded(&frame), "exact in planes");
    free(frame.plane[0]);
    free(before.plane[0]);
}

int main(void)
{
    struct read_file f = read_open("tests/golden/flow.bin");
    int count = read_i32(&f);

    for (int i = 0; i < count; i++)
        exact(&f, i);
    count = read_i32(&f);
    for (int i = 0; i < count; i++)
        read_bytes(&f, 44 + 3 * ((96 * 96 + 6) / 7)); // default crops: crop.c
    count = read_i32(&f);
    for (int i = 0; i < count; i++)
        plain(&f, i);
    CHECK(f.at == f.size, "the golden file was read to its end");
    nothing();
    exact_planes();
    free(f.data);
    return check_done();
}
