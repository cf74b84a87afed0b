// SPDX-License-Identifier: Apache-2.0
// Reads the initialisers of an .onnx file: a walk over protobuf's wire format through
// ModelProto.graph (7), GraphProto.initializer (5) and TensorProto; all else is skipped. The graph
// itself is not read: our tables say what to compute. Empty tensors (of optional
// inputs) are left out. Once, at start-up, on one thread.
#include <stdlib.h>
#include <string.h>

#include "weights_set.h"

enum { MODEL_GRAPH = 7, GRAPH_INITIALIZER = 5 };
enum {
    TENSOR_DIMS = 1,
    TENSOR_TYPE = 2,
    TENSOR_FLOATS = 4,
    TENSOR_INT32S = 5,
    TENSOR_INT64S = 7,
    TENSOR_NAME = 8,
    TENSOR_RAW = 9,
    TENSOR_DOUBLES = 10,
    TENSOR_EXTERNAL = 13,
    TENSOR_LOCATION = 14,
};

struct field {
    uint32_t number;
    uint32_t wire;       // 0 varint, 1 eight bytes, 2 bytes, 5 four bytes
    uint64_t value;      // of a varint
    struct ls_span data; // of the others
};

static int bad(struct ls_err *err, const char *what)
{
    return ls_fail(err, LS_EMODEL, "onnx: %s", what);
}

// Takes a varint off the front of s.
static int take_varint(struct ls_span *s, uint64_t *out, struct ls_err *err)
{
    uint64_t v = 0;

    for (unsigned shift = 0; shift < 70; shift += 7) {
        uint8_t b;

        if (s->size == 0)
            return bad(err, "the file ends in a number");
        b = *s->at;
        *s = (struct ls_span){s->at + 1, s->size - 1};
        if (shift < 64)
            v |= (uint64_t)(b & 127) << shift;
        if (b < 128) {
            *out = v;
            return 0;
        }
    }
    return bad(err, "a number is too long");
}

// Takes a field off the front of s.
static int take_field(struct ls_span *s, struct field *out, struct ls_err *err)
{
    uint64_t key = 0, size = 0;
    int r = take_varint(s, &key, err);

    if (r < 0)
        return r;
    if (key >> 3 == 0 || key >> 3 > UINT32_MAX)
        return bad(err, "a field's number is not possible");
    *out = (struct field){.number = (uint32_t)(key >> 3), .wire = key & 7};
    switch (out->wire) {
    case 0:
        return take_varint(s, &out->value, err);
    case 1:
        size = 8;
        break;
    case 2:
        r = take_varint(s, &size, err);
        break;
    case 5:
        size = 4;
        break;
    default:
        return bad(err, "a wire type is not known");
    }
    if (r < 0)
        return r;
    if (size > s->size)
        return bad(err, "a field is longer than what holds it");
    out->data = (struct ls_span){s->at, (size_t)size};
    *s = (struct ls_span){s->at + size, s->size - (size_t)size};
    return 0;
}

// One tensor as it is in the file.
struct proto {
    struct ls_tensor tensor;
    bool empty; // a dimension is 0
    uint64_t type;
    struct ls_span name, value;
    uint32_t value_field; // that value came from, 0: none yet
};

static int add_dim(struct proto *p, uint64_t v, struct ls_err *err)
{
    if (p->tensor.dim_count == 4)
        return bad(err, "a tensor has more than 4 dimensions");
    if (v > INT64_MAX)
        return bad(err, "a tensor's dimension is negative");
    p->empty |= v == 0;
    p->tensor.dim[p->tensor.dim_count++] = (int64_t)v;
    return 0;
}

static int add_dims(struct proto *p, const struct field *f, struct ls_err *err)
{
    struct ls_span packed = f->data;
    uint64_t v = 0;
    int r = 0;

    if (f->wire == 0)
        return add_dim(p, f->value, err);
    while (packed.size && r == 0) {
        r = take_varint(&packed, &v, err);
        if (r == 0)
            r = add_dim(p, v, err);
    }
    return r;
}

