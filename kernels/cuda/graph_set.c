// SPDX-License-Identifier: Apache-2.0
// The set of a back end's convolutions (conv.h): finds a shape's plan in memory, in the cache's
// file, or by measurement. Device thread. What surprises: shapes that differ in the batch alone are
// a family with one choice. Where there is a cache (or it is asked for), a family is planned for
// every batch bucket at once, so that a choice that would fail at one of them is never made.
#include "conv.h"

#ifndef LS_CUDA_NO_CUDNN

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "graph_cache.h"
#include "graph_jobs.h"
#include "graph_tune.h"

enum {
    NAME_MAX_SIZE = 224,
    CACHE_REVISION = 2, // of what is measured with which numbers: a cache of another is of no use
    BUCKET_MAX = 64,
    TUNED_BATCH = 16, // what live sessions come to; it fills most devices
};

struct family;
struct ls_cuda_conv {
    struct ls_cuda_conv_shape shape;
    const struct ls_cuda_convs *convs;
    struct family *family;     // says whether it is plain
    struct ls_cuda_plan *plan; // NULL until it is planned, and of plain ones
    struct ls_cuda_conv *next; // of the family
};

struct family {
    char name[NAME_MAX_SIZE]; // what all its shapes have in common
    struct ls_cuda_choice choice;
    bool has_choice;
    struct ls_cuda_conv *conv;
};

struct ls_cuda_convs {
    struct ls_cuda_convs_params params; // .cache is not kept
    int device_idx;
    bool is_eager;        // all buckets at once
    cudnnHandle_t handle; // NULL: everything is plain
    cudnnBackendDescriptor_t description;
    struct ls_cuda_cache *cache;
    struct family **family;
    int family_count, family_room;
    char text[64];
};

// --- families ----------------------------------------------------------------------------------

static void name_family(char name[NAME_MAX_SIZE], const struct ls_cuda_conv_shape *s)
{
    static const char *const type[] = {
        [LS_CUDA_FP16] = "fp16", [LS_CUDA_TF32] = "tf32", [LS_CUDA_FP32] = "fp32"};
    const struct ls_cuda_tensor *i = &s->in, *o = &s->out;
    int size =
        snprintf(name, NAME_MAX_SIZE,
                 "%s%s %dx%dx%d/%lld/%lld/%lld %dx%dx%d/%lld/%lld/%lld k%dx%d s%dx%d p%dx%d%s",
                 type[s->type], s->transposed ? "T" : "", i->h, i->w, i->c, (long long)i->item,
                 (long long)i->row, (long long)i->pixel, o->h, o->w, o->c, (long long)o->item,
                 (long long)o->row, (long long)o->pixel, s->kernel[0], s->kernel[1], s->stride[0],
                 s->stride[1], s->pad[0], s->pad[1], s->act == LS_ACT_RELU ? " relu" : "");

    assert(size < NAME_MAX_SIZE);
    (void)size;
}

static struct family *find_family(struct ls_cuda_convs *convs, const char *name)
{
    for (int i = 0; i < convs->family_count; i++)
        if (!strcmp(convs->family[i]->name, name))
            return convs->family[i];
    return NULL;
}

static int get_family(struct family **out, struct ls_cuda_convs *convs,
                      const struct ls_cuda_conv_shape *shape, struct ls_err *err)
{
    char name[NAME_MAX_SIZE];
    struct family *f;

    name_family(name, shape);
    *out = find_family(convs, name);
    if (*out)
        return LS_OK;
    if (convs->family_count == convs->family_room) {
        int room = convs->family_room ? convs->family_room * 2 : 64;
        struct family **grown = realloc(convs->family, (size_t)room * sizeof(struct family *));

        if (!grown)
            return ls_fail(err, LS_ENOMEM, "no memory for a convolution");
        convs->family = grown;
        convs->family_room = room;
    }
    f = calloc(1, sizeof *f);
    if (!f)
        return ls_fail(err, LS_ENOMEM, "no memory for a convolution");
    memcpy(f->name, name, sizeof name);
    // Full float precision is what cuDNN's engines do not promise.
    f->has_choice = f->choice.plain = !convs->handle || shape->type == LS_CUDA_FP32;
    convs->family[convs->family_count++] = f;
    *out = f;
    return LS_OK;
}

