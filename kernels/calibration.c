// SPDX-License-Identifier: Apache-2.0
// A calibration's file (calibration.h). Any thread.
#include "calibration.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "weights.h"

enum { HEADER_MAX = 65536, NAME_MAX_ = 96 };

static uint64_t hash_floats(uint64_t hash, const float *values, size_t count)
{
    for (size_t i = 0; i < count; i++) { // FNV-1a on 32-bit words
        uint32_t word;

        memcpy(&word, &values[i], sizeof word);
        hash = (hash ^ word) * 0x100000001b3;
        hash ^= hash >> 32;
    }
    return hash;
}

uint64_t ls_net_hash(const struct ls_net *net)
{
    uint64_t hash = 0xcbf29ce484222325;

    for (int i = 0; i < net->node_count; i++) {
        const struct ls_net_node *n = &net->node[i];
        const struct ls_net_layer *l = n->layer;
        size_t per = (size_t)(l->op == LS_NET_DWCONV ? 1 : n->c_in) * l->kernel[0] * l->kernel[1];

        if (!n->weight)
            continue;
        hash = hash_floats(hash, n->weight, per * (size_t)n->c_out);
        hash = hash_floats(hash, n->bias, (size_t)n->c_out);
    }
    return hash;
}

static void row_name(char name[NAME_MAX_], const struct ls_net *net, int row)
{
    snprintf(name, NAME_MAX_, "%s.range", net->node[row].layer->name);
}

static int read_ranges(struct ls_calibration *out, const struct ls_weights *w,
                       const struct ls_net *net, struct ls_err *err)
{
    int known = 0;

    for (int i = 0; i < net->node_count; i++) {
        const struct ls_tensor *t;
        char name[NAME_MAX_];

        if (!net->node[i].layer->name)
            continue;
        row_name(name, net, i);
        t = ls_weights_find(w, name);
        if (!t)
            continue;
        if (ls_tensor_size(t) != 1 || t->dtype != LS_F32)
            return ls_fail(err, LS_EMODEL, "%s is not one float", name);
        ls_tensor_read(&out->range[i], t);
        if (!(out->range[i] > 0 && out->range[i] < 1e6f))
            return ls_fail(err, LS_EMODEL, "%s is not a range above zero", name);
        known++;
    }
    if (known != ls_weights_count(w))
        return ls_fail(err, LS_EMODEL, "%d of its tensors are no layer's range",
                       ls_weights_count(w) - known);
    return LS_OK;
}

int ls_calibration_open(struct ls_calibration *out, const char *path, const struct ls_net *net,
                        struct ls_err *err)
{
    struct ls_calibration c = {.row_count = net->node_count};
    struct ls_weights *w = NULL;
    const char *kind, *generator;
    char wanted[17];
    int r = ls_weights_open(&w, path, err);

    if (r < 0)
        return r;
    c.generator = ls_net_hash(net);
    snprintf(wanted, sizeof wanted, "%016" PRIx64, c.generator);
    kind = ls_weights_meta(w, "calibration");
    generator = ls_weights_meta(w, "generator");
    if (net->node_count > LS_CALIBRATION_ROWS_MAX)
        r = ls_fail(err, LS_EMODEL, "more than %d layers", LS_CALIBRATION_ROWS_MAX);
    else if (!kind || strcmp(kind, "1") != 0 || !generator)
        r = ls_fail(err, LS_EMODEL, "not a calibration (lipstream-calibrate writes one)");
    else if (strcmp(generator, wanted) != 0)
        r = ls_fail(err, LS_EMODEL, "it is for weights %.16s, these are %s", generator, wanted);
    else
        r = read_ranges(&c, w, net, err);
    ls_weights_close(&w);
    if (r < 0)
        ls_fail_prefix(err, "%s", path);
    else
        *out = c;
    return r;
}

int ls_calibration_write(FILE *to, const struct ls_calibration *c, const struct ls_net *net,
                         struct ls_err *err)
{
    char *text = malloc(HEADER_MAX), name[NAME_MAX_];
    int size, at = 0;
    uint64_t length;
    bool good;

    if (!text)
        return ls_fail(err, LS_ENOMEM, "no memory for a calibration");
    size = snprintf(text, HEADER_MAX,
                    "{\"__metadata__\":{\"calibration\":\"1\",\"generator\":\"%016" PRIx64 "\"}",
                    c->generator);
    for (int i = 0; i < c->row_count && size < HEADER_MAX - 256; i++)
        if (c->range[i] > 0) {
            row_name(name, net, i);
            size += snprintf(text + size, HEADER_MAX - (size_t)size,
                             ",\"%s\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[%d,%d]}",
                             name, at, at + 4);
            at += 4;
        }
    text[size++] = '}';
    while (size % 8)
        text[size++] = ' ';
    length = (uint64_t)size;
    good = fwrite(&length, sizeof length, 1, to) == 1 &&
           fwrite(text, 1, (size_t)size, to) == (size_t)size;
    for (int i = 0; i < c->row_count; i++)
        if (c->range[i] > 0)
            good = good && fwrite(&c->range[i], sizeof(float), 1, to) == 1;
    free(text);
    return good ? LS_OK : ls_fail(err, LS_EINTERNAL, "the calibration could not be written");
}
