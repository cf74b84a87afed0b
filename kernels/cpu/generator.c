// SPDX-License-Identifier: Apache-2.0
// The generator on a processor (generator.h). Opened on one thread; lanes run at the same time on a
// thread each. What surprises: faces of the original's own arithmetic (exact) get a network in
// floats of their own, which is made when the first of them comes, because few services ever see
// one and it takes as much memory as all the rest.
#include "generator.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cache.h"
#include "dnn.h"

enum {
    SIZE = LS_FACE_SIZE,
    PLANE = SIZE * SIZE,
    CUTS = 4,
    EXACT = CUTS, // items of the original's arithmetic
    GROUPS,       // items that run together: of a cut, or exact ones
    // Below 24 rows little is saved, and other Winograd kernels would want weights of their own.
    CUT_HEIGHT_MIN = 24,
};

// The generator cut to a part of its face (COMPUTE section 10), each inside the one before: all of
// it; what the mask of the lower face, a mouth's large ellipse, a mouth's usual one reads.
static const struct ls_int_box cuts[CUTS] = {
    {0, 0, SIZE, SIZE}, {0, 40, SIZE, SIZE}, {8, 40, 88, SIZE}, {16, 44, 80, SIZE}};

struct ls_cpu_generator {
    const struct ls_model *model;
    struct ls_dnn *cut[CUTS]; // the first one's weights serve all
    enum ls_value narrow;
    int items_max;
    struct ls_cpu_cache *cache; // NULL: none
    struct ls_ranges *ranges;   // or NULL
    char arithmetic[64];
    pthread_mutex_t exact_lock;
    struct ls_net *exact_net; // its shapes; NULL until needed
    struct ls_dnn *exact;
};

struct ls_cpu_generator_lane {
    struct ls_cpu_generator *of;
    struct ls_dnn_lane *dnn;   // of the cuts
    struct ls_dnn_lane *exact; // NULL until needed, or if dnn's first is exact
    float planes[3 * PLANE];
    float byte_value[256]; // v / 255
};

static int choose(enum ls_value *narrow, const struct ls_backend_params *backend,
                  struct ls_err *err)
{
    static const struct {
        const char *name, *what;
        enum ls_value narrow;
    } known[] = {{"fp32", "", LS_VALUE_F32},
                 {"bf16", "bfloat16", LS_VALUE_BF16},
                 {"int8", "bytes with sums of 32 bits", LS_VALUE_U8}};

    *narrow = LS_VALUE_F32;
    if (!strcmp(backend->arithmetic, "auto")) {
        if (backend->ranges)
            return LS_OK;
        if (backend->calibration && ls_dnn_has(LS_VALUE_U8))
            *narrow = LS_VALUE_U8;
        else if (ls_dnn_has(LS_VALUE_BF16))
            *narrow = LS_VALUE_BF16;
        return LS_OK;
    }
    for (int i = 0; i < 3; i++) {
        if (strcmp(backend->arithmetic, known[i].name) != 0)
            continue;
        *narrow = known[i].narrow;
        if (!ls_dnn_has(*narrow)) // emulated it would be several times slower than fp32
            return ls_fail(err, LS_EFIELD,
                           "arithmetic \"%s\": this processor (%s) does not multiply %s",
                           known[i].name, ls_dnn_isa(), known[i].what);
        if (*narrow == LS_VALUE_U8 && !backend->calibration)
            return ls_fail(err, LS_EFIELD,
                           "arithmetic \"int8\" needs a calibration (lipstream-calibrate)");
        return LS_OK;
    }
    return ls_fail(err, LS_EFIELD, "arithmetic \"%s\": the back end cpu has fp32, bf16 and int8",
                   backend->arithmetic);
}

