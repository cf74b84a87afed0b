// SPDX-License-Identifier: Apache-2.0
// Networks of a few rows, each with one thing that a layout or a memory plan can get wrong, on the
// cpu back end's executor against ref's: odd sizes, channels that fill no block, concatenations
// inside concatenations, every kind of row; and the detectors' and the generator's own tables with
// random weights. Several items at once, and each also alone: the bytes must be the same. All
// but the detectors also in bfloat16, where the processor has it.
#include "kernels/blazeface.h"
#include "kernels/cpu/dnn.h"
#include "kernels/ref/ref.h"
#include "kernels/wav2lip.h"
#include "kernels/yunet.h"
#include "tests/kernels/_pictures.h"
#include "tests/kernels/_widths.h"
#include "tests/unit/_check.h"

enum { ITEMS = 3, OUTPUTS_MAX = 12, ROWS_MAX = 16 };

// clang-format off
#define IN {.op = LS_NET_INPUT, .from = {-1, -1}}
#define CONV(n, f, k, s, p) \
    {.name = n, .op = LS_NET_CONV, .from = {f, -1}, .kernel = {k, k}, .stride = {s, s}, \
     .pad = {p, p}, .act = LS_ACT_RELU}
#define OUT(n, f) \
    {.name = n, .op = LS_NET_CONV, .from = {f, -1}, .kernel = {1, 1}, .stride = {1, 1}, .output = true}
#define RES(n, f) \
    {.name = n, .op = LS_NET_CONV, .from = {f, -1}, .kernel = {3, 3}, .stride = {1, 1}, \
     .pad = {1, 1}, .act = LS_ACT_RELU, .norm = true, .residual = true}
#define DW(n, f, s, extra) \
    {.name = n, .op = LS_NET_DWCONV, .from = {f, -1}, .kernel = {3, 3}, .stride = {s, s}, \
     .pad = {1, 1}, .pad_end_extra = extra}
#define UP(n, f, k, s, p, o) \
    {.name = n, .op = LS_NET_TCONV, .from = {f, -1}, .kernel = {k, k}, .stride = {s, s}, \
     .pad = {p, p}, .out_pad = o, .act = LS_ACT_RELU}
#define CAT(a, b) {.op = LS_NET_CONCAT, .from = {a, b}}
#define ADD(a, b) {.op = LS_NET_ADD, .from = {a, b}, .act = LS_ACT_RELU}
#define UPADD(a, b) {.op = LS_NET_UPADD, .from = {a, b}}
#define POOL(f, k, s, p) \
    {.op = LS_NET_MAXPOOL, .from = {f, -1}, .kernel = {k, k}, .stride = {s, s}, .pad = {p, p}}

