// SPDX-License-Identifier: Apache-2.0
// A session's life and the whole flow: bytes in -> decode (two processes) -> shots (track,
// features, device) -> outlet (pool: encode, mux) -> replies. Every event ends in ls_session_kick
// or advance, which moves everything as far as it goes (from a decoder's callback later, since the
// end closes decoders). Loop thread. What surprises: a session that fails lives on until the device
// and the pool have let go of its memory; only then on_done comes.
#include "session_state.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { TICK_MS = 50 };

static void advance(struct ls_session *s);

// --- end
// -------------------------------------------------------------------------------------------

// Nothing of ours is in use by another thread: let go of everything and say so.
static void finish(struct ls_session *s)
{
    assert(s->busy == 0 && !s->done);
    s->done = true;
    ls_report_learn(s);
    ls_decode_close(&s->audio);
    ls_decode_close(&s->video);
    ls_outlet_close(s);
    ls_shots_close(s);
    ls_features_free(&s->features);
    free(s->mel_pcm);
    free(s->mel_column);
    free(s->region);
    s->mel_pcm = s->mel_column = NULL;
    s->region = NULL;
    uv_timer_stop(&s->tick);
    uv_timer_stop(&s->kick);
    ls_report_gone(s);
    s->engine->session_count--;
    s->engine->sessions_done++;
    ls_admit_rest(s->place); // who gave the place leaves it when the output is read, too
    ls_admit_leave(&s->own_place);
    s->events.on_done(s->user, &s->err);
}

void ls_session_broke(struct ls_session *s, const struct ls_err *err)
{
    if (s->failing || s->done)
        return;
    s->failing = true;
    s->err = *err;
    s->busy -= ls_batch_revoke(s->engine->batch, s);
    ls_outlet_revoke(s);
    ls_decode_stop(s->audio);
    ls_decode_stop(s->video);
    ls_session_kick(s);
}

void ls_session_idle(struct ls_session *s)
{
    s->busy--;
    advance(s);
}

static void on_kick(uv_timer_t *timer)
{
    advance(timer->data);
}

void ls_session_kick(struct ls_session *s)
{
    if (!s->done)
        uv_timer_start(&s->kick, on_kick, 0, 0);
}

static void on_handle_closed(uv_handle_t *handle)
{
    struct ls_session *s = handle->data;

    if (--s->handles_open == 0)
        free(s);
}

void ls_session_free(struct ls_session **s)
{
    struct ls_session *gone;

    if (!s || !*s)
        return;
    gone = *s;
    *s = NULL;
    assert(gone->done);
    uv_close((uv_handle_t *)&gone->kick, on_handle_closed);
    uv_close((uv_handle_t *)&gone->tick, on_handle_closed);
}

// --- voice
// -----------------------------------------------------------------------------------------

static void on_mel_done(struct ls_work *w)
{
    struct ls_session *s = w->user;
    struct ls_err err = {0};

    s->mel_busy = false;
    s->part_us[LS_PART_MEL] += w->busy_us[0];
    if (w->err.code < 0)
        ls_session_broke(s, &w->err);
    else if (ls_features_mel_put(s->features, s->mel_column, w->mel.job.count, &err) < 0)
        ls_session_broke(s, &err);
    ls_session_idle(s);
}

static void mel_next(struct ls_session *s)
{
    if (!s->features || s->mel_busy ||
        !ls_features_mel_next(s->features, &s->mel.mel.job, s->mel_pcm))
        return;
    s->mel.kind = LS_WORK_MEL;
    s->mel.mel.column = s->mel_column;
    s->mel.on_done = on_mel_done;
    s->mel.user = s;
    ls_shots_urge(s, &s->mel, ls_now_us());
    s->mel_busy = true;
    s->busy++;
    ls_batch_push(s->engine->batch, &s->mel);
}

// A voice too short for its reflected edges (and for half a frame of any rate) is refused.
static int check_voice(struct ls_session *s, struct ls_err *err)
{
    int64_t samples = ls_features_samples(s->features);

    if (!ls_features_ended(s->features) ||
        samples >= (ls_session_exact(s) ? LS_MEL_HOP * (LS_MEL_WINDOW - 1) : LS_MEL_FFT / 2 + 2))
        return 0;
    return ls_fail_field(
        err, LS_ESHORT, "audio", "the voice lasts %.3f s; at least %.3f s are needed",
        (double)samples / LS_SAMPLE_RATE, ls_session_exact(s) ? 0.1875 : 402.0 / LS_SAMPLE_RATE);
}

