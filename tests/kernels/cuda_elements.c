// SPDX-License-Identifier: Apache-2.0
// The device work around the generator's convolutions against plain loops: sound into the network's
// layout, tensors into records and rectangles out of them (copies: every byte, and none beside
// them), the output layer against ref's formula in double precision.
#include <math.h>

#include "kernels/cuda/elements.h"
#include "tests/kernels/_device.h"
#include "tests/kernels/_pictures.h"
#include "tests/unit/_check.h"

enum { SIDE = 96, BANDS = 80, COLUMNS = 16 };

static void *numbers_new(enum ls_cuda_type type, size_t count, float low, float high)
{
    void *numbers = malloc(count * ls_cuda_size(type));
    uint64_t seed = count;

    if (!numbers)
        abort();
    for (size_t i = 0; i < count; i++)
        stored_put(numbers, type, i, random_float(&seed, low, high));
    return numbers;
}

static void check_mel(enum ls_cuda_type type, int count, const char *name)
{
    size_t pixels = (size_t)count * BANDS * COLUMNS, size = ls_cuda_size(type);
    float *mel = numbers_new(LS_CUDA_FP32, pixels, -4, 4);
    void *got = numbers_new(type, pixels * 8, 1, 2), *want = numbers_new(type, pixels * 8, 1, 2);
    struct device_array in = device_array(mel, pixels * sizeof *mel);
    struct device_array out = device_array(got, pixels * 8 * size);

    for (size_t i = 0; i < pixels * 8; i++) {
        size_t column = i / 8 % COLUMNS, band = i / 8 / COLUMNS % BANDS;
        size_t item = i / 8 / COLUMNS / BANDS;

        stored_put(want, type, i, i % 8 ? 0 : mel[(item * COLUMNS + column) * BANDS + band]);
    }
    device_must(ls_cuda_put_mel(out.data, type, in.data, count, NULL), name);
    CHECK(device_read(got, &out), name);
    CHECK(!memcmp(got, want, pixels * 8 * size), name);
    device_array_done(&in);
    device_array_done(&out);
    free(mel);
    free(got);
    free(want);
}

// A tensor and what of it, packed [source_h][w of the record][c], a record holds.
struct part_row {
    int source[3]; // h, w, c
    int y0, x0, h, w;
    int gap[3]; // numbers after a pixel, a row, an item of the picture
};

static const struct copy_row {
    const char *name;
    int count, slot[4];
    int part_count;
    struct part_row part[3];
} copies[] = {
    {"one whole tensor", 2, {3, 0}, 1, {{{5, 7, 16}, 0, 0, 5, 7, {0}}}},
    {"one pixel", 1, {1}, 1, {{{1, 1, 8}, 0, 0, 1, 1, {0}}}},
    {"into a concatenation", 3, {0, 2, 4}, 1, {{{6, 6, 24}, 0, 0, 6, 6, {40, 0, 0}}}},
    {"three tensors",
     3,
     {4, 1, 3},
     3,
     {{{9, 9, 8}, 0, 0, 9, 9, {8, 0, 0}},
      {{3, 3, 64}, 0, 0, 3, 3, {0, 8, 16}},
      {{1, 1, 40}, 0, 0, 1, 1, {0}}}},
    {"rectangles",
     2,
     {2, 1},
     3,
     {{{9, 10, 8}, 4, 3, 5, 7, {8, 0, 0}},
      {{20, 20, 16}, 1, 0, 18, 20, {0, 0, 8}},
      {{4, 4, 8}, 3, 3, 1, 1, {0}}}},
    {"one record twice", 2, {1, 1}, 1, {{{4, 4, 8}, 1, 1, 2, 3, {8, 16, 8}}}},
};

enum { RECORDS = 5 };

struct copy_case {
    const struct copy_row *row;
    enum ls_cuda_type type;
    struct ls_cuda_parts parts;
    size_t size[3]; // bytes of each picture
};

