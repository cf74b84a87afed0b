// SPDX-License-Identifier: Apache-2.0
// Tilted heads: the turn of a face by the line of its eyes, and the box that it would have if it
// were upright. Pure functions.
#ifndef LS_ROLL_H
#define LS_ROLL_H

#include "kernels/frame.h"

// What a detector does to the box of a face that is turned by an angle: see roll.c.
enum ls_tilt { LS_TILT_AROUND, LS_TILT_SHRINKS };

// Turns the face's box into the upright one, about its centre, and returns the angle (clockwise as
// seen, at most 35 degrees); mouth corners are put where a turned face has them. 0 without points.
float ls_roll_upright(struct ls_face *face, enum ls_tilt tilt);

#endif
