// SPDX-License-Identifier: Apache-2.0
// Levels of faces: values worked out by hand, flat and dark faces, there and back; which weights
// ask for them and which are refused; and that a back end's border does with them what levels.h
// says around the bare network, to the bit, and nothing to exact faces.
#include "kernels/levels.h"

#include <string.h>
#include <unistd.h>

#include "kernels/backend.h"
#include "kernels/splitmix.h"
#include "tests/kernels/_narrow.h"
#include "tests/unit/_bytes.h"
#include "tests/unit/_check.h"

enum { SIZE = LS_FACE_SIZE, FACE = 3 * SIZE * SIZE, MEL = LS_MEL_WINDOW * LS_MEL_BANDS };
enum { ITEMS = 4 };

static uint8_t face[ITEMS][FACE], levelled[FACE];

static void fill(uint8_t *to, int low, int high, uint64_t seed)
{
    for (int i = 0; i < FACE; i++)
        to[i] = (uint8_t)(low + (int)(ls_splitmix_next(&seed) >> 33) % (high - low + 1));
}

static bool near(float got, double want)
{
    return fabs((double)got - want) < 1e-6;
}

// A quarter of the window is 200 and the rest 100: by columns in blue and green, by rows in red.
// Mean 125, spread 100 sqrt(3) / 4; green is half of that.
static void by_hand(void)
{
    static const struct {
        const char *name;
        int x, y;
        uint8_t want[3];
    } rows[] = {
        {"bright", LS_LEVELS_X0, LS_LEVELS_Y0, {203, 203, 203}},
        {"dark", LS_LEVELS_X1 - 1, LS_LEVELS_Y1 - 1, {102, 102, 102}},
        {"either", LS_LEVELS_X0, LS_LEVELS_Y1 - 1, {203, 203, 102}},
        {"black beside it", 0, 0, {2, 64, 2}},
        {"white below it", 50, SIZE - 1, {255, 255, 255}},
    };
    struct ls_levels l;

    memset(face[0], 0, FACE);
    memset(face[0] + 3 * SIZE * (SIZE - 1), 255, 3 * SIZE);
    for (int y = LS_LEVELS_Y0; y < LS_LEVELS_Y1; y++)
        for (int x = LS_LEVELS_X0; x < LS_LEVELS_X1; x++) {
            uint8_t *p = face[0] + 3 * (y * SIZE + x);

            p[0] = x < LS_LEVELS_X0 + 14 ? 200 : 100;
            p[1] = p[0] / 2;
            p[2] = y < LS_LEVELS_Y0 + 17 ? 200 : 100;
        }
    // Black is nearly cut.
    for (int i = 0; i < 20 * SIZE; i++)
        face[0][3 * i + 1] = 31;
    ls_levels_find(&l, face[0]);
    for (int c = 0; c < 3; c++) {
        double part = c == 1 ? 0.5 : 1;

        CHECK(near(l.mean[c], part * 125 / 255) && near(l.spread[c], part * 43.3012702 / 255),
              "mean and spread");
    }
    ls_levels_apply(levelled, face[0], &l);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        CHECK(!memcmp(levelled + 3 * (rows[i].y * SIZE + rows[i].x), rows[i].want, 3),
              rows[i].name);
}

static void window(void)
{
    static const struct {
        const char *name;
        int x, y, counts;
    } rows[] = {
        {"first", 20, 20, 1},       {"last", 75, 87, 1},     {"left of it", 19, 50, 0},
        {"right of it", 76, 50, 0}, {"above it", 50, 19, 0}, {"below it", 50, 88, 0},
    };
    struct ls_levels before, after;

    fill(face[0], 0, 255, 1);
    ls_levels_find(&before, face[0]);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        uint8_t *p = face[0] + 3 * (rows[i].y * SIZE + rows[i].x);

        *p ^= 255;
        ls_levels_find(&after, face[0]);
        *p ^= 255;
        CHECK((memcmp(&before, &after, sizeof before) != 0) == rows[i].counts, rows[i].name);
    }
}

