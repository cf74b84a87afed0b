// SPDX-License-Identifier: Apache-2.0
// The border of arithmetic: each wrong argument is refused before a back end sees it, right ones
// pass (to ref), and both back ends pass the start-up check. Models that cannot be used are named.
#include <math.h>
#include <string.h>

#include "kernels/backend.h"
#include "kernels/model.h"
#include "tests/unit/_check.h"

enum { W = 64, H = 48 };

static uint8_t pixels[3 * W * H];
static float picture[3 * 96 * 96];
static uint8_t face[3 * 96 * 96];
static struct ls_model *model;
static struct ls_backend *be;
static struct ls_lane *lane;

static struct ls_frame rgb(void)
{
    return (struct ls_frame){.plane = {pixels},
                             .stride = {3 * W},
                             .width_px = W,
                             .height_px = H,
                             .format = LS_PIX_RGB24};
}

static struct ls_paste paste(void)
{
    return (struct ls_paste){.box = {5, 5, 40, 40},
                             .face = picture,
                             .source = face,
                             .mask = LS_MASK_MOUTH,
                             .mouth = {0.5f, 0.7f, 0.2f, 0.1f},
                             .feather_px = 4,
                             .colour_match = 0.5f,
                             .strength = 1};
}

static void frames(void)
{
    const struct ls_box box = {5, 5, 40, 40};
    struct ls_err e = {0};
    struct ls_frame f = rgb();

    CHECK(ls_crop(lane, face, &f, &box, 0, false, &e) == 0, "a good frame");
    CHECK(ls_crop(lane, face, &f, &box, 0, true, &e) == 0, "a good frame, exact");
    CHECK(ls_crop(lane, face, NULL, &box, 0, false, &e) == LS_EFIELD, "no frame");
    f.width_px = 15;
    CHECK(ls_crop(lane, face, &f, &box, 0, false, &e) == LS_EFIELD, "too small");
    f.width_px = 8193;
    CHECK(ls_crop(lane, face, &f, &box, 0, false, &e) == LS_EFIELD, "too large");
    f = rgb();
    f.stride[0]--;
    CHECK(ls_crop(lane, face, &f, &box, 0, false, &e) == LS_EFIELD, "rows that overlap");
    f = rgb();
    f.plane[0] = NULL;
    CHECK(ls_crop(lane, face, &f, &box, 0, false, &e) == LS_EFIELD, "no plane");
    f = rgb();
    f.format = LS_PIX_I420;
    CHECK(ls_crop(lane, face, &f, &box, 0, false, &e) == LS_EFIELD, "no chroma");
    f.plane[1] = f.plane[2] = pixels;
    f.stride[1] = f.stride[2] = W / 2;
    CHECK(ls_crop(lane, face, &f, &box, 0, false, &e) == 0, "I420");
    CHECK(ls_crop(lane, face, &f, &box, 0, true, &e) == LS_EFIELD, "I420, exact");
    f.format = (enum ls_pixel)7;
    CHECK(ls_crop(lane, face, &f, &box, 0, false, &e) == LS_EFIELD, "an unknown format");
}

static void boxes(void)
{
    static const struct {
        const char *name;
        struct ls_box box;
        int want;
    } rows[] = {
        {"inside", {1, 1, 20, 20}, 0},
        {"sticks out", {-10, -10, 100, 100}, 0},
        {"no width", {5, 5, 5, 20}, LS_EFIELD},
        {"no height", {5, 5, 20, 5}, LS_EFIELD},
        {"backwards", {20, 5, 5, 20}, LS_EFIELD},
        {"NaN", {NAN, 5, 20, 20}, LS_EFIELD},
        {"NaN at the end", {5, 5, 20, NAN}, LS_EFIELD},
        {"infinite", {5, 5, INFINITY, 20}, LS_EFIELD},
        {"minus infinite", {5, -INFINITY, 20, 20}, LS_EFIELD},
        {"far away", {5, 5, 1e9f, 20}, LS_EFIELD},
    };
    struct ls_frame f = rgb();
    struct ls_paste p = paste();
    struct ls_err e = {0};

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        p.box = rows[i].box;
        CHECK(ls_crop(lane, face, &f, &rows[i].box, 0, false, &e) == rows[i].want, rows[i].name);
        CHECK(ls_composite(lane, &f, &p, &e) == rows[i].want, rows[i].name);
    }
    CHECK(ls_crop(lane, face, &f, NULL, 0, false, &e) == LS_EFIELD, "no box");
    CHECK(ls_crop(lane, face, &f, &rows[0].box, -1, false, &e) == 0, "as far as heads lean");
    CHECK(ls_crop(lane, face, &f, &rows[0].box, -1.01f, false, &e) == LS_EFIELD, "beyond that");
    CHECK(ls_crop(lane, face, &f, &rows[0].box, NAN, false, &e) == LS_EFIELD, "roll NaN");
    CHECK(ls_crop(lane, NULL, &f, &rows[0].box, 0, false, &e) == LS_EFIELD, "no output");
}

