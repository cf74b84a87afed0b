// SPDX-License-Identifier: Apache-2.0
// The filters of filter.h: columns first, then rows, in loops over rows of floats that a compiler
// can vectorise, with radii that it knows. Any thread. What surprises: the sums' order is a part of
// the definition; it stays as it is, so that every processor gives the same.
#include "filter.h"

#include <string.h>

#include "detail.h"

enum { SIZE = LS_FACE_SIZE, FINE = LS_DETAIL_FINE, REACH = LS_BLUR3 };

static int inside(int at, int count)
{
    return at < 0 ? 0 : at < count ? at : count - 1;
}

// out [x1 - x0 + 2 * radius]: a map's row around x0..x1.
static void get_line(float *out, const float *row, int size, int radius, const struct ls_int_box *r)
{
    int from = r->x0 - radius, to = r->x1 + radius;
    int left = from < 0 ? -from : 0, right = to > size ? to - size : 0;

    for (int i = 0; i < left; i++)
        out[i] = row[0];
    memcpy(out + left, row + from + left, (size_t)(to - right - from - left) * sizeof *out);
    for (int i = 0; i < right; i++)
        out[to - right - from + i] = row[size - 1];
}

// Both with a radius that the compiler knows: out[i] is the sum around line[radius + i], and
// around row[radius][i].
static inline void sum_line(float *restrict out, const float *restrict line, int count, int radius)
{
    float weight[REACH + 1];

    for (int k = 0; k <= radius; k++)
        weight[k] = ls_detail_weight(radius, k);
    for (int i = 0; i < count; i++) {
        float sum = weight[0] * line[i + radius];

        for (int k = 1; k <= radius; k++)
            sum += weight[k] * (line[i + radius - k] + line[i + radius + k]);
        out[i] = sum;
    }
}

static inline void sum_rows(float *restrict out, const float *const *row, int count, int radius)
{
    float weight[REACH + 1];

    for (int k = 0; k <= radius; k++)
        weight[k] = ls_detail_weight(radius, k);
    for (int i = 0; i < count; i++) {
        float sum = weight[0] * row[radius][i];

        for (int k = 1; k <= radius; k++)
            sum += weight[k] * (row[radius - k][i] + row[radius + k][i]);
        out[i] = sum;
    }
}

LS_CLONES static void blur_line(float *out, const float *line, int count, int radius)
{
    if (radius == LS_BLUR1)
        sum_line(out, line, count, LS_BLUR1);
    else if (radius == LS_BLUR2)
        sum_line(out, line, count, LS_BLUR2);
    else
        sum_line(out, line, count, LS_BLUR3);
}

LS_CLONES static void blur_rows(float *out, const float *const *row, int count, int radius)
{
    if (radius == LS_BLUR1)
        sum_rows(out, row, count, LS_BLUR1);
    else if (radius == LS_BLUR2)
        sum_rows(out, row, count, LS_BLUR2);
    else
        sum_rows(out, row, count, LS_BLUR3);
}

void ls_filter_blur(float *out, const float *in, int radius, const struct ls_int_box *r)
{
    float rows[SIZE][SIZE], line[SIZE + 2 * REACH];
    int width = r->x1 - r->x0, first = inside(r->y0 - radius, SIZE);
    int end = inside(r->y1 + radius - 1, SIZE) + 1;

    for (int y = first; y < end; y++) {
        get_line(line, in + y * SIZE, SIZE, radius, r);
        blur_line(rows[y], line, width, radius);
    }
    for (int y = r->y0; y < r->y1; y++) {
        const float *row[2 * REACH + 1];

        for (int k = 0; k <= 2 * radius; k++)
            row[k] = rows[inside(y - radius + k, SIZE)];
        blur_rows(out + y * SIZE + r->x0, row, width, radius);
    }
}

static inline float lower(float a, float b)
{
    return a < b ? a : b;
}

static inline float higher(float a, float b)
{
    return a > b ? a : b;
}

// Smallest and largest of five values, along a line and of rows.
LS_CLONES static void span_line(float *restrict low, float *restrict high,
                                const float *restrict line, int count)
{
    for (int i = 0; i < count; i++)
        low[i] =
            lower(lower(lower(line[i], line[i + 1]), lower(line[i + 2], line[i + 3])), line[i + 4]);
    for (int i = 0; i < count; i++)
        high[i] = higher(higher(higher(line[i], line[i + 1]), higher(line[i + 2], line[i + 3])),
                         line[i + 4]);
}

LS_CLONES static void span_rows(float *restrict low, float *restrict high, const float *const *lows,
                                const float *const *highs, int count)
{
    for (int i = 0; i < count; i++)
        low[i] =
            lower(lower(lower(lows[0][i], lows[1][i]), lower(lows[2][i], lows[3][i])), lows[4][i]);
    for (int i = 0; i < count; i++)
        high[i] = higher(higher(higher(highs[0][i], highs[1][i]), higher(highs[2][i], highs[3][i])),
                         highs[4][i]);
}

