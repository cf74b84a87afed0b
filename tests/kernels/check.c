// SPDX-License-Identifier: Apache-2.0
// Every operation of the fast back ends against ref, on random, extreme and odd-sized data; then
// that batch size, lane and thread do not change one byte of what is generated. With --bench (and
// --csv) it measures instead (_bench.c). LS_DETECTOR names the detector's weights, else LS_SHARED
// the folder with YuNet's; without them the detector's rows are left out by name.
#include "kernels/backend.h"
#include "kernels/cpu/dnn.h"
#include "tests/kernels/_bench.h"
#include "tests/kernels/_narrow.h"
#include "tests/kernels/_pair.h"
#include "tests/kernels/_pictures.h"
#include "tests/unit/_check.h"

enum faces { NO_FACES, FACES, LEVELS }; // LEVELS: the model wants them

// A model, what it is computed with, and how near to ref.
struct subject {
    const char *name;
    struct ls_model_params model; // neither path nor seed: the narrow one
    const char *arithmetic;
    struct generate_check generate;
    const char *order; // of the shim's streams
    bool whole;        // the operations around the generator too
    enum faces faces;  // and whole faces, where the back end takes them
};

static int model_open(struct ls_model **out, const struct ls_model_params *params,
                      struct ls_err *err)
{
    return params->generator_path || params->seed ? ls_model_open(out, params, err)
                                                  : narrow_open(out, params->detector_path, err);
}

static bool pair_open(struct pair *p, const char *name, const char *module,
                      const struct subject *subject)
{
    const char *both[] = {"ref", name};
    struct ls_err err = {0};
    int r = model_open(&p->model, &subject->model, &err);

    if (r == 0 && subject->faces == LEVELS)
        p->model->input_levels = true;
    for (int i = 0; i < 2 && r == 0; i++) {
        struct ls_backend_params params = {.name = both[i],
                                           .model = p->model,
                                           .batch_max = PAIR_BATCH,
                                           .arithmetic = i ? subject->arithmetic : NULL,
                                           .module = module,
                                           .face_cache_bytes = 32 << 20};

        r = ls_backend_open(&p->back_end[i], &params, &err);
        if (r == 0)
            r = ls_lane_open(&p->lane[i], p->back_end[i], &err);
    }
    if (r < 0)
        printf("%s: %s\n", name, err.text);
    return CHECK(r == 0, subject->name);
}

static void pair_close(struct pair *p)
{
    for (int i = 0; i < 2; i++) {
        ls_lane_close(&p->lane[i]);
        ls_backend_close(&p->back_end[i]);
    }
    ls_model_close(&p->model);
}

enum voice { VOICE_NOISE, VOICE_SILENCE, VOICE_LOUD, VOICE_CLICK, VOICE_TONE, VOICE_TINY };

static void make_voice(float *pcm, int count, enum voice voice)
{
    uint64_t seed = 11;

    for (int i = 0; i < count; i++) {
        pcm[i] = 0;
        if (voice == VOICE_NOISE)
            pcm[i] = random_float(&seed, -1, 1);
        else if (voice == VOICE_LOUD)
            pcm[i] = random_next(&seed) & 1 ? 60000 : -60000;
        else if (voice == VOICE_CLICK)
            pcm[i] = i % 1500 == 700 ? 1 : 0;
        else if (voice == VOICE_TONE)
            pcm[i] = (float)sin(i * 0.3);
        else if (voice == VOICE_TINY)
            pcm[i] = random_float(&seed, -1e-6f, 1e-6f);
    }
}

