// SPDX-License-Identifier: Apache-2.0
// Admission: counts who is inside, lines up who may wait, and tells each waiter what changed. Loop
// thread. A place is in one list at most: a class's line, or `told`, the admitted and refused ones
// whose on_turn is due. Decisions fall at once (leave admits the next), only their telling is put
// off to the loop's next turn, so that one leave of many makes one message each. What surprises:
// owners leave and enter inside on_turn; whoever leaves moves the cursor of the round that tells.
#include "admit.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>

#include <uv.h>

#include "clock.h"
#include "metrics.h"

enum { TELL_MS = 1000 }; // waiters hear at least so often that they still wait

struct ls_place_list {
    struct ls_place *first, *last;
    int count;
};

struct ls_admit {
    const struct ls_options *opt;
    struct ls_metrics *metrics;
    uv_timer_t timer; // the next round; now, when somebody is to be told
    bool kicked;
    struct ls_place_list line[LS_CLASSES], told;
    struct ls_place *cursor; // the next one of the round
    int inside[LS_CLASSES];
    int64_t pixels, told_us;
    struct ls_load load;
    bool draining;
};

static const char *const class_names[LS_CLASSES] = {"interactive", "batch"};

const char *ls_class_name(enum ls_class class)
{
    return class_names[class];
}

// --- lists
// -----------------------------------------------------------------------------------------

static void list_push(struct ls_place_list *list, struct ls_place *p)
{
    assert(!p->list);
    p->list = list;
    p->prev = list->last;
    p->next = NULL;
    *(list->last ? &list->last->next : &list->first) = p;
    list->last = p;
    list->count++;
}

static void list_remove(struct ls_admit *a, struct ls_place *p)
{
    struct ls_place_list *list = p->list;

    if (!list)
        return;
    if (a->cursor == p)
        a->cursor = p->next;
    *(p->prev ? &p->prev->next : &list->first) = p->next;
    *(p->next ? &p->next->prev : &list->last) = p->prev;
    list->count--;
    p->list = NULL;
    p->prev = p->next = NULL;
}

// --- places
// ----------------------------------------------------------------------------------------

static int batch_max(const struct ls_options *opt)
{
    int64_t half = opt->sessions_max / 2, max = opt->batch_sessions_max;

    if (max > opt->sessions_max)
        return (int)opt->sessions_max;
    return (int)(max ? max : half ? half : 1);
}

static bool has_room(const struct ls_admit *a, enum ls_class class)
{
    if (a->inside[LS_CLASS_INTERACTIVE] + a->inside[LS_CLASS_BATCH] >= a->opt->sessions_max)
        return false;
    return class != LS_CLASS_BATCH || a->inside[class] < batch_max(a->opt);
}

static void on_due(uv_timer_t *timer);

// A round on the loop's next turn.
static void kick(struct ls_admit *a)
{
    a->kicked = true;
    uv_timer_start(&a->timer, on_due, 0, 0);
}

static void admit(struct ls_admit *a, struct ls_place *p)
{
    p->inside = true;
    p->position = 0;
    p->waited_us = ls_now_us() - p->since_us;
    a->inside[p->class]++;
    ls_metrics_observe(a->metrics, LS_HISTOGRAM_ADMISSION, (int)p->class,
                       (double)p->waited_us / 1e6);
}

// Out of the line; why is in p->err already.
static void refuse(struct ls_admit *a, struct ls_place *p)
{
    list_remove(a, p);
    p->waited_us = ls_now_us() - p->since_us;
    list_push(&a->told, p);
    kick(a);
}

// Gives free places to those who wait: interactive ones first. Afterwards nobody waits who could be
// inside.
static void promote(struct ls_admit *a)
{
    for (int c = 0; c < LS_CLASSES;) {
        struct ls_place *p = a->line[c].first;

        if (!p || !has_room(a, (enum ls_class)c)) {
            c++;
            continue;
        }
        list_remove(a, p);
        admit(a, p);
        list_push(&a->told, p);
    }
}

static void refuse_late(struct ls_admit *a, int64_t now_us)
{
    for (int c = 0; c < LS_CLASSES; c++) {
        struct ls_place *p;

        while ((p = a->line[c].first) != NULL &&
               now_us - p->since_us >= a->opt->admission_wait_ms_max * 1000) {
            ls_fail(&p->err, LS_EQUEUE,
                    "no place became free within %" PRId64 " ms (--admission-wait)",
                    a->opt->admission_wait_ms_max);
            refuse(a, p);
        }
    }
}

// --- telling
// ---------------------------------------------------------------------------------------

// Marks those whose number in the line has changed; all, when it is time.
static void number(struct ls_admit *a, bool all)
{
    int position = 0;

    for (int c = 0; c < LS_CLASSES; c++)
        for (struct ls_place *p = a->line[c].first; p; p = p->next) {
            position++;
            p->changed = all || p->position != position;
            p->position = position;
        }
}

