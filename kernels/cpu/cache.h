// SPDX-License-Identifier: Apache-2.0
// Records of faces that are seen again and again (ls_dnn_record), found by key, in a bounded amount
// of memory that all lanes share. Any thread, several at once.
//
// A record in use is not given to another key, and of two lanes that meet a new face at once one
// makes the record, the other one does without. When all are taken, one that was not used for long
// makes room: a loop longer than the cache then finds a part of its faces every time round, where
// throwing out the one not used for longest would find none, and what an ended session left is gone
// after a few times as many faces as there are records.
#ifndef LS_CPU_CACHE_H
#define LS_CPU_CACHE_H

#include <stdint.h>

#include "dnn.h"

struct ls_cpu_cache;

// bytes: of all records; memory is touched only as records are used. Too few for one: *out is NULL,
// and the functions below take that.
LS_MUST int ls_cpu_cache_new(struct ls_cpu_cache **out, int64_t bytes, size_t record_size,
                             struct ls_err *err);
void ls_cpu_cache_free(struct ls_cpu_cache **cache);
// at is NULL if the key is 0 or no record can be had. Whoever gets one gives it back after the run.
struct ls_dnn_record ls_cpu_cache_take(struct ls_cpu_cache *cache, uint64_t key);
void ls_cpu_cache_give(struct ls_cpu_cache *cache, const struct ls_dnn_record *record);

#endif
