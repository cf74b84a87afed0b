// SPDX-License-Identifier: Apache-2.0
// YuNet-s as a table. A unit is a 1x1 convolution without activation
// and a depthwise 3x3 one with ReLU; three levels of 8, 16 and 32 pixels a cell; heads for class,
// object, box and five points on each. Called by detect.c; any thread. What surprises: the ONNX
// exporter folded batch norm into the depthwise convolutions (and the stem) and gave the results
// mere numbers for names, in the order of the graph: 420 and 421 are the stem's weight and bias,
// then every 3 a pair, not 1 to 1 a layer.
#include "yunet.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// clang-format off
#define IN \
    {.op = LS_NET_INPUT, .from = {-1, -1}}
#define CONV(title, row, k, s, p, a) \
    {.name = title, .op = LS_NET_CONV, .from = {row, -1}, .kernel = {k, k}, .stride = {s, s}, \
     .pad = {p, p}, .act = LS_ACT_##a}
#define DW(title, row, a) \
    {.name = title, .op = LS_NET_DWCONV, .from = {row, -1}, .kernel = {3, 3}, .stride = {1, 1}, \
     .pad = {1, 1}, .act = LS_ACT_##a}
#define HEAD(title, row, a) \
    {.name = title, .op = LS_NET_DWCONV, .from = {row, -1}, .kernel = {3, 3}, .stride = {1, 1}, \
     .pad = {1, 1}, .act = LS_ACT_##a, .output = true}
#define POOL(row) \
    {.op = LS_NET_MAXPOOL, .from = {row, -1}, .kernel = {2, 2}, .stride = {2, 2}}
#define UPADD(low, high) \
    {.op = LS_NET_UPADD, .from = {low, high}}

static const struct ls_net_layer layers[] = {
    /*   0 */ IN, // BGR 0..255
    /*   1 */ CONV("backbone.model0.conv1", 0, 3, 2, 1, RELU),
    /*   2 */ CONV("backbone.model0.conv2.conv1", 1, 1, 1, 0, NONE),
    /*   3 */ DW("backbone.model0.conv2.conv2", 2, RELU),
    /*   4 */ POOL(3),
    /*   5 */ CONV("backbone.model1.conv1.conv1", 4, 1, 1, 0, NONE),
    /*   6 */ DW("backbone.model1.conv1.conv2", 5, RELU),
    /*   7 */ CONV("backbone.model1.conv2.conv1", 6, 1, 1, 0, NONE),
    /*   8 */ DW("backbone.model1.conv2.conv2", 7, RELU),
    /*   9 */ CONV("backbone.model2.conv1.conv1", 8, 1, 1, 0, NONE),
    /*  10 */ DW("backbone.model2.conv1.conv2", 9, RELU),
    /*  11 */ CONV("backbone.model2.conv2.conv1", 10, 1, 1, 0, NONE),
    /*  12 */ DW("backbone.model2.conv2.conv2", 11, RELU),
    /*  13 */ POOL(12),
    /*  14 */ CONV("backbone.model3.conv1.conv1", 13, 1, 1, 0, NONE),
    /*  15 */ DW("backbone.model3.conv1.conv2", 14, RELU),
    /*  16 */ CONV("backbone.model3.conv2.conv1", 15, 1, 1, 0, NONE),
    /*  17 */ DW("backbone.model3.conv2.conv2", 16, RELU),
    /*  18 */ POOL(17),
    /*  19 */ CONV("backbone.model4.conv1.conv1", 18, 1, 1, 0, NONE),
    /*  20 */ DW("backbone.model4.conv1.conv2", 19, RELU),
    /*  21 */ CONV("backbone.model4.conv2.conv1", 20, 1, 1, 0, NONE),
    /*  22 */ DW("backbone.model4.conv2.conv2", 21, RELU),
    /*  23 */ POOL(22),
    /*  24 */ CONV("backbone.model5.conv1.conv1", 23, 1, 1, 0, NONE),
    /*  25 */ DW("backbone.model5.conv1.conv2", 24, RELU),
    /*  26 */ CONV("backbone.model5.conv2.conv1", 25, 1, 1, 0, NONE),
    /*  27 */ DW("backbone.model5.conv2.conv2", 26, RELU),
    /*  28 */ CONV("neck.lateral_convs.2.conv1", 27, 1, 1, 0, NONE),
    /*  29 */ DW("neck.lateral_convs.2.conv2", 28, RELU),
    /*  30 */ UPADD(29, 22),
    /*  31 */ CONV("neck.lateral_convs.1.conv1", 30, 1, 1, 0, NONE),
    /*  32 */ DW("neck.lateral_convs.1.conv2", 31, RELU),
    /*  33 */ UPADD(32, 17),
    /*  34 */ CONV("neck.lateral_convs.0.conv1", 33, 1, 1, 0, NONE),
    /*  35 */ DW("neck.lateral_convs.0.conv2", 34, RELU),
    /*  36 */ CONV("bbox_head.multi_level_cls.0.conv1", 35, 1, 1, 0, NONE),
    /*  37 */ HEAD("bbox_head.multi_level_cls.0.conv2", 36, SIGMOID),
    /*  38 */ CONV("bbox_head.multi_level_obj.0.conv1", 35, 1, 1, 0, NONE),
    /*  39 */ HEAD("bbox_head.multi_level_obj.0.conv2", 38, SIGMOID),
    /*  40 */ CONV("bbox_head.multi_level_bbox.0.conv1", 35, 1, 1, 0, NONE),
    /*  41 */ HEAD("bbox_head.multi_level_bbox.0.conv2", 40, NONE),
    /*  42 */ CONV("bbox_head.multi_level_kps.0.conv1", 35, 1, 1, 0, NONE),
    /*  43 */ HEAD("bbox_head.multi_level_kps.0.conv2", 42, NONE),
    /*  44 */ CONV("bbox_head.multi_level_cls.1.conv1", 32, 1, 1, 0, NONE),
    /*  45 */ HEAD("bbox_head.multi_level_cls.1.conv2", 44, SIGMOID),
    /*  46 */ CONV("bbox_head.multi_level_obj.1.conv1", 32, 1, 1, 0, NONE),
    /*  47 */ HEAD("bbox_head.multi_level_obj.1.conv2", 46, SIGMOID),
    /*  48 */ CONV("bbox_head.multi_level_bbox.1.conv1", 32, 1, 1, 0, NONE),
    /*  49 */ HEAD("bbox_head.multi_level_bbox.1.conv2", 48, NONE),
    /*  50 */ CONV("bbox_head.multi_level_kps.1.conv1", 32, 1, 1, 0, NONE),
    /*  51 */ HEAD("bbox_head.multi_level_kps.1.conv2", 50, NONE),
    /*  52 */ CONV("bbox_head.multi_level_cls.2.conv1", 29, 1, 1, 0, NONE),
    /*  53 */ HEAD("bbox_head.multi_level_cls.2.conv2", 52, SIGMOID),
    /*  54 */ CONV("bbox_head.multi_level_obj.2.conv1", 29, 1, 1, 0, NONE),
    /*  55 */ HEAD("bbox_head.multi_level_obj.2.conv2", 54, SIGMOID),
    /*  56 */ CONV("bbox_head.multi_level_bbox.2.conv1", 29, 1, 1, 0, NONE),
    /*  57 */ HEAD("bbox_head.multi_level_bbox.2.conv2", 56, NONE),
    /*  58 */ CONV("bbox_head.multi_level_kps.2.conv1", 29, 1, 1, 0, NONE),
    /*  59 */ HEAD("bbox_head.multi_level_kps.2.conv2", 58, NONE),
};
// clang-format on

const struct ls_net_spec ls_yunet = {
    .name = "YuNet",
    .layer = layers,
    .layer_count = sizeof layers / sizeof layers[0],
};

// Rows whose tensors are numbered in the ONNX file, in the file's order.
static const char *const numbered[] = {
    "backbone.model0.conv1",       "backbone.model0.conv2.conv2", "backbone.model1.conv1.conv2",
    "backbone.model1.conv2.conv2", "backbone.model2.conv1.conv2", "backbone.model2.conv2.conv2",
    "backbone.model3.conv1.conv2", "backbone.model3.conv2.conv2", "backbone.model4.conv1.conv2",
    "backbone.model4.conv2.conv2", "backbone.model5.conv1.conv2", "backbone.model5.conv2.conv2",
    "neck.lateral_convs.2.conv2",  "neck.lateral_convs.1.conv2",  "neck.lateral_convs.0.conv2",
};

static int copy(struct ls_weights *out, const char *name, const struct ls_tensor *t,
                struct ls_err *err)
{
    int64_t size = ls_tensor_size(t);
    float *values;
    int r;

    if (size > 1 << 20) // the largest of ours has 4096
        return ls_fail(err, LS_EMODEL, "\"%s\" has %lld values, too many for YuNet", t->name,
                       (long long)size);
    values = malloc((size_t)(size ? size : 1) * sizeof *values);
    if (!values)
        return ls_fail(err, LS_ENOMEM, "no memory for \"%s\"", name);
    ls_tensor_read(values, t);
    r = ls_weights_add(out, name, values, t->dim_count, t->dim, err);
    free(values);
    return r;
}

// The tensor of row `name`, by its own name or by its number. Absent ones are ls_net_plan's to
// report.
static int take(struct ls_weights *out, const struct ls_weights *w, const char *name,
                const char *suffix, int is_bias, struct ls_err *err)
{
    char full[128], number[16];
    const struct ls_tensor *t;

    snprintf(full, sizeof full, "%s%s", name, suffix);
    t = ls_weights_find(w, full);
    for (int i = 0; !t && i < (int)(sizeof numbered / sizeof numbered[0]); i++) {
        if (strcmp(name, numbered[i]) != 0)
            continue;
        snprintf(number, sizeof number, "%d", 420 + 3 * i + is_bias);
        t = ls_weights_find(w, number);
    }
    return t ? copy(out, full, t, err) : LS_OK;
}

int ls_yunet_rename(struct ls_weights **out, const struct ls_weights *weights, struct ls_err *err)
{
    struct ls_weights *w = NULL;
    int r = ls_weights_new(&w, err);

    for (int i = 0; r == 0 && i < ls_yunet.layer_count; i++) {
        const char *name = layers[i].name;

        if (!name)
            continue;
        r = take(w, weights, name, ".weight", 0, err);
        if (r == 0)
            r = take(w, weights, name, ".bias", 1, err);
    }
    if (r == 0) {
        *out = w;
        w = NULL;
    }
    ls_weights_close(&w);
    return r;
}
