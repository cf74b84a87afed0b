// SPDX-License-Identifier: Apache-2.0
// Patches of the upper face and the motion between two of them. Flow: spots -> here -> track. What
// surprises: cells are exact averages (by running sums), then softened once, because a straight
// line between cells is only a good guess for a picture without its finest detail; and brows and
// lids move by themselves, so cells that do not follow the rest lose their say.
#include "motion.h"

#include <math.h>
#include <stddef.h>
#include <string.h>

enum {
    UNKNOWNS = 5,     // shift x and y, log of the scale, turn, brightness
    STEPS_MAX = 12,   // it takes 3 to 5
    STEPS_PLAIN = 2,  // before cells lose their say: at first all are wrong
    CELLS_MIN = 60,   // fewer say nothing
    WIDTH_MAX = 8192, // of a frame
};

// Of the box's width: the ellipse that counts, and how far a head may be from its guess.
static const float radius_x = 0.46f, radius_y = 0.36f, margin = 0.12f;
// Cells over the width of a box; a cell is at least a pixel.
static const float cells_across = 32;
static const double shift_max = 6;        // cells from the guess
static const double still_enough = 0.004; // cells

struct ls_pose ls_pose_after(const struct ls_pose *p, const struct ls_pose *q)
{
    return (struct ls_pose){p->a * q->a - p->b * q->b, p->b * q->a + p->a * q->b,
                            p->a * q->x - p->b * q->y + p->x, p->b * q->x + p->a * q->y + p->y};
}

struct ls_pose ls_pose_inverse(const struct ls_pose *p)
{
    double size = p->a * p->a + p->b * p->b, a = p->a / size, b = -p->b / size;

    return (struct ls_pose){a, b, -(a * p->x - b * p->y), -(b * p->x + a * p->y)};
}

bool ls_patch_place(struct ls_patch *patch, struct ls_patch_view *view,
                    const struct ls_frame *frame, const struct ls_face *face)
{
    float width = face->box.x1 - face->box.x0, x, y, half_x, half_y;
    int right, bottom;

    patch->cols = patch->rows = 0;
    x = (face->box.x0 + face->box.x1) / 2;
    y = face->box.y0 + 0.4f * (face->box.y1 - face->box.y0); // where the eyes are on average
    if (face->points_known) {
        x = (face->point[LS_POINT_EYE_R][0] + face->point[LS_POINT_EYE_L][0]) / 2;
        y = (face->point[LS_POINT_EYE_R][1] + face->point[LS_POINT_EYE_L][1]) / 2;
    }
    patch->pitch = fmaxf(width / cells_across, 1);
    half_x = (radius_x + margin) * width;
    half_y = (radius_y + margin) * width;
    patch->x = x - half_x;
    patch->y = y - half_y;
    if (!(width >= 8) || !(fabsf(x) < 65536) || !(fabsf(y) < 65536) || !(width < 65536))
        return false;
    // A pixel of room on each side: a cell's edge may fall just beyond the last one.
    view->x = (int)floorf(fmaxf(patch->x, 0));
    view->y = (int)floorf(fmaxf(patch->y, 0));
    right = (int)ceilf(fminf(x + half_x + patch->pitch, (float)frame->width_px));
    bottom = (int)ceilf(fminf(y + half_y + patch->pitch, (float)frame->height_px));
    view->width = right - view->x;
    view->height = bottom - view->y;
    if (view->width < 4 || view->height < 4 || view->width > WIDTH_MAX)
        return false;
    patch->cols = (int)(2 * half_x / patch->pitch);
    patch->rows = (int)(2 * half_y / patch->pitch);
    patch->cols = patch->cols < LS_PATCH_COLS ? patch->cols : LS_PATCH_COLS;
    patch->rows = patch->rows < LS_PATCH_ROWS ? patch->rows : LS_PATCH_ROWS;
    return patch->cols * patch->rows >= CELLS_MIN;
}

// sum[i]: of the row's first i pixels.
static void running_sums(uint32_t *sum, const uint8_t *row, int width, enum ls_pixel format)
{
    int x;

    sum[0] = 0;
    if (format == LS_PIX_RGB24) // green stands for luma
        for (x = 0; x < width; x++)
            sum[x + 1] = sum[x] + row[3 * x + 1];
    else if (format == LS_PIX_P010)
        for (x = 0; x < width; x++)
            sum[x + 1] = sum[x] + row[2 * x + 1]; // the upper eight bits of ten
    else
        for (x = 0; x < width; x++)
            sum[x + 1] = sum[x] + row[x];
}

