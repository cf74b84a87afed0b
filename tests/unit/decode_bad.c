// SPDX-License-Identifier: Apache-2.0
// What must not work, and how it says so: inputs that are empty, cut off, garbage or of the wrong
// kind; limits; a decode process that is killed, stopped or runs out of memory; and records that no
// honest process would send. After each, no process is left.
#include "tests/unit/_decode.h"

#include <math.h>

#include "server/decode_impl.h"

static struct drive t;

// WAV header: 16 kHz mono s16, then `rest`.
#define WAV(rest)                                                                                  \
    "RIFF\xff\xff\xff\xff"                                                                         \
    "WAVEfmt \x10\0\0\0\1\0\1\0\x80\x3e\0\0\0\x7d\0\0\2\0\x10\0" rest
#define TEXT(s) s, sizeof(s) - 1
static const struct {
    const char *name;
    bool video;
    enum ls_source source;
    const char *file; // of the shared media, or NULL
    const char *bytes;
    size_t size; // of bytes, or how much of the file; 0: all
    int code;
    const char *text; // part of the message
} rows[] = {
    {"empty video", 1, LS_SOURCE_CONTAINER, NULL, "", 0, LS_EMEDIA, "empty"},
    {"empty audio", 0, LS_SOURCE_CONTAINER, NULL, "", 0, LS_EMEDIA, "empty"},
    {"empty pcm", 0, LS_SOURCE_PCM, NULL, "", 0, LS_EMEDIA, "empty"},
    {"empty still", 1, LS_SOURCE_STILL, NULL, "", 0, LS_EMEDIA, "empty"},
    {"empty frames", 1, LS_SOURCE_FRAMES, NULL, "", 0, LS_EMEDIA, "0 bytes"},
    {"half a frame", 1, LS_SOURCE_FRAMES, NULL, TEXT("0123456789"), LS_EMEDIA, "10 bytes"},
    {"three bytes", 1, LS_SOURCE_CONTAINER, NULL, TEXT("abc"), LS_EMEDIA, "3 bytes"},
    {"words", 1, LS_SOURCE_CONTAINER, NULL, TEXT("hello, this is no video at all"), LS_EMEDIA,
     "no media"},
    {"play list", 1, LS_SOURCE_CONTAINER, NULL, TEXT("#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n"),
     LS_ECODEC, "HLS"},
    {"concat script", 1, LS_SOURCE_CONTAINER, NULL,
     TEXT("ffconcat version 1.0\nfile /etc/passwd\n"), LS_EMEDIA, "no media"},
    {"gif", 1, LS_SOURCE_CONTAINER, NULL, TEXT("GIF89a\1\0\1\0\0\0\0;"), LS_ECODEC, "GIF"},
    {"gif still", 1, LS_SOURCE_STILL, NULL, TEXT("GIF89a\1\0\1\0\0\0\0;"), LS_ECODEC, "PNG"},
    {"png head only", 1, LS_SOURCE_STILL, NULL, TEXT("\x89PNG\r\n\x1a\n\0\0\0\rIHDR"), LS_EMEDIA,
     "cannot be decoded"},
    {"huge png", 1, LS_SOURCE_STILL, NULL,
     TEXT("\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\x75\x30\0\0\x75\x30\x8\2\0\0\0\0\0\0\0\0\0\0\0IDATxxx"
          "x"),
     LS_ELIMIT, "30000x30000"},
    {"mdat to the end", 1, LS_SOURCE_CONTAINER, NULL,
     TEXT("\0\0\0\x8"
          "ftyp\0\0\0\0mdatxxxxxx"),
     LS_EMEDIA, "no index"},
    {"box of 3 bytes", 1, LS_SOURCE_CONTAINER, NULL,
     TEXT("\0\0\0\x8"
          "ftyp\0\0\0\3freexxxxxx"),
     LS_EMEDIA, "box of 3 bytes"},
    {"box beyond all", 1, LS_SOURCE_CONTAINER, NULL,
     TEXT("\0\0\0\x8"
          "ftyp\0\0\0\1free\x7f\xff\xff\xff\xff\xff\xff\xffxx"),
     LS_EMEDIA, "broken"},
    {"box cut in its size", 1, LS_SOURCE_CONTAINER, NULL,
     TEXT("\0\0\0\x8"
          "ftyp\0\0\0\1free\x7f"),
     LS_EMEDIA, "cut off"},
    {"64 bit box", 1, LS_SOURCE_CONTAINER, NULL,
     TEXT("\0\0\0\x8"
          "ftyp\0\0\0\1mdat\0\0\0\0\0\0\0\x14zzzz\0\0\0\x8moov"),
     LS_EMEDIA, ""},
    {"moov of nothing", 1, LS_SOURCE_CONTAINER, NULL,
     TEXT("\0\0\0\x8"
          "ftyp\0\0\0\x8moov"),
     LS_EMEDIA, ""},
    {"ebml of nothing", 1, LS_SOURCE_CONTAINER, NULL,
     TEXT("\x1a\x45\xdf\xa3\x80zzzzzzzzzzzzzzzzzzzzzzzzz"), LS_EMEDIA, ""},
    {"wav without samples", 0, LS_SOURCE_CONTAINER, NULL, TEXT(WAV("")), LS_EMEDIA,
     "without samples"},
    {"wav with no sample", 0, LS_SOURCE_CONTAINER, NULL, TEXT(WAV("data\0\0\0\0")), LS_EMEDIA, ""},
    {"ogg of nothing", 0, LS_SOURCE_CONTAINER, NULL, TEXT("OggSzzzzzzzzzzzzzzzzzzzzzz"), LS_EMEDIA,
     ""},
    {"mp3 of nothing", 0, LS_SOURCE_CONTAINER, NULL,
     TEXT("ID3\3\0\0\0\0\0\0zzzzzzzzzzzzzzzzzzzzzzz"), LS_EMEDIA, ""},
    {"empty.mp4", 1, LS_SOURCE_CONTAINER, "hard/empty.mp4", NULL, 0, LS_EMEDIA, "empty"},
    {"garbage.mp4", 1, LS_SOURCE_CONTAINER, "hard/garbage.mp4", NULL, 0, LS_EMEDIA, "no media"},
    {"truncated.mp4", 1, LS_SOURCE_CONTAINER, "hard/truncated.mp4", NULL, 0, LS_EMEDIA, "moov"},
    {"head of a faststart", 1, LS_SOURCE_CONTAINER, "talking/presenter_720p_faststart.mp4", NULL,
     3000, LS_EMEDIA, ""},
    {"no sound", 0, LS_SOURCE_CONTAINER, "hard/noaudio.mp4", NULL, 0, LS_ECODEC,
     "no sound stream; its streams: video h264"},
    {"no picture", 1, LS_SOURCE_CONTAINER, "audio/jfk.wav", NULL, 0, LS_ECODEC,
     "no video stream; its streams: audio pcm_s16le"},
    {"still as container", 1, LS_SOURCE_CONTAINER, "images/astronaut.png", NULL, 0, LS_ECODEC,
     "still"},
    {"picture as voice", 0, LS_SOURCE_CONTAINER, "images/astronaut.png", NULL, 0, LS_ECODEC,
     "voice"},
    {"container as still", 1, LS_SOURCE_STILL, "hard/noaudio.mp4", NULL, 0, LS_ECODEC, "container"},
    {"cut jpeg", 1, LS_SOURCE_STILL, "images/grace_hopper_512x512.jpg", NULL, 100, LS_EMEDIA, ""},
};

