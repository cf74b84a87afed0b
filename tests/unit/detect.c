// SPDX-License-Identifier: Apache-2.0
// Face detection: sizes and fillings of the input, decoding and suppression on numbers made here;
// then, where the shared media and models are at hand, YuNet (and BlazeFace, if it was converted)
// on pictures whose faces are known. Expected boxes are ONNX Runtime's with the same weights at
// full size.
#include <math.h>
#include <string.h>

#include "kernels/blazeface.h"
#include "kernels/cells.h"
#include "kernels/ref/ref.h"
#include "kernels/yunet.h"
#include "tests/unit/_check.h"

static int near(float a, float b, float tolerance)
{
    return fabsf(a - b) <= tolerance;
}

static void sizes(void)
{
    static const struct {
        const char *row;
        enum ls_detector detector;
        int width, height, side, image_width, image_height, net_width, net_height;
    } rows[] = {
        {"1080p at 320", LS_DETECTOR_YUNET, 1920, 1080, 320, 320, 180, 320, 192},
        {"default is 320", LS_DETECTOR_YUNET, 1920, 1080, 0, 320, 180, 320, 192},
        {"portrait", LS_DETECTOR_YUNET, 1080, 1920, 640, 360, 640, 384, 640},
        {"small stays", LS_DETECTOR_YUNET, 359, 287, 640, 359, 287, 384, 288},
        {"smallest", LS_DETECTOR_YUNET, 16, 16, 320, 16, 16, 32, 32},
        {"thin", LS_DETECTOR_YUNET, 8192, 16, 64, 64, 1, 64, 32},
        {"blaze reduces", LS_DETECTOR_BLAZEFACE, 1280, 720, 640, 256, 144, 256, 256},
        {"blaze enlarges", LS_DETECTOR_BLAZEFACE, 100, 128, 0, 200, 256, 256, 256},
    };

    for (int i = 0; i < (int)(sizeof rows / sizeof rows[0]); i++) {
        struct ls_frame f = {.width_px = rows[i].width, .height_px = rows[i].height};
        struct ls_detect_params p = {.long_side_px = rows[i].side};
        struct ls_letterbox l;

        ls_detect_letterbox(&l, rows[i].detector, &f, &p);
        CHECK(l.image_width == rows[i].image_width && l.image_height == rows[i].image_height,
              rows[i].row);
        CHECK(l.net_width == rows[i].net_width && l.net_height == rows[i].net_height, rows[i].row);
    }
}

// A slope to the right stays that slope, reduced or enlarged; beside it is empty.
static void filling(void)
{
    static uint8_t memory[300 * 200 * 3];
    static float input[3 * 320 * 320];
    struct ls_frame f = {.plane = {memory}, .width_px = 300, .height_px = 200, .stride = {900}};
    struct ls_letterbox l;

    f.format = LS_PIX_RGB24;
    for (int i = 0; i < 300 * 200; i++) {
        memory[3 * i] = (uint8_t)((i % 300 * 255 + 149) / 299); // red alone, rounded
        memory[3 * i + 1] = memory[3 * i + 2] = 0;
    }
    for (int blaze = 0; blaze < 2; blaze++) {
        int area, red;

        ls_detect_letterbox(&l, blaze ? LS_DETECTOR_BLAZEFACE : LS_DETECTOR_YUNET, &f,
                            &(struct ls_detect_params){.long_side_px = 96});
        ls_ref_letterbox(input, &f, &l);
        area = l.net_width * l.net_height;
        red = (blaze ? 0 : 2) * area;
        for (int x = 1; x + 1 < l.image_width; x++) {
            float want = ((float)x + 0.5f) / l.x_scale - 0.5f;

            want = want * 255 / 299 * l.gain + l.offset;
            CHECK(near(input[red + 5 * l.net_width + x], want, 0.6f * l.gain), "slope");
        }
        CHECK(input[area + 5 * l.net_width + 5] == l.offset, "green is nothing");
        CHECK(input[red + l.image_height * l.net_width] == l.empty, "below is empty");
    }
}

