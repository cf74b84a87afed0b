// SPDX-License-Identifier: Apache-2.0
// Batches of faces through the whole device back end, on the host's shim: equal to ref within
// rounding, and the same bytes whatever the order of streams, the company in the batch, what was
// known of a face before, and the place of the frame; faults and failed calls harm nobody else. The
// network is the generator's with eight channels everywhere.
#include <stdlib.h>
#include <string.h>

#include "kernels/cuda/faces.h"
#include "kernels/cuda/module.h"
#include "kernels/cuda/records.h"
#include "kernels/ref/ref.h"
#include "tests/kernels/_pictures.h"
#include "tests/unit/_check.h"

enum { SCENES = 8, BATCH = 8, MEL = LS_MEL_WINDOW * LS_MEL_BANDS, FACE = 96 * 96 * 3 };

static struct ls_model model;

static int width_of(void *user, int row)
{
    (void)user;
    return ls_wav2lip.layer[row].act == LS_ACT_SIGMOID ? 3 : 8;
}

static void make_model(void)
{
    struct ls_net_params shape = {.input = {{6, 96, 96}, {1, LS_MEL_BANDS, LS_MEL_WINDOW}},
                                  .fold_residual = true};
    struct ls_weights *w = NULL;
    struct ls_err err = {0};
    int r = ls_weights_new(&w, &err);

    if (r == 0)
        r = ls_net_seed(w, &ls_wav2lip, &shape, width_of, NULL, 3, &err);
    if (r == 0)
        r = ls_net_plan(&model.generator, &ls_wav2lip, w, &shape, &err);
    ls_weights_close(&w);
    if (!CHECK(r == 0, err.text))
        exit(1);
}

// --- the back end -------------------------------------------------------------------------------

struct rig {
    const struct ls_backend_ops *ops;
    void *be, *lane;
};

static struct rig rig_open(const char *arithmetic, int batch_max, int64_t cache_bytes)
{
    const struct ls_backend_params params = {.name = "cuda",
                                             .model = &model,
                                             .batch_max = batch_max,
                                             .arithmetic = arithmetic,
                                             .face_cache_bytes = cache_bytes};
    struct rig rig = {.ops = ls_cuda_module.ops};
    struct ls_err err = {0};

    if (!CHECK(rig.ops->open(&rig.be, &params, &err) == 0, err.text) ||
        !CHECK(rig.ops->lane_open(&rig.lane, rig.be, &err) == 0, err.text))
        exit(1);
    return rig;
}

static void rig_close(struct rig *rig)
{
    rig->ops->lane_close(&rig->lane);
    rig->ops->close(&rig->be);
}

// --- scenes -------------------------------------------------------------------------------------

static const struct scene {
    const char *name;
    struct ls_frame shape;
    struct ls_paste paste;
} scenes[SCENES] = {
    {"lower face, I420",
     {.width_px = 200, .height_px = 160, .format = LS_PIX_I420, .matrix = LS_MATRIX_BT601},
     {.box = {40.3f, 20.7f, 130.2f, 140.1f},
      .mask = LS_MASK_LOWER_FACE,
      .feather_px = 8,
      .colour_match = 0.5f,
      .strength = 1}},
    {"mouth, NV12, odd size",
     {.width_px = 143, .height_px = 121, .format = LS_PIX_NV12, .matrix = LS_MATRIX_BT709},
     {.box = {11, 9, 120, 118},
      .mask = LS_MASK_MOUTH,
      .mouth = {0.5f, 0.75f, 0.25f, 0.15f},
      .feather_px = 10,
      .colour_match = 1,
      .strength = 0.8f}},
    {"exact, RGB24",
     {.width_px = 150, .height_px = 130, .format = LS_PIX_RGB24},
     {.box = {20.9f, 10.2f, 121.5f, 111.5f}, .exact = true}},
    {"lower face, P010, full range",
     {.width_px = 180,
      .height_px = 140,
      .format = LS_PIX_P010,
      .matrix = LS_MATRIX_BT2020,
      .full_range = true},
     {.box = {30.5f, 10, 150.5f, 130}, .mask = LS_MASK_LOWER_FACE, .feather_px = 4, .strength = 1}},
    {"rectangle, RGB24, over the edges",
     {.width_px = 64, .height_px = 50, .format = LS_PIX_RGB24},
     {.box = {-20, -30, 90, 80}, .mask = LS_MASK_RECTANGLE, .feather_px = 12, .strength = 1}},
    {"mouth high up, I420",
     {.width_px = 99, .height_px = 101, .format = LS_PIX_I420, .matrix = LS_MATRIX_BT709},
     {.box = {3, 4, 95, 96},
      .mask = LS_MASK_MOUTH,
      .mouth = {0.4f, 0.4f, 0.3f, 0.2f},
      .feather_px = 14,
      .colour_match = 0.3f,
      .strength = 1}},
    {"outside, I420",
     {.width_px = 40, .height_px = 40, .format = LS_PIX_I420},
     {.box = {100, 100, 200, 200}, .mask = LS_MASK_LOWER_FACE, .feather_px = 8, .strength = 1}},
    {"small face, NV12",
     {.width_px = 320, .height_px = 180, .format = LS_PIX_NV12},
     {.box = {150.1f, 80.2f, 171.9f, 104.4f},
      .mask = LS_MASK_LOWER_FACE,
      .feather_px = 6,
      .colour_match = 0.5f,
      .strength = 1}},
};

