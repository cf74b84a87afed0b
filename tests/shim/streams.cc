// SPDX-License-Identifier: Apache-2.0
// The shim's streams, events and graphs. A stream is a queue of closures; when they run is the
// stream's order (LS_SHIM_ORDER): at once, or as late as a synchronising call allows, alone or
// mixed with other streams' work, so that a wait which is missing between streams, or a buffer that
// is used again too early, gives wrong numbers. A captured graph is the list of closures, run again
// by each launch. What a capture does not allow is refused and breaks the capture. Any thread.
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <list>
#include <map>
#include <memory>
#include <set>
#include <thread>
#include <vector>

#include "_shim.h"

namespace
{

using ls_shim::work;
enum order { NOW, LATE, RANDOM };
struct queue;

struct capture {
    std::vector<work> steps;
    struct queue *origin;
    enum cudaStreamCaptureMode mode;
    bool broken, ended;
};

// A run, or a wait for another queue.
struct item {
    work run;
    std::shared_ptr<queue> wait;
    uint64_t until;
};

// Outlives its stream's handle while work or events need it.
struct queue {
    enum order order;
    bool blocking; // waits for the legacy stream and is waited for
    std::deque<item> items;
    uint64_t pushed, done;
    std::shared_ptr<struct capture> capture;
    size_t captured; // its own steps in the capture
    bool joined;     // the origin waits for all of them
};

std::list<std::shared_ptr<queue>> queues;
std::shared_ptr<queue> legacy = std::make_shared<queue>();
std::map<std::thread::id, std::shared_ptr<queue>> per_thread;
std::set<void *> handles; // streams, events, graphs that live
uint64_t random_state;
std::string random_text; // that it was seeded by

double now_ms()
{
    using namespace std::chrono;
    return duration<double, std::milli>(steady_clock::now().time_since_epoch()).count();
}

enum order order_now()
{
    const char *text = getenv("LS_SHIM_ORDER");

