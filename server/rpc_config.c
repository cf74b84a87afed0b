// SPDX-License-Identifier: Apache-2.0
// Maps SyncConfig to ls_job: enums by table (the API's 0 is the default, so it changes nothing),
// numbers as they are, because ls_job_check judges them. Loop thread. WAV2LIP_EXACT overwrites
// fields in the check; one that the caller had set to something else is a conflict.
#include "server/rpc_config.h"

#include <stdbool.h>
#include <stdint.h>

#define COUNT(a) ((int)(sizeof(a) / sizeof((a)[0])))

// Our values in the order of the API's numbers, from 1.
static const int sample_map[] = {LS_SAMPLE_S16LE, LS_SAMPLE_F32LE};
static const int pixel_map[] = {LS_PIX_I420, LS_PIX_RGB24};
static const int container_map[] = {LS_CONTAINER_FMP4, LS_CONTAINER_MPEG_TS, LS_CONTAINER_NONE};
static const int video_map[] = {LS_VIDEO_H264, LS_VIDEO_I420, LS_VIDEO_RGB24};
static const int audio_map[] = {LS_AUDIO_AAC, LS_AUDIO_NONE};
static const int speed_map[] = {LS_SPEED_ULTRAFAST, LS_SPEED_SUPERFAST, LS_SPEED_VERYFAST,
                                LS_SPEED_FASTER, LS_SPEED_MEDIUM};
static const int latency_map[] = {LS_LATENCY_NORMAL, LS_LATENCY_LOW};
static const int audio_longer_map[] = {LS_FIT_LOOP, LS_FIT_PING_PONG, LS_FIT_HOLD_LAST,
                                       LS_FIT_STOP};
static const int video_longer_map[] = {LS_FIT_CUT, LS_FIT_KEEP_ORIGINAL};
static const int choose_map[] = {LS_CHOOSE_LARGEST, LS_CHOOSE_BEST_SCORE, LS_CHOOSE_NEAREST,
                                 LS_CHOOSE_GIVEN};
static const int missing_map[] = {LS_MISSING_PASS_THROUGH, LS_MISSING_HOLD_BOX, LS_MISSING_FAIL};
static const int align_map[] = {true, false}; // upright or not
static const int mask_map[] = {LS_MASK_LOWER_FACE, LS_MASK_MOUTH, LS_MASK_RECTANGLE};
static const int silence_map[] = {LS_SILENCE_GENERATE, LS_SILENCE_KEEP_ORIGINAL};
static const int profile_map[] = {LS_PROFILE_DEFAULT, LS_PROFILE_WAV2LIP_EXACT};

// The value for an API number; fallback for 0, and for an unknown one, which is a violation.
static int pick(int number, const int *map, int count, int fallback, const char *field,
                struct ls_violations *all)
{
    if (number > 0 && number <= count)
        return map[number - 1];
    if (number)
        ls_violate(all, field, "NOT_SUPPORTED", "this server knows no value %d", number);
    return fallback;
}
#define PICK(number, map, fallback, field)                                                         \
    pick((int)(number), map, COUNT(map), fallback, field, all)

static int number_of(int value, const int *map, int count)
{
    for (int i = 0; i < count; i++)
        if (map[i] == value)
            return i + 1;
    return 0;
}
#define NUMBER(value, map) number_of((int)(value), map, COUNT(map))

static void read_audio(struct ls_job *job, const Lipstream__V1__AudioInput *in,
                       struct ls_violations *all)
{
    if (!in)
        return;
    if (in->source_case == LIPSTREAM__V1__AUDIO_INPUT__SOURCE_CONTAINER) {
        job->audio.source = LS_SOURCE_CONTAINER;
    } else if (in->source_case == LIPSTREAM__V1__AUDIO_INPUT__SOURCE_PCM) {
        job->audio.source = LS_SOURCE_PCM;
        job->audio.sample_rate_hz = in->pcm->sample_rate_hz;
        job->audio.channels = in->pcm->channels ? in->pcm->channels : 1;
        job->audio.format =
            PICK(in->pcm->format, sample_map, LS_SAMPLE_S16LE, "config.audio.pcm.format");
    }
}

