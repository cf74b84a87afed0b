// SPDX-License-Identifier: Apache-2.0
// What a device thread does with the work it took: detection at growing sizes, mel columns, and for
// faces crop -> generate -> composite. Device thread that owns the lane.
#ifndef LS_INFER_H
#define LS_INFER_H

#include "batch.h"

struct ls_infer; // a lane and its staging buffers for batch_max faces

LS_MUST int ls_infer_open(struct ls_infer **out, struct ls_backend *backend, int batch_max,
                          struct ls_err *err);
void ls_infer_close(struct ls_infer **infer);
// Runs one piece of detect or mel work (count 1) or 1..batch_max faces; fills err and busy_us of
// each.
void ls_infer_run(struct ls_infer *infer, struct ls_work **work, int count);

#endif