// A batch of scenes with frames of its own.
struct batch {
    struct picture picture[BATCH];
    float mel[BATCH][MEL];
    struct ls_face_job job[BATCH];
    int count;
};

static void batch_fill(struct batch *b, const int *scene, int count, bool keys)
{
    b->count = count;
    for (int i = 0; i < count; i++) {
        const struct scene *s = &scenes[scene[i]];
        uint64_t seed = (uint64_t)scene[i] + 100;

        b->picture[i] = picture_new(&s->shape, FILL_SMOOTH, seed);
        for (int k = 0; k < MEL; k++)
            b->mel[i][k] = random_float(&seed, -4, 4);
        b->job[i] = (struct ls_face_job){.frame = &b->picture[i].frame,
                                         .paste = s->paste,
                                         .mel = b->mel[i],
                                         .source_key = keys ? (uint64_t)scene[i] + 1 : 0};
    }
}

static void batch_free(struct batch *b)
{
    for (int i = 0; i < b->count; i++)
        picture_free(&b->picture[i]);
}

static struct picture want[SCENES], original[SCENES]; // by one scene alone in fp32

static const char *name_of(const struct ls_face_job *job)
{
    for (int i = 0; i < SCENES; i++)
        if (!memcmp(&job->paste, &scenes[i].paste, sizeof job->paste))
            return scenes[i].name;
    return "?";
}

static void check_batch(const char *row, const struct batch *b, const int *scene)
{
    for (int i = 0; i < b->count; i++) {
        const struct picture *w = &want[scene[i]];

        if (!CHECK(b->job[i].err.code == 0, row) ||
            !CHECK(memcmp(b->picture[i].memory, w->memory, w->size) == 0, row))
            printf("  scene \"%s\": %s\n", name_of(&b->job[i]), b->job[i].err.text);
    }
}

static void start(struct rig *rig, struct batch *b, const char *row)
{
    struct ls_err err = {0};

    if (!CHECK(rig->ops->faces_start(rig->lane, b->job, b->count, &err) == 0, row))
        printf("  %s\n", err.text);
}

static void finish(struct rig *rig, const char *row)
{
    struct ls_err err = {0};

    if (!CHECK(rig->ops->faces_finish(rig->lane, &err) == 0, row))
        printf("  %s\n", err.text);
}

// --- against ref, and against the operations alone ----------------------------------------------

static void by_ref(const struct ls_face_job *job)
{
    static uint8_t source[FACE];
    static float made[FACE];
    struct ls_ref_lane lane = {.model = &model, .batch_max = 1};
    struct ls_paste paste = job->paste;

    paste.face = made;
    paste.source = source;
    CHECK(ls_ref_crop(source, job->frame, &paste.box, paste.exact, NULL) == 0, "ref crops");
    CHECK(ls_backend_ref.generate(&lane, made, source, job->mel, 1, NULL) == 0, "ref generates");
    CHECK(ls_ref_composite(job->frame, &paste, NULL) == 0, "ref pastes");
}