static const struct {
    const char *name;
    int input[3];         // c, h, w
    int width[ROWS_MAX];  // output channels of rows with weights
    struct ls_net_layer layer[ROWS_MAX];
} rows[] = {
    {"convolutions", {3, 33, 47}, {0, 17, 40, 5, 3},
     {IN, CONV("a", 0, 5, 2, 2), CONV("b", 1, 3, 3, 1), CONV("c", 2, 1, 1, 0), OUT("d", 3)}},
    {"seven by seven", {6, 20, 20}, {0, 16, 3},
     {IN, CONV("a", 0, 7, 1, 3), OUT("b", 1)}},
    {"sides of their own", {1, 40, 16}, {0, 20, 20, 4},
     {IN, CONV("a", 0, 3, 1, 1),
      {.name = "b", .op = LS_NET_CONV, .from = {1, -1}, .kernel = {3, 5}, .stride = {3, 2},
       .pad = {0, 2}, .pad_end_extra = 1, .act = LS_ACT_SIGMOID}, OUT("c", 2)}},
    {"residual", {2, 13, 11}, {0, 24, 24, 24, 2},
     {IN, CONV("a", 0, 3, 1, 1), RES("b", 1), RES("c", 2), OUT("d", 3)}},
    {"valid to one pixel", {4, 5, 5}, {0, 33, 19, 12},
     {IN, CONV("a", 0, 3, 1, 0), CONV("b", 1, 3, 1, 0), OUT("c", 2)}},
    {"depthwise", {3, 21, 18}, {0, 24, 24, 24, 24, 7},
     {IN, CONV("a", 0, 3, 1, 1), DW("b", 1, 1, 0), DW("c", 2, 2, 1), DW("d", 3, 2, 0), OUT("e", 4)}},
    {"up from one pixel", {40, 1, 1}, {0, 18, 33, 2},
     {IN, CONV("a", 0, 1, 1, 0), UP("b", 1, 3, 1, 0, 0), OUT("c", 2)}},
    {"up by two", {3, 5, 7}, {0, 20, 17, 40, 2},
     {IN, CONV("a", 0, 3, 1, 1), UP("b", 1, 3, 2, 1, 1), UP("c", 2, 3, 2, 1, 1), OUT("d", 3)}},
    {"up by two, odd", {3, 5, 4}, {0, 20, 17, 2},
     {IN, CONV("a", 0, 3, 1, 1), UP("b", 1, 3, 2, 1, 0), OUT("c", 2)}},
    {"up by two, four taps", {3, 6, 4}, {0, 20, 17, 2},
     {IN, CONV("a", 0, 3, 1, 1), UP("b", 1, 4, 2, 1, 0), OUT("c", 2)}},
    {"up by one", {3, 6, 4}, {0, 20, 17, 2},
     {IN, CONV("a", 0, 3, 1, 1), UP("b", 1, 3, 1, 1, 0), OUT("c", 2)}},
    {"up by three", {3, 4, 4}, {0, 20, 17, 2},
     {IN, CONV("a", 0, 3, 1, 1), UP("b", 1, 3, 3, 0, 0), OUT("c", 2)}},
    {"concatenation", {3, 9, 9}, {0, 20, 5, 0, 11, 3},
     {IN, CONV("a", 0, 3, 1, 1), CONV("b", 1, 1, 1, 0), CAT(2, 1), CONV("d", 3, 3, 1, 1), OUT("e", 4)}},
    {"concatenations inside", {3, 8, 9}, {0, 20, 5, 0, 0, 9, 0, 3},
     {IN, CONV("a", 0, 3, 1, 1), CONV("b", 1, 1, 1, 0), CAT(1, 2), CAT(3, 2), CONV("d", 4, 3, 1, 1),
      CAT(5, 4), OUT("e", 6)}},
    {"twice the same", {3, 8, 9}, {0, 20, 0, 0, 13, 3},
     {IN, CONV("a", 0, 3, 1, 1), CAT(1, 1), CAT(2, 1), CONV("d", 3, 3, 1, 1), OUT("e", 4)}},
    {"pooled concatenation", {3, 9, 12}, {0, 20, 5, 0, 0, 25, 3},
     {IN, CONV("a", 0, 3, 1, 1), CONV("b", 1, 1, 1, 0), CAT(2, 1), POOL(3, 3, 2, 1), DW("d", 4, 1, 0),
      OUT("e", 5)}},
    {"sums", {3, 12, 8}, {0, 30, 12, 0, 0, 30, 0, 2},
     {IN, CONV("a", 0, 3, 1, 1), CONV("b", 1, 3, 1, 1), ADD(1, 2), POOL(3, 2, 2, 0),
      CONV("c", 4, 3, 1, 1), UPADD(5, 3), OUT("d", 6)}},
    {"two outputs", {3, 12, 8}, {0, 30, 12, 30, 2},
     {IN, CONV("a", 0, 3, 1, 1), OUT("b", 1), CONV("c", 1, 3, 1, 1), OUT("d", 3)}},
    {"outputs inside", {3, 12, 8}, {0, 30, 12, 0, 2},
     {IN, CONV("a", 0, 3, 1, 1), OUT("b", 1), CAT(2, 1), OUT("d", 3)}},
    {"large weights", {8, 12, 12}, {0, 400, 330, 350, 0, 3},
     {IN, CONV("a", 0, 3, 2, 1), CONV("b", 1, 3, 1, 1), CONV("c", 2, 3, 1, 1), CAT(3, 2), OUT("d", 4)}},
};
// clang-format on

