// SPDX-License-Identifier: Apache-2.0
// Plans a network: walks its table, takes each layer's width from the checkpoint, checks every
// shape and folds what can be folded into the weights, in double precision. All faults of a
// checkpoint are gathered and reported in one message, so planning goes on after the first: a width
// that could not be read is 0 until the end. Runs at start-up; a plan is read only, so any thread
// may walk it.
#include "net.h"

#include <assert.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "net_shape.h"

enum { FAULTS_SHOWN = 4, WIDTH_MAX = 4096 };

#define NORM_EPS 1e-5 // torch.nn.BatchNorm2d's default

struct plan {
    const struct ls_net_spec *spec;
    const struct ls_weights *weights;
    struct ls_net *net;
    bool *used; // [tensors]
    bool fold_residual;
    int fault_count;
    char faults[sizeof((struct ls_err *)0)->text];
};

static void fault(struct plan *p, const char *fmt, ...) LS_PRINTF(2, 3);

static void fault(struct plan *p, const char *fmt, ...)
{
    size_t n = strlen(p->faults);
    va_list args;

    if (++p->fault_count > FAULTS_SHOWN)
        return;
    if (n)
        n += (size_t)snprintf(p->faults + n, sizeof p->faults - n, "; ");
    if (n >= sizeof p->faults)
        return;
    va_start(args, fmt);
    vsnprintf(p->faults + n, sizeof p->faults - n, fmt, args);
    va_end(args);
}

// "[16,6,7,7]"; a dimension of 0 is one that could not be known or may be anything: "*".
static const char *shape_text(char text[64], int dim_count, const int64_t *dim)
{
    size_t n = (size_t)snprintf(text, 64, "[");

    for (int i = 0; i < dim_count && n < 40; i++)
        n += (size_t)(dim[i] ? snprintf(text + n, 64 - n, "%s%lld", i ? "," : "", (long long)dim[i])
                             : snprintf(text + n, 64 - n, "%s*", i ? "," : ""));
    snprintf(text + n, 64 - n, "]");
    return text;
}

// The tensor "<layer><suffix>" if it is there and has the shape; a wanted dimension of 0 is free.
static const struct ls_tensor *take(struct plan *p, const struct ls_net_layer *l,
                                    const char *suffix, int dim_count, const int64_t *dim)
{
    char name[128], has[64], needs[64];
    const struct ls_tensor *t;
    bool same;

    snprintf(name, sizeof name, "%s%s", l->name, suffix);
    t = ls_weights_find(p->weights, name);
    if (!t) {
        fault(p, "\"%s\" %s is missing", name, shape_text(needs, dim_count, dim));
        return NULL;
    }
    p->used[t - ls_weights_at(p->weights, 0)] = true;
    same = t->dim_count == dim_count;
    for (int i = 0; same && i < dim_count; i++)
        same = !dim[i] || t->dim[i] == dim[i];
    if (!same) {
        fault(p, "\"%s\" has %s, needs %s", name, shape_text(has, t->dim_count, t->dim),
              shape_text(needs, dim_count, dim));
        return NULL;
    }
    return t;
}

static float *read_values(const struct ls_tensor *t, struct ls_err *err, int *r)
{
    float *values = malloc((size_t)ls_tensor_size(t) * sizeof *values);

    if (values)
        ls_tensor_read(values, t);
    else
        *r = ls_fail(err, LS_ENOMEM, "no memory for \"%s\"", t->name);
    return values;
}

// Multiplies channel c's weights with scale[c] and adds one at the centre tap of c -> c if asked.
static void scale_weights(struct ls_net_node *node, const double *scale, bool identity)
{
    const struct ls_net_layer *l = node->layer;
    int taps = l->kernel[0] * l->kernel[1];
    int centre = l->kernel[0] / 2 * l->kernel[1] + l->kernel[1] / 2;
    int c_in = l->op == LS_NET_DWCONV ? 1 : node->c_in;

    for (int co = 0; co < node->c_out; co++) {
        for (int ci = 0; ci < c_in; ci++) {
            size_t at =
                l->op == LS_NET_TCONV ? (size_t)ci * node->c_out + co : (size_t)co * c_in + ci;
            float *w = node->weight + at * taps;

            for (int k = 0; k < taps; k++) {
                double v = w[k] * scale[co];

                if (identity && k == centre && (c_in == 1 || ci == co))
                    v += 1;
                w[k] = (float)v;
            }
        }
    }
}

// tensor: batch norm's weight, bias, running mean and running variance.
static int fold(struct ls_net_node *node, const struct ls_tensor *const norm[4], bool identity,
                struct ls_err *err)
{
    size_t n = (size_t)node->c_out;
    double *scale = malloc(n * sizeof *scale);
    float *v[4] = {NULL};
    int r = 0;

    if (!scale)
        r = ls_fail(err, LS_ENOMEM, "no memory to fold a layer");
    for (int k = 0; k < 4 && r == 0 && node->layer->norm; k++)
        v[k] = read_values(norm[k], err, &r);
    if (r < 0)
        goto done;
    for (size_t c = 0; c < n; c++) {
        scale[c] = 1;
        if (!node->layer->norm)
            continue;
        if (!(v[3][c] >= 0)) {
            r = ls_fail(err, LS_EMODEL, "\"%s\": variance %zu is %g", norm[3]->name, c, v[3][c]);
            goto done;
        }
        scale[c] = v[0][c] / sqrt(v[3][c] + NORM_EPS);
        node->bias[c] = (float)(((double)node->bias[c] - v[2][c]) * scale[c] + v[1][c]);
    }
    scale_weights(node, scale, identity);
done:
    for (int k = 0; k < 4; k++)
        free(v[k]);
    free(scale);
    return r;
}

