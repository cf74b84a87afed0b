// SPDX-License-Identifier: Apache-2.0
// How much of the generated mouth a frame shows: it comes and goes over job.paste.fade_frames
// frames where silence, a missing face, a caller's region or the voice's end begin or end, never
// across a cut; and what it hears where it stays. Flow: spots and act -> here. Loop thread. What
// surprises: the voice's fades are counted in time (features.c sees it every 10 ms), those of faces
// and regions in frames.
#include "session_state.h"

#include <math.h>

// From all to nothing, so that fade_frames frames lie in between.
static int fade_ms(const struct ls_session *s)
{
    double ms = 1000.0 * (s->job.paste.fade_frames + 1) / ls_session_rate(s);

    if (s->job.paste.fade_frames == 0)
        return 0;
    return ms < LS_FADE_MS_MAX ? (int)ms : LS_FADE_MS_MAX;
}

static float ease(float part)
{
    return part <= 0 ? 0 : part >= 1 ? 1 : 0.5f - 0.5f * cosf(3.14159265f * part);
}

// What is left of the mouth after the voice's end.
static float beyond(const struct ls_session *s, const struct shot *shot)
{
    int64_t since = shot->pts + shot->duration - ls_features_ticks(s->features);

    if (fade_ms(s) == 0 || shot->scene_pts > ls_features_ticks(s->features))
        return 0;
    return 1 - ease((float)since / (float)(LS_TICKS / 1000 * fade_ms(s)));
}

bool ls_fade_beyond(const struct ls_session *s, struct shot *shot)
{
    return beyond(s, shot) <= 0 || ls_features_window(s->features, shot->pts, shot->work.face.mel);
}

float ls_fade_weight(const struct ls_session *s, const struct shot *shot)
{
    float weight = shot->spot.presence;

    if (ls_session_exact(s))
        return 1;
    if (s->job.silence.policy == LS_SILENCE_KEEP_ORIGINAL)
        weight *= ls_features_voiced(s->features, shot->pts, shot->scene_pts, fade_ms(s));
    if (shot->beyond)
        weight *= beyond(s, shot);
    return weight;
}

void ls_fade_hush(const struct ls_session *s, struct shot *shot)
{
    float *mel = shot->work.face.mel, part;

    if (ls_session_exact(s) || s->job.silence.policy != LS_SILENCE_GENERATE)
        return;
    part = ls_features_voiced(s->features, shot->pts, shot->scene_pts, fade_ms(s));
    for (int i = 0; i < LS_MEL_WINDOW * LS_MEL_BANDS && part < 1; i++)
        mel[i] = LS_MEL_QUIET + part * (mel[i] - LS_MEL_QUIET);
}

// --- a caller's regions --------------------------------------------------------------------------

// Frames ahead whose regions a frame waits for: none where every frame is in a hurry.
static int regions_ahead(const struct ls_session *s)
{
    int room = s->shot_max / 2;

    if (s->job.live || s->job.output.latency == LS_LATENCY_LOW)
        return 0;
    return s->job.paste.fade_frames < room ? s->job.paste.fade_frames : room;
}

// The distance to the next frame that hides the mouth, `ahead` + 1 if there is none so near.
// false: it is not known yet.
static bool next_hidden(const struct ls_session *s, int i, int ahead, int *distance)
{
    bool holds = s->job.face.missing == LS_MISSING_HOLD_BOX;
    const struct ls_region *region;
    const struct shot *shot, *self = s->shot[i];
    int d;

    for (d = 1; d <= ahead; d++) {
        if (i + d >= s->shot_count) {
            if (s->pass == self->pass && !s->pass_ended)
                return false;
            break;
        }
        shot = s->shot[i + d];
        // Frames of another pass come late or never, so they must not count.
        if (shot->cut || shot->buffer >= 0 || shot->pass != self->pass)
            break;
        if (!ls_spots_region(s, shot->source_idx, &region))
            return false;
        if ((region && region->bypass) || (!holds && !(region && region->present))) {
            *distance = d;
            return true;
        }
    }
    *distance = ahead + 1;
    return true;
}

bool ls_fade_regions(struct ls_session *s, int i)
{
    struct shot *shot = s->shot[i];
    int in = s->job.paste.fade_frames, out = regions_ahead(s), distance, passed;

    if (in == 0 || s->job.face.box_fixed || shot->buffer >= 0)
        return true;
    if (!next_hidden(s, i, out, &distance))
        return false;
    if (shot->cut)
        s->fading_frames = 0;
    if (!shot->spot.found || shot->bypass) {
        s->fading_frames = in;
        return true;
    }
    passed = in - s->fading_frames + 1;
    shot->spot.presence =
        ease((float)passed / (float)(in + 1)) * ease((float)distance / (float)(out + 1));
    if (s->fading_frames > 0)
        s->fading_frames--;
    return true;
}
