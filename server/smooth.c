// SPDX-License-Identifier: Apache-2.0
// Where the face is in a decided frame. Flow: track -> here. Detections shake, see only every few
// frames, and breathe with the mouth; the head's own motion (motion.c) is exact from frame to
// frame, but its errors add up. So each detection around a frame is carried there by the motion
// between them, and the face is their weighted mean: what is left to be averaged stands nearly
// still, so a long average neither lags nor flattens a movement. Loop thread. What surprises: the
// weights look back much further than ahead, for what lies ahead costs time; they begin and end at
// zero, so that no detection comes or goes with a jump.
#include "track_state.h"

#include <math.h>
#include <string.h>

// A caller's wish of 5 frames looks back 40, 1.6 s: measured, twice as steady as 20, and more adds
// nothing.
enum { PAST_PER_FRAME = 8, PAST_MAX = 100, KEYS_MIN = 3 };

// Of a head, against where its poses are told from.
static const double size_most = 1024;

// Frames behind one whose detections count for its place; twice as many for its size.
static int past(const struct ls_track *t)
{
    int frames = PAST_PER_FRAME * t->p.job->face.smoothing_frames, least = KEYS_MIN * t->p.interval;

    frames = frames < PAST_MAX ? frames : PAST_MAX;
    return frames > least ? frames : least;
}

int ls_track_past(const struct ls_track *t)
{
    int fade = t->p.job->paste.fade_frames;

    return t->p.smooth_half > 0 ? 2 * past(t) + 1 : fade + 1;
}

// --- steps ---------------------------------------------------------------------------------------

// Does frame idx show the same person as the one before?
static bool goes_on(const struct ls_track *t, int64_t idx)
{
    const struct record *was, *is = ls_record_at(t, idx);

    if (idx <= t->base || is->cut || !is->raw.found)
        return false;
    was = ls_record_at(t, idx - 1);
    return was->raw.found && was->raw.track_id == is->raw.track_id;
}

static void middle(const struct ls_box *b, float out[2])
{
    out[0] = (b->x0 + b->x1) / 2;
    out[1] = (b->y0 + b->y1) / 2;
}

bool ls_track_wants_step(const struct ls_track *t, int64_t *idx, const struct ls_face **face,
                         bool *on, struct ls_pose *guess)
{
    const struct record *r;
    float was[2], is[2];

    if (t->exact || t->stepped > t->decided)
        return false;
    r = ls_record_at(t, t->stepped);
    *idx = t->stepped;
    *face = r->raw.found && t->p.smooth_half > 0 ? &r->raw.face : NULL;
    *on = goes_on(t, t->stepped);
    *guess = (struct ls_pose){1, 0, 0, 0};
    if (*on) {
        middle(&ls_record_at(t, t->stepped - 1)->raw.face.box, was);
        middle(&r->raw.face.box, is);
        guess->x = (double)(is[0] - was[0]);
        guess->y = (double)(is[1] - was[1]);
    }
    return true;
}

// A step by boxes alone: a head that hardly moves is taken to stand, or it would shake as they do.
static struct ls_pose step_of_boxes(const struct ls_track *t, int64_t idx)
{
    const struct ls_box *b = &ls_record_at(t, idx)->raw.face.box;
    float was[2], is[2], far;

    middle(&ls_record_at(t, idx - 1)->raw.face.box, was);
    middle(b, is);
    far = hypotf(is[0] - was[0], is[1] - was[1]) / (0.004f * (b->x1 - b->x0));
    far = far * far / (1 + far * far);
    return (struct ls_pose){1, 0, (double)(far * (is[0] - was[0])),
                            (double)(far * (is[1] - was[1]))};
}

// Only the motion between two frames counts, so poses may be told from any of them. Steps multiply:
// a picture that grows for ever, or the errors of a long stream, would leave what numbers can hold.
static void tell_from_newest(struct ls_track *t)
{
    struct ls_pose from = ls_pose_inverse(&ls_record_at(t, t->stepped)->pose);
    struct record *r;

    for (int64_t i = t->base; i <= t->stepped; i++) {
        r = ls_record_at(t, i);
        r->pose = ls_pose_after(&r->pose, &from);
    }
}

