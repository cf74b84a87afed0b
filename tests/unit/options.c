// SPDX-License-Identifier: Apache-2.0
// Options: defaults, both spellings of a flag, the environment, ranges named in errors, and that a
// refused command line changes nothing.
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "server/options.h"
#include "tests/unit/_check.h"

struct row {
    const char *name;
    const char *arg[4];
    int code;
    const char *text[3]; // all in err's text
};

static const struct row refused[] = {
    {"unknown flag", {"--lisen", "x"}, LS_EFIELD, {"--lisen", "--help"}},
    {"no flag", {"serve"}, LS_EFIELD, {"serve"}},
    {"empty argument", {""}, LS_EFIELD, {"not a flag"}},
    {"value missing", {"--listen"}, LS_EFIELD, {"--listen", "missing"}},
    {"below range",
     {"--encode-threads", "0"},
     LS_EFIELD,
     {"--encode-threads", "\"0\"", "1..16 threads"}},
    {"above range", {"--batch-max=65"}, LS_EFIELD, {"0..64"}},
    {"not a number", {"--sessions-max=4x"}, LS_EFIELD, {"\"4x\"", "1..4096"}},
    {"empty number", {"--sessions-max="}, LS_EFIELD, {"\"\""}},
    {"blank before", {"--sessions-max", " 4"}, LS_EFIELD, {"\" 4\""}},
    {"negative", {"--sessions-max", "-4"}, LS_EFIELD, {"\"-4\""}},
    {"beyond 64 bit", {"--sessions-max", "99999999999999999999"}, LS_EFIELD, {"1..4096"}},
    {"choice", {"--backend", "gpu"}, LS_EFIELD, {"ref|cpu|cuda|auto"}},
    {"part of a choice", {"--log-format", "js"}, LS_EFIELD, {"text|json"}},
    {"action with value", {"--help=1"}, LS_EFIELD, {"--help=1"}},
    {"prefix of a flag", {"--batch", "2"}, LS_EFIELD, {"--batch"}},
};

static int parse(struct ls_options *opt, enum ls_options_action *action, const char *const *arg,
                 struct ls_err *err)
{
    char *argv[8] = {(char *)(uintptr_t) "lipstreamd"};
    int argc = 1;

    for (int i = 0; i < 4 && arg[i]; i++)
        argv[argc++] = (char *)(uintptr_t)arg[i];
    return ls_options_parse(opt, action, argc, argv, err);
}

static void refusals(void)
{
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++) {
        const struct row *row = &refused[i];
        struct ls_options opt, before;
        enum ls_options_action action = LS_DO_CHECK;
        struct ls_err err = {0};

        ls_options_init(&opt);
        before = opt;
        CHECK(parse(&opt, &action, row->arg, &err) == row->code && err.code == row->code,
              row->name);
        for (int k = 0; k < 3 && row->text[k]; k++)
            CHECK(strstr(err.text, row->text[k]) != NULL, row->name);
        CHECK(!memcmp(&opt, &before, sizeof opt) && action == LS_DO_CHECK, row->name);
    }
}

static void accepted(void)
{
    struct ls_options opt;
    enum ls_options_action action = LS_DO_CHECK;
    struct ls_err err = {0};

    ls_options_init(&opt);
    CHECK(!strcmp(opt.listen, "127.0.0.1:50051") && opt.batch_max == 0 && opt.side_px_max == 4096,
          "defaults");
    CHECK(parse(&opt, &action, (const char *[]){"--listen", "[::1]:0", "--batch-max=64", NULL},
                &err) == 0,
          "two spellings");
    CHECK(!strcmp(opt.listen, "[::1]:0") && opt.batch_max == 64 && action == LS_DO_RUN, "values");
    CHECK(parse(&opt, &action, (const char *[]){"--model=a=b.pth", "--check", NULL}, &err) == 0,
          "equals sign in a value");
    CHECK(!strcmp(opt.model, "a=b.pth") && action == LS_DO_CHECK, "equals sign kept");
    CHECK(parse(&opt, &action, (const char *[]){"-h", NULL}, &err) == 0 && action == LS_DO_HELP,
          "-h");

    setenv("LIPSTREAM_BATCH_MAX", "7", 1);
    setenv("LIPSTREAM_SESSIONS_MAX", "", 1);
    setenv("LIPSTREAM_PORT", "tcp://10.0.0.1:1", 1);
    ls_options_init(&opt);
    CHECK(parse(&opt, &action, (const char *[]){NULL}, &err) == 0 && opt.batch_max == 7 &&
              opt.sessions_max == 16,
          "environment");
    CHECK(parse(&opt, &action, (const char *[]){"--batch-max", "9", NULL}, &err) == 0 &&
              opt.batch_max == 9,
          "flags win");
    setenv("LIPSTREAM_BATCH_MAX", "many", 1);
    CHECK(parse(&opt, &action, (const char *[]){NULL}, &err) == LS_EFIELD &&
              strstr(err.text, "LIPSTREAM_BATCH_MAX"),
          "bad variable is named");
    unsetenv("LIPSTREAM_BATCH_MAX");
    unsetenv("LIPSTREAM_SESSIONS_MAX");
    unsetenv("LIPSTREAM_PORT");
}

struct seen {
    const struct ls_options *opt;
    const char *print, *help;
    int count;
};

static void on_row(void *user, const char *flag, int64_t value, const char *unit, const char *help)
{
    struct seen *seen = user;
    char line[128];

    snprintf(line, sizeof line, "\n%s = %lld\n", flag, (long long)value);
    CHECK(strstr(seen->print, line) != NULL, flag);
    snprintf(line, sizeof line, "  --%s ", flag);
    CHECK(strstr(seen->help, line) != NULL && strstr(seen->help, help) != NULL, flag);
    CHECK(unit && *unit && help && *help, flag);
    seen->count++;
}

// Every number is printed and explained, and its own default lies in its range.
static void complete(void)
{
    char *print = NULL, *help = NULL;
    size_t print_size = 0, help_size = 0;
    FILE *f = open_memstream(&print, &print_size), *g = open_memstream(&help, &help_size);
    struct ls_options opt;
    struct seen seen = {.opt = &opt};

    ls_options_init(&opt);
    ls_options_print(&opt, f);
    ls_options_help(g);
    fclose(f);
    fclose(g);
    seen.print = print;
    seen.help = help;
    ls_options_each(&opt, on_row, &seen);
    CHECK(seen.count > 20, "all numeric rows");
    free(print);
    free(help);
#define S(name, flag, value, text)                 CHECK(*flag &&*text, flag);
#define N(name, flag, value, min, max, unit, text) CHECK(value >= min && value <= max, flag);
    LS_OPTIONS(S, N)
#undef S
#undef N
}

int main(void)
{
    refusals();
    accepted();
    complete();
    return check_done();
}
