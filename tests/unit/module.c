// SPDX-License-Identifier: Apache-2.0
// A back end out of a module: what makes one unusable is told in a line, "auto" then takes the cpu;
// and the border's checks of what only a device's back end does (batches of voices and of faces,
// frames in its memory), with modules made for this test (tests/modules).
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "kernels/backend.h"
#include "kernels/model.h"
#include "tests/unit/_check.h"

enum { W = 64, H = 48 };
#define FAKE LS_TEST_MODULES "/fake.so"

static struct ls_model *model;
static struct ls_lane *lane;
static struct ls_backend *be;
static float mel[LS_MEL_WINDOW * LS_MEL_BANDS];
static uint8_t pixels[8][4 * W * H];
static struct ls_frame frame[8];
static struct ls_face_job job[65];

// A file with the first `size` bytes of another.
static void cut(const char *to, const char *from, size_t size)
{
    FILE *in = fopen(from, "rb"), *out = fopen(to, "wb");
    char *data = malloc(size);

    if (CHECK(in && out && data && fread(data, 1, size, in) == size, from))
        fwrite(data, 1, size, out);
    if (in)
        fclose(in);
    if (out)
        fclose(out);
    free(data);
}

static void refusals(void)
{
    static const struct {
        const char *name, *path, *want;
    } rows[] = {
        {"none", NULL, "built without CUDA"},
        {"no such file", "no-such.so", "no-such.so: No such file"},
        {"a folder", "tests", "tests is not a shared library"},
        {"another file", "CMakeLists.txt", "CMakeLists.txt is not a shared library"},
        {"cut in its head", "build/module-head.so", "is not a shared library"},
        {"cut in the middle", "build/module-half.so", "is cut short"},
        {"no module", LS_TEST_MODULES "/empty.so", "is no module of lipstream"},
        {"another build", LS_TEST_MODULES "/foreign.so", "another build of lipstream"},
        {"lacks a library", LS_TEST_MODULES "/lacking.so", "ls_test_lacking_elsewhere"},
        {"does not open", FAKE, "this fake wants no fp32"},
    };
    struct ls_backend *other = NULL;
    struct ls_err e = {0};

    cut("build/module-head.so", FAKE, 40);
    cut("build/module-half.so", FAKE, 2000);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct ls_backend_params p = {.name = "cuda", .model = model, .arithmetic = "fp32"};

        p.module = rows[i].path;
        CHECK(ls_backend_open(&other, &p, &e) == LS_EDEVICE && !other, rows[i].name);
        if (!CHECK(strstr(e.text, rows[i].want) && !strchr(e.text, '\n'), rows[i].name))
            printf("  got: %s\n", e.text);
        p.name = "auto";
        if (!CHECK(ls_backend_open(&other, &p, &e) == 0, rows[i].name))
            continue;
        CHECK(!strcmp(ls_backend_name(other), "cpu"), rows[i].name);
        CHECK(strstr(ls_backend_note(other), rows[i].want), rows[i].name);
        ls_backend_close(&other);
    }
    unlink("build/module-head.so");
    unlink("build/module-half.so");
}

static void opening(void)
{
    struct ls_backend_params p = {.name = "auto", .model = model, .module = FAKE};
    struct ls_backend *other = NULL;
    struct ls_err e = {0};

    if (!CHECK(ls_backend_open(&other, &p, &e) == 0, "auto"))
        return;
    CHECK(!strcmp(ls_backend_name(other), "cuda") && !ls_backend_note(other)[0], "auto is cuda");
    CHECK(ls_backend_batch_max(other) == 64, "its own batch");
    CHECK(!strcmp(ls_backend_arithmetic(other), "auto"), "arithmetic is never NULL");
    CHECK(!strcmp(ls_backend_device(other), "a fake"), "its device");
    CHECK(ls_backend_lanes_max(other) == 1 && ls_backend_faces_depth(other) == 2, "its numbers");
    ls_backend_close(&other);
    p.arithmetic = "fp16";
    p.module = NULL;
    CHECK(ls_backend_open(&other, &p, &e) == LS_EFIELD && !other, "a cpu has no fp16");
    CHECK(strstr(e.text, "built without CUDA") && strstr(e.text, "fp16"), "why");
    p.arithmetic = "bf8";
    CHECK(ls_backend_open(&other, &p, &e) == LS_EFIELD && !other, "unknown arithmetic");
    p = (struct ls_backend_params){.name = "cpu", .model = model, .face_cache_bytes = -1};
    CHECK(ls_backend_open(&other, &p, &e) == LS_EFIELD && !other, "a negative cache");
    p.face_cache_bytes = 0;
    if (!CHECK(ls_backend_open(&other, &p, &e) == 0, "cpu"))
        return;
    CHECK(ls_backend_batch_max(other) == 4 && ls_backend_device(other)[0], "the cpu's own");
    CHECK(ls_backend_faces_depth(other) == 0 && !ls_backend_device_frames(other), "no device");
    CHECK(!ls_backend_takes(other, LS_PIX_NV12) && ls_backend_takes(other, LS_PIX_I420), "formats");
    CHECK(!ls_backend_takes(other, (enum ls_pixel)99), "no such format");
    ls_backend_close(&other);
}

