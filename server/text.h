// SPDX-License-Identifier: Apache-2.0
// Text that grows as it is written (an answer of the admin port), and the rules of UTF-8 and JSON
// strings that everything written for others follows. Out of memory is remembered and told once, at
// the end. Plain data; any thread.
#ifndef LS_TEXT_H
#define LS_TEXT_H

#include <stdbool.h>
#include <stddef.h>

#include "kernels/err.h"

// Valid when zeroed.
struct ls_text {
    char *data; // zero-terminated once something was put
    size_t size, room;
    bool failed; // no memory: what follows is dropped
};
void ls_text_put(struct ls_text *t, const char *fmt, ...) LS_PRINTF(2, 3);
void ls_text_put_json(struct ls_text *t, const char *text); // with its quotes
// Gives the data away (malloc'ed); NULL: no memory. t is as new then.
char *ls_text_take(struct ls_text *t, size_t *size);

// Length of the UTF-8 sequence at p (zero-terminated), 0: it is none (RFC 3629: no overlong forms,
// no surrogates).
int ls_utf8_size(const char *p);
// Copies text; whatever is not UTF-8 becomes '?': protobuf strings must be valid, or the caller
// cannot read any of the message.
void ls_utf8_copy(char *out, size_t size, const char *text);
// The next character of a JSON string (RFC 8259), escaped where it must be; what is not UTF-8
// becomes U+FFFD. Returns how many bytes it wrote; *p moves on.
enum { LS_JSON_CHARACTER = 8 };
int ls_json_character(char out[LS_JSON_CHARACTER], const char **p);

#endif
