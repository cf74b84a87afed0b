// SPDX-License-Identifier: Apache-2.0
// Reads .safetensors: eight bytes of length, a JSON header of that length, then the values. A
// strict reader for exactly this JSON (an object of {dtype, shape, data_offsets} and "__metadata__"
// of strings), not a general one: what the format does not have is an error. As the format demands,
// the tensors must tile the values: no holes, no overlaps. Runs once at start-up, on one thread.
#include <stdlib.h>
#include <string.h>

#include "weights_set.h"

enum { HEADER_SIZE_MAX = 100000000 }; // the format's own limit

struct reader {
    const char *at, *end, *start;
    struct ls_err *err;
};

struct range {
    uint64_t first, last;
    int tensor_idx;
};

static int bad(struct reader *r, const char *what)
{
    return ls_fail(r->err, LS_EMODEL, "safetensors header, byte %lld: %s",
                   (long long)(r->at - r->start), what);
}

static void skip_space(struct reader *r)
{
    while (r->at < r->end && (*r->at == ' ' || *r->at == '\t' || *r->at == '\n' || *r->at == '\r'))
        r->at++;
}

// Takes the character c, with space before it, if it is next.
static bool take(struct reader *r, char c)
{
    skip_space(r);
    if (r->at == r->end || *r->at != c)
        return false;
    r->at++;
    return true;
}

static int hex4(struct reader *r, unsigned *out)
{
    unsigned v = 0;

    for (int i = 0; i < 4; i++, r->at++) {
        static const char digits[] = "0123456789abcdefABCDEF";
        const char *d = r->at < r->end && *r->at ? strchr(digits, *r->at) : NULL;

        if (!d)
            return bad(r, "\\u needs four hexadecimal digits");
        v = v * 16 + (unsigned)(d - digits > 15 ? d - digits - 6 : d - digits);
    }
    *out = v;
    return 0;
}

static char *put_utf8(char *to, unsigned c)
{
    if (c < 0x80) {
        *to++ = (char)c;
    } else if (c < 0x800) {
        *to++ = (char)(0xc0 | c >> 6);
        *to++ = (char)(0x80 | (c & 63));
    } else if (c < 0x10000) {
        *to++ = (char)(0xe0 | c >> 12);
        *to++ = (char)(0x80 | (c >> 6 & 63));
        *to++ = (char)(0x80 | (c & 63));
    } else {
        *to++ = (char)(0xf0 | c >> 18);
        *to++ = (char)(0x80 | (c >> 12 & 63));
        *to++ = (char)(0x80 | (c >> 6 & 63));
        *to++ = (char)(0x80 | (c & 63));
    }
    return to;
}

// After a backslash. Never writes more bytes than the escape has, so the raw length bounds the
// result.
static int read_escape(struct reader *r, char **to)
{
    static const char from[] = "\"\\/bfnrt", plain[] = "\"\\/\b\f\n\r\t";
    const char *known;
    unsigned c = 0, low = 0;
    int e;

    if (r->at == r->end)
        return bad(r, "the string does not end");
    if (*r->at != 'u') {
        known = *r->at ? strchr(from, *r->at) : NULL;
        if (!known)
            return bad(r, "unknown escape");
        r->at++;
        *(*to)++ = plain[known - from];
        return 0;
    }
    r->at++;
    e = hex4(r, &c);
    if (e < 0)
        return e;
    if (c >= 0xd800 && c < 0xdc00) {
        if (r->end - r->at < 2 || r->at[0] != '\\' || r->at[1] != 'u')
            return bad(r, "half of a surrogate pair");
        r->at += 2;
        e = hex4(r, &low);
        if (e < 0)
            return e;
        if (low < 0xdc00 || low > 0xdfff)
            return bad(r, "half of a surrogate pair");
        c = 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
    } else if (c == 0 || (c >= 0xdc00 && c < 0xe000)) {
        return bad(r, "a NUL or half of a surrogate pair");
    }
    *to = put_utf8(*to, c);
    return 0;
}

