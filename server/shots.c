// SPDX-License-Identifier: Apache-2.0
// The frames of a session on their way from the decoder to the encoder ("shots"), in the order of
// the output. Flow: decode -> here (track, features: does it get a face, does it hear the voice) ->
// device -> here -> outlet. A shot waits for two things, in any order: its spot (where the face is)
// and its mel window. Loop thread. What surprises: the default profile tracks a frame as soon as it
// arrives, the exact one only when the voice reaches it, because the original's smoothing knows how
// many frames there are.
#include "session_state.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

int ls_shots_open(struct ls_session *s, struct ls_err *err)
{
    s->shot_max = (int)s->engine->opt.frames_in_flight;
    s->shot = calloc((size_t)s->shot_max, sizeof(*s->shot));
    if (!s->shot)
        return ls_fail(err, LS_ENOMEM, "%d frames in flight", s->shot_max);
    return ls_spots_open(s, err);
}

void ls_shots_close(struct ls_session *s)
{
    int i;

    for (i = 0; i < s->shot_count; i++)
        free(s->shot[i]);
    for (i = 0; i < s->spare_count; i++)
        free(s->spare[i]);
    ls_hold_close(s);
    free(s->shot);
    free(s->spot);
    s->shot = NULL;
    s->shot_count = s->spare_count = 0;
    ls_track_free(&s->track);
}

struct shot *ls_shots_new(struct ls_session *s, struct ls_err *err)
{
    struct shot *shot = s->spare_count ? s->spare[--s->spare_count] : malloc(sizeof(*shot));

    if (!shot) {
        ls_fail(err, LS_ENOMEM, "a frame");
        return NULL;
    }
    memset(shot, 0, sizeof(*shot));
    shot->slot = shot->buffer = -1;
    shot->pass = s->pass;
    shot->scene_pts = s->scene_pts;
    s->shot[s->shot_count++] = shot;
    return shot;
}

static void shot_drop(struct ls_session *s, struct shot *shot)
{
    if (shot->slot >= 0)
        ls_decode_release(s->video, shot->slot);
    if (shot->buffer >= 0)
        s->hold[shot->buffer].taken = false;
    if (s->spare_count < (int)(sizeof(s->spare) / sizeof(s->spare[0])))
        s->spare[s->spare_count++] = shot;
    else
        free(shot);
}

// How late a live frame left. What waited for the reader of the output says nothing of the server.
static void judge_lag(struct ls_session *s, const struct shot *shot)
{
    int64_t lag_us = ls_now_us() - shot->due_us;

    if (s->job.live && !s->failing && shot->due_us > s->backlog_full_us)
        ls_admit_live_lag(s->engine->admit, lag_us > 0 ? lag_us : 0);
}

void ls_shots_leave(struct ls_session *s, struct shot *shot)
{
    assert(s->shot_count > 0 && s->shot[0] == shot);
    judge_lag(s, shot);
    s->shot_count--;
    memmove(s->shot, s->shot + 1, (size_t)s->shot_count * sizeof(*s->shot));
    if (s->features)
        ls_features_forget(s->features, shot->pts,
                           s->job.output.audio == LS_AUDIO_NONE ? INT64_MAX : s->voice_sent);
    shot_drop(s, shot);
}

// --- where the voice stands
// ------------------------------------------------------------------------

static enum voice listen_exact(struct ls_session *s, int64_t idx, float *window)
{
    int64_t columns = ls_features_columns(s->features),
            start = ls_mel_start_exact(idx, ls_session_rate(s));

    if (columns >= 0) {
        if (idx >= ls_mel_frames_exact(columns, ls_session_rate(s)))
            return VOICE_OVER;
        if (start + LS_MEL_WINDOW > columns)
            start = columns - LS_MEL_WINDOW;
    }
    return ls_features_window_at(s->features, start, window) ? VOICE_HEARD : VOICE_WAIT;
}

