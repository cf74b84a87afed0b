// SPDX-License-Identifier: Apache-2.0
// The file in which a device's plans are kept: what was put is found again, by the same key alone;
// a file with any byte changed, cut off anywhere or made by somebody else gives what was put or
// nothing, never something else, and the next save puts it right.
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

// A part of the CUDA module that needs nothing of CUDA.
#include "kernels/cuda/graph_cache.c"
#include "tests/unit/_check.h"

static char dir[] = "/tmp/ls_plan_cache_XXXXXX";
static char file_path[64];

static const struct {
    const char *name, *data;
    size_t size;
} entries[] = {
    {"one", "a plan", 6},
    {"two", "", 0},
    {"three with a longer name", "bytes \0 with a zero", 19},
};
enum { ENTRIES = sizeof entries / sizeof entries[0] };

static struct ls_cuda_cache *open_cache(const char *path, const char *key)
{
    struct ls_cuda_cache *cache = NULL;
    struct ls_err err = {0};

    if (!CHECK(ls_cuda_cache_open(&cache, path, key, &err) == 0, "open"))
        exit(1);
    return cache;
}

// How many of the entries are there; -1 if one is there with other bytes.
static int found(struct ls_cuda_cache *cache)
{
    int count = 0;

    for (int i = 0; i < ENTRIES; i++) {
        void *data = NULL;
        size_t size = 0;

        if (!ls_cuda_cache_get(cache, entries[i].name, &data, &size))
            continue;
        count += count < 0 || size != entries[i].size || memcmp(data, entries[i].data, size) != 0
                     ? -ENTRIES - 1
                     : 1;
        free(data);
    }
    return count < 0 ? -1 : count;
}

static void write_file(const unsigned char *data, size_t size)
{
    FILE *file = fopen(file_path, "wb");

    if (!file || fwrite(data, 1, size, file) != size)
        exit(1);
    fclose(file);
}

static size_t read_file(unsigned char *data, size_t max)
{
    FILE *file = fopen(file_path, "rb");
    size_t size = file ? fread(data, 1, max, file) : 0;

    if (file)
        fclose(file);
    return size;
}

static void fill(const char *key)
{
    struct ls_cuda_cache *cache = open_cache(file_path, key);

    for (int i = 0; i < ENTRIES; i++)
        ls_cuda_cache_put(cache, entries[i].name, entries[i].data, entries[i].size);
    CHECK(found(cache) == ENTRIES, "before it is saved");
    ls_cuda_cache_save(cache);
    CHECK(found(cache) == ENTRIES, "after it is saved");
    CHECK(!*ls_cuda_cache_note(cache), "fill");
    ls_cuda_cache_close(&cache);
}

static void check_whole(void)
{
    unsigned char before[4096], after[4096];
    struct ls_cuda_cache *cache;
    void *data;
    size_t size, again;

    fill("key");
    size = read_file(before, sizeof before);
    cache = open_cache(file_path, "key");
    CHECK(found(cache) == ENTRIES && !*ls_cuda_cache_note(cache), "read back");
    CHECK(!ls_cuda_cache_get(cache, "four", &data, &again), "an unknown name");
    ls_cuda_cache_save(cache);
    CHECK(read_file(after, sizeof after) == size && !memcmp(before, after, size), "nothing put");
    ls_cuda_cache_put(cache, "one", "another", 7);
    ls_cuda_cache_put(cache, "", "no name", 7);
    ls_cuda_cache_save(cache);
    ls_cuda_cache_close(&cache);
    cache = open_cache(file_path, "key");
    CHECK(ls_cuda_cache_get(cache, "one", &data, &again) && again == 7 && !strcmp(data, "another"),
          "put again");
    free(data);
    CHECK(found(cache) == -1, "put again");
    ls_cuda_cache_close(&cache);
}

static void check_key(void)
{
    struct ls_cuda_cache *cache;

    fill("key");
    for (int i = 0; i < 3; i++) {
        static const char *const keys[] = {"kez", "key ", "ke"};

        cache = open_cache(file_path, keys[i]);
        CHECK(found(cache) == 0, keys[i]);
        CHECK(strstr(ls_cuda_cache_note(cache), "another device"), keys[i]);
        ls_cuda_cache_close(&cache);
    }
    cache = open_cache(file_path, "key");
    CHECK(found(cache) == ENTRIES, "a foreign key wrote nothing");
    ls_cuda_cache_close(&cache);
    cache = open_cache(file_path, "other");
    ls_cuda_cache_save(cache);
    ls_cuda_cache_close(&cache);
    cache = open_cache(file_path, "other");
    CHECK(found(cache) == 0 && !*ls_cuda_cache_note(cache), "written anew");
    ls_cuda_cache_close(&cache);
}

