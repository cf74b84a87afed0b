// SPDX-License-Identifier: Apache-2.0
// The set of convolutions of a build without cuDNN (LS_CUDA_NO_CUDNN: the host's shim, and a
// machine that has the toolkit alone): every shape by the plain kernel, with nothing to choose and
// nothing worth a cache. graph_set.c has the same interface for builds with cuDNN. Device thread.
#include "conv.h"

#ifdef LS_CUDA_NO_CUDNN

#include <stdlib.h>
#include <string.h>

struct ls_cuda_conv {
    struct ls_cuda_conv_shape shape;
    struct ls_cuda_conv *next;
};

struct ls_cuda_convs {
    struct ls_cuda_conv *first;
};

int ls_cuda_convs_new(struct ls_cuda_convs **out, const struct ls_cuda_device *device,
                      const struct ls_cuda_convs_params *params, struct ls_err *err)
{
    struct ls_cuda_convs *convs = calloc(1, sizeof *convs);

    (void)device;
    (void)params; // any type, any batch
    if (!convs)
        return ls_fail(err, LS_ENOMEM, "no memory for convolutions");
    *out = convs;
    return 0;
}

void ls_cuda_convs_free(struct ls_cuda_convs **convs)
{
    if (!convs || !*convs)
        return;
    for (struct ls_cuda_conv *conv = (*convs)->first, *next; conv; conv = next) {
        next = conv->next;
        free(conv);
    }
    free(*convs);
    *convs = NULL;
}

bool ls_cuda_convs_has_plans(const struct ls_cuda_convs *convs)
{
    (void)convs;
    return true;
}

void ls_cuda_convs_save(struct ls_cuda_convs *convs)
{
    (void)convs;
}

const char *ls_cuda_convs_note(const struct ls_cuda_convs *convs)
{
    (void)convs;
    return "";
}

const char *ls_cuda_convs_text(const struct ls_cuda_convs *convs)
{
    (void)convs;
    return "plain";
}

static bool is_same_tensor(const struct ls_cuda_tensor *a, const struct ls_cuda_tensor *b)
{
    return a->h == b->h && a->w == b->w && a->c == b->c && a->item == b->item && a->row == b->row &&
           a->pixel == b->pixel;
}

// By members: the padding between them is anybody's.
static bool is_same(const struct ls_cuda_conv_shape *a, const struct ls_cuda_conv_shape *b)
{
    return a->type == b->type && a->batch == b->batch && a->transposed == b->transposed &&
           is_same_tensor(&a->in, &b->in) && is_same_tensor(&a->out, &b->out) &&
           !memcmp(a->kernel, b->kernel, sizeof a->kernel) &&
           !memcmp(a->stride, b->stride, sizeof a->stride) &&
           !memcmp(a->pad, b->pad, sizeof a->pad) && a->act == b->act;
}

int ls_cuda_convs_plan(struct ls_cuda_convs *convs, const struct ls_cuda_conv_shape *shape,
                       int count, cudaStream_t stream, struct ls_err *err)
{
    (void)convs;
    (void)shape;
    (void)count;
    (void)stream;
    (void)err; // there is nothing to be planned
    return 0;
}

int ls_cuda_conv_get(struct ls_cuda_conv **out, struct ls_cuda_convs *convs,
                     const struct ls_cuda_conv_shape *shape, cudaStream_t stream,
                     struct ls_err *err)
{
    struct ls_cuda_conv *conv = convs->first;

    (void)stream;
    while (conv && !is_same(&conv->shape, shape))
        conv = conv->next;
    if (!conv) {
        conv = malloc(sizeof *conv);
        if (!conv)
            return ls_fail(err, LS_ENOMEM, "no memory for a convolution");
        conv->shape = *shape;
        conv->next = convs->first;
        convs->first = conv;
    }
    *out = conv;
    return 0;
}

int ls_cuda_conv_run(const struct ls_cuda_conv *conv, void *out, const void *in, const void *weight,
                     const float *bias, cudaStream_t stream, struct ls_err *err)
{
    return ls_cuda_check(err, ls_cuda_conv_plain(&conv->shape, out, in, weight, bias, stream),
                         "convolution");
}

#endif
