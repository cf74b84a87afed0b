// SPDX-License-Identifier: Apache-2.0
// Streaming, raw inputs, further passes, back-pressure: what a decode process does beyond a plain
// file. Frames and sound must come out while the input is still arriving; a loop must give the same
// frames again, forward or backward; memory and disk stay bounded.
#include "tests/unit/_decode.h"

#include <math.h>

static struct drive t;

static void stop_at_first(struct drive *d)
{
    drive_stop(d);
}

// Only the first part is ever fed, and the input is not ended.
static void test_before_the_end(void)
{
    static const struct {
        const char *name;
        bool video;
        size_t fed;
    } rows[] = {
        {"talking/presenter_720p_faststart.mp4", true, 150000},
        {"talking/presenter_720p_faststart.mp4", false, 150000},
        {"hard/fragmented.mp4", true, 30000},
        {"hard/fragmented.mp4", false, 105000},
        {"hard/mpeg2.ts", true, 40000},
        {"hard/mpeg2.ts", false, 40000},
        {"hard/vp8_vorbis.webm", true, 70000},
        {"hard/vp9_opus.webm", true, 20000},
        {"talking/lbbc2a.mpg", true, 140000},
        {"audio/jfk.wav", false, 6000},
        {"audio/librispeech_116-288045-0000.flac", false, 60000},
        {"hard/audio_mp3_id3.mp3", false, 4000},
        {"hard/audio_vorbis.ogg", false, 20000},
        {"scenes/clip_03_sintel.mp4", true, 200000},
    };
    struct ls_options opt = drive_options();
    size_t i;

    for (i = 0; i < sizeof rows / sizeof *rows; i++) {
        uint8_t *data;

        drive_clear(&t);
        t.params.video = rows[i].video;
        t.params.source = LS_SOURCE_CONTAINER;
        data = drive_media(rows[i].name, &t.size);
        if (!data) {
            printf("SKIP: %s is not there\n", rows[i].name);
            continue;
        }
        t.data = data;
        t.chunk = 1000;
        t.stop_at = rows[i].fed;
        t.timeout_ms = 10000;
        t.stop_at_sound = true;
        t.on_frame_hook = stop_at_first;
        drive_run(&t, &opt);
        if (!CHECK(!t.timed_out && t.err.code == 0 && t.first_ns != 0, rows[i].name))
            printf("  %s\n", t.err.text);
        free(data);
    }
}

static void test_pcm(void)
{
    enum { COUNT = 40001 };
    static int16_t s16[COUNT];
    static float f32[2 * COUNT];
    struct ls_options opt = drive_options();
    int i, bad = 0;

    for (i = 0; i < COUNT; i++) {
        s16[i] = (int16_t)(i * 7919);
        f32[2 * i] = (float)sin(i * 0.01);
        f32[2 * i + 1] = i == 5 ? NAN : i == 6 ? INFINITY : 0.5f;
    }
    drive_clear(&t);
    t.params.source = LS_SOURCE_PCM;
    t.params.sample_rate_hz = 16000;
    t.params.channels = 1;
    t.params.sample = LS_SAMPLE_S16LE;
    t.data = (uint8_t *)s16;
    t.size = sizeof s16;
    t.chunk = 777; // splits samples
    t.pause_once = true;
    t.check_s16 = s16;
    drive_run(&t, &opt);
    CHECK(t.pass_count == 1 && t.mono_count == COUNT && t.voice_count == COUNT, "s16 mono: counts");
    CHECK(t.s16_bad == 0, "s16 mono: value / 32768");
    CHECK(t.end[0].duration == llrint(COUNT * 90000.0 / 16000), "s16 mono: length");

    drive_clear(&t);
    t.params.source = LS_SOURCE_PCM;
    t.params.sample_rate_hz = 48000;
    t.params.channels = 2;
    t.params.sample = LS_SAMPLE_F32LE;
    t.data = (uint8_t *)f32;
    t.size = sizeof f32 - 3; // the last sample is not whole
    t.chunk = 1001;
    drive_run(&t, &opt);
    bad = t.err.code;
    CHECK(bad == 0 && t.voice_count == COUNT - 1 && t.audio.channels == 2, "f32 stereo: counts");
    CHECK(llabs(t.mono_count - (COUNT - 1) / 3) <= 1, "f32 stereo: mono");
    CHECK(isfinite(t.mono_energy), "f32 stereo: NaN becomes 0");
    CHECK(strcmp(t.warnings, "TRUNCATED") == 0, "f32 stereo: rest");
}

