// SPDX-License-Identifier: Apache-2.0
// Faces that come again on the cpu back end: with a key the same bytes as without one, in every
// arithmetic and cut, for any size of the cache, from lanes at the same time, with items that
// nobody wants any more; that what is known is used at all, which pictures that belie their key
// show; and the book-keeping alone.
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "kernels/backend.h"
#include "kernels/cpu/cache.h"
#include "kernels/cpu/dnn.h"
#include "tests/kernels/_pictures.h"
#include "tests/unit/_check.h"

enum {
    FACES = 6,
    SOUNDS = 3,
    BATCH = 5,
    ROUNDS = 4,
    FACE = 96 * 96 * 3,
    WINDOW = LS_MEL_WINDOW * LS_MEL_BANDS
};

static uint8_t face[FACES][FACE], other[FACE];
static float mel[SOUNDS][WINDOW];
static float want[2][FACES][SOUNDS][FACE]; // all of it, lower part
static const struct ls_int_box parts[2] = {{0, 0, 96, 96}, {0, 42, 96, 96}};

static void make_inputs(void)
{
    uint64_t seed = 8;

    for (int n = 0; n <= FACES; n++)
        for (int i = 0; i < FACE; i++)
            (n < FACES ? face[n] : other)[i] =
                picture_value(n % 2 ? FILL_RANDOM : FILL_SMOOTH, i % 288 + 9 * n, i / 288, &seed);
    for (int n = 0; n < SOUNDS; n++)
        for (int i = 0; i < WINDOW; i++)
            mel[n][i] = random_float(&seed, -4, 4);
}

static int generate_one(struct ls_lane *lane, float *out, const uint8_t *from, int sound, int part,
                        uint64_t key)
{
    return ls_generate_part(lane,
                            &(struct ls_generate_job){.out = out,
                                                      .face = from,
                                                      .mel = mel[sound],
                                                      .part = &parts[part],
                                                      .source_key = &key,
                                                      .count = 1},
                            NULL);
}

struct worker {
    struct ls_lane *lane;
    unsigned seed;
    int wrong;
};

// Batches of any faces, some of which are let go of.
struct batch {
    uint8_t face[BATCH][FACE];
    float mel[BATCH][WINDOW], out[BATCH][FACE];
    struct ls_int_box part[BATCH];
    uint64_t key[BATCH];
    int of[BATCH][3]; // part, face, sound
    int asked[BATCH], until[BATCH];
};

static bool wanted(void *user, int item)
{
    struct batch *b = user;

    return b->asked[item]++ < b->until[item];
}

static void run_batch(struct worker *w, struct batch *b)
{
    struct ls_generate_job job = {.out = b->out[0],
                                  .face = b->face[0],
                                  .mel = b->mel[0],
                                  .part = b->part,
                                  .source_key = b->key,
                                  .count = BATCH,
                                  .wanted = wanted,
                                  .user = b};

    for (int i = 0; i < BATCH; i++) {
        int part = b->of[i][0] = rand_r(&w->seed) % 2, f = b->of[i][1] = rand_r(&w->seed) % FACES;
        int sound = b->of[i][2] = rand_r(&w->seed) % SOUNDS;

        b->part[i] = parts[part];
        memcpy(b->face[i], face[f], FACE);
        memcpy(b->mel[i], mel[sound], sizeof mel[sound]);
        b->key[i] = rand_r(&w->seed) % 4 ? (uint64_t)f + 1 : 0;
        b->asked[i] = 0;
        b->until[i] = rand_r(&w->seed) % 3 ? 1 << 20 : rand_r(&w->seed) % 60;
    }
    w->wrong += ls_generate_part(w->lane, &job, NULL) < 0;
    for (int i = 0; i < BATCH; i++) {
        const struct ls_int_box *p = &b->part[i];

        for (int y = p->y0; y < p->y1 && b->asked[i] <= b->until[i]; y++)
            w->wrong += memcmp(b->out[i] + (y * 96 + p->x0) * 3,
                               want[b->of[i][0]][b->of[i][1]][b->of[i][2]] + (y * 96 + p->x0) * 3,
                               sizeof(float) * 3 * (size_t)(p->x1 - p->x0)) != 0;
    }
}

