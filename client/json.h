// SPDX-License-Identifier: Apache-2.0
// A protobuf-c message as JSON on one line, by the JSON mapping of proto3 ("ProtoJSON"): names in
// lowerCamelCase, 64-bit integers as text, enums by name, Duration as "1.500000000s", fields of
// default value left out. Bytes are hexadecimal. Walks descriptors; any thread.
#ifndef LS_CLIENT_JSON_H
#define LS_CLIENT_JSON_H

#include <stdio.h>

#include <protobuf-c/protobuf-c.h>

void ls_json_print(FILE *to, const ProtobufCMessage *message);

#endif
