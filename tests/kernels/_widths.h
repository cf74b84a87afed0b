// SPDX-License-Identifier: Apache-2.0
// What tests of small seeded networks share: each row's width for ls_net_seed, a result's size.
// Header only; plain data.
#ifndef LS_TEST_WIDTHS_H
#define LS_TEST_WIDTHS_H

#include "kernels/net.h"

struct widths {
    const int *of_row; // NULL: all are `all`
    int all;
};

static inline int width_of(void *user, int row)
{
    const struct widths *w = user;

    return w->of_row ? w->of_row[row] : w->all;
}

static inline size_t node_size(const struct ls_net_node *n)
{
    return (size_t)n->c_out * (size_t)n->h_out * (size_t)n->w_out;
}

#endif