// The same grey picture as planes and as RGB.
static void planes(void)
{
    static uint8_t rgb[64 * 48 * 3], yuv[64 * 48 * 3 / 2];
    static float a[3 * 64 * 64], b[3 * 64 * 64];
    struct ls_frame packed = {.plane = {rgb}, .width_px = 64, .height_px = 48, .stride = {192}};
    struct ls_frame planar = {.plane = {yuv, yuv + 64 * 48, yuv + 64 * 48 * 5 / 4},
                              .width_px = 64,
                              .height_px = 48,
                              .stride = {64, 32, 32},
                              .full_range = true};
    struct ls_letterbox l;

    packed.format = LS_PIX_RGB24;
    memset(yuv, 128, sizeof yuv);
    for (int i = 0; i < 64 * 48; i++)
        yuv[i] = rgb[3 * i] = rgb[3 * i + 1] = rgb[3 * i + 2] = (uint8_t)(i * 7 % 256);
    ls_detect_letterbox(&l, LS_DETECTOR_YUNET, &packed, &(struct ls_detect_params){0});
    ls_ref_letterbox(a, &packed, &l);
    ls_ref_letterbox(b, &planar, &l);
    for (int i = 0; i < 3 * l.net_width * l.net_height; i++)
        CHECK(near(a[i], b[i], 1e-3f), "planes and RGB");
}

// YuNet's maps for a 64 x 64 input, all empty.
struct maps {
    float level[3][16][64]; // class, object, box 4, points 10; 8x8, 4x4, 2x2 cells
    const float *output[12];
};

static void maps_init(struct maps *m)
{
    memset(m, 0, sizeof *m);
    for (int l = 0; l < 3; l++) {
        int area = 64 >> 2 * l;

        m->output[4 * l] = m->level[l][0];
        m->output[4 * l + 1] = m->level[l][0] + area;
        m->output[4 * l + 2] = m->level[l][0] + 2 * area;
        m->output[4 * l + 3] = m->level[l][0] + 6 * area;
    }
}

static void put(struct maps *m, int l, int cell, float score, float dx, float log_size)
{
    int area = 64 >> 2 * l;
    float *v = m->level[l][0] + cell;

    v[0] = v[area] = score;
    v[2 * area] = v[3 * area] = dx;
    v[4 * area] = v[5 * area] = log_size;
}

static int decode(struct ls_face *out, struct maps *m, float score_min)
{
    struct ls_letterbox l;
    struct ls_frame f = {.width_px = 128, .height_px = 128};
    int count = -1;

    ls_detect_letterbox(&l, LS_DETECTOR_YUNET, &f, &(struct ls_detect_params){.long_side_px = 64});
    ls_detect_faces(out, &count, LS_DETECTOR_YUNET, m->output, &l,
                    &(struct ls_detect_params){.score_min = score_min});
    return count;
}

static void decoding(void)
{
    static struct maps m;
    struct ls_face out[LS_FACES_MAX];

    maps_init(&m);
    CHECK(decode(out, &m, 0) == 0, "no face");
    put(&m, 1, 5, 0.81f, 0.5f, 0); // stride 16, cell (1, 1): centre 24, size 16; the frame is twice
    CHECK(decode(out, &m, 0) == 1 && near(out[0].score, 0.81f, 1e-6f), "one face");
    CHECK(near(out[0].box.x0, 32, 1e-4f) && near(out[0].box.y0, 32, 1e-4f) &&
              near(out[0].box.x1, 64, 1e-4f) && near(out[0].box.y1, 64, 1e-4f),
          "its box");
    CHECK(near(out[0].point[2][0], 32, 1e-4f) && out[0].points_known,
          "its points: the cell's corner");
    put(&m, 0, 27, 0.9f, 0.1f,
        logf(2)); // stride 8, cell (3, 3): centre 24.8, size 16: the same face
    CHECK(decode(out, &m, 0) == 1 && near(out[0].score, 0.9f, 1e-6f), "the stronger one stays");
    put(&m, 2, 3, 0.7f, 0,
        0); // stride 32, cell (1, 1): centre 32, size 32: overlaps by 0.25 or less
    CHECK(decode(out, &m, 0) == 2 && out[0].score > out[1].score, "two faces, best first");
    CHECK(decode(out, &m, 0.8f) == 1, "a higher threshold");
    put(&m, 0, 27, NAN, 0, 0);
    put(&m, 1, 5, 0.9f, INFINITY, 0);
    CHECK(decode(out, &m, 0) == 1, "numbers that are none are no faces");
    put(&m, 2, 3, 0.9f, 0, 1e6f);
    CHECK(decode(out, &m, 0) == 0, "nor are endless boxes");
}

