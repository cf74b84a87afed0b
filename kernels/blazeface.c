// SPDX-License-Identifier: Apache-2.0
// BlazeFace (back camera, 256 px) as a table, its anchors, and the map to YuNet's convention.
// Called by detect.c; any thread. A block is a depthwise 3x3 and a 1x1 convolution, added to its
// input; where the size halves, the input is pooled and the channels that it lacks count as zero.
// What surprises: padding is TensorFlow's SAME, so strided convolutions pad one row and column more
// at the end.
//
// Measured on 986 frames of 98 clips and pictures (GRID, presenter, film scenes, odd files) against
// YuNet at 640 pixels, 924 faces: back 256 finds all 924 (14 of 14 that are narrower than a tenth
// of the frame), with scores from 0.66 up, and 20 more boxes, all in the film scenes (0.50..0.72);
// full range 192 finds 920, short range 128 finds 912 (2 of those 14).
// Map: robust least squares on 706 faces of 72 clips and their mirror images. On 191 faces of 20
// clips of other people (six of GRID, a portrait, a drawn film):
// - box: IoU with YuNet's median 0.717, 5th percentile 0.686 as it comes; 0.929 and 0.829 mapped.
//   YuNet at 320 against YuNet at 640: 0.926 and 0.876 (every fourth of the 986 frames).
// - mouth corners, error in eye distances: median 0.070, 95th percentile 0.147. Put at 0.45 eye
//   distances to each side of the mouth's centre they would have 0.092 and 0.166.
#include "blazeface.h"

// clang-format off
#define IN \
    {.op = LS_NET_INPUT, .from = {-1, -1}}
#define STEM(title, row) /* SAME, 5x5, stride 2: pads 1 before, 2 after */ \
    {.name = title, .op = LS_NET_CONV, .from = {row, -1}, .kernel = {5, 5}, .stride = {2, 2}, \
     .pad = {1, 1}, .pad_end_extra = 1, .act = LS_ACT_RELU}
#define DW1(title, row) \
    {.name = title, .op = LS_NET_DWCONV, .from = {row, -1}, .kernel = {3, 3}, .stride = {1, 1}, \
     .pad = {1, 1}}
#define DW2(title, row) /* SAME, stride 2: pads 0 before, 1 after */ \
    {.name = title, .op = LS_NET_DWCONV, .from = {row, -1}, .kernel = {3, 3}, .stride = {2, 2}, \
     .pad_end_extra = 1}
#define POINT(title, row) \
    {.name = title, .op = LS_NET_CONV, .from = {row, -1}, .kernel = {1, 1}, .stride = {1, 1}}
#define POINTR(title, row) \
    {.name = title, .op = LS_NET_CONV, .from = {row, -1}, .kernel = {1, 1}, .stride = {1, 1}, \
     .act = LS_ACT_RELU}
#define HEAD(title, row) \
    {.name = title, .op = LS_NET_CONV, .from = {row, -1}, .kernel = {1, 1}, .stride = {1, 1}, \
     .output = true}
#define POOL(row) \
    {.op = LS_NET_MAXPOOL, .from = {row, -1}, .kernel = {2, 2}, .stride = {2, 2}}
#define ADD(made, input) \
    {.op = LS_NET_ADD, .from = {made, input}, .act = LS_ACT_RELU}

