// SPDX-License-Identifier: Apache-2.0
// The shim's device: how many there are and what they say of themselves (the environment may make
// it old, small or absent), the last error, and calls that fail on request. Any thread.
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include <unistd.h>

#include "_shim.h"

namespace ls_shim
{

std::recursive_mutex lock;

static thread_local cudaError_t last;

// Lost for good, once there is a file by the name that LS_SHIM_LOST has.
bool is_lost()
{
    static const char *const path = getenv("LS_SHIM_LOST");

    return path && access(path, F_OK) == 0;
}

static long failing, calls;

cudaError_t result(cudaError_t error)
{
    if (error != cudaSuccess && error != cudaErrorNotReady)
        last = error;
    return error;
}

bool call_fails()
{
    calls++;
    return is_lost() || (failing > 0 && --failing == 0);
}

long env(const char *name, long usual)
{
    const char *text = getenv(name);

    return text && *text ? strtol(text, nullptr, 10) : usual;
}

} // namespace ls_shim

using namespace ls_shim;

enum { VERSION = 13000 };

static cudaError_t device_check(int device)
{
    int count;
    cudaError_t error = cudaGetDeviceCount(&count);

    return error != cudaSuccess ? error
                                : result(device == 0 ? cudaSuccess : cudaErrorInvalidDevice);
}

long ls_shim_fail(long call)
{
    locked l;
    long made = calls;

    failing = call;
    calls = 0;
    return made;
}

cudaError_t cudaGetDeviceCount(int *count)
{
    long driver = env("LS_SHIM_DRIVER", VERSION);

    *count = 0;
    // A runtime runs on any driver of its major version.
    if (driver / 1000 < VERSION / 1000)
        return result(cudaErrorInsufficientDriver);
    if (env("LS_SHIM_DEVICES", 1) < 1)
        return result(cudaErrorNoDevice);
    *count = 1;
    return cudaSuccess;
}

cudaError_t cudaSetDevice(int device)
{
    return device_check(device);
}

cudaError_t cudaGetDevice(int *device)
{
    *device = 0;
    return device_check(0);
}

cudaError_t cudaInitDevice(int device, unsigned, unsigned)
{
    return device_check(device);
}

cudaError_t cudaSetDeviceFlags(unsigned)
{
    return cudaSuccess;
}

cudaError_t cudaDriverGetVersion(int *version)
{
    *version = (int)env("LS_SHIM_DRIVER", VERSION);
    return cudaSuccess;
}

cudaError_t cudaRuntimeGetVersion(int *version)
{
    *version = VERSION;
    return cudaSuccess;
}

cudaError_t cudaDeviceGetAttribute(int *value, enum cudaDeviceAttr attr, int device)
{
    static const struct {
        enum cudaDeviceAttr attr;
        int value;
    } rows[] = {
        {cudaDevAttrMaxThreadsPerBlock, 1024},
        {cudaDevAttrMaxSharedMemoryPerBlock, 48 << 10},
        {cudaDevAttrMaxSharedMemoryPerBlockOptin, 227 << 10},
        {cudaDevAttrWarpSize, 32},
        {cudaDevAttrClockRate, 1980000},
        {cudaDevAttrMultiProcessorCount, 4},
        {cudaDevAttrIntegrated, 0},
        {cudaDevAttrComputeMode, 0},
        {cudaDevAttrMemoryClockRate, 3201000},
        {cudaDevAttrGlobalMemoryBusWidth, 6144},
        {cudaDevAttrL2CacheSize, 60 << 20},
        {cudaDevAttrAsyncEngineCount, 3},
        {cudaDevAttrUnifiedAddressing, 1},
    };
    cudaError_t error = device_check(device);
    long sm = env("LS_SHIM_SM", 90);

    if (error != cudaSuccess)
        return error;
    if (attr == cudaDevAttrComputeCapabilityMajor || attr == cudaDevAttrComputeCapabilityMinor) {
        *value = (int)(attr == cudaDevAttrComputeCapabilityMajor ? sm / 10 : sm % 10);
        return cudaSuccess;
    }
    for (const auto &row : rows)
        if (row.attr == attr) {
            *value = row.value;
            return cudaSuccess;
        }
    return result(cudaErrorInvalidValue);
}

cudaError_t cudaGetDeviceProperties(struct cudaDeviceProp *prop, int device)
{
    cudaError_t error = device_check(device);
    struct cudaDeviceProp p = {};
    long sm = env("LS_SHIM_SM", 90);
    size_t free_size;

    if (error != cudaSuccess)
        return error;
    snprintf(p.name, sizeof p.name, "host shim");
    p.sharedMemPerBlock = 48 << 10;
    p.sharedMemPerBlockOptin = 227 << 10;
    p.regsPerBlock = 65536;
    p.warpSize = 32;
    p.maxThreadsPerBlock = 1024;
    p.maxThreadsPerMultiProcessor = 2048;
    p.major = (int)(sm / 10);
    p.minor = (int)(sm % 10);
    p.multiProcessorCount = 4;
    p.asyncEngineCount = 3;
    p.canMapHostMemory = p.unifiedAddressing = 1;
    p.memoryBusWidth = 6144;
    p.l2CacheSize = 60 << 20;
    error = cudaMemGetInfo(&free_size, &p.totalGlobalMem);
    if (error == cudaSuccess)
        *prop = p;
    return error;
}

cudaError_t cudaGetLastError(void)
{
    cudaError_t error = last;

    last = cudaSuccess;
    return error;
}

cudaError_t cudaPeekAtLastError(void)
{
    return last;
}

static const struct {
    cudaError_t error;
    const char *name, *text;
} errors[] = {
#define ROW(name, number, text) {name, #name, text},
    LS_SHIM_ERRORS(ROW)
#undef ROW
};

const char *cudaGetErrorString(cudaError_t error)
{
    for (const auto &row : errors)
        if (row.error == error)
            return row.text;
    return "unrecognized error code";
}

const char *cudaGetErrorName(cudaError_t error)
{
    for (const auto &row : errors)
        if (row.error == error)
            return row.name;
    return "unrecognized error code";
}
