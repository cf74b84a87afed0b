// SPDX-License-Identifier: Apache-2.0
// The device's face detection against ref, step by step and whole: frames of every format reduced
// into the input; maps of numbers, from one face to every cell and with equal scores, decoded; both
// detectors with seeded weights on frames of the host and of the device, with more input sizes than
// are kept. The same frame gives the same bytes each time. Every call of CUDA may fail once.
#include <math.h>

#include "kernels/blazeface.h"
#include "kernels/cuda/detect.h"
#include "kernels/cuda/heads.h"
#include "kernels/plane.h"
#include "kernels/ref/ref.h"
#include "kernels/yunet.h"
#include "tests/kernels/_device.h"
#include "tests/kernels/_pictures.h"
#include "tests/unit/_check.h"

// ThreadSanitizer takes minutes, and few cases tell it of all races.
#ifdef __SANITIZE_THREAD__
enum { RACES_ALONE = 1 };
#else
enum { RACES_ALONE = 0 };
#endif

#define SCORE_WITHIN 1e-3f

static const enum ls_detector detectors[] = {LS_DETECTOR_YUNET, LS_DETECTOR_BLAZEFACE};
static const char *const detector_names[] = {"YuNet", "BlazeFace"};

// Frame `idx` of a picture on the device; planes in one array, rows as they are.
static struct ls_frame device_frame(struct device_array *memory, const struct picture *p)
{
    struct ls_frame f = p->frame;

    *memory = device_array(p->memory, p->size);
    for (int i = 0; i < picture_planes(&f); i++)
        f.plane[i] = (uint8_t *)memory->data + (p->frame.plane[i] - p->memory);
    f.on_device = true;
    return f;
}

static void reduce(float *input, const struct ls_frame *frame, const struct ls_letterbox *box,
                   const char *row)
{
    struct ls_cuda_letterbox l = {.yuv = frame->format != LS_PIX_RGB24, .box = *box};

    for (int c = 0; c < 3; c++) {
        struct ls_plane p;

        ls_plane_init(&p, frame, c);
        l.channel[c] =
            (struct ls_cuda_channel){p.data, p.stride, p.step, p.width, p.height, p.deep};
    }
    ls_colour_init(&l.colour, frame);
    device_must(ls_cuda_letterbox(input, &l, NULL), row);
}

static void check_letterbox(void)
{
    static const struct {
        const char *name;
        struct ls_frame frame;
        int long_side_px;
        enum fill fill;
    } rows[] = {
        {"reduced", {.width_px = 640, .height_px = 360}, 320, FILL_RANDOM},
        {"odd sides",
         {.width_px = 333, .height_px = 517, .matrix = LS_MATRIX_BT709},
         320,
         FILL_RANDOM},
        {"as it is", {.width_px = 96, .height_px = 64, .full_range = true}, 320, FILL_RANDOM},
        {"smallest", {.width_px = 16, .height_px = 17}, 64, FILL_RANDOM},
        {"wide", {.width_px = 8192, .height_px = 16, .matrix = LS_MATRIX_BT2020}, 64, FILL_RANDOM},
        {"high", {.width_px = 17, .height_px = 2000}, 1280, FILL_RANDOM},
        {"white", {.width_px = 200, .height_px = 100}, 96, FILL_WHITE},
        {"black", {.width_px = 201, .height_px = 99}, 96, FILL_BLACK},
    };
    static const enum ls_pixel formats[] = {LS_PIX_I420, LS_PIX_RGB24, LS_PIX_NV12, LS_PIX_P010};

    for (size_t i = 0; i < 8 * sizeof rows / sizeof rows[0]; i++) {
        enum ls_detector detector = detectors[i % 2];
        struct ls_frame shape = rows[i / 8].frame, frame;
        struct ls_detect_params params = {.long_side_px = rows[i / 8].long_side_px};
        struct device_array memory, input;
        struct ls_letterbox box;
        struct picture picture;
        char row[80];
        float *got, *want;
        size_t size;

        shape.format = formats[i / 2 % 4];
        snprintf(row, sizeof row, "letterbox %s, %s, format %d", rows[i / 8].name,
                 detector_names[i % 2], (int)shape.format);
        picture = picture_new(&shape, rows[i / 8].fill, i);
        frame = device_frame(&memory, &picture);
        ls_detect_letterbox(&box, detector, &frame, &params);
        size = 3 * (size_t)box.net_width * (size_t)box.net_height;
        got = calloc(size, sizeof *got);
        want = calloc(size, sizeof *want);
        if (!got || !want)
            abort();
        input = device_array(got, size * sizeof *got);
        reduce(input.data, &frame, &box, row);
        CHECK(device_read(got, &input), row);
        ls_ref_letterbox(want, &picture.frame, &box);
        // Means up to 255 and five products, each rounded to float.
        CHECK(differ_float(row, got, want, size, 2e-4 * (double)box.gain) <=
                  2e-4 * (double)box.gain,
              row);
        device_array_done(&input);
        device_array_done(&memory);
        picture_free(&picture);
        free(got);
        free(want);
    }
}

