// SPDX-License-Identifier: Apache-2.0
// Puts a generated face back: the maps are detail.c's, as the reference's are; an upright face is
// enlarged columns first, a strip of the frame at a time, then row by row, so that most of the work
// is adding rows of floats. A turned face is looked up sample by sample. Differs from the reference
// by rounding only, at most 1 of 255. A lane's room is used by one thread at a time. What
// surprises: faces under 52 px, which cover more of their maps a sample than there is room for
// here, are the reference's own: they are few samples.
#include "cpu.h"

#include <math.h>
#include <string.h>

#include "../cubic.h"
#include "../plane.h"
#include "../ref/ref.h"

enum { SIZE = LS_FACE_SIZE, FINE = LS_DETAIL_FINE, STRIP = LS_CPU_STRIP };
enum { TAPS = 16, PAD = 8 }; // of the kernel, where it is widened by up to 3.7; beyond a map's edge
#define WIDEN_MAX 3.7f

// What a row of samples is mixed from, and (old, then what is written) the samples themselves.
struct row {
    float keep[STRIP], made[STRIP], seen[STRIP], opacity[STRIP], limit[STRIP], old[STRIP];
};

// One channel on its way.
struct channel {
    const struct ls_detail *detail;
    const struct ls_paste *paste;
    struct ls_plane plane;
    struct ls_turn turn;
    struct ls_mask_shape shape;
    struct ls_box part; // of the face: outside of it nothing changes
    const float *made;  // [side][side]
    const float *seen;  // [96][96]; NULL: chroma, which has no grain and is mixed plainly
    int side;
    float black;
};

struct taps {
    int first, count;
    float weight[TAPS];
};

// at: in face pixels; samples: of the plane along the box's side.
static void taps_init(struct taps *t, double at, double samples, int side)
{
    float width = ls_detail_widen((float)samples, side), sum = 0;
    double middle = at * side / SIZE - 0.5;

    t->first = width > 1 ? (int)ceil(middle - 2 * (double)width) : (int)floor(middle) - 1;
    t->count = width > 1 ? (int)floor(middle + 2 * (double)width) + 1 - t->first : 4;
    for (int k = 0; k < t->count; k++)
        sum += t->weight[k] = ls_cubic((float)(t->first + k - middle) / width);
    for (int k = 0; k < t->count; k++)
        t->weight[k] /= sum;
}

static int inside(int at, int count)
{
    return at < 0 ? 0 : at < count ? at : count - 1;
}

// Rows first..end of map [side][side] to columns at a strip's samples: wide [side][STRIP].
static void widen(float *wide, const float *map, int side, int first, int end,
                  const struct taps *taps, int count)
{
    float line[FINE + 2 * PAD];

    for (int y = first; y < end; y++) {
        const float *row = map + y * side;
        float *to = wide + y * STRIP;

        for (int i = 0; i < PAD; i++) {
            line[i] = row[0];
            line[PAD + side + i] = row[side - 1];
        }
        memcpy(line + PAD, row, (size_t)side * sizeof *line);
        for (int i = 0; i < count; i++) {
            const float *from = line + PAD + taps[i].first, *w = taps[i].weight;
            float sum = w[0] * from[0] + w[1] * from[1] + (w[2] * from[2] + w[3] * from[3]);

            for (int k = 4; k < taps[i].count; k++)
                sum += w[k] * from[k];
            to[i] = sum;
        }
    }
}

static void mix_rows(float *restrict out, const float *wide, int side, const struct taps *t,
                     int count)
{
    const float *restrict a = wide + inside(t->first, side) * STRIP;
    const float *restrict b = wide + inside(t->first + 1, side) * STRIP;
    const float *restrict c = wide + inside(t->first + 2, side) * STRIP;
    const float *restrict d = wide + inside(t->first + 3, side) * STRIP;
    const float *w = t->weight;

    for (int i = 0; i < count; i++)
        out[i] = w[0] * a[i] + w[1] * b[i] + (w[2] * c[i] + w[3] * d[i]);
    for (int k = 4; k < t->count; k++) {
        const float *restrict row = wide + inside(t->first + k, side) * STRIP;

        for (int i = 0; i < count; i++)
            out[i] += w[k] * row[i];
    }
}

