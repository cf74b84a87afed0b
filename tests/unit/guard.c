// SPDX-License-Identifier: Apache-2.0
// The frame guard: what each kind of frame costs, where exactly a limit is, when a stream is open,
// where a GOAWAY may stand, and that honest traffic passes.
#include <stdint.h>
#include <string.h>

#include "server/guard.h"
#include "tests/unit/_check.h"
#include "tests/unit/_guard.h"

static const struct ls_guard_limits limits = {.resets_max = 10,
                                              .control_frames_max = 20,
                                              .header_bytes_max = 1000,
                                              .headers_ms_max = 500,
                                              .streams_max = 50};

static enum ls_guard_verdict feed(struct ls_guard *g, struct bytes *b)
{
    return ls_guard_in(g, b->data, b->size, 0);
}

static struct ls_guard greeted(void)
{
    return greeted_with(&limits);
}

// --- rows: a frame on a greeted connection where stream 1 is open, 3 is closed, 5 is idle ---

static const struct {
    const char *name;
    int type, flags;
    uint32_t stream, length;
    enum ls_guard_verdict want;
    int control, resets; // what it costs
} frames[] = {
    {"data", DATA, 0, 1, 100, LS_GUARD_OK, 0, 0},
    {"largest data", DATA, 0, 1, 16384, LS_GUARD_OK, 0, 0},
    {"data that is too long", DATA, 0, 1, 16385, LS_GUARD_FRAME, 0, 0},
    {"empty data", DATA, 0, 1, 0, LS_GUARD_OK, 1, 0},
    {"empty data that ends", DATA, END, 1, 0, LS_GUARD_OK, 0, 0},
    {"data on a closed stream", DATA, 0, 3, 10, LS_GUARD_OK, 0, 0},
    {"empty end of a stream that the peer reset", DATA, END, 3, 0, LS_GUARD_OK, 1, 0},
    {"data on an idle stream", DATA, 0, 5, 10, LS_GUARD_FRAME, 0, 0},
    {"data on stream 0", DATA, 0, 0, 10, LS_GUARD_FRAME, 0, 0},
    {"data on an even stream", DATA, 0, 2, 10, LS_GUARD_FRAME, 0, 0},
    {"headers", HEADERS, READY, 5, 50, LS_GUARD_OK, 0, 0},
    {"headers on an even stream", HEADERS, READY, 6, 50, LS_GUARD_FRAME, 0, 0},
    {"headers on stream 0", HEADERS, READY, 0, 50, LS_GUARD_FRAME, 0, 0},
    {"headers of the largest size", HEADERS, READY, 5, 991, LS_GUARD_OK, 0, 0},
    {"headers that are too large", HEADERS, READY, 5, 992, LS_GUARD_HEADERS, 0, 0},
    {"trailers", HEADERS, READY | END, 1, 20, LS_GUARD_OK, 0, 0},
    {"headers in the middle", HEADERS, READY, 1, 20, LS_GUARD_OK, 1, 0},
    {"headers on a closed stream", HEADERS, READY | END, 3, 20, LS_GUARD_OK, 1, 0},
    {"priority", PRIORITY, 0, 9, 5, LS_GUARD_OK, 1, 0},
    {"priority of four bytes", PRIORITY, 0, 9, 4, LS_GUARD_FRAME, 0, 0},
    {"priority on stream 0", PRIORITY, 0, 0, 5, LS_GUARD_FRAME, 0, 0},
    {"reset", RST, 0, 1, 4, LS_GUARD_OK, 0, 1},
    {"reset of a closed stream", RST, 0, 3, 4, LS_GUARD_OK, 1, 0},
    {"reset of an idle stream", RST, 0, 5, 4, LS_GUARD_FRAME, 0, 0},
    {"reset of five bytes", RST, 0, 1, 5, LS_GUARD_FRAME, 0, 0},
    {"settings", SETTINGS, 0, 0, 18, LS_GUARD_OK, 1, 0},
    {"settings acknowledged", SETTINGS, ACK, 0, 0, LS_GUARD_OK, 1, 0},
    {"settings acknowledged with a body", SETTINGS, ACK, 0, 6, LS_GUARD_FRAME, 0, 0},
    {"settings of seven bytes", SETTINGS, 0, 0, 7, LS_GUARD_FRAME, 0, 0},
    {"settings on a stream", SETTINGS, 0, 1, 6, LS_GUARD_FRAME, 0, 0},
    {"push promise", PUSH, READY, 1, 10, LS_GUARD_FRAME, 0, 0},
    {"ping", PING, 0, 0, 8, LS_GUARD_OK, 1, 0},
    {"answer to a ping", PING, ACK, 0, 8, LS_GUARD_OK, 1, 0},
    {"ping of seven bytes", PING, 0, 0, 7, LS_GUARD_FRAME, 0, 0},
    {"ping on a stream", PING, 0, 1, 8, LS_GUARD_FRAME, 0, 0},
    {"goaway", GOAWAY, 0, 0, 8, LS_GUARD_OK, 1, 0},
    {"goaway of seven bytes", GOAWAY, 0, 0, 7, LS_GUARD_FRAME, 0, 0},
    {"window of the connection", WINDOW, 0, 0, 4, LS_GUARD_OK, 0, 0},
    {"window of a stream", WINDOW, 0, 1, 4, LS_GUARD_OK, 0, 0},
    {"window of an idle stream", WINDOW, 0, 5, 4, LS_GUARD_FRAME, 0, 0},
    {"window of three bytes", WINDOW, 0, 1, 3, LS_GUARD_FRAME, 0, 0},
    {"continuation of nothing", CONTINUATION, READY, 1, 10, LS_GUARD_FRAME, 0, 0},
    {"a kind that nobody knows", 200, 0, 1, 10, LS_GUARD_OK, 1, 0},
};

