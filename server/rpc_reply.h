// SPDX-License-Identifier: Apache-2.0
// A session's replies as SyncResponse messages, queued on the call. Loop thread.
#ifndef LS_RPC_REPLY_H
#define LS_RPC_REPLY_H

#include "server/job.h"
#include "server/rpc_call.h"
#include "server/session.h"

// Takes what the reply owns (media.data, frames.item). job is the session's effective one.
void ls_reply_send(struct ls_call *c, struct ls_reply *reply, const struct ls_job *job);

#endif
