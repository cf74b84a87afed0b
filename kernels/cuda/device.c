// SPDX-License-Identifier: Apache-2.0
// Takes the device, turns CUDA's errors into ours, owns the few kinds of memory that this folder
// uses. Device thread, except where device.h says otherwise. What surprises: CUDA keeps an error
// that nobody fetched and gives it to the next launch, so ls_cuda_check always fetches it.
#include "device.h"

#include <stdio.h>
#include <string.h>

enum { COMPUTE_MIN = 75 }; // the oldest that CUDA 13 compiles for

#define MIB ((size_t)1 << 20)

int ls_cuda_check(struct ls_err *err, int status, const char *what)
{
    if (status == cudaSuccess)
        return LS_OK;
    (void)cudaGetLastError();
    return ls_fail(err, status == cudaErrorMemoryAllocation ? LS_ENOMEM : LS_EDEVICE, "%s: %s",
                   what, cudaGetErrorString((cudaError_t)status));
}

// CUDA has two errors for "the driver is missing, or older than the runtime".
static int no_driver(struct ls_err *err)
{
    int driver = 0, runtime = 0;

    (void)cudaDriverGetVersion(&driver);
    (void)cudaRuntimeGetVersion(&runtime);
    (void)cudaGetLastError();
    if (driver == 0)
        return ls_fail(err, LS_EDEVICE, "no NVIDIA driver that CUDA %d.%d can use: none is loaded",
                       runtime / 1000, runtime % 1000 / 10);
    return ls_fail(err, LS_EDEVICE,
                   "no NVIDIA driver that CUDA %d.%d can use: the one here is for CUDA %d.%d",
                   runtime / 1000, runtime % 1000 / 10, driver / 1000, driver % 1000 / 10);
}

static int find_device(struct ls_err *err)
{
    int count = 0;
    cudaError_t status = cudaGetDeviceCount(&count);

    if (status == cudaErrorInsufficientDriver || status == cudaErrorSystemDriverMismatch)
        return no_driver(err);
    if (status == cudaErrorNoDevice || (status == cudaSuccess && count == 0)) {
        (void)cudaGetLastError();
        return ls_fail(err, LS_EDEVICE, "no CUDA device");
    }
    return ls_cuda_check(err, (int)status, "CUDA devices");
}

static int describe(struct ls_cuda_device *out, struct ls_err *err)
{
    struct cudaDeviceProp properties;
    int driver = 0, runtime = 0, r;

    r = ls_cuda_check(err, (int)cudaGetDeviceProperties(&properties, out->idx),
                      "the device's properties");
    if (r < 0)
        return r;
    (void)cudaDriverGetVersion(&driver);
    (void)cudaRuntimeGetVersion(&runtime);
    out->major = properties.major;
    out->minor = properties.minor;
    out->multiprocessor_count = properties.multiProcessorCount;
    out->memory_total = properties.totalGlobalMem;
    snprintf(out->name, sizeof out->name, "%.60s", properties.name);
    snprintf(out->text, sizeof out->text, "%s, driver %d.%d, CUDA %d.%d", out->name, driver / 1000,
             driver % 1000 / 10, runtime / 1000, runtime % 1000 / 10);
    return LS_OK;
}

int ls_cuda_device_open(struct ls_cuda_device *out, size_t memory_min, struct ls_err *err)
{
    struct ls_cuda_device device = {.idx = 0}; // of those that CUDA_VISIBLE_DEVICES leaves
    size_t free_size = 0, total = 0;
    int r = find_device(err);

    if (r == 0)
        r = describe(&device, err);
    if (r == 0 && device.major * 10 + device.minor < COMPUTE_MIN)
        r = ls_fail(err, LS_EDEVICE, "%s is an sm_%d%d device: %d.%d or newer is needed",
                    device.name, device.major, device.minor, COMPUTE_MIN / 10, COMPUTE_MIN % 10);
    if (r == 0)
        r = ls_cuda_check(err, (int)cudaSetDevice(device.idx), device.name);
    // This makes the context, whose own memory is then no longer free.
    if (r == 0)
        r = ls_cuda_check(err, (int)cudaMemGetInfo(&free_size, &total), device.name);
    if (r == 0 && free_size < memory_min)
        r = ls_fail(err, LS_EDEVICE, "%s: %zu MiB of device memory free, %zu needed", device.name,
                    free_size / MIB, (memory_min + MIB - 1) / MIB);
    if (r == 0)
        *out = device;
    return r;
}

int ls_cuda_alloc(void **out, size_t size, struct ls_err *err)
{
    char what[64];
    void *memory = NULL;
    int r;

    snprintf(what, sizeof what, "%zu KiB of device memory", (size + 1023) / 1024);
    r = ls_cuda_check(err, (int)cudaMalloc(&memory, size), what);
    if (r < 0)
        return r;
    // Streams of ours do not wait for the default stream, on which this is done.
    r = ls_cuda_check(err, (int)cudaMemset(memory, 0, size), what);
    if (r == 0)
        r = ls_cuda_check(err, (int)cudaStreamSynchronize(0), what);
    if (r < 0)
        ls_cuda_free(&memory);
    else
        *out = memory;
    return r;
}

void ls_cuda_free(void **memory)
{
    if (!memory || !*memory)
        return;
    if (cudaFree(*memory) != cudaSuccess)
        (void)cudaGetLastError(); // of a lost device: nothing is left to be done
    *memory = NULL;
}

int ls_cuda_twin_reserve(struct ls_cuda_twin *twin, size_t size, struct ls_err *err)
{
    struct ls_cuda_twin grown = {0};
    int r;

    if (size <= twin->size)
        return LS_OK;
    // Pinning takes milliseconds, and freeing waits for the device: half as much again, so that a
    // slowly growing need does not ask each time.
    if (size < twin->size + twin->size / 2)
        size = twin->size + twin->size / 2;
    ls_cuda_twin_done(twin);
    r = ls_cuda_alloc(&grown.device, size, err);
    if (r < 0)
        return r;
    r = ls_cuda_check(err, (int)cudaMallocHost(&grown.host, size), "pinned memory");
    if (r < 0) {
        ls_cuda_free(&grown.device);
        return r;
    }
    grown.size = size;
    *twin = grown;
    return LS_OK;
}

void ls_cuda_twin_done(struct ls_cuda_twin *twin)
{
    if (twin->host && cudaFreeHost(twin->host) != cudaSuccess)
        (void)cudaGetLastError();
    ls_cuda_free(&twin->device);
    *twin = (struct ls_cuda_twin){0};
}