static void rows(void)
{
    for (size_t i = 0; i < sizeof frames / sizeof frames[0]; i++) {
        struct ls_guard g = greeted();
        int64_t control, resets;

        in(&g, HEADERS, READY, 1, 10, 0);
        in(&g, HEADERS, READY, 3, 10, 0);
        in(&g, RST, 0, 3, 4, 0);
        control = g.control_credit, resets = g.reset_credit;
        CHECK(in(&g, frames[i].type, frames[i].flags, frames[i].stream, frames[i].length, 0) ==
                  frames[i].want,
              frames[i].name);
        CHECK(control - g.control_credit == frames[i].control * 1000, frames[i].name);
        CHECK(resets - g.reset_credit == frames[i].resets * 1000, frames[i].name);
        if (frames[i].want) // it stays so
            CHECK(in(&g, DATA, 0, 1, 10, 0) == frames[i].want, frames[i].name);
        ls_guard_done(&g);
    }
}

// --- the beginning ---

static void beginnings(void)
{
    static const struct {
        const char *name, *text;
        enum ls_guard_verdict want;
    } cases[] = {
        {"nothing", "", LS_GUARD_OK},
        {"part of the preface", "PRI * HT", LS_GUARD_OK},
        {"GET", "GET / HTTP/1.1\r\n", LS_GUARD_HTTP1},
        {"POST", "POST / HTTP/1.1\r\n", LS_GUARD_HTTP1},
        {"PUT", "PUT /", LS_GUARD_HTTP1},
        {"an older PRI", "PRI * HTTP/1.1\r\n", LS_GUARD_NOT_HTTP2},
        {"preface with a fault at its end", "PRI * HTTP/2.0\r\n\r\nSM\r\n\rX", LS_GUARD_NOT_HTTP2},
        {"TLS", "\x16\x03\x01\x02", LS_GUARD_NOT_HTTP2},
        {"noise", "\xff\xfe", LS_GUARD_NOT_HTTP2},
    };
    struct ls_guard g;
    struct bytes b = {.size = 0};

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        ls_guard_init(&g, &limits, 0);
        b.size = 0;
        put_text(&b, cases[i].text);
        CHECK(feed(&g, &b) == cases[i].want, cases[i].name);
        CHECK(!ls_guard_greeted(&g) && !ls_guard_late(&g, 100000), cases[i].name);
    }
    ls_guard_init(&g, &limits, 0);
    b.size = 0;
    put_preface(&b);
    put(&b, HEADERS, READY, 1, 10, 0);
    CHECK(feed(&g, &b) == LS_GUARD_FRAME, "headers before settings");
    ls_guard_done(&g);
    ls_guard_init(&g, &limits, 0);
    b.size = 0;
    put_preface(&b);
    put(&b, SETTINGS, ACK, 0, 0, 0);
    CHECK(feed(&g, &b) == LS_GUARD_FRAME, "acknowledged settings first");
    for (int i = 0; i < LS_GUARD_VERDICTS; i++)
        CHECK(strlen(ls_guard_text(i)) > 5, "texts");
}

