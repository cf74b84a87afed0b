// SPDX-License-Identifier: Apache-2.0
// The inside of a session, for the files that make one up: session.c (life, events),
// session_input.c, shots.c (the frames on their way), spots.c (where their faces are), act.c and
// fade.c (what becomes of them), hold.c (pictures that are shown again), outlet.c (encoding and
// replies), report.c (progress, warnings, summary). Nobody else includes it. Loop thread, but for
// what outlet.c hands to the pool in a job.
#ifndef LS_SESSION_STATE_H
#define LS_SESSION_STATE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include <uv.h>

#include "admit.h"
#include "batch.h"
#include "clock.h"
#include "decode.h"
#include "digest.h"
#include "features.h"
#include "pool.h"
#include "session.h"
#include "track.h"
#include "video_device.h"

enum { JOB_SHOTS = 4, WARNING_KINDS = 16, HOLD_BUFFERS = 8 };

// How far a frame has come. The order is the order of the flow.
enum shot_state { SHOT_ARRIVED, SHOT_AT_DEVICE, SHOT_READY, SHOT_ENCODING };

// A frame between decode and encode.
struct shot {
    struct ls_frame frame;
    int slot; // of the decoder's ring; -1: one of the session's own buffers, `buffer`
    int buffer;
    int64_t pass, source_idx, pts, duration; // pts in the output's time
    bool tracked, spotted, heard, beyond;    // beyond: after the voice's end, kept as it is
    bool bypass, repeated;                   // repeated: of a later pass than the first
    bool cut;                                // it does not continue the frame before it
    int64_t scene_pts;                       // of the newest cut up to here
    enum shot_state state;
    struct ls_spot spot;
    enum ls_action action;
    int64_t due_us; // from when on it is wanted: its inputs are there, it is its turn; 0: not yet
    struct ls_work work; // face
};

struct hold_buffer {
    void *data;
    bool taken;
};

struct warning_state {
    char reason[32], text[192];
    int64_t first_frame, count;
    int64_t sent_us; // 0: never
};

// One encode job, owned by the pool while it runs: the picture's part, and where it can be done at
// the same time the sound's. The part that ends last collects what came out.
struct outlet_job {
    struct ls_pool_job base, sound;
    bool sound_apart;
    int parts_out;         // with the pool; the loop's own
    atomic_int parts_left; // not run yet
    atomic_bool stop;      // the session fails: what is not begun need not be done
    struct ls_session *session;
    struct shot *shot[JOB_SHOTS];
    int shot_count;
    bool last;
    float *voice; // kept from job to job, as is media
    int voice_count;
    size_t voice_size; // bytes that there is room for
    bool voice_ended;
    struct ls_media *media; // pieces that came out
    int media_count, media_max;
    int64_t busy_us, sound_us;
    struct ls_err err, sound_err;
};

struct ls_session {
    struct ls_engine *engine;
    uint64_t serial; // of this process's sessions, from 1
    struct ls_job job;
    struct ls_session_events events;
    void *user;

    // Its place, and what the process learned from its work (report.c).
    struct ls_place *place, own_place;
    bool reserved; // frames in memory, and the promise to a live stream
    int64_t learned_lane_us, learned_core_us, learned_generated, learned_out;

    // Inputs.
    struct ls_decode *audio, *video;
    bool audio_seen, video_seen, audio_ended_input, video_ended_input, half_closed;
    bool video_info_known;
    int64_t audio_bytes, video_bytes;
    struct ls_decode_audio audio_info;
    struct ls_decode_video video_info;
    struct ls_region *region;
    int region_count, region_capacity;

    // The picture's time.
    bool pass_ended;     // the decoder waits to be told to go on
    bool backward;       // direction of the running pass
    int64_t pass;        // 0, 1, …
    int64_t pass_offset; // ticks at which the running pass begins
    int64_t last_source_idx, last_duration;
    bool voice_over;  // frames that have not heard the voice are not part of the output
    bool shots_over;  // no further frame will be made, and none is surplus
    bool still_known; // the still or held picture is in hold_source
    struct ls_frame hold_source;
    void *hold_data;
    struct ls_spot hold_spot;
    int64_t hold_pts;   // ticks of the first held frame
    int64_t hold_count; // frames made of it
    struct hold_buffer hold[HOLD_BUFFERS];

