// SPDX-License-Identifier: Apache-2.0
// The maps of a face that is put back, as detail.h defines them: colour, change, sharpness and the
// doubled face. Shared by the back ends of the host; work happens in the rectangle that a paste
// reads, rows of floats that a compiler can vectorise. Any thread. What surprises: the face outside
// the rectangle may hold anything, since it may never have been made; C stands in for it.
#include "detail.h"

#include <assert.h>
#include <string.h>

#include "colour.h"

enum { SIZE = LS_FACE_SIZE, AREA = LS_DETAIL_AREA, FINE = LS_DETAIL_FINE, CELLS = LS_DETAIL_CELLS };

// Maps in ls_detail.room: B, G, R of F and then of G, and of C; of those, L and Q.
enum {
    MADE,
    SEEN = MADE + 3,
    MADE_L = SEEN + 3,
    SEEN_L,
    MADE_Q,
    SEEN_Q,
    MASK,
    SEEN_1, // B1 C
    SEEN_2, // B2 B1 C
    MADE_1, // B1 G
    CHANGE, // e2, then E
    SPARE,
    ROOMS
};

static int inside(int at, int count)
{
    return at < 0 ? 0 : at < count ? at : count - 1;
}

// One row or column of a blur: out[i] of `count`, line [count + 2 * radius].
static void blur_line(float *restrict out, const float *restrict line, int count, int radius)
{
    float middle = ls_detail_weight(radius, 0);

    for (int i = 0; i < count; i++)
        out[i] = middle * line[i + radius];
    for (int k = 1; k <= radius; k++) {
        float weight = ls_detail_weight(radius, k);

        for (int i = 0; i < count; i++)
            out[i] += weight * (line[i + radius - k] + line[i + radius + k]);
    }
}

// out and in: maps of `size` x `size`; edges repeat; out may be in.
static void blur(float *out, const float *in, int size, int radius, const struct ls_int_box *r)
{
    float rows[FINE][FINE], line[FINE + 2 * LS_BLUR3];
    int width = r->x1 - r->x0, first = inside(r->y0 - radius, size);
    int end = inside(r->y1 + radius - 1, size) + 1;

    for (int y = first; y < end; y++) {
        for (int i = 0; i < width + 2 * radius; i++)
            line[i] = in[y * size + inside(r->x0 + i - radius, size)];
        blur_line(rows[y], line, width, radius);
    }
    for (int y = r->y0; y < r->y1; y++) {
        float *to = out + y * size + r->x0;

        for (int i = 0; i < width; i++)
            to[i] = ls_detail_weight(radius, 0) * rows[y][i];
        for (int k = 1; k <= radius; k++) {
            const float *a = rows[inside(y - k, size)], *b = rows[inside(y + k, size)];
            float weight = ls_detail_weight(radius, k);

            for (int i = 0; i < width; i++)
                to[i] += weight * (a[i] + b[i]);
        }
    }
}

// low and high [count] of themselves and of line [count].
static void take(float *restrict low, float *restrict high, const float *restrict lows,
                 const float *restrict highs, int count)
{
    for (int i = 0; i < count; i++)
        low[i] = lows[i] < low[i] ? lows[i] : low[i];
    for (int i = 0; i < count; i++)
        high[i] = highs[i] > high[i] ? highs[i] : high[i];
}

// Smallest and largest of the (2 radius + 1)^2 values around.
static void spans(float *low, float *high, const float *in, int size, int radius,
                  const struct ls_int_box *r)
{
    float lows[FINE][FINE], highs[FINE][FINE], line[FINE + 2 * LS_BLUR3];
    int first = inside(r->y0 - radius, size), end = inside(r->y1 + radius - 1, size) + 1;
    int width = r->x1 - r->x0;
    size_t row_size = (size_t)width * sizeof *line;

    for (int y = first; y < end; y++) {
        for (int i = 0; i < width + 2 * radius; i++)
            line[i] = in[y * size + inside(r->x0 + i - radius, size)];
        memcpy(lows[y], line, row_size);
        memcpy(highs[y], line, row_size);
        for (int k = 1; k <= 2 * radius; k++)
            take(lows[y], highs[y], line + k, line + k, width);
    }
    for (int y = r->y0; y < r->y1; y++) {
        int at = inside(y - radius, size), to = y * size + r->x0;

        memcpy(low + to, lows[at], row_size);
        memcpy(high + to, highs[at], row_size);
        for (int k = 1; k <= 2 * radius; k++) {
            at = inside(y - radius + k, size);
            take(low + to, high + to, lows[at], highs[at], width);
        }
    }
}

