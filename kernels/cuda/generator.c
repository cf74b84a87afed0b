// SPDX-License-Identifier: Apache-2.0
// The generator on the device (generator.h): owns the memory, uploads the weights, picks the
// program for a count and a cut. Device thread.
// What surprises: items between the count and the bucket's size are computed too, from whatever
// their places hold; nobody looks at them, and they are kept from the records.
#include "generator.h"

#include <assert.h>
#include <stdlib.h>

#include "pack.h"
#include "program.h"

enum { BUCKETS = 7 }; // 1, 2, 4, … 64

struct ls_cuda_generator {
    struct ls_cuda_layout *layout;
    struct ls_cuda_site site; // what it points to is owned here
    int batch_max;
    struct ls_cuda_program *encode[BUCKETS], *decode[BUCKETS][LS_CUDA_CUTS];
};

static int bucket_of(int count)
{
    int idx = 0;

    while (1 << idx < count)
        idx++;
    return idx;
}

static size_t align_up(size_t size)
{
    return (size + 255) / 256 * 256;
}

static bool has_weights(const struct ls_net_node *node)
{
    return node->layer->op == LS_NET_CONV || node->layer->op == LS_NET_TCONV;
}

// The last row is computed in float, whatever the others are.
static struct ls_cuda_filter filter_of(const struct ls_cuda_layout *layout, int row)
{
    const struct ls_net_node *node = &layout->net->node[row];
    const struct ls_cuda_place *from = &layout->place[node->layer->from[0]];
    bool head = row == layout->head_row;

    return (struct ls_cuda_filter){.node = node,
                                   .channel = from->channel,
                                   .c_in = from->c,
                                   .c_out = head ? node->c_out : layout->place[row].c,
                                   .type = head ? LS_CUDA_FP32 : layout->type};
}

static int upload_row(const struct ls_cuda_generator *g, int row, cudaStream_t stream,
                      struct ls_err *err)
{
    const struct ls_cuda_site *site = &g->site;
    struct ls_cuda_filter filter = filter_of(g->layout, row);
    size_t size = ls_cuda_filter_size(&filter), bias_at = align_up(size);
    size_t whole = bias_at + (size_t)filter.c_out * sizeof(float);
    unsigned char *packed = calloc(1, whole);
    int r;

    if (!packed)
        return ls_fail(err, LS_ENOMEM, "no memory for the weights of %s", filter.node->layer->name);
    assert(site->bias_at[row] - site->weight_at[row] == (int64_t)bias_at);
    r = ls_cuda_filter_pack(packed, &filter, err);
    if (r < 0)
        goto done;
    ls_cuda_filter_bias((float *)(packed + bias_at), &filter);
    r = ls_cuda_check(err,
                      (int)cudaMemcpyAsync(site->weight + site->weight_at[row], packed, whole,
                                           cudaMemcpyHostToDevice, stream),
                      "the generator's weights");
    if (r == 0)
        r = ls_cuda_check(err, (int)cudaStreamSynchronize(stream), "the generator's weights");
    // The copy may still read what is freed below.
    if (r < 0 && cudaStreamSynchronize(stream) != cudaSuccess)
        (void)cudaGetLastError();
done:
    free(packed);
    return r;
}

static int upload(struct ls_cuda_generator *g, cudaStream_t stream, struct ls_err *err)
{
    const struct ls_net *net = g->layout->net;
    struct ls_cuda_site *site = &g->site;
    size_t count = (size_t)net->node_count, size = 0;
    int r;

    site->weight_at = calloc(count, sizeof *site->weight_at);
    site->bias_at = calloc(count, sizeof *site->bias_at);
    if (!site->weight_at || !site->bias_at)
        return ls_fail(err, LS_ENOMEM, "no memory for the places of weights");
    for (int i = 0; i < net->node_count; i++) {
        struct ls_cuda_filter filter;

        if (!has_weights(&net->node[i]))
            continue;
        filter = filter_of(g->layout, i);
        site->weight_at[i] = (int64_t)size;
        size += align_up(ls_cuda_filter_size(&filter));
        site->bias_at[i] = (int64_t)size;
        size += align_up((size_t)filter.c_out * sizeof(float));
    }
    r = ls_cuda_alloc((void **)&site->weight, size, err);
    for (int i = 0; i < net->node_count && !r; i++)
        if (has_weights(&net->node[i]))
            r = upload_row(g, i, stream, err);
    return r;
}

