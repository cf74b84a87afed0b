// SPDX-License-Identifier: Apache-2.0
// What a session is fed: bytes of its inputs, boxes, and their ends. Flow: caller -> here ->
// decode. Loop thread. When it is hungry is decided here, which is the back-pressure on the caller.
#include "session_state.h"

#include <inttypes.h>
#include <stdlib.h>

bool ls_session_hungry(const struct ls_session *s)
{
    if (s->failing || s->done || s->half_closed || s->finish_sent)
        return false;
    // A caller's boxes are awaited like any input, also when all frames are there: that no more
    // come is told by the half-close alone.
    if (s->job.face.choose == LS_CHOOSE_GIVEN && !s->job.face.box_fixed && s->shot_count > 0 &&
        !s->shot[0]->spotted)
        return true;
    if (s->shots_over)
        return false;
    return (!s->audio_ended_input && ls_decode_hungry(s->audio)) ||
           (!s->video_ended_input && ls_decode_hungry(s->video));
}

static void end_input(struct ls_session *s, bool video)
{
    if (video) {
        s->video_ended_input = true;
        ls_decode_end_input(s->video);
    } else {
        s->audio_ended_input = true;
        ls_decode_end_input(s->audio);
    }
}

int ls_session_feed(struct ls_session *s, bool video, const void *data, size_t size, bool end,
                    struct ls_err *err)
{
    bool *seen = video ? &s->video_seen : &s->audio_seen;
    const char *field = video ? "video" : "audio";
    int r = 0;

    s->input_us = ls_now_us();
    if (s->failing || s->done || s->finish_sent || s->shots_over)
        return 0;
    if (video ? s->video_ended_input : s->audio_ended_input)
        return ls_fail_field(err, LS_EORDER, field, "data came after the end of this input");
    *seen = true;
    *(video ? &s->video_bytes : &s->audio_bytes) += (int64_t)size;
    if (!video && !s->audio_first_us && size > 0)
        s->audio_first_us = ls_now_us();
    if (size > 0)
        r = ls_decode_feed(video ? s->video : s->audio, data, size, err);
    if (r == 0 && end)
        end_input(s, video);
    if (r == 0)
        ls_session_kick(s);
    return r;
}

int ls_session_regions(struct ls_session *s, const struct ls_region *item, int count,
                       struct ls_err *err)
{
    struct ls_region *grown;
    int i, capacity;

    s->input_us = ls_now_us();
    if (s->failing || s->done)
        return 0;
    if (s->job.face.choose != LS_CHOOSE_GIVEN)
        return ls_fail_field(err, LS_EORDER, "regions",
                             "boxes came, but face.choose is not FACE_CHOICE_GIVEN");
    if (s->region_count + count > s->engine->opt.regions_max)
        return ls_fail_field(err, LS_ELIMIT, "regions", "more than %" PRId64 " boxes",
                             s->engine->opt.regions_max);
    if (s->region_count + count > s->region_capacity) {
        capacity = 2 * (s->region_count + count);
        grown = realloc(s->region, (size_t)capacity * sizeof(*grown));
        if (!grown)
            return ls_fail(err, LS_ENOMEM, "%d boxes", capacity);
        s->region = grown;
        s->region_capacity = capacity;
    }
    for (i = 0; i < count; i++) {
        if (s->region_count > 0 && item[i].frame <= s->region[s->region_count - 1].frame)
            return ls_fail_field(err, LS_EORDER, "regions.first_frame",
                                 "frame %" PRId64 " came after frame %" PRId64, item[i].frame,
                                 s->region[s->region_count - 1].frame);
        s->region[s->region_count++] = item[i];
    }
    ls_session_kick(s);
    return 0;
}

void ls_session_half_close(struct ls_session *s)
{
    struct ls_err err = {0};

    if (s->half_closed || s->failing || s->done)
        return;
    s->half_closed = true;
    if (!s->audio_seen || !s->video_seen) {
        ls_fail_field(&err, LS_EMISSING, s->audio_seen ? "video" : "audio", "%s",
                      s->audio_seen   ? "no video message came"
                      : s->video_seen ? "no audio message came"
                                      : "neither an audio nor a video message came");
        ls_session_broke(s, &err);
        return;
    }
    if (!s->audio_ended_input)
        end_input(s, false);
    if (!s->video_ended_input)
        end_input(s, true);
    ls_session_kick(s);
}
