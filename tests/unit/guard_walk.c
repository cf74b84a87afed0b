// SPDX-License-Identifier: Apache-2.0
// The frame guard on a long walk of random and damaged frames: bytes in pieces come to the same as
// bytes in one run, counts stay in their bounds, and nothing is read or written that should not be
// (under the sanitizers).
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "server/guard.h"
#include "tests/unit/_check.h"
#include "tests/unit/_guard.h"

static const struct ls_guard_limits limits = {.resets_max = 1000,
                                              .control_frames_max = 1000,
                                              .header_bytes_max = 200,
                                              .headers_ms_max = 500,
                                              .streams_max = 100,
                                              .message_bytes_max = 20};

static uint64_t state = 1;

static uint32_t noise(uint32_t below)
{
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(state >> 33) % below;
}

// A run of frames that are mostly right, now and then with a byte turned. last: the highest stream.
static void make(struct bytes *b, uint32_t last)
{
    b->size = 0;
    for (int i = 0; i < 6; i++) {
        uint32_t stream = 1 + 2 * noise((last + 1) / 2);

        switch (noise(200) ? 1 + noise(6) : 0) {
        case 0:
            put(b, noise(12), noise(256), noise(2) ? 0 : stream, noise(40), noise(3));
            break;
        case 1:
            last += 2;
            put(b, HEADERS, noise(2) ? READY : READY | END, last, noise(60), 0);
            break;
        case 2:
            put(b, HEADERS, noise(2), stream, noise(97), 0);
            put(b, CONTINUATION, READY, stream, noise(97), 0);
            break;
        case 3:
            put(b, RST, 0, stream, 4, noise(2) * 8);
            break;
        default:
            put(b, DATA, noise(2), stream, noise(60), noise(60));
        }
    }
    if (!noise(300))
        b->data[noise((uint32_t)b->size)] ^= (uint8_t)(1u << noise(8));
}

static bool same(const struct ls_guard *a, const struct ls_guard *b)
{
    return a->verdict == b->verdict && a->opened == b->opened && a->closed == b->closed &&
           a->last_stream == b->last_stream && a->reset_credit == b->reset_credit &&
           a->control_credit == b->control_credit && a->late_ends == b->late_ends &&
           a->waiting == b->waiting && a->in.head_size == b->in.head_size &&
           a->in.body_left == b->in.body_left && a->out.body_left == b->out.body_left &&
           a->in.header_stream == b->in.header_stream && a->ping_free == b->ping_free;
}

// Gives the same bytes to one guard whole and to one in pieces; what they make of them is the same,
// too. Those who met a verdict stop.
static bool both(struct ls_guard *whole, struct ls_guard *cut, struct bytes *b, bool inward,
                 int64_t now_ms)
{
    static struct bytes copy;
    enum ls_guard_verdict r, c = LS_GUARD_OK;
    size_t piece = noise(3) ? 1 : 1 + noise(20);

    copy.size = b->size;
    memcpy(copy.data, b->data, b->size);
    r = inward ? ls_guard_in(whole, copy.data, copy.size, now_ms)
               : ls_guard_out(whole, copy.data, copy.size, now_ms);
    for (size_t at = 0; at < b->size && c == LS_GUARD_OK; at += piece) {
        size_t n = piece < b->size - at ? piece : b->size - at;

        c = inward ? ls_guard_in(cut, b->data + at, n, now_ms)
                   : ls_guard_out(cut, b->data + at, n, now_ms);
    }
    CHECK(r || !memcmp(copy.data, b->data, b->size), "the same bytes pass");
    return CHECK(r == c && same(whole, cut), inward ? "pieces in" : "pieces out");
}

static void walk(void)
{
    static struct bytes b;
    int seen[LS_GUARD_VERDICTS] = {0};
    bool right = true;

    for (int connection = 0; connection < 20000 && right; connection++) {
        struct ls_guard whole = greeted_with(&limits), cut = greeted_with(&limits);
        int64_t now_ms = 0;

        in(&whole, HEADERS, READY, 1, 10, 0);
        in(&cut, HEADERS, READY, 1, 10, 0);
        for (int i = 0; i < 40 && right && whole.verdict == LS_GUARD_OK; i++) {
            make(&b, whole.last_stream);
            now_ms += noise(3);
            right = both(&whole, &cut, &b, noise(4) != 0, now_ms);
            right = right && CHECK(ls_guard_border(&whole, b.data, b.size) <= b.size + 1, "border");
            right = right && CHECK(ls_guard_streams(&whole) >= 0 &&
                                       ls_guard_streams(&whole) <= 2 * limits.streams_max,
                                   "streams");
        }
        seen[whole.verdict]++;
        ls_guard_done(&whole);
        ls_guard_done(&cut);
    }
    CHECK(seen[LS_GUARD_FRAME] > 1000 && seen[LS_GUARD_HEADERS] > 1000 && seen[LS_GUARD_OK] > 1000,
          "the walk meets ends of several kinds");
}

static void garbage(void)
{
    static struct bytes b;

    for (int i = 0; i < 100000; i++) {
        struct ls_guard whole, cut;

        ls_guard_init(&whole, &limits, 0);
        ls_guard_init(&cut, &limits, 0);
        b.size = 0;
        if (noise(4))
            put_preface(&b);
        if (noise(2))
            put(&b, SETTINGS, 0, 0, 6, 0);
        for (size_t n = b.size + noise(64); b.size < n;)
            b.data[b.size++] = (uint8_t)noise(noise(2) ? 256 : 8);
        if (!both(&whole, &cut, &b, noise(8) != 0, 0))
            i = 100000;
        ls_guard_done(&whole);
        ls_guard_done(&cut);
    }
}

int main(void)
{
    walk();
    garbage();
    return check_done();
}
