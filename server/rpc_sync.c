// SPDX-License-Identifier: Apache-2.0
// The method Sync: a call on one side, a session on the other. Loop thread. The call gets its place
// first (rpc_enter.c). Watches the order of messages, feeds the session and reads on only while it
// is hungry; what the session says becomes replies. Bulk messages are walked in place, only config
// and control are unpacked.
#include <math.h>
#include <stdio.h>
#include <string.h>

#include <lipstream/v1/lip_sync.pb-c.h>

#include "server/log.h"
#include "server/rpc_call.h"
#include "server/rpc_config.h"
#include "server/rpc_enter.h"
#include "server/rpc_pb.h"
#include "server/rpc_reply.h"
#include "server/session.h"

enum { CONFIG, AUDIO, VIDEO, REGIONS, CONTROL, KINDS }; // SyncRequest's fields from 1
enum {
    CONFIG_BYTES_MAX = 65536, // a full config has about 300
    PARSE_BUDGET = 1 << 20,
    REGIONS_AT_ONCE = 256,
};
static const float COORDINATE_MAX = 16384, BOX_PX_MIN = 4;

struct sync {
    struct ls_call *call;
    struct ls_enter enter;
    struct ls_session *session;
    bool failed; // the session was told to end; nothing more is read
    bool ended[KINDS];
    struct ls_job job;
};

// state is gone afterwards. Output that is not read yet keeps the place: else a caller who never
// reads could have any number of sessions, each with its output in memory.
static void end(struct sync *s, const struct ls_err *err, const struct ls_violations *all)
{
    if (err->code)
        ls_enter_end(&s->enter);
    ls_call_end(s->call, err, all);
}

static void on_flushed(struct ls_call *c)
{
    struct sync *s = ls_call_state(c);

    if (s->enter.call)
        ls_enter_end(&s->enter);
}

// The metrics take the figures from the note, while the session runs.
static void take_note(struct sync *s)
{
    struct ls_call_note *note = ls_call_note(s->call);
    struct ls_session_figures f;

    ls_session_figures(s->session, &f);
    note->frames_in = f.frames_in;
    note->frames_out = f.frames_out;
    memcpy(note->frames, f.frames, sizeof note->frames);
    note->audio_bytes = f.audio_bytes;
    note->video_bytes = f.video_bytes;
    note->bytes_out = f.bytes_out;
    note->output_ticks = f.output_ticks;
    note->first_media_us = f.first_media_us;
    memcpy(note->part_us, f.part_us, sizeof note->part_us);
}

static void on_reply(void *user, struct ls_reply *reply)
{
    struct sync *s = user;

    ls_reply_send(s->call, reply, &s->job);
    if (!s->session) // not yet in the reply that ls_session_new itself gives
        return;
    take_note(s);
    ls_session_backlog(s->session, ls_call_backlog(s->call));
}

static void on_hungry(void *user)
{
    struct sync *s = user;

    if (!s->failed)
        ls_call_read(s->call);
}

static void on_done(void *user, const struct ls_err *err)
{
    struct sync *s = user;
    struct ls_err copy = *err; // the session may own it

    take_note(s);
    ls_session_free(&s->session);
    end(s, &copy, NULL);
}

static const struct ls_session_events events = {on_reply, on_hungry, on_done};

static void fail(struct sync *s, const struct ls_err *err)
{
    if (s->failed)
        return;
    s->failed = true;
    if (s->session)
        ls_session_fail(s->session, err);
    else
        end(s, err, NULL);
}

static int unpack(struct ls_pb *pb, ProtobufCMessage **out, const ProtobufCMessageDescriptor *type,
                  const char *field, const struct ls_wire *w, struct ls_err *err)
{
    int r;

    if (w->size > CONFIG_BYTES_MAX)
        return ls_fail_field(err, LS_ELIMIT, field, "%zu bytes are more than %d", w->size,
                             CONFIG_BYTES_MAX);
    r = ls_pb_open(pb, out, type, w->data, w->size, PARSE_BUDGET, err);
    if (r < 0)
        snprintf(err->field, sizeof err->field, "%s", field);
    return r;
}

// Begins the session, or ends the call with every violation.
static void configure(struct sync *s, const struct ls_wire *w)
{
    struct ls_violations all = {.count = 0};
    struct ls_pb pb = {.memory = NULL};
    struct ls_call_note *note = ls_call_note(s->call);
    struct ls_err err = {0};
    ProtobufCMessage *message;
    int r = unpack(&pb, &message, &lipstream__v1__sync_config__descriptor, "config", w, &err);

    ls_enter_configured(&s->enter);
    if (r == 0) {
        s->job.class = note->class;
        r = ls_config_read(&s->job, (const Lipstream__V1__SyncConfig *)message,
                           ls_call_engine(s->call), &all);
        if (r < 0)
            ls_fail_field(&err, r, all.item[0].field, "%d violation%s: %s: %s", all.count,
                          all.count > 1 ? "s, the first" : "", all.item[0].field, all.item[0].text);
    }
    ls_pb_close(&pb);
    if (r == 0) {
        struct ls_session *session = NULL;

        s->job.place = &s->enter.place;
        memcpy(s->job.session_id, note->session_id, sizeof s->job.session_id);
        note->live = s->job.live;
        r = ls_session_new(&session, ls_call_engine(s->call), &s->job, &events, s, &err);
        if (r == 0) {
            s->session = session;
            note->began = true;
            ls_session_backlog(session, ls_call_backlog(s->call));
            return;
        }
    }
    s->failed = true;
    end(s, &err, all.count ? &all : NULL);
}