// *out is malloc'ed and ends with NUL.
static int read_string(struct reader *r, char **out)
{
    const char *stop;
    char *text, *to;
    int e;

    if (!take(r, '"'))
        return bad(r, "a string should be here");
    for (stop = r->at; stop < r->end && *stop != '"'; stop++)
        if (*stop == '\\' && stop + 1 < r->end)
            stop++;
    text = malloc((size_t)(stop - r->at) + 1);
    if (!text)
        return ls_fail(r->err, LS_ENOMEM, "no memory for a string of the header");
    for (to = text; r->at < r->end && *r->at != '"';) {
        if ((unsigned char)*r->at < 0x20) {
            e = bad(r, "a control character in a string");
            goto fail;
        }
        if (*r->at != '\\') {
            *to++ = *r->at++;
            continue;
        }
        r->at++;
        e = read_escape(r, &to);
        if (e < 0)
            goto fail;
    }
    if (!take(r, '"')) {
        e = bad(r, "the string does not end");
        goto fail;
    }
    *to = '\0';
    *out = text;
    return 0;
fail:
    free(text);
    return e;
}

static int read_integer(struct reader *r, int64_t *out)
{
    int64_t v = 0;
    const char *first;

    skip_space(r);
    first = r->at;
    for (; r->at < r->end && *r->at >= '0' && *r->at <= '9'; r->at++) {
        if (v > (INT64_MAX - 9) / 10)
            return bad(r, "the number is too large");
        v = v * 10 + (*r->at - '0');
    }
    if (r->at == first)
        return bad(r, "a whole number should be here");
    *out = v;
    return 0;
}

// "[1, 2]" into out [max].
static int read_integers(struct reader *r, int64_t *out, int max, int *count)
{
    int n = 0;
    int e;

    if (!take(r, '['))
        return bad(r, "'[' should be here");
    if (take(r, ']')) {
        *count = 0;
        return 0;
    }
    do {
        if (n == max)
            return bad(r, "too many numbers");
        e = read_integer(r, &out[n++]);
        if (e < 0)
            return e;
    } while (take(r, ','));
    if (!take(r, ']'))
        return bad(r, "']' should be here");
    *count = n;
    return 0;
}

static int read_dtype(struct reader *r, enum ls_dtype *out)
{
    static const char *const names[LS_DTYPES] = {"F32", "F16", "BF16", "F64", "I64", "I32", "U8"};
    char *text = NULL;
    int e = read_string(r, &text);
    int i = 0;

    if (e < 0)
        return e;
    while (i < LS_DTYPES && strcmp(text, names[i]))
        i++;
    if (i < LS_DTYPES)
        *out = (enum ls_dtype)i;
    else
        e = ls_fail(r->err, LS_EMODEL, "dtype \"%.16s\" is not known", text);
    free(text);
    return e;
}

// The three members of a tensor's object, in any order, each once.
static int read_members(struct reader *r, struct ls_tensor *t, int64_t offset[2])
{
    static const char *const keys[3] = {"dtype", "shape", "data_offsets"};
    bool seen[3] = {false};
    int n = 0;
    int e;

    if (!take(r, '{'))
        return bad(r, "'{' should be here");
    do {
        char *key = NULL;
        int k = 0;

        e = read_string(r, &key);
        if (e < 0)
            return e;
        while (k < 3 && strcmp(key, keys[k]))
            k++;
        free(key);
        if (k == 3 || seen[k])
            return bad(r, "an unknown member, or one twice");
        seen[k] = true;
        if (!take(r, ':'))
            return bad(r, "':' should be here");
        if (k == 0)
            e = read_dtype(r, &t->dtype);
        else if (k == 1)
            e = read_integers(r, t->dim, 4, &t->dim_count);
        else
            e = read_integers(r, offset, 2, &n);
        if (e < 0)
            return e;
    } while (take(r, ','));
    if (!take(r, '}'))
        return bad(r, "'}' should be here");
    if (!seen[0] || !seen[1] || n != 2)
        return bad(r, "dtype, shape or data_offsets is missing");
    return 0;
}

static int read_tensor(struct reader *r, struct ls_weights *w, const char *name,
                       struct ls_span values, struct range *range)
{
    struct ls_tensor t = {0};
    int64_t offset[2];
    int e = read_members(r, &t, offset);

