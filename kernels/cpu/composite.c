// SPDX-License-Identifier: Apache-2.0
// Puts a generated face back: the maps are detail.c's, as the reference's are; an upright face is
// enlarged columns first, the few rows of a map that a row of samples lies between, then row by
// row. A turned one is composite_turned.c's. Channels whose samples lie in the same places share
// what is known of those. Differs from the reference by rounding only, at most 1 of 255. A lane's
// room is used by one thread at a time. What surprises: faces under 52 px, which cover more of
// their maps a sample than there is room for here, are the reference's own: they are few samples.
#include "composite.h"

#include <math.h>

#include "../ref/ref.h"
#include "cpu.h"

enum { SIZE = LS_FACE_SIZE, FINE = LS_DETAIL_FINE, STRIP = LS_CPU_STRIP, TAPS = LS_CPU_TAPS };

static int inside(int at, int count)
{
    return at < 0 ? 0 : at < count ? at : count - 1;
}

// Where samples first, first + 1 .. of an axis lie in the face.
static void places(double *out, const struct ls_cpu_channels *c, int axis, int first, int count)
{
    const struct ls_plane *p = &c->plane[0];
    double x, y;

    for (int i = 0; i < count; i++) {
        ls_turn_face(&x, &y, &c->turn, p->scale * (first + i) + p->x_at,
                     p->scale * (first + i) + p->y_at);
        out[i] = axis ? y : x;
    }
}

// Row `taps`' place `at` of a grid's maps, samples first..end of the strip. *next: the first of the
// maps' rows that was not widened yet.
static void mix_grid(float (*out)[STRIP], float (*ring)[TAPS][STRIP], int *next,
                     const struct ls_cpu_grid *grid, const struct ls_cpu_taps *across,
                     const struct ls_cpu_taps *down, int at, int first, int end)
{
    int from = inside(down->first[at], grid->side);
    int to = inside(down->first[at] + down->n - 1, grid->side) + 1;

    if (grid->count == 0)
        return;
    for (*next = *next > from ? *next : from; *next < to; ++*next)
        for (int m = 0; m < grid->count; m++)
            ls_cpu_widen_row(ring[m][*next % TAPS], grid->map[m] + *next * grid->side, grid->side,
                             across);
    for (int m = 0; m < grid->count; m++) {
        const float *row[TAPS];

        for (int k = 0; k < down->n; k++)
            row[k] = ring[m][inside(down->first[at] + k, grid->side) % TAPS] + first;
        ls_cpu_mix_rows(out[m] + first, row, down->weight + at * down->n, down->n, end - first);
    }
}

void ls_cpu_put_samples(struct ls_cpu_paste *room, const struct ls_cpu_channels *c, int x, int y,
                        int first, int end)
{
    uint8_t *at[3];

    for (int i = 0; i < c->count; i++)
        at[i] = ls_plane_at(&c->plane[i], x, y);
    ls_cpu_put_row(&room->row, at, c->count, c->plane[0].step, c->full, c->black, first, end);
}

// A strip of the window, of at most STRIP columns.
static void put_strip(struct ls_cpu_paste *room, const struct ls_cpu_channels *c,
                      const struct ls_int_box *to)
{
    struct ls_cpu_upright *r = &room->upright;
    int count = to->x1 - to->x0, next[2] = {0, 0}, first, end;
    double u[STRIP], v[STRIP];

    places(u, c, 0, to->x0, count);
    ls_cpu_columns_init(&r->columns, &c->shape, u, count);
    ls_cpu_taps_init(&r->base_x, u, count, ls_cpu_samples(c, 0), SIZE);
    ls_cpu_taps_init(&r->fine_x, u, count, ls_cpu_samples(c, 0), FINE);
    for (int y = to->y0; y < to->y1; y++) {
        int at = (y - to->y0) % STRIP, rows = to->y1 - y < STRIP ? to->y1 - y : STRIP;

        if (at == 0) {
            places(v, c, 1, y, rows);
            ls_cpu_taps_init(&r->base_y, v, rows, ls_cpu_samples(c, 1), SIZE);
            ls_cpu_taps_init(&r->fine_y, v, rows, ls_cpu_samples(c, 1), FINE);
        }
        ls_cpu_mask_row(&room->row, &first, &end, &r->columns, &c->shape, (float)v[at],
                        c->paste->strength, count);
        if (first == end)
            continue;
        mix_grid(room->row.base, r->base, &next[0], &c->base, &r->base_x, &r->base_y, at, first,
                 end);
        mix_grid(room->row.fine, r->fine, &next[1], &c->fine, &r->fine_x, &r->fine_y, at, first,
                 end);
        if (c->full)
            ls_cpu_limit_row(&room->row, &r->columns, &c->shape, (float)v[at], c->limit, first,
                             end);
        ls_cpu_put_samples(room, c, to->x0, y, first, end);
    }
}

