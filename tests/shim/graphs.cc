// SPDX-License-Identifier: Apache-2.0
// The shim's graphs: the list of closures that a capture collected, run again by each launch, in
// the order in which they were captured. Any thread.
#include "_streams.h"

using namespace ls_shim;

struct CUgraph_st {
    std::vector<work> steps;
};

struct CUgraphExec_st {
    std::shared_ptr<std::vector<work>> steps; // launches in flight share it
};

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, enum cudaStreamCaptureMode mode)
{
    locked l;
    auto q = queue_of(stream);

    if (!q)
        return result(cudaErrorInvalidResourceHandle);
    if (q == legacy || q->capture)
        return result(q == legacy ? cudaErrorStreamCaptureUnsupported : cudaErrorIllegalState);
    if (call_fails())
        return result(cudaErrorLaunchFailure);
    q->capture = std::make_shared<capture>();
    q->capture->origin = q.get();
    q->capture->mode = mode;
    q->captured = 0;
    return cudaSuccess;
}

cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t *graph)
{
    locked l;
    auto q = queue_of(stream);
    cudaError_t error = cudaSuccess;

    if (!q || !q->capture)
        return result(q ? cudaErrorIllegalState : cudaErrorInvalidResourceHandle);
    auto ended = q->capture;

    *graph = nullptr;
    if (ended->origin != q.get()) {
        ended->broken = true;
        return result(cudaErrorStreamCaptureUnmatched);
    }
    for (auto &other : queues)
        if (other->capture == ended) {
            if (other != q && !other->joined)
                error = cudaErrorStreamCaptureUnjoined;
            other->capture = nullptr;
        }
    ended->ended = true;
    if (ended->broken)
        error = cudaErrorStreamCaptureInvalidated;
    if (error == cudaSuccess && call_fails())
        error = cudaErrorLaunchFailure;
    if (error != cudaSuccess)
        return result(error);
    *graph = new CUgraph_st{std::move(ended->steps)};
    handles.insert(*graph);
    return cudaSuccess;
}

cudaError_t cudaStreamIsCapturing(cudaStream_t stream, enum cudaStreamCaptureStatus *status)
{
    locked l;
    auto q = queue_of(stream);

    if (!q)
        return result(cudaErrorInvalidResourceHandle);
    *status = !q->capture          ? cudaStreamCaptureStatusNone
              : q->capture->broken ? cudaStreamCaptureStatusInvalidated
                                   : cudaStreamCaptureStatusActive;
    return cudaSuccess;
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t *exec, cudaGraph_t graph, unsigned long long)
{
    locked l;

    if (!exec || !handles.count(graph))
        return result(cudaErrorInvalidValue);
    if (call_fails())
        return result(cudaErrorMemoryAllocation);
    *exec = new CUgraphExec_st{std::make_shared<std::vector<work>>(graph->steps)};
    handles.insert(*exec);
    return cudaSuccess;
}

cudaError_t cudaGraphInstantiateWithFlags(cudaGraphExec_t *exec, cudaGraph_t graph,
                                          unsigned long long flags)
{
    return cudaGraphInstantiate(exec, graph, flags);
}

cudaError_t cudaGraphUpload(cudaGraphExec_t exec, cudaStream_t stream)
{
    locked l;

    return result(handles.count(exec) && queue_of(stream) ? cudaSuccess : cudaErrorInvalidValue);
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t stream)
{
    locked l;

    if (!handles.count(exec))
        return result(cudaErrorInvalidValue);
    if (call_fails())
        return result(cudaErrorLaunchFailure);
    auto steps = exec->steps;

    return result(push(stream, [steps] {
        for (const auto &run : *steps)
            run();
    }));
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph)
{
    locked l;

    if (!handles.erase(graph))
        return result(cudaErrorInvalidValue);
    delete graph;
    return cudaSuccess;
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec)
{
    locked l;

    if (!handles.erase(exec))
        return result(cudaErrorInvalidValue);
    delete exec;
    return cudaSuccess;
}
