// SPDX-License-Identifier: Apache-2.0
// The defaults of a job and the one place where its numbers are judged: against the ranges of the
// .proto's comments, against each other and against the operator's limits. Everything wrong is
// reported, not only the first thing. Pure functions; any thread. WAV2LIP_EXACT overwrites what the
// original program did not have; whoever made the job finds contradictions by comparing.
#include "server/job.h"

#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum {
    CHUNK_BYTES_DEFAULT = 262144,
    CHUNK_BYTES_MIN = 4096,
    SIDE_PX_MIN = 16,
    RATIONAL_MAX = 1000000,
    BOX_PX_MIN = 4, // narrower ones hold no face and make the crop's scale absurd
    COORDINATE_MAX =
        16384, // boxes may stick out of a frame (8192 at most), but not by more than its size
};

void ls_violate(struct ls_violations *all, const char *field, const char *reason, const char *fmt,
                ...)
{
    struct ls_violation *v;
    va_list args;

    if (all->count >= LS_VIOLATIONS_MAX)
        return;
    v = &all->item[all->count++];
    snprintf(v->field, sizeof v->field, "%s", field);
    snprintf(v->reason, sizeof v->reason, "%s", reason);
    va_start(args, fmt);
    vsnprintf(v->text, sizeof v->text, fmt, args);
    va_end(args);
}

void ls_job_init(struct ls_job *job, const char *model_mask)
{
    memset(job, 0, sizeof *job);
    job->audio.channels = 1;
    job->output.crf = 23;
    job->output.speed = LS_SPEED_SUPERFAST;
    job->face.choose = LS_CHOOSE_LARGEST;
    job->face.nearest_x = job->face.nearest_y = NAN; // not given
    job->face.missing = LS_MISSING_PASS_THROUGH;
    job->face.pad_bottom = 10;
    job->face.smoothing_frames = 5;
    job->face.upright = true;
    job->paste.mask = LS_MASK_LOWER_FACE;
    if (!strcmp(model_mask, "MOUTH"))
        job->paste.mask = LS_MASK_MOUTH;
    else if (!strcmp(model_mask, "RECTANGLE"))
        job->paste.mask = LS_MASK_RECTANGLE;
    job->paste.feather_px = 8;
    job->paste.colour_match = 1;
    job->paste.strength = 1;
    job->paste.sharpness = 1;
    job->paste.fade_frames = 3;
    job->silence.policy = LS_SILENCE_KEEP_ORIGINAL;
    job->silence.threshold_dbfs = -50;
    job->silence.hold_ms = 200;
    job->progress_interval_ms = 1000;
}

// What the original had no choice about. Pads and smoothing on or off were its options.
static void imply_exact(struct ls_job *job)
{
    job->fit.audio_longer = LS_FIT_LOOP;
    job->fit.video_longer = LS_FIT_CUT;
    if (job->face.choose != LS_CHOOSE_GIVEN && !job->face.box_fixed)
        job->face.choose = LS_CHOOSE_BEST_SCORE;
    job->face.missing = LS_MISSING_FAIL;
    if (job->face.smoothing_frames != 1)
        job->face.smoothing_frames = 5;
    job->face.upright = false;
    job->paste.mask = LS_MASK_RECTANGLE;
    job->paste.feather_px = 0;
    job->paste.colour_match = 0;
    job->paste.strength = 1;
    job->paste.sharpness = 0;
    job->paste.fade_frames = 0;
    job->silence.policy = LS_SILENCE_GENERATE;
    job->audio_offset_ms = 0;
}

// NaN is outside every range.
static void range(struct ls_violations *all, const char *field, double value, double min,
                  double max, const char *unit)
{
    if (!(value >= min && value <= max))
        ls_violate(all, field, "OUT_OF_RANGE", "%.10g is not in %.10g..%.10g%s%s", value, min, max,
                   *unit ? " " : "", unit);
}

static void limit(struct ls_violations *all, const char *field, double value, double max,
                  const char *flag)
{
    if (value > max)
        ls_violate(all, field, "LIMIT", "%.10g is more than this server's %s, %.10g", value, flag,
                   max);
}