// Of the face, row 0 of the table, bytes are exact: v / 255.
static int take_ranges(float range[LS_CALIBRATION_ROWS_MAX], const struct ls_calibration *c,
                       const struct ls_net *net, struct ls_err *err)
{
    if (c->row_count != net->node_count || c->generator != ls_net_hash(net))
        return ls_fail(err, LS_EMODEL, "the calibration is for other weights");
    memcpy(range, c->range, sizeof c->range);
    range[0] = 1;
    return LS_OK;
}

static int open_cuts(struct ls_cpu_generator *g, const struct ls_backend_params *backend,
                     struct ls_err *err)
{
    const struct ls_net *net = backend->model->generator;
    float range[LS_CALIBRATION_ROWS_MAX];
    int r = LS_OK;

    if (g->narrow == LS_VALUE_U8)
        r = take_ranges(range, backend->calibration, net, err);
    for (int i = 0; i < CUTS && r == LS_OK; i++) {
        struct ls_dnn_params params = {.items_max = g->items_max,
                                       .first = {cuts[i].y0, cuts[i].x0},
                                       .end = {cuts[i].y1, cuts[i].x1},
                                       .height_min = CUT_HEIGHT_MIN,
                                       .narrow = g->narrow,
                                       .range = range,
                                       .weights_of = i ? g->cut[0] : NULL};

        r = ls_dnn_new(&g->cut[i], net, &params, err);
    }
    return r;
}

// A face's record serves all cuts: what depends on the face alone is made whole in each.
static int open_cache(struct ls_cpu_generator *g, int64_t bytes, struct ls_err *err)
{
    size_t size = ls_dnn_record_size(g->cut[0]);

    for (int i = 1; i < CUTS; i++)
        if (ls_dnn_record_size(g->cut[i]) != size)
            return ls_fail(err, LS_EINTERNAL, "records of %zu and %zu bytes",
                           ls_dnn_record_size(g->cut[i]), size);
    return ls_cpu_cache_new(&g->cache, bytes, size, err);
}

int ls_cpu_generator_open(struct ls_cpu_generator **out, const struct ls_backend_params *backend,
                          struct ls_err *err)
{
    static const char *const names[] = {"fp32", "bf16", "int8"}; // by enum ls_value
    enum ls_value narrow;
    struct ls_cpu_generator *g;
    int r = choose(&narrow, backend, err);

    if (r < 0)
        return r;
    g = calloc(1, sizeof *g);
    if (!g)
        return ls_fail(err, LS_ENOMEM, "no memory for the generator");
    pthread_mutex_init(&g->exact_lock, NULL);
    g->model = backend->model;
    g->narrow = narrow;
    g->ranges = backend->ranges;
    g->items_max = backend->batch_max < LS_CPU_LANE_ITEMS ? backend->batch_max : LS_CPU_LANE_ITEMS;
    r = open_cuts(g, backend, err);
    if (r == LS_OK)
        r = open_cache(g, backend->face_cache_bytes, err);
    if (r < 0) {
        ls_cpu_generator_close(&g);
        return r;
    }
    snprintf(g->arithmetic, sizeof g->arithmetic, "%s%s, %s", names[narrow],
             narrow != LS_VALUE_F32       ? ""
             : ls_dnn_winograd(g->cut[0]) ? " Winograd"
                                          : " direct",
             ls_dnn_isa());
    *out = g;
    return LS_OK;
}

void ls_cpu_generator_close(struct ls_cpu_generator **generator)
{
    struct ls_cpu_generator *g = generator ? *generator : NULL;

    if (!g)
        return;
    for (int i = CUTS - 1; i >= 0; i--)
        ls_dnn_free(&g->cut[i]);
    ls_dnn_free(&g->exact);
    ls_net_free(&g->exact_net);
    ls_cpu_cache_free(&g->cache);
    pthread_mutex_destroy(&g->exact_lock);
    free(g);
    *generator = NULL;
}

const struct ls_model *ls_cpu_generator_model(const struct ls_cpu_generator *generator)
{
    return generator->model;
}

const char *ls_cpu_generator_arithmetic(const struct ls_cpu_generator *generator)
{
    return generator->arithmetic;
}

