// SPDX-License-Identifier: Apache-2.0
// ref's generator against torch (golden_net.py, double precision): seeded weights at the demo's and
// the original's width, and the demo model's own file. Or another back end's: `--backend cuda
// [--module liblipstream_cuda.so] [--arithmetic fp16] [--only net_model]`. What surprises: random
// weights amplify whatever is rounded, so short arithmetic is only held to the limit that the
// server's own check has for them (model_check.c); what a viewer sees is the demo model's row.
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "kernels/backend.h"
#include "kernels/splitmix.h"
#include "kernels/wav2lip.h"
#include "tests/unit/_check.h"

enum { ITEMS = 2, SAMPLES = 1100, STEP = 25, PICTURE = 96 * 96 * 3, MEL = 16 * 80 };

// 1e-4 of the full scale is what float32 sums in another order may differ by, and far below half an
// 8-bit step (2e-3). Ten bits of mantissa: 2 steps and 55 dB with trained weights.
#define WITHIN        1e-4f
#define SHORT_WITHIN  (2.0f / 255)
#define RANDOM_WITHIN (8.0f / 255)
#define SHORT_PSNR    55.0

static struct ls_backend_params back_end = {.name = "ref", .arithmetic = "fp32"};
static uint8_t face[ITEMS * PICTURE];
static float mel[ITEMS * MEL], out[ITEMS * PICTURE];

static void fill(void)
{
    uint64_t state = 21;

    for (int i = 0; i < ITEMS * PICTURE; i++)
        face[i] = (uint8_t)(ls_splitmix_next(&state) >> 56);
    for (int i = 0; i < ITEMS * MEL; i++)
        mel[i] = (float)(4 * ls_splitmix_uniform(&state));
}

static int read_golden(float want[ITEMS][SAMPLES], const char *file)
{
    char path[128];
    size_t n;
    FILE *f;

    snprintf(path, sizeof path, "tests/golden/%s.bin", file);
    f = fopen(path, "rb");
    if (!CHECK(f, path))
        return -1;
    n = fread(want, sizeof(float), ITEMS * SAMPLES, f);
    fclose(f);
    return CHECK(n == ITEMS * SAMPLES, path) ? 0 : -1;
}

static int generate(const struct ls_model *model, struct ls_err *err)
{
    struct ls_backend_params params = back_end;
    struct ls_backend *be = NULL;
    struct ls_lane *lane = NULL;
    int r;

    params.model = model;
    params.batch_max = ITEMS;
    r = ls_backend_open(&be, &params, err);
    if (r == 0)
        r = ls_lane_open(&lane, be, err);
    if (r == 0)
        r = ls_generate(lane, out, face, mel, ITEMS, err);
    ls_lane_close(&lane);
    ls_backend_close(&be);
    return r;
}

static void compare(const char *name, const struct ls_model_params *params, bool trained)
{
    static float want[ITEMS][SAMPLES];
    bool is_short = strcmp(back_end.arithmetic, "fp32") != 0;
    float within = !is_short ? WITHIN : trained ? SHORT_WITHIN : RANDOM_WITHIN, worst = 0;
    struct ls_model *model = NULL;
    struct ls_err e = {0};
    double squares = 0, psnr;
    int r;

    if (read_golden(want, name) < 0)
        return;
    r = ls_model_open(&model, params, &e);
    if (r == 0) {
        model->input_levels = false; // torch has the bare network
        r = generate(model, &e);
    }
    ls_model_close(&model);
    if (!CHECK(r == 0, name)) {
        printf("  %s\n", e.text);
        return;
    }
    for (int i = 0; i < ITEMS; i++) {
        for (int k = 0; k < SAMPLES; k++) {
            float gap = fabsf(out[i * PICTURE + STEP * k + i] - want[i][k]);

            worst = gap <= worst ? worst : gap; // a NaN stays
            squares += (double)gap * gap;
        }
    }
    psnr = squares > 0 ? -10 * log10(squares / (ITEMS * SAMPLES)) : 999;
    printf("%s, %s %s: largest difference %.2g (%.2g of 255), PSNR %.1f dB\n", name, back_end.name,
           back_end.arithmetic, (double)worst, 255 * (double)worst, psnr);
    CHECK(worst <= within, name);
    if (is_short && trained)
        CHECK(psnr > SHORT_PSNR, name);
}

int main(int argc, char **argv)
{
    const char *only = NULL;

    for (int i = 1; i + 1 < argc; i += 2) {
        if (!strcmp(argv[i], "--backend"))
            back_end.name = argv[i + 1];
        else if (!strcmp(argv[i], "--module"))
            back_end.module = argv[i + 1];
        else if (!strcmp(argv[i], "--arithmetic"))
            back_end.arithmetic = argv[i + 1];
        else if (!strcmp(argv[i], "--only"))
            only = argv[i + 1];
    }
    fill();
    if (!only || !strcmp(only, "net_demo"))
        compare("net_demo", &(struct ls_model_params){.seed = 11}, false);
    if (!only || !strcmp(only, "net_wide"))
        compare("net_wide", &(struct ls_model_params){.seed = 12, .seed_wide = true}, false);
    if (!only || !strcmp(only, "net_model"))
        compare("net_model",
                &(struct ls_model_params){.generator_path =
                                              "kernels/demo/lipstream_demo_fp16.safetensors"},
                true);
    return check_done();
}
