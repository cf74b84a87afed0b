// SPDX-License-Identifier: Apache-2.0
// Reads the table of options.h from the environment and the command line, checks every value, and
// prints it in the forms that --help and --print-config want. Runs before any thread exists.
// Unknown LIPSTREAM_ variables are no error: Kubernetes sets LIPSTREAM_PORT and others for a
// service of our name.
#include "server/options.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

struct row {
    const char *flag, *help, *unit; // unit NULL: a text
    size_t offset;                  // in struct ls_options
    const char *text;               // default
    int64_t value, min, max;        // default and range
};

#define S(name, flag, value, help)                                                                 \
    {flag, help, NULL, offsetof(struct ls_options, name), value, 0, 0, 0},
#define N(name, flag, value, min, max, unit, help)                                                 \
    {flag, help, unit, offsetof(struct ls_options, name), NULL, value, min, max},
static const struct row rows[] = {LS_OPTIONS(S, N)};
#undef S
#undef N
enum { ROWS = sizeof rows / sizeof rows[0] };

static const struct {
    const char *flag, *values; // of texts that are not free
} choices[] = {{"backend", "ref|cpu|cuda|auto"},
               {"arithmetic", "auto|fp32|tf32|fp16|bf16|int8"},
               {"log-format", "text|json"},
               {"sandbox", "auto|required|none"},
               {"anonymous", "auto|never|loopback|always"}};

static const struct {
    const char *first, *title; // a group of --help starts at this flag
} groups[] = {{"listen", "Service"}, {"cores", "Work"}, {"sessions-max", "Limits"}};

static const struct {
    const char *flag, *help;
    enum ls_options_action action;
} actions[] = {{"help", "this text", LS_DO_HELP},
               {"version", "the version", LS_DO_VERSION},
               {"print-config", "the effective values, a line each", LS_DO_PRINT},
               {"check", "load everything, compute the golden values, exit 0 or 1", LS_DO_CHECK},
               {"hash-token", "read a token from standard input, print its line for --tokens",
                LS_DO_HASH_TOKEN}};
enum { ACTIONS = sizeof actions / sizeof actions[0] };

static const char **text_at(struct ls_options *opt, const struct row *row)
{
    return (const char **)((char *)opt + row->offset);
}

static int64_t *number_at(struct ls_options *opt, const struct row *row)
{
    return (int64_t *)((char *)opt + row->offset);
}

static const char *text_of(const struct ls_options *opt, const struct row *row)
{
    return *(const char *const *)((const char *)opt + row->offset);
}

static int64_t number_of(const struct ls_options *opt, const struct row *row)
{
    return *(const int64_t *)((const char *)opt + row->offset);
}

void ls_options_init(struct ls_options *opt)
{
    for (int i = 0; i < ROWS; i++) {
        if (rows[i].unit)
            *number_at(opt, &rows[i]) = rows[i].value;
        else
            *text_at(opt, &rows[i]) = rows[i].text;
    }
}

// "ref|cpu" holds "cpu".
static bool among(const char *values, const char *value)
{
    size_t size = strlen(value);

    for (const char *p = values; *p; p += strcspn(p, "|"), p += *p == '|')
        if (strcspn(p, "|") == size && !strncmp(p, value, size))
            return true;
    return false;
}

static int set_text(struct ls_options *opt, const struct row *row, const char *source,
                    const char *value, struct ls_err *err)
{
    for (size_t i = 0; i < sizeof choices / sizeof choices[0]; i++)
        if (!strcmp(choices[i].flag, row->flag) && !among(choices[i].values, value))
            return ls_fail_field(err, LS_EFIELD, row->flag, "%s: \"%s\" is none of %s", source,
                                 value, choices[i].values);
    *text_at(opt, row) = value;
    return 0;
}

static int set_number(struct ls_options *opt, const struct row *row, const char *source,
                      const char *value, struct ls_err *err)
{
    char *end = NULL;
    long long n;

    errno = 0;
    n = strtoll(value, &end, 10);
    // strtoll takes leading blanks and a plus sign; a flag with those is a slip worth telling.
    if (errno || *end || !(isdigit((unsigned char)value[0]) || value[0] == '-') || n < row->min ||
        n > row->max)
        return ls_fail_field(err, LS_EFIELD, row->flag,
                             "%s: \"%s\" is not a number of %" PRId64 "..%" PRId64 " %s", source,
                             value, row->min, row->max, row->unit);
    *number_at(opt, row) = n;
    return 0;
}

static int set(struct ls_options *opt, const struct row *row, const char *source, const char *value,
               struct ls_err *err)
{
    return row->unit ? set_number(opt, row, source, value, err)
                     : set_text(opt, row, source, value, err);
}

