// SPDX-License-Identifier: Apache-2.0
// Packs replies. Loop thread. Small messages go through protobuf-c; the bytes of a media message
// are never copied here: its other fields are packed alone, and the data follow them as the
// message's last field.
#include "server/rpc_reply.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include <lipstream/v1/lip_sync.pb-c.h>

#include "server/rpc_config.h"
#include "server/rpc_limits.h"
#include "server/rpc_pb.h"
#include "server/rpc_status.h"

enum { MEDIA_FIELDS_MAX = 128, TAG_RESPONSE_MEDIA = 3 << 3 | 2, TAG_MEDIA_DATA = 1 << 3 | 2 };

static char *text_of(const char *text)
{
    return (char *)(uintptr_t)text; // protobuf-c has no const; packing only reads
}

static Google__Protobuf__Duration *duration(Google__Protobuf__Duration *out, int64_t value,
                                            int64_t per_second)
{
    google__protobuf__duration__init(out);
    out->seconds = value / per_second;
    // Exact for 1000 and 1000000 a second, rounded down for ticks; at most 999999999.
    out->nanos = (int32_t)(value % per_second * 1000000000 / per_second);
    return out;
}

static Google__Protobuf__Duration *ticks(Google__Protobuf__Duration *out, int64_t value)
{
    return duration(out, value, LS_TICKS);
}

static Google__Protobuf__Duration *micros(Google__Protobuf__Duration *out, int64_t value)
{
    return duration(out, value, 1000000);
}

static void send(struct ls_call *c, const Lipstream__V1__SyncResponse *response)
{
    size_t size = lipstream__v1__sync_response__get_packed_size(response);
    void *data = malloc(size ? size : 1);

    if (data)
        lipstream__v1__sync_response__pack(response, data);
    ls_call_send(c, NULL, 0, &data, data ? size : 0);
}

static Lipstream__V1__PartTimes *parts(Lipstream__V1__PartTimes *out, const int64_t us[LS_PARTS])
{
    lipstream__v1__part_times__init(out);
    out->decode_ms = (double)us[LS_PART_DECODE] / 1000;
    out->detect_ms = (double)us[LS_PART_DETECT] / 1000;
    out->mel_ms = (double)us[LS_PART_MEL] / 1000;
    out->generate_ms = (double)us[LS_PART_GENERATE] / 1000;
    out->composite_ms = (double)us[LS_PART_COMPOSITE] / 1000;
    out->encode_ms = (double)us[LS_PART_ENCODE] / 1000;
    return out;
}

static void on_limit(void *user, const char *flag, int64_t value, const char *unit,
                     const char *help)
{
    struct ls_limits *limits = user;
    Lipstream__V1__Limit *item = &limits->item[limits->count];

    if (limits->count >= LS_LIMITS_MAX)
        return;
    lipstream__v1__limit__init(item);
    item->name = text_of(flag);
    item->value = value;
    item->unit = text_of(unit);
    item->description = text_of(help);
    limits->list[limits->count++] = item;
}

void ls_limits_fill(struct ls_limits *limits, const struct ls_options *opt)
{
    limits->count = 0;
    ls_options_each(opt, on_limit, limits);
}

static void send_accepted(struct ls_call *c, const struct ls_job *job)
{
    const struct ls_engine *engine = ls_call_engine(c);
    Lipstream__V1__SyncResponse response = LIPSTREAM__V1__SYNC_RESPONSE__INIT;
    Lipstream__V1__Accepted accepted = LIPSTREAM__V1__ACCEPTED__INIT;
    struct ls_config_echo echo;
    struct ls_limits limits;

    ls_config_write(&echo, job);
    ls_limits_fill(&limits, &engine->opt);
    accepted.session_id = text_of(job->session_id);
    accepted.server_version = text_of(LS_VERSION);
    accepted.model = text_of(engine->model->generator_name);
    accepted.device = text_of(ls_backend_device(engine->backend));
    accepted.config = &echo.config;
    accepted.limits = limits.list;
    accepted.n_limits = limits.count;
    response.response_case = LIPSTREAM__V1__SYNC_RESPONSE__RESPONSE_ACCEPTED;
    response.accepted = &accepted;
    send(c, &response);
}

