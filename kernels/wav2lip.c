// SPDX-License-Identifier: Apache-2.0
// Wav2Lip-96 as a table, and which mel columns a frame hears. Names of tensors are the original
// state dict's (face_encoder_blocks.I.J, audio_encoder.I, face_decoder_blocks.I.J, output_block.I).
// Widths are not here but in the checkpoint; only seeded networks need them from us. Constant data
// and pure functions: any thread.
#include "wav2lip.h"

#include <stdio.h>
#include <string.h>

// clang-format off
#define IN \
    {.op = LS_NET_INPUT, .from = {-1, -1}}
#define C(row, k, sv, sh, p) /* convolution, batch norm, ReLU */ \
    .op = LS_NET_CONV, .from = {row, -1}, .kernel = {k, k}, .stride = {sv, sh}, .pad = {p, p}, \
    .act = LS_ACT_RELU, .norm = true
#define CONV(title, row, k, sv, sh, p) {.name = title, C(row, k, sv, sh, p)}
#define RES(title, row) {.name = title, C(row, 3, 1, 1, 1), .residual = true}
#define UP(title, row, s, p, op_) /* transposed 3x3 convolution, batch norm, ReLU */ \
    {.name = title, .op = LS_NET_TCONV, .from = {row, -1}, .kernel = {3, 3}, .stride = {s, s}, \
     .pad = {p, p}, .out_pad = op_, .act = LS_ACT_RELU, .norm = true}
#define CAT(a, b) \
    {.op = LS_NET_CONCAT, .from = {a, b}}

static const struct ls_net_layer layers[] = {
    /*  0 */ IN, // face [6][96][96]
    /*  1 */ IN, // mel [1][80][16]
    /*  2 */ CONV("audio_encoder.0", 1, 3, 1, 1, 1),
    /*  3 */ RES("audio_encoder.1", 2),
    /*  4 */ RES("audio_encoder.2", 3),
    /*  5 */ CONV("audio_encoder.3", 4, 3, 3, 1, 1), // [27][16]
    /*  6 */ RES("audio_encoder.4", 5),
    /*  7 */ RES("audio_encoder.5", 6),
    /*  8 */ CONV("audio_encoder.6", 7, 3, 3, 3, 1), // [9][6]
    /*  9 */ RES("audio_encoder.7", 8),
    /* 10 */ RES("audio_encoder.8", 9),
    /* 11 */ CONV("audio_encoder.9", 10, 3, 3, 2, 1), // [3][3]
    /* 12 */ RES("audio_encoder.10", 11),
    /* 13 */ CONV("audio_encoder.11", 12, 3, 1, 1, 0), // [1][1]
    /* 14 */ CONV("audio_encoder.12", 13, 1, 1, 1, 0),

    /* 15 */ CONV("face_encoder_blocks.0.0", 0, 7, 1, 1, 3), // [96][96]
    /* 16 */ CONV("face_encoder_blocks.1.0", 15, 3, 2, 2, 1), // [48][48]
    /* 17 */ RES("face_encoder_blocks.1.1", 16),
    /* 18 */ RES("face_encoder_blocks.1.2", 17),
    /* 19 */ CONV("face_encoder_blocks.2.0", 18, 3, 2, 2, 1), // [24][24]
    /* 20 */ RES("face_encoder_blocks.2.1", 19),
    /* 21 */ RES("face_encoder_blocks.2.2", 20),
    /* 22 */ RES("face_encoder_blocks.2.3", 21),
    /* 23 */ CONV("face_encoder_blocks.3.0", 22, 3, 2, 2, 1), // [12][12]
    /* 24 */ RES("face_encoder_blocks.3.1", 23),
    /* 25 */ RES("face_encoder_blocks.3.2", 24),
    /* 26 */ CONV("face_encoder_blocks.4.0", 25, 3, 2, 2, 1), // [6][6]
    /* 27 */ RES("face_encoder_blocks.4.1", 26),
    /* 28 */ RES("face_encoder_blocks.4.2", 27),
    /* 29 */ CONV("face_encoder_blocks.5.0", 28, 3, 2, 2, 1), // [3][3]
    /* 30 */ RES("face_encoder_blocks.5.1", 29),
    /* 31 */ CONV("face_encoder_blocks.6.0", 30, 3, 1, 1, 0), // [1][1]
    /* 32 */ CONV("face_encoder_blocks.6.1", 31, 1, 1, 1, 0),

    // The decoder starts from the sound; each stage is joined by the face encoder's of the same size.
    /* 33 */ CONV("face_decoder_blocks.0.0", 14, 1, 1, 1, 0),
    /* 34 */ CAT(33, 32),
    /* 35 */ UP("face_decoder_blocks.1.0", 34, 1, 0, 0), // [3][3]
    /* 36 */ RES("face_decoder_blocks.1.1", 35),
    /* 37 */ CAT(36, 30),
    /* 38 */ UP("face_decoder_blocks.2.0", 37, 2, 1, 1), // [6][6]
    /* 39 */ RES("face_decoder_blocks.2.1", 38),
    /* 40 */ RES("face_decoder_blocks.2.2", 39),
    /* 41 */ CAT(40, 28),
    /* 42 */ UP("face_decoder_blocks.3.0", 41, 2, 1, 1), // [12][12]
    /* 43 */ RES("face_decoder_blocks.3.1", 42),
    /* 44 */ RES("face_decoder_blocks.3.2", 43),
    /* 45 */ CAT(44, 25),
    /* 46 */ UP("face_decoder_blocks.4.0", 45, 2, 1, 1), // [24][24]
    /* 47 */ RES("face_decoder_blocks.4.1", 46),
    /* 48 */ RES("face_decoder_blocks.4.2", 47),
    /* 49 */ CAT(48, 22),
    /* 50 */ UP("face_decoder_blocks.5.0", 49, 2, 1, 1), // [48][48]
    /* 51 */ RES("face_decoder_blocks.5.1", 50),
    /* 52 */ RES("face_decoder_blocks.5.2", 51),
    /* 53 */ CAT(52, 18),
    /* 54 */ UP("face_decoder_blocks.6.0", 53, 2, 1, 1), // [96][96]
    /* 55 */ RES("face_decoder_blocks.6.1", 54),
    /* 56 */ RES("face_decoder_blocks.6.2", 55),
    /* 57 */ CAT(56, 15),

    /* 58 */ CONV("output_block.0", 57, 3, 1, 1, 1),
    /* 59 */ {.name = "output_block.1", .op = LS_NET_CONV, .from = {58, -1}, .kernel = {1, 1},
              .stride = {1, 1}, .act = LS_ACT_SIGMOID, .output = true},
};
// clang-format on