static int feed(struct sync *s, int kind, const struct ls_wire *chunk, struct ls_err *err)
{
    const char *field = kind == VIDEO ? "video" : "audio";
    const void *data = "";
    size_t size = 0;
    bool end = false;
    struct ls_wire w;
    int more;

    ls_wire_init(&w, chunk->data, chunk->size);
    while ((more = ls_wire_next(&w)) > 0) {
        if (w.field == 1 && w.type == 2) {
            data = w.data;
            size = w.size;
        } else if (w.field == 2 && w.type == 0) {
            end = w.value != 0;
        }
    }
    if (more < 0)
        return ls_fail_field(err, LS_EORDER, field, "the bytes are no InputChunk");
    if (s->ended[kind])
        return ls_fail_field(err, LS_EORDER, field,
                             "a message after the one that ended this input");
    s->ended[kind] = end;
    return ls_session_feed(s->session, kind == VIDEO, data, size, end, err);
}

static int read_box(struct ls_box *out, const struct ls_wire *box, struct ls_err *err)
{
    float side[4] = {0, 0, 0, 0};
    struct ls_wire w;
    int more;

    ls_wire_init(&w, box->data, box->size);
    while ((more = ls_wire_next(&w)) > 0)
        if (w.field >= 1 && w.field <= 4 && w.type == 5)
            side[w.field - 1] = ls_wire_float(&w);
    if (more < 0)
        return ls_fail_field(err, LS_EORDER, "regions", "the bytes are no Box");
    for (int i = 0; i < 4; i++)
        if (!(fabsf(side[i]) <= COORDINATE_MAX))
            return ls_fail_field(err, LS_EFIELD, "regions.regions.box",
                                 "%g is not in -%g..%g pixels", (double)side[i],
                                 (double)COORDINATE_MAX, (double)COORDINATE_MAX);
    if (side[2] - side[0] < BOX_PX_MIN || side[3] - side[1] < BOX_PX_MIN)
        return ls_fail_field(
            err, LS_EFIELD, "regions.regions.box", "%gx%g is less than %g pixels wide or high",
            (double)(side[2] - side[0]), (double)(side[3] - side[1]), (double)BOX_PX_MIN);
    *out = (struct ls_box){side[0], side[1], side[2], side[3]};
    return 0;
}

static int read_region(struct ls_region *out, const struct ls_wire *region, struct ls_err *err)
{
    struct ls_wire w;
    int more, r = 0;

    ls_wire_init(&w, region->data, region->size);
    while (r == 0 && (more = ls_wire_next(&w)) != 0) {
        if (more < 0)
            return ls_fail_field(err, LS_EORDER, "regions", "the bytes are no Region");
        if (w.field == 1 && w.type == 2) {
            r = read_box(&out->box, &w, err);
            out->present = true;
        } else if (w.field == 2 && w.type == 0) {
            out->bypass = w.value != 0;
        }
    }
    return r;
}

// first_frame may come after the boxes: a field's place in a message means nothing.
static int first_frame_of(int64_t *out, const struct ls_wire *regions, struct ls_err *err)
{
    struct ls_wire w;
    int more;

    *out = 0;
    ls_wire_init(&w, regions->data, regions->size);
    while ((more = ls_wire_next(&w)) > 0)
        if (w.field == 1 && w.type == 0)
            *out = (int64_t)w.value;
    if (more < 0)
        return ls_fail_field(err, LS_EORDER, "regions", "the bytes are no Regions");
    if (*out < 0 || *out > INT32_MAX)
        return ls_fail_field(err, LS_EFIELD, "regions.first_frame", "%lld is not in 0..%d",
                             (long long)*out, INT32_MAX);
    return 0;
}

static int give_regions(struct sync *s, const struct ls_wire *regions, struct ls_err *err)
{
    struct ls_region item[REGIONS_AT_ONCE];
    struct ls_wire w;
    int64_t frame;
    int count = 0, r = first_frame_of(&frame, regions, err);

    if (r == 0 && s->job.face.choose != LS_CHOOSE_GIVEN)
        r = ls_fail_field(err, LS_EORDER, "regions", "only face.choose GIVEN takes regions");
    ls_wire_init(&w, regions->data, regions->size);
    while (r == 0 && ls_wire_next(&w) > 0) {
        if (w.field != 2 || w.type != 2)
            continue;
        if (count == REGIONS_AT_ONCE) {
            r = ls_session_regions(s->session, item, count, err);
            count = 0;
        }
        item[count] = (struct ls_region){.frame = frame++};
        if (r == 0)
            r = read_region(&item[count++], &w, err);
    }
    if (r == 0 && count)
        r = ls_session_regions(s->session, item, count, err);
    return r;
}

