// SPDX-License-Identifier: Apache-2.0
// Jobs: the documented defaults, every range at both of its ends, every conflict, all violations at
// once, and what WAV2LIP_EXACT implies.
#include <limits.h>
#include <math.h>
#include <stddef.h>
#include <string.h>

#include "server/job.h"
#include "tests/unit/_check.h"

static struct ls_options options(void)
{
    struct ls_options opt;

    ls_options_init(&opt);
    return opt;
}

// A job that passes: PCM over raw frames.
static struct ls_job valid(void)
{
    struct ls_job job;

    ls_job_init(&job, "");
    job.audio.source = LS_SOURCE_PCM;
    job.audio.sample_rate_hz = 16000;
    job.video.source = LS_SOURCE_FRAMES;
    job.video.width_px = 640;
    job.video.height_px = 480;
    job.video.rate_num = 25;
    job.video.rate_den = 1;
    return job;
}

// One number of a job: the last good and the first bad value at each end.
enum type { INT, LONG, FLOAT };
static const struct {
    const char *field;
    size_t offset;
    enum type type;
    double bad_low, low, high, bad_high;
    const char *reason_low, *reason_high;
} numbers[] = {
#define AT(member) offsetof(struct ls_job, member)
#define R          "OUT_OF_RANGE"
    {"config.audio.pcm.sample_rate_hz", AT(audio.sample_rate_hz), INT, 7999, 8000, 192000, 192001,
     R, R},
    {"config.audio.pcm.channels", AT(audio.channels), INT, 0, 1, 8, 9, R, R},
    {"config.video.frames.width", AT(video.width_px), INT, 15, 16, 4096, 4097, R, "LIMIT"},
    {"config.video.frames.height", AT(video.height_px), INT, -1, 16, 4096, 4097, R, "LIMIT"},
    {"config.output.bit_rate", AT(output.bit_rate), LONG, 9999, 10000, 2e8, 2e8 + 1, R, R},
    {"config.output.crf", AT(output.crf), INT, 0, 1, 51, 52, R, R},
    {"config.output.chunk_bytes_max", AT(output.chunk_bytes_max), INT, 4095, 4096, 1048576, 1048577,
     R, "LIMIT"},
    {"config.face.pads.top", AT(face.pad_top), INT, -1001, -1000, 1000, 1001, R, R},
    {"config.face.pads.bottom", AT(face.pad_bottom), INT, -1001, -1000, 1000, 1001, R, R},
    {"config.face.pads.left", AT(face.pad_left), INT, -1001, -1000, 1000, 1001, R, R},
    {"config.face.pads.right", AT(face.pad_right), INT, -1001, -1000, 1000, 1001, R, R},
    {"config.face.smoothing_frames", AT(face.smoothing_frames), INT, 0, 1, 25, 26, R, R},
    {"config.paste.feather_px", AT(paste.feather_px), FLOAT, -0.5, 0, 24, 24.5, R, R},
    {"config.paste.colour_match", AT(paste.colour_match), FLOAT, -0.01, 0, 1, 1.01, R, R},
    {"config.paste.strength", AT(paste.strength), FLOAT, NAN, 0, 1, INFINITY, R, R},
    {"config.paste.sharpness", AT(paste.sharpness), FLOAT, -0.01, 0, 2, 2.01, R, R},
    {"config.paste.fade_frames", AT(paste.fade_frames), INT, -1, 0, 8, 9, R, R},
    {"config.silence.threshold_dbfs", AT(silence.threshold_dbfs), FLOAT, -90.5, -90, 0, 0.5, R, R},
    {"config.silence.hold_ms", AT(silence.hold_ms), INT, -1, 0, 5000, 5001, R, R},
    {"config.timing.audio_offset_ms", AT(audio_offset_ms), INT, -501, -500, 500, 501, R, R},
    {"config.report.progress_interval", AT(progress_interval_ms), INT, 99, 100, 60000, 60001, R, R},
    {"config.report.progress_interval", AT(progress_interval_ms), INT, -1, 0, 0, 1, R, R},
#undef R
};

static int check_with(size_t offset, enum type type, double value, struct ls_violations *all)
{
    struct ls_options opt = options();
    struct ls_job job = valid();
    char *at = (char *)&job + offset;

    all->count = 0;
    if (type == INT)
        *(int *)at = (int)value;
    else if (type == LONG)
        *(int64_t *)at = (int64_t)value;
    else
        *(float *)at = (float)value;
    return ls_job_check(&job, &opt, all);
}

static void ranges(void)
{
    struct ls_violations all;

    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        const char *field = numbers[i].field;
        size_t at = numbers[i].offset;

        CHECK(check_with(at, numbers[i].type, numbers[i].low, &all) == 0 && !all.count, field);
        CHECK(check_with(at, numbers[i].type, numbers[i].high, &all) == 0 && !all.count, field);
        CHECK(check_with(at, numbers[i].type, numbers[i].bad_low, &all) == LS_EFIELD, field);
        CHECK(all.count == 1 && !strcmp(all.item[0].field, field), field);
        CHECK(!strcmp(all.item[0].reason, numbers[i].reason_low), field);
        CHECK(check_with(at, numbers[i].type, numbers[i].bad_high, &all) == LS_EFIELD, field);
        CHECK(all.count == 1 && !strcmp(all.item[0].field, field), field);
        CHECK(!strcmp(all.item[0].reason, numbers[i].reason_high), field);
    }
}