static uint8_t *noise(size_t size)
{
    uint8_t *p = malloc(size);
    uint32_t x = 1;
    size_t i;

    for (i = 0; p && i < size; i++) {
        x = x * 1664525u + 1013904223u;
        p[i] = (uint8_t)(x >> 24);
    }
    return p;
}

static void test_raw(void)
{
    static const struct {
        const char *name;
        enum ls_pixel pixel;
        int width, height, count, rest;
    } rows[] = {
        {"i420 odd", LS_PIX_I420, 33, 17, 20, 0},
        {"rgb24 odd", LS_PIX_RGB24, 35, 19, 20, 5},
        {"rgb24 even", LS_PIX_RGB24, 64, 48, 9, 0},
    };
    struct ls_options opt = drive_options();
    size_t i;
    int k;

    for (i = 0; i < sizeof rows / sizeof *rows; i++) {
        int w = rows[i].width, h = rows[i].height, half = (w + 1) / 2;
        bool rgb = rows[i].pixel == LS_PIX_RGB24;
        size_t bytes = (size_t)(rgb ? 3 * w * h : w * h + 2 * half * ((h + 1) / 2));
        uint8_t *data = noise(bytes * (size_t)rows[i].count + (size_t)rows[i].rest);

        drive_clear(&t);
        t.params.video = true;
        t.params.source = LS_SOURCE_FRAMES;
        t.params.pixel = t.params.work = rows[i].pixel;
        t.params.width_px = w;
        t.params.height_px = h;
        t.params.rate_num = 30000;
        t.params.rate_den = 1001;
        t.params.keep = true;
        t.passes = 2;
        t.backward = 1;
        t.data = data;
        t.size = bytes * (size_t)rows[i].count + (size_t)rows[i].rest;
        t.chunk = 1001;
        drive_run(&t, &opt);
        CHECK(t.pass_count == 3 && t.frame_count == 3 * rows[i].count, rows[i].name);
        CHECK(t.video.width_px == w && t.video.height_px == h, rows[i].name);
        CHECK((strcmp(t.warnings, "TRUNCATED") == 0) == (rows[i].rest > 0), rows[i].name);
        for (k = 0; k < rows[i].count && k < t.frame_count; k++) {
            uint8_t *p = data + bytes * (size_t)k;
            struct ls_frame f = {{p, p + w * h, p + w * h + half * ((h + 1) / 2)},
                                 {rgb ? 3 * w : w, half, half},
                                 w,
                                 h,
                                 rows[i].pixel,
                                 0,
                                 0,
                                 0};
            const struct drive_frame *back = &t.frame[2 * rows[i].count - 1 - k];

            CHECK(t.frame[k].digest == drive_frame_digest(&f), rows[i].name);
            CHECK(t.frame[k].pts == 3003 * k && t.frame[k].duration == 3003, rows[i].name);
            CHECK(back->digest == t.frame[k].digest && back->idx == k, rows[i].name);
            CHECK(back->pts == 3003 * (rows[i].count - 1 - k), rows[i].name);
            CHECK(t.frame[2 * rows[i].count + k].digest == t.frame[k].digest, rows[i].name);
        }
        free(data);
    }
}

