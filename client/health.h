// SPDX-License-Identifier: Apache-2.0
// `lipstream health`: see health.c.
#ifndef LS_CLIENT_HEALTH_H
#define LS_CLIENT_HEALTH_H

#include "client/options.h"

int ls_health_run(const struct ls_client_options *opt); // the exit code

#endif
