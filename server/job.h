// SPDX-License-Identifier: Apache-2.0
// A job: what a caller asked for, as plain data, with every default filled in. rpc_sync.c makes it
// from the first message, session.c works by it; it knows nothing of gRPC. Units and ranges are the
// proto's (proto/lipstream/v1/lip_sync.proto); ls_job_check reports every violation at once.
#ifndef LS_JOB_H
#define LS_JOB_H

#include <stdbool.h>
#include <stdint.h>

#include "kernels/backend.h"
#include "kernels/err.h"
#include "server/admit.h"
#include "options.h"

enum ls_source {
    LS_SOURCE_NONE,
    LS_SOURCE_CONTAINER,
    LS_SOURCE_PCM,
    LS_SOURCE_STILL,
    LS_SOURCE_FRAMES
};
enum ls_sample { LS_SAMPLE_S16LE, LS_SAMPLE_F32LE };
enum ls_container { LS_CONTAINER_FMP4, LS_CONTAINER_MPEG_TS, LS_CONTAINER_NONE };
enum ls_video { LS_VIDEO_H264, LS_VIDEO_I420, LS_VIDEO_RGB24 };
enum ls_audio { LS_AUDIO_AAC, LS_AUDIO_NONE };
enum ls_speed {
    LS_SPEED_ULTRAFAST,
    LS_SPEED_SUPERFAST,
    LS_SPEED_VERYFAST,
    LS_SPEED_FASTER,
    LS_SPEED_MEDIUM
};
enum ls_latency { LS_LATENCY_NORMAL, LS_LATENCY_LOW };
enum ls_audio_longer { LS_FIT_LOOP, LS_FIT_PING_PONG, LS_FIT_HOLD_LAST, LS_FIT_STOP };
enum ls_video_longer { LS_FIT_CUT, LS_FIT_KEEP_ORIGINAL };
enum ls_choose { LS_CHOOSE_LARGEST, LS_CHOOSE_BEST_SCORE, LS_CHOOSE_NEAREST, LS_CHOOSE_GIVEN };
enum ls_missing { LS_MISSING_PASS_THROUGH, LS_MISSING_HOLD_BOX, LS_MISSING_FAIL };
enum ls_silence { LS_SILENCE_KEEP_ORIGINAL, LS_SILENCE_GENERATE };
enum { LS_FADE_FRAMES_MAX = 8 };
enum ls_profile { LS_PROFILE_DEFAULT, LS_PROFILE_WAV2LIP_EXACT };

struct ls_job {
    struct {
        enum ls_source source; // CONTAINER or PCM
        int sample_rate_hz, channels;
        enum ls_sample format;
    } audio;
    struct {
        enum ls_source source; // CONTAINER, STILL or FRAMES
        int width_px, height_px;
        enum ls_pixel format;
        int rate_num, rate_den; // of FRAMES, and the rate at which a still is shown (25/1)
    } video;
    struct {
        enum ls_container container;
        enum ls_video video;
        enum ls_audio audio;
        int crf;          // 0..51; used when bit_rate is 0
        int64_t bit_rate; // bits a second
        enum ls_speed speed;
        enum ls_latency latency;
        int chunk_bytes_max; // of one media message's data
    } output;
    struct {
        enum ls_audio_longer audio_longer;
        enum ls_video_longer video_longer;
    } fit;
    struct {
        enum ls_choose choose;
        float nearest_x, nearest_y; // pixels
        enum ls_missing missing;
        int pad_top, pad_bottom, pad_left, pad_right; // pixels
        int smoothing_frames;                         // 1: off; 5
        bool box_fixed; // box_* hold for every frame; no detection, pads or smoothing
        struct ls_box box;
        bool upright; // tilted heads are turned by the line of their eyes; true
    } face;
    struct {
        enum ls_mask mask;
        float feather_px, colour_match, strength;
        float sharpness; // 0..2; 1
        int fade_frames; // 0..LS_FADE_FRAMES_MAX; 3
    } paste;
    struct {
        enum ls_silence policy;
        float threshold_dbfs;
        int hold_ms;
    } silence;
    int audio_offset_ms;
    bool live;           // each frame is promised in time
    enum ls_class class; // not of the config: of the call's metadata
    struct ls_place
        *place; // NULL: the session takes one by itself (tests); else entered by the caller
    enum ls_profile profile;
    int progress_interval_ms; // 0: only on a change of stage
    bool frame_info;
    char session_id[40]; // given by the server; in every log line
};

// One thing wrong with a request.
struct ls_violation {
    char field[64];
    char reason[24]; // "REQUIRED", "OUT_OF_RANGE", "NOT_SUPPORTED", "CONFLICT", "LIMIT"
    char text[192];  // with the value
};
enum { LS_VIOLATIONS_MAX = 32 };
struct ls_violations {
    struct ls_violation item[LS_VIOLATIONS_MAX];
    int count;
};
// Adds one (dropped beyond LS_VIOLATIONS_MAX).
void ls_violate(struct ls_violations *all, const char *field, const char *reason, const char *fmt,
                ...) LS_PRINTF(4, 5);

// A job with every documented default (model_mask: the mask that the loaded weights name, "" if
// none).
void ls_job_init(struct ls_job *job, const char *model_mask);
// Checks ranges, conflicts and the operator's limits, appends to `all`, and returns 0 or LS_EFIELD.
// WAV2LIP_EXACT also sets what it implies (RECTANGLE, GENERATE, offset 0, …); a field that the
// caller set against it is a CONFLICT, which rpc_sync.c finds by comparing before and after.
LS_MUST int ls_job_check(struct ls_job *job, const struct ls_options *opt,
                         struct ls_violations *all);

// A caller's boxes for a run of frames.
struct ls_region {
    int64_t frame;     // index of the source frame, from 0
    struct ls_box box; // pixels
    bool present;      // false: this frame has no face
    bool bypass;       // leave this frame as it is
};

#endif
