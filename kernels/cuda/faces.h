// SPDX-License-Identifier: Apache-2.0
// Faces on their way through the device: the lane's faces_start and faces_finish, and crop,
// generate and composite alone. Up to LS_CUDA_FACES_DEPTH batches are on their way at once: while
// one is computed, the next one's rows are copied in and the last one's out. Device thread, on
// which the device is current.
#ifndef LS_CUDA_FACES_H
#define LS_CUDA_FACES_H

#include "../backend.h"
#include "generator.h"

enum { LS_CUDA_FACES_DEPTH = 2 };

struct ls_cuda_faces;
struct ls_cuda_faces_params {
    struct ls_cuda_generator *generator; // stays the caller's; used by nobody else
    enum ls_cuda_type type;              // of the generator
    int batch_max;                       // 1..64
    int record_count;                    // of the generator
    bool levels;                         // of jobs, unless exact: model.h's input_levels
    bool keys;           // what was computed of a known face is used again (source_key)
    cudaStream_t stream; // on which everything is computed
};
LS_MUST int ls_cuda_faces_new(struct ls_cuda_faces **out, const struct ls_cuda_faces_params *params,
                              struct ls_err *err);
void ls_cuda_faces_free(struct ls_cuda_faces **faces);
// Device memory of ls_cuda_faces_new, and what a record costs beside the generator's own.
size_t ls_cuda_faces_size(int batch_max);
size_t ls_cuda_faces_record_size(void);

// As ls_faces_start and ls_faces_finish.
LS_MUST int ls_cuda_faces_start(struct ls_cuda_faces *faces, struct ls_face_job *job, int count,
                                struct ls_err *err);
LS_MUST int ls_cuda_faces_finish(struct ls_cuda_faces *faces, struct ls_err *err);
// Waits for batches begun and not finished, and forgets them; their frames stay as they were.
void ls_cuda_faces_discard(struct ls_cuda_faces *faces);

// As ls_crop and ls_composite, but for exact ones; as ls_generate_part. They wait for batches that
// were begun before. generate takes records: LS_EFIELD if those batches have left too few.
LS_MUST int ls_cuda_faces_crop(struct ls_cuda_faces *faces, uint8_t *out,
                               const struct ls_frame *frame, const struct ls_box *box,
                               float roll_rad, struct ls_err *err);
LS_MUST int ls_cuda_faces_composite(struct ls_cuda_faces *faces, const struct ls_frame *frame,
                                    const struct ls_paste *paste, struct ls_err *err);
LS_MUST int ls_cuda_faces_generate(struct ls_cuda_faces *faces, const struct ls_generate_job *job,
                                   struct ls_err *err);

#endif