// F and C as maps: C's outside the rectangle for F's.
static void load(struct ls_detail *d, const struct ls_paste *paste, const struct ls_int_box *r)
{
    for (int c = 0; c < 3; c++) {
        float *made = d->room[MADE + c], *seen = d->room[SEEN + c];

        for (int i = 0; i < AREA; i++)
            seen[i] = paste->source[3 * i + c];
        memcpy(made, seen, sizeof d->room[0]);
        for (int y = r->y0; y < r->y1; y++)
            for (int i = y * SIZE + r->x0; i < y * SIZE + r->x1; i++)
                made[i] = ls_detail_cut(255 * paste->face[3 * i + c], 0, 255);
    }
}

// Without a source F for C, and outside the rectangle F's nearest in it.
static void load_face(struct ls_detail *d, const struct ls_paste *paste, const struct ls_int_box *r)
{
    for (int i = 0; i < AREA; i++) {
        int x = inside(i % SIZE - r->x0, r->x1 - r->x0) + r->x0;
        int y = inside(i / SIZE - r->y0, r->y1 - r->y0) + r->y0;

        for (int c = 0; c < 3; c++)
            d->room[MADE + c][i] = d->room[SEEN + c][i] =
                ls_detail_cut(255 * paste->face[3 * (y * SIZE + x) + c], 0, 255);
    }
}

static void load_mask(struct ls_detail *d, const struct ls_mask_shape *shape,
                      const struct ls_int_box *r)
{
    for (int y = r->y0; y < r->y1; y++)
        for (int x = r->x0; x < r->x1; x++)
            d->room[MASK][y * SIZE + x] = ls_mask_at(shape, (float)x + 0.5f, (float)y + 0.5f);
}

static void luma(float *restrict out, float (*bgr)[AREA])
{
    for (int i = 0; i < AREA; i++)
        out[i] = 0.114f * bgr[0][i] + 0.587f * bgr[1][i] + 0.299f * bgr[2][i];
}

// Sums of w (C - F), and of w last, in cells. Returns false if w sums to nothing.
static bool cell_sums(float sums[4][CELLS * CELLS], const struct ls_detail *d,
                      const struct ls_int_box *r)
{
    const float(*made)[AREA] = &d->room[MADE], (*seen)[AREA] = &d->room[SEEN];
    float all = 0;

    memset(sums, 0, 4 * CELLS * CELLS * sizeof sums[0][0]);
    for (int y = r->y0; y < r->y1; y++)
        for (int x = r->x0; x < r->x1; x++) {
            int i = y * SIZE + x, cell = y / 4 * CELLS + x / 4;
            float w = ls_detail_trust(d->room[MASK][i], d->room[SEEN_L][i] - d->room[MADE_L][i]);

            for (int c = 0; c < 3; c++)
                sums[c][cell] += w * (seen[c][i] - made[c][i]);
            sums[3][cell] += w;
            all += w;
        }
    return all >= 1e-6f;
}

// All cells by a Gaussian of 2.5 cells.
static void spread(float *cells)
{
    float weight[CELLS], rows[CELLS * CELLS];

    for (int i = 0; i < CELLS; i++)
        weight[i] = 0.1595769f * expf(-0.08f * (float)(i * i)); // 1 / (2.5 sqrt(2 pi))
    for (int y = 0; y < CELLS; y++)
        for (int x = 0; x < CELLS; x++) {
            rows[y * CELLS + x] = 0;
            for (int k = 0; k < CELLS; k++)
                rows[y * CELLS + x] += weight[k < x ? x - k : k - x] * cells[y * CELLS + k];
        }
    for (int y = 0; y < CELLS; y++)
        for (int x = 0; x < CELLS; x++) {
            cells[y * CELLS + x] = 0;
            for (int k = 0; k < CELLS; k++)
                cells[y * CELLS + x] += weight[k < y ? y - k : k - y] * rows[k * CELLS + x];
        }
}

// A cell's centre lies on pixel 1.5 of its four: the place of pixel `at` between cells.
static float cell_place(int *cell, int at)
{
    float place = ls_detail_cut(((float)at - 1.5f) / 4, 0, CELLS - 1);

    *cell = (int)place;
    return place - (float)*cell;
}