static void set_source(const char *name, bool video, enum ls_source source)
{
    drive_clear(&t);
    (void)name;
    t.params.video = video;
    t.params.source = source;
    t.params.sample_rate_hz = 16000;
    t.params.channels = 1;
    t.params.width_px = 64;
    t.params.height_px = 48;
    t.params.rate_num = 25;
    t.params.rate_den = 1;
    t.timeout_ms = 20000;
}

static void check_error(const char *name, bool video, int code, const char *text)
{
    if (!CHECK(t.err.code == code && strstr(t.err.text, text), name) ||
        !CHECK(strcmp(t.err.field, video ? "video" : "audio") == 0, name))
        printf("  %s [%s] %s%s\n", ls_err_reason(t.err.code), t.err.field, t.err.text,
               t.timed_out ? " (timed out)" : "");
}

static void test_rows(void)
{
    struct ls_options opt = drive_options();
    size_t i;

    for (i = 0; i < sizeof rows / sizeof *rows; i++) {
        uint8_t *data = NULL;

        set_source(rows[i].name, rows[i].video, rows[i].source);
        if (rows[i].file) {
            data = drive_media(rows[i].file, &t.size);
            if (!data) {
                printf("SKIP: %s is not there\n", rows[i].file);
                continue;
            }
            if (rows[i].size)
                t.size = rows[i].size;
        } else {
            t.size = rows[i].size;
        }
        t.data = data ? data : (const uint8_t *)rows[i].bytes;
        t.chunk = 7 * (i % 2); // in pieces, or at once
        drive_run(&t, &opt);
        check_error(rows[i].name, rows[i].video, rows[i].code, rows[i].text);
        free(data);
    }
}

