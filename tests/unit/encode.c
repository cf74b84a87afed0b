// SPDX-License-Identifier: Apache-2.0
// The encoder without any player: the same bytes for every order and chunking of calls, the
// structure of fragmented MP4 and of its pieces, refusals, and memory that does not grow.
#include <malloc.h>
#include <pthread.h>

#include "server/digest.h"
#include "server/encode.h"
#include "tests/unit/_encode.h"

static void digest(void)
{
    // FIPS 180-4's example "abc"
    static const uint8_t want[] = {0xba, 0x78, 0x16, 0xbf, 0x8f, 0x01, 0xcf, 0xea, 0x41, 0x41, 0x40,
                                   0xde, 0x5d, 0xae, 0x22, 0x23, 0xb0, 0x03, 0x61, 0xa3, 0x96, 0x17,
                                   0x7a, 0x9c, 0xb4, 0x10, 0xff, 0x61, 0xf2, 0x00, 0x15, 0xad};
    struct ls_digest *d = ls_digest_new();
    uint8_t got[LS_DIGEST_SIZE];

    if (!CHECK(d, "digest"))
        return;
    for (int i = 0; i < 2; i++) { // final starts over
        ls_digest_update(d, "a", 1);
        ls_digest_update(d, "bc", 2);
        ls_digest_final(d, got);
        CHECK(!memcmp(got, want, sizeof want), "digest of abc");
    }
    ls_digest_free(&d);
    ls_digest_free(&d);
    CHECK(!d, "digest freed twice");
}

// --- the same bytes
// ---------------------------------------------------------------------------------

static const int64_t uneven[] = {0,     1500,  9000,  12600, 12601,  30000,  33003,  45000,
                                 60000, 70000, 83333, 90000, 100000, 104321, 130000, 131000};