// The sums differ by a double's rounding only; the logarithm of the smallest magnitudes magnifies
// it.
static void check_mel(const struct pair *p)
{
    static const struct {
        const char *name;
        enum voice voice;
        int count, first, columns, known;
    } rows[] = {
        {"mel noise", VOICE_NOISE, 16000, 0, 79, 0},
        {"mel end known", VOICE_NOISE, 16000, 0, 81, 1},
        {"mel odd length", VOICE_NOISE, 4321, 3, 19, 1},
        {"mel shortest", VOICE_NOISE, 401, 0, 3, 1},
        {"mel silence", VOICE_SILENCE, 3000, 0, 16, 1},
        {"mel loud", VOICE_LOUD, 3000, 0, 16, 1},
        {"mel clicks", VOICE_CLICK, 9000, 2, 40, 1},
        {"mel tone", VOICE_TONE, 5000, 0, 25, 1},
        {"mel tiny", VOICE_TINY, 3000, 1, 14, 1},
    };

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        static float pcm[16000], got[2][81 * LS_MEL_BANDS + 1];
        struct ls_mel_job job = {pcm,           0,
                                 rows[i].count, rows[i].known ? rows[i].count : -1,
                                 rows[i].first, rows[i].columns};
        size_t size = (size_t)rows[i].columns * LS_MEL_BANDS;
        struct ls_err err = {0};

        make_voice(pcm, rows[i].count, rows[i].voice);
        for (int k = 0; k < 2; k++) {
            got[k][size] = 12345;
            if (!CHECK(ls_mel(p->lane[k], got[k], &job, &err) == 0, rows[i].name))
                printf("%s\n", err.text);
            CHECK(got[k][size] == 12345, rows[i].name);
        }
        CHECK(differ_float(rows[i].name, got[1], got[0], size, 1e-4) <= 1e-4, rows[i].name);
    }
}

// No face is needed: with a low enough score noise has some, and those must be the same.
static void check_detect(const struct pair *p)
{
    static const struct {
        const char *name;
        struct ls_frame frame;
        struct ls_detect_params params;
        enum fill fill;
    } rows[] = {
        {"detect I420", {.width_px = 640, .height_px = 360}, {.score_min = 0.02f}, FILL_RANDOM},
        {"detect odd", {.width_px = 333, .height_px = 517}, {.score_min = 0.02f}, FILL_SMOOTH},
        {"detect RGB24",
         {.width_px = 701, .height_px = 200, .format = LS_PIX_RGB24},
         {.long_side_px = 160, .score_min = 0.02f},
         FILL_RANDOM},
        {"detect small", {.width_px = 17, .height_px = 16}, {.score_min = 0.02f}, FILL_RANDOM},
        {"detect white", {.width_px = 1280, .height_px = 720}, {.long_side_px = 640}, FILL_WHITE},
        {"detect fifth size",
         {.width_px = 100, .height_px = 400},
         {.score_min = 0.02f},
         FILL_RANDOM},
        {"detect I420 again",
         {.width_px = 640, .height_px = 360},
         {.score_min = 0.02f},
         FILL_RANDOM},
    };
    int total = 0;

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct picture picture = picture_new(&rows[i].frame, rows[i].fill, 40 + i);
        static struct ls_face got[2][LS_FACES_MAX];
        int count[2] = {-1, -1};

        for (int k = 0; k < 2; k++)
            CHECK(ls_detect(p->lane[k], got[k], &count[k], &picture.frame, &rows[i].params, NULL) ==
                      0,
                  rows[i].name);
        if (!CHECK(count[0] == count[1], rows[i].name))
            printf("%d faces, want %d\n", count[1], count[0]);
        for (int f = 0; f < count[0] && f < count[1]; f++) {
            CHECK(differ_float(rows[i].name, &got[1][f].score, &got[0][f].score, 1, 1e-3) <= 1e-3,
                  rows[i].name);
            // 1/50 pixel: boxes are exponentials of sums of a thousand products
            CHECK(differ_float(rows[i].name, &got[1][f].box.x0, &got[0][f].box.x0, 4, 0.02) <= 0.02,
                  rows[i].name);
            CHECK(differ_float(rows[i].name, got[1][f].point[0], got[0][f].point[0], 2 * LS_POINTS,
                               0.02) <= 0.02,
                  rows[i].name);
        }
        total += count[0];
        picture_free(&picture);
    }
    CHECK(total > 0, "detect: rows without a single face compare nothing");
}

