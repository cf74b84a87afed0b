// SPDX-License-Identifier: Apache-2.0
// Plans a small network as launches of netrun.cu: which rows share one, where results lie, weights
// in the order that the kernels read. Rows of the same depth and kind go together, an addition goes
// into the convolution before it, and memory is used again when its last reader's depth is past.
// Called by detect.c; device thread. What surprises: all is known when the network is, so a run is
// a CUDA graph, made when it is asked for the second time, for a kernel's code may be loaded when
// it is first launched, which not every driver does during a capture. Without a graph, launches are
// made one by one.
#include "netrun.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "netrun_step.h"

enum { ALIGNMENT = 64 }; // of results and weights, in numbers: 256 bytes

// A row of the table, as planned.
struct row {
    enum ls_netrun_kind kind;
    int conv;       // row whose convolution is done here: its own number, or of an addition the one
                    // that it is added to; -1: none
    bool is_done;   // does something itself: neither an input nor done by the addition behind it
    int depth;      // longest way from an input; 0: an input
    int depth_last; // of its last reader; INT32_MAX: kept
    int64_t offset, size; // of its result, in numbers
    int64_t weight, bias; // where its own weights are, in numbers
};

struct launch {
    enum ls_netrun_kind kind;
    int step_first, step_count, block_count;
};

struct ls_cuda_netrun {
    void *results, *constants;   // device: weights, biases, then the steps
    struct ls_netrun_step *step; // on the device
    struct launch *launch;
    int launch_count;
    float *input;
    float **output; // [output_count]
    int output_count;
    cudaGraphExec_t graph; // NULL: not captured yet
    bool ran, graphless;   // graphless: it cannot be captured
};

// While a network is planned.
struct plan {
    const struct ls_net *net;
    struct row *row; // [net->node_count]
    struct ls_netrun_step *step;
    int step_count;
    int64_t result_size, constant_size;
};