static const struct row {
    const char *name;
    enum ls_container container;
    enum ls_latency latency;
    enum ls_speed speed;
    int threads, rate_num, rate_den, width_px, height_px;
    enum ls_pixel format;
    int frames;
    const int64_t *pts;
    int hz, channels, samples;
} rows[] = {
    {"mp4", LS_CONTAINER_FMP4, LS_LATENCY_NORMAL, LS_SPEED_SUPERFAST, 1, 25, 1, 160, 112,
     LS_PIX_I420, 70, NULL, 16000, 1, 50000},
    {"mp4, sound too short", LS_CONTAINER_FMP4, LS_LATENCY_NORMAL, LS_SPEED_ULTRAFAST, 1, 25, 1,
     160, 112, LS_PIX_I420, 70, NULL, 16000, 1, 9000},
    {"mp4, no samples", LS_CONTAINER_FMP4, LS_LATENCY_NORMAL, LS_SPEED_ULTRAFAST, 1, 25, 1, 160,
     112, LS_PIX_I420, 20, NULL, 16000, 1, 0},
    {"mp4, one frame", LS_CONTAINER_FMP4, LS_LATENCY_NORMAL, LS_SPEED_SUPERFAST, 1, 25, 1, 160, 112,
     LS_PIX_I420, 1, NULL, 48000, 1, 2000},
    {"mp4, b-frames", LS_CONTAINER_FMP4, LS_LATENCY_NORMAL, LS_SPEED_MEDIUM, 1, 30000, 1001, 160,
     112, LS_PIX_I420, 61, NULL, 44100, 2, 100000},
    {"mp4, b-frames, slow", LS_CONTAINER_FMP4, LS_LATENCY_NORMAL, LS_SPEED_VERYFAST, 1, 2, 1, 160,
     112, LS_PIX_I420, 7, NULL, 44100, 2, 190000},
    {"mp4, low", LS_CONTAINER_FMP4, LS_LATENCY_LOW, LS_SPEED_VERYFAST, 1, 25, 1, 160, 112,
     LS_PIX_I420, 70, NULL, 8000, 1, 25000},
    {"mp4, low, 2 threads", LS_CONTAINER_FMP4, LS_LATENCY_LOW, LS_SPEED_SUPERFAST, 2, 25, 1, 160,
     112, LS_PIX_I420, 30, NULL, 16000, 1, 25000},
    {"mp4, 3 threads", LS_CONTAINER_FMP4, LS_LATENCY_NORMAL, LS_SPEED_SUPERFAST, 3, 25, 1, 160, 112,
     LS_PIX_I420, 60, NULL, 16000, 1, 40000},
    {"mp4, rate of no AAC", LS_CONTAINER_FMP4, LS_LATENCY_NORMAL, LS_SPEED_SUPERFAST, 1, 25, 1, 160,
     112, LS_PIX_I420, 60, NULL, 25000, 2, 60000},
    {"mp4, uneven times", LS_CONTAINER_FMP4, LS_LATENCY_NORMAL, LS_SPEED_SUPERFAST, 1, 0, 1, 160,
     112, LS_PIX_I420, 15, uneven, 48000, 1, 80000},
    {"mp4, uneven times, b-frames", LS_CONTAINER_FMP4, LS_LATENCY_NORMAL, LS_SPEED_FASTER, 1, 0, 1,
     160, 112, LS_PIX_I420, 15, uneven, 48000, 1, 80000},
    {"mp4, odd size", LS_CONTAINER_FMP4, LS_LATENCY_NORMAL, LS_SPEED_SUPERFAST, 1, 25, 1, 161, 113,
     LS_PIX_I420, 20, NULL, 16000, 1, 16000},
    {"mp4, odd size, RGB24", LS_CONTAINER_FMP4, LS_LATENCY_NORMAL, LS_SPEED_SUPERFAST, 1, 25, 1,
     161, 113, LS_PIX_RGB24, 20, NULL, 16000, 1, 16000},
    {"mp4, no sound", LS_CONTAINER_FMP4, LS_LATENCY_NORMAL, LS_SPEED_SUPERFAST, 1, 25, 1, 160, 112,
     LS_PIX_I420, 60, NULL, 0, 0, 0},
    {"ts", LS_CONTAINER_MPEG_TS, LS_LATENCY_NORMAL, LS_SPEED_SUPERFAST, 1, 25, 1, 160, 112,
     LS_PIX_I420, 70, NULL, 16000, 1, 50000},
    {"ts, low", LS_CONTAINER_MPEG_TS, LS_LATENCY_LOW, LS_SPEED_SUPERFAST, 1, 60, 1, 160, 112,
     LS_PIX_I420, 100, NULL, 44100, 2, 60000},
    {"ts, b-frames", LS_CONTAINER_MPEG_TS, LS_LATENCY_NORMAL, LS_SPEED_VERYFAST, 1, 25, 1, 160, 112,
     LS_PIX_I420, 40, NULL, 11025, 1, 30000},
};

static struct enc_clip clip_of(const struct row *row)
{
    struct enc_clip c = {.params = enc_params(),
                         .frame_count = row->frames,
                         .pts = row->pts,
                         .sample_count = row->samples};

    c.params.container = row->container;
    c.params.latency = row->latency;
    c.params.speed = row->speed;
    c.params.threads = row->threads;
    c.params.rate_num = row->rate_num;
    c.params.rate_den = row->rate_den;
    c.params.width_px = row->width_px;
    c.params.height_px = row->height_px;
    c.params.format = row->format;
    c.params.sample_rate_hz = row->hz;
    c.params.channels = row->channels;
    return c;
}

static bool same_pieces(const struct enc_out *a, const struct enc_out *b)
{
    bool same = a->size == b->size && a->piece_count == b->piece_count &&
                !memcmp(a->bytes, b->bytes, a->size);

    for (int i = 0; same && i < a->piece_count; i++) {
        const struct ls_media *x = &a->piece[i].media, *y = &b->piece[i].media;
        same = a->piece[i].at == b->piece[i].at && x->kind == y->kind && x->pts == y->pts &&
               x->first_frame == y->first_frame && x->frame_count == y->frame_count &&
               x->is_keyframe == y->is_keyframe;
    }
    return same;
}