static void read_rate(struct ls_job *job, const Lipstream__V1__Rational *rate)
{
    if (!rate)
        return;
    job->video.rate_num = rate->num;
    job->video.rate_den = rate->den;
}

static void read_video(struct ls_job *job, const Lipstream__V1__VideoInput *in,
                       struct ls_violations *all)
{
    if (!in)
        return;
    if (in->source_case == LIPSTREAM__V1__VIDEO_INPUT__SOURCE_CONTAINER) {
        job->video.source = LS_SOURCE_CONTAINER;
    } else if (in->source_case == LIPSTREAM__V1__VIDEO_INPUT__SOURCE_STILL) {
        job->video.source = LS_SOURCE_STILL;
        job->video.rate_num = 25;
        job->video.rate_den = 1;
        read_rate(job, in->still->frame_rate);
    } else if (in->source_case == LIPSTREAM__V1__VIDEO_INPUT__SOURCE_FRAMES) {
        job->video.source = LS_SOURCE_FRAMES;
        job->video.width_px = in->frames->width;
        job->video.height_px = in->frames->height;
        read_rate(job, in->frames->frame_rate);
        job->video.format =
            PICK(in->frames->format, pixel_map, LS_PIX_I420, "config.video.frames.format");
    }
}

// A segment of a second would make every frame of a live stream late.
static void read_output(struct ls_job *job, const Lipstream__V1__Output *given,
                        struct ls_violations *all)
{
    static const Lipstream__V1__Output none = LIPSTREAM__V1__OUTPUT__INIT;
    const Lipstream__V1__Output *in = given ? given : &none;
    bool rgb = job->video.source == LS_SOURCE_FRAMES && job->video.format == LS_PIX_RGB24, raw;

    job->output.container =
        PICK(in->container, container_map, LS_CONTAINER_FMP4, "config.output.container");
    raw = job->output.container == LS_CONTAINER_NONE;
    job->output.video = PICK(in->video, video_map,
                             !raw  ? LS_VIDEO_H264
                             : rgb ? LS_VIDEO_RGB24
                                   : LS_VIDEO_I420,
                             "config.output.video");
    job->output.audio =
        PICK(in->audio, audio_map, raw ? LS_AUDIO_NONE : LS_AUDIO_AAC, "config.output.audio");
    if (in->quality_case == LIPSTREAM__V1__OUTPUT__QUALITY_CRF) {
        job->output.crf = in->crf;
    } else if (in->quality_case == LIPSTREAM__V1__OUTPUT__QUALITY_BIT_RATE) {
        job->output.bit_rate = in->bit_rate;
        if (!in->bit_rate)
            ls_violate(all, "config.output.bit_rate", "OUT_OF_RANGE",
                       "0 is not in 10000..200000000 bits/s");
    }
    job->output.speed = PICK(in->speed, speed_map, LS_SPEED_SUPERFAST, "config.output.speed");
    job->output.latency =
        PICK(in->latency, latency_map, job->live ? LS_LATENCY_LOW : LS_LATENCY_NORMAL,
             "config.output.latency");
    job->output.chunk_bytes_max = in->chunk_bytes_max;
}

static void read_face(struct ls_job *job, const Lipstream__V1__Face *in, struct ls_violations *all)
{
    if (!in)
        return;
    job->face.choose = PICK(in->choose, choose_map, LS_CHOOSE_LARGEST, "config.face.choose");
    job->face.missing =
        PICK(in->missing, missing_map, LS_MISSING_PASS_THROUGH, "config.face.missing");
    if (in->nearest) {
        job->face.nearest_x = in->nearest->x;
        job->face.nearest_y = in->nearest->y;
    }
    if (in->pads) {
        job->face.pad_top = in->pads->top;
        job->face.pad_bottom = in->pads->bottom;
        job->face.pad_left = in->pads->left;
        job->face.pad_right = in->pads->right;
    }
    if (in->smoothing_frames)
        job->face.smoothing_frames = in->smoothing_frames;
    job->face.upright = PICK(in->align, align_map, true, "config.face.align");
    if (in->fixed_box) {
        const Lipstream__V1__Box *box = in->fixed_box;

        job->face.box_fixed = true;
        job->face.box = (struct ls_box){box->left, box->top, box->right, box->bottom};
    }
}

