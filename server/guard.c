// SPDX-License-Identifier: Apache-2.0
// The frame guard of a connection (guard.h): heads of nine bytes are gathered, bodies are skipped,
// what a head says is judged. Called by the front's thread for every run of bytes that it passes.
//
// What costs credit was chosen by what clients do in honest work. Not counted: opening streams (a
// thousand unary calls a second are nobody's attack), DATA with content, WINDOW_UPDATE, a ping
// after we sent something (grpc-go and grpc-java measure the line once a round trip while data
// flows), the end of a stream that we had ended (grpc-go resets one if we answer before it is
// done), our own RST_STREAM with NO_ERROR (C-core ends so what its peer has not half-closed).
#include "server/guard.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "server/guard_streams.h"

enum {
    FRAME_DATA,
    FRAME_HEADERS,
    FRAME_PRIORITY,
    FRAME_RST_STREAM,
    FRAME_SETTINGS,
    FRAME_PUSH_PROMISE,
    FRAME_PING,
    FRAME_GOAWAY,
    FRAME_WINDOW_UPDATE,
    FRAME_CONTINUATION,
};
enum { FLAG_END_STREAM = 1, FLAG_ACK = 1, FLAG_END_HEADERS = 4, FLAG_PADDED = 8 };
enum { HEAD = 9, FRAME_MAX = 16384, BURST_S = 10, STREAM_MAX = 0x7fffffff };

static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
enum { PREFACE = sizeof preface - 1 };

struct frame {
    int64_t length;
    uint32_t stream;
    uint8_t type, flags;
};

const char *ls_guard_text(enum ls_guard_verdict verdict)
{
    static const char *const texts[LS_GUARD_VERDICTS] = {
        [LS_GUARD_OK] = "nothing wrong",
        [LS_GUARD_NOT_HTTP2] = "not HTTP/2",
        [LS_GUARD_HTTP1] = "HTTP/1 on an HTTP/2 port",
        [LS_GUARD_RESETS] = "too many reset streams",
        [LS_GUARD_CONTROL] = "too many settings, pings, priorities or empty frames",
        [LS_GUARD_HEADERS] = "headers that are too large or not in time",
        [LS_GUARD_STREAMS] = "too many open streams",
        [LS_GUARD_FRAME] = "a frame that HTTP/2 forbids",
    };

    return verdict >= 0 && verdict < LS_GUARD_VERDICTS ? texts[verdict] : "unknown";
}

void ls_guard_init(struct ls_guard *g, const struct ls_guard_limits *limits, int64_t now_ms)
{
    memset(g, 0, sizeof *g);
    g->limits = *limits;
    g->out.goaway = STREAM_MAX;
    g->reset_credit = limits->resets_max * BURST_S * 1000;
    g->control_credit = limits->control_frames_max * BURST_S * 1000;
    g->credit_ms = now_ms;
}

void ls_guard_done(struct ls_guard *g)
{
    free(g->streams);
    memset(g, 0, sizeof *g);
}

bool ls_guard_greeted(const struct ls_guard *g)
{
    return g->preface_size == PREFACE;
}

bool ls_guard_late(const struct ls_guard *g, int64_t now_ms)
{
    return g->waiting && now_ms - g->since_ms > g->limits.headers_ms_max;
}

int64_t ls_guard_streams(const struct ls_guard *g)
{
    return g->opened - g->closed;
}

uint32_t ls_guard_goaway_max(const struct ls_guard *g)
{
    return g->out.goaway & STREAM_MAX;
}

void ls_guard_excuse(struct ls_guard *g, int64_t now_ms)
{
    g->since_ms = now_ms;
}

// --- credit ---

static int64_t refilled(int64_t credit, int64_t a_second, int64_t elapsed_ms)
{
    int64_t full = a_second * BURST_S * 1000;

    return credit + a_second * elapsed_ms < full ? credit + a_second * elapsed_ms : full;
}

static void refill(struct ls_guard *g, int64_t now_ms)
{
    int64_t elapsed_ms = now_ms - g->credit_ms;

    if (elapsed_ms <= 0)
        return;
    if (elapsed_ms > BURST_S * 1000)
        elapsed_ms = BURST_S * 1000;
    g->reset_credit = refilled(g->reset_credit, g->limits.resets_max, elapsed_ms);
    g->control_credit = refilled(g->control_credit, g->limits.control_frames_max, elapsed_ms);
    g->credit_ms = now_ms;
}

static enum ls_guard_verdict pay(int64_t *credit, enum ls_guard_verdict otherwise)
{
    if (*credit < 1000)
        return otherwise;
    *credit -= 1000;
    return LS_GUARD_OK;
}

