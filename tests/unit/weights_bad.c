// SPDX-License-Identifier: Apache-2.0
// Checkpoints that must be refused, each with a message that names the fault: pickles that would
// run code or eat memory in another reader, headers and archives whose numbers lie.
#include "kernels/weights.h"
#include "tests/unit/_bytes.h"
#include "tests/unit/_check.h"

static void refuse(const char *name, struct bytes *b, const char *want)
{
    struct ls_err e = {0};

    if (!CHECK(bytes_parse(b, b->size, &e) == LS_EMODEL && strstr(e.text, want), name))
        printf("  got: %s\n", e.text);
    bytes_done(b);
}

// torch's legacy stream up to the checkpoint's own pickle.
static struct bytes preamble(void)
{
    static const char start[] = "\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19."
                                "\x80\x02M\xe9\x03."
                                "\x80\x02}X\x0d\0\0\0little_endian\x88s.";
    struct bytes b = {0};

    bytes_put(&b, start, sizeof start - 1);
    return b;
}

#define PICKLE(name, bytes, want)                                                                  \
    {                                                                                              \
        name, bytes, sizeof bytes - 1, want                                                        \
    }

#define FLOATS "(X\7\0\0\0storagectorch\nFloatStorage\nX\1\0\0\0kX\3\0\0\0cpuK\4tQ"
#define TENSOR "ctorch._utils\n_rebuild_tensor_v2\n("