struct net_case {
    const char *name;
    const struct ls_net_spec *spec;
    struct ls_net_params params;
    struct widths widths;
    double most; // relative to the largest value; each row of sums in another order adds 1e-6 or so
    enum ls_value narrow;
};

// [ITEMS][node] random numbers.
static float *random_items(const struct ls_net_node *node, uint64_t *seed)
{
    size_t size = ITEMS * node_size(node);
    float *v = malloc(sizeof *v * size);

    for (size_t i = 0; v && i < size; i++)
        v[i] = random_float(seed, -1, 1);
    return v;
}

struct buffers {
    float *input[2], *want[OUTPUTS_MAX], *got[2][OUTPUTS_MAX]; // all items at once, one by one
    size_t input_size[2], output_size[OUTPUTS_MAX];
    int input_count, output_count;
};

static void buffers_init(struct buffers *b, const struct ls_net *net)
{
    uint64_t seed = 21;

    for (int i = 0; i < net->node_count; i++) {
        const struct ls_net_node *n = &net->node[i];

        if (n->layer->op == LS_NET_INPUT) {
            b->input_size[b->input_count] = node_size(n);
            b->input[b->input_count++] = random_items(n, &seed);
        }
        if (n->layer->output) {
            b->output_size[b->output_count] = node_size(n);
            b->want[b->output_count] = random_items(n, &seed);
            b->got[0][b->output_count] = random_items(n, &seed);
            b->got[1][b->output_count++] = random_items(n, &seed);
        }
    }
}

static void buffers_done(struct buffers *b)
{
    for (int i = 0; i < b->input_count; i++)
        free(b->input[i]);
    for (int i = 0; i < b->output_count; i++) {
        free(b->want[i]);
        free(b->got[0][i]);
        free(b->got[1][i]);
    }
}

// Items [first, first + count) into got[which].
static void run(struct ls_dnn_lane *lane, struct buffers *b, int first, int count, int which,
                const char *name)
{
    struct ls_err err = {0};

    for (int n = 0; n < count; n++)
        for (int i = 0; i < b->input_count; i++)
            memcpy(ls_dnn_input(lane, i, n), b->input[i] + (size_t)(first + n) * b->input_size[i],
                   b->input_size[i] * sizeof(float));
    if (!CHECK(ls_dnn_run(lane, &(struct ls_dnn_job){.count = count}, &err) == 0, name))
        printf("%s\n", err.text);
    for (int n = 0; n < count; n++)
        for (int i = 0; i < b->output_count; i++)
            ls_dnn_output(b->got[which][i] + (size_t)(first + n) * b->output_size[i], NULL, lane, i,
                          n);
}

static void compare(const struct net_case *c, const struct buffers *b)
{
    for (int i = 0; i < b->output_count; i++) {
        size_t size = ITEMS * b->output_size[i];
        float largest = 1e-3f;

        for (size_t k = 0; k < size; k++)
            largest = fmaxf(largest, fabsf(b->want[i][k]));
        CHECK(differ_float(c->name, b->got[0][i], b->want[i], size, c->most * largest) <=
                  c->most * largest,
              c->name);
        CHECK(!memcmp(b->got[0][i], b->got[1][i], size * sizeof(float)), c->name);
    }
}

