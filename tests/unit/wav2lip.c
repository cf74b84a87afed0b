// SPDX-License-Identifier: Apache-2.0
// The generator's table and clock: the original's size and cost, the demo file plans, window starts
// and frame counts equal those of the original's own loop (tests/golden/golden_windows.py) at five
// rates.
#include <math.h>
#include <string.h>

#include "kernels/wav2lip.h"
#include "tests/golden/windows.h"
#include "tests/unit/_check.h"

static const struct ls_net_params shape = {.input = {{6, 96, 96}, {1, 80, 16}},
                                           .fold_residual = true};

static void sizes(void)
{
    static const struct {
        const char *name;
        int wide;
        int64_t parameters;
        double gmac, within;
    } rows[] = {
        {"the original's size", 1, 36298035, 3.967, 0.0005},
        {"the demo's size", 0, 2385699, 0.365, 0.0005},
    };

    for (int i = 0; i < 2; i++) {
        struct ls_weights *w = NULL;
        struct ls_net *net = NULL;
        struct ls_err e = {0};
        const struct ls_net_node *last;

        if (!CHECK(ls_weights_new(&w, &e) == 0, rows[i].name) ||
            !CHECK(ls_wav2lip_seed(w, rows[i].wide, 1, &e) == 0, rows[i].name) ||
            !CHECK(ls_net_plan(&net, &ls_wav2lip, w, &shape, &e) == 0, rows[i].name)) {
            printf("  %s\n", e.text);
            ls_weights_close(&w);
            continue;
        }
        last = &net->node[net->node_count - 1];
        CHECK(net->parameter_count == rows[i].parameters, rows[i].name);
        CHECK(fabs(net->mac / 1e9 - rows[i].gmac) < rows[i].within, rows[i].name);
        CHECK(last->c_out == 3 && last->h_out == 96 && last->w_out == 96, rows[i].name);
        ls_net_free(&net);
        ls_weights_close(&w);
    }
}

static void demo(void)
{
    struct ls_weights *w = NULL;
    struct ls_net *net = NULL;
    struct ls_err e = {0};

    if (!CHECK(ls_weights_open(&w, "kernels/demo/lipstream_demo_fp16.safetensors", &e) == 0,
               "open the demo model")) {
        printf("  %s\n", e.text);
        return;
    }
    CHECK(ls_weights_meta(w, "paste_mask") && !strcmp(ls_weights_meta(w, "paste_mask"), "MOUTH"),
          "metadata");
    CHECK(!ls_weights_meta(w, "no such key"), "absent metadata");
    if (!CHECK(ls_net_plan(&net, &ls_wav2lip, w, &shape, &e) == 0, "plan the demo model"))
        printf("  %s\n", e.text);
    else
        CHECK(net->parameter_count == 2385699, "the demo model's parameters");
    ls_net_free(&net);
    ls_weights_close(&w);
}

static void seeds(void)
{
    struct ls_weights *w[3] = {NULL};
    struct ls_err e = {0};
    static float v[3][2000];

    for (int i = 0; i < 3; i++) {
        CHECK(ls_weights_new(&w[i], &e) == 0, "set");
        CHECK(ls_wav2lip_seed(w[i], 0, i == 2 ? 6 : 5, &e) == 0, "seed");
        ls_tensor_read(v[i], ls_weights_find(w[i], "output_block.1.weight"));
    }
    CHECK(!memcmp(v[0], v[1], sizeof v[0]), "the same seed gives the same weights");
    CHECK(memcmp(v[0], v[2], sizeof v[0]) != 0, "another seed gives others");
    for (int i = 0; i < 3; i++)
        ls_weights_close(&w[i]);
}

static void starts(void)
{
    static const struct {
        const char *name;
        int64_t ticks;
        int offset_ms;
        int64_t want;
    } rows[] = {
        {"zero", 0, 0, 0},
        {"just before the first step", 1124, 0, 0},
        {"the first step", 1125, 0, 1},
        {"second frame at 25", 3600, 0, 3},
        {"a second", 90000, 0, 80},
        {"a second later by offset", 0, 1000, 80},
        {"a frame earlier by offset", 3600, -40, 0},
        {"12 ms are not a step", 0, 12, 0},
        {"13 ms are one", 0, 13, 1},
        {"below zero, rounded down", -1, 0, -1},
        {"below zero, exact", -1125, 0, -1},
        {"below zero, past it", -1126, 0, -2},
        {"ten hours", INT64_C(90000) * 36000, 0, 2880000},
    };

    for (int i = 0; i < (int)(sizeof rows / sizeof rows[0]); i++)
        CHECK(ls_mel_start(rows[i].ticks, rows[i].offset_ms) == rows[i].want, rows[i].name);
}

static void golden(void)
{
    for (int i = 0; i < (int)(sizeof golden_windows / sizeof golden_windows[0]); i++) {
        const struct golden_window *g = &golden_windows[i];

        for (int k = 0; k < g->start_count; k++)
            CHECK(ls_mel_start_exact(g->frame[k], g->fps) == g->start[k], g->name);
        for (int k = 0; k < g->length_count; k++)
            CHECK(ls_mel_frames_exact(g->columns[k], g->fps) == g->frames[k], g->name);
    }
    CHECK(ls_mel_frames_exact(15, 25) == 0, "fewer columns than a window");
    CHECK(ls_mel_frames_exact(16, 0) == 0, "no frame rate");
    CHECK(ls_mel_frames_exact(16, NAN) == 0, "a frame rate that is no number");
    CHECK(ls_mel_frames_exact(16, INFINITY) == 0, "an infinite frame rate");
}

int main(void)
{
    sizes();
    demo();
    seeds();
    starts();
    golden();
    return check_done();
}
