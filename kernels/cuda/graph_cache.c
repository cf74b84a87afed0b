// SPDX-License-Identifier: Apache-2.0
// The file of plans (graph_cache.h). Layout, little-endian as the machine that wrote it:
//     8 bytes "LSPLANS1", then records, each
//     u32 name's size, u32 data's size, u64 checksum of the data, u64 checksum of all before and
//     of the name, name, data
// The first record's name is empty and its data is the key; the last one has neither name nor data,
// so that a file that was cut off is known. Lengths are believed only after the
// checksum that covers them and only if the file has so many bytes. What surprises: the file stays
// open, and a plan is read from it when it is first asked for, as a whole one has 50 MB.
#include "graph_cache.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MAGIC_SIZE = 8, HEAD_SIZE = 24, FILE_SIZE_MAX = 1 << 30 };
static const char magic[MAGIC_SIZE + 1] = "LSPLANS1";

struct entry {
    char *name;
    unsigned char *data; // NULL: in the file, at `offset`
    size_t size;
    off_t offset;
    uint64_t checksum;
};

struct ls_cuda_cache {
    char *path, *key;
    FILE *file; // NULL: none
    struct entry *entry;
    int count, room;
    bool changed;
    char note[200];
};

struct head {
    uint32_t name_size, data_size;
    uint64_t data_checksum, checksum;
};
_Static_assert(sizeof(struct head) == HEAD_SIZE, "no padding");

// FNV-1a (Fowler, Noll, Vo), 64 bits. Each step is a bijection of the state, so that one changed
// byte always changes the result.
static uint64_t checksum_of(uint64_t state, const void *data, size_t size)
{
    const unsigned char *p = data;

    for (size_t i = 0; i < size; i++)
        state = (state ^ p[i]) * UINT64_C(0x100000001b3);
    return state;
}

static uint64_t checksum(const void *data, size_t size)
{
    return checksum_of(UINT64_C(0xcbf29ce484222325), data, size);
}

static uint64_t head_checksum(const struct head *h, const char *name)
{
    return checksum_of(checksum(h, offsetof(struct head, checksum)), name, h->name_size);
}

static void note(struct ls_cuda_cache *cache, const char *what)
{
    cache->changed = true; // a good file is to take its place
    if (!cache->note[0])
        snprintf(cache->note, sizeof cache->note, "the cache of plans %.100s %s", cache->path,
                 what);
}

static struct entry *find(struct ls_cuda_cache *cache, const char *name)
{
    for (int i = 0; i < cache->count; i++)
        if (!strcmp(cache->entry[i].name, name))
            return &cache->entry[i];
    return NULL;
}

static void drop(struct ls_cuda_cache *cache, struct entry *e)
{
    free(e->name);
    free(e->data);
    *e = cache->entry[--cache->count];
}

// A new entry with this name and nothing else, in place of one that there was; NULL if there is no
// place for it.
static struct entry *add(struct ls_cuda_cache *cache, const char *name)
{
    struct entry *e = find(cache, name);

    if (e)
        drop(cache, e);
    if (cache->count == cache->room) {
        int room = cache->room ? cache->room * 2 : 64;
        struct entry *grown = room > LS_CUDA_CACHE_ENTRIES_MAX
                                  ? NULL
                                  : realloc(cache->entry, (size_t)room * sizeof *grown);

        if (!grown)
            return NULL;
        cache->entry = grown;
        cache->room = room;
    }
    e = &cache->entry[cache->count];
    *e = (struct entry){.name = strdup(name)};
    if (!e->name)
        return NULL;
    cache->count++;
    return e;
}

// --- reading -----------------------------------------------------------------------------------

// The next record's head and name; leaves the file at its data. 1: there is none. 0: as it should
// be. -1: damaged.
static int read_head(struct head *h, char name[LS_CUDA_CACHE_NAME_MAX + 1], FILE *file, off_t size)
{
    size_t got = fread(h, 1, HEAD_SIZE, file);
    off_t at;

    if (got == 0 && feof(file))
        return 1;
    if (got != HEAD_SIZE || h->name_size > LS_CUDA_CACHE_NAME_MAX ||
        h->data_size > LS_CUDA_CACHE_ENTRY_SIZE_MAX)
        return -1;
    if (fread(name, 1, h->name_size, file) != h->name_size || h->checksum != head_checksum(h, name))
        return -1;
    name[h->name_size] = 0;
    at = ftello(file);
    return at >= 0 && at <= size && (off_t)h->data_size <= size - at && strlen(name) == h->name_size
               ? 0
               : -1;
}

