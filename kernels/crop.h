// SPDX-License-Identifier: Apache-2.0
// Where a crop looks at a frame: lattices of places, and a turned face's pixels between the points
// of one. One definition for every back end; the filter is cubic.h's. No state; any thread.
#ifndef LS_CROP_H
#define LS_CROP_H

#include "cubic.h"
#include "wav2lip.h"

// A turned box has an upright lattice around it of at most this many columns and rows: enough for
// boxes up to twice as high as wide at any roll, which others get coarser.
enum { LS_LATTICE_MAX = 192 };

// Point (i, j) lies at frame position (x + i step_x, y + j step_y). Each is averaged over its own
// step, and its value is stored as float.
struct ls_lattice {
    double x, y, step_x, step_y;
    int columns, rows;
};

// An upright box's pixel centres: 96 x 96.
static inline void ls_lattice_upright(struct ls_lattice *l, const struct ls_turn *t)
{
    l->columns = l->rows = LS_FACE_SIZE;
    l->step_x = t->width / LS_FACE_SIZE;
    l->step_y = t->height / LS_FACE_SIZE;
    l->x = t->x - (LS_FACE_SIZE - 1) / 2.0 * l->step_x;
    l->y = t->y - (LS_FACE_SIZE - 1) / 2.0 * l->step_y;
}

// One axis of the lattice around a turned box that reaches `reach` from `centre` to both sides,
// with two points to spare for the kernel.
static inline void ls_lattice_axis(double *first, double *step, int *count, double centre,
                                   double reach, double pitch)
{
    *step = fmax(pitch, 2 * reach / (LS_LATTICE_MAX - 4));
    *count = 2 * (int)ceil(reach / *step - 1e-9) + 4;
    *first = centre - (*count - 1) / 2.0 * *step;
}

static inline void ls_lattice_around(struct ls_lattice *l, const struct ls_turn *t)
{
    double pitch = fmin(t->width, t->height) / LS_FACE_SIZE;
    double c = fabs(t->cosine), s = fabs(t->sine);

    ls_lattice_axis(&l->x, &l->step_x, &l->columns, t->x, (t->width * c + t->height * s) / 2,
                    pitch);
    ls_lattice_axis(&l->y, &l->step_y, &l->rows, t->y, (t->width * s + t->height * c) / 2, pitch);
}

// Where the face's pixel (i, j) lies between the points of the lattice around its box: 1 to columns
// - 2, and rows - 2.
static inline void ls_lattice_place(double *x, double *y, const struct ls_lattice *l,
                                    const struct ls_turn *t, int i, int j)
{
    ls_turn_frame(x, y, t, i + 0.5, j + 0.5);
    *x = (*x - l->x) / l->step_x;
    *y = (*y - l->y) / l->step_y;
}

#endif
