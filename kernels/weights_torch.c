// SPDX-License-Identifier: Apache-2.0
// Reads PyTorch's legacy stream (torch 1.1, the original's checkpoints): three pickles of preamble,
// one of the checkpoint, one with the storages' keys, then each storage as a count of eight bytes
// and its values. And turns what the pickle machine built into tensors, for this stream and for zip
// archives. Once, at start-up, on one thread.
#include "weights_torch.h"

#include <stdlib.h>
#include <string.h>

static int by_key(const struct ls_pickle_storage *a, const struct ls_pickle_storage *b)
{
    size_t n = a->key.size < b->key.size ? a->key.size : b->key.size;
    int c = n ? memcmp(a->key.at, b->key.at, n) : 0;

    return c ? c : (a->key.size > b->key.size) - (a->key.size < b->key.size);
}

static int by_key_of(const void *a, const void *b)
{
    return by_key(*(struct ls_pickle_storage *const *)a, *(struct ls_pickle_storage *const *)b);
}

int64_t ls_torch_storage_size(const struct ls_pickle_storage *s)
{
    return s->count > INT64_MAX / ls_dtype_size[s->dtype] ? INT64_MAX
                                                          : s->count * ls_dtype_size[s->dtype];
}

// Row-major and without gaps? The stride of a dimension of 1 means nothing.
static bool is_dense(const struct ls_pickle *p, const struct ls_tensor *t, uint32_t stride)
{
    int64_t want = 1;

    for (int i = t->dim_count; i-- > 0;) {
        uint32_t v = ls_pickle_item(p, stride, (uint32_t)i);

        if (!ls_pickle_is(p, v, LS_PICKLE_INTEGER) ||
            (t->dim[i] != 1 && p->value[v].as.integer != want))
            return false;
        want *= t->dim[i];
    }
    return true;
}

// Fills t from a tensor value; every number is checked against the storage.
static int shape_tensor(const struct ls_pickle *p, const struct ls_pickle_value *v,
                        struct ls_span name, struct ls_tensor *t, struct ls_err *err)
{
    const struct ls_pickle_storage *s = &p->storage[v->as.tensor.storage];
    int64_t offset = p->value[v->as.tensor.offset].as.integer, size = 1;
    uint32_t dims = p->value[v->as.tensor.size].as.items.count;
    char text[64];

    ls_pickle_text(text, name);
    if (dims > 4)
        return ls_fail(err, LS_EMODEL, "tensor \"%s\" has %u dimensions; at most 4 are known", text,
                       dims);
    t->dim_count = (int)dims;
    t->dtype = s->dtype;
    for (uint32_t i = 0; i < dims; i++) {
        uint32_t d = ls_pickle_item(p, v->as.tensor.size, i);

        if (!ls_pickle_is(p, d, LS_PICKLE_INTEGER) || p->value[d].as.integer < 1 ||
            p->value[d].as.integer > s->count / size)
            return ls_fail(err, LS_EMODEL,
                           "tensor \"%s\" is larger than its storage of %lld values", text,
                           (long long)s->count);
        t->dim[i] = p->value[d].as.integer;
        size *= t->dim[i];
    }
    if (offset < 0 || offset > s->count - size)
        return ls_fail(err, LS_EMODEL, "tensor \"%s\" sticks out of its storage of %lld values",
                       text, (long long)s->count);
    if (p->value[v->as.tensor.stride].as.items.count != dims ||
        !is_dense(p, t, v->as.tensor.stride))
        return ls_fail(err, LS_EMODEL, "tensor \"%s\" is not contiguous", text);
    if (!s->data)
        return ls_fail(err, LS_EMODEL, "tensor \"%s\": its storage \"%s\" is not in the file", text,
                       ls_pickle_text((char[64]){0}, s->key));
    t->data = s->data + offset * ls_dtype_size[s->dtype];
    return 0;
}

int ls_torch_collect(struct ls_weights *w, const struct ls_pickle *p, uint32_t top,
                     struct ls_err *err)
{
    uint32_t inner = ls_pickle_get(p, top, "state_dict");
    uint32_t dict = ls_pickle_is(p, inner, LS_PICKLE_DICT) ? inner : top;
    uint32_t cell;

    if (!ls_pickle_is(p, dict, LS_PICKLE_DICT))
        return ls_fail(err, LS_EMODEL, "the checkpoint is not a dict");
    for (cell = p->value[dict].as.items.first; cell != LS_PICKLE_NONE; cell = p->cell[cell].next) {
        const struct ls_pickle_value *key = &p->value[p->cell[cell].key];
        const struct ls_pickle_value *value = &p->value[p->cell[cell].value];
        struct ls_tensor t = {0};
        int r;

        if (key->kind != LS_PICKLE_STRING || value->kind != LS_PICKLE_TENSOR)
            continue; // a training script's own counters and options
        r = shape_tensor(p, value, key->as.text, &t, err);
        if (r == 0)
            r = ls_weights_put(w, key->as.text, &t,
                               (size_t)ls_tensor_size(&t) * ls_dtype_size[t.dtype], err);
        if (r < 0)
            return r;
    }
    return 0;
}