    // Frames on their way, oldest first.
    struct shot **shot;
    int shot_count, shot_max;
    int64_t made, out_idx; // frames taken up, encoded
    struct shot *spare[8];
    int spare_count;

    // Faces.
    struct ls_track *track;
    uint8_t signature[LS_SIGNATURE];
    bool signature_known;
    int64_t scene_pts;    // of the newest frame that began a scene
    int fading_frames;    // to come before the mouth, which a given region hid, is all there
    struct ls_spot *spot; // of the first pass, by source frame, for the passes that follow
    int spot_count, spot_capacity;
    struct ls_work detect;
    bool detect_busy;
    int look_ahead;           // frames behind one that its box may depend on
    struct ls_patch patch[2]; // of the newest head whose step was measured, and the one before
    int patch_idx;            // of the newest

    // Voice.
    struct ls_features *features;
    bool voice_paused;
    struct ls_work mel;
    float *mel_pcm, *mel_column;
    bool mel_busy;
    int64_t heard_ticks; // end of the newest frame that has its window

    // Way out.
    struct ls_encode *encode;
    struct ls_digest *digest;
    struct outlet_job outlet;
    bool outlet_busy, finish_sent, summary_sent;
    int64_t voice_sent;
    size_t backlog;
    int64_t backlog_moved_us;
    int64_t backlog_full_us; // when the output last waited for its reader; 0: never
    int64_t next_due_us;     // of the next frame, at the stream's own pace

    // Life.
    int busy; // works at the device, jobs in the pool
    bool failing, done, advancing;
    struct ls_err err;
    uv_timer_t kick, tick;
    int handles_open;

    // Report.
    enum ls_stage stage;
    int64_t started_us, input_us, audio_first_us, first_media_us, progress_us;
    int64_t part_us[LS_PARTS];
    int64_t frames_in, frames_generated, bytes_out;
    int64_t frames[LS_ACTIONS];
    int64_t end_ticks; // of the output so far
    struct warning_state warning[WARNING_KINDS];
    int warning_count;
};

// session.c
void ls_session_kick(struct ls_session *s); // advance soon, from the loop
void ls_session_broke(struct ls_session *s, const struct ls_err *err); // begin to fail
void ls_session_idle(struct ls_session *s); // a work or job came back: busy--, go on

// shots.c
LS_MUST int ls_shots_open(struct ls_session *s, struct ls_err *err);
void ls_shots_close(struct ls_session *s);
LS_MUST int ls_shots_frame(struct ls_session *s, const struct ls_decode_frame *frame,
                           struct ls_err *err);
void ls_shots_pass_ended(struct ls_session *s, const struct ls_decode_end *end);
LS_MUST int ls_shots_advance(struct ls_session *s, struct ls_err *err); // as far as it goes
void ls_shots_leave(struct ls_session *s, struct shot *shot); // encoded: give its memory back
int64_t ls_shots_total(const struct ls_session *s); // frames of the output; 0: not known yet
int64_t ls_shots_voice(const struct ls_session *s); // ticks of the voice; 0: not known yet

// A new shot at the end of the line; NULL: no memory.
struct shot *ls_shots_new(struct ls_session *s, struct ls_err *err);
// What the voice says about a frame at [pts, pts + duration), the idx-th of the output.
enum voice { VOICE_WAIT, VOICE_HEARD, VOICE_OVER };
enum voice ls_shots_listen(struct ls_session *s, int64_t idx, int64_t pts, int64_t duration,
                           float window[LS_MEL_WINDOW * LS_MEL_BANDS]);
