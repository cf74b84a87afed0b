// SPDX-License-Identifier: Apache-2.0
// Finds faces: the frame goes to the device (if it is not there), is reduced into the detector's
// input, the network runs, the faces come back: one copy up, one of 2 kB down, and nothing is
// waited for in between. Networks of the input sizes met last are kept (1.5 to 10 MB of device
// memory each), so that sessions of different sizes do not make each other plan anew. Device
// thread.
#include "detect.h"

#include <stdlib.h>
#include <string.h>

#include "../blazeface.h"
#include "../plane.h"
#include "heads.h"
#include "netrun.h"
#include "stage.h"

enum {
    FRAME_KEPT = 64 << 20, // staging above it (8192 x 8192 takes 200 MB) is not kept
    KEYS_AT = 16,          // in an entry's scratch; the count lies before
};

struct entry {
    struct ls_net *net;
    struct ls_cuda_netrun *run;
    void *scratch; // device: of struct ls_cuda_heads
};

struct ls_cuda_detect {
    const struct ls_model *model;
    struct entry entry[LS_DETECT_SIZES_MAX];
    struct ls_detect_sizes sizes;
    struct ls_cuda_stage stage; // the frame
    struct ls_cuda_twin found;  // struct ls_cuda_faces_found
};

static void entry_done(struct entry *e)
{
    ls_cuda_free(&e->scratch);
    ls_cuda_netrun_free(&e->run);
    ls_net_free(&e->net);
    *e = (struct entry){0};
}

static int entry_init(struct entry *e, const struct ls_model *model, const struct ls_letterbox *box,
                      struct ls_err *err)
{
    struct ls_cells cells = {
        .detector = model->detector, .net_width = box->net_width, .net_height = box->net_height};
    size_t keys_size = sizeof(uint64_t) * (size_t)ls_cells_count(&cells);
    int r = ls_detect_plan(&e->net, model, box->net_width, box->net_height, err);

    if (r == 0)
        r = ls_cuda_netrun_new(&e->run, e->net, err);
    if (r == 0)
        r = ls_cuda_alloc(&e->scratch, KEYS_AT + keys_size, err);
    if (r < 0)
        entry_done(e);
    return r;
}

// The network for this input size: one at hand, or a new one in place of the longest unused.
static int find_entry(struct entry **out, struct ls_cuda_detect *d, const struct ls_letterbox *box,
                      struct ls_err *err)
{
    bool known;
    int idx = ls_detect_sizes_take(&d->sizes, &known, box), r;
    struct entry *e = &d->entry[idx];

    if (!known) {
        entry_done(e);
        r = entry_init(e, d->model, box, err);
        if (r < 0) {
            ls_detect_sizes_drop(&d->sizes, idx);
            return r;
        }
    }
    *out = e;
    return LS_OK;
}

int ls_cuda_detect_new(struct ls_cuda_detect **out, const struct ls_model *model,
                       struct ls_err *err)
{
    struct ls_cuda_detect *d = calloc(1, sizeof *d);
    int r;

    if (!d)
        return ls_fail(err, LS_ENOMEM, "no memory for a detector");
    d->model = model;
    r = ls_cuda_twin_reserve(&d->found, sizeof(struct ls_cuda_faces_found), err);
    if (r == 0) {
        *out = d;
        d = NULL;
    }
    ls_cuda_detect_free(&d);
    return r;
}

void ls_cuda_detect_free(struct ls_cuda_detect **detect)
{
    struct ls_cuda_detect *d;

    if (!detect || !*detect)
        return;
    d = *detect;
    for (int i = 0; i < LS_DETECT_SIZES_MAX; i++)
        entry_done(&d->entry[i]);
    ls_cuda_twin_done(&d->stage.block);
    ls_cuda_twin_done(&d->found);
    free(d);
    *detect = NULL;
}

