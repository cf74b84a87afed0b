// SPDX-License-Identifier: Apache-2.0
// Tells what an input is from its first bytes, without FFmpeg: its own probing wants far more data
// than a live input has at the start, and tries every demuxer that was compiled in. Here only the
// containers of formats.h have a name; the demuxer then finds out whether the rest keeps the
// promise. For ISO files the top-level boxes are walked until `moov` or `mdat` shows whether they
// can be read front to back (ISO/IEC 14496-12 section 4.2: 32 bit size, 1: a 64 bit one follows, 0:
// up to the end of the file).
#include "worker.h"

#include <string.h>

static const struct {
    int offset, size;
    const char *bytes, *container, *still, *other;
} magics[] = {
    {0, 4, "\x1a\x45\xdf\xa3", "matroska", NULL, NULL},
    {0, 4, "fLaC", "flac", NULL, NULL},
    {0, 4, "OggS", "ogg", NULL, NULL},
    {0, 4, "\0\0\1\xba", "mpeg", NULL, NULL},
    {0, 4, "RF64", "wav", NULL, NULL},
    {8, 4, "WAVE", "wav", NULL, NULL},
    {8, 4, "AVI ", "avi", NULL, NULL},
    {8, 4, "WEBP", NULL, "webp", NULL},
    {0, 8, "\x89PNG\r\n\x1a\n", NULL, "png", NULL},
    {0, 3, "\xff\xd8\xff", NULL, "mjpeg", NULL},
    {0, 4, "GIF8", NULL, NULL, "GIF"},
    {0, 2, "BM", NULL, NULL, "BMP"},
    {0, 4, "II*\0", NULL, NULL, "TIFF"},
    {0, 4, "MM\0*", NULL, NULL, "TIFF"},
    {0, 3, "FLV", NULL, NULL, "FLV"},
    {0, 4, "FORM", NULL, NULL, "AIFF"},
    {0, 4, "#!AM", NULL, NULL, "AMR"},
    {0, 4, "\x30\x26\xb2\x75", NULL, NULL, "ASF (WMV, WMA)"},
    {0, 7, "#EXTM3U", NULL, NULL, "HLS play list"},
    {0, 5, "<?xml", NULL, NULL, "XML"},
    {0, 5, "%PDF-", NULL, NULL, "PDF"},
};

static bool is_iso(const uint8_t *p)
{
    static const char *const box[] = {"ftyp", "moov", "mdat", "free", "skip", "wide",
                                      "pnot", "styp", "moof", "sidx", "uuid", "emsg"};
    size_t i;

    for (i = 0; i < sizeof box / sizeof *box; i++) {
        if (memcmp(p + 4, box[i], 4) == 0)
            return true;
    }
    return false;
}

static uint64_t big_endian(const uint8_t *p, int size)
{
    uint64_t v = 0;
    int i;

    for (i = 0; i < size; i++)
        v = v << 8 | p[i];
    return v;
}

static int walk_iso(struct ls_worker *w, struct ls_sniff *out, struct ls_err *err)
{
    int64_t pos = 0;
    uint8_t head[16] = {0};

    for (;;) {
        int n = ls_worker_read(w, pos, head, 8);
        uint64_t size = big_endian(head, 4);
        bool wide = size == 1 && n == 8;

        if (wide) {
            n = ls_worker_read(w, pos + 8, head + 8, 8);
            size = big_endian(head + 8, 8);
        }
        if (n < 8)
            return ls_fail(err, LS_EMEDIA,
                           "the MP4 ends after %lld bytes without an index (moov): it is cut off",
                           (long long)w->available);
        if (memcmp(head + 4, "moov", 4) == 0)
            return 0;
        if (memcmp(head + 4, "mdat", 4) == 0 && !out->moov_last) {
            out->moov_last = true;
            ls_worker_warn(
                w, "MOOV_LAST",
                "the MP4 has its index behind the media: it is read whole before the first "
                "frame; write it with its index first (faststart) or in fragments");
        }
        if (size == 0)
            return ls_fail(err, LS_EMEDIA,
                           "the MP4 has no index (moov): box %.4s at byte %lld reaches to the end",
                           (const char *)head + 4, (long long)pos);
        if (size < (wide ? 16 : 8) || size > (uint64_t)(INT64_MAX / 2 - pos))
            return ls_fail(err, LS_EMEDIA, "the MP4 is broken: box of %llu bytes at byte %lld",
                           (unsigned long long)size, (long long)pos);
        pos += (int64_t)size;
    }
}

