// SPDX-License-Identifier: Apache-2.0
// The shim's memory. Fresh memory is full of 0xa5, so that what nobody initialised shows. Device
// memory is the heap's (AddressSanitizer then knows its ends) or, with LS_SHIM_PROTECT, pages that
// nobody can touch except while work runs, with a forbidden page behind each allocation. Copies are
// held against the allocations' ends before they are queued. Any thread.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>

#include <sys/mman.h>

#include "_shim.h"

namespace
{

enum { PAGE = 4096, ALIGNMENT = 256 }; // cudaMalloc's alignment

struct piece {
    size_t size;
    char *pages; // LS_SHIM_PROTECT: first of the accessible ones, else NULL
    size_t pages_size;
};

std::map<uintptr_t, piece> device, pinned;
size_t device_size;
int exposed;

size_t round_up(size_t size, size_t to)
{
    return (size + to - 1) / to * to;
}

bool inside(const std::map<uintptr_t, piece> &pieces, const void *memory, size_t size)
{
    uintptr_t at = (uintptr_t)memory;
    auto next = pieces.upper_bound(at);

    if (next == pieces.begin())
        return false;
    --next;
    return at - next->first <= next->second.size && size <= next->second.size - (at - next->first);
}

size_t total()
{
    return (size_t)ls_shim::env("LS_SHIM_MEMORY_MB", 16384) << 20;
}

void fill(void *memory, size_t size)
{
    memset(memory, 0xa5, size);
}

// The allocation's end lies on a page's end as nearly as its alignment allows.
char *pages_new(struct piece *p)
{
    p->pages_size = round_up(p->size, PAGE);
    p->pages = (char *)mmap(nullptr, p->pages_size + PAGE, PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p->pages == MAP_FAILED || mprotect(p->pages + p->pages_size, PAGE, PROT_NONE) < 0)
        abort();
    fill(p->pages, p->pages_size);
    if (!exposed && mprotect(p->pages, p->pages_size, PROT_NONE) < 0)
        abort();
    return p->pages + (p->pages_size - round_up(p->size, ALIGNMENT));
}

cudaError_t device_new(void **memory, size_t size)
{
    struct piece p = {size, nullptr, 0};
    char *m;

    if (size > total() - device_size)
        return cudaErrorMemoryAllocation;
    if (ls_shim::env("LS_SHIM_PROTECT", 0)) {
        m = pages_new(&p);
    } else {
        // Not rounded up, so that one byte too far is seen.
        void *plain = nullptr;

        if (posix_memalign(&plain, ALIGNMENT, size) != 0)
            return cudaErrorMemoryAllocation;
        m = (char *)plain;
        fill(m, size);
    }
    device_size += size;
    device[(uintptr_t)m] = p;
    *memory = m;
    return cudaSuccess;
}

} // namespace

namespace ls_shim
{

bool is_device(const void *memory, size_t size)
{
    return inside(device, memory, size);
}

bool is_pinned(const void *memory, size_t size)
{
    return inside(pinned, memory, size);
}

bool touches_device(const void *memory)
{
    return inside(device, memory, 1);
}

void expose(bool yes)
{
    exposed += yes ? 1 : -1;
    if (exposed != yes) // only the first in and the last out
        return;
    for (auto &it : device)
        if (it.second.pages && mprotect(it.second.pages, it.second.pages_size,
                                        yes ? PROT_READ | PROT_WRITE : PROT_NONE) < 0)
            abort();
}

} // namespace ls_shim

using namespace ls_shim;

cudaError_t cudaMalloc(void **memory, size_t size)
{
    locked l;

    if (capturing_forbids())
        return result(cudaErrorStreamCaptureUnsupported);
    if (!memory)
        return result(cudaErrorInvalidValue);
    if (call_fails())
        return result(cudaErrorMemoryAllocation);
    if (!size) {
        *memory = nullptr;
        return cudaSuccess;
    }
    return result(device_new(memory, size));
}

cudaError_t cudaFree(void *memory)
{
    locked l;
    auto it = device.find((uintptr_t)memory);
    cudaError_t error;

    if (!memory)
        return cudaSuccess;
    error = finish_all();
    if (error != cudaSuccess)
        return result(error);
    if (it == device.end())
        return result(cudaErrorInvalidValue);
    device_size -= it->second.size;
    if (it->second.pages)
        munmap(it->second.pages, it->second.pages_size + PAGE);
    else
        free(memory);
    device.erase(it);
    return cudaSuccess;
}

cudaError_t cudaHostAlloc(void **memory, size_t size, unsigned)
{
    locked l;
    void *m = nullptr;

    if (capturing_forbids())
        return result(cudaErrorStreamCaptureUnsupported);
    if (!memory)
        return result(cudaErrorInvalidValue);
    if (!size) {
        *memory = nullptr;
        return cudaSuccess;
    }
    if (call_fails() || posix_memalign(&m, ALIGNMENT, size) != 0)
        return result(cudaErrorMemoryAllocation);
    fill(m, size);
    pinned[(uintptr_t)m] = {size, nullptr, 0};
    *memory = m;
    return cudaSuccess;
}

cudaError_t cudaMallocHost(void **memory, size_t size)
{
    return cudaHostAlloc(memory, size, cudaHostAllocDefault);
}

cudaError_t cudaFreeHost(void *memory)
{
    locked l;
    auto it = pinned.find((uintptr_t)memory);
    cudaError_t error;

    if (!memory)
        return cudaSuccess;
    error = finish_all();
    if (error != cudaSuccess)
        return result(error);
    if (it == pinned.end())
        return result(cudaErrorInvalidValue);
    pinned.erase(it);
    free(memory);
    return cudaSuccess;
}