// --- limits ---

static void credits(void)
{
    struct ls_guard g = greeted();
    uint32_t id = 1;

    // Ten seconds' worth at once, then what a second brings.
    for (int i = 0; i < 100; i++, id += 2) {
        CHECK(in(&g, HEADERS, READY, id, 10, 0) == LS_GUARD_OK, "open");
        CHECK(in(&g, RST, 0, id, 4, 0) == LS_GUARD_OK, "resets of a burst");
    }
    in(&g, HEADERS, READY, id, 10, 1000);
    for (int i = 0; i < 10; i++, id += 2) {
        CHECK(in(&g, RST, 0, id, 4, 1000) == LS_GUARD_OK, "resets of a second");
        in(&g, HEADERS, READY, id + 2, 10, 1000);
    }
    CHECK(in(&g, DATA, 0, id, 10, 500) == LS_GUARD_OK, "a clock that goes back");
    CHECK(in(&g, DATA, 0, id, 10, 1099) == LS_GUARD_OK, "part of a reset");
    CHECK(g.reset_credit == 990, "part of a reset");
    CHECK(in(&g, RST, 0, id, 4, 1099) == LS_GUARD_RESETS, "a reset too many");
    ls_guard_done(&g);

    g = greeted();
    for (int i = 1; i < 200; i++)
        CHECK(in(&g, SETTINGS, 0, 0, 6, 0) == LS_GUARD_OK, "settings of a burst");
    CHECK(in(&g, PING, 0, 0, 8, 49) == LS_GUARD_CONTROL, "a ping too many");
    ls_guard_done(&g);

    g = greeted();
    for (int i = 1; i < 200; i++)
        in(&g, PRIORITY, 0, 1, 5, 0);
    CHECK(in(&g, PRIORITY, 0, 1, 5, 50) == LS_GUARD_OK, "a priority just in time");
    CHECK(in(&g, PRIORITY, 0, 1, 5, 1000 * 3600 * 24 * 300LL) == LS_GUARD_OK, "long silence");
    CHECK(g.control_credit == 199000, "credit is never more than a burst");
    ls_guard_done(&g);
}

static void own_resets(void)
{
    struct ls_guard g = greeted();
    uint32_t id = 1;

    for (int i = 0; i < 1000; i++, id += 2) {
        in(&g, HEADERS, READY, id, 10, 0);
        CHECK(out(&g, HEADERS, READY | END, id, 10, 0) == LS_GUARD_OK, "a refusal");
        CHECK(out(&g, RST, 0, id, 4, 0) == LS_GUARD_OK, "NO_ERROR is not counted");
        CHECK(in(&g, RST, 0, id, 4, 0) == LS_GUARD_OK, "nor the peer's answer to it");
    }
    CHECK(ls_guard_streams(&g) == 0 && g.reset_credit == 100000, "refusals");
    for (int i = 0; i < 100; i++, id += 2) {
        in(&g, HEADERS, READY, id, 10, 0);
        CHECK(out(&g, RST, 0, id, 4, 1) == LS_GUARD_OK, "made to reset");
    }
    in(&g, HEADERS, READY, id, 10, 0);
    CHECK(out(&g, RST, 0, id, 4, 1) == LS_GUARD_RESETS, "made to reset once too often");
    CHECK(in(&g, DATA, 0, 1, 1, 0) == LS_GUARD_RESETS, "the verdict is for both sides");
    ls_guard_done(&g);
}