// Random numbers make boxes of BlazeFace whose right side lies left, so it is the sides that are
// compared, a square's to a 500th: the overlap of upright ones is then over 0.99.
static bool near(const struct ls_face *a, const struct ls_face *b)
{
    float size = fabsf(b->box.x1 - b->box.x0) + fabsf(b->box.y1 - b->box.y0);
    float within = 1e-3f + size / 1000;

    for (int p = 0; p < 2 * LS_POINTS; p++)
        if (!(fabsf(a->point[p / 2][p % 2] - b->point[p / 2][p % 2]) <= within))
            return false;
    return fabsf(a->box.x0 - b->box.x0) <= within && fabsf(a->box.y0 - b->box.y0) <= within &&
           fabsf(a->box.x1 - b->box.x1) <= within && fabsf(a->box.y1 - b->box.y1) <= within &&
           fabsf(a->score - b->score) <= SCORE_WITHIN;
}

static void check_faces(const char *row, const struct ls_face *got, int got_count,
                        const struct ls_face *want, int want_count)
{
    if (!CHECK(got_count == want_count, row)) {
        printf("%d faces, want %d\n", got_count, want_count);
        return;
    }
    for (int i = 0; i < want_count; i++) {
        const struct ls_box *a = &got[i].box, *b = &want[i].box;

        CHECK(got[i].points_known, row);
        if (!CHECK(near(&got[i], &want[i]), row))
            printf("face %d of %d: (%g %g %g %g) %g, want (%g %g %g %g) %g\n", i, want_count,
                   (double)a->x0, (double)a->y0, (double)a->x1, (double)a->y1, (double)got[i].score,
                   (double)b->x0, (double)b->y0, (double)b->x1, (double)b->y1,
                   (double)want[i].score);
    }
}

enum numbers {
    EVERYWHERE,   // every cell is a candidate
    FEW,          // one cell in 50
    EQUAL_SCORES, // of three kinds
    ALL_EQUAL,
    NONE,
    BAD,   // not a number, endless, and huge ones among the good
    TINY,  // no boxes overlap
    ONE,   // cell
    CROWD, // 512 and few more
};

static float score_number(enum numbers kind, int idx, uint64_t *seed)
{
    float v = random_float(seed, 0, 1);

    switch (kind) {
    case FEW:
        return idx % 50 == 7 ? v : -9;
    case EQUAL_SCORES:
        return 0.25f + 0.25f * (float)(random_next(seed) % 3);
    case ALL_EQUAL:
        return 0.75f;
    case NONE:
        return -9;
    case BAD:
        return idx % 5 ? v : idx % 2 ? NAN : INFINITY;
    case ONE:
        return idx == 100 ? v : -9;
    case CROWD:
        return idx < 530 ? v : -9;
    default:
        return v;
    }
}

// What lies beside the scores.
static float other_number(enum numbers kind, enum ls_detector detector, bool is_size, int idx,
                          uint64_t *seed)
{
    float v = random_float(seed, -1, 1);

    if (kind == BAD && idx % 7 == 3)
        return idx % 2 ? NAN : idx % 3 ? 1e30f : -INFINITY;
    if (detector == LS_DETECTOR_YUNET)
        return is_size ? kind == TINY ? -3 : 2 * v : v;
    return is_size ? kind == TINY ? 1 : 40 + 60 * v : 20 * v; // some have no size
}

