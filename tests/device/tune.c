// SPDX-License-Identifier: Apache-2.0
// Choosing engines for convolutions and keeping the plans (graph_set.c, graph_tune.c,
// graph_bench.c), on the shim's device and with a cuDNN of the test's own (fake/cudnn.c), whose
// engines are slow, wrong, or give other bytes at another batch size. Whatever they do, an item
// must have the same bytes at every batch size, and a second start must compile nothing.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fake/cudnn.h"
#include "kernels/cuda/conv.h"
#include "tests/kernels/_device.h"
#include "tests/unit/_check.h"

enum {
    BATCH_MAX = 8,
    SLOW_US = 26000, // slower than anything, on a busy machine too; eight of them are measured once
};

static const struct ls_cuda_conv_shape shapes[] = {
    {.batch = 1,
     .in = {6, 5, 16, 6 * 5 * 16, 5 * 16, 16},
     .out = {6, 5, 24, 6 * 5 * 32, 5 * 32, 32}, // part of a wider tensor
     .kernel = {3, 3},
     .stride = {1, 1},
     .pad = {1, 1},
     .act = LS_ACT_RELU},
    {.batch = 1,
     .transposed = true,
     .in = {3, 4, 16, 3 * 4 * 16, 4 * 16, 16},
     .out = {6, 8, 8, 6 * 8 * 8, 8 * 8, 8},
     .kernel = {3, 3},
     .stride = {2, 2},
     .pad = {1, 1},
     .act = LS_ACT_NONE},
};
enum { SHAPES = sizeof shapes / sizeof shapes[0] };

static char cache_path[64];
static const struct ls_cuda_device device = {.name = "of tests", .text = "of tests"};

static bool plan_all;
static int wait_count;
static char wait_text[80];

static void on_wait(const char *why)
{
    wait_count++;
    snprintf(wait_text, sizeof wait_text, "%s", why);
}

static struct ls_cuda_convs *open_set(const char *cache, const char *row)
{
    struct ls_cuda_convs_params params = {.type = LS_CUDA_FP16,
                                          .batch_max = BATCH_MAX,
                                          .cache = cache,
                                          .model_hash = 7,
                                          .plan_all = plan_all,
                                          .on_wait = on_wait};
    struct ls_cuda_convs *convs = NULL;
    struct ls_err err = {0};

    if (!CHECK(ls_cuda_convs_new(&convs, &device, &params, &err) == 0, row)) {
        printf("%s\n", err.text);
        exit(1);
    }
    return convs;
}

static struct ls_cuda_conv *get(struct ls_cuda_convs *convs, int shape_idx, int batch,
                                const char *row)
{
    struct ls_cuda_conv_shape shape = shapes[shape_idx];
    struct ls_cuda_conv *conv = NULL;
    struct ls_err err = {0};

    shape.batch = batch;
    if (!CHECK(ls_cuda_conv_get(&conv, convs, &shape, NULL, &err) == 0, row)) {
        printf("%s\n", err.text);
        exit(1);
    }
    return conv;
}

// Runs a shape with seeded numbers at a batch size; the last item's bytes. out must hold one item.
static void run(unsigned char *out, struct ls_cuda_convs *convs, int shape_idx, int batch,
                const char *row)
{
    const struct ls_cuda_conv_shape *s = &shapes[shape_idx];
    size_t in_size = (size_t)(s->in.item * batch) * 2, out_size = (size_t)(s->out.item * batch) * 2;
    size_t weight_count = (size_t)(s->in.c * s->out.c * 9);
    uint16_t *in = calloc(1, in_size), *weight = calloc(weight_count, 2),
             *made = calloc(1, out_size);
    float bias[64] = {0};
    struct device_array d_in, d_out, d_weight, d_bias;
    struct ls_err err = {0};

    for (int64_t i = 0; i < s->in.item * batch; i++)
        in[i] = half_put((float)(i % s->in.item % 31 - 15) / 16);
    for (size_t i = 0; i < weight_count; i++)
        weight[i] = half_put((float)(i % 29) / 64 - 0.2f);
    for (int i = 0; i < 64; i++)
        bias[i] = (float)(i % 5) / 8;
    d_in = device_array(in, in_size);
    d_out = device_array(made, out_size);
    d_weight = device_array(weight, weight_count * 2);
    d_bias = device_array(bias, sizeof bias);
    CHECK(ls_cuda_conv_run(get(convs, shape_idx, batch, row), d_out.data, d_in.data, d_weight.data,
                           d_bias.data, NULL, &err) == 0,
          row);
    CHECK(device_read(made, &d_out), row);
    memcpy(out, (char *)made + out_size - s->out.item * 2, (size_t)s->out.item * 2);
    device_array_done(&d_in);
    device_array_done(&d_out);
    device_array_done(&d_weight);
    device_array_done(&d_bias);
    free(in);
    free(weight);
    free(made);
}