static void copy_init(struct copy_case *c, const struct copy_row *row, enum ls_cuda_type type)
{
    int64_t size = (int64_t)ls_cuda_size(type),
            offset = 32; // the record begins with something else

    *c = (struct copy_case){.row = row, .type = type};
    c->parts.part_count = row->part_count;
    c->parts.type = type;
    for (int i = 0; i < row->part_count; i++) {
        const struct part_row *p = &row->part[i];
        struct ls_cuda_part *part = &c->parts.part[i];
        struct ls_cuda_tensor *t = &part->tensor;

        t->h = p->h;
        t->w = p->w;
        t->c = p->source[2];
        t->pixel = t->c + p->gap[0];
        t->row = t->w * t->pixel + p->gap[1];
        t->item = t->h * t->row + p->gap[2];
        part->source_w = p->source[1];
        part->x0 = p->x0;
        part->y0 = p->y0;
        part->offset = offset;
        offset += p->source[0] * p->source[1] * p->source[2] * size;
        c->size[i] = (size_t)(row->count * t->item * size);
    }
    c->parts.record_size = offset + 16;
}

// The same copy with loops, on the host.
static void copy_naive(const struct copy_case *c, unsigned char *const picture[3],
                       unsigned char *record, bool store)
{
    size_t size = ls_cuda_size(c->type);

    for (int i = 0; i < c->row->part_count; i++) {
        const struct ls_cuda_part *p = &c->parts.part[i];
        const struct ls_cuda_tensor *t = &p->tensor;

        for (int n = 0; n < c->row->count; n++) {
            for (int y = 0; y < t->h; y++) {
                for (int x = 0; x < t->w; x++) {
                    int64_t at = n * t->item + y * t->row + x * t->pixel;
                    int64_t packed = ((int64_t)(p->y0 + y) * p->source_w + p->x0 + x) * t->c;
                    unsigned char *a = picture[i] + (size_t)at * size;
                    unsigned char *b = record + c->row->slot[n] * c->parts.record_size + p->offset +
                                       (size_t)packed * size;

                    memcpy(store ? b : a, store ? a : b, (size_t)t->c * size);
                }
            }
        }
    }
}

static void check_copy(const struct copy_row *row, enum ls_cuda_type type, bool store)
{
    struct copy_case c;
    struct device_array picture[3], record, slot = device_array(row->slot, sizeof row->slot);
    unsigned char *want[3], *got, *records;
    size_t record_size;
    char name[80];

    snprintf(name, sizeof name, "%s, %s, %s", row->name, type == LS_CUDA_FP16 ? "half" : "float",
             store ? "store" : "gather");
    copy_init(&c, row, type);
    record_size = (size_t)c.parts.record_size * RECORDS;
    records = numbers_new(type, record_size / ls_cuda_size(type), 1, 2);
    record = device_array(records, record_size);
    for (int i = 0; i < row->part_count; i++) {
        want[i] = numbers_new(type, c.size[i] / ls_cuda_size(type), 3, 4);
        picture[i] = device_array(want[i], c.size[i]);
        c.parts.part[i].data = picture[i].data;
    }
    c.parts.record = record.data;
    c.parts.slot = slot.data;
    copy_naive(&c, want, records, store);
    device_must(store ? ls_cuda_store(&c.parts, row->count, NULL)
                      : ls_cuda_gather(&c.parts, row->count, NULL),
                name);
    for (int i = 0; i < row->part_count; i++) {
        got = malloc(c.size[i]);
        CHECK(got && device_read(got, &picture[i]) && !memcmp(got, want[i], c.size[i]), name);
        free(got);
        free(want[i]);
        device_array_done(&picture[i]);
    }
    got = malloc(record_size);
    CHECK(got && device_read(got, &record) && !memcmp(got, records, record_size), name);
    free(got);
    free(records);
    device_array_done(&record);
    device_array_done(&slot);
}

static const struct head_row {
    const char *name;
    int count, h, w, c, y0, x0, gap;
    float most; // size of the input's numbers; large ones saturate
} heads[] = {
    {"head", 2, 96, 96, 16, 0, 0, 0, 1},
    {"head, a rectangle", 3, 57, 78, 32, 39, 12, 8, 2},
    {"head, one pixel", 1, 1, 1, 8, 95, 95, 0, 1},
    {"head, saturated", 1, 5, 7, 40, 3, 4, 16, 1000},
};