static enum ls_guard_verdict pay_reset(struct ls_guard *g)
{
    return pay(&g->reset_credit, LS_GUARD_RESETS);
}

static enum ls_guard_verdict pay_control(struct ls_guard *g)
{
    return pay(&g->control_credit, LS_GUARD_CONTROL);
}

// The peer ends a stream that is gone: free if we ended it and this was under way.
static enum ls_guard_verdict pay_late(struct ls_guard *g)
{
    if (!g->late_ends)
        return pay_control(g);
    g->late_ends--;
    return LS_GUARD_OK;
}

static void expect_late(struct ls_guard *g)
{
    if (g->late_ends < g->limits.control_frames_max * BURST_S)
        g->late_ends++;
}

// --- open streams ---

// Twice the limit, because a client may open streams before it has seen our SETTINGS, and because
// gRPC itself holds those who have seen them to it.
static enum ls_guard_verdict stream_open(struct ls_guard *g, const struct frame *f)
{
    if (ls_guard_streams(g) >= 2 * g->limits.streams_max || !ls_guard_reserve(g))
        return LS_GUARD_STREAMS;
    g->last_stream = f->stream;
    g->streams[g->streams_size++] = (struct ls_guard_stream){
        .id = f->stream,
        .state = f->flags & FLAG_END_STREAM ? STREAM_PEER_ENDED : STREAM_OPEN,
    };
    g->opened++;
    return LS_GUARD_OK;
}

// The peer ends its half. False: there was nothing left to end.
static bool peer_ends(struct ls_guard *g, uint32_t id)
{
    struct ls_guard_stream *stream = ls_guard_find(g, id);

    if (!stream || stream->state == STREAM_PEER_ENDED)
        return false;
    if (stream->state == STREAM_WE_ENDED)
        ls_guard_close(g, stream);
    else
        stream->state = STREAM_PEER_ENDED;
    return true;
}

// --- frames ---

static struct frame frame_of(const uint8_t head[HEAD])
{
    return (struct frame){
        .length = (int64_t)head[0] << 16 | (int64_t)head[1] << 8 | head[2],
        .type = head[3],
        .flags = head[4],
        // The top bit is reserved and ignored (RFC 9113, 4.1).
        .stream =
            ((uint32_t)head[5] << 24 | (uint32_t)head[6] << 16 | (uint32_t)head[7] << 8 | head[8]) &
            STREAM_MAX,
    };
}

// Length and stream are what RFC 9113, section 6, allows a client.
static bool frame_allowed(const struct ls_guard *g, const struct frame *f)
{
    bool known = f->stream & 1 && f->stream <= g->last_stream;

    if (f->length > FRAME_MAX || (!g->in.settled && f->type != FRAME_SETTINGS))
        return false;
    if (g->in.header_stream)
        return f->type == FRAME_CONTINUATION && f->stream == g->in.header_stream;
    switch (f->type) {
    case FRAME_DATA:
        return known;
    case FRAME_HEADERS:
        return f->stream & 1;
    case FRAME_PRIORITY:
        return f->stream && f->length == 5;
    case FRAME_RST_STREAM:
        return known && f->length == 4;
    case FRAME_SETTINGS:
        return !f->stream && f->length % 6 == 0 && !(f->flags & FLAG_ACK && f->length) &&
               (g->in.settled || !(f->flags & FLAG_ACK));
    case FRAME_PING:
        return !f->stream && f->length == 8;
    case FRAME_GOAWAY:
        return !f->stream && f->length >= 8;
    case FRAME_WINDOW_UPDATE:
        return (known || !f->stream) && f->length == 4;
    default:
        return f->type != FRAME_CONTINUATION && f->type != FRAME_PUSH_PROMISE;
    }
}

static enum ls_guard_verdict in_headers(struct ls_guard *g, const struct frame *f)
{
    enum ls_guard_verdict r = LS_GUARD_OK;

    g->header_bytes = f->type == FRAME_HEADERS ? 0 : g->header_bytes;
    g->header_bytes += HEAD + f->length;
    if (g->header_bytes > g->limits.header_bytes_max)
        return LS_GUARD_HEADERS;
    g->in.header_stream = f->flags & FLAG_END_HEADERS ? 0 : f->stream;
    if (f->type == FRAME_CONTINUATION)
        return f->length ? LS_GUARD_OK : pay_control(g);
    if (f->stream > g->last_stream)
        return stream_open(g, f);
    // Trailers, or a block for a stream that is gone, which is unpacked all the same.
    if (!(f->flags & FLAG_END_STREAM) || !peer_ends(g, f->stream))
        r = pay_control(g);
    return r;
}

