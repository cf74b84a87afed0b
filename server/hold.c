// SPDX-License-Identifier: Apache-2.0
// A picture that goes on longer than its input: a still that is shown again and again, a last frame
// that is held, a video that loops or swings back and forth. A held picture is copied for each
// frame, since faces are put into frames in place. Flow: decode -> here -> shots. Loop thread.
#include "session_state.h"

#include <stdlib.h>
#include <string.h>

int ls_hold_keep(struct ls_session *s, const struct ls_frame *frame, struct ls_err *err)
{
    int r = ls_video_place(&s->hold_source, &s->hold_data, frame, s->engine->video, err);

    if (r == 0)
        r = ls_video_copy(&s->hold_source, frame, s->engine->video, err);
    s->still_known = r == 0;
    return r;
}

// A frame of the held picture, if the voice goes on and a buffer is free.
int ls_hold_next(struct ls_session *s, bool *made, struct ls_err *err)
{
    const struct ls_decode_video *v = &s->video_info;
    bool still = ls_session_still(s);
    int64_t n = s->hold_count, pts, duration;
    struct shot *shot;
    float window[LS_MEL_WINDOW * LS_MEL_BANDS];
    int b, r;

    *made = false;
    if (!s->still_known || s->voice_over || s->shots_over || s->shot_count == s->shot_max)
        return 0;
    if (still && !ls_session_given(s) && s->spot_count == 0)
        return 0;
    for (b = 0; b < HOLD_BUFFERS && s->hold[b].taken; b++)
        ;
    if (b == HOLD_BUFFERS)
        return 0;
    if (still) {
        pts = n * LS_TICKS * v->rate_den / v->rate_num;
        duration = (n + 1) * LS_TICKS * v->rate_den / v->rate_num - pts;
    } else {
        pts = s->hold_pts + n * s->last_duration;
        duration = s->last_duration;
    }
    switch (ls_shots_listen(s, s->made, pts, duration, window)) {
    case VOICE_WAIT:
        return 0;
    case VOICE_OVER:
        s->voice_over = true;
        return 0;
    case VOICE_HEARD:
        break;
    }
    shot = ls_shots_new(s, err);
    if (!shot)
        return LS_ENOMEM;
    shot->buffer = b;
    s->hold[b].taken = true;
    r = ls_video_place(&shot->frame, &s->hold[b].data, &s->hold_source, s->engine->video, err);
    if (r == 0)
        r = ls_video_copy(&shot->frame, &s->hold_source, s->engine->video, err);
    if (r < 0)
        return r;
    shot->pts = pts;
    shot->duration = duration;
    shot->source_idx = still ? 0 : s->last_source_idx;
    s->hold_count++;
    *made = true;
    return 0;
}

// A long last frame has been heard before the voice for all of it has come.
static bool voice_there(const struct ls_session *s, int64_t ticks)
{
    return s->job.output.audio == LS_AUDIO_NONE || ls_features_ended(s->features) ||
           ls_features_ticks(s->features) >= ticks;
}

// The picture has ended (once more): what follows?
int ls_hold_go_on(struct ls_session *s, struct ls_err *err)
{
    struct shot *last;
    int r;

    if (!s->pass_ended || s->voice_over || s->shots_over || ls_session_still(s))
        return 0;
    if (ls_session_keeps_last(s) && !s->still_known) {
        last = s->shot[s->shot_count - 1];
        if (!last->spotted)
            return 0;
        s->hold_spot = last->spot;
        s->hold_pts = last->pts + last->duration;
        r = ls_hold_keep(s, &last->frame, err);
        if (r < 0)
            return r;
    }
    if (ls_features_ended(s->features) && !ls_session_exact(s) &&
        2 * s->pass_offset + s->last_duration > 2 * ls_features_ticks(s->features)) {
        // Nothing of a further pass would be heard; what is on its way still is, or goes beyond.
        s->shots_over = ls_shots_all_heard(s);
        return 0;
    }
    switch (s->job.fit.audio_longer) {
    case LS_FIT_STOP:
        s->shots_over = ls_shots_all_heard(s) && voice_there(s, s->pass_offset);
        return 0;
    case LS_FIT_HOLD_LAST:
        return 0;
    default:
        // Spots of the first pass serve the next one, so all must be there.
        if (s->pass == 0 && s->shot_count > 0 && !s->shot[s->shot_count - 1]->spotted)
            return 0;
        s->backward = s->job.fit.audio_longer == LS_FIT_PING_PONG && !s->backward;
        s->pass++;
        s->pass_ended = false;
        ls_decode_again(s->video, s->backward);
        return 0;
    }
}

void ls_hold_close(struct ls_session *s)
{
    int i;

    for (i = 0; i < HOLD_BUFFERS; i++)
        ls_video_free(&s->hold[i].data, s->hold_source.on_device, s->engine->video);
    ls_video_free(&s->hold_data, s->hold_source.on_device, s->engine->video);
}