// In two loops: nested conditions are not vectorised.
static void cut_row(float *restrict v, float low, float high, int count)
{
    for (int i = 0; i < count; i++)
        v[i] = v[i] > low ? v[i] : low;
    for (int i = 0; i < count; i++)
        v[i] = v[i] < high ? v[i] : high;
}

// u and v of each sample to opacity; roots apart, because they stop a loop from being vectorised.
static void mask_row(float *restrict out, const struct channel *c, const float *restrict u,
                     const float *restrict v, int count)
{
    const struct ls_mask_shape *s = &c->shape;
    float strength = c->paste->strength, edge[STRIP], inner[STRIP];

    for (int i = 0; i < count; i++) {
        float x = (u[i] - s->x) * s->per_x, y = (v[i] - s->y) * s->per_y;

        out[i] = x * x + y * y;
    }
    for (int i = 0; i < count; i++)
        out[i] = sqrtf(out[i]);
    for (int i = 0; i < count; i++) {
        float right = SIZE - u[i], low = SIZE - v[i];

        right = u[i] < right ? u[i] : right;
        low = v[i] < low ? v[i] : low;
        edge[i] = right * s->edge;
        inner[i] = low * s->edge;
        out[i] = s->top - out[i] * s->slope;
    }
    for (int i = 0; i < count; i++)
        edge[i] = edge[i] < inner[i] ? edge[i] : inner[i];
    cut_row(edge, 0, 1, count);
    cut_row(out, 0, 1, count);
    for (int i = 0; i < count; i++)
        out[i] = strength * (out[i] * out[i] * (3 - 2 * out[i])) *
                 (edge[i] * edge[i] * (3 - 2 * edge[i]));
}

// The grain's limit at each sample.
static void limit_row(float *restrict out, const struct channel *c, const float *restrict u,
                      const float *restrict v, int count)
{
    for (int i = 0; i < count; i++)
        out[i] = ls_detail_limit_at(c->detail->limit, ls_mask_lips(&c->shape, u[i], v[i]));
}

// Mixes a row of chroma. An opacity of 0 gives the sample again.
static void mix_chroma(struct row *r, int count)
{
    for (int i = 0; i < count; i++) {
        float old = r->old[i], made = r->made[i] + r->keep[i] * (old - r->made[i]);

        r->old[i] = old + r->opacity[i] * (made - old);
    }
}

// Mixes a row of full resolution in light (ls_detail_blend); the roots apart.
static void mix_full(struct row *r, float black, int count)
{
    float light[STRIP];

    for (int i = 0; i < count; i++) {
        float old = r->old[i], k = r->keep[i], o = r->opacity[i];
        float grain = ls_detail_grain(old - r->seen[i], r->limit[i]);
        float made = r->made[i] + (1 - k) * grain + k * (old - r->made[i]);
        float a = old - black, b = made - black;

        a = a > 0 ? a : 0;
        b = b > 0 ? b : 0;
        light[i] = a * a + o * (b * b - a * a);
        r->old[i] = old + o * (made - old) - (a + o * (b - a));
    }
    for (int i = 0; i < count; i++)
        light[i] = sqrtf(light[i] > 0 ? light[i] : 0);
    for (int i = 0; i < count; i++)
        r->old[i] += light[i];
}

// Samples from memory, and rounded back to it.
static void get_samples(float *restrict to, const uint8_t *restrict at, int step, int count)
{
    if (step == 1)
        for (int i = 0; i < count; i++)
            to[i] = at[i];
    else
        for (int i = 0; i < count; i++)
            to[i] = at[i * step];
}

