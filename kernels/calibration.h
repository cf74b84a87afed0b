// SPDX-License-Identifier: Apache-2.0
// What a network's results reach on the pictures and voices of a caller, which arithmetic with
// bytes has to know beforehand: gathered from runs in floats, kept in a file, and read again. The
// file is .safetensors: a tensor "<layer>.range" of one float for each result that may be bytes,
// metadata "calibration" ("1") and "generator", the hash of the weights that it is for. A layer
// without one stays floats.
#ifndef LS_CALIBRATION_H
#define LS_CALIBRATION_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "err.h"
#include "net.h"

enum { LS_CALIBRATION_ROWS_MAX = 128 };

struct ls_calibration {
    uint64_t generator; // ls_net_hash
    int row_count;
    float range[LS_CALIBRATION_ROWS_MAX]; // [row_count] of the table's rows: what 255 is worth; 0:
                                          // floats
};

// Of all weights and biases, which must not have been trimmed.
uint64_t ls_net_hash(const struct ls_net *net);
// LS_EMODEL, with the file and the reason, if it is not a calibration of this network.
LS_MUST int ls_calibration_open(struct ls_calibration *out, const char *path,
                                const struct ls_net *net, struct ls_err *err);
LS_MUST int ls_calibration_write(FILE *to, const struct ls_calibration *c, const struct ls_net *net,
                                 struct ls_err *err);

// Gathers. Any thread, several at once.
struct ls_ranges;
LS_MUST int ls_ranges_new(struct ls_ranges **out, const struct ls_net *net, struct ls_err *err);
void ls_ranges_free(struct ls_ranges **ranges);
void ls_ranges_see(struct ls_ranges *ranges, int row, const float *values, size_t count);
int64_t ls_ranges_runs(const struct ls_ranges *ranges); // runs of the network that were seen
// Ranges that hold `percent` (50..100) of all values above zero. The last result before the output
// is left out: rounded to bytes it would show.
void ls_ranges_calibration(struct ls_calibration *out, const struct ls_ranges *ranges,
                           double percent);

#endif
