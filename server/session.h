// SPDX-License-Identifier: Apache-2.0
// A session: is fed bytes and yields replies; knows the whole flow (and alone does); knows nothing
// of gRPC, so tests drive it without a socket. Loop thread only. Callbacks come from the loop,
// never from inside a call of the same session, except on_reply's of ls_session_new's own
// "accepted" (also later).
#ifndef LS_SESSION_H
#define LS_SESSION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "encode.h"
#include "engine.h"
#include "job.h"
#include "kernels/err.h"

enum ls_stage {
    LS_STAGE_WAITING,
    LS_STAGE_PROBING,
    LS_STAGE_RUNNING,
    LS_STAGE_FINISHING,
    LS_STAGE_DONE
};
enum ls_action {
    LS_ACTION_SYNCED,
    LS_ACTION_PASSED_THROUGH,
    LS_ACTION_HELD,
    LS_ACTION_SILENT,
    LS_ACTIONS
};
enum ls_part {
    LS_PART_DECODE,
    LS_PART_DETECT,
    LS_PART_MEL,
    LS_PART_GENERATE,
    LS_PART_COMPOSITE,
    LS_PART_ENCODE,
    LS_PARTS
}; // where milliseconds go

struct ls_frame_info {
    int64_t idx, source_idx;
    int64_t pts;
    struct ls_box box; // zeros if none
    float score;
    int track_id; // 0: none
    enum ls_action action;
    float roll_rad; // of the box
    float opacity;  // of what was pasted, 0..1
};

enum ls_reply_kind {
    LS_REPLY_ACCEPTED,
    LS_REPLY_PROGRESS,
    LS_REPLY_MEDIA,
    LS_REPLY_FRAMES,
    LS_REPLY_WARNING,
    LS_REPLY_SUMMARY
};

// One message to the caller. on_reply's receiver owns media.data and frames.item (both malloc'ed).
struct ls_reply {
    enum ls_reply_kind kind;
    union {
        struct {
            enum ls_stage stage;
            int queue_position;
            int64_t frames_in, frames_generated, frames_out, frames_total; // total 0: not known yet
            int64_t media_ticks;                                           // of output done
            float frames_per_second;
            int64_t eta_ms; // -1: not known
            int64_t part_us[LS_PARTS];
        } progress;
        struct ls_media media;
        struct {
            struct ls_frame_info *item;
            int count;
        } frames;
        struct {
            char reason[32];
            char text[192];
            int64_t first_frame, count;
        } warning;
        struct {
            int64_t frames[LS_ACTIONS];
            int64_t frames_in, frames_out;
            int64_t audio_ticks, video_ticks; // length of the voice, of the output
            int64_t bytes_out;
            uint8_t sha256[32];
            int64_t first_media_us;             // from the session's start
            int64_t first_media_after_audio_us; // from the first audio byte; -1: no media
            float real_time_factor;             // seconds of work per second of output
            int64_t part_us[LS_PARTS];
            int64_t offset_ticks; // audio minus video at the start of the output
            int width_px, height_px, rate_num, rate_den;
        } summary;
    };
};

// What a session came to so far, for its log line and the metrics; grows only.
struct ls_session_figures {
    int64_t frames_in, frames_out;
    int64_t frames[LS_ACTIONS];
    int64_t audio_bytes, video_bytes, bytes_out;
    int64_t output_ticks;
    int64_t first_media_us; // from the session's start; 0: none yet
    int64_t part_us[LS_PARTS];
};

struct ls_session_events {
    void (*on_reply)(void *user, struct ls_reply *reply);
    void (*on_hungry)(void *user); // ls_session_hungry became true: read the next message
    // The last callback. err->code 0: OK, after a summary. Free the session after it (or inside).
    void (*on_done)(void *user, const struct ls_err *err);
};

struct ls_session;

// The job has passed ls_job_check; it is copied. The session lives in job->place, or, if that is
// NULL, in one that it takes (LS_EBUSY: none is free), and leaves it at its end. Frames in memory
// and the promise to a live stream are reserved when the picture's size is known: here already
// (LS_EFULL, LS_ELIVE) for raw frames.
LS_MUST int ls_session_new(struct ls_session **out, struct ls_engine *engine,
                           const struct ls_job *job, const struct ls_session_events *events,
                           void *user, struct ls_err *err);
// True when the next message of the caller should be read.
bool ls_session_hungry(const struct ls_session *s);
// A message's bytes, copied. end: this input is complete. A refusal is the call's end: give it to
// ls_session_fail.
LS_MUST int ls_session_feed(struct ls_session *s, bool video, const void *data, size_t size,
                            bool end, struct ls_err *err);
LS_MUST int ls_session_regions(struct ls_session *s, const struct ls_region *item, int count,
                               struct ls_err *err);
void ls_session_half_close(struct ls_session *s); // ends every input that is still open
void ls_session_stop(struct ls_session *s);       // finish what is in flight, then the summary
// Bytes of replies that the receiver still holds. Above out_bytes_ahead nothing more is encoded.
void ls_session_backlog(struct ls_session *s, size_t bytes);
void ls_session_figures(const struct ls_session *s, struct ls_session_figures *out);
// Ends it with this error (cancel, deadline, a bad message). on_done follows from the loop.
void ls_session_fail(struct ls_session *s, const struct ls_err *err);
// After on_done. Accepts NULL; sets *s to NULL.
void ls_session_free(struct ls_session **s);

#endif