static int64_t aligned(int64_t size)
{
    return (size + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
}

static bool is_conv(enum ls_net_op op)
{
    return op == LS_NET_CONV || op == LS_NET_DWCONV || op == LS_NET_TCONV;
}

static enum ls_netrun_kind kind_of(const struct ls_net_layer *l)
{
    switch (l->op) {
    case LS_NET_CONV:
        return l->kernel[0] == 1 && l->kernel[1] == 1 && l->stride[0] == 1 && l->stride[1] == 1 &&
                       l->pad[0] == 0 && l->pad[1] == 0 && l->pad_end_extra == 0
                   ? LS_NETRUN_POINT
                   : LS_NETRUN_DENSE;
    case LS_NET_TCONV:
        return LS_NETRUN_TRANSPOSED;
    case LS_NET_DWCONV:
        return LS_NETRUN_DEPTHWISE;
    case LS_NET_MAXPOOL:
        return LS_NETRUN_POOL;
    case LS_NET_UPADD:
        return LS_NETRUN_UPADD;
    case LS_NET_CONCAT:
        return LS_NETRUN_CONCAT;
    case LS_NET_ADD:
    case LS_NET_INPUT: // no step is made of it
        break;
    }
    return LS_NETRUN_ADD;
}

static int reader_count(const struct ls_net *net, int idx)
{
    int count = 0;

    for (int i = idx + 1; i < net->node_count; i++)
        for (int k = 0; k < 2; k++)
            count += net->node[i].layer->from[k] == idx;
    return count;
}

// The row whose convolution the addition `idx` can take over: nobody else sees its result.
static int conv_before(const struct ls_net *net, int idx)
{
    int from = net->node[idx].layer->from[0];
    const struct ls_net_node *conv = &net->node[from];

    if (is_conv(conv->layer->op) && conv->layer->act == LS_ACT_NONE && !conv->layer->output &&
        !conv->residual && reader_count(net, from) == 1)
        return from;
    return -1;
}

// What row idx reads: up to two rows. Returns how many.
static int sources(const struct plan *p, int idx, int from[2])
{
    const struct row *row = &p->row[idx];
    const struct ls_net_layer *l = p->net->node[idx].layer;

    if (!row->is_done)
        return 0;
    from[0] = row->conv >= 0 ? p->net->node[row->conv].layer->from[0] : l->from[0];
    from[1] = l->from[1];
    return from[1] < 0 ? 1 : 2;
}

static void plan_rows(struct plan *p)
{
    const struct ls_net *net = p->net;

    for (int i = 0; i < net->node_count; i++) {
        const struct ls_net_layer *l = net->node[i].layer;
        struct row *row = &p->row[i];

        row->is_done = l->op != LS_NET_INPUT;
        row->kind = kind_of(l);
        row->conv = is_conv(l->op) ? i : l->op == LS_NET_ADD ? conv_before(net, i) : -1;
        if (row->conv >= 0 && row->conv != i) {
            row->kind = p->row[row->conv].kind;
            p->row[row->conv].is_done = false;
        }
    }
    for (int i = 0; i < net->node_count; i++) {
        const struct ls_net_node *n = &net->node[i];
        struct row *row = &p->row[i];
        int from[2], count = sources(p, i, from);

        row->size = (int64_t)n->c_out * n->h_out * n->w_out;
        for (int k = 0; k < count; k++)
            if (p->row[from[k]].depth >= row->depth)
                row->depth = p->row[from[k]].depth + 1;
        // An input is written before the run, at any time: nothing else may lie there.
        row->depth_last = n->layer->output || n->layer->op == LS_NET_INPUT ? INT32_MAX : row->depth;
        for (int k = 0; k < count; k++)
            if (p->row[from[k]].depth_last < row->depth)
                p->row[from[k]].depth_last = row->depth;
    }
}

static bool has_result(const struct plan *p, int idx)
{
    return p->row[idx].is_done || p->net->node[idx].layer->op == LS_NET_INPUT;
}

static bool live_together(const struct row *a, const struct row *b)
{
    // An input is there from before the first step on, as its depth says.
    return a->depth <= b->depth_last && b->depth <= a->depth_last;
}

// The lowest place among the rows before it that are there at the same time.
static void place_result(struct plan *p, int idx)
{
    struct row *row = &p->row[idx];
    bool moved = true;

    while (moved) {
        moved = false;
        for (int i = 0; i < idx; i++) {
            const struct row *other = &p->row[i];

            if (has_result(p, i) && live_together(row, other) &&
                row->offset < other->offset + aligned(other->size) &&
                other->offset < row->offset + aligned(row->size)) {
                row->offset = other->offset + aligned(other->size);
                moved = true;
            }
        }
    }
    if (row->offset + aligned(row->size) > p->result_size)
        p->result_size = row->offset + aligned(row->size);
}

static int groups(const struct ls_net_node *n)
{
    return (n->c_out + LS_NETRUN_GROUP - 1) / LS_NETRUN_GROUP;
}

static int64_t weight_size(const struct ls_net_node *n)
{
    int64_t taps = (int64_t)n->layer->kernel[0] * n->layer->kernel[1];

    return n->layer->op == LS_NET_DWCONV ? taps * n->c_out
                                         : taps * n->c_in * groups(n) * LS_NETRUN_GROUP;
}

// Offsets of results and constants.
static void plan_memory(struct plan *p)
{
    for (int i = 0; i < p->net->node_count; i++) {
        const struct ls_net_node *n = &p->net->node[i];

        if (has_result(p, i))
            place_result(p, i);
        if (!is_conv(n->layer->op))
            continue;
        p->row[i].weight = p->constant_size;
        p->constant_size += aligned(weight_size(n));
        p->row[i].bias = p->constant_size;
        p->constant_size += aligned((int64_t)groups(n) * LS_NETRUN_GROUP);
    }
}

static void pack_weights(float *out, const struct ls_net_node *n)
{
    const struct ls_net_layer *l = n->layer;
    int taps = l->kernel[0] * l->kernel[1];

    if (l->op == LS_NET_DWCONV) {
        memcpy(out, n->weight, sizeof *out * (size_t)weight_size(n));
        return;
    }
    for (int co = 0; co < n->c_out; co++) {
        float *group = out + (int64_t)(co / LS_NETRUN_GROUP) * LS_NETRUN_GROUP * n->c_in * taps;

        for (int ci = 0; ci < n->c_in; ci++) {
            int64_t at =
                l->op == LS_NET_TCONV ? (int64_t)ci * n->c_out + co : (int64_t)co * n->c_in + ci;

            for (int k = 0; k < taps; k++)
                group[(ci * taps + k) * LS_NETRUN_GROUP + co % LS_NETRUN_GROUP] =
                    n->weight[at * taps + k];
        }
    }
}

// out: [constant_size], zeroed.
static void pack_constants(const struct plan *p, float *out)
{
    for (int i = 0; i < p->net->node_count; i++) {
        const struct ls_net_node *n = &p->net->node[i];

        if (!is_conv(n->layer->op))
            continue;
        pack_weights(out + p->row[i].weight, n);
        memcpy(out + p->row[i].bias, n->bias, sizeof *out * (size_t)n->c_out);
    }
}

static void plan_step(struct plan *p, int idx, float *results, const float *constants)
{
    const struct row *row = &p->row[idx];
    const struct ls_net_node *n = &p->net->node[idx];
    const struct ls_net_node *conv = row->conv < 0 ? n : &p->net->node[row->conv];
    struct ls_netrun_step *s = &p->step[p->step_count];
    int from[2], count = sources(p, idx, from);

    p->step_count++;
    *s = (struct ls_netrun_step){.in = results + p->row[from[0]].offset,
                                 .out = results + row->offset,
                                 .c_in = conv->c_in,
                                 .h_in = conv->h_in,
                                 .w_in = conv->w_in,
                                 .c_out = n->c_out,
                                 .h_out = n->h_out,
                                 .w_out = n->w_out,
                                 .act = n->layer->act};
    for (int d = 0; d < 2; d++) {
        s->kernel[d] = conv->layer->kernel[d];
        s->stride[d] = conv->layer->stride[d];
        s->pad[d] = conv->layer->pad[d];
    }
    if (row->conv >= 0) {
        s->weight = constants + p->row[row->conv].weight;
        s->bias = constants + p->row[row->conv].bias;
    }
    if (count == 2) {
        s->other = results + p->row[from[1]].offset;
        s->c_other = p->net->node[from[1]].c_out;
    } else if (n->residual) {
        s->other = s->in;
        s->c_other = n->c_out;
    }
}

// Steps of one depth and kind become a launch.
static void plan_launches(struct plan *p, struct ls_cuda_netrun *run, float *results,
                          const float *constants)
{
    int depth_max = 0;

    for (int i = 0; i < p->net->node_count; i++)
        if (p->row[i].depth > depth_max)
            depth_max = p->row[i].depth;
    for (int depth = 1; depth <= depth_max; depth++) {
        for (int kind = 0; kind <= LS_NETRUN_ADD; kind++) {
            struct launch launch = {.kind = (enum ls_netrun_kind)kind, .step_first = p->step_count};

            for (int i = 0; i < p->net->node_count; i++) {
                if (!p->row[i].is_done || p->row[i].depth != depth || (int)p->row[i].kind != kind)
                    continue;
                plan_step(p, i, results, constants);
                p->step[p->step_count - 1].block_first = launch.block_count;
                launch.block_count +=
                    (int)((ls_netrun_work(launch.kind, &p->step[p->step_count - 1]) +
                           LS_NETRUN_THREADS - 1) /
                          LS_NETRUN_THREADS);
                launch.step_count++;
            }
            if (launch.step_count)
                run->launch[run->launch_count++] = launch;
        }
    }
}

static void plan_ends(const struct plan *p, struct ls_cuda_netrun *run)
{
    for (int i = 0; i < p->net->node_count; i++) {
        float *result = (float *)run->results + p->row[i].offset;

        if (p->net->node[i].layer->op == LS_NET_INPUT)
            run->input = result;
        if (p->net->node[i].layer->output)
            run->output[run->output_count++] = result;
    }
}

// Fills the device's constants: weights and biases, then the steps, for which there is room.
static int upload(struct plan *p, struct ls_cuda_netrun *run, struct ls_err *err)
{
    size_t step_size = sizeof *p->step * (size_t)p->net->node_count;
    size_t size = sizeof(float) * (size_t)p->constant_size;
    char *staged = calloc(1, size + step_size);
    int r;

    if (!staged)
        return ls_fail(err, LS_ENOMEM, "no memory for the weights of %s", p->net->spec->name);
    r = ls_cuda_alloc(&run->constants, size + step_size, err);
    if (r < 0)
        goto done;
    run->step = (struct ls_netrun_step *)((char *)run->constants + size);
    pack_constants(p, (float *)staged);
    plan_launches(p, run, run->results, run->constants);
    memcpy(staged + size, p->step, sizeof *p->step * (size_t)p->step_count);
    r = ls_cuda_check(err,
                      cudaMemcpy(run->constants, staged, size + step_size, cudaMemcpyHostToDevice),
                      "copy of weights");
    if (r == 0) // from pageable memory it may still be under way, and other streams do not wait
        r = ls_cuda_check(err, cudaStreamSynchronize(0), "copy of weights");
done:
    free(staged);
    return r;
}

// One input; sizes that fit the kernels' 32-bit counts.
static int check_net(const struct ls_net *net, struct ls_err *err)
{
    int input_count = 0;

    for (int i = 0; i < net->node_count; i++) {
        const struct ls_net_node *n = &net->node[i];

        input_count += n->layer->op == LS_NET_INPUT;
        if ((int64_t)n->c_out * n->h_out * n->w_out > INT32_MAX / 4)
            return ls_fail(err, LS_ELIMIT, "%s, row %d: [%d,%d,%d] is too large for the device",
                           net->spec->name, i, n->c_out, n->h_out, n->w_out);
        assert(!is_conv(n->layer->op) || n->weight);
    }
    assert(input_count == 1);
    (void)input_count;
    return 0;
}

int ls_cuda_netrun_new(struct ls_cuda_netrun **out, const struct ls_net *net, struct ls_err *err)
{
    size_t count = (size_t)net->node_count;
    struct plan p = {.net = net};
    struct ls_cuda_netrun *run = calloc(1, sizeof *run);
    int r = check_net(net, err);

    if (r < 0)
        goto done;
    p.row = calloc(count, sizeof *p.row);
    p.step = calloc(count, sizeof *p.step);
    if (run) {
        run->launch = calloc(count, sizeof *run->launch);
        run->output = calloc(count, sizeof *run->output);
    }
    if (!run || !run->launch || !run->output || !p.row || !p.step) {
        r = ls_fail(err, LS_ENOMEM, "no memory to plan %s", net->spec->name);
        goto done;
    }
    plan_rows(&p);
    plan_memory(&p);
    r = ls_cuda_alloc(&run->results, sizeof(float) * (size_t)p.result_size, err);
    if (r == 0)
        r = upload(&p, run, err);
    if (r < 0)
        goto done;
    plan_ends(&p, run);
    *out = run;
    run = NULL;
done:
    ls_cuda_netrun_free(&run);
    free(p.row);
    free(p.step);
    return r;
}

void ls_cuda_netrun_free(struct ls_cuda_netrun **run)
{
    if (!run || !*run)
        return;
    if ((*run)->graph && cudaGraphExecDestroy((*run)->graph) != cudaSuccess)
        (void)cudaGetLastError(); // of a lost device: nothing is left to be done
    ls_cuda_free(&(*run)->results);
    ls_cuda_free(&(*run)->constants);
    free((*run)->launch);
    free((*run)->output);
    free(*run);
    *run = NULL;
}

float *ls_cuda_netrun_input(struct ls_cuda_netrun *run)
{
    return run->input;
}

const float *ls_cuda_netrun_output(const struct ls_cuda_netrun *run, int idx)
{
    assert(idx >= 0 && idx < run->output_count);
    return run->output[idx];
}

static int queue(const struct ls_cuda_netrun *run, cudaStream_t stream, struct ls_err *err)
{
    for (int i = 0; i < run->launch_count; i++) {
        const struct launch *l = &run->launch[i];
        int r = ls_cuda_check(err,
                              ls_netrun_launch(l->kind, run->step + l->step_first, l->step_count,
                                               l->block_count, stream),
                              "detector");

        if (r < 0)
            return r;
    }
    return 0;
}

static int capture(struct ls_cuda_netrun *run, cudaStream_t stream, struct ls_err *err)
{
    cudaGraph_t graph = NULL;
    int r, ended;

    r = ls_cuda_check(err, cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal),
                      "CUDA graph of a detector");
    if (r < 0)
        return r;
    r = queue(run, stream, err);
    ended = (int)cudaStreamEndCapture(stream, &graph); // also after a failure: it frees the stream
    if (r == 0)
        r = ls_cuda_check(err, ended, "CUDA graph of a detector");
    else
        (void)cudaGetLastError();
    if (r == 0)
        r = ls_cuda_check(err, cudaGraphInstantiate(&run->graph, graph, 0),
                          "CUDA graph of a detector");
    if (graph)
        (void)cudaGraphDestroy(graph);
    return r;
}

int ls_cuda_netrun_run(struct ls_cuda_netrun *run, cudaStream_t stream, struct ls_err *err)
{
    int r;

    // The default stream cannot be captured.
    if (stream && run->ran && !run->graph && !run->graphless)
        run->graphless = capture(run, stream, NULL) < 0;
    if (stream && run->graph)
        return ls_cuda_check(err, cudaGraphLaunch(run->graph, stream), "detector");
    r = queue(run, stream, err);
    run->ran = run->ran || r == 0;
    return r;
}
