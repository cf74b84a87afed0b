// SPDX-License-Identifier: Apache-2.0
// Reads PyTorch's zip archives (torch 1.6 and later): <root>/data.pkl is the checkpoint's pickle,
// <root>/data/<key> each storage's values. Entries are stored, never compressed, so they are used
// where they are. Positions come from the central directory alone, with its zip64 extensions
// (APPNOTE 4.3-4.5). Once, at start-up, on one thread.
#include <stdlib.h>
#include <string.h>

#include "weights_torch.h"

enum {
    ENTRIES_MAX = 65535,
    END_SIZE = 22,     // end of central directory, without comment
    LOCATOR_SIZE = 20, // of the zip64 end record, just before it
    END64_SIZE = 56,
    CENTRAL_SIZE = 46, // an entry of the directory, without name, extra field and comment
    LOCAL_SIZE = 30,
    COMMENT_MAX = 65535,
};

struct entry {
    struct ls_span name, data;
};

struct archive {
    struct ls_span file;
    struct entry *entry; // [count], sorted by name
    uint32_t count;
    struct ls_err *err;
};

static uint64_t number(const uint8_t *p, int bytes)
{
    uint64_t v = 0;

    for (int i = bytes; i-- > 0;)
        v = v << 8 | p[i];
    return v;
}

static int bad(struct archive *a, const char *what)
{
    return ls_fail(a->err, LS_EMODEL, "zip archive: %s", what);
}

static bool inside(const struct archive *a, uint64_t at, uint64_t size)
{
    return at <= a->file.size && size <= a->file.size - at;
}

// Where the central directory is and how many entries it has.
static int find_directory(struct archive *a, uint64_t *at, uint64_t *count)
{
    const uint8_t *f = a->file.at;
    size_t end, low;

    if (a->file.size < END_SIZE)
        return bad(a, "no end of central directory");
    end = a->file.size - END_SIZE;
    low = end > COMMENT_MAX ? end - COMMENT_MAX : 0;
    while (end > low && memcmp(f + end, "PK\5\6", 4))
        end--;
    if (memcmp(f + end, "PK\5\6", 4))
        return bad(a, "no end of central directory");
    *count = number(f + end + 10, 2);
    *at = number(f + end + 16, 4);
    if (end >= LOCATOR_SIZE && !memcmp(f + end - LOCATOR_SIZE, "PK\6\7", 4)) {
        uint64_t end64 = number(f + end - LOCATOR_SIZE + 8, 8);

        if (!inside(a, end64, END64_SIZE) || memcmp(f + end64, "PK\6\6", 4))
            return bad(a, "no zip64 end of central directory");
        *count = number(f + end64 + 32, 8);
        *at = number(f + end64 + 48, 8);
    }
    if (*count > ENTRIES_MAX)
        return bad(a, "too many entries");
    return 0;
}

// Replaces what is 0xffffffff in the entry by its zip64 extension: size, stored size, position.
static int extend(struct archive *a, struct ls_span extra, uint64_t v[3])
{
    while (extra.size >= 4) {
        size_t id = number(extra.at, 2), size = number(extra.at + 2, 2), used = 0;

        extra = (struct ls_span){extra.at + 4, extra.size - 4};
        if (size > extra.size)
            return bad(a, "an extra field sticks out");
        for (int i = 0; i < 3 && id == 1; i++) {
            if (v[i] != UINT32_MAX)
                continue;
            if (size - used < 8)
                return bad(a, "a zip64 field is too short");
            v[i] = number(extra.at + used, 8);
            used += 8;
        }
        extra = (struct ls_span){extra.at + size, extra.size - size};
    }
    return 0;
}

// One entry of the directory at *at, which moves on.
static int read_entry(struct archive *a, uint64_t *at, struct entry *out)
{
    const uint8_t *c, *local;
    uint64_t v[3], name_size, extra_size, whole, start;
    char text[64];
    int r;

    if (!inside(a, *at, CENTRAL_SIZE) || memcmp(a->file.at + *at, "PK\1\2", 4))
        return bad(a, "the central directory ends early");
    c = a->file.at + *at;
    name_size = number(c + 28, 2);
    extra_size = number(c + 30, 2);
    whole = CENTRAL_SIZE + name_size + extra_size + number(c + 32, 2);
    if (!inside(a, *at, whole))
        return bad(a, "the central directory ends early");
    out->name = (struct ls_span){c + CENTRAL_SIZE, (size_t)name_size};
    ls_pickle_text(text, out->name);
    v[0] = number(c + 24, 4);
    v[1] = number(c + 20, 4);
    v[2] = number(c + 42, 4);
    r = extend(a, (struct ls_span){c + CENTRAL_SIZE + name_size, (size_t)extra_size}, v);
    if (r < 0)
        return r;
    if (number(c + 10, 2) != 0 || v[0] != v[1] || (c[8] & 1))
        return ls_fail(a->err, LS_EMODEL, "zip archive: \"%s\" is compressed or encrypted", text);
    if (!inside(a, v[2], LOCAL_SIZE) || memcmp(a->file.at + v[2], "PK\3\4", 4))
        return ls_fail(a->err, LS_EMODEL, "zip archive: \"%s\" is not where it should be", text);
    local = a->file.at + v[2];
    start = v[2] + LOCAL_SIZE + number(local + 26, 2) + number(local + 28, 2);
    if (!inside(a, start, v[0]))
        return ls_fail(a->err, LS_EMODEL,
                       "zip archive: \"%s\" has %llu bytes, the file ends before", text,
                       (unsigned long long)v[0]);
    out->data = (struct ls_span){a->file.at + start, (size_t)v[0]};
    *at += whole;
    return 0;
}

