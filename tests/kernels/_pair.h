// SPDX-License-Identifier: Apache-2.0
// A model opened by ref and by another back end, and the parts of check.c that have files of their
// own. One thread, except where a check starts some.
#ifndef LS_TEST_PAIR_H
#define LS_TEST_PAIR_H

#include "kernels/backend.h"

struct pair {
    struct ls_model *model;
    struct ls_backend *back_end[2]; // ref, the other
    struct ls_lane *lane[2];
};
enum { PAIR_BATCH = 9 }; // batch_max of both

// Generated faces of `items` (1..PAIR_BATCH) against ref (`compared` of them within `most`, which
// takes ref 2.5 s an item of the original's widths), then that batch size, lane, thread and rows
// left out do not change a byte, nor does the model's own copy of the weights, which is given back
// in the end: ref cannot use the model any more. Returns how many checks failed.
struct generate_check {
    int items, compared;
    double most;
};
int check_generate(const struct pair *p, const char *row, const struct generate_check *check);

// Crops and pastes alone, of frames of all formats and odd sizes and of boxes that stick out,
// turned and upright. Return how many checks failed.
int check_crops(const struct pair *p);
int check_pastes(const struct pair *p);

// ls_faces_start and _finish against ref's crop, generate_part and composite (within `most` steps
// of 1/255), then that neighbours, order, batch size, batches in flight and known faces do not
// change a byte. Returns how many checks failed.
int check_faces(const struct pair *p, const char *row, int most);

#endif
