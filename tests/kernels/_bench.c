// SPDX-License-Identifier: Apache-2.0
// Measures every operation of ref and the fast back ends (_bench.h). Each case is warmed up, then
// run until it has had its share of processor time; the median counts, the spread is the distance
// from the first to the third quartile. One thread: lanes are how a back end uses more cores, and
// two lanes on two cores are twice one (COMPUTE section 2.2).
#include "tests/kernels/_bench.h"

#include <time.h>

#include "kernels/backend.h"
#include "tests/kernels/_pictures.h"
#include "tests/unit/_check.h"

enum { BATCH_MAX = 16, FACE_BYTES = 96 * 96 * 3, RUNS_MAX = 200 };

struct subject {
    struct ls_lane *lane;
    int count; // items of generate
    uint8_t *face;
    float *mel, *out, *pcm;
    struct picture picture;
    struct ls_paste paste;
};

static bool as_csv;

static double now_s(void)
{
    struct timespec t;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
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
    uint8_t row_first[BATCH_MAX];
    struct ls_generate_job job = {s->out, s->face, s->mel, row_first, s->count};

    memset(row_first, ls_paste_row_first(&s->paste), sizeof row_first);
    return ls_generate_rows(s->lane, &job, NULL);
}

static int run_mel(struct subject *s)
{
    struct ls_mel_job job = {s->pcm, 0, 2 * LS_SAMPLE_RATE, -1, 3, 80};

    return ls_mel(s->lane, s->out, &job, NULL);
}

static int run_crop(struct subject *s)
{
    return ls_crop(s->lane, s->face, &s->picture.frame, &s->paste.box, false, NULL);
}

static int run_composite(struct subject *s)
{
    return ls_composite(s->lane, &s->picture.frame, &s->paste, NULL);
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

    s->face = malloc(BATCH_MAX * FACE_BYTES);
    s->out = calloc(BATCH_MAX * FACE_BYTES, sizeof(float));
    s->mel = malloc(BATCH_MAX * LS_MEL_WINDOW * LS_MEL_BANDS * sizeof(float));
    s->pcm = malloc(2 * LS_SAMPLE_RATE * sizeof(float));
    if (!s->face || !s->out || !s->mel || !s->pcm)
        abort();
    for (int i = 0; i < BATCH_MAX * FACE_BYTES; i++)
        s->face[i] = (uint8_t)random_next(&seed);
    for (int i = 0; i < BATCH_MAX * LS_MEL_WINDOW * LS_MEL_BANDS; i++)
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
                                 .strength = 1};
}

static void subject_done(struct subject *s)
{
    free(s->face);
    free(s->out);
    free(s->mel);
    free(s->pcm);
    picture_free(&s->picture);
}

static const struct {
    const char *name, *unit;
    int (*run)(struct subject *);
    int items;
} operations[] = {
    {"mel", "column/s", run_mel, 80},
    {"crop", "face/s", run_crop, 1},
    {"composite 300x360 I420", "face/s", run_composite, 1},
    {"detect 1280x720", "frame/s", run_detect, 1},
};
enum { OPERATIONS = sizeof operations / sizeof operations[0] };

// rate: what ref reached in each operation, and in generate; filled when the back end is ref.
static void bench_back_end(const char *name, const char *model_name, const struct ls_model *model,
                           struct subject *s, double rate[OPERATIONS + 1], bool generate_only)
{
    bool is_ref = !strcmp(name, "ref");
    struct ls_backend *be = NULL;
    struct ls_err err = {0};
    char row[64];

    s->lane = NULL;
    if (ls_backend_open(
            &be, &(struct ls_backend_params){.name = name, .model = model, .batch_max = BATCH_MAX},
            &err) < 0 ||
        ls_lane_open(&s->lane, be, &err) < 0) {
        printf("SKIP: %s: %s\n", name, err.text);
        ls_backend_close(&be);
        return;
    }
    for (s->count = 1; s->count <= (is_ref ? 1 : BATCH_MAX); s->count *= 2) {
        double r;

        snprintf(row, sizeof row, "%s generate %s batch %d", name, model_name, s->count);
        r = measure(row, run_generate, s, s->count, "frame/s", is_ref ? 0 : rate[OPERATIONS]);
        rate[OPERATIONS] = is_ref ? r : rate[OPERATIONS];
    }
    s->count = 4;
    snprintf(row, sizeof row, "%s generate %s batch 4 lower face", name, model_name);
    if (!is_ref)
        measure(row, run_generate_low, s, s->count, "frame/s", rate[OPERATIONS]);
    s->paste.mask = LS_MASK_MOUTH;
    snprintf(row, sizeof row, "%s generate %s batch 4 mouth", name, model_name);
    if (!is_ref)
        measure(row, run_generate_low, s, s->count, "frame/s", rate[OPERATIONS]);
    s->paste.mask = LS_MASK_LOWER_FACE;
    for (int i = 0; i < OPERATIONS && !generate_only; i++) {
        double r;

        if (operations[i].run == run_detect && model->detector == LS_DETECTOR_NONE)
            continue;
        snprintf(row, sizeof row, "%s %s", name, operations[i].name);
        r = measure(row, operations[i].run, s, operations[i].items, operations[i].unit,
                    is_ref ? 0 : rate[i]);
        rate[i] = is_ref ? r : rate[i];
    }
    ls_lane_close(&s->lane);
    ls_backend_close(&be);
}

int bench(const struct bench_params *asked)
{
    static const char *const names[] = {"ref", "cpu"};
    static const struct {
        const char *name;
        struct ls_model_params params;
    } models[] = {{"demo", {.generator_path = "kernels/demo/lipstream_demo_fp16.safetensors"}},
                  {"wide", {.seed = 1, .seed_wide = true}}};
    struct subject s = {0};
    char detector[512];
    FILE *file;

    as_csv = asked->csv;
    subject_init(&s);
    snprintf(detector, sizeof detector, "%s/models/yunet/face_detection_yunet_2023mar.onnx",
             check_shared());
    file = fopen(detector, "rb");
    if (file)
        fclose(file);
    for (int m = 0; m < 2; m++) {
        struct ls_model_params params = models[m].params;
        double rate[OPERATIONS + 1] = {0};
        struct ls_model *model = NULL;
        struct ls_err err = {0};

        if (file && m == 0)
            params.detector_path = detector;
        if (ls_model_open(&model, &params, &err) < 0) {
            printf("SKIP: %s: %s\n", models[m].name, err.text);
            continue;
        }
        for (int i = 0; i < 2; i++)
            bench_back_end(names[i], models[m].name, model, &s, rate, m > 0);
        ls_model_close(&model);
    }
    subject_done(&s);
    return 0;
}
