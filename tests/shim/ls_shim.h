// SPDX-License-Identifier: Apache-2.0
// The words of kernels/cuda/launch.h for the host. A block's threads are fibers of one host thread
// (launch.cc), blocks run one after the other, in an order that changes with the block so that a
// missing barrier shows; a FLAT kernel's threads are a plain loop. A barrier or warp operation that
// not every thread reaches at the same line aborts with the kernel's name: stricter than a device,
// where threads that have returned count as arrived. C++17; a launch takes the runtime's lock, so
// the globals here belong to one host thread at a time.
#ifndef LS_SHIM_H
#define LS_SHIM_H

#include <cmath>
#include <cstdint>
#include <cstring>
#include <functional>
#include <tuple>
#include <type_traits>
#include <utility>

#include <cuda_runtime_api.h>

#define LS_SHIM_HIDDEN __attribute__((visibility("hidden")))

#define LS_DEVICE                     static inline __attribute__((always_inline))
#define LS_KERNEL                     static void
#define LS_DYNAMIC_SHARED(type, name) type *name = (type *)ls_shim_dynamic_shared
#define LS_LAUNCH(kernel, grid, block, shared_size, stream, ...)                                   \
    ls_shim_launch({#kernel, (grid), (block), (size_t)(shared_size), false}, (stream), (kernel),   \
                   __VA_ARGS__)
#define LS_LAUNCH_FLAT(kernel, grid, block, stream, ...)                                           \
    ls_shim_launch({#kernel, (grid), (block), 0, true}, (stream), (kernel), __VA_ARGS__)

// One for all blocks, which do not run at the same time.
#define __shared__ static
#define __launch_bounds__(...)
#define __align__(n) __attribute__((aligned(n)))

extern "C++" {

extern LS_SHIM_HIDDEN uint3 threadIdx, blockIdx;
extern LS_SHIM_HIDDEN dim3 blockDim, gridDim;
extern LS_SHIM_HIDDEN unsigned char *ls_shim_dynamic_shared;

struct ls_shim_shape {
    const char *name; // of the kernel; lives as long as the process
    dim3 grid, block;
    size_t shared_size;
    bool flat;
};

// launch.cc. site: the line of the call in the kernel. The shuffle gives each thread the value of
// the warp's lane `from`, which must be one of `mask`.
LS_SHIM_HIDDEN void ls_shim_submit(const struct ls_shim_shape *shape, cudaStream_t stream,
                                   const void *kernel, std::function<void()> run);
LS_SHIM_HIDDEN bool ls_shim_is_reachable(const void *memory); // device or pinned memory, or NULL
LS_SHIM_HIDDEN void ls_shim_bad_pointer(const char *kernel, const void *memory);
LS_SHIM_HIDDEN void ls_shim_barrier(int site);
LS_SHIM_HIDDEN void ls_shim_warp(unsigned mask, int site);
LS_SHIM_HIDDEN uint64_t ls_shim_shuffle(unsigned mask, uint64_t value, int from, int site);
LS_SHIM_HIDDEN cudaError_t ls_shim_allow_shared(const void *kernel, int size);

// Not deduced from the arguments: they become what the kernel's parameters are, at the launch.
template <typename T> struct ls_shim_same {
    typedef T type;
};

template <typename T> void ls_shim_look_at(const char *kernel, const T &argument)
{
    if constexpr (std::is_pointer_v<T>)
        if (!ls_shim_is_reachable((const void *)argument))
            ls_shim_bad_pointer(kernel, (const void *)argument);
    (void)kernel;
    (void)argument;
}

template <typename... P>
void ls_shim_launch(const struct ls_shim_shape &shape, cudaStream_t stream, void (*kernel)(P...),
                    typename ls_shim_same<P>::type... argument)
{
    const char *name = shape.name;

    (ls_shim_look_at(name, argument), ...);
    ls_shim_submit(&shape, stream, (const void *)kernel,
                   [kernel, held = std::make_tuple(argument...)] { std::apply(kernel, held); });
}

static inline void __syncthreads(int site = __builtin_LINE())
{
    ls_shim_barrier(site);
}

static inline void __syncwarp(unsigned mask = 0xffffffffu, int site = __builtin_LINE())
{
    ls_shim_warp(mask, site);
}

static inline int ls_shim_lane(void)
{
    return (int)((threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z)) % 32);
}

template <typename T> T ls_shim_shuffle_any(unsigned mask, T value, int from, int site)
{
    static_assert(sizeof(T) == 4 || sizeof(T) == 8, "a device shuffles 4 or 8 bytes");
    uint64_t bits = 0;

    memcpy(&bits, &value, sizeof value);
    bits = ls_shim_shuffle(mask, bits, from, site);
    memcpy(&value, &bits, sizeof value);
    return value;
}

template <typename T>
T __shfl_sync(unsigned mask, T value, int from, int width = 32, int site = __builtin_LINE())
{
    int lane = ls_shim_lane();

    return ls_shim_shuffle_any(mask, value, (lane & -width) + (from & (width - 1)), site);
}

template <typename T>
T __shfl_down_sync(unsigned mask, T value, unsigned by, int width = 32, int site = __builtin_LINE())
{
    int lane = ls_shim_lane(), from = lane + (int)by;

    return ls_shim_shuffle_any(mask, value, (from ^ lane) & -width ? lane : from, site);
}

template <typename T>
T __shfl_xor_sync(unsigned mask, T value, int with, int width = 32, int site = __builtin_LINE())
{
    int lane = ls_shim_lane(), from = lane ^ with;

    return ls_shim_shuffle_any(mask, value, (from ^ lane) & -width ? lane : from, site);
}

static inline int atomicAdd(int *to, int v)
{
    return __atomic_fetch_add(to, v, __ATOMIC_RELAXED);
}
static inline unsigned atomicAdd(unsigned *to, unsigned v)
{
    return __atomic_fetch_add(to, v, __ATOMIC_RELAXED);
}
static inline unsigned long long atomicAdd(unsigned long long *to, unsigned long long v)
{
    return __atomic_fetch_add(to, v, __ATOMIC_RELAXED);
}

template <typename T> static inline T __ldg(const T *from)
{
    return *from;
}

template <typename... P>
cudaError_t cudaFuncSetAttribute(void (*kernel)(P...), enum cudaFuncAttribute attribute, int value)
{
    if (attribute != cudaFuncAttributeMaxDynamicSharedMemorySize)
        return cudaErrorInvalidValue;
    return ls_shim_allow_shared((const void *)kernel, value);
}

static inline float2 make_float2(float x, float y)
{
    return {x, y};
}
static inline float4 make_float4(float x, float y, float z, float w)
{
    return {x, y, z, w};
}
static inline int2 make_int2(int x, int y)
{
    return {x, y};
}
static inline int4 make_int4(int x, int y, int z, int w)
{
    return {x, y, z, w};
}
static inline uint2 make_uint2(unsigned x, unsigned y)
{
    return {x, y};
}
static inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w)
{
    return {x, y, z, w};
}

// As __half: 16 bits of IEEE 754 that do nothing by themselves.
struct ls_half {
    uint16_t bits;
};

static inline float ls_half_get(ls_half h)
{
    uint32_t bits = (uint32_t)(h.bits & 0x7fff) << 13;
    float v;

    if (bits >= 0x7c00u << 13) { // infinite or not a number: the largest exponent here too
        bits |= 0x7f800000;
        memcpy(&v, &bits, sizeof v);
    } else {
        memcpy(&v, &bits, sizeof v);
        v *= 0x1p112f; // moves the exponent's bias from 15 to 127; exact for subnormal numbers too
    }
    return h.bits & 0x8000 ? -v : v;
}

static inline ls_half ls_half_put(float v)
{
    uint32_t bits, sign;

    memcpy(&bits, &v, sizeof bits);
    sign = bits >> 16 & 0x8000;
    bits &= 0x7fffffff;
    if (bits > 0x7f800000)
        return {0x7fff}; // what __float2half_rn makes of any that is not a number
    if (bits >= 0x477ff000)
        return {(uint16_t)(sign | 0x7c00)}; // from 65520 on
    if (bits < 0x38800000) {                // subnormal: a number near 0.5 is a multiple of 2^-24
        float magic = std::fabs(v) + 0.5f;

        memcpy(&bits, &magic, sizeof bits);
        return {(uint16_t)(sign | (bits - 0x3f000000))};
    }
    bits += 0xfff + (bits >> 13 & 1); // ties to even
    return {(uint16_t)(sign | (bits - 0x38000000) >> 13)};
}

} // extern "C++"

#endif
