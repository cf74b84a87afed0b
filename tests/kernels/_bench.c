// SPDX-License-Identifier: Apache-2.0
// Measures every operation of ref and the fast back ends (_bench.h). Each case is warmed up, then
// run until it has had its share of time; the median counts, the spread is the distance from the
// first to the third quartile. One thread: lanes are how a back end uses more cores, and two lanes
// on two cores are twice one (COMPUTE section 2.2). Processors are measured in their own time, so
// that other jobs do not show; a device by the clock on the wall, with frames and faces on the host
// (bench/device has its kernels alone).
#include "tests/kernels/_bench.h"

#include <time.h>

#include "kernels/backend.h"
#include "kernels/paste.h"
#include "tests/kernels/_made.h"
#include "tests/kernels/_pictures.h"
#include "tests/unit/_check.h"

enum {
    BATCH_MAX = 16,
    DEVICE_BATCH_MAX = 64,
    FACE_BYTES = 96 * 96 * 3,
    WINDOW = LS_MEL_WINDOW * LS_MEL_BANDS,
    RUNS_MAX = 200
};

struct subject {
    struct ls_lane *lane;
    int count; // items of generate
    uint8_t *face;
    float *mel, *out, *pcm;
    struct picture picture;
    struct ls_paste paste;
    // A face of a size, as a generator makes it from what was cut out of the picture.
    struct picture face_picture;
    struct ls_paste face_paste;
    uint8_t *source;
    float *made;
    // Whole faces: two batches that take turns.
    int depth;
    struct picture *pictures; // [2][DEVICE_BATCH_MAX]
    struct ls_face_job job[2][DEVICE_BATCH_MAX];
    int turn;
};

static bool as_csv, by_wall;