void ls_filter_spans(float *low, float *high, const float *in, const struct ls_int_box *r)
{
    float lows[SIZE][SIZE], highs[SIZE][SIZE], line[SIZE + 4];
    int first = inside(r->y0 - 2, SIZE), end = inside(r->y1 + 1, SIZE) + 1;
    int width = r->x1 - r->x0;

    for (int y = first; y < end; y++) {
        get_line(line, in + y * SIZE, SIZE, 2, r);
        span_line(lows[y], highs[y], line, width);
    }
    for (int y = r->y0; y < r->y1; y++) {
        const float *a[5], *b[5];
        int to = y * SIZE + r->x0;

        for (int k = 0; k < 5; k++) {
            a[k] = lows[inside(y - 2 + k, SIZE)];
            b[k] = highs[inside(y - 2 + k, SIZE)];
        }
        span_rows(low + to, high + to, a, b, width);
    }
}

// The doubled map's row or column i lies a quarter of a pixel before or behind its pixel's centre.
static const float doubled[4] = {-9 / 128.0f, 111 / 128.0f, 29 / 128.0f, -3 / 128.0f};

// line: one more pixel than count has before it, two more behind. out [2 * count].
LS_CLONES static void double_line(float *restrict out, const float *restrict line, int count)
{
    const float *w = doubled;

    for (int i = 0; i < count; i++) {
        const float *at = line + i + 2;

        out[2 * i] = w[0] * at[1] + w[1] * at[0] + w[2] * at[-1] + w[3] * at[-2];
        out[2 * i + 1] = w[0] * at[-1] + w[1] * at[0] + w[2] * at[1] + w[3] * at[2];
    }
}

LS_CLONES static void double_rows(float *restrict out, const float *a, const float *b,
                                  const float *c, const float *d, int count)
{
    const float *w = doubled;

    for (int i = 0; i < count; i++)
        out[i] = w[0] * a[i] + w[1] * b[i] + w[2] * c[i] + w[3] * d[i];
}

void ls_filter_double(float *out, const float *in, const struct ls_int_box *r)
{
    float rows[SIZE][FINE], line[SIZE + 4];
    struct ls_int_box half = {r->x0 / 2, r->y0 / 2, (r->x1 + 1) / 2, (r->y1 + 1) / 2};
    int first = inside(half.y0 - 2, SIZE), end = inside(half.y1 + 1, SIZE) + 1;
    int left = r->x0 - 2 * half.x0, width = r->x1 - r->x0;

    for (int y = first; y < end; y++) {
        get_line(line, in + y * SIZE, SIZE, 2, &half);
        double_line(rows[y], line, half.x1 - half.x0);
    }
    for (int y = r->y0; y < r->y1; y++) {
        int at = y / 2, way = y % 2 ? 1 : -1;

        double_rows(out + y * FINE + r->x0, rows[inside(at - way, SIZE)] + left, rows[at] + left,
                    rows[inside(at + way, SIZE)] + left, rows[inside(at + 2 * way, SIZE)] + left,
                    width);
    }
}

// Columns of a step: B1, smallest and largest of three.
struct steps {
    float soft[FINE], low[FINE], high[FINE];
};

// line: from two pixels before.
LS_CLONES static void step_line(struct steps *restrict s, const float *restrict line, int count)
{
    sum_line(s->soft, line, count, LS_BLUR1);
    for (int i = 0; i < count; i++)
        s->low[i] = lower(lower(line[i + 1], line[i + 2]), line[i + 3]);
    for (int i = 0; i < count; i++)
        s->high[i] = higher(higher(line[i + 1], line[i + 2]), line[i + 3]);
}

// s: of the five rows around.
LS_CLONES static void step_rows(float *restrict map, const struct steps *const *s, float amount,
                                int count)
{
    const float *row[5] = {s[0]->soft, s[1]->soft, s[2]->soft, s[3]->soft, s[4]->soft};
    const float *a = s[1]->low, *b = s[2]->low, *c = s[3]->low;
    const float *d = s[1]->high, *e = s[2]->high, *f = s[3]->high;
    float soft[FINE], low[FINE], high[FINE];

    sum_rows(soft, row, count, LS_BLUR1);
    for (int i = 0; i < count; i++)
        low[i] = lower(lower(a[i], b[i]), c[i]);
    for (int i = 0; i < count; i++)
        high[i] = higher(higher(d[i], e[i]), f[i]);
    for (int i = 0; i < count; i++)
        map[i] = ls_detail_steepen(map[i], soft[i], low[i], high[i], amount);
}

void ls_filter_steepen(float *map, float amount, const struct ls_int_box *r)
{
    struct steps rows[8]; // the last ones that were read: the map changes behind them
    float line[FINE + 4];
    int width = r->x1 - r->x0, next = inside(r->y0 - 2, FINE);

    for (int y = r->y0; y < r->y1; y++) {
        const struct steps *s[5];

        for (int end = inside(y + 2, FINE) + 1; next < end; next++) {
            get_line(line, map + next * FINE, FINE, 2, r);
            step_line(&rows[next % 8], line, width);
        }
        for (int k = 0; k < 5; k++)
            s[k] = &rows[inside(y - 2 + k, FINE) % 8];
        step_rows(map + y * FINE + r->x0, s, amount, width);
    }
}
