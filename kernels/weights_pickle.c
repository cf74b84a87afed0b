// SPDX-License-Identifier: Apache-2.0
// The pickle machine: a stack, a memo and a table of the opcodes that torch.save uses (protocol 2,
// whose meaning is documented in CPython's pickletools). An opcode that is not in the table, and a
// global that is not in the list, is an error that names it. See weights_pickle.h.
#include "weights_pickle.h"

#include <stdlib.h>
#include <string.h>

enum { STORAGES_MAX = 65536, GLOBAL_NAME_MAX = 128 };

enum global { ORDERED_DICT, REBUILD_TENSOR, REBUILD_PARAMETER, FIRST_STORAGE };

// Storage classes come last, in the order of enum ls_dtype.
static const char *const globals[] = {
    "collections OrderedDict",
    "torch._utils _rebuild_tensor_v2",
    "torch._utils _rebuild_parameter",
    "torch FloatStorage",
    "torch HalfStorage",
    "torch BFloat16Storage",
    "torch DoubleStorage",
    "torch LongStorage",
    "torch IntStorage",
    "torch ByteStorage",
};
enum { GLOBALS = sizeof globals / sizeof globals[0] };

const char *ls_pickle_text(char text[64], struct ls_span s)
{
    size_t n = s.size < 63 ? s.size : 63;

    for (size_t i = 0; i < n; i++)
        text[i] = s.at[i] >= 32 && s.at[i] < 127 ? (char)s.at[i] : '?';
    text[n] = '\0';
    return text;
}

static int bad(struct ls_pickle *p, const char *what)
{
    return ls_fail(p->err, LS_EMODEL, "pickle, byte %zu: %s", p->at, what);
}

// Makes room for one more; *array is of items of `size` bytes.
static int grow(struct ls_pickle *p, void *array, struct ls_pickle_list *list, size_t size,
                uint32_t max)
{
    uint32_t room = list->room ? 2 * list->room : 256;
    void *old, *grown;

    if (list->count < list->room)
        return 0;
    if (list->count >= max)
        return bad(p, "too many values");
    memcpy(&old, array, sizeof old);
    grown = realloc(old, room * size);
    if (!grown)
        return ls_fail(p->err, LS_ENOMEM, "no memory for a pickle of %u values", room);
    memcpy(array, &grown, sizeof grown);
    list->room = room;
    return 0;
}

// The next n bytes, or NULL with the error set.
static const uint8_t *next(struct ls_pickle *p, size_t n)
{
    const uint8_t *at = p->in.at + p->at;

    if (n > p->in.size - p->at) {
        (void)bad(p, "the file ends here");
        return NULL;
    }
    p->at += n;
    return at;
}

// A little-endian number of n <= 8 bytes, not extended.
static int next_number(struct ls_pickle *p, size_t n, uint64_t *out)
{
    const uint8_t *b = next(p, n);
    uint64_t v = 0;

    if (!b)
        return LS_EMODEL;
    for (size_t i = n; i-- > 0;)
        v = v << 8 | b[i];
    *out = v;
    return 0;
}

static int push(struct ls_pickle *p, uint32_t value)
{
    int r = grow(p, &p->stack, &p->stacks, sizeof *p->stack, LS_PICKLE_VALUES_MAX);

    if (r == 0)
        p->stack[p->stacks.count++] = value;
    return r;
}

static int push_value(struct ls_pickle *p, struct ls_pickle_value v)
{
    int r = grow(p, &p->value, &p->values, sizeof *p->value, LS_PICKLE_VALUES_MAX);

    if (r < 0)
        return r;
    p->value[p->values.count] = v;
    return push(p, p->values.count++);
}

static int push_container(struct ls_pickle *p, enum ls_pickle_kind kind)
{
    return push_value(
        p, (struct ls_pickle_value){kind, {.items = {LS_PICKLE_NONE, LS_PICKLE_NONE, 0}}});
}

static int pop(struct ls_pickle *p, uint32_t *out)
{
    if (p->stacks.count == 0 || p->stack[p->stacks.count - 1] == LS_PICKLE_NONE)
        return bad(p, "nothing on the stack");
    *out = p->stack[--p->stacks.count];
    return 0;
}

// The top of the stack, which must be of that kind; it stays there.
static int top(struct ls_pickle *p, enum ls_pickle_kind kind, uint32_t *out)
{
    uint32_t v = 0;
    int r = pop(p, &v);

    if (r < 0)
        return r;
    p->stacks.count++;
    if (p->value[v].kind != kind)
        return bad(p, "another kind of value should be on the stack");
    *out = v;
    return 0;
}

