// SPDX-License-Identifier: Apache-2.0
// Checkpoints that must be read: files that torch wrote (golden_weights.py), safetensors and onnx
// made here, all element types; and the same files cut at every byte or with any byte changed,
// which must fail or be read, but never read out of bounds.
#include <math.h>

#include "kernels/weights.h"
#include "tests/unit/_bytes.h"
#include "tests/unit/_check.h"

struct want {
    const char *name;
    enum ls_dtype dtype;
    int dim_count;
    int64_t dim[4];
    float first, step;
};

// As golden_weights.py says.
static const struct want state[] = {
    {"f32", LS_F32, 2, {2, 3}, 0, 0.25f},
    {"f16", LS_F16, 1, {4}, 1, 0.25f},
    {"bf16", LS_BF16, 2, {2, 2}, 2, 0.25f},
    {"f64", LS_F64, 1, {3}, 3, 0.25f},
    {"conv.weight", LS_F32, 4, {2, 1, 3, 3}, 4, 0.25f},
    {"num_batches_tracked", LS_I64, 0, {0}, 1234567, 0},
    {"whole", LS_I64, 1, {2}, 5, 0},
    {"first", LS_F32, 1, {3}, 6, 0.25f},
    {"second", LS_F32, 1, {3}, 6.75f, 0.25f},
    {"one", LS_F32, 2, {1, 1}, 7, 0},
    {"i32", LS_I32, 1, {2}, -3, 10},
    {"u8", LS_U8, 1, {3}, 0, 0}, // 0, 200, 255
};
enum { STATE = sizeof state / sizeof state[0] };

static void check_tensor(const struct ls_weights *w, const struct want *want, const char *file)
{
    const struct ls_tensor *t = ls_weights_find(w, want->name);
    float v[64];
    char row[128];

    snprintf(row, sizeof row, "%s: %s", file, want->name);
    if (!CHECK(t, row))
        return;
    CHECK(t->dtype == want->dtype && t->dim_count == want->dim_count, row);
    for (int i = 0; i < want->dim_count; i++)
        CHECK(t->dim[i] == want->dim[i], row);
    if (!CHECK(ls_tensor_size(t) <= 64, row))
        return;
    ls_tensor_read(v, t);
    if (t->dtype == LS_U8)
        CHECK(v[0] == 0 && v[1] == 200 && v[2] == 255, row);
    else
        for (int i = 0; i < (int)ls_tensor_size(t); i++)
            CHECK(v[i] == want->first + want->step * (float)i, row);
}

static void torch_files(void)
{
    static const char *const files[2] = {"tests/golden/legacy.pth", "tests/golden/zip.pth"};
    struct ls_weights *w = NULL;
    struct ls_err e = {0};

    for (int f = 0; f < 2; f++) {
        if (!CHECK(ls_weights_open(&w, files[f], &e) == 0, files[f])) {
            printf("  %s\n", e.text);
            continue;
        }
        CHECK(ls_weights_count(w) == STATE, files[f]);
        for (int i = 0; i < STATE; i++) {
            check_tensor(w, &state[i], files[f]);
            CHECK(!strcmp(ls_weights_at(w, i)->name, state[i].name), "in the file's order");
        }
        CHECK(!ls_weights_find(w, "module.f32"), "the prefix is gone");
        ls_weights_close(&w);
        CHECK(w == NULL, "close sets NULL");
    }
    if (CHECK(ls_weights_open(&w, "tests/golden/plain.pth", &e) == 0, "a dict of parameters"))
        check_tensor(w, &(struct want){"weight", LS_F32, 2, {2, 2}, 0, 0.25f}, "plain.pth");
    ls_weights_close(&w);
    CHECK(ls_weights_open(&w, "tests/golden/strided.pth", &e) == LS_EMODEL && !w, "strided");
    CHECK(!strcmp(e.text, "tests/golden/strided.pth: tensor \"a\" is not contiguous"), "strided");
}

static void no_files(void)
{
    struct ls_weights *w = NULL;
    struct ls_err e = {0};

    CHECK(ls_weights_open(&w, "tests/golden/no-such-file", &e) == LS_EMODEL, "absent");
    CHECK(strstr(e.text, "no-such-file: No such file"), "absent");
    CHECK(ls_weights_open(&w, "tests", &e) == LS_EMODEL, "a folder");
    CHECK(ls_weights_open(&w, "/dev/null", &e) == LS_EMODEL, "a device");
    CHECK(ls_weights_open(&w, "LICENSE", &e) == LS_EMODEL, "a text");
    CHECK(strstr(e.text, "neither .pth, .safetensors nor .onnx"), "a text");
    CHECK(!w, "outputs untouched");
    ls_weights_close(&w);
    ls_weights_close(NULL);
}

