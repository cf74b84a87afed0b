// SPDX-License-Identifier: Apache-2.0
// Brings up what all sessions share, and takes it down in the opposite order. Loop thread.
#include "engine.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <uv.h>

#include "admit.h"
#include "batch.h"
#include "decode.h"
#include "load.h"
#include "log.h"
#include "metrics.h"
#include "pool.h"
#include "video_device.h"

void ls_engine_plan(struct ls_options *opt)
{
    int whole = (int)(ls_load_cores() + 0.5); // of a quota of 1.5, two: half of one would lie idle

    if (opt->cores == 0)
        opt->cores = whole < 1 ? 1 : whole < 256 ? whole : 256;
    if (opt->threads == 0)
        opt->threads = opt->cores;
    if (opt->pool_threads == 0)
        opt->pool_threads = opt->cores;
}

static const char *text_or_null(const char *text)
{
    return text && text[0] ? text : NULL;
}

static void on_wait(const char *why)
{
    ls_log(LS_LOG_INFO, "device", NULL, 0, "%s", why);
}

void ls_engine_backend_params(struct ls_backend_params *out, const struct ls_engine *engine)
{
    const struct ls_options *opt = &engine->opt;

    *out = (struct ls_backend_params){
        .name = opt->backend,
        .batch_max = (int)opt->batch_max,
        .arithmetic = opt->arithmetic,
        .calibration = engine->calibration,
        .ranges = engine->ranges,
        .module = text_or_null(opt->cuda_module),
        .cache = strcmp(opt->plan_cache, "none") != 0 ? text_or_null(opt->plan_cache) : NULL,
        .on_wait = on_wait,
        .plan_early = strcmp(opt->plan_cache, "none") != 0,
        .face_cache_bytes = opt->face_cache_bytes,
    };
}

static int open_model(struct ls_engine *e, struct ls_err *err)
{
    struct ls_model_params params = {.generator_path = text_or_null(e->opt.model),
                                     .detector_path = text_or_null(e->opt.detector),
                                     .seed = 1};
    int r = ls_model_open(&e->model, &params, err);

    if (r < 0 || !e->opt.calibration[0])
        return r;
    e->calibration = malloc(sizeof *e->calibration);
    if (!e->calibration)
        return ls_fail(err, LS_ENOMEM, "a calibration");
    return ls_calibration_open(e->calibration, e->opt.calibration, e->model->generator, err);
}

// What the back end decided stands in the options from here on.
static int open_backend(struct ls_engine *e, struct ls_err *err)
{
    struct ls_backend_params params;
    int lanes, r;

    ls_engine_backend_params(&params, e);
    params.model = e->model;
    r = ls_backend_open(&e->backend, &params, err);
    if (r < 0)
        return r;
    lanes = ls_backend_lanes_max(e->backend);
    if (lanes > 0 && e->opt.threads > lanes)
        e->opt.threads = lanes;
    // A back end that takes whole faces computes them on a device of its own.
    ls_admit_lanes(e->admit, (int)e->opt.threads, ls_backend_faces_depth(e->backend) == 0);
    e->opt.batch_max = ls_backend_batch_max(e->backend);
    if (ls_backend_holds_weights(e->backend))
        ls_model_trim(e->model);
    return 0;
}

static int open_engine(struct ls_engine **out, struct uv_loop_s *loop, const struct ls_options *opt,
                       bool seeing, struct ls_err *err)
{
    struct ls_engine *e = calloc(1, sizeof(*e));
    int r;

    if (!e)
        return ls_fail(err, LS_ENOMEM, "the engine");
    e->loop = loop;
    e->opt = *opt;
    ls_engine_plan(&e->opt);
    e->metrics = ls_metrics_new();
    r = e->metrics ? 0 : ls_fail(err, LS_ENOMEM, "metrics");
    if (r == 0)
        r = ls_admit_open(&e->admit, loop, &e->opt, e->metrics, err);
    if (r == 0)
        r = ls_pool_open(&e->pool, loop, (int)e->opt.pool_threads, err);
    if (r == 0)
        r = open_model(e, err);
    if (r == 0 && seeing)
        r = ls_ranges_new(&e->ranges, e->model->generator, err);
    if (r == 0)
        r = open_backend(e, err);
    if (r == 0)
        r = ls_video_device_open(&e->video, e->backend, &e->opt, err);
    if (r == 0)
        r = ls_batch_open(&e->batch, loop, e->backend, (int)e->opt.threads, (int)e->opt.batch_max,
                          (int)opt->batch_wait_us_max, e->metrics, err);
    if (r == 0)
        r = ls_decode_pool_open(&e->decoders, loop, opt->decoder, &e->opt, e->video, err);
    if (r < 0)
        ls_engine_close(&e);
    else
        *out = e;
    return r;
}

int ls_engine_open(struct ls_engine **out, struct uv_loop_s *loop, const struct ls_options *opt,
                   struct ls_err *err)
{
    return open_engine(out, loop, opt, false, err);
}

int ls_engine_open_seeing(struct ls_engine **out, struct uv_loop_s *loop,
                          const struct ls_options *opt, struct ls_err *err)
{
    return open_engine(out, loop, opt, true, err);
}

void ls_engine_close(struct ls_engine **engine)
{
    struct ls_engine *e;
    bool ended;

    if (!engine || !*engine)
        return;
    e = *engine;
    *engine = NULL;
    ended = ls_decode_pool_close(&e->decoders);
    ls_batch_close(&e->batch);
    ls_pool_close(&e->pool);
    ls_admit_close(&e->admit);
    if (!ended) { // the process's end takes the device with it
        ls_log(LS_LOG_WARN, "stop", NULL, 0, "a decode thread hangs and is left behind");
        return;
    }
    ls_video_device_close(&e->video);
    ls_backend_close(&e->backend);
    ls_model_close(&e->model);
    ls_ranges_free(&e->ranges);
    free(e->calibration);
    ls_metrics_free(&e->metrics);
    free(e);
}

void ls_engine_describe(const struct ls_engine *engine, char *text, int size)
{
    snprintf(text, (size_t)size, "%s on %s, %lld lanes, %s", ls_backend_name(engine->backend),
             ls_backend_device(engine->backend), (long long)engine->opt.threads,
             ls_backend_arithmetic(engine->backend));
}