static void frames(void)
{
    static const struct {
        const char *name;
        enum ls_pixel format;
        int stride[2], shift, want;
    } rows[] = {
        {"NV12", LS_PIX_NV12, {W, W}, 0, 0},
        {"NV12, colours too narrow", LS_PIX_NV12, {W, W - 1}, 0, LS_EFIELD},
        {"P010", LS_PIX_P010, {2 * W, 2 * W}, 0, 0},
        {"P010, too narrow", LS_PIX_P010, {2 * W - 2, 2 * W}, 0, LS_EFIELD},
        {"P010, colours too narrow", LS_PIX_P010, {2 * W, 2 * W - 2}, 0, LS_EFIELD},
        {"P010, odd rows", LS_PIX_P010, {2 * W + 1, 2 * W}, 0, LS_EFIELD},
        {"P010, odd address", LS_PIX_P010, {2 * W, 2 * W}, 1, LS_EFIELD},
    };
    const struct ls_box box = {5, 5, 40, 40};
    uint8_t face[1];
    struct ls_err e = {0};

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct ls_frame f = {.plane = {pixels[0] + rows[i].shift, pixels[1]},
                             .stride = {rows[i].stride[0], rows[i].stride[1]},
                             .width_px = W,
                             .height_px = H,
                             .format = rows[i].format,
                             .on_device = true};

        CHECK(ls_crop(lane, face, &f, &box, 0, false, &e) == rows[i].want, rows[i].name);
    }
}

static struct ls_face_job good(int i)
{
    frame[i] = (struct ls_frame){.plane = {pixels[i]},
                                 .stride = {3 * W},
                                 .width_px = W,
                                 .height_px = H,
                                 .format = LS_PIX_RGB24};
    return (struct ls_face_job){
        .frame = &frame[i],
        .paste = {.box = {5, 5, 40, 40}, .colour_match = 0.5f, .strength = 1},
        .mel = mel,
        .err = {.code = 7}};
}

#define REFUSED(change, name)                                                                      \
    do {                                                                                           \
        job[0] = good(0);                                                                          \
        job[1] = good(1);                                                                          \
        change;                                                                                    \
        CHECK(ls_faces_start(lane, job, 2, &e) == LS_EFIELD, name);                                \
        CHECK(strstr(e.text, "item 1"), name);                                                     \
        CHECK(pixels[0][0] == 0 && job[0].err.code == 7, name);                                    \
    } while (0)

static void faces(void)
{
    float odd[LS_MEL_WINDOW * LS_MEL_BANDS] = {0};
    struct ls_err e = {0};

    REFUSED(job[1].frame = NULL, "no frame");
    REFUSED(job[1].frame = job[0].frame, "a frame twice");
    REFUSED(frame[1].stride[0] = 5, "a bad frame");
    REFUSED(job[1].paste.box.x1 = 0, "a bad box");
    REFUSED(job[1].paste.strength = 2, "a bad paste");
    REFUSED(job[1].mel = NULL, "no sound");
    odd[1279] = (float)(1e30 * 1e30);
    REFUSED(job[1].mel = odd, "odd sound");
    REFUSED((job[1].paste.exact = true, frame[1].format = LS_PIX_NV12), "an exact paste of YUV");
    CHECK(ls_faces_start(lane, job, 65, &e) == LS_EFIELD, "too many");
    CHECK(ls_faces_start(lane, job, 0, &e) == LS_EFIELD, "none");
    CHECK(ls_faces_start(lane, NULL, 1, &e) == LS_EFIELD, "no jobs");
    CHECK(ls_faces_finish(lane, &e) == LS_EFIELD, "nothing begun");
    for (int i = 0; i < 6; i++)
        job[i] = good(i);
    job[0].paste.exact = true;
    job[0].paste.strength = 99;
    CHECK(ls_faces_start(lane, job, 2, &e) == 0, "the first batch");
    CHECK(ls_faces_start(lane, job + 2, 3, &e) == 0, "the second");
    CHECK(ls_faces_start(lane, job + 5, 1, &e) == LS_EFIELD, "a third");
    CHECK(pixels[0][0] == 1 && pixels[4][0] == 1 && pixels[5][0] == 0, "two are begun");
    CHECK(ls_faces_finish(lane, &e) == LS_EDEVICE, "the first fails");
    CHECK(pixels[0][0] == 2 && pixels[2][0] == 1 && job[0].err.code == 0, "oldest first");
    CHECK(ls_faces_start(lane, job + 5, 1, &e) == 0, "a failed batch is finished");
    CHECK(ls_faces_finish(lane, &e) == 0 && ls_faces_finish(lane, &e) == 0, "all finished");
    CHECK(ls_faces_finish(lane, &e) == LS_EFIELD, "nothing left");
}