// The position on the stack after the last mark.
static int find_mark(struct ls_pickle *p, uint32_t *out)
{
    for (uint32_t i = p->stacks.count; i-- > 0;) {
        if (p->stack[i] == LS_PICKLE_NONE) {
            *out = i + 1;
            return 0;
        }
    }
    return bad(p, "no mark on the stack");
}

static int append(struct ls_pickle *p, uint32_t container, uint32_t key, uint32_t value)
{
    int r = grow(p, &p->cell, &p->cells, sizeof *p->cell, LS_PICKLE_VALUES_MAX);
    struct ls_pickle_value *c = &p->value[container];
    uint32_t idx = p->cells.count;

    if (r < 0)
        return r;
    p->cell[idx] = (struct ls_pickle_cell){key, value, LS_PICKLE_NONE};
    if (c->as.items.last == LS_PICKLE_NONE)
        c->as.items.first = idx;
    else
        p->cell[c->as.items.last].next = idx;
    c->as.items.last = idx;
    c->as.items.count++;
    p->cells.count++;
    return 0;
}

static int op_proto(struct ls_pickle *p, unsigned version_size)
{
    uint64_t v = 0;
    int r = next_number(p, version_size, &v);

    if (r == 0 && v != 2)
        r = ls_fail(p->err, LS_EMODEL, "pickle protocol %d; only 2 is known", (int)v);
    return r;
}

static int op_mark(struct ls_pickle *p, unsigned unused)
{
    (void)unused;
    return push(p, LS_PICKLE_NONE);
}

// Values without content that matters: None, booleans, floats.
static int op_plain(struct ls_pickle *p, unsigned kind)
{
    return push_value(p, (struct ls_pickle_value){.kind = (enum ls_pickle_kind)kind});
}

static int op_float(struct ls_pickle *p, unsigned size)
{
    return next(p, size) ? op_plain(p, LS_PICKLE_PLAIN) : LS_EMODEL;
}

static int op_integer(struct ls_pickle *p, unsigned size)
{
    uint64_t v = 0;
    int r = next_number(p, size, &v);

    if (r < 0)
        return r;
    if (size == 4) // BININT alone is signed
        v = (uint64_t)(int64_t)(int32_t)(uint32_t)v;
    return push_value(p, (struct ls_pickle_value){LS_PICKLE_INTEGER, {.integer = (int64_t)v}});
}

// LONG1: up to 255 bytes, two's complement. What does not fit 64 bits can only be the file's magic
// number, which the reader has compared already, or a number that nobody needs.
static int op_long(struct ls_pickle *p, unsigned length_size)
{
    const uint8_t *b;
    uint64_t n = 0, v = 0;
    int r = next_number(p, length_size, &n);

    b = r == 0 ? next(p, (size_t)n) : NULL;
    if (!b)
        return LS_EMODEL;
    if (n > 8)
        return op_plain(p, LS_PICKLE_PLAIN);
    for (size_t i = 0; i < 8; i++)
        v |= (uint64_t)(i < n ? b[i] : n && b[n - 1] >= 128 ? 255 : 0) << 8 * i;
    return push_value(p, (struct ls_pickle_value){LS_PICKLE_INTEGER, {.integer = (int64_t)v}});
}

static int op_string(struct ls_pickle *p, unsigned length_size)
{
    struct ls_span s = {0};
    uint64_t n = 0;
    int r = next_number(p, length_size, &n);

    if (r < 0)
        return r;
    s.size = (size_t)n;
    s.at = next(p, s.size);
    if (!s.at)
        return LS_EMODEL;
    return push_value(p, (struct ls_pickle_value){LS_PICKLE_STRING, {.text = s}});
}

static int op_container(struct ls_pickle *p, unsigned kind)
{
    return push_container(p, (enum ls_pickle_kind)kind);
}

// Replaces the stack from `first` on by a tuple of it.
static int make_tuple(struct ls_pickle *p, uint32_t first)
{
    uint32_t end = p->stacks.count, tuple;
    int r = push_container(p, LS_PICKLE_TUPLE);

    if (r < 0)
        return r;
    tuple = p->stack[p->stacks.count - 1];
    for (uint32_t i = first; i < end && r == 0; i++)
        r = append(p, tuple, LS_PICKLE_NONE, p->stack[i]);
    p->stacks.count = first;
    return r < 0 ? r : push(p, tuple);
}

