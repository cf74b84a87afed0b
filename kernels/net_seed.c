// SPDX-License-Identifier: Apache-2.0
// Random weights for a network that are the same bits on every machine: for tests, benchmarks and
// for trying the service without a checkpoint. One stream of splitmix64 (Steele, Lea, Flood, OOPSLA
// 2014) runs through all tensors, row by row, in the order weight, bias, then batch norm's weight,
// bias, running mean, running variance. tests/golden/golden_net.py makes the same values.
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "net_shape.h"
#include "splitmix.h"

struct seeder {
    struct ls_weights *w;
    uint64_t state;
    struct ls_err *err;
};

// A tensor of middle + spread * uniform.
static int add(struct seeder *s, const struct ls_net_layer *l, const char *suffix, int dim_count,
               const int64_t *dim, double middle, double spread)
{
    char name[128];
    size_t n = 1;
    float *values;
    int r;

    for (int i = 0; i < dim_count; i++)
        n *= (size_t)dim[i];
    values = malloc(n * sizeof *values);
    if (!values)
        return ls_fail(s->err, LS_ENOMEM, "no memory for seeded weights");
    for (size_t i = 0; i < n; i++)
        values[i] = (float)(middle + spread * ls_splitmix_uniform(&s->state));
    snprintf(name, sizeof name, "%s%s", l->name, suffix);
    r = ls_weights_add(s->w, name, values, dim_count, dim, s->err);
    free(values);
    return r;
}

static int add_row(struct seeder *s, const struct ls_net_node *node)
{
    const struct ls_net_layer *l = node->layer;
    const int64_t width = node->c_out;
    int64_t dim[4] = {width, node->c_in, l->kernel[0], l->kernel[1]};
    double fan_in = (double)node->c_in * l->kernel[0] * l->kernel[1];
    // A residual branch is weak, so that twenty of them in a row do not blow up; what goes into a
    // sigmoid is weaker still, so that it does not saturate.
    double gain = l->residual ? 0.3 : 1, spread;
    int r;

    if (l->op == LS_NET_DWCONV) {
        dim[1] = 1;
        fan_in = (double)l->kernel[0] * l->kernel[1];
    } else if (l->op == LS_NET_TCONV) {
        dim[0] = node->c_in;
        dim[1] = width;
        fan_in /= l->stride[0] * l->stride[1];
    }
    // He et al., ICCV 2015: variance 2 / fan-in; a uniform distribution of half-width a has a^2
    // / 3.
    spread = sqrt(6 / fan_in);
    if (l->act == LS_ACT_SIGMOID)
        spread /= 4;
    r = add(s, l, l->norm ? ".conv_block.0.weight" : ".weight", 4, dim, 0, spread);
    if (r == 0)
        r = add(s, l, l->norm ? ".conv_block.0.bias" : ".bias", 1, &width, 0, 0.1);
    if (!l->norm)
        return r;
    if (r == 0)
        r = add(s, l, ".conv_block.1.weight", 1, &width, gain, 0.1 * gain);
    if (r == 0)
        r = add(s, l, ".conv_block.1.bias", 1, &width, 0, 0.1);
    if (r == 0)
        r = add(s, l, ".conv_block.1.running_mean", 1, &width, 0, 0.1);
    if (r == 0)
        r = add(s, l, ".conv_block.1.running_var", 1, &width, 1, 0.2);
    return r;
}

int ls_net_seed(struct ls_weights *w, const struct ls_net_spec *spec,
                const struct ls_net_params *params, int (*width_of)(void *user, int row),
                void *user, uint64_t seed, struct ls_err *err)
{
    struct ls_net net = {.spec = spec, .node_count = spec->layer_count};
    struct seeder s = {.w = w, .state = seed, .err = err};
    int r = 0;

    net.node = calloc((size_t)spec->layer_count, sizeof *net.node);
    if (!net.node)
        return ls_fail(err, LS_ENOMEM, "no memory for seeded weights");
    for (int i = 0; i < spec->layer_count && r == 0; i++) {
        struct ls_net_node *node = &net.node[i];

        node->layer = &spec->layer[i];
        ls_net_shape_in(&net, i, params);
        if (node->layer->name) {
            node->c_out = width_of(user, i);
            r = add_row(&s, node);
        }
        if (r == 0)
            r = ls_net_shape_out(&net, i, err);
    }
    free(net.node);
    return r;
}