static void crowd(void)
{
    static struct ls_candidates c;
    struct ls_face face = {.box = {0, 0, 1, 1}};
    float lowest = 1;

    c.count = 0;
    for (int i = 0; i < 2 * LS_CANDIDATES_MAX; i++) {
        face.score = (float)(i * 7 % (2 * LS_CANDIDATES_MAX)) / (2 * LS_CANDIDATES_MAX);
        ls_candidates_add(&c, &face);
    }
    for (int i = 0; i < c.count; i++)
        lowest = fminf(lowest, c.face[i].score);
    CHECK(c.count == LS_CANDIDATES_MAX && lowest >= 0.5f, "the strongest half of a crowd stays");
}

// An upright face in BlazeFace's proportions, at any place and size, becomes a taller box around
// it.
static void mapping(void)
{
    for (int size = 20; size <= 200; size += 60) {
        float s = (float)size, at = 3 * s;
        struct ls_face f = {.box = {at, at, at + s, at + s},
                            .point = {{at + 0.3f * s, at + 0.3f * s},
                                      {at + 0.7f * s, at + 0.3f * s},
                                      {at + 0.5f * s, at + 0.53f * s},
                                      {at + 0.5f * s, at + 0.75f * s},
                                      {at + 0.5f * s, at + 0.75f * s}}};

        ls_cells_map(&f, ls_blazeface_fit);
        CHECK(near((f.box.x0 + f.box.x1) / 2, at + s / 2, 0.001f * s), "upright: in the middle");
        CHECK(f.box.y0 < at && f.box.y1 > at + 0.85f * s, "the forehead is in");
        CHECK(f.point[LS_POINT_MOUTH_R][0] < at + 0.4f * s &&
                  f.point[LS_POINT_MOUTH_L][0] > at + 0.6f * s,
              "corners on their sides");
        CHECK(near(f.point[LS_POINT_MOUTH_R][1], f.point[LS_POINT_MOUTH_L][1], 0.01f * s),
              "corners level");
    }
}

static const struct picture {
    const char *name;
    int width, height;
    struct ls_box box; // x1 0: no face
} pictures[] = {
    {"astronaut.png", 512, 512, {178.2f, 62.9f, 268.1f, 176.2f}},
    {"grace_hopper_512x512.jpg", 512, 512, {182.6f, 104, 351, 319}},
    {"no_face_IceBlock_640.jpg", 640, 427, {0, 0, 0, 0}},
};

static int load(struct ls_frame *f, const struct picture *p, enum ls_pixel format)
{
    int cw = (p->width + 1) / 2, ch = (p->height + 1) / 2;
    int luma = p->width * p->height;
    size_t size = format == LS_PIX_RGB24 ? (size_t)luma * 3 : (size_t)(luma + 2 * cw * ch), got = 0;
    uint8_t *memory = malloc(size);
    char command[600];
    FILE *in;

    snprintf(command, sizeof command,
             "ffmpeg -nostdin -v error -i '%s/media/images/%s' -f rawvideo %s - 2>/dev/null",
             check_shared(), p->name,
             format == LS_PIX_RGB24 ? "-pix_fmt rgb24"
                                    : "-vf scale=out_color_matrix=bt709:out_range=tv "
                                      "-pix_fmt yuv420p");
    in = popen(command, "r");
    if (in && memory)
        got = fread(memory, 1, size, in);
    if (in)
        pclose(in);
    *f = (struct ls_frame){.plane = {memory, memory + luma, memory + luma + cw * ch},
                           .stride = {format == LS_PIX_RGB24 ? 3 * p->width : p->width, cw, cw},
                           .width_px = p->width,
                           .height_px = p->height,
                           .format = format,
                           .matrix = LS_MATRIX_BT709};
    return memory && got == size;
}

static float overlap(const struct ls_box *a, const struct ls_box *b)
{
    float w = fminf(a->x1, b->x1) - fmaxf(a->x0, b->x0);
    float h = fminf(a->y1, b->y1) - fmaxf(a->y0, b->y0);
    float both = w > 0 && h > 0 ? w * h : 0;

    return both / ((a->x1 - a->x0) * (a->y1 - a->y0) + (b->x1 - b->x0) * (b->y1 - b->y0) - both);
}

