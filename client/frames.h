// SPDX-License-Identifier: Apache-2.0
// The file of --frame-info: a CSV line for each output frame. Main thread.
#ifndef LS_CLIENT_FRAMES_H
#define LS_CLIENT_FRAMES_H

#include <stdio.h>

#include <lipstream/v1/lip_sync.pb-c.h>

void ls_frames_head(FILE *to);
void ls_frames_write(FILE *to, const Lipstream__V1__Frames *frames);

#endif