static struct ls_cuda_conv *find_conv(const struct family *f, int batch)
{
    struct ls_cuda_conv *conv = f->conv;

    while (conv && conv->shape.batch != batch)
        conv = conv->next;
    return conv;
}

static int get_conv(struct ls_cuda_conv **out, struct ls_cuda_convs *convs, struct family *f,
                    const struct ls_cuda_conv_shape *shape, struct ls_err *err)
{
    struct ls_cuda_conv *conv = find_conv(f, shape->batch);

    if (!conv) {
        conv = calloc(1, sizeof *conv);
        if (!conv)
            return ls_fail(err, LS_ENOMEM, "no memory for a convolution");
        conv->shape = *shape;
        conv->convs = convs;
        conv->family = f;
        conv->next = f->conv;
        f->conv = conv;
    }
    *out = conv;
    return LS_OK;
}

static bool is_planned(const struct ls_cuda_conv *conv)
{
    return conv->family->has_choice && (conv->family->choice.plain || conv->plan);
}

// --- the cache ---------------------------------------------------------------------------------

static void name_plan(char name[NAME_MAX_SIZE], const struct family *f, int batch)
{
    int size = snprintf(name, NAME_MAX_SIZE, "%s n%d", f->name, batch);

    assert(size < NAME_MAX_SIZE);
    (void)size;
}

// "plain", or the digest and the configuration.
static void read_choice(struct ls_cuda_convs *convs, struct family *f)
{
    struct ls_cuda_choice choice = {.plain = false};
    unsigned long long digest;
    void *data = NULL;
    size_t size;
    int end = 0;

    if (f->has_choice || !ls_cuda_cache_get(convs->cache, f->name, &data, &size))
        return;
    if (!strcmp(data, "plain"))
        f->has_choice = f->choice.plain = true;
    else if (sscanf(data, "%16llx %n", &digest, &end) == 1 && end > 0 &&
             ls_cuda_config_read(&choice.config, (const char *)data + end)) {
        choice.digest = digest;
        f->choice = choice;
        f->has_choice = true;
    }
    free(data);
}

static void write_choice(struct ls_cuda_convs *convs, const struct family *f)
{
    char config[LS_CUDA_CONFIG_TEXT_MAX], text[LS_CUDA_CONFIG_TEXT_MAX + 24] = "plain";

    if (!f->choice.plain) {
        ls_cuda_config_write(config, &f->choice.config);
        snprintf(text, sizeof text, "%016llx %s", (unsigned long long)f->choice.digest, config);
    }
    ls_cuda_cache_put(convs->cache, f->name, text, strlen(text));
}

// A plan that cannot be written is compiled anew by the next start.
static void write_plan(struct ls_cuda_convs *convs, const struct ls_cuda_conv *conv)
{
    char name[NAME_MAX_SIZE], *text = NULL;
    size_t size = 0;

    if (!conv->plan || ls_cuda_plan_write(&text, &size, conv->plan, NULL) < 0)
        return;
    name_plan(name, conv->family, conv->shape.batch);
    ls_cuda_cache_put(convs->cache, name, text, size);
    free(text);
}

// Reads the plans of those that have a choice and are in the cache, all at once. A plan that
// cannot be read stays NULL.
static int read_plans(struct ls_cuda_convs *convs, struct ls_cuda_conv **conv, int count,
                      struct ls_err *err)
{
    struct ls_cuda_job *job = calloc((size_t)count, sizeof *job);
    struct ls_cuda_conv **of = calloc((size_t)count, sizeof *of);
    int job_count = 0;