static int add_field(struct proto *p, const struct field *f, struct ls_err *err)
{
    switch (f->number) {
    case TENSOR_DIMS:
        return add_dims(p, f, err);
    case TENSOR_TYPE:
        p->type = f->value;
        return 0;
    case TENSOR_NAME:
        p->name = f->data;
        return 0;
    case TENSOR_RAW:
    case TENSOR_FLOATS:
    case TENSOR_DOUBLES:
    case TENSOR_INT32S:
    case TENSOR_INT64S:
        if (f->wire != 2)
            return bad(err, "a tensor's values are not packed");
        if (f->data.size == 0)
            return 0;
        if (p->value_field)
            return bad(err, "a tensor's values come in pieces");
        p->value = f->data;
        p->value_field = f->number;
        return 0;
    case TENSOR_EXTERNAL:
        return bad(err, "a tensor's values are in another file");
    case TENSOR_LOCATION:
        return f->value ? bad(err, "a tensor's values are in another file") : 0;
    default:
        return 0;
    }
}

// TensorProto.DataType to ours.
static int find_type(const struct proto *p, enum ls_dtype *out)
{
    static const struct {
        uint8_t type, dtype, field; // field: where values are if not raw; 0: raw only
    } rows[] = {
        {1, LS_F32, TENSOR_FLOATS}, {2, LS_U8, 0},   {6, LS_I32, TENSOR_INT32S},
        {7, LS_I64, TENSOR_INT64S}, {10, LS_F16, 0}, {11, LS_F64, TENSOR_DOUBLES},
        {16, LS_BF16, 0},
    };

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (rows[i].type != p->type)
            continue;
        if (p->value_field != TENSOR_RAW && p->value_field != rows[i].field)
            return -1;
        *out = (enum ls_dtype)rows[i].dtype;
        return 0;
    }
    return -1;
}

// int32_data and int64_data are varints: they are unpacked into memory that w owns.
static int unpack(struct ls_weights *w, struct proto *p, struct ls_err *err)
{
    size_t size = ls_dtype_size[p->tensor.dtype], n = 0;
    struct ls_span left = p->value;
    uint8_t *values = malloc(p->value.size * size); // a varint has at least one byte
    int r = 0;

    if (!values)
        return ls_fail(err, LS_ENOMEM, "no memory for a tensor of whole numbers");
    while (left.size && r == 0) {
        uint64_t v = 0;

        r = take_varint(&left, &v, err);
        memcpy(values + n++ * size, &v, size);
    }
    if (r < 0) {
        free(values);
        return r;
    }
    p->value = (struct ls_span){values, n * size};
    return ls_weights_own(w, values, err);
}

static int read_tensor(struct ls_weights *w, struct ls_span s, struct ls_err *err)
{
    struct proto p = {0};
    char name[64];
    size_t n;
    int r = 0;

    while (s.size && r == 0) {
        struct field f;

        r = take_field(&s, &f, err);
        if (r == 0)
            r = add_field(&p, &f, err);
    }
    n = p.name.size < sizeof name - 1 ? p.name.size : sizeof name - 1;
    for (size_t i = 0; i < n; i++)
        name[i] = p.name.at[i] >= 32 && p.name.at[i] < 127 ? (char)p.name.at[i] : '?';
    name[n] = '\0';
    if (r < 0) {
        ls_fail_prefix(err, "tensor \"%s\"", name);
        return r;
    }
    if (p.empty && !p.value_field)
        return 0;
    if (!p.value_field || find_type(&p, &p.tensor.dtype) < 0)
        return ls_fail(err, LS_EMODEL, "onnx: tensor \"%s\": values of type %llu in field %u", name,
                       (unsigned long long)p.type, p.value_field);
    if (p.value_field == TENSOR_INT32S || p.value_field == TENSOR_INT64S)
        r = unpack(w, &p, err);
    if (r < 0)
        return r;
    p.tensor.data = p.value.at;
    return ls_weights_put(w, p.name, &p.tensor, p.value.size, err);
}

// Calls read for each field of that number and of wire type 2 in s.
static int each(struct ls_weights *w, struct ls_span s, uint32_t number,
                int (*read)(struct ls_weights *w, struct ls_span s, struct ls_err *err),
                struct ls_err *err)
{
    while (s.size) {
        struct field f;
        int r = take_field(&s, &f, err);

        if (r == 0 && f.number == number && f.wire == 2)
            r = read(w, f.data, err);
        if (r < 0)
            return r;
    }
    return 0;
}

static int read_graph(struct ls_weights *w, struct ls_span s, struct ls_err *err)
{
    return each(w, s, GRAPH_INITIALIZER, read_tensor, err);
}

int ls_weights_read_onnx(struct ls_weights *w, struct ls_span file, struct ls_err *err)
{
    return each(w, file, MODEL_GRAPH, read_graph, err);
}
