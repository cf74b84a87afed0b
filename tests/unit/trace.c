// SPDX-License-Identifier: Apache-2.0
// W3C Trace Context: what is taken over from a caller's traceparent, what begins a trace anew, and
// what goes back.
#include "server/trace.h"

#include <string.h>

#include "tests/unit/_check.h"

#define TRACE  "4bf92f3577b34da6a3ce929d0e0e4736"
#define PARENT "00f067aa0ba902b7"

static const struct {
    const char *name, *text;
    bool taken, sampled;
} rows[] = {
    {"sampled", "00-" TRACE "-" PARENT "-01", true, true},
    {"not sampled", "00-" TRACE "-" PARENT "-00", true, false},
    {"flags that we do not know", "00-" TRACE "-" PARENT "-fe", true, false},
    {"all flags", "00-" TRACE "-" PARENT "-ff", true, true},
    {"a later version", "cc-" TRACE "-" PARENT "-01", true, true},
    {"a later version with more", "cc-" TRACE "-" PARENT "-01-what-the-future-will-be-like", true,
     true},
    {"a later version with more, no dash", "cc-" TRACE "-" PARENT "-01.what", false, false},
    {"version 00 with more", "00-" TRACE "-" PARENT "-01-what", false, false},
    {"version ff", "ff-" TRACE "-" PARENT "-01", false, false},
    {"version of letters", "0x-" TRACE "-" PARENT "-01", false, false},
    {"no trace", "00-00000000000000000000000000000000-" PARENT "-01", false, false},
    {"no parent", "00-" TRACE "-0000000000000000-01", false, false},
    {"capitals", "00-4BF92F3577B34DA6A3CE929D0E0E4736-" PARENT "-01", false, false},
    {"flags of letters", "00-" TRACE "-" PARENT "-0g", false, false},
    {"cut", "00-" TRACE "-" PARENT "-0", false, false},
    {"cut in the trace", "00-4bf92f", false, false},
    {"underscores", "00_" TRACE "_" PARENT "_01", false, false},
    {"blanks before", " 00-" TRACE "-" PARENT "-01", false, false},
    {"shifted", "00-4bf92f3577b34da6a3ce929d0e0e473-" PARENT "-001", false, false},
    {"empty", "", false, false},
};

static bool is_id(const char *text, size_t size)
{
    return strlen(text) == size && strspn(text, "0123456789abcdef") == size &&
           strspn(text, "0") < size;
}

int main(void)
{
    struct ls_trace t, other;
    char out[LS_TRACE_SIZE];

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        size_t size = strlen(rows[i].text);
        char *exact = malloc(size ? size : 1); // so that a sanitizer sees a read beyond

        memcpy(exact, rows[i].text, size);
        ls_trace_begin(&t, exact, size);
        free(exact);
        CHECK(is_id(t.trace_id, 32) && is_id(t.span_id, 16), rows[i].name);
        CHECK(!strcmp(t.trace_id, TRACE) == rows[i].taken, rows[i].name);
        CHECK(!strcmp(t.parent_id, rows[i].taken ? PARENT : ""), rows[i].name);
        CHECK(t.sampled == rows[i].sampled, rows[i].name);
    }
    ls_trace_begin(&t,
                   "00-" TRACE "-" PARENT "-\0"
                   "1",
                   55);
    CHECK(strcmp(t.trace_id, TRACE) != 0, "a zero byte inside");
    ls_trace_begin(&t, NULL, 0);
    ls_trace_begin(&other, NULL, 0);
    CHECK(is_id(t.trace_id, 32) && !t.parent_id[0], "none");
    CHECK(strcmp(t.trace_id, other.trace_id) != 0 && strcmp(t.span_id, other.span_id) != 0,
          "no two are the same");
    ls_trace_begin(&t, "00-" TRACE "-" PARENT "-01", 55);
    ls_trace_format(&t, out);
    CHECK(strlen(out) == 55 && !strncmp(out, "00-" TRACE "-", 36) &&
              !strncmp(out + 36, t.span_id, 16) && !strcmp(out + 52, "-01"),
          "our span's");
    ls_trace_begin(&other, out, strlen(out));
    CHECK(!strcmp(other.trace_id, TRACE) && !strcmp(other.parent_id, t.span_id) && other.sampled,
          "ours can be read again");
    return check_done();
}
