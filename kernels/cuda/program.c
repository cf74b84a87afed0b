// SPDX-License-Identifier: Apache-2.0
// Plans, runs and captures the launches of a part of the generator (program.h). Device thread.
// What surprises: a capture that fails is no failure. The launches are then made one by one as the
// first time, which costs some microseconds each, and ls_cuda_program_note says why.
#include "program.h"

#include <stdio.h>
#include <stdlib.h>

struct ls_cuda_program {
    const struct ls_cuda_site *site;
    struct ls_cuda_program_params params;
    const struct ls_cuda_conv **conv; // [node_count], the set's own
    cudaGraphExec_t graph;
    bool ran, graphless;
    char note[128];
};

// Part `box` of a row's result: its shape and strides in memory.
static struct ls_cuda_tensor tensor_of(const struct ls_cuda_site *site, enum ls_cuda_cut cut,
                                       int row, const struct ls_int_box *box)
{
    const struct ls_cuda_place *p = &site->layout->place[row];
    const struct ls_int_box *stored = &site->region[cut].stored[row];
    int64_t pixel = site->layout->place[p->home].c, line = pixel * (stored->x1 - stored->x0);

    return (struct ls_cuda_tensor){.h = box->y1 - box->y0,
                                   .w = box->x1 - box->x0,
                                   .c = p->c,
                                   .item = line * (stored->y1 - stored->y0),
                                   .row = line,
                                   .pixel = pixel};
}

struct view {
    unsigned char *data; // its first number
    struct ls_cuda_tensor tensor;
};

static struct view view_of(const struct ls_cuda_site *site, enum ls_cuda_cut cut, int row,
                           const struct ls_int_box *box)
{
    const struct ls_int_box *stored = &site->region[cut].stored[row];
    struct view v = {.data = site->input, .tensor = tensor_of(site, cut, row, box)};

    if (row != site->layout->face_row)
        v.data = site->arena + site->layout->place[row].offset * site->batch;
    v.data += ((box->y0 - stored->y0) * v.tensor.row + (box->x0 - stored->x0) * v.tensor.pixel) *
              (int64_t)ls_cuda_size(site->layout->type);
    return v;
}

static struct ls_cuda_conv_shape shape_of(const struct ls_cuda_site *site,
                                          const struct ls_cuda_program_params *params, int row)
{
    const struct ls_cuda_region *region = &site->region[params->cut];
    const struct ls_net_layer *l = site->layout->net->node[row].layer;
    struct ls_cuda_conv_shape s = {.type = site->layout->type,
                                   .batch = params->batch,
                                   .transposed = l->op == LS_NET_TCONV,
                                   .act = l->act};

    s.in = tensor_of(site, params->cut, l->from[0], &region->taken[row]);
    s.out = tensor_of(site, params->cut, row, &region->stored[row]);
    for (int d = 0; d < 2; d++) {
        s.kernel[d] = l->kernel[d];
        s.stride[d] = l->stride[d];
        s.pad[d] = l->pad[d];
    }
    return s;
}

// The last row is a convolution with a kernel of its own.
static bool is_conv(const struct ls_cuda_layout *layout, int row)
{
    const struct ls_net_layer *l = layout->net->node[row].layer;

    return row != layout->head_row && (l->op == LS_NET_CONV || l->op == LS_NET_TCONV);
}

int ls_cuda_program_shapes(struct ls_cuda_conv_shape *out, const struct ls_cuda_site *site,
                           const struct ls_cuda_program_params *params)
{
    const struct ls_cuda_layout *layout = site->layout;
    int count = 0;

    for (int i = 0; i < layout->net->node_count; i++)
        if (layout->place[i].face == params->face && is_conv(layout, i))
            out[count++] = shape_of(site, params, i);
    return count;
}

// Plans all rows at once, then fetches each one's plan.
static int plan_rows(struct ls_cuda_program *p, cudaStream_t stream, struct ls_err *err)
{
    const struct ls_cuda_layout *layout = p->site->layout;
    struct ls_cuda_conv_shape *shape = calloc((size_t)layout->net->node_count, sizeof *shape);
    int count = 0, r;

    if (!shape)
        return ls_fail(err, LS_ENOMEM, "no memory for a list of launches");
    count = ls_cuda_program_shapes(shape, p->site, &p->params);
    r = ls_cuda_convs_plan(p->site->convs, shape, count, stream, err);
    for (int i = 0, k = 0; i < layout->net->node_count && !r; i++) {
        struct ls_cuda_conv *conv = NULL;

        if (layout->place[i].face != p->params.face || !is_conv(layout, i))
            continue;
        r = ls_cuda_conv_get(&conv, p->site->convs, &shape[k++], stream, err);
        p->conv[i] = conv;
        if (r < 0)
            (void)ls_fail_prefix(err, "%s", layout->net->node[i].layer->name);
    }
    free(shape);
    return r;
}