// The record's data, malloc'd, with a 0 behind; NULL if it is damaged.
static unsigned char *read_data(FILE *file, size_t size, uint64_t wanted)
{
    unsigned char *data = malloc(size + 1);

    if (data && (fread(data, 1, size, file) != size || checksum(data, size) != wanted)) {
        free(data);
        data = NULL;
    }
    if (data)
        data[size] = 0;
    return data;
}

// What is wrong with the file's beginning; NULL if it is ours.
static const char *read_key(struct ls_cuda_cache *cache, off_t size)
{
    char start[MAGIC_SIZE], name[LS_CUDA_CACHE_NAME_MAX + 1];
    struct head h;
    unsigned char *key;
    bool same;

    if (fread(start, 1, MAGIC_SIZE, cache->file) != MAGIC_SIZE ||
        memcmp(start, magic, MAGIC_SIZE) != 0)
        return "is of another kind and was left out";
    if (read_head(&h, name, cache->file, size) != 0 || h.name_size != 0)
        return "is damaged and was left out";
    key = read_data(cache->file, h.data_size, h.data_checksum);
    if (!key)
        return "is damaged and was left out";
    same = h.data_size == strlen(cache->key) && !memcmp(key, cache->key, h.data_size);
    free(key);
    return same ? NULL : "is of another device, driver, library or model and was left out";
}

static const char *read_index(struct ls_cuda_cache *cache)
{
    char name[LS_CUDA_CACHE_NAME_MAX + 1];
    const char *wrong;
    struct stat st;
    struct head h;
    int r;

    if (fstat(fileno(cache->file), &st) < 0 || !S_ISREG(st.st_mode) || st.st_size > FILE_SIZE_MAX)
        return "is no file of ours and was left out";
    wrong = read_key(cache, st.st_size);
    if (wrong)
        return wrong;
    while ((r = read_head(&h, name, cache->file, st.st_size)) == 0 && h.name_size > 0) {
        struct entry *e = !find(cache, name) ? add(cache, name) : NULL;

        if (!e)
            return "is damaged and was left out";
        e->size = h.data_size;
        e->checksum = h.data_checksum;
        e->offset = ftello(cache->file);
        if (fseeko(cache->file, (off_t)h.data_size, SEEK_CUR) != 0)
            return "cannot be read and was left out";
    }
    return r != 0 || h.data_size != 0 || fgetc(cache->file) != EOF ? "is damaged and was left out"
                                                                   : NULL;
}

static void leave_file(struct ls_cuda_cache *cache)
{
    if (cache->file)
        fclose(cache->file);
    cache->file = NULL;
}

int ls_cuda_cache_open(struct ls_cuda_cache **out, const char *path, const char *key,
                       struct ls_err *err)
{
    struct ls_cuda_cache *cache = calloc(1, sizeof *cache);
    const char *wrong;

    if (!cache)
        return ls_fail(err, LS_ENOMEM, "no memory for the cache of plans");
    cache->path = path ? strdup(path) : NULL;
    cache->key = strdup(key);
    if (!cache->key || (path && !cache->path)) {
        ls_cuda_cache_close(&cache);
        return ls_fail(err, LS_ENOMEM, "no memory for the cache of plans");
    }
    // O_NONBLOCK: a pipe by that name must not hold the start.
    if (path) {
        int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

        cache->file = fd < 0 ? NULL : fdopen(fd, "rb");
        if (fd >= 0 && !cache->file)
            close(fd);
        if (fd < 0 && errno != ENOENT)
            note(cache, strerror(errno));
    }
    wrong = cache->file ? read_index(cache) : NULL;
    if (wrong) {
        note(cache, wrong);
        leave_file(cache);
        while (cache->count > 0)
            drop(cache, &cache->entry[0]);
    }
    *out = cache;
    return LS_OK;
}