// The sum up to a place between pixels; outside the row its last pixels go on.
static float sum_to(const uint32_t *sum, int width, float at)
{
    int x = (int)floorf(at);

    x = x < 0 ? 0 : x > width - 1 ? width - 1 : x;
    return (float)sum[x] + (at - (float)x) * (float)(sum[x + 1] - sum[x]);
}

static void soften(struct ls_patch *p)
{
    float before[LS_PATCH_COLS], line[LS_PATCH_COLS], *row;
    int x, y, cols = p->cols;

    for (y = 0; y < p->rows; y++) {
        row = p->cell + y * cols;
        memcpy(line, row, (size_t)cols * sizeof(*line));
        for (x = 0; x < cols; x++)
            row[x] = (line[x > 0 ? x - 1 : 0] + 2 * line[x] + line[x + 1 < cols ? x + 1 : x]) / 4;
    }
    memcpy(before, p->cell, (size_t)cols * sizeof(*before));
    for (y = 0; y < p->rows; y++) {
        const float *next = p->cell + (y + 1 < p->rows ? y + 1 : y) * cols;

        row = p->cell + y * cols;
        memcpy(line, row, (size_t)cols * sizeof(*line));
        for (x = 0; x < cols; x++)
            row[x] = (before[x] + 2 * line[x] + next[x]) / 4;
        memcpy(before, line, (size_t)cols * sizeof(*before));
    }
}

// One row of pixels into the cells that it overlaps; `top`: its place, in cells.
static void add_row(struct ls_patch *p, const struct ls_patch_view *v, const uint32_t *sum,
                    float top, float height)
{
    float line[LS_PATCH_COLS], left, from = p->x - (float)v->x, share;
    int first = (int)floorf(top), c, r;

    left = sum_to(sum, v->width, from);
    for (c = 0; c < p->cols; c++) {
        float right = sum_to(sum, v->width, from + (float)(c + 1) * p->pitch);

        line[c] = (right - left) / p->pitch;
        left = right;
    }
    // A cell is at least a pixel high, so a row lies in two cells at most.
    for (r = first; r <= first + 1; r++) {
        share = fminf(top + height, (float)(r + 1)) - fmaxf(top, (float)r);
        if (r < 0 || r >= p->rows || share <= 0)
            continue;
        for (c = 0; c < p->cols; c++)
            p->cell[r * p->cols + c] += share * line[c];
    }
}

void ls_patch_fill(struct ls_patch *p, const struct ls_patch_view *v, const struct ls_frame *frame,
                   const uint8_t *first, int stride)
{
    uint32_t sum[WIDTH_MAX + 1];
    float pixel = 1 / p->pitch; // in cells
    int y, from = (int)floorf(p->y), until = (int)ceilf(p->y + (float)p->rows * p->pitch), inside;

    memset(p->cell, 0, sizeof(p->cell));
    for (y = from; y < until; y++) {
        inside = y < v->y ? v->y : y >= v->y + v->height ? v->y + v->height - 1 : y;
        // Rows outside the frame repeat its edge, and need no new sums.
        if (y == from || (y > v->y && y < v->y + v->height))
            running_sums(sum, first + (ptrdiff_t)(inside - v->y) * stride, v->width, frame->format);
        add_row(p, v, sum, ((float)y - p->y) * pixel, pixel);
    }
    soften(p);
    soften(p);
}

// The sums of one step: of products of what each unknown does to a cell, and with what is missing.
// The upper triangle, row by row; a row of cells is summed by itself, so that floats will do.
enum { SQUARES = UNKNOWNS * (UNKNOWNS + 1) / 2 };
struct sums {
    float square[SQUARES], right[UNKNOWNS];
    float miss, spread, weight; // of what is missing, and of the picture itself
    int cells;
};

static float between_cells(const struct ls_patch *p, float x, float y)
{
    int i = (int)x, j = (int)y;
    const float *c = p->cell + j * p->cols + i;
    float u = x - (float)i, v = y - (float)j;

    return (c[0] + u * (c[1] - c[0])) * (1 - v) +
           (c[p->cols] + u * (c[p->cols + 1] - c[p->cols])) * v;
}