int ls_cuda_program_new(struct ls_cuda_program **out, const struct ls_cuda_site *site,
                        const struct ls_cuda_program_params *params, cudaStream_t stream,
                        struct ls_err *err)
{
    struct ls_cuda_program *p = calloc(1, sizeof *p);
    int r;

    if (!p)
        return ls_fail(err, LS_ENOMEM, "no memory for a list of launches");
    p->site = site;
    p->params = *params;
    p->conv = calloc((size_t)site->layout->net->node_count, sizeof *p->conv);
    if (p->conv)
        r = plan_rows(p, stream, err);
    else
        r = ls_fail(err, LS_ENOMEM, "no memory for a list of launches");
    if (r < 0) {
        ls_cuda_program_free(&p);
        return r;
    }
    *out = p;
    return LS_OK;
}

void ls_cuda_program_free(struct ls_cuda_program **program)
{
    struct ls_cuda_program *p = program ? *program : NULL;

    if (!p)
        return;
    if (p->graph && cudaGraphExecDestroy(p->graph) != cudaSuccess)
        (void)cudaGetLastError(); // of a lost device: nothing is left to be done
    free(p->conv);
    free(p);
    *program = NULL;
}

static int launch_conv(const struct ls_cuda_program *p, int row, cudaStream_t stream,
                       struct ls_err *err)
{
    const struct ls_cuda_site *site = p->site;
    const struct ls_cuda_region *region = &site->region[p->params.cut];
    const struct ls_net_layer *l = site->layout->net->node[row].layer;
    struct view in = view_of(site, p->params.cut, l->from[0], &region->taken[row]);
    struct view out = view_of(site, p->params.cut, row, &region->stored[row]);

    return ls_cuda_conv_run(p->conv[row], out.data, in.data, site->weight + site->weight_at[row],
                            (const float *)(site->weight + site->bias_at[row]), stream, err);
}

static struct ls_cuda_parts parts_of(const struct ls_cuda_site *site, const int *slot)
{
    return (struct ls_cuda_parts){.type = site->layout->type,
                                  .record = site->record,
                                  .record_size = site->layout->record_size,
                                  .slot = slot};
}

// The features whose turn it is, into the second halves of their concatenations; only the rectangle
// that is stored of them.
static int launch_gather(const struct ls_cuda_program *p, int row, cudaStream_t stream,
                         struct ls_err *err)
{
    const struct ls_cuda_layout *layout = p->site->layout;
    struct ls_cuda_parts parts = parts_of(p->site, p->site->decode_slot);

    for (int i = 0; i < layout->feature_count; i++) {
        const struct ls_cuda_feature *f = &layout->feature[i];
        const struct ls_int_box *box = &p->site->region[p->params.cut].stored[f->cat];
        int first = layout->place[layout->net->node[f->cat].layer->from[0]].c;
        struct view v;

        if (f->at != row)
            continue;
        v = view_of(p->site, p->params.cut, f->cat, box);
        v.tensor.c = layout->place[f->row].c;
        parts.part[parts.part_count++] =
            (struct ls_cuda_part){.data = v.data + (size_t)first * ls_cuda_size(layout->type),
                                  .tensor = v.tensor,
                                  .offset = f->offset,
                                  .source_w = layout->net->node[f->row].w_out,
                                  .x0 = box->x0,
                                  .y0 = box->y0};
    }
    if (parts.part_count == 0)
        return LS_OK;
    return ls_cuda_check(err, ls_cuda_gather(&parts, p->params.batch, stream), "face features");
}

int ls_cuda_features_store(const struct ls_cuda_site *site, int count, cudaStream_t stream,
                           struct ls_err *err)
{
    const struct ls_cuda_layout *layout = site->layout;
    struct ls_cuda_parts parts = parts_of(site, site->encode_slot);

    for (int i = 0; i < layout->feature_count; i++) {
        const struct ls_cuda_feature *f = &layout->feature[i];
        struct view v = view_of(site, LS_CUDA_CUT_WHOLE, f->row,
                                &site->region[LS_CUDA_CUT_WHOLE].stored[f->row]);

        parts.part[parts.part_count++] =
            (struct ls_cuda_part){.data = v.data,
                                  .tensor = v.tensor,
                                  .offset = f->offset,
                                  .source_w = layout->net->node[f->row].w_out};
    }
    return ls_cuda_check(err, ls_cuda_store(&parts, count, stream), "face features");
}