// A sum of c terms is off by less than c roundings of the sum of their sizes, and the sigmoid is
// nowhere steeper than 1/4; the exponential and the division add a few units in the last place.
static void compare_head(const struct head_row *row, const void *in, enum ls_cuda_type type,
                         const float *weight, float *got, const float *old, const char *name)
{
    int64_t pixel = row->c + row->gap;
    int wrong = 0;

    for (int i = 0; i < row->count * row->h * row->w * 3; i++) {
        int k = i % 3, x = i / 3 % row->w, y = i / 3 / row->w % row->h, n = i / 3 / row->w / row->h;
        size_t at = (((size_t)n * SIDE + row->y0 + y) * SIDE + row->x0 + x) * 3 + k;
        double sum = weight[3 * row->c + k], size = fabs(sum), want;

        for (int c = 0; c < row->c; c++) {
            double term = (double)stored_get(in, type, (size_t)(i / 3 * pixel + c)) *
                          (double)weight[k * row->c + c];

            sum += term;
            size += fabs(term);
        }
        want = 1 / (1 + exp(-sum));
        if (!(fabs(got[at] - want) <= row->c * 0x1p-26 * size + 4e-7) && !wrong++)
            printf("FAIL %s: item %d, y %d, x %d, channel %d: %.9g, want %.9g\n", name, n, y, x, k,
                   (double)got[at], want);
        got[at] = old[at];
    }
    CHECK(!wrong, name);
}

static void check_head(const struct head_row *row, enum ls_cuda_type type)
{
    size_t in_count = (size_t)row->count * row->h * row->w * (row->c + row->gap);
    size_t made_count = (size_t)row->count * SIDE * SIDE * 3;
    void *in = numbers_new(type, in_count, -row->most, row->most);
    float *weight = numbers_new(LS_CUDA_FP32, 3 * (size_t)row->c + 3, -1, 1); // bias behind
    float *old = numbers_new(LS_CUDA_FP32, made_count, 5, 6),
          *got = malloc(made_count * sizeof *got);
    struct device_array d_in = device_array(in, in_count * ls_cuda_size(type));
    struct device_array d_weight = device_array(weight, (3 * (size_t)row->c + 3) * sizeof *weight);
    struct device_array made = device_array(old, made_count * sizeof *old);
    struct ls_cuda_head head = {.in = d_in.data,
                                .tensor = {.h = row->h, .w = row->w, .c = row->c},
                                .type = type,
                                .weight = d_weight.data,
                                .bias = (float *)d_weight.data + 3 * row->c,
                                .made = made.data,
                                .x0 = row->x0,
                                .y0 = row->y0};
    char name[80];

    snprintf(name, sizeof name, "%s, %s", row->name, type == LS_CUDA_FP16 ? "half" : "float");
    head.tensor.pixel = row->c + row->gap;
    head.tensor.row = row->w * head.tensor.pixel;
    head.tensor.item = row->h * head.tensor.row;
    device_must(ls_cuda_head(&head, row->count, NULL), name);
    CHECK(got && device_read(got, &made), name);
    compare_head(row, in, type, weight, got, old, name);
    CHECK(!memcmp(got, old, made_count * sizeof *got), name); // what lies around the rectangle
    device_array_done(&d_in);
    device_array_done(&d_weight);
    device_array_done(&made);
    free(in);
    free(weight);
    free(old);
    free(got);
}

int main(void)
{
    static const enum ls_cuda_type types[] = {LS_CUDA_FP16, LS_CUDA_TF32};

    for (int t = 0; t < 2; t++) {
        check_mel(types[t], 1, "mel");
        check_mel(types[t], 5, "mel, five");
        for (size_t i = 0; i < sizeof copies / sizeof copies[0]; i++) {
            if (copies[i].slot[0] != copies[i].slot[1] || copies[i].count == 1)
                check_copy(&copies[i], types[t], true); // two writers of one record: whose wins?
            check_copy(&copies[i], types[t], false);
        }
        for (size_t i = 0; i < sizeof heads / sizeof heads[0]; i++)
            check_head(&heads[i], types[t]);
    }
    return check_done();
}
