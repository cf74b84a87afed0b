// SPDX-License-Identifier: Apache-2.0
// Motion between two frames, on pictures made of waves so that any part of a pixel is known:
// shifts, turns and scales are found to a few hundredths of a pixel at all sizes and formats, with
// noise; many steps do not drift; pictures that say nothing are told.
#include "server/motion.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "_check.h"

enum { W = 400, H = 300 };

static uint8_t pixels[2 * 3 * W * H];

// Brightness of the head at a place of its own, -1..1 over its width.
static double look(double u, double v)
{
    return 60 * sin(7 * u + 1) * cos(5 * v) + 40 * sin(11 * u * v + 3 * v) +
           30 * cos(13 * v - 4 * u);
}

// A picture of the head at `pose` (its own unit is `size` pixels).
static void draw(struct ls_frame *f, enum ls_pixel format, const struct ls_pose *pose, double size,
                 double noise, uint32_t *seed)
{
    struct ls_pose back = ls_pose_inverse(pose);
    int x, y, value, pixel = format == LS_PIX_RGB24 ? 3 : format == LS_PIX_P010 ? 2 : 1;
    double at[2];

    *f = (struct ls_frame){
        .plane = {pixels}, .stride = {W * pixel}, .width_px = W, .height_px = H, .format = format};
    for (y = 0; y < H; y++)
        for (x = 0; x < W; x++) {
            ls_pose_apply(&back, x + 0.5, y + 0.5, at);
            *seed = *seed * 1664525 + 1013904223;
            value = (int)(128.5 + look(at[0] / size, at[1] / size) +
                          noise * ((double)(*seed >> 8) / 8388608 - 1));
            value = value < 0 ? 0 : value > 255 ? 255 : value;
            memset(pixels + (size_t)y * W * (size_t)pixel + (size_t)(x * pixel), value,
                   (size_t)pixel);
        }
}

static bool patch_at(struct ls_patch *patch, const struct ls_frame *f, double x, double y,
                     double size)
{
    struct ls_face face = {.box = {(float)(x - size), (float)(y - 1.2 * size), (float)(x + size),
                                   (float)(y + 1.2 * size)}};
    struct ls_patch_view view;
    int pixel = f->stride[0] / W;

    if (!ls_patch_place(patch, &view, f, &face))
        return false;
    ls_patch_fill(patch, &view, f, f->plane[0] + view.y * f->stride[0] + view.x * pixel,
                  f->stride[0]);
    return true;
}

static const struct {
    const char *name;
    enum ls_pixel format;
    double size;               // half of the box's width
    double dx, dy, scale, deg; // of a step
    double noise, place;       // of pixels; how far the head may be found off
} rows[] = {
    {"still", LS_PIX_I420, 60, 0, 0, 1, 0, 0, 0.04},
    {"a third of a pixel", LS_PIX_I420, 60, 0.33, -0.21, 1, 0, 0, 0.03},
    {"with noise", LS_PIX_I420, 60, 0.33, -0.21, 1, 0, 6, 0.06},
    {"a small face", LS_PIX_I420, 20, 0.4, 0.3, 1, 0, 0, 0.06},
    {"a large face", LS_PIX_I420, 140, 1.4, 0.3, 1, 0, 0, 0.08},
    {"fast", LS_PIX_I420, 60, 4.2, -3.1, 1, 0, 0, 0.05},
    {"nearer", LS_PIX_I420, 60, 0.2, 0, 1.02, 0, 0, 0.05},
    {"turned", LS_PIX_I420, 60, 0.2, 0.4, 1, 2, 0, 0.05},
    {"all of it", LS_PIX_NV12, 60, 1.2, -0.6, 0.98, -1.5, 3, 0.08},
    {"RGB", LS_PIX_RGB24, 60, 0.33, -0.21, 1, 1, 0, 0.03},
    {"10 bit", LS_PIX_P010, 60, 0.33, -0.21, 1, 1, 0, 0.03},
};