// Broken in the middle: what can be decoded is, and a warning says so; it never hangs or dies.
static void test_damage(void)
{
    static const char *const names[] = {
        "hard/mpeg2.ts",    "talking/lbbc2a.mpg", "hard/fragmented.mp4", "hard/vp9_opus.webm",
        "hard/noaudio.mp4", "hard/hevc_8bit.mp4", "hard/av1_opus.mp4",   "hard/vp8_vorbis.webm"};
    struct ls_options opt = drive_options();
    size_t i, k;
    int way;

    for (i = 0; i < sizeof names / sizeof *names; i++) {
        for (way = 0; way < 3; way++) {
            uint32_t x = (uint32_t)(i * 3 + (size_t)way);
            uint8_t *data;

            set_source(names[i], way != 2, LS_SOURCE_CONTAINER);
            data = drive_media(names[i], &t.size);
            if (!data)
                continue;
            if (way == 0)
                t.size = t.size * 2 / 3;
            for (k = 2000; way && k + 4000 < t.size; k++) { // a byte in 500
                x = x * 1664525u + 1013904223u;
                if (x >> 16 < 131)
                    data[k] = (uint8_t)x;
            }
            t.data = data;
            t.chunk = 65536;
            drive_run(&t, &opt);
            if (!CHECK(!t.timed_out && (t.pass_count == 1 || t.err.code == LS_EMEDIA ||
                                        t.err.code == LS_ECODEC),
                       names[i]))
                printf("  way %d: %s %s\n", way, ls_err_reason(t.err.code), t.err.text);
            free(data);
        }
    }
}