static bool is_invariant(struct ls_cuda_convs *convs, int shape_count, const char *row)
{
    bool same = true;

    for (int s = 0; s < shape_count; s++) {
        size_t size = (size_t)shapes[s].out.item * 2;
        unsigned char *one = malloc(size), *many = malloc(size);

        run(one, convs, s, 1, row);
        for (int batch = 2; batch <= BATCH_MAX; batch *= 2) {
            run(many, convs, s, batch, row);
            same &= !memcmp(one, many, size);
        }
        free(one);
        free(many);
    }
    return same;
}

// clang-format off
static const struct row {
    const char *name;
    struct fake_engine engine[FAKE_ENGINES_MAX];
    int favourite, favourite_to;
    int engine_many, engine_one; // that must be chosen for many items and for one (where cuDNN's
                                 // favourite, the first, will do if its bytes are the same)
    const char *text;
} rows[] = {
    {"one engine", {{.id = 1}}, 0, 0, 1, 1, "cuDNN 9.19"},
    {"the faster one", {{.id = 1, .slow_us = SLOW_US}, {.id = 2}}, 0, 0, 2, 2, "cuDNN 9.19"},
    {"wrong results", {{.id = 1, .wrong = true}, {.id = 2, .slow_us = SLOW_US}}, 0, 0, 2, 2,
     "cuDNN 9.19"},
    {"other bytes at 4", {{.id = 1, .other_from = 4}, {.id = 2, .slow_us = SLOW_US}}, 0, 0, 2, 1,
     "cuDNN 9.19"},
    {"other bytes at 8 alone", {{.id = 1, .other_from = 8}, {.id = 2, .slow_us = SLOW_US}}, 0, 0, 2, 1,
     "cuDNN 9.19"},
    {"another order of sums at 4", {{.id = 1, .turned_from = 4}, {.id = 2, .slow_us = SLOW_US}}, 0, 0, 2,
     1, "cuDNN 9.19"},
    {"other bytes everywhere", {{.id = 1, .other_from = 1}}, 0, 0, 1, 1, "cuDNN 9.19"},
    {"not to be had at 8", {{.id = 1, .fails_from = 8}, {.id = 2, .slow_us = SLOW_US}}, 0, 0, 2, 1,
     "cuDNN 9.19"},
    {"a workspace", {{.id = 1, .workspace_size = 64}, {.id = 2, .slow_us = SLOW_US}}, 0, 0, 2, 2,
     "cuDNN 9.19"},
    {"not repeatable", {{.id = 1, .random = true}, {.id = 2, .slow_us = SLOW_US}}, 0, 0, 2, 2,
     "cuDNN 9.19"},
    {"a favourite for few", {{.id = 1, .slow_us = SLOW_US}, {.id = 2, .fails_from = 3}}, 2, 2, 1, 2,
     "cuDNN 9.19"},
    {"a favourite with other bytes", {{.id = 1, .slow_us = SLOW_US}, {.id = 2, .wrong = true}}, 2, 2,
     1, 1, "cuDNN 9.19"},
    {"none", {{0}}, 0, 0, 0, 0, "cuDNN 9.19, 2 layers plain"},
    {"none that is right", {{.id = 1, .wrong = true}, {.id = 2, .fails_from = 1}}, 0, 0, 0, 0,
     "cuDNN 9.19, 2 layers plain"},
    {"none for all", {{.id = 1, .other_from = 8}, {.id = 2, .fails_from = 2}}, 0, 0, 0, 0,
     "cuDNN 9.19, 2 layers plain"},
};
// clang-format on

