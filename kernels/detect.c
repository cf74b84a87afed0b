// SPDX-License-Identifier: Apache-2.0
// The arithmetic around a detector: input sizes, plans, non-maximum suppression, back to frame
// pixels. Called by the back ends; any thread. What surprises: YuNet's strongest box of an
// overlapping group stands for it, as its authors have it, while BlazeFace's group is averaged by
// score, as MediaPipe has it: its single boxes shake from frame to frame.
#include "detect.h"

#include <math.h>
#include <string.h>

#include "blazeface.h"
#include "cells.h"
#include "yunet.h"

static int scaled(int size, double scale)
{
    int n = (int)lround(size * scale);

    return n < 1 ? 1 : n;
}

void ls_detect_letterbox(struct ls_letterbox *out, enum ls_detector detector,
                         const struct ls_frame *frame, const struct ls_detect_params *params)
{
    int longer = frame->width_px > frame->height_px ? frame->width_px : frame->height_px;
    int side = params->long_side_px ? params->long_side_px : 320;
    bool blaze = detector == LS_DETECTOR_BLAZEFACE;
    double scale = blaze ? (double)LS_BLAZEFACE_SIZE / longer : fmin(1, (double)side / longer);
    struct ls_letterbox box = {.image_width = scaled(frame->width_px, scale),
                               .image_height = scaled(frame->height_px, scale)};

    box.net_width = blaze ? LS_BLAZEFACE_SIZE : (box.image_width + 31) / 32 * 32;
    box.net_height = blaze ? LS_BLAZEFACE_SIZE : (box.image_height + 31) / 32 * 32;
    box.x_scale = (float)box.image_width / (float)frame->width_px;
    box.y_scale = (float)box.image_height / (float)frame->height_px;
    box.bgr = !blaze;
    box.gain = blaze ? 1 / 127.5f : 1;
    box.offset = blaze ? -1 : 0;
    box.empty = blaze ? -1 : 0;
    *out = box;
}

int ls_detect_plan(struct ls_net **out, const struct ls_model *model, int net_width, int net_height,
                   struct ls_err *err)
{
    struct ls_net_params params = {.input[0] = {3, net_height, net_width}};
    struct ls_weights *renamed = NULL;
    int r;

    if (model->detector == LS_DETECTOR_BLAZEFACE)
        return ls_net_plan(out, &ls_blazeface, model->detector_weights, &params, err);
    r = ls_yunet_rename(&renamed, model->detector_weights, err);
    if (r == 0)
        r = ls_net_plan(out, &ls_yunet, renamed, &params, err);
    ls_weights_close(&renamed);
    return r;
}

void ls_candidates_add(struct ls_candidates *c, const struct ls_face *face)
{
    int at = c->count;

    if (c->count == LS_CANDIDATES_MAX && face->score <= c->face[c->count - 1].score)
        return;
    while (at > 0 && c->face[at - 1].score < face->score)
        at--;
    c->count -= c->count == LS_CANDIDATES_MAX; // the last of the weakest goes
    memmove(&c->face[at + 1], &c->face[at], sizeof *face * (size_t)(c->count - at));
    c->face[at] = *face;
    c->count++;
}

// sum += weight * face, in boxes and points.
static void face_add(struct ls_face *sum, const struct ls_face *face, float weight)
{
    sum->box.x0 += weight * face->box.x0;
    sum->box.y0 += weight * face->box.y0;
    sum->box.x1 += weight * face->box.x1;
    sum->box.y1 += weight * face->box.y1;
    for (int p = 0; p < LS_POINTS; p++) {
        sum->point[p][0] += weight * face->point[p][0];
        sum->point[p][1] += weight * face->point[p][1];
    }
}

// Takes the strongest face, which is the first, and its group out of c.
static struct ls_face take_strongest(struct ls_candidates *c, bool average)
{
    struct ls_face strongest = c->face[0], mean = {0};
    float weight_sum = 0;
    int kept = 0;

    for (int i = 0; i < c->count; i++) {
        if (i > 0 && ls_cells_overlap(&c->face[i].box, &strongest.box) <= LS_DETECT_OVERLAP_MAX) {
            c->face[kept++] = c->face[i];
            continue;
        }
        face_add(&mean, &c->face[i], c->face[i].score);
        weight_sum += c->face[i].score;
    }
    c->count = kept;
    if (average && weight_sum > 0) {
        struct ls_face zero = {.score = strongest.score, .points_known = true};

        strongest = zero;
        face_add(&strongest, &mean, 1 / weight_sum);
    }
    return strongest;
}

int ls_detect_sizes_take(struct ls_detect_sizes *sizes, bool *known,
                         const struct ls_letterbox *letterbox)
{
    int idx = 0;

    *known = false;
    for (int i = 0; i < LS_DETECT_SIZES_MAX && !*known; i++) {
        *known = sizes->place[i].width == letterbox->net_width &&
                 sizes->place[i].height == letterbox->net_height;
        if (*known || sizes->place[i].used_at < sizes->place[idx].used_at)
            idx = i;
    }
    sizes->place[idx].width = letterbox->net_width;
    sizes->place[idx].height = letterbox->net_height;
    sizes->place[idx].used_at = ++sizes->clock;
    return idx;
}

void ls_detect_sizes_drop(struct ls_detect_sizes *sizes, int idx)
{
    sizes->place[idx].width = sizes->place[idx].height = 0;
    sizes->place[idx].used_at = 0;
}

int ls_detect_outputs(enum ls_detector detector)
{
    return detector == LS_DETECTOR_BLAZEFACE ? 4 : 12;
}

float ls_detect_score_min(enum ls_detector detector, const struct ls_detect_params *params)
{
    if (params->score_min > 0)
        return params->score_min;
    return detector == LS_DETECTOR_BLAZEFACE ? 0.5f : 0.6f;
}

void ls_detect_faces(struct ls_face *out, int *count, enum ls_detector detector,
                     const float *const *outputs, const struct ls_letterbox *letterbox,
                     const struct ls_detect_params *params)
{
    struct ls_cells cells = {.detector = detector,
                             .net_width = letterbox->net_width,
                             .net_height = letterbox->net_height,
                             .score_min = ls_detect_score_min(detector, params)};
    bool blaze = detector == LS_DETECTOR_BLAZEFACE;
    int cell_count = ls_cells_count(&cells);
    struct ls_candidates c;

    memcpy(cells.map, outputs, sizeof *outputs * (size_t)ls_detect_outputs(detector));
    c.count = 0;
    for (int i = 0; i < cell_count; i++) {
        struct ls_face face;

        if (ls_cells_face(&face, &cells, i))
            ls_candidates_add(&c, &face);
    }
    *count = 0;
    while (c.count > 0 && *count < LS_FACES_MAX) {
        struct ls_face *face = &out[(*count)++];

        *face = take_strongest(&c, blaze);
        if (blaze)
            ls_cells_map(face, ls_blazeface_fit);
        ls_cells_to_frame(face, letterbox);
    }
}
