// SPDX-License-Identifier: Apache-2.0
// prepare.cu and compose.cu against ref at all sizes, in one batch: faces that are enlarged,
// reduced, with more lattice than fits, larger than the frame, and boxes in which the frame is a
// speck. Nothing is in device memory but the parts of frames that pictures.c names.
#include "tests/kernels/_items.h"

#define SHARP(mouth_x, mouth_y)                                                                    \
    .mask = LS_MASK_LOWER_FACE, .mouth = {mouth_x, mouth_y, 0.22f, 0.2f}, .feather_px = 8,         \
    .colour_match = 1, .strength = 1, .sharpness = 1
#define WHOLE .mask = LS_MASK_RECTANGLE, .feather_px = 6, .strength = 0.9f, .sharpness = 2
static const struct {
    const char *name;
    struct ls_frame frame;
    struct ls_paste paste;
} rows[] = {
    {"20 px, turned",
     {.width_px = 640, .height_px = 360},
     {.box = {300.3f, 100.7f, 320.1f, 124}, .roll_rad = 0.2f, SHARP(0.5f, 0.75f)}},
    {"40 px",
     {.width_px = 640, .height_px = 361, .format = LS_PIX_NV12},
     {.box = {201, 99, 240.5f, 150}, SHARP(0.45f, 0.8f)}},
    {"96 px, sample by sample",
     {.width_px = 319, .height_px = 240, .format = LS_PIX_P010},
     {.box = {60, 50, 156, 146}, WHOLE}},
    {"96 px, turned",
     {.width_px = 319, .height_px = 240},
     {.box = {60.5f, 50.25f, 156.5f, 146.25f}, .roll_rad = -0.5f, WHOLE}},
    {"190 px",
     {.width_px = 301, .height_px = 260, .format = LS_PIX_RGB24},
     {.box = {60.5f, 20.25f, 250.5f, 220.75f}, SHARP(0.5f, 0.7f)}},
    {"300 px, turned",
     {.width_px = 700, .height_px = 500, .format = LS_PIX_RGB24},
     {.box = {99, 20, 400, 380}, .roll_rad = 0.3f, SHARP(0.55f, 0.75f)}},
    {"1500 px",
     {.width_px = 1700, .height_px = 1600, .format = LS_PIX_NV12},
     {.box = {100, 30, 1600, 1530},
      .mask = LS_MASK_MOUTH,
      .mouth = {0.5f, 0.75f, 0.15f, 0.1f},
      .feather_px = 5,
      .colour_match = 0.5f,
      .strength = 1,
      .sharpness = 0.7f}},
    {"1500 px, turned",
     {.width_px = 1600, .height_px = 1700, .format = LS_PIX_P010, .matrix = LS_MATRIX_BT709},
     {.box = {50, 9, 1550, 1600},
      .roll_rad = -0.3f,
      .mask = LS_MASK_MOUTH,
      .mouth = {0.5f, 0.75f, 0.15f, 0.1f},
      .feather_px = 5,
      .strength = 1}},
    {"1500 px, mostly outside",
     {.width_px = 1601, .height_px = 1601},
     {.box = {-700, 800.5f, 800, 2300}, .roll_rad = 1, SHARP(0.5f, 0.75f)}},
    {"narrow, turned",
     {.width_px = 900, .height_px = 1000},
     {.box = {100, 10, 400, 990}, .roll_rad = 0.9f, SHARP(0.5f, 0.75f)}},
    {"wide, turned",
     {.width_px = 1000, .height_px = 64},
     {.box = {-10, 3, 1020, 50}, .roll_rad = -0.8f, WHOLE}},
    {"a speck of a frame",
     {.width_px = 16, .height_px = 16},
     {.box = {-32768, -32768, 32768, 32768}, WHOLE}},
    {"a speck, turned",
     {.width_px = 17, .height_px = 16, .format = LS_PIX_NV12},
     {.box = {-32768, -32768, 32768, 32768}, .roll_rad = 0.7f, WHOLE}},
    {"far below",
     {.width_px = 33, .height_px = 90, .format = LS_PIX_RGB24},
     {.box = {-32768, 32767, 32768, 32768}, .roll_rad = -0.7f, WHOLE}},
    {"far away, a line",
     {.width_px = 33, .height_px = 90, .format = LS_PIX_P010},
     {.box = {32767.5f, -32768, 32768, 32768}, .roll_rad = 0.01f, WHOLE}},
    {"a line through it, turned",
     {.width_px = 90, .height_px = 90},
     {.box = {45, -3000, 46, 3000}, .roll_rad = 0.8f, WHOLE}},
    {"a speck of a box",
     {.width_px = 90, .height_px = 91, .format = LS_PIX_NV12},
     {.box = {45.25f, 40, 46.5f, 42.5f}, .roll_rad = -0.2f, WHOLE}},
};
enum { ROWS = sizeof rows / sizeof rows[0] };

int main(void)
{
    static struct picture after[ITEMS_MAX];

    for (size_t i = 0; i < ROWS; i++)
        item_add(&rows[i].frame, i % 3 ? FILL_SMOOTH : FILL_RANDOM, &rows[i].paste, rows[i].name);
    copies_new(after);
    run_put(0, ROWS, true);
    run_batch(after, cut, NULL, LS_CUDA_FP16, 0, ROWS);
    check_cut();
    check_pasted(after);
    copies_free(after);
    items_done();
    return check_done();
}