// The same comes out when what is around it is not made.
static void check_part(const struct net_case *c, const struct ls_net *net,
                       const struct ls_dnn *whole, const float *range, const struct buffers *b,
                       const struct ls_dnn_part *part)
{
    struct ls_dnn_params params = {.items_max = 1,
                                   .first = {part->first[0], part->first[1]},
                                   .end = {part->end[0], part->end[1]},
                                   .weights_of = whole,
                                   .narrow = c->narrow,
                                   .range = range};
    double most = c->narrow ? c->most : 1e-4; // a rounding may fall to the other side
    struct ls_dnn *dnn = NULL;
    struct ls_dnn_lane *lane = NULL;
    struct ls_err err = {0};
    int idx = 0;
    char row[96];

    snprintf(row, sizeof row, "%s, rows %d to %d, columns %d to %d", c->name, part->first[0],
             part->end[0], part->first[1], part->end[1]);
    if (!CHECK(ls_dnn_new(&dnn, net, &params, &err) == 0 &&
                   ls_dnn_lane_new(&lane, (const struct ls_dnn *[]){whole, dnn}, 2, &err) == 0,
               row))
        printf("%s\n", err.text);
    else {
        ls_dnn_use(lane, 1);
        for (int i = 0; i < b->input_count; i++)
            memcpy(ls_dnn_input(lane, i, 0), b->input[i], b->input_size[i] * sizeof(float));
        CHECK(ls_dnn_run(lane, &(struct ls_dnn_job){.count = 1}, &err) == 0, row);
    }
    for (int i = 0; i < net->node_count && lane; i++) {
        const struct ls_net_node *n = &net->node[i];
        struct ls_dnn_part made;
        const float *got = b->got[1][idx];

        if (!n->layer->output)
            continue;
        ls_dnn_output(b->got[1][idx], &made, lane, idx, 0);
        for (int d = 0; d < 2; d++)
            CHECK(made.first[d] <= part->first[d] && (!part->end[d] || made.end[d] >= part->end[d]),
                  row);
        for (int y = 0; y < n->c_out * (made.end[0] - made.first[0]); y++) {
            int height = made.end[0] - made.first[0], width = made.end[1] - made.first[1];
            const float *want =
                b->got[0][idx] +
                ((size_t)(y / height) * n->h_out + made.first[0] + y % height) * n->w_out +
                made.first[1];

            CHECK(differ_float(row, got, want, (size_t)width, most) <= most, row);
            got += width;
        }
        idx++;
    }
    ls_dnn_lane_free(&lane);
    ls_dnn_free(&dnn);
}

static void check_cuts(const struct net_case *c, const struct ls_net *net,
                       const struct ls_dnn *whole, const float *range, const struct buffers *b)
{
    int height = 1 << 20, width = 1 << 20;
    // Kernels of bytes take milliseconds each to make.
    int stride = c->narrow != LS_VALUE_U8 ? 1 : net->node_count > ROWS_MAX ? 16 : 3;

    for (int i = 0; i < net->node_count; i++)
        if (net->node[i].layer->output) {
            height = net->node[i].h_out < height ? net->node[i].h_out : height;
            width = net->node[i].w_out < width ? net->node[i].w_out : width;
        }
    for (int i = 1; i < height; i += stride * (i < 12 ? 1 : 7))
        check_part(c, net, whole, range, b, &(struct ls_dnn_part){{i, 0}, {0, 0}});
    for (int i = 1; i < width; i += stride * (i < 6 ? 1 : 5)) {
        check_part(c, net, whole, range, b, &(struct ls_dnn_part){{0, i}, {0, 0}});
        check_part(c, net, whole, range, b, &(struct ls_dnn_part){{0, 0}, {0, i}});
        check_part(c, net, whole, range, b,
                   &(struct ls_dnn_part){{height / 3, (i - 1) / 2}, {height - height / 4, i}});
    }
}

// What results reach, as lipstream-calibrate finds it. Inputs have a sign and stay floats.
struct reach {
    const struct ls_net *net;
    float range[128];
};

static void see(void *user, int node, const float *values, size_t count)
{
    struct reach *r = user;

    for (size_t i = 0; i < count; i++)
        if (r->net->node[node].layer->act == LS_ACT_RELU)
            r->range[node] = fmaxf(r->range[node], values[i]);
}

