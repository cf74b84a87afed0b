// SPDX-License-Identifier: Apache-2.0
// prepare.cu and compose.cu against ref, on pictures of all formats in one batch: faces cut out and
// put back, every other one with levels, then the same with nothing in device memory but the
// rectangles that pictures.c names (the rest of the allocation is garbage, beyond it
// AddressSanitizer watches), then alone instead of in a batch.
#include "tests/kernels/_items.h"

// ThreadSanitizer takes minutes, and few cases tell it of all races.
#ifdef __SANITIZE_THREAD__
enum { RACES_ALONE = 1 };
#else
enum { RACES_ALONE = 0 };
#endif

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

// --- checks --------------------------------------------------------------------------------------

static void check_input(const float *input)
{
    for (int i = 0; i < item_count; i++) {
        uint8_t seen[BYTES];
        struct ls_levels levels;

        ls_levels_find(&levels, cut[i]);
        ls_levels_apply(seen, cut[i], &levels);
        for (int k = 0; k < AREA * CHANNELS; k++) {
            int pixel = k / CHANNELS, channel = k % CHANNELS;
            const uint8_t *from = items[i].levels ? seen : cut[i];
            // As ref's put_face: divided in double, rounded once.
            float v = channel < 6 ? (float)(from[3 * pixel + channel % 3] / 255.0) : 0;
            float want = channel < 3 && pixel >= AREA / 2 ? 0 : v;

            if (!CHECK(input[(size_t)i * AREA * CHANNELS + (size_t)k] == want, items[i].name))
                return;
        }
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
    for (int turn = 0; turn < 6 && !RACES_ALONE; turn += 3) {
        items_of_tables(turn);
        check_items();
    }
    items_of_chance(RACES_ALONE ? 16 : ITEMS_MAX);
    check_items();
    check_bound();
    return check_done();
}