// Opens what is on the disk now, saves, opens again: then all must be well.
static int found_and_repaired(const char *row)
{
    struct ls_cuda_cache *cache = open_cache(file_path, "key");
    int count = found(cache), again;

    CHECK(count >= 0, row);
    CHECK(count == ENTRIES || *ls_cuda_cache_note(cache), row);
    ls_cuda_cache_save(cache);
    ls_cuda_cache_close(&cache);
    cache = open_cache(file_path, "key");
    again = found(cache);
    CHECK(again == count && !*ls_cuda_cache_note(cache), row);
    ls_cuda_cache_close(&cache);
    return count;
}

static void check_damage(void)
{
    unsigned char whole[4096], bad[4096];
    char row[64];
    size_t size;

    unlink(file_path);
    fill("key");
    size = read_file(whole, sizeof whole);
    for (size_t at = 0; at < size; at++)
        for (int bit = 0; bit < 8; bit += 7) {
            memcpy(bad, whole, size);
            bad[at] ^= (unsigned char)(1 << bit);
            write_file(bad, size);
            snprintf(row, sizeof row, "bit %d of byte %zu of %zu", bit, at, size);
            CHECK(found_and_repaired(row) < ENTRIES, row);
        }
    for (size_t cut = 0; cut < size; cut++) {
        write_file(whole, cut);
        snprintf(row, sizeof row, "cut off at %zu", cut);
        CHECK(found_and_repaired(row) < ENTRIES, row);
    }
    memcpy(bad, whole, size);
    memcpy(bad + size, "tail", 4);
    write_file(bad, size + 4);
    found_and_repaired("a tail");
}

// Lengths with right checksums that the file does not have, or that nobody wants.
static void check_lengths(void)
{
    static const struct {
        const char *name;
        uint32_t name_size, data_size;
    } rows[] = {
        {"data behind the end", 1, 100},
        {"much data", 1, LS_CUDA_CACHE_ENTRY_SIZE_MAX},
        {"too much data", 1, LS_CUDA_CACHE_ENTRY_SIZE_MAX + 1},
        {"most data", 1, UINT32_MAX},
        {"no name", 0, 0},
        {"a long name", LS_CUDA_CACHE_NAME_MAX + 1, 0},
        {"the longest name", UINT32_MAX, 0},
    };
    static unsigned char data[4096];
    size_t size;

    unlink(file_path);
    fill("key");
    size = read_file(data, sizeof data);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct head h = {.name_size = rows[i].name_size, .data_size = rows[i].data_size};
        unsigned char bad[8192] = {0};
        size_t end = size - HEAD_SIZE; // where the last record was

        // What follows is zeros; the checksum covers as many as the name is said to have.
        h.checksum = h.name_size < 1024 ? checksum_of(checksum(&h, offsetof(struct head, checksum)),
                                                      bad, h.name_size)
                                        : 0;
        memcpy(bad, data, end);
        memcpy(bad + end, &h, sizeof h);
        write_file(bad, end + sizeof h + 16);
        found_and_repaired(rows[i].name);
    }
}

static void check_places(void)
{
    struct ls_cuda_cache *cache = open_cache(NULL, "key");
    char place[96];

    ls_cuda_cache_put(cache, "one", "x", 1);
    CHECK(found(cache) == 0, "no file");
    ls_cuda_cache_save(cache);
    CHECK(!*ls_cuda_cache_note(cache), "no file");
    ls_cuda_cache_close(&cache);

    cache = open_cache(dir, "key"); // a folder
    CHECK(found(cache) == 0 && *ls_cuda_cache_note(cache), "a folder");
    ls_cuda_cache_save(cache);
    ls_cuda_cache_close(&cache);

    snprintf(place, sizeof place, "%s/none/file", dir);
    cache = open_cache(place, "key");
    CHECK(!*ls_cuda_cache_note(cache), "no folder: nothing to read");
    ls_cuda_cache_put(cache, "one", "x", 1);
    ls_cuda_cache_save(cache);
    CHECK(strstr(ls_cuda_cache_note(cache), "No such file"), "no folder: nothing is written");
    ls_cuda_cache_close(&cache);

    snprintf(place, sizeof place, "%s/pipe", dir);
    CHECK(mkfifo(place, 0600) == 0, "a pipe");
    cache = open_cache(place, "key");
    CHECK(found(cache) == 0 && *ls_cuda_cache_note(cache), "a pipe");
    ls_cuda_cache_close(&cache);
    unlink(place);
}

int main(void)
{
    if (!mkdtemp(dir))
        return 1;
    snprintf(file_path, sizeof file_path, "%s/plans", dir);
    check_whole();
    check_key();
    check_damage();
    check_lengths();
    check_places();
    unlink(file_path);
    CHECK(rmdir(dir) == 0, "nothing is left behind");
    return check_done();
}