static int find_reach(struct reach *reach, const struct ls_net *net, struct buffers *b,
                      struct ls_err *err)
{
    struct ls_dnn *dnn = NULL;
    struct ls_dnn_lane *lane = NULL;
    int r = ls_dnn_new(&dnn, net, &(struct ls_dnn_params){.items_max = ITEMS}, err);

    reach->net = net;
    if (r == 0)
        r = ls_dnn_lane_new(&lane, (const struct ls_dnn *[]){dnn}, 1, err);
    for (int n = 0; n < ITEMS && r == 0; n++)
        for (int i = 0; i < b->input_count; i++)
            memcpy(ls_dnn_input(lane, i, n), b->input[i] + (size_t)n * b->input_size[i],
                   b->input_size[i] * sizeof(float));
    if (r == 0)
        r = ls_dnn_run(lane, &(struct ls_dnn_job){.count = ITEMS, .seen = see, .user = reach}, err);
    ls_dnn_lane_free(&lane);
    ls_dnn_free(&dnn);
    return r;
}

// Items whose first input is known give the same bytes, whatever stands in its place.
static void check_records(const struct net_case *c, struct ls_dnn_lane *lane,
                          const struct ls_dnn *dnn, struct buffers *b)
{
    size_t size = ls_dnn_record_size(dnn);
    struct ls_dnn_record record[ITEMS];
    struct ls_dnn_job job = {.count = ITEMS, .record = record};
    char *memory = size ? aligned_alloc(64, ITEMS * size) : NULL;
    struct ls_err err = {0};

    if (!size)
        return;
    for (int i = 0; i < ITEMS; i++)
        record[i] = (struct ls_dnn_record){.at = memory + i * size};
    for (int pass = 0; pass < 2; pass++) {
        for (int n = 0; n < ITEMS; n++)
            for (int i = 0; i < b->input_count; i++)
                for (size_t k = 0; k < b->input_size[i]; k++)
                    ls_dnn_input(lane, i, n)[k] =
                        i == 0 && pass ? 9 : b->input[i][(size_t)n * b->input_size[i] + k];
        CHECK(ls_dnn_run(lane, &job, &err) == 0, c->name);
        for (int n = 0; n < ITEMS; n++)
            CHECK(record[n].known, c->name);
        for (int n = 0; n < ITEMS; n++)
            for (int i = 0; i < b->output_count; i++)
                ls_dnn_output(b->got[1][i] + (size_t)n * b->output_size[i], NULL, lane, i, n);
        for (int i = 0; i < b->output_count; i++)
            CHECK(!memcmp(b->got[0][i], b->got[1][i], ITEMS * b->output_size[i] * sizeof(float)),
                  c->name);
    }
    free(memory);
}

static void check_type(const struct net_case *c)
{
    struct reach reach = {0};
    struct ls_weights *w = NULL;
    struct ls_net *net = NULL;
    struct ls_dnn *dnn = NULL;
    struct ls_dnn_lane *lane = NULL;
    struct buffers b = {0};
    struct ls_err err = {0};
    struct widths widths = c->widths;
    int r = ls_weights_new(&w, &err);

    if (r == 0)
        r = ls_net_seed(w, c->spec, &c->params, width_of, &widths, 17, &err);
    if (r == 0)
        r = ls_net_plan(&net, c->spec, w, &c->params, &err);
    if (r == 0)
        buffers_init(&b, net);
    if (r == 0 && c->narrow == LS_VALUE_U8)
        r = find_reach(&reach, net, &b, &err);
    if (r == 0)
        r = ls_dnn_new(
            &dnn, net,
            &(struct ls_dnn_params){.items_max = ITEMS, .narrow = c->narrow, .range = reach.range},
            &err);
    if (r == 0)
        r = ls_dnn_lane_new(&lane, (const struct ls_dnn *[]){dnn}, 1, &err);
    if (r == 0) {
        r = ls_ref_net_run(net, (const float *const *)b.input, b.want, ITEMS, &err);
        run(lane, &b, 0, ITEMS, 0, c->name);
        for (int i = 0; i < ITEMS; i++)
            run(lane, &b, i, 1, 1, c->name);
        compare(c, &b);
        check_records(c, lane, dnn, &b);
        check_cuts(c, net, dnn, reach.range, &b);
    }
    if (!CHECK(r == 0, c->name))
        printf("%s: %s\n", c->name, err.text);
    buffers_done(&b);
    ls_dnn_lane_free(&lane);
    ls_dnn_free(&dnn);
    ls_net_free(&net);
    ls_weights_close(&w);
}

