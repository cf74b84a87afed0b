// SPDX-License-Identifier: Apache-2.0
// A module of another build: its number is not ours, and its table must not be looked at.
#include "kernels/cuda/module.h"

const struct ls_cuda_module ls_cuda_module = {.abi = LS_CUDA_MODULE_ABI + 1, .ops = NULL};