static void on_audio(void *user, const struct ls_decode_audio *info)
{
    struct ls_session *s = user;
    struct ls_err err = {0};
    int below_db = s->job.silence.policy == LS_SILENCE_GENERATE ? LS_HUSH_BELOW_DB : 0;
    struct ls_features_params p = {.sample_rate_hz = info->sample_rate_hz,
                                   .channels = info->channels,
                                   .threshold_dbfs =
                                       s->job.silence.threshold_dbfs - (float)below_db,
                                   .hold_ms = s->job.silence.hold_ms,
                                   .offset_ms = s->job.audio_offset_ms};

    s->audio_info = *info;
    if (ls_features_new(&s->features, &p, &err) < 0)
        ls_session_broke(s, &err);
    ls_session_kick(s);
}

static void on_sound(void *user, const float *mono, int mono_count, const float *voice,
                     int voice_count)
{
    struct ls_session *s = user;
    struct ls_err err = {0};

    if (!s->failing &&
        ls_features_push(s->features, mono, mono_count, voice, voice_count, &err) < 0)
        ls_session_broke(s, &err);
    ls_session_kick(s);
}

static void on_audio_end(void *user, const struct ls_decode_end *end)
{
    struct ls_session *s = user;
    struct ls_err err = {0};

    (void)end;
    ls_features_end(s->features);
    if (check_voice(s, &err) < 0)
        ls_session_broke(s, &err);
    ls_session_kick(s);
}

// --- picture
// ---------------------------------------------------------------------------------------

// Frames that the session may hold, and a live stream's share of the lanes and cores.
static int reserve(struct ls_session *s, int width_px, int height_px, double rate,
                   struct ls_err *err)
{
    int64_t pixels = (int64_t)width_px * height_px, count = s->engine->opt.frames_in_flight;
    int r;

    if (s->reserved)
        return 0;
    if (ls_session_still(s))
        count = 2 + HOLD_BUFFERS; // decoded, kept, and its copies on their way
    else if (ls_session_keeps_last(s))
        count += 1 + HOLD_BUFFERS;
    r = ls_admit_pixels(s->place, count * pixels, err);
    if (r == 0 && s->job.live)
        r = ls_admit_live(s->place, rate, pixels, err);
    s->reserved = r == 0;
    return r;
}

static void on_video(void *user, const struct ls_decode_video *info)
{
    struct ls_session *s = user;
    struct ls_err err = {0};

    s->video_info = *info;
    s->video_info_known = true;
    if (ls_shots_open(s, &err) < 0 ||
        reserve(s, info->width_px, info->height_px, ls_session_rate(s), &err) < 0)
        ls_session_broke(s, &err);
    ls_session_kick(s);
}

static void on_frame(void *user, const struct ls_decode_frame *frame)
{
    struct ls_session *s = user;
    struct ls_err err = {0};

    if (!s->failing && ls_shots_frame(s, frame, &err) < 0)
        ls_session_broke(s, &err);
    ls_session_kick(s);
}

static void on_video_end(void *user, const struct ls_decode_end *end)
{
    struct ls_session *s = user;

    if (!s->failing)
        ls_shots_pass_ended(s, end);
    ls_session_kick(s);
}

static void on_warning(void *user, const struct ls_decode_warning *warning)
{
    struct ls_session *s = user;

    if (!s->failing)
        ls_report_warn(s, s->frames_in, warning->reason, "%s", warning->text);
}

static void on_hungry(void *user)
{
    ls_session_kick(user);
}

static void on_decode_error(void *user, const struct ls_err *err)
{
    struct ls_session *s = user;

    // What is broken behind the end of the output is nobody's loss.
    if (!s->shots_over)
        ls_session_broke(s, err);
}

// --- flow
// ------------------------------------------------------------------------------------------

static void pace_voice(struct ls_session *s)
{
    bool pause;

    if (!s->features || !s->audio)
        return;
    pause =
        ls_features_ahead(s->features, s->heard_ticks) > (double)s->engine->opt.sound_seconds_ahead;
    if (pause != s->voice_paused)
        ls_decode_pause(s->audio, pause);
    s->voice_paused = pause;
}

static int flow(struct ls_session *s, struct ls_err *err)
{
    int r = 0;

    mel_next(s);
    if (s->video_info_known)
        r = ls_shots_advance(s, err);
    if (r == 0)
        r = ls_outlet_advance(s, err);
    if (s->made > 0 && s->stage < LS_STAGE_RUNNING)
        ls_report_stage(s, LS_STAGE_RUNNING);
    pace_voice(s);
    return r;
}

