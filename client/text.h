// SPDX-License-Identifier: Apache-2.0
// Words that the whole client shares: what went wrong (a fault, with the exit code that it means),
// and text made fit for a terminal. Plain data; any thread. Whatever a server says is printed
// through ls_text_clean, because an escape sequence in a warning would be obeyed by the terminal.
#ifndef LS_CLIENT_TEXT_H
#define LS_CLIENT_TEXT_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define LS_MUST           __attribute__((warn_unused_result))
#define LS_PRINTF(fmt, i) __attribute__((format(printf, fmt, i)))

enum {
    LS_EXIT_OK = 0,
    LS_EXIT_LOCAL = 1, // a file or pipe on this side
    LS_EXIT_USAGE = 2,
    LS_EXIT_STATUS = 10 // + the gRPC status code
};

// What failed on this side. Valid when zeroed.
struct ls_fault {
    int exit_code;
    char text[400];
};

// Fills fault unless it holds an earlier one (the first cause is the one to tell); returns -1.
int ls_fault_set(struct ls_fault *fault, int exit_code, const char *fmt, ...) LS_PRINTF(3, 4);

// Copies text; control characters and what is not UTF-8 become '?'. A cut never splits a character.
void ls_text_clean(char *out, size_t size, const char *text);
// "1:05", "1:02:03".
void ls_text_clock(char *out, size_t size, double seconds);
// "12.3 MB".
void ls_text_bytes(char *out, size_t size, int64_t bytes);
// "INVALID_ARGUMENT" for 3; a long name for what gRPC does not define.
const char *ls_text_status(int code);

#endif