static const struct {
    const char *name, *bytes;
    size_t size;
    const char *want;
} pickles[] = {
    PICKLE("os.system", "\x80\2cos\nsystem\nX\2\0\0\0ls\x85R.",
           "global \"os system\" is not allowed"),
    PICKLE("eval", "\x80\2c__builtin__\neval\n", "global \"__builtin__ eval\" is not allowed"),
    PICKLE("a module of torch", "\x80\2ctorch.hub\nload\n", "\"torch.hub load\" is not allowed"),
    PICKLE("a global with odd bytes", "\x80\2ca\x1b[2J\nb\n", "global \"a?[2J b\" is not allowed"),
    PICKLE("a global without end",
           "\x80\2caaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
           "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
           "is not allowed"),
    PICKLE("INST", "\x80\2(ios\nsystem\n.", "opcode 0x69 is not allowed"),
    PICKLE("OBJ", "\x80\2(o.", "opcode 0x6f is not allowed"),
    PICKLE("NEWOBJ", "\x80\2)\x81.", "opcode 0x81 is not allowed"),
    PICKLE("STACK_GLOBAL", "\x80\2\x93.", "opcode 0x93 is not allowed"),
    PICKLE("EXT1", "\x80\2\x82\1.", "opcode 0x82 is not allowed"),
    PICKLE("protocol 4", "\x80\4\x95", "pickle protocol 4; only 2 is known"),
    PICKLE("calling a class", "\x80\2ctorch\nFloatStorage\n)R.", "arguments that are not known"),
    PICKLE("calling a string", "\x80\2X\1\0\0\0a)R.", "not a global"),
    PICKLE("OrderedDict of a list", "\x80\2ccollections\nOrderedDict\n]\x85R.", "not known"),
    PICKLE("a tensor of nothing", "\x80\2" TENSOR "tR.", "not rebuilt from storage"),
    PICKLE("a tensor of lists",
           "\x80\2" TENSOR FLOATS "K\0]]\x89Nt"
           "R.",
           "not rebuilt from storage"),
    PICKLE("a storage that is none",
           "\x80\2(X\7\0\0\0storageccollections\nOrderedDict\n"
           "X\1\0\0\0kX\3\0\0\0cpuK\4tQ.",
           "not a storage's"),
    PICKLE("another persistent id", "\x80\2(X\6\0\0\0moduleK\1tQ.", "not a storage's"),
    PICKLE("a negative count",
           "\x80\2(X\7\0\0\0storagectorch\nFloatStorage\nX\1\0\0\0k"
           "X\3\0\0\0cpuJ\xff\xff\xff\xfftQ.",
           "not a storage's"),
    PICKLE("empty stack", "\x80\2a.", "nothing on the stack"),
    PICKLE("pop over a mark", "\x80\2K\1(\x85.", "a mark"),
    PICKLE("a mark as an item", "\x80\2](a.", "a mark"),
    PICKLE("no mark", "\x80\2}u.", "no mark"),
    PICKLE("half a pair", "\x80\2}(K\1u.", "a key without a value"),
    PICKLE("items for a number", "\x80\2K\1(K\1K\2u.", "another kind"),
    PICKLE("state for a number", "\x80\2K\1K\1b.", "a state for something"),
    PICKLE("two values at the end", "\x80\2K\1K\1.", "not exactly one value"),
    PICKLE("a mark at the end", "\x80\2(.", "not exactly one value"),
    PICKLE("a memo that is empty", "\x80\2h\7.", "nothing was put"),
    PICKLE("a memo index of 4 billion", "\x80\2K\1r\xff\xff\xff\xff.", "memo index"),
    PICKLE("a string of 4 GB",
           "\x80\2X\xff\xff\xff\xff"
           "a",
           "the file ends here"),
    PICKLE("not a dict", "\x80\2K\1.\x80\2].", "not a dict"),
    PICKLE("no storages' list", "\x80\2}.\x80\2}.", "no list of storages"),
    PICKLE("an unknown storage", "\x80\2}.\x80\2]X\1\0\0\0ka.", "\"k\" is of no tensor"),
    PICKLE("a list in itself", "\x80\2]q\0h\0a}.", "not exactly one value"),
    PICKLE("a dict in itself", "\x80\2}q\0X\1\0\0\0ah\0s.\x80\2].", "no tensor in it"),
    PICKLE("a storage that is cut",
           "\x80\2}X\1\0\0\0t" TENSOR FLOATS "K\0K\4\x85K\1\x85\x89Nt"
           "Rs.\x80\2]X\1\0\0\0ka.\4\0\0\0\0\0\0\0aaaa",
           "needs 16 bytes"),
    PICKLE("a storage of another size",
           "\x80\2}X\1\0\0\0t" TENSOR FLOATS "K\0K\4\x85K\1\x85\x89Nt"
           "Rs.\x80\2]X\1\0\0\0ka.\5\0\0\0\0\0\0\0aaaaaaaaaaaaaaaa",
           "has 5 values, should have 4"),
    PICKLE("a storage listed twice",
           "\x80\2}X\1\0\0\0t" TENSOR FLOATS "K\0K\4\x85K\1\x85\x89Nt"
           "Rs.\x80\2]X\1\0\0\0kaX\1\0\0\0ka.\4\0\0\0\0\0\0\0aaaaaaaaaaaaaaaa",
           "listed twice"),
    PICKLE("a storage that is absent",
           "\x80\2}X\1\0\0\0t" TENSOR FLOATS "K\0K\4\x85K\1\x85\x89Nt"
           "Rs.\x80\2].",
           "tensor \"t\": its storage \"k\" is not in the file"),
    PICKLE("a tensor past its storage",
           "\x80\2}X\1\0\0\0t" TENSOR FLOATS "K\1K\4\x85K\1\x85\x89Nt"
           "Rs.\x80\2]X\1\0\0\0ka.\4\0\0\0\0\0\0\0aaaaaaaaaaaaaaaa",
           "\"t\" sticks out"),
    PICKLE("a tensor before its storage",
           "\x80\2}X\1\0\0\0t" TENSOR FLOATS "J\xff\xff\xff\xffK\4\x85K\1\x85\x89Nt"
           "Rs.\x80\2]X\1\0\0\0ka.\4\0\0\0\0\0\0\0aaaaaaaaaaaaaaaa",
           "\"t\" sticks out"),
    PICKLE("a tensor larger than its storage",
           "\x80\2}X\1\0\0\0t" TENSOR FLOATS "K\0J\xff\xff\xff\x7fJ\xff\xff\xff\x7f\x86"
           "J\xff\xff\xff\x7fK\1\x86\x89Nt"
           "Rs.\x80\2]X\1\0\0\0ka.\4\0\0\0\0\0\0\0aaaaaaaaaaaaaaaa",
           "\"t\" is larger"),
    PICKLE("a stride for another shape",
           "\x80\2}X\1\0\0\0t" TENSOR FLOATS "K\0K\4\x85)\x89Nt"
           "Rs.\x80\2]X\1\0\0\0ka.\4\0\0\0\0\0\0\0aaaaaaaaaaaaaaaa",
           "\"t\" is not contiguous"),
    PICKLE("a tensor twice",
           "\x80\2}(X\1\0\0\0t" TENSOR FLOATS "K\0K\4\x85K\1\x85\x89Nt"
           "Rq\0X\1\0\0\0th\0u.\x80\2]X\1\0\0\0ka.\4\0\0\0\0\0\0\0aaaaaaaaaaaaaaaa",
           "\"t\" is there twice"),
};