static void check_audio(const struct ls_job *job, struct ls_violations *all)
{
    if (job->audio.source == LS_SOURCE_NONE) {
        ls_violate(all, "config.audio", "REQUIRED", "container or pcm must be set");
        return;
    }
    if (job->audio.source != LS_SOURCE_PCM)
        return;
    if (!job->audio.sample_rate_hz)
        ls_violate(all, "config.audio.pcm.sample_rate_hz", "REQUIRED", "8000..192000 Hz");
    else
        range(all, "config.audio.pcm.sample_rate_hz", job->audio.sample_rate_hz, 8000, 192000,
              "Hz");
    range(all, "config.audio.pcm.channels", job->audio.channels, 1, 8, "");
}

static void check_side(const char *field, int px, const struct ls_options *opt,
                       struct ls_violations *all)
{
    if (!px) {
        ls_violate(all, field, "REQUIRED", "%d..%" PRId64 " pixels", SIDE_PX_MIN, opt->side_px_max);
        return;
    }
    range(all, field, px, SIDE_PX_MIN, 65536, "pixels");
    limit(all, field, px, (double)opt->side_px_max, "side-max");
}

static void check_rate(const char *field, const struct ls_job *job, const struct ls_options *opt,
                       struct ls_violations *all)
{
    int num = job->video.rate_num, den = job->video.rate_den;

    if (!num && !den) {
        ls_violate(all, field, "REQUIRED", "num and den must be set");
        return;
    }
    if (num < 1 || den < 1 || num > RATIONAL_MAX || den > RATIONAL_MAX) {
        ls_violate(all, field, "OUT_OF_RANGE", "%d/%d: both must be 1..%d", num, den, RATIONAL_MAX);
        return;
    }
    if (num < den)
        ls_violate(all, field, "OUT_OF_RANGE", "%d/%d is less than one frame a second", num, den);
    if (num > den * opt->rate_max)
        ls_violate(all, field, "LIMIT", "%d/%d is more than this server's rate-max, %" PRId64, num,
                   den, opt->rate_max);
}

static void check_video(const struct ls_job *job, const struct ls_options *opt,
                        struct ls_violations *all)
{
    int64_t pixels = (int64_t)job->video.width_px * job->video.height_px;

    switch (job->video.source) {
    case LS_SOURCE_NONE:
    case LS_SOURCE_PCM:
        ls_violate(all, "config.video", "REQUIRED", "container, still or frames must be set");
        break;
    case LS_SOURCE_CONTAINER:
        break;
    case LS_SOURCE_STILL:
        check_rate("config.video.still.frame_rate", job, opt, all);
        break;
    case LS_SOURCE_FRAMES:
        check_side("config.video.frames.width", job->video.width_px, opt, all);
        check_side("config.video.frames.height", job->video.height_px, opt, all);
        if (pixels > opt->pixels_max)
            ls_violate(all, "config.video.frames", "LIMIT",
                       "%dx%d is more than this server's pixels-max, %" PRId64, job->video.width_px,
                       job->video.height_px, opt->pixels_max);
        check_rate("config.video.frames.frame_rate", job, opt, all);
        break;
    }
}

static void check_output(struct ls_job *job, const struct ls_options *opt,
                         struct ls_violations *all)
{
    const char *chunk = "config.output.chunk_bytes_max";

    if (job->output.container == LS_CONTAINER_NONE) {
        if (job->output.video == LS_VIDEO_H264)
            ls_violate(all, "config.output.video", "CONFLICT",
                       "container NONE carries raw frames: I420 or RGB24");
        if (job->output.audio != LS_AUDIO_NONE)
            ls_violate(all, "config.output.audio", "CONFLICT", "container NONE carries no sound");
    } else if (job->output.video != LS_VIDEO_H264) {
        ls_violate(all, "config.output.video", "CONFLICT", "raw frames need container NONE");
    }
    if (job->output.bit_rate)
        range(all, "config.output.bit_rate", (double)job->output.bit_rate, 10000, 200000000,
              "bits/s");
    else
        range(all, "config.output.crf", job->output.crf, 1, 51, "");
    if (!job->output.chunk_bytes_max)
        job->output.chunk_bytes_max = opt->chunk_bytes_max < CHUNK_BYTES_DEFAULT
                                          ? (int)opt->chunk_bytes_max
                                          : CHUNK_BYTES_DEFAULT;
    if (job->output.chunk_bytes_max < CHUNK_BYTES_MIN)
        ls_violate(all, chunk, "OUT_OF_RANGE", "%d is less than %d bytes",
                   job->output.chunk_bytes_max, CHUNK_BYTES_MIN);
    limit(all, chunk, job->output.chunk_bytes_max, (double)opt->chunk_bytes_max, "chunk-bytes-max");
}