static void little_contrast(void)
{
    struct ls_levels l;

    for (int v = 0; v < 256; v += 85) {
        memset(face[0], v, FACE);
        ls_levels_find(&l, face[0]);
        ls_levels_apply(levelled, face[0], &l);
        for (int c = 0; c < 3; c++)
            CHECK(near(l.mean[c], v / 255.0) && near(l.spread[c], 6 / 255.0), "flat");
        CHECK(levelled[0] == 128 && !memcmp(levelled, levelled + 1, FACE - 1), "flat is grey");
    }
    fill(face[0], 3, 9, 2); // its spread is 2
    ls_levels_find(&l, face[0]);
    ls_levels_apply(levelled, face[0], &l);
    for (int i = 0; i < FACE; i++)
        if (!CHECK(abs(levelled[i] - (int)(127.5 + 7.225 * (face[0][i] - 6))) <= 1, "dark"))
            return;
}

// What is not cut comes back as it was, but for rounding to a byte in between.
static void there_and_back(void)
{
    static const int spans[][2] = {{0, 255}, {0, 40}, {90, 140}, {120, 126}, {200, 255}};
    static const struct ls_int_box part = {2, 5, SIZE - 1, SIZE};
    static float made[FACE];

    for (size_t k = 0; k < sizeof spans / sizeof spans[0]; k++) {
        struct ls_levels l;

        fill(face[0], spans[k][0], spans[k][1], k + 3);
        ls_levels_find(&l, face[0]);
        ls_levels_apply(levelled, face[0], &l);
        for (int i = 0; i < FACE; i++)
            made[i] = (float)levelled[i] / 255;
        ls_levels_undo(made, &part, &l);
        for (int i = 0; i < FACE; i++) {
            double gap = fabs((double)made[i] - face[0][i] / 255.0);
            int x = i / 3 % SIZE;
            bool outside = i < 5 * 3 * SIZE || x < 2 || x == SIZE - 1;

            if (outside ? !CHECK(made[i] == (float)levelled[i] / 255, "outside the part")
                        : !CHECK(gap <= 2.942 * l.spread[i % 3] / 255, "there and back"))
                break;
        }
        made[FACE - 1] = NAN;
        made[FACE - 2] = -INFINITY;
        made[FACE - 3] = INFINITY;
        ls_levels_undo(made, NULL, &l);
        CHECK(made[FACE - 1] == 0 && made[FACE - 2] == 0 && made[FACE - 3] == 1, "cut");
    }
}

// --- weights -------------------------------------------------------------------------------------

// The demo model's file with other metadata (NULL: without), as a model.
static int open_with(struct ls_model **out, const char *levels, struct ls_err *err)
{
    struct bytes demo = bytes_file("kernels/demo/lipstream_demo_fp16.safetensors");
    struct bytes header = {0}, b = {0};
    char path[] = "/tmp/ls-test-levels-XXXXXX", entry[100], *own;
    const char meta[] = "{\"__metadata__\":{";
    uint64_t size;
    int file = mkstemp(path), r;

    memcpy(&size, demo.at, sizeof size);
    if (file < 0 || memcmp(demo.at + 8, meta, strlen(meta)) != 0)
        exit(1);
    bytes_text(&header, meta);
    snprintf(entry, sizeof entry, "\"input_levels\":\"%s\",", levels ? levels : "");
    if (levels)
        bytes_text(&header, entry);
    bytes_put(&header, demo.at + 8 + strlen(meta), size - strlen(meta));
    // The file's own key, if it has one, becomes another's.
    own = memmem(header.at + strlen(meta) + (levels ? strlen(entry) : 0), 2000, "input_levels", 12);
    if (own)
        *own = 'x';
    bytes_number(&b, header.size, 8);
    bytes_put(&b, header.at, header.size);
    bytes_put(&b, demo.at + 8 + size, demo.size - 8 - size);
    if (write(file, b.at, b.size) != (ssize_t)b.size || close(file) < 0)
        exit(1);
    r = ls_model_open(out, &(struct ls_model_params){.generator_path = path}, err);
    unlink(path);
    bytes_done(&demo);
    bytes_done(&header);
    bytes_done(&b);
    return r;
}

static void weights(void)
{
    static const struct {
        const char *levels;
        int want;
        bool asks;
    } rows[] = {
        {NULL, 0, false},       {"face", 0, true},           {"Face", LS_EMODEL, false},
        {"", LS_EMODEL, false}, {"faces", LS_EMODEL, false}, {"none", LS_EMODEL, false},
    };

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const char *row = rows[i].levels ? rows[i].levels : "no such key";
        struct ls_model *m = NULL;
        struct ls_err e = {0};
        char want[64];
        int r = open_with(&m, rows[i].levels, &e);

        snprintf(want, sizeof want, "input_levels \"%s\" is not known", row);
        if (!CHECK(r == rows[i].want, row))
            printf("  %s\n", e.text);
        CHECK(r < 0 ? strstr(e.text, want) && !m : m->input_levels == rows[i].asks, row);
        ls_model_close(&m);
    }
}

