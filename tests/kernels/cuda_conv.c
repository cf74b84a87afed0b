// SPDX-License-Identifier: Apache-2.0
// The plain device convolution against a loop in double precision over the same stored numbers:
// every kind of shape that the generator has and odd ones, as parts of wider tensors, in half and
// float. What lies between the pixels of the output must stay; what lies between those of the input
// is not a number, so that reading it shows. An item alone must give the bytes that it gives in a
// batch, whatever tiles either is cut into.
#include <math.h>

#include "kernels/cuda/conv.h"
#include "tests/kernels/_device.h"
#include "tests/kernels/_pictures.h"
#include "tests/unit/_check.h"

// Numbers that lie between the pixels, rows and items of a tensor.
struct gaps {
    int pixel, row, item;
};

// clang-format off
static const struct row {
    const char *name;
    bool transposed;
    int batch, in[3], out[3]; // h, w, c
    int kernel[2], stride[2], pad[2];
    struct gaps in_gaps, out_gaps;
    bool relu;
} rows[] = {
    {"1x1", false, 3, {5, 7, 16}, {5, 7, 24}, {1, 1}, {1, 1}, {0, 0}, {0}, {0}, true},
    {"3x3", false, 2, {9, 11, 24}, {9, 11, 40}, {3, 3}, {1, 1}, {1, 1}, {0}, {0}, true},
    {"3x3, no activation", false, 2, {6, 6, 8}, {6, 6, 8}, {3, 3}, {1, 1}, {1, 1}, {0}, {0}, false},
    {"3x3, stride 2", false, 2, {13, 10, 16}, {7, 5, 72}, {3, 3}, {2, 2}, {1, 1}, {0}, {0}, true},
    {"3x3, stride 3 and 2", false, 2, {9, 6, 32}, {3, 3, 16}, {3, 3}, {3, 2}, {1, 1}, {0},
     {0}, true},
    {"3x3 to one pixel", false, 9, {3, 3, 40}, {1, 1, 136}, {3, 3}, {1, 1}, {0, 0}, {0}, {0}, true},
    {"7x7", false, 1, {17, 15, 8}, {17, 15, 16}, {7, 7}, {1, 1}, {3, 3}, {0}, {0}, true},
    {"sides of their own", false, 2, {8, 9, 8}, {4, 9, 8}, {2, 5}, {2, 1}, {0, 2}, {0}, {0}, true},
    {"parts of wider tensors", false, 3, {7, 5, 16}, {7, 5, 32}, {3, 3}, {1, 1}, {1, 1},
     {24, 8, 16}, {8, 40, 8}, true},
    {"below and right of more", false, 2, {8, 9, 16}, {7, 7, 16}, {3, 3}, {1, 1}, {0, 1},
     {0}, {0}, true}, // one row of padding at the bottom, one column less at the right
    {"cut out", false, 2, {12, 12, 8}, {5, 6, 8}, {3, 3}, {1, 1}, {-3, -2}, {0}, {0}, true},
    {"narrow tiles", false, 5, {30, 30, 8}, {30, 30, 32}, {3, 3}, {1, 1}, {1, 1}, {0},
     {8, 0, 0}, true},
    {"wide tiles", false, 3, {30, 31, 8}, {30, 31, 72}, {3, 3}, {1, 1}, {1, 1}, {8, 0, 0},
     {0}, true},
    {"wide tiles, whole", false, 20, {16, 16, 16}, {16, 16, 64}, {1, 1}, {1, 1},
     {0, 0}, {0}, {0}, true},
    {"up from one pixel", true, 5, {1, 1, 48}, {3, 3, 40}, {3, 3}, {1, 1}, {0, 0}, {0},
     {16, 0, 0}, true},
    {"up by two", true, 3, {5, 7, 32}, {10, 14, 24}, {3, 3}, {2, 2}, {1, 1}, {0}, {0}, true},
    {"up by two, odd", true, 2, {5, 4, 16}, {9, 7, 8}, {3, 3}, {2, 2}, {1, 1}, {8, 8, 8},
     {0}, false},
    {"up by two, four taps", true, 2, {6, 4, 8}, {12, 8, 16}, {4, 4}, {2, 2}, {1, 1}, {0},
     {0}, true},
    {"up by one", true, 2, {6, 4, 8}, {6, 4, 8}, {3, 3}, {1, 1}, {1, 1}, {0}, {0}, true},
    {"up by three, holes", true, 2, {4, 3, 8}, {12, 8, 8}, {2, 2}, {3, 3}, {0, 0}, {0}, {0}, false},
    {"up by two and one", true, 2, {4, 5, 8}, {7, 5, 16}, {3, 3}, {2, 1}, {1, 1}, {0}, {0}, true},
    {"up, a part", true, 2, {4, 5, 16}, {5, 6, 16}, {3, 3}, {2, 2}, {2, -1}, {0}, {24, 0, 8}, true},
    {"up, narrow tiles", true, 3, {20, 21, 16}, {40, 42, 32}, {3, 3}, {2, 2}, {1, 1}, {0},
     {0}, true},
    {"up, wide tiles", true, 2, {20, 19, 8}, {40, 38, 72}, {3, 3}, {2, 2}, {1, 1}, {0},
     {72, 0, 0}, true},
};
// clang-format on

