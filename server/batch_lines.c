// SPDX-License-Identifier: Apache-2.0
// See batch_lines.h. Three lines for small work and three for faces; live work stands in order of
// its due time, all other in order of arrival. What a device has begun of class batch is counted,
// not listed: a face remembers how many of them were finished when it came, and so knows how many
// it has met. The caller's lock guards everything.
#include "server/batch_lines.h"

#include <stddef.h>

#include "server/clock.h"

enum { SMALL_RUN_MAX = 4 }; // small launches, 2 ms or less, between two looks at the faces

static int rank_of(const struct ls_work *w)
{
    if (w->live)
        return LS_RANK_LIVE;
    return w->class == LS_CLASS_INTERACTIVE ? LS_RANK_INTERACTIVE : LS_RANK_BATCH;
}

static void line_init(struct ls_line *q)
{
    q->first = NULL;
    q->last = &q->first;
    q->count = 0;
}

// Live work in order of due_us, all other work at the end.
static void line_push(struct ls_line *q, struct ls_work *w)
{
    struct ls_work **at = q->last;

    if (w->live)
        for (at = &q->first; *at && (*at)->due_us <= w->due_us; at = &(*at)->next)
            ;
    w->next = *at;
    *at = w;
    if (!w->next)
        q->last = &w->next;
    q->count++;
}

static struct ls_work *line_pop(struct ls_line *q)
{
    struct ls_work *w = q->first;

    q->first = w->next;
    if (!q->first)
        q->last = &q->first;
    q->count--;
    return w;
}

// When the oldest came. Live work does not stand in the order of its arrival.
static int64_t line_oldest_us(const struct ls_line *q)
{
    int64_t oldest_us = INT64_MAX / 2; // nobody; a wait can still be added

    for (const struct ls_work *w = q->first; w; w = w->live ? w->next : NULL)
        if (w->pushed_us < oldest_us)
            oldest_us = w->pushed_us;
    return oldest_us;
}

static int line_revoke(struct ls_lines *l, struct ls_line *q, const void *user)
{
    struct ls_work **at = &q->first, *w;
    int n = 0;

    while ((w = *at)) {
        if (w->user != user) {
            at = &w->next;
            continue;
        }
        *at = w->next;
        l->waiting[w->class][w->kind == LS_WORK_FACE]--;
        n++;
    }
    q->last = at;
    q->count -= n;
    return n;
}

void ls_lines_init(struct ls_lines *l)
{
    for (int i = 0; i < LS_RANKS; i++) {
        line_init(&l->small[i]);
        line_init(&l->face[i]);
    }
}

void ls_lines_push(struct ls_lines *l, struct ls_work *w)
{
    bool face = w->kind == LS_WORK_FACE;

    w->pushed_finished = l->finished;
    line_push(face ? &l->face[rank_of(w)] : &l->small[rank_of(w)], w);
    l->waiting[w->class][face]++;
}

int ls_lines_revoke(struct ls_lines *l, const void *user)
{
    int n = 0;

    for (int i = 0; i < LS_RANKS; i++)
        n += line_revoke(l, &l->small[i], user) + line_revoke(l, &l->face[i], user);
    return n;
}

static bool front_waits(const struct ls_lines *l)
{
    return l->small[LS_RANK_LIVE].count + l->small[LS_RANK_INTERACTIVE].count +
               l->face[LS_RANK_LIVE].count + l->face[LS_RANK_INTERACTIVE].count >
           0;
}

bool ls_lines_empty(const struct ls_lines *l)
{
    return !front_waits(l) && l->small[LS_RANK_BATCH].count + l->face[LS_RANK_BATCH].count == 0;
}

static struct ls_work *take_one(struct ls_lines *l, struct ls_line *q)
{
    struct ls_work *w = line_pop(q);

    l->waiting[w->class][w->kind == LS_WORK_FACE]--;
    return w;
}

// Mel work of several voices goes in one launch where that is cheaper.
static int take_small(struct ls_lines *l, int rank, struct ls_work **work,
                      const struct ls_turn *turn)
{
    struct ls_line *q = &l->small[rank];
    int n = 0;

    do
        work[n++] = take_one(l, q);
    while (turn->depth > 0 && n < l->batch_max && q->count > 0 && work[0]->kind == LS_WORK_MEL &&
           q->first->kind == LS_WORK_MEL);
    return n;
}

// Whether small work of this rank goes before faces. On a device a batch costs the thread little:
// to begin one that is due, or to finish one that may be through by now, must not wait until there
// is no small work.
static bool small_first(const struct ls_lines *l, int rank, struct ls_turn *turn, bool faces_due)
{
    if (l->small[rank].count == 0)
        return false;
    if (turn->depth > 0 && turn->small_run >= SMALL_RUN_MAX && (faces_due || turn->flying > 0)) {
        turn->small_run = 0;
        return false;
    }
    turn->small_run += turn->depth > 0; // else nobody asks, and nothing sets it back
    return true;
}