    if (!job || !of) {
        free(job);
        free(of);
        return ls_fail(err, LS_ENOMEM, "no memory for convolutions");
    }
    for (int i = 0; i < count; i++) {
        char name[NAME_MAX_SIZE];
        void *text;
        size_t size;

        if (is_planned(conv[i]) || !conv[i]->family->has_choice)
            continue;
        name_plan(name, conv[i]->family, conv[i]->shape.batch);
        if (!ls_cuda_cache_get(convs->cache, name, &text, &size))
            continue;
        job[job_count] =
            (struct ls_cuda_job){.kind = LS_CUDA_JOB_READ, .text = text, .text_size = size};
        of[job_count++] = conv[i];
    }
    ls_cuda_jobs_run(job, job_count, convs->description, convs->device_idx);
    for (int i = 0; i < job_count; i++) {
        if (of[i]->plan) // the same shape was asked for twice
            ls_cuda_plan_free(&job[i].plan);
        else
            of[i]->plan = job[i].plan;
        free((void *)job[i].text);
    }
    free(job);
    free(of);
    return LS_OK;
}

// --- measurement -------------------------------------------------------------------------------

// What is measured for one family, and which convolutions get the plans.
struct order {
    struct family *family;
    struct ls_cuda_conv *conv[LS_CUDA_BATCHES_MAX];
};

// Nothing to do if it is there; left to a later call if there is no place.
static int add_batch(struct order *o, struct ls_cuda_tuned *t, struct ls_cuda_convs *convs,
                     int batch, struct ls_err *err)
{
    struct ls_cuda_conv_shape shape = t->shape;

    for (int i = 0; i < t->batch_count; i++)
        if (t->batch[i] == batch)
            return LS_OK;
    if (t->batch_count == LS_CUDA_BATCHES_MAX)
        return LS_OK;
    shape.batch = batch;
    t->batch[t->batch_count] = batch;
    return get_conv(&o->conv[t->batch_count++], convs, o->family, &shape, err);
}

// All buckets, the one that is measured thoroughly first.
static int add_buckets(struct order *o, struct ls_cuda_tuned *t, struct ls_cuda_convs *convs,
                       struct ls_err *err)
{
    int max = convs->params.batch_max;
    int r = add_batch(o, t, convs, max < TUNED_BATCH ? max : TUNED_BATCH, err);

    for (int batch = 1; batch <= max && batch <= BUCKET_MAX && r == 0; batch *= 2)
        r = add_batch(o, t, convs, batch, err);
    return r;
}

static bool has_plans(const struct family *f)
{
    const struct ls_cuda_conv *conv = f->conv;

    while (conv && !conv->plan)
        conv = conv->next;
    return conv;
}

static void take_plans(struct ls_cuda_convs *convs, struct order *o, struct ls_cuda_tuned *t)
{
    // A choice that is of no use any more, and nobody has acted upon: to be made again.
    if (o->family->has_choice && t->choice.plain && !has_plans(o->family)) {
        o->family->has_choice = false;
        o->family->choice = (struct ls_cuda_choice){.plain = false};
        return;
    }
    o->family->choice = t->choice;
    o->family->has_choice = true;
    write_choice(convs, o->family);
    for (int b = 0; b < t->batch_count; b++) {
        assert(!o->conv[b]->plan);
        o->conv[b]->plan = t->plan[b];
        if (!t->choice.plain)
            write_plan(convs, o->conv[b]);
    }
}

// The order of a family: the one that there is, or a new one.
static int find_order(struct order *order, struct ls_cuda_tuned *tuned, int *count,
                      struct ls_cuda_convs *convs, const struct ls_cuda_conv *conv,
                      struct ls_err *err)
{
    struct family *f = conv->family;
    int k = 0;

    while (k < *count && order[k].family != f)
        k++;
    if (k < *count)
        return k;
    order[k].family = f;
    tuned[k].shape = conv->shape;
    tuned[k].choice = f->choice;
    ++*count;
    if (convs->is_eager && !f->has_choice) {
        int r = add_buckets(&order[k], &tuned[k], convs, err);

        if (r < 0)
            return r;
    }
    return k;
}

