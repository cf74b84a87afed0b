// SPDX-License-Identifier: Apache-2.0
// Reads and writes a traceparent (W3C Trace Context, section 3.2): version-trace-parent-flags, in
// hexadecimal digits of which only small letters count. Any thread. A version that we do not know
// is read as version 00, as the recommendation wants, and answered with 00.
#include "server/trace.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

enum { TRACE_AT = 3, PARENT_AT = 36, FLAGS_AT = 53, SIZE = 55 };

static bool all_hex(const char *text, size_t size)
{
    return strspn(text, "0123456789abcdef") >= size;
}

static bool all_zero(const char *text, size_t size)
{
    return strspn(text, "0") >= size;
}

// text is zero-terminated, `size` of its bytes are the caller's.
static bool well_formed(const char *text, size_t size)
{
    bool known = !strncmp(text, "00", 2);

    return size >= SIZE && all_hex(text, 2) && strncmp(text, "ff", 2) != 0 && text[2] == '-' &&
           all_hex(text + TRACE_AT, 32) && !all_zero(text + TRACE_AT, 32) &&
           text[PARENT_AT - 1] == '-' && all_hex(text + PARENT_AT, 16) &&
           !all_zero(text + PARENT_AT, 16) && text[FLAGS_AT - 1] == '-' &&
           all_hex(text + FLAGS_AT, 2) && (size == SIZE || (!known && text[SIZE] == '-'));
}

// An id that is not all zeros: that would mean "none".
static void draw(char *out, size_t digits)
{
    uint8_t bytes[16] = {0};

    if (getrandom(bytes, digits / 2, 0) != (ssize_t)(digits / 2)) {
        // Cannot happen for so few bytes; an id need not be secret.
        struct timespec now;

        clock_gettime(CLOCK_MONOTONIC, &now);
        memcpy(bytes, &now.tv_nsec, sizeof now.tv_nsec);
    }
    bytes[0] |= 1;
    for (size_t i = 0; i < digits / 2; i++)
        snprintf(out + 2 * i, 3, "%02x", bytes[i]);
}

void ls_trace_begin(struct ls_trace *t, const char *traceparent, size_t size)
{
    char text[SIZE + 2] = "";

    memset(t, 0, sizeof *t);
    if (traceparent)
        memcpy(text, traceparent, size < sizeof text - 1 ? size : sizeof text - 1);
    if (traceparent && well_formed(text, size)) {
        memcpy(t->trace_id, text + TRACE_AT, 32);
        memcpy(t->parent_id, text + PARENT_AT, 16);
        // The last bit of the flags' second digit.
        t->sampled = strchr("13579bdf", text[FLAGS_AT + 1]) != NULL;
    } else {
        draw(t->trace_id, 32);
    }
    draw(t->span_id, 16);
}

void ls_trace_format(const struct ls_trace *t, char out[LS_TRACE_SIZE])
{
    snprintf(out, LS_TRACE_SIZE, "00-%s-%s-%s", t->trace_id, t->span_id, t->sampled ? "01" : "00");
}