// Does a frame at [pts, pts + duration) belong to the output, and what does it hear? It belongs
// when its middle lies before the voice's end, which at a constant rate makes round(seconds * rate)
// frames.
enum voice ls_shots_listen(struct ls_session *s, int64_t idx, int64_t pts, int64_t duration,
                           float window[LS_MEL_WINDOW * LS_MEL_BANDS])
{
    int64_t end;

    if (!s->features)
        return VOICE_WAIT;
    if (ls_session_exact(s))
        return listen_exact(s, idx, window);
    end = ls_features_ticks(s->features);
    if (2 * pts + duration > 2 * end)
        return ls_features_ended(s->features) ? VOICE_OVER : VOICE_WAIT;
    return ls_features_window(s->features, pts, window) ? VOICE_HEARD : VOICE_WAIT;
}

// Length of the voice: known at its end, before that as its container declares it. 0: not known.
int64_t ls_shots_voice(const struct ls_session *s)
{
    int64_t declared = s->audio_info.duration;

    if (!s->features)
        return 0;
    if (ls_features_ended(s->features))
        return ls_features_ticks(s->features);
    return declared <= s->engine->opt.audio_seconds_max * LS_TICKS ? declared : 0;
}

int64_t ls_shots_total(const struct ls_session *s)
{
    const struct ls_decode_video *v = &s->video_info;
    int64_t ticks = ls_shots_voice(s), total;

    if (s->shots_over)
        return s->out_idx + s->shot_count;
    if (ticks <= 0 || !s->video_info_known || v->rate_num <= 0 || v->rate_den <= 0)
        return 0;
    if (s->job.fit.video_longer == LS_FIT_KEEP_ORIGINAL ||
        (s->job.fit.audio_longer == LS_FIT_STOP && !ls_session_still(s)))
        return 0;
    if (ls_session_exact(s))
        return ls_features_ended(s->features)
                   ? ls_mel_frames_exact(ls_features_columns(s->features), ls_session_rate(s))
                   : 0;
    if (!v->constant_rate && s->job.video.source == LS_SOURCE_CONTAINER)
        return 0;
    total = (2 * ticks * v->rate_num + (int64_t)LS_TICKS * v->rate_den) /
            (2 * (int64_t)LS_TICKS * v->rate_den);
    // What was declared may be wrong.
    if (total < s->made)
        return ls_features_ended(s->features) ? s->made : 0;
    return total > 0 ? total : 1;
}

// --- arrival
// ---------------------------------------------------------------------------------------

// The rows that a signature looks at, from the device: in one copy where they lie evenly.
static int fetch_rows(const struct ls_session *s, uint8_t *to, const struct ls_frame *f,
                      struct ls_err *err)
{
    int first = ls_track_signature_row(f, 0), step = ls_track_signature_row(f, 1) - first, r = 0;
    struct ls_copy copy = {.to = to,
                           .from = f->plane[0] + (size_t)first * (size_t)f->stride[0],
                           .to_stride = (size_t)f->width_px,
                           .from_stride = (size_t)step * (size_t)f->stride[0],
                           .row_size = (size_t)f->width_px,
                           .row_count = LS_SIGNATURE_ROWS,
                           .from_device = true};

    if (step > 0 &&
        first + (LS_SIGNATURE_ROWS - 1) * step == ls_track_signature_row(f, LS_SIGNATURE_ROWS - 1))
        return ls_backend_copy(s->engine->backend, &copy, err);
    copy.row_count = 1;
    copy.from_stride = (size_t)f->stride[0]; // of a low picture several rows are the same one
    for (int i = 0; i < LS_SIGNATURE_ROWS && r == 0; i++) {
        copy.to = to + (size_t)i * copy.to_stride;
        copy.from = f->plane[0] + (size_t)ls_track_signature_row(f, i) * (size_t)f->stride[0];
        r = ls_backend_copy(s->engine->backend, &copy, err);
    }
    return r;
}

static int signature(const struct ls_session *s, uint8_t look[LS_SIGNATURE],
                     const struct ls_frame *f, struct ls_err *err)
{
    const uint8_t *row[LS_SIGNATURE_ROWS];
    uint8_t *fetched = NULL;
    int r = 0;

    if (f->on_device) {
        fetched = malloc((size_t)f->width_px * LS_SIGNATURE_ROWS);
        r = fetched ? fetch_rows(s, fetched, f, err)
                    : ls_fail(err, LS_ENOMEM, "rows of a frame of %d pixels", f->width_px);
    }
    for (int i = 0; i < LS_SIGNATURE_ROWS; i++)
        row[i] = fetched
                     ? fetched + (size_t)i * (size_t)f->width_px
                     : f->plane[0] + (size_t)ls_track_signature_row(f, i) * (size_t)f->stride[0];
    if (r == 0)
        ls_track_signature(look, f, row);
    free(fetched);
    return r;
}

