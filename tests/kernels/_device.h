// SPDX-License-Identifier: Apache-2.0
// What the direct tests of device kernels share: numbers stored as half or float and back, arrays
// in device memory with guards on both sides. Header only; one thread.
#ifndef LS_TEST_DEVICE_H
#define LS_TEST_DEVICE_H

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/cuda/device.h"

enum { DEVICE_GUARD = 256 }; // bytes on each side of an array

static inline float half_get(uint16_t h)
{
    int exponent = h >> 10 & 31, mantissa = h & 1023;
    double v = exponent == 31 ? (mantissa ? NAN : INFINITY)
               : exponent     ? ldexp(1024 + mantissa, exponent - 25)
                              : ldexp(mantissa, -24);

    return (float)(h & 0x8000 ? -v : v);
}

// To the nearest, ties to even.
static inline uint16_t half_put(float v)
{
    uint16_t sign = signbit(v) ? 0x8000 : 0;
    double size = fabs((double)v), steps;
    int exponent;

    if (isnan(v))
        return 0x7fff;
    if (size >= 65520)
        return sign | 0x7c00;
    if (size == 0)
        return sign;
    frexp(size, &exponent); // size = 0.5..1 * 2^exponent: bits down to 2^(exponent - 11)
    exponent = exponent < -13 ? -13 : exponent;
    steps = rint(ldexp(size, 11 - exponent));
    // 1024 steps are the hidden bit, and 2048 carry into the exponent by themselves.
    return (uint16_t)(sign | (((unsigned)(exponent + 13) << 10) + (unsigned)steps));
}

// An array of numbers as stored: read and written by index.
static inline float stored_get(const void *numbers, enum ls_cuda_type type, size_t idx)
{
    return type == LS_CUDA_FP16 ? half_get(((const uint16_t *)numbers)[idx])
                                : ((const float *)numbers)[idx];
}

static inline void stored_put(void *numbers, enum ls_cuda_type type, size_t idx, float v)
{
    if (type == LS_CUDA_FP16)
        ((uint16_t *)numbers)[idx] = half_put(v);
    else
        ((float *)numbers)[idx] = v;
}

// Ends the test when the device fails: no row can be checked then.
static inline void device_must(int status, const char *what)
{
    if (status != cudaSuccess) {
        printf("FAIL %s: %s\n", what, cudaGetErrorString((cudaError_t)status));
        exit(1);
    }
}

struct device_array {
    void *base, *data; // data: on the device, DEVICE_GUARD behind base
    size_t size;
};

static inline struct device_array device_array(const void *from, size_t size)
{
    struct device_array a = {.size = size};
    struct ls_err err = {0};

    if (ls_cuda_alloc(&a.base, size + 2 * DEVICE_GUARD, &err) < 0) {
        printf("FAIL device memory: %s\n", err.text);
        exit(1);
    }
    device_must(cudaMemset(a.base, 0xa5, size + 2 * DEVICE_GUARD), "guards");
    a.data = (char *)a.base + DEVICE_GUARD;
    device_must(cudaMemcpy(a.data, from, size, cudaMemcpyHostToDevice), "copy to the device");
    return a;
}

// Copies an array back; false if something was written beside it.
static inline int device_read(void *to, const struct device_array *a)
{
    unsigned char guard[2][DEVICE_GUARD];
    int whole = 1;

    device_must(cudaDeviceSynchronize(), "kernels");
    device_must(cudaMemcpy(to, a->data, a->size, cudaMemcpyDeviceToHost), "copy from the device");
    device_must(cudaMemcpy(guard[0], a->base, DEVICE_GUARD, cudaMemcpyDeviceToHost), "guard");
    device_must(
        cudaMemcpy(guard[1], (char *)a->data + a->size, DEVICE_GUARD, cudaMemcpyDeviceToHost),
        "guard");
    for (int i = 0; i < DEVICE_GUARD; i++)
        whole &= guard[0][i] == 0xa5 && guard[1][i] == 0xa5;
    return whole;
}

static inline void device_array_done(struct device_array *a)
{
    ls_cuda_free(&a->base);
}

#endif
