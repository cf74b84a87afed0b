// SPDX-License-Identifier: Apache-2.0
// check.c's part for the generator (_pair.h).
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "tests/kernels/_pair.h"
#include "tests/kernels/_pictures.h"
#include "tests/unit/_check.h"

enum { FACE_BYTES = 96 * 96 * 3, WINDOW = LS_MEL_WINDOW * LS_MEL_BANDS };

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

    w->r = ls_generate(w->lane, w->out, w->face, w->mel, PAIR_BATCH, NULL);
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
        w[i].out = malloc(sizeof(float) * PAIR_BATCH * FACE_BYTES);
        CHECK(w[i].out && ls_lane_open(&w[i].lane, p->back_end[1], NULL) == 0, row);
    }
    for (int i = 0; i < 2; i++)
        CHECK(pthread_create(&thread[i], NULL, work, &w[i]) == 0, row);
    for (int i = 0; i < 2; i++) {
        pthread_join(thread[i], NULL);
        CHECK(w[i].r == 0, row);
        CHECK(!memcmp(w[i].out, want, sizeof(float) * PAIR_BATCH * FACE_BYTES), row);
        ls_lane_close(&w[i].lane);
        free(w[i].out);
    }
}

// The bytes of each item are the same at every batch size.
static void check_batches(const struct pair *p, const char *row, const uint8_t *face,
                          const float *mel, const float *want, int items)
{
    float *out = malloc(sizeof(float) * PAIR_BATCH * FACE_BYTES);

    if (!CHECK(out, row))
        return;
    for (int size = 1; size < items; size++)
        for (int first = 0; first < items; first += size) {
            int n = items - first < size ? items - first : size;

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

// With parts left out the others stay what they were, in a batch of all kinds as alone.
static void check_parts(const struct pair *p, const char *row, const uint8_t *face,
                        const float *mel, const float *want, const struct generate_check *check)
{
    static const struct ls_int_box part[PAIR_BATCH] = {
        {0, 40, 96, 96},  {0, 0, 96, 96},  {18, 52, 80, 96}, {95, 95, 96, 96}, {8, 41, 88, 96},
        {16, 44, 80, 96}, {0, 39, 96, 96}, {7, 40, 88, 96},  {40, 70, 50, 71},
    };
    static float got[PAIR_BATCH * FACE_BYTES], alone[FACE_BYTES];

    struct ls_generate_job all = {
        .out = got, .face = face, .mel = mel, .part = part, .count = check->items};

    CHECK(ls_generate_part(p->lane[1], &all, NULL) == 0, row);
    for (int i = 0; i < check->items; i++) {
        size_t at = (size_t)i * FACE_BYTES;
        struct ls_generate_job job = {
            .out = alone, .face = face + at, .mel = mel + i * WINDOW, .part = part + i, .count = 1};

        for (int y = part[i].y0; y < part[i].y1; y++) {
            size_t first = at + (size_t)(y * 96 + part[i].x0) * 3;
            size_t count = (size_t)(part[i].x1 - part[i].x0) * 3;

            CHECK(differ_float(row, got + first, want + first, count, check->most) <= check->most,
                  row);
        }
        CHECK(ls_generate_part(p->lane[1], &job, NULL) == 0, row);
        CHECK(!memcmp(alone, got + at, sizeof alone), row);
    }
}

// Odd items are wanted for some steps only, each for more of them than the one before.
static bool some_wanted(void *user, int item)
{
    int *asked = user;

    return item % 2 == 0 || asked[item]++ < item * 4;
}

// What is not wanted any more changes nothing of the others.
static void check_wanted(const struct pair *p, const char *row, const uint8_t *face,
                         const float *mel, const float *want, int items)
{
    static float got[PAIR_BATCH * FACE_BYTES];
    int asked[PAIR_BATCH] = {0};
    struct ls_generate_job job = {
        .out = got, .face = face, .mel = mel, .count = items, .wanted = some_wanted, .user = asked};

    CHECK(ls_generate_part(p->lane[1], &job, NULL) == 0, row);
    for (int i = 0; i < items; i += 2)
        CHECK(!memcmp(got + (size_t)i * FACE_BYTES, want + (size_t)i * FACE_BYTES,
                      FACE_BYTES * sizeof *got),
              row);
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

int check_generate(const struct pair *p, const char *row, const struct generate_check *check)
{
    uint8_t *face = malloc(PAIR_BATCH * FACE_BYTES);
    float *mel = malloc(sizeof(float) * PAIR_BATCH * WINDOW);
    float *got = malloc(sizeof(float) * PAIR_BATCH * FACE_BYTES),
          *want = malloc(sizeof(float) * PAIR_BATCH * FACE_BYTES);
    struct ls_err err = {0};
    int before = check_failures, items = check->items;
    double most = check->most;

    if (!CHECK(face && mel && got && want, row))
        exit(1);
    make_items(face, mel, items);
    if (!CHECK(ls_generate(p->lane[1], got, face, mel, items, &err) == 0, row))
        printf("%s\n", err.text);
    CHECK(ls_generate(p->lane[0], want, face, mel, check->compared, &err) == 0, row);
    CHECK(differ_float(row, got, want, (size_t)check->compared * FACE_BYTES, most) <= most, row);
    check_batches(p, row, face, mel, got, items);
    if (ls_backend_lanes_max(p->back_end[1]) == 0)
        check_threads(p, row, face, mel, got);
    check_parts(p, row, face, mel, got, check);
    check_wanted(p, row, face, mel, got, items);
    check_trim(p, row, face, mel, got);
    free(face);
    free(mel);
    free(got);
    free(want);
    return check_failures - before;
}
