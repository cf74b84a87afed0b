// SPDX-License-Identifier: Apache-2.0
// Rectangles of the region decoder without any arithmetic: which stored pixels are right is
// followed from row to row, and all that is made must be; for the cuts and for hundreds of other
// rectangles. Then what the cuts save, and which pastes they serve.
#include "kernels/cuda/region.h"
#include "kernels/splitmix.h"
#include "kernels/wav2lip.h"
#include "tests/unit/_check.h"

#include <string.h>

enum { SIDE = LS_FACE_SIZE, BOXES = 300 };

// right[row][y][x]: the stored pixel is what the whole network has there.
static unsigned char (*right)[SIDE][SIDE];

static bool inside(const struct ls_int_box *b, int x, int y)
{
    return x >= b->x0 && x < b->x1 && y >= b->y0 && y < b->y1;
}

// Whether result (x, y) of row idx is right: every pixel of the source that it reads must be,
// except those outside the picture, which are zero either way.
static bool is_right(const struct ls_net *net, const struct ls_cuda_region *region, int idx, int x,
                     int y)
{
    const struct ls_net_node *n = &net->node[idx];
    const struct ls_net_layer *l = n->layer;
    bool up = l->op == LS_NET_TCONV;

    if (l->op == LS_NET_INPUT)
        return true;
    if (l->op == LS_NET_CONCAT) // the other half comes from a record, where it is whole
        return right[l->from[0]][y][x];
    for (int ky = 0; ky < l->kernel[0]; ky++)
        for (int kx = 0; kx < l->kernel[1]; kx++) {
            int iy = up ? y + l->pad[0] - ky : y * l->stride[0] - l->pad[0] + ky;
            int ix = up ? x + l->pad[1] - kx : x * l->stride[1] - l->pad[1] + kx;

            if (up && (iy % l->stride[0] || ix % l->stride[1]))
                continue;
            iy /= up ? l->stride[0] : 1;
            ix /= up ? l->stride[1] : 1;
            if (ix < 0 || iy < 0 || ix >= n->w_in || iy >= n->h_in)
                continue;
            if (!inside(&region->taken[idx], ix, iy) || !right[l->from[0]][iy][ix])
                return false;
        }
    return true;
}

// What a convolution of these sizes needs to be told of its padding must be as usual.
static bool is_usual(const struct ls_net *net, const struct ls_cuda_region *region, int idx)
{
    const struct ls_net_layer *l = net->node[idx].layer;
    const struct ls_int_box *in = &region->taken[idx], *out = &region->stored[idx];
    const struct ls_int_box *source = &region->stored[l->from[0]];
    int rest;

    if (in->x0 < source->x0 || in->y0 < source->y0 || in->x1 > source->x1 || in->y1 > source->y1)
        return false;
    if (l->op == LS_NET_TCONV) {
        rest = out->x1 - out->x0 - ((in->x1 - in->x0 - 1) * l->stride[1] - 2 * l->pad[1] + 3);
        if (rest < 0 || rest >= l->stride[1] || out->x0 != in->x0 * l->stride[1])
            return false;
        rest = out->y1 - out->y0 - ((in->y1 - in->y0 - 1) * l->stride[0] - 2 * l->pad[0] + 3);
        return rest >= 0 && rest < l->stride[0] && out->y0 == in->y0 * l->stride[0];
    }
    if (l->stride[0] == 1 && l->pad[0] * 2 + 1 == l->kernel[0])
        return !memcmp(in, out, sizeof *in);
    return true;
}

static void check_box(const struct ls_net *net, const struct ls_int_box *made, const char *row)
{
    struct ls_cuda_region region;
    struct ls_err err;
    int wrong = 0;

    if (!CHECK(ls_cuda_region_init(&region, net, made, &err) == 0, row))
        return;
    for (int i = 0; i < net->node_count; i++) {
        const struct ls_net_node *n = &net->node[i];
        const struct ls_int_box *b = &region.stored[i];

        CHECK(b->x0 >= 0 && b->y0 >= 0 && b->x1 <= n->w_out && b->y1 <= n->h_out, row);
        CHECK(b->x0 < b->x1 && b->y0 < b->y1, row);
        if (n->layer->op != LS_NET_INPUT)
            CHECK(is_usual(net, &region, i), row);
        for (int y = b->y0; y < b->y1; y++)
            for (int x = b->x0; x < b->x1; x++)
                right[i][y][x] = is_right(net, &region, i, x, y);
        if (!n->layer->output)
            continue;
        for (int y = made->y0; y < made->y1; y++)
            for (int x = made->x0; x < made->x1; x++)
                wrong += !inside(b, x, y) || !right[i][y][x];
    }
    if (!CHECK(wrong == 0, row))
        printf("  %d..%d, %d..%d: %d pixels\n", made->x0, made->x1, made->y0, made->y1, wrong);
    ls_cuda_region_done(&region);
}

// A part of 0..SIDE, one time in four to each border.
static void random_range(int *first, int *end, uint64_t *state)
{
    unsigned a = (unsigned)(ls_splitmix_next(state) >> 40), b = a / SIDE / 4;

    *first = a / SIDE % 4 ? (int)(a % SIDE) : 0;
    *end = *first + 1 + (int)(b / 4) % (SIDE - *first);
    *end = b % 4 ? *end : SIDE;
}

static void check_boxes(const struct ls_net *net)
{
    uint64_t state = 5;
    struct ls_int_box box;

    for (int i = 0; i < LS_CUDA_CUTS; i++)
        check_box(net, &ls_cuda_cut_box[i], "cuts");
    for (int i = 0; i < BOXES; i++) {
        random_range(&box.x0, &box.x1, &state);
        random_range(&box.y0, &box.y1, &state);
        check_box(net, &box, "any rectangle");
    }
}

