// SPDX-License-Identifier: Apache-2.0
// A paste's channels on their way, and what it works in: between composite.c, which puts upright
// faces down, and composite_turned.c. Plain data; a lane's room belongs to one thread at a time.
#ifndef LS_CPU_COMPOSITE_H
#define LS_CPU_COMPOSITE_H

#include "../cubic.h"
#include "../plane.h"
#include "mix.h"

// Maps that are looked at in the same places. base: k and C of every channel of full resolution, or
// k and G of two of chroma; fine: T.
struct ls_cpu_grid {
    int side, count;     // count: of maps, 0..4
    const float *map[4]; // [side][side]
};

// Channels whose samples lie in the same places: Y; U and V; B, G and R.
struct ls_cpu_channels {
    const struct ls_paste *paste;
    struct ls_turn turn;
    struct ls_mask_shape shape;
    struct ls_box part; // of the face: outside of it nothing changes
    float black, limit;
    bool full; // of full resolution; others have no grain and are mixed plainly
    int count;
    struct ls_plane plane[3];
    struct ls_cpu_grid base, fine;
};

enum {
    LS_CPU_BASE_PADDED = LS_FACE_SIZE + 2 * LS_CPU_PAD,
    LS_CPU_FINE_PADDED = LS_DETAIL_FINE + 2 * LS_CPU_PAD,
};

// Of an upright face: row y of a map, widened to a strip's samples, is [y % TAPS].
struct ls_cpu_upright {
    struct ls_cpu_columns columns;
    struct ls_cpu_taps base_x, base_y, fine_x, fine_y;
    float base[4][LS_CPU_TAPS][LS_CPU_STRIP], fine[3][LS_CPU_TAPS][LS_CPU_STRIP];
};

// Of a turned one: a grid's maps with their edges repeated, a pixel's 1, 2 or 4 values behind each
// other.
struct ls_cpu_turned {
    struct ls_cpu_taps x, y;
    float base[LS_CPU_BASE_PADDED * LS_CPU_BASE_PADDED * 4];
    float fine[LS_CPU_FINE_PADDED * LS_CPU_FINE_PADDED * 4];
};

struct ls_cpu_paste {
    struct ls_detail detail;
    struct ls_cpu_row row;
    union {
        struct ls_cpu_upright upright;
        struct ls_cpu_turned turned;
    };
};

// Samples along the box's side.
static inline double ls_cpu_samples(const struct ls_cpu_channels *c, int axis)
{
    return (axis ? c->turn.height : c->turn.width) / c->plane[0].scale;
}

// Mixes samples first..end of the row at (x, y), which room->row has everything for.
void ls_cpu_put_samples(struct ls_cpu_paste *room, const struct ls_cpu_channels *c, int x, int y,
                        int first, int end);
// The window's samples of a turned face.
void ls_cpu_put_turned(struct ls_cpu_paste *room, const struct ls_cpu_channels *c,
                       const struct ls_int_box *window);

#endif