static void check_motion(size_t row)
{
    static struct ls_patch was, is;
    double size = rows[row].size, turn = rows[row].deg * 3.14159265358979 / 180, at[2], off;
    struct ls_pose first = {1, 0, 200, 130}, second, step = {1, 0, 0, 0};
    struct ls_frame f;
    uint32_t seed = 3;
    bool good;

    second = (struct ls_pose){rows[row].scale * cos(turn), rows[row].scale * sin(turn),
                              200 + rows[row].dx, 130 + rows[row].dy};
    draw(&f, rows[row].format, &first, size, rows[row].noise, &seed);
    good = patch_at(&was, &f, 200, 130, size);
    draw(&f, rows[row].format, &second, size, rows[row].noise, &seed);
    // The boxes of both frames are off by a bit, each its own way.
    good = good && patch_at(&is, &f, 200 + rows[row].dx / 2 + 0.6, 130 - 0.4, size * 1.01);
    good = good && ls_motion_between(&step, &was, &is);
    ls_pose_apply(&step, first.x, first.y, at);
    off = hypot(at[0] - second.x, at[1] - second.y);
    if (!CHECK(good && off < rows[row].place &&
                   fabs(hypot(step.a, step.b) - rows[row].scale) < 0.002 &&
                   fabs(atan2(step.b, step.a) - turn) < 0.002,
               rows[row].name))
        printf("found %d, off by %.4f pixels, scale %.5f, turn %.5f\n", good, off,
               hypot(step.a, step.b), atan2(step.b, step.a));
}

// A hundred steps of a part of a pixel each, added up.
static void check_drift(void)
{
    static struct ls_patch patch[2];
    struct ls_pose pose = {1, 0, 180, 120}, step, sum = {1, 0, 0, 0};
    struct ls_frame f;
    uint32_t seed = 5;
    double at[2];
    bool good = true;

    for (int i = 0; i <= 100; i++) {
        pose.x = 180 + 0.37 * i;
        pose.y = 120 + 5 * sin(0.25 * i);
        draw(&f, LS_PIX_I420, &pose, 60, 4, &seed);
        good = good && patch_at(&patch[i & 1], &f, pose.x, pose.y, 60);
        if (i == 0)
            continue;
        step = (struct ls_pose){1, 0, 0.3, 0};
        good = good && ls_motion_between(&step, &patch[!(i & 1)], &patch[i & 1]);
        sum = ls_pose_after(&step, &sum);
    }
    ls_pose_apply(&sum, 180, 120, at);
    if (!CHECK(good && hypot(at[0] - pose.x, at[1] - pose.y) < 0.6, "a hundred steps do not drift"))
        printf("found %d, %.3f %.3f\n", good, at[0] - pose.x, at[1] - pose.y);
}

static void check_nothing(void)
{
    static struct ls_patch was, is;
    struct ls_pose pose = {1, 0, 200, 130}, far = {1, 0, 240, 160}, step = {1, 0, 0.5, 0.5};
    struct ls_frame f;
    uint32_t seed = 9;

    draw(&f, LS_PIX_I420, &pose, 60, 0, &seed);
    CHECK(patch_at(&was, &f, 200, 130, 60), "a patch");
    CHECK(!patch_at(&is, &f, 200, 130, 2) && !patch_at(&is, &f, -500, 130, 60) &&
              !patch_at(&is, &f, 200, (double)NAN, 60),
          "no patch: too small, outside, nowhere");
    CHECK(!ls_motion_between(&step, &was, &is), "no motion without a patch");
    CHECK(patch_at(&is, &f, 2, 8, 60), "a patch at the frame's corner");
    draw(&f, LS_PIX_I420, &far, 60, 0, &seed);
    CHECK(patch_at(&is, &f, 200, 130, 60) && !ls_motion_between(&step, &was, &is),
          "another picture is told");
    memset(pixels, 90, sizeof(pixels));
    CHECK(patch_at(&was, &f, 200, 130, 60) && patch_at(&is, &f, 200, 130, 60) &&
              !ls_motion_between(&step, &was, &is) && step.x == 0.5,
          "a flat picture is told, and the guess stays");
}

int main(void)
{
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        check_motion(i);
    check_drift();
    check_nothing();
    return check_done();
}
