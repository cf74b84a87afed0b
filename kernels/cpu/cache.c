// SPDX-License-Identifier: Apache-2.0
// A hash table from keys to records, chained by index, and a hand that goes round in search of one
// to reuse (cache.h). Any thread: a lock is held for the book-keeping, not while records are read
// or written.
#include "cache.h"

#include <pthread.h>
#include <stdlib.h>

enum {
    NONE = -1,
    // A record is old when it was not used during so many times as many faces as there are records.
    AGE = 4,
    LOOKS = 8, // records that the hand looks at for each new face
    RECORDS_MAX = 1 << 20,
};

struct entry {
    uint64_t key; // 0: none
    int64_t used; // the clock at its last use
    int chain;    // next record of the same bucket
    int users;
    bool known;
};

struct ls_cpu_cache {
    pthread_mutex_t lock;
    char *memory;
    size_t record_size;
    struct entry *entry; // [count]
    int *bucket;         // [bucket_mask + 1]: first record of each
    int count, hand;
    unsigned bucket_mask;
    int64_t clock; // faces asked for
};

int ls_cpu_cache_new(struct ls_cpu_cache **out, int64_t bytes, size_t record_size,
                     struct ls_err *err)
{
    int64_t count = record_size > 0 ? bytes / (int64_t)record_size : 0;
    struct ls_cpu_cache *c;
    unsigned buckets = 1;

    *out = NULL;
    if (count < 1)
        return LS_OK;
    count = count < RECORDS_MAX ? count : RECORDS_MAX;
    c = calloc(1, sizeof *c);
    if (!c)
        return ls_fail(err, LS_ENOMEM, "no memory for known faces");
    while (buckets < (unsigned)count)
        buckets *= 2;
    pthread_mutex_init(&c->lock, NULL);
    c->memory = aligned_alloc(64, (size_t)count * record_size);
    c->entry = calloc((size_t)count, sizeof *c->entry);
    c->bucket = malloc(buckets * sizeof *c->bucket);
    if (!c->memory || !c->entry || !c->bucket) {
        ls_cpu_cache_free(&c);
        return ls_fail(err, LS_ENOMEM, "no memory for %lld known faces of %zu bytes",
                       (long long)count, record_size);
    }
    for (unsigned i = 0; i < buckets; i++)
        c->bucket[i] = NONE;
    c->record_size = record_size;
    c->count = (int)count;
    c->bucket_mask = buckets - 1;
    *out = c;
    return LS_OK;
}

void ls_cpu_cache_free(struct ls_cpu_cache **cache)
{
    struct ls_cpu_cache *c = cache ? *cache : NULL;

    if (!c)
        return;
    pthread_mutex_destroy(&c->lock);
    free(c->memory);
    free(c->entry);
    free(c->bucket);
    free(c);
    *cache = NULL;
}

static int *bucket_of(struct ls_cpu_cache *c, uint64_t key)
{
    return &c->bucket[(key * 0x9e3779b97f4a7c15u >> 32) & c->bucket_mask];
}

static void forget(struct ls_cpu_cache *c, int idx)
{
    struct entry *e = &c->entry[idx];
    int *at = bucket_of(c, e->key);

    if (!e->key)
        return;
    while (*at != idx)
        at = &c->entry[*at].chain;
    *at = e->chain;
    e->key = 0;
    e->known = false;
}

static int find_old(struct ls_cpu_cache *c)
{
    for (int i = 0; i < LOOKS && i < c->count; i++) {
        int idx = c->hand;
        const struct entry *e = &c->entry[idx];

        if (e->users == 0 && (!e->key || c->clock - e->used > (int64_t)AGE * c->count)) {
            c->hand = (c->hand + 1) % c->count;
            return idx;
        }
        c->hand = (c->hand + 1) % c->count;
    }
    return NONE;
}

static int take(struct ls_cpu_cache *c, uint64_t key, bool *known)
{
    int idx = *bucket_of(c, key);

    c->clock++;
    while (idx != NONE && c->entry[idx].key != key)
        idx = c->entry[idx].chain;
    *known = idx != NONE;
    if (idx != NONE && !c->entry[idx].known)
        return NONE; // another lane is at it
    if (idx == NONE) {
        idx = find_old(c);
        if (idx == NONE)
            return NONE;
        forget(c, idx);
        c->entry[idx].key = key;
        c->entry[idx].chain = *bucket_of(c, key);
        *bucket_of(c, key) = idx;
    }
    c->entry[idx].used = c->clock;
    c->entry[idx].users++;
    return idx;
}

struct ls_dnn_record ls_cpu_cache_take(struct ls_cpu_cache *cache, uint64_t key)
{
    struct ls_dnn_record record = {NULL, false};
    int idx;

    if (!cache || !key)
        return record;
    pthread_mutex_lock(&cache->lock);
    idx = take(cache, key, &record.known);
    pthread_mutex_unlock(&cache->lock);
    if (idx == NONE)
        record.known = false;
    else
        record.at = cache->memory + (size_t)idx * cache->record_size;
    return record;
}

void ls_cpu_cache_give(struct ls_cpu_cache *cache, const struct ls_dnn_record *record)
{
    struct entry *e;

    if (!cache || !record->at)
        return;
    pthread_mutex_lock(&cache->lock);
    e = &cache->entry[(size_t)(record->at - cache->memory) / cache->record_size];
    e->users--;
    if (record->known)
        e->known = true;
    else if (!e->known && e->users == 0)
        forget(cache, (int)(e - cache->entry)); // its item was let go of half way
    pthread_mutex_unlock(&cache->lock);
}