static void by_operations(struct rig *rig, const struct ls_face_job *job)
{
    static uint8_t source[FACE];
    static float made[FACE];
    const uint8_t row_first = (uint8_t)ls_paste_row_first(&job->paste);
    const struct ls_generate_job generate = {
        .out = made, .face = source, .mel = job->mel, .row_first = &row_first, .count = 1};
    struct ls_paste paste = job->paste;
    struct ls_err err = {0};

    paste.face = made;
    paste.source = source;
    if (!CHECK(rig->ops->crop(rig->lane, source, job->frame, &paste.box, paste.exact, &err) == 0 &&
                   rig->ops->generate_rows(rig->lane, &generate, &err) == 0 &&
                   rig->ops->composite(rig->lane, job->frame, &paste, &err) == 0,
               name_of(job)))
        printf("  %s\n", err.text);
}

// Largest difference of samples, in steps of 8 bits.
static double differ(const struct picture *a, const struct picture *b)
{
    bool deep = a->frame.format == LS_PIX_P010;
    double largest = 0;

    for (size_t i = 0; i < a->size; i++) {
        double d;

        if (!picture_is_pixel(a, i)) {
            d = a->memory[i] == b->memory[i] ? 0 : INFINITY;
        } else if (deep) {
            d = abs((a->memory[i] | a->memory[i + 1] << 8) -
                    (b->memory[i] | b->memory[i + 1] << 8)) /
                256.0;
            i++;
        } else {
            d = abs(a->memory[i] - b->memory[i]);
        }
        largest = d > largest ? d : largest;
    }
    return largest;
}

static void check_scenes(const char *arithmetic, double most)
{
    struct rig rig = rig_open(arithmetic, 1, 0);

    for (int i = 0; i < SCENES; i++) {
        static struct batch b, ref, alone;
        double d;

        batch_fill(&b, &i, 1, false);
        batch_fill(&ref, &i, 1, false);
        batch_fill(&alone, &i, 1, false);
        if (!original[i].memory)
            original[i] = picture_copy(&b.picture[0]);
        start(&rig, &b, scenes[i].name);
        finish(&rig, scenes[i].name);
        by_ref(&ref.job[0]);
        by_operations(&rig, &alone.job[0]);
        d = differ(&b.picture[0], &ref.picture[0]);
        if (!CHECK(d <= most, scenes[i].name))
            printf("  %s: %g from ref, at most %g\n", arithmetic, d, most);
        d = differ(&b.picture[0], &alone.picture[0]);
        if (!CHECK(d <= 1, scenes[i].name)) // the cut of the generator may be another one
            printf("  %s: %g from the operations alone\n", arithmetic, d);
        if (!want[i].memory && !strcmp(arithmetic, "fp32"))
            want[i] = picture_copy(&b.picture[0]);
        // A test that cannot fail is none: all but the scene outside must have changed.
        CHECK((memcmp(b.picture[0].memory, original[i].memory, b.picture[0].size) == 0) ==
                  !strncmp(scenes[i].name, "outside", 7),
              scenes[i].name);
        batch_free(&b);
        batch_free(&ref);
        batch_free(&alone);
    }
    rig_close(&rig);
}

// --- batches ------------------------------------------------------------------------------------

static const struct {
    int scene[BATCH], count;
} batches[] = {
    {{0, 1, 2, 3, 4, 5, 6, 7}, 8}, {{7, 2, 0}, 3}, {{2}, 1},
    {{0, 1, 0, 0, 2, 2, 1}, 7},    {{5, 4, 3}, 3},
};
enum { BATCHES = sizeof batches / sizeof batches[0] };

// Two in flight at any time. Other operations of the lane come between, as in the service.
static void check_pipeline(const char *order, bool keys, int64_t cache_bytes)
{
    static struct batch batch[BATCHES];
    struct rig rig;
    float pcm[1000] = {0.5f, -0.5f, 0.25f}, column[LS_MEL_BANDS], again[LS_MEL_BANDS];
    const struct ls_mel_job mel = {
        .pcm = pcm, .pcm_count = 1000, .total = 1000, .first = 0, .count = 1};

    setenv("LS_SHIM_ORDER", order, 1);
    rig = rig_open("fp32", BATCH, cache_bytes);
    for (int i = 0; i < BATCHES; i++) {
        batch_fill(&batch[i], batches[i].scene, batches[i].count, keys);
        start(&rig, &batch[i], order);
        CHECK(rig.ops->mel(rig.lane, i ? again : column, &mel, NULL) == 0, order);
        if (i > 0)
            finish(&rig, order);
    }
    finish(&rig, order);
    CHECK(memcmp(column, again, sizeof column) == 0, "mel while faces are made");
    for (int i = 0; i < BATCHES; i++) {
        check_batch(order, &batch[i], batches[i].scene);
        batch_free(&batch[i]);
    }
    rig_close(&rig);
    setenv("LS_SHIM_ORDER", "now", 1);
}

