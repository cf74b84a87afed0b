// SPDX-License-Identifier: Apache-2.0
// Frames from the device's memory for an encoder on the host, and NV12 made I420, which x264's side
// and raw output know. Part of the encoder: one thread at a time.
#include <stdlib.h>

#include "encode_parts.h"

struct ls_fetch {
    const struct ls_video_device *device;
    struct ls_frame frame; // as it comes, on the host
    struct ls_frame whole; // I420 of it, if it is not
    void *frame_memory, *whole_memory;
};

int ls_fetch_new(struct ls_fetch **out, const struct ls_video_device *device, struct ls_err *err)
{
    struct ls_fetch *f = calloc(1, sizeof *f);

    if (!f)
        return ls_fail(err, LS_ENOMEM, "frames from the device");
    f->device = device;
    *out = f;
    return 0;
}

void ls_fetch_free(struct ls_fetch **fetch)
{
    if (!*fetch)
        return;
    free((*fetch)->frame_memory);
    free((*fetch)->whole_memory);
    free(*fetch);
    *fetch = NULL;
}

static void separate(const struct ls_frame *to, const struct ls_frame *from)
{
    int width = (from->width_px + 1) / 2, height = (from->height_px + 1) / 2;

    for (int y = 0; y < height; y++) {
        const uint8_t *uv = from->plane[1] + (size_t)y * (size_t)from->stride[1];
        uint8_t *u = to->plane[1] + (size_t)y * (size_t)to->stride[1];
        uint8_t *v = to->plane[2] + (size_t)y * (size_t)to->stride[2];

        for (int x = 0; x < width; x++) {
            u[x] = uv[2 * x];
            v[x] = uv[2 * x + 1];
        }
    }
}

int ls_fetch_run(struct ls_fetch *f, struct ls_frame *out, const struct ls_frame *frame,
                 struct ls_err *err)
{
    struct ls_frame shape = *frame;
    int r;

    shape.on_device = false;
    r = ls_video_place(&f->frame, &f->frame_memory, &shape, NULL, err);
    if (r == 0)
        r = ls_video_copy(&f->frame, frame, f->device, err);
    if (r < 0 || frame->format != LS_PIX_NV12) {
        *out = f->frame;
        return r;
    }
    shape.format = LS_PIX_I420;
    shape.stride[1] = shape.stride[2] = (shape.stride[0] + 1) / 2;
    if (!f->whole_memory)
        r = ls_video_place(&f->whole, &f->whole_memory, &shape, NULL, err);
    if (r < 0)
        return r;
    separate(&f->whole, &f->frame);
    *out = f->whole;
    out->plane[0] = f->frame.plane[0];
    out->stride[0] = f->frame.stride[0];
    return 0;
}