// Of a later pass, as it was in the first one; backwards, a scene begins with the frame before the
// one that did. Where the picture begins again it jumps.
static bool began(const struct ls_session *s, int64_t idx)
{
    if (!s->backward)
        return (idx == 0 && s->job.fit.audio_longer == LS_FIT_LOOP) ||
               (idx > 0 && idx < s->spot_count && s->spot[idx].begins);
    return idx + 1 < s->spot_count && s->spot[idx + 1].begins;
}

// Does the frame begin a scene? Tracks and fades do not go on across a cut; in later passes, too.
static int look_for_cut(struct ls_session *s, struct shot *shot, struct ls_err *err)
{
    uint8_t look[LS_SIGNATURE];
    int r;

    if (s->pass > 0 && !ls_session_given(s)) {
        shot->cut = began(s, shot->source_idx);
    } else if (!ls_session_given(s) || s->job.paste.fade_frames > 0) {
        r = signature(s, look, &shot->frame, err);
        if (r < 0)
            return r;
        shot->cut = s->signature_known && ls_track_is_cut(s->signature, look);
        memcpy(s->signature, look, sizeof(look));
        s->signature_known = true;
    }
    if (shot->cut)
        s->scene_pts = shot->pts;
    shot->scene_pts = s->scene_pts;
    return 0;
}

int ls_shots_frame(struct ls_session *s, const struct ls_decode_frame *frame, struct ls_err *err)
{
    struct shot *shot;
    int r = 0;

    if (s->pass == 0)
        s->frames_in++;
    s->last_source_idx = frame->idx;
    s->last_duration = frame->duration;
    // Nothing is given back any more, so the decoder comes to rest when its ring is full.
    if (s->shots_over)
        return 0;
    // A still is shown again and again, so it is worked on in copies.
    if (ls_session_still(s)) {
        r = ls_hold_keep(s, &frame->frame, err);
        ls_decode_release(s->video, frame->slot);
        if (r == 0 && !ls_session_given(s))
            r = ls_track_frame(s->track, false, err);
        return r;
    }
    if (s->shot_count == s->shot_max)
        return ls_fail(err, LS_EINTERNAL, "more frames than the ring has slots");
    shot = ls_shots_new(s, err);
    if (!shot)
        return LS_ENOMEM;
    shot->frame = frame->frame;
    shot->slot = frame->slot;
    shot->source_idx = frame->idx;
    shot->pts = s->pass_offset + frame->pts;
    shot->duration = frame->duration;
    shot->repeated = s->pass > 0;
    if (ls_session_exact(s))
        return 0;
    r = look_for_cut(s, shot, err);
    if (r == 0 && s->pass == 0 && !ls_session_given(s)) {
        r = ls_track_frame(s->track, shot->cut, err);
        shot->tracked = true;
    }
    return r;
}

void ls_shots_pass_ended(struct ls_session *s, const struct ls_decode_end *end)
{
    s->pass_ended = true;
    s->pass_offset += end->duration;
    if (s->pass == 0 && (ls_session_still(s) || !ls_session_exact(s)))
        ls_track_end(s->track);
}

// --- when it is due
// ---------------------------------------------------------------------------------

static int64_t us_of(int64_t ticks)
{
    return ticks * 100 / (LS_TICKS / 10000);
}

void ls_shots_urge(const struct ls_session *s, struct ls_work *work, int64_t due_us)
{
    work->class = s->job.class;
    work->live = s->job.live;
    work->due_us = due_us + (int64_t)(1e6 / ls_session_rate(s));
}