static enum ls_guard_verdict in_data(struct ls_guard *g, const struct frame *f)
{
    bool ends = f->flags & FLAG_END_STREAM && peer_ends(g, f->stream);

    if (f->length || ends)
        return LS_GUARD_OK;
    return f->flags & FLAG_END_STREAM ? pay_late(g) : pay_control(g);
}

static enum ls_guard_verdict in_reset(struct ls_guard *g, const struct frame *f)
{
    struct ls_guard_stream *stream = ls_guard_find(g, f->stream);

    if (stream) {
        bool ended = stream->state == STREAM_WE_ENDED;

        ls_guard_close(g, stream);
        return ended ? LS_GUARD_OK : pay_reset(g);
    }
    return pay_late(g);
}

static enum ls_guard_verdict in_frame(struct ls_guard *g, const struct frame *f)
{
    if (!frame_allowed(g, f))
        return LS_GUARD_FRAME;
    switch (f->type) {
    case FRAME_DATA:
        return in_data(g, f);
    case FRAME_HEADERS:
    case FRAME_CONTINUATION:
        return in_headers(g, f);
    case FRAME_RST_STREAM:
        return in_reset(g, f);
    case FRAME_WINDOW_UPDATE:
        return LS_GUARD_OK;
    case FRAME_PING:
        if (g->ping_free && !(f->flags & FLAG_ACK)) {
            g->ping_free = false;
            return LS_GUARD_OK;
        }
        return pay_control(g);
    default:
        return pay_control(g);
    }
}

// We end our half; gRPC resets the stream right after if the peer has not ended its own.
static void we_end(struct ls_guard *g, uint32_t id)
{
    struct ls_guard_stream *stream = ls_guard_find(g, id);

    if (!stream || stream->state == STREAM_WE_ENDED)
        return;
    expect_late(g);
    if (stream->state == STREAM_PEER_ENDED)
        ls_guard_close(g, stream);
    else
        stream->state = STREAM_WE_ENDED;
}

static void out_frame(struct ls_guard *g, const struct frame *f)
{
    if (f->type == FRAME_HEADERS || f->type == FRAME_DATA) {
        g->ping_free = true;
        if (f->flags & FLAG_END_STREAM)
            we_end(g, f->stream);
    }
}

// A RST_STREAM of ours is complete.
static enum ls_guard_verdict out_reset(struct ls_guard *g, uint32_t id, uint32_t code)
{
    struct ls_guard_stream *stream = ls_guard_find(g, id);

    if (stream) {
        if (stream->state != STREAM_WE_ENDED)
            expect_late(g);
        ls_guard_close(g, stream);
    }
    return code ? pay_reset(g) : LS_GUARD_OK;
}

// --- bytes ---

// Padded frames are left alone: gRPC 1.51 resets their streams.
static void body_pass(struct ls_guard *g, uint8_t *at, int64_t size)
{
    struct frame f = frame_of(g->in.head);
    struct ls_guard_stream *stream;

    if (!g->limits.message_bytes_max || f.type != FRAME_DATA || f.flags & FLAG_PADDED || !size)
        return;
    stream = ls_guard_find(g, f.stream);
    if (stream)
        ls_guard_messages(stream, at, (size_t)size, g->limits.message_bytes_max);
}

// Takes bytes of a frame's head and body. True: a head is complete, *f is what it says.
static bool side_head(struct ls_guard_side *s, const uint8_t **at, const uint8_t *end,
                      struct frame *f)
{
    while (*at < end && s->head_size < HEAD)
        s->head[s->head_size++] = *(*at)++;
    if (s->head_size < HEAD)
        return false;
    *f = frame_of(s->head);
    s->body_left = f->length;
    return true;
}

// The first four bytes of a GOAWAY's body, or those of them that are here.
static void side_goaway(struct ls_guard_side *s, const uint8_t *at, const uint8_t *end)
{
    struct frame f = frame_of(s->head);

    if (f.type != FRAME_GOAWAY)
        return;
    for (int64_t i = f.length - s->body_left; i < 4 && i < f.length && at < end; i++)
        s->goaway = s->goaway << 8 | *at++;
}

// Passes the body; its last four bytes are what `code` holds then. True: the frame is complete.
static bool side_body(struct ls_guard_side *s, const uint8_t **at, const uint8_t *end)
{
    int64_t n = end - *at < s->body_left ? end - *at : s->body_left;

    for (int64_t i = n > 4 ? n - 4 : 0; i < n; i++)
        s->code = s->code << 8 | (*at)[i];
    *at += n;
    s->body_left -= n;
    if (s->body_left)
        return false;
    s->head_size = 0;
    return true;
}