static int launch_head(const struct ls_cuda_program *p, int row, cudaStream_t stream,
                       struct ls_err *err)
{
    const struct ls_cuda_site *site = p->site;
    const struct ls_int_box *made = &site->region[p->params.cut].made;
    struct view v = view_of(site, p->params.cut, site->layout->net->node[row].layer->from[0], made);
    struct ls_cuda_head head = {.in = v.data,
                                .tensor = v.tensor,
                                .type = site->layout->type,
                                .weight = (const float *)(site->weight + site->weight_at[row]),
                                .bias = (const float *)(site->weight + site->bias_at[row]),
                                .made = site->made,
                                .x0 = made->x0,
                                .y0 = made->y0};

    return ls_cuda_check(err, ls_cuda_head(&head, p->params.batch, stream), "the output layer");
}

static int launch_row(const struct ls_cuda_program *p, int row, cudaStream_t stream,
                      struct ls_err *err)
{
    const struct ls_cuda_layout *layout = p->site->layout;
    int r = p->params.face ? LS_OK : launch_gather(p, row, stream, err);

    if (r < 0)
        return r;
    if (row == layout->mel_row)
        return ls_cuda_check(
            err,
            ls_cuda_put_mel(p->site->arena + layout->place[row].offset * p->site->batch,
                            layout->type, p->site->mel, p->params.batch, stream),
            "mel windows");
    if (row == layout->head_row)
        return launch_head(p, row, stream, err);
    return is_conv(layout, row) ? launch_conv(p, row, stream, err) : LS_OK;
}

static int launch_all(const struct ls_cuda_program *p, cudaStream_t stream, struct ls_err *err)
{
    const struct ls_cuda_layout *layout = p->site->layout;
    int r = LS_OK;

    for (int i = 0; i < layout->net->node_count && !r; i++)
        if (layout->place[i].face == p->params.face)
            r = launch_row(p, i, stream, err);
    return r;
}

// Thread-local: other threads (frames' memory) may allocate meanwhile.
static int capture_graph(cudaGraph_t *out, const struct ls_cuda_program *p, cudaStream_t stream,
                         struct ls_err *err)
{
    int r = ls_cuda_check(
            err, (int)cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), "begin"),
        end;

    if (r < 0)
        return r;
    r = launch_all(p, stream, err);
    // Must follow whatever happened: the stream computes nothing until then.
    end = (int)cudaStreamEndCapture(stream, out);
    if (r < 0) {
        (void)cudaGetLastError();
        return r;
    }
    return ls_cuda_check(err, end, "end");
}

static void capture(struct ls_cuda_program *p, cudaStream_t stream)
{
    struct ls_err err = {0};
    cudaGraph_t graph = NULL;
    cudaGraphExec_t exec = NULL;
    int r = capture_graph(&graph, p, stream, &err);

    if (r == 0)
        r = ls_cuda_check(&err, (int)cudaGraphInstantiate(&exec, graph, 0), "instantiate");
    if (r == 0)
        p->graph = exec;
    if (graph && cudaGraphDestroy(graph) != cudaSuccess)
        (void)cudaGetLastError();
    if (r < 0) {
        p->graphless = true;
        snprintf(p->note, sizeof p->note, "no CUDA graph: %.100s", err.text);
    }
}

int ls_cuda_program_warm(struct ls_cuda_program *p, cudaStream_t stream, struct ls_err *err)
{
    int r;

    // Not captured the first time: a kernel's code may be loaded when it is first launched, which
    // not every driver does during a capture.
    if (!p->ran) {
        r = launch_all(p, stream, err);
        if (r < 0)
            return r;
        p->ran = true;
    }
    if (!p->graph && !p->graphless)
        capture(p, stream);
    return LS_OK;
}

int ls_cuda_program_run(struct ls_cuda_program *p, cudaStream_t stream, struct ls_err *err)
{
    int r;

    if (p->ran && !p->graph && !p->graphless)
        capture(p, stream);
    if (p->graph)
        return ls_cuda_check(err, (int)cudaGraphLaunch(p->graph, stream), "a CUDA graph");
    r = launch_all(p, stream, err);
    p->ran = r == 0;
    return r;
}

const char *ls_cuda_program_note(const struct ls_cuda_program *p)
{
    return p->note;
}