// Adds `match` times what the cells say to a map, and cuts it to 0..255.
static void add_cells(float *map, const float *cells, float match, const struct ls_int_box *r)
{
    for (int y = r->y0; y < r->y1; y++) {
        float row[CELLS + 1], part;
        int cell;

        part = cell_place(&cell, y);
        for (int i = 0; i < CELLS; i++) {
            float a = cells[cell * CELLS + i], b = cells[inside(cell + 1, CELLS) * CELLS + i];

            row[i] = match * (a + part * (b - a));
        }
        row[CELLS] = row[CELLS - 1];
        for (int x = r->x0; x < r->x1; x++) {
            part = cell_place(&cell, x);
            map[y * SIZE + x] = ls_detail_cut(
                map[y * SIZE + x] + row[cell] + part * (row[cell + 1] - row[cell]), 0, 255);
        }
    }
}

// 1 of detail.h.
static void match_colour(struct ls_detail *d, const struct ls_paste *paste,
                         const struct ls_int_box *r)
{
    float sums[4][CELLS * CELLS], all[4] = {0};

    if (!cell_sums(sums, d, r))
        return;
    for (int c = 0; c < 4; c++) {
        for (int i = 0; i < CELLS * CELLS; i++)
            all[c] += sums[c][i];
        spread(sums[c]);
    }
    for (int c = 0; c < 3; c++) {
        for (int i = 0; i < CELLS * CELLS; i++)
            sums[c][i] = (sums[c][i] + 1e-4f * all[c] / all[3]) / (sums[3][i] + 1e-4f);
        add_cells(d->room[MADE + c], sums[c], paste->colour_match, r);
    }
}

static struct ls_int_box grown(const struct ls_int_box *r, int by, int size)
{
    return (struct ls_int_box){inside(r->x0 - by, size), inside(r->y0 - by, size),
                               inside(r->x1 + by - 1, size) + 1, inside(r->y1 + by - 1, size) + 1};
}

// Adds weight * distance^2 of L or Q to CHANGE and leaves its blurs in SEEN_1, SEEN_2, MADE_1.
static void add_change(struct ls_detail *d, const float *made, const float *seen, float weight,
                       const struct ls_int_box *r)
{
    struct ls_int_box most = grown(r, LS_BLUR2 + LS_BLUR3, SIZE), more = grown(r, LS_BLUR3, SIZE);
    struct ls_int_box band = grown(r, LS_BLUR2, SIZE);
    float *change = d->room[CHANGE], *g = d->room[MADE_1], *c1 = d->room[SEEN_1];
    float *c2 = d->room[SEEN_2], *c3 = d->room[SPARE];

    blur(c1, seen, SIZE, LS_BLUR1, &most);
    blur(c2, c1, SIZE, LS_BLUR2, &more);
    blur(c3, c2, SIZE, LS_BLUR3, r);
    blur(g, made, SIZE, LS_BLUR1, &band);
    for (int y = r->y0; y < r->y1; y++)
        for (int i = y * SIZE + r->x0; i < y * SIZE + r->x1; i++) {
            float apart = ls_detail_apart(g[i], c1[i], c2[i], c3[i]);

            change[i] += weight * apart * apart;
        }
}

// 2 of detail.h. Leaves the blurs of luma behind.
static void find_change(struct ls_detail *d, const struct ls_paste *paste,
                        const struct ls_mask_shape *shape, const struct ls_int_box *r)
{
    float *change = d->room[CHANGE], *lips = d->room[SPARE], most = fminf(paste->sharpness, 1);
    double sum = 0, all = 0;
    float whole;

    memset(change, 0, sizeof d->room[CHANGE]);
    add_change(d, d->room[MADE_Q], d->room[SEEN_Q], 0.25f, r);
    add_change(d, d->room[MADE_L], d->room[SEEN_L], 1, r);
    for (int y = r->y0; y < r->y1; y++)
        for (int x = r->x0; x < r->x1; x++) {
            int i = y * SIZE + x;

            lips[i] = ls_mask_lips(shape, (float)x + 0.5f, (float)y + 0.5f);
            sum += (double)(lips[i] * change[i]);
            all += (double)lips[i];
        }
    whole = all > 0 ? (float)sqrt(sum / all) : 0;
    blur(change, change, SIZE, LS_BLUR3, r);
    for (int i = 0; i < AREA; i++)
        d->keep[i] = 1;
    for (int y = r->y0; y < r->y1; y++)
        for (int i = y * SIZE + r->x0; i < y * SIZE + r->x1; i++)
            d->keep[i] = most * ls_detail_keep(sqrtf(change[i]), lips[i], whole);
}

