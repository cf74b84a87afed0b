// SPDX-License-Identifier: Apache-2.0
// What all sessions of a process share: the loop, the options, the model and its back end, the
// device queue, the decode processes, the places. Made once by main.c (or a test). Loop thread
// only, but for the device's own threads.
#ifndef LS_ENGINE_H
#define LS_ENGINE_H

#include <stdbool.h>
#include <stdint.h>

#include "kernels/backend.h"
#include "kernels/err.h"
#include "kernels/model.h"
#include "options.h"

struct uv_loop_s;
struct ls_decode_pool;
struct ls_batch;
struct ls_video_device;
struct ls_admit;
struct ls_metrics;
struct ls_pool;

struct ls_engine {
    struct uv_loop_s *loop;
    struct ls_options opt; // with 0 ("auto") values replaced
    struct ls_model *model;
    struct ls_calibration *calibration; // NULL: none
    struct ls_ranges *ranges;           // NULL: nobody asks what results reach
    struct ls_backend *backend;
    struct ls_batch *batch;        // the device queue and its threads
    struct ls_video_device *video; // NULL: the back end has no memory for frames
    struct ls_decode_pool *decoders;
    struct ls_metrics *metrics;
    struct ls_admit *admit; // places, and what sessions hold together
    struct ls_pool *pool;   // encode jobs
    int session_count;      // sessions that live
    int stage_count[2][4];  // of them, by enum ls_class and enum ls_stage
    bool draining;          // no new sessions
    int64_t sessions_started, sessions_done;
};

// Replaces what is 0 of cores, and of the threads that follow them: lanes and encode jobs, one a
// core each. Before the first thread; a second time it changes nothing.
void ls_engine_plan(struct ls_options *opt);
// Loads the model, opens the back end and its lanes, starts device threads and decode processes.
// loop and opt are borrowed for the call (opt is copied).
LS_MUST int ls_engine_open(struct ls_engine **out, struct uv_loop_s *loop,
                           const struct ls_options *opt, struct ls_err *err);
// The same, computing in floats, and `ranges` sees what the generator's results reach.
LS_MUST int ls_engine_open_seeing(struct ls_engine **out, struct uv_loop_s *loop,
                                  const struct ls_options *opt, struct ls_err *err);
// No session may be left; stops threads and processes. Run the loop afterwards until it has no
// handles.
void ls_engine_close(struct ls_engine **engine);
// What the options say of the back end; the model is still to be filled in.
void ls_engine_backend_params(struct ls_backend_params *out, const struct ls_engine *engine);
// A line for people: back end, device, lanes, arithmetic.
void ls_engine_describe(const struct ls_engine *engine, char *text, int size);

#endif