static struct ls_cuda_tensor tensor(const int side[3], const struct gaps *gaps)
{
    struct ls_cuda_tensor t = {.h = side[0], .w = side[1], .c = side[2]};

    t.pixel = t.c + gaps->pixel;
    t.row = t.w * t.pixel + gaps->row;
    t.item = t.h * t.row + gaps->item;
    return t;
}

static size_t place(const struct ls_cuda_tensor *t, int item, int y, int x, int c)
{
    return (size_t)(item * t->item + y * t->row + x * t->pixel + c);
}

// Input row or column that output `out` reads with tap k; -1: none.
static int source(const struct ls_cuda_conv_shape *s, int axis, int out, int k)
{
    int size = axis ? s->in.w : s->in.h, at = out * s->stride[axis] - s->pad[axis] + k;

    if (s->transposed) {
        at = out + s->pad[axis] - k;
        if (at < 0 || at % s->stride[axis])
            return -1;
        at /= s->stride[axis];
    }
    return at < size ? at : -1;
}

static size_t weight_place(const struct ls_cuda_conv_shape *s, int co, int ky, int kx, int ci)
{
    int taps = s->kernel[0] * s->kernel[1], tap = ky * s->kernel[1] + kx;

    return s->transposed ? ((size_t)ci * taps + tap) * s->out.c + co
                         : ((size_t)co * taps + tap) * s->in.c + ci;
}

struct arrays {
    void *in, *weight, *old, *got[2]; // as stored; got: all items at once, one by one
    float *bias;
    size_t in_count, weight_count, out_count;
};

// One output number; *size: the sum of its terms' sizes, for the tolerance.
static double naive(const struct ls_cuda_conv_shape *s, const struct arrays *a, const int at[4],
                    double *size)
{
    double sum = a->bias[at[3]];

    *size = fabs(sum);
    for (int ky = 0; ky < s->kernel[0]; ky++) {
        for (int kx = 0; kx < s->kernel[1]; kx++) {
            int y = source(s, 0, at[1], ky), x = source(s, 1, at[2], kx);

            for (int c = 0; c < s->in.c && y >= 0 && x >= 0; c++) {
                double term =
                    (double)stored_get(a->in, s->type, place(&s->in, at[0], y, x, c)) *
                    (double)stored_get(a->weight, s->type, weight_place(s, at[3], ky, kx, c));

                sum += term;
                *size += fabs(term);
            }
        }
    }
    return s->act == LS_ACT_RELU && sum < 0 ? 0 : sum;
}

// Numbers of the tensor random, all else not a number.
static void *fill(const struct ls_cuda_conv_shape *s, const struct ls_cuda_tensor *t, size_t count,
                  uint64_t *seed)
{
    void *numbers = malloc(count * ls_cuda_size(s->type));

    if (!numbers)
        abort();
    for (size_t i = 0; i < count; i++)
        stored_put(numbers, s->type, i, NAN);
    for (int n = 0; n < s->batch; n++)
        for (int y = 0; y < t->h; y++)
            for (int x = 0; x < t->w; x++)
                for (int c = 0; c < t->c; c++)
                    stored_put(numbers, s->type, place(t, n, y, x, c), random_float(seed, -1, 1));
    return numbers;
}

