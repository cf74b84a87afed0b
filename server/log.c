// SPDX-License-Identifier: Apache-2.0
// Formats one log line in a buffer on the stack and writes it with one write(2). Any thread. What
// does not fit is left out or cut, never split, and a line stays well-formed; text that came from
// outside is escaped and made UTF-8, so that nobody can forge a line or break its JSON.
#include "server/log.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "server/text.h"

// A write of up to PIPE_BUF (4096) bytes to a pipe is never mixed with another's (pipe(7)). TAIL:
// what always stays free for the end of a field and of the line.
enum { LINE_SIZE = 4096, TAIL = 8, FIELD_ROOM = 48, FOREIGN_PER_SECOND = 10 };

static bool as_json;

void ls_log_init(bool json)
{
    as_json = json;
}

struct line {
    char data[LINE_SIZE];
    size_t size;
};

static void put(struct line *line, const char *fmt, ...) LS_PRINTF(2, 3);
static void put(struct line *line, const char *fmt, ...)
{
    size_t room = sizeof line->data - line->size;
    va_list args;
    int n;

    va_start(args, fmt);
    n = vsnprintf(line->data + line->size, room, fmt, args);
    va_end(args);
    if (n > 0)
        line->size += (size_t)n < room ? (size_t)n : room - 1;
}

// A JSON string, cut where the line is full; text lines use the same form where a value holds more
// than plain characters.
static void put_quoted(struct line *line, const char *text)
{
    char character[LS_JSON_CHARACTER];

    put(line, "\"");
    while (*text) {
        int n = ls_json_character(character, &text);

        if (line->size + (size_t)n + TAIL > sizeof line->data)
            break;
        put(line, "%.*s", n, character);
    }
    put(line, "\"");
}

static bool plain(const char *text)
{
    if (strlen(text) > LINE_SIZE / 4)
        return false; // put_quoted knows how to cut it
    for (const unsigned char *p = (const unsigned char *)text; *p; p++)
        if (*p <= ' ' || *p == '"' || *p == '\\' || *p == '=' || *p >= 0x7f)
            return false;
    return *text != '\0';
}

static void put_time(struct line *line)
{
    struct timespec now;
    struct tm tm;

    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &tm);
    put(line, "%04d-%02d-%02dT%02d:%02d:%02d.%03ldZ", tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday,
        tm.tm_hour, tm.tm_min, tm.tm_sec, now.tv_nsec / 1000000);
}

static void put_fields(struct line *line, const struct ls_log_field *field, int count)
{
    for (int i = 0; i < count; i++) {
        size_t size =
            FIELD_ROOM + (field[i].text && plain(field[i].text) ? strlen(field[i].text) : 0);

        if (line->size + strlen(field[i].key) + size > sizeof line->data)
            continue; // half a field would break the line for machines
        if (as_json)
            put(line, ",\"%s\":", field[i].key);
        else
            put(line, " %s=", field[i].key);
        if (!field[i].text)
            put(line, "%" PRId64, field[i].number);
        else if (as_json || !plain(field[i].text))
            put_quoted(line, field[i].text);
        else
            put(line, "%s", field[i].text);
    }
}

static void put_head(struct line *line, enum ls_log_level level, const char *event)
{
    static const char *const names[] = {"info", "warn", "error"};

    if (as_json)
        put(line, "{\"time\":\"");
    put_time(line);
    if (as_json)
        put(line, "\",\"level\":\"%s\",\"event\":\"%s\"", names[level], event);
    else
        put(line, " %-5s %s", names[level], event);
}

void ls_log(enum ls_log_level level, const char *event, const struct ls_log_field *field, int count,
            const char *fmt, ...)
{
    struct line line = {.size = 0};
    char text[1024] = "";
    va_list args;
    ssize_t n;

    if (fmt) {
        va_start(args, fmt);
        vsnprintf(text, sizeof text, fmt, args);
        va_end(args);
    }
    put_head(&line, level, event);
    put_fields(&line, field, count);
    if (text[0] && line.size + FIELD_ROOM <= sizeof line.data) {
        put(&line, as_json ? ",\"text\":" : " ");
        put_quoted(&line, text);
    }
    // The end always fits: whatever was put before left TAIL bytes.
    put(&line, as_json ? "}\n" : "\n");
    n = write(STDERR_FILENO, line.data, line.size);
    (void)n; // a log that cannot be written has nowhere to say so
}

void ls_log_foreign(enum ls_log_level level, const char *event, const char *text)
{
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    static time_t second;
    static int count, dropped;
    struct timespec now;
    int told = 0;
    bool show;

    clock_gettime(CLOCK_MONOTONIC, &now);
    pthread_mutex_lock(&lock);
    if (now.tv_sec != second) {
        second = now.tv_sec;
        told = dropped;
        count = dropped = 0;
    }
    show = count++ < FOREIGN_PER_SECOND;
    dropped += !show;
    pthread_mutex_unlock(&lock);
    if (told)
        ls_log(LS_LOG_WARN, event, (struct ls_log_field[]){{"dropped", NULL, told}}, 1,
               "more lines like the ones before");
    if (show)
        ls_log(level, event, NULL, 0, "%s", text);
}
