// SPDX-License-Identifier: Apache-2.0
// Growing text, UTF-8 and JSON strings: whatever a stranger gave (a method's path, a token's
// subject) goes through here before it stands in a log line, a status or an answer.
#include "server/text.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FIRST_ROOM = 4096 };

static bool reserve(struct ls_text *t, size_t more)
{
    size_t room = t->room ? t->room : FIRST_ROOM;
    char *data;

    if (t->failed)
        return false;
    if (t->data && t->room - t->size > more)
        return true;
    while (room - t->size <= more)
        room *= 2;
    data = realloc(t->data, room);
    if (!data) {
        t->failed = true;
        return false;
    }
    t->data = data;
    t->room = room;
    return true;
}

void ls_text_put(struct ls_text *t, const char *fmt, ...)
{
    va_list args, again;
    int n;

    if (!reserve(t, 1))
        return;
    va_start(args, fmt);
    va_copy(again, args);
    n = vsnprintf(t->data + t->size, t->room - t->size, fmt, args);
    va_end(args);
    if (n >= 0 && (size_t)n >= t->room - t->size) {
        if (reserve(t, (size_t)n))
            vsnprintf(t->data + t->size, t->room - t->size, fmt, again);
        else
            n = 0;
    }
    va_end(again);
    t->size += n > 0 ? (size_t)n : 0;
}

void ls_text_put_json(struct ls_text *t, const char *text)
{
    char character[LS_JSON_CHARACTER];

    ls_text_put(t, "\"");
    while (*text) {
        int n = ls_json_character(character, &text);

        ls_text_put(t, "%.*s", n, character);
    }
    ls_text_put(t, "\"");
}

char *ls_text_take(struct ls_text *t, size_t *size)
{
    char *data = t->data;

    if (t->failed) {
        free(data);
        data = NULL;
    }
    *size = data ? t->size : 0;
    memset(t, 0, sizeof *t);
    return data;
}

int ls_utf8_size(const char *text)
{
    const unsigned char *p = (const unsigned char *)text;
    int size = *p < 0x80                 ? 1
               : *p >= 0xc2 && *p < 0xe0 ? 2
               : *p >= 0xe0 && *p < 0xf0 ? 3
               : *p >= 0xf0 && *p < 0xf5 ? 4
                                         : 0;

    for (int i = 1; i < size; i++)
        if ((p[i] & 0xc0) != 0x80)
            return 0;
    if ((*p == 0xe0 && p[1] < 0xa0) || (*p == 0xed && p[1] > 0x9f) || (*p == 0xf0 && p[1] < 0x90) ||
        (*p == 0xf4 && p[1] > 0x8f))
        return 0;
    return size;
}

void ls_utf8_copy(char *out, size_t size, const char *text)
{
    size_t n = 0;

    while (*text) {
        int count = ls_utf8_size(text);
        int copied = count ? count : 1;

        if (n + (size_t)copied >= size)
            break;
        if (count)
            memcpy(out + n, text, (size_t)count);
        else
            out[n] = '?';
        n += (size_t)copied;
        text += copied;
    }
    out[n] = '\0';
}

int ls_json_character(char out[LS_JSON_CHARACTER], const char **p)
{
    unsigned char c = (unsigned char)**p;
    int count = ls_utf8_size(*p), n;

    if (!count)
        n = snprintf(out, LS_JSON_CHARACTER, "\\ufffd");
    else if (c == '"' || c == '\\')
        n = snprintf(out, LS_JSON_CHARACTER, "\\%c", c);
    else if (c < 0x20 || c == 0x7f)
        n = snprintf(out, LS_JSON_CHARACTER, "\\u%04x", c);
    else if (c == 0xc2 && (unsigned char)(*p)[1] < 0xa0) // control characters, for terminals too
        n = snprintf(out, LS_JSON_CHARACTER, "\\u%04x", (unsigned char)(*p)[1]);
    else
        n = snprintf(out, LS_JSON_CHARACTER, "%.*s", count, *p);
    *p += count ? count : 1;
    return n;
}