static void *work(void *user)
{
    struct worker *w = user;
    struct batch *b = malloc(sizeof *b);

    for (int i = 0; b && i < ROUNDS; i++)
        run_batch(w, b);
    w->wrong += !b;
    free(b);
    return NULL;
}

static void check_threads(struct ls_backend *be, const char *row)
{
    struct worker w[2] = {{.seed = 1}, {.seed = 2}};
    pthread_t thread[2];

    for (int i = 0; i < 2; i++)
        CHECK(ls_lane_open(&w[i].lane, be, NULL) == 0, row);
    for (int i = 0; i < 2; i++)
        CHECK(pthread_create(&thread[i], NULL, work, &w[i]) == 0, row);
    for (int i = 0; i < 2; i++) {
        pthread_join(thread[i], NULL);
        CHECK(w[i].wrong == 0, row);
        ls_lane_close(&w[i].lane);
    }
}

// Told that another picture is a known face, the back end takes the known one: it does not look.
static void check_used(struct ls_lane *lane, const char *row)
{
    static float out[FACE];

    CHECK(generate_one(lane, out, face[0], 0, 1, 77) == 0, row);
    CHECK(generate_one(lane, out, other, 0, 1, 77) == 0 && !memcmp(out, want[1][0][0], sizeof out),
          row);
    CHECK(generate_one(lane, out, other, 0, 0, 77) == 0 && !memcmp(out, want[0][0][0], sizeof out),
          row); // of another cut, too
    CHECK(generate_one(lane, out, other, 0, 1, 0) == 0 && memcmp(out, want[1][0][0], sizeof out),
          row);
}

static void check_back_end(const struct ls_backend_params *params, const char *row)
{
    struct ls_backend_params with = *params;
    struct ls_backend *be = NULL;
    struct ls_lane *lane = NULL;
    struct ls_err err = {0};

    if (!CHECK(ls_backend_open(&be, params, &err) == 0 && ls_lane_open(&lane, be, &err) == 0, row))
        printf("  %s\n", err.text);
    for (int part = 0; part < 2 && lane; part++)
        for (int f = 0; f < FACES; f++)
            for (int s = 0; s < SOUNDS; s++)
                CHECK(generate_one(lane, want[part][f][s], face[f], s, part, (uint64_t)f + 1) == 0,
                      row); // there is no cache yet
    ls_lane_close(&lane);
    ls_backend_close(&be);
    for (int many = 0; many < 2; many++) { // fewer records than there are faces, and more
        with.face_cache_bytes = many ? 64 << 20 : 1500000;
        if (!CHECK(ls_backend_open(&be, &with, &err) == 0 && ls_lane_open(&lane, be, &err) == 0,
                   row))
            continue;
        check_threads(be, row);
        if (many)
            check_used(lane, row);
        ls_lane_close(&lane);
        ls_backend_close(&be);
    }
}

// --- the book-keeping