static void env_name(char *name, size_t size, const char *flag)
{
    snprintf(name, size, "LIPSTREAM_%s", flag);
    for (char *p = name; *p; p++)
        *p = *p == '-' ? '_' : (char)toupper((unsigned char)*p);
}

static int parse_env(struct ls_options *opt, struct ls_err *err)
{
    for (int i = 0; i < ROWS; i++) {
        char name[64];
        const char *value;
        int r;

        env_name(name, sizeof name, rows[i].flag);
        value = getenv(name);
        if (!value || !*value)
            continue;
        r = set(opt, &rows[i], name, value, err);
        if (r < 0)
            return r;
    }
    return 0;
}

static int parse_arg(struct ls_options *opt, enum ls_options_action *action, int *idx, int argc,
                     char **argv, struct ls_err *err)
{
    const char *arg = argv[*idx], *name = arg + 2, *value = NULL;
    size_t size;
    char source[64];

    if (!strcmp(arg, "-h"))
        name = "help";
    else if (strncmp(arg, "--", 2))
        return ls_fail_field(err, LS_EFIELD, arg, "\"%s\" is not a flag; --help lists them", arg);
    size = strcspn(name, "=");
    if (name[size] == '=')
        value = name + size + 1;
    for (int i = 0; i < ACTIONS; i++)
        if (!value && !strcmp(name, actions[i].flag)) {
            *action = actions[i].action;
            return 0;
        }
    for (int i = 0; i < ROWS; i++) {
        if (strlen(rows[i].flag) != size || strncmp(name, rows[i].flag, size))
            continue;
        if (!value) {
            if (*idx + 1 >= argc)
                return ls_fail_field(err, LS_EFIELD, rows[i].flag, "%s: its value is missing", arg);
            value = argv[++*idx];
        }
        snprintf(source, sizeof source, "--%s", rows[i].flag);
        return set(opt, &rows[i], source, value, err);
    }
    return ls_fail_field(err, LS_EFIELD, arg, "\"%s\" is not a flag; --help lists them", arg);
}

int ls_options_parse(struct ls_options *opt, enum ls_options_action *action, int argc, char **argv,
                     struct ls_err *err)
{
    struct ls_options parsed = *opt;
    enum ls_options_action todo = LS_DO_RUN;
    int r = parse_env(&parsed, err);

    for (int i = 1; r == 0 && i < argc; i++)
        r = parse_arg(&parsed, &todo, &i, argc, argv, err);
    if (r < 0)
        return r;
    *opt = parsed;
    *action = todo;
    return 0;
}

void ls_options_print(const struct ls_options *opt, FILE *to)
{
    for (int i = 0; i < ROWS; i++) {
        if (rows[i].unit)
            fprintf(to, "%s = %" PRId64 "\n", rows[i].flag, number_of(opt, &rows[i]));
        else
            fprintf(to, "%s = %s\n", rows[i].flag, text_of(opt, &rows[i]));
    }
}

static void help_row(const struct row *row, FILE *to)
{
    fprintf(to, "  --%-21s %s\n", row->flag, row->help);
    if (row->unit)
        fprintf(to, "  %-23s default %" PRId64 " %s (%" PRId64 "..%" PRId64 ")\n", "", row->value,
                row->unit, row->min, row->max);
    else if (row->text[0])
        fprintf(to, "  %-23s default %s\n", "", row->text);
}

void ls_options_help(FILE *to)
{
    fprintf(to,
            "lipstreamd %s: lip synchronisation as a gRPC service\n"
            "usage: lipstreamd [--flag value | --flag=value]...\n"
            "Each flag is also a variable: --sessions-max is LIPSTREAM_SESSIONS_MAX. Flags win.\n",
            LS_VERSION);
    for (int i = 0; i < ROWS; i++) {
        for (size_t g = 0; g < sizeof groups / sizeof groups[0]; g++)
            if (!strcmp(groups[g].first, rows[i].flag))
                fprintf(to, "\n%s\n", groups[g].title);
        help_row(&rows[i], to);
    }
    fprintf(to, "\nInstead of serving\n");
    for (int i = 0; i < ACTIONS; i++)
        fprintf(to, "  --%-21s %s\n", actions[i].flag, actions[i].help);
}

void ls_options_each(const struct ls_options *opt,
                     void (*on_row)(void *user, const char *flag, int64_t value, const char *unit,
                                    const char *help),
                     void *user)
{
    for (int i = 0; i < ROWS; i++)
        if (rows[i].unit)
            on_row(user, rows[i].flag, number_of(opt, &rows[i]), rows[i].unit, rows[i].help);
}