void ls_cuda_cache_close(struct ls_cuda_cache **cache)
{
    struct ls_cuda_cache *c = cache ? *cache : NULL;

    if (!c)
        return;
    while (c->count > 0)
        drop(c, &c->entry[0]);
    leave_file(c);
    free(c->entry);
    free(c->path);
    free(c->key);
    free(c);
    *cache = NULL;
}

static unsigned char *contents(struct ls_cuda_cache *cache, const struct entry *e)
{
    unsigned char *copy;

    if (!e->data)
        return fseeko(cache->file, e->offset, SEEK_SET) == 0
                   ? read_data(cache->file, e->size, e->checksum)
                   : NULL;
    copy = malloc(e->size + 1);
    if (copy)
        memcpy(copy, e->data, e->size + 1);
    return copy;
}

bool ls_cuda_cache_get(struct ls_cuda_cache *cache, const char *name, void **data, size_t *size)
{
    struct entry *e = find(cache, name);
    unsigned char *found = e ? contents(cache, e) : NULL;

    if (found) {
        *data = found;
        *size = e->size;
    } else if (e) {
        note(cache, "is damaged in part and is written anew");
        drop(cache, e);
    }
    return found;
}

// --- writing -----------------------------------------------------------------------------------

void ls_cuda_cache_put(struct ls_cuda_cache *cache, const char *name, const void *data, size_t size)
{
    size_t name_size = strlen(name);
    unsigned char *copy;
    struct entry *e;

    if (!cache->path || name_size == 0 || name_size > LS_CUDA_CACHE_NAME_MAX ||
        size > LS_CUDA_CACHE_ENTRY_SIZE_MAX)
        return;
    copy = malloc(size + 1);
    e = copy ? add(cache, name) : NULL;
    if (!e) {
        free(copy);
        return;
    }
    memcpy(copy, data, size);
    copy[size] = 0;
    e->data = copy;
    e->size = size;
    e->checksum = checksum(data, size);
    cache->changed = true;
}

// Leaves the stream's error flag set if it fails.
static void write_record(FILE *file, const char *name, const void *data, size_t size)
{
    struct head h = {.name_size = (uint32_t)strlen(name),
                     .data_size = (uint32_t)size,
                     .data_checksum = checksum(data, size)};

    h.checksum = head_checksum(&h, name);
    fwrite(&h, 1, HEAD_SIZE, file);
    fwrite(name, 1, h.name_size, file);
    fwrite(data, 1, size, file);
}

static bool write_all(struct ls_cuda_cache *cache, FILE *file)
{
    fwrite(magic, 1, MAGIC_SIZE, file);
    write_record(file, "", cache->key, strlen(cache->key));
    for (int i = 0; i < cache->count; i++) {
        unsigned char *data = contents(cache, &cache->entry[i]);

        if (data) // else: damaged since; it is not carried over
            write_record(file, cache->entry[i].name, data, cache->entry[i].size);
        free(data);
    }
    write_record(file, "", "", 0);
    // On the disk before it takes the name: a loss of power must not leave an empty file.
    return fflush(file) == 0 && !ferror(file) && fsync(fileno(file)) == 0;
}

void ls_cuda_cache_save(struct ls_cuda_cache *cache)
{
    size_t size = cache->path ? strlen(cache->path) + 16 : 0;
    char *temporary = cache->path && cache->changed ? malloc(size) : NULL;
    FILE *file;
    bool ok;

    if (!temporary)
        return;
    snprintf(temporary, size, "%s.%d.new", cache->path, (int)getpid());
    // "x": never through a link that somebody has put there; what a killed process left goes first.
    (void)unlink(temporary);
    file = fopen(temporary, "wbxe");
    ok = file && write_all(cache, file);
    if (file && fclose(file) != 0)
        ok = false;
    if (ok)
        ok = rename(temporary, cache->path) == 0;
    cache->changed = false; // written, or not to be had: either way no second try
    if (!ok) {
        note(cache, strerror(errno));
        cache->changed = false;
        if (file)
            unlink(temporary);
    }
    free(temporary);
}

int ls_cuda_cache_count(const struct ls_cuda_cache *cache)
{
    return cache->count;
}

const char *ls_cuda_cache_note(const struct ls_cuda_cache *cache)
{
    return cache->note;
}