static void test_limits(void)
{
    struct ls_options opt = drive_options();
    static uint8_t zeros[1 << 20];

    set_source("side", true, LS_SOURCE_FRAMES);
    opt.side_px_max = 63;
    t.data = zeros;
    t.size = sizeof zeros;
    drive_run(&t, &opt);
    check_error("side", true, LS_ELIMIT, "64x48");

    opt = drive_options();
    set_source("pixels", true, LS_SOURCE_FRAMES);
    opt.pixels_max = 64 * 48 - 1;
    t.data = zeros;
    t.size = sizeof zeros;
    drive_run(&t, &opt);
    check_error("pixels", true, LS_ELIMIT, "3071");

    opt = drive_options();
    set_source("rate", true, LS_SOURCE_FRAMES);
    t.params.rate_num = 121;
    t.data = zeros;
    t.size = sizeof zeros;
    drive_run(&t, &opt);
    check_error("rate", true, LS_ELIMIT, "121/1");

    opt = drive_options();
    set_source("tiny", true, LS_SOURCE_FRAMES);
    t.params.width_px = 15;
    t.data = zeros;
    t.size = sizeof zeros;
    drive_run(&t, &opt);
    check_error("tiny", true, LS_EMEDIA, "15x48");

    set_source("seconds", false, LS_SOURCE_PCM);
    opt.audio_seconds_max = 2;
    t.data = zeros;
    t.size = 2 * 16000 * 2 + 2;
    drive_run(&t, &opt);
    check_error("seconds", false, LS_ELIMIT, "2 s");

    opt = drive_options();
    set_source("spool", false, LS_SOURCE_PCM);
    t.params.keep = true; // nothing is given back
    opt.spool_bytes_max = 1 << 19;
    t.data = zeros;
    t.size = sizeof zeros;
    t.chunk = 65536;
    drive_run(&t, &opt);
    check_error("spool", false, LS_ELIMIT, "524288");

    opt = drive_options();
    set_source("no folder", false, LS_SOURCE_PCM);
    opt.spool_dir = "/nonexistent";
    drive_run(&t, &opt);
    CHECK(t.err.code == LS_EIO && strstr(t.err.text, "/nonexistent"), "no folder");
}

// The children of this process that are decode processes; the n-th, or 0.
static pid_t child(void)
{
    char path[64];
    FILE *f;
    int pid = 0;

    snprintf(path, sizeof path, "/proc/self/task/%d/children", (int)getpid());
    f = fopen(path, "r");
    if (f) {
        if (fscanf(f, "%d", &pid) != 1)
            pid = 0;
        fclose(f);
    }
    return pid;
}

static int hook_signal;

static void signal_child(struct drive *d)
{
    if (d->frame_count == 3 && child() > 0)
        kill(child(), hook_signal);
}

static void test_signals(void)
{
    static const struct {
        const char *name;
        int signal;
        const char *text;
    } cases[] = {
        {"killed", SIGKILL, "signal 9"},
        {"crashed", SIGSEGV, ""}, // a sanitizer makes an exit status of it
        {"stopped", SIGSTOP, "hangs"},
    };
    struct ls_options opt = drive_options();
    uint8_t *data = calloc(1, 64 * 48 * 3 / 2 * 200);
    size_t i;

    opt.decoder_stuck_ms_max = 500;
    for (i = 0; i < sizeof cases / sizeof *cases; i++) {
        set_source(cases[i].name, true, LS_SOURCE_FRAMES);
        t.data = data;
        t.size = 64 * 48 * 3 / 2 * 200;
        t.chunk = 4608;
        t.on_frame_hook = signal_child;
        hook_signal = cases[i].signal;
        drive_run(&t, &opt);
        if (t.frame_count == 0 || child() > 0)
            CHECK(false, cases[i].name);
        check_error(cases[i].name, true, LS_EDECODER, cases[i].text);
    }
    free(data);
}

static void test_memory(void)
{
    struct ls_options opt = drive_options();
    uint8_t *data;

    if (drive_sanitized()) {
        printf("SKIP: memory limit: a sanitizer needs all of the address space\n");
        return;
    }
    set_source("memory", true, LS_SOURCE_CONTAINER);
    data = drive_media("hard/1080p_h264.mp4", &t.size);
    if (!data)
        return;
    opt.decoder_bytes_max = 16 << 20;
    t.data = data;
    drive_run(&t, &opt);
    if (!CHECK(t.err.code == LS_ENOMEM || t.err.code == LS_EMEDIA || t.err.code == LS_EDECODER,
               "memory"))
        printf("  %s %s\n", ls_err_reason(t.err.code), t.err.text);
    free(data);
}

// A program that is no decoder: it ends at once, or says nothing.
static void test_impostor(void)
{
    struct ls_options opt = drive_options();
    struct ls_decode_pool *pool = NULL;
    struct ls_err err = {0};
    uv_loop_t loop;

    uv_loop_init(&loop);
    CHECK(ls_decode_pool_open(&pool, &loop, "/nonexistent/decoder", &opt, NULL, &err) == LS_EIO &&
              !pool,
          "no program");
    CHECK(strstr(err.text, "/nonexistent/decoder"), "no program");
    uv_loop_close(&loop);
}

