// SPDX-License-Identifier: Apache-2.0
// The whole flow without a socket, on raw frames and PCM that the test makes: counts, fits, order
// of source frames, what passes untouched, equal bytes for any chunking, order and concurrency, and
// how calls end.
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "_check.h"
#include "_loopback.h"

enum {
    W = 96,
    H = 80,
    I420 = W * H * 3 / 2,
    RGB = W * H * 3,
    FRAMES_MAX = 130,
    SAMPLES_MAX = 40000
};

static uint8_t i420[FRAMES_MAX * I420], rgb[FRAMES_MAX * RGB];
static int16_t speech[SAMPLES_MAX], quiet[SAMPLES_MAX];

// Each frame has its number in its look, so that order can be checked from raw output.
static void make_inputs(void)
{
    int f, i;

    for (f = 0; f < FRAMES_MAX; f++) {
        for (i = 0; i < I420; i++)
            i420[f * I420 + i] = (uint8_t)(40 + f + (i * 7 % W) / 2 + i / W / 2);
        for (i = 0; i < RGB; i++)
            rgb[f * RGB + i] = (uint8_t)(30 + f + i % (3 * W) / 4 + i / (3 * W) / 2);
    }
    for (i = 0; i < SAMPLES_MAX; i++)
        speech[i] = (int16_t)(8000 * sin(i * 0.06) * sin(i * 0.0007) + 900 * sin(i * 0.9));
}

static void init(struct loopback_call *c, int num, int den, int frames, int samples, bool raw)
{
    memset(c, 0, sizeof(*c));
    loopback_job(&c->job, W, H, num, den, LS_PIX_I420);
    c->job.frame_info = true;
    c->audio = (const uint8_t *)speech;
    c->audio_size = (size_t)samples * 2;
    c->video = i420;
    c->video_size = (size_t)frames * I420;
    c->chunk = 65536;
    if (raw) {
        c->job.output.container = LS_CONTAINER_NONE;
        c->job.output.video = LS_VIDEO_I420;
        c->job.output.audio = LS_AUDIO_NONE;
    }
}

static const struct {
    const char *name;
    int num, den, samples, want;
} counts[] = {
    {"25 fps, 1 s", 25, 1, 16000, 25},
    {"25 fps, 0.05 s", 25, 1, 800, 1},
    {"25 fps, half a frame up", 25, 1, 16320, 26},
    {"25 fps, just below", 25, 1, 16319, 25},
    {"30 fps, 1.01 s", 30, 1, 16160, 30},
    {"30000/1001, 2 s", 30000, 1001, 32000, 60},
    {"24 fps, 1.234 s", 24, 1, 19744, 30},
    {"60 fps, 1.5 s", 60, 1, 24000, 90},
};

static void check_counts(struct loopback *l)
{
    struct loopback_call c;
    size_t i;

    for (i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
        init(&c, counts[i].num, counts[i].den, FRAMES_MAX, counts[i].samples, true);
        c.audio = (const uint8_t *)quiet; // nothing is generated: this is about time
        loopback_run(l, &c, 1);
        CHECK(c.err.code == 0 && c.summary.summary.frames_out == counts[i].want, counts[i].name);
        CHECK(c.size == (size_t)counts[i].want * I420, counts[i].name);
        CHECK(memcmp(c.data, i420, c.size) == 0, counts[i].name);
        if (c.err.code < 0 || c.summary.summary.frames_out != counts[i].want)
            printf("%s: %s, %d frames\n", counts[i].name, c.err.text,
                   (int)c.summary.summary.frames_out);
        loopback_clear(&c);
    }
}

// 10 source frames, a voice of 24 frames (or 4): which source frames are shown?
static const struct {
    const char *name;
    enum ls_audio_longer audio;
    enum ls_video_longer video;
    int samples, want;
    int source[26];
} fits[] = {
    {"loop", LS_FIT_LOOP, LS_FIT_CUT, 24 * 640, 24, {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1,
                                                     2, 3, 4, 5, 6, 7, 8, 9, 0, 1, 2, 3}},
    {"ping-pong", LS_FIT_PING_PONG, LS_FIT_CUT, 24 * 640, 24, {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 8,
                                                               7, 6, 5, 4, 3, 2, 1, 0, 0, 1, 2, 3}},
    {"hold last", LS_FIT_HOLD_LAST, LS_FIT_CUT, 24 * 640, 24, {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9,
                                                               9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9}},
    {"stop", LS_FIT_STOP, LS_FIT_CUT, 24 * 640, 10, {0, 1, 2, 3, 4, 5, 6, 7, 8, 9}},
    {"video longer: cut", LS_FIT_LOOP, LS_FIT_CUT, 4 * 640, 4, {0, 1, 2, 3}},
    {"video longer: keep",
     LS_FIT_LOOP,
     LS_FIT_KEEP_ORIGINAL,
     4 * 640,
     10,
     {0, 1, 2, 3, 4, 5, 6, 7, 8, 9}},
};

