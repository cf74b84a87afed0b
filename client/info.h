// SPDX-License-Identifier: Apache-2.0
// `lipstream info`: what a server is, can do and allows. Main thread.
#ifndef LS_CLIENT_INFO_H
#define LS_CLIENT_INFO_H

#include "client/options.h"

// Asks, prints, and returns the exit code.
int ls_info_run(const struct ls_client_options *opt);

#endif
