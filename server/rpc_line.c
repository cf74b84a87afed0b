// SPDX-License-Identifier: Apache-2.0
// What is told of a call: its figures into the metrics, while it runs (sessions last hours) and at
// its end, and one line in the log with all of them. Loop thread. Lines of calls that never began
// are limited in number, since whoever is refused may come again at once; the metrics count all.
#include <assert.h>
#include <stdio.h>

#include "server/log.h"
#include "server/metrics.h"
#include "server/rpc_call_state.h"
#include "server/tls.h"

enum { FIELDS_MAX = 40, FOREIGN_SIZE = 64, TICKS = 90000 };

static int64_t us_of(int64_t ticks)
{
    return ticks * 1000000 / TICKS;
}

void ls_call_count(struct ls_call *c)
{
    struct ls_metrics *m = c->rpc->engine->metrics;
    const struct ls_call_note *now = &c->note, *then = &c->counted;

    for (int i = 0; i < LS_ACTIONS; i++)
        ls_metrics_add(m, LS_COUNT_FRAMES, i, 0, now->frames[i] - then->frames[i]);
    for (int i = 0; i < LS_PARTS; i++)
        ls_metrics_add(m, LS_COUNT_STAGE_US, i, 0, now->part_us[i] - then->part_us[i]);
    ls_metrics_add(m, LS_COUNT_BYTES_IN, LS_INPUT_AUDIO, 0, now->audio_bytes - then->audio_bytes);
    ls_metrics_add(m, LS_COUNT_BYTES_IN, LS_INPUT_VIDEO, 0, now->video_bytes - then->video_bytes);
    ls_metrics_add(m, LS_COUNT_BYTES_OUT, 0, 0, now->bytes_out - then->bytes_out);
    ls_metrics_add(m, LS_COUNT_OUTPUT_US, 0, 0,
                   us_of(now->output_ticks) - us_of(then->output_ticks));
    if (now->first_media_us && !then->first_media_us)
        ls_metrics_observe(m, LS_HISTOGRAM_FIRST_MEDIA, (int)now->class,
                           (double)now->first_media_us / 1e6);
    c->counted = c->note;
}

void ls_rpc_count(struct ls_rpc *rpc)
{
    for (struct ls_call *c = rpc->first; c; c = c->next)
        if (c->note.is_session)
            ls_call_count(c);
}

bool ls_rpc_certificate(const struct ls_rpc *rpc, int *days)
{
    if (rpc->tls)
        *days = ls_tls_days_left(rpc->tls);
    return rpc->tls != NULL;
}

// Seconds of work a second of output; 0: no output.
static double real_time_factor(const struct ls_call *c, int64_t ms)
{
    int64_t us = us_of(c->note.output_ticks);

    return us ? (double)(ms - c->note.waited_us / 1000) * 1000 / (double)us : 0;
}

static void count_end(struct ls_call *c, int64_t ms)
{
    struct ls_metrics *m = c->rpc->engine->metrics;
    int class = (int)c->note.class;

    ls_metrics_add(m, LS_COUNT_CALLS, (int)c->method_idx, c->status.code, 1);
    if (!c->note.is_session)
        return;
    ls_call_count(c);
    if (!c->note.began) {
        ls_metrics_add(m, LS_COUNT_REFUSED, -c->err_code, class, 1);
        return;
    }
    ls_metrics_add(m, LS_COUNT_SESSIONS, -c->err_code, class, 1);
    ls_metrics_observe(m, LS_HISTOGRAM_CALL, class, (double)ms / 1000);
    if (!c->err_code && c->note.output_ticks)
        ls_metrics_observe(m, LS_HISTOGRAM_REAL_TIME, class, real_time_factor(c, ms));
}

struct fields {
    struct ls_log_field item[FIELDS_MAX];
    int count;
    char request_id[FOREIGN_SIZE], forwarded[FOREIGN_SIZE];
};

static void add_number(struct fields *f, const char *key, int64_t number)
{
    assert(f->count < FIELDS_MAX);
    f->item[f->count++] = (struct ls_log_field){key, NULL, number};
}

// Empty ones are left out.
static void add_text(struct fields *f, const char *key, const char *text)
{
    assert(f->count < FIELDS_MAX);
    if (text[0])
        f->item[f->count++] = (struct ls_log_field){key, text, 0};
}

