// SPDX-License-Identifier: Apache-2.0
// Planning: every kind of fault in a checkpoint is named with both shapes, batch norm and residuals
// are folded without changing the result, and ref runs each operation as written out by hand here.
#include <math.h>
#include <string.h>

#include "kernels/net.h"
#include "kernels/ref/ref.h"
#include "tests/unit/_check.h"

static const struct ls_net_layer block[] = {
    {.op = LS_NET_INPUT, .from = {-1, -1}},
    {.name = "a",
     .op = LS_NET_CONV,
     .from = {0, -1},
     .kernel = {3, 3},
     .stride = {1, 1},
     .pad = {1, 1},
     .act = LS_ACT_RELU,
     .norm = true},
    {.name = "b",
     .op = LS_NET_CONV,
     .from = {1, -1},
     .kernel = {3, 3},
     .stride = {1, 1},
     .pad = {1, 1},
     .act = LS_ACT_RELU,
     .norm = true,
     .residual = true},
    {.name = "c",
     .op = LS_NET_CONV,
     .from = {2, -1},
     .kernel = {1, 1},
     .stride = {1, 1},
     .act = LS_ACT_SIGMOID,
     .output = true},
};
static const struct ls_net_spec spec = {"test", block, 4, ".num_batches_tracked"};
static const struct ls_net_params params = {.input = {{2, 4, 5}}};

static int widths(void *user, int row)
{
    (void)user;
    return row == 3 ? 3 : 4;
}

// A tensor named `skip` is left out, one named `change` gets one more in its last dimension;
// `extra` is added. Everything else is the seeded set.
static struct ls_weights *variant(const char *skip, const char *change, const char *extra)
{
    struct ls_weights *all = NULL, *w = NULL;
    static float values[1000];
    struct ls_err e;
    int64_t one = 1;
    int r = ls_weights_new(&all, &e);

    if (r == 0)
        r = ls_weights_new(&w, &e);
    if (r == 0)
        r = ls_net_seed(all, &spec, &params, widths, NULL, 7, &e);
    for (int i = 0; r == 0 && i < ls_weights_count(all); i++) {
        struct ls_tensor t = *ls_weights_at(all, i);

        if (!strcmp(t.name, skip))
            continue;
        memset(values, 0, sizeof values);
        ls_tensor_read(values, &t);
        if (!strcmp(t.name, change))
            t.dim[t.dim_count - 1]++;
        r = ls_weights_add(w, t.name, values, t.dim_count, t.dim, &e);
    }
    if (r == 0 && *extra)
        r = ls_weights_add(w, extra, values, 1, &one, &e);
    CHECK(r == 0, "variant");
    ls_weights_close(&all);
    return w;
}

static const struct {
    const char *name, *skip, *change, *extra, *want[3];
} faults[] = {
    {"missing weight",
     "a.conv_block.0.weight",
     "",
     "",
     {"\"a.conv_block.0.weight\" [*,2,3,3] is missing", "(faults: 1)", NULL}},
    {"missing variance",
     "b.conv_block.1.running_var",
     "",
     "",
     {"\"b.conv_block.1.running_var\" [4] is missing", NULL}},
    {"wrong kernel",
     "",
     "a.conv_block.0.weight",
     "",
     {"\"a.conv_block.0.weight\" has [4,2,3,4], needs [*,2,3,3]", NULL}},
    {"wrong norm",
     "",
     "b.conv_block.1.bias",
     "",
     {"\"b.conv_block.1.bias\" has [5], needs [4]", NULL}},
    {"wrong bias", "", "c.bias", "", {"\"c.bias\" has [4], needs [3]", NULL}},
    {"left over", "", "", "surplus", {"\"surplus\" [1] is left over", NULL}},
    {"several at once",
     "c.weight",
     "b.conv_block.1.bias",
     "surplus",
     {"(faults: 3)", "\"c.weight\" [*,4,1,1] is missing", "\"surplus\" [1] is left over"}},
    {"none", "", "", "", {NULL}},
    {"counter is ignored", "", "", "a.conv_block.1.num_batches_tracked", {NULL}},
};