static int reserve(struct ls_cuda_generator *g, int record_count, struct ls_err *err)
{
    struct ls_cuda_site *site = &g->site;
    const struct ls_cuda_layout *layout = g->layout;
    size_t batch = (size_t)site->batch, face = (size_t)LS_FACE_SIZE * LS_FACE_SIZE;
    const struct {
        void **out;
        size_t size;
    } wanted[] = {
        {(void **)&site->arena, batch * (size_t)layout->arena_size},
        {&site->record, (size_t)record_count * (size_t)layout->record_size},
        {&site->input,
         batch * face * (size_t)layout->place[layout->face_row].c * ls_cuda_size(layout->type)},
        {(void **)&site->mel, batch * LS_MEL_WINDOW * LS_MEL_BANDS * sizeof(float)},
        {(void **)&site->made, batch * face * 3 * sizeof(float)},
        {(void **)&site->encode_slot, batch * sizeof(int)},
        {(void **)&site->decode_slot, batch * sizeof(int)},
    };
    int r = LS_OK;

    for (size_t i = 0; i < sizeof wanted / sizeof wanted[0] && !r; i++)
        r = ls_cuda_alloc(wanted[i].out, wanted[i].size, err);
    return r;
}

int ls_cuda_generator_new(struct ls_cuda_generator **out,
                          const struct ls_cuda_generator_params *params, cudaStream_t stream,
                          struct ls_err *err)
{
    struct ls_cuda_generator *g = calloc(1, sizeof *g);
    int r;

    assert(params->batch_max >= 1 && params->batch_max <= 1 << (BUCKETS - 1));
    assert(params->record_count >= 2 * params->batch_max);
    if (!g)
        return ls_fail(err, LS_ENOMEM, "no memory for the generator");
    g->batch_max = params->batch_max;
    g->site.batch = 1 << bucket_of(params->batch_max);
    g->site.convs = params->convs;
    r = ls_cuda_layout_new(&g->layout, params->net, params->type, err);
    g->site.layout = g->layout;
    for (int i = 0; i < LS_CUDA_CUTS && !r; i++)
        r = ls_cuda_region_init(&g->site.region[i], params->net, &ls_cuda_cut_box[i], err);
    if (r == 0)
        r = reserve(g, params->record_count, err);
    if (r == 0)
        r = upload(g, stream, err);
    if (r < 0)
        goto done;
    *out = g;
    g = NULL;
done:
    ls_cuda_generator_free(&g);
    return r;
}

void ls_cuda_generator_free(struct ls_cuda_generator **generator)
{
    struct ls_cuda_generator *g = generator ? *generator : NULL;

    if (!g)
        return;
    for (int b = 0; b < BUCKETS; b++) {
        ls_cuda_program_free(&g->encode[b]);
        for (int c = 0; c < LS_CUDA_CUTS; c++)
            ls_cuda_program_free(&g->decode[b][c]);
    }
    ls_cuda_free((void **)&g->site.arena);
    ls_cuda_free((void **)&g->site.weight);
    ls_cuda_free(&g->site.record);
    ls_cuda_free(&g->site.input);
    ls_cuda_free((void **)&g->site.mel);
    ls_cuda_free((void **)&g->site.made);
    ls_cuda_free((void **)&g->site.encode_slot);
    ls_cuda_free((void **)&g->site.decode_slot);
    for (int i = 0; i < LS_CUDA_CUTS; i++)
        ls_cuda_region_done(&g->site.region[i]);
    free(g->site.weight_at);
    free(g->site.bias_at);
    ls_cuda_layout_free(&g->layout);
    free(g);
    *generator = NULL;
}

size_t ls_cuda_generator_record_size(const struct ls_net *net, enum ls_cuda_type type)
{
    struct ls_cuda_layout *layout = NULL;
    size_t size = 0;

    if (ls_cuda_layout_new(&layout, net, type, NULL) == 0)
        size = (size_t)layout->record_size;
    ls_cuda_layout_free(&layout);
    return size;
}

// The program, made on first use.
static int program_get(struct ls_cuda_program **out, struct ls_cuda_generator *g,
                       const struct ls_cuda_program_params *params, cudaStream_t stream,
                       struct ls_err *err)
{
    int bucket = bucket_of(params->batch);
    struct ls_cuda_program **program =
        params->face ? &g->encode[bucket] : &g->decode[bucket][params->cut];