static void check_fit(struct loopback *l, int row, int order)
{
    struct loopback_call c;
    int k, good;

    init(&c, 25, 1, 10, fits[row].samples, true);
    c.job.fit.audio_longer = fits[row].audio;
    c.job.fit.video_longer = fits[row].video;
    c.order = order;
    // Small pieces: the picture has ended, the voice has begun and goes on.
    c.chunk = order == 2 ? 512 : c.chunk;
    loopback_run(l, &c, 1);
    good = c.err.code == 0 && c.info_count == fits[row].want &&
           c.size == (size_t)fits[row].want * I420;
    for (k = 0; good && k < fits[row].want; k++)
        good = c.info[k].source_idx == fits[row].source[k] && c.info[k].pts == k * 3600 &&
               c.data[(size_t)k * I420] == i420[(size_t)fits[row].source[k] * I420];
    CHECK(good, fits[row].name);
    if (!good)
        printf("%s: %s, %d frames, order %d\n", fits[row].name, c.err.text, c.info_count, order);
    if (good && fits[row].video == LS_FIT_KEEP_ORIGINAL)
        CHECK(memcmp(c.data + 4 * I420, i420 + 4 * I420, 6 * I420) == 0,
              "frames after the voice are untouched");
    loopback_clear(&c);
}

static void check_fits(struct loopback *l)
{
    size_t i;
    int order;

    // Which input is complete first must not matter.
    for (i = 0; i < sizeof(fits) / sizeof(fits[0]); i++)
        for (order = 0; order < 3; order++)
            check_fit(l, (int)i, order);
}

// The same call in many ways must give the same bytes.
static void check_promises(struct loopback *l)
{
    static const struct {
        const char *name;
        size_t chunk;
        int order, sessions;
    } ways[] = {
        {"all at once", 0, 0, 1},     {"1 kB", 1024, 0, 1},         {"64 kB", 65536, 0, 1},
        {"97 bytes", 97, 0, 1},       {"audio first", 65536, 1, 1}, {"video first", 65536, 2, 1},
        {"four at once", 4096, 0, 4},
    };
    struct loopback_call c[4];
    uint8_t want[32] = {0};
    size_t i;
    int k;

    for (i = 0; i < sizeof(ways) / sizeof(ways[0]); i++) {
        for (k = 0; k < ways[i].sessions; k++) {
            init(&c[k], 25, 1, 12, 18 * 640 + 100, false);
            c[k].chunk = ways[i].chunk;
            c[k].order = ways[i].order;
        }
        loopback_run(l, c, ways[i].sessions);
        for (k = 0; k < ways[i].sessions; k++) {
            CHECK(c[k].err.code == 0 && c[k].summary.kind == LS_REPLY_SUMMARY, ways[i].name);
            if (i == 0)
                memcpy(want, c[k].summary.summary.sha256, 32);
            CHECK(memcmp(want, c[k].summary.summary.sha256, 32) == 0, ways[i].name);
            CHECK(c[k].accepted_count == 1 && c[k].summary.summary.frames[LS_ACTION_SYNCED] == 18,
                  ways[i].name);
            loopback_clear(&c[k]);
        }
    }
}