static void send_progress(struct ls_call *c, const struct ls_reply *reply)
{
    Lipstream__V1__SyncResponse response = LIPSTREAM__V1__SYNC_RESPONSE__INIT;
    Lipstream__V1__Progress progress = LIPSTREAM__V1__PROGRESS__INIT;
    Lipstream__V1__PartTimes times;
    Google__Protobuf__Duration media, eta;

    progress.stage = (Lipstream__V1__Stage)(reply->progress.stage + 1); // the API's 0: unspecified
    progress.queue_position = reply->progress.queue_position;
    progress.frames_in = reply->progress.frames_in;
    progress.frames_generated = reply->progress.frames_generated;
    progress.frames_out = reply->progress.frames_out;
    progress.frames_total = reply->progress.frames_total;
    progress.media_time = ticks(&media, reply->progress.media_ticks);
    progress.frames_per_second = reply->progress.frames_per_second;
    if (reply->progress.eta_ms >= 0)
        progress.eta = duration(&eta, reply->progress.eta_ms, 1000);
    progress.parts = parts(&times, reply->progress.part_us);
    response.response_case = LIPSTREAM__V1__SYNC_RESPONSE__RESPONSE_PROGRESS;
    response.progress = &progress;
    send(c, &response);
}

static void send_media(struct ls_call *c, struct ls_reply *reply)
{
    Lipstream__V1__Media media = LIPSTREAM__V1__MEDIA__INIT;
    Google__Protobuf__Duration pts;
    uint8_t head[2 * MEDIA_FIELDS_MAX], fields[MEDIA_FIELDS_MAX], data_size[10];
    size_t size = reply->media.size, n = 0, fields_size;
    void *data = reply->media.data;
    int varint = ls_pb_varint(data_size, size);

    reply->media.data = NULL;
    media.kind = (Lipstream__V1__MediaKind)(reply->media.kind + 1);
    media.first_frame = reply->media.first_frame;
    media.frame_count = reply->media.frame_count;
    media.pts = ticks(&pts, reply->media.pts);
    media.is_keyframe = reply->media.is_keyframe;
    assert(lipstream__v1__media__get_packed_size(&media) <= sizeof fields); // six numbers
    fields_size = lipstream__v1__media__pack(&media, fields);
    head[n++] = TAG_RESPONSE_MEDIA;
    n += (size_t)ls_pb_varint(head + n, fields_size + 1 + (size_t)varint + size);
    memcpy(head + n, fields, fields_size);
    n += fields_size;
    head[n++] = TAG_MEDIA_DATA;
    memcpy(head + n, data_size, (size_t)varint);
    n += (size_t)varint;
    ls_call_send(c, head, n, &data, size);
}

// One item of a frames message with all that it points to.
struct frame_item {
    Lipstream__V1__FrameInfo info;
    Google__Protobuf__Duration pts;
    Lipstream__V1__Box box;
};

static void fill_frame(struct frame_item *out, const struct ls_frame_info *in)
{
    lipstream__v1__frame_info__init(&out->info);
    out->info.index = in->idx;
    out->info.source_frame = in->source_idx;
    out->info.pts = ticks(&out->pts, in->pts);
    out->info.score = in->score;
    out->info.track_id = in->track_id;
    out->info.action = (Lipstream__V1__FrameAction)(in->action + 1);
    out->info.roll_degrees = in->roll_rad * 57.2957795f;
    out->info.opacity = in->opacity;
    if (in->box.x1 > in->box.x0) {
        lipstream__v1__box__init(&out->box);
        out->box.left = in->box.x0;
        out->box.top = in->box.y0;
        out->box.right = in->box.x1;
        out->box.bottom = in->box.y1;
        out->info.box = &out->box;
    }
}