cudaError_t cudaMemGetInfo(size_t *free_size, size_t *total_size)
{
    locked l;

    *total_size = total();
    *free_size = total() - device_size;
    return cudaSuccess;
}

// What a copy may touch: `height` rows of `width` bytes, `pitch` apart, in memory of this kind.
static bool reaches(const void *memory, size_t pitch, size_t width, size_t height, bool on_device,
                    const char *what)
{
    size_t size = pitch * (height - 1) + width;

    if (on_device ? is_device(memory, size) : !touches_device(memory))
        return true;
    fprintf(stderr, "shim: %s of %zu bytes at %p, which is not %s memory as far as that\n", what,
            size, memory, on_device ? "device" : "host");
    return false;
}

// kind with DEFAULT and the ends' places made out; -1 if the rows are not where they should be.
static int copy_check(const void *to, size_t to_pitch, const void *from, size_t from_pitch,
                      size_t width, size_t height, enum cudaMemcpyKind kind)
{
    bool to_device = kind == cudaMemcpyHostToDevice || kind == cudaMemcpyDeviceToDevice;
    bool from_device = kind == cudaMemcpyDeviceToHost || kind == cudaMemcpyDeviceToDevice;

    if (kind == cudaMemcpyDefault) {
        to_device = touches_device(to);
        from_device = touches_device(from);
    }
    if (!reaches(to, to_pitch, width, height, to_device, "copy to") ||
        !reaches(from, from_pitch, width, height, from_device, "copy from"))
        return -1;
    return from_device ? (to_device ? cudaMemcpyDeviceToDevice : cudaMemcpyDeviceToHost)
                       : (to_device ? cudaMemcpyHostToDevice : cudaMemcpyHostToHost);
}

static void copy_rows(void *to, size_t to_pitch, const void *from, size_t from_pitch, size_t width,
                      size_t height)
{
    for (size_t y = 0; y < height; y++)
        memcpy((char *)to + y * to_pitch, (const char *)from + y * from_pitch, width);
}

cudaError_t cudaMemcpy2DAsync(void *to, size_t to_pitch, const void *from, size_t from_pitch,
                              size_t width, size_t height, enum cudaMemcpyKind kind,
                              cudaStream_t stream)
{
    locked l;

    if (!width || !height)
        return cudaSuccess;
    if (height > 1 && (to_pitch < width || from_pitch < width))
        return result(cudaErrorInvalidPitchValue);
    if ((unsigned)kind > cudaMemcpyDefault)
        return result(cudaErrorInvalidMemcpyDirection);
    if (!to || !from || copy_check(to, to_pitch, from, from_pitch, width, height, kind) < 0)
        return result(cudaErrorInvalidValue);
    if (call_fails())
        return result(cudaErrorLaunchFailure);
    return result(push(stream, [=] { copy_rows(to, to_pitch, from, from_pitch, width, height); }));
}

cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t size, enum cudaMemcpyKind kind,
                            cudaStream_t stream)
{
    return cudaMemcpy2DAsync(to, size, from, size, size, 1, kind, stream);
}

// Waits for the legacy stream, except that what comes from pageable host memory may still be on its
// way from a staging buffer when the call returns, and between two places of the device it does not
// wait at all (CUDA's "API synchronization behavior").
cudaError_t cudaMemcpy2D(void *to, size_t to_pitch, const void *from, size_t from_pitch,
                         size_t width, size_t height, enum cudaMemcpyKind kind)
{
    locked l;
    cudaError_t error;

    if (capturing_forbids())
        return result(cudaErrorStreamCaptureImplicit);
    if (width && height && touches_device(to) && !touches_device(from) && !is_pinned(from, 1)) {
        std::string staged(width * height, 0);

        if ((height > 1 && (to_pitch < width || from_pitch < width)) ||
            copy_check(to, to_pitch, from, from_pitch, width, height, kind) < 0)
            return result(cudaErrorInvalidValue);
        if (call_fails())
            return result(cudaErrorLaunchFailure);
        copy_rows(&staged[0], width, from, from_pitch, width, height);
        return result(
            push(nullptr, [=] { copy_rows(to, to_pitch, staged.data(), width, width, height); }));
    }
    error = cudaMemcpy2DAsync(to, to_pitch, from, from_pitch, width, height, kind, nullptr);
    if (error != cudaSuccess || (touches_device(to) && touches_device(from)))
        return error;
    return cudaStreamSynchronize(nullptr);
}

cudaError_t cudaMemcpy(void *to, const void *from, size_t size, enum cudaMemcpyKind kind)
{
    return cudaMemcpy2D(to, size, from, size, size, 1, kind);
}

cudaError_t cudaMemset2DAsync(void *memory, size_t pitch, int value, size_t width, size_t height,
                              cudaStream_t stream)
{
    locked l;

    if (!width || !height)
        return cudaSuccess;
    if (height > 1 && pitch < width)
        return result(cudaErrorInvalidPitchValue);
    if (!reaches(memory, pitch, width, height, true, "fill"))
        return result(cudaErrorInvalidValue);
    if (call_fails())
        return result(cudaErrorLaunchFailure);
    return result(push(stream, [=] {
        for (size_t y = 0; y < height; y++)
            memset((char *)memory + y * pitch, value, width);
    }));
}

cudaError_t cudaMemsetAsync(void *memory, int value, size_t size, cudaStream_t stream)
{
    return cudaMemset2DAsync(memory, size, value, size, 1, stream);
}

cudaError_t cudaMemset(void *memory, int value, size_t size)
{
    locked l;

    if (capturing_forbids())
        return result(cudaErrorStreamCaptureImplicit);
    return cudaMemsetAsync(memory, value, size, nullptr);
}