static void put_samples(uint8_t *restrict at, const float *restrict from, int step, int count)
{
    uint8_t bytes[STRIP];

    for (int i = 0; i < count; i++)
        bytes[i] = (uint8_t)(int)(from[i] + 0.5f);
    for (int i = 0; i < count; i++)
        at[i * step] = bytes[i];
}

static void put_row(const struct channel *c, int x, int y, struct row *row, int count)
{
    uint8_t *at = ls_plane_at(&c->plane, x, y);

    get_samples(row->old, at, c->plane.step, count);
    cut_row(row->keep, 0, 1, count);
    if (c->seen)
        mix_full(row, c->black, count);
    else
        mix_chroma(row, count);
    cut_row(row->old, 0, 255, count);
    put_samples(at, row->old, c->plane.step, count);
}

// Samples of the plane along the box's side.
static double samples(const struct channel *c, int axis)
{
    return (axis ? c->turn.height : c->turn.width) / c->plane.scale;
}

// Rows of a map that samples y0 to y1 of an upright face look at.
static void map_rows(int *first, int *end, const struct channel *c, int y0, int y1, int side)
{
    struct taps t;
    double u, v;

    ls_turn_face(&u, &v, &c->turn, 0, c->plane.scale * y0 + c->plane.y_at);
    taps_init(&t, v, samples(c, 1), side);
    *first = inside(t.first, side);
    ls_turn_face(&u, &v, &c->turn, 0, c->plane.scale * (y1 - 1) + c->plane.y_at);
    taps_init(&t, v, samples(c, 1), side);
    *end = inside(t.first + t.count - 1, side) + 1;
}

// Samples `from` of an upright face, `count` columns of them. Returns where they lie in the face.
static void widen_strip(float *u, float (*wide)[FINE * STRIP], const struct channel *c,
                        const struct ls_int_box *from)
{
    int count = from->x1 - from->x0, first, end;
    struct taps taps[STRIP];
    double x, y;

    for (int i = 0; i < count; i++) {
        ls_turn_face(&x, &y, &c->turn, c->plane.scale * (from->x0 + i) + c->plane.x_at, 0);
        taps_init(&taps[i], x, samples(c, 0), SIZE);
        u[i] = (float)x;
    }
    map_rows(&first, &end, c, from->y0, from->y1, SIZE);
    widen(wide[0], c->detail->keep, SIZE, first, end, taps, count);
    if (c->seen)
        widen(wide[2], c->seen, SIZE, first, end, taps, count);
    if (c->side != SIZE) {
        for (int i = 0; i < count; i++)
            taps_init(&taps[i], (double)u[i], samples(c, 0), c->side);
        map_rows(&first, &end, c, from->y0, from->y1, c->side);
    }
    widen(wide[1], c->made, c->side, first, end, taps, count);
}

static void put_strip(const struct channel *c, float (*wide)[FINE * STRIP],
                      const struct ls_int_box *to)
{
    int count = to->x1 - to->x0;
    float u[STRIP], v[STRIP];
    struct taps taps, fine;
    struct row row;
    double x, y;

    widen_strip(u, wide, c, to);
    for (int j = to->y0; j < to->y1; j++) {
        ls_turn_face(&x, &y, &c->turn, 0, c->plane.scale * j + c->plane.y_at);
        taps_init(&taps, y, samples(c, 1), SIZE);
        taps_init(&fine, y, samples(c, 1), c->side);
        for (int i = 0; i < count; i++)
            v[i] = (float)y;
        mix_rows(row.keep, wide[0], SIZE, &taps, count);
        mix_rows(row.made, wide[1], c->side, &fine, count);
        if (c->seen)
            mix_rows(row.seen, wide[2], SIZE, &taps, count);
        mask_row(row.opacity, c, u, v, count);
        if (c->seen)
            limit_row(row.limit, c, u, v, count);
        put_row(c, to->x0, j, &row, count);
    }
}