void ls_track_step(struct ls_track *t, const struct ls_pose *step)
{
    struct record *r = ls_record_at(t, t->stepped);
    struct ls_pose by_boxes;
    double size;

    r->pose = (struct ls_pose){1, 0, 0, 0};
    if (goes_on(t, t->stepped)) {
        if (!step) {
            by_boxes = step_of_boxes(t, t->stepped);
            step = &by_boxes;
        }
        r->pose = ls_pose_after(step, &ls_record_at(t, t->stepped - 1)->pose);
        size = hypot(r->pose.a, r->pose.b);
        if (!(size > 1 / size_most && size < size_most))
            tell_from_newest(t);
    }
    t->stepped++;
}

// --- the mean ------------------------------------------------------------------------------------

// What crops and pastes take (backend.h). A detection's own turn is below, but a picture that goes
// on turning carries it further.
static const double roll_most = 1;

// What is averaged: the face as it would be in the frame in question.
struct mean {
    double place, size; // sums of weights
    double x, y, point[LS_POINTS][2];
    double width, height, roll;
    bool points_known;
};

// Raised cosines that meet where a quarter of the past has gone: a detection gains weight slowly,
// also after its own frame, for where there are few of them each new one is a jolt otherwise.
static double weight(int64_t away, int back, int ahead)
{
    double peak = -(double)back / 4, from = ahead + 1, until = -(double)back - 1, x = (double)away;

    if (x >= from || x <= until)
        return 0;
    x = x > peak ? (from - x) / (from - peak) : (x - until) / (peak - until);
    return 0.5 - 0.5 * cos(3.14159265358979 * x);
}

// carry: from the frame of the face to that of the mean. settle: what is to be added to its scale
// and turn, about the face's middle.
static void add_face(struct mean *m, const struct ls_track *t, const struct ls_face *found,
                     const struct ls_pose *carry, const struct ls_pose *settle, double place,
                     double size)
{
    struct ls_pose turn = ls_pose_after(settle, &(struct ls_pose){carry->a, carry->b, 0, 0});
    double roll = 0, at[2], off[2], scale = hypot(turn.a, turn.b), x, y;
    struct ls_face face = *found;
    int i;

    if (t->p.job->face.upright)
        roll = (double)ls_roll_upright(&face, t->p.tilt) + atan2(turn.b, turn.a);
    x = (double)(face.box.x0 + face.box.x1) / 2;
    y = (double)(face.box.y0 + face.box.y1) / 2;
    ls_pose_apply(carry, x, y, at);
    m->x += place * at[0];
    m->y += place * at[1];
    for (i = 0; i < LS_POINTS; i++) {
        ls_pose_apply(&turn, (double)face.point[i][0] - x, (double)face.point[i][1] - y, off);
        m->point[i][0] += place * (at[0] + off[0]);
        m->point[i][1] += place * (at[1] + off[1]);
    }
    m->roll += place * roll;
    m->width += size * scale * (double)(face.box.x1 - face.box.x0);
    m->height += size * scale * (double)(face.box.y1 - face.box.y0);
    m->place += place;
    m->size += size;
    m->points_known &= face.points_known;
}

static void face_of(const struct mean *m, struct ls_spot *out)
{
    double x = m->x / m->place, y = m->y / m->place;
    double w = m->width / m->size / 2, h = m->height / m->size / 2;
    int i;

    out->face.box = (struct ls_box){(float)(x - w), (float)(y - h), (float)(x + w), (float)(y + h)};
    for (i = 0; i < LS_POINTS; i++) {
        out->face.point[i][0] = (float)(m->point[i][0] / m->place);
        out->face.point[i][1] = (float)(m->point[i][1] / m->place);
    }
    out->face.points_known = m->points_known;
    out->roll_rad = (float)fmin(fmax(m->roll / m->place, -roll_most), roll_most);
}

// Lids and brows move by themselves, which hardly shifts a head but shakes its size and turn: these
// are the mean (binomial) of the frames around idx. What is to be added to those of idx itself.
static struct ls_pose settle(const struct ls_track *t, int64_t idx)
{
    struct ls_pose back = ls_pose_inverse(&ls_record_at(t, idx)->pose), step;
    double sum = 0, scale = 0, turn = 0, share = 1;
    int half = t->p.smooth_half, i;

