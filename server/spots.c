// SPDX-License-Identifier: Apache-2.0
// Where the face is in each frame on its way ("spots"): from the track, from the caller's boxes,
// or, when the picture repeats, as in its first pass. Flow: shots -> here (device: detect) ->
// shots. Loop thread.
#include "session_state.h"

#include "metrics.h"

#include <assert.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

// Spots of the first pass are kept for the passes that follow.
enum { SPOTS_KEPT = 1 << 17 };

// BlazeFace's boxes of turned faces are not like YuNet's.
static enum ls_tilt tilt_of(const struct ls_session *s)
{
    return s->engine->model->detector == LS_DETECTOR_BLAZEFACE ? LS_TILT_SHRINKS : LS_TILT_AROUND;
}

int ls_spots_open(struct ls_session *s, struct ls_err *err)
{
    const struct ls_options *opt = &s->engine->opt;
    bool low = s->job.output.latency == LS_LATENCY_LOW;
    int half = s->job.face.smoothing_frames / 2, room = s->shot_max - 2;
    struct ls_track_params p = {
        .job = &s->job,
        .width_px = s->video_info.width_px,
        .height_px = s->video_info.height_px,
        .interval = (int)opt->detect_interval,
        .smooth_half = low && half > 1 ? 1 : half,
        .tilt = tilt_of(s),
        .side_px = (int)opt->detect_side_px,
        .side_px_max = 1280,
        .lost_frames_max = (int)(ls_session_rate(s) / 2 + 0.5),
    };

    // Frames that wait for a detection or an average must fit into the ring.
    if (low && p.interval > 2)
        p.interval = 2;
    if (p.smooth_half > room / 2)
        p.smooth_half = room / 2;
    if (p.interval > room - p.smooth_half)
        p.interval = room - p.smooth_half;
    if (s->engine->model->detector == LS_DETECTOR_BLAZEFACE) {
        p.side_px_max = p.side_px; // it has one size
        // Measured on the shared clips: real faces score 0.66 or more, all boxes of other things in
        // the film scenes 0.72 or less, nearly all of them under 0.65.
        p.score_begin = 0.65f;
    }
    s->look_ahead = p.interval - 1 + p.smooth_half;
    return ls_track_new(&s->track, &p, err);
}

static const struct ls_region *region_find(const struct ls_session *s, int64_t frame)
{
    int low = 0, high = s->region_count, mid;

    while (low < high) {
        mid = (low + high) / 2;
        if (s->region[mid].frame < frame)
            low = mid + 1;
        else
            high = mid;
    }
    return low < s->region_count && s->region[low].frame == frame ? &s->region[low] : NULL;
}

bool ls_spots_region(const struct ls_session *s, int64_t source_idx, const struct ls_region **out)
{
    if (!s->half_closed &&
        (s->region_count == 0 || s->region[s->region_count - 1].frame < source_idx))
        return false;
    *out = region_find(s, source_idx);
    return true;
}

// A caller's box for a frame; false: it may still come.
static bool spot_given(struct ls_session *s, struct shot *shot)
{
    const struct ls_region *region;
    struct ls_box box;

    memset(&shot->spot, 0, sizeof(shot->spot));
    if (s->job.face.box_fixed) {
        box = s->job.face.box;
    } else {
        if (!ls_spots_region(s, shot->source_idx, &region))
            return false;
        shot->bypass = region && region->bypass;
        if (!region || !region->present)
            return true;
        box = region->box;
    }
    shot->spot.found = true;
    shot->spot.presence = 1;
    shot->spot.track_id = 1;
    shot->spot.face.score = 1;
    shot->spot.face.box = box;
    return true;
}

// Given boxes are cut to the frame, of which 4 pixels must remain; those that miss are held, too,
// if asked.
static void finish_given(struct ls_session *s, struct shot *shot)
{
    struct ls_box *b = &shot->spot.face.box;

    if (shot->spot.found) {
        b->x0 = b->x0 < 0 ? 0 : b->x0;
        b->y0 = b->y0 < 0 ? 0 : b->y0;
        b->x1 = b->x1 > (float)shot->frame.width_px ? (float)shot->frame.width_px : b->x1;
        b->y1 = b->y1 > (float)shot->frame.height_px ? (float)shot->frame.height_px : b->y1;
        shot->spot.found = b->x1 - b->x0 >= 4 && b->y1 - b->y0 >= 4;
    }
    if (!shot->spot.found && s->job.face.missing == LS_MISSING_HOLD_BOX && s->spot_count > 0 &&
        !shot->bypass) {
        shot->spot = s->spot[0];
        shot->spot.held = true;
        shot->spot.presence = 1;
    }
}

