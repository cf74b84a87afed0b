// SPDX-License-Identifier: Apache-2.0
// prepare.cu and compose.cu against ref, on pictures of all formats in one batch: faces cut out and
// put back, then the same with nothing in device memory but the rectangles that pictures.c names
// (the rest of the allocation is garbage, beyond it AddressSanitizer watches), then alone instead
// of in a batch.
#include <math.h>

#include "kernels/cuda/pictures.h"
#include "kernels/ref/ref.h"
#include "tests/kernels/_device.h"
#include "tests/kernels/_pictures.h"
#include "tests/unit/_check.h"

// ThreadSanitizer takes minutes, and few cases tell it of all races.
#ifdef __SANITIZE_THREAD__
enum { RACES_ALONE = 1 };
#else
enum { RACES_ALONE = 0 };
#endif

enum { SIZE = LS_FACE_SIZE, AREA = SIZE * SIZE, BYTES = 3 * AREA, CHANNELS = 8, ITEMS_MAX = 140 };

struct item {
    struct picture before;
    struct ls_paste paste; // without face and source
    char name[120];
};

// One batch and its memory on the host; of `made` nothing is there that need not be.
static struct item items[ITEMS_MAX];
static int item_count;
static float made[ITEMS_MAX][BYTES];
static uint8_t cut[ITEMS_MAX][BYTES]; // by the device

static void *device_new(size_t size)
{
    void *memory = NULL;

    if (cudaMalloc(&memory, size) != cudaSuccess)
        abort();
    return memory;
}

static void *device_put(const void *data, size_t size)
{
    void *memory = device_new(size);

    if (cudaMemcpy(memory, data, size, cudaMemcpyHostToDevice) != cudaSuccess)
        abort();
    return memory;
}

// Takes the memory away.
static void device_get(void *data, void *memory, size_t size)
{
    if (data && cudaMemcpy(data, memory, size, cudaMemcpyDeviceToHost) != cudaSuccess)
        abort();
    if (cudaFree(memory) != cudaSuccess)
        abort();
}

static const struct {
    const char *name;
    struct ls_frame frame;
    enum fill fill;
} pictures[] = {
    {"I420", {.width_px = 320, .height_px = 240}, FILL_RANDOM},
    {"I420 709", {.width_px = 321, .height_px = 179, .matrix = LS_MATRIX_BT709}, FILL_RANDOM},
    {"I420 16x17", {.width_px = 16, .height_px = 17}, FILL_RANDOM},
    {"I420 white", {.width_px = 98, .height_px = 99}, FILL_WHITE},
    {"RGB24", {.width_px = 320, .height_px = 241, .format = LS_PIX_RGB24}, FILL_RANDOM},
    {"RGB24 odd", {.width_px = 61, .height_px = 333, .format = LS_PIX_RGB24}, FILL_RANDOM},
    {"NV12 full",
     {.width_px = 97,
      .height_px = 211,
      .format = LS_PIX_NV12,
      .matrix = LS_MATRIX_BT2020,
      .full_range = true},
     FILL_RANDOM},
    {"NV12 smooth", {.width_px = 640, .height_px = 360, .format = LS_PIX_NV12}, FILL_SMOOTH},
    {"P010",
     {.width_px = 321, .height_px = 200, .format = LS_PIX_P010, .matrix = LS_MATRIX_BT2020},
     FILL_RANDOM},
    {"P010 full",
     {.width_px = 111, .height_px = 99, .format = LS_PIX_P010, .full_range = true},
     FILL_RANDOM},
    {"P010 black", {.width_px = 18, .height_px = 17, .format = LS_PIX_P010}, FILL_BLACK},
};

// In parts of the frame's size.
static const struct {
    const char *name;
    struct ls_box box;
} boxes[] = {
    {"middle", {0.3f, 0.2f, 0.7f, 0.9f}},    {"sticking out", {-0.4f, -0.3f, 0.5f, 0.6f}},
    {"low right", {0.613f, 0.55f, 1.7f, 2}}, {"outside", {-3, -3, -1, -1}},
    {"beyond", {2, 1.5f, 3, 2.5f}},          {"everything", {0, 0, 1, 1}},
    {"far around", {-8, -9, 11, 9}},         {"tiny", {0.5f, 0.5f, 0.503f, 0.502f}},
    {"thin", {0.41f, -1, 0.43f, 2}},
};