// A change to the valid job, and the one violation (or none) that follows.
static void no_audio(struct ls_job *j)
{
    j->audio.source = LS_SOURCE_NONE;
}
static void no_video(struct ls_job *j)
{
    j->video.source = LS_SOURCE_NONE;
}
static void no_rate_hz(struct ls_job *j)
{
    j->audio.sample_rate_hz = 0;
}
static void no_width(struct ls_job *j)
{
    j->video.width_px = 0;
}
static void no_rate(struct ls_job *j)
{
    j->video.rate_num = j->video.rate_den = 0;
}
static void rate_den_0(struct ls_job *j)
{
    j->video.rate_den = 0;
}
static void rate_negative(struct ls_job *j)
{
    j->video.rate_num = -25;
}
static void rate_slow(struct ls_job *j)
{
    j->video.rate_num = 1, j->video.rate_den = 2;
}
static void rate_fast(struct ls_job *j)
{
    j->video.rate_num = 121;
}
static void rate_fastest(struct ls_job *j)
{
    j->video.rate_num = 120;
}
static void rate_huge(struct ls_job *j)
{
    j->video.rate_num = j->video.rate_den = INT_MAX;
}
static void still(struct ls_job *j)
{
    j->video.source = LS_SOURCE_STILL;
}
static void still_no_rate(struct ls_job *j)
{
    still(j), no_rate(j);
}
static void pixels(struct ls_job *j)
{
    j->video.width_px = 4096, j->video.height_px = 4096;
}
static void raw(struct ls_job *j)
{
    j->output.container = LS_CONTAINER_NONE;
    j->output.video = LS_VIDEO_RGB24;
    j->output.audio = LS_AUDIO_NONE;
}
static void raw_h264(struct ls_job *j)
{
    raw(j), j->output.video = LS_VIDEO_H264;
}
static void raw_aac(struct ls_job *j)
{
    raw(j), j->output.audio = LS_AUDIO_AAC;
}
static void ts_i420(struct ls_job *j)
{
    j->output.container = LS_CONTAINER_MPEG_TS;
    j->output.video = LS_VIDEO_I420;
}
static void near_none(struct ls_job *j)
{
    j->face.choose = LS_CHOOSE_NEAREST;
}
static void near_ok(struct ls_job *j)
{
    near_none(j), j->face.nearest_x = j->face.nearest_y = 9;
}
static void near_half(struct ls_job *j)
{
    near_none(j), j->face.nearest_x = 9;
}
static void near_unused(struct ls_job *j)
{
    j->face.nearest_x = j->face.nearest_y = 9;
}
static void box(struct ls_job *j)
{
    j->face.box_fixed = true;
    j->face.box = (struct ls_box){-2, 3, 2, 7};
}
static void box_thin(struct ls_job *j)
{
    box(j), j->face.box.x1 = 1;
}
static void box_far(struct ls_job *j)
{
    box(j), j->face.box.x1 = 1e9f;
}
static void box_nan(struct ls_job *j)
{
    box(j), j->face.box.y0 = NAN;
}
static void box_given(struct ls_job *j)
{
    box(j), j->face.choose = LS_CHOOSE_GIVEN;
}

static const struct {
    const char *name;
    void (*change)(struct ls_job *job);
    const char *field, *reason; // NULL: it passes
} changes[] = {
    {"no audio", no_audio, "config.audio", "REQUIRED"},
    {"no video", no_video, "config.video", "REQUIRED"},
    {"no sample rate", no_rate_hz, "config.audio.pcm.sample_rate_hz", "REQUIRED"},
    {"no width", no_width, "config.video.frames.width", "REQUIRED"},
    {"no rate", no_rate, "config.video.frames.frame_rate", "REQUIRED"},
    {"rate over 0", rate_den_0, "config.video.frames.frame_rate", "OUT_OF_RANGE"},
    {"rate below 0", rate_negative, "config.video.frames.frame_rate", "OUT_OF_RANGE"},
    {"rate 1/2", rate_slow, "config.video.frames.frame_rate", "OUT_OF_RANGE"},
    {"rate 121", rate_fast, "config.video.frames.frame_rate", "LIMIT"},
    {"rate 120", rate_fastest, NULL, NULL},
    {"rate of huge numbers", rate_huge, "config.video.frames.frame_rate", "OUT_OF_RANGE"},
    {"still", still, NULL, NULL},
    {"still without rate", still_no_rate, "config.video.still.frame_rate", "REQUIRED"},
    {"too many pixels", pixels, "config.video.frames", "LIMIT"},
    {"raw output", raw, NULL, NULL},
    {"H.264 without container", raw_h264, "config.output.video", "CONFLICT"},
    {"AAC without container", raw_aac, "config.output.audio", "CONFLICT"},
    {"raw frames in a container", ts_i420, "config.output.video", "CONFLICT"},
    {"NEAREST to nothing", near_none, "config.face.nearest", "REQUIRED"},
    {"NEAREST", near_ok, NULL, NULL},
    {"NEAREST to NaN", near_half, "config.face.nearest.y", "OUT_OF_RANGE"},
    {"a point without NEAREST", near_unused, "config.face.nearest", "CONFLICT"},
    {"fixed box", box, NULL, NULL},
    {"thin box", box_thin, "config.face.fixed_box", "OUT_OF_RANGE"},
    {"far box", box_far, "config.face.fixed_box", "OUT_OF_RANGE"},
    {"box of NaN", box_nan, "config.face.fixed_box", "OUT_OF_RANGE"},
    {"fixed and given", box_given, "config.face.fixed_box", "CONFLICT"},
};