// The detector's maps, of `count` numbers in all, one behind the other.
static float *make_maps(size_t at[LS_DETECT_OUTPUTS_MAX], size_t *count,
                        const struct ls_cells *cells, enum numbers kind, uint64_t seed)
{
    static const int depth[2][12] = {{1, 1, 4, 10, 1, 1, 4, 10, 1, 1, 4, 10}, {2, 6, 32, 96}};
    bool blaze = cells->detector == LS_DETECTOR_BLAZEFACE;
    int outputs = ls_detect_outputs(cells->detector);
    float *numbers;

    *count = 0;
    for (int i = 0; i < outputs; i++) {
        struct ls_cell_grid g = ls_cells_grid(cells, blaze ? i % 2 : i / 4);

        at[i] = *count;
        *count += (size_t)(depth[blaze][i] * g.width * g.height);
    }
    numbers = malloc(*count * sizeof *numbers);
    if (!numbers)
        abort();
    for (int i = 0; i < outputs; i++) {
        struct ls_cell_grid g = ls_cells_grid(cells, blaze ? i % 2 : i / 4);
        int area = g.width * g.height, size = depth[blaze][i] * area;
        bool is_score = blaze ? i < 2 : i % 4 < 2;

        for (int k = 0; k < size; k++) {
            int channel = k / area % 16;
            bool is_size = blaze ? channel == 2 || channel == 3 : i % 4 == 2 && channel >= 2;

            numbers[at[i] + (size_t)k] =
                is_score ? score_number(kind, k, &seed)
                         : other_number(kind, cells->detector, is_size, k, &seed);
        }
    }
    return numbers;
}

static void run_heads(struct ls_cuda_faces_found *out, const struct ls_cuda_heads *heads,
                      const char *row)
{
    struct ls_cuda_heads h = *heads;
    size_t size = sizeof(uint64_t) * (size_t)ls_cells_count(&h.cells);
    void *zero = calloc(1, size);
    struct device_array keys = device_array(zero, size),
                        found = device_array(zero, sizeof *h.found);
    struct device_array faces = device_array(out, sizeof *out);

    h.key = keys.data;
    h.found = found.data;
    device_must(ls_cuda_heads(faces.data, &h, NULL), row);
    CHECK(device_read(out, &faces), row);
    CHECK(device_read(zero, &keys) && device_read(zero, &found), row);
    device_array_done(&keys);
    device_array_done(&found);
    device_array_done(&faces);
    free(zero);
}

static void check_heads(void)
{
    static const struct {
        const char *name;
        enum numbers kind;
        int width, height, long_side_px;
        float score_min;
    } rows[] = {
        {"everywhere", EVERYWHERE, 640, 360, 320, 0.05f},
        {"everywhere, large", EVERYWHERE, 1920, 1080, 960, 0.05f},
        {"few", FEW, 640, 360, 320, 0.05f},
        {"few, usual score", FEW, 333, 517, 640, 0},
        {"equal scores", EQUAL_SCORES, 640, 360, 320, 0.05f},
        {"all equal", ALL_EQUAL, 1280, 720, 640, 0.05f},
        {"none", NONE, 640, 360, 320, 0.5f},
        {"bad numbers", BAD, 640, 360, 320, 0.05f},
        {"tiny", TINY, 640, 360, 320, 0.05f},
        {"one", ONE, 640, 360, 320, 0.05f},
        {"crowd", CROWD, 640, 360, 320, 0.05f},
        {"smallest", EVERYWHERE, 16, 16, 64, 0.05f},
    };
    int total = 0;

    for (size_t i = 0; i < 2 * sizeof rows / sizeof rows[0]; i++) {
        struct ls_frame frame = {.width_px = rows[i / 2].width, .height_px = rows[i / 2].height};
        struct ls_detect_params params = {.long_side_px = rows[i / 2].long_side_px,
                                          .score_min = rows[i / 2].score_min};
        struct ls_cuda_heads h = {.cells.detector = detectors[i % 2]};
        static struct ls_cuda_faces_found got;
        struct ls_face want[LS_FACES_MAX];
        const float *maps[LS_DETECT_OUTPUTS_MAX];
        size_t at[LS_DETECT_OUTPUTS_MAX], size;
        struct device_array numbers;
        float *host;
        int want_count;
        char row[80];

        snprintf(row, sizeof row, "heads %s, %s", rows[i / 2].name, detector_names[i % 2]);
        ls_detect_letterbox(&h.box, h.cells.detector, &frame, &params);
        h.cells.net_width = h.box.net_width;
        h.cells.net_height = h.box.net_height;
        h.cells.score_min = ls_detect_score_min(h.cells.detector, &params);
        memcpy(h.fit, ls_blazeface_fit, sizeof h.fit);
        host = make_maps(at, &size, &h.cells, rows[i / 2].kind, 70 + i);
        numbers = device_array(host, size * sizeof *host);
        for (int k = 0; k < ls_detect_outputs(h.cells.detector); k++) {
            maps[k] = host + at[k];
            h.cells.map[k] = (const float *)numbers.data + at[k];
        }
        run_heads(&got, &h, row);
        ls_detect_faces(want, &want_count, h.cells.detector, maps, &h.box, &params);
        check_faces(row, got.face, got.count, want, want_count);
        total += want_count;
        device_array_done(&numbers);
        free(host);
    }
    CHECK(total > 100, "heads: rows without faces compare nothing");
}

