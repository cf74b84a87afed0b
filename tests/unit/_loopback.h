// SPDX-License-Identifier: Apache-2.0
// A session without a socket: an engine on a real loop, inputs from memory in chunks of any size,
// and all replies collected. The decode process is the real one. One thread (the loop's).
#ifndef LS_TEST_LOOPBACK_H
#define LS_TEST_LOOPBACK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <uv.h>

#include "server/session.h"

struct loopback {
    uv_loop_t loop;
    struct ls_options opt;
    struct ls_engine *engine;
};

// One call: what is fed, how, and what came back.
struct loopback_call {
    // In.
    struct ls_job job;
    const uint8_t *audio, *video;
    size_t audio_size, video_size;
    size_t chunk; // bytes a message; 0: all in one
    int order;    // 0: alternately, 1: all audio first, 2: all video first
    const struct ls_region *region;
    int region_count;
    int stop_after;   // media messages after which STOP_NOW comes; 0: never
    int fail_after;   // media messages after which the call is cancelled
    bool no_close;    // the caller never half-closes
    bool never_reads; // replies pile up (the backlog only grows)
    // Out.
    struct ls_session *session;
    struct loopback *owner;
    size_t audio_fed, video_fed;
    bool closed, done;
    struct ls_err err;
    uint8_t *data; // all media, joined
    size_t size, backlog;
    int media_count, progress_count, warning_count, accepted_count;
    char warnings[512]; // reasons, with spaces between
    struct ls_frame_info *info;
    int info_count;
    struct ls_reply summary;           // kind is SUMMARY when it came
    struct ls_session_figures figures; // at the end
    size_t fed_at_first_media;         // bytes of both inputs
};

// backend: "ref" or "cpu". detector: a path, or NULL. 0, or -1 with a line on stderr.
int loopback_open(struct loopback *l, const char *backend, const char *detector);
void loopback_close(struct loopback *l);
// A job with the defaults, for raw frames and 16 kHz mono s16 sound, H.264 and AAC in FMP4.
void loopback_job(struct ls_job *job, int width, int height, int num, int den, enum ls_pixel pixel);
// Runs the calls side by side until all are done.
void loopback_run(struct loopback *l, struct loopback_call *call, int count);
void loopback_clear(struct loopback_call *call); // frees what came back

#endif