// Whether this many faces, of which the oldest came then, are to be begun. If not: *late_us, when.
static bool is_due(const struct ls_lines *l, int count, int count_full, int64_t oldest_us,
                   int64_t *late_us)
{
    if (count == 0)
        return false;
    *late_us = oldest_us + l->wait_us_max;
    return count >= count_full || l->stopping || ls_now_us() >= *late_us;
}

// No more than this lane's share: with few frames in flight one lane would idle while another one
// holds up the order of all with a large batch.
static int share_of(const struct ls_lines *l, int count)
{
    int share = (count + l->lane_count - 1) / l->lane_count;

    return share < l->batch_max ? share : l->batch_max;
}

// How many faces of class batch may be begun beside front work that came when `finished` of them
// were.
static int room_for_batch(const struct ls_lines *l, int64_t finished)
{
    int64_t room = l->batch_max - (l->begun - finished);

    return room > 0 ? (int)room : 0;
}

static int add_batch_faces(struct ls_lines *l, struct ls_work **work, int n, int count_max)
{
    while (n < l->batch_max && count_max-- > 0 && l->face[LS_RANK_BATCH].count > 0) {
        work[n++] = take_one(l, &l->face[LS_RANK_BATCH]);
    }
    return n;
}

// Faces of the front. Where a lane does one after the other, live ones do not wait for others in
// their run; on a device all go together, and others may come along.
static int take_front_faces(struct ls_lines *l, struct ls_work **work, const struct ls_turn *turn)
{
    struct ls_line *live = &l->face[LS_RANK_LIVE], *other = &l->face[LS_RANK_INTERACTIVE];
    bool together = turn->depth > 0 || live->count == 0;
    int n = 0, share = share_of(l, together ? live->count + other->count : live->count);
    int64_t finished = l->finished;

    while (n < share && live->count > 0)
        work[n++] = take_one(l, live);
    while (together && n < share && other->count > 0)
        work[n++] = take_one(l, other);
    if (turn->depth == 0 || front_waits(l))
        return n;
    for (int i = 0; i < n; i++)
        if (work[i]->pushed_finished < finished)
            finished = work[i]->pushed_finished;
    return add_batch_faces(l, work, n, room_for_batch(l, finished));
}

static int take_front(struct ls_lines *l, struct ls_work **work, struct ls_turn *turn,
                      int64_t *late_us)
{
    int64_t live_us = line_oldest_us(&l->face[LS_RANK_LIVE]);
    int64_t other_us = line_oldest_us(&l->face[LS_RANK_INTERACTIVE]);
    bool due = is_due(l, l->face[LS_RANK_LIVE].count + l->face[LS_RANK_INTERACTIVE].count,
                      l->batch_max, live_us < other_us ? live_us : other_us, late_us);

    if (small_first(l, LS_RANK_LIVE, turn, due))
        return take_small(l, LS_RANK_LIVE, work, turn);
    if (due && l->face[LS_RANK_LIVE].count > 0)
        return take_front_faces(l, work, turn);
    if (small_first(l, LS_RANK_INTERACTIVE, turn, due))
        return take_small(l, LS_RANK_INTERACTIVE, work, turn);
    return due ? take_front_faces(l, work, turn) : 0;
}

// Work of class batch; nothing else waits.
static int take_batch(struct ls_lines *l, struct ls_work **work, struct ls_turn *turn,
                      int64_t *late_us)
{
    int max = turn->depth > 0 ? (l->batch_max + 1) / 2 : l->batch_max;
    int room = turn->depth > 0 ? room_for_batch(l, l->finished) : max;
    int share = share_of(l, l->face[LS_RANK_BATCH].count);
    bool due = room > 0 && is_due(l, l->face[LS_RANK_BATCH].count, max,
                                  line_oldest_us(&l->face[LS_RANK_BATCH]), late_us);

    if (small_first(l, LS_RANK_BATCH, turn, due))
        return take_small(l, LS_RANK_BATCH, work, turn);
    max = max < room ? max : room;
    return due ? add_batch_faces(l, work, 0, max < share ? max : share) : 0;
}

static int batch_faces(struct ls_work *const *work, int count)
{
    int n = 0;

    for (int i = 0; i < count; i++)
        n += work[i]->kind == LS_WORK_FACE && rank_of(work[i]) == LS_RANK_BATCH;
    return n;
}

int ls_lines_take(struct ls_lines *l, struct ls_work **work, struct ls_turn *turn, int64_t *late_us)
{
    int n;

    *late_us = INT64_MAX;
    n = front_waits(l) ? take_front(l, work, turn, late_us) : take_batch(l, work, turn, late_us);
    if (turn->depth > 0)
        l->begun += batch_faces(work, n);
    return n;
}

void ls_lines_finished(struct ls_lines *l, struct ls_work *const *work, int count)
{
    l->finished += batch_faces(work, count);
}