#define REFUSED(change, name)                                                                      \
    do {                                                                                           \
        struct ls_paste p = paste();                                                               \
        change;                                                                                    \
        CHECK(ls_composite(lane, &f, &p, &e) == LS_EFIELD, name);                                  \
    } while (0)

static void pastes(void)
{
    struct ls_frame f = rgb();
    struct ls_paste good = paste();
    struct ls_err e = {0};

    CHECK(ls_composite(lane, &f, &good, &e) == 0, "a good paste");
    good.mask = LS_MASK_LOWER_FACE;
    memset(good.mouth, 0, sizeof good.mouth);
    CHECK(ls_composite(lane, &f, &good, &e) == 0, "a lower face that no mouth was told of");
    CHECK(ls_composite(lane, &f, NULL, &e) == LS_EFIELD, "no paste");
    REFUSED(p.face = NULL, "no face");
    REFUSED(p.source = NULL, "a colour match without source");
    REFUSED(p.mask = (enum ls_mask)9, "an unknown mask");
    REFUSED(p.feather_px = 25, "a wide feather");
    REFUSED(p.feather_px = NAN, "a feather that is no number");
    REFUSED(p.strength = -0.1f, "a negative strength");
    REFUSED(p.colour_match = INFINITY, "an infinite colour match");
    REFUSED(p.sharpness = 2.01f, "too sharp");
    REFUSED(p.sharpness = NAN, "a sharpness that is no number");
    REFUSED((p.colour_match = 0, p.sharpness = 1, p.source = NULL), "sharpness without source");
    REFUSED(p.roll_rad = 1.01f, "a head on its side");
    REFUSED(p.roll_rad = NAN, "a roll that is no number");
    REFUSED(p.mouth[2] = 0, "a mouth without width");
    REFUSED(p.mouth[0] = NAN, "a mouth nowhere");
    REFUSED((p.mask = LS_MASK_LOWER_FACE, p.mouth[1] = NAN), "a lower face nowhere");
    REFUSED((p.mask = LS_MASK_RECTANGLE, p.mouth[3] = -1), "lips of a negative height");
    good.exact = true;
    good.mask = (enum ls_mask)9;
    good.feather_px = NAN;
    CHECK(ls_composite(lane, &f, &good, &e) == 0, "exact ignores the rest");
}

static void batches(void)
{
    static float many[3][3 * 96 * 96], sound[3][16 * 80];
    static uint8_t faces[3][3 * 96 * 96];
    struct ls_err e = {0};

    CHECK(ls_generate(lane, many[0], faces[0], sound[0], 2, &e) == 0, "a full batch");
    CHECK(!memcmp(many[0], many[1], sizeof many[0]), "equal items give equal pictures");
    CHECK(ls_generate(lane, many[0], faces[0], sound[0], 3, &e) == LS_EFIELD, "too many");
    CHECK(ls_generate(lane, many[0], faces[0], sound[0], 0, &e) == LS_EFIELD, "none");
    CHECK(ls_generate(lane, many[0], NULL, sound[0], 1, &e) == LS_EFIELD, "no faces");
    sound[1][5] = NAN;
    CHECK(ls_generate(lane, many[0], faces[0], sound[0], 2, &e) == LS_EFIELD, "NaN in the mel");
    CHECK(ls_generate(lane, many[0], faces[0], sound[0], 1, &e) == 0, "NaN after the batch");
}