static void send_frames(struct ls_call *c, struct ls_reply *reply)
{
    Lipstream__V1__SyncResponse response = LIPSTREAM__V1__SYNC_RESPONSE__INIT;
    Lipstream__V1__Frames frames = LIPSTREAM__V1__FRAMES__INIT;
    size_t count = (size_t)reply->frames.count;
    struct frame_item *item = calloc(count + 1, sizeof *item);
    Lipstream__V1__FrameInfo **list = calloc(count + 1, sizeof *list);

    for (size_t i = 0; item && list && i < count; i++) {
        fill_frame(&item[i], &reply->frames.item[i]);
        list[i] = &item[i].info;
        frames.n_frames = i + 1;
    }
    frames.frames = list;
    response.response_case = LIPSTREAM__V1__SYNC_RESPONSE__RESPONSE_FRAMES;
    response.frames = &frames;
    send(c, &response);
    free(item);
    free(list);
    free(reply->frames.item);
    reply->frames.item = NULL;
}

static void send_warning(struct ls_call *c, const struct ls_reply *reply)
{
    Lipstream__V1__SyncResponse response = LIPSTREAM__V1__SYNC_RESPONSE__INIT;
    Lipstream__V1__Warning warning = LIPSTREAM__V1__WARNING__INIT;
    char text[sizeof reply->warning.text];

    ls_utf8_copy(text, sizeof text, reply->warning.text);
    warning.reason = text_of(reply->warning.reason);
    warning.message = text;
    warning.first_frame = reply->warning.first_frame;
    warning.count = reply->warning.count;
    response.response_case = LIPSTREAM__V1__SYNC_RESPONSE__RESPONSE_WARNING;
    response.warning = &warning;
    send(c, &response);
}

static void send_summary(struct ls_call *c, const struct ls_reply *reply)
{
    Lipstream__V1__SyncResponse response = LIPSTREAM__V1__SYNC_RESPONSE__INIT;
    Lipstream__V1__Summary summary = LIPSTREAM__V1__SUMMARY__INIT;
    Lipstream__V1__Rational rate = LIPSTREAM__V1__RATIONAL__INIT;
    Lipstream__V1__PartTimes times;
    Google__Protobuf__Duration audio, video, first, after, offset;

    summary.frames_in = reply->summary.frames_in;
    summary.frames_out = reply->summary.frames_out;
    summary.frames_synced = reply->summary.frames[LS_ACTION_SYNCED];
    summary.frames_passed_through = reply->summary.frames[LS_ACTION_PASSED_THROUGH];
    summary.frames_held = reply->summary.frames[LS_ACTION_HELD];
    summary.frames_silent = reply->summary.frames[LS_ACTION_SILENT];
    summary.audio_duration = ticks(&audio, reply->summary.audio_ticks);
    summary.video_duration = ticks(&video, reply->summary.video_ticks);
    summary.bytes_out = reply->summary.bytes_out;
    summary.sha256.data = (uint8_t *)(uintptr_t)reply->summary.sha256;
    summary.sha256.len = sizeof reply->summary.sha256;
    if (reply->summary.first_media_us >= 0)
        summary.time_to_first_media = micros(&first, reply->summary.first_media_us);
    if (reply->summary.first_media_after_audio_us >= 0)
        summary.first_audio_to_first_media =
            micros(&after, reply->summary.first_media_after_audio_us);
    summary.real_time_factor = reply->summary.real_time_factor;
    summary.parts = parts(&times, reply->summary.part_us);
    summary.audio_video_offset = ticks(&offset, reply->summary.offset_ticks);
    summary.width = reply->summary.width_px;
    summary.height = reply->summary.height_px;
    rate.num = reply->summary.rate_num;
    rate.den = reply->summary.rate_den;
    summary.frame_rate = &rate;
    response.response_case = LIPSTREAM__V1__SYNC_RESPONSE__RESPONSE_SUMMARY;
    response.summary = &summary;
    send(c, &response);
}

void ls_reply_send(struct ls_call *c, struct ls_reply *reply, const struct ls_job *job)
{
    switch (reply->kind) {
    case LS_REPLY_ACCEPTED:
        send_accepted(c, job);
        break;
    case LS_REPLY_PROGRESS:
        send_progress(c, reply);
        break;
    case LS_REPLY_MEDIA:
        send_media(c, reply);
        break;
    case LS_REPLY_FRAMES:
        send_frames(c, reply);
        break;
    case LS_REPLY_WARNING:
        send_warning(c, reply);
        break;
    case LS_REPLY_SUMMARY:
        send_summary(c, reply);
        break;
    }
}
