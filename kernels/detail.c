// SPDX-License-Identifier: Apache-2.0
// The maps of a face that is put back, as detail.h defines them: colour, change, sharpness and the
// doubled face. Shared by the back ends of the host; work happens in the rectangle that a paste
// reads, rows of floats that a compiler can vectorise. Any thread. What surprises: the face outside
// the rectangle may hold anything, since it may never have been made; C stands in for it.
#include "detail.h"

#include <assert.h>
#include <string.h>

#include "colour.h"
#include "filter.h"

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
    LIPS,
    ROOMS
};

static int inside(int at, int count)
{
    return at < 0 ? 0 : at < count ? at : count - 1;
}

// Pixels of BGR to rows of each.
LS_CLONES static void load_bytes(float *restrict b, float *restrict g, float *restrict r,
                                 const uint8_t *restrict pixels, int count)
{
    for (int i = 0; i < count; i++) {
        b[i] = pixels[3 * i];
        g[i] = pixels[3 * i + 1];
        r[i] = pixels[3 * i + 2];
    }
}

LS_CLONES static void load_floats(float *restrict b, float *restrict g, float *restrict r,
                                  const float *restrict pixels, int count)
{
    for (int i = 0; i < count; i++) {
        b[i] = ls_detail_cut(255 * pixels[3 * i], 0, 255);
        g[i] = ls_detail_cut(255 * pixels[3 * i + 1], 0, 255);
        r[i] = ls_detail_cut(255 * pixels[3 * i + 2], 0, 255);
    }
}