static void mels(void)
{
    static float pcm[2000], out[20 * 80];
    static const struct {
        const char *name;
        struct ls_mel_job job;
        int want;
    } rows[] = {
        {"a whole voice", {pcm, 0, 2000, 2000, 0, 11}, 0},
        {"past the last column", {pcm, 0, 2000, 2000, 0, 12}, LS_EFIELD},
        {"a voice too short to reflect", {pcm, 0, 400, 400, 0, 1}, LS_EFIELD},
        {"the shortest voice", {pcm, 0, 401, 401, 0, 3}, 0},
        {"open end, enough", {pcm, 0, 2000, -1, 0, 9}, 0},
        {"open end, one too many", {pcm, 0, 2000, -1, 0, 10}, LS_EFIELD},
        {"a piece", {pcm, 600, 801, -1, 5, 1}, 0},
        {"a piece that starts late", {pcm, 802, 1000, -1, 5, 1}, LS_EFIELD},
        {"a piece that ends early", {pcm, 600, 700, -1, 5, 1}, LS_EFIELD},
        {"none", {pcm, 0, 2000, 2000, 0, 0}, LS_EFIELD},
        {"before the start", {pcm, 0, 2000, 2000, -1, 1}, LS_EFIELD},
        {"no samples", {NULL, 0, 2000, 2000, 0, 1}, LS_EFIELD},
        {"numbers that overflow", {pcm, INT64_MAX - 5, 2000, -1, 0, 1}, LS_EFIELD},
        {"columns that overflow", {pcm, 0, 2000, -1, INT64_MAX - 5, 1}, LS_EFIELD},
    };
    struct ls_err e = {0};

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        CHECK(ls_mel(lane, out, &rows[i].job, &e) == rows[i].want, rows[i].name);
    CHECK(ls_mel(lane, NULL, &rows[0].job, &e) == LS_EFIELD, "no output");
    pcm[1500] = NAN;
    CHECK(ls_mel(lane, out, &rows[0].job, &e) == LS_EMEDIA, "a NaN sample");
    CHECK(strstr(e.text, "sample 1500"), "which sample");
    CHECK(ls_mel(lane, out, &(struct ls_mel_job){pcm, 0, 2000, -1, 0, 3}, &e) == 0, "a NaN later");
    pcm[1500] = 0;
    pcm[400] = INFINITY;
    CHECK(ls_mel(lane, out, &rows[6].job, &e) == LS_EMEDIA, "an infinite sample in a piece");
    CHECK(strstr(e.text, "sample 1000"), "which sample of a piece");
    pcm[400] = 0;
}

static void detects(void)
{
    struct ls_face faces[LS_FACES_MAX];
    struct ls_detect_params params = {0};
    struct ls_frame f = rgb();
    struct ls_err e = {0};
    int count = 7;

    CHECK(ls_detect(lane, faces, &count, &f, &params, &e) == LS_EMODEL, "no detector");
    params.long_side_px = 100;
    CHECK(ls_detect(lane, faces, &count, &f, &params, &e) == LS_EFIELD, "not a multiple of 32");
    params.long_side_px = 1312;
    CHECK(ls_detect(lane, faces, &count, &f, &params, &e) == LS_EFIELD, "a long side too long");
    params = (struct ls_detect_params){.score_min = NAN};
    CHECK(ls_detect(lane, faces, &count, &f, &params, &e) == LS_EFIELD,
          "a score that is no number");
    CHECK(ls_detect(lane, faces, NULL, &f, NULL, &e) == LS_EFIELD, "no count");
    CHECK(count == 7, "outputs untouched");
}

