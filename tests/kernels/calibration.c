// SPDX-License-Identifier: Apache-2.0
// Ranges out of histograms, a calibration's way to its file and back, files that are none, and what
// the cpu makes of them: int8 with a calibration alone, by its own choice if there is one, close to
// floats; and a network in floats for faces of the original's arithmetic, whatever the rest is.
#include <math.h>
#include <string.h>
#include <unistd.h>

#include "kernels/backend.h"
#include "kernels/cpu/dnn.h"
#include "tests/kernels/_pictures.h"
#include "tests/unit/_check.h"

enum { ITEMS = 4, FACE = 96 * 96 * 3, WINDOW = LS_MEL_WINDOW * LS_MEL_BANDS };

static uint8_t face[ITEMS * FACE];
static float mel[ITEMS * WINDOW], want[ITEMS * FACE], got[ITEMS * FACE];
static char path[] = "/tmp/lipstream-calibration-XXXXXX";

static void check_ranges(const struct ls_net *net)
{
    static float values[20001];
    struct ls_ranges *ranges = NULL;
    struct ls_calibration c;
    struct ls_err err = {0};

    if (!CHECK(ls_ranges_new(&ranges, net, &err) == 0, "ranges"))
        return;
    for (int i = 0; i <= 20000; i++) // what is not above zero does not count
        values[i] = i <= 10000 ? (float)i / 1000 : -3;
    values[20000] = 400;
    ls_ranges_see(ranges, 2, values, 20001);
    ls_ranges_see(ranges, 3, values + 10001, 5000);
    ls_ranges_see(ranges, 59, values, 10);
    ls_ranges_see(ranges, 58, values, 10);
    CHECK(ls_ranges_runs(ranges) == 1, "one output was seen");
    ls_ranges_calibration(&c, ranges, 100);
    CHECK(c.range[2] >= 400 && c.range[2] < 400 * 1.04f, "all of it");
    CHECK(c.range[3] == 0 && c.range[4] == 0, "never above zero: floats");
    CHECK(c.range[59] == 0 && c.range[58] == 0, "the output and what it reads stay floats");
    ls_ranges_calibration(&c, ranges, 99.95);
    CHECK(c.range[2] >= 9.9f && c.range[2] < 10 * 1.04f, "all but the one that sticks out");
    ls_ranges_calibration(&c, ranges, 50);
    CHECK(c.range[2] >= 5 && c.range[2] < 5 * 1.04f, "half of it");
    CHECK(c.generator == ls_net_hash(net) && c.row_count == net->node_count, "of these weights");
    ls_ranges_free(&ranges);
}

// name: what is wrong with these bytes.
static void check_bad(const struct ls_net *net, const char *name, const void *data, size_t size,
                      const char *reason)
{
    struct ls_calibration c = {.row_count = 7};
    struct ls_err err = {0};
    FILE *f = fopen(path, "wb");

    if (!CHECK(f && fwrite(data, 1, size, f) == size && fclose(f) == 0, name))
        return;
    CHECK(ls_calibration_open(&c, path, net, &err) == LS_EMODEL, name);
    if (!CHECK(strstr(err.text, reason) && strstr(err.text, path), name))
        printf("  %s\n", err.text);
    CHECK(c.row_count == 7, name);
}

static void check_text(const struct ls_net *net, const char *name, const char *meta,
                       const char *tensors, int values, float value, const char *reason)
{
    char data[1024];
    uint64_t size =
        (uint64_t)snprintf(data + 8, sizeof data - 64, "{\"__metadata__\":{%s}%s}", meta, tensors);

    memcpy(data, &size, sizeof size);
    for (int i = 0; i < values; i++)
        memcpy(data + 8 + size + 4 * i, &value, sizeof value);
    check_bad(net, name, data, 8 + size + 4 * (size_t)values, reason);
}