static void blocks(void)
{
    struct ls_guard g = greeted();
    int64_t control;

    CHECK(in(&g, HEADERS, 0, 1, 491, 0) == LS_GUARD_OK, "a block begins");
    control = g.control_credit;
    CHECK(in(&g, CONTINUATION, 0, 1, 482, 0) == LS_GUARD_OK, "and goes on");
    CHECK(in(&g, CONTINUATION, 0, 1, 0, 0) == LS_GUARD_OK && control - g.control_credit == 1000,
          "an empty one counts");
    CHECK(in(&g, CONTINUATION, READY, 1, 1, 0) == LS_GUARD_HEADERS, "a byte too many");
    ls_guard_done(&g);

    g = greeted();
    CHECK(in(&g, HEADERS, 0, 1, 400, 0) == LS_GUARD_OK, "half a block");
    CHECK(in(&g, CONTINUATION, READY, 1, 400, 0) == LS_GUARD_OK, "its other half");
    CHECK(in(&g, HEADERS, 0, 3, 900, 0) == LS_GUARD_OK, "sizes begin anew");
    CHECK(in(&g, PING, 0, 0, 8, 0) == LS_GUARD_FRAME, "a ping inside a block");
    ls_guard_done(&g);
    g = greeted();
    in(&g, HEADERS, 0, 1, 10, 0);
    CHECK(in(&g, CONTINUATION, READY, 3, 10, 0) == LS_GUARD_FRAME, "of another stream");
    ls_guard_done(&g);
}

static void times(void)
{
    static uint8_t head[] = {0, 0, 10, DATA, 0, 0, 0, 0, 1};
    static uint8_t text[] = "0123456789";
    static uint8_t ping[] = {0, 0, 8, PING, 0, 0, 0, 0, 0, 1};
    struct ls_guard g;
    struct bytes b = {.size = 0};

    ls_guard_init(&g, &limits, 0);
    put_preface(&b);
    CHECK(ls_guard_in(&g, b.data, b.size, 7) == LS_GUARD_OK, "preface");
    CHECK(!ls_guard_late(&g, 507) && ls_guard_late(&g, 508), "settings are awaited");
    in(&g, SETTINGS, 0, 0, 0, 8);
    CHECK(!ls_guard_late(&g, 100000), "settings came");

    in(&g, HEADERS, 0, 1, 10, 1000);
    in(&g, CONTINUATION, 0, 1, 10, 1400);
    CHECK(!ls_guard_late(&g, 1500) && ls_guard_late(&g, 1501), "a block is awaited");
    in(&g, CONTINUATION, READY, 1, 10, 1500);
    CHECK(!ls_guard_late(&g, 100000), "the block is complete");
    ls_guard_in(&g, head, 8, 2000);
    CHECK(!ls_guard_late(&g, 2500) && ls_guard_late(&g, 2501), "a head is awaited");
    ls_guard_in(&g, head + 8, 1, 2400);
    CHECK(!ls_guard_late(&g, 100000), "data may take its time");
    ls_guard_in(&g, text, 10, 90000);
    ls_guard_in(&g, ping, 10, 100000);
    CHECK(ls_guard_late(&g, 100501), "a ping is awaited");
    ls_guard_done(&g);
}

