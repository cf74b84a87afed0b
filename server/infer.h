// SPDX-License-Identifier: Apache-2.0
// What a device thread does with the work it took: detection at growing sizes, mel columns, and for
// faces crop -> generate -> composite, in one call or, on a device that computes while the thread
// prepares the next batch, begun and finished apart. Device thread that owns the lane.
#ifndef LS_INFER_H
#define LS_INFER_H

#include "server/batch.h"

struct ls_infer; // a lane and its staging buffers for batch_max faces

enum { LS_INFER_DEPTH_MAX = 4 };

LS_MUST int ls_infer_open(struct ls_infer **out, struct ls_backend *backend, int batch_max,
                          struct ls_err *err);
void ls_infer_close(struct ls_infer **infer);
// Whom ls_infer_run gives work back to that was revoked while it ran, as soon as it sees it: it
// does not touch it again. on_drop runs inside ls_infer_run. NULL: nobody; such work is run to its
// end.
void ls_infer_on_drop(struct ls_infer *infer, void (*on_drop)(void *user, struct ls_work *work),
                      void *user);
// Runs one piece of detect work (count 1), or 1..batch_max pieces of mel work or faces; fills err
// and busy_us of each. The order in `work` changes.
void ls_infer_run(struct ls_infer *infer, struct ls_work **work, int count);
// How many batches of faces may be begun and not finished; 0: ls_infer_run is the only way.
int ls_infer_depth(const struct ls_infer *infer);
// Begins 1..batch_max faces. False: nothing was begun, each work has its err.
bool ls_infer_start(struct ls_infer *infer, struct ls_work **work, int count);
// Finishes the oldest batch begun; fills err and busy_us of each. Returns its size, its works in
// `work` [batch_max].
int ls_infer_finish(struct ls_infer *infer, struct ls_work **work);

#endif