static void tell(struct ls_admit *a)
{
    struct ls_place *p;

    while ((p = a->told.first) != NULL) {
        list_remove(a, p);
        if (p->err.code < 0)
            p->admit = NULL; // it is out
        p->on_turn(p);
    }
    // Whoever enters behind the cursor is numbered in the next round.
    for (int c = 0; c < LS_CLASSES; c++)
        for (p = a->line[c].first; p; p = a->cursor) {
            a->cursor = p->next;
            if (!p->changed)
                continue;
            p->changed = false;
            p->on_turn(p);
        }
    a->cursor = NULL;
}

// The next time at which something is due: a waiter's end, or the news that they still wait.
static int64_t due_us(const struct ls_admit *a)
{
    int64_t due = INT64_MAX, end;

    for (int c = 0; c < LS_CLASSES; c++) {
        if (!a->line[c].first)
            continue;
        end = a->line[c].first->since_us + a->opt->admission_wait_ms_max * 1000;
        due = end < due ? end : due;
        if (a->told_us + TELL_MS * 1000 < due)
            due = a->told_us + TELL_MS * 1000;
    }
    return due;
}

static void on_due(uv_timer_t *timer)
{
    struct ls_admit *a = timer->data;
    int64_t now = ls_now_us(), due;
    bool all = now - a->told_us >= TELL_MS * 1000;

    a->kicked = false;
    refuse_late(a, now);
    if (all)
        a->told_us = now;
    number(a, all);
    tell(a);
    due = due_us(a);
    if (!a->kicked && due < INT64_MAX)
        uv_timer_start(timer, on_due, due > now ? (uint64_t)(due - now + 999) / 1000 : 0, 0);
}

// --- life
// ------------------------------------------------------------------------------------------

int ls_admit_open(struct ls_admit **out, struct uv_loop_s *loop, const struct ls_options *opt,
                  struct ls_metrics *metrics, struct ls_err *err)
{
    struct ls_admit *a = calloc(1, sizeof(*a));

    if (!a)
        return ls_fail(err, LS_ENOMEM, "admission");
    a->opt = opt;
    a->metrics = metrics;
    a->load.cores = ls_load_cores(); // perhaps 1.5, of which two were planned with
    if (opt->cores > 0 && (double)opt->cores < a->load.cores)
        a->load.cores = (double)opt->cores;
    a->load.share_max = (double)opt->live_load_max / 100;
    ls_admit_lanes(a, opt->threads > 0 ? (int)opt->threads : 1, true);
    uv_timer_init(loop, &a->timer);
    a->timer.data = a;
    *out = a;
    return 0;
}

static void on_closed(uv_handle_t *handle)
{
    free(handle->data);
}

void ls_admit_close(struct ls_admit **a)
{
    if (!a || !*a)
        return;
    assert(!(*a)->inside[LS_CLASS_INTERACTIVE] && !(*a)->inside[LS_CLASS_BATCH]);
    assert(!(*a)->told.first && !(*a)->line[0].first && !(*a)->line[1].first);
    uv_close((uv_handle_t *)&(*a)->timer, on_closed);
    *a = NULL;
}

void ls_admit_lanes(struct ls_admit *a, int lanes, bool on_cores)
{
    a->load.lanes = lanes;
    a->load.lanes_on_cores = on_cores;
}

void ls_admit_drain(struct ls_admit *a)
{
    a->draining = true;
    for (int c = 0; c < LS_CLASSES; c++)
        while (a->line[c].first) {
            struct ls_place *p = a->line[c].first;

            ls_fail(&p->err, LS_EDRAIN, "the server is shutting down");
            refuse(a, p);
        }
}

// --- entering and leaving
// --------------------------------------------------------------------------

static int no_place(const struct ls_admit *a, enum ls_class class, struct ls_err *err)
{
    int all = a->inside[LS_CLASS_INTERACTIVE] + a->inside[LS_CLASS_BATCH];

    if (all >= a->opt->sessions_max)
        return ls_fail(err, LS_EBUSY, "all %d sessions are taken", all);
    return ls_fail(err, LS_EBUSY, "all %d sessions of priority %s are taken", a->inside[class],
                   class_names[class]);
}

// Makes room in the line, if that is full.
static int queue_up(struct ls_admit *a, enum ls_class class, struct ls_err *err)
{
    struct ls_place *last = a->line[LS_CLASS_BATCH].last;
    int waiting = a->line[LS_CLASS_INTERACTIVE].count + a->line[LS_CLASS_BATCH].count;

    if (waiting < a->opt->queue_max)
        return 0;
    if (a->opt->queue_max == 0 || class == LS_CLASS_BATCH || !last)
        return ls_fail(err, LS_EBUSY, "all sessions are taken and %d calls wait already", waiting);
    ls_fail(&last->err, LS_EBUSY,
            "the line is full, and an interactive call took this one's place");
    refuse(a, last);
    return 0;
}

int ls_admit_enter(struct ls_admit *a, struct ls_place *place, enum ls_class class,
                   struct ls_err *err)
{
    int r;