static void on_pool_timer(uv_timer_t *timer)
{
    struct ls_decode_pool **pool = timer->data;

    CHECK(ls_decode_pool_live(*pool) == 2, "pool: two are warm");
    ls_decode_pool_close(pool);
    uv_close((uv_handle_t *)timer, NULL);
}

static void test_pool(void)
{
    struct ls_options opt = drive_options();
    struct ls_decode_pool *pool = NULL;
    uv_timer_t timer;
    uv_loop_t loop;

    opt.warm_decoders = 2;
    uv_loop_init(&loop);
    if (!CHECK(ls_decode_pool_open(&pool, &loop, drive_worker(), &opt, NULL, NULL) == 0, "pool"))
        return;
    uv_timer_init(&loop, &timer);
    timer.data = &pool;
    uv_timer_start(&timer, on_pool_timer, 500, 0);
    uv_run(&loop, UV_RUN_DEFAULT);
    CHECK(uv_loop_close(&loop) == 0, "pool: no handle is left");
    CHECK(child() == 0, "pool: no process is left");
}

static void test_records(void)
{
    static const struct {
        const char *name;
        struct ls_wire_frame f;
        bool good;
    } frames[] = {
        {"good", {1, 5, 1000, 10, 0}, true},
        {"slot beyond", {4, 5, 1000, 10, 0}, false},
        {"slot below", {-1, 5, 1000, 10, 0}, false},
        {"slot taken", {0, 5, 1000, 10, 0}, false},
        {"index", {1, 6, 1000, 10, 0}, false},
        {"time back", {1, 5, 900, 10, 0}, false},
        {"time absurd", {1, 5, INT64_MAX, 10, 0}, false},
        {"no duration", {1, 5, 1000, 0, 0}, false},
        {"duration absurd", {1, 5, 1000, INT64_MAX, 0}, false},
    };
    struct {
        struct ls_wire_sound head;
        float x[6];
    } sound = {{2, 2}, {0, 0, 0, 0, 0, 0}};
    struct ls_decode_check c;
    struct ls_decode_warning w = {"GOOD_ONE", "text"};
    size_t i;

    for (i = 0; i < sizeof frames / sizeof *frames; i++) {
        c = (struct ls_decode_check){.has_info = true,
                                     .has_ring = true,
                                     .slots = 4,
                                     .next_idx = 5,
                                     .frames = 5,
                                     .last_pts = 900};
        c.slot_out[0] = true;
        CHECK((ls_check_frame(&c, &frames[i].f, NULL) == 0) == frames[i].good, frames[i].name);
    }
    c = (struct ls_decode_check){.has_info = true, .channels = 2};
    CHECK(ls_check_sound(&c, (uint8_t *)&sound, sizeof sound, NULL) == 0, "sound");
    CHECK(ls_check_sound(&c, (uint8_t *)&sound, sizeof sound - 4, NULL) < 0, "sound: size");
    CHECK(ls_check_sound(&c, (uint8_t *)&sound, 3, NULL) < 0, "sound: head");
    sound.head.mono_count = INT64_MAX;
    CHECK(ls_check_sound(&c, (uint8_t *)&sound, sizeof sound, NULL) < 0, "sound: count");
    sound.head.mono_count = 2;
    sound.x[3] = NAN;
    CHECK(ls_check_sound(&c, (uint8_t *)&sound, sizeof sound, NULL) < 0, "sound: NaN");
    CHECK(ls_check_warning(&w, NULL) == 0, "warning");
    memset(w.text, 'x', sizeof w.text);
    CHECK(ls_check_warning(&w, NULL) < 0, "warning without an end");
}

int main(void)
{
    test_records();
    test_impostor();
    test_rows();
    test_limits();
    test_signals();
    test_memory();
    test_pool();
    test_damage();
    return check_done();
}