// Mean squares over the rectangle: of the bands of C and G where the face changed, of C's alone,
// and of its finest on skin.
struct bands {
    float seen[2], made[2], source[2], skin;
};

static void measure(struct bands *b, const struct ls_detail *d, const struct ls_int_box *r)
{
    const float *made = d->room[MADE_L], *seen = d->room[SEEN_L], *made_2 = d->room[SPARE];
    double sum[7] = {0}, changed = 0, masked = 0, edge = 0;

    for (int y = r->y0; y < r->y1; y++)
        for (int i = y * SIZE + r->x0; i < y * SIZE + r->x1; i++) {
            float a = d->room[MASK][i], k = d->keep[i], w = a * (1 - k) + a / 1000;
            float v = a * (1 - a) * k;
            float c1 = seen[i] - d->room[SEEN_1][i], c2 = d->room[SEEN_1][i] - d->room[SEEN_2][i];
            float g1 = made[i] - d->room[MADE_1][i], g2 = d->room[MADE_1][i] - made_2[i];

            sum[0] += (double)(w * c1 * c1);
            sum[1] += (double)(w * c2 * c2);
            sum[2] += (double)(w * g1 * g1);
            sum[3] += (double)(w * g2 * g2);
            sum[4] += (double)(a * c1 * c1);
            sum[5] += (double)(a * c2 * c2);
            sum[6] += (double)(v * (c1 * c1 < 64 ? c1 * c1 : 64));
            changed += (double)w;
            masked += (double)a;
            edge += (double)v;
        }
    changed = fmax(changed, 1e-6);
    masked = fmax(masked, 1e-6);
    *b = (struct bands){{(float)(sum[0] / changed), (float)(sum[1] / changed)},
                        {(float)(sum[2] / changed), (float)(sum[3] / changed)},
                        {(float)(sum[4] / masked), (float)(sum[5] / masked)},
                        (float)(sum[6] / fmax(edge, 1e-6))};
}

// 3 and 5 of detail.h, and the amount of 4.
static void sharpen(struct ls_detail *d, const struct ls_paste *paste,
                    const struct ls_mask_shape *shape, const struct ls_int_box *r)
{
    float *made_2 = d->room[SPARE], *low = d->room[CHANGE], *high = d->room[MASK], gain[2];
    const float *made = d->room[MADE_L], *made_1 = d->room[MADE_1], *seen = d->room[SEEN_L];
    struct bands b;

    blur(made_2, made_1, SIZE, LS_BLUR2, r);
    measure(&b, d, r);
    gain[0] = paste->sharpness * ls_detail_gain(b.seen[0], b.made[0], 1.5f);
    gain[1] = paste->sharpness * ls_detail_gain(b.seen[1], b.made[1], 1);
    d->amount = ls_detail_amount(b.source[0], b.source[1], paste);
    d->limit = ls_detail_limit(b.skin, paste);
    spans(low, high, made, SIZE, 2, r);
    for (int y = r->y0; y < r->y1; y++)
        for (int i = y * SIZE + r->x0; i < y * SIZE + r->x1; i++) {
            float more = gain[0] * (made[i] - made_1[i]) + gain[1] * (made_1[i] - made_2[i]);
            float over = (high[i] - low[i]) / 5;
            float lips = ls_mask_lips(shape, (float)(i - y * SIZE) + 0.5f, (float)y + 0.5f);

            more = ls_detail_cut(more, low[i] - over - made[i], high[i] + over - made[i]);
            more += (1 - lips) * ls_detail_grain(seen[i] - d->room[SEEN_1][i],
                                                 ls_detail_limit_at(d->limit, lips));
            for (int c = 0; c < 3; c++)
                d->room[MADE + c][i] = ls_detail_cut(d->room[MADE + c][i] + more, 0, 255);
        }
}

static void convert(float (*restrict out)[AREA], float (*restrict bgr)[AREA],
                    const struct ls_frame *frame)
{
    struct ls_colour colour;

    if (frame->format == LS_PIX_RGB24) {
        memcpy(out, bgr, 3 * sizeof *out);
        return;
    }
    ls_colour_init(&colour, frame);
    for (int c = 0; c < 3; c++) {
        const float *m = colour.yuv_of_bgr[c];
        float offset = colour.offset[c];

        for (int i = 0; i < AREA; i++)
            out[c][i] = offset + m[0] * bgr[0][i] + m[1] * bgr[1][i] + m[2] * bgr[2][i];
    }
}

