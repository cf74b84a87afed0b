// SPDX-License-Identifier: Apache-2.0
// The operator's limits as messages, for Accepted and GetServerInfo. Loop thread. Include in rpc
// files only.
#ifndef LS_RPC_LIMITS_H
#define LS_RPC_LIMITS_H

#include <lipstream/v1/lip_sync.pb-c.h>

#include "server/options.h"

enum { LS_LIMITS_MAX = 64 };
struct ls_limits {
    Lipstream__V1__Limit item[LS_LIMITS_MAX], *list[LS_LIMITS_MAX];
    size_t count;
};
// Points into itself: not to be copied.
void ls_limits_fill(struct ls_limits *limits, const struct ls_options *opt);

#endif
