// SPDX-License-Identifier: Apache-2.0
// Locks a decode process in before it sees a stranger's byte: of the kernel's calls it keeps those
// that decoding needs, on the descriptors that it has; any other ends it at once (SIGSYS). Shared
// with the server, which asks at its start whether this can be done here (--sandbox).
#ifndef LS_WORKER_JAIL_H
#define LS_WORKER_JAIL_H

#include <stdint.h>

#include "kernels/err.h"

// LS_EIO, with the reason, where this build, kernel or container cannot.
LS_MUST int ls_jail_possible(struct ls_err *err);
// For good, for the calling process, which has one thread. file_bytes_max: the largest place in a
// file that it may write to.
LS_MUST int ls_jail_close(int64_t file_bytes_max, struct ls_err *err);

#endif
