// SPDX-License-Identifier: Apache-2.0
// Server reflection, v1 and v1alpha, which are the same on the wire: one implementation under two
// names. Loop thread. The files are the bytes that protoc wrote, linked in and handed out as they
// are; they are unpacked once, only to look up names.
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include <google/protobuf/descriptor.pb-c.h>
#include <grpc/reflection/v1/reflection.pb-c.h>
#include <grpc/status.h>

#include "server/rpc_pb.h"
#include "server/rpc_status.h"
#include "server/rpc_unary.h"

__asm__(".pushsection .rodata\n"
        ".balign 16\n"
        "ls_descriptors_first:\n"
        ".incbin \"" LS_DESCRIPTORS "\"\n"
        "ls_descriptors_end:\n"
        ".byte 0\n"
        ".popsection\n");
extern const uint8_t ls_descriptors_first[], ls_descriptors_end[];

enum { FILES_MAX = 32, SERVICES_MAX = 16, PARSE_BUDGET = 65536, NAME_MAX_SIZE = 512 };

static struct {
    ProtobufCBinaryData raw;
    Google__Protobuf__FileDescriptorProto *proto; // never freed: it lives as long as the process
} files[FILES_MAX];
static int file_count;

// Unpacks the linked-in set, on the first call.
static void load(void)
{
    struct ls_wire w;

    if (file_count)
        return;
    ls_wire_init(&w, ls_descriptors_first, (size_t)(ls_descriptors_end - ls_descriptors_first));
    while (ls_wire_next(&w) > 0 && file_count < FILES_MAX) {
        Google__Protobuf__FileDescriptorProto *proto =
            google__protobuf__file_descriptor_proto__unpack(NULL, w.size, w.data);

        if (!proto)
            continue;
        files[file_count].raw = (ProtobufCBinaryData){w.size, (uint8_t *)(uintptr_t)w.data};
        files[file_count++].proto = proto;
    }
}

// What follows name and a dot in path; "" if path is just name; NULL if it is another.
static const char *below(const char *path, const char *name)
{
    size_t size = strlen(name);

    if (strncmp(path, name, size))
        return NULL;
    if (!path[size])
        return path + size;
    return path[size] == '.' ? path + size + 1 : NULL;
}

static bool enum_has(const Google__Protobuf__EnumDescriptorProto *e, const char *path)
{
    const char *rest = below(path, e->name);

    return rest && !*rest;
}

// A value's scope is the enum's own scope: "pkg.VALUE", not "pkg.Enum.VALUE".
static bool value_has(const Google__Protobuf__EnumDescriptorProto *e, const char *path)
{
    for (size_t i = 0; i < e->n_value; i++)
        if (!strcmp(e->value[i]->name, path))
            return true;
    return false;
}

static bool message_has(const Google__Protobuf__DescriptorProto *m, const char *path)
{
    const char *rest = below(path, m->name);

    if (!rest)
        return false;
    if (!*rest)
        return true;
    for (size_t i = 0; i < m->n_field; i++)
        if (!strcmp(m->field[i]->name, rest))
            return true;
    for (size_t i = 0; i < m->n_oneof_decl; i++)
        if (!strcmp(m->oneof_decl[i]->name, rest))
            return true;
    for (size_t i = 0; i < m->n_enum_type; i++)
        if (enum_has(m->enum_type[i], rest) || value_has(m->enum_type[i], rest))
            return true;
    for (size_t i = 0; i < m->n_nested_type; i++) // depth: that of our own files
        if (message_has(m->nested_type[i], rest))
            return true;
    return false;
}

static bool service_has(const Google__Protobuf__ServiceDescriptorProto *s, const char *path)
{
    const char *rest = below(path, s->name);

    if (rest && !*rest)
        return true;
    for (size_t i = 0; rest && i < s->n_method; i++)
        if (!strcmp(s->method[i]->name, rest))
            return true;
    return false;
}

