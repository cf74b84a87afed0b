// SPDX-License-Identifier: Apache-2.0
// Reading of files, base64url, JSON and words for auth*.c. All of it came from outside: from a
// caller, or from a file that a person or a program wrote. Loop thread (and main, before the loop).
// One surprise: jansson's own limit of depth is 2048 levels, so the depth is counted before it
// parses.
#include "server/auth_impl.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <jansson.h>

enum { DEPTH_MAX = 16 }; // the deepest that issuers are known to nest is 4 (roles of a resource)

static int open_file(const char *flag, const char *path, size_t size_max, int mode_not,
                     size_t *size, struct ls_err *err)
{
    struct stat st;
    // Non-blocking, so that a named pipe is told of and does not hang the loop.
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK), r = 0;

    if (fd < 0 || fstat(fd, &st) < 0)
        r = ls_fail_field(err, LS_EFIELD, flag, "%s: %s", path, strerror(errno));
    else if (!S_ISREG(st.st_mode))
        r = ls_fail_field(err, LS_EFIELD, flag, "%s: is no regular file", path);
    else if (st.st_mode & (mode_t)mode_not)
        r = ls_fail_field(err, LS_EFIELD, flag,
                          "%s: others may %s it (mode %03o); chmod o-rwx takes that away", path,
                          st.st_mode & S_IWOTH ? "write" : "read", (unsigned)st.st_mode & 0777u);
    else if ((size_t)st.st_size > size_max)
        r = ls_fail_field(err, LS_EFIELD, flag, "%s: %lld bytes; at most %zu are read", path,
                          (long long)st.st_size, size_max);
    if (r == 0) {
        *size = (size_t)st.st_size;
        return fd;
    }
    if (fd >= 0)
        close(fd);
    return r;
}

int ls_auth_read_file(char **out, size_t *size, const char *flag, const char *path, size_t size_max,
                      int mode_not, struct ls_err *err)
{
    size_t room = 0, at = 0;
    int fd = open_file(flag, path, size_max, mode_not, &room, err), r = 0;
    char *data;

    if (fd < 0)
        return fd;
    data = malloc(room + 1);
    if (!data)
        r = ls_fail(err, LS_ENOMEM, "%zu bytes for %s", room, path);
    while (r == 0 && at < room) {
        ssize_t got = read(fd, data + at, room - at);

        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            r = ls_fail_field(err, LS_EFIELD, flag, "%s: %s", path, strerror(errno));
        else if (got == 0) // became shorter meanwhile
            break;
        else
            at += (size_t)got;
    }
    close(fd);
    if (r < 0) {
        free(data);
        return r;
    }
    data[at] = '\0';
    *out = data;
    *size = at;
    return 0;
}

static int digit_of(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '-' ? 62 : c == '_' ? 63 : -1;
}

int ls_auth_base64url(uint8_t *out, int size_max, const char *text, size_t size)
{
    unsigned bits = 0;
    int held = 0, count = 0;

    if (size % 4 == 1 || size / 4 * 3 + size % 4 > (size_t)size_max + 1)
        return -1;
    for (size_t i = 0; i < size; i++) {
        int digit = digit_of(text[i]);

        if (digit < 0)
            return -1;
        bits = bits << 6 | (unsigned)digit;
        held += 6;
        if (held < 8)
            continue;
        held -= 8;
        if (count >= size_max)
            return -1;
        out[count++] = (uint8_t)(bits >> held);
        bits &= (1u << held) - 1;
    }
    return bits ? -1 : count;
}

static bool too_deep(const char *text, size_t size)
{
    bool quoted = false;
    int depth = 0;

    for (size_t i = 0; i < size; i++) {
        if (quoted && text[i] == '\\')
            i++;
        else if (text[i] == '"')
            quoted = !quoted;
        else if (!quoted && (text[i] == '{' || text[i] == '['))
            depth++;
        else if (!quoted && (text[i] == '}' || text[i] == ']'))
            depth--;
        if (depth > DEPTH_MAX)
            return true;
    }
    return false;
}

struct json_t *ls_auth_json(const char *text, size_t size)
{
    json_t *json;

    if (too_deep(text, size))
        return NULL;
    json = json_loadb(text, size, JSON_REJECT_DUPLICATES, NULL);
    if (json && !json_is_object(json)) {
        json_decref(json);
        json = NULL;
    }
    return json;
}

void ls_auth_name(char out[64], const char *text, size_t size)
{
    size_t at = 0;

    for (; at < size && at < 63; at++) {
        char c = text[at];

        out[at] = c > ' ' && c <= '~' && c != '"' && c != '\\' ? c : '_';
    }
    out[at] = '\0';
}

static const struct {
    const char *name;
    enum ls_scope scope;
} scopes_known[] = {{"sync", LS_SCOPE_SYNC}, {"info", LS_SCOPE_INFO}, {"admin", LS_SCOPE_ADMIN}};
enum { SCOPES = sizeof scopes_known / sizeof scopes_known[0] };

int ls_auth_scope(const char *word, size_t size)
{
    for (int i = 0; i < SCOPES; i++)
        if (strlen(scopes_known[i].name) == size && !memcmp(scopes_known[i].name, word, size))
            return (int)scopes_known[i].scope;
    return 0;
}

const char *ls_auth_scope_names(int scopes, char out[32])
{
    int at = 0;

    snprintf(out, 32, "none");
    for (int i = 0; i < SCOPES; i++)
        if (scopes & (int)scopes_known[i].scope)
            at +=
                snprintf(out + at, (size_t)(32 - at), "%s%s", at ? "," : "", scopes_known[i].name);
    return out;
}

bool ls_auth_is_token(const char *text, size_t size)
{
    size_t at = 0;

    while (at < size && (digit_of(text[at]) >= 0 || strchr("._~+/", text[at])) && text[at])
        at++;
    if (at == 0)
        return false;
    while (at < size && text[at] == '=')
        at++;
    return at == size;
}
