// SPDX-License-Identifier: Apache-2.0
// The set of tensors: maps the file, asks the reader of its format to fill the set, finds tensors
// by name and converts their values. Format by content: a zip archive and a pickle have magic
// numbers, a safetensors file has '{' after its length, an onnx file starts with its field
// ir_version. Read only once open, so any thread may look things up. Values are not aligned in any
// of these formats: they are only ever read with memcpy.
#include "weights_set.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILE_SIZE_MAX (4ll << 30)

const uint8_t ls_dtype_size[LS_DTYPES] = {[LS_F32] = 4, [LS_F16] = 2, [LS_BF16] = 2, [LS_F64] = 8,
                                          [LS_I64] = 8, [LS_I32] = 4, [LS_U8] = 1};

int ls_weights_new(struct ls_weights **out, struct ls_err *err)
{
    struct ls_weights *w = calloc(1, sizeof *w);

    if (!w)
        return ls_fail(err, LS_ENOMEM, "no memory for a set of weights");
    *out = w;
    return 0;
}

void ls_weights_close(struct ls_weights **w)
{
    struct ls_weights *s;

    if (!w || !*w)
        return;
    s = *w;
    for (int i = 0; i < s->count; i++)
        free((char *)s->tensor[i].name);
    for (int i = 0; i < s->meta_count; i++) {
        free(s->meta[i].key);
        free(s->meta[i].value);
    }
    for (int i = 0; i < s->owned_count; i++)
        free(s->owned[i]);
    free(s->tensor);
    free(s->by_name);
    free(s->meta);
    free(s->owned);
    if (s->map)
        munmap(s->map, s->map_size);
    free(s);
    *w = NULL;
}

void ls_weights_rest(const struct ls_weights *w)
{
    if (w->map)
        madvise(w->map, w->map_size, MADV_DONTNEED); // private and never written: read anew
}

int ls_weights_own(struct ls_weights *w, void *block, struct ls_err *err)
{
    if (w->owned_count == w->owned_room) {
        int room = w->owned_room ? 2 * w->owned_room : 16;
        void **grown = realloc(w->owned, (size_t)room * sizeof *grown);

        if (!grown) {
            free(block);
            return ls_fail(err, LS_ENOMEM, "no memory for %d tensors", room);
        }
        w->owned = grown;
        w->owned_room = room;
    }
    w->owned[w->owned_count++] = block;
    return 0;
}

int ls_weights_put_meta(struct ls_weights *w, const char *key, const char *value,
                        struct ls_err *err)
{
    struct ls_meta *grown;
    struct ls_meta m;

    if (w->meta_count == LS_META_MAX)
        return ls_fail(err, LS_EMODEL, "more than %d metadata entries", LS_META_MAX);
    if (ls_weights_meta(w, key))
        return ls_fail(err, LS_EMODEL, "metadata \"%.64s\" is there twice", key);
    grown = realloc(w->meta, ((size_t)w->meta_count + 1) * sizeof *grown);
    if (!grown)
        return ls_fail(err, LS_ENOMEM, "no memory for metadata");
    w->meta = grown;
    m = (struct ls_meta){.key = strdup(key), .value = strdup(value)};
    if (!m.key || !m.value) {
        free(m.key);
        free(m.value);
        return ls_fail(err, LS_ENOMEM, "no memory for metadata");
    }
    w->meta[w->meta_count++] = m;
    return 0;
}

