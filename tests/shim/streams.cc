// SPDX-License-Identifier: Apache-2.0
// The shim's streams and events. A stream is a queue of closures; when they run is the stream's
// order (LS_SHIM_ORDER): at once, or as late as a synchronising call allows, alone or mixed with
// other streams' work, so that a wait which is missing between streams, or a buffer that is used
// again too early, gives wrong numbers. While a graph is captured (graphs.cc) work is put there;
// what a capture does not allow is refused and breaks it. Any thread.
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <map>
#include <thread>

#include "_streams.h"

namespace ls_shim
{

std::list<std::shared_ptr<queue>> queues;
std::shared_ptr<queue> legacy = std::make_shared<queue>();
std::set<void *> handles;

} // namespace ls_shim

namespace
{

using namespace ls_shim;

std::map<std::thread::id, std::shared_ptr<queue>> per_thread;
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
        run_now(first.run);
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
    expose(true); // once for all: pages are slow to change
    while (advance(q, until))
        ;
    expose(false);
}

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

namespace
{

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