const struct ls_net_spec ls_wav2lip = {
    .name = "Wav2Lip-96",
    .layer = layers,
    .layer_count = sizeof layers / sizeof layers[0],
    .ignore = ".num_batches_tracked", // a counter of training steps, once per batch norm
};

int64_t ls_mel_start(int64_t ticks, int offset_ms)
{
    // 80 * (ticks / 90000 + offset / 1000) = (ticks + 90 offset) / 1125
    int64_t n = ticks + 90 * (int64_t)offset_ms;

    return n >= 0 ? n / 1125 : -((-n + 1124) / 1125);
}

int64_t ls_mel_start_exact(int64_t frame, double fps)
{
    return (int64_t)((double)frame * (80.0 / fps));
}

int64_t ls_mel_frames_exact(int64_t columns, double fps)
{
    int64_t frame;

    if (columns < LS_MEL_WINDOW || !(fps > 0 && fps <= 1e6))
        return 0;
    // The first frame whose window sticks out still gets one, of the last columns. The quotient may
    // be off by rounding; the original's own expression decides.
    frame = (int64_t)((double)(columns - LS_MEL_WINDOW) / (80.0 / fps)) - 1;
    if (frame < 0)
        frame = 0;
    while (ls_mel_start_exact(frame, fps) + LS_MEL_WINDOW <= columns)
        frame++;
    return frame + 1;
}

struct widths {
    int audio[5], face[7], decoder[7], output;
};

static const struct widths widths[2] = {
    {{16, 32, 48, 64, 128}, {16, 16, 32, 32, 64, 128, 128}, {128, 128, 128, 96, 64, 32, 16}, 16},
    {{32, 64, 128, 256, 512},
     {16, 32, 64, 128, 256, 512, 512},
     {512, 512, 512, 384, 256, 128, 64},
     32},
};

static int width_of(void *user, int row)
{
    static const int audio_stage[13] = {0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 4, 4};
    const struct widths *w = user;
    const char *name = layers[row].name;
    int i;

    if (sscanf(name, "audio_encoder.%d", &i) == 1)
        return w->audio[audio_stage[i]];
    if (sscanf(name, "face_encoder_blocks.%d", &i) == 1)
        return w->face[i];
    if (sscanf(name, "face_decoder_blocks.%d", &i) == 1)
        return w->decoder[i];
    return strcmp(name, "output_block.0") ? 3 : w->output;
}

int ls_wav2lip_seed(struct ls_weights *w, int wide, uint64_t seed, struct ls_err *err)
{
    struct ls_net_params params = {
        .input = {{6, LS_FACE_SIZE, LS_FACE_SIZE}, {1, LS_MEL_BANDS, LS_MEL_WINDOW}}};

    return ls_net_seed(w, &ls_wav2lip, &params, width_of, (void *)&widths[!!wide], seed, err);
}
