// SPDX-License-Identifier: Apache-2.0
// Where the chosen face is in every frame of a pass. Faces are looked for in every interval-th
// frame, at both sides of a cut and at the end; between two such frames that agree the box is
// interpolated, else every frame between is looked at. Where the head is in a frame is told by its
// own motion from frame to frame (ls_track_step), and by the mean of what detections around it say
// once that motion is taken from them: so boxes neither shake nor lag. A track stays with its
// person: another face is taken only after a cut, or when the person has been gone for half a
// second. What comes out depends on the frames and the faces found alone, not on when they arrive.
// Knows no pictures but for the signature of a cut. Loop thread.
#ifndef LS_TRACK_H
#define LS_TRACK_H

#include <stdbool.h>
#include <stdint.h>

#include "job.h"
#include "kernels/err.h"
#include "kernels/frame.h"
#include "motion.h"
#include "roll.h"

struct ls_track_params {
    const struct ls_job *job; // face.*, profile; borrowed
    int width_px, height_px;
    int interval;             // frames from one detection to the next, >= 1
    int lost_frames_max;      // so long a track waits for its person
    int smooth_half;          // frames ahead of one that its spot may look at; 0: as they are found
    enum ls_tilt tilt;        // of the detector
    int side_px, side_px_max; // of the picture that the detector sees
    float score_begin; // a track begins with a face of at least this score; it goes on with any
};

struct ls_spot {
    bool found;
    bool held;           // the box of an earlier frame (HOLD_BOX)
    struct ls_face face; // pads applied, inside the frame; upright if turned by roll_rad
    float roll_rad;      // of the head, by the line of its eyes, clockwise as seen; 0: not wanted
    float presence; // 0..1: below 1 where the face is about to be lost or has just been found, so
                    // that what is pasted can come and go; 1 across cuts
    bool begins;    // a scene: what the session found, kept with the spot for later passes
    int track_id;   // 1, 2, …
};

struct ls_track;

LS_MUST int ls_track_new(struct ls_track **out, const struct ls_track_params *params,
                         struct ls_err *err);
void ls_track_free(struct ls_track **t);

// The next frame of the pass. cut: it does not continue the one before.
LS_MUST int ls_track_frame(struct ls_track *t, bool cut, struct ls_err *err);
// No more frames in this pass.
void ls_track_end(struct ls_track *t);
// Is there a frame to be looked at? Then its number and at which sizes (LS_WORK_DETECT). One at a
// time: answer with ls_track_found before asking again.
bool ls_track_wants(const struct ls_track *t, int64_t *idx, int *side_px, int *side_px_max);
void ls_track_found(struct ls_track *t, const struct ls_face *face, int count, int side_px);
// The next frame's spot, in order; false: not decided yet.
bool ls_track_next(struct ls_track *t, struct ls_spot *out);

// How the head moved, from one frame to the next: is there a frame whose step is to be told? Then
// its number, and its face as found (NULL: none; its pixels are of no use). `goes_on`: the frame
// before shows the same person and `guess` is where its boxes say that it went. Answer with
// ls_track_step before asking again; ls_track_next waits for that. Not asked in the exact profile.
bool ls_track_wants_step(const struct ls_track *t, int64_t *idx, const struct ls_face **face,
                         bool *goes_on, struct ls_pose *guess);
void ls_track_step(struct ls_track *t, const struct ls_pose *step); // NULL: pixels said nothing

// A frame's look, to tell a cut: luma at a grid of points.
enum { LS_SIGNATURE_ROWS = 18, LS_SIGNATURE = 32 * LS_SIGNATURE_ROWS };
int ls_track_signature_row(const struct ls_frame *frame, int i); // the i-th row that it looks at
// row: those rows of plane 0, on the host.
void ls_track_signature(uint8_t out[LS_SIGNATURE], const struct ls_frame *frame,
                        const uint8_t *const row[LS_SIGNATURE_ROWS]);
bool ls_track_is_cut(const uint8_t before[LS_SIGNATURE], const uint8_t after[LS_SIGNATURE]);

#endif
