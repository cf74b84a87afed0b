// SPDX-License-Identifier: Apache-2.0
// When `sync` may call once more, and after how long. Main thread, between two calls.
#ifndef LS_CLIENT_RETRY_H
#define LS_CLIENT_RETRY_H

#include <stdbool.h>

#include "client/link.h"

// A status that says "later": the server is full, or away.
bool ls_retry_fits(const struct ls_link_status *status);
// Seconds to wait before try number `tries` + 1; differs from caller to caller, so that those that
// were refused together do not come back together.
double ls_retry_delay_s(const struct ls_link_status *status, int tries);

#endif