static void opening(void)
{
    static const struct {
        const char *name, *generator, *detector, *want;
    } rows[] = {
        {"no such generator", "no-such-file", NULL, "no-such-file: No such file"},
        {"another network", "tests/golden/plain.pth", NULL,
         "tests/golden/plain.pth: not a checkpoint of Wav2Lip-96"},
        {"no such detector", NULL, "no-such-file", "no-such-file: No such file"},
        {"another detector", NULL, "tests/golden/plain.pth", "neither YuNet nor"},
    };
    struct ls_backend *other = NULL;
    struct ls_model *m = NULL;
    struct ls_err e = {0};

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct ls_model_params params = {.generator_path = rows[i].generator,
                                         .detector_path = rows[i].detector};

        CHECK(ls_model_open(&m, &params, &e) == LS_EMODEL && !m, rows[i].name);
        if (!CHECK(strstr(e.text, rows[i].want), rows[i].name))
            printf("  got: %s\n", e.text);
    }
    CHECK(ls_backend_open(
              &other, &(struct ls_backend_params){.name = "gpu", .model = model, .batch_max = 1},
              &e) == LS_EFIELD,
          "an unknown back end");
    CHECK(ls_backend_open(&other,
                          &(struct ls_backend_params){.name = NULL, .model = model, .batch_max = 1},
                          &e) == LS_EFIELD,
          "no back end");
    CHECK(ls_backend_open(&other,
                          &(struct ls_backend_params){.name = "ref", .model = NULL, .batch_max = 1},
                          &e) == LS_EMODEL,
          "no model");
    CHECK(ls_backend_open(
              &other, &(struct ls_backend_params){.name = "ref", .model = model, .batch_max = -1},
              &e) == LS_EFIELD,
          "less than an empty batch");
    CHECK(ls_backend_open(
              &other, &(struct ls_backend_params){.name = "ref", .model = model, .batch_max = 65},
              &e) == LS_EFIELD,
          "a batch too large");
    CHECK(!other, "outputs untouched");
    CHECK(ls_backend_open(
              &other, &(struct ls_backend_params){.name = "auto", .model = model, .batch_max = 1},
              &e) == 0,
          "auto");
    CHECK(other && !strcmp(ls_backend_name(other), "cpu"), "auto is cpu");
    ls_backend_close(&other);
    ls_backend_close(&other);
    ls_lane_close(NULL);
}

static void demo(void)
{
    static const struct ls_model_params params = {
        .generator_path = "kernels/demo/lipstream_demo_fp16.safetensors"};
    struct ls_model *m = NULL;
    struct ls_err e = {0};

    if (!CHECK(ls_model_open(&m, &params, &e) == 0, "the demo model"))
        return;
    CHECK(!strcmp(m->generator_name, "lipstream-demo-3"), "its name");
    CHECK(!strcmp(m->mask, "MOUTH") && !m->seeded, "its mask");
    CHECK(m->detector == LS_DETECTOR_NONE && !m->detector_weights, "no detector");
    ls_model_close(&m);
    CHECK(!m, "close sets NULL");
}

static void start_up(void)
{
    static const char *const names[2] = {"ref", "cpu"};
    struct ls_err e = {0};

    for (int i = 0; i < 2; i++)
        if (!CHECK(ls_model_check(&(struct ls_backend_params){.name = names[i]}, &e) == 0,
                   names[i]))
            printf("  %s\n", e.text);
}

int main(void)
{
    static const struct ls_model_params params = {.seed = 1};
    struct ls_err e = {0};

    if (!CHECK(ls_model_open(&model, &params, &e) == 0, "seeded model") ||
        !CHECK(ls_backend_open(
                   &be, &(struct ls_backend_params){.name = "ref", .model = model, .batch_max = 2},
                   &e) == 0,
               "ref") ||
        !CHECK(ls_lane_open(&lane, be, &e) == 0, "lane"))
        return check_done();
    CHECK(model->seeded && !model->mask[0], "a seeded model says so");
    CHECK(ls_backend_arithmetic(be)[0], "arithmetic has a name");
    frames();
    boxes();
    pastes();
    batches();
    mels();
    detects();
    opening();
    demo();
    start_up();
    ls_lane_close(&lane);
    ls_backend_close(&be);
    ls_model_close(&model);
    return check_done();
}