static const struct {
    const char *name;
    struct ls_paste paste;
} pastes[] = {
    {"mouth",
     {.mask = LS_MASK_MOUTH,
      .mouth = {0.5f, 0.75f, 0.3f, 0.2f},
      .feather_px = 14,
      .colour_match = 1,
      .strength = 1,
      .sharpness = 1}},
    {"mouth, hard",
     {.mask = LS_MASK_MOUTH, .mouth = {0.1f, 1.0f, 0.2f, 0.3f}, .strength = 1, .sharpness = 2}},
    {"lower face",
     {.mask = LS_MASK_LOWER_FACE, .feather_px = 8, .colour_match = 0.5f, .strength = 0.8f}},
    {"lower face, sharp",
     {.mask = LS_MASK_LOWER_FACE,
      .mouth = {0.45f, 0.7f, 0.25f, 0.2f},
      .feather_px = 8,
      .colour_match = 1,
      .strength = 1,
      .sharpness = 1}},
    {"rectangle", {.mask = LS_MASK_RECTANGLE, .strength = 1}},
    {"soft rectangle",
     {.mask = LS_MASK_RECTANGLE,
      .feather_px = 24,
      .colour_match = 1,
      .strength = 1,
      .sharpness = 0.5f}},
    {"rectangle, sharpest", {.mask = LS_MASK_RECTANGLE, .strength = 1, .sharpness = 2}},
    {"nothing", {.mask = LS_MASK_RECTANGLE, .feather_px = 3, .colour_match = 1}},
    {"mask outside",
     {.mask = LS_MASK_MOUTH,
      .mouth = {3, 3, 0.1f, 0.1f},
      .feather_px = 2,
      .colour_match = 1,
      .strength = 1}},
};

