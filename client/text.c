// SPDX-License-Identifier: Apache-2.0
// Faults and text for a terminal (see text.h). No state; any thread. ls_text_clean decodes UTF-8
// itself: the locale's functions would depend on the caller's environment.
#include "client/text.h"

#include <stdarg.h>
#include <string.h>

int ls_fault_set(struct ls_fault *fault, int exit_code, const char *fmt, ...)
{
    va_list args;

    if (fault->exit_code != 0)
        return -1;
    fault->exit_code = exit_code;
    va_start(args, fmt);
    vsnprintf(fault->text, sizeof(fault->text), fmt, args);
    va_end(args);
    return -1;
}

// Bytes of the character at s: 1..4, or 0 for one that may not reach a terminal.
static int glyph_size(const unsigned char *s)
{
    static const unsigned least[] = {0, 0, 0x80, 0x800, 0x10000};
    unsigned code;
    int size = s[0] < 0x80 ? 1 : s[0] >> 5 == 6 ? 2 : s[0] >> 4 == 14 ? 3 : s[0] >> 3 == 30 ? 4 : 0;

    if (size == 0)
        return 0;
    code = size == 1 ? s[0] : s[0] & (0x7fu >> size);
    for (int i = 1; i < size; i++) {
        if ((s[i] & 0xc0) != 0x80)
            return 0;
        code = code << 6 | (s[i] & 0x3fu);
    }
    if (code < least[size] || code > 0x10ffff || (code >= 0xd800 && code < 0xe000))
        return 0;
    if (code < 0x20 || (code >= 0x7f && code < 0xa0)) // C0, DEL, C1
        return 0;
    if (code == 0x061c || (code >= 0x200e && code <= 0x200f) ||
        (code >= 0x2028 && code <= 0x202e) || (code >= 0x2066 && code <= 0x2069))
        return 0; // these turn or break the line that is shown
    return size;
}

void ls_text_clean(char *out, size_t size, const char *text)
{
    const unsigned char *s = (const unsigned char *)text;
    size_t at = 0;

    if (size == 0)
        return;
    while (*s) {
        int glyph = glyph_size(s);
        size_t add = glyph > 0 ? (size_t)glyph : 1;

        if (at + add >= size)
            break;
        if (glyph > 0)
            memcpy(out + at, s, add);
        else
            out[at] = '?';
        at += add;
        s += add;
    }
    out[at] = '\0';
}

void ls_text_clock(char *out, size_t size, double seconds)
{
    long s = seconds > 0 && seconds < 1e8 ? (long)(seconds + 0.5) : 0;

    if (s >= 3600)
        snprintf(out, size, "%ld:%02ld:%02ld", s / 3600, s / 60 % 60, s % 60);
    else
        snprintf(out, size, "%ld:%02ld", s / 60, s % 60);
}

void ls_text_bytes(char *out, size_t size, int64_t bytes)
{
    static const char *const units[] = {"kB", "MB", "GB", "TB"};
    double value = (double)bytes / 1000;
    int unit = 0;

    if (bytes < 1000) {
        snprintf(out, size, "%d bytes", (int)bytes);
        return;
    }
    for (; value >= 999.95 && unit < 3; unit++)
        value /= 1000;
    snprintf(out, size, "%.1f %s", value, units[unit]);
}

const char *ls_text_status(int code)
{
    static const char *const names[] = {"OK",
                                        "CANCELLED",
                                        "UNKNOWN",
                                        "INVALID_ARGUMENT",
                                        "DEADLINE_EXCEEDED",
                                        "NOT_FOUND",
                                        "ALREADY_EXISTS",
                                        "PERMISSION_DENIED",
                                        "RESOURCE_EXHAUSTED",
                                        "FAILED_PRECONDITION",
                                        "ABORTED",
                                        "OUT_OF_RANGE",
                                        "UNIMPLEMENTED",
                                        "INTERNAL",
                                        "UNAVAILABLE",
                                        "DATA_LOSS",
                                        "UNAUTHENTICATED"};

    if (code < 0 || code >= (int)(sizeof(names) / sizeof(names[0])))
        return "STATUS_UNKNOWN_TO_THIS_CLIENT";
    return names[code];
}