static void bad_pickles(void)
{
    struct bytes b;

    for (size_t i = 0; i < sizeof pickles / sizeof pickles[0]; i++) {
        b = preamble();
        bytes_put(&b, pickles[i].bytes, pickles[i].size);
        refuse(pickles[i].name, &b, pickles[i].want);
    }
    b = (struct bytes){0};
    bytes_text(&b, "\x80\2}q.some other pickle");
    refuse("a pickle of another program", &b, "not one of torch.save");
}

// Two million marks, values and nested lists: bounded, and no recursion to overflow the stack.
static void floods(void)
{
    static const char *const parts[] = {"(", "K\1", "]", "((t", "]q\1h\1a"};

    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        struct bytes b = preamble();
        size_t n = strlen(parts[i]);

        bytes_text(&b, "\x80\2");
        for (size_t k = 0; k < (2u << 20); k++)
            bytes_put(&b, parts[i], n);
        bytes_text(&b, ".");
        refuse("flood", &b, "too many values");
    }
}

static const struct {
    const char *name, *header, *want;
    int value_size;
} headers[] = {
    {"not closed", "{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}", "'}' should",
     1},
    {"two documents", "{}{}", "something after", 0},
    {"nothing", "{}", "no tensor in it", 0},
    {"a list", "{\"a\":[]}", "'{' should be here", 0},
    {"an unknown type", "{\"a\":{\"dtype\":\"F8\",\"shape\":[1],\"data_offsets\":[0,1]}}",
     "tensor \"a\": dtype \"F8\" is not known", 1},
    {"no shape", "{\"a\":{\"dtype\":\"U8\",\"data_offsets\":[0,1]}}", "is missing", 1},
    {"shape twice", "{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"shape\":[1],\"data_offsets\":[0,1]}}",
     "one twice", 1},
    {"an unknown member", "{\"a\":{\"dtype\":\"U8\",\"x\":1}}", "unknown member", 0},
    {"another size", "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,4]}}",
     "tensor \"a\": its shape needs 8 bytes, it has 4", 4},
    {"backwards", "{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[1,0]}}",
     "offsets 1..0 are not within 1 bytes", 1},
    {"past the end", "{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[9,10]}}",
     "offsets 9..10 are not within 1 bytes", 1},
    {"one offset", "{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0]}}", "missing", 1},
    {"an overlap",
     "{\"a\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,2]},"
     "\"b\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[1,3]}}",
     "tensor \"b\": it overlaps", 3},
    {"a hole",
     "{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]},"
     "\"b\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[2,3]}}",
     "tensor \"b\": unused bytes before it", 3},
    {"surplus bytes", "{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}",
     "1 bytes after the last tensor", 2},
    {"a tensor twice",
     "{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]},"
     "\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[1,2]}}",
     "tensor \"a\" is there twice", 2},
    {"five dimensions", "{\"a\":{\"dtype\":\"U8\",\"shape\":[1,1,1,1,1],\"data_offsets\":[0,1]}}",
     "too many numbers", 1},
    {"a dimension of 0", "{\"a\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}}",
     "dimension 0 is 0", 0},
    {"a product that overflows",
     "{\"a\":{\"dtype\":\"F32\",\"shape\":[2147483647,2147483647,2,2],\"data_offsets\":[0,4]}}",
     "tensor \"a\"", 4},
    {"a number that overflows",
     "{\"a\":{\"dtype\":\"U8\",\"shape\":[99999999999999999999],\"data_offsets\":[0,1]}}",
     "too large", 1},
    {"a fraction", "{\"a\":{\"dtype\":\"U8\",\"shape\":[1.0],\"data_offsets\":[0,1]}}", "']'", 1},
    {"a negative number", "{\"a\":{\"dtype\":\"U8\",\"shape\":[-1],\"data_offsets\":[0,1]}}",
     "a whole number should be here", 1},
    {"a NUL in a name", "{\"a\\u0000\":{}}", "a NUL", 0},
    {"half a pair", "{\"\\ud800\":{}}", "surrogate", 0},
    {"a bad escape", "{\"\\x\":{}}", "unknown escape", 0},
    {"a control character", "{\"a\n\":{}}", "control character", 0},
    {"a string without end", "{\"a", "does not end", 0},
    {"metadata that is no string", "{\"__metadata__\":{\"a\":1}}", "a string should be here", 0},
    {"metadata twice", "{\"__metadata__\":{\"a\":\"1\",\"a\":\"2\"}}", "is there twice", 0},
};