// Measures: families without a choice (follow false), or batch sizes that came after their family's
// choice, or whose plan the cache has lost.
static int measure(struct ls_cuda_convs *convs, struct ls_cuda_conv **conv, int count, bool follow,
                   cudaStream_t stream, struct ls_err *err)
{
    const struct ls_cuda_tune_params params = {.description = convs->description,
                                               .device_idx = convs->device_idx,
                                               .handle = convs->handle,
                                               .stream = stream,
                                               .on_wait = convs->params.on_wait};
    struct ls_cuda_tuned *tuned = calloc((size_t)count, sizeof *tuned);
    struct order *order = calloc((size_t)count, sizeof *order);
    int n = 0, r = LS_OK;

    if (!tuned || !order)
        r = ls_fail(err, LS_ENOMEM, "no memory for convolutions");
    for (int i = 0; i < count && r >= 0; i++) {
        if (follow ? is_planned(conv[i]) : conv[i]->family->has_choice)
            continue;
        r = find_order(order, tuned, &n, convs, conv[i], err);
        if (r >= 0)
            r = add_batch(&order[r], &tuned[r], convs, conv[i]->shape.batch, err);
    }
    if (r >= 0 && n > 0)
        r = follow ? ls_cuda_retune(tuned, n, &params, err) : ls_cuda_tune(tuned, n, &params, err);
    for (int i = 0; i < n && r >= 0; i++)
        take_plans(convs, &order[i], &tuned[i]);
    free(tuned);
    free(order);
    return r < 0 ? r : LS_OK;
}

// --- the set -----------------------------------------------------------------------------------

static void describe(struct ls_cuda_convs *convs)
{
    int version = (int)cudnnGetVersion(), plain = 0, size;

    if (!convs->handle) {
        snprintf(convs->text, sizeof convs->text, "plain");
        return;
    }
    for (int i = 0; i < convs->family_count; i++)
        plain += convs->family[i]->choice.plain;
    size = snprintf(convs->text, sizeof convs->text, "cuDNN %d.%d", version / 10000,
                    version / 100 % 100);
    if (plain > 0)
        snprintf(convs->text + size, sizeof convs->text - (size_t)size, ", %d layer%s plain", plain,
                 plain > 1 ? "s" : "");
}

// Everything that a plan or its choice depends on.
static int open_cache(struct ls_cuda_convs *convs, const struct ls_cuda_device *device,
                      const char *path, struct ls_err *err)
{
    int driver = 0, runtime = 0, r;
    char *json = NULL, *key;
    size_t size;

    (void)cudaDriverGetVersion(&driver);
    (void)cudaRuntimeGetVersion(&runtime);
    r = ls_cuda_description_json(&json, convs->description, err);
    if (r < 0)
        return r;
    size = strlen(json) + strlen(device->text) + 160;
    key = malloc(size);
    if (!key) {
        free(json);
        return ls_fail(err, LS_ENOMEM, "no memory for the cache of plans");
    }
    snprintf(key, size, "lipstream %s/%d, cuDNN %zu, driver %d, CUDA %d, model %016llx, %s, %s",
             LS_VERSION, CACHE_REVISION, cudnnGetVersion(), driver, runtime,
             (unsigned long long)convs->params.model_hash, device->text, json);
    r = ls_cuda_cache_open(&convs->cache, path, key, err);
    free(key);
    free(json);
    return r;
}

int ls_cuda_convs_new(struct ls_cuda_convs **out, const struct ls_cuda_device *device,
                      const struct ls_cuda_convs_params *params, struct ls_err *err)
{
    struct ls_cuda_convs *convs = calloc(1, sizeof *convs);
    int r = LS_OK;

    if (!convs)
        return ls_fail(err, LS_ENOMEM, "no memory for convolutions");
    convs->params = *params;
    convs->params.cache = NULL;
    convs->device_idx = device->idx;
    convs->is_eager = params->cache || params->plan_all;
    if (params->type != LS_CUDA_FP32) {
        r = ls_cuda_cudnn_check(err, cudnnCreate(&convs->handle), "start");
        if (r == 0)
            r = ls_cuda_description_of(&convs->description, convs->handle, err);
        if (r == 0)
            r = open_cache(convs, device, params->cache, err);
    }
    if (r < 0) {
        ls_cuda_convs_free(&convs);
        return r;
    }
    describe(convs);
    *out = convs;
    return LS_OK;
}

