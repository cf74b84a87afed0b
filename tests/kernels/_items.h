// SPDX-License-Identifier: Apache-2.0
// What the tests of faces cut out and put back by the device share: items (a picture, a paste, what
// a generator may have made of it), their way to the host's shim and back, whole or as the parts
// that pictures.c names, and the comparison with ref. Header only; one thread.
#ifndef LS_TEST_ITEMS_H
#define LS_TEST_ITEMS_H

#include <math.h>

#include "kernels/cuda/pictures.h"
#include "kernels/levels.h"
#include "kernels/ref/ref.h"
#include "tests/kernels/_device.h"
#include "tests/kernels/_pictures.h"
#include "tests/unit/_check.h"

enum { SIZE = LS_FACE_SIZE, AREA = SIZE * SIZE, BYTES = 3 * AREA, CHANNELS = 8, ITEMS_MAX = 140 };

struct item {
    struct picture before;
    struct ls_paste paste; // without face and source
    bool levels;
    char name[120];
};

// One batch and its memory on the host; of `made` nothing is there that need not be.
static struct item items[ITEMS_MAX];
static int item_count;
static float made[ITEMS_MAX][BYTES];
static uint8_t cut[ITEMS_MAX][BYTES]; // by the device

static inline void *device_new(size_t size)
{
    void *memory = NULL;

    if (cudaMalloc(&memory, size) != cudaSuccess)
        abort();
    return memory;
}

static inline void *device_put(const void *data, size_t size)
{
    void *memory = device_new(size);

    if (cudaMemcpy(memory, data, size, cudaMemcpyHostToDevice) != cudaSuccess)
        abort();
    return memory;
}

// Takes the memory away.
static inline void device_get(void *data, void *memory, size_t size)
{
    if (data && cudaMemcpy(data, memory, size, cudaMemcpyDeviceToHost) != cudaSuccess)
        abort();
    if (cudaFree(memory) != cudaSuccess)
        abort();
}

// What a generator may make: numbers by chance, or what it was shown (`seen`), with a lit patch
// around the mouth and a little noise. Nothing where it need not make anything.
static inline void face_make(float *out, const uint8_t *seen, const struct ls_int_box *needed,
                             uint64_t *seed)
{
    for (int i = 0; i < BYTES; i++) {
        int x = i / 3 % SIZE, y = i / 3 / SIZE;
        float v = i % 50 ? random_float(seed, 0, 1) : (float)(i % 100 / 50);
        float dx = (float)(x - 50) / 16, dy = (float)(y - 70) / 12;

        if (seen)
            v = (float)seen[i] / 255 + 0.04f * (v - 0.5f) + 0.3f * expf(-dx * dx - dy * dy);
        out[i] = x >= needed->x0 && x < needed->x1 && y >= needed->y0 && y < needed->y1 ? v : NAN;
    }
}

static inline void item_add(const struct ls_frame *shape, enum fill fill,
                            const struct ls_paste *paste, const char *name)
{
    struct item *it = &items[item_count];
    uint64_t seed = (uint64_t)item_count + 77;
    struct ls_levels levels;
    uint8_t seen[BYTES];
    struct ls_int_box r;

    it->before = picture_new(shape, fill, seed);
    it->paste = *paste;
    it->levels = item_count % 2;
    snprintf(it->name, sizeof it->name, "%d: %s", item_count, name);
    ls_paste_reads(&r, paste);
    CHECK(ls_ref_crop(seen, &it->before.frame, &paste->box, paste->roll_rad, false, NULL) == LS_OK,
          it->name);
    ls_levels_find(&levels, seen);
    if (it->levels)
        ls_levels_apply(seen, seen, &levels);
    face_make(made[item_count], item_count % 3 ? seen : NULL, &r, &seed);
    item_count++;
}

static inline void items_done(void)
{
    for (int i = 0; i < item_count; i++)
        picture_free(&items[i].before);
    item_count = 0;
}

// --- a batch on the device -----------------------------------------------------------------------

// A plane's bytes a sample (a pixel, a pair), and its rectangle.
static inline int sample_size(const struct ls_frame *f, int plane)
{
    int pair = plane && f->format != LS_PIX_I420 ? 2 : 1;

    return f->format == LS_PIX_RGB24 ? 3 : f->format == LS_PIX_P010 ? 2 * pair : pair;
}

