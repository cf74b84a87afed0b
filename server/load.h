// SPDX-License-Identifier: Apache-2.0
// What live streams may be promised: learns what a frame costs the lanes and the cores, adds up
// what was promised, and says no before the sum is more than a share of both. Pure arithmetic on
// given times, part of struct ls_admit; loop thread.
#ifndef LS_LOAD_H
#define LS_LOAD_H

#include <stdbool.h>
#include <stdint.h>

#include "kernels/err.h"

// What one unit (a frame of lane time, a pixel of core time) costs, from work that came back.
// Blocks of many frames are averaged, so that one slow piece of work says little.
struct ls_load_cost {
    double block_us, block_units; // being gathered
    int block_frames, blocks;
    double mean_us; // of late
    double best_us; // of the best block: the machine undisturbed
};

// A live stream's demand.
struct ls_load_demand {
    double frames, pixels; // a second
};

struct ls_load {
    double lanes, cores;
    bool lanes_on_cores; // lane time is core time: no device of its own
    double share_max;    // 0.8: what may be promised
    struct ls_load_cost lane, core;
    struct ls_load_demand sum;
    struct ls_load_demand least; // of each, the streams since nobody last ran
    int streams;
    int64_t promised_us; // when a stream last was let in
    int64_t late_us;     // when a live frame last was late; 0: never
};

// lane_us: all that lanes did; frames: faces made by it (0: other work of theirs).
void ls_load_learn_lane(struct ls_load *l, int64_t lane_us, int frames);
// core_us: decoding and encoding; frames: those that left, of `pixels` each.
void ls_load_learn_core(struct ls_load *l, int64_t core_us, int frames, int64_t pixels);
// A frame was late: no promise is given for a while.
void ls_load_late(struct ls_load *l, int64_t now_us);

// LS_ELIVE, or the demand is part of the sum until it is released.
LS_MUST int ls_load_promise(struct ls_load *l, const struct ls_load_demand *demand, int64_t now_us,
                            struct ls_err *err);
void ls_load_release(struct ls_load *l, const struct ls_load_demand *demand);
// For a stream whose demand is not known yet: LS_ELIVE if not even one like the least that ran of
// late, or a small one if that is less, could be promised. Else that much is promised (*held) until
// ls_load_settle; it is zero when too little is known to hold anything.
LS_MUST int ls_load_hope(struct ls_load *l, struct ls_load_demand *held, int64_t now_us,
                         struct ls_err *err);
// The demand is known now. What was held is released on failure. What fits into it needs no second
// decision: costs move from one moment to the next.
LS_MUST int ls_load_settle(struct ls_load *l, const struct ls_load_demand *held,
                           const struct ls_load_demand *demand, int64_t now_us, struct ls_err *err);
// What is promised, as shares of all lanes and all cores.
void ls_load_shares(const struct ls_load *l, double *lanes, double *cores);

// The demand of a stream.
struct ls_load_demand ls_load_demand(double frames_per_second, int64_t pixels);
// Processors that this process may use: online, allowed, and within the cgroup's quota.
double ls_load_cores(void);
// The quota in a cpu.max file's text, in processors; 0: none.
double ls_load_quota(const char *text);

#endif