static void conflicts(void)
{
    struct ls_options opt = options();

    for (size_t i = 0; i < sizeof changes / sizeof changes[0]; i++) {
        struct ls_job job = valid();
        struct ls_violations all = {.count = 0};
        int r;

        changes[i].change(&job);
        r = ls_job_check(&job, &opt, &all);
        CHECK(r == (changes[i].field ? LS_EFIELD : 0), changes[i].name);
        CHECK(all.count == (changes[i].field ? 1 : 0), changes[i].name);
        if (!changes[i].field || !all.count)
            continue;
        CHECK(!strcmp(all.item[0].field, changes[i].field), changes[i].name);
        CHECK(!strcmp(all.item[0].reason, changes[i].reason), changes[i].name);
        CHECK(all.item[0].text[0], changes[i].name);
    }
}

static void together(void)
{
    struct ls_options opt = options();
    struct ls_violations all = {.count = 0};
    struct ls_job job;

    ls_job_init(&job, "");
    CHECK(ls_job_check(&job, &opt, &all) == LS_EFIELD && all.count == 2, "an empty job");
    CHECK(ls_job_check(&job, &opt, &all) == LS_EFIELD && all.count == 4, "appended");
    job = valid();
    CHECK(ls_job_check(&job, &opt, &all) == 0 && all.count == 4, "earlier ones do not count");
    for (int i = 0; i < 2 * LS_VIOLATIONS_MAX; i++)
        ls_violate(&all, "f", "R", "%d", i);
    CHECK(all.count == LS_VIOLATIONS_MAX, "bounded");
}

static void defaults(void)
{
    struct ls_options opt = options();
    struct ls_violations all = {.count = 0};
    struct ls_job job = valid();

    CHECK(ls_job_check(&job, &opt, &all) == 0, "valid");
    CHECK(job.output.chunk_bytes_max == 262144 && job.output.crf == 23, "output");
    CHECK(job.face.pad_bottom == 10 && job.face.smoothing_frames == 5 && job.face.upright, "face");
    CHECK(job.paste.mask == LS_MASK_LOWER_FACE && job.paste.feather_px == 8 &&
              job.paste.strength == 1 && job.paste.sharpness == 1 && job.paste.fade_frames == 3,
          "paste");
    CHECK(job.silence.policy == LS_SILENCE_KEEP_ORIGINAL && job.silence.hold_ms == 200, "silence");
    opt.chunk_bytes_max = 65536;
    job = valid();
    CHECK(ls_job_check(&job, &opt, &all) == 0 && job.output.chunk_bytes_max == 65536,
          "the default chunk yields to the limit");
    ls_job_init(&job, "MOUTH");
    CHECK(job.paste.mask == LS_MASK_MOUTH, "the model's mask");
}

static void exact(void)
{
    struct ls_options opt = options();
    struct ls_violations all = {.count = 0};
    struct ls_job job = valid();

    job.profile = LS_PROFILE_WAV2LIP_EXACT;
    job.face.pad_top = 7;
    job.audio_offset_ms = 40;
    CHECK(ls_job_check(&job, &opt, &all) == 0, "exact");
    CHECK(job.paste.mask == LS_MASK_RECTANGLE && job.paste.feather_px == 0 &&
              job.paste.colour_match == 0 && job.paste.strength == 1 && job.paste.sharpness == 0 &&
              job.paste.fade_frames == 0,
          "exact paste");
    CHECK(job.silence.policy == LS_SILENCE_GENERATE && job.audio_offset_ms == 0, "exact sound");
    CHECK(job.face.choose == LS_CHOOSE_BEST_SCORE && job.face.missing == LS_MISSING_FAIL &&
              job.face.pad_top == 7 && job.face.smoothing_frames == 5 && !job.face.upright,
          "exact face");
    job = valid();
    job.profile = LS_PROFILE_WAV2LIP_EXACT;
    job.face.choose = LS_CHOOSE_GIVEN;
    job.face.smoothing_frames = 1;
    CHECK(ls_job_check(&job, &opt, &all) == 0 && job.face.choose == LS_CHOOSE_GIVEN &&
              job.face.smoothing_frames == 1,
          "exact keeps given boxes and no smoothing");
}

int main(void)
{
    ranges();
    conflicts();
    together();
    defaults();
    exact();
    return check_done();
}