static int op_tuple(struct ls_pickle *p, unsigned unused)
{
    uint32_t first = 0;
    int r = find_mark(p, &first);

    (void)unused;
    if (r == 0)
        r = make_tuple(p, first);
    if (r < 0)
        return r;
    p->stack[first - 1] = p->stack[first]; // over the mark
    p->stacks.count = first;
    return 0;
}

static int op_short_tuple(struct ls_pickle *p, unsigned n)
{
    if (p->stacks.count < n)
        return bad(p, "nothing on the stack");
    for (uint32_t i = p->stacks.count - n; i < p->stacks.count; i++)
        if (p->stack[i] == LS_PICKLE_NONE)
            return bad(p, "a mark in a tuple");
    return make_tuple(p, p->stacks.count - n);
}

// Moves the stack from `first` on into the container below it (below the mark, if there is one).
static int put_items(struct ls_pickle *p, enum ls_pickle_kind kind, uint32_t first, bool marked)
{
    uint32_t end = p->stacks.count, step = kind == LS_PICKLE_DICT ? 2 : 1;
    uint32_t container = 0;
    int r;

    if ((end - first) % step)
        return bad(p, "a key without a value");
    p->stacks.count = first - marked;
    r = top(p, kind, &container);
    for (uint32_t i = first; i < end && r == 0; i += step)
        r = step == 2 ? append(p, container, p->stack[i], p->stack[i + 1])
                      : append(p, container, LS_PICKLE_NONE, p->stack[i]);
    return r;
}

static int op_put_marked(struct ls_pickle *p, unsigned kind)
{
    uint32_t first = 0;
    int r = find_mark(p, &first);

    return r < 0 ? r : put_items(p, (enum ls_pickle_kind)kind, first, true);
}

// One item: a value, of dicts a key and a value.
static int op_put_one(struct ls_pickle *p, unsigned kind)
{
    uint32_t n = kind == LS_PICKLE_DICT ? 2 : 1;

    if (p->stacks.count < n)
        return bad(p, "nothing on the stack");
    for (uint32_t i = p->stacks.count - n; i < p->stacks.count; i++)
        if (p->stack[i] == LS_PICKLE_NONE)
            return bad(p, "a mark in a container");
    return put_items(p, (enum ls_pickle_kind)kind, p->stacks.count - n, false);
}

static int op_put(struct ls_pickle *p, unsigned index_size)
{
    uint64_t i = 0;
    uint32_t v = 0;
    int r = next_number(p, index_size, &i);

    if (r == 0)
        r = pop(p, &v);
    if (r < 0)
        return r;
    p->stacks.count++;
    if (i >= LS_PICKLE_VALUES_MAX)
        return bad(p, "a memo index that is too large");
    while (p->memos.count <= i) {
        r = grow(p, &p->memo, &p->memos, sizeof *p->memo, LS_PICKLE_VALUES_MAX);
        if (r < 0)
            return r;
        p->memo[p->memos.count++] = LS_PICKLE_NONE;
    }
    p->memo[i] = v;
    return 0;
}

static int op_get(struct ls_pickle *p, unsigned index_size)
{
    uint64_t i = 0;
    int r = next_number(p, index_size, &i);

    if (r < 0)
        return r;
    if (i >= p->memos.count || p->memo[i] == LS_PICKLE_NONE)
        return bad(p, "nothing was put at that memo index");
    return push(p, p->memo[i]);
}

// GLOBAL: two lines, module and name.
static int op_global(struct ls_pickle *p, unsigned unused)
{
    struct ls_span name = {p->in.at + p->at, 0};
    char text[64], joined[GLOBAL_NAME_MAX];
    int lines = 0;

    (void)unused;
    for (; lines < 2; name.size++) {
        const uint8_t *c = next(p, 1);

        if (!c)
            return LS_EMODEL;
        if (name.size == sizeof joined)
            return ls_fail(p->err, LS_EMODEL, "pickle: global \"%s\" is not allowed",
                           ls_pickle_text(text, name));
        joined[name.size] = (char)(*c == '\n' && lines == 0 ? ' ' : *c == '\n' ? '\0' : *c);
        lines += *c == '\n';
    }
    for (int i = 0; i < GLOBALS; i++)
        if (!strcmp(joined, globals[i]))
            return push_value(p, (struct ls_pickle_value){LS_PICKLE_GLOBAL, {.integer = i}});
    name = (struct ls_span){(const uint8_t *)joined, strlen(joined)};
    return ls_fail(p->err, LS_EMODEL, "pickle: global \"%s\" is not allowed",
                   ls_pickle_text(text, name));
}

