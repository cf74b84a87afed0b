// SPDX-License-Identifier: Apache-2.0
// The face track on scenes made of numbers: where the spots are, that a track stays with its
// person, that nothing depends on when frames and detections arrive, that boxes neither shake nor
// lag nor lean, how faces come and go, and the original's smoothing in the exact profile.
#include "server/roll.h"
#include "server/track.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "_check.h"

enum { FRAMES_MAX = 200 };

// A scene: faces by frame. A face is a square of `size` at (x + dx * frame, 100), on frames [from,
// until).
struct actor {
    float x, dx, size;
    int from, until;
};
struct scene {
    const char *name;
    int frames, cut; // cut: first frame of the second scene; 0: none
    struct actor actor[2];
    int actors;
};

static int look(const struct scene *s, int idx, struct ls_face *out)
{
    int i, n = 0;

    for (i = 0; i < s->actors; i++) {
        const struct actor *a = &s->actor[i];

        if (idx < a->from || idx >= a->until)
            continue;
        memset(&out[n], 0, sizeof(out[n]));
        out[n].box = (struct ls_box){a->x + a->dx * (float)idx, 100,
                                     a->x + a->dx * (float)idx + a->size, 100 + a->size};
        out[n++].score = 0.9f - (s->frames == 30 ? 0.1f * (float)i : 0);
    }
    return n;
}

// Heads of scenes move as their boxes do; blind: their pixels say nothing.
static void steps(struct ls_track *t, bool blind)
{
    const struct ls_face *face;
    struct ls_pose guess;
    bool goes_on;
    int64_t idx;

    while (ls_track_wants_step(t, &idx, &face, &goes_on, &guess))
        ls_track_step(t, blind ? NULL : &guess);
}

static int answer(struct ls_track *t, const struct scene *s, int *looked)
{
    struct ls_face face[4];
    int side, side_max, n;
    int64_t idx;

    if (!ls_track_wants(t, &idx, &side, &side_max))
        return 0;
    n = look(s, (int)idx, face);
    ls_track_found(t, face, n, side);
    (*looked)++;
    return 1;
}

// Runs a scene; eager: detections are answered at once, else only when all frames are there.
static int run(const struct scene *s, const struct ls_job *job, int half, bool eager,
               struct ls_spot *spot, int *looked)
{
    struct ls_track_params p = {.job = job,
                                .width_px = 1000,
                                .height_px = 600,
                                .interval = 4,
                                .lost_frames_max = 12,
                                .smooth_half = half,
                                .side_px = 320,
                                .side_px_max = 1280,
                                .score_begin = 0.85f};
    struct ls_track *t = NULL;
    struct ls_err err = {0};
    int i, n = 0;

    *looked = 0;
    if (ls_track_new(&t, &p, &err) < 0)
        return -1;
    for (i = 0; i < s->frames; i++) {
        if (ls_track_frame(t, s->cut > 0 && i == s->cut, &err) < 0)
            return -1;
        while (eager && answer(t, s, looked))
            ;
        steps(t, false);
        while (eager && ls_track_next(t, &spot[n]))
            n++;
    }
    ls_track_end(t);
    while (answer(t, s, looked))
        ;
    steps(t, false);
    while (ls_track_next(t, &spot[n]))
        n++;
    ls_track_free(&t);
    return n;
}

static const struct scene still = {"still", 40, 0, {{300, 0, 100, 0, 40}}, 1};
static const struct scene moving = {"moving", 41, 0, {{100, 5, 100, 0, 41}}, 1};
static const struct scene cut = {"cut", 40, 18, {{100, 0, 100, 0, 18}, {600, 0, 150, 18, 40}}, 2};
static const struct scene two = {
    "two people, the larger comes later", 60, 0, {{100, 0, 100, 0, 60}, {600, 0, 200, 10, 60}}, 2};
static const struct scene gap = {
    "gone, then another", 90, 0, {{100, 0, 100, 0, 30}, {600, 0, 100, 50, 90}}, 2};
static const struct scene leaving = {"leaving", 60, 0, {{700, 10, 100, 0, 60}}, 1};
static const struct scene empty = {"nobody", 30, 0, {{0, 0, 0, 0, 0}}, 0};
static const struct scene weak = {
    "a weak face alone", 30, 0, {{0, 0, 1, 0, 0}, {300, 0, 100, 0, 30}}, 2};
static const struct scene one = {"one frame", 1, 0, {{300, 0, 100, 0, 1}}, 1};

