// SPDX-License-Identifier: Apache-2.0
// What goes wrong in the device back end, on the host's shim: jobs that cannot be done, each call
// to the device failing once, a device that cannot be had. Nobody else is harmed, and every failure
// says what it was.
#include <cuda_runtime_api.h>

#include "tests/kernels/_batches.h"

// A job that cannot be done is its own affair.
static void check_faults(void)
{
    static struct batch b;
    static const int scene[] = {2, 7, 2, 7};
    struct rig rig = rig_open("fp32", BATCH, 1 << 20);

    batch_fill(&b, scene, 4, true);
    b.job[0].paste.box = (struct ls_box){200, 200, 300, 300};
    b.job[1].paste.exact = true; // not an RGB24 frame
    start(&rig, &b, "faults");
    finish(&rig, "faults");
    CHECK(b.job[0].err.code == LS_EFIELD && b.job[1].err.code == LS_EFIELD, "faults are told");
    for (int i = 0; i < 4; i++) {
        const struct picture *w = i < 2 ? original : want;

        CHECK(i < 2 || b.job[i].err.code == 0, "a fault's neighbour");
        CHECK(memcmp(b.picture[i].memory, w[scene[i]].memory, b.picture[i].size) == 0,
              "a fault's neighbour");
    }
    batch_free(&b);
    // And with nothing else in the batch.
    batch_fill(&b, scene, 1, false);
    b.job[0].paste.box = (struct ls_box){200, 200, 300, 300};
    start(&rig, &b, "only faults");
    finish(&rig, "only faults");
    CHECK(b.job[0].err.code == LS_EFIELD, "only faults");
    batch_free(&b);
    rig_close(&rig);
}

// With no memory for known faces, two batches in flight have all records: no face can be generated
// beside them.
static void check_records(void)
{
    static struct batch b, c;
    static const int first = 2, second = 7;
    static uint8_t face[FACE];
    static float mel[MEL], made[FACE];
    const struct ls_generate_job job = {.out = made, .face = face, .mel = mel, .count = 1};
    struct rig rig = rig_open("fp32", 1, 0);
    struct ls_err err = {0};

    batch_fill(&b, &first, 1, false);
    batch_fill(&c, &second, 1, false);
    start(&rig, &b, "records");
    CHECK(rig.ops->generate_part(rig.lane, &job, &err) == 0, "a record is left");
    start(&rig, &c, "records");
    CHECK(rig.ops->generate_part(rig.lane, &job, &err) == LS_EFIELD && err.text[0],
          "no record is left");
    finish(&rig, "records");
    finish(&rig, "records");
    check_batch("beside a refusal", &b, &first);
    check_batch("beside a refusal", &c, &second);
    CHECK(rig.ops->generate_part(rig.lane, &job, &err) == 0, "records are free again");
    batch_free(&b);
    batch_free(&c);
    rig_close(&rig);
}

// Every call to the device fails once, in two batches in flight; then all goes well again.
static void check_failures_of_calls(void)
{
    static struct batch b, c;
    static const int first[] = {2, 7}, second[] = {7};
    struct rig rig = rig_open("fp32", BATCH, 1 << 20);
    struct ls_err err;
    bool failed = true;
    int r, call;

    for (call = 1; failed; call++) {
        bool c_runs;

        batch_fill(&b, first, 2, true);
        batch_fill(&c, second, 1, true);
        ls_shim_fail(call);
        err = (struct ls_err){0};
        r = rig.ops->faces_start(rig.lane, b.job, b.count, &err);
        failed = r < 0;
        if (r < 0)
            CHECK(memcmp(b.picture[0].memory, original[2].memory, b.picture[0].size) == 0 &&
                      (err.code == LS_EDEVICE || err.code == LS_ENOMEM) && err.text[0],
                  "a batch that was not begun");
        if (r < 0)
            start(&rig, &b, "again");
        c_runs = rig.ops->faces_start(rig.lane, c.job, c.count, &err) == 0;
        failed = failed || !c_runs;
        r = rig.ops->faces_finish(rig.lane, &err);
        failed = failed || r < 0;
        if (r == 0)
            check_batch("beside a failed call", &b, first);
        if (c_runs) {
            r = rig.ops->faces_finish(rig.lane, &err);
            failed = failed || r < 0;
            if (r == 0)
                check_batch("beside a failed call", &c, second);
        }
        ls_shim_fail(0);
        batch_free(&b);
        batch_free(&c);
        // What was put away is right, or was forgotten.
        batch_fill(&b, first, 2, true);
        start(&rig, &b, "after a failed call");
        finish(&rig, "after a failed call");
        check_batch("after a failed call", &b, first);
        batch_free(&b);
    }
    CHECK(call > 20, "calls were made to fail");
    rig_close(&rig);
}

// A back end that cannot be opened leaves nothing behind (address sanitizer looks).
static void check_failures_of_open(void)
{
    static const struct {
        const char *variable, *value, *line;
    } lines[] = {
        {"LS_SHIM_DRIVER", "0", "no NVIDIA driver that CUDA 13.0 can use: none is loaded"},
        {"LS_SHIM_DRIVER", "12040",
         "no NVIDIA driver that CUDA 13.0 can use: the one here is for CUDA 12.4"},
        {"LS_SHIM_DEVICES", "0", "no CUDA device"},
        {"LS_SHIM_SM", "70", "is an sm_70 device: 7.5 or newer is needed"},
        {"LS_SHIM_MEMORY_MB", "20", "20 MiB of device memory free, "},
    };
    struct ls_backend_params params = {
        .name = "cuda", .model = model, .batch_max = 2, .arithmetic = "fp16"};
    const struct ls_backend_ops *ops = ls_cuda_module.ops;
    struct ls_err err;
    void *be = NULL;
    int r = -1, call;

    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
        setenv(lines[i].variable, lines[i].value, 1);
        err = (struct ls_err){0};
        r = ops->open(&be, &params, &err);
        if (!CHECK(r == LS_EDEVICE && strstr(err.text, lines[i].line), lines[i].line))
            printf("  %d, \"%s\"\n", r, err.text);
        unsetenv(lines[i].variable);
    }
    params.arithmetic = "bf16";
    CHECK(ops->open(&be, &params, &err) == LS_EFIELD, "an arithmetic that is not known");
    params.arithmetic = "tf32";
    setenv("LS_SHIM_SM", "75", 1);
    CHECK(ops->open(&be, &params, &err) == LS_EDEVICE, "tf32 on an old device");
    unsetenv("LS_SHIM_SM");
    for (call = 1, r = -1; r < 0; call++) {
        err = (struct ls_err){0};
        ls_shim_fail(call);
        r = ops->open(&be, &params, &err);
        ls_shim_fail(0);
        CHECK(r == 0 || err.text[0], "an open that fails says why");
    }
    CHECK(call > 50, "opens were made to fail");
    ops->close(&be);
}

int main(void)
{
    setenv("LS_SHIM_ORDER", "late", 1);
    make_model();
    want_scene(2);
    want_scene(7);
    check_faults();
    check_records();
    check_failures_of_calls();
    check_failures_of_open();
    wanted_free();
    return check_done();
}