// A detector's widths: its heads' own, 16 everywhere else.
static int width_of(void *user, int row)
{
    static const int heads[2][12] = {{1, 1, 4, 10, 1, 1, 4, 10, 1, 1, 4, 10}, {2, 6, 32, 96}};
    const struct ls_net_spec *spec = user;

    for (int i = 0, output = 0; i < spec->layer_count; i++) {
        const struct ls_net_layer *l = &spec->layer[i];

        if (!l->output)
            continue;
        // YuNet's heads are depthwise, so the row before has their width.
        if (row == i || (l->op == LS_NET_DWCONV && row == l->from[0]))
            return heads[spec == &ls_blazeface][output];
        output++;
    }
    return 16;
}

// A row's weights and biases. Rows are scaled so that scores and boxes come out all over their
// range: ls_net_seed's would make every score 0 or 1, because these networks have no batch norm.
static void seed_row(struct ls_weights *w, const struct ls_net_spec *spec, int row, uint64_t *seed)
{
    const struct ls_net_layer *l = &spec->layer[row];
    bool blaze = spec == &ls_blazeface, depthwise = l->op == LS_NET_DWCONV;
    bool first = spec->layer[l->from[0]].op == LS_NET_INPUT;
    int c_out = width_of((void *)spec, row);
    int c_in = first ? 3 : depthwise ? 1 : width_of((void *)spec, l->from[0]);
    int64_t dim[4] = {c_out, c_in, l->kernel[0], l->kernel[1]};
    int size = c_in * l->kernel[0] * l->kernel[1];
    float span = sqrtf(6 / (float)size), *weight = malloc(sizeof(float) * (size_t)(c_out * size));
    float *bias = malloc(sizeof(float) * (size_t)c_out);
    char name[2][128];

    if (!weight || !bias)
        abort();
    span *= first ? (blaze ? 1 : 0.01f) : l->output && c_out > 6 && blaze ? 8 : blaze ? 0.5f : 1;
    for (int i = 0; i < c_out * size; i++)
        weight[i] = random_float(seed, -span, span);
    for (int i = 0; i < c_out; i++) // BlazeFace's boxes are 40 pixels wide and high
        bias[i] = l->output && c_out > 6 && blaze && (i % 16 == 2 || i % 16 == 3)
                      ? 40
                      : random_float(seed, -0.1f, 0.1f);
    snprintf(name[0], sizeof name[0], "%s.weight", l->name);
    snprintf(name[1], sizeof name[1], "%s.bias", l->name);
    if (ls_weights_add(w, name[0], weight, 4, dim, NULL) < 0 ||
        ls_weights_add(w, name[1], bias, 1, dim, NULL) < 0)
        abort();
    free(weight);
    free(bias);
}

static void seeded(struct ls_model *out, enum ls_detector detector)
{
    const struct ls_net_spec *spec = detector == LS_DETECTOR_BLAZEFACE ? &ls_blazeface : &ls_yunet;
    uint64_t seed = 3;

    *out = (struct ls_model){.detector = detector};
    if (ls_weights_new(&out->detector_weights, NULL) < 0)
        abort();
    for (int i = 0; i < spec->layer_count; i++)
        if (spec->layer[i].name)
            seed_row(out->detector_weights, spec, i, &seed);
}

static void detect(struct ls_cuda_detect *d, struct ls_cuda_faces_found *out,
                   const struct ls_frame *frame, const struct ls_detect_params *params,
                   const char *row)
{
    struct ls_err err = {0};

    out->count = -1;
    if (!CHECK(ls_cuda_detect_run(d, out->face, &out->count, frame, params, NULL, &err) == LS_OK,
               row))
        printf("%s\n", err.text);
}

static bool same(const struct ls_cuda_faces_found *a, const struct ls_cuda_faces_found *b)
{
    if (a->count != b->count)
        return false;
    for (int i = 0; i < a->count; i++)
        if (memcmp(&a->face[i].box, &b->face[i].box, sizeof a->face[i].box) ||
            memcmp(&a->face[i].score, &b->face[i].score, sizeof a->face[i].score) ||
            memcmp(a->face[i].point, b->face[i].point, sizeof a->face[i].point))
            return false;
    return true;
}