// Frames whose planes are in the device's memory.
static void check_on_device(void)
{
    static struct batch b;
    static const int scene[] = {0, 1, 3, 4, 5, 6, 7};
    struct rig rig = rig_open("fp32", BATCH, 0);
    struct ls_frame frame[7];
    struct ls_err err = {0};
    void *memory[7];

    batch_fill(&b, scene, 7, false);
    for (int i = 0; i < b.count; i++) {
        struct picture *p = &b.picture[i];
        struct ls_copy copy = {.from = p->memory,
                               .to_stride = p->size,
                               .from_stride = p->size,
                               .row_size = p->size,
                               .row_count = 1,
                               .to_device = true};

        CHECK(rig.ops->memory_alloc(rig.be, &memory[i], p->size, &err) == 0, err.text);
        copy.to = memory[i];
        CHECK(rig.ops->copy(rig.be, &copy, &err) == 0, err.text);
        frame[i] = p->frame;
        frame[i].on_device = true;
        for (int k = 0; k < 3; k++)
            if (p->frame.plane[k])
                frame[i].plane[k] = (uint8_t *)memory[i] + (p->frame.plane[k] - p->memory);
        b.job[i].frame = &frame[i];
    }
    start(&rig, &b, "frames on the device");
    finish(&rig, "frames on the device");
    for (int i = 0; i < b.count; i++) {
        struct picture *p = &b.picture[i];
        struct ls_copy copy = {.to = p->memory,
                               .from = memory[i],
                               .to_stride = p->size,
                               .from_stride = p->size,
                               .row_size = p->size,
                               .row_count = 1,
                               .from_device = true};

        CHECK(rig.ops->copy(rig.be, &copy, &err) == 0, err.text);
        rig.ops->memory_free(rig.be, &memory[i]);
    }
    check_batch("frames on the device", &b, scene);
    batch_free(&b);
    rig_close(&rig);
}

// A job that cannot be done is its own affair.
static void check_faults(void)
{
    static struct batch b;
    static const int scene[] = {2, 0, 2, 7};
    struct rig rig = rig_open("fp32", BATCH, 1 << 20);

    batch_fill(&b, scene, 4, true);
    b.job[0].paste.box = (struct ls_box){200, 200, 300, 300};
    b.job[1].paste.exact = true; // not an RGB24 frame
    start(&rig, &b, "faults");
    finish(&rig, "faults");
    CHECK(b.job[0].err.code == LS_EFIELD && b.job[1].err.code == LS_EFIELD, "faults are told");
    for (int i = 0; i < 4; i++) {
        const struct picture *w = i < 2 ? original : want;

        CHECK(i < 2 || b.job[i].err.code == 0, "a fault's neighbour");
        CHECK(memcmp(b.picture[i].memory, w[scene[i]].memory, b.picture[i].size) == 0,
              "a fault's neighbour");
    }
    batch_free(&b);
    // And with nothing else in the batch.
    batch_fill(&b, scene, 1, false);
    b.job[0].paste.box = (struct ls_box){200, 200, 300, 300};
    start(&rig, &b, "only faults");
    finish(&rig, "only faults");
    CHECK(b.job[0].err.code == LS_EFIELD, "only faults");
    batch_free(&b);
    rig_close(&rig);
}

// --- what is known of a face ---------------------------------------------------------------------

// The scene's frame with other pixels, under the scene's key: if the face is taken as known, its
// features are those of the old pixels.
static bool is_taken_as_known(struct rig *rig, int scene)
{
    static struct batch by_key, fresh;
    bool same;

    batch_fill(&by_key, &scene, 1, true);
    batch_fill(&fresh, &scene, 1, false);
    for (size_t i = 0; i < by_key.picture[0].size; i++)
        by_key.picture[0].memory[i] = fresh.picture[0].memory[i] = (uint8_t)(i * 37 >> 3);
    start(rig, &by_key, "by key");
    start(rig, &fresh, "fresh");
    finish(rig, "by key");
    finish(rig, "fresh");
    same = !memcmp(by_key.picture[0].memory, fresh.picture[0].memory, fresh.picture[0].size);
    batch_free(&by_key);
    batch_free(&fresh);
    return !same;
}