static bool file_has(const Google__Protobuf__FileDescriptorProto *f, const char *symbol)
{
    const char *path = below(symbol, f->package);

    if (!path || !*path)
        return false;
    for (size_t i = 0; i < f->n_message_type; i++)
        if (message_has(f->message_type[i], path))
            return true;
    for (size_t i = 0; i < f->n_enum_type; i++)
        if (enum_has(f->enum_type[i], path) || value_has(f->enum_type[i], path))
            return true;
    for (size_t i = 0; i < f->n_service; i++)
        if (service_has(f->service[i], path))
            return true;
    return false;
}

static int find_symbol(const char *symbol)
{
    for (int i = 0; i < file_count; i++)
        if (file_has(files[i].proto, symbol))
            return i;
    return -1;
}

static int find_file(const char *name)
{
    for (int i = 0; i < file_count; i++)
        if (!strcmp(files[i].proto->name, name))
            return i;
    return -1;
}

static void answer_error(struct ls_call *c,
                         Grpc__Reflection__V1__ServerReflectionResponse *response, const char *what,
                         const char *name)
{
    Grpc__Reflection__V1__ErrorResponse error = GRPC__REFLECTION__V1__ERROR_RESPONSE__INIT;
    char text[NAME_MAX_SIZE + 64];

    snprintf(text, sizeof text, "%s not found: %s", what, name);
    error.error_code = GRPC_STATUS_NOT_FOUND;
    error.error_message = text;
    response->message_response_case =
        GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__MESSAGE_RESPONSE_ERROR_RESPONSE;
    response->error_response = &error;
    ls_unary_send(c, &response->base);
}

// The file and everything that it imports, the file first.
static void answer_file(struct ls_call *c, Grpc__Reflection__V1__ServerReflectionResponse *response,
                        int file, const char *what, const char *name)
{
    Grpc__Reflection__V1__FileDescriptorResponse list =
        GRPC__REFLECTION__V1__FILE_DESCRIPTOR_RESPONSE__INIT;
    ProtobufCBinaryData raw[FILES_MAX];
    int order[FILES_MAX], count = 0;
    bool taken[FILES_MAX] = {false};

    if (file < 0) {
        answer_error(c, response, what, name);
        return;
    }
    order[count++] = file;
    taken[file] = true;
    for (int i = 0; i < count; i++) {
        const Google__Protobuf__FileDescriptorProto *proto = files[order[i]].proto;

        raw[i] = files[order[i]].raw;
        for (size_t k = 0; k < proto->n_dependency; k++) {
            int import = find_file(proto->dependency[k]);

            if (import >= 0 && !taken[import]) {
                taken[import] = true;
                order[count++] = import;
            }
        }
    }
    list.n_file_descriptor_proto = (size_t)count;
    list.file_descriptor_proto = raw;
    response->message_response_case =
        GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__MESSAGE_RESPONSE_FILE_DESCRIPTOR_RESPONSE;
    response->file_descriptor_response = &list;
    ls_unary_send(c, &response->base);
}

static void answer_services(struct ls_call *c,
                            Grpc__Reflection__V1__ServerReflectionResponse *response)
{
    Grpc__Reflection__V1__ListServiceResponse list =
        GRPC__REFLECTION__V1__LIST_SERVICE_RESPONSE__INIT;
    Grpc__Reflection__V1__ServiceResponse item[SERVICES_MAX], *items[SERVICES_MAX];
    char name[SERVICES_MAX][128];
    size_t n = 0;

    for (int i = 0; i < file_count; i++)
        for (size_t k = 0; k < files[i].proto->n_service && n < SERVICES_MAX; k++) {
            snprintf(name[n], sizeof name[n], "%s.%s", files[i].proto->package,
                     files[i].proto->service[k]->name);
            grpc__reflection__v1__service_response__init(&item[n]);
            item[n].name = name[n];
            items[n] = &item[n];
            n++;
        }
    list.n_service = n;
    list.service = items;
    response->message_response_case =
        GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__MESSAGE_RESPONSE_LIST_SERVICES_RESPONSE;
    response->list_services_response = &list;
    ls_unary_send(c, &response->base);
}