static int spot_keep(struct ls_session *s, const struct ls_spot *spot, struct ls_err *err)
{
    struct ls_spot *grown;
    int capacity;

    if (s->spot_count == SPOTS_KEPT)
        return 0;
    if (s->spot_count == s->spot_capacity) {
        capacity = s->spot_capacity ? 2 * s->spot_capacity : 256;
        grown = realloc(s->spot, (size_t)capacity * sizeof(*grown));
        if (!grown)
            return ls_fail(err, LS_ENOMEM, "boxes of %d frames", capacity);
        s->spot = grown;
        s->spot_capacity = capacity;
    }
    s->spot[s->spot_count++] = *spot;
    return 0;
}

bool ls_spots_repeat(const struct ls_session *s)
{
    return ls_session_exact(s) || s->job.fit.audio_longer == LS_FIT_LOOP ||
           s->job.fit.audio_longer == LS_FIT_PING_PONG;
}

// The still's one spot; its copies all take it.
static int spot_still(struct ls_session *s, struct ls_err *err)
{
    if (!ls_session_still(s) || ls_session_given(s) || s->spot_count > 0 ||
        !ls_track_next(s->track, &s->hold_spot))
        return 0;
    return spot_keep(s, &s->hold_spot, err);
}

// The rows of a patch's view; from the device into *fetched, which the caller frees.
static int view_rows(const struct ls_session *s, const struct ls_frame *frame,
                     const struct ls_patch_view *view, const uint8_t **first, int *stride,
                     uint8_t **fetched, struct ls_err *err)
{
    int pixel = frame->format == LS_PIX_RGB24 ? 3 : frame->format == LS_PIX_P010 ? 2 : 1;
    struct ls_copy copy = {.from = frame->plane[0] + (ptrdiff_t)view->y * frame->stride[0] +
                                   (ptrdiff_t)view->x * pixel,
                           .from_stride = (size_t)frame->stride[0],
                           .to_stride = (size_t)view->width * (size_t)pixel,
                           .row_size = (size_t)view->width * (size_t)pixel,
                           .row_count = view->height,
                           .from_device = true};

    if (!frame->on_device) {
        *first = copy.from;
        *stride = frame->stride[0];
        return 0;
    }
    copy.to = *fetched = malloc(copy.row_size * (size_t)view->height);
    if (!copy.to)
        return ls_fail(err, LS_ENOMEM, "%d rows of a head", view->height);
    *first = *fetched;
    *stride = (int)copy.row_size;
    return ls_backend_copy(s->engine->backend, &copy, err);
}

// The patch of a head in its frame becomes the newest one.
static int take_patch(struct ls_session *s, const struct ls_frame *frame,
                      const struct ls_face *face, struct ls_err *err)
{
    struct ls_patch *patch = &s->patch[s->patch_idx ^= 1];
    struct ls_patch_view view;
    const uint8_t *first = NULL;
    uint8_t *fetched = NULL;
    int stride = 0, r;

    if (!ls_patch_place(patch, &view, frame, face))
        return 0;
    r = view_rows(s, frame, &view, &first, &stride, &fetched, err);
    if (r == 0)
        ls_patch_fill(patch, &view, frame, first, stride);
    free(fetched);
    return r;
}

// Tells the track how the head moved in the frames that it has decided upon.
static int measure_steps(struct ls_session *s, struct ls_err *err)
{
    const struct ls_face *face;
    struct ls_pose step;
    int64_t idx, place;
    bool goes_on, known;
    int r;

    while (ls_track_wants_step(s->track, &idx, &face, &goes_on, &step)) {
        // A still has one frame. Frames behind the voice's end may have been dropped, and so have
        // their steps any value.
        place = s->shot_count > 0 ? idx - s->shot[0]->source_idx : -1;
        known = face && !ls_session_still(s) && place >= 0 && place < s->shot_count;
        if (known) {
            r = take_patch(s, &s->shot[place]->frame, face, err);
            if (r < 0)
                return r;
            known = goes_on &&
                    ls_motion_between(&step, &s->patch[s->patch_idx ^ 1], &s->patch[s->patch_idx]);
        }
        ls_track_step(s->track, known ? &step : NULL);
    }
    return 0;
}