// ("storage", class, key, location, count) and in the legacy stream also None: a view's
// description, which torch has not written since 0.4.
static int op_persid(struct ls_pickle *p, unsigned unused)
{
    struct ls_pickle_storage s = {0};
    uint32_t id = 0, item[6];
    int r = pop(p, &id);

    (void)unused;
    if (r < 0)
        return r;
    for (uint32_t i = 0; i < 6; i++)
        item[i] = ls_pickle_item(p, id, i);
    if (!ls_pickle_is(p, item[0], LS_PICKLE_STRING) ||
        !ls_pickle_is(p, item[1], LS_PICKLE_GLOBAL) ||
        !ls_pickle_is(p, item[2], LS_PICKLE_STRING) ||
        !ls_pickle_is(p, item[4], LS_PICKLE_INTEGER) ||
        (item[5] != LS_PICKLE_NONE && !ls_pickle_is(p, item[5], LS_PICKLE_NOTHING)) ||
        p->value[item[0]].as.text.size != 7 || memcmp(p->value[item[0]].as.text.at, "storage", 7) ||
        p->value[item[1]].as.integer < FIRST_STORAGE || p->value[item[4]].as.integer < 0)
        return bad(p, "a persistent id that is not a storage's");
    s.key = p->value[item[2]].as.text;
    s.dtype = (enum ls_dtype)(p->value[item[1]].as.integer - FIRST_STORAGE);
    s.count = p->value[item[4]].as.integer;
    r = grow(p, &p->storage, &p->storages, sizeof *p->storage, STORAGES_MAX);
    if (r < 0)
        return r;
    p->storage[p->storages.count] = s;
    return push_value(
        p, (struct ls_pickle_value){LS_PICKLE_STORAGE, {.integer = p->storages.count++}});
}

// _rebuild_tensor_v2(storage, offset, size, stride, requires_grad, hooks)
static int rebuild_tensor(struct ls_pickle *p, uint32_t args)
{
    static const enum ls_pickle_kind kinds[4] = {LS_PICKLE_STORAGE, LS_PICKLE_INTEGER,
                                                 LS_PICKLE_TUPLE, LS_PICKLE_TUPLE};
    struct ls_pickle_value v = {.kind = LS_PICKLE_TENSOR};
    uint32_t item[4];

    for (uint32_t i = 0; i < 4; i++) {
        item[i] = ls_pickle_item(p, args, i);
        if (!ls_pickle_is(p, item[i], kinds[i]))
            return bad(p, "a tensor is not rebuilt from storage, offset, size and stride");
    }
    v.as.tensor.storage = (uint32_t)p->value[item[0]].as.integer;
    v.as.tensor.offset = item[1];
    v.as.tensor.size = item[2];
    v.as.tensor.stride = item[3];
    return push_value(p, v);
}

static int op_reduce(struct ls_pickle *p, unsigned unused)
{
    uint32_t args = 0, callable = 0, first;
    int r = pop(p, &args);

    (void)unused;
    if (r == 0)
        r = pop(p, &callable);
    if (r < 0)
        return r;
    if (p->value[callable].kind != LS_PICKLE_GLOBAL || p->value[args].kind != LS_PICKLE_TUPLE)
        return bad(p, "a call of something that is not a global");
    first = ls_pickle_item(p, args, 0);
    switch (p->value[callable].as.integer) {
    case ORDERED_DICT:
        if (p->value[args].as.items.count == 0)
            return push_container(p, LS_PICKLE_DICT);
        break;
    case REBUILD_TENSOR:
        return rebuild_tensor(p, args);
    case REBUILD_PARAMETER: // (tensor, requires_grad, hooks)
        if (ls_pickle_is(p, first, LS_PICKLE_TENSOR))
            return push(p, first);
        break;
    default:
        break;
    }
    return bad(p, "a call with arguments that are not known");
}

// Attributes of an OrderedDict (its version notes) or of a tensor: nothing that is needed.
static int op_build(struct ls_pickle *p, unsigned unused)
{
    uint32_t state, object = 0;
    int r = pop(p, &state);

    (void)unused;
    if (r == 0)
        r = pop(p, &object);
    if (r < 0)
        return r;
    if (p->value[object].kind != LS_PICKLE_DICT && p->value[object].kind != LS_PICKLE_TENSOR)
        return bad(p, "a state for something that has none");
    return push(p, object);
}

