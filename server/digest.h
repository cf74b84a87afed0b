// SPDX-License-Identifier: Apache-2.0
// SHA-256 of a stream of bytes (the summary names the output's). One thread at a time an object.
#ifndef LS_DIGEST_H
#define LS_DIGEST_H

#include <stddef.h>
#include <stdint.h>

struct ls_digest;

enum { LS_DIGEST_SIZE = 32 };

// NULL when memory is out.
struct ls_digest *ls_digest_new(void);
void ls_digest_update(struct ls_digest *d, const void *data, size_t size);
// Writes the digest of all bytes so far and starts over.
void ls_digest_final(struct ls_digest *d, uint8_t out[LS_DIGEST_SIZE]);
void ls_digest_free(struct ls_digest **d);

#endif