static void look(struct ls_lane *lane, const struct picture *p, int side, float overlap_min,
                 const char *detector)
{
    for (int format = LS_PIX_I420; format <= LS_PIX_RGB24; format++) {
        struct ls_detect_params params = {.long_side_px = side};
        struct ls_face out[LS_FACES_MAX];
        struct ls_frame f;
        struct ls_err err = {0};
        int count = -1;
        char row[120];

        snprintf(row, sizeof row, "%s %s side %d %s", detector, p->name, side,
                 format == LS_PIX_I420 ? "I420" : "RGB24");
        if (!load(&f, p, (enum ls_pixel)format)) {
            free(f.plane[0]);
            CHECK_SKIP("%s/media/images/%s or ffmpeg", check_shared(), p->name);
        }
        if (!CHECK(ls_detect(lane, out, &count, &f, &params, &err) == LS_OK, row))
            printf("%s\n", err.text);
        CHECK(count == (p->box.x1 > 0), row);
        if (count == 1 && !CHECK(overlap(&out[0].box, &p->box) >= overlap_min, row))
            printf("%g %g %g %g\n", out[0].box.x0, out[0].box.y0, out[0].box.x1, out[0].box.y1);
        if (count == 1) // eyes above the mouth, both inside the box
            CHECK(out[0].point[LS_POINT_EYE_R][1] < out[0].point[LS_POINT_MOUTH_R][1] &&
                      out[0].point[LS_POINT_EYE_R][0] < out[0].point[LS_POINT_EYE_L][0] &&
                      out[0].point[LS_POINT_MOUTH_L][1] < out[0].box.y1 &&
                      out[0].point[LS_POINT_MOUTH_R][0] > out[0].box.x0,
                  row);
        free(f.plane[0]);
    }
}

// Returns 0 if the file is not there.
static int with_model(const char *path, const char *detector)
{
    struct ls_model_params params = {.detector_path = path};
    struct ls_model *model = NULL;
    struct ls_backend *be = NULL;
    struct ls_lane *lane = NULL;
    struct ls_err err = {0};
    FILE *there = fopen(path, "rb");
    int yunet = !strcmp(detector, "YuNet");

    if (!there)
        return 0;
    fclose(there);
    if (!CHECK(ls_model_open(&model, &params, &err) == LS_OK, detector) ||
        !CHECK(ls_backend_open(
                   &be, &(struct ls_backend_params){.name = "ref", .model = model, .batch_max = 1},
                   &err) == LS_OK,
               detector) ||
        !CHECK(ls_lane_open(&lane, be, &err) == LS_OK, detector)) {
        printf("%s\n", err.text);
        goto done;
    }
    for (int i = 0; i < (int)(sizeof pictures / sizeof pictures[0]); i++) {
        if (yunet) {
            look(lane, &pictures[i], 640, 0.97f, detector); // full size; I420 halves the colours
            look(lane, &pictures[i], 320, 0.85f, detector);
            look(lane, &pictures[i], 160, 0.7f, detector);
        } else {
            look(lane, &pictures[i], 0, 0.8f, detector);
        }
    }
done:
    ls_lane_close(&lane);
    ls_backend_close(&be);
    ls_model_close(&model);
    return 1;
}

int main(void)
{
    const char *build = getenv("LS_BUILD");
    char yunet[500], blaze[500];
    int found;

    sizes();
    filling();
    planes();
    decoding();
    crowd();
    mapping();
    snprintf(yunet, sizeof yunet, "%s/models/yunet/face_detection_yunet_2023mar.onnx",
             check_shared());
    snprintf(blaze, sizeof blaze, "%s/blazeface.safetensors", build ? build : "build");
    found = with_model(yunet, "YuNet");
    if (!with_model(blaze, "BlazeFace") && !with_model("build/blazeface.safetensors", "BlazeFace"))
        printf("not compared: BlazeFace (build/blazeface.safetensors; docker/blazeface.py makes "
               "it)\n");
    if (!found && !check_failures)
        CHECK_SKIP("%s (what needs no model passed)", yunet);
    return check_done();
}
