// SPDX-License-Identifier: Apache-2.0
// `lipstream sync`: one call from files or pipes to a file or pipe. Main thread.
#ifndef LS_CLIENT_SYNC_H
#define LS_CLIENT_SYNC_H

#include "client/options.h"

// Runs the call and prints what it came to. Returns the exit code.
int ls_sync_run(struct ls_client_options *opt);

#endif
