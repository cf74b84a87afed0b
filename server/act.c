// SPDX-License-Identifier: Apache-2.0
// What becomes of a frame that has its spot and has heard the voice: a face is generated and
// pasted, or it is shown as it is. Flow: shots -> here (device: crop, generate, composite) ->
// shots. Loop thread. What surprises: a frame that the job's policies would pass may still get a
// face, for the mouth goes over some frames (fade.c).
#include "session_state.h"

#include <inttypes.h>
#include <string.h>

static void on_face_done(struct ls_work *w)
{
    struct ls_session *s = w->user;
    struct shot *shot = (struct shot *)((char *)w - offsetof(struct shot, work));

    s->part_us[LS_PART_GENERATE] += w->busy_us[0];
    s->part_us[LS_PART_COMPOSITE] += w->busy_us[1] + w->busy_us[2];
    s->frames_generated++;
    shot->state = SHOT_READY;
    if (w->err.code < 0)
        ls_session_broke(s, &w->err);
    ls_session_idle(s);
}

// Whether the shot's picture is shown again. Of a first pass that is known where both lengths are
// declared; where not, most films are as long as their voice, and keeping each of their faces for
// nothing would cost more than to begin with the second pass.
static bool shown_again(const struct ls_session *s, const struct shot *shot)
{
    int64_t voice = ls_shots_voice(s), film = s->video_info.duration;

    if (shot->buffer >= 0 || shot->repeated)
        return true;
    return ls_spots_repeat(s) && film > 0 && voice > film;
}

// Names what the generator sees of a frame that is shown again and again: the session, the source
// frame, the box and its turn. The session's number stands in it as it is: whatever boxes a caller
// sends, no face of another session can be meant. 0: shown once.
static uint64_t source_key(const struct ls_session *s, const struct shot *shot)
{
    const struct ls_box *box = &shot->spot.face.box;
    uint64_t key = 0xcbf29ce484222325; // FNV-1a's start and step, on 32-bit words
    uint32_t word[7] = {(uint32_t)shot->source_idx, shot->buffer >= 0};

    if (!shown_again(s, shot))
        return 0;
    memcpy(word + 2, box, sizeof *box);
    memcpy(word + 6, &shot->spot.roll_rad, sizeof word[6]);
    for (int i = 0; i < 7; i++) {
        key = (key ^ word[i]) * 0x100000001b3;
        key ^= key >> 32; // FNV alone hardly carries the upper bits of a word down
    }
    return (uint64_t)s->serial << 40 | (key >> 24 ? key >> 24 : 1);
}

static void generate(struct ls_session *s, struct shot *shot, float weight)
{
    struct ls_work *w = &shot->work;

    w->kind = LS_WORK_FACE;
    w->face.frame = &shot->frame;
    w->face.box = shot->spot.face.box;
    w->face.paste = (struct ls_paste){.mask = s->job.paste.mask,
                                      .feather_px = s->job.paste.feather_px,
                                      .colour_match = s->job.paste.colour_match,
                                      .strength = s->job.paste.strength * weight,
                                      .sharpness = s->job.paste.sharpness,
                                      .roll_rad = shot->spot.roll_rad,
                                      .exact = ls_session_exact(s)};
    ls_spots_mouth(&shot->spot, w->face.paste.mouth);
    w->face.source_key = source_key(s, shot);
    w->on_done = on_face_done;
    w->user = s;
    ls_shots_urge(s, w, shot->due_us);
    shot->state = SHOT_AT_DEVICE;
    s->busy++;
    ls_batch_push(s->engine->batch, w);
}

// Only a frame of the output can lack a face: those behind the voice's end never come here.
static int no_face(struct ls_session *s, const struct shot *shot, struct ls_err *err)
{
    if (s->job.face.missing == LS_MISSING_FAIL)
        return ls_fail_field(err, LS_ENOFACE, "video", "frame %" PRId64 " (%.3f s) has no face",
                             shot->source_idx, (double)shot->pts / LS_TICKS);
    ls_report_warn(s, shot->source_idx, "FACE_MISSING",
                   "frame %" PRId64 " has no face and is shown as it is", shot->source_idx);
    return 0;
}

int ls_act(struct ls_session *s, struct shot *shot, struct ls_err *err)
{
    float weight;

    shot->state = SHOT_READY;
    shot->action = LS_ACTION_PASSED_THROUGH;
    if (shot->bypass || !shot->spot.found)
        return shot->beyond || shot->bypass ? 0 : no_face(s, shot, err);
    weight = ls_fade_weight(s, shot);
    if (weight > 0) {
        shot->action = shot->spot.held ? LS_ACTION_HELD : LS_ACTION_SYNCED;
        ls_fade_hush(s, shot);
        generate(s, shot, weight);
    } else if (!shot->beyond) {
        shot->action = LS_ACTION_SILENT;
    }
    return 0;
}
