// SPDX-License-Identifier: Apache-2.0
// Who waits for the device, and who is next: the rules of batch.c's queue, without its threads. The
// caller holds its lock around every call.
//
// Why class batch never holds up other work ("the front") by more than one batch of the device:
// * It is begun only while nothing of the front waits, not even for its batch to fill. So front
//   work that comes meets what lanes have begun already, and is next.
// * A lane that computes on its own thread has begun one run at most, of one class: the front waits
//   for the rest of that run.
// * On a device that takes several batches, all faces of class batch that are begun and not
//   finished fit into one batch (half of it goes first, so that the other half can be prepared
//   meanwhile); places that a batch of the front leaves empty are filled with them only as far as
//   they and those begun before, counted from when each face of the front came, still fit into one.
//   One launch of small work of class batch, 2 ms or less, may be under way beside them.
#ifndef LS_BATCH_LINES_H
#define LS_BATCH_LINES_H

#include <stdbool.h>
#include <stdint.h>

#include "server/batch.h"

enum ls_rank { LS_RANK_LIVE, LS_RANK_INTERACTIVE, LS_RANK_BATCH, LS_RANKS }; // who goes first

struct ls_line {
    struct ls_work *first, **last;
    int count;
};

struct ls_lines {
    int lane_count, batch_max; // set by the caller
    int64_t wait_us_max;       // how long a face waits for its batch to fill
    bool stopping;             // nothing waits for a batch to fill any more
    struct ls_line small[LS_RANKS], face[LS_RANKS];
    int waiting[LS_CLASSES][2]; // small work, faces
    int64_t begun, finished;    // faces of class batch at devices that take several batches, ever
};

// What a lane's thread knows of it: how many batches it may have, and has, begun and not finished;
// small launches since it last looked at the faces.
struct ls_turn {
    int depth, flying, small_run;
};

void ls_lines_init(struct ls_lines *l);
void ls_lines_push(struct ls_lines *l, struct ls_work *work); // pushed_us is set
int ls_lines_revoke(struct ls_lines *l, const void *user);
bool ls_lines_empty(const struct ls_lines *l);
// Takes 1..batch_max pieces of one kind for this lane. 0: nothing is to be begun now; *late_us:
// when there will be even if nothing comes (INT64_MAX: never).
int ls_lines_take(struct ls_lines *l, struct ls_work **work, struct ls_turn *turn,
                  int64_t *late_us);
// Faces that a lane of depth > 0 took are done: those of class batch make room for others.
void ls_lines_finished(struct ls_lines *l, struct ls_work *const *work, int count);

#endif