// Brings a frame of the host to the device; `out` is the frame with its planes there.
static int put_frame(struct ls_frame *out, struct ls_cuda_stage *stage,
                     const struct ls_frame *frame, cudaStream_t stream, struct ls_err *err)
{
    const struct ls_paste whole = {.box = {0, 0, (float)frame->width_px, (float)frame->height_px}};
    struct ls_cuda_picture picture;
    int idx, r;

    ls_cuda_stage_begin(stage);
    idx = ls_cuda_stage_frame(stage, frame, &whole, NULL);
    r = ls_cuda_stage_reserve(stage, err);
    if (r < 0)
        return r;
    ls_cuda_stage_put(stage);
    r = ls_cuda_check(err,
                      cudaMemcpyAsync(stage->block.device, stage->block.host, stage->size,
                                      cudaMemcpyHostToDevice, stream),
                      "copying a frame");
    if (r < 0)
        return r;
    ls_cuda_picture_init(&picture, frame);
    ls_cuda_stage_place(&picture, stage, idx);
    *out = *frame;
    for (int i = 0; i < 3; i++) {
        out->plane[i] = picture.plane[i];
        out->stride[i] = (int)picture.stride[i];
    }
    return LS_OK;
}

// frame: on the device.
static int reduce(float *input, const struct ls_frame *frame, const struct ls_letterbox *box,
                  cudaStream_t stream, struct ls_err *err)
{
    struct ls_cuda_letterbox l = {.yuv = frame->format != LS_PIX_RGB24, .box = *box};

    for (int c = 0; c < 3; c++) {
        struct ls_plane p;

        ls_plane_init(&p, frame, c);
        l.channel[c] = (struct ls_cuda_channel){.data = p.data,
                                                .stride = p.stride,
                                                .step = p.step,
                                                .width = p.width,
                                                .height = p.height,
                                                .deep = p.deep};
    }
    ls_colour_init(&l.colour, frame);
    return ls_cuda_check(err, ls_cuda_letterbox(input, &l, stream), "reducing a frame");
}

static int read_heads(struct ls_cuda_detect *d, const struct entry *e,
                      const struct ls_letterbox *box, const struct ls_detect_params *params,
                      cudaStream_t stream, struct ls_err *err)
{
    enum ls_detector detector = d->model->detector;
    struct ls_cuda_heads h = {
        .cells = {.detector = detector,
                  .net_width = box->net_width,
                  .net_height = box->net_height,
                  .score_min = ls_detect_score_min(detector, params)},
        .box = *box,
        .found = e->scratch,
        .key = (uint64_t *)((uint8_t *)e->scratch + KEYS_AT),
    };
    int r;

    memcpy(h.fit, ls_blazeface_fit, sizeof h.fit);
    for (int i = 0; i < ls_detect_outputs(detector); i++)
        h.cells.map[i] = ls_cuda_netrun_output(e->run, i);
    r = ls_cuda_check(err, ls_cuda_heads(d->found.device, &h, stream), "reading a detector");
    if (r == 0)
        r = ls_cuda_check(err,
                          cudaMemcpyAsync(d->found.host, d->found.device,
                                          sizeof(struct ls_cuda_faces_found),
                                          cudaMemcpyDeviceToHost, stream),
                          "copying faces");
    return r;
}

int ls_cuda_detect_run(struct ls_cuda_detect *detect, struct ls_face *out, int *count,
                       const struct ls_frame *frame, const struct ls_detect_params *params,
                       cudaStream_t stream, struct ls_err *err)
{
    const struct ls_cuda_faces_found *found = detect->found.host;
    struct ls_frame there = *frame;
    struct ls_letterbox box;
    struct entry *e;
    int r, waited;

    ls_detect_letterbox(&box, detect->model->detector, frame, params);
    r = find_entry(&e, detect, &box, err);
    if (r < 0)
        return r;
    if (!frame->on_device)
        r = put_frame(&there, &detect->stage, frame, stream, err);
    if (r == 0)
        r = reduce(ls_cuda_netrun_input(e->run), &there, &box, stream, err);
    if (r == 0)
        r = ls_cuda_netrun_run(e->run, stream, err);
    if (r == 0)
        r = read_heads(detect, e, &box, params, stream, err);
    waited = (int)cudaStreamSynchronize(stream); // in any case: staging must not be in flight
    if (r == 0)
        r = ls_cuda_check(err, waited, "finding faces");
    if (detect->stage.block.size > FRAME_KEPT)
        ls_cuda_twin_done(&detect->stage.block);
    if (r < 0)
        return r;
    memcpy(out, found->face, sizeof *out * (size_t)found->count);
    *count = found->count;
    return LS_OK;
}