    half = half < 2 ? half : 2;
    for (i = 1; i <= half; i++)
        if (idx - i < t->base || idx + i >= t->stepped || !goes_on(t, idx - i + 1) ||
            !goes_on(t, idx + i))
            half = i - 1;
    for (i = -half; i <= half; i++) {
        step = ls_pose_after(&ls_record_at(t, idx + i)->pose, &back);
        scale += share * log(hypot(step.a, step.b));
        turn += share * atan2(step.b, step.a);
        sum += share;
        share = share * (half - i) / (half + i + 1);
    }
    scale = exp(scale / sum);
    turn /= sum;
    return (struct ls_pose){scale * cos(turn), scale * sin(turn), 0, 0};
}

static void add_key(struct mean *m, const struct ls_track *t, int64_t idx, int64_t key,
                    const struct ls_pose *settled)
{
    const struct record *r = ls_record_at(t, key);
    struct ls_pose carry = ls_pose_inverse(&r->pose);
    int back = past(t);

    if (!r->key)
        return;
    carry = ls_pose_after(&ls_record_at(t, idx)->pose, &carry);
    add_face(m, t, &r->raw.face, &carry, settled, weight(key - idx, back, t->p.smooth_half),
             weight(key - idx, 2 * back, t->p.smooth_half));
}

// Of the detections in both directions, as far as they are of the same person.
static void average(const struct ls_track *t, int64_t idx, struct ls_spot *out)
{
    static const struct ls_pose as_it_is = {1, 0, 0, 0};
    struct mean m = {.points_known = true};
    struct ls_pose settled;
    int64_t i;

    if (t->p.smooth_half > 0) {
        settled = settle(t, idx);
        add_key(&m, t, idx, idx, &settled);
        for (i = idx; i > t->base && idx - i < 2 * past(t) && goes_on(t, i); i--)
            add_key(&m, t, idx, i - 1, &settled);
        for (i = idx + 1; i <= idx + t->p.smooth_half && i < t->stepped && goes_on(t, i); i++)
            add_key(&m, t, idx, i, &settled);
    }
    // No detection is near: what lies between two of them must do.
    if (!(m.place > 1e-3 && m.size > 1e-3)) {
        memset(&m, 0, sizeof(m));
        m.points_known = true;
        add_face(&m, t, &ls_record_at(t, idx)->raw.face, &as_it_is, &as_it_is, 1, 1);
    }
    face_of(&m, out);
}

// --- coming and going ----------------------------------------------------------------------------

static float ease(int step, int steps)
{
    return 0.5f - 0.5f * cosf(3.14159265f * (float)step / (float)(steps + 1));
}

// Is the mouth of frame idx shown, as far as faces go? A held box goes on.
static bool shown(const struct ls_track *t, int64_t idx, int track_id)
{
    if (t->p.job->face.missing == LS_MISSING_HOLD_BOX)
        return idx >= t->first_found;
    return ls_record_at(t, idx)->raw.found && ls_record_at(t, idx)->raw.track_id == track_id;
}

static float presence(const struct ls_track *t, int64_t idx, int track_id)
{
    int in = t->p.job->paste.fade_frames, out = in < t->p.smooth_half ? in : t->p.smooth_half, d;
    float least = 1;

    for (d = 1; d <= in && idx - d >= t->base && !ls_record_at(t, idx - d + 1)->cut; d++)
        if (!shown(t, idx - d, track_id)) {
            least = ease(d, in);
            break;
        }
    for (d = 1; d <= out && idx + d <= t->decided && !ls_record_at(t, idx + d)->cut; d++)
        if (!shown(t, idx + d, track_id))
            return fminf(least, ease(d, out));
    return least;
}

// Are all frames decided that the spot of idx may depend on? Up to a cut or the end.
static bool is_ready(const struct ls_track *t, int64_t idx)
{
    for (int i = 1; i <= t->p.smooth_half; i++) {
        if (idx + i >= t->end)
            return t->ended;
        if (ls_record_at(t, idx + i)->cut)
            return true;
        if (idx + i > t->decided)
            return false;
    }
    return true;
}

bool ls_track_smooth(const struct ls_track *t, int64_t idx, struct ls_spot *out)
{
    const struct ls_spot *raw = &ls_record_at(t, idx)->raw;

    *out = *raw;
    if (!raw->found)
        return true;
    if (!is_ready(t, idx))
        return false;
    average(t, idx, out);
    out->presence = presence(t, idx, raw->track_id);
    return true;
}