static void same_bytes(const struct row *row, const struct enc_out *want)
{
    static const struct {
        enum enc_order order;
        int chunk;
    } ways[] = {
        {ENC_SOUND_FIRST, 1 << 20}, {ENC_PICTURE_FIRST, 1000}, {ENC_RANDOM, 0}, {ENC_RANDOM, 1},
        {ENC_SOUND_FIRST, 333},     {ENC_IN_STEP, 1024}};
    struct enc_clip c = clip_of(row);
    struct ls_err err = {0};

    for (int i = 0; i < (int)(sizeof ways / sizeof ways[0]); i++) {
        struct enc_out got;
        c.sound_end = i & 1; // changes when bytes come, not which
        CHECK(enc_run(&c, ways[i].order, ways[i].chunk, &got, &err) == 0, row->name);
        if (!CHECK(same_pieces(&got, want), row->name))
            printf("  way %d: %zu and %zu bytes\n", i, got.size, want->size);
        enc_out_free(&got);
    }
}

// All sound from a thread of its own, while the pictures are encoded.
struct beside {
    struct ls_encode *e;
    const struct enc_clip *c;
    struct ls_err err;
    int r;
};

static void *sing(void *arg)
{
    struct beside *b = arg;

    for (int at = 0; b->r == 0 && at < b->c->sample_count; at += 640) {
        int left = b->c->sample_count - at;

        b->r = enc_give_sound(b->e, b->c, at, left < 640 ? left : 640, &b->err);
    }
    return NULL;
}

static void sound_beside(const struct row *row, const struct enc_out *want)
{
    struct enc_clip c = clip_of(row);
    struct beside b = {.c = &c};
    struct enc_out got = {0};
    pthread_t thread;
    int r;

    CHECK(ls_encode_open(&b.e, &c.params, &b.err) == 0, row->name);
    CHECK(pthread_create(&thread, NULL, sing, &b) == 0, row->name);
    r = 0;
    for (int n = 0; r == 0 && n < c.frame_count; n++)
        r = enc_give_frame(b.e, &c, n, &(struct ls_err){0});
    pthread_join(thread, NULL);
    CHECK(r == 0 && b.r == 0, row->name);
    CHECK(ls_encode_finish(b.e, &b.err) == 0, row->name);
    enc_take(b.e, &got, c.frame_count);
    CHECK(same_pieces(&got, want), row->name);
    enc_out_free(&got);
    ls_encode_close(&b.e);
}

static void small_pieces(const struct row *row, const struct enc_out *want)
{
    struct enc_clip c = clip_of(row);
    struct ls_err err = {0};
    struct enc_out got;
    int frames = 0;

    c.params.chunk_bytes_max = 4096;
    CHECK(enc_run(&c, ENC_IN_STEP, 400, &got, &err) == 0, row->name);
    CHECK(got.size == want->size && !memcmp(got.bytes, want->bytes, got.size), row->name);
    for (int i = 0; i < got.piece_count; i++) {
        const struct ls_media *m = &got.piece[i].media;
        CHECK(m->size > 0 && m->size <= 4096, row->name);
        if (m->frame_count > 0) // a later part of a segment repeats the segment's first_frame
            CHECK(m->first_frame == frames, row->name);
        frames += m->frame_count;
    }
    CHECK(frames == row->frames, row->name);
    enc_out_free(&got);
}

// --- the structure
// ----------------------------------------------------------------------------------