static void check_regions(struct loopback *l)
{
    static const struct ls_region region[] = {
        {0, {20, 20, 80, 76}, true, false},
        {1, {0, 0, 0, 0}, false, false},
        {2, {20, 20, 80, 76}, true, true},
        {3, {22, 20, 82, 76}, true, false},
    };
    static const enum ls_action want[] = {LS_ACTION_SYNCED, LS_ACTION_PASSED_THROUGH,
                                          LS_ACTION_PASSED_THROUGH, LS_ACTION_SYNCED,
                                          LS_ACTION_PASSED_THROUGH};
    static const enum ls_action held[] = {LS_ACTION_SYNCED, LS_ACTION_HELD,
                                          LS_ACTION_PASSED_THROUGH, LS_ACTION_SYNCED,
                                          LS_ACTION_HELD};
    struct loopback_call c;
    int round, k, good;

    for (round = 0; round < 2; round++) {
        init(&c, 25, 1, 5, 5 * 640, true);
        c.job.face.box_fixed = false;
        c.job.face.choose = LS_CHOOSE_GIVEN;
        c.job.face.missing = round ? LS_MISSING_HOLD_BOX : LS_MISSING_PASS_THROUGH;
        c.region = region;
        c.region_count = 4;
        loopback_run(l, &c, 1);
        good = c.err.code == 0 && c.info_count == 5;
        for (k = 0; good && k < 5; k++)
            good = c.info[k].action == (round ? held[k] : want[k]);
        CHECK(good, round ? "regions, held" : "regions");
        CHECK(memcmp(c.data + 2 * I420, i420 + 2 * I420, I420) == 0,
              "a bypassed frame is untouched");
        CHECK(memcmp(c.data, i420, I420) != 0, "a synced frame is not");
        loopback_clear(&c);
    }
}

static void check_missing_faces(struct loopback *l)
{
    static const struct ls_region two[] = {{0, {20, 20, 80, 76}, true, false},
                                           {1, {20, 20, 80, 76}, true, false}};
    struct loopback_call c;

    init(&c, 25, 1, 10, 24 * 640, true);
    c.job.face.box_fixed = false;
    c.job.face.choose = LS_CHOOSE_GIVEN;
    c.job.face.missing = LS_MISSING_FAIL;
    loopback_run(l, &c, 1);
    CHECK(c.err.code == LS_ENOFACE && c.summary.kind != LS_REPLY_SUMMARY, "no face: FAIL");
    loopback_clear(&c);

    // Frames 0 and 1 have a face, the voice needs no more.
    init(&c, 25, 1, 10, 2 * 640, true);
    c.job.face.box_fixed = false;
    c.job.face.choose = LS_CHOOSE_GIVEN;
    c.job.face.missing = LS_MISSING_FAIL;
    c.region = two;
    c.region_count = 2;
    loopback_run(l, &c, 1);
    CHECK(c.err.code == 0 && c.summary.summary.frames_out == 2,
          "a frame behind the voice needs no face");
    loopback_clear(&c);
}

static void check_ends(struct loopback *l)
{
    struct loopback_call c;
    int round;

    for (round = 0; round < 3; round++) {
        init(&c, 25, 1, 10, 24 * 640, true);
        c.audio_size = round == 1 ? c.audio_size : 0;
        c.video_size = round == 0 ? c.video_size : 0;
        loopback_run(l, &c, 1);
        CHECK(c.err.code == LS_EMISSING && strcmp(c.err.field, round == 1 ? "video" : "audio") == 0,
              "a missing input is named");
        loopback_clear(&c);
    }

    init(&c, 25, 1, 10, 200, true);
    loopback_run(l, &c, 1);
    CHECK(c.err.code == LS_ESHORT, "12 ms of voice");
    loopback_clear(&c);

    init(&c, 25, 1, 100, 2 * 16000, false);
    c.fail_after = 1;
    loopback_run(l, &c, 1);
    CHECK(c.err.code == LS_ECANCEL && c.summary.kind != LS_REPLY_SUMMARY, "cancelled");
    loopback_clear(&c);

    init(&c, 25, 1, 100, 2 * 16000, true);
    c.stop_after = 3;
    loopback_run(l, &c, 1);
    CHECK(c.err.code == 0 && c.summary.kind == LS_REPLY_SUMMARY &&
              c.summary.summary.frames_out >= 3 && c.summary.summary.frames_out < 50,
          "STOP_NOW ends early and well");
    loopback_clear(&c);

    init(&c, 25, 1, 10, 24 * 640, true);
    c.no_close = true;
    c.audio_size = 0;
    l->engine->opt.input_idle_ms_max = 200;
    loopback_run(l, &c, 1);
    CHECK(c.err.code == LS_EIDLE, "an idle caller");
    l->engine->opt.input_idle_ms_max = l->opt.input_idle_ms_max;
    loopback_clear(&c);

    init(&c, 25, 1, 100, 2 * 16000, true);
    c.never_reads = true;
    l->engine->opt.output_idle_ms_max = 300;
    l->engine->opt.out_bytes_ahead = 65536;
    loopback_run(l, &c, 1);
    CHECK(c.err.code == LS_ESTALL && c.size < 65536 + 5 * I420, "a caller that never reads");
    l->engine->opt.output_idle_ms_max = l->opt.output_idle_ms_max;
    l->engine->opt.out_bytes_ahead = l->opt.out_bytes_ahead;
    loopback_clear(&c);
}