// map [side][side] with its edges repeated to PAD pixels beyond them.
static void pad(float *out, const float *map, int side)
{
    int stride = side + 2 * PAD;

    for (int y = 0; y < stride; y++)
        for (int x = 0; x < stride; x++)
            out[y * stride + x] = map[inside(y - PAD, side) * side + inside(x - PAD, side)];
}

// taps_init where the kernel is not widened: its parabolas written out.
static void taps_plain(struct taps *t, float at, int side)
{
    float middle = at * (float)side / SIZE - 0.5f, u;

    t->first = (int)(middle + 1) - 2; // at is 0 or more
    t->count = 4;
    u = middle - (float)(t->first + 1);
    t->weight[0] = ((-0.5f * u + 1) * u - 0.5f) * u;
    t->weight[1] = (1.5f * u - 2.5f) * u * u + 1;
    t->weight[2] = ((-1.5f * u + 2) * u + 0.5f) * u;
    t->weight[3] = (0.5f * u - 0.5f) * u * u;
}

static void place_taps(struct taps taps[2], const struct channel *c, float u, float v, int side)
{
    if (ls_detail_widen((float)samples(c, 0), side) > 1 ||
        ls_detail_widen((float)samples(c, 1), side) > 1) {
        taps_init(&taps[0], (double)u, samples(c, 0), side);
        taps_init(&taps[1], (double)v, samples(c, 1), side);
    } else {
        taps_plain(&taps[0], u, side);
        taps_plain(&taps[1], v, side);
    }
}

static float look(const float *padded, int side, const struct taps taps[2])
{
    int stride = side + 2 * PAD;
    const float *at = padded + (taps[1].first + PAD) * stride + taps[0].first + PAD;
    const float *x = taps[0].weight, *y = taps[1].weight;
    float part[TAPS] = {0}, sum = 0;

    if (taps[0].count == 4 && taps[1].count == 4) {
        for (int i = 0; i < 4; i++)
            part[i] = y[0] * at[i] + y[1] * at[stride + i] +
                      (y[2] * at[2 * stride + i] + y[3] * at[3 * stride + i]);
        return x[0] * part[0] + x[1] * part[1] + (x[2] * part[2] + x[3] * part[3]);
    }
    for (int j = 0; j < taps[1].count; j++)
        for (int i = 0; i < taps[0].count; i++)
            part[i] += y[j] * at[j * stride + i];
    for (int i = 0; i < taps[0].count; i++)
        sum += x[i] * part[i];
    return sum;
}

// A row's samples from padded maps; where nothing changes, nothing is looked up.
static void look_row(struct row *row, const struct channel *c, float (*padded)[FINE * STRIP],
                     const float *u, const float *v, int count)
{
    struct taps taps[2];

    for (int i = 0; i < count; i++) {
        row->keep[i] = 1;
        row->made[i] = row->seen[i] = 0;
        if (row->opacity[i] <= 0)
            continue;
        place_taps(taps, c, u[i], v[i], SIZE);
        row->keep[i] = look(padded[0], SIZE, taps);
        if (row->keep[i] >= 1)
            continue;
        if (c->seen)
            row->seen[i] = look(padded[2], SIZE, taps);
        if (c->side != SIZE)
            place_taps(taps, c, u[i], v[i], c->side);
        row->made[i] = look(padded[1], c->side, taps);
    }
}

static void put_turned(const struct channel *c, float (*padded)[FINE * STRIP],
                       const struct ls_int_box *to)
{
    double first[2], next[2];
    int count = to->x1 - to->x0;
    float u[STRIP], v[STRIP];
    struct row row;

    for (int j = to->y0; j < to->y1; j++) {
        double x = c->plane.scale * to->x0 + c->plane.x_at, y = c->plane.scale * j + c->plane.y_at;

        ls_turn_face(&first[0], &first[1], &c->turn, x, y);
        ls_turn_face(&next[0], &next[1], &c->turn, x + c->plane.scale, y);
        for (int i = 0; i < count; i++) {
            u[i] = (float)(first[0] + i * (next[0] - first[0]));
            v[i] = (float)(first[1] + i * (next[1] - first[1]));
        }
        mask_row(row.opacity, c, u, v, count);
        if (c->seen)
            limit_row(row.limit, c, u, v, count);
        look_row(&row, c, padded, u, v, count);
        put_row(c, to->x0, j, &row, count);
    }
}