// bf16: a product's factors are wrong by up to 2^-9 each, and so is every result: sums of many
// layers by some of that. int8: by half a step of 255, weights by one of 254.
static void check_case(const struct net_case *c)
{
    static const struct {
        const char *name;
        enum ls_value narrow;
        double most;
    } types[] = {{"bf16", LS_VALUE_BF16, 0.03}, {"int8", LS_VALUE_U8, 0.06}};

    check_type(c);
    for (int i = 0; i < 2; i++) {
        struct net_case narrow = *c;
        char name[80];

        if (!ls_dnn_has(types[i].narrow))
            continue;
        snprintf(name, sizeof name, "%s, %s", c->name, types[i].name);
        narrow.name = name;
        narrow.most = types[i].most;
        narrow.narrow = types[i].narrow;
        check_type(&narrow);
    }
}

static int count_rows(const struct ls_net_layer *layer)
{
    int count = 1;

    while (count < ROWS_MAX && (layer[count].name || layer[count].from[0] || layer[count].from[1]))
        count++;
    return count;
}

static int yunet_width(const struct ls_net_layer *layers, int row, int *of_row)
{
    static const int heads[] = {1, 1, 4, 10}; // class, object, box, points: from row 36 on
    const struct ls_net_layer *l = &layers[row];

    if (row >= 36)
        return heads[(row - 36) / 2 % 4];
    if (l->op == LS_NET_DWCONV || l->op == LS_NET_MAXPOOL)
        return of_row[l->from[0]];
    return row <= 4 ? 16 : row <= 7 ? 32 : 64;
}

int main(void)
{
    static int yunet[64];
    struct ls_net_params yunet_params = {.input[0] = {3, 96, 160}, .fold_residual = true};
    struct ls_net_params small = {
        .input = {{6, LS_FACE_SIZE, LS_FACE_SIZE}, {1, LS_MEL_BANDS, LS_MEL_WINDOW}},
        .fold_residual = true};

    if (!ls_dnn_has(LS_VALUE_BF16))
        printf("SKIP: bf16: this processor does not multiply bfloat16\n");
    if (!ls_dnn_has(LS_VALUE_U8))
        printf("SKIP: int8: this processor does not multiply bytes\n");
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct ls_net_spec spec = {
            .name = rows[i].name, .layer = rows[i].layer, .layer_count = count_rows(rows[i].layer)};
        struct net_case c = {.name = rows[i].name,
                             .spec = &spec,
                             .params = {.fold_residual = true},
                             .widths = {rows[i].width, 0},
                             .most = 1e-5};

        c.params.input[0].c = rows[i].input[0];
        c.params.input[0].h = rows[i].input[1];
        c.params.input[0].w = rows[i].input[2];
        check_case(&c);
    }
    for (int i = 0; i < ls_yunet.layer_count; i++)
        yunet[i] = yunet_width(ls_yunet.layer, i, yunet);
    check_type(
        &(struct net_case){"YuNet", &ls_yunet, yunet_params, {yunet, 0}, 4e-5, LS_VALUE_F32});
    check_case(
        &(struct net_case){"Wav2Lip, 24 wide", &ls_wav2lip, small, {NULL, 24}, 4e-5, LS_VALUE_F32});
    small.input[0].c = 3;
    small.input[0].h = small.input[0].w = LS_BLAZEFACE_SIZE / 2;
    check_type(&(struct net_case){
        "BlazeFace, 20 wide", &ls_blazeface, small, {NULL, 20}, 4e-5, LS_VALUE_F32});
    return check_done();
}