// What a generator may make: numbers by chance, or what it was shown (`seen`), with a lit patch
// around the mouth and a little noise. Nothing where it need not make anything.
static void face_make(float *out, const uint8_t *seen, const struct ls_int_box *needed,
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

static void item_add(const struct ls_frame *shape, enum fill fill, const struct ls_paste *paste,
                     const char *name)
{
    struct item *it = &items[item_count];
    uint64_t seed = (uint64_t)item_count + 77;
    uint8_t seen[BYTES];
    struct ls_int_box r;

    it->before = picture_new(shape, fill, seed);
    it->paste = *paste;
    snprintf(it->name, sizeof it->name, "%d: %s", item_count, name);
    ls_paste_reads(&r, paste);
    CHECK(ls_ref_crop(seen, &it->before.frame, &paste->box, paste->roll_rad, false, NULL) == LS_OK,
          it->name);
    face_make(made[item_count], item_count % 3 ? seen : NULL, &r, &seed);
    item_count++;
}

static void items_done(void)
{
    for (int i = 0; i < item_count; i++)
        picture_free(&items[i].before);
    item_count = 0;
}

// The first ones count as upright, or nearly do not.
static const float rolls[] = {0, 0.35f, -1, 0.0009f, 1, -0.6f, 0.001f, -0.1f};
enum { ROLLS = sizeof rolls / sizeof rolls[0] };

// Every picture with every box; paste and roll are another one each time.
static void items_of_tables(int turn)
{
    enum {
        PICTURES = sizeof pictures / sizeof pictures[0],
        BOXES = sizeof boxes / sizeof boxes[0]
    };
    enum { PASTES = sizeof pastes / sizeof pastes[0] };

    for (int i = 0; i < PICTURES * BOXES; i++) {
        const struct ls_frame *f = &pictures[i / BOXES].frame;
        const struct ls_box *b = &boxes[i % BOXES].box;
        int k = (i + turn) % PASTES;
        struct ls_paste paste = pastes[k].paste;
        char name[110];

        paste.box = (struct ls_box){b->x0 * (float)f->width_px, b->y0 * (float)f->height_px,
                                    b->x1 * (float)f->width_px, b->y1 * (float)f->height_px};
        paste.roll_rad = rolls[(i + i / BOXES + turn) % ROLLS];
        snprintf(name, sizeof name, "%s, %s, %s, roll %g", pictures[i / BOXES].name,
                 boxes[i % BOXES].name, pastes[k].name, (double)paste.roll_rad);
        item_add(f, pictures[i / BOXES].fill, &paste, name);
    }
}

static void items_of_chance(int count)
{
    uint64_t seed = 4242;

    for (int i = 0; i < count; i++) {
        struct ls_frame f = {.width_px = 16 + (int)(random_next(&seed) % 150),
                             .height_px = 16 + (int)(random_next(&seed) % 150),
                             .format = (enum ls_pixel)(i % (LS_PIX_P010 + 1)),
                             .matrix = (enum ls_matrix)(i % 3),
                             .full_range = i % 5 == 0};
        struct ls_paste p = {.mask = (enum ls_mask)(random_next(&seed) % 3), .strength = 1};
        // Whole and half numbers, too: where a rounding would decide.
        float grid = i % 3 ? 0.001f : 0.5f, side = i % 4 ? 120 : 3;

        p.box.x0 = grid * floorf(random_float(&seed, -40, (float)f.width_px + 10) / grid);
        p.box.y0 = grid * floorf(random_float(&seed, -40, (float)f.height_px + 10) / grid);
        p.box.x1 = p.box.x0 + grid + grid * floorf(random_float(&seed, 0, side) / grid);
        p.box.y1 = p.box.y0 + grid + grid * floorf(random_float(&seed, 0, side) / grid);
        for (int k = 0; k < 4; k++)
            p.mouth[k] = random_float(&seed, k < 2 ? -0.2f : 0.001f, k < 2 ? 1.2f : 0.5f);
        p.roll_rad = i % 3 ? random_float(&seed, -1, 1) : 0;
        p.sharpness = (float)(i % 5) / 2;
        p.feather_px = i % 7 ? random_float(&seed, 0, 24) : 0;
        p.colour_match = i % 2 ? random_float(&seed, 0, 1) : 0;
        item_add(&f, FILL_RANDOM, &p, "by chance");
    }
}

// --- a batch on the device -----------------------------------------------------------------------

// A plane's bytes a sample (a pixel, a pair), and its rectangle.
static int sample_size(const struct ls_frame *f, int plane)
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
static void part_put(struct part *p, struct ls_cuda_picture *picture, const struct ls_frame *f,
                     int plane, const struct ls_int_box *rect)
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
static void part_get(struct part *p, const struct ls_frame *f, int plane,
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

static void run_put(int first, int count, bool parts)
{
    run.parts = parts;
    for (int i = first; i < first + count; i++) {
        const struct ls_frame *f = &items[i].before.frame;
        struct ls_int_box reads[LS_CUDA_RECTS];

        ls_cuda_face_init(&run.face[i], f, &items[i].paste);
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
static void run_get(struct picture *after, int first, int count)
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
static void run_batch(struct picture *after, uint8_t (*source)[BYTES], void *input,
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
    CHECK(ls_cuda_compose(run.faces, count, mades, sources, scratch, width, height, NULL) == 0,
          "compose");
    CHECK(cudaDeviceSynchronize() == cudaSuccess, "the device");
    run_get(after, first, count);
    device_get(source ? source[first] : NULL, sources, n * BYTES);
    device_get(input, inputs, input_size);
    device_get(NULL, scratch, 0);
    device_get(NULL, mades, 0);
}

// --- checks --------------------------------------------------------------------------------------

static void copies_new(struct picture *after)
{
    for (int i = 0; i < item_count; i++)
        after[i] = picture_copy(&items[i].before);
}

static void copies_free(struct picture *after)
{
    for (int i = 0; i < item_count; i++)
        picture_free(&after[i]);
}

// A byte differs by 1 at most, and that where a half was rounded the other way: rarely.
static void check_cut(void)
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

static void check_input(const float *input)
{
    for (int i = 0; i < item_count; i++)
        for (int k = 0; k < AREA * CHANNELS; k++) {
            int pixel = k / CHANNELS, channel = k % CHANNELS;
            // As ref's put_face: divided in double, rounded once.
            float v = channel < 6 ? (float)(cut[i][3 * pixel + channel % 3] / 255.0) : 0;
            float want = channel < 3 && pixel >= AREA / 2 ? 0 : v;

            if (!CHECK(input[(size_t)i * AREA * CHANNELS + (size_t)k] == want, items[i].name))
                return;
        }
}

static void check_half(const uint16_t *half, const float *input)
{
    for (size_t i = 0; i < (size_t)item_count * AREA * CHANNELS; i++)
        if (!CHECK(half[i] == half_put(input[i]), "half input")) {
            printf("%zu: %#x of %a\n", i, half[i], (double)input[i]);
            return;
        }
}

// Places and sums are floats: hardly a byte of those that a paste changes is another one.
static void check_pasted(const struct picture *after)
{
    int64_t differing = 0, changed = 0;

    for (int i = 0; i < item_count; i++) {
        struct picture want = picture_copy(&items[i].before);
        struct ls_paste paste = items[i].paste;

        paste.face = made[i];
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

static void check_rectangles(void)
{
    for (int i = 0; i < item_count; i++) {
        struct ls_int_box r[LS_CUDA_RECTS], w[LS_CUDA_RECTS];
        const struct ls_frame *f = &items[i].before.frame;

        ls_cuda_picture_reads(r, f, &items[i].paste);
        ls_cuda_picture_writes(w, f, &items[i].paste);
        for (int k = 0; k < (f->format == LS_PIX_RGB24 ? 1 : 2); k++) {
            int width = k ? (f->width_px + 1) / 2 : f->width_px;
            int height = k ? (f->height_px + 1) / 2 : f->height_px;

            CHECK(r[k].x0 >= 0 && r[k].x0 < r[k].x1 && r[k].x1 <= width, items[i].name);
            CHECK(r[k].y0 >= 0 && r[k].y0 < r[k].y1 && r[k].y1 <= height, items[i].name);
            if (w[k].x0 < w[k].x1)
                CHECK(w[k].x0 >= r[k].x0 && w[k].x1 <= r[k].x1 && w[k].y0 >= r[k].y0 &&
                          w[k].y1 <= r[k].y1 && w[k].y0 < w[k].y1,
                      items[i].name);
        }
    }
}

// The same bytes with parts of the pictures, and alone (every third one, for the time it takes).
static void check_same(const struct picture *want)
{
    static uint8_t source[ITEMS_MAX][BYTES];

    for (int alone = 0; alone < 2; alone++) {
        struct picture after[ITEMS_MAX];
        int count = alone ? 1 : item_count, step = alone ? 3 : item_count;

        copies_new(after);
        for (int i = 0; i < item_count; i += step) {
            run_put(i, count, !alone);
            run_batch(after, source, NULL, LS_CUDA_FP16, i, count);
        }
        for (int i = 0; i < item_count; i += alone ? step : 1) {
            CHECK(!memcmp(source[i], cut[i], BYTES), items[i].name);
            CHECK(!memcmp(after[i].memory, want[i].memory, want[i].size), items[i].name);
        }
        copies_free(after);
    }
}

// Faces of all sizes cut out, in one batch: enlarged, reduced, more lattice than fits, boxes beside
// which the frame is a speck. Nothing is in device memory but what pictures.c says is read.
static void check_sizes(void)
{
    static const struct {
        struct ls_frame frame;
        struct ls_box box;
        float roll_rad;
    } rows[] = {
        {{.width_px = 640, .height_px = 360}, {300.3f, 100.7f, 320.1f, 124}, 0.2f},
        {{.width_px = 640, .height_px = 361, .format = LS_PIX_NV12}, {201, 99, 240.5f, 150}, 0},
        {{.width_px = 319, .height_px = 240, .format = LS_PIX_P010}, {60, 50, 156, 146}, 0},
        {{.width_px = 319, .height_px = 240}, {60.5f, 50.25f, 156.5f, 146.25f}, -0.5f},
        {{.width_px = 700, .height_px = 500, .format = LS_PIX_RGB24}, {99, 20, 400, 380}, 0.3f},
        {{.width_px = 1700, .height_px = 1600, .format = LS_PIX_NV12}, {100, 30, 1600, 1530}, 0},
        {{.width_px = 1600, .height_px = 1700, .format = LS_PIX_P010}, {50, 9, 1550, 1600}, -0.3f},
        {{.width_px = 1601, .height_px = 1601}, {-700, 800.5f, 800, 2300}, 1},
        {{.width_px = 900, .height_px = 1000}, {100, 10, 400, 990}, 0.9f},
        {{.width_px = 1000, .height_px = 64}, {-10, 3, 1020, 50}, -0.8f},
        {{.width_px = 16, .height_px = 16}, {-32768, -32768, 32768, 32768}, 0},
        {{.width_px = 17, .height_px = 16, .format = LS_PIX_NV12},
         {-32768, -32768, 32768, 32768},
         0.7f},
        {{.width_px = 33, .height_px = 90, .format = LS_PIX_RGB24},
         {-32768, 32767, 32768, 32768},
         -0.7f},
        {{.width_px = 33, .height_px = 90, .format = LS_PIX_P010},
         {32767.5f, -32768, 32768, 32768},
         0.01f},
    };
    enum { ROWS = sizeof rows / sizeof rows[0] };
    struct picture after[ITEMS_MAX];
    void *sources, *inputs;

    for (size_t i = 0; i < ROWS; i++) {
        const struct ls_paste paste = {
            .box = rows[i].box, .roll_rad = rows[i].roll_rad, .mask = LS_MASK_RECTANGLE};
        char name[40];

        snprintf(name, sizeof name, "size %zu", i);
        item_add(&rows[i].frame, FILL_RANDOM, &paste, name);
    }
    sources = device_new(ROWS * BYTES);
    inputs = device_new(ROWS * AREA * CHANNELS * ls_cuda_size(LS_CUDA_FP16));
    copies_new(after);
    run_put(0, ROWS, true);
    CHECK(ls_cuda_prepare(sources, inputs, LS_CUDA_FP16, run.faces, ROWS, NULL) == 0, "sizes");
    run_get(after, 0, ROWS);
    device_get(cut, sources, ROWS * BYTES);
    device_get(NULL, inputs, 0);
    check_cut();
    copies_free(after);
    items_done();
}

static void check_items(void)
{
    size_t numbers = (size_t)item_count * AREA * CHANNELS;
    float *input = malloc(numbers * sizeof *input);
    uint16_t *half = malloc(numbers * sizeof *half);
    struct picture after[ITEMS_MAX], again[ITEMS_MAX];

    if (!input || !half)
        abort();
    copies_new(after);
    copies_new(again);
    check_rectangles();
    run_put(0, item_count, false);
    run_batch(after, cut, input, LS_CUDA_FP32, 0, item_count);
    run_put(0, item_count, false);
    run_batch(again, NULL, half, LS_CUDA_FP16, 0, item_count);
    check_cut();
    check_input(input);
    check_half(half, input);
    check_pasted(after);
    check_same(after);
    copies_free(after);
    copies_free(again);
    free(input);
    free(half);
    items_done();
}

// More tiles than blocks, by a bound that is too small: slower, but the same.
static void check_bound(void)
{
    struct ls_frame shape = {.width_px = 700, .height_px = 300, .format = LS_PIX_NV12};
    struct ls_paste paste = {.box = {1, 2, 690, 295}, .mask = LS_MASK_RECTANGLE, .strength = 1};
    struct picture after[ITEMS_MAX], want;
    uint8_t *source = device_new(BYTES);
    void *scratch = device_new(ls_cuda_compose_size());
    float *mades;

    item_add(&shape, FILL_RANDOM, &paste, "a bound of nothing");
    mades = device_put(made[0], sizeof made[0]);
    copies_new(after);
    want = picture_copy(&items[0].before);
    paste.face = made[0];
    CHECK(ls_ref_composite(&want.frame, &paste, NULL) == LS_OK, items[0].name);
    run_put(0, 1, false);
    CHECK(ls_cuda_compose(run.faces, 1, mades, source, scratch, 0, 0, NULL) == 0, items[0].name);
    CHECK(cudaDeviceSynchronize() == cudaSuccess, items[0].name);
    run_get(after, 0, 1);
    CHECK(differ_picture(items[0].name, &after[0], &want, 1) <= 1, items[0].name);
    copies_free(after);
    picture_free(&want);
    device_get(NULL, source, 0);
    device_get(NULL, scratch, 0);
    device_get(NULL, mades, 0);
    items_done();
}

int main(void)
{
    if (!RACES_ALONE)
        check_sizes();
    for (int turn = 0; turn < 6 && !RACES_ALONE; turn += 3) {
        items_of_tables(turn);
        check_items();
    }
    items_of_chance(RACES_ALONE ? 16 : ITEMS_MAX);
    check_items();
    check_bound();
    return check_done();
}
