// SPDX-License-Identifier: Apache-2.0
// A call with one message each way, waited for. Main thread; a signal ends the process, for nothing
// is held that would need cleaning.
#ifndef LS_CLIENT_UNARY_H
#define LS_CLIENT_UNARY_H

#include <stddef.h>
#include <stdint.h>

#include "client/options.h"

// Sends an empty message to method. LS_EXIT_OK with the reply (malloc'ed, the caller's); or the
// exit code of what went wrong, which has been printed on stderr.
int ls_unary_call(const struct ls_client_options *opt, const char *method, uint8_t **data,
                  size_t *size);

#endif
