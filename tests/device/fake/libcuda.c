// SPDX-License-Identifier: Apache-2.0
// A libcuda.so.1 for tests on machines without a driver: enough of one for cuDNN and nvrtc to
// compile plans for a described device (cuDNN opens the driver before it compiles, and loads the
// machine code that comes out). Nothing is computed and there is no device. Each function is a
// symbol that cuDNN looks up by name. Any thread.
#include <stddef.h>

#define SHOWN __attribute__((visibility("default")))

enum { SUCCESS = 0, NOT_INITIALIZED = 3, NO_DEVICE = 100 };

static char handle[64]; // whatever is loaded or found

// Those whose first argument takes a handle.
#define HANDLE(name)                                                                               \
    SHOWN int name(void **out);                                                                    \
    int name(void **out)                                                                           \
    {                                                                                              \
        *out = handle;                                                                             \
        return SUCCESS;                                                                            \
    }
HANDLE(cuLibraryLoadData)
HANDLE(cuLibraryLoadFromFile)
HANDLE(cuLibraryGetKernel)
HANDLE(cuKernelGetFunction)
HANDLE(cuModuleLoadData)
HANDLE(cuModuleGetFunction)
HANDLE(cuCtxGetCurrent)
HANDLE(cuCtxPopCurrent)
HANDLE(cuLinkCreate)

// Those whose first argument takes a number.
#define NUMBER(name, value)                                                                        \
    SHOWN int name(int *out);                                                                      \
    int name(int *out)                                                                             \
    {                                                                                              \
        *out = (value);                                                                            \
        return SUCCESS;                                                                            \
    }
NUMBER(cuDriverGetVersion, 13000)
NUMBER(cuDeviceGetCount, 1)
NUMBER(cuDeviceGet, 0)
NUMBER(cuKernelGetAttribute, 0)
NUMBER(cuOccupancyMaxPotentialClusterSize, 1)

// Those that have nothing to give, and those that are not to be had.
#define RETURNS(name, value)                                                                       \
    SHOWN int name(void);                                                                          \
    int name(void)                                                                                 \
    {                                                                                              \
        return (value);                                                                            \
    }
RETURNS(cuInit, SUCCESS)
RETURNS(cuCtxPushCurrent, SUCCESS)
RETURNS(cuLinkAddData, SUCCESS)
RETURNS(cuLinkComplete, SUCCESS)
RETURNS(cuLinkDestroy, SUCCESS)
RETURNS(cuLibraryUnload, SUCCESS)
RETURNS(cuKernelSetAttribute, SUCCESS)
RETURNS(cuCtxGetLimit, NOT_INITIALIZED)
RETURNS(cuStreamGetCtx, NOT_INITIALIZED)
RETURNS(cuLaunchKernel, NO_DEVICE)
RETURNS(cuLaunchKernelEx, NO_DEVICE)
RETURNS(cuLaunchCooperativeKernel, NO_DEVICE)

SHOWN int cuGetErrorName(int error, const char **out);
SHOWN int cuGetErrorString(int error, const char **out);
int cuGetErrorName(int error, const char **out)
{
    *out = error ? "ERROR_OF_TEST_DRIVER" : "SUCCESS";
    return SUCCESS;
}
int cuGetErrorString(int error, const char **out)
{
    return cuGetErrorName(error, out);
}

// CUDA's runtime starts with these two: it finds no driver that it can use, as without one.
SHOWN int cuGetExportTable(const void **out, const void *id);
SHOWN int cuGetProcAddress_v2(const char *name, void **out, int version, unsigned long long flags,
                              int *status);
int cuGetExportTable(const void **out, const void *id)
{
    (void)id;
    *out = NULL;
    return NOT_INITIALIZED;
}
int cuGetProcAddress_v2(const char *name, void **out, int version, unsigned long long flags,
                        int *status)
{
    (void)name;
    (void)version;
    (void)flags;
    if (status)
        *status = 1; // there is no such symbol
    *out = NULL;
    return NO_DEVICE;
}
