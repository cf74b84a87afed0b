// SPDX-License-Identifier: Apache-2.0
// Tracking. Flow: session -> (device: detect) -> here -> session. A record a frame, from
// smooth_half frames before the one that is handed out next to the newest one. Loop thread. What
// surprises: the exact profile looks at every frame and averages forward over five integer boxes in
// place, as the original does, its treatment of the last frames included (WAV2LIP.md section 3).
#include "track_state.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { KEYS_PER_SEARCH = 8 };

// Of a face that sticks out of its frame (8192 at most); twice that is what crops and pastes take.
#define FAR_PX 16384.0f

int ls_track_new(struct ls_track **out, const struct ls_track_params *params, struct ls_err *err)
{
    struct ls_track *t = calloc(1, sizeof(*t));

    if (!t)
        return ls_fail(err, LS_ENOMEM, "face track");
    t->p = *params;
    t->exact = params->job->profile == LS_PROFILE_WAV2LIP_EXACT;
    if (t->exact)
        t->p.interval = 1;
    t->decided = -1;
    t->dense_until = -1;
    t->first_found = INT64_MAX;
    t->side_px = params->side_px;
    *out = t;
    return 0;
}

void ls_track_free(struct ls_track **t)
{
    if (!t || !*t)
        return;
    free((*t)->record);
    free(*t);
    *t = NULL;
}

static float area(const struct ls_box *b)
{
    return (b->x1 - b->x0) * (b->y1 - b->y0);
}

static float overlap(const struct ls_box *a, const struct ls_box *b)
{
    float w = fminf(a->x1, b->x1) - fmaxf(a->x0, b->x0);
    float h = fminf(a->y1, b->y1) - fmaxf(a->y0, b->y0);

    if (w <= 0 || h <= 0)
        return 0;
    return w * h / (area(a) + area(b) - w * h);
}

// How well a face goes on from where the person was: overlap, or nearness for a small fast face. 0:
// not.
static float likeness(const struct ls_box *was, const struct ls_box *is)
{
    float size = sqrtf(area(was)), dx, dy, ratio = area(is) / area(was);

    if (ratio < 0.33f || ratio > 3.0f)
        return 0;
    if (overlap(was, is) > 0.2f)
        return 1 + overlap(was, is);
    dx = (was->x0 + was->x1 - is->x0 - is->x1) / 2;
    dy = (was->y0 + was->y1 - is->y0 - is->y1) / 2;
    return hypotf(dx, dy) < 0.8f * size ? 0.5f : 0;
}

static float rank(const struct ls_track *t, const struct ls_face *f)
{
    float dx, dy;

    switch (t->p.job->face.choose) {
    case LS_CHOOSE_NEAREST:
        dx = (f->box.x0 + f->box.x1) / 2 - t->p.job->face.nearest_x;
        dy = (f->box.y0 + f->box.y1) / 2 - t->p.job->face.nearest_y;
        return -hypotf(dx, dy);
    case LS_CHOOSE_BEST_SCORE:
        return f->score;
    default:
        return area(&f->box);
    }
}

// Whom the faces of a frame continue, given whom we followed. Pure: *follow is updated, nothing
// else.
static struct ls_spot associate(const struct ls_track *t, struct follow *follow, int *track_count,
                                int64_t idx)
{
    const struct record *r = ls_record_at(t, idx);
    struct ls_spot spot = {0};
    float best = 0, value;
    int i, pick = -1;

    // The original has no memory: the best score of every frame wins.
    if (r->cut || t->exact)
        follow->active = false;
    for (i = 0; follow->active && i < r->face_count; i++) {
        value = likeness(&follow->box, &r->face[i].box);
        if (value > best) {
            best = value;
            pick = i;
        }
    }
    if (pick < 0 && follow->active && idx - follow->seen <= t->p.lost_frames_max)
        return spot;
    if (pick < 0) {
        for (i = 0; i < r->face_count; i++)
            if (r->face[i].score >= t->p.score_begin &&
                (pick < 0 || rank(t, &r->face[i]) > rank(t, &r->face[pick])))
                pick = i;
        follow->active = pick >= 0;
        if (pick < 0)
            return spot;
        follow->track_id = ++*track_count;
    }
    follow->box = r->face[pick].box;
    follow->seen = idx;
    spot.found = true;
    spot.face = r->face[pick];
    spot.track_id = follow->track_id;
    return spot;
}

static float mix(float a, float b, float k)
{
    return a + (b - a) * k;
}

static struct ls_face face_mix(const struct ls_face *a, const struct ls_face *b, float k)
{
    struct ls_face m = *a;
    int i;

    m.box = (struct ls_box){mix(a->box.x0, b->box.x0, k), mix(a->box.y0, b->box.y0, k),
                            mix(a->box.x1, b->box.x1, k), mix(a->box.y1, b->box.y1, k)};
    m.score = mix(a->score, b->score, k);
    m.points_known = a->points_known && b->points_known;
    for (i = 0; i < LS_POINTS; i++) {
        m.point[i][0] = mix(a->point[i][0], b->point[i][0], k);
        m.point[i][1] = mix(a->point[i][1], b->point[i][1], k);
    }
    return m;
}