// From when on each frame is wanted: from when its picture, its window of the voice and the frames
// that its box depends on are there; but not before its turn at the stream's own pace, so that a
// caller who sends faster is neither late nor before others who keep the time.
static void set_due(struct ls_session *s)
{
    int64_t now = ls_now_us();

    for (int i = 0; i < s->shot_count; i++) {
        struct shot *shot = s->shot[i];

        if (shot->due_us)
            continue;
        if (!shot->heard || (!shot->spotted && s->pass == 0 && !s->pass_ended && shot->buffer < 0 &&
                             s->last_source_idx - shot->source_idx < s->look_ahead))
            return;
        shot->due_us = now > s->next_due_us ? now : s->next_due_us;
        s->next_due_us = shot->due_us + us_of(shot->duration);
    }
}

// --- the flow
// --------------------------------------------------------------------------------------

bool ls_shots_all_heard(const struct ls_session *s)
{
    return s->shot_count == 0 || s->shot[s->shot_count - 1]->heard;
}

// After the voice's end, shots that did not hear it are surplus. They leave when the others have
// their spots: a box depends on the frames that follow, which must not depend on when the end
// became known.
static void drop_surplus(struct ls_session *s)
{
    int i;

    if (!s->voice_over || s->shots_over || s->detect_busy)
        return;
    for (i = 0; i < s->shot_count && s->shot[i]->heard; i++)
        if (!s->shot[i]->spotted)
            return;
    for (; s->shot_count > i; s->shot_count--)
        shot_drop(s, s->shot[s->shot_count - 1]);
    s->shots_over = true;
}

static int hear_shots(struct ls_session *s, struct ls_err *err)
{
    struct shot *shot;
    int i, r;

    for (i = 0; i < s->shot_count; i++) {
        shot = s->shot[i];
        if (shot->heard)
            continue;
        switch (ls_shots_listen(s, s->made, shot->pts, shot->duration, shot->work.face.mel)) {
        case VOICE_WAIT:
            return 0;
        case VOICE_OVER:
            if (s->job.fit.video_longer != LS_FIT_KEEP_ORIGINAL || shot->repeated ||
                shot->buffer >= 0) {
                s->voice_over = true;
                return 0;
            }
            if (!ls_fade_beyond(s, shot))
                return 0;
            shot->beyond = true;
            break;
        case VOICE_HEARD:
            s->heard_ticks = shot->pts + shot->duration;
            break;
        }
        if (s->made >= s->engine->opt.frames_max)
            return ls_fail(err, LS_ELIMIT, "more than %" PRId64 " frames (--frames-max)",
                           s->engine->opt.frames_max);
        shot->heard = true;
        s->made++;
        if (ls_session_exact(s) && s->pass == 0 && !ls_session_given(s) && shot->buffer < 0) {
            r = ls_track_frame(s->track, false, err);
            if (r < 0)
                return r;
            shot->tracked = true;
        }
    }
    return 0;
}

// The exact profile's track ends where the voice or the picture does.
static void end_exact_track(struct ls_session *s)
{
    if (ls_session_exact(s) && s->pass == 0 &&
        (s->voice_over || (s->pass_ended && ls_shots_all_heard(s))))
        ls_track_end(s->track);
}

static int dispatch(struct ls_session *s, struct ls_err *err)
{
    struct shot *shot;
    int i, r = 0;

    for (i = 0; r == 0 && i < s->shot_count; i++) {
        shot = s->shot[i];
        // The newest frame may be the last one, which must be held before a face is put into it.
        if (ls_session_keeps_last(s) && !s->still_known && !s->voice_over && i == s->shot_count - 1)
            break;
        if (shot->state == SHOT_ARRIVED && shot->heard && shot->spotted)
            r = ls_act(s, shot, err);
    }
    return r;
}

int ls_shots_advance(struct ls_session *s, struct ls_err *err)
{
    bool made = true;
    int r = 0;

    while (made) {
        if (!s->voice_over && !s->shots_over)
            r = hear_shots(s, err);
        if (r == 0)
            end_exact_track(s);
        if (r == 0)
            r = ls_spots_advance(s, err);
        if (r == 0)
            set_due(s);
        if (r == 0 && s->features)
            r = ls_hold_go_on(s, err);
        if (r == 0)
            r = dispatch(s, err);
        if (r < 0)
            return r;
        drop_surplus(s);
        r = ls_hold_next(s, &made, err);
        if (r < 0)
            return r;
    }
    ls_spots_detect(s);
    return 0;
}