static void read_rest(struct ls_job *job, const Lipstream__V1__SyncConfig *in,
                      struct ls_violations *all)
{
    if (in->fit) {
        job->fit.audio_longer =
            PICK(in->fit->audio_longer, audio_longer_map, LS_FIT_LOOP, "config.fit.audio_longer");
        job->fit.video_longer =
            PICK(in->fit->video_longer, video_longer_map, LS_FIT_CUT, "config.fit.video_longer");
    }
    if (in->paste) {
        job->paste.mask =
            PICK(in->paste->mask, mask_map, (int)job->paste.mask, "config.paste.mask");
        if (in->paste->feather_px)
            job->paste.feather_px = in->paste->feather_px->value;
        if (in->paste->colour_match)
            job->paste.colour_match = in->paste->colour_match->value;
        if (in->paste->strength)
            job->paste.strength = in->paste->strength->value;
        if (in->paste->sharpness)
            job->paste.sharpness = in->paste->sharpness->value;
        if (in->paste->fade_frames)
            job->paste.fade_frames = in->paste->fade_frames->value;
    }
    if (in->silence) {
        job->silence.policy = PICK(in->silence->policy, silence_map, LS_SILENCE_KEEP_ORIGINAL,
                                   "config.silence.policy");
        if (in->silence->threshold_dbfs)
            job->silence.threshold_dbfs = in->silence->threshold_dbfs->value;
        if (in->silence->hold_ms)
            job->silence.hold_ms = in->silence->hold_ms->value;
    }
    if (in->timing)
        job->audio_offset_ms = in->timing->audio_offset_ms;
    job->profile = PICK(in->profile, profile_map, LS_PROFILE_DEFAULT, "config.profile");
}

static void read_report(struct ls_job *job, const Lipstream__V1__Report *in)
{
    const Google__Protobuf__Duration *interval = in ? in->progress_interval : NULL;
    int64_t seconds, ms;

    if (!in)
        return;
    job->frame_info = in->frame_info;
    if (!interval)
        return;
    seconds = interval->seconds < -1000  ? -1000
              : interval->seconds > 1000 ? 1000
                                         : interval->seconds;
    ms = seconds * 1000 + interval->nanos / 1000000;
    // Less than a millisecond is not the 0 that switches progress off.
    job->progress_interval_ms = ms || !interval->nanos ? (int)ms : 1;
}

static void conflict(struct ls_violations *all, bool differs, const char *field)
{
    if (differs)
        ls_violate(all, field, "CONFLICT",
                   "profile WAV2LIP_EXACT allows no other value than its own");
}

// Fields that the caller set (unset ones are the profile's to choose) and the profile changed.
static void check_profile(const struct ls_job *set, const struct ls_job *job,
                          const Lipstream__V1__SyncConfig *in, struct ls_violations *all)
{
    if (in->fit) {
        conflict(all, in->fit->audio_longer && set->fit.audio_longer != job->fit.audio_longer,
                 "config.fit.audio_longer");
        conflict(all, in->fit->video_longer && set->fit.video_longer != job->fit.video_longer,
                 "config.fit.video_longer");
    }
    if (in->face) {
        conflict(all, in->face->choose && set->face.choose != job->face.choose,
                 "config.face.choose");
        conflict(all, in->face->missing && set->face.missing != job->face.missing,
                 "config.face.missing");
        conflict(all, set->face.smoothing_frames != job->face.smoothing_frames,
                 "config.face.smoothing_frames");
        conflict(all, in->face->align && set->face.upright != job->face.upright,
                 "config.face.align");
    }
    if (in->paste) {
        conflict(all, in->paste->mask && set->paste.mask != job->paste.mask, "config.paste.mask");
        conflict(all, in->paste->feather_px && set->paste.feather_px != job->paste.feather_px,
                 "config.paste.feather_px");
        conflict(all, in->paste->colour_match && set->paste.colour_match != job->paste.colour_match,
                 "config.paste.colour_match");
        conflict(all, in->paste->strength && set->paste.strength != job->paste.strength,
                 "config.paste.strength");
        conflict(all, in->paste->sharpness && set->paste.sharpness != job->paste.sharpness,
                 "config.paste.sharpness");
        conflict(all, in->paste->fade_frames && set->paste.fade_frames != job->paste.fade_frames,
                 "config.paste.fade_frames");
    }
    if (in->silence)
        conflict(all, in->silence->policy && set->silence.policy != job->silence.policy,
                 "config.silence.policy");
    conflict(all, set->audio_offset_ms != job->audio_offset_ms, "config.timing.audio_offset_ms");
}

