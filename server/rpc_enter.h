// SPDX-License-Identifier: Apache-2.0
// How a Sync call comes to its place: decided from its headers, before a message of it is read.
// Loop thread.
#ifndef LS_RPC_ENTER_H
#define LS_RPC_ENTER_H

#include "server/admit.h"
#include "server/job.h"
#include "server/rpc_call.h"

struct ls_enter_timer;

// Zeroed, it is out. Part of the call's state.
struct ls_enter {
    struct ls_call *call;
    struct ls_place place;
    struct ls_enter_timer *timer; // for the config, once it is inside
    // Never inside ls_enter_begin. The place is its own until ls_enter_end, also when it was
    // refused: because it waited too long, or because no config came.
    void (*on_entered)(struct ls_call *c);
    void (*on_refused)(struct ls_call *c, const struct ls_err *err);
};

// 0: it is inside (*waits false), or waits for its turn and tells its caller so. Else the call must
// end with err and all.
LS_MUST int ls_enter_begin(struct ls_enter *e, bool *waits, struct ls_violations *all,
                           struct ls_err *err);
void ls_enter_configured(struct ls_enter *e); // the config came
void ls_enter_end(struct ls_enter *e);        // gives the place back; before the call's end

#endif
