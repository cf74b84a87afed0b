// SPDX-License-Identifier: Apache-2.0
// An input of the call: a file or standard input, read in pieces of at most one chunk, so that
// memory does not depend on its length. Main thread. Nothing here blocks for long: the owner reads
// only when poll says that there is something (files always have).
#ifndef LS_CLIENT_INPUT_H
#define LS_CLIENT_INPUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "client/text.h"

struct ls_input {
    int fd;
    const char *name; // borrowed
    uint8_t *data;
    size_t have, chunk; // bytes waiting in data, and their maximum
    bool eof;           // nothing more to read
    bool ended;         // its last message was handed out
    int64_t size;       // bytes in all; -1: not known (a pipe)
    int64_t start;      // where it stood when it was opened
    int64_t sent;
    double bytes_per_s; // pace; 0: as fast as the server takes them
};

// path "-": standard input. in is zeroed before.
LS_MUST int ls_input_open(struct ls_input *in, const char *path, size_t chunk,
                          struct ls_fault *fault);
bool ls_input_wants(const struct ls_input *in); // poll its fd and read
LS_MUST int ls_input_read(struct ls_input *in, struct ls_fault *fault);
// True when a piece is worth sending now; elapsed_s is the time since the call's start.
bool ls_input_ready(const struct ls_input *in, double elapsed_s);
// Bytes at in->data that may go now. ls_input_take drops them after they were sent.
size_t ls_input_piece(const struct ls_input *in, double elapsed_s);
void ls_input_take(struct ls_input *in, size_t size);
// Done: the piece of this size empties it for good.
bool ls_input_last(const struct ls_input *in, size_t size);
// True for PNG, JPEG and WebP; needs up to 12 bytes, which ls_input_sniffable tells.
bool ls_input_sniffable(const struct ls_input *in);
bool ls_input_is_still(const struct ls_input *in);
// Seconds of a RIFF WAVE file by its header, 0 if it is something else.
double ls_input_wav_seconds(const struct ls_input *in);
// From its beginning again; only where size is known.
LS_MUST int ls_input_rewind(struct ls_input *in, struct ls_fault *fault);
void ls_input_close(struct ls_input *in); // accepts one that was never opened (data NULL)

#endif
