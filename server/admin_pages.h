// SPDX-License-Identifier: Apache-2.0
// What the admin port answers, apart from HTTP itself. Loop thread.
#ifndef LS_ADMIN_PAGES_H
#define LS_ADMIN_PAGES_H

#include <stdbool.h>
#include <stddef.h>

#include "server/auth.h"
#include "server/engine.h"
#include "server/rpc.h"

struct ls_page {
    int status; // of HTTP
    const char *type;
    char *body; // malloc'ed, the receiver's
    size_t size;
    bool challenge; // 401: WWW-Authenticate
    bool allow;     // 405: Allow
};

struct ls_page_request {
    const char *method, *path;
    const char *authorization; // NULL: none
    struct ls_peer peer;
};

// auth NULL: nothing is checked. Returns false when there is no memory.
bool ls_page_make(struct ls_page *out, const struct ls_page_request *request,
                  struct ls_engine *engine, const struct ls_auth *auth, struct ls_rpc *rpc);

#endif