// Gives shots their spots, in order, as far as they are decided.
int ls_spots_advance(struct ls_session *s, struct ls_err *err)
{
    struct shot *shot;
    int i, r = ls_session_given(s) ? 0 : measure_steps(s, err);

    if (r == 0)
        r = spot_still(s, err);
    for (i = 0; r == 0 && i < s->shot_count; i++) {
        shot = s->shot[i];
        if (shot->spotted)
            continue;
        if (ls_session_given(s)) {
            if (!spot_given(s, shot))
                return 0;
            finish_given(s, shot);
            if (!ls_fade_regions(s, i))
                return 0;
            if (shot->spot.found && s->spot_count == 0) {
                r = spot_keep(s, &shot->spot, err);
                if (r < 0)
                    return r;
            } else if (shot->spot.found) {
                s->spot[0] = shot->spot; // the last one, for HOLD_BOX
            }
        } else if (s->pass == 0 && shot->tracked) {
            if (!ls_track_next(s->track, &shot->spot))
                return 0;
            shot->spot.begins = shot->cut;
            r = ls_spots_repeat(s) ? spot_keep(s, &shot->spot, err) : 0;
            if (r < 0)
                return r;
        } else if (shot->buffer >= 0) {
            shot->spot = s->hold_spot;
            shot->spot.presence = 1; // what it had when it was last in motion says nothing any more
        } else if (s->pass > 0) {
            if (shot->source_idx >= s->spot_count)
                return ls_fail_field(err, LS_ELIMIT, "config.fit.audio_longer",
                                     "a video of more than %d frames cannot be repeated",
                                     SPOTS_KEPT);
            shot->spot = s->spot[shot->source_idx];
        } else {
            return 0; // exact: not tracked yet
        }
        shot->spotted = true;
    }
    return 0;
}

static void on_detected(struct ls_work *w)
{
    struct ls_session *s = w->user;

    s->detect_busy = false;
    s->part_us[LS_PART_DETECT] += w->busy_us[0];
    if (w->err.code < 0) {
        ls_session_broke(s, &w->err);
    } else {
        ls_metrics_add(s->engine->metrics, LS_COUNT_DETECTIONS,
                       w->detect.count > 0 ? LS_RESULT_FOUND : LS_RESULT_MISSED, 0, 1);
        ls_track_found(s->track, w->detect.face, w->detect.count, w->detect.side_px);
    }
    ls_session_idle(s);
}

void ls_spots_detect(struct ls_session *s)
{
    const struct ls_frame *frame = NULL;
    int64_t idx, oldest;
    int side_px, side_px_max;

    if (s->detect_busy || ls_session_given(s) ||
        !ls_track_wants(s->track, &idx, &side_px, &side_px_max))
        return;
    if (ls_session_still(s)) {
        frame = &s->hold_source;
    } else {
        // Once the voice is over the track may want a frame that was dropped; those that were made
        // all have their spots then. The others still need theirs.
        if (s->shots_over && (s->shot_count == 0 || s->shot[s->shot_count - 1]->spotted))
            return;
        // Frames of the first pass are numbered as the track numbers them.
        oldest = s->shot[0]->source_idx;
        assert(idx >= oldest && idx - oldest < s->shot_count);
        frame = &s->shot[idx - oldest]->frame;
    }
    s->detect.kind = LS_WORK_DETECT;
    s->detect.detect.frame = frame;
    s->detect.detect.side_px = side_px;
    s->detect.detect.side_px_max = side_px_max;
    s->detect.on_done = on_detected;
    s->detect.user = s;
    ls_shots_urge(s, &s->detect, ls_now_us());
    s->detect_busy = true;
    s->busy++;
    ls_batch_push(s->engine->batch, &s->detect);
}

// The ellipse of the MOUTH mask in the face's own coordinates: a quarter wider than the mouth
// corners, nearly as high as wide, its centre 4 of 96 pixels below their middle (the lower lip
// moves, the upper hardly). Chosen by eye on the demo model among three sizes: a wider one blurs
// nose and cheeks. A face without points gets the place where YuNet's boxes have the mouth on
// average.
void ls_spots_mouth(const struct ls_spot *spot, float mouth[4])
{
    const struct ls_face *face = &spot->face;
    float w = face->box.x1 - face->box.x0, h = face->box.y1 - face->box.y0, dx, dy, rx;
    float c = cosf(spot->roll_rad), s = sinf(spot->roll_rad);
    const float *a = face->point[LS_POINT_MOUTH_R], *b = face->point[LS_POINT_MOUTH_L];

    mouth[0] = 0.5f;
    mouth[1] = 0.79f;
    rx = 0.2f;
    if (face->points_known) {
        dx = (a[0] + b[0] - face->box.x0 - face->box.x1) / 2;
        dy = (a[1] + b[1] - face->box.y0 - face->box.y1) / 2;
        mouth[0] = 0.5f + (c * dx + s * dy) / w;
        mouth[1] = 0.5f + (c * dy - s * dx) / h + 4.0f / LS_FACE_SIZE;
        // Of a box that pads or the frame's edge left little of it may lie anywhere: what is beyond
        // the box is not seen, and pastes take places of at most 4.
        mouth[0] = fminf(fmaxf(mouth[0], -4), 4);
        mouth[1] = fminf(fmaxf(mouth[1], -4), 4);
        rx = 0.62f * hypotf(b[0] - a[0], b[1] - a[1]) / w;
        rx = rx < 0.1f ? 0.1f : rx > 0.3f ? 0.3f : rx;
    }
    mouth[2] = rx;
    mouth[3] = 0.9f * rx;
}
