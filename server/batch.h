// SPDX-License-Identifier: Apache-2.0
// The device queue: sessions push work, device threads (one a lane) take it, results come back on
// the loop. Faces of all sessions are gathered into batches: a lane takes up to batch_max of them,
// oldest first, when the batch is full or its oldest has waited batch_wait_us_max. Detection and
// mel work are small and hold a frame's whole way up, so they go first. Live work precedes
// interactive work, and that precedes work of class batch, which gets what the others leave over:
// it never holds them up by more than one batch of the device, and nothing at all is promised to
// it. A lane whose device computes by itself begins the next batch before the last one is finished.
// Results do not depend on how work was batched.
#ifndef LS_BATCH_H
#define LS_BATCH_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "kernels/backend.h"
#include "kernels/err.h"
#include "server/admit.h"

struct uv_loop_s;
struct ls_batch;
struct ls_metrics;

enum ls_work_kind { LS_WORK_DETECT, LS_WORK_MEL, LS_WORK_FACE };

// One piece of work. Its owner keeps it, and all that it points to, alive and unchanged until
// on_done.
struct ls_work {
    enum ls_work_kind kind;
    union {
        struct {
            const struct ls_frame *frame;
            int side_px;     // in: the size to look at; out: the one at which faces were found
            int side_px_max; // look again at twice the size, up to this, while there is none
            struct ls_face face[LS_FACES_MAX]; // out
            int count;                         // out
        } detect;
        struct {
            struct ls_mel_job job;
            float *column; // [job.count][80], out
        } mel;
        struct {
            const struct ls_frame *frame; // the face is taken from it and put back into it
            struct ls_box box;
            float mel[LS_MEL_WINDOW * LS_MEL_BANDS]; // [16][80]
            struct ls_paste paste; // box, face and source are filled in by the lane
            uint64_t source_key;   // as ls_face_job's
        } face;
    };
    enum ls_class class; // interactive before batch
    bool live;           // before all others of its kind; in order of due_us
    int64_t due_us;      // of live work: when it should be done (ls_now_us's clock)
    void (*on_done)(struct ls_work *work); // on the loop
    void *user;
    struct ls_err err; // out: code 0 when it went well
    int64_t
        busy_us[3]; // out: own share of the lane's time: detect or mel or generate, crop, composite
    // The queue's.
    struct ls_work *next;
    int64_t pushed_us, pushed_finished;
    atomic_bool revoked;
};

// Starts `lanes` threads. The back end and metrics (may be NULL) are borrowed.
LS_MUST int ls_batch_open(struct ls_batch **out, struct uv_loop_s *loop, struct ls_backend *backend,
                          int lanes, int batch_max, int wait_us_max, struct ls_metrics *metrics,
                          struct ls_err *err);
// No work may be queued or running. Joins the threads; the loop must run on until its handle is
// closed.
void ls_batch_close(struct ls_batch **b);

void ls_batch_push(struct ls_batch *b, struct ls_work *work);
// Takes back all work of this user that no lane has begun; on_done is not called for it. Returns
// how many pieces that were. For the others on_done comes soon, without a result (LS_ECANCEL)
// where a lane could let go of them: on a processor before the next layer of the network; what a
// device has begun is finished.
int ls_batch_revoke(struct ls_batch *b, void *user);

// Work that no lane has begun, by class; faces, or small work.
int ls_batch_waiting(struct ls_batch *b, enum ls_class class, bool faces);

#endif