static void check_file(const struct ls_net *net, struct ls_calibration *c)
{
    struct ls_calibration back = {0};
    struct ls_err err = {0};
    static char data[65536];
    char meta[96];
    size_t size;
    FILE *f = fopen(path, "wb");

    CHECK(f && ls_calibration_write(f, c, net, &err) == 0 && fclose(f) == 0, "write");
    CHECK(ls_calibration_open(&back, path, net, &err) == 0, "read");
    CHECK(!memcmp(&back, c, sizeof back), "the same comes back");
    f = fopen(path, "rb");
    size = f ? fread(data, 1, sizeof data, f) : 0;
    if (f)
        fclose(f);
    CHECK(size > 1000 && size < sizeof data, "a small file");
    check_bad(net, "cut off", data, size - 1, "");
    snprintf(meta, sizeof meta, "\"calibration\":\"1\",\"generator\":\"%016llx\"",
             (unsigned long long)c->generator);
#define TENSOR(name, shape, type, end)                                                             \
    ",\"" name "\":{\"dtype\":\"" type "\",\"shape\":" shape ",\"data_offsets\":[0," end "]}"
#define ONE TENSOR("audio_encoder.0.range", "[1]", "F32", "4")
    check_text(net, "a checkpoint", "\"name\":\"x\"", ONE, 1, 1, "not a calibration");
    check_text(net, "of later make", "\"calibration\":\"2\",\"generator\":\"1\"", ONE, 1, 1,
               "not a calibration");
    check_text(net, "of other weights", "\"calibration\":\"1\",\"generator\":\"0123456789abcdef\"",
               ONE, 1, 1, "for weights 0123456789abcdef");
    check_text(net, "unknown layer", meta, TENSOR("audio_encoder.99.range", "[1]", "F32", "4"), 1,
               1, "no layer's range");
    check_text(net, "many", meta, TENSOR("audio_encoder.0.range", "[2]", "F32", "8"), 2, 1,
               "not one float");
    check_text(net, "another type", meta, TENSOR("audio_encoder.0.range", "[1]", "I32", "4"), 1, 1,
               "not one float");
    check_text(net, "negative", meta, ONE, 1, -1, "no");
    check_text(net, "nothing", meta, ONE, 1, 0, "above zero");
    check_text(net, "not a number", meta, ONE, 1, NAN, "above zero");
    check_text(net, "infinite", meta, ONE, 1, INFINITY, "above zero");
    CHECK(ls_calibration_open(&back, "/nowhere/at/all", net, &err) == LS_EMODEL, "no such file");
}

// What a back end opened so gives for all items; its arithmetic's name.
static int generate(float *out, char arithmetic[64], const struct ls_backend_params *params,
                    const bool *exact)
{
    struct ls_backend *be = NULL;
    struct ls_lane *lane = NULL;
    struct ls_err err = {0};
    struct ls_generate_job job = {
        .out = out, .face = face, .mel = mel, .exact = exact, .count = ITEMS};
    int r = ls_backend_open(&be, params, &err);

    if (r == 0)
        r = ls_lane_open(&lane, be, &err);
    if (r == 0 && params->arithmetic && !params->ranges)
        ls_model_trim((struct ls_model *)params->model); // of no use to anybody from here on
    if (r == 0)
        r = ls_generate_part(lane, &job, &err);
    if (r < 0)
        printf("  %s\n", err.text);
    else
        snprintf(arithmetic, 64, "%s", ls_backend_arithmetic(be));
    ls_lane_close(&lane);
    ls_backend_close(&be);
    return r;
}

static double psnr(const float *a, const float *b)
{
    double squares = 1e-12;

    for (int i = 0; i < ITEMS * FACE; i++)
        squares += ((double)a[i] - b[i]) * ((double)a[i] - b[i]);
    return -10 * log10(squares / (ITEMS * FACE));
}

static struct ls_model *open_demo(void)
{
    static const struct ls_model_params demo = {.generator_path =
                                                    "kernels/demo/lipstream_demo_fp16.safetensors"};
    struct ls_model *model = NULL;
    struct ls_err err = {0};

    if (CHECK(ls_model_open(&model, &demo, &err) == 0, "demo model"))
        model->input_levels = false; // exact faces keep their own
    return model;
}