// A plane's part in device memory.
struct part {
    uint8_t *host, *device;
    size_t size;
    int stride, row; // bytes; a row's pixels
    struct ls_int_box rect;
};

enum { PART_PADDING = 6 }; // bytes after a row, but for the last one

// Puts the rectangle of the plane alone into device memory and makes the picture believe that all
// of it is there.
static inline void part_put(struct part *p, struct ls_cuda_picture *picture,
                            const struct ls_frame *f, int plane, const struct ls_int_box *rect)
{
    int size = sample_size(f, plane), rows = rect->y1 - rect->y0;
    uint64_t seed = (uint64_t)plane + 1;

    p->rect = *rect;
    p->row = (rect->x1 - rect->x0) * size;
    p->stride = p->row + PART_PADDING;
    p->size = (size_t)p->stride * (size_t)(rows - 1) + (size_t)p->row;
    p->host = malloc(p->size);
    if (!p->host)
        abort();
    for (size_t i = 0; i < p->size; i++)
        p->host[i] = (uint8_t)random_next(&seed);
    for (int y = 0; y < rows; y++)
        memcpy(p->host + (ptrdiff_t)y * p->stride,
               f->plane[plane] + (ptrdiff_t)(rect->y0 + y) * f->stride[plane] + rect->x0 * size,
               (size_t)p->row);
    p->device = device_put(p->host, p->size);
    picture->plane[plane] =
        (uint8_t *)((uintptr_t)p->device - (uintptr_t)(rect->y0 * p->stride + rect->x0 * size));
    picture->stride[plane] = p->stride;
}

// What came back into the frame; bytes that are none of the rectangle must be what they were.
static inline void part_get(struct part *p, const struct ls_frame *f, int plane,
                            const struct ls_int_box *written, const char *row)
{
    int size = sample_size(f, plane);
    uint8_t *got = malloc(p->size);

    if (!got)
        abort();
    device_get(got, p->device, p->size);
    for (size_t i = 0; i < p->size; i++) {
        int y = p->rect.y0 + (int)(i / (size_t)p->stride), x = (int)(i % (size_t)p->stride);
        bool inside;

        x = x < p->row ? p->rect.x0 + x / size : -1;
        inside = x >= written->x0 && x < written->x1 && y >= written->y0 && y < written->y1;
        if (!inside && !CHECK(got[i] == p->host[i], row))
            break;
        if (inside)
            f->plane[plane][(ptrdiff_t)y * f->stride[plane] + (ptrdiff_t)x * size +
                            (ptrdiff_t)(i % (size_t)p->stride) % size] = got[i];
    }
    free(got);
    free(p->host);
}

// The pictures of a run, whole or in parts.
struct run {
    struct part part[ITEMS_MAX][3];
    uint8_t *whole[ITEMS_MAX];
    struct ls_cuda_face face[ITEMS_MAX], *faces;
    bool parts;
};
static struct run run;

static inline void run_put(int first, int count, bool parts)
{
    run.parts = parts;
    for (int i = first; i < first + count; i++) {
        const struct ls_frame *f = &items[i].before.frame;
        struct ls_int_box reads[LS_CUDA_RECTS];

        ls_cuda_face_init(&run.face[i], f, &items[i].paste);
        run.face[i].levels = items[i].levels;
        ls_cuda_picture_reads(reads, f, &items[i].paste);
        if (!parts)
            run.whole[i] = device_put(items[i].before.memory, items[i].before.size);
        for (int k = 0; k < picture_planes(f); k++)
            if (parts)
                part_put(&run.part[i][k], &run.face[i].picture, f, k, &reads[k > 0]);
            else
                run.face[i].picture.plane[k] =
                    run.whole[i] + (f->plane[k] - items[i].before.memory);
    }
    run.faces = device_put(run.face + first, (size_t)count * sizeof *run.faces);
}

// after: copies of what the pictures were; become what they are.
static inline void run_get(struct picture *after, int first, int count)
{
    for (int i = first; i < first + count; i++) {
        const struct ls_frame *f = &after[i].frame;

        if (!run.parts)
            device_get(after[i].memory, run.whole[i], after[i].size);
        for (int k = 0; k < picture_planes(f) && run.parts; k++)
            part_get(&run.part[i][k], f, k, &run.face[i].write[k > 0], items[i].name);
    }
    device_get(NULL, run.faces, 0);
}

