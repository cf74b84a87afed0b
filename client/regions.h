// SPDX-License-Identifier: Apache-2.0
// The caller's boxes: CSV lines frame,left,top,right,bottom[,bypass] turned into regions messages,
// a run of frames each. An empty box is a frame without a face. Main thread; read line by line, so
// that memory does not depend on the file's length.
#ifndef LS_CLIENT_REGIONS_H
#define LS_CLIENT_REGIONS_H

#include <stddef.h>
#include <stdint.h>

#include "client/text.h"

struct ls_regions;

LS_MUST int ls_regions_open(struct ls_regions **out, const char *path, struct ls_fault *fault);
// The next SyncRequest as bytes (malloc'ed, the caller's); NULL when there is no more.
LS_MUST int ls_regions_next(struct ls_regions *r, uint8_t **data, size_t *size,
                            struct ls_fault *fault);
void ls_regions_close(struct ls_regions **r); // accepts NULL

#endif