// The frame that must be looked at next, after `decided`; -1: more frames must come first.
static int64_t target(const struct ls_track *t)
{
    int64_t a = t->decided, c;

    if (a + 1 >= t->end)
        return -1;
    if (a < 0 || ls_record_at(t, a + 1)->cut || a + 1 <= t->dense_until)
        return a + 1;
    for (c = a + 1; c <= a + t->p.interval && c < t->end; c++) {
        if (c == a + t->p.interval)
            return c;
        if (c + 1 < t->end ? ls_record_at(t, c + 1)->cut : t->ended)
            return c;
    }
    return -1;
}

static void decide(struct ls_track *t, int64_t idx)
{
    struct record *a, *b = ls_record_at(t, idx);
    struct follow follow = t->follow;
    int64_t from = t->decided, i;
    int tracks = t->track_count;
    struct ls_spot spot = associate(t, &follow, &tracks, idx);

    if (idx > from + 1) {
        a = ls_record_at(t, from);
        if (a->raw.found != spot.found || a->raw.track_id != spot.track_id) {
            t->dense_until = idx;
            return;
        }
        for (i = from + 1; i < idx; i++) {
            ls_record_at(t, i)->raw = spot;
            if (spot.found)
                ls_record_at(t, i)->raw.face =
                    face_mix(&a->raw.face, &spot.face, (float)(i - from) / (float)(idx - from));
        }
    }
    b->raw = spot;
    b->key = spot.found;
    if (spot.found && t->first_found == INT64_MAX)
        t->first_found = idx;
    t->follow = follow;
    t->track_count = tracks;
    t->decided = idx;
    t->keys_without_face = spot.found ? 0 : t->keys_without_face + 1;
}

// Decides as far as what is known allows.
static void advance(struct ls_track *t)
{
    int64_t idx;

    while ((idx = target(t)) >= 0 && ls_record_at(t, idx)->known)
        decide(t, idx);
}

static int add(struct ls_track *t, struct record **out, struct ls_err *err)
{
    int64_t keep = t->out - (t->exact ? EXACT_WINDOW : ls_track_past(t));
    struct record *grown;
    int capacity;

    if (keep > t->decided)
        keep = t->decided;
    if (!t->exact && keep > t->stepped - 1)
        keep = t->stepped - 1; // the next pose goes on from there
    if (keep > t->base && t->end - t->base == t->capacity) {
        memmove(t->record, ls_record_at(t, keep), (size_t)(t->end - keep) * sizeof(*t->record));
        t->base = keep;
    }
    if (t->end - t->base == t->capacity) {
        capacity = t->capacity ? 2 * t->capacity : 32;
        grown = realloc(t->record, (size_t)capacity * sizeof(*grown));
        if (!grown)
            return ls_fail(err, LS_ENOMEM, "face track of %d frames", capacity);
        t->record = grown;
        t->capacity = capacity;
    }
    t->end++;
    *out = ls_record_at(t, t->end - 1);
    memset(*out, 0, sizeof(**out));
    return 0;
}

int ls_track_frame(struct ls_track *t, bool cut, struct ls_err *err)
{
    struct record *r = NULL;
    int ret = add(t, &r, err);

    if (ret < 0)
        return ret;
    r->cut = cut && t->end > 1;
    advance(t);
    return 0;
}

void ls_track_end(struct ls_track *t)
{
    t->ended = true;
    advance(t);
}

bool ls_track_wants(const struct ls_track *t, int64_t *idx, int *side_px, int *side_px_max)
{
    int64_t want = target(t);

    if (want < 0)
        return false;
    *idx = want;
    *side_px = t->side_px;
    // Small faces are searched for at once in a new scene, then now and again: it costs 20 times
    // more.
    *side_px_max = ls_record_at(t, want)->cut || t->keys_without_face % KEYS_PER_SEARCH == 0
                       ? t->p.side_px_max
                       : t->side_px;
    return true;
}

static bool is_near(float x, float y)
{
    return fabsf(x) <= FAR_PX && fabsf(y) <= FAR_PX; // false for NaN
}

// A detector's numbers are made of a stranger's picture: what no frame can show is no face.
static bool is_face(const struct ls_face *f)
{
    bool near = is_near(f->box.x0, f->box.y0) && is_near(f->box.x1, f->box.y1);

    for (int i = 0; near && f->points_known && i < LS_POINTS; i++)
        near = is_near(f->point[i][0], f->point[i][1]);
    return near && f->box.x1 - f->box.x0 >= 1 && f->box.y1 - f->box.y0 >= 1;
}