static uint32_t u32(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

// Size of the box at p if it has this type and fits; else 0.
static size_t box(const uint8_t *p, size_t left, const char *type)
{
    size_t size = left >= 8 ? u32(p) : 0;

    return size >= 8 && size <= left && !memcmp(p + 4, type, 4) ? size : 0;
}

// The idx-th child of this type among the boxes at p; *size becomes its size.
static const uint8_t *child(const uint8_t *p, size_t left, const char *type, int idx, size_t *size)
{
    while (left >= 8 && u32(p) >= 8 && u32(p) <= left) {
        if (!memcmp(p + 4, type, 4) && idx-- == 0) {
            *size = u32(p);
            return p;
        }
        left -= u32(p);
        p += u32(p);
    }
    return NULL;
}

// media_time of a track's only edit; -2 when there is none.
static int64_t edit_of(const uint8_t *moov, size_t size, int track)
{
    const uint8_t *p = child(moov + 8, size - 8, "trak", track, &size);

    p = p ? child(p + 8, size - 8, "edts", 0, &size) : NULL;
    p = p ? child(p + 8, size - 8, "elst", 0, &size) : NULL;
    if (!p || p[8] != 0 || u32(p + 12) != 1) // version 0, one entry
        return -2;
    return (int32_t)u32(p + 20);
}

static void init_piece(const struct row *row, const uint8_t *p, size_t size)
{
    size_t ftyp = box(p, size, "ftyp"), moov, mvhd = 0;
    const uint8_t *head;

    if (!CHECK(ftyp > 0, row->name))
        return;
    moov = box(p + ftyp, size - ftyp, "moov");
    CHECK(moov > 0 && ftyp + moov == size, row->name);
    head = child(p + ftyp + 8, moov - 8, "mvhd", 0, &mvhd);
    CHECK(head && u32(head + 12) == 0 && u32(head + 16) == 0, "no times of creation");
    CHECK(!memmem(p, size, "Lav", 3), "no encoder's name");
    if (row->hz)
        CHECK(edit_of(p + ftyp, moov, 1) == 1024, "the encoder's delay is cut by an edit");
    if (row->speed <= LS_SPEED_SUPERFAST)
        CHECK(edit_of(p + ftyp, moov, 0) <= 0, "no edit moves the picture");
}

static void mp4_pieces(const struct row *row, const struct enc_out *out)
{
    for (int i = 0; i < out->piece_count; i++) {
        const struct ls_media *m = &out->piece[i].media;
        const uint8_t *p = out->bytes + out->piece[i].at;
        size_t moof = box(p, m->size, "moof");
        CHECK((m->kind == LS_MEDIA_INIT) == (i == 0), row->name);
        if (i == 0)
            init_piece(row, p, m->size);
        else
            CHECK(moof && box(p + moof, m->size - moof, "mdat") == m->size - moof, row->name);
    }
}

static void ts_pieces(const struct row *row, const struct enc_out *out)
{
    CHECK(out->size % 188 == 0, row->name);
    for (size_t i = 0; i < out->size; i += 188)
        CHECK(out->bytes[i] == 0x47, row->name);
    for (int i = 0; i < out->piece_count; i++)
        CHECK(out->piece[i].media.size % 188 == 0, row->name);
}

static void segments(const struct row *row, const struct enc_out *out)
{
    struct enc_clip c = clip_of(row);
    int frames = 0, longest = row->latency == LS_LATENCY_LOW ? 4 : 60;

    for (int i = 0; i < out->piece_count; i++) {
        const struct ls_media *m = &out->piece[i].media;
        if (m->kind != LS_MEDIA_SEGMENT)
            continue;
        CHECK(m->first_frame == frames && m->frame_count <= longest, row->name);
        CHECK(frames > 0 || m->is_keyframe, row->name);
        if (m->frame_count > 0 && row->speed <= LS_SPEED_SUPERFAST)
            CHECK(m->pts == enc_pts(&c, frames), row->name);
        frames += m->frame_count;
    }
    CHECK(frames == row->frames, row->name);
}

static void structure(void)
{
    for (int i = 0; i < (int)(sizeof rows / sizeof rows[0]); i++) {
        struct enc_clip c = clip_of(&rows[i]);
        struct ls_err err = {0};
        struct enc_out out;
        if (!CHECK(enc_run(&c, ENC_IN_STEP, 160, &out, &err) == 0, rows[i].name)) {
            printf("  %s\n", err.text);
            continue;
        }
        CHECK(out.offset == 0, rows[i].name);
        segments(&rows[i], &out);
        if (rows[i].container == LS_CONTAINER_FMP4)
            mp4_pieces(&rows[i], &out);
        else
            ts_pieces(&rows[i], &out);
        same_bytes(&rows[i], &out);
        sound_beside(&rows[i], &out);
        small_pieces(&rows[i], &out);
        enc_out_free(&out);
    }
}

// With sound that is ahead, as the mel window wants it anyway, the first piece leaves soon.
static void first_piece(void)
{
    static const struct {
        const char *name;
        enum ls_latency latency;
        int frames_max;
    } cases[] = {{"first piece, normal", LS_LATENCY_NORMAL, 8},
                 {"first piece, low", LS_LATENCY_LOW, 2}};

    for (int i = 0; i < 2; i++) {
        struct enc_clip c = {.params = enc_params(), .frame_count = 50, .sample_count = 32000};
        struct ls_err err = {0};
        struct enc_out out;
        c.params.latency = cases[i].latency;
        CHECK(enc_run(&c, ENC_SOUND_FIRST, 32000, &out, &err) == 0, cases[i].name);
        CHECK(out.piece_count > 1 && out.piece[1].frames_given <= cases[i].frames_max,
              cases[i].name);
        enc_out_free(&out);
    }
}

static void sound_end(void)
{
    struct enc_clip c = {.params = enc_params(), .frame_count = 200, .sample_count = 1600};
    struct ls_err err = {0};
    struct enc_out out;

    c.sound_end = true;
    CHECK(enc_run(&c, ENC_IN_STEP, 160, &out, &err) == 0, "sound_end");
    CHECK(out.piece_count > 4 && out.piece[4].frames_given < 100, "silence follows by itself");
    enc_out_free(&out);
}

// --- refusals and memory
// ----------------------------------------------------------------------------

static void refusals(void)
{
    struct enc_clip c = {.params = enc_params(), .frame_count = 2};
    struct ls_encode *e = NULL;
    struct ls_err err = {0};
    struct ls_frame f;
    static float minute[16000 * 60];

    CHECK(ls_encode_open(&e, &c.params, &err) == 0, "open");
    CHECK(ls_encode_finish(e, &err) == LS_EENCODE, "finish without a frame");
    CHECK(enc_give_frame(e, &c, 1, &err) == 0, "a frame");
    CHECK(enc_give_frame(e, &c, 1, &err) == LS_EENCODE, "pts twice");
    CHECK(enc_give_frame(e, &c, 0, &err) == LS_EENCODE, "pts backwards");
    CHECK(strstr(err.text, "3600"), "values in the text");
    c.params.width_px -= 2;
    enc_picture(&f, &c.params, 0);
    CHECK(ls_encode_frame(e, &f, 90000, 3600, &err) == LS_EENCODE, "another size");
    enc_picture_free(&f);
    CHECK(ls_encode_sound(e, minute, 16000 * 60, &err) == 0, "a minute of sound ahead");
    CHECK(ls_encode_sound(e, minute, 16000 * 60, &err) == 0, "two minutes of sound ahead");
    CHECK(ls_encode_sound(e, minute, 16000 * 60, &err) == LS_EENCODE, "three minutes ahead");
    ls_encode_close(&e);
    ls_encode_close(&e);
    CHECK(!e, "closed twice");

    c.params = enc_params();
    c.params.crf = 0; // means the best that players can show
    CHECK(ls_encode_open(&e, &c.params, &err) == 0, "crf 0");
    CHECK(enc_give_frame(e, &c, 0, &err) == 0 && ls_encode_sound_end(e, &err) == 0, "crf 0");
    minute[0] = NAN;
    CHECK(ls_encode_sound(e, minute, 1, &err) == LS_EENCODE, "sound after its end");
    CHECK(ls_encode_finish(e, &err) == 0 && ls_encode_finish(e, &err) == LS_EENCODE,
          "finish twice");
    CHECK(enc_give_frame(e, &c, 1, &err) == LS_EENCODE, "a frame after the end");
    ls_encode_close(&e);

    CHECK(ls_encode_open(&e, &c.params, &err) == 0, "wild samples");
    minute[1] = INFINITY, minute[2] = -1e30f, minute[3] = 7;
    CHECK(ls_encode_sound(e, minute, 5000, &err) == 0, "wild samples are clipped");
    CHECK(enc_give_frame(e, &c, 0, &err) == 0 && ls_encode_finish(e, &err) == 0, "wild samples");
    ls_encode_close(&e);
    c.params.container = LS_CONTAINER_NONE;
    CHECK(ls_encode_open(&e, &c.params, &err) == LS_EENCODE && !e, "H.264 without a container");
}

// Stopped at any place, nothing more is encoded, and all is freed.
static void stopping(void)
{
    static const char *const places[] = {"stop before a frame", "stop before sound",
                                         "stop before silence", "stop before the flush"};

    for (int at = 0; at < 4; at++) {
        atomic_bool stop = false;
        struct enc_clip c = {.params = enc_params(), .frame_count = 4, .sample_count = 4 * 640};
        struct ls_encode *e = NULL;
        struct ls_err err = {0};
        int r = 0;

        c.params.stop = &stop;
        c.params.speed = LS_SPEED_VERYFAST; // holds frames back
        CHECK(ls_encode_open(&e, &c.params, &err) == 0, places[at]);
        for (int n = 0; n < 3; n++)
            CHECK(enc_give_frame(e, &c, n, &err) == 0, places[at]);
        CHECK(enc_give_sound(e, &c, 0, 640, &err) == 0, places[at]);
        atomic_store(&stop, true);
        if (at == 0)
            r = enc_give_frame(e, &c, 3, &err);
        else if (at == 1)
            r = enc_give_sound(e, &c, 640, 6400, &err);
        else if (at == 2)
            r = ls_encode_sound_end(e, &err);
        else
            r = ls_encode_finish(e, &err);
        CHECK(r == LS_ECANCEL, places[at]);
        ls_encode_close(&e);
    }
}

static void memory(enum ls_container container, const char *name)
{
    struct enc_clip c = {.params = enc_params(), .frame_count = 2000, .sample_count = 2000 * 640};
    struct ls_encode *e = NULL;
    struct ls_err err = {0};
    size_t before = 0, after;

    c.params.container = container;
    c.params.width_px = c.params.height_px = 64;
    CHECK(ls_encode_open(&e, &c.params, &err) == 0, name);
    for (int n = 0; e && n < 2000; n++) {
        struct ls_media m;
        CHECK(enc_give_sound(e, &c, 640 * n, 640, &err) == 0, name);
        CHECK(enc_give_frame(e, &c, n, &err) == 0, name);
        while (ls_encode_pop(e, &m))
            free(m.data);
        if (n == 499)
            before = mallinfo2().uordblks;
    }
    after = mallinfo2().uordblks;             // the same place in a segment as 1500 frames before
    if (!CHECK(after < before + 65536, name)) // 60 segments of some kB each would show
        printf("  %zu bytes at frame 500, %zu at 2000\n", before, after);
    ls_encode_close(&e);
}

int main(void)
{
    digest();
    structure();
    first_piece();
    sound_end();
    refusals();
    stopping();
    memory(LS_CONTAINER_FMP4, "memory, mp4");
    memory(LS_CONTAINER_MPEG_TS, "memory, ts");
    return check_done();
}
