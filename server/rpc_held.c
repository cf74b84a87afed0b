// SPDX-License-Identifier: Apache-2.0
// Calls that are no sessions, and that their callers hold: a request that does not come, an answer
// that is not read, a watch. Loop thread. Health is open to all, so anybody can hold them, and each
// has its metadata and gRPC's memory of a call (20 to 45 KB); so there is a limit to each kind. A
// caller who goes on at once never meets one.
#include "server/rpc_call_state.h"

// 200 ms, as the options table says of --awaited-max. In two looks: the first one may come late,
// and before what gRPC has done meanwhile was seen.
enum { LOOK_MS = 100, LOOKS = 2 };

static bool too_many(struct ls_call *c)
{
    c->look_count += c->look_count < LOOKS;
    return c->look_count == LOOKS && c->rpc->awaited_count > c->rpc->engine->opt.awaited_max;
}

static void on_awaited(uv_timer_t *timer)
{
    struct ls_call *c = timer->data;
    const struct ls_options *opt = &c->rpc->engine->opt;
    struct ls_err err = {0};

    if (too_many(c))
        ls_fail(&err, LS_ELIMIT, "%d calls' requests are awaited; at most %lld may be for longer",
                c->rpc->awaited_count, (long long)opt->awaited_max);
    else if (!c->heard && ls_call_now_ms() >= c->started_ms + (uint64_t)opt->input_idle_ms_max)
        ls_fail(&err, LS_EIDLE, "no request message for %lld ms",
                (long long)opt->input_idle_ms_max);
    else
        return;
    ls_call_cancel(c, &err);
}

static void on_unread(uv_timer_t *timer)
{
    struct ls_call *c = timer->data;
    const struct ls_options *opt = &c->rpc->engine->opt;

    if (too_many(c))
        ls_fail(&c->stall, LS_ELIMIT,
                "%d calls' answers are not read; at most %lld may be for longer",
                c->rpc->awaited_count, (long long)opt->awaited_max);
    else if (ls_call_now_ms() < c->ended_ms + (uint64_t)opt->output_idle_ms_max)
        return;
    ls_call_await_no_more(c); // now, for the others' looks
    ls_call_cut(c);
}

static void begin(struct ls_call *c, void (*on_time)(uv_timer_t *timer))
{
    c->rpc->awaited_count += !c->awaited;
    c->awaited = true;
    c->look_count = 0;
    uv_timer_start(&c->timer, on_time, LOOK_MS, LOOK_MS);
}

// A message comes with its headers or soon after. Till it is whole, gRPC gathers as much of it as
// its caller claims, in memory that all share; beyond that memory streams are reset by chance.
void ls_call_await(struct ls_call *c)
{
    if (!c->note.is_session)
        begin(c, on_awaited);
}

void ls_call_await_reader(struct ls_call *c)
{
    c->ended_ms = ls_call_now_ms();
    if (!c->note.is_session)
        begin(c, on_unread);
}

bool ls_call_await_no_more(struct ls_call *c)
{
    bool was = c->awaited;

    c->rpc->awaited_count -= was;
    c->awaited = false;
    return was;
}

int ls_call_stay(struct ls_call *c, struct ls_err *err)
{
    int64_t max = c->rpc->engine->opt.watches_max;

    if (!c->method->stays)
        return 0;
    if (c->rpc->staying_count >= max)
        return ls_fail(err, LS_ELIMIT, "there are %lld watches (--watches-max)", (long long)max);
    c->rpc->staying_count++;
    c->stays = true;
    return 0;
}

void ls_call_stay_no_more(struct ls_call *c)
{
    c->rpc->staying_count -= c->stays;
    c->stays = false;
}