bool ls_shots_all_heard(const struct ls_session *s);
// Before a work is pushed: its class, and when it should be done. due_us: when it is wanted.
void ls_shots_urge(const struct ls_session *s, struct ls_work *work, int64_t due_us);

static inline bool ls_session_exact(const struct ls_session *s)
{
    return s->job.profile == LS_PROFILE_WAV2LIP_EXACT;
}
static inline bool ls_session_still(const struct ls_session *s)
{
    return s->job.video.source == LS_SOURCE_STILL;
}
// Boxes come from the caller: nothing is looked for.
static inline bool ls_session_given(const struct ls_session *s)
{
    return s->job.face.box_fixed || s->job.face.choose == LS_CHOOSE_GIVEN;
}
// The last frame of a video will be held: it must not be touched before it was copied.
static inline bool ls_session_keeps_last(const struct ls_session *s)
{
    return !ls_session_still(s) && s->job.fit.audio_longer == LS_FIT_HOLD_LAST;
}
static inline double ls_session_rate(const struct ls_session *s)
{
    const struct ls_decode_video *v = &s->video_info;

    return v->rate_den > 0 && v->rate_num > 0 ? (double)v->rate_num / v->rate_den : 25.0;
}

// act.c: generates a face for the shot, or passes it.
LS_MUST int ls_act(struct ls_session *s, struct shot *shot, struct ls_err *err);

// fade.c
// How much of the mouth a shot shows, 0..1, for silence, faces that come and go, and the voice's
// end.
float ls_fade_weight(const struct ls_session *s, const struct shot *shot);
// Where silence is generated, too, a shot hears digital silence in place of a room's: mouths would
// tremble with its noise. Comes and goes as the mouth does elsewhere. The gate is so much lower
// there: a voice that is nearly as quiet as a room still speaks.
#define LS_HUSH_BELOW_DB 3
void ls_fade_hush(const struct ls_session *s, struct shot *shot);
// A shot after the voice's end that may fade hears silence; false: its window is not there yet.
bool ls_fade_beyond(const struct ls_session *s, struct shot *shot);
// The presence of shot i by the caller's regions; false: those of frames ahead may still come.
bool ls_fade_regions(struct ls_session *s, int i);

// spots.c
LS_MUST int ls_spots_open(struct ls_session *s, struct ls_err *err);
LS_MUST int ls_spots_advance(struct ls_session *s, struct ls_err *err);
void ls_spots_detect(struct ls_session *s);       // starts a detection if one is wanted
bool ls_spots_repeat(const struct ls_session *s); // whether frames may be shown more than once
// The caller's region of a source frame, NULL: none. false: it may still come.
bool ls_spots_region(const struct ls_session *s, int64_t source_idx, const struct ls_region **out);
void ls_spots_mouth(const struct ls_spot *spot, float mouth[4]);

// hold.c
LS_MUST int ls_hold_keep(struct ls_session *s, const struct ls_frame *frame, struct ls_err *err);
LS_MUST int ls_hold_next(struct ls_session *s, bool *made, struct ls_err *err);
LS_MUST int ls_hold_go_on(struct ls_session *s, struct ls_err *err);
void ls_hold_close(struct ls_session *s);

// outlet.c
LS_MUST int ls_outlet_advance(struct ls_session *s, struct ls_err *err);
void ls_outlet_revoke(struct ls_session *s); // the session fails: its job ends soon, or never began
void ls_outlet_close(struct ls_session *s);

// report.c
void ls_report_stage(struct ls_session *s, enum ls_stage stage);
void ls_report_gone(struct ls_session *s); // it counts in no stage any more
void ls_report_progress(struct ls_session *s);
void ls_report_warn(struct ls_session *s, int64_t frame, const char *reason, const char *fmt, ...)
    LS_PRINTF(4, 5);
void ls_report_tick(struct ls_session *s); // progress and warnings that are due
void ls_report_summary(struct ls_session *s);
// What the processes and lanes did since the last time; before decoders are closed, too.
void ls_report_learn(struct ls_session *s);

#endif