static void add_sums(struct sums *to, const struct sums *s)
{
    int i;

    for (i = 0; i < SQUARES; i++)
        to->square[i] += s->square[i];
    for (i = 0; i < UNKNOWNS; i++)
        to->right[i] += s->right[i];
    to->miss += s->miss;
    to->spread += s->spread;
    to->weight += s->weight;
    to->cells += s->cells;
}

// What a pair of patches is compared by. `warp` goes from cells of `a` to cells of `b`, both
// counted from their middles. give: what a cell may miss before it loses its say.
struct pair {
    const struct ls_patch *a, *b;
    struct ls_pose warp;
    struct ls_pose half, back; // from between the two to b, and to a
    float light, mean, give;
};

// A line between cells blurs. If only one of the two were blurred, each step would lean the same
// way; so they meet in the middle.
static void halve(struct pair *p)
{
    double size = sqrt(hypot(p->warp.a, p->warp.b)), turn = atan2(p->warp.b, p->warp.a) / 2, n;
    struct ls_pose h = {size * cos(turn), size * sin(turn), 0, 0};

    // h after h is warp: its shift is that of warp divided by 1 + h's turn and scale.
    n = (1 + h.a) * (1 + h.a) + h.b * h.b;
    h.x = ((1 + h.a) * p->warp.x + h.b * p->warp.y) / n;
    h.y = ((1 + h.a) * p->warp.y - h.b * p->warp.x) / n;
    p->half = h;
    p->back = ls_pose_inverse(&h);
}

static void add_cell(struct sums *s, const struct pair *p, const float *c, float u, float v,
                     float miss, float weight)
{
    int cols = p->a->cols, i, k, n = 0;
    float gx = (c[1] - c[-1]) / 2, gy = (c[cols] - c[-cols]) / 2, out = miss / p->give;
    float w = weight / (1 + out * out),
          does[UNKNOWNS] = {gx, gy, gx * u + gy * v, gy * u - gx * v, 1};

    for (i = 0; i < UNKNOWNS; i++) {
        float wd = w * does[i];

        for (k = i; k < UNKNOWNS; k++)
            s->square[n++] += wd * does[k];
        s->right[i] += wd * miss;
    }
    s->miss += w * miss * miss;
    s->spread += w * (c[0] - p->mean) * (c[0] - p->mean);
    s->weight += w;
    s->cells++;
}

// Where a row of cells goes: cell (u, v) to (a u + x, b u + y) of a patch.
struct line {
    float a, b, x, y;
};

static struct line line_of(const struct ls_pose *p, const struct ls_patch *patch, float v)
{
    float a = (float)p->a, b = (float)p->b;

    return (struct line){a, b, (float)(patch->cols - 1) / 2 + (float)p->x - b * v,
                         (float)(patch->rows - 1) / 2 + (float)p->y + a * v};
}

static bool sample(float *out, const struct ls_patch *p, const struct line *l, float u)
{
    float x = l->a * u + l->x, y = l->b * u + l->y;

    if (!(x >= 0 && y >= 0 && x < (float)(p->cols - 1) && y < (float)(p->rows - 1)))
        return false;
    *out = between_cells(p, x, y);
    return true;
}

static void add_cells(struct sums *s, const struct pair *p, int y, float rx, float ry)
{
    const struct ls_patch *a = p->a;
    float mid_x = (float)(a->cols - 1) / 2, v = (float)y - (float)(a->rows - 1) / 2, e, u, va, vb;
    struct line to_a = line_of(&p->back, a, v), to_b = line_of(&p->half, p->b, v);
    int x;

    for (x = 1; x < a->cols - 1; x++) {
        u = (float)x - mid_x;
        e = u * u / (rx * rx) + v * v / (ry * ry);
        // Softly towards the edge, or a cell that comes and goes there is a jolt.
        if (e < 1 && sample(&va, a, &to_a, u) && sample(&vb, p->b, &to_b, u))
            add_cell(s, p, a->cell + y * a->cols + x, u, v, vb - va - p->light, 1 - e);
    }
}

static void gather(struct sums *s, const struct pair *p)
{
    float rx = fminf(radius_x * cells_across, (float)(p->a->cols - 3) / 2);
    float ry = fminf(radius_y * cells_across, (float)(p->a->rows - 3) / 2);
    struct sums row;

    memset(s, 0, sizeof(*s));
    for (int y = 1; y < p->a->rows - 1; y++) {
        memset(&row, 0, sizeof(row));
        add_cells(&row, p, y, rx, ry);
        add_sums(s, &row);
    }
}

