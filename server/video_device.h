// SPDX-License-Identifier: Apache-2.0
// The device's video engines, through FFmpeg: whether it decodes (NVDEC) and encodes (NVENC), found
// out once at start by trying; and frames in its memory, through the back end. Made by the engine;
// read only then, any thread.
#ifndef LS_VIDEO_DEVICE_H
#define LS_VIDEO_DEVICE_H

#include <stdbool.h>

#include "kernels/backend.h"
#include "options.h"

struct AVBufferRef;

struct ls_video_device {
    struct ls_backend *backend;
    struct AVBufferRef *hw; // FFmpeg's device; NULL: neither decodes nor encodes
    bool decodes, encodes;
    char note[160]; // why not, if it does not; else ""
    char text[224];
};

// For a back end with device frames; a device without engines is no error. out: NULL where the back
// end has no device frames.
LS_MUST int ls_video_device_open(struct ls_video_device **out, struct ls_backend *backend,
                                 const struct ls_options *opt, struct ls_err *err);
void ls_video_device_close(struct ls_video_device **device);
// A line for the log: what decodes, what encodes, why not the device. device may be NULL.
const char *ls_video_device_text(const struct ls_video_device *device);

// Room for a frame of the shape of `like` (its strides), where `like` lies; *memory is made when it
// is NULL. device may be NULL for frames on the host.
LS_MUST int ls_video_place(struct ls_frame *to, void **memory, const struct ls_frame *like,
                           const struct ls_video_device *device, struct ls_err *err);
void ls_video_free(void **memory, bool on_device, const struct ls_video_device *device);
// All planes; same size and format, any places and strides.
LS_MUST int ls_video_copy(const struct ls_frame *to, const struct ls_frame *from,
                          const struct ls_video_device *device, struct ls_err *err);

#endif