static enum ls_guard_verdict in_preface(struct ls_guard *g, const uint8_t **at, const uint8_t *end,
                                        int64_t now_ms)
{
    while (*at < end && g->preface_size < PREFACE) {
        uint8_t c = *(*at)++;

        // Where a method or its next letter stands instead, it is HTTP/1.
        if (c != (uint8_t)preface[g->preface_size])
            return g->preface_size < 4 && c >= 'A' && c <= 'Z' ? LS_GUARD_HTTP1
                                                               : LS_GUARD_NOT_HTTP2;
        g->preface_size++;
    }
    if (g->preface_size == PREFACE) {
        g->waiting = true; // for SETTINGS
        g->since_ms = now_ms;
    }
    return LS_GUARD_OK;
}

static enum ls_guard_verdict in_bytes(struct ls_guard *g, uint8_t *data, size_t size,
                                      int64_t now_ms)
{
    const uint8_t *at = data, *end = data + size;
    struct ls_guard_side *s = &g->in;
    enum ls_guard_verdict r = LS_GUARD_OK;
    struct frame f;

    if (g->preface_size < PREFACE)
        r = in_preface(g, &at, end, now_ms);
    while (r == LS_GUARD_OK && at < end) {
        if (s->head_size < HEAD) {
            if (!g->waiting) {
                g->waiting = true;
                g->since_ms = now_ms;
            }
            if (!side_head(s, &at, end, &f))
                break;
            r = in_frame(g, &f);
            if (r != LS_GUARD_OK)
                break;
            s->settled = true;
            // A message takes as long as its caller likes; the session's idle limit watches it.
            if (f.type == FRAME_DATA)
                g->waiting = false;
        }
        body_pass(g, data + (at - data), end - at < s->body_left ? end - at : s->body_left);
        if (side_body(s, &at, end) && !s->header_stream)
            g->waiting = false;
    }
    return r;
}

enum ls_guard_verdict ls_guard_in(struct ls_guard *g, void *data, size_t size, int64_t now_ms)
{
    if (g->verdict != LS_GUARD_OK)
        return g->verdict;
    refill(g, now_ms);
    if (size)
        g->verdict = in_bytes(g, data, size, now_ms);
    return g->verdict;
}

// True: the frame that ended leaves the side between two frames.
static bool out_ended(struct ls_guard_side *s)
{
    struct frame f = frame_of(s->head);

    s->settled = true;
    if (f.type == FRAME_HEADERS || f.type == FRAME_CONTINUATION)
        s->header_stream = f.flags & FLAG_END_HEADERS ? 0 : f.stream;
    return !s->header_stream;
}

enum ls_guard_verdict ls_guard_out(struct ls_guard *g, const void *data, size_t size,
                                   int64_t now_ms)
{
    const uint8_t *at = data, *end = at + size;
    struct ls_guard_side *s = &g->out;
    struct frame f;

    if (g->verdict != LS_GUARD_OK)
        return g->verdict;
    refill(g, now_ms);
    while (g->verdict == LS_GUARD_OK && at < end) {
        if (s->head_size < HEAD) {
            if (!side_head(s, &at, end, &f))
                break;
            out_frame(g, &f);
        }
        side_goaway(s, at, end);
        if (!side_body(s, &at, end))
            break;
        f = frame_of(s->head);
        if (f.type == FRAME_RST_STREAM)
            g->verdict = out_reset(g, f.stream, s->code);
        out_ended(s);
    }
    return g->verdict;
}

size_t ls_guard_border(const struct ls_guard *g, const void *data, size_t size)
{
    const uint8_t *at = data, *end = at + size;
    struct ls_guard_side s = g->out;
    struct frame f;

    if (s.settled && !s.head_size && !s.header_stream)
        return 0;
    while (at < end) {
        if (s.head_size < HEAD && !side_head(&s, &at, end, &f))
            break;
        if (side_body(&s, &at, end) && out_ended(&s))
            return (size_t)(at - (const uint8_t *)data);
    }
    return size + 1;
}

static void put32(uint8_t *out, uint32_t value)
{
    for (int i = 0; i < 4; i++)
        out[i] = (uint8_t)(value >> (24 - 8 * i));
}

void ls_guard_goaway(uint8_t out[LS_GUARD_GOAWAY], uint32_t last_stream, uint32_t code)
{
    assert(last_stream <= STREAM_MAX);
    memset(out, 0, HEAD);
    out[2] = LS_GUARD_GOAWAY - HEAD;
    out[3] = FRAME_GOAWAY;
    put32(out + HEAD, last_stream);
    put32(out + HEAD + 4, code);
}