static void bad_headers(void)
{
    struct bytes b = {0};

    for (size_t i = 0; i < sizeof headers / sizeof headers[0]; i++) {
        // padded with spaces, as writers do, so that the smallest are not too small
        bytes_number(&b, strlen(headers[i].header) + 8, 8);
        bytes_text(&b, headers[i].header);
        bytes_text(&b, "        ");
        for (int k = 0; k < headers[i].value_size; k++)
            bytes_number(&b, 0, 1);
        refuse(headers[i].name, &b, headers[i].want);
    }
    bytes_number(&b, 90000000, 8);
    bytes_text(&b, "{\"a\":12345}");
    refuse("a header longer than the file", &b, "a header of 90000000 bytes");
}

// The end record and directory of tests/golden/zip.pth, changed.
static void bad_archives(void)
{
    static const struct {
        const char *name, *want;
        int at; // from the zip64 end record's start (>= 0) or of the first directory entry (< 0:
                // minus 1)
        uint32_t value;
        int size;
    } rows[] = {
        {"too many entries", "the central directory ends early", 32, 0xffff, 4},
        {"absurdly many entries", "too many entries", 32, 0x10000, 4},
        {"a directory past the end", "the central directory ends early", 48, 0xfffffff0, 4},
        {"a compressed entry", "is compressed or encrypted", -1 - 10, 8, 2},
        {"an encrypted entry", "is compressed or encrypted", -1 - 8, 1, 2},
        {"sizes that differ", "is compressed or encrypted", -1 - 20, 1, 4},
        {"an entry past the end", "is not where it should be", -1 - 42, 0x7fffffff, 4},
        {"an entry elsewhere", "is not where it should be", -1 - 42, 1, 4},
        {"zip64 without its field", "", -1 - 42, 0xffffffff, 4},
    };

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct bytes b = bytes_file("tests/golden/zip.pth");
        size_t end = b.size - 22, end64 = end - 20 - 56, at, first = 0;

        for (int k = 3; k >= 0; k--)
            first = first << 8 | b.at[end + 16 + (size_t)k];
        at = rows[i].at >= 0 ? end64 + (size_t)rows[i].at : first + (size_t)(-rows[i].at - 1);
        for (int k = 0; k < rows[i].size; k++)
            b.at[at + (size_t)k] = (uint8_t)(rows[i].value >> 8 * k);
        refuse(rows[i].name, &b, rows[i].want);
    }
}

static const struct {
    const char *name, *bytes;
    size_t size;
    const char *want;
} protos[] = {
    PICKLE("a group", "\x08\6\x3b\0\0\0\0\0\0\0\0\0\0\0\0\0", "wire type"),
    PICKLE("a long number", "\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\0\0\0\0", "too long"),
    PICKLE("a graph past the end", "\x08\6\x3a\xff\xff\xff\xff\x0f\0\0\0\0\0\0\0\0", "longer than"),
    PICKLE("field 0", "\x08\6\0\0\0\0\0\0\0\0\0\0\0\0\0\0", "not possible"),
    PICKLE("another size", "\x08\6\x3a\x0e\x2a\x0c\x08\2\x10\1\x42\1a\x4a\3xyz", "needs 8 bytes"),
    PICKLE("a type that is not known", "\x08\6\x3a\x0e\x2a\x0c\x08\1\x10\x63\x42\1a\x4a\3xyz",
           "tensor \"a\": values of type 99"),
    PICKLE("values in pieces", "\x08\6\x3a\x12\x2a\x10\x08\1\x10\1\x42\1a\x4a\3xyz\x4a\2xy",
           "tensor \"a\": onnx: a tensor's values come in pieces"),
    PICKLE("values elsewhere", "\x08\6\x3a\x0e\x2a\x0c\x08\1\x10\1\x42\1a\x70\1\x10\1\x10",
           "in another file"),
    PICKLE("no values", "\x08\6\x3a\x0e\x2a\x0c\x08\1\x10\1\x42\1a\x10\1\x10\1\x10",
           "tensor \"a\""),
    PICKLE("no graph", "\x08\6\x12\x0c............", "no tensor in it"),
};

static void bad_protos(void)
{
    for (size_t i = 0; i < sizeof protos / sizeof protos[0]; i++) {
        struct bytes b = {0};

        bytes_put(&b, protos[i].bytes, protos[i].size);
        refuse(protos[i].name, &b, protos[i].want);
    }
}

int main(void)
{
    bad_pickles();
    floods();
    bad_headers();
    bad_archives();
    bad_protos();
    return check_done();
}