static void advance(struct ls_session *s)
{
    struct ls_err err = {0};

    if (s->done || s->advancing)
        return;
    s->advancing = true;
    if (!s->failing && !s->summary_sent && flow(s, &err) < 0)
        ls_session_broke(s, &err);
    if (s->summary_sent && !s->failing && s->busy == 0) {
        ls_report_stage(s, LS_STAGE_DONE);
        ls_report_summary(s);
    }
    if (!s->failing && !s->summary_sent && ls_session_hungry(s))
        s->events.on_hungry(s->user);
    s->advancing = false;
    if ((s->failing || s->summary_sent) && s->busy == 0)
        finish(s);
}

static void check_idle(struct ls_session *s, int64_t now)
{
    const struct ls_options *opt = &s->engine->opt;
    struct ls_err err = {0};

    if (ls_session_hungry(s) && now - s->input_us > opt->input_idle_ms_max * 1000)
        ls_fail(&err, LS_EIDLE, "no input came for %" PRId64 " ms", opt->input_idle_ms_max);
    else if (s->backlog > 0 && now - s->backlog_moved_us > opt->output_idle_ms_max * 1000)
        ls_fail(&err, LS_ESTALL, "%zu bytes of output were not read for %" PRId64 " ms", s->backlog,
                opt->output_idle_ms_max);
    if (err.code < 0)
        ls_session_broke(s, &err);
}

static void on_tick(uv_timer_t *timer)
{
    struct ls_session *s = timer->data;

    if (s->failing || s->done || s->summary_sent)
        return;
    if (!ls_session_hungry(s))
        s->input_us = ls_now_us();
    check_idle(s, ls_now_us());
    if (!s->failing)
        ls_report_tick(s);
}

// --- begin, stop
// ------------------------------------------------------------------------------

static int open_audio(struct ls_session *s, struct ls_err *err)
{
    static const struct ls_decode_events events = {
        .on_audio = on_audio,
        .on_sound = on_sound,
        .on_warning = on_warning,
        .on_end = on_audio_end,
        .on_hungry = on_hungry,
        .on_error = on_decode_error,
    };
    struct ls_decode_params p = {.source = s->job.audio.source,
                                 .sample_rate_hz = s->job.audio.sample_rate_hz,
                                 .channels = s->job.audio.channels,
                                 .sample = s->job.audio.format,
                                 .yields = s->job.class == LS_CLASS_BATCH};

    return ls_decode_open(&s->audio, s->engine->decoders, &p, &events, s, err);
}

static int open_video(struct ls_session *s, struct ls_err *err)
{
    static const struct ls_decode_events events = {
        .on_video = on_video,
        .on_frame = on_frame,
        .on_warning = on_warning,
        .on_end = on_video_end,
        .on_hungry = on_hungry,
        .on_error = on_decode_error,
    };
    const struct ls_job *j = &s->job;
    bool rgb = j->video.source == LS_SOURCE_FRAMES && j->video.format == LS_PIX_RGB24 &&
               j->output.video == LS_VIDEO_RGB24;
    struct ls_decode_params p = {
        .video = true,
        .source = j->video.source,
        .width_px = j->video.width_px,
        .height_px = j->video.height_px,
        .pixel = j->video.format,
        .rate_num = j->video.rate_num,
        .rate_den = j->video.rate_den,
        .work = rgb ? LS_PIX_RGB24 : LS_PIX_I420,
        .on_device = s->engine->opt.decode_on_device && s->engine->video && !ls_session_exact(s) &&
                     j->video.source == LS_SOURCE_CONTAINER,
        .keep = j->video.source != LS_SOURCE_STILL &&
                (j->fit.audio_longer == LS_FIT_LOOP || j->fit.audio_longer == LS_FIT_PING_PONG),
        .slots = (int)s->engine->opt.frames_in_flight,
        .yields = j->class == LS_CLASS_BATCH,
    };

    return ls_decode_open(&s->video, s->engine->decoders, &p, &events, s, err);
}

// The caller's place, or an own one.
static int take_place(struct ls_session *s, struct ls_err *err)
{
    const struct ls_job *j = &s->job;
    int r = 0;

    s->place = j->place;
    if (!s->place) {
        s->place = &s->own_place;
        r = ls_admit_enter(s->engine->admit, s->place, j->class, err);
        if (r == 0 && s->place->position > 0)
            r = ls_fail(err, LS_EBUSY, "no place is free, and this session does not wait");
    }
    if (r == 0 && j->video.source == LS_SOURCE_FRAMES)
        r = reserve(s, j->video.width_px, j->video.height_px,
                    (double)j->video.rate_num / j->video.rate_den, err);
    else if (r == 0 && j->live)
        r = ls_admit_live_hope(s->place, err);
    return r;
}