void ls_cuda_convs_free(struct ls_cuda_convs **convs)
{
    struct ls_cuda_convs *c = convs ? *convs : NULL;

    if (!c)
        return;
    for (int i = 0; i < c->family_count; i++) {
        for (struct ls_cuda_conv *conv = c->family[i]->conv, *next; conv; conv = next) {
            next = conv->next;
            ls_cuda_plan_free(&conv->plan);
            free(conv);
        }
        free(c->family[i]);
    }
    free(c->family);
    ls_cuda_cache_close(&c->cache);
    ls_cuda_description_free(&c->description);
    if (c->handle)
        (void)cudnnDestroy(c->handle);
    free(c);
    *convs = NULL;
}

bool ls_cuda_convs_has_plans(const struct ls_cuda_convs *convs)
{
    return !convs->cache || ls_cuda_cache_count(convs->cache) > 0;
}

void ls_cuda_convs_save(struct ls_cuda_convs *convs)
{
    if (convs->cache)
        ls_cuda_cache_save(convs->cache);
}

const char *ls_cuda_convs_note(const struct ls_cuda_convs *convs)
{
    return convs->cache ? ls_cuda_cache_note(convs->cache) : "";
}

const char *ls_cuda_convs_text(const struct ls_cuda_convs *convs)
{
    return convs->text;
}

static int plan_convs(struct ls_cuda_convs *convs, struct ls_cuda_conv **conv, int count,
                      cudaStream_t stream, struct ls_err *err)
{
    int missing = 0, r = LS_OK;

    for (int i = 0; i < count; i++)
        missing += !is_planned(conv[i]);
    if (missing == 0)
        return LS_OK;
    for (int i = 0; i < count; i++)
        read_choice(convs, conv[i]->family);
    r = read_plans(convs, conv, count, err);
    if (r == 0)
        r = measure(convs, conv, count, false, stream, err);
    if (r == 0)
        r = measure(convs, conv, count, true, stream, err);
    if (r == 0)
        r = measure(convs, conv, count, false, stream, err); // what could not be followed
    for (int i = 0; i < count && r == 0; i++)
        if (!is_planned(conv[i])) // more batch sizes of one family at once than there are buckets
            r = ls_fail(err, LS_EINTERNAL, "a convolution has no plan");
    if (r == 0)
        describe(convs);
    return r;
}

int ls_cuda_convs_plan(struct ls_cuda_convs *convs, const struct ls_cuda_conv_shape *shape,
                       int count, cudaStream_t stream, struct ls_err *err)
{
    struct ls_cuda_conv **conv = calloc((size_t)count + 1, sizeof *conv);
    int r = LS_OK;

    if (!conv)
        return ls_fail(err, LS_ENOMEM, "no memory for convolutions");
    for (int i = 0; i < count && r == 0; i++) {
        struct family *f;

        r = get_family(&f, convs, &shape[i], err);
        if (r == 0)
            r = get_conv(&conv[i], convs, f, &shape[i], err);
    }
    if (r == 0)
        r = plan_convs(convs, conv, count, stream, err);
    free(conv);
    return r;
}

int ls_cuda_conv_get(struct ls_cuda_conv **out, struct ls_cuda_convs *convs,
                     const struct ls_cuda_conv_shape *shape, cudaStream_t stream,
                     struct ls_err *err)
{
    int r = ls_cuda_convs_plan(convs, shape, 1, stream, err);
    struct family *f = NULL;

    if (r == 0)
        r = get_family(&f, convs, shape, err);
    return r < 0 ? r : get_conv(out, convs, f, shape, err);
}

int ls_cuda_conv_run(const struct ls_cuda_conv *conv, void *out, const void *in, const void *weight,
                     const float *bias, cudaStream_t stream, struct ls_err *err)
{
    const struct ls_cuda_operands operands = {out, in, weight, bias};
    int r;

    if (conv->family->choice.plain)
        return ls_cuda_check(err, ls_cuda_conv_plain(&conv->shape, out, in, weight, bias, stream),
                             "convolution");
    r = ls_cuda_cudnn_check(err, cudnnSetStream(conv->convs->handle, stream), "stream");
    return r < 0 ? r : ls_cuda_plan_run(conv->plan, conv->convs->handle, &operands, err);
}

#endif