static int engine_at(struct ls_cuda_convs *convs, int batch, const char *row)
{
    unsigned char item[4096];

    fake_last_engine = 0;
    run(item, convs, 0, batch, row);
    return fake_last_engine;
}

static void check_row_of(const struct row *r)
{
    struct ls_cuda_convs *convs;
    int alive = fake_alive, shape_count = SHAPES;

    for (int i = 0; i < FAKE_ENGINES_MAX; i++)
        if (r->engine[i].slow_us)
            shape_count = 1; // for time's sake
    memcpy(fake_engines, r->engine, sizeof fake_engines);
    fake_favourite = r->favourite;
    fake_favourite_to = r->favourite_to;
    unlink(cache_path);
    convs = open_set(cache_path, r->name);
    CHECK(is_invariant(convs, shape_count, r->name), r->name);
    CHECK(engine_at(convs, BATCH_MAX, r->name) == r->engine_many, r->name);
    CHECK(engine_at(convs, 1, r->name) == r->engine_one, r->name);
    CHECK(!strcmp(ls_cuda_convs_text(convs), r->text), r->name);
    CHECK(!*ls_cuda_convs_note(convs), r->name);
    ls_cuda_convs_save(convs);
    ls_cuda_convs_free(&convs);
    CHECK(fake_alive == alive, r->name);

    // A second start has it all from the file.
    fake_built = fake_read = 0;
    convs = open_set(cache_path, r->name);
    CHECK(is_invariant(convs, shape_count, r->name), r->name);
    CHECK(engine_at(convs, 1, r->name) == r->engine_one, r->name);
    CHECK(fake_built == 0 && (fake_read > 0) == (r->engine_one > 0), r->name);
    CHECK(!strcmp(ls_cuda_convs_text(convs), r->text), r->name);
    ls_cuda_convs_free(&convs);
    CHECK(fake_alive == alive, r->name);
}

static void use(struct fake_engine engine)
{
    memset(fake_engines, 0, sizeof fake_engines);
    fake_engines[0] = engine;
    fake_favourite = 0;
}

// Without a cache only what is asked for is planned.
static void check_lazy(void)
{
    struct ls_cuda_convs *convs = open_set(NULL, "lazy");
    unsigned char item[4096];

    use((struct fake_engine){.id = 1});
    fake_built = 0;
    run(item, convs, 0, 2, "lazy");
    CHECK(fake_built == 1, "lazy");
    run(item, convs, 0, 8, "lazy");
    CHECK(fake_built == 2, "lazy");
    // From now on it gives other bytes: a batch size that comes later makes all of them plain.
    fake_engines[0].other_from = 3;
    run(item, convs, 0, 4, "lazy");
    CHECK(!strcmp(ls_cuda_convs_text(convs), "cuDNN 9.19, 1 layer plain"), "later, other bytes");
    CHECK(engine_at(convs, 2, "lazy") == 0, "later, other bytes");
    ls_cuda_convs_save(convs);
    ls_cuda_convs_free(&convs);
}

// Many shapes at once, the same one twice.
static void check_plan(void)
{
    struct ls_cuda_conv_shape list[2 * SHAPES];
    struct ls_cuda_convs *convs = open_set(NULL, "plan");
    struct ls_err err = {0};

    use((struct fake_engine){.id = 1});
    memcpy(list, shapes, sizeof shapes);
    memcpy(list + SHAPES, shapes, sizeof shapes);
    list[SHAPES].batch = 2;
    fake_built = 0;
    CHECK(ls_cuda_convs_plan(convs, list, 2 * SHAPES, NULL, &err) == 0, "plan");
    CHECK(fake_built == SHAPES + 1, "plan");
    for (int i = 0; i < SHAPES; i++)
        (void)get(convs, i, 1, "plan");
    CHECK(fake_built == SHAPES + 1, "plan");
    ls_cuda_convs_free(&convs);

    // All buckets, where no file keeps them.
    plan_all = true;
    convs = open_set(NULL, "plan for all, no cache");
    plan_all = false;
    fake_built = 0;
    (void)get(convs, 0, 1, "plan for all, no cache");
    CHECK(fake_built == 4, "plan for all, no cache");
    (void)get(convs, 0, BATCH_MAX, "plan for all, no cache");
    CHECK(fake_built == 4, "plan for all, no cache");
    ls_cuda_convs_free(&convs);

    // With a cache all buckets, and a batch size that is none of them.
    unlink(cache_path);
    convs = open_set(cache_path, "plan for all");
    list[0].batch = 2 * BATCH_MAX;
    fake_built = 0;
    CHECK(ls_cuda_convs_plan(convs, list, 1, NULL, &err) == 0, "plan for all");
    CHECK(fake_built == 5, "plan for all");
    CHECK(is_invariant(convs, 1, "plan for all") && fake_built == 5, "plan for all");
    ls_cuda_convs_free(&convs);
}