// No message of ours has extensions; a known one has the empty list of them.
static void answer_extensions(struct ls_call *c,
                              Grpc__Reflection__V1__ServerReflectionResponse *response, char *type)
{
    Grpc__Reflection__V1__ExtensionNumberResponse list =
        GRPC__REFLECTION__V1__EXTENSION_NUMBER_RESPONSE__INIT;

    if (find_symbol(type) < 0) {
        answer_error(c, response, "type", type);
        return;
    }
    list.base_type_name = type;
    response->message_response_case =
        GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__MESSAGE_RESPONSE_ALL_EXTENSION_NUMBERS_RESPONSE;
    response->all_extension_numbers_response = &list;
    ls_unary_send(c, &response->base);
}

// The text of a request is echoed, so it must be valid.
static bool valid(const char *text)
{
    char copy[NAME_MAX_SIZE];

    ls_utf8_copy(copy, sizeof copy, text);
    return !strcmp(copy, text);
}

static bool answer(struct ls_call *c, Grpc__Reflection__V1__ServerReflectionRequest *request)
{
    Grpc__Reflection__V1__ServerReflectionResponse response =
        GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__INIT;
    char *name = (char *)(uintptr_t) "";

    if (request->message_request_case ==
        GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_FILE_CONTAINING_EXTENSION)
        name = request->file_containing_extension->containing_type;
    else if (request->message_request_case !=
             GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST__NOT_SET)
        name = request->list_services; // all other members are strings in the same place
    if (!valid(request->host) || !valid(name))
        return false;
    response.valid_host = request->host;
    response.original_request = request;
    switch (request->message_request_case) {
    case GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_FILE_BY_FILENAME:
        answer_file(c, &response, find_file(name), "file", name);
        return true;
    case GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_FILE_CONTAINING_SYMBOL:
        answer_file(c, &response, find_symbol(name), "symbol", name);
        return true;
    case GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_FILE_CONTAINING_EXTENSION:
        answer_error(c, &response, "extension of", name);
        return true;
    case GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_ALL_EXTENSION_NUMBERS_OF_TYPE:
        answer_extensions(c, &response, name);
        return true;
    case GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_LIST_SERVICES:
        answer_services(c, &response);
        return true;
    default:
        return false;
    }
}

static void on_message(struct ls_call *c, const uint8_t *data, size_t size)
{
    struct ls_pb pb;
    struct ls_err err = {0};
    ProtobufCMessage *message;
    int r = ls_pb_open(&pb, &message, &grpc__reflection__v1__server_reflection_request__descriptor,
                       data, size, PARSE_BUDGET, &err);

    if (r == 0) {
        if (!answer(c, (Grpc__Reflection__V1__ServerReflectionRequest *)message))
            r = ls_fail(&err, LS_EFIELD,
                        "a request without a question, or with a name that is "
                        "no UTF-8 or longer than %d bytes",
                        NAME_MAX_SIZE - 1);
        ls_pb_close(&pb);
    }
    if (r < 0)
        ls_call_end(c, &err, NULL);
}

static void on_sent(struct ls_call *c)
{
    if (!ls_call_backlog(c))
        ls_call_read(c);
}

static void on_end(struct ls_call *c)
{
    ls_call_end(c, &(struct ls_err){.code = 0}, NULL);
}

static void on_start(struct ls_call *c)
{
    load();
    if (ls_call_engine(c)->draining)
        on_end(c);
    else
        ls_call_read(c);
}

#define METHOD(version)                                                                            \
    {                                                                                              \
        .path = "/grpc.reflection." version ".ServerReflection/ServerReflectionInfo",              \
        .quiet = true, .scope = LS_SCOPE_INFO, .on_start = on_start, .on_message = on_message,     \
        .on_half_close = on_end, .on_sent = on_sent, .on_drain = on_end,                           \
    }
const struct ls_method ls_method_reflect_v1 = METHOD("v1");
const struct ls_method ls_method_reflect_v1alpha = METHOD("v1alpha");
