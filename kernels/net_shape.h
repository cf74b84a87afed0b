// SPDX-License-Identifier: Apache-2.0
// Shapes of a network's rows, for planning and for seeding. Private to kernels/net*.c. A width of 0
// is one that could not be read from the checkpoint; it passes through so that other faults can be
// found.
#ifndef LS_NET_SHAPE_H
#define LS_NET_SHAPE_H

#include "net.h"

// Sets c_in, h_in, w_in of node idx from its source (of input rows: from params).
void ls_net_shape_in(struct ls_net *net, int idx, const struct ls_net_params *params);
// Sets h_out, w_out and mac, and c_out of rows without weights. Fails if sources do not fit
// together.
LS_MUST int ls_net_shape_out(struct ls_net *net, int idx, struct ls_err *err);

#endif