static void name_faults(void)
{
    for (int i = 0; i < (int)(sizeof faults / sizeof faults[0]); i++) {
        struct ls_weights *w = variant(faults[i].skip, faults[i].change, faults[i].extra);
        struct ls_net *net = NULL;
        struct ls_err e = {0};
        int r = ls_net_plan(&net, &spec, w, &params, &e);

        CHECK(r == (faults[i].want[0] ? LS_EMODEL : 0) && (r == 0) == (net != NULL),
              faults[i].name);
        for (int k = 0; k < 3 && faults[i].want[k]; k++)
            if (!CHECK(strstr(e.text, faults[i].want[k]), faults[i].name))
                printf("  got: %s\n", e.text);
        ls_net_free(&net);
        ls_weights_close(&w);
    }
}

// A width that a residual cannot have, and values that no network has.
static void name_values(void)
{
    static const struct {
        const char *name, *tensor, *want;
        float value;
    } rows[] = {
        {"negative variance", "a.conv_block.1.running_var", "variance 0 is -1", -1},
        {"NaN weight", "b.conv_block.0.weight", "\"b\" has weights that are not finite", NAN},
        {"infinite bias", "c.bias", "\"c\" has weights that are not finite", INFINITY},
    };

    for (int i = 0; i < 3; i++) {
        struct ls_weights *w = variant("", "", "");
        const struct ls_tensor *t = ls_weights_find(w, rows[i].tensor);
        struct ls_net *net = NULL;
        struct ls_err e = {0};

        memcpy((void *)t->data, &rows[i].value, sizeof(float));
        CHECK(ls_net_plan(&net, &spec, w, &params, &e) == LS_EMODEL, rows[i].name);
        if (!CHECK(strstr(e.text, rows[i].want), rows[i].name))
            printf("  got: %s\n", e.text);
        ls_net_free(&net);
        ls_weights_close(&w);
    }
}

static void folding(void)
{
    struct ls_weights *w = variant("", "", "");
    struct ls_net_params folded = params;
    struct ls_net *net[2] = {NULL, NULL};
    float in[2 * 40], out[2][2 * 60], worst = 0;
    const float *inputs[1] = {in}, *second[1] = {in + 40};
    struct ls_err e = {0};

    folded.fold_residual = true;
    for (int i = 0; i < 2 * 40; i++)
        in[i] = sinf((float)i);
    CHECK(ls_net_plan(&net[0], &spec, w, &params, &e) == 0, "plan");
    CHECK(ls_net_plan(&net[1], &spec, w, &folded, &e) == 0, "folded plan");
    CHECK(net[0]->node[2].residual && !net[1]->node[2].residual, "residual left or folded");
    CHECK(net[0]->parameter_count == 4 * (18 + 3) + 4 * (36 + 3) + 3 * (4 + 1), "parameters");
    CHECK(net[0]->mac == 20.0 * (4 * 18 + 4 * 36 + 3 * 4), "multiplications");
    for (int i = 0; i < 2; i++) {
        float *outputs[1] = {out[i]};

        CHECK(ls_ref_net_run(net[i], inputs, outputs, 2, &e) == 0, "run");
    }
    for (int i = 0; i < 2 * 60; i++)
        worst = fmaxf(worst, fabsf(out[0][i] - out[1][i]));
    CHECK(worst < 1e-6f, "a folded residual gives the same, to rounding");
    CHECK(memcmp(out[0], out[0] + 60, 60 * sizeof(float)) != 0, "items of a batch differ");
    {
        float *outputs[1] = {out[1]};

        CHECK(ls_ref_net_run(net[0], second, outputs, 1, &e) == 0, "run");
        CHECK(!memcmp(out[1], out[0] + 60, 60 * sizeof(float)), "batch does not change an item");
    }
    ls_net_free(&net[0]);
    ls_net_free(&net[1]);
    ls_weights_close(&w);
}

