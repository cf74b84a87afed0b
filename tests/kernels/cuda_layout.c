// SPDX-License-Identifier: Apache-2.0
// What the CUDA generator puts where, without running it: half numbers, weights in stored form,
// places that do not overlap while both are alive, sizes for the original's widths, and what is
// refused.
#include "kernels/cuda/layout.h"
#include "kernels/cuda/pack.h"
#include "kernels/splitmix.h"
#include "kernels/wav2lip.h"
#include "tests/unit/_check.h"

#include <math.h>
#include <string.h>

// A finite half's value, by arithmetic.
static double half_value(unsigned h)
{
    int exponent = (int)(h >> 10 & 31), fraction = (int)(h & 1023);
    double v = exponent ? ldexp(1024 + fraction, exponent - 25) : ldexp(fraction, -24);

    return h & 0x8000 ? -v : v;
}

// Every half is itself; between two neighbours the nearer one is taken, in the middle the even one.
static void check_half(void)
{
    int wrong = 0;

    for (unsigned sign = 0; sign <= 0x8000; sign += 0x8000)
        for (unsigned h = 0; h < 0x7c00; h++) {
            double here = half_value(sign | h);
            double next = h == 0x7bff ? copysign(65536, here) : half_value(sign | (h + 1));
            float middle = (float)((here + next) / 2); // exact: one bit more
            unsigned even = h % 2 ? h + 1 : h;

            wrong += ls_cuda_half((float)here) != (sign | h);
            wrong += ls_cuda_half(middle) != (sign | even);
            wrong += ls_cuda_half(nextafterf(middle, (float)here)) != (sign | h);
            wrong += ls_cuda_half(nextafterf(middle, (float)next)) != (sign | (h + 1));
        }
    CHECK(wrong == 0, "half");
    CHECK(ls_cuda_half(INFINITY) == 0x7c00 && ls_cuda_half(-1e9f) == 0xfc00, "half, too large");
    CHECK((ls_cuda_half(NAN) & 0x7fff) > 0x7c00, "half, not a number");
    CHECK(ls_cuda_half(-0.0f) == 0x8000 && ls_cuda_half(1e-30f) == 0, "half, zero");
}

// Weights of 3 to 2 channels, 1x2 taps, stored as 8 of 16 and 8, the third one apart from the
// others.
static void check_pack(void)
{
    static const int channel[3] = {0, 1, 8};
    struct ls_net_layer layer = {.name = "layer", .op = LS_NET_CONV, .kernel = {1, 2}};
    float weight[12], bias[2] = {5, -6}, packed[16 * 8 * 2] = {0}, got[8] = {0};
    struct ls_net_node node = {
        .layer = &layer, .c_in = 3, .c_out = 2, .weight = weight, .bias = bias};
    struct ls_cuda_filter f = {
        .node = &node, .channel = channel, .c_in = 16, .c_out = 8, .type = LS_CUDA_FP32};
    struct ls_err err = {0};
    uint16_t halves[16 * 8 * 2] = {0};
    int used = 0;

    for (int i = 0; i < 12; i++)
        weight[i] = (float)(i + 1);
    CHECK(ls_cuda_filter_size(&f) == sizeof packed, "pack");
    CHECK(ls_cuda_filter_pack(packed, &f, &err) == 0, "pack");
    for (int o = 0; o < 2; o++)
        for (int i = 0; i < 3; i++)
            for (int t = 0; t < 2; t++)
                CHECK(packed[(o * 2 + t) * 16 + channel[i]] == weight[(o * 3 + i) * 2 + t], "pack");
    for (int i = 0; i < 16 * 8 * 2; i++)
        used += packed[i] != 0;
    CHECK(used == 12, "pack");
    ls_cuda_filter_bias(got, &f);
    CHECK(got[0] == 5 && got[1] == -6 && got[2] == 0, "bias");

    layer.op = LS_NET_TCONV;
    memset(packed, 0, sizeof packed);
    CHECK(ls_cuda_filter_pack(packed, &f, &err) == 0, "pack transposed");
    for (int i = 0; i < 3; i++)
        for (int o = 0; o < 2; o++)
            for (int t = 0; t < 2; t++)
                CHECK(packed[(channel[i] * 2 + t) * 8 + o] == weight[(i * 2 + o) * 2 + t],
                      "pack transposed");

    f.type = LS_CUDA_FP16;
    CHECK(ls_cuda_filter_pack(halves, &f, &err) == 0 && halves[0] == ls_cuda_half(weight[0]),
          "pack half");
    weight[7] = -65520;
    CHECK(ls_cuda_filter_pack(halves, &f, &err) == LS_EMODEL && strstr(err.text, "layer"),
          "too large for half");
    f.type = LS_CUDA_TF32;
    CHECK(ls_cuda_filter_pack(packed, &f, &err) == 0, "not too large for float");
    weight[7] = NAN;
    CHECK(ls_cuda_filter_pack(packed, &f, &err) == LS_EMODEL, "not a number");
}

// Rows first..last between which a buffer's content matters, by another way than layout.c's: from
// the rows that write it to those that read it.
static void find_life(int *first, int *last, const struct ls_cuda_layout *layout, int home)
{
    const struct ls_net *net = layout->net;

    *first = net->node_count;
    *last = 0;
    for (int i = 0; i < net->node_count; i++) {
        const struct ls_net_layer *l = net->node[i].layer;
        bool reads = l->op != LS_NET_INPUT && l->op != LS_NET_CONCAT &&
                     layout->place[l->from[0]].home == home;

        if (layout->place[i].home == home && l->op != LS_NET_CONCAT && i < *first)
            *first = i;
        if (reads)
            *last = i;
    }
    for (int i = 0; i < layout->feature_count; i++) {
        if (layout->feature[i].row == home)
            *last = net->node_count;
        if (layout->feature[i].cat == home && layout->feature[i].at < *first)
            *first = layout->feature[i].at;
    }
}