    if (e < 0) {
        ls_fail_prefix(r->err, "tensor \"%.64s\"", name);
        return e;
    }
    if (offset[0] > offset[1] || (uint64_t)offset[1] > values.size)
        return ls_fail(r->err, LS_EMODEL,
                       "tensor \"%.64s\": offsets %lld..%lld are not within %zu bytes", name,
                       (long long)offset[0], (long long)offset[1], values.size);
    t.data = values.at + offset[0];
    *range = (struct range){(uint64_t)offset[0], (uint64_t)offset[1], w->count};
    return ls_weights_put(w, (struct ls_span){(const uint8_t *)name, strlen(name)}, &t,
                          (size_t)(offset[1] - offset[0]), r->err);
}

static int read_metadata(struct reader *r, struct ls_weights *w)
{
    int e = 0;

    if (w->meta_count)
        return bad(r, "__metadata__ is there twice");
    if (!take(r, '{'))
        return bad(r, "'{' should be here");
    if (take(r, '}'))
        return 0;
    do {
        char *key = NULL, *value = NULL;

        e = read_string(r, &key);
        if (e == 0 && !take(r, ':'))
            e = bad(r, "':' should be here");
        if (e == 0)
            e = read_string(r, &value);
        if (e == 0)
            e = ls_weights_put_meta(w, key, value, r->err);
        free(key);
        free(value);
        if (e < 0)
            return e;
    } while (take(r, ','));
    return take(r, '}') ? 0 : bad(r, "'}' should be here");
}

static int by_first(const void *a, const void *b)
{
    const struct range *p = a, *q = b;

    return (p->first > q->first) - (p->first < q->first);
}

static int check_tiling(const struct ls_weights *w, struct range *range, uint64_t size,
                        struct ls_err *err)
{
    uint64_t next = 0;

    qsort(range, (size_t)w->count, sizeof *range, by_first);
    for (int i = 0; i < w->count; i++) {
        if (range[i].first != next)
            return ls_fail(err, LS_EMODEL, "tensor \"%s\": %s before it",
                           w->tensor[range[i].tensor_idx].name,
                           range[i].first < next ? "it overlaps the one" : "unused bytes");
        next = range[i].last;
    }
    if (next != size)
        return ls_fail(err, LS_EMODEL, "%llu bytes after the last tensor",
                       (unsigned long long)(size - next));
    return 0;
}

static int read_header(struct reader *r, struct ls_weights *w, struct ls_span values,
                       struct range *range)
{
    bool more;
    int e;

    if (!take(r, '{'))
        return bad(r, "'{' should be here");
    skip_space(r);
    for (more = r->at < r->end && *r->at != '}'; more; more = take(r, ',')) {
        char *name = NULL;

        e = read_string(r, &name);
        if (e == 0 && !take(r, ':'))
            e = bad(r, "':' should be here");
        if (e == 0 && !strcmp(name, "__metadata__"))
            e = read_metadata(r, w);
        else if (e == 0 && w->count == LS_TENSORS_MAX)
            e = bad(r, "too many tensors");
        else if (e == 0)
            e = read_tensor(r, w, name, values, &range[w->count]);
        free(name);
        if (e < 0)
            return e;
    }
    if (!take(r, '}'))
        return bad(r, "'}' should be here");
    skip_space(r);
    return r->at == r->end ? 0 : bad(r, "something after the header's end");
}

int ls_weights_read_safetensors(struct ls_weights *w, struct ls_span file, struct ls_err *err)
{
    struct reader r = {.err = err};
    struct ls_span values;
    struct range *range;
    uint64_t size = 0;
    int e;

    for (int i = 7; i >= 0; i--)
        size = size << 8 | file.at[i];
    if (size > file.size - 8 || size > HEADER_SIZE_MAX)
        return ls_fail(err, LS_EMODEL, "safetensors: a header of %llu bytes in a file of %zu",
                       (unsigned long long)size, file.size);
    range = malloc(LS_TENSORS_MAX * sizeof *range);
    if (!range)
        return ls_fail(err, LS_ENOMEM, "no memory for the header");
    r.start = r.at = (const char *)file.at + 8;
    r.end = r.at + size;
    values = (struct ls_span){file.at + 8 + size, file.size - 8 - (size_t)size};
    e = read_header(&r, w, values, range);
    if (e == 0)
        e = check_tiling(w, range, values.size, err);
    free(range);
    return e;
}
