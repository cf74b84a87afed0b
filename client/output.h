// SPDX-License-Identifier: Apache-2.0
// The output: OUT.part, renamed to OUT when the call was OK, if OUT is (or will be) a regular file;
// else the pipe, device or standard output itself, written at once so that a player can follow.
// Main thread. Holds one message at most; the owner asks for the next when it is written.
#ifndef LS_CLIENT_OUTPUT_H
#define LS_CLIENT_OUTPUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "client/text.h"

struct ls_output {
    int fd;           // -1: not open
    bool regular;     // OUT.part; never makes poll wait
    const char *path; // borrowed
    char *part;       // NULL unless regular
    uint8_t *data;    // malloc'ed, ours
    size_t size, at;
    int64_t total; // bytes written
};

// path "-": standard output.
LS_MUST int ls_output_open(struct ls_output *out, const char *path, struct ls_fault *fault);
// Takes *data (malloc'ed; NULL afterwards). Nothing may be pending.
void ls_output_put(struct ls_output *out, uint8_t **data, size_t size);
bool ls_output_pending(const struct ls_output *out); // poll its fd for POLLOUT and write
// Writes what goes without blocking.
LS_MUST int ls_output_write(struct ls_output *out, struct ls_fault *fault);
// keep: rename to the final name; else remove what was written. Accepts one that was never opened.
LS_MUST int ls_output_close(struct ls_output *out, bool keep, struct ls_fault *fault);

#endif