// Field by field: padding bytes say nothing.
static int same_spot(const struct ls_spot *a, const struct ls_spot *b)
{
    return a->found == b->found && a->held == b->held && a->track_id == b->track_id &&
           memcmp(&a->face.box, &b->face.box, sizeof(a->face.box)) == 0 &&
           a->face.score == b->face.score && a->presence == b->presence &&
           a->roll_rad == b->roll_rad;
}

static void check_arrival(const struct scene *s, const struct ls_job *job)
{
    static struct ls_spot a[FRAMES_MAX], b[FRAMES_MAX];
    char row[80];
    int looked_a, looked_b, i, n, same = 1;

    n = run(s, job, 2, true, a, &looked_a);
    snprintf(row, sizeof(row), "%s: every frame has a spot", s->name);
    CHECK(n == s->frames && run(s, job, 2, false, b, &looked_b) == n, row);
    for (i = 0; i < n; i++)
        same &= same_spot(&a[i], &b[i]);
    snprintf(row, sizeof(row), "%s: spots do not depend on arrival", s->name);
    CHECK(same && looked_a == looked_b, row);
}

static void check_places(const struct ls_job *job)
{
    static struct ls_spot spot[FRAMES_MAX];
    int looked, n, i, good;

    n = run(&still, job, 2, true, spot, &looked);
    CHECK(n == 40 && looked <= 12, "still: every fourth frame is looked at");
    CHECK(spot[7].found && spot[7].face.box.x0 == 300 && spot[7].face.box.y1 == 210,
          "still: the box with its pad of 10 below");
    n = run(&moving, job, 2, true, spot, &looked);
    for (i = 0, good = 1; i < n; i++)
        good &= spot[i].found && fabsf(spot[i].face.box.x0 - (100 + 5 * (float)i)) < 0.01f;
    CHECK(n == 41 && good, "moving: interpolated and averaged without lag");
    n = run(&cut, job, 2, true, spot, &looked);
    for (i = 0, good = 1; i < n; i++)
        good &= spot[i].found && spot[i].track_id == (i < 18 ? 1 : 2) &&
                fabsf(spot[i].face.box.x0 - (i < 18 ? 100 : 600)) < 0.01f;
    CHECK(n == 40 && good, "cut: changes person at the very frame");
    n = run(&two, job, 2, true, spot, &looked);
    for (i = 0, good = 1; i < n; i++)
        good &= spot[i].found && spot[i].track_id == 1;
    CHECK(n == 60 && good, "two: stays with the first person");
    n = run(&gap, job, 2, true, spot, &looked);
    CHECK(n == 90 && spot[29].found && !spot[30].found && !spot[49].found && spot[52].found &&
              spot[52].track_id == 2,
          "gap: found to its last frame, then nobody, then the other");
    n = run(&empty, job, 2, true, spot, &looked);
    CHECK(n == 30 && !spot[0].found && !spot[29].found, "nobody: no spot");
    n = run(&weak, job, 2, true, spot, &looked);
    CHECK(n == 30 && !spot[29].found, "a track does not begin with a weak face");
    CHECK(run(&one, job, 2, true, spot, &looked) == 1 && spot[0].found, "one frame");
}

static void check_hold(struct ls_job job)
{
    static struct ls_spot spot[FRAMES_MAX];
    int looked;

    job.face.missing = LS_MISSING_HOLD_BOX;
    CHECK(run(&gap, &job, 0, true, spot, &looked) == 90 && spot[35].found && spot[35].held &&
              spot[35].face.box.x0 == 100 && !spot[29].held && !spot[60].held,
          "hold: the last box goes on");
    CHECK(run(&leaving, &job, 2, true, spot, &looked) == 60 && !spot[20].held && spot[40].found &&
              spot[40].held && spot[59].held && spot[59].face.box.x0 < 997,
          "hold: a face that left the picture");
}

// Rows of integer boxes as the original smooths them (its slices written out by hand for n = 1..7;
// x0 only, the boxes lie at x = 10 i^2), from WAV2LIP.md section 3's rule run in Python.
static const struct {
    int n, want[7];
} exact_rows[] = {
    {1, {0}},
    {2, {5, 7}},
    {3, {25, 25, 32}},
    {4, {90, 90, 90, 90}},
    {5, {60, 72, 84, 93, 93}},
    {6, {60, 110, 130, 148, 159, 159}},
    {7, {60, 110, 180, 208, 231, 245, 244}},
};

