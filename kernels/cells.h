// SPDX-License-Identifier: Apache-2.0
// From a detector's numbers to faces, step by step, for hosts and devices: the network's maps as
// one list of cells, a cell's score and face, how much two faces share, BlazeFace's map to YuNet's
// convention, input pixels to frame pixels. detect.c puts the steps together. Pure functions; any
// thread. What surprises: the list's order is a part of the definition, for among equal scores the
// first cell wins: YuNet's levels of 8, 16 and 32 pixels a cell, row by row; BlazeFace's grids of
// 16 and 8 a side, anchor by anchor, row by row.
#ifndef LS_CELLS_H
#define LS_CELLS_H

#include <float.h>
#include <math.h>

#include "detect.h"

enum {
    LS_YUNET_LEVELS = 3,
    LS_BLAZEFACE_GRIDS = 2,
    LS_BLAZEFACE_VALUES = 16, // of an anchor: box centre, size, six points
};

struct ls_cells {
    enum ls_detector detector;
    // As ls_detect_plan's outputs. YuNet, of each level: class, object, box [4], points [10];
    // BlazeFace: scores of both grids, then values of both, [anchors * 16].
    const float *map[LS_DETECT_OUTPUTS_MAX];
    int net_width, net_height;
    float score_min;
};

// One level or grid of the list.
struct ls_cell_grid {
    int width, height, anchors; // anchors lie behind each other
    int stride;                 // input pixels a cell
};

LS_ANYWHERE struct ls_cell_grid ls_cells_grid(const struct ls_cells *cells, int level)
{
    struct ls_cell_grid g;

    if (cells->detector == LS_DETECTOR_BLAZEFACE) {
        g.width = g.height = level ? 8 : 16;
        g.anchors = level ? 6 : 2;
        g.stride = level ? 32 : 16;
    } else {
        g.stride = 8 << level;
        g.width = cells->net_width / g.stride;
        g.height = cells->net_height / g.stride;
        g.anchors = 1;
    }
    return g;
}

LS_ANYWHERE int ls_cells_levels(const struct ls_cells *cells)
{
    return cells->detector == LS_DETECTOR_BLAZEFACE ? LS_BLAZEFACE_GRIDS : LS_YUNET_LEVELS;
}

LS_ANYWHERE int ls_cells_count(const struct ls_cells *cells)
{
    int count = 0;

    for (int l = 0; l < ls_cells_levels(cells); l++) {
        struct ls_cell_grid g = ls_cells_grid(cells, l);

        count += g.width * g.height * g.anchors;
    }
    return count;
}

// The cell's level; *idx becomes its number in it.
LS_ANYWHERE int ls_cells_level(const struct ls_cells *cells, int *idx)
{
    int level = 0;

    for (; level + 1 < ls_cells_levels(cells); level++) {
        struct ls_cell_grid g = ls_cells_grid(cells, level);
        int count = g.width * g.height * g.anchors;

        if (*idx < count)
            break;
        *idx -= count;
    }
    return level;
}

// May be NaN.
LS_ANYWHERE float ls_cells_score(const struct ls_cells *cells, int idx)
{
    int level = ls_cells_level(cells, &idx);

    if (cells->detector == LS_DETECTOR_BLAZEFACE)
        return 1 / (1 + expf(-cells->map[level][idx]));
    return sqrtf(fminf(fmaxf(cells->map[4 * level][idx], 0), 1) *
                 fminf(fmaxf(cells->map[4 * level + 1][idx], 0), 1));
}

LS_ANYWHERE void ls_cells_box(struct ls_box *out, float x, float y, float w, float h)
{
    out->x0 = x - w / 2;
    out->y0 = y - h / 2;
    out->x1 = x + w / 2;
    out->y1 = y + h / 2;
}

LS_ANYWHERE void ls_cells_yunet(struct ls_face *out, const struct ls_cells *cells, int level, int i)
{
    struct ls_cell_grid g = ls_cells_grid(cells, level);
    int64_t area = (int64_t)g.width * g.height;
    const float *b = cells->map[4 * level + 2] + i, *k = cells->map[4 * level + 3] + i;
    float column = (float)(i % g.width), row = (float)(i / g.width), s = (float)g.stride;

    ls_cells_box(&out->box, (column + b[0]) * s, (row + b[area]) * s, expf(b[2 * area]) * s,
                 expf(b[3 * area]) * s);
    for (int p = 0; p < LS_POINTS; p++) { // the maps' order is ours: eyes, nose, mouth corners
        out->point[p][0] = (k[2 * p * area] + column) * s;
        out->point[p][1] = (k[(2 * p + 1) * area] + row) * s;
    }
}

