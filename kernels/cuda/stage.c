// SPDX-License-Identifier: Apache-2.0
// Lays a batch out in its block and moves rows between frames and block. Host work, all of it: for
// an I420 face of 300x300 px whose features are known and whose mask is the lower half, 68 kB in
// and out; 135 kB in if it has to be cut out as well. Device thread.
#include "stage.h"

#include <assert.h>
#include <string.h>

enum {
    ALIGNMENT = 256, // of what is taken: what cudaMalloc gives, so any kernel is content
    PITCH = 16,      // of rows
};

static size_t round_up(size_t size, size_t step)
{
    return (size + step - 1) / step * step;
}

void ls_cuda_stage_begin(struct ls_cuda_stage *stage)
{
    stage->size = stage->out_from = 0;
    stage->frame_count = 0;
}

size_t ls_cuda_stage_take(struct ls_cuda_stage *stage, size_t size)
{
    size_t at = stage->size;

    stage->size += round_up(size, ALIGNMENT);
    return at;
}

static bool is_empty(const struct ls_int_box *b)
{
    return b->x0 >= b->x1 || b->y0 >= b->y1;
}

static struct ls_int_box both(const struct ls_int_box *a, const struct ls_int_box *b)
{
    if (is_empty(a) || is_empty(b))
        return is_empty(a) ? *b : *a;
    return (struct ls_int_box){a->x0 < b->x0 ? a->x0 : b->x0, a->y0 < b->y0 ? a->y0 : b->y0,
                               a->x1 > b->x1 ? a->x1 : b->x1, a->y1 > b->y1 ? a->y1 : b->y1};
}

// Rectangles of samples as bytes of planes.
static void in_bytes(struct ls_int_box out[3], const struct ls_int_box rect[LS_CUDA_RECTS],
                     enum ls_pixel format)
{
    bool pairs = format == LS_PIX_NV12 || format == LS_PIX_P010;
    int size[3] = {1, pairs ? 2 : 1, pairs ? 0 : 1}; // bytes of a sample, pixel or pair

    if (format == LS_PIX_RGB24)
        size[0] = 3;
    for (int i = 0; i < 3; i++) {
        int bytes = format == LS_PIX_P010 ? 2 * size[i] : size[i];

        out[i] = rect[i > 0];
        out[i].x0 *= bytes;
        out[i].x1 *= bytes;
    }
}

size_t ls_cuda_stage_frame_size(const struct ls_frame *frame, const struct ls_paste *paste)
{
    struct ls_int_box rect[LS_CUDA_RECTS], reads[3];
    size_t size = 0;

    ls_cuda_picture_reads(rect, frame, paste);
    in_bytes(reads, rect, frame->format);
    for (int i = 0; i < 3; i++)
        size += (round_up((size_t)(reads[i].x1 - reads[i].x0), PITCH)) *
                (size_t)(reads[i].y1 - reads[i].y0);
    return size;
}

int ls_cuda_stage_frame(struct ls_cuda_stage *stage, const struct ls_frame *frame,
                        const struct ls_paste *cut, const struct ls_paste *paste)
{
    struct ls_int_box rect[LS_CUDA_RECTS], reads[3] = {0}, writes[3] = {0};
    int idx = stage->frame_count++;

    assert(idx < LS_CUDA_STAGE_FRAMES && !frame->on_device);
    if (cut) {
        ls_cuda_picture_reads(rect, frame, cut);
        in_bytes(reads, rect, frame->format);
    }
    if (paste) {
        ls_cuda_picture_writes(rect, frame, paste);
        in_bytes(writes, rect, frame->format);
    }
    for (int i = 0; i < 3; i++) {
        struct ls_cuda_rows *r = &stage->rows[idx][i];
        struct ls_int_box staged = both(&reads[i], &writes[i]);

        *r = (struct ls_cuda_rows){0};
        if (is_empty(&staged))
            continue;
        r->plane = frame->plane[i];
        r->stride = frame->stride[i];
        r->pitch = (int64_t)round_up((size_t)(staged.x1 - staged.x0), PITCH);
        r->staged = staged;
        r->written = writes[i];
        r->at = ls_cuda_stage_take(stage, (size_t)r->pitch * (size_t)(staged.y1 - staged.y0));
    }
    return idx;
}

int ls_cuda_stage_reserve(struct ls_cuda_stage *stage, struct ls_err *err)
{
    return ls_cuda_twin_reserve(&stage->block, stage->size, err);
}

void *ls_cuda_stage_host(const struct ls_cuda_stage *stage, size_t at)
{
    return (uint8_t *)stage->block.host + at;
}

void *ls_cuda_stage_device(const struct ls_cuda_stage *stage, size_t at)
{
    return (uint8_t *)stage->block.device + at;
}

void ls_cuda_stage_place(struct ls_cuda_picture *picture, const struct ls_cuda_stage *stage,
                         int idx)
{
    for (int i = 0; i < 3; i++) {
        const struct ls_cuda_rows *r = &stage->rows[idx][i];
        // By integers: the first sample's place may lie before the block, where C knows no pointer.
        uintptr_t part = (uintptr_t)stage->block.device + r->at;

        picture->plane[i] = (uint8_t *)(part - (uintptr_t)(r->staged.y0 * r->pitch + r->staged.x0));
        picture->stride[i] = r->pitch;
    }
}

void ls_cuda_stage_put(const struct ls_cuda_stage *stage)
{
    for (int k = 0; k < 3 * stage->frame_count; k++) {
        const struct ls_cuda_rows *r = &stage->rows[k / 3][k % 3];
        const uint8_t *from = r->plane;
        uint8_t *to = ls_cuda_stage_host(stage, r->at);

        for (int y = r->staged.y0; y < r->staged.y1; y++, to += r->pitch)
            memcpy(to, from + y * r->stride + r->staged.x0, (size_t)(r->staged.x1 - r->staged.x0));
    }
}

void ls_cuda_stage_get(const struct ls_cuda_stage *stage)
{
    for (int k = 0; k < 3 * stage->frame_count; k++) {
        const struct ls_cuda_rows *r = &stage->rows[k / 3][k % 3];
        const struct ls_int_box *w = &r->written;
        const uint8_t *from = ls_cuda_stage_host(stage, r->at);

        for (int y = w->y0; y < w->y1 && w->x0 < w->x1; y++)
            memcpy(r->plane + y * r->stride + w->x0,
                   from + (y - r->staged.y0) * r->pitch + (w->x0 - r->staged.x0),
                   (size_t)(w->x1 - w->x0));
    }
}
