// SPDX-License-Identifier: Apache-2.0
// A file of named byte strings, made for one key (device, driver, libraries, model): the plans that
// were chosen by measurement, kept for the next start. Plain C and libc, nothing of CUDA. One
// thread. What surprises: it never fails an operation. A file that cannot be read, is of another
// key or is damaged is as none, and a note says so once.
#ifndef LS_CUDA_GRAPH_CACHE_H
#define LS_CUDA_GRAPH_CACHE_H

#include <stdbool.h>
#include <stddef.h>

#include "../err.h"

enum {
    LS_CUDA_CACHE_NAME_MAX = 255, // bytes of a name, without the 0
    LS_CUDA_CACHE_ENTRIES_MAX = 1 << 12,
    LS_CUDA_CACHE_ENTRY_SIZE_MAX = 1 << 26,
};

struct ls_cuda_cache;
// path NULL: nothing is read or written. key: any text. Entries' contents are read when asked for.
LS_MUST int ls_cuda_cache_open(struct ls_cuda_cache **out, const char *path, const char *key,
                               struct ls_err *err);
void ls_cuda_cache_close(struct ls_cuda_cache **cache); // without saving
// true: *data is malloc'd and has a 0 behind its last byte.
bool ls_cuda_cache_get(struct ls_cuda_cache *cache, const char *name, void **data, size_t *size);
// Copies. In place of what the name had. What has no place or no memory is left out.
void ls_cuda_cache_put(struct ls_cuda_cache *cache, const char *name, const void *data,
                       size_t size);
// If anything was put, or a bad file found: writes all into a new file, which takes the old one's
// name.
void ls_cuda_cache_save(struct ls_cuda_cache *cache);
int ls_cuda_cache_count(const struct ls_cuda_cache *cache);        // of entries
const char *ls_cuda_cache_note(const struct ls_cuda_cache *cache); // "" if all was well

#endif
