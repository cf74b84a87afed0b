// SPDX-License-Identifier: Apache-2.0
// Admission of a Sync call. Flow: headers -> here (priority, place, or the line) -> rpc_sync reads
// the first message. Loop thread. While it waits the call hears its position, and nothing of its
// body is read, so a caller may have its whole request under way without holding memory of ours
// beyond gRPC's window. Whoever has a place and sends no config loses it after --input-idle-max.
#include "server/rpc_enter.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include <uv.h>

#include "server/decode.h"
#include "server/rpc_reply.h"

// Outlives the call's state by the turn of the loop that closing it takes.
struct ls_enter_timer {
    uv_timer_t timer;
    struct ls_enter *enter;
};

static int read_priority(const struct ls_call *c, enum ls_class *class, struct ls_violations *all,
                         struct ls_err *err)
{
    static const char key[] = "lipstream-priority", field[] = "metadata.lipstream-priority";
    size_t size;
    const char *text = ls_call_metadata(c, key, &size);

    *class = LS_CLASS_INTERACTIVE;
    if (!text)
        return 0;
    for (int i = 0; i < LS_CLASSES; i++) {
        const char *name = ls_class_name((enum ls_class)i);

        if (size == strlen(name) && !memcmp(text, name, size)) {
            *class = (enum ls_class)i;
            return 0;
        }
    }
    ls_violate(all, field, "NOT_SUPPORTED", "\"%.*s\" is neither interactive nor batch",
               (int)(size < 64 ? size : 64), text);
    return ls_fail_field(err, LS_EFIELD, field, "%s", all->item[0].text);
}

// A caller that does not read is not told again until it has.
static void tell_position(struct ls_enter *e)
{
    struct ls_reply reply = {.kind = LS_REPLY_PROGRESS};

    if (ls_call_backlog(e->call) > 0)
        return;
    reply.progress.stage = LS_STAGE_WAITING;
    reply.progress.queue_position = e->place.position;
    reply.progress.eta_ms = -1;
    ls_reply_send(e->call, &reply, NULL);
}

static void on_timer_closed(uv_handle_t *handle)
{
    free(handle->data);
}

void ls_enter_configured(struct ls_enter *e)
{
    if (!e->timer)
        return;
    uv_close((uv_handle_t *)&e->timer->timer, on_timer_closed);
    e->timer = NULL;
}

static void on_no_config(uv_timer_t *timer)
{
    struct ls_enter *e = ((struct ls_enter_timer *)timer->data)->enter;
    int64_t ms = ls_call_engine(e->call)->opt.input_idle_ms_max;
    struct ls_err err = {0};

    ls_enter_configured(e);
    ls_fail_field(&err, LS_EIDLE, "config", "no config came for %" PRId64 " ms", ms);
    e->on_refused(e->call, &err);
}

static int await_config(struct ls_enter *e, struct ls_err *err)
{
    const struct ls_engine *engine = ls_call_engine(e->call);

    e->timer = malloc(sizeof *e->timer);
    if (!e->timer)
        return ls_fail(err, LS_ENOMEM, "a timer");
    e->timer->enter = e;
    uv_timer_init(engine->loop, &e->timer->timer);
    e->timer->timer.data = e->timer;
    uv_timer_start(&e->timer->timer, on_no_config, (uint64_t)engine->opt.input_idle_ms_max, 0);
    return 0;
}

static void on_turn(struct ls_place *p)
{
    struct ls_enter *e = p->user;
    struct ls_err err = p->err;

    if (err.code == 0 && p->position > 0) {
        tell_position(e);
        return;
    }
    if (err.code == 0 && await_config(e, &err) == 0)
        e->on_entered(e->call);
    else
        e->on_refused(e->call, &err);
}

int ls_enter_begin(struct ls_enter *e, bool *waits, struct ls_violations *all, struct ls_err *err)
{
    const struct ls_engine *engine = ls_call_engine(e->call);
    enum ls_class class;
    int r = read_priority(e->call, &class, all, err);

    ls_call_note(e->call)->class = class;
    if (r == 0 && ls_decode_pool_full(engine->decoders))
        r = ls_fail(err, LS_EFULL,
                    "the disk for inputs is taken: %" PRId64 " bytes "
                    "(--spool-total-max)",
                    ls_decode_pool_spooled(engine->decoders));
    if (r < 0)
        return r;
    e->place.on_turn = on_turn;
    e->place.user = e;
    r = ls_admit_enter(engine->admit, &e->place, class, err);
    if (r < 0)
        return r;
    *waits = e->place.position > 0;
    if (!*waits)
        return await_config(e, err);
    tell_position(e);
    return 0;
}

void ls_enter_end(struct ls_enter *e)
{
    ls_enter_configured(e);
    ls_admit_leave(&e->place);
    ls_call_note(e->call)->waited_us = e->place.waited_us;
}