static struct bytes make_safetensors(const char *header, size_t value_size)
{
    struct bytes b = {0};

    bytes_number(&b, strlen(header), 8);
    bytes_text(&b, header);
    for (size_t i = 0; i < value_size; i++)
        bytes_number(&b, i % 2 ? 0x3c : 0, 1); // 1.0 in half precision
    return b;
}

static const char good_header[] =
    "{\"__metadata__\":{\"name\":\"a \\\"b\\\" \\u00e9\\ud83d\\ude00\\n\",\"k\":\"\"}, "
    "\"x\\u0041\" :"
    "{\"dtype\":\"F16\",\"shape\":[2,3],\"data_offsets\":[8,20]},"
    "\"n\":{\"shape\":[],\"data_offsets\":[0,8],\"dtype\":\"I64\"}}   ";

static void safetensors(void)
{
    struct bytes b = make_safetensors(good_header, 20);
    struct ls_weights *w = NULL;
    struct ls_err e = {0};

    if (!CHECK(ls_weights_parse(&w, b.at, b.size, &e) == 0, "safetensors"))
        printf("  %s\n", e.text);
    else {
        check_tensor(w, &(struct want){"xA", LS_F16, 2, {2, 3}, 1, 0}, "safetensors");
        CHECK(ls_weights_find(w, "n") && ls_weights_find(w, "n")->dim_count == 0, "a scalar");
        CHECK(!strcmp(ls_weights_meta(w, "name"), "a \"b\" \xc3\xa9\xf0\x9f\x98\x80\n"), "escapes");
        CHECK(!strcmp(ls_weights_meta(w, "k"), ""), "empty metadata");
    }
    ls_weights_close(&w);
    bytes_done(&b);
}

static void put_field(struct bytes *b, int number, const void *data, size_t size)
{
    bytes_number(b, (uint64_t)number << 3 | 2, 1);
    bytes_number(b, (size & 127) | 128, 1); // two bytes are enough here
    bytes_number(b, size >> 7, 1);
    bytes_put(b, data, size);
}

static void put_tensor(struct bytes *graph, const char *name, int type, const char *dims,
                       int value_field, const void *values, size_t size)
{
    struct bytes t = {0};

    for (; *dims; dims++) {
        bytes_number(&t, 1 << 3, 1);
        bytes_number(&t, (uint64_t)(*dims - '0'), 1);
    }
    bytes_number(&t, 2 << 3, 1);
    bytes_number(&t, (uint64_t)type, 1);
    put_field(&t, value_field, values, size);
    put_field(&t, 8, name, strlen(name));
    put_field(graph, 5, t.at, t.size);
    bytes_done(&t);
}

static struct bytes make_onnx(void)
{
    static const float f[4] = {1, 1.5f, 2, 2.5f};
    static const double d[1] = {-1};
    static const uint8_t varints[13] = {7,    0xac, 0x02, 0xff, 0xff, 0xff, 0xff,
                                        0xff, 0xff, 0xff, 0xff, 0xff, 0x01}; // 7, 300, -1
    struct bytes graph = {0}, model = {0};

    put_tensor(&graph, "raw", 1, "22", 9, f, sizeof f);
    put_tensor(&graph, "floats", 1, "4", 4, f, sizeof f);
    put_tensor(&graph, "doubles", 11, "1", 10, d, sizeof d);
    put_tensor(&graph, "int64s", 7, "3", 7, varints, sizeof varints);
    put_tensor(&graph, "int32s", 6, "2", 5, varints, 3);
    put_tensor(&graph, "empty", 1, "0", 9, f, 0);
    bytes_number(&model, 0x0608, 2); // ir_version 6
    put_field(&model, 2, "test", 4);
    put_field(&model, 7, graph.at, graph.size);
    bytes_done(&graph);
    return model;
}

static void onnx(void)
{
    struct bytes b = make_onnx();
    struct ls_weights *w = NULL;
    struct ls_err e = {0};
    float v[3];

    if (!CHECK(ls_weights_parse(&w, b.at, b.size, &e) == 0, "onnx")) {
        printf("  %s\n", e.text);
    } else {
        check_tensor(w, &(struct want){"raw", LS_F32, 2, {2, 2}, 1, 0.5f}, "onnx");
        check_tensor(w, &(struct want){"floats", LS_F32, 1, {4}, 1, 0.5f}, "onnx");
        check_tensor(w, &(struct want){"doubles", LS_F64, 1, {1}, -1, 0}, "onnx");
        check_tensor(w, &(struct want){"int32s", LS_I32, 1, {2}, 7, 293}, "onnx");
        ls_tensor_read(v, ls_weights_find(w, "int64s"));
        CHECK(v[0] == 7 && v[1] == 300 && v[2] == -1, "whole numbers as varints");
        CHECK(!ls_weights_find(w, "empty"), "an empty tensor is left out");
    }
    ls_weights_close(&w);
    bytes_done(&b);
}