int ls_config_read(struct ls_job *job, const Lipstream__V1__SyncConfig *config,
                   const struct ls_engine *engine, struct ls_violations *all)
{
    enum ls_class class = job->class;
    struct ls_job set;
    int r, before = all->count;

    ls_job_init(job, engine->model->mask);
    job->class = class;
    job->live = config->timing && config->timing->live;
    read_audio(job, config->audio, all);
    read_video(job, config->video, all);
    read_output(job, config->output, all);
    read_face(job, config->face, all);
    read_rest(job, config, all);
    read_report(job, config->report);
    set = *job;
    r = ls_job_check(job, &engine->opt, all);
    if (job->profile == LS_PROFILE_WAV2LIP_EXACT)
        check_profile(&set, job, config, all);
    if (engine->model->detector == LS_DETECTOR_NONE && !job->face.box_fixed &&
        job->face.choose != LS_CHOOSE_GIVEN)
        ls_violate(all, "config.face.choose", "NOT_SUPPORTED",
                   "this server has no face detector: only GIVEN or fixed_box");
    return r < 0 || all->count > before ? LS_EFIELD : 0;
}

int ls_config_mask(enum ls_mask mask)
{
    return NUMBER(mask, mask_map);
}

static void write_inputs(struct ls_config_echo *e, const struct ls_job *job)
{
    lipstream__v1__audio_input__init(&e->audio);
    lipstream__v1__container__init(&e->audio_container);
    lipstream__v1__container__init(&e->video_container);
    lipstream__v1__pcm__init(&e->pcm);
    lipstream__v1__video_input__init(&e->video);
    lipstream__v1__still__init(&e->still);
    lipstream__v1__raw_frames__init(&e->frames);
    lipstream__v1__rational__init(&e->rate);
    if (job->audio.source == LS_SOURCE_PCM) {
        e->audio.source_case = LIPSTREAM__V1__AUDIO_INPUT__SOURCE_PCM;
        e->audio.pcm = &e->pcm;
        e->pcm.sample_rate_hz = job->audio.sample_rate_hz;
        e->pcm.channels = job->audio.channels;
        e->pcm.format = NUMBER(job->audio.format, sample_map);
    } else {
        e->audio.source_case = LIPSTREAM__V1__AUDIO_INPUT__SOURCE_CONTAINER;
        e->audio.container = &e->audio_container;
    }
    e->rate.num = job->video.rate_num;
    e->rate.den = job->video.rate_den;
    if (job->video.source == LS_SOURCE_STILL) {
        e->video.source_case = LIPSTREAM__V1__VIDEO_INPUT__SOURCE_STILL;
        e->video.still = &e->still;
        e->still.frame_rate = &e->rate;
    } else if (job->video.source == LS_SOURCE_FRAMES) {
        e->video.source_case = LIPSTREAM__V1__VIDEO_INPUT__SOURCE_FRAMES;
        e->video.frames = &e->frames;
        e->frames.width = job->video.width_px;
        e->frames.height = job->video.height_px;
        e->frames.frame_rate = &e->rate;
        e->frames.format = NUMBER(job->video.format, pixel_map);
    } else {
        e->video.source_case = LIPSTREAM__V1__VIDEO_INPUT__SOURCE_CONTAINER;
        e->video.container = &e->video_container;
    }
    e->config.audio = &e->audio;
    e->config.video = &e->video;
}

static void write_output(struct ls_config_echo *e, const struct ls_job *job)
{
    lipstream__v1__output__init(&e->output);
    e->output.container = NUMBER(job->output.container, container_map);
    e->output.video = NUMBER(job->output.video, video_map);
    e->output.audio = NUMBER(job->output.audio, audio_map);
    if (job->output.bit_rate) {
        e->output.quality_case = LIPSTREAM__V1__OUTPUT__QUALITY_BIT_RATE;
        e->output.bit_rate = job->output.bit_rate;
    } else {
        e->output.quality_case = LIPSTREAM__V1__OUTPUT__QUALITY_CRF;
        e->output.crf = job->output.crf;
    }
    e->output.speed = NUMBER(job->output.speed, speed_map);
    e->output.latency = NUMBER(job->output.latency, latency_map);
    e->output.chunk_bytes_max = job->output.chunk_bytes_max;
    e->config.output = &e->output;
}