// What takes minutes on a device tells how far it has come.
static void check_wait(void)
{
    enum { MANY = 20 };
    struct ls_cuda_conv_shape list[MANY];
    struct ls_cuda_convs *convs = open_set(NULL, "wait");
    struct ls_err err = {0};

    use((struct fake_engine){.id = 1});
    for (int i = 0; i < MANY; i++) {
        int64_t w = 2 + i;

        list[i] = (struct ls_cuda_conv_shape){.batch = 1,
                                              .in = {1, (int)w, 8, 8 * w, 8 * w, 8},
                                              .out = {1, (int)w, 8, 8 * w, 8 * w, 8},
                                              .kernel = {1, 1},
                                              .stride = {1, 1}};
    }
    wait_count = 0;
    CHECK(ls_cuda_convs_plan(convs, list, MANY, NULL, &err) == 0, "wait");
    CHECK(wait_count == 1 && !strcmp(wait_text, "plans for 16 of 20 convolutions are chosen"),
          "wait");
    CHECK(ls_cuda_convs_plan(convs, list, MANY, NULL, &err) == 0 && wait_count == 1,
          "nothing is left to wait for");
    ls_cuda_convs_free(&convs);
}

// A file that is not whole any more: what is left of it is used or not, never trusted.
static void check_damage(void)
{
    struct ls_cuda_convs *convs;
    unsigned char item[4096];
    FILE *file;

    use((struct fake_engine){.id = 1});
    unlink(cache_path);
    convs = open_set(cache_path, "damage");
    run(item, convs, 0, 1, "damage");
    ls_cuda_convs_save(convs);
    ls_cuda_convs_free(&convs);
    file = fopen(cache_path, "r+b");
    CHECK(file && fseek(file, -3, SEEK_END) == 0 && fputc(0x77, file) != EOF, "damage");
    if (file)
        fclose(file);
    convs = open_set(cache_path, "damage");
    for (int batch = 1; batch <= BATCH_MAX; batch *= 2)
        run(item, convs, 0, batch, "damage");
    CHECK(*ls_cuda_convs_note(convs), "damage");
    ls_cuda_convs_save(convs);
    ls_cuda_convs_free(&convs);
    fake_built = 0;
    convs = open_set(cache_path, "repaired");
    for (int batch = 1; batch <= BATCH_MAX; batch *= 2)
        run(item, convs, 0, batch, "repaired");
    CHECK(!*ls_cuda_convs_note(convs) && fake_built == 0, "repaired");
    ls_cuda_convs_free(&convs);
}

// An engine that has gone since: its plan can be neither read nor built, another one is chosen.
static void check_gone(void)
{
    struct ls_cuda_convs *convs;

    use((struct fake_engine){.id = 2});
    convs = open_set(cache_path, "gone");
    CHECK(engine_at(convs, 1, "gone") == 2, "gone");
    CHECK(!strcmp(ls_cuda_convs_text(convs), "cuDNN 9.19"), "gone");
    ls_cuda_convs_free(&convs);
}

int main(void)
{
    snprintf(cache_path, sizeof cache_path, "/tmp/ls_tune_%d.plans", (int)getpid());
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        check_row_of(&rows[i]);
    check_lazy();
    check_plan();
    check_wait();
    check_damage();
    check_gone();
    unlink(cache_path);
    return check_done();
}