static void arrays_init(struct arrays *a, const struct ls_cuda_conv_shape *s)
{
    uint64_t seed = 5;
    size_t size = ls_cuda_size(s->type);

    a->in_count = (size_t)(s->batch * s->in.item);
    a->out_count = (size_t)(s->batch * s->out.item);
    a->weight_count = (size_t)(s->kernel[0] * s->kernel[1] * s->in.c * s->out.c);
    a->in = fill(s, &s->in, a->in_count, &seed);
    a->old = malloc(a->out_count * size);
    a->got[0] = malloc(a->out_count * size);
    a->got[1] = malloc(a->out_count * size);
    a->weight = malloc(a->weight_count * size);
    a->bias = malloc((size_t)s->out.c * sizeof *a->bias);
    if (!a->old || !a->got[0] || !a->got[1] || !a->weight || !a->bias)
        abort();
    for (size_t i = 0; i < a->out_count; i++)
        stored_put(a->old, s->type, i, random_float(&seed, 100, 200));
    for (size_t i = 0; i < a->weight_count; i++)
        stored_put(a->weight, s->type, i, random_float(&seed, -1, 1));
    for (int c = 0; c < s->out.c; c++)
        a->bias[c] = random_float(&seed, -1, 1);
}

static void arrays_done(struct arrays *a)
{
    free(a->in);
    free(a->weight);
    free(a->old);
    free(a->got[0]);
    free(a->got[1]);
    free(a->bias);
}

// one_by_one: each item by a call of its own.
static void run(const struct ls_cuda_conv_shape *s, const struct arrays *a, bool one_by_one,
                const char *name)
{
    size_t size = ls_cuda_size(s->type);
    struct device_array in = device_array(a->in, a->in_count * size);
    struct device_array out = device_array(a->old, a->out_count * size);
    struct device_array weight = device_array(a->weight, a->weight_count * size);
    struct device_array bias = device_array(a->bias, (size_t)s->out.c * sizeof *a->bias);
    struct ls_cuda_conv_shape part = *s;

    part.batch = one_by_one ? 1 : s->batch;
    for (int i = 0; i < s->batch; i += part.batch)
        device_must(ls_cuda_conv_plain(&part, (char *)out.data + i * s->out.item * (int64_t)size,
                                       (const char *)in.data + i * s->in.item * (int64_t)size,
                                       weight.data, bias.data, NULL),
                    name);
    CHECK(device_read(a->got[one_by_one], &out), name);
    device_array_done(&in);
    device_array_done(&out);
    device_array_done(&weight);
    device_array_done(&bias);
}

// Compares with the naive sums and takes them out of `got`, whose rest must be as it was. A float
// sum of n terms is off by less than n roundings of the sum of their sizes; storing as half rounds
// once more.
static void compare(const struct ls_cuda_conv_shape *s, struct arrays *a, const char *name)
{
    double unit = s->type == LS_CUDA_FP16 ? 0x1p-11 : 0;
    double terms = (double)s->kernel[0] * s->kernel[1] * s->in.c;
    int at[4], wrong = 0;

    for (at[0] = 0; at[0] < s->batch; at[0]++) {
        for (at[1] = 0; at[1] < s->out.h; at[1]++) {
            for (at[2] = 0; at[2] < s->out.w; at[2]++) {
                for (at[3] = 0; at[3] < s->out.c; at[3]++) {
                    size_t idx = place(&s->out, at[0], at[1], at[2], at[3]);
                    double size, want = naive(s, a, at, &size);
                    double got = stored_get(a->got[0], s->type, idx);

                    if (!(fabs(got - want) <= unit * fabs(want) + terms * 0x1p-24 * size) &&
                        !wrong++)
                        printf("FAIL %s: item %d, y %d, x %d, c %d: %.9g, want %.9g\n", name, at[0],
                               at[1], at[2], at[3], got, want);
                    stored_put(a->got[0], s->type, idx, stored_get(a->old, s->type, idx));
                }
            }
        }
    }
    CHECK(!wrong, name);
    CHECK(!memcmp(a->got[0], a->old, a->out_count * ls_cuda_size(s->type)), name);
}