static int control(struct sync *s, const struct ls_wire *message, struct ls_err *err)
{
    uint64_t action = 0;
    struct ls_wire w;
    int more;

    ls_wire_init(&w, message->data, message->size);
    while ((more = ls_wire_next(&w)) > 0)
        if (w.field == 1 && w.type == 0)
            action = w.value;
    if (more < 0)
        return ls_fail_field(err, LS_EORDER, "control", "the bytes are no Control");
    if (action != LIPSTREAM__V1__CONTROL_ACTION__CONTROL_ACTION_STOP_NOW)
        return ls_fail_field(err, LS_EFIELD, "control.action", "%lld is no action that there is",
                             (long long)action);
    ls_session_stop(s->session);
    return 0;
}

// Finds the member of the oneof: the last one, as protobuf wants.
static int find_member(struct ls_wire *member, const uint8_t *data, size_t size, struct ls_err *err)
{
    struct ls_wire w;
    int more;

    *member = (struct ls_wire){.field = 0};
    ls_wire_init(&w, data, size);
    while ((more = ls_wire_next(&w)) > 0)
        if (w.type == 2 && w.field >= 1 && w.field <= KINDS)
            *member = w;
    if (more < 0)
        return ls_fail(err, LS_EORDER, "the bytes are no SyncRequest");
    if (!member->field)
        return ls_fail(err, LS_EORDER,
                       "a message without config, audio, video, regions or control");
    return 0;
}

static int take(struct sync *s, const struct ls_wire *member, struct ls_err *err)
{
    static const char *const names[KINDS] = {"config", "audio", "video", "regions", "control"};
    int kind = (int)member->field - 1;

    if (!s->session && kind != CONFIG)
        return ls_fail_field(err, LS_EORDER, names[kind], "the first message must be config");
    switch (kind) {
    case CONFIG:
        if (s->session)
            return ls_fail_field(err, LS_EORDER, "config", "a second config");
        configure(s, member);
        return 0;
    case AUDIO:
    case VIDEO:
        return feed(s, kind, member, err);
    case REGIONS:
        return give_regions(s, member, err);
    default:
        return control(s, member, err);
    }
}

static void on_message(struct ls_call *c, const uint8_t *data, size_t size)
{
    struct sync *s = ls_call_state(c);
    struct ls_err err = {0};
    struct ls_wire member;
    int r;

    if (s->failed)
        return;
    r = find_member(&member, data, size, &err);
    if (r == 0)
        r = take(s, &member, &err);
    if (r < 0)
        fail(s, &err);
    else if (s->session && ls_session_hungry(s->session))
        ls_call_read(c);
}

static void on_half_close(struct ls_call *c)
{
    struct sync *s = ls_call_state(c);
    struct ls_err err = {0};

    if (s->failed)
        return;
    if (s->session) {
        ls_session_half_close(s->session);
        return;
    }
    ls_fail_field(&err, LS_EORDER, "config", "the stream ended before its config");
    fail(s, &err);
}

static void on_sent(struct ls_call *c)
{
    struct sync *s = ls_call_state(c);

    if (s->session)
        ls_session_backlog(s->session, ls_call_backlog(c));
}

static void on_cancel(struct ls_call *c, const struct ls_err *err)
{
    fail(ls_call_state(c), err);
}

static void on_drain(struct ls_call *c)
{
    struct sync *s = ls_call_state(c);
    struct ls_err err = {0};

    ls_fail(&err, LS_EDRAIN, "the server is shutting down");
    if (!s->session)
        fail(s, &err);
}

static void on_refused(struct ls_call *c, const struct ls_err *err)
{
    fail(ls_call_state(c), err);
}

static void on_start(struct ls_call *c)
{
    struct sync *s = ls_call_state(c);
    struct ls_violations all = {.count = 0};
    struct ls_err err = {0};
    bool waits = false;
    int r;

    s->call = s->enter.call = c;
    s->enter.on_entered = ls_call_read;
    s->enter.on_refused = on_refused;
    if (ls_call_engine(c)->draining) {
        on_drain(c);
        return;
    }
    r = ls_enter_begin(&s->enter, &waits, &all, &err);
    if (r < 0) {
        s->failed = true;
        end(s, &err, all.count ? &all : NULL);
    } else if (!waits) {
        ls_call_read(c);
    }
}

const struct ls_method ls_method_sync = {
    .path = "/lipstream.v1.LipSync/Sync",
    .scope = LS_SCOPE_SYNC,
    .state_size = sizeof(struct sync),
    .on_start = on_start,
    .on_message = on_message,
    .on_half_close = on_half_close,
    .on_sent = on_sent,
    .on_cancel = on_cancel,
    .on_drain = on_drain,
    .on_flushed = on_flushed,
};