// The original's widths. COMPUTE's estimates by hand, 0.74 and 0.66, count only what is needed row
// by row; one rectangle a level, all of it right at its edges, costs the rest.
static void check_mac(const struct ls_net *net)
{
    static const struct {
        const char *name;
        enum ls_cuda_cut cut;
        double most;
    } rows[] = {{"whole", LS_CUDA_CUT_WHOLE, 1},
                {"lower face", LS_CUDA_CUT_LOWER, 0.83},
                {"mouth", LS_CUDA_CUT_MOUTH, 0.75}};

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct ls_cuda_region region;
        struct ls_err err;
        double share;

        if (!CHECK(ls_cuda_region_init(&region, net, &ls_cuda_cut_box[rows[i].cut], &err) == 0,
                   rows[i].name))
            continue;
        share = region.mac / net->mac;
        printf("%s: %.0f of %.0f MMAC, %.3f\n", rows[i].name, region.mac / 1e6, net->mac / 1e6,
               share);
        CHECK(share <= rows[i].most && (share < 0.9) == (i > 0), rows[i].name);
        ls_cuda_region_done(&region);
    }
}

static void check_pastes(void)
{
    static const struct {
        const char *name;
        struct ls_paste paste;
        enum ls_cuda_cut cut;
    } rows[] = {
        // A mouth that is not given, then medians and extremes of what the server makes of YuNet's
        // faces.
        {"lower face", {.mask = LS_MASK_LOWER_FACE, .feather_px = 8}, LS_CUDA_CUT_MOUTH},
        {"lower face, found",
         {.mask = LS_MASK_LOWER_FACE, .feather_px = 8, .mouth = {0.53f, 0.74f, 0.26f, 0.234f}},
         LS_CUDA_CUT_LOWER},
        {"lower face, widest",
         {.mask = LS_MASK_LOWER_FACE, .feather_px = 8, .mouth = {0.52f, 0.71f, 0.28f, 0.252f}},
         LS_CUDA_CUT_LOWER},
        {"lower face, soft",
         {.mask = LS_MASK_LOWER_FACE, .feather_px = 24, .mouth = {0.52f, 0.71f, 0.28f, 0.252f}},
         LS_CUDA_CUT_LOWER},
        {"lower face, hard",
         {.mask = LS_MASK_LOWER_FACE, .mouth = {0.52f, 0.71f, 0.28f, 0.252f}},
         LS_CUDA_CUT_LOWER},
        {"lower face, high up",
         {.mask = LS_MASK_LOWER_FACE, .feather_px = 8, .mouth = {0.5f, 0.6f, 0.25f, 0.225f}},
         LS_CUDA_CUT_WHOLE},
        {"mouth",
         {.mask = LS_MASK_MOUTH, .feather_px = 8, .mouth = {0.53f, 0.74f, 0.26f, 0.234f}},
         LS_CUDA_CUT_MOUTH},
        {"mouth without points",
         {.mask = LS_MASK_MOUTH, .feather_px = 8, .mouth = {0.5f, 0.79f, 0.2f, 0.18f}},
         LS_CUDA_CUT_MOUTH},
        {"mouth aside",
         {.mask = LS_MASK_MOUTH, .feather_px = 8, .mouth = {0.3f, 0.75f, 0.2f, 0.18f}},
         LS_CUDA_CUT_LOWER},
        {"mouth, soft",
         {.mask = LS_MASK_MOUTH, .feather_px = 24, .mouth = {0.53f, 0.74f, 0.26f, 0.234f}},
         LS_CUDA_CUT_LOWER},
        {"mouth, soft and high",
         {.mask = LS_MASK_MOUTH, .feather_px = 24, .mouth = {0.5f, 0.7f, 0.26f, 0.234f}},
         LS_CUDA_CUT_WHOLE},
        {"rectangle", {.mask = LS_MASK_RECTANGLE, .feather_px = 8}, LS_CUDA_CUT_WHOLE},
        {"exact", {.mask = LS_MASK_MOUTH, .exact = true}, LS_CUDA_CUT_WHOLE},
    };

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct ls_paste paste = rows[i].paste;
        struct ls_int_box reads;

        paste.strength = 1;
        paste.colour_match = 1;
        ls_paste_reads(&reads, &paste);
        if (!CHECK(ls_cuda_cut_of(&reads) == rows[i].cut, rows[i].name))
            printf("  reads %d..%d, %d..%d: cut %d\n", reads.x0, reads.x1, reads.y0, reads.y1,
                   ls_cuda_cut_of(&reads));
    }
}

static struct ls_net *seeded(int wide)
{
    struct ls_net_params params = {.input = {{6, SIDE, SIDE}, {1, LS_MEL_BANDS, LS_MEL_WINDOW}},
                                   .fold_residual = true};
    struct ls_weights *weights = NULL;
    struct ls_net *net = NULL;
    struct ls_err err = {0};

    CHECK(ls_weights_new(&weights, &err) == 0 && ls_wav2lip_seed(weights, wide, 1, &err) == 0 &&
              ls_net_plan(&net, &ls_wav2lip, weights, &params, &err) == 0,
          err.text);
    ls_weights_close(&weights);
    return net;
}

int main(void)
{
    struct ls_net *net = seeded(1);

    right = net ? calloc((size_t)net->node_count, sizeof *right) : NULL;
    if (CHECK(net && right, "a network")) {
        check_boxes(net);
        check_mac(net);
    }
    check_pastes();
    free(right);
    ls_net_free(&net);
    return check_done();
}
