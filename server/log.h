// SPDX-License-Identifier: Apache-2.0
// Log lines on stderr: text or one JSON object a line, written with one system call each, so that
// lines of several threads never mix. Any thread, once ls_log_init has run.
#ifndef LS_LOG_H
#define LS_LOG_H

#include <stdbool.h>
#include <stdint.h>

#include "kernels/err.h"

void ls_log_init(bool json);

enum ls_log_level { LS_LOG_INFO, LS_LOG_WARN, LS_LOG_ERROR };

// "key=value" pairs of one line; a key without value is left out.
struct ls_log_field {
    const char *key;
    const char *text; // or NULL:
    int64_t number;
};

// event: a stable word for machines ("start", "call", "model"). text: for people, may be NULL.
void ls_log(enum ls_log_level level, const char *event, const struct ls_log_field *field, int count,
            const char *fmt, ...) LS_PRINTF(5, 6);
// The same for texts that strangers can provoke: at most 10 a second, the rest is counted and told.
void ls_log_foreign(enum ls_log_level level, const char *event, const char *text);

#endif
