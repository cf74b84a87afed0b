// SPDX-License-Identifier: Apache-2.0
// ref's generator against torch (golden_net.py, double precision): seeded weights at the demo's and
// the original's width, and the demo model's own file.
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "kernels/ref/ref.h"
#include "kernels/splitmix.h"
#include "kernels/wav2lip.h"
#include "tests/unit/_check.h"

enum { ITEMS = 2, SAMPLES = 1100, STEP = 25, PICTURE = 96 * 96 * 3, MEL = 16 * 80 };

// 1e-4 of the full scale is what float32 sums in another order may differ by, and far below half an
// 8-bit step (2e-3).
static const float within = 1e-4f;

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

static void compare(const char *name, const struct ls_model_params *params)
{
    static float want[ITEMS][SAMPLES];
    const struct ls_backend_ops *ops = &ls_backend_ref;
    struct ls_backend_params backend = {.batch_max = ITEMS, .arithmetic = "fp32"};
    struct ls_model *model = NULL;
    void *be = NULL, *lane = NULL;
    struct ls_err e = {0};
    float worst = 0;

    if (read_golden(want, name) < 0)
        return;
    if (!CHECK(ls_model_open(&model, params, &e) == 0, name)) {
        printf("  %s\n", e.text);
        return;
    }
    backend.model = model;
    CHECK(ops->open(&be, &backend, &e) == 0 && ops->lane_open(&lane, be, &e) == 0, name);
    CHECK(ops->generate(lane, out, face, mel, ITEMS, &e) == 0, name);
    for (int i = 0; i < ITEMS; i++) {
        for (int k = 0; k < SAMPLES; k++) {
            float gap = fabsf(out[i * PICTURE + STEP * k + i] - want[i][k]);

            worst = gap <= worst ? worst : gap; // a NaN stays
        }
    }
    printf("%s: largest difference %.2g\n", name, (double)worst);
    CHECK(worst <= within, name);
    ops->lane_close(&lane);
    ops->close(&be);
    ls_model_close(&model);
}

int main(void)
{
    fill();
    compare("net_demo", &(struct ls_model_params){.seed = 11});
    compare("net_wide", &(struct ls_model_params){.seed = 12, .seed_wide = true});
    compare("net_model", &(struct ls_model_params){
                             .generator_path = "kernels/demo/lipstream_demo_fp16.safetensors"});
    return check_done();
}