// First pass, backward, forward: the same frames, mirrored times.
static void check_passes(const char *name)
{
    int n = (int)t.end[0].frame_count, i;
    int64_t end = t.end[0].duration;

    if (!CHECK(t.err.code == 0 && t.pass_count == 3 && t.frame_count == 3 * n, name)) {
        printf("  %s: %d passes, %d frames\n", t.err.text, t.pass_count, t.frame_count);
        return;
    }
    for (i = 0; i < n; i++) {
        const struct drive_frame *f = &t.frame[i], *back = &t.frame[2 * n - 1 - i];

        if (!CHECK(back->idx == i && back->digest == f->digest, name) ||
            !CHECK(back->pts == end - f->pts - f->duration && back->duration == f->duration,
                   name) ||
            !CHECK(memcmp(f, &t.frame[2 * n + i], sizeof *f) == 0, name)) {
            printf("  frame %d\n", i);
            return;
        }
    }
}

static void test_passes(void)
{
    static const char *const names[] = {
        "talking/lbbc2a.mpg",  "hard/noaudio.mp4",          "hard/vp9_opus.webm",
        "hard/mpeg2.ts",       "hard/vfr_dropframes.mp4",   "hard/fragmented.mp4",
        "hard/rot90_h264.mp4", "hard/hevc_8bit.mp4",        "hard/fps_30000_1001.mp4",
        "hard/one_frame.mp4",  "scenes/clip_03_sintel.mp4",
    };
    struct ls_options opt = drive_options();
    size_t i, small;

    for (i = 0; i < sizeof names / sizeof *names; i++) {
        for (small = 0; small < 2; small++) {
            uint8_t *data;

            drive_clear(&t);
            data = drive_media(names[i], &t.size);
            if (!data) {
                printf("SKIP: %s is not there\n", names[i]);
                continue;
            }
            // Room for a few frames only: many windows, each from another key frame.
            opt.spool_bytes_max = small ? (int64_t)t.size + 9 * 400000 : 256 << 20;
            t.params.video = true;
            t.params.source = LS_SOURCE_CONTAINER;
            t.params.keep = true;
            t.passes = 2;
            t.backward = 1;
            t.data = data;
            t.chunk = 65536;
            drive_run(&t, &opt);
            check_passes(names[i]);
            free(data);
        }
    }
}

// Frames that nobody gives back stop the process, and the input stops being asked for.
static void test_pressure(void)
{
    struct ls_options opt = drive_options();
    uint8_t *data;

    drive_clear(&t);
    data = drive_media("talking/presenter_720p_faststart.mp4", &t.size);
    if (!data)
        return;
    opt.feed_bytes_ahead = 65536;
    opt.decoder_stuck_ms_max = 300; // waiting for slots is not hanging
    t.params.video = true;
    t.params.source = LS_SOURCE_CONTAINER;
    t.data = data;
    t.chunk = 10000;
    t.never_release = true;
    t.timeout_ms = 1500;
    drive_run(&t, &opt);
    CHECK(t.timed_out && t.err.code == 0, "pressure: it waits");
    CHECK(t.frame_count == t.params.slots, "pressure: frames");
    CHECK(t.fed < 700000, "pressure: bytes");
    free(data);
}

// A spool that may hold 2 MB takes a much longer stream, since what was read is given back.
static void test_punch(void)
{
    enum { BYTES = 24 << 20 };
    struct ls_options opt = drive_options();
    uint8_t *data = noise(BYTES);
    size_t i;

    for (i = 0; i < BYTES / 4; i++)
        data[4 * i + 3] = 0x3f; // floats near 0.5
    opt.spool_bytes_max = 4 << 20;
    opt.feed_bytes_ahead = 1 << 20;
    drive_clear(&t);
    t.params.source = LS_SOURCE_PCM;
    t.params.sample_rate_hz = 48000;
    t.params.channels = 2;
    t.params.sample = LS_SAMPLE_F32LE;
    t.data = data;
    t.size = BYTES;
    t.chunk = 100000;
    drive_run(&t, &opt);
    if (!CHECK(t.err.code == 0 && t.voice_count == BYTES / 8, "punch"))
        printf("  %s\n", t.err.text);
    free(data);
}

int main(void)
{
    test_pcm();
    test_raw();
    test_punch();
    test_pressure();
    test_passes();
    test_before_the_end();
    return check_done();
}