static void check_box(const struct ls_box *box, struct ls_violations *all)
{
    const float side[] = {box->x0, box->y0, box->x1, box->y1};

    for (int i = 0; i < 4; i++)
        if (!(fabsf(side[i]) <= COORDINATE_MAX)) {
            ls_violate(all, "config.face.fixed_box", "OUT_OF_RANGE", "%g is not in -%d..%d pixels",
                       (double)side[i], COORDINATE_MAX, COORDINATE_MAX);
            return;
        }
    if (box->x1 - box->x0 < BOX_PX_MIN || box->y1 - box->y0 < BOX_PX_MIN)
        ls_violate(all, "config.face.fixed_box", "OUT_OF_RANGE",
                   "%gx%g is less than %d pixels wide or high", (double)(box->x1 - box->x0),
                   (double)(box->y1 - box->y0), BOX_PX_MIN);
}

static void check_face(const struct ls_job *job, struct ls_violations *all)
{
    bool given = !isnan(job->face.nearest_x) || !isnan(job->face.nearest_y);

    if (job->face.choose == LS_CHOOSE_NEAREST) {
        if (isnan(job->face.nearest_x) && isnan(job->face.nearest_y)) {
            ls_violate(all, "config.face.nearest", "REQUIRED", "choose NEAREST needs a point");
        } else {
            range(all, "config.face.nearest.x", (double)job->face.nearest_x, 0, 8192, "pixels");
            range(all, "config.face.nearest.y", (double)job->face.nearest_y, 0, 8192, "pixels");
        }
    } else if (given) {
        ls_violate(all, "config.face.nearest", "CONFLICT", "only choose NEAREST takes a point");
    }
    range(all, "config.face.pads.top", job->face.pad_top, -1000, 1000, "pixels");
    range(all, "config.face.pads.bottom", job->face.pad_bottom, -1000, 1000, "pixels");
    range(all, "config.face.pads.left", job->face.pad_left, -1000, 1000, "pixels");
    range(all, "config.face.pads.right", job->face.pad_right, -1000, 1000, "pixels");
    range(all, "config.face.smoothing_frames", job->face.smoothing_frames, 1, 25, "frames");
    if (!job->face.box_fixed)
        return;
    check_box(&job->face.box, all);
    if (job->face.choose == LS_CHOOSE_GIVEN)
        ls_violate(all, "config.face.fixed_box", "CONFLICT",
                   "choose GIVEN takes its boxes from regions messages");
}

int ls_job_check(struct ls_job *job, const struct ls_options *opt, struct ls_violations *all)
{
    int before = all->count, interval = job->progress_interval_ms;

    check_audio(job, all);
    check_video(job, opt, all);
    check_output(job, opt, all);
    check_face(job, all);
    range(all, "config.paste.feather_px", (double)job->paste.feather_px, 0, 24, "pixels");
    range(all, "config.paste.colour_match", (double)job->paste.colour_match, 0, 1, "");
    range(all, "config.paste.strength", (double)job->paste.strength, 0, 1, "");
    range(all, "config.paste.sharpness", (double)job->paste.sharpness, 0, 2, "");
    range(all, "config.paste.fade_frames", job->paste.fade_frames, 0, LS_FADE_FRAMES_MAX, "frames");
    range(all, "config.silence.threshold_dbfs", (double)job->silence.threshold_dbfs, -90, 0,
          "dBFS");
    range(all, "config.silence.hold_ms", job->silence.hold_ms, 0, 5000, "ms");
    range(all, "config.timing.audio_offset_ms", job->audio_offset_ms, -500, 500, "ms");
    if (interval != 0 && (interval < 100 || interval > 60000))
        ls_violate(all, "config.report.progress_interval", "OUT_OF_RANGE",
                   "%d ms is neither 0 nor in 100..60000 ms", interval);
    if (job->live && job->class == LS_CLASS_BATCH)
        ls_violate(all, "config.timing.live", "CONFLICT",
                   "a call of priority batch yields to all others: nothing is promised to it");
    if (job->live && job->profile == LS_PROFILE_WAV2LIP_EXACT)
        ls_violate(all, "config.timing.live", "CONFLICT",
                   "profile WAV2LIP_EXACT knows no real time: it loses the voice's tail");
    if (job->profile == LS_PROFILE_WAV2LIP_EXACT)
        imply_exact(job);
    return all->count > before ? LS_EFIELD : 0;
}
