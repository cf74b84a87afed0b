// SPDX-License-Identifier: Apache-2.0
// What a session tells its caller beside the media: stages, progress, warnings (never more than one
// a reason and second; what came between is counted), the summary. Loop thread.
#include "session_state.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

// The decode processes keep their own count.
static void count_decoding(struct ls_session *s)
{
    int64_t us = 0;

    if (s->audio)
        us += ls_decode_busy_us(s->audio);
    if (s->video)
        us += ls_decode_busy_us(s->video);
    if (us > s->part_us[LS_PART_DECODE])
        s->part_us[LS_PART_DECODE] = us;
}

static int64_t lane_us(const struct ls_session *s)
{
    return s->part_us[LS_PART_DETECT] + s->part_us[LS_PART_MEL] + s->part_us[LS_PART_GENERATE] +
           s->part_us[LS_PART_COMPOSITE];
}

void ls_report_learn(struct ls_session *s)
{
    int64_t lane = lane_us(s), core, pixels;

    count_decoding(s);
    core = s->part_us[LS_PART_DECODE] + s->part_us[LS_PART_ENCODE];
    pixels = (int64_t)s->video_info.width_px * s->video_info.height_px;
    ls_admit_learn_lane(s->engine->admit, lane - s->learned_lane_us,
                        (int)(s->frames_generated - s->learned_generated));
    ls_admit_learn_core(s->engine->admit, core - s->learned_core_us,
                        (int)(s->out_idx - s->learned_out), pixels);
    s->learned_lane_us = lane;
    s->learned_core_us = core;
    s->learned_generated = s->frames_generated;
    s->learned_out = s->out_idx;
}

void ls_report_progress(struct ls_session *s)
{
    struct ls_reply reply = {.kind = LS_REPLY_PROGRESS};
    int64_t now = ls_now_us(), since = now - s->started_us, left;

    reply.progress.stage = s->stage;
    reply.progress.frames_in = s->frames_in;
    reply.progress.frames_generated = s->frames_generated;
    reply.progress.frames_out = s->out_idx;
    reply.progress.frames_total = ls_shots_total(s);
    reply.progress.media_ticks = s->end_ticks;
    reply.progress.frames_per_second = since > 0 ? (float)s->out_idx * 1e6f / (float)since : 0;
    reply.progress.eta_ms = -1;
    if (reply.progress.frames_total > 0 && s->out_idx > 0) {
        left = reply.progress.frames_total - s->out_idx;
        reply.progress.eta_ms = left > 0 ? since / 1000 * left / s->out_idx : 0;
    }
    count_decoding(s);
    memcpy(reply.progress.part_us, s->part_us, sizeof(s->part_us));
    s->progress_us = now;
    s->events.on_reply(s->user, &reply);
}

static void count_stage(struct ls_session *s, int by)
{
    if (s->stage > LS_STAGE_WAITING && s->stage < LS_STAGE_DONE)
        s->engine->stage_count[s->job.class][s->stage] += by;
}

void ls_report_stage(struct ls_session *s, enum ls_stage stage)
{
    if (s->stage == stage)
        return;
    count_stage(s, -1);
    s->stage = stage;
    count_stage(s, 1);
    ls_report_progress(s);
}

void ls_report_gone(struct ls_session *s)
{
    count_stage(s, -1);
}

static void send_warning(struct ls_session *s, struct warning_state *w)
{
    struct ls_reply reply = {.kind = LS_REPLY_WARNING};

    snprintf(reply.warning.reason, sizeof(reply.warning.reason), "%s", w->reason);
    snprintf(reply.warning.text, sizeof(reply.warning.text), "%s", w->text);
    reply.warning.first_frame = w->first_frame;
    reply.warning.count = w->count;
    w->count = 0;
    w->sent_us = ls_now_us();
    s->events.on_reply(s->user, &reply);
}

void ls_report_warn(struct ls_session *s, int64_t frame, const char *reason, const char *fmt, ...)
{
    struct warning_state *w;
    va_list args;
    int i;

    for (i = 0; i < s->warning_count && strcmp(s->warning[i].reason, reason) != 0; i++)
        ;
    if (i == WARNING_KINDS)
        return;
    w = &s->warning[i];
    if (i == s->warning_count) {
        s->warning_count++;
        snprintf(w->reason, sizeof(w->reason), "%s", reason);
    }
    if (w->count++ == 0) {
        w->first_frame = frame;
        va_start(args, fmt);
        vsnprintf(w->text, sizeof(w->text), fmt, args);
        va_end(args);
    }
    if (w->sent_us == 0)
        send_warning(s, w);
}

void ls_report_tick(struct ls_session *s)
{
    int64_t now = ls_now_us();
    int i;

    ls_report_learn(s);
    for (i = 0; i < s->warning_count; i++)
        if (s->warning[i].count > 0 && now - s->warning[i].sent_us >= 1000000)
            send_warning(s, &s->warning[i]);
    if (s->job.progress_interval_ms > 0 &&
        now - s->progress_us >= (int64_t)s->job.progress_interval_ms * 1000)
        ls_report_progress(s);
}

void ls_report_summary(struct ls_session *s)
{
    struct ls_reply reply = {.kind = LS_REPLY_SUMMARY};
    double wall = (double)(ls_now_us() - s->started_us) / 1e6;
    bool even;
    int i;

    for (i = 0; i < s->warning_count; i++)
        if (s->warning[i].count > 0)
            send_warning(s, &s->warning[i]);
    memcpy(reply.summary.frames, s->frames, sizeof(s->frames));
    reply.summary.frames_in = s->frames_in;
    reply.summary.frames_out = s->out_idx;
    reply.summary.audio_ticks = ls_features_ticks(s->features);
    reply.summary.video_ticks = s->end_ticks;
    reply.summary.bytes_out = s->bytes_out;
    ls_digest_final(s->digest, reply.summary.sha256);
    reply.summary.first_media_us = s->first_media_us ? s->first_media_us - s->started_us : -1;
    reply.summary.first_media_after_audio_us =
        s->first_media_us && s->audio_first_us ? s->first_media_us - s->audio_first_us : -1;
    if (s->end_ticks > 0)
        reply.summary.real_time_factor = (float)(wall * LS_TICKS / (double)s->end_ticks);
    count_decoding(s);
    memcpy(reply.summary.part_us, s->part_us, sizeof(s->part_us));
    reply.summary.offset_ticks = ls_encode_offset(s->encode);
    // H.264 with halved chroma knows even sizes only: an odd one shows its last column or row
    // twice.
    even = s->job.output.video == LS_VIDEO_H264;
    reply.summary.width_px = s->video_info.width_px + (even && s->video_info.width_px % 2);
    reply.summary.height_px = s->video_info.height_px + (even && s->video_info.height_px % 2);
    reply.summary.rate_num = s->video_info.rate_num;
    reply.summary.rate_den = s->video_info.rate_den;
    s->events.on_reply(s->user, &reply);
}
