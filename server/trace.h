// SPDX-License-Identifier: Apache-2.0
// W3C Trace Context (Recommendation of 2021-11-23): the caller's `traceparent` in, our span's out.
// We keep no spans: the ids stand in the log line and in the response's metadata, so that whatever
// collects them can join them. Pure functions; any thread.
#ifndef LS_TRACE_H
#define LS_TRACE_H

#include <stdbool.h>
#include <stddef.h>

struct ls_trace {
    char trace_id[33];  // 32 hex digits
    char parent_id[17]; // the caller's span; "" if it gave none
    char span_id[17];   // ours
    bool sampled;
};

enum { LS_TRACE_SIZE = 56 };
// Takes over a traceparent (not zero-terminated; NULL or one that is not well-formed: a new trace
// begins) and draws a span id.
void ls_trace_begin(struct ls_trace *t, const char *traceparent, size_t size);
void ls_trace_format(const struct ls_trace *t, char out[LS_TRACE_SIZE]); // our span's traceparent

#endif
