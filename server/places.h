// SPDX-License-Identifier: Apache-2.0
// Where the files lie that no flag names: beside the program, where a package puts them, or in the
// source. Before any thread exists.
#ifndef LS_PLACES_H
#define LS_PLACES_H

#include "server/options.h"

// Fills in model, detector, decoder, CUDA module and plan cache where they are empty and such a
// file is there. Texts live as long as the process.
void ls_places_find(struct ls_options *opt);

#endif