static int check_finite(const struct ls_net_node *node, size_t weight_count, struct ls_err *err)
{
    bool finite = true;

    for (size_t i = 0; i < weight_count; i++)
        finite &= isfinite(node->weight[i]) != 0;
    for (int c = 0; c < node->c_out; c++)
        finite &= isfinite(node->bias[c]) != 0;
    return finite ? 0
                  : ls_fail(err, LS_EMODEL, "\"%s\" has weights that are not finite",
                            node->layer->name);
}

// Reads the tensors of a row with weights. node->c_in may be 0 (unknown); node->c_out is set.
static int load(struct plan *p, struct ls_net_node *node, struct ls_err *err)
{
    static const char *const norm_suffix[4] = {".conv_block.1.weight", ".conv_block.1.bias",
                                               ".conv_block.1.running_mean",
                                               ".conv_block.1.running_var"};
    const struct ls_net_layer *l = node->layer;
    int64_t dim[4] = {0, node->c_in, l->kernel[0], l->kernel[1]};
    const struct ls_tensor *weight, *bias, *norm[4] = {NULL};
    int out_dim = l->op == LS_NET_TCONV ? 1 : 0;
    bool whole;
    int64_t width;
    int r = 0;

    if (l->op == LS_NET_TCONV)
        dim[0] = node->c_in, dim[1] = 0;
    else if (l->op == LS_NET_DWCONV)
        dim[0] = node->c_in, dim[1] = 1;
    if (l->residual)
        dim[out_dim] = node->c_in;
    weight = take(p, l, l->norm ? ".conv_block.0.weight" : ".weight", 4, dim);
    width = weight ? weight->dim[out_dim] : 0;
    if (width > WIDTH_MAX) {
        fault(p, "\"%s\": %lld channels, at most %d are known", l->name, (long long)width,
              WIDTH_MAX);
        width = 0;
    }
    bias = take(p, l, l->norm ? ".conv_block.0.bias" : ".bias", 1, &width);
    whole = weight && bias && width;
    for (int k = 0; k < 4 && l->norm; k++) {
        norm[k] = take(p, l, norm_suffix[k], 1, &width);
        whole = whole && norm[k];
    }
    node->c_out = (int)width;
    if (!whole || !node->c_in || p->fault_count)
        return 0;
    node->weight = read_values(weight, err, &r);
    if (r == 0)
        node->bias = read_values(bias, err, &r);
    if (r == 0)
        r = fold(node, norm, l->residual && p->fold_residual, err);
    if (r == 0)
        r = check_finite(node, (size_t)ls_tensor_size(weight), err);
    p->net->parameter_count += ls_tensor_size(weight) + (l->norm ? 3 : 1) * width;
    return r;
}

static void name_left_over(struct plan *p)
{
    size_t ignore_size = p->spec->ignore ? strlen(p->spec->ignore) : 0;

    for (int i = 0; i < ls_weights_count(p->weights); i++) {
        const struct ls_tensor *t = ls_weights_at(p->weights, i);
        size_t n = strlen(t->name);
        char has[64];

        if (p->used[i] || (ignore_size && n >= ignore_size &&
                           !strcmp(t->name + n - ignore_size, p->spec->ignore)))
            continue;
        fault(p, "\"%.80s\" %s is left over", t->name, shape_text(has, t->dim_count, t->dim));
    }
}

static int plan_rows(struct plan *p, const struct ls_net_params *params, struct ls_err *err)
{
    struct ls_net *net = p->net;

    for (int i = 0; i < net->node_count; i++) {
        struct ls_net_node *node = &net->node[i];
        int r = 0;

        node->layer = &p->spec->layer[i];
        node->residual = node->layer->residual && !p->fold_residual;
        ls_net_shape_in(net, i, params);
        if (node->layer->name)
            r = load(p, node, err);
        if (r < 0)
            return r;
        r = ls_net_shape_out(net, i, err);
        if (r < 0)
            return r;
        net->mac += node->mac;
    }
    return 0;
}

int ls_net_plan(struct ls_net **out, const struct ls_net_spec *spec,
                const struct ls_weights *weights, const struct ls_net_params *params,
                struct ls_err *err)
{
    struct plan p = {.spec = spec, .weights = weights, .fold_residual = params->fold_residual};
    int r = 0;

    p.net = calloc(1, sizeof *p.net);
    p.used = calloc((size_t)ls_weights_count(weights) + 1, sizeof *p.used);
    if (p.net)
        p.net->node = calloc((size_t)spec->layer_count, sizeof *p.net->node);
    if (!p.net || !p.used || !p.net->node) {
        r = ls_fail(err, LS_ENOMEM, "no memory to plan %s", spec->name);
        goto done;
    }
    p.net->spec = spec;
    p.net->node_count = spec->layer_count;
    r = plan_rows(&p, params, err);
    if (r < 0)
        goto done;
    name_left_over(&p);
    if (p.fault_count) {
        r = ls_fail(err, LS_EMODEL, "not a checkpoint of %s (faults: %d): %s", spec->name,
                    p.fault_count, p.faults);
        goto done;
    }
    *out = p.net;
    p.net = NULL;
done:
    ls_net_free(&p.net);
    free(p.used);
    return r;
}

void ls_net_trim(struct ls_net *net)
{
    for (int i = 0; net->node && i < net->node_count; i++) {
        free(net->node[i].weight);
        free(net->node[i].bias);
        net->node[i].weight = net->node[i].bias = NULL;
    }
}

void ls_net_free(struct ls_net **net)
{
    if (!net || !*net)
        return;
    ls_net_trim(*net);
    free((*net)->node);
    free(*net);
    *net = NULL;
}