// Frames of more sizes than are kept, twice: of the host, then of the device.
static void check_whole(enum ls_detector detector, const char *name)
{
    static const struct ls_frame shapes[] = {
        {.width_px = 320, .height_px = 200},
        {.width_px = 101, .height_px = 215, .format = LS_PIX_RGB24},
        {.width_px = 64, .height_px = 64, .format = LS_PIX_NV12, .matrix = LS_MATRIX_BT709},
        {.width_px = 130, .height_px = 33, .format = LS_PIX_P010, .matrix = LS_MATRIX_BT2020},
        {.width_px = 160, .height_px = 161, .full_range = true},
        {.width_px = 17, .height_px = 16},
    };
    enum { SHAPES = sizeof shapes / sizeof shapes[0] };
    static struct ls_cuda_faces_found got[SHAPES], again;
    struct ls_detect_params params = {.long_side_px = 128, .score_min = 0.02f};
    struct ls_ref_lane lane = {0};
    struct ls_cuda_detect *d = NULL;
    struct ls_model model;
    int total = 0;

    seeded(&model, detector);
    lane.model = &model;
    CHECK(ls_cuda_detect_new(&d, &model, NULL) == LS_OK, name);
    for (int i = 0; i < 2 * SHAPES; i++) {
        struct picture picture =
            picture_new(&shapes[i % SHAPES], FILL_RANDOM, (uint64_t)i % SHAPES);
        struct device_array memory;
        struct ls_frame there = device_frame(&memory, &picture);
        struct ls_face want[LS_FACES_MAX];
        int count;
        char row[80];

        snprintf(row, sizeof row, "%s, frame %d", name, i);
        if (i < SHAPES) {
            detect(d, &got[i], &picture.frame, &params, row);
            CHECK(ls_ref_detect(&lane, want, &count, &picture.frame, &params, NULL) == LS_OK, row);
            check_faces(row, got[i].face, got[i].count, want, count);
            total += count;
        }
        detect(d, &again, &there, &params, row);
        CHECK(same(&again, &got[i % SHAPES]), row);
        device_array_done(&memory);
        picture_free(&picture);
    }
    CHECK(total > 10, "frames without faces compare nothing");
    ls_cuda_detect_free(&d);
    ls_ref_detect_done(&lane);
    ls_weights_close(&model.detector_weights);
}

#ifdef LS_SHIM_CUDA_RUNTIME_API_H
// Each of CUDA's calls fails once: an error, nothing written, and the next run is well.
static void check_failures_of_cuda(void)
{
    struct ls_frame shape = {.width_px = 64, .height_px = 48};
    struct ls_detect_params params = {.score_min = 0.02f};
    struct picture picture = picture_new(&shape, FILL_RANDOM, 1);
    static struct ls_cuda_faces_found want, got;
    struct ls_model model;
    long calls = 1;

    seeded(&model, LS_DETECTOR_YUNET);
    for (long fail = 0; fail <= calls; fail++) { // 0: none
        struct ls_cuda_detect *d = NULL;
        struct ls_err err = {0};
        int r;

        got.count = -1;
        ls_shim_fail(fail);
        r = ls_cuda_detect_new(&d, &model, &err);
        if (r == 0)
            r = ls_cuda_detect_run(d, got.face, &got.count, &picture.frame, &params, NULL, &err);
        if (fail == 0) {
            CHECK(r == 0, "no failure");
            calls = ls_shim_fail(0);
            want = got;
        } else {
            CHECK(r < 0 && err.text[0] && got.count == -1, "a failing call");
            ls_shim_fail(0);
        }
        if (d) {
            detect(d, &got, &picture.frame, &params, "after a failure");
            CHECK(same(&got, &want), "after a failure");
        }
        ls_cuda_detect_free(&d);
    }
    CHECK(calls > 10, "calls that can fail");
    ls_weights_close(&model.detector_weights);
    picture_free(&picture);
}
#endif

int main(void)
{
    struct ls_cuda_device device;
    struct ls_err err = {0};

    if (ls_cuda_device_open(&device, 0, &err) < 0)
        CHECK_SKIP("%s", err.text);
    check_letterbox();
    check_heads();
    for (int i = 0; i < 2 && !RACES_ALONE; i++)
        check_whole(detectors[i], detector_names[i]);
#ifdef LS_SHIM_CUDA_RUNTIME_API_H
    check_failures_of_cuda();
#endif
    return check_done();
}