static void run_once(struct rig *rig, int scene, uint64_t key)
{
    static struct batch b;

    batch_fill(&b, &scene, 1, false);
    b.job[0].source_key = key;
    start(rig, &b, "once");
    finish(rig, "once");
    check_batch("once", &b, &scene);
    batch_free(&b);
}

static void check_known(void)
{
    struct rig rig = rig_open("fp32", 1, 0);

    run_once(&rig, 0, 1);
    CHECK(!is_taken_as_known(&rig, 0), "nothing is kept when no memory is given");
    rig_close(&rig);
    rig = rig_open("fp32", 1, 1); // a byte: the records of batches in flight alone, two of them
    run_once(&rig, 0, 1);
    CHECK(is_taken_as_known(&rig, 0), "a face is known");
    run_once(&rig, 2, 1); // exact: not what the key stands for otherwise
    run_once(&rig, 0, 1);
    run_once(&rig, 2, 1);
    run_once(&rig, 1, 77);
    run_once(&rig, 1, 78);
    CHECK(!is_taken_as_known(&rig, 0), "a face is forgotten after others");
    rig_close(&rig);
}

// --- many pixels ---------------------------------------------------------------------------------

// More than goes in one pass: the first ones are back when the last one is still in flight.
static void check_pieces(void)
{
    enum { COUNT = 3, SIDE = 5000 };
    struct rig rig = rig_open("fp32", COUNT, 1 << 20);
    struct ls_face_job job[COUNT], alone;
    struct picture p[COUNT], single;
    struct ls_paste paste = {.box = {10, 10, SIDE - 10, SIDE - 10},
                             .mask = LS_MASK_MOUTH,
                             .mouth = {0.5f, 0.75f, 0.03f, 0.03f},
                             .feather_px = 2,
                             .colour_match = 1,
                             .strength = 1};
    struct ls_frame shape = {.width_px = SIDE, .height_px = SIDE, .format = LS_PIX_I420};
    float mel[MEL] = {1, 2, 3};
    struct ls_err err = {0};

    for (int i = 0; i < COUNT; i++) {
        p[i] = picture_new(&shape, FILL_BLACK, 5);
        job[i] = (struct ls_face_job){.frame = &p[i].frame, .paste = paste, .mel = mel};
    }
    single = picture_copy(&p[0]);
    alone = job[0];
    alone.frame = &single.frame;
    CHECK(rig.ops->faces_start(rig.lane, job, COUNT, &err) == 0, err.text);
    CHECK(rig.ops->faces_start(rig.lane, &alone, 1, &err) == 0, err.text);
    CHECK(memcmp(p[2].memory, p[0].memory, p[0].size) != 0, "the last one is in flight");
    CHECK(rig.ops->faces_finish(rig.lane, &err) == 0, err.text);
    CHECK(rig.ops->faces_finish(rig.lane, &err) == 0, err.text);
    for (int i = 0; i < COUNT; i++) {
        CHECK(memcmp(p[i].memory, single.memory, single.size) == 0, "large frames");
        picture_free(&p[i]);
    }
    picture_free(&single);
    rig_close(&rig);
}

// --- what fails ----------------------------------------------------------------------------------

