// SPDX-License-Identifier: Apache-2.0
// The face track on scenes made of numbers: where the spots are, that a track stays with its
// person, that nothing depends on when frames and detections arrive, and the original's smoothing
// in the exact profile.
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
        while (eager && ls_track_next(t, &spot[n]))
            n++;
    }
    ls_track_end(t);
    while (answer(t, s, looked))
        ;
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
static const struct scene empty = {"nobody", 30, 0, {{0, 0, 0, 0, 0}}, 0};
static const struct scene weak = {
    "a weak face alone", 30, 0, {{0, 0, 1, 0, 0}, {300, 0, 100, 0, 30}}, 2};
static const struct scene one = {"one frame", 1, 0, {{300, 0, 100, 0, 1}}, 1};

// Field by field: padding bytes say nothing.
static int same_spot(const struct ls_spot *a, const struct ls_spot *b)
{
    return a->found == b->found && a->held == b->held && a->track_id == b->track_id &&
           memcmp(&a->face.box, &b->face.box, sizeof(a->face.box)) == 0 &&
           a->face.score == b->face.score;
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

int main(void)
{
    struct ls_job job;

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
    return check_done();
}