// F and C as maps: C's outside the rectangle for F's.
static void load(struct ls_detail *d, const struct ls_paste *paste, const struct ls_int_box *r)
{
    float(*made)[AREA] = &d->room[MADE], (*seen)[AREA] = &d->room[SEEN];

    load_bytes(seen[0], seen[1], seen[2], paste->source, AREA);
    memcpy(made, seen, 3 * sizeof *made);
    for (int y = r->y0; y < r->y1; y++) {
        int at = y * SIZE + r->x0;

        load_floats(made[0] + at, made[1] + at, made[2] + at, paste->face + 3 * at, r->x1 - r->x0);
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

// Of the pixels 0..count of row y: the mask, the lips.
LS_CLONES static void mask_row(float *restrict out, const struct ls_mask_shape *shape, int x0,
                               int y, int count)
{
    for (int i = 0; i < count; i++)
        out[i] = ls_mask_at(shape, (float)(x0 + i) + 0.5f, (float)y + 0.5f);
}

LS_CLONES static void lips_row(float *restrict out, const struct ls_mask_shape *shape, int x0,
                               int y, int count)
{
    for (int i = 0; i < count; i++)
        out[i] = ls_mask_lips(shape, (float)(x0 + i) + 0.5f, (float)y + 0.5f);
}

static void load_masks(struct ls_detail *d, const struct ls_mask_shape *shape,
                       const struct ls_int_box *r)
{
    for (int y = r->y0; y < r->y1; y++) {
        mask_row(d->room[MASK] + y * SIZE + r->x0, shape, r->x0, y, r->x1 - r->x0);
        lips_row(d->room[LIPS] + y * SIZE + r->x0, shape, r->x0, y, r->x1 - r->x0);
    }
}

LS_CLONES static void luma(float *restrict out, float (*restrict bgr)[AREA])
{
    for (int i = 0; i < AREA; i++)
        out[i] = 0.114f * bgr[0][i] + 0.587f * bgr[1][i] + 0.299f * bgr[2][i];
}

LS_CLONES static void subtract(float *restrict out, const float *restrict a,
                               const float *restrict b)
{
    for (int i = 0; i < AREA; i++)
        out[i] = a[i] - b[i];
}

// w, and w (C - F) of the channels, in a row; at: its first pixel in the maps.
LS_CLONES static void trust_row(float (*restrict out)[SIZE], const struct ls_detail *d, int at,
                                int count)
{
    const float *mask = d->room[MASK] + at, *seen = d->room[SEEN_L] + at;
    const float *made = d->room[MADE_L] + at;

    for (int i = 0; i < count; i++)
        out[3][i] = ls_detail_trust(mask[i], seen[i] - made[i]);
    for (int c = 0; c < 3; c++) {
        const float *to = d->room[SEEN + c] + at, *from = d->room[MADE + c] + at;

        for (int i = 0; i < count; i++)
            out[c][i] = out[3][i] * (to[i] - from[i]);
    }
}

// Sums of w (C - F), and of w last, in cells. Returns false if w sums to nothing.
static bool cell_sums(float sums[4][CELLS * CELLS], const struct ls_detail *d,
                      const struct ls_int_box *r)
{
    float row[4][SIZE] = {{0}}, all = 0; // beyond the rectangle w is 0

    memset(sums, 0, 4 * CELLS * CELLS * sizeof sums[0][0]);
    for (int y = r->y0; y < r->y1; y++) {
        float part[4][SIZE];

        trust_row(part, d, y * SIZE + r->x0, r->x1 - r->x0);
        for (int c = 0; c < 4; c++) {
            float *cell = sums[c] + y / 4 * CELLS;

            memcpy(row[c] + r->x0, part[c], (size_t)(r->x1 - r->x0) * sizeof row[c][0]);
            for (int i = r->x0 / 4; i < CELLS; i++)
                cell[i] +=
                    row[c][4 * i] + row[c][4 * i + 1] + (row[c][4 * i + 2] + row[c][4 * i + 3]);
        }
    }
    for (int i = 0; i < CELLS * CELLS; i++)
        all += sums[3][i];
    return all >= 1e-6f;
}

// out = a b
LS_CLONES static void multiply(float (*restrict out)[CELLS], const float (*restrict a)[CELLS],
                               const float (*restrict b)[CELLS])
{
    for (int y = 0; y < CELLS; y++) {
        for (int x = 0; x < CELLS; x++)
            out[y][x] = 0;
        for (int k = 0; k < CELLS; k++)
            for (int x = 0; x < CELLS; x++)
                out[y][x] += a[y][k] * b[k][x];
    }
}

// All cells by a Gaussian of 2.5 cells.
static void spread(float (*cells)[CELLS], int count)
{
    float weight[CELLS][CELLS], rows[CELLS][CELLS];

    for (int i = 0; i < CELLS; i++)
        weight[0][i] = 0.1595769f * expf(-0.08f * (float)(i * i)); // 1 / (2.5 sqrt(2 pi))
    for (int y = 1; y < CELLS; y++)
        for (int x = 0; x < CELLS; x++)
            weight[y][x] = weight[0][x < y ? y - x : x - y];
    for (int i = 0; i < count; i++) {
        multiply(rows, cells + i * CELLS, weight);
        multiply(cells + i * CELLS, weight, rows);
    }
}

// A cell's centre lies on pixel 1.5 of its four: the place of pixel `at` between cells.
static float cell_place(int *cell, int at)
{
    float place = ls_detail_cut(((float)at - 1.5f) / 4, 0, CELLS - 1);

    *cell = (int)place;
    return place - (float)*cell;
}

// A row of cells at the pixels.
LS_CLONES static void widen_cells(float *restrict out, const float *restrict cells, float match)
{
    out[0] = out[1] = match * cells[0];
    for (int c = 0; c + 1 < CELLS; c++)
        for (int n = 0; n < 4; n++)
            out[2 + 4 * c + n] =
                match * (cells[c] + (0.125f + 0.25f * (float)n) * (cells[c + 1] - cells[c]));
    out[SIZE - 2] = out[SIZE - 1] = match * cells[CELLS - 1];
}

// Adds what lies between two rows of cells to a map's.
LS_CLONES static void add_row(float *restrict map, const float *a, const float *b, float part,
                              int count)
{
    for (int i = 0; i < count; i++)
        map[i] = ls_detail_cut(map[i] + (a[i] + part * (b[i] - a[i])), 0, 255);
}

// Adds `match` times what the cells say to a map, and cuts it to 0..255.
static void add_cells(float *map, float (*cells)[CELLS], float match, const struct ls_int_box *r)
{
    float wide[CELLS][SIZE], part;
    int cell;

    for (int y = 0; y < CELLS; y++)
        widen_cells(wide[y], cells[y], match);
    for (int y = r->y0; y < r->y1; y++) {
        part = cell_place(&cell, y);
        add_row(map + y * SIZE + r->x0, wide[cell] + r->x0, wide[inside(cell + 1, CELLS)] + r->x0,
                part, r->x1 - r->x0);
    }
}

// 1 of detail.h.
static void match_colour(struct ls_detail *d, const struct ls_paste *paste,
                         const struct ls_int_box *r)
{
    float sums[4][CELLS * CELLS], all[4] = {0};

    if (!cell_sums(sums, d, r))
        return;
    for (int c = 0; c < 4; c++)
        for (int i = 0; i < CELLS * CELLS; i++)
            all[c] += sums[c][i];
    spread((float(*)[CELLS])sums, 4);
    for (int c = 0; c < 3; c++) {
        for (int i = 0; i < CELLS * CELLS; i++)
            sums[c][i] = (sums[c][i] + 1e-4f * all[c] / all[3]) / (sums[3][i] + 1e-4f);
        add_cells(d->room[MADE + c], (float(*)[CELLS])sums[c], paste->colour_match, r);
    }
}

static struct ls_int_box grown(const struct ls_int_box *r, int by, int size)
{
    return (struct ls_int_box){inside(r->x0 - by, size), inside(r->y0 - by, size),
                               inside(r->x1 + by - 1, size) + 1, inside(r->y1 + by - 1, size) + 1};
}

LS_CLONES static void change_row(float *restrict change, const float *g, const float *c1,
                                 const float *c2, const float *c3, float weight, int count)
{
    for (int i = 0; i < count; i++) {
        float apart = ls_detail_apart(g[i], c1[i], c2[i], c3[i]);

        change[i] += weight * apart * apart;
    }
}

// Adds weight * distance^2 of L or Q to CHANGE and leaves its blurs in SEEN_1, SEEN_2, MADE_1.
static void add_change(struct ls_detail *d, const float *made, const float *seen, float weight,
                       const struct ls_int_box *r)
{
    struct ls_int_box most = grown(r, LS_BLUR2 + LS_BLUR3, SIZE), more = grown(r, LS_BLUR3, SIZE);
    struct ls_int_box band = grown(r, LS_BLUR2, SIZE);
    float *change = d->room[CHANGE], *g = d->room[MADE_1], *c1 = d->room[SEEN_1];
    float *c2 = d->room[SEEN_2], *c3 = d->room[SPARE];

    ls_filter_blur(c1, seen, LS_BLUR1, &most);
    ls_filter_blur(c2, c1, LS_BLUR2, &more);
    ls_filter_blur(c3, c2, LS_BLUR3, r);
    ls_filter_blur(g, made, LS_BLUR1, &band);
    for (int y = r->y0; y < r->y1; y++) {
        int i = y * SIZE + r->x0;

        change_row(change + i, g + i, c1 + i, c2 + i, c3 + i, weight, r->x1 - r->x0);
    }
}

// Adds lips * change and lips to each column's sums.
LS_CLONES static void whole_row(double *restrict sum, double *restrict all,
                                const float *restrict lips, const float *restrict change, int count)
{
    for (int i = 0; i < count; i++)
        sum[i] += (double)(lips[i] * change[i]);
    for (int i = 0; i < count; i++)
        all[i] += (double)lips[i];
}

LS_CLONES static void keep_row(float *restrict keep, const float *restrict change,
                               const float *restrict lips, float most, float whole, int count)
{
    for (int i = 0; i < count; i++)
        keep[i] = most * ls_detail_keep(sqrtf(change[i]), lips[i], whole);
}

// 2 of detail.h. Leaves the blurs of luma behind.
static void find_change(struct ls_detail *d, const struct ls_paste *paste,
                        const struct ls_int_box *r)
{
    float *change = d->room[CHANGE], *lips = d->room[LIPS], most = fminf(paste->sharpness, 1);
    double sums[SIZE] = {0}, alls[SIZE] = {0}, sum = 0, all = 0;
    int width = r->x1 - r->x0;
    float whole;

    memset(change, 0, sizeof d->room[CHANGE]);
    add_change(d, d->room[MADE_Q], d->room[SEEN_Q], 0.25f, r);
    add_change(d, d->room[MADE_L], d->room[SEEN_L], 1, r);
    for (int y = r->y0; y < r->y1; y++)
        whole_row(sums, alls, lips + y * SIZE + r->x0, change + y * SIZE + r->x0, width);
    for (int i = 0; i < width; i++) {
        sum += sums[i];
        all += alls[i];
    }
    whole = all > 0 ? (float)sqrt(sum / all) : 0;
    ls_filter_blur(change, change, LS_BLUR3, r);
    for (int i = 0; i < AREA; i++)
        d->keep[i] = 1;
    for (int y = r->y0; y < r->y1; y++) {
        int i = y * SIZE + r->x0;

        keep_row(d->keep + i, change + i, lips + i, most, whole, width);
    }
}

// Mean squares over the rectangle: of the bands of C and G where the face changed, of C's alone,
// and of its finest on skin.
struct bands {
    float seen[2], made[2], source[2], skin;
};

// Sums of each column: of the seven squares, then what they are divided by.
enum { CHANGED = 7, MASKED, EDGE, SUMS };

// at: the row's first pixel in the maps.
LS_CLONES static void measure_row(double (*restrict sum)[SIZE], const struct ls_detail *d, int at,
                                  int count)
{
    const float *mask = d->room[MASK] + at, *keep = d->keep + at;
    const float *made = d->room[MADE_L] + at, *made_1 = d->room[MADE_1] + at;
    const float *seen = d->room[SEEN_L] + at, *seen_1 = d->room[SEEN_1] + at;
    const float *seen_2 = d->room[SEEN_2] + at, *made_2 = d->room[SPARE] + at;

    for (int i = 0; i < count; i++) {
        float a = mask[i], k = keep[i], w = a * (1 - k) + a / 1000, v = a * (1 - a) * k;
        float c1 = seen[i] - seen_1[i], c2 = seen_1[i] - seen_2[i];
        float g1 = made[i] - made_1[i], g2 = made_1[i] - made_2[i], square = c1 * c1;

        sum[0][i] += (double)(w * c1 * c1);
        sum[1][i] += (double)(w * c2 * c2);
        sum[2][i] += (double)(w * g1 * g1);
        sum[3][i] += (double)(w * g2 * g2);
        sum[4][i] += (double)(a * c1 * c1);
        sum[5][i] += (double)(a * c2 * c2);
        sum[6][i] += (double)(v * (square < 64 ? square : 64));
        sum[CHANGED][i] += (double)w;
        sum[MASKED][i] += (double)a;
        sum[EDGE][i] += (double)v;
    }
}

static void measure(struct bands *b, const struct ls_detail *d, const struct ls_int_box *r)
{
    double sums[SUMS][SIZE], sum[SUMS] = {0};

    memset(sums, 0, sizeof sums);
    for (int y = r->y0; y < r->y1; y++)
        measure_row(sums, d, y * SIZE + r->x0, r->x1 - r->x0);
    for (int k = 0; k < SUMS; k++) {
        for (int i = 0; i < r->x1 - r->x0; i++)
            sum[k] += sums[k][i];
        if (k >= CHANGED)
            sum[k] = fmax(sum[k], 1e-6);
    }
    *b = (struct bands){{(float)(sum[0] / sum[CHANGED]), (float)(sum[1] / sum[CHANGED])},
                        {(float)(sum[2] / sum[CHANGED]), (float)(sum[3] / sum[CHANGED])},
                        {(float)(sum[4] / sum[MASKED]), (float)(sum[5] / sum[MASKED])},
                        (float)(sum[6] / sum[EDGE])};
}

// at: the row's first pixel in the maps.
LS_CLONES static void sharpen_row(struct ls_detail *restrict d, const float gain[2], int at,
                                  int count)
{
    const float *made_2 = d->room[SPARE] + at, *low = d->room[CHANGE] + at;
    const float *high = d->room[MASK] + at, *made = d->room[MADE_L] + at;
    const float *made_1 = d->room[MADE_1] + at, *seen = d->room[SEEN_L] + at;
    const float *seen_1 = d->room[SEEN_1] + at, *lips = d->room[LIPS] + at;
    float fine = gain[0], coarse = gain[1], limit = d->limit, more[SIZE];

    for (int i = 0; i < count; i++) {
        float add = fine * (made[i] - made_1[i]) + coarse * (made_1[i] - made_2[i]);
        float over = (high[i] - low[i]) / 5;

        add = ls_detail_cut(add, low[i] - over - made[i], high[i] + over - made[i]);
        more[i] = add + (1 - lips[i]) * ls_detail_grain(seen[i] - seen_1[i],
                                                        ls_detail_limit_at(limit, lips[i]));
    }
    for (int c = 0; c < 3; c++) {
        float *restrict out = d->room[MADE + c] + at;

        for (int i = 0; i < count; i++)
            out[i] = ls_detail_cut(out[i] + more[i], 0, 255);
    }
}

// 3 and 5 of detail.h, and the amount of 4.
static void sharpen(struct ls_detail *d, const struct ls_paste *paste, const struct ls_int_box *r)
{
    struct bands b;
    float gain[2];

    ls_filter_blur(d->room[SPARE], d->room[MADE_1], LS_BLUR2, r);
    measure(&b, d, r);
    gain[0] = paste->sharpness * ls_detail_gain(b.seen[0], b.made[0], 1.5f);
    gain[1] = paste->sharpness * ls_detail_gain(b.seen[1], b.made[1], 1);
    d->amount = ls_detail_amount(b.source[0], b.source[1], paste);
    d->limit = ls_detail_limit(b.skin, paste);
    ls_filter_spans(d->room[CHANGE], d->room[MASK], d->room[MADE_L], r);
    for (int y = r->y0; y < r->y1; y++)
        sharpen_row(d, gain, y * SIZE + r->x0, r->x1 - r->x0);
}

LS_CLONES static void convert(float *restrict out, float (*restrict bgr)[AREA], const float m[3],
                              float offset)
{
    float blue = m[0], green = m[1], red = m[2];

    for (int i = 0; i < AREA; i++)
        out[i] = offset + blue * bgr[0][i] + green * bgr[1][i] + red * bgr[2][i];
}

// G, and of the channels of full resolution C, in the frame's channels.
static void convert_all(struct ls_detail *d, const struct ls_frame *frame)
{
    struct ls_colour colour;

    if (frame->format == LS_PIX_RGB24) {
        memcpy(d->made, &d->room[MADE], sizeof d->made);
        memcpy(d->seen, &d->room[SEEN], sizeof d->seen);
        return;
    }
    ls_colour_init(&colour, frame);
    for (int c = 0; c < 3; c++)
        convert(d->made[c], &d->room[MADE], colour.yuv_of_bgr[c], colour.offset[c]);
    convert(d->seen[0], &d->room[SEEN], colour.yuv_of_bgr[0], colour.offset[0]);
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
    load_masks(d, &shape, &r);
    luma(d->room[SEEN_L], &d->room[SEEN]);
    luma(d->room[MADE_L], &d->room[MADE]);
    if (paste->source && paste->colour_match > 0)
        match_colour(d, paste, &r);
    d->amount = d->limit = 0;
    if (paste->source && paste->sharpness > 0) {
        luma(d->room[MADE_L], &d->room[MADE]);
        subtract(d->room[MADE_Q], d->room[MADE + 2], d->room[MADE + 1]);
        subtract(d->room[SEEN_Q], d->room[SEEN + 2], d->room[SEEN + 1]);
        find_change(d, paste, &r);
        sharpen(d, paste, &r);
    } else {
        memset(d->keep, 0, sizeof d->keep);
    }
    convert_all(d, frame);
    return true;
}

void ls_detail_fine(struct ls_detail *d, const struct ls_paste *paste, int idx)
{
    struct ls_int_box r, step;
    float reach;

    reach = fmaxf(ls_detail_widen(paste->box.x1 - paste->box.x0, FINE),
                  ls_detail_widen(paste->box.y1 - paste->box.y0, FINE));
    ls_paste_extent(&r, paste);
    r = grown(&r, (int)reach + 2, SIZE);
    r = (struct ls_int_box){2 * r.x0, 2 * r.y0, 2 * r.x1, 2 * r.y1};
    step = grown(&r, LS_DETAIL_STEPS * LS_BLUR1, FINE);
    ls_filter_double(d->fine[idx], d->made[idx], &step);
    for (int n = LS_DETAIL_STEPS - 1; n >= 0 && d->amount > 0; n--) {
        step = grown(&r, n * LS_BLUR1, FINE);
        ls_filter_steepen(d->fine[idx], d->amount, &step);
    }
}