// Every call to the device fails once, in two batches in flight; then all goes well again.
static void check_failures_of_calls(void)
{
    static struct batch b, c;
    static const int first[] = {0, 2, 4}, second[] = {2, 7};
    struct rig rig = rig_open("fp32", BATCH, 1 << 20);
    struct ls_err err;
    bool failed = true;
    int r, call;

    for (call = 1; failed; call++) {
        bool c_runs;

        batch_fill(&b, first, 3, true);
        batch_fill(&c, second, 2, true);
        // The larger half of the calls is that of programs on first use: each call fails once, so
        // they are made in time.
        ls_shim_fail(call);
        err = (struct ls_err){0};
        r = rig.ops->faces_start(rig.lane, b.job, b.count, &err);
        failed = r < 0;
        if (r < 0)
            CHECK(memcmp(b.picture[0].memory, original[0].memory, b.picture[0].size) == 0 &&
                      (err.code == LS_EDEVICE || err.code == LS_ENOMEM) && err.text[0],
                  "a batch that was not begun");
        if (r < 0)
            start(&rig, &b, "again");
        c_runs = rig.ops->faces_start(rig.lane, c.job, c.count, &err) == 0;
        failed = failed || !c_runs;
        r = rig.ops->faces_finish(rig.lane, &err);
        failed = failed || r < 0;
        if (r == 0)
            check_batch("beside a failed call", &b, first);
        if (c_runs) {
            r = rig.ops->faces_finish(rig.lane, &err);
            failed = failed || r < 0;
            if (r == 0)
                check_batch("beside a failed call", &c, second);
        }
        ls_shim_fail(0);
        batch_free(&b);
        batch_free(&c);
        // What was put away is right, or was forgotten.
        batch_fill(&b, first, 3, true);
        start(&rig, &b, "after a failed call");
        finish(&rig, "after a failed call");
        check_batch("after a failed call", &b, first);
        batch_free(&b);
    }
    CHECK(call > 20, "calls were made to fail");
    rig_close(&rig);
}

// A back end that cannot be opened leaves nothing behind (address sanitizer looks).
static void check_failures_of_open(void)
{
    static const struct {
        const char *variable, *value, *line;
    } lines[] = {
        {"LS_SHIM_DRIVER", "0", "no NVIDIA driver that CUDA 13.0 can use: none is loaded"},
        {"LS_SHIM_DRIVER", "12040",
         "no NVIDIA driver that CUDA 13.0 can use: the one here is for CUDA 12.4"},
        {"LS_SHIM_DEVICES", "0", "no CUDA device"},
        {"LS_SHIM_SM", "70", "is an sm_70 device: 7.5 or newer is needed"},
        {"LS_SHIM_MEMORY_MB", "20", "20 MiB of device memory free, "},
    };
    struct ls_backend_params params = {
        .name = "cuda", .model = &model, .batch_max = 2, .arithmetic = "fp16"};
    const struct ls_backend_ops *ops = ls_cuda_module.ops;
    struct ls_err err;
    void *be = NULL;
    int r = -1, call;

    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
        setenv(lines[i].variable, lines[i].value, 1);
        err = (struct ls_err){0};
        r = ops->open(&be, &params, &err);
        if (!CHECK(r == LS_EDEVICE && strstr(err.text, lines[i].line), lines[i].line))
            printf("  %d, \"%s\"\n", r, err.text);
        unsetenv(lines[i].variable);
    }
    params.arithmetic = "bf16";
    CHECK(ops->open(&be, &params, &err) == LS_EFIELD, "an arithmetic that is not known");
    params.arithmetic = "tf32";
    setenv("LS_SHIM_SM", "75", 1);
    CHECK(ops->open(&be, &params, &err) == LS_EDEVICE, "tf32 on an old device");
    unsetenv("LS_SHIM_SM");
    for (call = 1, r = -1; r < 0; call++) {
        err = (struct ls_err){0};
        ls_shim_fail(call);
        r = ops->open(&be, &params, &err);
        ls_shim_fail(0);
        CHECK(r == 0 || err.text[0], "an open that fails says why");
    }
    CHECK(call > 50, "opens were made to fail");
    ops->close(&be);
}

int main(void)
{
    static const char *const orders[] = {"now", "late", "random:1", "random:2", "random:3"};

    setenv("LS_SHIM_PROTECT", "1", 1);
    setenv("LS_SHIM_ORDER", "now", 1);
    make_model();
    check_scenes("fp32", 3);
    check_scenes("fp16", 4);
    for (size_t i = 0; i < sizeof orders / sizeof orders[0]; i++) {
        check_pipeline(orders[i], false, 0);
        check_pipeline(orders[i], true, 1 << 20);
    }
    check_pipeline("random:4", true, 1);
    check_on_device();
    check_faults();
    check_known();
    check_pieces();
    check_failures_of_calls();
    check_failures_of_open();
    for (int i = 0; i < SCENES; i++) {
        picture_free(&want[i]);
        picture_free(&original[i]);
    }
    ls_net_free(&model.generator);
    return check_done();
}