static void put_channel(const struct channel *c, float (*room)[FINE * STRIP])
{
    struct ls_int_box window, strip;

    ls_paste_window_of(&window, c->paste, &c->plane, &c->part);
    strip = window;
    if (c->turn.sine != 0) {
        pad(room[0], c->detail->keep, SIZE);
        pad(room[1], c->made, c->side);
        if (c->seen)
            pad(room[2], c->seen, SIZE);
    }
    for (int x = window.x0; x < window.x1; x += STRIP) {
        strip.x0 = x;
        strip.x1 = window.x1 - x < STRIP ? window.x1 : x + STRIP;
        if (c->turn.sine != 0)
            put_turned(c, room, &strip);
        else
            put_strip(c, room, &strip);
    }
}

// What of the face changes: the mask, where the source is not kept as it is, and what the kernel
// reaches from there. False if nothing does.
static bool find_part(struct channel *c)
{
    float reach = 2 + 2 * fmaxf(ls_detail_widen((float)c->turn.width / 2, SIZE),
                                ls_detail_widen((float)c->turn.height / 2, SIZE));
    struct ls_box *b = &c->part, got = {SIZE, SIZE, 0, 0};

    for (int y = 0; y < SIZE; y++)
        for (int x = 0; x < SIZE; x++)
            if (c->detail->keep[y * SIZE + x] < 1) {
                got.x0 = fminf(got.x0, (float)x);
                got.y0 = fminf(got.y0, (float)y);
                got.x1 = fmaxf(got.x1, (float)x + 1);
                got.y1 = fmaxf(got.y1, (float)y + 1);
            }
    ls_paste_bounds(b, c->paste);
    b->x0 = fmaxf(b->x0, got.x0 - reach);
    b->y0 = fmaxf(b->y0, got.y0 - reach);
    b->x1 = fminf(b->x1, got.x1 + reach);
    b->y1 = fminf(b->y1, got.y1 + reach);
    return got.x0 < got.x1 && b->x0 < b->x1 && b->y0 < b->y1;
}

int ls_cpu_composite(struct ls_cpu_paste *room, const struct ls_frame *frame,
                     const struct ls_paste *paste, struct ls_err *err)
{
    struct channel c = {.detail = &room->detail, .paste = paste};
    bool rgb = frame->format == LS_PIX_RGB24;
    int chroma = rgb ? 1 : 2;

    ls_turn_init(&c.turn, &paste->box, paste->roll_rad);
    if (paste->exact || ls_detail_widen((float)c.turn.width, FINE) > WIDEN_MAX ||
        ls_detail_widen((float)c.turn.height, FINE) > WIDEN_MAX ||
        ls_detail_widen((float)c.turn.width / (float)chroma, SIZE) > WIDEN_MAX ||
        ls_detail_widen((float)c.turn.height / (float)chroma, SIZE) > WIDEN_MAX)
        return ls_ref_composite(frame, paste, err);
    if (!ls_detail_make(&room->detail, frame, paste) || !find_part(&c))
        return LS_OK;
    ls_mask_init(&c.shape, paste);
    c.black = rgb || frame->full_range ? 0 : 16;
    for (int i = 0; i < 3; i++) {
        bool full = rgb || i == 0;

        if (full)
            ls_detail_fine(&room->detail, paste, i);
        ls_plane_init(&c.plane, frame, i);
        c.made = full ? room->detail.fine : room->detail.made[i];
        c.seen = full ? room->detail.seen[i] : NULL;
        c.side = full ? FINE : SIZE;
        put_channel(&c, room->wide);
    }
    return LS_OK;
}