    assert(!place->admit);
    if (a->draining)
        return ls_fail(err, LS_EDRAIN, "the server takes no new sessions");
    if (a->pixels >= a->opt->pixels_total_max)
        return ls_fail(err, LS_EFULL, "all %" PRId64 " pixels are taken (--pixels-total-max)",
                       a->opt->pixels_total_max);
    if (!has_room(a, class)) {
        r = a->opt->admission_wait_ms_max == 0 ? no_place(a, class, err) : queue_up(a, class, err);
        if (r < 0)
            return r;
    }
    place->admit = a;
    place->class = class;
    place->since_us = ls_now_us();
    place->pixels = place->waited_us = 0;
    place->inside = place->live = place->changed = false;
    place->err = (struct ls_err){0};
    // Nobody waits who could be inside, so there is nobody to overtake.
    if (has_room(a, class)) {
        admit(a, place);
        return 0;
    }
    if (!a->line[LS_CLASS_INTERACTIVE].first && !a->line[LS_CLASS_BATCH].first)
        a->told_us = place->since_us;
    list_push(&a->line[class], place);
    place->position = class == LS_CLASS_BATCH
                          ? a->line[LS_CLASS_INTERACTIVE].count + a->line[class].count
                          : a->line[class].count;
    kick(a);
    return 0;
}

void ls_admit_rest(struct ls_place *place)
{
    struct ls_admit *a = place->admit;

    if (!a)
        return;
    if (place->demand.frames > 0) // promised, or held in hope
        ls_load_release(&a->load, &place->demand);
    place->demand = (struct ls_load_demand){0, 0};
    a->pixels -= place->pixels;
    place->pixels = 0;
    place->live = false;
}

void ls_admit_leave(struct ls_place *place)
{
    struct ls_admit *a = place->admit;

    if (!a)
        return;
    if (place->position > 0 && place->err.code == 0)
        place->waited_us = ls_now_us() - place->since_us;
    ls_admit_rest(place);
    list_remove(a, place);
    place->admit = NULL;
    place->position = 0;
    if (place->inside)
        a->inside[place->class]--;
    place->inside = false;
    promote(a);
    if (a->told.first || a->line[LS_CLASS_INTERACTIVE].first || a->line[LS_CLASS_BATCH].first)
        kick(a);
}

// --- what sessions hold and promise
// ----------------------------------------------------------------

int ls_admit_pixels(struct ls_place *place, int64_t pixels, struct ls_err *err)
{
    struct ls_admit *a = place->admit;

    assert(place->inside && pixels >= 0);
    if (pixels > a->opt->pixels_total_max - a->pixels)
        return ls_fail(err, LS_EFULL,
                       "%" PRId64 " pixels of frames do not fit into what is left of %" PRId64
                       " (--pixels-total-max)",
                       pixels, a->opt->pixels_total_max);
    a->pixels += pixels;
    place->pixels += pixels;
    return 0;
}

int ls_admit_live(struct ls_place *place, double frames_per_second, int64_t pixels,
                  struct ls_err *err)
{
    struct ls_load_demand demand = ls_load_demand(frames_per_second, pixels);
    int r;

    assert(place->inside && !place->live);
    r = ls_load_settle(&place->admit->load, &place->demand, &demand, ls_now_us(), err);
    place->demand = r < 0 ? (struct ls_load_demand){0, 0} : demand;
    place->live = r == 0;
    return r;
}

int ls_admit_live_hope(struct ls_place *place, struct ls_err *err)
{
    assert(place->inside && !place->live && place->demand.frames == 0);
    return ls_load_hope(&place->admit->load, &place->demand, ls_now_us(), err);
}

void ls_admit_learn_lane(struct ls_admit *a, int64_t lane_us, int frames)
{
    ls_load_learn_lane(&a->load, lane_us, frames);
}

void ls_admit_learn_core(struct ls_admit *a, int64_t core_us, int frames, int64_t pixels)
{
    ls_load_learn_core(&a->load, core_us, frames, pixels);
}

void ls_admit_live_lag(struct ls_admit *a, int64_t lag_us)
{
    ls_metrics_observe(a->metrics, LS_HISTOGRAM_LIVE_LAG, 0, (double)lag_us / 1e6);
    if (lag_us <= a->opt->live_lag_ms_max * 1000)
        return;
    ls_metrics_add(a->metrics, LS_COUNT_LIVE_LATE, 0, 0, 1);
    ls_load_late(&a->load, ls_now_us());
}

void ls_admit_state(const struct ls_admit *a, struct ls_admit_state *out)
{
    for (int c = 0; c < LS_CLASSES; c++) {
        out->inside[c] = a->inside[c];
        out->waiting[c] = a->line[c].count;
    }
    out->live = a->load.streams;
    out->places_max = (int)a->opt->sessions_max;
    out->batch_places_max = batch_max(a->opt);
    out->queue_max = (int)a->opt->queue_max;
    out->pixels = a->pixels;
    out->pixels_max = a->opt->pixels_total_max;
    ls_load_shares(&a->load, &out->lane_load, &out->core_load);
    out->lane_load /= a->load.share_max;
    out->core_load /= a->load.share_max;
}