static void check(const struct row *row, enum ls_cuda_type type)
{
    struct ls_cuda_conv_shape s = {.type = type,
                                   .batch = row->batch,
                                   .transposed = row->transposed,
                                   .in = tensor(row->in, &row->in_gaps),
                                   .out = tensor(row->out, &row->out_gaps),
                                   .act = row->relu ? LS_ACT_RELU : LS_ACT_NONE};
    struct arrays a;
    char name[80];

    snprintf(name, sizeof name, "%s, %s", row->name, type == LS_CUDA_FP16 ? "half" : "float");
    memcpy(s.kernel, row->kernel, sizeof s.kernel);
    memcpy(s.stride, row->stride, sizeof s.stride);
    memcpy(s.pad, row->pad, sizeof s.pad);
    arrays_init(&a, &s);
    run(&s, &a, false, name);
    run(&s, &a, true, name);
    CHECK(!memcmp(a.got[0], a.got[1], a.out_count * ls_cuda_size(type)), name);
    compare(&s, &a, name);
    arrays_done(&a);
}

// The set of convolutions of a build without cuDNN: equal shapes share one, others do not.
static void check_set(void)
{
    const struct row *row = &rows[1];
    struct ls_cuda_device device = {.idx = 0};
    struct ls_cuda_convs_params params = {.type = LS_CUDA_FP32, .batch_max = row->batch};
    struct ls_cuda_conv_shape s = {.type = LS_CUDA_FP32,
                                   .batch = row->batch,
                                   .in = tensor(row->in, &row->in_gaps),
                                   .out = tensor(row->out, &row->out_gaps),
                                   .kernel = {3, 3},
                                   .stride = {1, 1},
                                   .pad = {1, 1},
                                   .act = LS_ACT_RELU};
    struct ls_cuda_convs *convs = NULL;
    struct ls_cuda_conv *conv[3] = {NULL};
    struct ls_err err = {0};
    int r = ls_cuda_convs_new(&convs, &device, &params, &err);

    for (int i = 0; i < 3 && r == 0; i++) {
        s.in.row += i == 2 ? 8 : 0;
        r = ls_cuda_conv_get(&conv[i], convs, &s, NULL, &err);
    }
    if (!CHECK(r == 0, "set"))
        printf("%s\n", err.text);
    CHECK(conv[0] && conv[0] == conv[1] && conv[0] != conv[2], "set");
    CHECK(convs && !strcmp(ls_cuda_convs_text(convs), "plain"), "set");
    CHECK(convs && !strcmp(ls_cuda_convs_note(convs), ""), "set");
    ls_cuda_convs_free(&convs);
    CHECK(!convs, "set");
}

// One of the set computes what the kernel does.
static void check_set_run(void)
{
    struct ls_cuda_tensor t = {.h = 1, .w = 1, .c = 8, .item = 8, .row = 8, .pixel = 8};
    struct ls_cuda_conv_shape s = {
        .type = LS_CUDA_FP32, .batch = 1, .in = t, .out = t, .kernel = {1, 1}, .stride = {1, 1}};
    float in[8], weight[64] = {0}, bias[8] = {0}, got[8];
    struct device_array d_in, d_weight, d_bias, d_out;
    struct ls_cuda_convs_params params = {.type = LS_CUDA_FP32, .batch_max = 1};
    struct ls_cuda_convs *convs = NULL;
    struct ls_cuda_conv *conv;
    struct ls_err err = {0};
    int r = ls_cuda_convs_new(&convs, &(struct ls_cuda_device){.idx = 0}, &params, &err);

    for (int c = 0; c < 8; c++) {
        in[c] = (float)(c + 1);
        weight[c * 8 + 7 - c] = 2; // twice the channels, backwards
    }
    d_in = device_array(in, sizeof in);
    d_weight = device_array(weight, sizeof weight);
    d_bias = device_array(bias, sizeof bias);
    d_out = device_array(in, sizeof in);
    if (r == 0)
        r = ls_cuda_conv_get(&conv, convs, &s, NULL, &err);
    if (r == 0)
        r = ls_cuda_conv_run(conv, d_out.data, d_in.data, d_weight.data, d_bias.data, NULL, &err);
    CHECK(r == 0 && device_read(got, &d_out), "one of the set");
    for (int c = 0; c < 8; c++)
        CHECK(got[c] == 2 * in[7 - c], "one of the set");
    ls_cuda_convs_free(&convs);
    device_array_done(&d_in);
    device_array_done(&d_weight);
    device_array_done(&d_bias);
    device_array_done(&d_out);
}

int main(void)
{
    check_set();
    check_set_run();
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        check(&rows[i], LS_CUDA_FP16);
        check(&rows[i], LS_CUDA_FP32);
    }
    return check_done();
}
