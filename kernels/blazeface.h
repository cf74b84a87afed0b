// SPDX-License-Identifier: Apache-2.0
// BlazeFace (Bazarevsky et al., 2019), MediaPipe's back-camera model of 256 x 256, as
// docker/blazeface.py converts it; its faces mapped to YuNet's convention by numbers fitted on real
// clips. Constant data and pure functions; any thread.
#ifndef LS_BLAZEFACE_H
#define LS_BLAZEFACE_H

#include "net.h"

enum { LS_BLAZEFACE_SIZE = 256 };

extern const struct ls_net_spec ls_blazeface;

// The map to YuNet's convention, linear in a face's own coordinates: origin the box's centre, unit
// its width. Columns: 1, middle of the eyes, from right to left eye, nose, middle of the mouth.
// Rows: box x0 y0 x1 y1, right and left corner of the mouth.
extern const float ls_blazeface_fit[8][9];

#endif
