// SPDX-License-Identifier: Apache-2.0
// Watches the HTTP/2 frames of one connection (RFC 9113, section 4) as they pass, in both
// directions, without holding them: counts what peers can do cheaply and the server
// pays for (streams that are reset, by either side: CVE-2023-44487 and CVE-2025-8671; settings,
// pings, priorities, empty frames; header blocks that are too large or never end), and knows frame
// borders, so that a GOAWAY can be put between two frames. It changes one thing: the length of a
// gRPC message that claims to be too large is lowered to one byte more than is allowed, because
// gRPC 1.51 looks at it only after it has gathered the message, and its memory is everybody's
// (4 GiB claimed, 96 MiB gathered, and it began to reset streams by chance). Plain arithmetic on
// the bytes and on times that are given; no sockets, no clock; the only memory is twelve bytes an
// open stream. One thread at a time.
#ifndef LS_GUARD_H
#define LS_GUARD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// Limits; those a second have ten seconds' worth at once.
struct ls_guard_limits {
    int64_t resets_max, control_frames_max; // a second
    int64_t header_bytes_max;  // one block of headers, compressed, with its frames' heads
    int64_t headers_ms_max;    // from a block's first byte to its last; SETTINGS after the preface
    int64_t streams_max;       // open at once; the guard allows twice as many, for races
    int64_t message_bytes_max; // what gRPC takes, below 4 GiB - 1; 0: messages are not looked at
};

// What the peer does wrong. Order as in close reasons of metrics.h.
enum ls_guard_verdict {
    LS_GUARD_OK,
    LS_GUARD_NOT_HTTP2, // the preface is another
    LS_GUARD_HTTP1,     // it looks like a request of HTTP/1: worth an answer in that language
    LS_GUARD_RESETS,
    LS_GUARD_CONTROL,
    LS_GUARD_HEADERS, // too large, or not in time
    LS_GUARD_STREAMS,
    LS_GUARD_FRAME, // a length or an order that HTTP/2 forbids (a frame longer than 16384: we never
                    // allow more)
    LS_GUARD_VERDICTS,
};
const char *ls_guard_text(enum ls_guard_verdict verdict); // for the log

struct ls_guard_side {
    uint8_t head[9];
    int head_size;          // of the head that is being gathered
    int64_t body_left;      // of the frame that is passing
    uint32_t code;          // of a RST_STREAM that is passing
    uint32_t header_stream; // its block of headers has not ended; 0: none
    uint32_t goaway;        // last stream of a GOAWAY that is passing, or that passed last
    bool settled;           // the first frame, SETTINGS, has passed
};

struct ls_guard_stream; // in guard.c

struct ls_guard {
    struct ls_guard_limits limits;
    struct ls_guard_side in, out; // from the peer, to the peer
    int preface_size;             // bytes of the client's preface seen
    enum ls_guard_verdict verdict;
    int64_t opened, closed;          // streams
    struct ls_guard_stream *streams; // open ones in the order of their ids, and gaps of closed ones
    size_t streams_size, streams_room;
    uint32_t last_stream;
    int64_t header_bytes;
    int64_t since_ms;  // the first byte of what late() watches
    bool waiting;      // there is such a thing
    int64_t late_ends; // streams that we ended and whose end by the peer may still be under way
    bool ping_free;    // the peer was sent data or headers since its last ping
    int64_t reset_credit, control_credit, credit_ms; // thousandths of a frame
};

void ls_guard_init(struct ls_guard *g, const struct ls_guard_limits *limits, int64_t now_ms);
void ls_guard_done(struct ls_guard *g); // frees what it holds; zeroed or done before is fine
// Bytes from the peer, before they are passed on; message lengths among them may change. After a
// verdict that is not OK nothing of these bytes may be passed on, nor before the preface is whole;
// the same verdict comes from then on.
enum ls_guard_verdict ls_guard_in(struct ls_guard *g, void *data, size_t size, int64_t now_ms);
// Bytes to the peer.
enum ls_guard_verdict ls_guard_out(struct ls_guard *g, const void *data, size_t size,
                                   int64_t now_ms);
bool ls_guard_greeted(const struct ls_guard *g); // the whole preface has arrived
// Bytes of `data`, which are about to be given to ls_guard_out, up to the next place where a frame
// of another kind may stand (between two frames, after our SETTINGS, not inside a block of
// headers); 0: they begin at one; size + 1: there is none in them.
size_t ls_guard_border(const struct ls_guard *g, const void *data, size_t size);
// What the peer began is not complete in time: its SETTINGS after the preface, a block of headers,
// any frame but DATA.
bool ls_guard_late(const struct ls_guard *g, int64_t now_ms);
// Streams that are open now, by what passed.
int64_t ls_guard_streams(const struct ls_guard *g);

// The largest last stream that a GOAWAY may name now: none may name more than the one before it
// (RFC 9113, 6.8), and clients end the connection if one does.
uint32_t ls_guard_goaway_max(const struct ls_guard *g);
// What the peer began was held up by us: its time begins anew.
void ls_guard_excuse(struct ls_guard *g, int64_t now_ms);

enum { LS_GUARD_GOAWAY = 17 };
// A GOAWAY frame: last stream 2^31-1 (drain) or the last one seen (an error); code as RFC 9113, 7.
void ls_guard_goaway(uint8_t out[LS_GUARD_GOAWAY], uint32_t last_stream, uint32_t code);

#endif
