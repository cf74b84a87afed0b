// SPDX-License-Identifier: Apache-2.0
// The gauges of metrics.h: what the engine, the port and the kernel know at this moment, as text.
// Loop thread.
#ifndef LS_GAUGES_H
#define LS_GAUGES_H

#include "server/engine.h"
#include "server/text.h"

struct ls_rpc;

// Parts that the engine does not have, and rpc, may be NULL: their gauges are left out.
void ls_gauges_text(struct ls_text *t, struct ls_engine *engine, const struct ls_rpc *rpc);
// Whether new calls are taken; else why not, for /readyz.
bool ls_gauges_ready(const struct ls_engine *engine, const char **why);

#endif
