// SPDX-License-Identifier: Apache-2.0
// Makes cuDNN's descriptors (graph_make.h), turns its errors into ours, describes devices
// (graph.h). Any thread.
#include "graph_make.h"

#ifndef LS_CUDA_NO_CUDNN

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int ls_cuda_cudnn_check(struct ls_err *err, cudnnStatus_t status, const char *what)
{
    char words[160] = "";

    if (status == CUDNN_STATUS_SUCCESS)
        return LS_OK;
    cudnnGetLastErrorString(words, sizeof words);
    words[strcspn(words, "\n")] = 0;
    return ls_fail(err,
                   status == CUDNN_STATUS_INTERNAL_ERROR_HOST_ALLOCATION_FAILED ||
                           status == CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED
                       ? LS_ENOMEM
                       : LS_EDEVICE,
                   "cuDNN: %s: %s%s%s", what, cudnnGetErrorString(status), words[0] ? ": " : "",
                   words);
}

cudnnBackendDescriptor_t ls_cuda_make(struct ls_cuda_maker *m, cudnnBackendDescriptorType_t type)
{
    cudnnBackendDescriptor_t d = NULL;

    if (m->r < 0)
        return NULL;
    assert(m->plan->made_count < LS_CUDA_MADE_MAX);
    m->r = ls_cuda_cudnn_check(m->err, cudnnBackendCreateDescriptor(type, &d), "descriptor");
    if (m->r == 0)
        m->plan->made[m->plan->made_count++] = d;
    return d;
}

void ls_cuda_make_set(struct ls_cuda_maker *m, cudnnBackendDescriptor_t d,
                      cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type,
                      int64_t count, const void *value)
{
    char what[32];

    if (m->r < 0)
        return;
    snprintf(what, sizeof what, "attribute %d", (int)name);
    m->r = ls_cuda_cudnn_check(m->err, cudnnBackendSetAttribute(d, name, type, count, value), what);
}

void ls_cuda_make_int(struct ls_cuda_maker *m, cudnnBackendDescriptor_t d,
                      cudnnBackendAttributeName_t name, int64_t value)
{
    ls_cuda_make_set(m, d, name, CUDNN_TYPE_INT64, 1, &value);
}

void ls_cuda_make_link(struct ls_cuda_maker *m, cudnnBackendDescriptor_t d,
                       cudnnBackendAttributeName_t name, cudnnBackendDescriptor_t value)
{
    ls_cuda_make_set(m, d, name, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &value);
}

void ls_cuda_make_final(struct ls_cuda_maker *m, cudnnBackendDescriptor_t d, const char *what)
{
    if (m->r == 0)
        m->r = ls_cuda_cudnn_check(m->err, cudnnBackendFinalize(d), what);
}

struct ls_cuda_maker ls_cuda_maker_new(struct ls_err *err)
{
    struct ls_cuda_maker m = {.plan = calloc(1, sizeof *m.plan), .err = err};

    if (!m.plan)
        m.r = ls_fail(err, LS_ENOMEM, "no memory for a plan");
    return m;
}

void ls_cuda_plan_free(struct ls_cuda_plan **plan)
{
    struct ls_cuda_plan *p = plan ? *plan : NULL;

    if (!p)
        return;
    while (p->made_count > 0)
        (void)cudnnBackendDestroyDescriptor(p->made[--p->made_count]);
    free(p);
    *plan = NULL;
}

int ls_cuda_get_text(char **out, size_t *size, cudnnBackendDescriptor_t d,
                     cudnnBackendAttributeName_t name, struct ls_err *err)
{
    int64_t count = 0;
    char *text = NULL;
    int r = ls_cuda_cudnn_check(
        err, cudnnBackendGetAttribute(d, name, CUDNN_TYPE_CHAR, 0, &count, NULL), "text's size");

    if (r < 0)
        return r;
    text = count >= 0 && count < (1 << 28) ? malloc((size_t)count + 1) : NULL;
    if (!text)
        return ls_fail(err, LS_ENOMEM, "no memory for %lld bytes of text", (long long)count);
    r = ls_cuda_cudnn_check(
        err, cudnnBackendGetAttribute(d, name, CUDNN_TYPE_CHAR, count, &count, text), "text");
    if (r < 0) {
        free(text);
        return r;
    }
    text[count] = 0;
    *out = text;
    *size = (size_t)count;
    return LS_OK;
}

static int new_description(cudnnBackendDescriptor_t *out, cudnnBackendAttributeName_t name,
                           cudnnBackendAttributeType_t type, int64_t count, const void *value,
                           struct ls_err *err)
{
    cudnnBackendDescriptor_t d = NULL;
    int r = ls_cuda_cudnn_check(
        err, cudnnBackendCreateDescriptor(CUDNN_BACKEND_DEVICEPROP_DESCRIPTOR, &d), "device");

    if (r == 0)
        r = ls_cuda_cudnn_check(err, cudnnBackendSetAttribute(d, name, type, count, value),
                                "device's description");
    if (r == 0)
        r = ls_cuda_cudnn_check(err, cudnnBackendFinalize(d), "device's description");
    if (r < 0)
        ls_cuda_description_free(&d);
    else
        *out = d;
    return r;
}

int ls_cuda_description_of(cudnnBackendDescriptor_t *out, cudnnHandle_t handle, struct ls_err *err)
{
    return new_description(out, CUDNN_ATTR_DEVICEPROP_HANDLE, CUDNN_TYPE_HANDLE, 1, &handle, err);
}

int ls_cuda_description_read(cudnnBackendDescriptor_t *out, const char *json, struct ls_err *err)
{
    return new_description(out, CUDNN_ATTR_DEVICEPROP_JSON_REPRESENTATION, CUDNN_TYPE_CHAR,
                           (int64_t)strlen(json), json, err);
}

int ls_cuda_description_json(char **out, cudnnBackendDescriptor_t description, struct ls_err *err)
{
    size_t size;

    return ls_cuda_get_text(out, &size, description, CUDNN_ATTR_DEVICEPROP_JSON_REPRESENTATION,
                            err);
}

void ls_cuda_description_free(cudnnBackendDescriptor_t *description)
{
    if (!description || !*description)
        return;
    (void)cudnnBackendDestroyDescriptor(*description);
    *description = NULL;
}

#endif