// Voices of different lengths in one call: what each gets alone, near to ref.
static void check_mel_batch(const struct pair *p)
{
    enum { VOICES = 5, COLUMNS = 40 };
    static float pcm[VOICES][9000], got[2][VOICES][COLUMNS * LS_MEL_BANDS + 1];
    float *out[2][VOICES], alone[COLUMNS * LS_MEL_BANDS];
    struct ls_mel_job job[VOICES];

    for (int i = 0; i < VOICES; i++) {
        int count = 401 + 2119 * i;

        make_voice(pcm[i], count, (enum voice)i);
        job[i] = (struct ls_mel_job){.pcm = pcm[i], .pcm_count = count, .total = count};
        job[i].count = count / LS_MEL_HOP < COLUMNS ? count / LS_MEL_HOP + 1 : COLUMNS;
        job[i].first = i % 2 ? 1 : 0;
        job[i].count -= (int)job[i].first;
        for (int k = 0; k < 2; k++) {
            out[k][i] = got[k][i];
            got[k][i][job[i].count * LS_MEL_BANDS] = 12345;
        }
    }
    for (int k = 0; k < 2; k++)
        CHECK(ls_mel_batch(p->lane[k], out[k], job, VOICES, NULL) == 0, "mel of several voices");
    for (int i = 0; i < VOICES; i++) {
        size_t size = (size_t)job[i].count * LS_MEL_BANDS;

        CHECK(got[0][i][size] == 12345 && got[1][i][size] == 12345, "mel of several voices");
        CHECK(differ_float("mel of several voices", got[1][i], got[0][i], size, 1e-4) <= 1e-4,
              "mel of several voices");
        CHECK(ls_mel(p->lane[1], alone, &job[i], NULL) == 0, "mel of several voices");
        CHECK(!memcmp(alone, got[1][i], size * sizeof(float)), "mel of one voice, and of several");
    }
}

static void check_subject(const char *name, const char *module, const struct subject *subject)
{
    struct pair p = {0};

    setenv("LS_SHIM_ORDER", subject->order ? subject->order : "now", 1);
#ifndef __SANITIZE_ADDRESS__ // which knows where memory ends to the byte; pages do not
    setenv("LS_SHIM_PROTECT", subject->order && !strcmp(subject->order, "late") ? "1" : "0", 1);
#endif
    if (pair_open(&p, name, module, subject)) {
        // What the shim does to a value is less than what a face's 255 steps show.
        int steps = 1 + (int)ceil(255 * subject->generate.most);
        char row[64];

        snprintf(row, sizeof row, "%s, %s", subject->name, ls_backend_name(p.back_end[1]));
        printf("%s: %s\n", row, ls_backend_arithmetic(p.back_end[1]));
        if (subject->whole) {
            check_mel(&p);
            check_mel_batch(&p);
            CHECK(check_crops(&p) == 0, row);
            CHECK(check_pastes(&p) == 0, row);
        }
        if (subject->model.detector_path)
            check_detect(&p);
        if (subject->faces && ls_backend_faces_depth(p.back_end[1]) > 0)
            CHECK(check_faces(&p, row, steps) == 0, row);
        CHECK(check_generate(&p, row, &subject->generate) == 0, row);
    }
    pair_close(&p);
}

#define DEMO                                                                                       \
    {                                                                                              \
        .generator_path = "kernels/demo/lipstream_demo_fp16.safetensors"                           \
    }
#define FP32 1e-4
#define HALF (2 / 255.0) // fp16 and tf32: both multiply numbers of 11 bits
// Of 8 bits. These faces are noise, which loses more than faces do (2 of 255), and with seeded
// weights still more.
#define BF16       (3 / 255.0)
#define BF16_NOISE (8 / 255.0)

static const struct subject cpu_subjects[] = {
    {"demo", DEMO, "fp32", {9, 4, 1 / 255.0}, NULL, true, NO_FACES},
    {"seeded small", {.seed = 3}, "fp32", {9, 4, 1 / 255.0}, NULL, false, NO_FACES},
    {"seeded wide",
     {.seed = 4, .seed_wide = true},
     "fp32",
     {9, 2, 1 / 255.0},
     NULL,
     false,
     NO_FACES},
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__) // kernels/dnn has their steps
    {"demo bf16", DEMO, "bf16", {9, 4, BF16}, NULL, false, NO_FACES},
    {"seeded wide bf16",
     {.seed = 4, .seed_wide = true},
     "bf16",
     {9, 2, BF16_NOISE},
     NULL,
     false,
     NO_FACES},