    if (!*program) {
        int r = ls_cuda_program_new(program, &g->site, params, stream, err);

        if (r < 0)
            return r;
    }
    *out = *program;
    return LS_OK;
}

// The idx-th of all programs; false: there are no more.
static bool params_of(struct ls_cuda_program_params *out, const struct ls_cuda_generator *g,
                      int idx)
{
    int bucket = idx / (1 + LS_CUDA_CUTS), part = idx % (1 + LS_CUDA_CUTS);

    if (bucket > bucket_of(g->batch_max))
        return false;
    *out = (struct ls_cuda_program_params){.face = part == 0,
                                           .cut = part == 0 ? LS_CUDA_CUT_WHOLE
                                                            : (enum ls_cuda_cut)(part - 1),
                                           .batch = 1 << bucket};
    return true;
}

int ls_cuda_generator_plan(struct ls_cuda_generator *g, cudaStream_t stream, struct ls_err *err)
{
    enum { PROGRAMS = BUCKETS * (1 + LS_CUDA_CUTS) };
    struct ls_cuda_conv_shape *shape =
        calloc((size_t)PROGRAMS * (size_t)g->layout->net->node_count, sizeof *shape);
    struct ls_cuda_program_params params;
    int count = 0, r;

    if (!shape)
        return ls_fail(err, LS_ENOMEM, "no memory to plan the generator");
    for (int i = 0; params_of(&params, g, i); i++)
        count += ls_cuda_program_shapes(shape + count, &g->site, &params);
    r = ls_cuda_convs_plan(g->site.convs, shape, count, stream, err);
    free(shape);
    return r;
}

int ls_cuda_generator_warm(struct ls_cuda_generator *g, cudaStream_t stream, struct ls_err *err)
{
    struct ls_cuda_program_params params;
    struct ls_cuda_program *program = NULL;
    int r = ls_cuda_generator_plan(g, stream, err);

    for (int i = 0; r == 0 && params_of(&params, g, i); i++) {
        r = program_get(&program, g, &params, stream, err);
        if (r == 0)
            r = ls_cuda_program_warm(program, stream, err);
    }
    if (r == 0)
        r = ls_cuda_check(err, (int)cudaStreamSynchronize(stream), "planning the generator");
    return r;
}

const char *ls_cuda_generator_note(const struct ls_cuda_generator *g)
{
    const struct ls_cuda_program *p;
    const char *note = "";

    for (int b = 0; b < BUCKETS; b++)
        for (int i = 0; i <= LS_CUDA_CUTS && !*note; i++) {
            p = i ? g->decode[b][i - 1] : g->encode[b];
            note = p ? ls_cuda_program_note(p) : "";
        }
    return note;
}

void *ls_cuda_generator_input(struct ls_cuda_generator *g)
{
    return g->site.input;
}

float *ls_cuda_generator_mel(struct ls_cuda_generator *g)
{
    return g->site.mel;
}

int *ls_cuda_generator_encode_slot(struct ls_cuda_generator *g)
{
    return g->site.encode_slot;
}

int *ls_cuda_generator_decode_slot(struct ls_cuda_generator *g)
{
    return g->site.decode_slot;
}

int ls_cuda_generator_encode(struct ls_cuda_generator *g, int count, cudaStream_t stream,
                             struct ls_err *err)
{
    struct ls_cuda_program_params params = {.face = true, .batch = 1 << bucket_of(count)};
    struct ls_cuda_program *program = NULL;
    int r;

    assert(count >= 1 && count <= g->batch_max);
    r = program_get(&program, g, &params, stream, err);
    if (r == 0)
        r = ls_cuda_program_run(program, stream, err);
    if (r == 0)
        r = ls_cuda_features_store(&g->site, count, stream, err);
    return r;
}

int ls_cuda_generator_decode(struct ls_cuda_generator *g, float **made, int count,
                             const struct ls_int_box *reads, cudaStream_t stream,
                             struct ls_err *err)
{
    struct ls_cuda_program_params params = {.cut = ls_cuda_cut_of(reads),
                                            .batch = 1 << bucket_of(count)};
    struct ls_cuda_program *program = NULL;
    int r;

    assert(count >= 1 && count <= g->batch_max);
    r = program_get(&program, g, &params, stream, err);
    if (r == 0)
        r = ls_cuda_program_run(program, stream, err);
    if (r == 0)
        *made = g->site.made;
    return r;
}
