// SPDX-License-Identifier: Apache-2.0
// Formats one log line in a buffer on the stack and writes it with one write(2). Any thread. A line
// that does not fit is cut, never split; text that came from outside is escaped, so that nobody can
// forge a line.
#include "server/log.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { LINE_SIZE = 2048, FOREIGN_PER_SECOND = 10 };

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

// A JSON string; text lines use the same form where a value holds more than plain characters.
static void put_quoted(struct line *line, const char *text)
{
    put(line, "\"");
    for (const unsigned char *p = (const unsigned char *)text; *p; p++) {
        if (line->size + 16 > sizeof line->data)
            break; // keeps room for the end of the line
        if (*p == '"' || *p == '\\')
            put(line, "\\%c", *p);
        else if (*p < 0x20 || *p == 0x7f)
            put(line, "\\u%04x", *p);
        else
            put(line, "%c", *p);
    }
    put(line, "\"");
}

static bool plain(const char *text)
{
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
    if (text[0]) {
        put(&line, as_json ? ",\"text\":" : " ");
        put_quoted(&line, text);
    }
    // The end always fits: puts stop one byte short of the buffer, and this replaces the last ones.
    if (line.size > sizeof line.data - 4)
        line.size = sizeof line.data - 4;
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