void ls_track_found(struct ls_track *t, const struct ls_face *face, int count, int side_px)
{
    int64_t idx = target(t);
    int long_side = t->p.width_px > t->p.height_px ? t->p.width_px : t->p.height_px;
    float size;
    struct record *r;

    assert(idx >= 0);
    r = ls_record_at(t, idx);
    r->known = true;
    for (int i = 0; i < count && r->face_count < TRACK_FACES; i++)
        if (is_face(&face[i]))
            r->face[r->face_count++] = face[i];
    if (r->face_count == 0) {
        t->side_px = t->p.side_px;
    } else {
        // 48 network pixels are plenty: a face that large is found at half the size, too.
        size = sqrtf(area(&r->face[0].box)) * (float)side_px / (float)long_side;
        t->side_px = size > 48 && side_px / 2 >= t->p.side_px ? side_px / 2 : side_px;
    }
    advance(t);
}

// A turned face keeps its proportions at the frame's edge; an upright one is cut there, as the
// original does.
static void limit_box(const struct ls_track *t, struct ls_box *b)
{
    b->x0 = fmaxf(b->x0, 0);
    b->y0 = fmaxf(b->y0, 0);
    b->x1 = fminf(b->x1, (float)t->p.width_px);
    b->y1 = fminf(b->y1, (float)t->p.height_px);
}

void ls_track_pad(const struct ls_track *t, struct ls_box *b)
{
    b->x0 -= (float)t->p.job->face.pad_left;
    b->y0 -= (float)t->p.job->face.pad_top;
    b->x1 += (float)t->p.job->face.pad_right;
    b->y1 += (float)t->p.job->face.pad_bottom;
    limit_box(t, b);
}

// Pads are the face's own: they lie where it is turned to.
static void pad_turned(const struct ls_track *t, struct ls_spot *spot)
{
    float right = (float)(t->p.job->face.pad_right - t->p.job->face.pad_left) / 2;
    float down = (float)(t->p.job->face.pad_bottom - t->p.job->face.pad_top) / 2;
    float wide = (float)(t->p.job->face.pad_right + t->p.job->face.pad_left) / 2;
    float high = (float)(t->p.job->face.pad_bottom + t->p.job->face.pad_top) / 2;
    float c = cosf(spot->roll_rad), s = sinf(spot->roll_rad);
    float dx = c * right - s * down, dy = s * right + c * down;
    struct ls_box *b = &spot->face.box;

    *b =
        (struct ls_box){b->x0 + dx - wide, b->y0 + dy - high, b->x1 + dx + wide, b->y1 + dy + high};
}

// Less than 4 pixels of it inside the frame are no face. Nor is what was carried, or padded, to
// where no crop follows.
static bool is_sliver(const struct ls_track *t, struct ls_box b)
{
    if (!(fmaxf(fabsf(b.x0), fabsf(b.y0)) <= 2 * FAR_PX &&
          fmaxf(fabsf(b.x1), fabsf(b.y1)) <= 2 * FAR_PX))
        return true;
    limit_box(t, &b);
    return b.x1 - b.x0 < 4 || b.y1 - b.y0 < 4;
}

bool ls_track_next(struct ls_track *t, struct ls_spot *out)
{
    struct ls_spot spot;

    if (t->out > t->decided)
        return false;
    if (t->exact) {
        if (!ls_track_exact(t, t->out, &spot))
            return false;
    } else {
        if (t->stepped <= t->decided || !ls_track_smooth(t, t->out, &spot))
            return false;
        if (spot.found && t->p.job->face.upright)
            pad_turned(t, &spot);
        else if (spot.found)
            ls_track_pad(t, &spot.face.box);
    }
    if (spot.found && is_sliver(t, spot.face.box))
        spot.found = false;
    if (spot.found) {
        t->last = spot;
    } else if (t->p.job->face.missing == LS_MISSING_HOLD_BOX && t->last.found) {
        spot = t->last;
        spot.held = true;
        spot.presence = 1;
    }
    t->out++;
    *out = spot;
    return true;
}

int ls_track_signature_row(const struct ls_frame *frame, int i)
{
    return (2 * i + 1) * frame->height_px / (2 * LS_SIGNATURE_ROWS);
}

void ls_track_signature(uint8_t out[LS_SIGNATURE], const struct ls_frame *frame,
                        const uint8_t *const row[LS_SIGNATURE_ROWS])
{
    int step = frame->format == LS_PIX_RGB24 ? 3 : 1, x, y, i = 0;

    for (y = 0; y < LS_SIGNATURE_ROWS; y++)
        for (x = 0; x < 32; x++)
            // Green stands for luma in RGB.
            out[i++] = row[y][(ptrdiff_t)step * ((2 * x + 1) * frame->width_px / 64) + (step == 3)];
}

bool ls_track_is_cut(const uint8_t before[LS_SIGNATURE], const uint8_t after[LS_SIGNATURE])
{
    int i, changed = 0;

    // A cut changes most points a lot; motion changes some, light changes all of them a little.
    for (i = 0; i < LS_SIGNATURE; i++)
        changed += abs((int)before[i] - (int)after[i]) > 24;
    return changed > LS_SIGNATURE * 45 / 100;
}