static double now_s(void)
{
    struct timespec t;

    clock_gettime(by_wall ? CLOCK_MONOTONIC : CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static void print_value(const char *name, double value, const char *unit)
{
    printf(as_csv ? "kernels,%s,%.4g,%s\n" : "%-44s %10.4g %s\n", name, value, unit);
}

// Runs of one case: items per second of processor time, or 0 if it cannot run.
static double measure(const char *name, int (*run)(struct subject *), struct subject *s, int items,
                      const char *unit, double ref_rate)
{
    double took[RUNS_MAX], total = 0, median;
    char row[96];
    int n = 0;

    if (run(s) < 0) {
        printf("SKIP: %s\n", name);
        return 0;
    }
    while (n < RUNS_MAX && (n < 3 || total < 0.7) && (n < 1 || total < 4)) {
        double start = now_s();

        (void)run(s);
        took[n] = now_s() - start;
        total += took[n++];
    }
    qsort(took, (size_t)n, sizeof took[0], by_size);
    median = took[n / 2];
    print_value(name, items / median, unit);
    snprintf(row, sizeof row, "%s spread", name);
    print_value(row, 100 * (took[n * 3 / 4] - took[n / 4]) / median, "percent");
    if (ref_rate > 0) {
        snprintf(row, sizeof row, "%s over ref", name);
        print_value(row, items / median / ref_rate, "times");
    }
    return items / median;
}

static int run_generate(struct subject *s)
{
    return ls_generate(s->lane, s->out, s->face, s->mel, s->count, NULL);
}

static int run_generate_low(struct subject *s)
{
    struct ls_int_box part[DEVICE_BATCH_MAX];
    struct ls_generate_job job = {
        .out = s->out, .face = s->face, .mel = s->mel, .part = part, .count = s->count};

    for (int i = 0; i < s->count; i++)
        ls_paste_reads(&part[i], &s->paste);
    return ls_generate_part(s->lane, &job, NULL);
}

static int run_generate_known(struct subject *s)
{
    uint64_t key[DEVICE_BATCH_MAX];
    struct ls_int_box part[DEVICE_BATCH_MAX];
    struct ls_generate_job job = {.out = s->out,
                                  .face = s->face,
                                  .mel = s->mel,
                                  .part = part,
                                  .source_key = key,
                                  .count = s->count};

    for (int i = 0; i < s->count; i++) {
        ls_paste_reads(&part[i], &s->paste);
        key[i] = (uint64_t)i + 1;
    }
    return ls_generate_part(s->lane, &job, NULL);
}

static int run_mel(struct subject *s)
{
    struct ls_mel_job job = {s->pcm, 0, 2 * LS_SAMPLE_RATE, -1, 3, 80};

    return ls_mel(s->lane, s->out, &job, NULL);
}

static int run_crop(struct subject *s)
{
    return ls_crop(s->lane, s->face, &s->picture.frame, &s->paste.box, 0, false, NULL);
}

static int run_composite(struct subject *s)
{
    return ls_composite(s->lane, &s->picture.frame, &s->paste, NULL);
}

static int run_face_crop(struct subject *s)
{
    return ls_crop(s->lane, s->source, &s->face_picture.frame, &s->face_paste.box,
                   s->face_paste.roll_rad, false, NULL);
}

static int run_face_composite(struct subject *s)
{
    return ls_composite(s->lane, &s->face_picture.frame, &s->face_paste, NULL);
}

static int run_detect(struct subject *s)
{
    struct ls_face faces[LS_FACES_MAX];
    int count;

    return ls_detect(s->lane, faces, &count, &s->picture.frame, NULL, NULL);
}

static void subject_init(struct subject *s)
{
    static const struct ls_frame hd = {.width_px = 1280, .height_px = 720};
    uint64_t seed = 1;

    s->face = malloc(DEVICE_BATCH_MAX * FACE_BYTES);
    s->out = calloc(DEVICE_BATCH_MAX * FACE_BYTES, sizeof(float));
    s->mel = malloc(DEVICE_BATCH_MAX * LS_MEL_WINDOW * LS_MEL_BANDS * sizeof(float));
    s->pcm = malloc(2 * LS_SAMPLE_RATE * sizeof(float));
    s->source = malloc(FACE_BYTES);
    s->made = malloc(FACE_BYTES * sizeof(float));
    if (!s->face || !s->out || !s->mel || !s->pcm || !s->source || !s->made)
        abort();
    for (int i = 0; i < DEVICE_BATCH_MAX * FACE_BYTES; i++)
        s->face[i] = (uint8_t)random_next(&seed);
    for (int i = 0; i < DEVICE_BATCH_MAX * LS_MEL_WINDOW * LS_MEL_BANDS; i++)
        s->mel[i] = random_float(&seed, -4, 4);
    for (int i = 0; i < 2 * LS_SAMPLE_RATE; i++)
        s->pcm[i] = random_float(&seed, -1, 1);
    s->picture = picture_new(&hd, FILL_SMOOTH, 1);
    s->paste = (struct ls_paste){.box = {500, 200, 800, 560},
                                 .face = s->out,
                                 .source = s->face,
                                 .mask = LS_MASK_LOWER_FACE,
                                 .feather_px = 8,
                                 .mouth = {0.5f, 0.79f, 0.24f, 0.17f},
                                 .colour_match = 1,
                                 .strength = 1,
                                 .sharpness = 1};
}

static void subject_done(struct subject *s)
{
    for (int i = 0; s->pictures && i < 2 * DEVICE_BATCH_MAX; i++)
        picture_free(&s->pictures[i]);
    free(s->pictures);
    free(s->face);
    free(s->out);
    free(s->mel);
    free(s->pcm);
    free(s->source);
    free(s->made);
    picture_free(&s->picture);
}

// What is measured: a back end with a model, by one arithmetic of its own.
struct bench_case {
    const char *back_end, *module, *arithmetic;
    const char *model_name;
    const struct ls_model *model;
    bool generate_only;
};

// A face of 1280x720: what is cut out of it and put back.
struct face_shape {
    float width, height, roll_rad;
    enum ls_pixel format;
};

static const struct {
    const char *name, *unit;
    int (*run)(struct subject *);
    int items;
    struct face_shape face; // of 0: the subject's, which is noise
} operations[] = {
    {"mel", "column/s", run_mel, 80, {0, 0, 0, LS_PIX_I420}},
    {"crop", "face/s", run_crop, 1, {0, 0, 0, LS_PIX_I420}},
    {"crop 600x700 I420", "face/s", run_face_crop, 1, {600, 700, 0, LS_PIX_I420}},
    {"crop 300x360 I420 turned", "face/s", run_face_crop, 1, {300, 360, 0.12f, LS_PIX_I420}},
    {"crop 300x360 RGB24", "face/s", run_face_crop, 1, {300, 360, 0, LS_PIX_RGB24}},
    {"composite 300x360 I420", "face/s", run_composite, 1, {0, 0, 0, LS_PIX_I420}},
    {"composite face 120x144 I420", "face/s", run_face_composite, 1, {120, 144, 0, LS_PIX_I420}},
    {"composite face 300x360 I420", "face/s", run_face_composite, 1, {300, 360, 0, LS_PIX_I420}},
    {"composite face 600x700 I420", "face/s", run_face_composite, 1, {600, 700, 0, LS_PIX_I420}},
    {"composite face 300x360 I420 turned",
     "face/s",
     run_face_composite,
     1,
     {300, 360, 0.12f, LS_PIX_I420}},
    {"composite face 300x360 RGB24", "face/s", run_face_composite, 1, {300, 360, 0, LS_PIX_RGB24}},
    {"detect 1280x720", "frame/s", run_detect, 1, {0, 0, 0, LS_PIX_I420}},
};
enum { OPERATIONS = sizeof operations / sizeof operations[0] };

static void face_init(struct subject *s, const struct face_shape *shape)
{
    const struct ls_frame hd = {.width_px = 1280, .height_px = 720, .format = shape->format};

    s->face_picture = picture_new(&hd, FILL_SMOOTH, 2);
    s->face_paste = s->paste;
    s->face_paste.box = (struct ls_box){640.3f - shape->width / 2, 360.6f - shape->height / 2,
                                        640.3f + shape->width / 2, 360.6f + shape->height / 2};
    s->face_paste.roll_rad = shape->roll_rad;
    if (run_face_crop(s) < 0)
        abort();
    make_face(s->made, s->source, 5);
    s->face_paste.source = s->source;
    s->face_paste.face = s->made;
}

// Returns its rate.
static double bench_operation(const struct bench_case *c, struct subject *s, int i, double ref_rate)
{
    char row[64];
    double rate;

    snprintf(row, sizeof row, "%s %s", c->back_end, operations[i].name);
    if (operations[i].face.width > 0)
        face_init(s, &operations[i].face);
    rate = measure(row, operations[i].run, s, operations[i].items, operations[i].unit, ref_rate);
    if (operations[i].face.width > 0)
        picture_free(&s->face_picture);
    return rate;
}

// One batch is begun before the other is waited for, as the service does.
static int run_faces(struct subject *s)
{
    int r = ls_faces_start(s->lane, s->job[s->turn], s->count, NULL);

    s->turn = (s->turn + 1) % 2;
    return r < 0 ? r : ls_faces_finish(s->lane, NULL);
}

static int start_faces(struct subject *s)
{
    if (!s->pictures) {
        s->pictures = calloc((size_t)2 * DEVICE_BATCH_MAX, sizeof *s->pictures);
        if (!s->pictures)
            abort();
        for (int i = 0; i < 2 * DEVICE_BATCH_MAX; i++)
            s->pictures[i] = picture_copy(&s->picture);
    }
    for (int i = 0; i < 2 * DEVICE_BATCH_MAX; i++)
        s->job[i / DEVICE_BATCH_MAX][i % DEVICE_BATCH_MAX] =
            (struct ls_face_job){.frame = &s->pictures[i].frame,
                                 .paste = s->paste,
                                 .mel = s->mel + i % DEVICE_BATCH_MAX * WINDOW};
    s->turn = 0;
    return s->depth > 1 ? ls_faces_start(s->lane, s->job[1], s->count, NULL) : 0;
}

static const char *row_of(const struct bench_case *c, const char *what, int count)
{
    static char row[96];

    snprintf(row, sizeof row, "%s%s%s generate %s batch %d%s", c->back_end,
             c->arithmetic ? " " : "", c->arithmetic ? c->arithmetic : "", c->model_name, count,
             what);
    return row;
}

static void bench_faces(const struct bench_case *c, struct subject *s)
{
    char row[96];

    for (s->count = 1; s->count <= DEVICE_BATCH_MAX; s->count *= 4) {
        snprintf(row, sizeof row, "%s %s faces 1280x720 %s batch %d", c->back_end, c->arithmetic,
                 c->model_name, s->count);
        if (start_faces(s) < 0) {
            printf("SKIP: %s\n", row);
            return;
        }
        measure(row, run_faces, s, s->count, "frame/s", 0);
        if (s->depth > 1 && ls_faces_finish(s->lane, NULL) < 0)
            printf("SKIP: the last batch of %s\n", row);
    }
}

static void bench_generate(const struct bench_case *c, struct subject *s, double *ref_rate)
{
    bool is_ref = !strcmp(c->back_end, "ref");
    int largest = is_ref ? 1 : by_wall ? DEVICE_BATCH_MAX : BATCH_MAX;
    int some = by_wall ? DEVICE_BATCH_MAX : 4;

    for (s->count = 1; s->count <= largest; s->count *= 2) {
        double r = measure(row_of(c, "", s->count), run_generate, s, s->count, "frame/s",
                           is_ref ? 0 : *ref_rate);

        *ref_rate = is_ref ? r : *ref_rate;
    }
    if (is_ref)
        return;
    s->count = some;
    measure(row_of(c, " lower face", some), run_generate_low, s, some, "frame/s", *ref_rate);
    if (!by_wall)
        measure(row_of(c, " lower face known", some), run_generate_known, s, some, "frame/s",
                *ref_rate);
    s->paste.mask = LS_MASK_MOUTH;
    measure(row_of(c, " mouth", some), run_generate_low, s, some, "frame/s", *ref_rate);
    s->paste.mask = LS_MASK_LOWER_FACE;
}

// Ranges of the very items that are measured: the values do not matter here.
static int calibrate(struct ls_calibration *out, const struct ls_model *model, struct subject *s,
                     struct ls_err *err)
{
    struct ls_backend_params params = {.name = "cpu", .model = model, .batch_max = BATCH_MAX};
    struct ls_backend *be = NULL;
    int r = ls_ranges_new(&params.ranges, model->generator, err);

    if (r == 0)
        r = ls_backend_open(&be, &params, err);
    if (r == 0)
        r = ls_lane_open(&s->lane, be, err);
    if (r == 0)
        r = ls_generate(s->lane, s->out, s->face, s->mel, 4, err);
    if (r == 0)
        ls_ranges_calibration(out, params.ranges, 100);
    ls_lane_close(&s->lane);
    ls_backend_close(&be);
    ls_ranges_free(&params.ranges);
    return r;
}

// rate: what ref reached in each operation, and in generate; filled when the back end is ref.
static void bench_back_end(const struct bench_case *c, struct subject *s,
                           double rate[OPERATIONS + 1])
{
    bool is_ref = !strcmp(c->back_end, "ref");
    struct ls_backend_params params = {.name = c->back_end,
                                       .model = c->model,
                                       .batch_max = by_wall ? DEVICE_BATCH_MAX : BATCH_MAX,
                                       .arithmetic = c->arithmetic,
                                       .module = c->module,
                                       .face_cache_bytes = 64 << 20};
    struct ls_calibration calibration;
    struct ls_backend *be = NULL;
    struct ls_err err = {0};

    s->lane = NULL;
    if (c->arithmetic && !strcmp(c->arithmetic, "int8") &&
        calibrate(&calibration, c->model, s, &err) == 0)
        params.calibration = &calibration;
    if (ls_backend_open(&be, &params, &err) < 0 || ls_lane_open(&s->lane, be, &err) < 0) {
        printf("SKIP: %s: %s\n", c->back_end, err.text);
        ls_backend_close(&be);
        return;
    }
    s->depth = ls_backend_faces_depth(be);
    bench_generate(c, s, &rate[OPERATIONS]);
    if (s->depth > 0)
        bench_faces(c, s);
    for (int i = 0; i < OPERATIONS && !c->generate_only; i++) {
        double r;

        if (operations[i].run == run_detect && c->model->detector == LS_DETECTOR_NONE)
            continue;
        r = bench_operation(c, s, i, is_ref ? 0 : rate[i]);
        rate[i] = is_ref ? r : rate[i];
    }
    ls_lane_close(&s->lane);
    ls_backend_close(&be);
}

// The back ends of a model, or the one that was asked for, by all its arithmetics.
static void bench_model(const struct bench_params *asked, struct bench_case *c, struct subject *s)
{
    static const struct {
        const char *back_end, *arithmetic;
    } usual[] = {{"ref", NULL}, {"cpu", "fp32"}, {"cpu", "bf16"}, {"cpu", "int8"}};
    static const char *const arithmetics[] = {"fp16", "tf32", "fp32"};
    double rate[OPERATIONS + 1] = {0};
    bool generate_only = c->generate_only;

    if (!by_wall)
        for (int i = 0; i < 4; i++) {
            if (asked->back_end && strcmp(asked->back_end, usual[i].back_end) != 0)
                continue;
            c->back_end = usual[i].back_end;
            c->arithmetic = usual[i].arithmetic;
            c->generate_only =
                generate_only || (c->arithmetic && strcmp(c->arithmetic, "fp32") != 0);
            bench_back_end(c, s, rate);
        }
    else
        for (int i = 0; i < 3; i++) {
            c->back_end = asked->back_end;
            c->module = asked->module;
            c->arithmetic = arithmetics[i];
            c->generate_only = generate_only || i > 0;
            bench_back_end(c, s, rate);
        }
}

int bench(const struct bench_params *asked)
{
    static const struct {
        const char *name;
        struct ls_model_params params;
    } models[] = {{"demo", {.generator_path = "kernels/demo/lipstream_demo_fp16.safetensors"}},
                  {"wide", {.seed = 1, .seed_wide = true}}};
    struct subject s = {0};
    char detector[512];
    FILE *file;

    as_csv = asked->csv;
    by_wall = asked->back_end && !strcmp(asked->back_end, "cuda");
    subject_init(&s);
    snprintf(detector, sizeof detector, "%s/models/yunet/face_detection_yunet_2023mar.onnx",
             check_shared());
    file = fopen(detector, "rb");
    if (file)
        fclose(file);
    for (int m = 0; m < 2; m++) {
        struct ls_model_params params = models[m].params;
        struct ls_model *model = NULL;
        struct ls_err err = {0};

        if (file && m == 0)
            params.detector_path = detector;
        if (ls_model_open(&model, &params, &err) < 0) {
            printf("SKIP: %s: %s\n", models[m].name, err.text);
            continue;
        }
        bench_model(asked,
                    &(struct bench_case){
                        .model_name = models[m].name, .model = model, .generate_only = m > 0},
                    &s);
        ls_model_close(&model);
    }
    subject_done(&s);
    return 0;
}
