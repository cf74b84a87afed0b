// SPDX-License-Identifier: Apache-2.0
// A hash table from keys to records, chained by index, and a list of the records that nobody uses,
// least recently used first. No allocation after the start. Device thread.
#include "records.h"

#include <assert.h>
#include <stdlib.h>

enum { NONE = -1 };

struct record {
    uint64_t key;      // 0: none
    int chain;         // next record of the same bucket
    int before, after; // in the list of unused ones; NONE at its ends
    int use_count;
};

struct ls_cuda_records {
    struct record *record; // [count]
    int *bucket;           // [bucket_mask + 1]: first record of each
    int count, first, last;
    unsigned bucket_mask;
};

static int *bucket_of(struct ls_cuda_records *r, uint64_t key)
{
    // Keys may be counters: their low bits alone would do, but hashes are not to be relied on.
    return &r->bucket[(key * 0x9e3779b97f4a7c15u >> 32) & r->bucket_mask];
}

static void list_remove(struct ls_cuda_records *r, int idx)
{
    struct record *e = &r->record[idx];

    *(e->before == NONE ? &r->first : &r->record[e->before].after) = e->after;
    *(e->after == NONE ? &r->last : &r->record[e->after].before) = e->before;
}

// Behind `before`, or first.
static void list_insert(struct ls_cuda_records *r, int idx, int before)
{
    struct record *e = &r->record[idx];

    e->before = before;
    e->after = before == NONE ? r->first : r->record[before].after;
    *(e->before == NONE ? &r->first : &r->record[e->before].after) = idx;
    *(e->after == NONE ? &r->last : &r->record[e->after].before) = idx;
}

int ls_cuda_records_new(struct ls_cuda_records **out, int count, struct ls_err *err)
{
    struct ls_cuda_records *r = calloc(1, sizeof *r);
    unsigned buckets = 1;

    assert(count >= 1);
    while (buckets < (unsigned)count)
        buckets *= 2;
    if (r) {
        r->record = malloc((size_t)count * sizeof *r->record);
        r->bucket = malloc(buckets * sizeof *r->bucket);
    }
    if (!r || !r->record || !r->bucket) {
        ls_cuda_records_free(&r);
        return ls_fail(err, LS_ENOMEM, "no memory for %d records of faces", count);
    }
    r->count = count;
    r->bucket_mask = buckets - 1;
    r->first = r->last = NONE;
    for (unsigned i = 0; i < buckets; i++)
        r->bucket[i] = NONE;
    for (int i = 0; i < count; i++) {
        r->record[i] = (struct record){.chain = NONE};
        list_insert(r, i, r->last);
    }
    *out = r;
    return LS_OK;
}

void ls_cuda_records_free(struct ls_cuda_records **records)
{
    if (!records || !*records)
        return;
    free((*records)->record);
    free((*records)->bucket);
    free(*records);
    *records = NULL;
}

static int find(struct ls_cuda_records *r, uint64_t key)
{
    int idx = *bucket_of(r, key);

    while (idx != NONE && r->record[idx].key != key)
        idx = r->record[idx].chain;
    return idx;
}

void ls_cuda_records_forget(struct ls_cuda_records *r, int idx)
{
    struct record *e = &r->record[idx];
    int *at;

    if (!e->key)
        return;
    for (at = bucket_of(r, e->key); *at != idx; at = &r->record[*at].chain)
        assert(*at != NONE);
    *at = e->chain;
    e->key = 0;
}

int ls_cuda_records_take(struct ls_cuda_records *r, bool *known, uint64_t key)
{
    int idx = key ? find(r, key) : NONE;
    struct record *e;

    *known = idx != NONE;
    if (!*known) {
        idx = r->first;
        assert(idx != NONE); // the owner has made enough
        ls_cuda_records_forget(r, idx);
    }
    e = &r->record[idx];
    if (e->use_count++ == 0)
        list_remove(r, idx);
    if (!*known && key) {
        e->key = key;
        e->chain = *bucket_of(r, key);
        *bucket_of(r, key) = idx;
    }
    return idx;
}

void ls_cuda_records_give(struct ls_cuda_records *r, int idx)
{
    struct record *e = &r->record[idx];

    assert(e->use_count > 0);
    if (--e->use_count == 0)
        list_insert(r, idx, e->key ? r->last : NONE);
}