static void check_book(void)
{
    struct ls_cpu_cache *c = NULL;
    struct ls_dnn_record r, q, few[4];
    struct ls_err err = {0};

    CHECK(ls_cpu_cache_new(&c, 63, 64, &err) == 0 && !c, "too few bytes");
    CHECK(!ls_cpu_cache_take(c, 1).at, "no cache");
    CHECK(ls_cpu_cache_new(&c, 4 * 64 + 63, 64, &err) == 0 && c, "four records");
    CHECK(!ls_cpu_cache_take(c, 0).at, "no key");
    r = ls_cpu_cache_take(c, 1);
    CHECK(r.at && !r.known, "new");
    q = ls_cpu_cache_take(c, 1);
    CHECK(!q.at && !q.known, "another is at it");
    ls_cpu_cache_give(c, &q);
    ls_cpu_cache_give(c, &r);
    q = ls_cpu_cache_take(c, 1);
    CHECK(q.at && !q.known, "was let go of half way: new again");
    q.known = true;
    ls_cpu_cache_give(c, &q);
    r = ls_cpu_cache_take(c, 1);
    q = ls_cpu_cache_take(c, 1);
    CHECK(r.known && q.known && r.at == q.at, "known, by two at once");
    for (int i = 0; i < 4; i++) {
        few[i] = ls_cpu_cache_take(c, 10 + (uint64_t)i);
        CHECK((few[i].at != NULL) == (i < 3) && few[i].at != r.at, "all are in use");
        few[i].known = true;
        ls_cpu_cache_give(c, &few[i]);
    }
    ls_cpu_cache_give(c, &r);
    ls_cpu_cache_give(c, &q);
    for (int i = 0; i < 3; i++) {
        few[i] = ls_cpu_cache_take(c, 10 + (uint64_t)i);
        CHECK(few[i].known, "still there");
        ls_cpu_cache_give(c, &few[i]);
    }
    ls_cpu_cache_free(&c);
}

// A loop longer than the cache finds a part of its faces every time round; what is not asked for
// any more makes room in the end.
static void check_loop(void)
{
    struct ls_cpu_cache *c = NULL;
    struct ls_err err = {0};
    int known = 0, after = 0;

    if (!CHECK(ls_cpu_cache_new(&c, 8 * 64, 64, &err) == 0 && c, "loop"))
        return;
    for (int i = 0; i < 200; i++) {
        struct ls_dnn_record r = ls_cpu_cache_take(c, 1 + (uint64_t)(i % 20));

        known += r.known;
        r.known = true;
        ls_cpu_cache_give(c, &r);
    }
    CHECK(known >= 8 * 8, "a loop longer than the cache");
    for (int i = 0; i < 200; i++) {
        struct ls_dnn_record r = ls_cpu_cache_take(c, 100 + (uint64_t)(i % 4));

        after += r.known;
        r.known = true;
        ls_cpu_cache_give(c, &r);
    }
    CHECK(after >= 100, "another clip comes");
    ls_cpu_cache_free(&c);
}

int main(void)
{
    static const struct ls_model_params small = {.seed = 3};
    struct ls_model *model = NULL;
    struct ls_err err = {0};
    struct ls_backend_params params = {.name = "cpu", .batch_max = BATCH, .arithmetic = "fp32"};
    struct ls_calibration calibration = {.row_count = 0};
    struct ls_backend *be = NULL;
    struct ls_lane *lane = NULL;

    make_inputs();
    check_book();
    check_loop();
    if (!CHECK(ls_model_open(&model, &small, &err) == 0, "model"))
        return check_done();
    params.model = model;
    CHECK(ls_ranges_new(&params.ranges, model->generator, &err) == 0 &&
              ls_backend_open(&be, &params, &err) == 0 && ls_lane_open(&lane, be, &err) == 0 &&
              ls_generate(lane, want[0][0][0], face[0], mel[0], 1, &err) == 0,
          "ranges");
    ls_ranges_calibration(&calibration, params.ranges, 100);
    ls_lane_close(&lane);
    ls_backend_close(&be);
    ls_ranges_free(&params.ranges);
    check_back_end(&params, "fp32");
    params.arithmetic = "bf16";
    if (ls_dnn_has(LS_VALUE_BF16))
        check_back_end(&params, "bf16");
    else
        printf("SKIP: bf16: this processor does not multiply bfloat16\n");
    params.arithmetic = "int8";
    params.calibration = &calibration;
    if (ls_dnn_has(LS_VALUE_U8))
        check_back_end(&params, "int8");
    else
        printf("SKIP: int8: this processor does not multiply bytes\n");
    ls_model_close(&model);
    return check_done();
}