static const struct ls_net_layer layers[] = {
    /*   0 */ IN, // RGB -1..1
    /*   1 */ STEM("conv2d", 0),
    /*   2 */ DW1("depthwise_conv2d", 1),
    /*   3 */ POINT("conv2d_1", 2),
    /*   4 */ ADD(3, 1),
    /*   5 */ DW1("depthwise_conv2d_1", 4),
    /*   6 */ POINT("conv2d_2", 5),
    /*   7 */ ADD(6, 4),
    /*   8 */ DW1("depthwise_conv2d_2", 7),
    /*   9 */ POINT("conv2d_3", 8),
    /*  10 */ ADD(9, 7),
    /*  11 */ DW1("depthwise_conv2d_3", 10),
    /*  12 */ POINT("conv2d_4", 11),
    /*  13 */ ADD(12, 10),
    /*  14 */ DW1("depthwise_conv2d_4", 13),
    /*  15 */ POINT("conv2d_5", 14),
    /*  16 */ ADD(15, 13),
    /*  17 */ DW1("depthwise_conv2d_5", 16),
    /*  18 */ POINT("conv2d_6", 17),
    /*  19 */ ADD(18, 16),
    /*  20 */ DW1("depthwise_conv2d_6", 19),
    /*  21 */ POINT("conv2d_7", 20),
    /*  22 */ ADD(21, 19),
    /*  23 */ DW2("depthwise_conv2d_7", 22),
    /*  24 */ POINT("conv2d_8", 23),
    /*  25 */ POOL(22),
    /*  26 */ ADD(24, 25),
    /*  27 */ DW1("depthwise_conv2d_8", 26),
    /*  28 */ POINT("conv2d_9", 27),
    /*  29 */ ADD(28, 26),
    /*  30 */ DW1("depthwise_conv2d_9", 29),
    /*  31 */ POINT("conv2d_10", 30),
    /*  32 */ ADD(31, 29),
    /*  33 */ DW1("depthwise_conv2d_10", 32),
    /*  34 */ POINT("conv2d_11", 33),
    /*  35 */ ADD(34, 32),
    /*  36 */ DW1("depthwise_conv2d_11", 35),
    /*  37 */ POINT("conv2d_12", 36),
    /*  38 */ ADD(37, 35),
    /*  39 */ DW1("depthwise_conv2d_12", 38),
    /*  40 */ POINT("conv2d_13", 39),
    /*  41 */ ADD(40, 38),
    /*  42 */ DW1("depthwise_conv2d_13", 41),
    /*  43 */ POINT("conv2d_14", 42),
    /*  44 */ ADD(43, 41),
    /*  45 */ DW1("depthwise_conv2d_14", 44),
    /*  46 */ POINT("conv2d_15", 45),
    /*  47 */ ADD(46, 44),
    /*  48 */ DW2("depthwise_conv2d_15", 47),
    /*  49 */ POOL(47),
    /*  50 */ POINT("conv2d_16", 48),
    /*  51 */ ADD(50, 49),
    /*  52 */ DW1("depthwise_conv2d_16", 51),
    /*  53 */ POINT("conv2d_17", 52),
    /*  54 */ ADD(53, 51),
    /*  55 */ DW1("depthwise_conv2d_17", 54),
    /*  56 */ POINT("conv2d_18", 55),
    /*  57 */ ADD(56, 54),
    /*  58 */ DW1("depthwise_conv2d_18", 57),
    /*  59 */ POINT("conv2d_19", 58),
    /*  60 */ ADD(59, 57),
    /*  61 */ DW1("depthwise_conv2d_19", 60),
    /*  62 */ POINT("conv2d_20", 61),
    /*  63 */ ADD(62, 60),
    /*  64 */ DW1("depthwise_conv2d_20", 63),
    /*  65 */ POINT("conv2d_21", 64),
    /*  66 */ ADD(65, 63),
    /*  67 */ DW1("depthwise_conv2d_21", 66),
    /*  68 */ POINT("conv2d_22", 67),
    /*  69 */ ADD(68, 66),
    /*  70 */ DW1("depthwise_conv2d_22", 69),
    /*  71 */ POINT("conv2d_23", 70),
    /*  72 */ ADD(71, 69),
    /*  73 */ DW2("depthwise_conv2d_23", 72),
    /*  74 */ POOL(72),
    /*  75 */ POINT("conv2d_24", 73),
    /*  76 */ ADD(75, 74),
    /*  77 */ DW1("depthwise_conv2d_24", 76),
    /*  78 */ POINT("conv2d_25", 77),
    /*  79 */ ADD(78, 76),
    /*  80 */ DW1("depthwise_conv2d_25", 79),
    /*  81 */ POINT("conv2d_26", 80),
    /*  82 */ ADD(81, 79),
    /*  83 */ DW1("depthwise_conv2d_26", 82),
    /*  84 */ POINT("conv2d_27", 83),
    /*  85 */ ADD(84, 82),
    /*  86 */ DW1("depthwise_conv2d_27", 85),
    /*  87 */ POINT("conv2d_28", 86),
    /*  88 */ ADD(87, 85),
    /*  89 */ DW1("depthwise_conv2d_28", 88),
    /*  90 */ POINT("conv2d_29", 89),
    /*  91 */ ADD(90, 88),
    /*  92 */ DW1("depthwise_conv2d_29", 91),
    /*  93 */ POINT("conv2d_30", 92),
    /*  94 */ ADD(93, 91),
    /*  95 */ DW1("depthwise_conv2d_30", 94),
    /*  96 */ POINT("conv2d_31", 95),
    /*  97 */ ADD(96, 94),
    /*  98 */ DW2("separable_conv2d.depthwise", 97),
    /*  99 */ POINTR("separable_conv2d.pointwise", 98),
    /* 100 */ HEAD("classificator_16", 97),
    /* 101 */ HEAD("classificator_32", 99),
    /* 102 */ HEAD("regressor_16", 97),
    /* 103 */ HEAD("regressor_32", 99),
};
// clang-format on

const struct ls_net_spec ls_blazeface = {
    .name = "BlazeFace",
    .layer = layers,
    .layer_count = sizeof layers / sizeof layers[0],
};

const float ls_blazeface_fit[8][9] = {
    {-0.2822f, 0.1548f, -0.0376f, -0.4338f, 0.2243f, 0.1239f, 0.0768f, -0.0409f, 0.0382f},
    {-0.5140f, 0, 0.3712f, -0.3666f, 0, 0, 0.5764f, 0, 0.0467f},
    {0.2822f, 0.1548f, 0.0376f, 0.4338f, 0.2243f, 0.1239f, -0.0768f, -0.0409f, -0.0382f},
    {0.4260f, 0, -0.1302f, 0.0405f, 0, 0, -0.0540f, 0, 0.2086f},
    {-0.0073f, 0.1726f, 0.0645f, -0.4084f, 0.1476f, 0.3079f, 0.0691f, 0.1552f, 0.0042f},
    {0.1728f, -0.0129f, 0.0907f, 0.0322f, 0.0479f, 0.0024f, 0.2125f, 0.0274f, 0.1291f},
    {0.0073f, 0.1726f, -0.0645f, 0.4084f, 0.1476f, 0.3079f, -0.0691f, 0.1552f, -0.0042f},
    {0.1728f, 0.0129f, 0.0907f, 0.0322f, -0.0479f, -0.0024f, 0.2125f, -0.0274f, 0.1291f},
};