static void check_exact(struct ls_job job)
{
    struct ls_track_params p = {.job = &job,
                                .width_px = 1000,
                                .height_px = 600,
                                .interval = 4,
                                .side_px = 320,
                                .side_px_max = 320};
    struct ls_spot spot;
    struct ls_face face;
    struct ls_err err = {0};
    struct ls_track *t;
    size_t row;
    char name[40];
    int i, good;

    job.profile = LS_PROFILE_WAV2LIP_EXACT;
    job.face.smoothing_frames = 5;
    for (row = 0; row < sizeof(exact_rows) / sizeof(exact_rows[0]); row++) {
        int n = exact_rows[row].n, side, side_max;
        int64_t idx;

        t = NULL;
        good = ls_track_new(&t, &p, &err) == 0;
        for (i = 0; good && i < n; i++) {
            good = ls_track_frame(t, false, &err) == 0 && ls_track_wants(t, &idx, &side, &side_max);
            memset(&face, 0, sizeof(face));
            face.box = (struct ls_box){(float)(10 * i * i) + 0.7f, 20, 500, 400};
            if (good)
                ls_track_found(t, &face, 1, side);
        }
        ls_track_end(t);
        for (i = 0; good && i < n; i++) {
            good = ls_track_next(t, &spot) && (int)spot.face.box.x0 == exact_rows[row].want[i];
            if (!good)
                fprintf(stderr, "n %d row %d: %g\n", n, i, (double)spot.face.box.x0);
        }
        ls_track_free(&t);
        snprintf(name, sizeof(name), "exact smoothing of %d boxes", n);
        CHECK(good, name);
    }
}

// A head whose detections shake by up to `noise` pixels and whose true middle moves in a circle.
static struct {
    const char *name;
    float noise, radius, turn_deg; // of the circle; of the head, back and forth
    bool blind;
    float jitter, lag; // pixels: of a step beyond the true one, 95 of 100; of the place, at most
} const heads[] = {
    {"a still head", 0.5f, 0, 0, false, 0.1f, 0.5f},
    {"a still head whose pixels say nothing", 0.5f, 0, 0, true, 0.1f, 0.5f},
    {"a head that moves at 1 Hz", 0.5f, 10, 0, false, 0.1f, 0.5f},
    {"a head that turns", 0.5f, 4, 15, false, 0.1f, 0.5f},
    {"a head that moves, and whose pixels say nothing", 0, 10, 0, true, 1.5f, 2.5f},
};

// One second a round. Points turn about the middle, as a detector's do that sees turned heads.
static struct ls_pose head_pose(int row, int idx)
{
    double a = 2 * 3.14159265358979 * idx / 25, r = heads[row].radius;
    double turn = (double)heads[row].turn_deg * 3.14159265358979 / 180 * sin(a / 3);

    return (struct ls_pose){cos(turn), sin(turn), 500 + r * sin(a), 300 + r * cos(a)};
}

static struct ls_face head_seen(int row, int idx, uint32_t *seed)
{
    static const double point[LS_POINTS][2] = {{-20, -20}, {20, -20}, {0, 0}, {-15, 25}, {15, 25}};
    struct ls_pose pose = head_pose(row, idx);
    struct ls_face face = {.score = 0.9f, .points_known = true};
    float shake[4], cx = (float)pose.x, cy = (float)pose.y, c = (float)pose.a, s = (float)pose.b;
    float w = 50 * sqrtf(c * c + 1.44f * s * s), h = 50 * sqrtf(1.44f * c * c + s * s);
    double at[2];
    int i;

    for (i = 0; i < 4; i++) {
        *seed = *seed * 1664525 + 1013904223;
        shake[i] = heads[row].noise * ((float)(*seed >> 8) / 8388608.0f - 1);
    }
    face.box =
        (struct ls_box){cx - w + shake[0], cy - h + shake[1], cx + w + shake[2], cy + h + shake[3]};
    for (i = 0; i < LS_POINTS; i++) {
        ls_pose_apply(&pose, point[i][0], point[i][1], at);
        face.point[i][0] = (float)at[0];
        face.point[i][1] = (float)at[1];
    }
    return face;
}