// Where in by_name the name is or belongs.
static int name_slot(const struct ls_weights *w, const char *name, bool *found)
{
    int low = 0, high = w->count;

    *found = false;
    while (low < high) {
        int mid = low + (high - low) / 2;
        int c = strcmp(w->tensor[w->by_name[mid]].name, name);

        if (c == 0) {
            *found = true;
            return mid;
        }
        if (c < 0)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

static int make_room(struct ls_weights *w, struct ls_err *err)
{
    int room = w->room ? 2 * w->room : 64;
    struct ls_tensor *tensor;
    int *by_name;

    if (w->count == LS_TENSORS_MAX)
        return ls_fail(err, LS_EMODEL, "more than %d tensors", LS_TENSORS_MAX);
    if (w->count < w->room)
        return 0;
    tensor = realloc(w->tensor, (size_t)room * sizeof *tensor);
    if (tensor)
        w->tensor = tensor;
    by_name = realloc(w->by_name, (size_t)room * sizeof *by_name);
    if (by_name)
        w->by_name = by_name;
    if (!tensor || !by_name)
        return ls_fail(err, LS_ENOMEM, "no memory for %d tensors", room);
    w->room = room;
    return 0;
}

// The shape must be sane and need exactly value_size bytes.
static int check_shape(const char *name, const struct ls_tensor *t, size_t value_size,
                       struct ls_err *err)
{
    uint64_t size = ls_dtype_size[t->dtype];

    if (t->dim_count < 0 || t->dim_count > 4)
        return ls_fail(err, LS_EMODEL, "tensor \"%s\" has %d dimensions; at most 4 are known", name,
                       t->dim_count);
    for (int i = 0; i < t->dim_count; i++) {
        if (t->dim[i] < 1 || (uint64_t)t->dim[i] > (uint64_t)FILE_SIZE_MAX * 2 / size)
            return ls_fail(err, LS_EMODEL, "tensor \"%s\": dimension %d is %lld", name, i,
                           (long long)t->dim[i]);
        size *= (uint64_t)t->dim[i];
    }
    if (size != value_size)
        return ls_fail(err, LS_EMODEL, "tensor \"%s\": its shape needs %llu bytes, it has %llu",
                       name, (unsigned long long)size, (unsigned long long)value_size);
    return 0;
}

int ls_weights_put(struct ls_weights *w, struct ls_span name, const struct ls_tensor *tensor,
                   size_t value_size, struct ls_err *err)
{
    static const char prefix[] = "module."; // of torch.nn.DataParallel
    size_t skip = sizeof prefix - 1;
    struct ls_tensor t = *tensor;
    char *copy;
    bool found;
    int slot;
    int r;

    if (name.size > skip && !memcmp(name.at, prefix, skip))
        name = (struct ls_span){name.at + skip, name.size - skip};
    if (name.size < 1 || name.size > LS_TENSOR_NAME_MAX || memchr(name.at, 0, name.size))
        return ls_fail(err, LS_EMODEL, "a tensor's name is empty, too long or has a NUL in it");
    copy = malloc(name.size + 1); // the file's name has no NUL behind it
    if (!copy)
        return ls_fail(err, LS_ENOMEM, "no memory for a tensor's name");
    memcpy(copy, name.at, name.size);
    copy[name.size] = '\0';
    r = check_shape(copy, &t, value_size, err);
    if (r < 0)
        goto done;
    r = make_room(w, err);
    if (r < 0)
        goto done;
    slot = name_slot(w, copy, &found);
    if (found) {
        r = ls_fail(err, LS_EMODEL, "tensor \"%s\" is there twice", copy);
        goto done;
    }
    memmove(w->by_name + slot + 1, w->by_name + slot, (size_t)(w->count - slot) * sizeof(int));
    w->by_name[slot] = w->count;
    t.name = copy;
    copy = NULL;
    w->tensor[w->count++] = t;
done:
    free(copy);
    return r;
}

int ls_weights_add(struct ls_weights *w, const char *name, const float *values, int dim_count,
                   const int64_t *dim, struct ls_err *err)
{
    struct ls_tensor t = {.dim_count = dim_count, .dtype = LS_F32};
    size_t size = sizeof *values;
    float *copy;
    int r;

    if (dim_count < 0 || dim_count > 4)
        return ls_fail(err, LS_EMODEL, "tensor \"%s\" has %d dimensions", name, dim_count);
    for (int i = 0; i < dim_count; i++) {
        if (dim[i] < 1 || (uint64_t)dim[i] > FILE_SIZE_MAX / size)
            return ls_fail(err, LS_EMODEL, "tensor \"%s\": dimension %d is %lld", name, i,
                           (long long)dim[i]);
        t.dim[i] = dim[i];
        size *= (size_t)dim[i];
    }
    copy = malloc(size);
    if (!copy)
        return ls_fail(err, LS_ENOMEM, "no memory for tensor \"%s\"", name);
    memcpy(copy, values, size);
    t.data = copy;
    r = ls_weights_own(w, copy, err);
    if (r < 0)
        return r;
    return ls_weights_put(w, (struct ls_span){(const uint8_t *)name, strlen(name)}, &t, size, err);
}

static int read_any(struct ls_weights *w, struct ls_span file, struct ls_err *err)
{
    static const uint8_t high[4] = {0}; // of a safetensors header's length
    const uint8_t *p = file.at;

    if (file.size < 16)
        return ls_fail(err, LS_EMODEL, "%zu bytes are too few for a checkpoint", file.size);
    if (!memcmp(p + 4, high, 4) && p[8] == '{')
        return ls_weights_read_safetensors(w, file, err);
    if (!memcmp(p, "PK\3\4", 4))
        return ls_weights_read_torch_zip(w, file, err);
    if (p[0] == 0x80) // pickle's opcode PROTO
        return ls_weights_read_torch_legacy(w, file, err);
    if (p[0] == 0x08) // protobuf: field 1, varint
        return ls_weights_read_onnx(w, file, err);
    return ls_fail(err, LS_EMODEL,
                   "neither .pth, .safetensors nor .onnx (first bytes %02x %02x %02x %02x)", p[0],
                   p[1], p[2], p[3]);
}

int ls_weights_parse(struct ls_weights **out, const void *data, size_t size, struct ls_err *err)
{
    struct ls_weights *w = NULL;
    int r = ls_weights_new(&w, err);

    if (r < 0)
        return r;
    r = read_any(w, (struct ls_span){data, size}, err);
    if (r == 0 && w->count == 0)
        r = ls_fail(err, LS_EMODEL, "no tensor in it");
    if (r < 0)
        ls_weights_close(&w);
    else
        *out = w;
    return r;
}

int ls_weights_open(struct ls_weights **out, const char *path, struct ls_err *err)
{
    struct ls_weights *w = NULL;
    void *map = MAP_FAILED;
    struct stat st;
    int r;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

    if (fd < 0)
        return ls_fail(err, LS_EMODEL, "%s: %s", path, strerror(errno));
    if (fstat(fd, &st) < 0) {
        r = ls_fail(err, LS_EMODEL, "%s: %s", path, strerror(errno));
        goto done;
    }
    if (!S_ISREG(st.st_mode) || st.st_size < 1 || st.st_size > FILE_SIZE_MAX) {
        r = ls_fail(err, LS_EMODEL, "%s: not a file of 1 byte to 4 GiB", path);
        goto done;
    }
    map = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (map == MAP_FAILED) {
        r = ls_fail(err, LS_EMODEL, "%s: %s", path, strerror(errno));
        goto done;
    }
    r = ls_weights_parse(&w, map, (size_t)st.st_size, err);
    if (r < 0) {
        ls_fail_prefix(err, "%s", path);
        munmap(map, (size_t)st.st_size);
        goto done;
    }
    w->map = map;
    w->map_size = (size_t)st.st_size;
    *out = w;
done:
    close(fd);
    return r;
}

int ls_weights_count(const struct ls_weights *w)
{
    return w->count;
}

const struct ls_tensor *ls_weights_at(const struct ls_weights *w, int idx)
{
    return &w->tensor[idx];
}

const struct ls_tensor *ls_weights_find(const struct ls_weights *w, const char *name)
{
    bool found;
    int slot = name_slot(w, name, &found);

    return found ? &w->tensor[w->by_name[slot]] : NULL;
}

const char *ls_weights_meta(const struct ls_weights *w, const char *key)
{
    for (int i = 0; i < w->meta_count; i++)
        if (!strcmp(w->meta[i].key, key))
            return w->meta[i].value;
    return NULL;
}

int64_t ls_tensor_size(const struct ls_tensor *t)
{
    int64_t size = 1;

    for (int i = 0; i < t->dim_count; i++)
        size *= t->dim[i];
    return size;
}

// IEEE 754 binary16 to binary32, subnormals, infinities and NaN included.
static float half_float(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000) << 16, exponent = h >> 10 & 31, fraction = h & 1023;
    uint32_t bits;
    float f;

    if (exponent == 0) { // fraction * 2^-24, exact in float
        f = (float)fraction * 0x1p-24f;
        return sign ? -f : f;
    }
    bits = sign | (exponent == 31 ? 255u : exponent + 112) << 23 | fraction << 13;
    memcpy(&f, &bits, sizeof f);
    return f;
}

#define READ_LOOP(type, expression)                                                                \
    for (int64_t i = 0; i < n; i++) {                                                              \
        type v;                                                                                    \
        memcpy(&v, p + (size_t)i * sizeof v, sizeof v);                                            \
        out[i] = expression;                                                                       \
    }                                                                                              \
    break

void ls_tensor_read(float *out, const struct ls_tensor *t)
{
    const uint8_t *p = t->data;
    int64_t n = ls_tensor_size(t);

    switch (t->dtype) {
    case LS_F32:
        memcpy(out, p, (size_t)n * sizeof *out);
        break;
    case LS_F16:
        READ_LOOP(uint16_t, half_float(v));
    case LS_BF16:
        for (int64_t i = 0; i < n; i++) {
            uint32_t bits = (uint32_t)p[2 * i] << 16 | (uint32_t)p[2 * i + 1] << 24;

            memcpy(out + i, &bits, sizeof *out);
        }
        break;
    case LS_F64:
        READ_LOOP(double, (float)v);
    case LS_I64:
        READ_LOOP(int64_t, (float)v);
    case LS_I32:
        READ_LOOP(int32_t, (float)v);
    case LS_U8:
        READ_LOOP(uint8_t, (float)v);
    case LS_DTYPES:
        break;
    }
}
