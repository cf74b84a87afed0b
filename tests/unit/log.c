// SPDX-License-Identifier: Apache-2.0
// Log lines, as they arrive at the other end of standard error: one line each, valid JSON and valid
// UTF-8 whatever a field holds, whole fields only when there are too many, numbers as numbers.
#include "server/log.h"

#include <string.h>
#include <unistd.h>

#include <jansson.h>

#include "tests/unit/_check.h"

static int pipe_end;

// What one call of ls_log wrote.
static const char *take(void)
{
    static char data[8192];
    ssize_t n = read(pipe_end, data, sizeof data - 1);

    data[n > 0 ? n : 0] = '\0';
    return data;
}

static const struct {
    const char *name, *value, *want; // want: what a reader of the JSON gets
} values[] = {
    {"plain", "abc", "abc"},
    {"quotes", "a\"b\\c", "a\"b\\c"},
    {"a second line", "a\n{\"event\":\"forged\"}", "a\n{\"event\":\"forged\"}"},
    {"control characters", "\x01\x1b[31m\x7f", "\x01\x1b[31m\x7f"},
    {"UTF-8", "h\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80", "h\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80"},
    {"C1 controls",
     "\xc2\x9b"
     "31m",
     "\xc2\x9b"
     "31m"},
    {"not UTF-8",
     "a\xff\xfe"
     "b",
     "a\xef\xbf\xbd\xef\xbf\xbd"
     "b"},
    {"overlong", "\xc0\xaf", "\xef\xbf\xbd\xef\xbf\xbd"},
    {"a surrogate", "\xed\xa0\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"},
    {"cut in a character", "ab\xe2\x82", "ab\xef\xbf\xbd\xef\xbf\xbd"},
    {"empty", "", ""},
};

static json_t *parse(const char *line, const char *row)
{
    json_t *json = json_loads(line, 0, NULL);

    CHECK(strchr(line, '\n') == line + strlen(line) - 1, row);
    if (!CHECK(json != NULL, row))
        printf("    %s\n", line);
    return json;
}

static void in_json(void)
{
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
        struct ls_log_field field[] = {{"key", values[i].value, 0}, {"count", NULL, -7}};
        const char *line, *got;
        json_t *json;

        ls_log(LS_LOG_WARN, "event", field, 2, "%s", values[i].value);
        line = take();
        json = parse(line, values[i].name);
        got = json_string_value(json_object_get(json, "key"));
        CHECK(got && !strcmp(got, values[i].want), values[i].name);
        CHECK(json_integer_value(json_object_get(json, "count")) == -7, values[i].name);
        if (values[i].value[0]) {
            got = json_string_value(json_object_get(json, "text"));
            CHECK(got && !strcmp(got, values[i].want), values[i].name);
        }
        for (const unsigned char *p = (const unsigned char *)line; *p && *p != '\n'; p++)
            CHECK(*p >= ' ' && *p != 0x7f, values[i].name);
        CHECK(!strstr(line, "\xc2\x9b"), "no C1 control in the line");
        json_decref(json);
    }
}

// More and longer fields than a line can hold: each one whole or not at all, in every mixture.
static void too_much(bool json_too)
{
    static char filler[5000];
    struct ls_log_field field[40];

    for (int size = 0; size < 5000; size += 61) {
        const char *line;

        memset(filler, size % 2 ? 'x' : '"', sizeof filler);
        filler[size] = '\0';
        for (int i = 0; i < 40; i++)
            field[i] =
                (struct ls_log_field){"a_key_of_some_length", i == size % 40 ? filler : "v", 0};
        ls_log(LS_LOG_INFO, "event", field, 40, "%s", filler);
        line = take();
        CHECK(strlen(line) <= 4096, "one write to a pipe");
        if (json_too)
            json_decref(parse(line, "too much"));
        else
            CHECK(strchr(line, '\n') == line + strlen(line) - 1, "one line");
    }
}

static void in_text(void)
{
    struct ls_log_field field[] = {{"a", "plain", 0}, {"b", "two words", 0}, {"c", NULL, 12}};
    const char *line;

    ls_log(LS_LOG_INFO, "event", field, 3, NULL);
    line = take();
    CHECK(strstr(line, " info  event a=plain b=\"two words\" c=12\n"), "text");
    field[0].text = "x\ny";
    ls_log(LS_LOG_ERROR, "event", field, 1, "why: %d", 3);
    line = take();
    CHECK(strstr(line, " error event a=\"x\\u000ay\" \"why: 3\"\n"), "text, escaped");
}

int main(void)
{
    int ends[2];

    if (pipe(ends) < 0 || dup2(ends[1], STDERR_FILENO) < 0)
        return 1;
    pipe_end = ends[0];
    in_text();
    too_much(false);
    ls_log_init(true);
    in_json();
    too_much(true);
    return check_done();
}
