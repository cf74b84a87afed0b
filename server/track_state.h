// SPDX-License-Identifier: Apache-2.0
// The inside of a track, for the files that make one up: track.c (whom it follows), smooth.c (where
// the head is between and behind detections), track_exact.c (the original's average), roll.c.
// Nobody else includes it. Loop thread.
#ifndef LS_TRACK_STATE_H
#define LS_TRACK_STATE_H

#include <assert.h>
#include <stdbool.h>
#include <stdint.h>

#include "track.h"

enum { TRACK_FACES = 8, EXACT_WINDOW = 5 };

struct record {
    bool cut, known; // known: has been looked at
    bool key;        // looked at, and the person was there: raw is a detector's, not between two
    int face_count;
    struct ls_face face[TRACK_FACES];
    struct ls_spot raw;  // valid for frames <= decided
    struct ls_pose pose; // of the head, since it was found or the picture cut; for frames < stepped
};

// The person that is followed.
struct follow {
    bool active;
    struct ls_box box;
    int track_id;
    int64_t seen; // frame in which it was seen last
};

struct ls_track {
    struct ls_track_params p;
    bool exact, ended;
    struct record *record; // frames [base, end)
    int capacity;
    int64_t base, end;
    int64_t decided;     // raw spots are known up to and including this frame; -1: none
    int64_t stepped;     // poses are known before this frame
    int64_t dense_until; // frames up to this one are looked at one by one
    int64_t out;         // next frame to hand out
    struct follow follow;
    int track_count;
    int side_px; // at which faces were found last
    int keys_without_face;
    int64_t first_found; // frame; INT64_MAX: none yet
    struct ls_spot last; // the last spot handed out that was found
};

static inline struct record *ls_record_at(const struct ls_track *t, int64_t idx)
{
    assert(idx >= t->base && idx < t->end);
    return &t->record[idx - t->base];
}

// smooth.c: the spot of a decided frame; false while frames that it depends on are undecided.
bool ls_track_smooth(const struct ls_track *t, int64_t idx, struct ls_spot *out);
int ls_track_past(const struct ls_track *t); // frames behind one that its spot looks at
// track_exact.c: the same for the exact profile, which overwrites rows as the original does.
bool ls_track_exact(struct ls_track *t, int64_t idx, struct ls_spot *out);
// The job's pads, then the frame's edges.
void ls_track_pad(const struct ls_track *t, struct ls_box *b);

#endif