// Every operation in one small table, against values worked out here from the definitions.
static const struct ls_net_layer ops[] = {
    {.op = LS_NET_INPUT, .from = {-1, -1}}, // [1][4][4]
    {.op = LS_NET_MAXPOOL, .from = {0, -1}, .kernel = {2, 2}, .stride = {2, 2}, .output = true},
    {.name = "t",
     .op = LS_NET_TCONV,
     .from = {1, -1},
     .kernel = {3, 3},
     .stride = {2, 2},
     .pad = {1, 1},
     .out_pad = 1,
     .output = true},                                                       // [2][4][4]
    {.op = LS_NET_UPADD, .from = {1, 0}, .output = true},                   // [1][4][4]
    {.op = LS_NET_ADD, .from = {2, 0}, .act = LS_ACT_RELU, .output = true}, // [2][4][4]
    {.op = LS_NET_CONCAT, .from = {0, 2}, .output = true},                  // [3][4][4]
    {.name = "d",
     .op = LS_NET_DWCONV,
     .from = {5, -1},
     .kernel = {3, 3},
     .stride = {2, 2},
     .pad_end_extra = 1,
     .output = true}, // TensorFlow's SAME: [3][2][2]
};
static const struct ls_net_spec ops_spec = {"ops", ops, 7, NULL};

static int ops_widths(void *user, int row)
{
    (void)user;
    return row == 2 ? 2 : 3;
}

static float at(const float *p, int h, int w, int y, int x)
{
    return y < 0 || x < 0 || y >= h || x >= w ? 0 : p[y * w + x];
}

static void operations(void)
{
    static const struct ls_net_params shape = {.input = {{1, 4, 4}}};
    struct ls_weights *w = NULL;
    struct ls_net *net = NULL;
    struct ls_err e = {0};
    float in[16], pool[4], t[32], up[16], sum[32], cat[48], dw[12];
    const float *inputs[1] = {in};
    float *outputs[6] = {pool, t, up, sum, cat, dw};
    double worst = 0;

    for (int i = 0; i < 16; i++)
        in[i] = (float)((i * 7) % 16) - 8;
    CHECK(ls_weights_new(&w, &e) == 0, "set");
    CHECK(ls_net_seed(w, &ops_spec, &shape, ops_widths, NULL, 3, &e) == 0, "seed");
    if (!CHECK(ls_net_plan(&net, &ops_spec, w, &shape, &e) == 0, "plan"))
        return;
    CHECK(ls_ref_net_run(net, inputs, outputs, 1, &e) == 0, "run");
    for (int i = 0; i < 4; i++) {
        const float *p = in + i / 2 * 8 + i % 2 * 2;

        CHECK(pool[i] == fmaxf(fmaxf(p[0], p[1]), fmaxf(p[4], p[5])), "max pooling");
    }
    for (int i = 0; i < 32; i++) {
        int c = i / 16, y = i / 4 % 4, x = i % 4;
        double want = net->node[2].bias[c];

        for (int k = 0; k < 9; k++) { // gathered, where ref scatters
            int iy = y + 1 - k / 3, ix = x + 1 - k % 3;

            if (iy % 2 == 0 && ix % 2 == 0)
                want += (double)net->node[2].weight[c * 9 + k] * at(pool, 2, 2, iy / 2, ix / 2);
        }
        worst = fmax(worst, fabs(want - t[i]));
        CHECK(sum[i] == fmaxf(0, t[i] + (c ? 0 : in[i])), "sum with fewer channels");
        CHECK(cat[i + 16] == t[i], "second half of a concatenation");
    }
    CHECK(worst < 1e-5, "transposed convolution");
    for (int i = 0; i < 16; i++) {
        CHECK(up[i] == pool[i / 8 * 2 + i % 4 / 2] + in[i], "enlarge and add");
        CHECK(cat[i] == in[i], "first half of a concatenation");
    }
    for (int i = 0; i < 12; i++) {
        int c = i / 4, y = i / 2 % 2, x = i % 2;
        double want = net->node[6].bias[c];

        for (int k = 0; k < 9; k++)
            want += (double)net->node[6].weight[c * 9 + k] *
                    at(cat + 16 * c, 4, 4, 2 * y + k / 3, 2 * x + k % 3);
        CHECK(fabs(want - dw[i]) < 1e-5, "depthwise convolution, padding at the end");
    }
    ls_net_free(&net);
    ls_weights_close(&w);
}

int main(void)
{
    name_faults();
    name_values();
    folding();
    operations();
    return check_done();
}
