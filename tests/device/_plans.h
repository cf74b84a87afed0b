// SPDX-License-Identifier: Apache-2.0
// The generator's convolutions planned for a device that is not here: every distinct shape of the
// network, of both sets of widths and every cut, as graph.c describes it, must be a graph for which
// cuDNN proposes an engine; of the full-size network at batch 16 every plan is compiled, of the
// rest one in SAMPLE (all with LS_PLANS=all in the environment, which takes minutes). A plan must
// want no workspace and must be the same after it was written and read. Header only: each device is
// a program of its own, so that they run side by side. The device's JSON is typed in from its data
// sheet with the field names that cuDNN asks for; it is no dump of a real one.
#ifndef LS_TEST_PLANS_H
#define LS_TEST_PLANS_H

#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/cuda/graph.h"
#include "kernels/cuda/graph_jobs.h"
#include "kernels/cuda/program.h"
#include "kernels/wav2lip.h"
#include "tests/unit/_check.h"

enum { PLANS_SHAPES_MAX = 512, PLANS_SAMPLE = 12, PLANS_BATCH = 16 };

struct plans {
    struct ls_cuda_conv_shape shape[PLANS_SHAPES_MAX];
    bool compiled[PLANS_SHAPES_MAX]; // is to be
    int count;
};

static inline void plans_must(int r, const struct ls_err *err, const char *what)
{
    if (r < 0) {
        printf("FAIL %s: %s\n", what, err->text);
        exit(1);
    }
}

static inline bool plans_same_tensor(const struct ls_cuda_tensor *a, const struct ls_cuda_tensor *b)
{
    return a->h == b->h && a->w == b->w && a->c == b->c && a->item == b->item && a->row == b->row &&
           a->pixel == b->pixel;
}

static inline bool plans_same(const struct ls_cuda_conv_shape *a,
                              const struct ls_cuda_conv_shape *b)
{
    return a->type == b->type && a->batch == b->batch && a->transposed == b->transposed &&
           a->act == b->act && plans_same_tensor(&a->in, &b->in) &&
           plans_same_tensor(&a->out, &b->out) && !memcmp(a->kernel, b->kernel, sizeof a->kernel) &&
           !memcmp(a->stride, b->stride, sizeof a->stride) &&
           !memcmp(a->pad, b->pad, sizeof a->pad);
}

static inline const char *plans_name(const struct ls_cuda_conv_shape *s)
{
    static char name[160];

    snprintf(name, sizeof name, "%s%s %dx%dx%d -> %dx%dx%d of %lld, %dx%d / %dx%d, batch %d",
             s->type == LS_CUDA_FP16 ? "fp16" : "tf32", s->transposed ? " transposed" : "", s->in.h,
             s->in.w, s->in.c, s->out.h, s->out.w, s->out.c, (long long)s->out.pixel, s->kernel[0],
             s->kernel[1], s->stride[0], s->stride[1], s->batch);
    return name;
}

// Adds what is not there yet; one in `every` is to be compiled.
static inline void plans_add(struct plans *p, const struct ls_cuda_conv_shape *shape, int count,
                             int every)
{
    for (int i = 0; i < count; i++) {
        bool known = false;

        for (int k = 0; k < p->count && !known; k++)
            known = plans_same(&p->shape[k], &shape[i]);
        if (known || p->count == PLANS_SHAPES_MAX)
            continue;
        p->compiled[p->count] = p->count % every == 0;
        p->shape[p->count++] = shape[i];
    }
}

struct plans_kind {
    int wide;
    enum ls_cuda_type type;
    int batch, every; // compiled: of the whole picture
};

static inline void plans_add_network(struct plans *p, const struct plans_kind *kind, int sample)
{
    const struct ls_net_params net_params = {
        .input = {{6, LS_FACE_SIZE, LS_FACE_SIZE}, {1, LS_MEL_BANDS, LS_MEL_WINDOW}},
        .fold_residual = true};
    struct ls_weights *weights = NULL;
    struct ls_cuda_layout *layout = NULL;
    struct ls_cuda_conv_shape *shape;
    struct ls_cuda_site site = {.batch = kind->batch};
    struct ls_net *net = NULL;
    struct ls_err err = {0};

    plans_must(ls_weights_new(&weights, &err), &err, "weights");
    plans_must(ls_wav2lip_seed(weights, kind->wide, 1, &err), &err, "seeded network");
    plans_must(ls_net_plan(&net, &ls_wav2lip, weights, &net_params, &err), &err, "network");
    plans_must(ls_cuda_layout_new(&layout, net, kind->type, &err), &err, "layout");
    site.layout = layout;
    for (int cut = 0; cut < LS_CUDA_CUTS; cut++)
        plans_must(ls_cuda_region_init(&site.region[cut], net, &ls_cuda_cut_box[cut], &err), &err,
                   "region");
    shape = calloc((size_t)net->node_count, sizeof *shape);
    for (int cut = 0; shape && cut < LS_CUDA_CUTS; cut++)
        for (int face = 0; face < 2; face++) {
            const struct ls_cuda_program_params program = {
                .face = face, .cut = cut, .batch = kind->batch};

            plans_add(p, shape, ls_cuda_program_shapes(shape, &site, &program),
                      cut == LS_CUDA_CUT_WHOLE ? kind->every : sample);
        }
    free(shape);
    for (int cut = 0; cut < LS_CUDA_CUTS; cut++)
        ls_cuda_region_done(&site.region[cut]);
    ls_cuda_layout_free(&layout);
    ls_net_free(&net);
    ls_weights_close(&weights);
}