// FFmpeg's WAV reader searches the first 64 KiB of samples for S/PDIF before it gives one: two
// seconds of a live voice. Knowing where they begin, worker_input.c hides them from that search.
static int walk_riff(struct ls_worker *w, struct ls_sniff *out, struct ls_err *err)
{
    int64_t pos = 12;
    uint8_t head[8];

    for (;;) {
        uint32_t size;

        if (ls_worker_read(w, pos, head, 8) < 8)
            return ls_fail(err, LS_EMEDIA, "the WAV ends after %lld bytes without samples",
                           (long long)w->available);
        pos += 8;
        if (memcmp(head, "data", 4) == 0)
            break;
        size = head[4] | head[5] << 8 | head[6] << 16 | (uint32_t)head[7] << 24;
        pos += (int64_t)size + (size & 1);
    }
    out->head_bytes = pos;
    return 0;
}

// MPEG audio and ADTS share the first 11 bits; layer 0 is ADTS's (ISO/IEC 13818-7 table 8).
static const char *frame_sync(const uint8_t *p)
{
    if (p[0] != 0xff || (p[1] & 0xe0) != 0xe0)
        return NULL;
    return (p[1] & 0x06) == 0 ? "aac" : "mp3";
}

// An ID3v2 tag stands before MP3, and now and then before ADTS or FLAC: what follows it decides.
static const char *after_id3(struct ls_worker *w, const uint8_t *p)
{
    int64_t size = 10;
    uint8_t next[4];
    int i;

    for (i = 6; i < 10; i++)
        size += (int64_t)(p[i] & 0x7f) << (7 * (9 - i));
    if (ls_worker_read(w, size, next, 4) < 4)
        return "mp3";
    if (memcmp(next, "fLaC", 4) == 0)
        return "flac";
    return frame_sync(next) ? frame_sync(next) : "mp3";
}

int ls_sniff_input(struct ls_worker *w, struct ls_sniff *out, struct ls_err *err)
{
    uint8_t p[16] = {0};
    struct ls_sniff found = {0};
    int n = ls_worker_read(w, 0, p, 12), r = 0;
    size_t i;

    if (n == 0)
        return ls_fail(err, LS_EMEDIA, "it is empty");
    if (n < 12)
        return ls_fail(err, LS_EMEDIA, "it has %d bytes only", n);
    for (i = 0; i < sizeof magics / sizeof *magics; i++) {
        if (memcmp(p + magics[i].offset, magics[i].bytes, (size_t)magics[i].size) == 0) {
            found.container = magics[i].container;
            found.still = magics[i].still;
            found.other = magics[i].other;
            break;
        }
    }
    if (i == sizeof magics / sizeof *magics) {
        if (is_iso(p)) {
            found.container = "mov";
            r = walk_iso(w, &found, err);
        } else if (memcmp(p, "ID3", 3) == 0) {
            found.container = after_id3(w, p);
        } else if (p[0] == 0x47) {
            uint8_t sync = 0; // of the second packet

            if (ls_worker_read(w, 188, &sync, 1) == 0 || sync == 0x47)
                found.container = "mpegts";
        } else if (p[4] == 0x47) {
            uint8_t sync = 0; // packets of 192 bytes: a time code stands before each (M2TS)

            if (ls_worker_read(w, 196, &sync, 1) == 1 && sync == 0x47)
                found.container = "mpegts";
        } else {
            found.container = frame_sync(p);
        }
    }
    if (found.container && strcmp(found.container, "wav") == 0)
        r = walk_riff(w, &found, err);
    if (r < 0)
        return r;
    if (!found.container && !found.still && !found.other)
        return ls_fail(err, LS_EMEDIA,
                       "it is no media that is known; it begins with %02x %02x %02x %02x %02x %02x "
                       "%02x %02x",
                       p[0], p[1], p[2], p[3], p[4], p[5], p[6], p[7]);
    *out = found;
    return 0;
}
