// SPDX-License-Identifier: Apache-2.0
// What faces.c (batches), pass.c (one batch's way) and single.c (operations alone) share. A pass is
// a set of faces that go through the device together. Device thread.
#ifndef LS_CUDA_FACES_PARTS_H
#define LS_CUDA_FACES_PARTS_H

#include "faces.h"
#include "records.h"
#include "region.h"
#include "stage.h"

enum {
    LS_CUDA_PIXELS = LS_FACE_SIZE * LS_FACE_SIZE,
    LS_CUDA_SOURCE_SIZE = LS_CUDA_PIXELS * 3,               // bytes of a face cut out
    LS_CUDA_MADE_SIZE = LS_CUDA_PIXELS * 3 * sizeof(float), // bytes of a generated face
    LS_CUDA_MEL_VALUES = LS_MEL_WINDOW * LS_MEL_BANDS,
    LS_CUDA_PASS_MAX = LS_CUDA_STAGE_FRAMES,
};

// One face of a pass. Either of a job, or with its source given.
struct ls_cuda_item {
    struct ls_face_job *job; // NULL: source is given
    const uint8_t *source;   // [96][96][3] BGR, on the host
    const float *mel;        // [16][80]
    enum ls_cuda_cut cut;    // of the output that is wanted
    bool by_host;            // cut out and put back by the host: exact jobs, given sources
    bool encode;             // its features are not in its record
    int record;
    int frame; // number of the stage's; -1: on the device, or not needed there
};

// The items of one cut follow each other, those put back by the host last.
struct ls_cuda_group {
    int first, count, paste_count;
    int width_max, height_max; // of what is written
};

struct ls_cuda_pass {
    struct ls_cuda_stage stage;
    struct ls_cuda_item item[LS_CUDA_PASS_MAX]; // grouped by cut
    struct ls_cuda_group group[LS_CUDA_CUTS];
    int count, encode_count, source_count, made_count; // source: by_host and encode
    // In the block: in only.
    size_t paste_face, encode_face;   // struct ls_cuda_face [count], [encode_count]
    size_t mel;                       // float [count][16][80]
    size_t encode_record, use_record; // int [encode_count], [count]
    size_t source;                    // [source_count][96][96][3] RGB: small frames
    size_t in_size;                   // all that goes in
    size_t made;                      // out only: float [made_count][96][96][3]
    cudaEvent_t in_done, compute_done, out_done;
};

// A batch begun.
struct ls_cuda_flight {
    struct ls_cuda_pass pass;
    int r; // a failure that finish is to tell, and what it was
    struct ls_err err;
};

struct ls_cuda_faces {
    struct ls_cuda_faces_params params;
    struct ls_cuda_records *records;
    cudaStream_t in, out;   // copies
    uint8_t *record_source; // device [record_count][96][96][3] BGR: for pastes
    uint8_t *source;        // device [batch_max][96][96][3]: prepare's, then compose's
    void *scratch;          // compose's
    struct ls_cuda_flight flight[LS_CUDA_FACES_DEPTH];
    struct ls_cuda_pass single; // of the operations alone
    int first, flying;          // flight[first] is the oldest
};

// size: of its block at the start.
LS_MUST int ls_cuda_pass_init(struct ls_cuda_pass *pass, size_t size, struct ls_err *err);
void ls_cuda_pass_done(struct ls_cuda_pass *pass);
void ls_cuda_pass_begin(struct ls_cuda_pass *pass);
// Adds an item; those of one cut after each other, and of these the by_host ones last. Its record
// is taken; key 0: nothing is known.
void ls_cuda_pass_add(struct ls_cuda_faces *faces, struct ls_cuda_pass *pass,
                      const struct ls_cuda_item *item, uint64_t key);
// Queues everything. If it fails, nothing is in flight, and records are given back.
LS_MUST int ls_cuda_pass_run(struct ls_cuda_faces *faces, struct ls_cuda_pass *pass,
                             struct ls_err *err);
// Waits for it, puts pixels into jobs' frames and fills jobs' err; gives records back.
LS_MUST int ls_cuda_pass_finish(struct ls_cuda_faces *faces, struct ls_cuda_pass *pass,
                                struct ls_err *err);

// Gives its records back as a failure does; for a pass that nobody waits for.
void ls_cuda_pass_drop(struct ls_cuda_faces *faces, struct ls_cuda_pass *pass);

// The block to the device, on the stream of copies, and back; compute waits for the one, the other
// for compute.
LS_MUST int ls_cuda_pass_in(struct ls_cuda_faces *faces, struct ls_cuda_pass *pass,
                            struct ls_err *err);
LS_MUST int ls_cuda_pass_out(struct ls_cuda_faces *faces, struct ls_cuda_pass *pass,
                             struct ls_err *err);
LS_MUST int ls_cuda_pass_wait(struct ls_cuda_pass *pass, struct ls_err *err);
// After a failure: waits until nothing is in flight, whatever has become of it.
void ls_cuda_faces_drain(struct ls_cuda_faces *faces);

#endif