static void write_face(struct ls_config_echo *e, const struct ls_job *job)
{
    lipstream__v1__face__init(&e->face);
    lipstream__v1__point__init(&e->nearest);
    lipstream__v1__pads__init(&e->pads);
    lipstream__v1__box__init(&e->box);
    e->face.choose = NUMBER(job->face.choose, choose_map);
    e->face.missing = NUMBER(job->face.missing, missing_map);
    e->nearest.x = job->face.nearest_x;
    e->nearest.y = job->face.nearest_y;
    if (job->face.choose == LS_CHOOSE_NEAREST)
        e->face.nearest = &e->nearest;
    e->pads.top = job->face.pad_top;
    e->pads.bottom = job->face.pad_bottom;
    e->pads.left = job->face.pad_left;
    e->pads.right = job->face.pad_right;
    e->face.pads = &e->pads;
    e->face.smoothing_frames = job->face.smoothing_frames;
    e->face.align = NUMBER(job->face.upright, align_map);
    e->box.left = job->face.box.x0;
    e->box.top = job->face.box.y0;
    e->box.right = job->face.box.x1;
    e->box.bottom = job->face.box.y1;
    if (job->face.box_fixed)
        e->face.fixed_box = &e->box;
    e->config.face = &e->face;
}

static void write_float(Google__Protobuf__FloatValue *out, Google__Protobuf__FloatValue **link,
                        float value)
{
    google__protobuf__float_value__init(out);
    out->value = value;
    *link = out;
}

static void write_rest(struct ls_config_echo *e, const struct ls_job *job)
{
    lipstream__v1__fit__init(&e->fit);
    e->fit.audio_longer = NUMBER(job->fit.audio_longer, audio_longer_map);
    e->fit.video_longer = NUMBER(job->fit.video_longer, video_longer_map);
    e->config.fit = &e->fit;
    lipstream__v1__paste__init(&e->paste);
    e->paste.mask = NUMBER(job->paste.mask, mask_map);
    write_float(&e->feather, &e->paste.feather_px, job->paste.feather_px);
    write_float(&e->colour, &e->paste.colour_match, job->paste.colour_match);
    write_float(&e->strength, &e->paste.strength, job->paste.strength);
    write_float(&e->sharpness, &e->paste.sharpness, job->paste.sharpness);
    google__protobuf__int32_value__init(&e->fade);
    e->fade.value = job->paste.fade_frames;
    e->paste.fade_frames = &e->fade;
    e->config.paste = &e->paste;
    lipstream__v1__silence__init(&e->silence);
    e->silence.policy = NUMBER(job->silence.policy, silence_map);
    write_float(&e->threshold, &e->silence.threshold_dbfs, job->silence.threshold_dbfs);
    google__protobuf__int32_value__init(&e->hold);
    e->hold.value = job->silence.hold_ms;
    e->silence.hold_ms = &e->hold;
    e->config.silence = &e->silence;
    lipstream__v1__timing__init(&e->timing);
    e->timing.audio_offset_ms = job->audio_offset_ms;
    e->timing.live = job->live;
    e->config.timing = &e->timing;
    e->config.profile = NUMBER(job->profile, profile_map);
    lipstream__v1__report__init(&e->report);
    google__protobuf__duration__init(&e->interval);
    e->interval.seconds = job->progress_interval_ms / 1000;
    e->interval.nanos = job->progress_interval_ms % 1000 * 1000000;
    e->report.progress_interval = &e->interval;
    e->report.frame_info = job->frame_info;
    e->config.report = &e->report;
}

void ls_config_write(struct ls_config_echo *echo, const struct ls_job *job)
{
    lipstream__v1__sync_config__init(&echo->config);
    write_inputs(echo, job);
    write_output(echo, job);
    write_face(echo, job);
    write_rest(echo, job);
}