bool ls_detail_make(struct ls_detail *d, const struct ls_frame *frame, const struct ls_paste *paste)
{
    struct ls_mask_shape shape;
    struct ls_int_box r;

    static_assert(sizeof d->room / sizeof d->room[0] == ROOMS, "a map too many");
    ls_paste_extent(&r, paste);
    if (r.x0 == r.x1 || paste->strength <= 0)
        return false;
    ls_paste_reads(&r, paste);
    ls_mask_init(&shape, paste);
    if (paste->source)
        load(d, paste, &r);
    else
        load_face(d, paste, &r);
    load_mask(d, &shape, &r);
    luma(d->room[SEEN_L], &d->room[SEEN]);
    luma(d->room[MADE_L], &d->room[MADE]);
    if (paste->source && paste->colour_match > 0)
        match_colour(d, paste, &r);
    d->amount = d->limit = 0;
    if (paste->source && paste->sharpness > 0) {
        luma(d->room[MADE_L], &d->room[MADE]);
        for (int i = 0; i < AREA; i++) {
            d->room[MADE_Q][i] = d->room[MADE + 2][i] - d->room[MADE + 1][i];
            d->room[SEEN_Q][i] = d->room[SEEN + 2][i] - d->room[SEEN + 1][i];
        }
        find_change(d, paste, &shape, &r);
        sharpen(d, paste, &shape, &r);
    } else {
        memset(d->keep, 0, sizeof d->keep);
    }
    convert(d->made, &d->room[MADE], frame);
    convert(d->seen, &d->room[SEEN], frame);
    return true;
}

// The doubled map's row or column i lies a quarter of a pixel before or behind its pixel's centre.
static void double_map(float *out, const float *in, const struct ls_int_box *r)
{
    static const float near[4] = {-9 / 128.0f, 111 / 128.0f, 29 / 128.0f, -3 / 128.0f};
    float rows[SIZE][FINE];
    int first = inside(r->y0 / 2 - 2, SIZE), end = inside((r->y1 - 1) / 2 + 2, SIZE) + 1;

    for (int y = first; y < end; y++)
        for (int x = r->x0; x < r->x1; x++) {
            int at = x / 2, way = x % 2 ? 1 : -1;
            const float *line = in + y * SIZE;

            rows[y][x] = near[0] * line[inside(at - way, SIZE)] + near[1] * line[at] +
                         near[2] * line[inside(at + way, SIZE)] +
                         near[3] * line[inside(at + 2 * way, SIZE)];
        }
    for (int y = r->y0; y < r->y1; y++) {
        int at = y / 2, way = y % 2 ? 1 : -1;
        const float *a = rows[inside(at - way, SIZE)], *b = rows[at];
        const float *c = rows[inside(at + way, SIZE)], *e = rows[inside(at + 2 * way, SIZE)];

        for (int x = r->x0; x < r->x1; x++)
            out[y * FINE + x] = near[0] * a[x] + near[1] * b[x] + near[2] * c[x] + near[3] * e[x];
    }
}

void ls_detail_fine(struct ls_detail *d, const struct ls_paste *paste, int idx)
{
    // Four maps are a doubled one.
    float *soft = d->room[0], *low = d->room[4], *high = d->room[8];
    float *map = d->fine, reach;
    struct ls_int_box r, step;

    static_assert(3 * FINE * FINE <= ROOMS * AREA, "room for three doubled maps");
    reach = fmaxf(ls_detail_widen(paste->box.x1 - paste->box.x0, FINE),
                  ls_detail_widen(paste->box.y1 - paste->box.y0, FINE));
    ls_paste_extent(&r, paste);
    r = grown(&r, (int)reach + 2, SIZE);
    r = (struct ls_int_box){2 * r.x0, 2 * r.y0, 2 * r.x1, 2 * r.y1};
    step = grown(&r, LS_DETAIL_STEPS * LS_BLUR1, FINE);
    double_map(map, d->made[idx], &step);
    for (int n = LS_DETAIL_STEPS - 1; n >= 0 && d->amount > 0; n--) {
        step = grown(&r, n * LS_BLUR1, FINE);
        blur(soft, map, FINE, LS_BLUR1, &step);
        spans(low, high, map, FINE, 1, &step);
        for (int y = step.y0; y < step.y1; y++)
            for (int i = y * FINE + step.x0; i < y * FINE + step.x1; i++)
                map[i] = ls_detail_steepen(map[i], soft[i], low[i], high[i], d->amount);
    }
}
