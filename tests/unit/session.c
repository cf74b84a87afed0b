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
        CHECK(memcmp(c.data + 7 * I420, i420 + 7 * I420, 3 * I420) == 0 &&
                  c.info[6].action == LS_ACTION_SYNCED &&
                  c.info[7].action == LS_ACTION_PASSED_THROUGH,
              "frames after the voice are untouched when the mouth has gone");
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
        {0, {20, 20, 80, 76}, true, false}, {1, {0, 0, 0, 0}, false, false},
        {2, {20, 20, 80, 76}, true, true},  {3, {22, 20, 82, 76}, true, false},
        {4, {-50, 20, 2, 76}, true, false}, // too little of it is in the picture
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
        c.region_count = 5;
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
    CHECK(c.err.code == 0 && silent >= 16 && silent <= 17, "silent frames are told");
    CHECK(c.size == 50 * I420 && memcmp(c.data + 40 * I420, i420 + 40 * I420, 10 * I420) == 0,
          "a silent frame is untouched");
    loopback_clear(&c);
}

// How far frame `idx` of a raw output is from its source: the sum of all differences.
static int64_t change(const struct loopback_call *c, int idx)
{
    int64_t sum = 0;

    for (int i = 0; i < I420; i++)
        sum += abs((int)c->data[(size_t)idx * I420 + (size_t)i] -
                   (int)c->video[(size_t)idx * I420 + (size_t)i]);
    return sum;
}

// One picture, again and again, so that what is pasted differs by its strength alone; half a second
// later, another one: a cut.
static const uint8_t *one_picture(int cut)
{
    static uint8_t same[50 * I420];

    for (int f = 0; f < 50; f++)
        for (int i = 0; i < I420; i++)
            same[f * I420 + i] = (uint8_t)(i420[i] + (f >= cut ? 90 : 0));
    return same;
}

// Silence, from 0.4 s to 1.4 s a buzz, silence. hold 200 ms: the gate is open until 1.6 s.
static void check_fades(struct loopback *l)
{
    static const struct {
        const char *name;
        int fade_frames, cut;
        int rise, whole, fall, gone; // first frame that is touched, whole, less, untouched again
    } rows[] = {
        {"fade over 3 frames", 3, 50, 6, 9, 41, 44},
        {"fade over 1 frame", 1, 50, 6, 7, 41, 42},
        {"no fade", 0, 50, 8, 8, 40, 40},
        {"a cut while the mouth goes", 3, 42, 6, 9, 41, 42},
        {"a cut while the mouth comes", 3, 7, 6, 7, 41, 44},
    };
    static int16_t buzz[50 * 640];
    struct loopback_call c;
    size_t row;
    int i, good;

    for (i = 16000 * 4 / 10; i < 16000 * 14 / 10; i++)
        buzz[i] = (int16_t)(8000 * sin(i * 0.08));
    for (row = 0; row < sizeof(rows) / sizeof(rows[0]); row++) {
        init(&c, 25, 1, 50, 50 * 640, true);
        c.audio = (const uint8_t *)buzz;
        c.video = one_picture(rows[row].cut);
        c.job.paste.fade_frames = rows[row].fade_frames;
        c.job.paste.sharpness = 0; // grain would differ from frame to frame
        loopback_run(l, &c, 1);
        good = c.err.code == 0 && c.info_count == 50;
        for (i = 0; good && i < 50; i++) {
            bool touched = i >= rows[row].rise && i < rows[row].gone;

            good = (change(&c, i) > 0) == touched &&
                   c.info[i].action == (touched ? LS_ACTION_SYNCED : LS_ACTION_SILENT);
            // Rising frames more and more, falling ones less and less; a mouth that moves changes
            // little by comparison.
            if (good && i > rows[row].rise && i <= rows[row].whole)
                good = change(&c, i) > change(&c, i - 1);
            if (good && i >= rows[row].fall && i < rows[row].gone && i != rows[row].cut)
                good = change(&c, i) < change(&c, i - 1);
            if (!good)
                printf("frame %d: action %d, changed by %d after %d\n", i, c.info[i].action,
                       (int)change(&c, i), i ? (int)change(&c, i - 1) : 0);
        }
        CHECK(good, rows[row].name);
        loopback_clear(&c);
    }
}

// The caller's regions: the mouth goes before frame 10, which is bypassed, and comes after it; at
// frame 20 there is a cut and no face until 25; a caller in a hurry gets no warning of what is to
// come.
static void check_region_fades(struct loopback *l)
{
    struct ls_region region[40];
    struct loopback_call c;
    int round, i, good;

    for (i = 0; i < 40; i++)
        region[i] = (struct ls_region){i, {20, 20, 80, 76}, i < 20 || i >= 25, i == 10};
    for (round = 0; round < 3; round++) {
        bool hurry = round == 1;

        init(&c, 25, 1, 40, 40 * 640, true);
        c.video = one_picture(20);
        c.job.face.box_fixed = false;
        c.job.face.choose = LS_CHOOSE_GIVEN;
        c.job.paste.sharpness = 0;
        c.job.paste.fade_frames = round == 2 ? 0 : 3;
        c.job.silence.policy = LS_SILENCE_GENERATE;
        c.job.output.latency = hurry ? LS_LATENCY_LOW : LS_LATENCY_NORMAL;
        c.region = region;
        c.region_count = 40;
        c.chunk = 5000;
        loopback_run(l, &c, 1);
        good = c.err.code == 0 && c.info_count == 40 && change(&c, 10) == 0;
        for (i = 20; good && i < 25; i++)
            good = change(&c, i) == 0;
        // Halves of what is whole four frames away, within what a moving mouth makes of it.
        if (good && round == 0)
            good = 5 * change(&c, 8) < 4 * change(&c, 5) && 2 * change(&c, 9) < change(&c, 5);
        if (good && round != 0)
            good = 5 * change(&c, 9) > 4 * change(&c, 6);
        if (good && round != 2)
            good = 2 * change(&c, 11) < change(&c, 15) && 5 * change(&c, 12) < 4 * change(&c, 15) &&
                   2 * change(&c, 25) < change(&c, 29);
        if (good && round == 2)
            good = 5 * change(&c, 11) > 4 * change(&c, 15);
        // Nothing of the scene that ends at frame 20 goes early.
        good = good && 5 * change(&c, 19) > 4 * change(&c, 16);
        CHECK(good, round == 0 ? "regions fade"
                    : hurry    ? "regions, in a hurry"
                               : "regions at once");
        if (!good)
            for (i = 0; i < c.info_count; i++)
                printf("frame %d: action %d, changed by %d\n", i, c.info[i].action,
                       (int)change(&c, i));
        loopback_clear(&c);
    }
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
    check_fades(&l);
    check_region_fades(&l);
    loopback_close(&l);
    check_detector();
    return check_done();
}