static void head_steps(struct ls_track *t, int row)
{
    const struct ls_face *face;
    struct ls_pose guess, was, is;
    bool goes_on;
    int64_t idx;

    while (ls_track_wants_step(t, &idx, &face, &goes_on, &guess)) {
        is = head_pose(row, (int)idx);
        was = head_pose(row, (int)idx - 1);
        was = ls_pose_inverse(&was);
        is = ls_pose_after(&is, &was);
        ls_track_step(t, heads[row].blind ? NULL : &is);
    }
}

static int by_size(const void *a, const void *b)
{
    return *(const float *)a < *(const float *)b ? -1 : *(const float *)a > *(const float *)b;
}

static void check_head(struct ls_job job, int row)
{
    struct ls_track_params p = {.job = &job,
                                .width_px = 1000,
                                .height_px = 600,
                                .interval = 4,
                                .lost_frames_max = 12,
                                .smooth_half = 2,
                                .side_px = 320,
                                .side_px_max = 320};
    float step[FRAMES_MAX], far = 0, turned = 0, off_x, off_y, was_x = 0, was_y = 0;
    struct ls_track *t = NULL;
    struct ls_err err = {0};
    uint32_t seed = 7;
    struct ls_spot spot;
    int n = 0, i, side, side_max;
    int64_t idx;

    job.face.pad_bottom = 0;
    CHECK(ls_track_new(&t, &p, &err) == 0, heads[row].name);
    for (i = 0; i <= FRAMES_MAX; i++) {
        if (i == FRAMES_MAX)
            ls_track_end(t);
        else if (ls_track_frame(t, false, &err) < 0)
            break;
        while (ls_track_wants(t, &idx, &side, &side_max)) {
            struct ls_face face = head_seen(row, (int)idx, &seed);

            ls_track_found(t, &face, 1, side);
        }
        head_steps(t, row);
        while (n < FRAMES_MAX && ls_track_next(t, &spot)) {
            struct ls_pose pose = head_pose(row, n);

            off_x = (spot.face.box.x0 + spot.face.box.x1) / 2 - (float)pose.x;
            off_y = (spot.face.box.y0 + spot.face.box.y1) / 2 - (float)pose.y;
            step[n] = n ? hypotf(off_x - was_x, off_y - was_y) : 0;
            was_x = off_x;
            was_y = off_y;
            far = fmaxf(far, hypotf(off_x, off_y));
            turned = fmaxf(turned, fabsf(spot.roll_rad - (float)atan2(pose.b, pose.a)));
            n++;
        }
    }
    ls_track_free(&t);
    CHECK(n == FRAMES_MAX, heads[row].name);
    qsort(step, (size_t)n, sizeof(*step), by_size);
    if (!CHECK(step[n * 95 / 100] <= heads[row].jitter && far <= heads[row].lag && turned < 0.01f,
               heads[row].name))
        printf("jitter %.3f, off by %.3f, roll off by %.4f\n", (double)step[n * 95 / 100],
               (double)far, (double)turned);
}

// A picture that goes on turning, in which upright faces are found: no crop takes more than 1 rad.
static void check_turning(struct ls_job job)
{
    struct ls_track_params p = {.job = &job,
                                .width_px = 1000,
                                .height_px = 600,
                                .interval = 4,
                                .lost_frames_max = 12,
                                .smooth_half = 2,
                                .side_px = 320,
                                .side_px_max = 320};
    const struct ls_pose turn = {cos(0.2), sin(0.2), 0, 0};
    struct ls_track *t = NULL;
    struct ls_err err = {0};
    float most = 0;
    int n = 0;

    CHECK(ls_track_new(&t, &p, &err) == 0, "a turning picture");
    for (int i = 0; i <= 40; i++) {
        const struct ls_face *seen;
        struct ls_face face;
        struct ls_pose guess;
        struct ls_spot spot;
        int side, side_max;
        uint32_t seed = 7;
        int64_t idx;
        bool on;

        if (i == 40)
            ls_track_end(t);
        else if (ls_track_frame(t, false, &err) < 0)
            break;
        while (ls_track_wants(t, &idx, &side, &side_max)) {
            face = head_seen(0, 0, &seed);
            ls_track_found(t, &face, 1, side);
        }
        while (ls_track_wants_step(t, &idx, &seen, &on, &guess))
            ls_track_step(t, &turn);
        for (; n < 40 && ls_track_next(t, &spot); n++)
            most = fmaxf(most, fabsf(spot.roll_rad));
    }
    ls_track_free(&t);
    CHECK(n == 40 && most > 0.9f && most <= 1, "a turning picture: at most 1 rad");
}