static inline void plans_gather(struct plans *p, bool tf32, int every, int sample)
{
    const struct plans_kind kinds[] = {
        {1, LS_CUDA_FP16, PLANS_BATCH, every}, // full size
        {1, LS_CUDA_FP16, 1, sample},
        {0, LS_CUDA_FP16, PLANS_BATCH, sample}, // the demo model's widths
        {1, LS_CUDA_TF32, PLANS_BATCH, sample},
    };

    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++)
        if (kinds[i].type != LS_CUDA_TF32 || tf32)
            plans_add_network(p, &kinds[i], sample);
}

static inline cudnnBackendDescriptor_t plans_device(const char *name)
{
    cudnnBackendDescriptor_t description = NULL;
    char path[96], json[4096];
    struct ls_err err = {0};
    FILE *file;

    snprintf(path, sizeof path, "tests/device/%s.json", name);
    file = fopen(path, "r");
    if (!file) {
        printf("FAIL %s cannot be read\n", path);
        exit(1);
    }
    json[fread(json, 1, sizeof json - 1, file)] = 0;
    fclose(file);
    plans_must(ls_cuda_description_read(&description, json, &err), &err, path);
    return description;
}

static inline void plans_check_text(const struct ls_cuda_plan *plan,
                                    cudnnBackendDescriptor_t description, const char *name)
{
    struct ls_cuda_plan *again = NULL;
    struct ls_err err = {0};
    char *text[2] = {NULL};
    size_t size[2] = {0};

    if (CHECK(ls_cuda_plan_write(&text[0], &size[0], plan, &err) == 0, name) &&
        CHECK(ls_cuda_plan_read(&again, text[0], size[0], description, &err) == 0, name) &&
        CHECK(ls_cuda_plan_write(&text[1], &size[1], again, &err) == 0, name))
        CHECK(size[0] == size[1] && !memcmp(text[0], text[1], size[0]), name);
    else
        printf("%s\n", err.text);
    ls_cuda_plan_free(&again);
    free(text[0]);
    free(text[1]);
}

// A proposal for each shape; the first one compiled.
static inline void plans_make(struct ls_cuda_job *job, const struct plans *p,
                              cudnnBackendDescriptor_t description)
{
    struct ls_cuda_job *build = calloc((size_t)p->count, sizeof *build);
    int build_count = 0, written = 0;

    for (int i = 0; i < p->count; i++)
        job[i] = (struct ls_cuda_job){
            .kind = LS_CUDA_JOB_PROPOSE, .shape = p->shape[i], .proposals_max = 1};
    ls_cuda_jobs_run(job, p->count, description, 0);
    for (int i = 0; build && i < p->count; i++) {
        if (!CHECK(job[i].r == 0 && job[i].proposal_count > 0, plans_name(&p->shape[i])))
            printf("%s\n", job[i].err.text);
        else if (p->compiled[i])
            build[build_count++] = (struct ls_cuda_job){
                .kind = LS_CUDA_JOB_BUILD, .shape = p->shape[i], .config = job[i].proposal[0]};
    }
    ls_cuda_jobs_run(build, build_count, description, 0);
    for (int i = 0; i < build_count; i++) {
        if (!CHECK(build[i].r == 0, plans_name(&build[i].shape)))
            printf("%s\n", build[i].err.text);
        else if (i % 8 == 0 && ++written)
            plans_check_text(build[i].plan, description, plans_name(&build[i].shape));
        ls_cuda_plan_free(&build[i].plan);
    }
    printf("%d shapes have an engine; %d plans compiled, %d of them written and read\n", p->count,
           build_count, written);
    free(build);
}

// every: of the full-size network's plans for the whole picture one in so many is compiled.
static inline int plans_main(const char *device, bool tf32, int every)
{
    const char *how_many = getenv("LS_PLANS");
    bool all = how_many && !strcmp(how_many, "all");
    static struct plans plans;
    cudnnBackendDescriptor_t description;
    struct ls_cuda_job *job;

    // Before cuDNN opens the driver's library by its name: it then gets this one.
    if (!CHECK(dlopen(LS_FAKE_DRIVER, RTLD_NOW | RTLD_GLOBAL), "driver"))
        return check_done();
    description = plans_device(device);
    plans_gather(&plans, tf32, all ? 1 : every, all ? 1 : PLANS_SAMPLE);
    job = calloc((size_t)plans.count, sizeof *job);
    if (!CHECK(job && plans.count > 100 && plans.count < PLANS_SHAPES_MAX, "shapes"))
        return check_done();
    plans_make(job, &plans, description);
    free(job);
    ls_cuda_description_free(&description);
    return check_done();
}

#endif