// Cholesky's; false: the picture does not fix all unknowns.
static bool solve(const struct sums *s, double out[UNKNOWNS])
{
    double l[UNKNOWNS][UNKNOWNS], sum, self;
    int i, j, k;

    for (i = 0; i < UNKNOWNS; i++)
        for (j = 0; j <= i; j++) {
            // Element (j, i) of the triangle.
            sum = self = (double)s->square[j * UNKNOWNS - j * (j - 1) / 2 + i - j];
            for (k = 0; k < j; k++)
                sum -= l[i][k] * l[j][k];
            if (i == j && !(sum > 1e-6 * self && sum > 1e-9))
                return false;
            l[i][j] = i == j ? sqrt(sum) : sum / l[j][j];
        }
    for (i = 0; i < UNKNOWNS; i++) {
        sum = (double)s->right[i];
        for (k = 0; k < i; k++)
            sum -= l[i][k] * out[k];
        out[i] = sum / l[i][i];
    }
    for (i = UNKNOWNS - 1; i >= 0; i--) {
        sum = out[i];
        for (k = i + 1; k < UNKNOWNS; k++)
            sum -= l[k][i] * out[k];
        out[i] = sum / l[i][i];
    }
    return true;
}

// Cells counted from a patch's middle, to frame pixels.
static struct ls_pose pixels_of(const struct ls_patch *p)
{
    double pitch = (double)p->pitch;

    return (struct ls_pose){pitch, 0, (double)p->x + pitch * p->cols / 2,
                            (double)p->y + pitch * p->rows / 2};
}

static float mean_of(const struct ls_patch *p)
{
    float sum = 0;

    for (int i = 0; i < p->cols * p->rows; i++)
        sum += p->cell[i];
    return sum / (float)(p->cols * p->rows);
}

// One step towards the right warp: which is then warp after the inverse of what is missing, as the
// gradients are those of the patch before. Returns how far it went, in cells; negative: nowhere.
static double improve(struct pair *p, struct sums *s)
{
    struct ls_pose back;
    double d[UNKNOWNS], size;

    halve(p);
    gather(s, p);
    if (s->cells < CELLS_MIN || !solve(s, d))
        return -1;
    size = exp(d[2]);
    back = (struct ls_pose){size * cos(d[3]), size * sin(d[3]), d[0], d[1]};
    back = ls_pose_inverse(&back);
    p->warp = ls_pose_after(&p->warp, &back);
    p->light += (float)d[4];
    return fabs(d[0]) + fabs(d[1]) + (fabs(d[2]) + fabs(d[3])) * p->a->cols / 4;
}

// What does not fit by a tenth of the picture's own variance is another picture; measured on heads
// that speak: 0.0001, at most 0.01.
static bool believable(const struct pair *p, const struct sums *s, const struct ls_pose *start)
{
    double size = hypot(p->warp.a, p->warp.b) / hypot(start->a, start->b);

    return s->miss < 0.1f * s->spread && s->spread > 4 * s->weight && size > 0.8 && size < 1.25 &&
           fabs(p->warp.b) < 0.3 * p->warp.a;
}

bool ls_motion_between(struct ls_pose *guess, const struct ls_patch *was, const struct ls_patch *is)
{
    struct pair p = {.a = was, .b = is, .give = 1e9f};
    struct ls_pose to_was, to_is, back, start;
    double moved;
    struct sums s;
    int step;

    if (was->cols * was->rows < CELLS_MIN || is->cols * is->rows < CELLS_MIN)
        return false;
    to_was = pixels_of(was);
    to_is = pixels_of(is);
    back = ls_pose_inverse(&to_is);
    start = ls_pose_after(guess, &to_was);
    start = p.warp = ls_pose_after(&back, &start);
    p.mean = mean_of(was);
    p.light = mean_of(is) - p.mean;
    for (step = 0; step < STEPS_MAX; step++) {
        moved = improve(&p, &s);
        if (moved < 0 || !(hypot(p.warp.x - start.x, p.warp.y - start.y) < shift_max))
            return false;
        if (step >= STEPS_PLAIN && moved < still_enough)
            break;
        if (step + 1 >= STEPS_PLAIN)
            p.give = 2 * sqrtf(s.miss / s.weight) + 0.5f;
    }
    if (!believable(&p, &s, &start))
        return false;
    back = ls_pose_inverse(&to_was);
    p.warp = ls_pose_after(&p.warp, &back);
    *guess = ls_pose_after(&to_is, &p.warp);
    return true;
}