// An upright box about the turned face becomes the face's own; BlazeFace's grows.
static void check_roll(void)
{
    struct ls_face face = {.points_known = true};
    float deg = 20, c = cosf(deg / 57.29578f), s = sinf(deg / 57.29578f), w, h, roll;

    face.point[LS_POINT_EYE_R][0] = -20 * c;
    face.point[LS_POINT_EYE_R][1] = -20 * s;
    face.point[LS_POINT_EYE_L][0] = 20 * c;
    face.point[LS_POINT_EYE_L][1] = 20 * s;
    w = sqrtf(40 * 40 * c * c + 50 * 50 * s * s);
    h = sqrtf(40 * 40 * s * s + 50 * 50 * c * c);
    face.box = (struct ls_box){-w, -h, w, h};
    roll = ls_roll_upright(&face, LS_TILT_AROUND);
    CHECK(fabsf(roll * 57.29578f - deg) < 0.01f && fabsf(face.box.x1 - 40) < 0.01f &&
              fabsf(face.box.y1 - 50) < 0.01f,
          "roll: the box of a turned ellipse");
    face.box = (struct ls_box){-40, -50, 40, 50};
    roll = ls_roll_upright(&face, LS_TILT_SHRINKS);
    CHECK(face.box.x1 - face.box.x0 > 82 && face.box.x1 - face.box.x0 < 86 && roll > 0.3f,
          "roll: a box that shrank");
    face.point[LS_POINT_EYE_L][0] = -20 * c + 1;
    face.point[LS_POINT_EYE_L][1] = 20;
    roll = ls_roll_upright(&face, LS_TILT_SHRINKS);
    CHECK(roll > 0.5f && roll < 35.01f / 57.29578f, "roll: at most 35 degrees");
    face.points_known = false;
    CHECK(ls_roll_upright(&face, LS_TILT_SHRINKS) == 0, "roll: none without points");
}

static const struct scene brief = {
    "lost and found", 60, 0, {{300, 0, 100, 0, 20}, {300, 0, 100, 26, 60}}, 2};

// How much of the mouth is shown around the frames that a face is lost and found in.
static void check_presence(struct ls_job job)
{
    static struct ls_spot spot[FRAMES_MAX];
    int looked, i, whole = 1;

    run(&brief, &job, 2, true, spot, &looked);
    CHECK(spot[17].presence == 1 && fabsf(spot[18].presence - 0.75f) < 1e-3f &&
              fabsf(spot[19].presence - 0.25f) < 1e-3f && !spot[20].found,
          "presence: goes over the frames that are seen ahead");
    CHECK(!spot[25].found && fabsf(spot[26].presence - 0.1464f) < 1e-3f &&
              fabsf(spot[27].presence - 0.5f) < 1e-3f &&
              fabsf(spot[28].presence - 0.8536f) < 1e-3f && spot[29].presence == 1,
          "presence: comes over three frames");
    CHECK(spot[0].presence == 1 && spot[59].presence == 1, "presence: whole at both ends");
    run(&cut, &job, 2, true, spot, &looked);
    for (i = 0; i < 40; i++)
        whole &= spot[i].presence == 1;
    CHECK(whole, "presence: whole on both sides of a cut");
    job.face.missing = LS_MISSING_HOLD_BOX;
    run(&brief, &job, 2, true, spot, &looked);
    for (i = 0, whole = 1; i < 60; i++)
        whole &= spot[i].found && spot[i].presence == 1;
    CHECK(whole, "presence: a held box is there");
    job.face.missing = LS_MISSING_PASS_THROUGH;
    job.paste.fade_frames = 0;
    run(&brief, &job, 2, true, spot, &looked);
    CHECK(spot[19].presence == 1 && spot[26].presence == 1, "presence: at once without fades");
}

int main(void)
{
    struct ls_job job;
    size_t row;

    ls_job_init(&job, "");
    check_arrival(&still, &job);
    check_arrival(&moving, &job);
    check_arrival(&cut, &job);
    check_arrival(&two, &job);
    check_arrival(&gap, &job);
    check_arrival(&empty, &job);
    check_arrival(&one, &job);
    check_places(&job);
    check_hold(job);
    check_exact(job);
    for (row = 0; row < sizeof(heads) / sizeof(heads[0]); row++)
        check_head(job, (int)row);
    check_turning(job);
    check_roll();
    check_presence(job);
    return check_done();
}