static const struct {
    int (*run)(struct ls_pickle *p, unsigned detail);
    unsigned detail;
} opcodes[256] = {
    [0x80] = {op_proto, 1},
    ['('] = {op_mark, 0},
    ['N'] = {op_plain, LS_PICKLE_NOTHING},
    [0x88] = {op_plain, LS_PICKLE_TRUE},
    [0x89] = {op_plain, LS_PICKLE_PLAIN},
    ['G'] = {op_float, 8},
    ['K'] = {op_integer, 1},
    ['M'] = {op_integer, 2},
    ['J'] = {op_integer, 4},
    [0x8a] = {op_long, 1},
    ['U'] = {op_string, 1}, // Python 2's str
    ['T'] = {op_string, 4},
    ['X'] = {op_string, 4},
    ['}'] = {op_container, LS_PICKLE_DICT},
    [']'] = {op_container, LS_PICKLE_LIST},
    [')'] = {op_container, LS_PICKLE_TUPLE},
    ['t'] = {op_tuple, 0},
    [0x85] = {op_short_tuple, 1},
    [0x86] = {op_short_tuple, 2},
    [0x87] = {op_short_tuple, 3},
    ['a'] = {op_put_one, LS_PICKLE_LIST},
    ['s'] = {op_put_one, LS_PICKLE_DICT},
    ['e'] = {op_put_marked, LS_PICKLE_LIST},
    ['u'] = {op_put_marked, LS_PICKLE_DICT},
    ['q'] = {op_put, 1},
    ['r'] = {op_put, 4},
    ['h'] = {op_get, 1},
    ['j'] = {op_get, 4},
    ['c'] = {op_global, 0},
    ['Q'] = {op_persid, 0},
    ['R'] = {op_reduce, 0},
    ['b'] = {op_build, 0},
};

int ls_pickle_run(struct ls_pickle *p, uint32_t *out)
{
    p->stacks.count = 0;
    p->memos.count = 0;
    for (;;) {
        const uint8_t *op = next(p, 1);
        int r;

        if (!op)
            return LS_EMODEL;
        if (*op == '.')
            break;
        if (!opcodes[*op].run)
            return ls_fail(p->err, LS_EMODEL, "pickle, byte %zu: opcode 0x%02x is not allowed",
                           p->at - 1, *op);
        r = opcodes[*op].run(p, opcodes[*op].detail);
        if (r < 0)
            return r;
    }
    if (p->stacks.count != 1 || p->stack[0] == LS_PICKLE_NONE)
        return bad(p, "not exactly one value at the end");
    *out = p->stack[0];
    return 0;
}

void ls_pickle_done(struct ls_pickle *p)
{
    free(p->value);
    free(p->cell);
    free(p->stack);
    free(p->memo);
    free(p->storage);
    *p = (struct ls_pickle){0};
}

bool ls_pickle_is(const struct ls_pickle *p, uint32_t value, enum ls_pickle_kind kind)
{
    return value != LS_PICKLE_NONE && p->value[value].kind == kind;
}

uint32_t ls_pickle_item(const struct ls_pickle *p, uint32_t tuple, uint32_t i)
{
    uint32_t cell;

    if (!ls_pickle_is(p, tuple, LS_PICKLE_TUPLE) || i >= p->value[tuple].as.items.count)
        return LS_PICKLE_NONE;
    for (cell = p->value[tuple].as.items.first; i > 0; i--)
        cell = p->cell[cell].next;
    return p->cell[cell].value;
}

uint32_t ls_pickle_get(const struct ls_pickle *p, uint32_t dict, const char *key)
{
    size_t n = strlen(key);
    uint32_t cell;

    if (!ls_pickle_is(p, dict, LS_PICKLE_DICT))
        return LS_PICKLE_NONE;
    for (cell = p->value[dict].as.items.first; cell != LS_PICKLE_NONE; cell = p->cell[cell].next) {
        const struct ls_pickle_value *k = &p->value[p->cell[cell].key];

        if (k->kind == LS_PICKLE_STRING && k->as.text.size == n && !memcmp(k->as.text.at, key, n))
            return p->cell[cell].value;
    }
    return LS_PICKLE_NONE;
}