    if (text && !strncmp(text, "random", 6)) {
        if (random_text != text) { // else the numbers go on
            random_text = text;
            random_state = text[6] == ':' ? strtoull(text + 7, nullptr, 10) : 0;
        }
        return RANDOM;
    }
    return text && !strcmp(text, "late") ? LATE : NOW;
}

uint64_t random_next() // splitmix64
{
    uint64_t z = random_state += 0x9e3779b97f4a7c15u;

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

void step(queue *q)
{
    item first = std::move(q->items.front());

    q->items.pop_front();
    if (first.run)
        ls_shim::run_now(first.run);
    q->done++;
}

bool runnable(const queue *q)
{
    const item *f = q->items.empty() ? nullptr : &q->items.front();

    return f && (!f->wait || f->wait->done >= f->until);
}

void step_random()
{
    std::vector<queue *> ready;

    for (auto &q : queues)
        if (runnable(q.get()))
            ready.push_back(q.get());
    if (runnable(legacy.get()))
        ready.push_back(legacy.get());
    step(ready[random_next() % ready.size()]);
}

// Does one thing on the way to the queue's `until`. False if nothing is left to do.
bool advance(queue *q, uint64_t until)
{
    if (q->done >= until)
        return false;
    if (q->order == RANDOM)
        step_random();
    else if (!runnable(q))
        advance(q->items.front().wait.get(), q->items.front().until);
    else
        step(q);
    return true;
}

void run_until(queue *q, uint64_t until)
{
    if (q->done >= until)
        return;
    ls_shim::expose(true); // once for all: pages are slow to change
    while (advance(q, until))
        ;
    ls_shim::expose(false);
}

// NULL if the handle is none.
std::shared_ptr<queue> queue_of(cudaStream_t stream);

void append(queue *q, item one)
{
    q->items.push_back(std::move(one));
    q->pushed++;
}

cudaError_t push_item(const std::shared_ptr<queue> &q, item one)
{
    if (q->capture && q->capture->broken)
        return cudaErrorStreamCaptureInvalidated;
    if (q->capture) {
        q->capture->steps.push_back(std::move(one.run));
        q->captured++;
        q->joined = false;
        return cudaSuccess;
    }
    if (q == legacy) {
        q->order = order_now();
        for (auto &other : queues) {
            if (other->blocking && other->capture) {
                other->capture->broken = true;
                return cudaErrorStreamCaptureImplicit;
            }
            if (other->blocking && other->done < other->pushed)
                append(q.get(), {nullptr, other, other->pushed});
        }
    } else if (q->blocking && legacy->done < legacy->pushed) {
        append(q.get(), {nullptr, legacy, legacy->pushed});
    }
    append(q.get(), std::move(one));
    if (q->order == NOW)
        run_until(q.get(), q->pushed);
    return cudaSuccess;
}

} // namespace

struct CUstream_st {
    std::shared_ptr<queue> q;
};

struct CUevent_st {
    std::shared_ptr<queue> q; // where it was recorded last; NULL: never
    uint64_t until;
    std::shared_ptr<double> at_ms; // negative until it happens
    std::shared_ptr<capture> in;   // the capture it was recorded in
    size_t captured;
    bool timed;
};

struct CUgraph_st {
    std::vector<work> steps;
};

struct CUgraphExec_st {
    std::shared_ptr<std::vector<work>> steps; // launches in flight share it
};

namespace
{

std::shared_ptr<queue> queue_of(cudaStream_t stream)
{
    if (!stream || stream == cudaStreamLegacy)
        return legacy;
    if (stream == cudaStreamPerThread) {
        auto &q = per_thread[std::this_thread::get_id()];

        if (!q) {
            q = std::make_shared<queue>();
            q->order = order_now();
            q->blocking = true;
            queues.push_back(q);
        }
        return q;
    }
    return handles.count(stream) ? stream->q : nullptr;
}

// Queues without a handle, work or capture go.
void prune()
{
    queues.remove_if(
        [](const std::shared_ptr<queue> &q) { return q.use_count() == 1 && q->items.empty(); });
}

cudaError_t event_sync(cudaEvent_t event, bool wait)
{
    if (!handles.count(event))
        return cudaErrorInvalidResourceHandle;
    if (event->in) {
        event->in->broken = true;
        return cudaErrorCapturedEvent;
    }
    if (!event->q)
        return cudaSuccess;
    if (wait)
        run_until(event->q.get(), event->until);
    else if (advance(event->q.get(), event->until))
        return cudaErrorNotReady;
    return cudaSuccess;
}

cudaError_t stream_sync(cudaStream_t stream, bool wait)
{
    auto q = queue_of(stream);

    if (!q)
        return cudaErrorInvalidResourceHandle;
    if (q->capture) {
        q->capture->broken = true;
        return cudaErrorStreamCaptureUnsupported;
    }
    if (q == legacy) // waits for the blocking streams too, and so has something to wait with
        for (auto &other : queues)
            if (other->blocking && other->done < other->pushed)
                append(q.get(), {nullptr, other, other->pushed});
    if (wait)
        run_until(q.get(), q->pushed);
    else if (advance(q.get(), q->pushed))
        return cudaErrorNotReady;
    return cudaSuccess;
}

} // namespace

namespace ls_shim
{

void run_now(const work &run)
{
    expose(true);
    run();
    expose(false);
}

cudaError_t push(cudaStream_t stream, work run)
{
    auto q = queue_of(stream);

    return q ? push_item(q, {std::move(run), nullptr, 0}) : cudaErrorInvalidResourceHandle;
}

bool capturing_forbids()
{
    bool any = false;

    for (auto &q : queues)
        if (q->capture && q->capture->mode != cudaStreamCaptureModeRelaxed)
            any = q->capture->broken = true;
    return any;
}

cudaError_t finish_all()
{
    if (capturing_forbids())
        return cudaErrorStreamCaptureUnsupported;
    for (auto &q : queues)
        run_until(q.get(), q->pushed);
    run_until(legacy.get(), legacy->pushed);
    prune();
    return cudaSuccess;
}

} // namespace ls_shim

using namespace ls_shim;

cudaError_t cudaDeviceSynchronize(void)
{
    locked l;

    return result(is_lost() ? cudaErrorLaunchFailure : finish_all());
}

cudaError_t cudaDeviceReset(void)
{
    return cudaDeviceSynchronize();
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t *stream, unsigned flags)
{
    locked l;

    if (!stream || flags > cudaStreamNonBlocking)
        return result(cudaErrorInvalidValue);
    if (call_fails())
        return result(cudaErrorMemoryAllocation);
    auto q = std::make_shared<queue>();

    q->order = order_now();
    q->blocking = flags != cudaStreamNonBlocking;
    queues.push_back(q);
    *stream = new CUstream_st{q};
    handles.insert(*stream);
    return cudaSuccess;
}

cudaError_t cudaStreamCreate(cudaStream_t *stream)
{
    return cudaStreamCreateWithFlags(stream, cudaStreamDefault);
}

cudaError_t cudaStreamCreateWithPriority(cudaStream_t *stream, unsigned flags, int)
{
    return cudaStreamCreateWithFlags(stream, flags);
}

cudaError_t cudaStreamDestroy(cudaStream_t stream)
{
    locked l;

    if (!handles.erase(stream))
        return result(cudaErrorInvalidResourceHandle);
    delete stream; // what is queued still runs
    prune();
    return cudaSuccess;
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream)
{
    locked l;

    return result(call_fails() ? cudaErrorLaunchFailure : stream_sync(stream, true));
}

cudaError_t cudaStreamQuery(cudaStream_t stream)
{
    locked l;

    return result(stream_sync(stream, false));
}

cudaError_t cudaLaunchHostFunc(cudaStream_t stream, cudaHostFn_t run, void *user)
{
    locked l;

    return result(call_fails() ? cudaErrorLaunchFailure : push(stream, [=] { run(user); }));
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t *event, unsigned flags)
{
    locked l;

    if (!event)
        return result(cudaErrorInvalidValue);
    if (call_fails())
        return result(cudaErrorMemoryAllocation);
    *event = new CUevent_st{};
    (*event)->timed = !(flags & cudaEventDisableTiming);
    handles.insert(*event);
    return cudaSuccess;
}

cudaError_t cudaEventCreate(cudaEvent_t *event)
{
    return cudaEventCreateWithFlags(event, cudaEventDefault);
}

cudaError_t cudaEventDestroy(cudaEvent_t event)
{
    locked l;

    if (!handles.erase(event))
        return result(cudaErrorInvalidResourceHandle);
    delete event;
    prune();
    return cudaSuccess;
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream)
{
    locked l;
    auto q = queue_of(stream);

    if (!q || !handles.count(event))
        return result(cudaErrorInvalidResourceHandle);
    if (call_fails())
        return result(cudaErrorLaunchFailure);
    event->q = q;
    event->in = q->capture;
    event->captured = q->captured;
    if (q->capture)
        return cudaSuccess;
    auto at_ms = std::make_shared<double>(-1);
    cudaError_t error = push_item(q, {[at_ms] { *at_ms = now_ms(); }, nullptr, 0});

    event->at_ms = at_ms;
    event->until = q->pushed;
    return result(error);
}

// A stream that waits for an event of a capture takes part in it from then on.
static cudaError_t wait_captured(const std::shared_ptr<queue> &q, cudaEvent_t event)
{
    if (!event->in || event->in->ended)
        return cudaErrorInvalidValue; // of what happens outside a capture, or happened in an old
                                      // one
    if (!q->capture) {
        q->capture = event->in;
        q->captured = 0;
        q->joined = false;
    }
    if (q->capture != event->in) {
        q->capture->broken = true;
        return cudaErrorStreamCaptureUnmatched;
    }
    if (event->q != q && event->captured == event->q->captured)
        event->q->joined = true;
    return cudaSuccess;
}

cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned)
{
    locked l;
    auto q = queue_of(stream);

    if (!q || !handles.count(event))
        return result(cudaErrorInvalidResourceHandle);
    if (call_fails())
        return result(cudaErrorLaunchFailure);
    if (!event->q)
        return cudaSuccess; // never recorded
    if (q->capture || event->in)
        return result(wait_captured(q, event));
    return result(push_item(q, {nullptr, event->q, event->until}));
}

cudaError_t cudaEventSynchronize(cudaEvent_t event)
{
    locked l;

    return result(call_fails() ? cudaErrorLaunchFailure : event_sync(event, true));
}

cudaError_t cudaEventQuery(cudaEvent_t event)
{
    locked l;

    if (capturing_forbids())
        return result(cudaErrorStreamCaptureUnsupported);
    return result(event_sync(event, false));
}

cudaError_t cudaEventElapsedTime(float *ms, cudaEvent_t start, cudaEvent_t end)
{
    locked l;

    if (!handles.count(start) || !handles.count(end) || !start->timed || !end->timed ||
        !start->at_ms || !end->at_ms)
        return result(cudaErrorInvalidResourceHandle);
    if (*start->at_ms < 0 || *end->at_ms < 0)
        return cudaErrorNotReady;
    *ms = (float)(*end->at_ms - *start->at_ms);
    return cudaSuccess;
}

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