static int compare(struct ls_span a, struct ls_span b)
{
    size_t n = a.size < b.size ? a.size : b.size;
    int c = n ? memcmp(a.at, b.at, n) : 0;

    return c ? c : (a.size > b.size) - (a.size < b.size);
}

static int by_name(const void *a, const void *b)
{
    return compare(((const struct entry *)a)->name, ((const struct entry *)b)->name);
}

static int read_directory(struct archive *a)
{
    uint64_t at = 0, count = 0;
    int r = find_directory(a, &at, &count);

    if (r < 0)
        return r;
    a->entry = malloc((size_t)(count + 1) * sizeof *a->entry);
    if (!a->entry)
        return ls_fail(a->err, LS_ENOMEM, "no memory for %u entries", (unsigned)count);
    for (; a->count < count; a->count++) {
        r = read_entry(a, &at, &a->entry[a->count]);
        if (r < 0)
            return r;
    }
    qsort(a->entry, a->count, sizeof *a->entry, by_name);
    for (uint32_t i = 1; i < a->count; i++)
        if (by_name(&a->entry[i - 1], &a->entry[i]) == 0)
            return ls_fail(a->err, LS_EMODEL, "zip archive: \"%s\" is there twice",
                           ls_pickle_text((char[64]){0}, a->entry[i].name));
    return 0;
}

// The entry "<root><middle><key>".
static const struct entry *find(const struct archive *a, struct ls_span root, const char *middle,
                                struct ls_span key)
{
    uint8_t name[512];
    size_t n = strlen(middle);
    struct entry wanted = {.name = {name, root.size + n + key.size}};

    if (root.size > 200 || key.size > 200)
        return NULL;
    memcpy(name, root.at, root.size);
    memcpy(name + root.size, middle, n);
    if (key.size)
        memcpy(name + root.size + n, key.at, key.size);
    return a->count ? bsearch(&wanted, a->entry, a->count, sizeof wanted, by_name) : NULL;
}

// "<root>/" of the first "<root>/data.pkl".
static const struct entry *find_pickle(const struct archive *a, struct ls_span *root)
{
    static const char tail[] = "data.pkl";
    size_t n = sizeof tail - 1;

    for (uint32_t i = 0; i < a->count; i++) {
        struct ls_span name = a->entry[i].name;

        if (name.size > n && name.at[name.size - n - 1] == '/' &&
            !memcmp(name.at + name.size - n, tail, n)) {
            *root = (struct ls_span){name.at, name.size - n};
            return &a->entry[i];
        }
    }
    return NULL;
}

static int find_storages(const struct archive *a, struct ls_pickle *p, struct ls_span root)
{
    for (uint32_t i = 0; i < p->storages.count; i++) {
        struct ls_pickle_storage *s = &p->storage[i];
        const struct entry *e = find(a, root, "data/", s->key);

        if (!e)
            continue; // an error only if a tensor needs it
        if ((uint64_t)ls_torch_storage_size(s) != e->data.size)
            return ls_fail(a->err, LS_EMODEL, "storage \"%s\" has %zu bytes, should have %lld",
                           ls_pickle_text((char[64]){0}, s->key), e->data.size,
                           (long long)ls_torch_storage_size(s));
        s->data = e->data.at;
    }
    return 0;
}

int ls_weights_read_torch_zip(struct ls_weights *w, struct ls_span file, struct ls_err *err)
{
    struct archive a = {.file = file, .err = err};
    struct ls_pickle p = {.err = err};
    const struct entry *pickle, *order;
    uint32_t top = LS_PICKLE_NONE;
    struct ls_span root;
    int r = read_directory(&a);

    if (r < 0)
        goto done;
    pickle = find_pickle(&a, &root);
    if (!pickle) {
        r = bad(&a, "no data.pkl in it, so not one of torch.save");
        goto done;
    }
    order = find(&a, root, "byteorder", (struct ls_span){0}); // since torch 2.1
    if (order && (order->data.size != 6 || memcmp(order->data.at, "little", 6))) {
        r = bad(&a, "not little-endian");
        goto done;
    }
    p.in = pickle->data;
    r = ls_pickle_run(&p, &top);
    if (r == 0)
        r = find_storages(&a, &p, root);
    if (r == 0)
        r = ls_torch_collect(w, &p, top, err);
done:
    ls_pickle_done(&p);
    free(a.entry);
    return r;
}