static void voices(void)
{
    static float pcm[2000], out[2][20 * 80];
    float *both[2] = {out[0], out[1]};
    struct ls_mel_job two[2] = {{pcm, 0, 2000, 2000, 0, 11}, {pcm, 0, 2000, -1, 0, 9}};
    struct ls_err e = {0};

    CHECK(ls_mel_batch(lane, both, two, 2, &e) == 0, "two voices");
    CHECK(out[0][10 * 80] == 1 && out[1][8 * 80] == 2 && out[1][9 * 80] == 0, "their columns");
    two[1].count = 10;
    CHECK(ls_mel_batch(lane, both, two, 2, &e) == LS_EFIELD, "one is too short");
    CHECK(strstr(e.text, "job 1"), "which");
    two[1].count = 9;
    both[1] = NULL;
    CHECK(ls_mel_batch(lane, both, two, 2, &e) == LS_EFIELD, "nowhere to put one");
    CHECK(ls_mel_batch(lane, both, two, 0, &e) == LS_EFIELD, "no voice");
    CHECK(ls_mel_batch(lane, both, two, 65, &e) == LS_EFIELD, "too many voices");
}

// The default of back ends that have no batches of voices.
static void voices_apart(void)
{
    static float pcm[2000], out[2][9 * 80], alone[9 * 80];
    struct ls_backend_params p = {.name = "cpu", .model = model};
    struct ls_mel_job two[2] = {{pcm, 0, 2000, 2000, 0, 5}, {pcm, 0, 2000, -1, 0, 9}};
    struct ls_backend *cpu = NULL;
    struct ls_lane *own = NULL;
    struct ls_err e = {0};

    for (int i = 0; i < 2000; i++)
        pcm[i] = (float)(i % 37) / 40;
    if (CHECK(ls_backend_open(&cpu, &p, &e) == 0 && ls_lane_open(&own, cpu, &e) == 0, "cpu")) {
        CHECK(ls_mel_batch(own, (float *[]){out[0], out[1]}, two, 2, &e) == 0, "one by one");
        CHECK(ls_mel(own, alone, &two[1], &e) == 0, "alone");
        CHECK(!memcmp(alone, out[1], sizeof alone), "the same columns");
        job[0] = good(0);
        CHECK(ls_faces_start(own, job, 1, &e) == LS_EFIELD, "the cpu begins no batches");
        frame[0].on_device = true;
        CHECK(ls_crop(own, pixels[1], &frame[0], &job[0].paste.box, 0, false, &e) == LS_EFIELD,
              "the cpu has no device");
    }
    ls_lane_close(&own);
    ls_backend_close(&cpu);
}

static void memory(void)
{
    char from[2] = {3, 4}, to[2] = {0};
    struct ls_copy copy = {to, from, 2, 2, 2, 1, true, false};
    struct ls_err e = {0};
    void *there = NULL;

    CHECK(ls_backend_memory_alloc(be, &there, 0, &e) == LS_EFIELD && !there, "no bytes");
    CHECK(ls_backend_memory_alloc(be, &there, SIZE_MAX, &e) == LS_EFIELD && !there, "all bytes");
    CHECK(ls_backend_memory_alloc(be, &there, 5, &e) == 0 && there, "some bytes");
    ls_backend_memory_free(be, &there);
    ls_backend_memory_free(be, &there);
    CHECK(ls_backend_copy(be, &copy, &e) == 0 && to[1] == 4, "a copy");
    copy.to_stride = 1;
    CHECK(ls_backend_copy(be, &copy, &e) == LS_EFIELD, "rows that overlap");
    copy.to_stride = 2;
    copy.row_count = 0;
    CHECK(ls_backend_copy(be, &copy, &e) == LS_EFIELD, "no rows");
    CHECK(ls_backend_copy(be, NULL, &e) == LS_EFIELD, "no copy");
}

int main(void)
{
    static const struct ls_model_params params = {.seed = 1};
    struct ls_backend_params p = {.name = "cuda", .module = FAKE};
    struct ls_err e = {0};

    if (!CHECK(ls_model_open(&model, &params, &e) == 0, "seeded model"))
        return check_done();
    refusals();
    opening();
    p.model = model;
    if (CHECK(ls_backend_open(&be, &p, &e) == 0 && ls_lane_open(&lane, be, &e) == 0, "the fake")) {
        frames();
        faces();
        voices();
        memory();
        ls_lane_close(&lane);
    }
    voices_apart();
    ls_backend_close(&be);
    ls_model_close(&model);
    return check_done();
}