// What the caller, or a proxy for it, wrote; the first bytes of it.
static void add_foreign(struct fields *f, const char *key, char room[FOREIGN_SIZE],
                        const struct ls_call *c, const char *header)
{
    size_t size = 0;
    const char *text = ls_call_metadata(c, header, &size);

    if (text)
        snprintf(room, FOREIGN_SIZE, "%.*s", (int)(size < FOREIGN_SIZE ? size : FOREIGN_SIZE),
                 text);
    add_text(f, key, room);
}

static void add_caller(struct fields *f, const struct ls_call *c)
{
    add_text(f, "peer", c->peer.address);
    add_foreign(f, "forwarded_for", f->forwarded, c, "x-forwarded-for");
    add_foreign(f, "request_id", f->request_id, c, "x-request-id");
    add_text(f, "name", c->identity.name);
    if (c->peer.tls)
        add_text(f, "tls", c->peer.certified ? "mutual" : "yes");
    add_text(f, "certificate", c->peer.certificate);
}

static void add_session(struct fields *f, const struct ls_call *c, int64_t ms)
{
    static const char *const actions[LS_ACTIONS] = {"synced", "passed_through", "held", "silent"};
    static const char *const parts[LS_PARTS] = {"decode_ms",   "detect_ms",    "mel_ms",
                                                "generate_ms", "composite_ms", "encode_ms"};
    const struct ls_call_note *note = &c->note;

    add_text(f, "session", note->session_id);
    add_text(f, "class", ls_class_name(note->class));
    add_number(f, "live", note->live);
    add_number(f, "waited_ms", note->waited_us / 1000);
    if (!note->began)
        return;
    add_number(f, "frames_in", note->frames_in);
    add_number(f, "frames_out", note->frames_out);
    for (int i = 0; i < LS_ACTIONS; i++)
        add_number(f, actions[i], note->frames[i]);
    add_number(f, "audio_bytes", note->audio_bytes);
    add_number(f, "video_bytes", note->video_bytes);
    add_number(f, "bytes_out", note->bytes_out);
    if (note->first_media_us)
        add_number(f, "first_media_ms", note->first_media_us / 1000);
    add_number(f, "output_ms", us_of(note->output_ticks) / 1000);
    if (note->output_ticks)
        add_number(f, "real_time_percent", (int64_t)(real_time_factor(c, ms) * 100 + 0.5));
    for (int i = 0; i < LS_PARTS; i++)
        add_number(f, parts[i], note->part_us[i] / 1000);
}

// Whether a line may be written now of a call that never began. told: lines left out before it.
static bool refusal_fits(const struct ls_call *c, uint64_t now_ms, int64_t *told)
{
    static uint64_t second; // one loop thread
    static int64_t count, dropped;

    *told = 0;
    if (now_ms / 1000 != second) {
        second = now_ms / 1000;
        *told = dropped;
        count = dropped = 0;
    }
    if (count++ < c->rpc->engine->opt.refusal_lines_max)
        return true;
    dropped++;
    return false;
}

void ls_call_log(struct ls_call *c)
{
    uint64_t now_ms = uv_hrtime() / 1000000;
    int64_t ms = (int64_t)(now_ms - c->started_ms), told;
    bool failed = c->status.code != 0;
    struct fields f = {.count = 0};

    count_end(c, ms);
    // Watch and reflection streams end by being cancelled: nothing to tell.
    if (c->method->quiet && (!failed || c->status.code == GRPC_STATUS_CANCELLED))
        return;
    if (failed && !c->note.began && !refusal_fits(c, now_ms, &told))
        return;
    if (failed && !c->note.began && told)
        ls_log(LS_LOG_WARN, "call", (struct ls_log_field[]){{"dropped", NULL, told}}, 1,
               "more calls that did not begin");
    add_text(&f, "method", c->method->path);
    add_text(&f, "status", ls_status_name(c->status.code));
    add_text(&f, "reason", c->status.reason);
    add_number(&f, "ms", ms);
    add_caller(&f, c);
    add_text(&f, "trace_id", c->trace.trace_id);
    add_text(&f, "span_id", c->trace.span_id);
    add_text(&f, "parent_id", c->trace.parent_id);
    if (c->note.is_session)
        add_session(&f, c, ms);
    ls_log(failed ? LS_LOG_WARN : LS_LOG_INFO, "call", f.item, f.count, failed ? "%s" : NULL,
           c->status.text);
}
