// SPDX-License-Identifier: Apache-2.0
// What the shim's own files share: the one lock, memory and its ranges, queued work. Everything
// here is called with the lock held, unless it says otherwise.
#ifndef LS_SHIM_INSIDE_H
#define LS_SHIM_INSIDE_H

#include <functional>
#include <mutex>
#include <string>

#include <cuda_runtime_api.h>

namespace ls_shim
{

// Held during every call; recursive because a host function queued on a stream runs under it.
extern std::recursive_mutex lock;
struct locked {
    std::lock_guard<std::recursive_mutex> guard{lock};
};

// device.cc: remembers the error for cudaGetLastError (success is not remembered) and yields it.
cudaError_t result(cudaError_t error);
// Counts a fallible call; true if it is the one that is to fail (ls_shim_fail).
bool call_fails();
bool is_lost(); // all calls fail from now on
long env(const char *name, long usual);

// memory.cc
bool is_device(const void *memory, size_t size); // wholly inside one allocation of the device
bool is_pinned(const void *memory, size_t size);
bool touches_device(const void *memory); // the address lies in the device's memory
void expose(bool yes);                   // LS_SHIM_PROTECT: while work runs

// streams.cc: puts work at the end of a stream, or into the graph that it captures.
typedef std::function<void()> work;
cudaError_t push(cudaStream_t stream, work run);
cudaError_t finish_all(); // runs whatever is queued anywhere; an error while a graph is captured
bool capturing_forbids(); // a call that is not allowed now is made: the capture is lost
void run_now(const work &run);

} // namespace ls_shim

#endif
