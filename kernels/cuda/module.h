// SPDX-License-Identifier: Apache-2.0
// What liblipstream_cuda.so shows to the program that opens it: one symbol. The program and the
// module must be of one build of the sources; `abi` tells.
#ifndef LS_CUDA_MODULE_H
#define LS_CUDA_MODULE_H

#include "../backend.h"

struct ls_cuda_module {
    unsigned abi;                     // LS_CUDA_MODULE_ABI
    const struct ls_backend_ops *ops; // lives as long as the process: the module is never unloaded
};

// Changes with the sizes of what both sides share.
#define LS_CUDA_MODULE_ABI                                                                         \
    ((unsigned)(sizeof(struct ls_backend_ops) * 31 + sizeof(struct ls_backend_params) * 37 +       \
                sizeof(struct ls_face_job) * 41 + sizeof(struct ls_model) * 43 +                   \
                sizeof(struct ls_net_node) * 47 + sizeof(struct ls_frame) * 53 +                   \
                sizeof(struct ls_generate_job) * 59) *                                             \
         64 +                                                                                      \
     1)
#define LS_CUDA_MODULE_SYMBOL "ls_cuda_module"

extern const struct ls_cuda_module ls_cuda_module __attribute__((visibility("default")));

#endif