#endif
};
// By the shim: the narrow network, of which it makes 10 frames a second, and 2 under sanitizers.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
enum { SLOW = 1 };
#else
enum { SLOW = 0 };
#endif
static const struct subject shim_subjects[] = {
    {"narrow fp32",
     {0},
     "fp32",
     {SLOW ? 3 : 6, 2, FP32},
     "random:1",
     true,
     SLOW ? NO_FACES : FACES},
    {"narrow fp16", {0}, "fp16", {SLOW ? 2 : 3, 1, HALF}, "late", false, FACES},
    {"narrow tf32", {0}, "tf32", {2, 1, HALF}, "now", false, NO_FACES},
    {"narrow fp32, levels", {0}, "fp32", {2, 1, FP32}, "random:2", false, SLOW ? NO_FACES : LEVELS},
    {"demo fp16", DEMO, "fp16", {1, 1, HALF}, "now", false, NO_FACES},
};
static const struct subject device_subjects[] = {
    {"demo fp16", DEMO, "fp16", {9, 4, HALF}, NULL, true, FACES},
    {"demo tf32", DEMO, "tf32", {9, 4, HALF}, NULL, false, FACES},
    {"demo fp32", DEMO, "fp32", {9, 4, FP32}, NULL, false, FACES},
    {"demo fp32, levels", DEMO, "fp32", {9, 4, FP32}, NULL, false, LEVELS},
    {"seeded small fp32", {.seed = 3}, "fp32", {9, 4, FP32}, NULL, false, FACES},
    {"seeded wide fp16", {.seed = 4, .seed_wide = true}, "fp16", {9, 2, HALF}, NULL, false, FACES},
    {"seeded wide tf32", {.seed = 4, .seed_wide = true}, "tf32", {9, 2, HALF}, NULL, false, FACES},
    {"seeded wide fp32", {.seed = 4, .seed_wide = true}, "fp32", {9, 2, FP32}, NULL, false, FACES},
};
#define COUNT(array) ((int)(sizeof(array) / sizeof(array)[0]))

// only: the name of one subject, or NULL.
static void check_back_end(const char *name, const char *module, const struct subject *subject,
                           int count, const char *only)
{
    char detector[512];
    FILE *file;

    snprintf(detector, sizeof detector, "%s/models/yunet/face_detection_yunet_2023mar.onnx",
             check_shared());
    if (getenv("LS_DETECTOR"))
        snprintf(detector, sizeof detector, "%s", getenv("LS_DETECTOR"));
    file = fopen(detector, "rb");
    if (file)
        fclose(file);
    else
        printf("SKIP: detect: no %s\n", detector);
    for (int i = 0; i < count; i++) {
        struct subject s = subject[i];

        if (only && strcmp(only, s.name) != 0)
            continue;
        if (s.arithmetic && !strcmp(s.arithmetic, "bf16") && !ls_dnn_has(LS_VALUE_BF16)) {
            printf("SKIP: %s: this processor does not multiply bfloat16\n", s.name);
            continue;
        }
        if (s.whole && file)
            s.model.detector_path = detector;
        check_subject(name, module, &s);
    }
}

// --bench [--csv], --backend ref|cpu|cuda (default: ref and cpu; for checks cpu, and cuda by the
// shim), --module liblipstream_cuda.so, --only SUBJECT.
int main(int argc, char **argv)
{
    struct bench_params params = {0};
    const char *only = NULL;
    bool measure = false;

    for (int i = 1; i < argc; i++) {
        if (!strcmp(argv[i], "--bench"))
            measure = true;
        else if (!strcmp(argv[i], "--csv"))
            params.csv = true;
        else if (!strcmp(argv[i], "--backend") && i + 1 < argc)
            params.back_end = argv[++i];
        else if (!strcmp(argv[i], "--module") && i + 1 < argc)
            params.module = argv[++i];
        else if (!strcmp(argv[i], "--only") && i + 1 < argc)
            only = argv[++i];
        else
            return printf("what is %s?\n", argv[i]), 1;
    }
    if (measure)
        return bench(&params);
    if (!params.back_end || !strcmp(params.back_end, "cpu"))
        check_back_end("cpu", NULL, cpu_subjects, COUNT(cpu_subjects), only);
    if (!params.back_end || (!strcmp(params.back_end, "cuda") && !params.module))
        check_back_end("cuda", LS_CUDA_SHIM, shim_subjects, COUNT(shim_subjects), only);
    else if (!strcmp(params.back_end, "cuda"))
        check_back_end("cuda", params.module, device_subjects, COUNT(device_subjects), only);
    return check_done();
}
