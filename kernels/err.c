// SPDX-License-Identifier: Apache-2.0
// Fills error records and knows the words of each code; see err.h for the list. Any thread: the
// only data are constant tables. A text that does not fit is cut, never grown: an error path
// allocates nothing.
#include "err.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define ROW(code, status, reason, text) {reason, text},
static const struct {
    const char *reason, *text;
} words[LS_ERR_COUNT] = {{"OK", "no error"}, LS_ERRORS(ROW)};
#undef ROW

static int word_idx(int code)
{
    if (code > 0 || code <= -LS_ERR_COUNT)
        return -LS_EINTERNAL;
    return -code;
}

static void fill(struct ls_err *err, int code, const char *field, const char *fmt, va_list args)
{
    char
        text[sizeof err->text]; // apart from err, because err's own text may be among the arguments

    vsnprintf(text, sizeof text, fmt, args);
    snprintf(err->field, sizeof err->field, "%s", field);
    memcpy(err->text, text, sizeof text);
    err->code = code;
}

int ls_fail(struct ls_err *err, int code, const char *fmt, ...)
{
    va_list args;

    if (!err)
        return code;
    va_start(args, fmt);
    fill(err, code, "", fmt, args);
    va_end(args);
    return code;
}

int ls_fail_field(struct ls_err *err, int code, const char *field, const char *fmt, ...)
{
    va_list args;

    if (!err)
        return code;
    va_start(args, fmt);
    fill(err, code, field ? field : "", fmt, args);
    va_end(args);
    return code;
}

int ls_fail_prefix(struct ls_err *err, const char *fmt, ...)
{
    char text[2 * sizeof err->text];
    va_list args;
    size_t n;

    if (!err)
        return LS_EINTERNAL;
    va_start(args, fmt);
    vsnprintf(text, sizeof err->text, fmt, args);
    va_end(args);
    n = strlen(text);
    snprintf(text + n, sizeof text - n, ": %s", err->text);
    text[sizeof err->text - 1] = '\0';
    memcpy(err->text, text, strlen(text) + 1);
    return err->code;
}

const char *ls_err_reason(int code)
{
    return words[word_idx(code)].reason;
}

const char *ls_err_text(int code)
{
    return words[word_idx(code)].text;
}