static int64_t buffer_size(const struct ls_cuda_layout *layout, int row)
{
    const struct ls_net_node *n = &layout->net->node[row];

    return (int64_t)n->h_out * n->w_out * layout->place[row].c *
           (int64_t)ls_cuda_size(layout->type);
}

static void check_overlaps(const struct ls_cuda_layout *layout)
{
    int count = layout->net->node_count;

    for (int a = 0; a < count; a++) {
        const struct ls_cuda_place *p = &layout->place[a];
        int first, last, other_first, other_last;

        if (!p->placed || p->home != a)
            continue;
        CHECK(p->offset % 256 == 0 && p->offset + buffer_size(layout, a) <= layout->arena_size,
              "arena");
        find_life(&first, &last, layout, a);
        for (int b = a + 1; b < count; b++) {
            const struct ls_cuda_place *q = &layout->place[b];

            if (!q->placed || q->home != b || q->face != p->face)
                continue;
            find_life(&other_first, &other_last, layout, b);
            if (first <= other_last && other_first <= last)
                CHECK(p->offset + buffer_size(layout, a) <= q->offset ||
                          q->offset + buffer_size(layout, b) <= p->offset,
                      "arena");
        }
    }
}

// Random widths, 1 to 40; residual rows have their source's.
static int random_width(void *user, int row)
{
    const struct ls_net_layer *l = &ls_wav2lip.layer[row];
    uint64_t state = *(const uint64_t *)user * 1000 + (uint64_t)row;

    if (l->residual)
        return random_width(user, l->from[0]);
    return l->output ? 3 : 1 + (int)(ls_splitmix_next(&state) >> 40) % 40;
}

// seed 0: the original's widths.
static struct ls_net *seeded(bool fold, uint64_t seed)
{
    struct ls_net_params params = {
        .input = {{6, LS_FACE_SIZE, LS_FACE_SIZE}, {1, LS_MEL_BANDS, LS_MEL_WINDOW}},
        .fold_residual = fold};
    struct ls_weights *w = NULL;
    struct ls_net *net = NULL;
    struct ls_err err = {0};

    int r = ls_weights_new(&w, &err);

    if (r == 0)
        r = seed ? ls_net_seed(w, &ls_wav2lip, &params, random_width, &seed, seed, &err)
                 : ls_wav2lip_seed(w, 1, 1, &err);
    if (r == 0)
        r = ls_net_plan(&net, &ls_wav2lip, w, &params, &err);
    if (!CHECK(r == 0, "a seeded network"))
        printf("  %s\n", err.text);
    ls_weights_close(&w);
    return net;
}

// The original's widths in half precision: 72.6 MB of weights and 64 times this are what a full
// server holds, far below the 1.5 GB that it may take.
static void check_sizes(const struct ls_net *net)
{
    struct ls_cuda_layout *layout = NULL;
    struct ls_err err;
    int face_count = 0;

    if (!CHECK(ls_cuda_layout_new(&layout, net, LS_CUDA_FP16, &err) == 0, "layout"))
        return;
    printf("an item: %lld kB, a record: %lld kB\n", (long long)layout->arena_size >> 10,
           (long long)layout->record_size >> 10);
    CHECK(layout->arena_size <= 3000000 && layout->record_size <= 700000, "sizes");
    CHECK(layout->feature_count == 7 && layout->record_size % 256 == 0, "features");
    for (int i = 0; i < net->node_count; i++)
        face_count += layout->place[i].face;
    CHECK(face_count == 19, "face rows"); // the input and 18 layers
    check_overlaps(layout);
    ls_cuda_layout_free(&layout);
}

// Other widths, other places.
static void check_widths(void)
{
    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct ls_net *net = seeded(true, seed);
        struct ls_cuda_layout *layout = NULL;
        struct ls_err err;

        if (net && CHECK(ls_cuda_layout_new(&layout, net, LS_CUDA_FP32, &err) == 0, "widths"))
            check_overlaps(layout);
        ls_cuda_layout_free(&layout);
        ls_net_free(&net);
    }
}

static void check_refused(const struct ls_net *plain)
{
    struct ls_cuda_layout *layout = NULL;
    struct ls_net *unfolded = seeded(false, 0);
    struct ls_net_node node[2] = {plain->node[0], plain->node[1]};
    struct ls_net inputs = {.spec = plain->spec, .node = node, .node_count = 2};
    struct ls_err err = {0};

    CHECK(unfolded && ls_cuda_layout_new(&layout, unfolded, LS_CUDA_FP16, &err) == LS_EINTERNAL,
          "residuals");
    CHECK(ls_cuda_layout_new(&layout, &inputs, LS_CUDA_FP16, &err) == LS_EINTERNAL, "no output");
    CHECK(layout == NULL, "untouched");
    ls_net_free(&unfolded);
}

int main(void)
{
    struct ls_net *net = seeded(true, 0);

    check_half();
    check_pack();
    if (net) {
        check_sizes(net);
        check_widths();
        check_refused(net);
    }
    ls_net_free(&net);
    return check_done();
}