static int open_parts(struct ls_session *s, struct ls_err *err)
{
    int r = take_place(s, err);

    if (r < 0)
        return r;

    s->digest = ls_digest_new();
    s->mel_pcm = malloc((LS_MEL_BLOCK * LS_MEL_HOP + 1024) * sizeof(float));
    s->mel_column = malloc(LS_MEL_BLOCK * LS_MEL_BANDS * sizeof(float));
    if (!s->digest || !s->mel_pcm || !s->mel_column)
        r = ls_fail(err, LS_ENOMEM, "a session");
    if (r == 0)
        r = open_audio(s, err);
    if (r == 0)
        r = open_video(s, err);
    return r;
}

static int admit(const struct ls_engine *engine, const struct ls_job *job, struct ls_err *err)
{
    if (engine->draining)
        return ls_fail(err, LS_EDRAIN, "the server takes no new sessions");
    if (engine->model->detector == LS_DETECTOR_NONE && !job->face.box_fixed &&
        job->face.choose != LS_CHOOSE_GIVEN)
        return ls_fail_field(err, LS_ECODEC, "config.face.choose",
                             "this server has no face detector: give boxes or a fixed box");
    return 0;
}

int ls_session_new(struct ls_session **out, struct ls_engine *engine, const struct ls_job *job,
                   const struct ls_session_events *events, void *user, struct ls_err *err)
{
    struct ls_reply accepted = {.kind = LS_REPLY_ACCEPTED};
    struct ls_session *s;
    int r = admit(engine, job, err);

    if (r < 0)
        return r;
    s = calloc(1, sizeof(*s));
    if (!s)
        return ls_fail(err, LS_ENOMEM, "a session");
    s->engine = engine;
    s->job = *job;
    s->events = *events;
    s->user = user;
    s->stage = LS_STAGE_WAITING;
    s->started_us = s->input_us = s->backlog_moved_us = s->progress_us = ls_now_us();
    r = open_parts(s, err);
    if (r < 0) {
        ls_decode_close(&s->audio);
        ls_decode_close(&s->video);
        ls_digest_free(&s->digest);
        free(s->mel_pcm);
        free(s->mel_column);
        ls_admit_leave(&s->own_place);
        free(s);
        return r;
    }
    uv_timer_init(engine->loop, &s->kick);
    uv_timer_init(engine->loop, &s->tick);
    s->kick.data = s->tick.data = s;
    s->handles_open = 2;
    uv_timer_start(&s->tick, on_tick, TICK_MS, TICK_MS);
    engine->session_count++;
    s->serial = (uint64_t)++engine->sessions_started;
    *out = s;
    events->on_reply(user, &accepted);
    ls_report_stage(s, LS_STAGE_PROBING);
    return 0;
}

void ls_session_stop(struct ls_session *s)
{
    struct ls_err err = {0};

    if (s->failing || s->done || s->shots_over)
        return;
    if (s->made == 0) {
        ls_fail(&err, LS_ECANCEL, "stopped before the first frame");
        ls_session_broke(s, &err);
        return;
    }
    s->voice_over = true;
    ls_session_kick(s);
}

void ls_session_backlog(struct ls_session *s, size_t bytes)
{
    if (s->done)
        return;
    if (bytes < s->backlog || s->backlog == 0)
        s->backlog_moved_us = ls_now_us();
    if (s->backlog > (size_t)s->engine->opt.out_bytes_ahead ||
        bytes > (size_t)s->engine->opt.out_bytes_ahead)
        s->backlog_full_us = ls_now_us();
    s->backlog = bytes;
    if (!s->failing)
        ls_session_kick(s);
}

void ls_session_figures(const struct ls_session *s, struct ls_session_figures *out)
{
    *out = (struct ls_session_figures){
        .frames_in = s->frames_in,
        .frames_out = s->out_idx,
        .audio_bytes = s->audio_bytes,
        .video_bytes = s->video_bytes,
        .bytes_out = s->bytes_out,
        .output_ticks = s->end_ticks,
        .first_media_us = s->first_media_us ? s->first_media_us - s->started_us : 0,
    };
    memcpy(out->frames, s->frames, sizeof(s->frames));
    memcpy(out->part_us, s->part_us, sizeof(s->part_us));
}

void ls_session_fail(struct ls_session *s, const struct ls_err *err)
{
    ls_session_broke(s, err);
}