// Wherever the cancel comes, also into an encode job: frames that nobody got are no output.
static void check_cancelled_count(struct loopback *l)
{
    for (int round = 1; round <= 24; round++) {
        struct loopback_call c;

        init(&c, 25, 1, 100, SAMPLES_MAX, true);
        c.fail_after = round;
        loopback_run(l, &c, 1);
        CHECK(c.err.code == LS_ECANCEL && (size_t)c.figures.frames_out * I420 == c.size,
              "a cancelled session counts what was given");
        loopback_clear(&c);
    }
}

static void check_length(struct loopback *l)
{
    struct loopback_call c;

    init(&c, 25, 1, 10, 24 * 640, true);
    l->engine->opt.frames_max = 20;
    loopback_run(l, &c, 1);
    CHECK(c.err.code == LS_ELIMIT && strstr(c.err.text, "20"), "--frames-max");
    l->engine->opt.frames_max = l->opt.frames_max;
    loopback_clear(&c);
}

static void check_places(struct loopback *l)
{
    struct loopback_call c[2];

    init(&c[0], 25, 1, 10, 5 * 640, true);
    init(&c[1], 25, 1, 10, 5 * 640, true);
    l->engine->opt.sessions_max = 1;
    loopback_run(l, c, 2);
    CHECK(c[0].err.code == 0 && c[1].err.code == LS_EBUSY, "one place, two calls");
    l->engine->opt.sessions_max = l->opt.sessions_max;
    loopback_clear(&c[0]);
    init(&c[0], 25, 1, 10, 5 * 640, true);
    c[0].job.face.box_fixed = false;
    loopback_run(l, c, 1);
    CHECK(c[0].err.code == LS_ECODEC, "no detector, and no boxes given");
    CHECK(l->engine->session_count == 0, "all places are free again");
}

// A voice in one half: frames of the silent half keep their own mouth, bit for bit.
static void check_silence(struct loopback *l)
{
    static int16_t half[50 * 640];
    struct loopback_call c;
    int64_t silent;

    memcpy(half, speech, 25 * 640 * 2);
    init(&c, 25, 1, 50, 50 * 640, true);
    c.audio = (const uint8_t *)half;
    loopback_run(l, &c, 1);
    silent = c.summary.summary.frames[LS_ACTION_SILENT];
    CHECK(c.err.code == 0 && silent >= 17 && silent <= 20, "silent frames are told");
    CHECK(c.size == 50 * I420 && memcmp(c.data + 40 * I420, i420 + 40 * I420, 10 * I420) == 0,
          "a silent frame is untouched");
    loopback_clear(&c);
}

// Frames without a face, looked at by the detector, with more of them than the voice needs: the
// frames that wait for a box when the voice ends are the ones behind it.
static void check_detector(void)
{
    static const int samples[] = {640, 3 * 640, 7 * 640, 16 * 640};
    struct loopback_call c;
    struct loopback l;
    size_t i;
    FILE *f = fopen("build/blazeface.safetensors", "rb");

    if (!f) {
        printf("SKIP: detector rows: no build/blazeface.safetensors\n");
        return;
    }
    fclose(f);
    if (!CHECK(loopback_open(&l, "cpu", "build/blazeface.safetensors") == 0, "detector"))
        return;
    for (i = 0; i < sizeof(samples) / sizeof(samples[0]); i++) {
        init(&c, 25, 1, 40, samples[i], true);
        c.job.face.box_fixed = false;
        loopback_run(&l, &c, 1);
        CHECK(c.err.code == 0 && c.size == (size_t)(samples[i] / 640) * I420 &&
                  memcmp(c.data, i420, c.size) == 0 && strstr(c.warnings, "FACE_MISSING"),
              "no face anywhere: all frames pass, with a warning");
        loopback_clear(&c);
    }
    loopback_close(&l);
}

int main(void)
{
    struct loopback l;

    make_inputs();
    if (loopback_open(&l, "cpu", NULL) < 0)
        return 1;
    check_counts(&l);
    check_fits(&l);
    check_promises(&l);
    check_regions(&l);
    check_missing_faces(&l);
    check_ends(&l);
    check_cancelled_count(&l);
    check_length(&l);
    check_places(&l);
    check_silence(&l);
    loopback_close(&l);
    check_detector();
    return check_done();
}