int ls_cpu_generator_lane_open(struct ls_cpu_generator_lane **out,
                               struct ls_cpu_generator *generator, struct ls_err *err)
{
    struct ls_cpu_generator_lane *l = calloc(1, sizeof *l);
    int r;

    if (!l)
        return ls_fail(err, LS_ENOMEM, "no memory for a lane");
    l->of = generator;
    for (int i = 0; i < 256; i++)
        l->byte_value[i] = (float)(i / 255.0);
    r = ls_dnn_lane_new(&l->dnn, (const struct ls_dnn *const *)generator->cut, CUTS, err);
    if (r < 0)
        ls_cpu_generator_lane_close(&l);
    else
        *out = l;
    return r;
}

void ls_cpu_generator_lane_close(struct ls_cpu_generator_lane **lane)
{
    if (!lane || !*lane)
        return;
    ls_dnn_lane_free(&(*lane)->dnn);
    ls_dnn_lane_free(&(*lane)->exact);
    free(*lane);
    *lane = NULL;
}

// The network in floats, once per process.
static int need_exact(struct ls_cpu_generator *g, struct ls_err *err)
{
    struct ls_dnn_params params = {.items_max = g->items_max};
    int r = LS_OK;

    pthread_mutex_lock(&g->exact_lock);
    if (!g->exact) {
        r = ls_model_plan(&g->exact_net, g->model, err);
        if (r == LS_OK)
            r = ls_dnn_new(&g->exact, g->exact_net, &params, err);
        if (r == LS_OK)
            ls_net_trim(g->exact_net);
        else
            ls_net_free(&g->exact_net);
    }
    pthread_mutex_unlock(&g->exact_lock);
    return r;
}

// What runs a group's items.
static int lane_of(struct ls_dnn_lane **out, struct ls_cpu_generator_lane *l, int group,
                   struct ls_err *err)
{
    int r = LS_OK;

    if (group == EXACT && !l->exact) {
        r = need_exact(l->of, err);
        if (r == LS_OK)
            r = ls_dnn_lane_new(&l->exact, (const struct ls_dnn *[]){l->of->exact}, 1, err);
        if (r < 0)
            return r;
    }
    *out = group == EXACT ? l->exact : l->dnn;
    if (group != EXACT)
        ls_dnn_use(l->dnn, group);
    return r;
}

// face [96][96][3], mel [16][80] to the network's [6][96][96] (the lower half of the first three
// black) and [80][16].
static void put_item(const struct ls_cpu_generator_lane *l, struct ls_dnn_lane *dnn, int item,
                     const uint8_t *face, const float *mel)
{
    float *picture = ls_dnn_input(dnn, 0, item);
    float *sound = ls_dnn_input(dnn, 1, item);

    for (int i = 0; i < PLANE && face; i++)
        for (int c = 0; c < 3; c++) {
            float v = l->byte_value[face[3 * i + c]];

            picture[(3 + c) * PLANE + i] = v;
            picture[c * PLANE + i] = i < PLANE / 2 ? v : 0;
        }
    for (int t = 0; t < LS_MEL_WINDOW; t++)
        for (int b = 0; b < LS_MEL_BANDS; b++)
            sound[b * LS_MEL_WINDOW + t] = mel[t * LS_MEL_BANDS + b];
}

// What was not made is black.
static void get_item(struct ls_cpu_generator_lane *l, struct ls_dnn_lane *dnn, int item, float *out)
{
    struct ls_dnn_part made;
    int width, height;

    ls_dnn_output(l->planes, &made, dnn, 0, item);
    height = made.end[0] - made.first[0];
    width = made.end[1] - made.first[1];
    if (height < SIZE || width < SIZE)
        memset(out, 0, sizeof *out * 3 * PLANE);
    for (int y = 0; y < height; y++)
        for (int x = 0; x < width; x++)
            for (int c = 0; c < 3; c++)
                out[3 * ((made.first[0] + y) * SIZE + made.first[1] + x) + c] =
                    l->planes[(c * height + y) * width + x];
}