static void streams(void)
{
    struct ls_guard g = greeted();
    uint32_t id = 1;

    for (int i = 0; i < 100; i++, id += 2)
        CHECK(in(&g, HEADERS, READY, id, 10, 0) == LS_GUARD_OK, "twice the limit");
    CHECK(ls_guard_streams(&g) == 100, "all are open");
    // Each way in which a stream ends, once; the same end twice counts once.
    in(&g, RST, 0, 1, 4, 0);
    in(&g, RST, 0, 1, 4, 0);
    CHECK(ls_guard_streams(&g) == 99, "reset by the peer");
    out(&g, RST, 0, 3, 4, 2);
    in(&g, RST, 0, 3, 4, 0);
    CHECK(ls_guard_streams(&g) == 98, "reset by us");
    in(&g, DATA, END, 5, 1, 0);
    in(&g, DATA, END, 5, 1, 0);
    CHECK(ls_guard_streams(&g) == 98, "half closed");
    out(&g, HEADERS, END | READY, 5, 4, 0);
    CHECK(ls_guard_streams(&g) == 97, "the peer's end first");
    out(&g, HEADERS, END | READY, 7, 4, 0);
    CHECK(ls_guard_streams(&g) == 97, "our half closed");
    in(&g, HEADERS, END | READY, 7, 4, 0);
    CHECK(ls_guard_streams(&g) == 96, "our end first");
    out(&g, DATA, END, 9, 4, 0);
    out(&g, RST, 0, 9, 4, 0);
    in(&g, RST, 0, 9, 4, 0);
    CHECK(ls_guard_streams(&g) == 95, "our end, then reset by both");
    in(&g, HEADERS, END | READY, id, 10, 0);
    out(&g, HEADERS, END | READY, id, 10, 0);
    CHECK(ls_guard_streams(&g) == 95, "a call without a body");
    for (int i = 0; i < 5; i++)
        CHECK(in(&g, HEADERS, READY, id += 2, 10, 0) == LS_GUARD_OK, "up to the limit again");
    CHECK(in(&g, HEADERS, READY, id + 2, 10, 0) == LS_GUARD_STREAMS, "one too many");
    ls_guard_done(&g);
}

// An hour-long stream beside a hundred thousand short ones: memory stays small.
static void long_stream(void)
{
    struct ls_guard g = greeted();
    uint32_t id = 3;

    in(&g, HEADERS, READY, 1, 10, 0);
    for (int i = 0; i < 100000; i++, id += 2) {
        in(&g, HEADERS, END | READY, id, 10, i);
        out(&g, HEADERS, END | READY, id, 10, 0);
    }
    CHECK(g.verdict == LS_GUARD_OK && ls_guard_streams(&g) == 1, "long stream");
    CHECK(g.streams_room <= 64, "gaps are closed");
    in(&g, RST, 0, 1, 4, 100000);
    CHECK(ls_guard_streams(&g) == 0, "the long stream is still known");
    ls_guard_done(&g);
}