// Faces that ask for the original's arithmetic have the floats' bytes, beside others that do not.
static void check_exact(const char *arithmetic, const struct ls_calibration *c)
{
    static const bool exact[ITEMS] = {true, false, true, true};
    struct ls_model *model = open_demo();
    struct ls_backend_params params = {
        .name = "cpu", .model = model, .arithmetic = arithmetic, .calibration = c};
    char name[64];

    if (model && CHECK(generate(got, name, &params, exact) == 0, arithmetic))
        for (int i = 0; i < ITEMS; i++)
            CHECK(exact[i] == !memcmp(got + i * FACE, want + i * FACE, FACE * sizeof(float)),
                  arithmetic);
    ls_model_close(&model);
}

static void check_arithmetic(struct ls_calibration *c)
{
    struct ls_model *model = open_demo();
    struct ls_backend_params params = {.name = "cpu", .model = model};
    struct ls_calibration other = *c;
    struct ls_backend *be = NULL;
    struct ls_err err = {0};
    char name[64];

    CHECK(generate(got, name, &params, NULL) == 0 &&
              !strncmp(name, ls_dnn_has(LS_VALUE_BF16) ? "bf16" : "fp32", 4),
          "auto without a calibration");
    params.arithmetic = "int8";
    if (!ls_dnn_has(LS_VALUE_U8)) {
        params.calibration = c;
        CHECK(ls_backend_open(&be, &params, &err) == LS_EFIELD, "int8 on such a processor");
        printf("SKIP: int8: this processor does not multiply bytes\n");
        ls_model_close(&model);
        return;
    }
    CHECK(ls_backend_open(&be, &params, &err) == LS_EFIELD && strstr(err.text, "calibration"),
          "int8 without a calibration");
    other.generator++;
    params.calibration = &other;
    CHECK(ls_backend_open(&be, &params, &err) == LS_EMODEL, "a calibration of other weights");
    params.calibration = c;
    params.arithmetic = NULL;
    CHECK(generate(got, name, &params, NULL) == 0 && !strncmp(name, "int8", 4),
          "auto with a calibration");
    printf("int8: PSNR %.1f dB\n", psnr(got, want));
    CHECK(psnr(got, want) > 45 && psnr(got, want) < 80, "int8 is close to floats, and not floats");
    CHECK(ls_model_check(&(struct ls_backend_params){.name = "cpu", .calibration = c}, &err) == 0,
          "the start's check with bytes");
    ls_model_close(&model);
    check_exact("int8", c);
}

int main(void)
{
    struct ls_model *model = open_demo();
    struct ls_backend_params params = {.name = "cpu", .model = model, .arithmetic = "fp32"};
    struct ls_calibration c;
    uint64_t seed = 5;
    char name[64];
    int fd = mkstemp(path);

    if (!CHECK(model && fd >= 0, "start"))
        return check_done();
    close(fd);
    for (int n = 0; n < ITEMS; n++) {
        for (int i = 0; i < FACE; i++)
            face[n * FACE + i] = picture_value(FILL_SMOOTH, i % 288 + 40 * n, i / 288, &seed);
        for (int i = 0; i < WINDOW; i++)
            mel[n * WINDOW + i] = random_float(&seed, -4, 4);
    }
    check_ranges(model->generator);
    CHECK(ls_ranges_new(&params.ranges, model->generator, NULL) == 0 &&
              generate(want, name, &params, NULL) == 0 && !strncmp(name, "fp32", 4),
          "floats, seen");
    CHECK(ls_ranges_runs(params.ranges) == ITEMS, "each item was seen");
    ls_ranges_calibration(&c, params.ranges, 99.99);
    check_file(model->generator, &c);
    check_arithmetic(&c);
    if (ls_dnn_has(LS_VALUE_BF16))
        check_exact("bf16", NULL);
    ls_ranges_free(&params.ranges);
    ls_model_close(&model);
    unlink(path);
    return check_done();
}