static void put_channels(struct ls_cpu_paste *room, const struct ls_cpu_channels *c)
{
    struct ls_int_box window, strip;

    ls_paste_window_of(&window, c->paste, &c->plane[0], &c->part);
    if (c->turn.sine != 0) {
        ls_cpu_put_turned(room, c, &window);
        return;
    }
    strip = window;
    for (int x = window.x0; x < window.x1; x += STRIP) {
        strip.x0 = x;
        strip.x1 = window.x1 - x < STRIP ? window.x1 : x + STRIP;
        put_strip(room, c, &strip);
    }
}

// Where k is below 1: the columns and rows of a face that change. False if none does.
LS_CLONES static bool find_changed(struct ls_int_box *out, const float *restrict keep)
{
    int columns[SIZE] = {0}, rows[SIZE], any = 0;

    for (int y = 0; y < SIZE; y++) {
        int row = 0;

        for (int x = 0; x < SIZE; x++) {
            int changed = keep[y * SIZE + x] < 1;

            columns[x] |= changed;
            row |= changed;
        }
        rows[y] = row;
        any |= row;
    }
    if (!any)
        return false;
    *out = (struct ls_int_box){0, 0, SIZE, SIZE};
    while (!columns[out->x0])
        out->x0++;
    while (!columns[out->x1 - 1])
        out->x1--;
    while (!rows[out->y0])
        out->y0++;
    while (!rows[out->y1 - 1])
        out->y1--;
    return true;
}

// What of the face changes: the mask, where the source is not kept as it is, and what the kernel
// reaches from there. False if nothing does.
static bool find_part(struct ls_cpu_channels *c, const float *keep)
{
    float reach = 2 + 2 * fmaxf(ls_detail_widen((float)c->turn.width / 2, SIZE),
                                ls_detail_widen((float)c->turn.height / 2, SIZE));
    struct ls_box *b = &c->part;
    struct ls_int_box got;

    if (!find_changed(&got, keep))
        return false;
    ls_paste_bounds(b, c->paste);
    b->x0 = fmaxf(b->x0, (float)got.x0 - reach);
    b->y0 = fmaxf(b->y0, (float)got.y0 - reach);
    b->x1 = fminf(b->x1, (float)got.x1 + reach);
    b->y1 = fminf(b->y1, (float)got.y1 + reach);
    return b->x0 < b->x1 && b->y0 < b->y1;
}

// `count` channels from `first` on.
static void channels_init(struct ls_cpu_channels *c, struct ls_detail *d,
                          const struct ls_frame *frame, int first, int count)
{
    c->count = count;
    c->full = frame->format == LS_PIX_RGB24 || first == 0;
    c->base = (struct ls_cpu_grid){SIZE, 1 + count, {d->keep}};
    c->fine = (struct ls_cpu_grid){FINE, c->full ? count : 0, {NULL}};
    for (int i = 0; i < count; i++) {
        ls_plane_init(&c->plane[i], frame, first + i);
        c->base.map[1 + i] = c->full ? d->seen[first + i] : d->made[first + i];
        if (c->full) {
            ls_detail_fine(d, c->paste, first + i);
            c->fine.map[i] = d->fine[first + i];
        }
    }
}

int ls_cpu_composite(struct ls_cpu_paste *room, const struct ls_frame *frame,
                     const struct ls_paste *paste, struct ls_err *err)
{
    struct ls_cpu_channels c = {.paste = paste};
    bool rgb = frame->format == LS_PIX_RGB24;
    float width, height, chroma = rgb ? 1 : 2;

    ls_turn_init(&c.turn, &paste->box, paste->roll_rad);
    width = (float)c.turn.width;
    height = (float)c.turn.height;
    if (paste->exact || ls_detail_widen(width, FINE) > LS_CPU_WIDEN_MAX ||
        ls_detail_widen(height, FINE) > LS_CPU_WIDEN_MAX ||
        ls_detail_widen(width / chroma, SIZE) > LS_CPU_WIDEN_MAX ||
        ls_detail_widen(height / chroma, SIZE) > LS_CPU_WIDEN_MAX)
        return ls_ref_composite(frame, paste, err);
    if (!ls_detail_make(&room->detail, frame, paste) || !find_part(&c, room->detail.keep))
        return LS_OK;
    ls_mask_init(&c.shape, paste);
    c.black = rgb || frame->full_range ? 0 : 16;
    c.limit = room->detail.limit;
    channels_init(&c, &room->detail, frame, 0, rgb ? 3 : 1);
    put_channels(room, &c);
    if (!rgb) {
        channels_init(&c, &room->detail, frame, 1, 2);
        put_channels(room, &c);
    }
    return LS_OK;
}
