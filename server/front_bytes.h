// SPDX-License-Identifier: Apache-2.0
// Bytes that wait: those that a socket did not take yet (front_conn.c) and both sides of a TLS
// session (tls.c). Holds no memory while it is empty, so that thousands of idle connections cost
// next to nothing. Valid when zeroed; one thread at a time.
#ifndef LS_FRONT_BYTES_H
#define LS_FRONT_BYTES_H

#include <stddef.h>
#include <stdint.h>

struct ls_bytes {
    uint8_t *data;
    size_t first, size, room; // the waiting ones are data[first .. first + size)
};

// Appends a copy; -1: no memory, and nothing changed.
int ls_bytes_push(struct ls_bytes *b, const void *data, size_t size);
const uint8_t *ls_bytes_at(const struct ls_bytes *b); // the first of b->size
void ls_bytes_drop(struct ls_bytes *b, size_t size);  // the first ones; all: the memory too
void ls_bytes_done(struct ls_bytes *b);

#endif