// The length that a message claims, byte for byte as it passes; cut anywhere.
static void messages(void)
{
    static const struct {
        const char *name;
        uint32_t claims, want;
    } cases[] = {
        {"empty", 0, 0},
        {"small", 5, 5},
        {"as large as allowed", 0x20304, 0x20304},
        {"one more", 0x20305, 0x20305},
        {"two more", 0x20306, 0x20305},
        {"a higher third byte", 0x20400, 0x20305},
        {"a lower third byte", 0x202ff, 0x202ff},
        {"a higher second byte", 0x30000, 0x20305},
        {"a lower second byte", 0x1ffff, 0x1ffff},
        {"a higher first byte", 0x1000000, 0x20305},
        {"all", 0xffffffff, 0x20305},
    };
    static const struct ls_guard_limits with = {.resets_max = 10,
                                                .control_frames_max = 20,
                                                .header_bytes_max = 1000,
                                                .headers_ms_max = 500,
                                                .streams_max = 50,
                                                .message_bytes_max = 0x20304};

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        for (int cut = 0; cut <= 5; cut++) {
            struct ls_guard g = greeted_with(&with);
            uint8_t bytes[9 + 5] = {0, 0, (uint8_t)cut, DATA, 0, 0, 0, 0, 1};
            uint8_t more[9 + 5] = {0, 0, (uint8_t)(5 - cut), DATA, 0, 0, 0, 0, 1};
            uint8_t head[5] = {1}, got[5];

            in(&g, HEADERS, READY, 1, 10, 0);
            in(&g, HEADERS, READY, 3, 10, 0);
            in(&g, DATA, 0, 3, 1, 0); // the other stream's place is its own
            for (int k = 0; k < 4; k++)
                head[1 + k] = (uint8_t)(cases[i].claims >> (24 - 8 * k));
            memcpy(bytes + 9, head, (size_t)cut);
            memcpy(more + 9, head + cut, (size_t)(5 - cut));
            ls_guard_in(&g, bytes, 9 + (size_t)cut, 0);
            in(&g, DATA, 0, 3, 1, 0);
            ls_guard_in(&g, more, 9 + (size_t)(5 - cut), 0);
            memcpy(got, bytes + 9, (size_t)cut);
            memcpy(got + cut, more + 9, (size_t)(5 - cut));
            CHECK(got[0] == 1, cases[i].name);
            CHECK(((uint32_t)got[1] << 24 | got[2] << 16 | got[3] << 8 | got[4]) == cases[i].want,
                  cases[i].name);
            ls_guard_done(&g);
        }
    }
}

// After a message comes the next one's head; its content is left as it is.
static void message_runs(void)
{
    static const struct ls_guard_limits with = {.resets_max = 10,
                                                .control_frames_max = 20,
                                                .header_bytes_max = 1000,
                                                .headers_ms_max = 500,
                                                .streams_max = 50,
                                                .message_bytes_max = 6};
    static const uint8_t want[] = {0, 0, 0, 0, 6,    255, 255, 255, 255, 255, 255, 9,
                                   0, 0, 0, 0, 0,    0,   0,   0,   7,   1,   2,   3,
                                   4, 5, 6, 7, 0xff, 0,   0,   0,   2,   1,   1};
    struct ls_guard g = greeted_with(&with);
    uint8_t bytes[9 + sizeof want] = {0, 0, sizeof want, DATA, 0, 0, 0, 0, 1};

    in(&g, HEADERS, READY, 1, 10, 0);
    memcpy(bytes + 9, want, sizeof want);
    bytes[9 + 11 + 5 + 1] = 0x80; // the third message claims two gigabytes
    ls_guard_in(&g, bytes, sizeof bytes, 0);
    CHECK(!memcmp(bytes + 9, want, sizeof want), "a run of messages");
    bytes[4] = 8; // padded: not looked at
    bytes[9 + 11 + 5 + 1] = 0x80;
    ls_guard_in(&g, bytes, sizeof bytes, 0);
    CHECK(bytes[9 + 11 + 5 + 1] == 0x80, "padded data");
    ls_guard_done(&g);
}

