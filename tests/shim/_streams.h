// SPDX-License-Identifier: Apache-2.0
// What the shim's streams.cc and graphs.cc share: queues of work, and what a capture has collected.
// Everything here is called and touched with the lock held.
#ifndef LS_SHIM_STREAMS_H
#define LS_SHIM_STREAMS_H

#include <deque>
#include <list>
#include <memory>
#include <set>
#include <vector>

#include "_shim.h"

namespace ls_shim
{

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

extern std::list<std::shared_ptr<queue>> queues;
extern std::shared_ptr<queue> legacy; // the default stream's
extern std::set<void *> handles;      // streams, events, graphs that live

std::shared_ptr<queue> queue_of(cudaStream_t stream); // NULL: the handle is none

} // namespace ls_shim

struct CUstream_st {
    std::shared_ptr<ls_shim::queue> q;
};

struct CUevent_st {
    std::shared_ptr<ls_shim::queue> q; // where it was recorded last; NULL: never
    uint64_t until;
    std::shared_ptr<double> at_ms;        // negative until it happens
    std::shared_ptr<ls_shim::capture> in; // the capture it was recorded in
    size_t captured;
    bool timed;
};

#endif
