// SPDX-License-Identifier: Apache-2.0
// Small networks on the device against ref: a few rows each with one thing that the plan or a
// kernel can get wrong (results that share memory, additions that go into convolutions, several
// rows a launch), and the detectors' own tables with random weights. Each runs three times, on the
// default stream and twice as a CUDA graph, with the same bytes.
#include "kernels/blazeface.h"
#include "kernels/cuda/netrun.h"
#include "kernels/ref/ref.h"
#include "kernels/yunet.h"
#include "tests/kernels/_device.h"
#include "tests/kernels/_pictures.h"
#include "tests/kernels/_widths.h"
#include "tests/unit/_check.h"

enum { OUTPUTS_MAX = 12, ROWS_MAX = 16, RUNS = 3 };

// clang-format off
#define IN {.op = LS_NET_INPUT, .from = {-1, -1}}
#define CONV(n, f, k, s, p, a) \
    {.name = n, .op = LS_NET_CONV, .from = {f, -1}, .kernel = {k, k}, .stride = {s, s}, \
     .pad = {p, p}, .act = LS_ACT_##a}
#define OUT(n, f, a) \
    {.name = n, .op = LS_NET_CONV, .from = {f, -1}, .kernel = {1, 1}, .stride = {1, 1}, \
     .act = LS_ACT_##a, .output = true}
#define RES(n, f) \
    {.name = n, .op = LS_NET_CONV, .from = {f, -1}, .kernel = {3, 3}, .stride = {1, 1}, \
     .pad = {1, 1}, .act = LS_ACT_RELU, .norm = true, .residual = true}
#define DW(n, f, s, p, extra, a) \
    {.name = n, .op = LS_NET_DWCONV, .from = {f, -1}, .kernel = {3, 3}, .stride = {s, s}, \
     .pad = {p, p}, .pad_end_extra = extra, .act = LS_ACT_##a}
#define UP(n, f, k, s, p, o, a) \
    {.name = n, .op = LS_NET_TCONV, .from = {f, -1}, .kernel = {k, k}, .stride = {s, s}, \
     .pad = {p, p}, .out_pad = o, .act = LS_ACT_##a}
#define CAT(a, b) {.op = LS_NET_CONCAT, .from = {a, b}}
#define ADD(a, b) {.op = LS_NET_ADD, .from = {a, b}, .act = LS_ACT_RELU}
#define UPADD(a, b) {.op = LS_NET_UPADD, .from = {a, b}}
#define POOL(f, k, s, p) \
    {.op = LS_NET_MAXPOOL, .from = {f, -1}, .kernel = {k, k}, .stride = {s, s}, .pad = {p, p}}

static const struct {
    const char *name;
    int input[3];        // c, h, w
    int width[ROWS_MAX]; // output channels of rows with weights
    struct ls_net_layer layer[ROWS_MAX];
} rows[] = {
    {"convolutions", {3, 33, 47}, {0, 17, 40, 5, 3},
     {IN, CONV("a", 0, 5, 2, 2, RELU), CONV("b", 1, 3, 3, 1, NONE), CONV("c", 2, 1, 1, 0, RELU),
      OUT("d", 3, SIGMOID)}},
    {"one by one, but not all of it", {5, 9, 12}, {0, 9, 7, 3},
     {IN, CONV("a", 0, 1, 2, 0, RELU), CONV("b", 1, 1, 1, 1, NONE), OUT("c", 2, NONE)}},
    {"sides of their own", {1, 40, 16}, {0, 20, 20, 4},
     {IN, CONV("a", 0, 3, 1, 1, RELU),
      {.name = "b", .op = LS_NET_CONV, .from = {1, -1}, .kernel = {3, 5}, .stride = {3, 2},
       .pad = {0, 2}, .pad_end_extra = 1, .act = LS_ACT_SIGMOID}, OUT("c", 2, NONE)}},
    {"residual", {2, 13, 11}, {0, 24, 24, 24, 2},
     {IN, CONV("a", 0, 3, 1, 1, RELU), RES("b", 1), RES("c", 2), OUT("d", 3, NONE)}},
    {"depthwise", {3, 21, 18}, {0, 24, 24, 24, 24, 7},
     {IN, CONV("a", 0, 3, 1, 1, NONE), DW("b", 1, 1, 1, 0, RELU), DW("c", 2, 2, 0, 1, NONE),
      DW("d", 3, 2, 1, 0, SIGMOID), OUT("e", 4, NONE)}},
    {"up", {3, 5, 7}, {0, 20, 17, 9, 2},
     {IN, CONV("a", 0, 3, 1, 1, RELU), UP("b", 1, 3, 2, 1, 1, RELU), UP("c", 2, 4, 3, 1, 0, NONE),
      OUT("d", 3, NONE)}},
    {"up from one pixel", {40, 1, 1}, {0, 18, 33, 2},
     {IN, CONV("a", 0, 1, 1, 0, RELU), UP("b", 1, 3, 1, 0, 0, RELU), OUT("c", 2, NONE)}},
    {"concatenations inside", {3, 8, 9}, {0, 20, 5, 0, 0, 9, 0, 3},
     {IN, CONV("a", 0, 3, 1, 1, RELU), CONV("b", 1, 1, 1, 0, RELU), CAT(1, 2), CAT(3, 2),
      CONV("d", 4, 3, 1, 1, RELU), CAT(5, 4), OUT("e", 6, NONE)}},
    {"additions", {3, 12, 8}, {0, 30, 12, 0, 0, 30, 0, 2},
     {IN, CONV("a", 0, 3, 1, 1, RELU), CONV("b", 1, 3, 1, 1, RELU), ADD(1, 2), POOL(3, 2, 2, 0),
      CONV("c", 4, 3, 1, 1, NONE), UPADD(5, 3), OUT("d", 6, NONE)}},
    {"additions inside convolutions", {3, 12, 10}, {0, 8, 20, 0, 20, 0, 20, 0, 3},
     {IN, CONV("a", 0, 3, 1, 1, RELU), CONV("b", 1, 1, 1, 0, NONE), ADD(2, 1),
      DW("c", 3, 1, 1, 0, NONE), ADD(4, 3), UP("d", 5, 3, 1, 1, 0, NONE), ADD(6, 1),
      OUT("e", 7, NONE)}},
    {"additions that must wait", {4, 12, 10}, {0, 8, 8, 16, 0, 0, 3},
     {IN, CONV("a", 0, 3, 1, 1, RELU), DW("b", 1, 2, 0, 1, NONE), CONV("c", 2, 1, 1, 0, NONE),
      POOL(1, 2, 2, 0), ADD(3, 4), OUT("d", 5, NONE)}},
    {"a convolution that others read", {3, 7, 9}, {0, 16, 16, 0, 4, 3},
     {IN, CONV("a", 0, 3, 1, 1, RELU), CONV("b", 1, 3, 1, 1, NONE), ADD(2, 1), OUT("c", 2, NONE),
      OUT("d", 3, NONE)}},
    {"a sum with itself", {3, 7, 9}, {0, 16, 0, 3},
     {IN, CONV("a", 0, 3, 1, 1, NONE), ADD(1, 1), OUT("b", 2, NONE)}},
    {"an output that is added", {3, 7, 9}, {0, 16, 16, 0, 3},
     {IN, CONV("a", 0, 3, 1, 1, RELU), OUT("b", 1, NONE), ADD(2, 1), OUT("c", 3, NONE)}},
    {"heads side by side", {3, 14, 10}, {0, 24, 1, 1, 10, 10, 4, 4, 9, 13},
     {IN, CONV("a", 0, 3, 2, 1, RELU), CONV("b", 1, 1, 1, 0, NONE),
      DW("c", 2, 1, 1, 0, SIGMOID), CONV("d", 1, 1, 1, 0, NONE), DW("e", 4, 1, 1, 0, NONE),
      CONV("f", 1, 3, 1, 1, NONE), DW("g", 6, 1, 1, 0, RELU), OUT("h", 1, NONE),
      OUT("i", 7, SIGMOID)}},
    {"the input again", {3, 12, 8}, {0, 16, 0, 8, 0, 2},
     {IN, CONV("a", 0, 3, 1, 1, RELU), CAT(1, 0), CONV("b", 2, 3, 1, 1, RELU), CAT(3, 0),
      OUT("c", 4, NONE)}},
};
// clang-format on

struct net_case {
    const char *name;
    const struct ls_net_spec *spec;
    struct ls_net_params params;
    struct widths widths;
};

struct outputs {
    float *want[OUTPUTS_MAX], *got[RUNS][OUTPUTS_MAX];
    size_t size[OUTPUTS_MAX];
    int count;
};

static void outputs_init(struct outputs *o, const struct ls_net *net)
{
    for (int i = 0; i < net->node_count; i++) {
        if (!net->node[i].layer->output)
            continue;
        o->size[o->count] = node_size(&net->node[i]);
        o->want[o->count] = calloc(o->size[o->count], sizeof(float));
        for (int run = 0; run < RUNS; run++)
            o->got[run][o->count] = calloc(o->size[o->count], sizeof(float));
        o->count++;
    }
}

static void outputs_done(struct outputs *o)
{
    for (int i = 0; i < o->count; i++) {
        free(o->want[i]);
        for (int run = 0; run < RUNS; run++)
            free(o->got[run][i]);
    }
}

static int run_all(struct ls_cuda_netrun *run, struct outputs *o, const float *input, size_t size,
                   cudaStream_t stream, struct ls_err *err)
{
    for (int i = 0; i < RUNS; i++) {
        int r;

        device_must(cudaMemcpy(ls_cuda_netrun_input(run), input, size * sizeof *input,
                               cudaMemcpyHostToDevice),
                    "input");
        device_must(cudaDeviceSynchronize(), "input");
        r = ls_cuda_netrun_run(run, i ? stream : NULL, err);
        if (r < 0)
            return r;
        device_must(cudaDeviceSynchronize(), "run");
        for (int k = 0; k < o->count; k++)
            device_must(cudaMemcpy(o->got[i][k], ls_cuda_netrun_output(run, k),
                                   o->size[k] * sizeof(float), cudaMemcpyDeviceToHost),
                        "output");
    }
    return 0;
}

// Sums of up to some hundred terms, rounded in another order.
static void compare(const char *name, const struct outputs *o)
{
    for (int i = 0; i < o->count; i++) {
        float largest = 1e-3f;

        for (size_t k = 0; k < o->size[i]; k++)
            largest = fmaxf(largest, fabsf(o->want[i][k]));
        CHECK(differ_float(name, o->got[0][i], o->want[i], o->size[i], 1e-5 * largest) <=
                  1e-5 * largest,
              name);
        for (int run = 1; run < RUNS; run++)
            CHECK(!memcmp(o->got[0][i], o->got[run][i], o->size[i] * sizeof(float)), name);
    }
}

static void check_net(const struct net_case *c, const struct ls_net *net)
{
    struct ls_cuda_netrun *run = NULL;
    struct outputs o = {0};
    struct ls_err err = {0};
    uint64_t seed = 21;
    size_t size = node_size(&net->node[0]);
    float *input = malloc(size * sizeof *input);
    cudaStream_t stream;
    int r = ls_cuda_netrun_new(&run, net, &err);

    device_must(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "stream");
    outputs_init(&o, net);
    for (size_t i = 0; input && i < size; i++)
        input[i] = random_float(&seed, -1, 1);
    if (r == 0)
        r = ls_ref_net_run(net, (const float *const[]){input}, o.want, 1, &err);
    if (r == 0)
        r = run_all(run, &o, input, size, stream, &err);
    if (CHECK(r == 0, c->name))
        compare(c->name, &o);
    else
        printf("%s\n", err.text);
    outputs_done(&o);
    free(input);
    ls_cuda_netrun_free(&run);
    CHECK(!run, c->name);
    device_must(cudaStreamDestroy(stream), "stream");
}

// Every call of CUDA's fails once: an error each time, nothing left behind, and a run that failed
// can be tried again; but a graph that cannot be had is no failure.
static void check_failures_of(const struct net_case *c, const struct ls_net *net)
{
    struct ls_cuda_netrun *run = NULL;
    struct ls_err err = {0};
    cudaStream_t stream;
    int r = -1;

    device_must(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "stream");
    for (int call = 1; r < 0 && CHECK(call < 100, c->name); call++) {
        ls_shim_fail(call);
        r = ls_cuda_netrun_new(&run, net, &err);
        CHECK((r < 0) == !run && (r == 0 || err.text[0]), c->name);
    }
    r = -1;
    for (int call = 1; run && r < 0 && CHECK(call < 100, c->name); call++) {
        ls_shim_fail(call);
        r = ls_cuda_netrun_run(run, stream, &err);
    }
    ls_shim_fail(1); // of the capture
    CHECK(run && ls_cuda_netrun_run(run, stream, &err) == 0, c->name);
    ls_shim_fail(0);
    CHECK(cudaGetLastError() == cudaSuccess, c->name);
    device_must(cudaStreamSynchronize(stream), "run");
    device_must(cudaStreamDestroy(stream), "stream");
    ls_cuda_netrun_free(&run);
}

static void check_case(const struct net_case *c)
{
    struct ls_weights *w = NULL;
    struct ls_net *net = NULL;
    struct ls_err err = {0};
    struct widths widths = c->widths;
    int r = ls_weights_new(&w, &err);

    if (r == 0)
        r = ls_net_seed(w, c->spec, &c->params, width_of, &widths, 17, &err);
    if (r == 0)
        r = ls_net_plan(&net, c->spec, w, &c->params, &err);
    if (CHECK(r == 0, c->name)) {
        check_net(c, net);
        check_failures_of(c, net);
    } else {
        printf("%s\n", err.text);
    }
    ls_net_free(&net);
    ls_weights_close(&w);
}

static int count_rows(const struct ls_net_layer *layer)
{
    int count = 1;

    while (count < ROWS_MAX && (layer[count].name || layer[count].from[0] || layer[count].from[1]))
        count++;
    return count;
}

static void check_rows(bool fold_residual)
{
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct ls_net_spec spec = {
            .name = rows[i].name, .layer = rows[i].layer, .layer_count = count_rows(rows[i].layer)};
        struct net_case c = {.name = rows[i].name,
                             .spec = &spec,
                             .params = {.fold_residual = fold_residual},
                             .widths = {rows[i].width, 0}};

        c.params.input[0].c = rows[i].input[0];
        c.params.input[0].h = rows[i].input[1];
        c.params.input[0].w = rows[i].input[2];
        check_case(&c);
    }
}

static int yunet_width(int row, const int *of_row)
{
    static const int heads[] = {1, 1, 4, 10}; // class, object, box, points: from row 36 on
    const struct ls_net_layer *l = &ls_yunet.layer[row];

    if (row >= 36)
        return heads[(row - 36) / 2 % 4];
    if (l->op == LS_NET_DWCONV || l->op == LS_NET_MAXPOOL)
        return of_row[l->from[0]];
    return row <= 4 ? 16 : row <= 7 ? 32 : 64;
}

// Widths grow as the real ones do, where an addition's second source is the narrower one.
static int blazeface_width(int row, const int *of_row)
{
    const struct ls_net_layer *l = &ls_blazeface.layer[row];

    if (l->output)
        return row == ls_blazeface.layer_count - 4 ? 2 : row % 2 ? 6 : 20;
    if (l->op == LS_NET_DWCONV || l->op == LS_NET_MAXPOOL || l->op == LS_NET_ADD)
        return of_row[l->from[0]];
    return row < 24 ? 24 : row < 50 ? 48 : 96;
}

static void check_detectors(void)
{
    static int yunet[64], blazeface[128];
    struct net_case c = {.name = "YuNet",
                         .spec = &ls_yunet,
                         .params = {.input[0] = {3, 96, 160}},
                         .widths = {yunet, 0}};

    for (int i = 0; i < ls_yunet.layer_count; i++)
        yunet[i] = yunet_width(i, yunet);
    check_case(&c);
    c.params.input[0].h = 32;
    c.params.input[0].w = 64;
    check_case(&c);
    for (int i = 0; i < ls_blazeface.layer_count; i++)
        blazeface[i] = blazeface_width(i, blazeface);
    c = (struct net_case){.name = "BlazeFace",
                          .spec = &ls_blazeface,
                          .params = {.input[0] = {3, 256, 256}},
                          .widths = {blazeface, 0}};
    check_case(&c);
}

int main(void)
{
    check_rows(false);
    check_rows(true);
    check_detectors();
    return check_done();
}