// What clients do in one second each, for half a minute, at limits as by default.
static void honest(void)
{
    static const struct ls_guard_limits usual = {.resets_max = 100,
                                                 .control_frames_max = 1000,
                                                 .header_bytes_max = 16384,
                                                 .headers_ms_max = 10000,
                                                 .streams_max = 132};
    struct ls_guard g = greeted_with(&usual);
    uint32_t id = 3;
    int64_t now = 0;

    in(&g, HEADERS, READY, 1, 100, now);
    for (int second = 0; second < 30; second++) {
        for (int i = 0; i < 5000; i++, id += 2) {
            now = second * 1000 + i / 5;
            in(&g, HEADERS, READY, id, 100, now);
            in(&g, DATA, END, id, 20, now);
            out(&g, HEADERS, READY, id, 50, 0);
            out(&g, DATA, 0, id, 50, 0);
            out(&g, HEADERS, READY | END, id, 50, 0);
            in(&g, PING, 0, 0, 8, now); // as grpc-go measures
            in(&g, WINDOW, 0, 0, 4, now);
            in(&g, DATA, 0, 1, 16384, now); // an upload beside
            out(&g, WINDOW, 0, 1, 4, 0);
        }
        in(&g, PING, 0, 0, 8, now); // keepalive
        in(&g, PING, ACK, 0, 8, now);
        for (int i = 0; i < 50; i++, id += 2) { // callers that give up
            in(&g, HEADERS, READY, id, 100, now);
            in(&g, RST, 0, id, 4, now);
        }
        for (int i = 0; i < 2000; i++, id += 2) { // refused while their bodies come
            in(&g, HEADERS, READY, id, 100, now);
            out(&g, HEADERS, READY | END, id, 50, 0);
            out(&g, RST, 0, id, 4, 0);
            in(&g, DATA, END, id, 0, now);
        }
    }
    CHECK(g.verdict == LS_GUARD_OK, ls_guard_text(g.verdict));
    CHECK(ls_guard_streams(&g) == 1, "honest traffic");
    CHECK(in(&g, PING, 0, 0, 8, now) == LS_GUARD_OK, "honest traffic");
    ls_guard_done(&g);
}

static void pings(void)
{
    struct ls_guard g = greeted();
    int64_t credit = g.control_credit;

    in(&g, HEADERS, READY, 1, 10, 0);
    out(&g, DATA, 0, 1, 10, 0);
    in(&g, PING, 0, 0, 8, 0);
    CHECK(g.control_credit == credit, "a ping after data");
    in(&g, PING, 0, 0, 8, 0);
    CHECK(g.control_credit == credit - 1000, "a second one");
    out(&g, DATA, 0, 1, 10, 0);
    in(&g, PING, ACK, 0, 8, 0);
    CHECK(g.control_credit == credit - 2000, "answers are no measurement");
    ls_guard_done(&g);
}

// --- borders and GOAWAY ---

static void borders(void)
{
    struct ls_guard g;
    struct bytes b = {.size = 0};

    ls_guard_init(&g, &limits, 0);
    put(&b, SETTINGS, 0, 0, 6, 0);
    put(&b, HEADERS, 0, 1, 5, 0);
    put(&b, CONTINUATION, READY, 1, 5, 0);
    put(&b, DATA, 0, 1, 10, 0);
    // Good places: after SETTINGS (15), the block (43) and DATA (62); not inside the block (29).
    for (size_t passed = 0; passed <= b.size; passed++) {
        size_t next = passed <= 15 ? 15 : passed <= 43 ? 43 : 62;

        for (size_t shown = 0; passed + shown <= b.size; shown++) {
            size_t want = shown >= next - passed ? next - passed : shown + 1;

            CHECK(ls_guard_border(&g, b.data + passed, shown) == want, "border");
        }
        if (passed < b.size)
            CHECK(ls_guard_out(&g, b.data + passed, 1, 0) == LS_GUARD_OK, "border");
    }
    ls_guard_done(&g);
}

static void goaway(void)
{
    static const uint8_t want[LS_GUARD_GOAWAY] = {0,    0,    8,    7,    0, 0, 0, 0, 0,
                                                  0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 11};
    uint8_t got[LS_GUARD_GOAWAY];

    ls_guard_goaway(got, 0x7fffffff, 11);
    CHECK(!memcmp(got, want, sizeof want), "GOAWAY");
}

int main(void)
{
    rows();
    beginnings();
    credits();
    own_resets();
    blocks();
    times();
    streams();
    long_stream();
    messages();
    message_runs();
    honest();
    pings();
    borders();
    goaway();
    return check_done();
}
