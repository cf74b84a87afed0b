// SPDX-License-Identifier: Apache-2.0
// Which face has which record of the generator's: the book-keeping of the cache of face features.
// Knows numbers only, no device. A record in use is never given to another face; of the others, the
// one not used for longest goes first. Device thread.
#ifndef LS_CUDA_RECORDS_H
#define LS_CUDA_RECORDS_H

#include <stdbool.h>
#include <stdint.h>

#include "../err.h"

struct ls_cuda_records;
LS_MUST int ls_cuda_records_new(struct ls_cuda_records **out, int count, struct ls_err *err);
void ls_cuda_records_free(struct ls_cuda_records **records);
// The record of a face, in use until it is given back (as often as it was taken). *known: its
// content is what a former user of the key has put there, or is about to; else the caller fills it.
// Key 0: a face that nobody will ask for again. At least one record must be free or unused.
int ls_cuda_records_take(struct ls_cuda_records *records, bool *known, uint64_t key);
void ls_cuda_records_give(struct ls_cuda_records *records, int idx);
// What a record in use holds is not what its key promised: the key is unknown from now on.
void ls_cuda_records_forget(struct ls_cuda_records *records, int idx);

#endif