static void yunet(void)
{
    struct ls_weights *w = NULL;
    const struct ls_tensor *t;
    struct ls_err e = {0};
    char path[512];
    FILE *f;

    snprintf(path, sizeof path, "%s/models/yunet/face_detection_yunet_2023mar.onnx",
             check_shared());
    f = fopen(path, "rb");
    if (!f) {
        printf("SKIP (this part): no %s\n", path);
        return;
    }
    fclose(f);
    if (!CHECK(ls_weights_open(&w, path, &e) == 0, "YuNet")) {
        printf("  %s\n", e.text);
        return;
    }
    t = ls_weights_find(w, "bbox_head.multi_level_kps.0.conv1.weight");
    CHECK(t && t->dim_count == 4 && t->dim[0] == 10 && t->dim[1] == 64, "YuNet's key points");
    ls_weights_close(&w);
}

// Every shorter file is an error; every file with a byte changed is an error or readable.
static void damage(const char *name, struct bytes *b)
{
    static const uint8_t masks[] = {0x01, 0x80, 0xff};
    struct ls_err e = {0};

    CHECK(bytes_parse(b, b->size, &e) == 0, name);
    for (size_t i = 0; i < b->size; i++) {
        e.text[0] = '\0';
        if (!CHECK(bytes_parse(b, i, &e) == LS_EMODEL && e.text[0], name))
            printf("  cut at %zu\n", i);
    }
    for (size_t i = 0; i < b->size; i++) {
        for (size_t k = 0; k < sizeof masks; k++) {
            int r;

            b->at[i] ^= masks[k];
            r = bytes_parse(b, b->size, &e);
            if (!CHECK(r == 0 || r == LS_EMODEL, name))
                printf("  byte %zu changed by %02x: %d\n", i, masks[k], r);
            b->at[i] ^= masks[k];
        }
    }
    bytes_done(b);
}

static void damages(void)
{
    struct bytes b = bytes_file("tests/golden/legacy.pth");

    damage("damaged legacy", &b);
    b = bytes_file("tests/golden/zip.pth");
    damage("damaged zip", &b);
    b = make_safetensors(good_header, 20);
    damage("damaged safetensors", &b);
    b = make_onnx();
    damage("damaged onnx", &b);
}

static void halves(void)
{
    static const struct {
        const char *name;
        uint16_t bits;
        float want;
    } rows[] = {
        {"one", 0x3c00, 1},
        {"minus two", 0xc000, -2},
        {"a third", 0x3555, 0.333251953125f},
        {"largest", 0x7bff, 65504},
        {"smallest", 0x0001, 0x1p-24f},
        {"negative subnormal", 0x83ff, -0x1.ff8p-15f},
        {"smallest normal", 0x0400, 0x1p-14f},
        {"infinity", 0x7c00, INFINITY},
    };

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct ls_tensor t = {"h", 1, {1}, LS_F16, &rows[i].bits};
        float v;

        ls_tensor_read(&v, &t);
        CHECK(v == rows[i].want, rows[i].name);
    }
}

static void memory(void)
{
    static const float v[6] = {1, 2, 3, 4, 5, 6};
    int64_t dim[2] = {2, 3}, none[1] = {0};
    struct ls_weights *w = NULL;
    struct ls_err e = {0};
    char name[32];

    CHECK(ls_weights_new(&w, &e) == 0, "new set");
    CHECK(ls_weights_add(w, "b", v, 2, dim, &e) == 0, "add");
    CHECK(ls_weights_add(w, "b", v, 2, dim, &e) == LS_EMODEL, "add twice");
    CHECK(!strcmp(e.text, "tensor \"b\" is there twice"), "add twice");
    CHECK(ls_weights_add(w, "c", v, 1, none, &e) == LS_EMODEL, "an empty tensor");
    CHECK(ls_weights_add(w, "", v, 2, dim, &e) == LS_EMODEL, "no name");
    for (int i = 0; i < 500; i++) {
        snprintf(name, sizeof name, "n%d", i * 7919 % 500);
        CHECK(ls_weights_add(w, name, v, 0, dim, &e) == 0, "many");
    }
    for (int i = 0; i < 500; i++) {
        snprintf(name, sizeof name, "n%d", i);
        CHECK(ls_weights_find(w, name) && !strcmp(ls_weights_find(w, name)->name, name), "find");
    }
    check_tensor(w, &(struct want){"b", LS_F32, 2, {2, 3}, 1, 1}, "memory");
    ls_weights_close(&w);
}

int main(void)
{
    torch_files();
    no_files();
    safetensors();
    onnx();
    yunet();
    damages();
    halves();
    memory();
    return check_done();
}
