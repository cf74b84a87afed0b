// SPDX-License-Identifier: Apache-2.0
// Gathers what results reach (calibration.h): a histogram for each row, whose bins are as wide as a
// 32nd of their octave, so that no range need be known beforehand. A lock is held while one run's
// result is counted.
#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "calibration.h"

enum {
    BIN_BITS = 5, // of the mantissa
    SHIFT = 23 - BIN_BITS,
    EXPONENT_MIN = 127 - 16, // smaller ones are counted as 2^-16
    OCTAVES = 32,
    BINS = OCTAVES << BIN_BITS,
};

struct ls_ranges {
    pthread_mutex_t lock;
    const struct ls_net *net;
    uint64_t hash;
    int64_t runs;
    uint64_t (*bin)[BINS]; // [node_count]
};

int ls_ranges_new(struct ls_ranges **out, const struct ls_net *net, struct ls_err *err)
{
    struct ls_ranges *r = calloc(1, sizeof *r);

    if (r)
        r->bin = calloc((size_t)net->node_count, sizeof *r->bin);
    if (!r || !r->bin || net->node_count > LS_CALIBRATION_ROWS_MAX) {
        free(r ? r->bin : NULL);
        free(r);
        return ls_fail(err, LS_ENOMEM, "no memory for the ranges of %d layers", net->node_count);
    }
    pthread_mutex_init(&r->lock, NULL);
    r->net = net;
    r->hash = ls_net_hash(net);
    *out = r;
    return LS_OK;
}

void ls_ranges_free(struct ls_ranges **ranges)
{
    if (!ranges || !*ranges)
        return;
    pthread_mutex_destroy(&(*ranges)->lock);
    free((*ranges)->bin);
    free(*ranges);
    *ranges = NULL;
}

void ls_ranges_see(struct ls_ranges *r, int row, const float *values, size_t count)
{
    uint64_t *bin = r->bin[row];

    pthread_mutex_lock(&r->lock);
    r->runs += r->net->node[row].layer->output;
    for (size_t i = 0; i < count; i++) {
        uint32_t bits;
        int at;

        if (!(values[i] > 0))
            continue;
        memcpy(&bits, &values[i], sizeof bits);
        at = (int)(bits >> SHIFT) - (EXPONENT_MIN << BIN_BITS);
        bin[at < 0 ? 0 : at < BINS ? at : BINS - 1]++;
    }
    pthread_mutex_unlock(&r->lock);
}

int64_t ls_ranges_runs(const struct ls_ranges *r)
{
    return r->runs;
}

// A bin's upper end.
static float bin_end(int at)
{
    uint32_t bits = (uint32_t)(at + 1 + (EXPONENT_MIN << BIN_BITS)) << SHIFT;
    float value;

    memcpy(&value, &bits, sizeof value);
    return value;
}

static float range_of(const uint64_t bin[BINS], double percent)
{
    uint64_t sum = 0, all = 0;
    int at = 0;

    for (int i = 0; i < BINS; i++)
        all += bin[i];
    if (all == 0)
        return 0;
    while (at < BINS - 1 && (double)(sum + bin[at]) < percent / 100 * (double)all)
        sum += bin[at++];
    return bin_end(at);
}

void ls_ranges_calibration(struct ls_calibration *out, const struct ls_ranges *r, double percent)
{
    const struct ls_net *net = r->net;

    memset(out, 0, sizeof *out);
    out->generator = r->hash;
    out->row_count = net->node_count;
    for (int i = 0; i < net->node_count; i++) {
        const struct ls_net_layer *l = net->node[i].layer;

        if ((l->op == LS_NET_CONV || l->op == LS_NET_TCONV) && l->act == LS_ACT_RELU)
            out->range[i] = range_of(r->bin[i], percent);
    }
    for (int i = 0; i < net->node_count; i++)
        if (net->node[i].layer->output && net->node[i].layer->from[0] >= 0)
            out->range[net->node[i].layer->from[0]] = 0;
}
