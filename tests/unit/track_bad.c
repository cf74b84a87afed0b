// SPDX-License-Identifier: Apache-2.0
// The face track on what no sane detector or head would give it: boxes inside out, endless or as
// small as dust, points far away from their boxes, a picture that grows for ever. Whatever comes, a
// spot that is found is one that crops and pastes take (kernels/backend.h).
#include "server/session_state.h"
#include "server/track.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "_check.h"

enum { WIDTH = 1000, HEIGHT = 600 };

static struct ls_face face_at(float x0, float y0, float x1, float y1)
{
    struct ls_face f = {.box = {x0, y0, x1, y1}, .score = 0.9f, .points_known = true};
    static const float place[LS_POINTS][2] = {
        {0.3f, 0.4f}, {0.7f, 0.4f}, {0.5f, 0.6f}, {0.35f, 0.8f}, {0.65f, 0.8f}};

    for (int i = 0; i < LS_POINTS; i++) {
        f.point[i][0] = x0 + place[i][0] * (x1 - x0);
        f.point[i][1] = y0 + place[i][1] * (y1 - y0);
    }
    return f;
}

// The limits of kernels/backend.c.
static bool is_taken(const struct ls_spot *s)
{
    const float *side = &s->face.box.x0;
    float mouth[4];

    for (int i = 0; i < 4; i++)
        if (!(fabsf(side[i]) <= 32768))
            return false;
    ls_spots_mouth(s, mouth);
    return s->face.box.x1 > s->face.box.x0 && s->face.box.y1 > s->face.box.y0 &&
           fabsf(s->roll_rad) <= 1 && fabsf(mouth[0]) <= 4 && fabsf(mouth[1]) <= 4 &&
           mouth[2] >= 1e-3f && mouth[2] <= 4 && mouth[3] >= 1e-3f && mouth[3] <= 4;
}

// `frames` frames with that face, between which the head goes by `step` (NULL: by its boxes).
// Returns how many spots are found, negative if one of them is none; last: the newest one.
static int run(const struct ls_job *job, const struct ls_face *face, const struct ls_pose *step,
               int frames, struct ls_spot *last)
{
    struct ls_track_params p = {.job = job,
                                .width_px = WIDTH,
                                .height_px = HEIGHT,
                                .interval = 4,
                                .lost_frames_max = 12,
                                .smooth_half = 2,
                                .side_px = 320,
                                .side_px_max = 320};
    int found = 0, side, side_max;
    struct ls_track *t = NULL;
    struct ls_err err = {0};
    const struct ls_face *seen;
    struct ls_pose guess;
    struct ls_spot spot;
    int64_t idx;
    bool on;

    if (ls_track_new(&t, &p, &err) < 0)
        return -1;
    for (int i = 0; i <= frames && found >= 0; i++) {
        if (i == frames)
            ls_track_end(t);
        else if (ls_track_frame(t, false, &err) < 0)
            break;
        while (ls_track_wants(t, &idx, &side, &side_max))
            ls_track_found(t, face, 1, side);
        while (ls_track_wants_step(t, &idx, &seen, &on, &guess))
            ls_track_step(t, step);
        while (found >= 0 && ls_track_next(t, &spot)) {
            if (!spot.found)
                continue;
            found = is_taken(&spot) ? found + 1 : -1;
            *last = spot;
        }
    }
    ls_track_free(&t);
    return found;
}

static const struct {
    const char *name;
    struct ls_box box;
    float far; // a mouth corner is moved by it
    int found; // of 20
} faces[] = {
    {"a face", {300, 100, 500, 350}, 0, 20},
    {"half outside", {-100, 100, 100, 350}, 0, 20},
    {"inside out", {500, 100, 300, 350}, 0, 0},
    {"upside down", {300, 350, 500, 100}, 0, 0},
    {"no width", {300, 100, 300, 350}, 0, 0},
    {"dust", {300, 100, 300.001f, 100.001f}, 0, 0},
    {"endless", {-1e30f, -1e30f, 1e30f, 1e30f}, 0, 0},
    {"as wide as can be", {-3.4e38f, 100, 3.4e38f, 350}, 0, 0},
    {"far around", {-40000, -40000, 40000, 40000}, 0, 0},
    {"a mouth far away", {300, 100, 500, 350}, 1e20f, 0},
    {"a mouth beside the face", {300, 100, 500, 350}, 5000, 20},
};

static void check_faces(struct ls_job job, const char *kind)
{
    for (size_t i = 0; i < sizeof faces / sizeof faces[0]; i++) {
        const struct ls_box *b = &faces[i].box;
        struct ls_face face = face_at(b->x0, b->y0, b->x1, b->y1);
        struct ls_spot last;
        int found;

        face.point[LS_POINT_MOUTH_L][0] += faces[i].far;
        found = run(&job, &face, NULL, 20, &last);
        if (!CHECK(found == faces[i].found, faces[i].name))
            printf("%s: %d spots\n", kind, found);
    }
}

// Pads cut the box down to a strip of the brow, and the frame's edge to one of the ear.
static void check_strips(struct ls_job job)
{
    struct ls_face face = face_at(300, 100, 500, 350), edge = face_at(-193, 100, 7, 350);
    struct ls_spot last;

    job.face.upright = false;
    CHECK(run(&job, &edge, NULL, 20, &last) == 20, "a strip at the frame's edge");
    job.face.pad_bottom = -245;
    CHECK(run(&job, &face, NULL, 20, &last) == 20, "a strip left by pads");
    job.face.upright = true;
    CHECK(run(&job, &face, NULL, 20, &last) == 20, "a strip left by pads, upright");
    job.face.pad_bottom = -1000;
    CHECK(run(&job, &face, NULL, 20, &last) == 0, "nothing left by pads");
}

// A picture that seems to grow or shrink in each frame, around a face that stays: steps multiply.
static void check_endless(const struct ls_job *job)
{
    static const struct {
        const char *name;
        double size;
    } row[] = {{"growing for ever", 1.02}, {"shrinking for ever", 0.98}};
    struct ls_face face = face_at(300, 100, 500, 350);

    for (size_t i = 0; i < sizeof row / sizeof row[0]; i++) {
        // About the face's middle.
        struct ls_pose step = {row[i].size, 0, 400 * (1 - row[i].size), 225 * (1 - row[i].size)};
        struct ls_spot early = {0}, late = {0};

        CHECK(run(job, &face, &step, 400, &early) == 400, row[i].name);
        CHECK(run(job, &face, &step, 20000, &late) == 20000, row[i].name);
        CHECK(fabsf(early.face.box.x0 - late.face.box.x0) < 0.01f &&
                  fabsf(early.face.box.y1 - late.face.box.y1) < 0.01f,
              row[i].name);
    }
}

int main(void)
{
    struct ls_job job;

    ls_job_init(&job, "");
    check_faces(job, "turned");
    job.face.upright = false;
    check_faces(job, "upright");
    job.face.upright = true;
    job.face.smoothing_frames = 1;
    check_faces(job, "not smoothed");
    job.face.smoothing_frames = 5;
    check_strips(job);
    check_endless(&job);
    return check_done();
}
