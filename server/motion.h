// SPDX-License-Identifier: Apache-2.0
// How a head moved from one frame to the next, by its pixels: the upper face (brow, eyes, the
// bridge of the nose: what speech leaves alone) is averaged into a patch of small cells, and two
// patches are brought together to a fiftieth of a cell (Lucas and Kanade; Baker and Matthews, IJCV
// 2004, section 3). Finder's boxes shake by a third of a pixel or more; this does not. Pure
// arithmetic on frames that lie in the host's memory; any thread.
#ifndef LS_MOTION_H
#define LS_MOTION_H

#include <stdbool.h>
#include <stdint.h>

#include "kernels/frame.h"

// A turn, a scale and a shift of the plane: (x, y) goes to (a x - b y + x0, b x + a y + y0).
struct ls_pose {
    double a, b, x, y;
};

enum { LS_PATCH_COLS = 48, LS_PATCH_ROWS = 36 };

struct ls_patch {
    int cols, rows;                            // 0: nothing
    float x, y;                                // frame pixels: the left top corner of cell 0
    float pitch;                               // frame pixels: a cell's side
    float cell[LS_PATCH_ROWS * LS_PATCH_COLS]; // luma
};

// The part of a frame that the patch of a face looks at, cut to the frame; false: too little.
struct ls_patch_view {
    int x, y, width, height; // pixels
};
bool ls_patch_place(struct ls_patch *patch, struct ls_patch_view *view,
                    const struct ls_frame *frame, const struct ls_face *face);
// Fills a patch that was placed: row are the view's rows of plane 0, from its first pixel on.
void ls_patch_fill(struct ls_patch *patch, const struct ls_patch_view *view,
                   const struct ls_frame *frame, const uint8_t *first, int stride);

// guess: where the head went by its boxes; becomes what its pixels say. false: they say nothing
// (too flat, too different, moved too far), the guess stays.
bool ls_motion_between(struct ls_pose *guess, const struct ls_patch *was,
                       const struct ls_patch *is);

static inline void ls_pose_apply(const struct ls_pose *p, double x, double y, double out[2])
{
    out[0] = p->a * x - p->b * y + p->x;
    out[1] = p->b * x + p->a * y + p->y;
}
// First q, then p.
struct ls_pose ls_pose_after(const struct ls_pose *p, const struct ls_pose *q);
struct ls_pose ls_pose_inverse(const struct ls_pose *p);

#endif
