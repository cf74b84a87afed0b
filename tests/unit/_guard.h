// SPDX-License-Identifier: Apache-2.0
// Frames for the tests of the frame guard: built by hand, given to one side or the other, and a
// connection that has said its greetings.
#ifndef LS_TEST_GUARD_H
#define LS_TEST_GUARD_H

#include <stdint.h>
#include <string.h>

#include "server/guard.h"
#include "tests/unit/_check.h"

enum { DATA, HEADERS, PRIORITY, RST, SETTINGS, PUSH, PING, GOAWAY, WINDOW, CONTINUATION };
enum { END = 1, ACK = 1, READY = 4 };

struct bytes {
    uint8_t data[1 << 16];
    size_t size;
};

static inline void put(struct bytes *b, int type, int flags, uint32_t stream, uint32_t length,
                       uint32_t word)
{
    uint8_t head[9] = {(uint8_t)(length >> 16), (uint8_t)(length >> 8), (uint8_t)length,
                       (uint8_t)type,           (uint8_t)flags,         (uint8_t)(stream >> 24),
                       (uint8_t)(stream >> 16), (uint8_t)(stream >> 8), (uint8_t)stream};

    memcpy(b->data + b->size, head, sizeof head);
    b->size += sizeof head;
    memset(b->data + b->size, 0, length);
    for (uint32_t i = 0; i < length && i < 4; i++) // its last bytes, big-endian
        b->data[b->size + length - 1 - i] = (uint8_t)(word >> 8 * i);
    b->size += length;
}

static inline void put_text(struct bytes *b, const char *text)
{
    memcpy(b->data + b->size, text, strlen(text));
    b->size += strlen(text);
}

static inline void put_preface(struct bytes *b)
{
    put_text(b, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
}

static inline enum ls_guard_verdict in(struct ls_guard *g, int type, int flags, uint32_t stream,
                                       uint32_t length, int64_t now_ms)
{
    static struct bytes b;

    b.size = 0;
    put(&b, type, flags, stream, length, 8);
    return ls_guard_in(g, b.data, b.size, now_ms);
}

static inline enum ls_guard_verdict out(struct ls_guard *g, int type, int flags, uint32_t stream,
                                        uint32_t length, uint32_t word)
{
    static struct bytes b;

    b.size = 0;
    put(&b, type, flags, stream, length, word);
    return ls_guard_out(g, b.data, b.size, 0);
}

// A connection that has said its preface and SETTINGS; the latter cost a control frame.
static inline struct ls_guard greeted_with(const struct ls_guard_limits *with)
{
    struct ls_guard g;
    struct bytes b = {.size = 0};

    ls_guard_init(&g, with, 0);
    put_preface(&b);
    put(&b, SETTINGS, 0, 0, 6, 0);
    CHECK(ls_guard_in(&g, b.data, b.size, 0) == LS_GUARD_OK && ls_guard_greeted(&g), "greeting");
    CHECK(out(&g, SETTINGS, 0, 0, 12, 0) == LS_GUARD_OK, "greeting back");
    return g;
}

#endif