// --- the border ----------------------------------------------------------------------------------

struct opened {
    struct ls_backend *be;
    struct ls_lane *lane;
};

static struct opened open_back_end(const char *name, struct ls_model *model, bool levels)
{
    const struct ls_backend_params params = {
        .name = name, .model = model, .batch_max = ITEMS, .arithmetic = "fp32"};
    struct opened o = {0};
    struct ls_err e = {0};

    model->input_levels = levels;
    if (!CHECK(ls_backend_open(&o.be, &params, &e) == 0 && ls_lane_open(&o.lane, o.be, &e) == 0,
               e.text))
        exit(1);
    return o;
}

static void close_back_end(struct opened *o)
{
    ls_lane_close(&o->lane);
    ls_backend_close(&o->be);
}

static float mel[ITEMS][MEL], want[ITEMS][FACE], bare[ITEMS][FACE], got[ITEMS][FACE];

static bool not_third(void *user, int item)
{
    (void)user;
    return item != 2;
}

static void check_rows(const char *name, struct ls_lane *lane, const bool *exact)
{
    static const struct ls_int_box part[ITEMS] = {
        {0, 0, SIZE, SIZE}, {0, 40, SIZE, SIZE}, {10, 60, 80, 90}, {3, 95, 4, 96}};
    struct ls_generate_job job = {.out = got[0],
                                  .face = face[0],
                                  .mel = mel[0],
                                  .part = part,
                                  .exact = exact,
                                  .count = ITEMS,
                                  .wanted = not_third};

    CHECK(ls_generate_part(lane, &job, NULL) == 0, name);
    for (int i = 0; i < ITEMS; i++) {
        const float *w = exact && exact[i] ? bare[i] : want[i];

        for (int k = 0; k < FACE && i != 2; k++) {
            int x = k / 3 % SIZE, y = k / 3 / SIZE;

            if (x < part[i].x0 || x >= part[i].x1 || y < part[i].y0 || y >= part[i].y1)
                continue;
            if (!CHECK(fabsf(got[i][k] - w[k]) < 1e-4f, name)) {
                printf("  item %d, value %d\n", i, k);
                break;
            }
        }
    }
}

// ref computes its rows as it computes whole faces; the cpu's may be rounded otherwise.
static void border(const char *name)
{
    static const bool exact[ITEMS] = {false, true, false, true};
    static uint8_t in[ITEMS][FACE];
    struct ls_model *model = NULL;
    struct ls_levels l[ITEMS];
    struct ls_err e = {0};
    struct opened o;
    uint64_t seed = 9;

    if (!CHECK(narrow_open(&model, NULL, &e) == 0, e.text))
        return;
    for (int i = 0; i < ITEMS; i++) {
        fill(face[i], 10 * i, 255 - 50 * i, seed + (uint64_t)i);
        for (int k = 0; k < MEL; k++)
            mel[i][k] = (float)(4 * ls_splitmix_uniform(&seed));
        ls_levels_find(&l[i], face[i]);
        ls_levels_apply(in[i], face[i], &l[i]);
    }
    o = open_back_end(name, model, false);
    CHECK(ls_generate(o.lane, want[0], in[0], mel[0], ITEMS, &e) == 0, e.text);
    CHECK(ls_generate(o.lane, bare[0], face[0], mel[0], ITEMS, &e) == 0, e.text);
    close_back_end(&o);
    for (int i = 0; i < ITEMS; i++)
        ls_levels_undo(want[i], 0, &l[i]);
    CHECK(memcmp(want, bare, sizeof want) != 0, "levels change something");
    o = open_back_end(name, model, true);
    CHECK(ls_generate(o.lane, got[0], face[0], mel[0], ITEMS, &e) == 0, e.text);
    CHECK(!memcmp(got, want, sizeof got), "levels around the bare network");
    check_rows("rows of levelled faces", o.lane, NULL);
    check_rows("rows of which some are exact", o.lane, exact);
    close_back_end(&o);
    ls_model_close(&model);
}

int main(void)
{
    by_hand();
    window();
    little_contrast();
    there_and_back();
    weights();
    border("ref");
    border("cpu");
    return check_done();
}
