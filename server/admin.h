// SPDX-License-Identifier: Apache-2.0
// The admin port: HTTP/1.1 by libmicrohttpd on the loop. /metrics (Prometheus's text format),
// /healthz (200 while the loop turns), /readyz (503 while the server drains or has lost its
// device), /configz (the options in force as JSON, without secrets). metrics and configz want scope
// admin where callers are identified. Loop thread only.
#ifndef LS_ADMIN_H
#define LS_ADMIN_H

#include "kernels/err.h"
#include "server/engine.h"

struct ls_admin;
struct ls_auth;
struct ls_rpc;

// Listens on opt.admin_listen; *out is NULL when that is "none". All must outlive it; rpc may be
// NULL.
LS_MUST int ls_admin_open(struct ls_admin **out, struct ls_engine *engine, struct ls_auth *auth,
                          struct ls_rpc *rpc, struct ls_err *err);
const char *ls_admin_address(const struct ls_admin *a); // as bound; "" for NULL
void ls_admin_close(struct ls_admin **a);

#endif
