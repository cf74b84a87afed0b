// SPDX-License-Identifier: Apache-2.0
// What the two PyTorch formats share: from the pickle's values to tensors. Private to
// kernels/weights*.c.
#ifndef LS_WEIGHTS_TORCH_H
#define LS_WEIGHTS_TORCH_H

#include "weights_pickle.h"

// Puts the tensors of the checkpoint `top` (or of its "state_dict") into w. Storages must have got
// their data; one without is an error if a tensor of the dict needs it.
LS_MUST int ls_torch_collect(struct ls_weights *w, const struct ls_pickle *p, uint32_t top,
                             struct ls_err *err);
// In bytes; INT64_MAX if that is not enough.
int64_t ls_torch_storage_size(const struct ls_pickle_storage *s);

#endif