static bool holds(const struct ls_int_box *cut, const struct ls_int_box *part)
{
    return part->x0 >= cut->x0 && part->y0 >= cut->y0 && part->x1 <= cut->x1 && part->y1 <= cut->y1;
}

static int group_of(const struct ls_cpu_generator *g, const struct ls_generate_job *job, int item)
{
    int cut = 0;

    if (job->exact && job->exact[item])
        return g->narrow == LS_VALUE_F32 ? 0 : EXACT;
    while (job->part && !g->ranges && cut + 1 < CUTS && holds(&cuts[cut + 1], &job->part[item]))
        cut++;
    return cut;
}

// Which items of a job are in the lane.
struct loaded {
    const struct ls_generate_job *job;
    struct ls_cpu_generator *generator;
    int item[LS_CPU_LANE_ITEMS], count;
    struct ls_dnn_record record[LS_CPU_LANE_ITEMS];
};

static bool wanted(void *user, int idx)
{
    const struct loaded *in = user;

    return !in->job->wanted || in->job->wanted(in->job->user, in->item[idx]);
}

static void seen(void *user, int row, const float *values, size_t count)
{
    ls_ranges_see(((const struct loaded *)user)->generator->ranges, row, values, count);
}

static void load(struct loaded *in, const struct ls_cpu_generator_lane *l, struct ls_dnn_lane *dnn,
                 int item, bool exact)
{
    const struct ls_generate_job *job = in->job;
    uint64_t key = job->source_key && !exact ? job->source_key[item] : 0;
    int n = in->count++;

    in->item[n] = item;
    in->record[n] = ls_cpu_cache_take(l->of->cache, key);
    put_item(l, dnn, n, in->record[n].known ? NULL : job->face + (size_t)item * 3 * PLANE,
             job->mel + (size_t)item * LS_MEL_WINDOW * LS_MEL_BANDS);
}

static int run(struct loaded *in, struct ls_cpu_generator_lane *l, struct ls_dnn_lane *dnn,
               struct ls_err *err)
{
    struct ls_dnn_job job = {.count = in->count,
                             .wanted = in->job->wanted ? wanted : NULL,
                             .record = in->record,
                             .seen = l->of->ranges ? seen : NULL,
                             .user = in};
    int r = ls_dnn_run(dnn, &job, err);

    for (int i = 0; i < in->count; i++) {
        if (r == LS_OK && wanted(in, i))
            get_item(l, dnn, i, in->job->out + (size_t)in->item[i] * 3 * PLANE);
        ls_cpu_cache_give(l->of->cache, &in->record[i]);
    }
    in->count = 0;
    return r;
}

// Runs the items of one group, as many as a lane holds at a time.
static int generate_group(struct ls_cpu_generator_lane *l, int group,
                          const struct ls_generate_job *job, struct ls_err *err)
{
    struct loaded in = {.job = job, .generator = l->of};
    struct ls_dnn_lane *dnn = NULL;
    int r = LS_OK;

    for (int i = 0; i <= job->count && r == LS_OK; i++) {
        if (i < job->count && group_of(l->of, job, i) == group) {
            if (!dnn)
                r = lane_of(&dnn, l, group, err);
            if (r == LS_OK)
                load(&in, l, dnn, i, group == EXACT);
        }
        if (r == LS_OK && in.count > 0 && (in.count == l->of->items_max || i == job->count))
            r = run(&in, l, dnn, err);
    }
    return r;
}

int ls_cpu_generate(struct ls_cpu_generator_lane *lane, const struct ls_generate_job *job,
                    struct ls_err *err)
{
    int r = LS_OK;

    for (int group = 0; group < GROUPS && r == LS_OK; group++)
        r = generate_group(lane, group, job, err);
    return r;
}
