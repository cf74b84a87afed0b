// SPDX-License-Identifier: Apache-2.0
// ref's crops against flow.bin (golden_flow.py: OpenCV for the exact ones, numpy in double for the
// default): exact ones bit for bit, default ones to 1 of 255, because a sum in float may round a
// half the other way.
#include <stdlib.h>

#include "kernels/ref/ref.h"
#include "tests/golden/_noise.h"
#include "tests/golden/_read.h"
#include "tests/unit/_check.h"

enum { BYTES = 96 * 96 * 3, SAMPLED = (96 * 96 + 6) / 7 };

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
    struct ls_box box;
    uint8_t got[BYTES];
    uint32_t want;
    char row[80];

    read_box(f, &box);
    want = (uint32_t)read_i32(f);
    read_i32(f); // the frame's after pasting: paste.c
    snprintf(row, sizeof row, "exact %d: %dx%d, box %g x %g", idx, width, height, box.x1 - box.x0,
             box.y1 - box.y0);
    CHECK(ls_ref_crop(got, &frame, &box, 0, true, NULL) == LS_OK, row);
    CHECK(noise_crc(0, got, BYTES) == want, row);
    free(frame.plane[0]);
}

static int plain(struct read_file *f, int idx)
{
    enum ls_pixel format = (enum ls_pixel)read_i32(f);
    int matrix = read_i32(f), full = read_i32(f), width = read_i32(f), height = read_i32(f);
    struct ls_frame frame = noise_frame(format, width, height, read_i32(f));
    struct ls_box box;
    uint8_t got[BYTES];
    const uint8_t *want;
    int worst = 0, differing = 0;
    char row[60];
    float roll;

    frame.matrix = (enum ls_matrix)matrix;
    frame.full_range = full;
    read_box(f, &box);
    roll = read_f32(f);
    want = read_bytes(f, 3 * SAMPLED);
    snprintf(row, sizeof row, "default %d: %dx%d, roll %g", idx, width, height, (double)roll);
    CHECK(ls_ref_crop(got, &frame, &box, roll, false, NULL) == LS_OK, row);
    for (int i = 0; i < 3 * SAMPLED; i++) {
        int difference = abs(got[i / 3 * 21 + i % 3] - want[i]);

        worst = difference > worst ? difference : worst;
        differing += difference > 0;
    }
    CHECK(worst <= 1, row);
    CHECK(differing < 3 * SAMPLED / 100, row); // ties are rare in noise
    free(frame.plane[0]);
    return worst;
}

static void empty_box(void)
{
    struct ls_frame frame = noise_frame(LS_PIX_RGB24, 32, 32, 1);
    struct ls_box outside = {40, 40, 60, 60};
    struct ls_err err = {0};
    uint8_t out[BYTES] = {7};

    CHECK(ls_ref_crop(out, &frame, &outside, 0, true, &err) == LS_EFIELD && out[0] == 7,
          "exact crop outside the frame");
    CHECK(ls_ref_crop(out, &frame, &outside, 0, false, &err) == LS_OK, "default crop outside");
    for (int i = 0; i < 3; i++) // RGB's last pixel everywhere, as BGR
        CHECK(out[i] == frame.plane[0][31 * frame.stride[0] + 3 * 31 + 2 - i] &&
                  out[BYTES - 3 + i] == out[i],
              "outside is the edge repeated");
    free(frame.plane[0]);
}

int main(void)
{
    struct read_file f = read_open("tests/golden/flow.bin");
    int count = read_i32(&f);

    for (int i = 0; i < count; i++)
        exact(&f, i);
    count = read_i32(&f);
    for (int i = 0; i < count; i++)
        plain(&f, i);
    empty_box();
    free(f.data);
    return check_done();
}
