// SPDX-License-Identifier: Apache-2.0
// Every operation of the fast back ends against ref, on random, extreme and odd-sized data; then
// that batch size, lane and thread do not change one byte of what is generated. With --bench (and
// --csv) it measures instead (_bench.c). LS_SHARED names the folder with the detector's weights;
// without them the detector's rows are left out by name.
#include <pthread.h>

#include "kernels/backend.h"
#include "tests/kernels/_bench.h"
#include "tests/kernels/_pictures.h"
#include "tests/unit/_check.h"

enum { FACE_BYTES = 96 * 96 * 3, WINDOW = LS_MEL_WINDOW * LS_MEL_BANDS, BATCH = 9 };

static const char *const names[] = {"cpu"};

struct pair {
    struct ls_model *model;
    struct ls_backend *back_end[2]; // ref, the other
    struct ls_lane *lane[2];
};

static bool pair_open(struct pair *p, const char *name, const struct ls_model_params *params)
{
    const char *both[] = {"ref", name};
    struct ls_err err = {0};
    int r = ls_model_open(&p->model, params, &err);

    for (int i = 0; i < 2 && r == 0; i++) {
        r = ls_backend_open(
            &p->back_end[i],
            &(struct ls_backend_params){.name = both[i], .model = p->model, .batch_max = BATCH},
            &err);
        if (r == 0)
            r = ls_lane_open(&p->lane[i], p->back_end[i], &err);
    }
    if (r < 0)
        printf("%s: %s\n", name, err.text);
    return CHECK(r == 0, name);
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

static const struct {
    const char *name;
    struct ls_frame frame;
    enum fill fill;
} pictures[] = {
    {"I420 601", {.width_px = 320, .height_px = 240, .matrix = LS_MATRIX_BT601}, FILL_RANDOM},
    {"I420 709", {.width_px = 321, .height_px = 179, .matrix = LS_MATRIX_BT709}, FILL_RANDOM},
    {"I420 2020 full",
     {.width_px = 97, .height_px = 211, .matrix = LS_MATRIX_BT2020, .full_range = true},
     FILL_RANDOM},
    {"I420 16x17", {.width_px = 16, .height_px = 17}, FILL_RANDOM},
    {"I420 smooth", {.width_px = 640, .height_px = 360}, FILL_SMOOTH},
    {"I420 black", {.width_px = 99, .height_px = 98}, FILL_BLACK},
    {"I420 white", {.width_px = 98, .height_px = 99}, FILL_WHITE},
    {"RGB24", {.width_px = 320, .height_px = 240, .format = LS_PIX_RGB24}, FILL_RANDOM},
    {"RGB24 odd", {.width_px = 61, .height_px = 333, .format = LS_PIX_RGB24}, FILL_RANDOM},
    {"RGB24 white", {.width_px = 17, .height_px = 16, .format = LS_PIX_RGB24}, FILL_WHITE},
};

// In parts of the frame's size.
static const struct {
    const char *name;
    struct ls_box box;
} boxes[] = {
    {"middle", {0.3f, 0.2f, 0.7f, 0.9f}},
    {"sticking out", {-0.4f, -0.3f, 0.5f, 0.6f}},
    {"low right", {0.613f, 0.55f, 1.7f, 2}},
    {"outside", {-3, -3, -1, -1}},
    {"everything", {0, 0, 1, 1}},
    {"far around", {-8, -9, 11, 9}},
    {"tiny", {0.5f, 0.5f, 0.503f, 0.502f}},
    {"thin", {0.41f, -1, 0.43f, 2}},
};

static struct ls_box box_in(const struct ls_frame *f, size_t idx)
{
    const struct ls_box *b = &boxes[idx].box;

    return (struct ls_box){b->x0 * f->width_px, b->y0 * f->height_px, b->x1 * f->width_px,
                           b->y1 * f->height_px};
}

static void check_crop(const struct pair *p)
{
    for (size_t i = 0; i < sizeof pictures / sizeof pictures[0]; i++) {
        struct picture picture = picture_new(&pictures[i].frame, pictures[i].fill, i);

        for (size_t k = 0; k < 2 * sizeof boxes / sizeof boxes[0]; k++) {
            struct ls_box box = box_in(&picture.frame, k / 2);
            bool exact = k % 2;
            uint8_t got[2][FACE_BYTES + 1];
            int most = exact ? 0 : 1, r[2];
            char row[80];

            if (exact && picture.frame.format != LS_PIX_RGB24)
                continue;
            snprintf(row, sizeof row, "crop %s, %s%s", pictures[i].name, boxes[k / 2].name,
                     exact ? ", exact" : "");
            for (int n = 0; n < 2; n++) {
                got[n][FACE_BYTES] = 77;
                r[n] = ls_crop(p->lane[n], got[n], &picture.frame, &box, exact, NULL);
                CHECK(got[n][FACE_BYTES] == 77, row);
            }
            CHECK(r[0] == r[1], row);
            if (r[0] == 0)
                CHECK(differ_byte(row, got[1], got[0], FACE_BYTES, most) <= most, row);
        }
        picture_free(&picture);
    }
}

static const struct {
    const char *name;
    struct ls_paste paste;
} pastes[] = {
    {"mouth",
     {.mask = LS_MASK_MOUTH,
      .mouth = {0.5f, 0.75f, 0.3f, 0.2f},
      .feather_px = 14,
      .colour_match = 1,
      .strength = 1}},
    {"mouth, hard", {.mask = LS_MASK_MOUTH, .mouth = {0.1f, 1.0f, 0.2f, 0.3f}, .strength = 1}},
    {"lower face",
     {.mask = LS_MASK_LOWER_FACE, .feather_px = 8, .colour_match = 0.5f, .strength = 0.8f}},
    {"rectangle", {.mask = LS_MASK_RECTANGLE, .strength = 1}},
    {"soft rectangle", {.mask = LS_MASK_RECTANGLE, .feather_px = 24, .strength = 1}},
    {"nothing", {.mask = LS_MASK_RECTANGLE, .feather_px = 3}},
    {"mask outside",
     {.mask = LS_MASK_MOUTH,
      .mouth = {3, 3, 0.1f, 0.1f},
      .feather_px = 2,
      .colour_match = 1,
      .strength = 1}},
    {"exact", {.exact = true}},
};

// Outside the frame's pixels nothing may change at all.
static void check_pasted(const char *row, const struct picture *got, const struct picture *want,
                         const struct picture *before, int most)
{
    CHECK(differ_byte(row, got->memory, want->memory, got->size, most) <= most, row);
    for (size_t i = 0; i < got->size; i++)
        if (got->memory[i] != before->memory[i] && !picture_is_pixel(got, i)) {
            printf("FAIL %s: byte %zu is no pixel but was written\n", row, i);
            CHECK(false, row);
            return;
        }
}

static void check_composite(const struct pair *p)
{
    static float face[FACE_BYTES];
    static uint8_t source[FACE_BYTES];
    uint64_t seed = 5;
    enum { KINDS = sizeof pastes / sizeof pastes[0], BOXES = sizeof boxes / sizeof boxes[0] };

    for (int i = 0; i < FACE_BYTES; i++) {
        face[i] = i % 50 ? random_float(&seed, 0, 1) : (float)(i % 100 / 50);
        source[i] = (uint8_t)random_next(&seed);
    }
    for (size_t i = 0; i < sizeof pictures / sizeof pictures[0]; i++) {
        struct picture before = picture_new(&pictures[i].frame, pictures[i].fill, i);

        for (int k = 0; k < KINDS * BOXES; k++) {
            struct ls_paste paste = pastes[k % KINDS].paste;
            struct picture after[2] = {picture_copy(&before), picture_copy(&before)};
            int most = paste.exact ? 0 : 1, r[2];
            char row[96];

            snprintf(row, sizeof row, "composite %s, %s, %s", pictures[i].name,
                     pastes[k % KINDS].name, boxes[k / KINDS].name);
            paste.box = box_in(&before.frame, (size_t)(k / KINDS));
            paste.face = face;
            paste.source = source;
            for (int n = 0; n < 2; n++)
                r[n] = ls_composite(p->lane[n], &after[n].frame, &paste, NULL);
            CHECK(r[0] == r[1], row);
            check_pasted(row, &after[1], &after[0], &before, most);
            picture_free(&after[0]);
            picture_free(&after[1]);
        }
        picture_free(&before);
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

// Faces: random, black, white, smooth; sound: random over the whole range, and at its ends.
static void make_items(uint8_t *face, float *mel, int count)
{
    uint64_t seed = 99;

    for (int n = 0; n < count; n++) {
        for (int i = 0; i < FACE_BYTES; i++)
            face[n * FACE_BYTES + i] = picture_value(n % 4, i % 288, i / 288, &seed);
        for (int i = 0; i < WINDOW; i++)
            mel[n * WINDOW + i] = n % 3 == 1 ? -4 : n % 3 == 2 ? 4 : random_float(&seed, -4, 4);
    }
}

struct worker {
    struct ls_lane *lane;
    const uint8_t *face;
    const float *mel;
    float *out;
    int r;
};

static void *work(void *data)
{
    struct worker *w = data;

    w->r = ls_generate(w->lane, w->out, w->face, w->mel, BATCH, NULL);
    return NULL;
}

// Two lanes on two threads at the same time give what one gave alone.
static void check_threads(const struct pair *p, const char *row, const uint8_t *face,
                          const float *mel, const float *want)
{
    struct worker w[2];
    pthread_t thread[2];

    for (int i = 0; i < 2; i++) {
        w[i] = (struct worker){.face = face, .mel = mel, .r = -1};
        w[i].out = malloc(sizeof(float) * BATCH * FACE_BYTES);
        CHECK(w[i].out && ls_lane_open(&w[i].lane, p->back_end[1], NULL) == 0, row);
    }
    for (int i = 0; i < 2; i++)
        CHECK(pthread_create(&thread[i], NULL, work, &w[i]) == 0, row);
    for (int i = 0; i < 2; i++) {
        pthread_join(thread[i], NULL);
        CHECK(w[i].r == 0, row);
        CHECK(!memcmp(w[i].out, want, sizeof(float) * BATCH * FACE_BYTES), row);
        ls_lane_close(&w[i].lane);
        free(w[i].out);
    }
}

// The bytes of each item are the same at every batch size.
static void check_batches(const struct pair *p, const char *row, const uint8_t *face,
                          const float *mel, const float *want)
{
    float *out = malloc(sizeof(float) * BATCH * FACE_BYTES);

    if (!CHECK(out, row))
        return;
    for (int size = 1; size < BATCH; size++)
        for (int first = 0; first < BATCH; first += size) {
            int n = BATCH - first < size ? BATCH - first : size;

            CHECK(ls_generate(p->lane[1], out, face + first * FACE_BYTES, mel + first * WINDOW, n,
                              NULL) == 0,
                  row);
            if (memcmp(out, want + first * FACE_BYTES, sizeof(float) * n * FACE_BYTES)) {
                printf("%s: items %d to %d differ in batches of %d\n", row, first, first + n - 1,
                       size);
                CHECK(false, row);
            }
        }
    free(out);
}

// With rows left out the others stay what they were, in a batch of all kinds as alone.
static void check_rows(const struct pair *p, const char *row, const uint8_t *face, const float *mel,
                       const float *want)
{
    static const uint8_t row_first[BATCH] = {40, 0, 52, 95, 41, 52, 39, 40, 70};
    static float got[BATCH * FACE_BYTES], alone[FACE_BYTES];

    CHECK(ls_generate_rows(p->lane[1], &(struct ls_generate_job){got, face, mel, row_first, BATCH},
                           NULL) == 0,
          row);
    for (int i = 0; i < BATCH; i++) {
        size_t first = row_first[i] * 96 * 3, at = (size_t)i * FACE_BYTES;
        struct ls_generate_job job = {alone, face + at, mel + i * WINDOW, row_first + i, 1};

        CHECK(differ_float(row, got + at + first, want + at + first, FACE_BYTES - first, 1e-4) <=
                  1e-4,
              row);
        CHECK(ls_generate_rows(p->lane[1], &job, NULL) == 0, row);
        CHECK(!memcmp(alone, got + at, sizeof alone), row);
    }
}

// The model's own copy of the weights is not needed any more.
static void check_trim(const struct pair *p, const char *row, const uint8_t *face, const float *mel,
                       const float *want)
{
    static float out[FACE_BYTES];

    if (!ls_backend_holds_weights(p->back_end[1]))
        return;
    ls_model_trim(p->model);
    CHECK(ls_generate(p->lane[1], out, face, mel, 1, NULL) == 0, row);
    CHECK(!memcmp(out, want, sizeof out), row);
}

// The model is trimmed in the end: ref cannot use it any more.
// compared: how many items run through ref, which takes 2.5 s for one of the original's widths.
static void check_generate(const struct pair *p, const char *row, int compared, double most)
{
    uint8_t *face = malloc(BATCH * FACE_BYTES);
    float *mel = malloc(sizeof(float) * BATCH * WINDOW);
    float *got = malloc(sizeof(float) * BATCH * FACE_BYTES),
          *want = malloc(sizeof(float) * BATCH * FACE_BYTES);
    struct ls_err err = {0};

    if (!CHECK(face && mel && got && want, row))
        exit(1);
    make_items(face, mel, BATCH);
    if (!CHECK(ls_generate(p->lane[1], got, face, mel, BATCH, &err) == 0, row))
        printf("%s\n", err.text);
    CHECK(ls_generate(p->lane[0], want, face, mel, compared, &err) == 0, row);
    CHECK(differ_float(row, got, want, (size_t)compared * FACE_BYTES, most) <= most, row);
    check_batches(p, row, face, mel, got);
    check_threads(p, row, face, mel, got);
    check_rows(p, row, face, mel, got);
    check_trim(p, row, face, mel, got);
    free(face);
    free(mel);
    free(got);
    free(want);
}

static void check_back_end(const char *name)
{
    static const struct {
        const char *name;
        struct ls_model_params params;
        int compared;
    } models[] = {
        {"generate, demo", {.generator_path = "kernels/demo/lipstream_demo_fp16.safetensors"}, 4},
        {"generate, seeded small", {.seed = 3}, 4},
        {"generate, seeded wide", {.seed = 4, .seed_wide = true}, 2},
    };

    char detector[512];
    FILE *file;

    snprintf(detector, sizeof detector, "%s/models/yunet/face_detection_yunet_2023mar.onnx",
             check_shared());
    file = fopen(detector, "rb");
    if (file)
        fclose(file);
    for (size_t i = 0; i < sizeof models / sizeof models[0]; i++) {
        struct ls_model_params params = models[i].params;
        struct pair p = {0};

        if (i == 0 && file)
            params.detector_path = detector;
        else if (i == 0)
            printf("SKIP: detect: no %s\n", detector);
        if (pair_open(&p, name, &params)) {
            printf("%s: %s\n", name, ls_backend_arithmetic(p.back_end[1]));
            if (i == 0) {
                check_mel(&p);
                check_crop(&p);
                check_composite(&p);
            }
            if (params.detector_path)
                check_detect(&p);
            check_generate(&p, models[i].name, models[i].compared, 1 / 255.0);
        }
        pair_close(&p);
    }
}

int main(int argc, char **argv)
{
    if (argc > 1 && !strcmp(argv[1], "--bench"))
        return bench(argc > 2 && !strcmp(argv[2], "--csv"));
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        check_back_end(names[i]);
    return check_done();
}
