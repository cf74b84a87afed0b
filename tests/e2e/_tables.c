// SPDX-License-Identifier: Apache-2.0
// Prints tables of the README from the headers that define them, in Markdown: `tables options` from
// server/options.h, `tables reasons` from kernels/err.h, `tables metrics` from server/metrics.h;
// `tables flags` and `tables names` print the bare names of options and metrics. Compiled and run
// by readme.sh and admin.py, alone.
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "kernels/err.h"
#include "server/metrics.h"
#include "server/options.h"

static void option_row(const char *flag, const char *value, const char *range, const char *help)
{
    printf("| `--%s` | %s%s%s | %s | %s |\n", flag, *value ? "`" : "", value, *value ? "`" : "",
           range, help);
}

static void number_row(const char *flag, int64_t value, int64_t min, int64_t max, const char *unit,
                       const char *help)
{
    char text[32], range[96];

    snprintf(text, sizeof text, "%" PRId64, value);
    snprintf(range, sizeof range, "%" PRId64 "..%" PRId64 " %s", min, max, unit);
    option_row(flag, text, range, help);
}

static void print_options(void)
{
    printf("| flag | default | range | meaning |\n| --- | --- | --- | --- |\n");
#define S(name, flag, value, help)                 option_row(flag, value, "text", help);
#define N(name, flag, value, min, max, unit, help) number_row(flag, value, min, max, unit, help);
    LS_OPTIONS(S, N)
#undef S
#undef N
}

static void print_flags(void)
{
#define S(name, flag, value, help)                 puts(flag);
#define N(name, flag, value, min, max, unit, help) puts(flag);
    LS_OPTIONS(S, N)
#undef S
#undef N
}

static void print_reasons(void)
{
    printf("| reason | status | when |\n| --- | --- | --- |\n");
#define ROW(code, status, reason, text) printf("| `%s` | `%s` | %s |\n", reason, #status, text);
    LS_ERRORS(ROW)
#undef ROW
}

static const char *key_of(enum ls_label_set set)
{
#define KEY(set, key) key,
    static const char *const keys[] = {LS_LABEL_SETS(KEY)};
#undef KEY

    return keys[set];
}

static void metric_row(const char *name, const char *type, const char *a, const char *b,
                       const char *help)
{
    printf("| `%s` | %s | %s%s%s | %s |\n", name, type, a, *b ? ", " : "", b, help);
}

static void print_metrics(void)
{
    printf("| metric | type | labels | meaning |\n| --- | --- | --- | --- |\n");
#define C(id, name, a, b, help)                                                                    \
    metric_row(name, "counter", key_of(LS_LABEL_##a), key_of(LS_LABEL_##b), help);
#define H(id, name, a, buckets, help)   metric_row(name, "histogram", key_of(LS_LABEL_##a), "", help);
#define G(id, type, name, labels, help) metric_row(name, #type, labels, "", help);
    LS_METRICS(C, H)
    LS_GAUGES(G)
#undef C
#undef H
#undef G
}

static void print_names(void)
{
#define C(id, name, a, b, help)         puts(name);
#define H(id, name, a, buckets, help)   puts(name);
#define G(id, type, name, labels, help) puts(name);
    LS_METRICS(C, H)
    LS_GAUGES(G)
#undef C
#undef H
#undef G
}

int main(int argc, char **argv)
{
    if (argc == 2 && !strcmp(argv[1], "options"))
        print_options();
    else if (argc == 2 && !strcmp(argv[1], "metrics"))
        print_metrics();
    else if (argc == 2 && !strcmp(argv[1], "names"))
        print_names();
    else if (argc == 2 && !strcmp(argv[1], "flags"))
        print_flags();
    else if (argc == 2 && !strcmp(argv[1], "reasons"))
        print_reasons();
    else
        return 2;
    return 0;
}