// Cuts and pastes items first..; source and input may be NULL.
static inline void run_batch(struct picture *after, uint8_t (*source)[BYTES], void *input,
                             enum ls_cuda_type type, int first, int count)
{
    size_t n = (size_t)count, input_size = n * AREA * CHANNELS * ls_cuda_size(type);
    uint8_t *sources = device_new(n * BYTES);
    void *inputs = device_new(input_size), *scratch = device_new(n * ls_cuda_compose_size());
    float *mades = device_put(made[first], n * sizeof made[0]);
    int width = 0, height = 0;

    for (int i = first; i < first + count; i++) {
        const struct ls_int_box *w = run.face[i].write;

        width = w->x1 - w->x0 > width ? w->x1 - w->x0 : width;
        height = w->y1 - w->y0 > height ? w->y1 - w->y0 : height;
    }
    CHECK(ls_cuda_prepare(sources, inputs, type, run.faces, count, NULL) == 0, "prepare");
    CHECK(ls_cuda_level(sources, inputs, type, run.faces, count, NULL) == 0, "levels");
    CHECK(ls_cuda_compose(run.faces, count, mades, sources, scratch, width, height, NULL) == 0,
          "compose");
    CHECK(cudaDeviceSynchronize() == cudaSuccess, "the device");
    run_get(after, first, count);
    device_get(source ? source[first] : NULL, sources, n * BYTES);
    device_get(input, inputs, input_size);
    device_get(NULL, scratch, 0);
    device_get(NULL, mades, 0);
}

// --- against ref ---------------------------------------------------------------------------------

static inline void copies_new(struct picture *after)
{
    for (int i = 0; i < item_count; i++)
        after[i] = picture_copy(&items[i].before);
}

static inline void copies_free(struct picture *after)
{
    for (int i = 0; i < item_count; i++)
        picture_free(&after[i]);
}

// A byte differs by 1 at most, and that where a half was rounded the other way: rarely.
static inline void check_cut(void)
{
    int differing = 0;

    for (int i = 0; i < item_count; i++) {
        uint8_t want[BYTES];

        CHECK(ls_ref_crop(want, &items[i].before.frame, &items[i].paste.box,
                          items[i].paste.roll_rad, false, NULL) == LS_OK,
              items[i].name);
        CHECK(differ_byte(items[i].name, cut[i], want, BYTES, 1) <= 1, items[i].name);
        for (int k = 0; k < BYTES; k++)
            differing += cut[i][k] != want[k];
    }
    if (!CHECK(differing <= (int64_t)item_count * BYTES / 2000, "faces cut out"))
        printf("%d bytes of %d differ\n", differing, item_count * BYTES);
}

// Places and sums are floats: hardly a byte of those that a paste changes is another one.
static inline void check_pasted(const struct picture *after)
{
    int64_t differing = 0, changed = 0;

    for (int i = 0; i < item_count; i++) {
        struct picture want = picture_copy(&items[i].before);
        struct ls_paste paste = items[i].paste;
        static float own[BYTES];
        struct ls_levels levels;

        memcpy(own, made[i], sizeof own);
        ls_levels_find(&levels, cut[i]);
        if (items[i].levels)
            ls_levels_undo(own, 0, &levels);
        paste.face = own;
        paste.source = cut[i];
        CHECK(ls_ref_composite(&want.frame, &paste, NULL) == LS_OK, items[i].name);
        CHECK(differ_picture(items[i].name, &after[i], &want, 1) <= 1, items[i].name);
        for (size_t k = 0; k < want.size; k++) {
            differing += after[i].memory[k] != want.memory[k];
            changed += want.memory[k] != items[i].before.memory[k];
            if (after[i].memory[k] != items[i].before.memory[k] &&
                !CHECK(picture_is_pixel(&want, k), items[i].name))
                break;
        }
        picture_free(&want);
    }
    if (!CHECK(differing <= changed / 1000, "faces put back"))
        printf("%lld bytes of %lld differ\n", (long long)differing, (long long)changed);
}

#endif