// The preamble's two numbers and its dict of machine facts.
static int read_preamble(struct ls_pickle *p, struct ls_err *err)
{
    // torch.serialization.MAGIC_NUMBER, as LONG1 between PROTO and STOP
    static const uint8_t magic[15] = {0x80, 2,    0x8a, 10,   0x6c, 0xfc, 0x9c, 0x46,
                                      0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19, '.'};
    uint32_t v = LS_PICKLE_NONE;
    int r;

    if (p->in.size < sizeof magic || memcmp(p->in.at, magic, sizeof magic))
        return ls_fail(err, LS_EMODEL, "a pickle, but not one of torch.save");
    p->at = sizeof magic;
    r = ls_pickle_run(p, &v);
    if (r < 0)
        return r;
    if (!ls_pickle_is(p, v, LS_PICKLE_INTEGER) || p->value[v].as.integer != 1001)
        return ls_fail(err, LS_EMODEL, "a torch stream of another version than 1001");
    r = ls_pickle_run(p, &v);
    if (r < 0)
        return r;
    if (!ls_pickle_is(p, ls_pickle_get(p, v, "little_endian"), LS_PICKLE_TRUE))
        return ls_fail(err, LS_EMODEL, "a torch stream that is not little-endian");
    return 0;
}

// The storages, sorted by key: one key may have been named many times, and then means one thing.
static int sort_storages(struct ls_pickle *p, struct ls_pickle_storage ***out, struct ls_err *err)
{
    uint32_t n = p->storages.count;
    struct ls_pickle_storage **sorted = malloc((n + 1) * sizeof *sorted);

    if (!sorted)
        return ls_fail(err, LS_ENOMEM, "no memory for %u storages", n);
    for (uint32_t i = 0; i < n; i++)
        sorted[i] = &p->storage[i];
    qsort(sorted, n, sizeof *sorted, by_key_of);
    for (uint32_t i = 1; i < n; i++) {
        const struct ls_pickle_storage *a = sorted[i - 1], *b = sorted[i];

        if (by_key(a, b) == 0 && (a->dtype != b->dtype || a->count != b->count)) {
            free(sorted);
            return ls_fail(err, LS_EMODEL, "storage \"%s\" has two types or sizes",
                           ls_pickle_text((char[64]){0}, b->key));
        }
    }
    *out = sorted;
    return 0;
}

// First of the sorted storages with this key, or n.
static uint32_t find_storage(struct ls_pickle_storage *const *sorted, uint32_t n,
                             struct ls_span key)
{
    const struct ls_pickle_storage wanted = {.key = key};
    uint32_t low = 0, high = n;

    while (low < high) {
        uint32_t mid = low + (high - low) / 2;

        if (by_key(sorted[mid], &wanted) < 0)
            low = mid + 1;
        else
            high = mid;
    }
    return low < n && by_key(sorted[low], &wanted) == 0 ? low : n;
}

// One storage of the stream's tail: its values are at p->at.
static int read_storage(struct ls_pickle *p, struct ls_pickle_storage **sorted, struct ls_span key,
                        struct ls_err *err)
{
    uint32_t n = p->storages.count, i = find_storage(sorted, n, key);
    struct ls_pickle_storage *s = i < n ? sorted[i] : NULL;
    size_t left = p->in.size - p->at;
    uint64_t count = 0;
    char text[64];
    int64_t size;

    ls_pickle_text(text, key);
    if (!s || s->data)
        return ls_fail(err, LS_EMODEL, "storage \"%s\" is %s", text,
                       s ? "listed twice" : "of no tensor");
    size = ls_torch_storage_size(s);
    if (left < 8 || (uint64_t)size > left - 8)
        return ls_fail(err, LS_EMODEL, "storage \"%s\" needs %lld bytes, the file ends before",
                       text, (long long)size);
    for (int k = 7; k >= 0; k--)
        count = count << 8 | p->in.at[p->at + (size_t)k];
    if (count != (uint64_t)s->count)
        return ls_fail(err, LS_EMODEL, "storage \"%s\" has %llu values, should have %lld", text,
                       (unsigned long long)count, (long long)s->count);
    for (; i < n && by_key(sorted[i], s) == 0; i++)
        sorted[i]->data = p->in.at + p->at + 8;
    p->at += 8 + (size_t)size;
    return 0;
}

int ls_weights_read_torch_legacy(struct ls_weights *w, struct ls_span file, struct ls_err *err)
{
    struct ls_pickle p = {.in = file, .err = err};
    struct ls_pickle_storage **sorted = NULL;
    uint32_t top = LS_PICKLE_NONE, keys = LS_PICKLE_NONE, cell;
    int r = read_preamble(&p, err);

    if (r == 0)
        r = ls_pickle_run(&p, &top);
    if (r == 0)
        r = ls_pickle_run(&p, &keys);
    if (r == 0 && !ls_pickle_is(&p, keys, LS_PICKLE_LIST))
        r = ls_fail(err, LS_EMODEL, "no list of storages after the checkpoint");
    if (r == 0)
        r = sort_storages(&p, &sorted, err);
    if (r < 0)
        goto done;
    for (cell = p.value[keys].as.items.first; cell != LS_PICKLE_NONE; cell = p.cell[cell].next) {
        const struct ls_pickle_value *key = &p.value[p.cell[cell].value];

        r = key->kind == LS_PICKLE_STRING
                ? read_storage(&p, sorted, key->as.text, err)
                : ls_fail(err, LS_EMODEL, "a storage's key is not a string");
        if (r < 0)
            goto done;
    }
    r = ls_torch_collect(w, &p, top, err);
done:
    free(sorted);
    ls_pickle_done(&p);
    return r;
}