// All anchors lie at their cell's centre and have the whole picture's size, so that the network's
// numbers are pixels. Both mouth corners get the one point that its mouth has.
LS_ANYWHERE void ls_cells_blazeface(struct ls_face *out, const struct ls_cells *cells, int level,
                                    int i)
{
    struct ls_cell_grid g = ls_cells_grid(cells, level);
    int area = g.width * g.height, cell = i % area;
    const float *v = cells->map[2 + level] + i / area * LS_BLAZEFACE_VALUES * area + cell;
    float x = ((float)(cell % g.width) + 0.5f) * (float)g.stride;
    float y = ((float)(cell / g.width) + 0.5f) * (float)g.stride;

    ls_cells_box(&out->box, v[0] + x, v[area] + y, v[2 * area], v[3 * area]);
    for (int p = 0; p < LS_POINTS; p++) {
        int value = 4 + 2 * (p < LS_POINT_MOUTH_L ? p : LS_POINT_MOUTH_R);

        out->point[p][0] = v[value * area] + x;
        out->point[p][1] = v[(value + 1) * area] + y;
    }
}

// The cell's face, in input pixels and the detector's own convention. False, and `out` is of no
// use, if it is none: a score below score_min, or numbers that are none or endless.
LS_ANYWHERE bool ls_cells_face(struct ls_face *out, const struct ls_cells *cells, int idx)
{
    float sum = ls_cells_score(cells, idx);
    int level;

    if (!(sum >= cells->score_min))
        return false;
    out->score = sum;
    out->points_known = true;
    level = ls_cells_level(cells, &idx);
    if (cells->detector == LS_DETECTOR_BLAZEFACE)
        ls_cells_blazeface(out, cells, level, idx);
    else
        ls_cells_yunet(out, cells, level, idx);
    sum += out->box.x0 + out->box.y0 + out->box.x1 + out->box.y1;
    for (int p = 0; p < LS_POINTS; p++)
        sum += out->point[p][0] + out->point[p][1];
    return fabsf(sum) <= FLT_MAX && out->box.x0 < out->box.x1 && out->box.y0 < out->box.y1;
}

// Intersection over union.
LS_ANYWHERE float ls_cells_overlap(const struct ls_box *a, const struct ls_box *b)
{
    float w = fminf(a->x1, b->x1) - fmaxf(a->x0, b->x0);
    float h = fminf(a->y1, b->y1) - fmaxf(a->y0, b->y0);
    float both = (a->x1 - a->x0) * (a->y1 - a->y0) + (b->x1 - b->x0) * (b->y1 - b->y0);

    return w > 0 && h > 0 ? w * h / (both - w * h) : 0;
}

// A face of BlazeFace in YuNet's convention; fit: ls_blazeface_fit.
LS_ANYWHERE void ls_cells_map(struct ls_face *face, const float fit[8][9])
{
    const struct ls_box *b = &face->box;
    float(*p)[2] = face->point;
    float unit = b->x1 - b->x0, origin[2], in[9], made[8];

    origin[0] = (b->x0 + b->x1) / 2;
    origin[1] = (b->y0 + b->y1) / 2;
    in[0] = 1;
    for (int k = 0; k < 2; k++) {
        in[1 + k] = ((p[LS_POINT_EYE_R][k] + p[LS_POINT_EYE_L][k]) / 2 - origin[k]) / unit;
        in[3 + k] = (p[LS_POINT_EYE_L][k] - p[LS_POINT_EYE_R][k]) / unit;
        in[5 + k] = (p[LS_POINT_NOSE][k] - origin[k]) / unit;
        in[7 + k] = (p[LS_POINT_MOUTH_R][k] - origin[k]) / unit;
    }
    for (int r = 0; r < 8; r++) {
        made[r] = 0;
        for (int c = 0; c < 9; c++)
            made[r] += fit[r][c] * in[c];
        made[r] = made[r] * unit + origin[r % 2];
    }
    face->box.x0 = made[0];
    face->box.y0 = made[1];
    face->box.x1 = made[2];
    face->box.y1 = made[3];
    for (int k = 0; k < 2; k++) {
        p[LS_POINT_MOUTH_R][k] = made[4 + k];
        p[LS_POINT_MOUTH_L][k] = made[6 + k];
    }
}

LS_ANYWHERE void ls_cells_to_frame(struct ls_face *face, const struct ls_letterbox *l)
{
    face->box.x0 /= l->x_scale;
    face->box.x1 /= l->x_scale;
    face->box.y0 /= l->y_scale;
    face->box.y1 /= l->y_scale;
    for (int p = 0; p < LS_POINTS; p++) {
        face->point[p][0] /= l->x_scale;
        face->point[p][1] /= l->y_scale;
    }
}

#endif
