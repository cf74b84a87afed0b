// SPDX-License-Identifier: Apache-2.0
// The way out of a session: frames that are ready, in order, with the sound up to their end, go to
// the pool as one job at a time; its media become replies. Flow: shots -> here -> (pool: encode,
// mux) -> replies. run_picture and run_sound run on pool threads, side by side, and touch only
// what the job holds, the encoder and the digest. A session that fails waits for its job, which
// looks at `stop` between any two frames of the picture or of the sound, also where the encoder
// flushes.
#include "session_state.h"

#include <stdlib.h>
#include <string.h>

static bool stopped(const struct outlet_job *job)
{
    return atomic_load_explicit(&job->stop, memory_order_relaxed);
}

static int encoder_open(struct ls_session *s, struct ls_err *err)
{
    const struct ls_job *j = &s->job;
    const struct ls_frame *f = &s->outlet.shot[0]->frame;
    struct ls_encode_params p = {
        .container = j->output.container,
        .video = j->output.video,
        .audio = j->output.audio,
        .crf = j->output.crf,
        .bit_rate = j->output.bit_rate,
        .speed = j->output.speed,
        .latency = j->output.latency,
        .threads = (int)s->engine->opt.encode_threads,
        .stop = &s->outlet.stop,
        .chunk_bytes_max = j->output.chunk_bytes_max,
        .width_px = f->width_px,
        .height_px = f->height_px,
        .format = f->format,
        .on_device = f->on_device,
        .device = s->engine->video,
        .matrix = f->matrix,
        .full_range = f->full_range,
        .sar_num = s->video_info.sar_num,
        .sar_den = s->video_info.sar_den,
        .rate_num = s->video_info.rate_num,
        .rate_den = s->video_info.rate_den,
    };

    if (j->output.audio != LS_AUDIO_NONE) {
        p.sample_rate_hz = s->audio_info.sample_rate_hz;
        p.channels = s->audio_info.channels;
    }
    return ls_encode_open(&s->encode, &p, err);
}

static int collect_media(struct outlet_job *job)
{
    struct ls_session *s = job->session;
    struct ls_media media, *grown;

    while (ls_encode_pop(s->encode, &media)) {
        if (job->media_count == job->media_max) {
            grown = realloc(job->media, (size_t)(job->media_max + 4) * sizeof(*grown));
            if (!grown) {
                free(media.data);
                return ls_fail(&job->err, LS_ENOMEM, "%d pieces of output", job->media_count + 1);
            }
            job->media = grown;
            job->media_max += 4;
        }
        job->media[job->media_count++] = media;
        ls_digest_update(s->digest, media.data, media.size);
    }
    return 0;
}

// The part that is through last, with nothing amiss in either, collects.
static void part_ends(struct outlet_job *job)
{
    bool last = atomic_fetch_sub_explicit(&job->parts_left, 1, memory_order_acq_rel) == 1;

    if (last && !stopped(job) && job->err.code == 0 && job->sound_err.code == 0 &&
        job->session->encode)
        (void)collect_media(job); // a failure is in job->err, which is where it is looked for
}

static void run_sound(struct ls_pool_job *base)
{
    struct outlet_job *job = base->user;
    int64_t t0 = ls_now_us();

    // A failure is in sound_err, which is where it is looked for.
    if (!stopped(job))
        (void)!ls_encode_sound(job->session->encode, job->voice, job->voice_count, &job->sound_err);
    job->sound_us = ls_now_us() - t0;
    part_ends(job);
}

static void encode_picture(struct outlet_job *job)
{
    struct ls_session *s = job->session;
    int i, r = 0;

    if (!s->encode)
        r = encoder_open(s, &job->err);
    if (r == 0 && job->voice_count > 0 && !job->sound_apart)
        r = ls_encode_sound(s->encode, job->voice, job->voice_count, &job->err);
    if (r == 0 && job->voice_ended && job->shot_count > 0)
        r = ls_encode_sound_end(s->encode, &job->err);
    for (i = 0; r == 0 && i < job->shot_count; i++)
        r = ls_encode_frame(s->encode, &job->shot[i]->frame, job->shot[i]->pts,
                            job->shot[i]->duration, &job->err);
    if (r == 0 && job->last)
        r = ls_encode_finish(s->encode, &job->err);
    (void)r; // in job->err
}

static void run_picture(struct ls_pool_job *base)
{
    struct outlet_job *job = base->user;
    int64_t t0 = ls_now_us();

    if (!stopped(job))
        encode_picture(job);
    job->busy_us = ls_now_us() - t0;
    part_ends(job);
}

static void report_frames(struct ls_session *s, const struct outlet_job *job)
{
    struct ls_reply reply = {.kind = LS_REPLY_FRAMES};
    struct ls_frame_info *info;
    int i;

    if (!s->job.frame_info || job->shot_count == 0)
        return;
    info = calloc((size_t)job->shot_count, sizeof(*info));
    if (!info)
        return; // a report that cannot be made is no reason to lose the stream
    for (i = 0; i < job->shot_count; i++) {
        const struct shot *shot = job->shot[i];

        info[i] = (struct ls_frame_info){.idx = s->out_idx + i,
                                         .source_idx = shot->source_idx,
                                         .pts = shot->pts,
                                         .action = shot->action};
        if (shot->spot.found) {
            info[i].box = shot->spot.face.box;
            info[i].score = shot->spot.face.score;
            info[i].track_id = shot->spot.track_id;
            info[i].roll_rad = shot->spot.roll_rad;
        }
        if (shot->action == LS_ACTION_SYNCED || shot->action == LS_ACTION_HELD) {
            info[i].opacity = shot->work.face.paste.strength;
        }
    }
    reply.frames.item = info;
    reply.frames.count = job->shot_count;
    s->events.on_reply(s->user, &reply);
}

static void send_media(struct ls_session *s, struct outlet_job *job)
{
    struct ls_reply reply;
    int i;

    for (i = 0; i < job->media_count; i++) {
        if (!s->first_media_us)
            s->first_media_us = ls_now_us();
        s->bytes_out += (int64_t)job->media[i].size;
        reply = (struct ls_reply){.kind = LS_REPLY_MEDIA, .media = job->media[i]};
        job->media[i].data = NULL;
        s->events.on_reply(s->user, &reply);
    }
}

static void job_clear(struct outlet_job *job)
{
    int i;

    for (i = 0; i < job->media_count; i++)
        free(job->media[i].data);
    job->media_count = job->voice_count = job->shot_count = 0;
}

static void count_frame(struct ls_session *s, const struct shot *shot)
{
    s->frames[shot->action]++;
    s->out_idx++;
    s->end_ticks = shot->pts + shot->duration;
}

static void job_done(struct ls_session *s, struct outlet_job *job)
{
    bool given;
    int i;

    s->outlet_busy = false;
    s->part_us[LS_PART_ENCODE] += job->busy_us + job->sound_us;
    if (job->err.code < 0)
        ls_session_broke(s, &job->err);
    else if (job->sound_err.code < 0)
        ls_session_broke(s, &job->sound_err);
    given = !s->failing; // else frames were perhaps not encoded, and nobody gets them
    if (given) {
        report_frames(s, job);
        send_media(s, job);
    }
    for (i = 0; i < job->shot_count; i++) {
        if (given)
            count_frame(s, job->shot[i]);
        ls_shots_leave(s, job->shot[i]);
    }
    if (job->last && !s->failing)
        s->summary_sent = true;
    job_clear(job);
}

static void on_part_done(struct ls_pool_job *base)
{
    struct outlet_job *job = base->user;
    struct ls_session *s = job->session;

    if (--job->parts_out == 0)
        job_done(s, job);
    ls_session_idle(s);
}

// Samples of the voice up to the end of the job's last frame, or of all frames. A frame is made
// when the voice is known to 0.2 s after the frame's begin; where it lasts longer, the rest follows
// with the next frame, or with the end.
static int64_t voice_to(const struct ls_session *s, const struct outlet_job *job)
{
    const struct shot *last = job->shot_count ? job->shot[job->shot_count - 1] : NULL;

    return (last ? last->pts + last->duration : s->end_ticks) * s->audio_info.sample_rate_hz /
           LS_TICKS;
}

// Copies the voice: the pool must not see the growing stretch.
static int take_voice(struct ls_session *s, struct outlet_job *job, struct ls_err *err)
{
    int channels = s->audio_info.channels;
    const float *voice = NULL;
    size_t size;
    float *grown;
    int n;

    if (s->job.output.audio == LS_AUDIO_NONE)
        return 0;
    n = ls_features_voice(s->features, s->voice_sent, voice_to(s, job), &voice);
    if (n <= 0)
        return 0;
    size = (size_t)n * (size_t)channels * sizeof(float);
    if (size > job->voice_size) {
        grown = realloc(job->voice, size);
        if (!grown)
            return ls_fail(err, LS_ENOMEM, "%d samples of the voice", n);
        job->voice = grown;
        job->voice_size = size;
    }
    memcpy(job->voice, voice, size);
    job->voice_count = n;
    s->voice_sent += n;
    return 0;
}

// The voice is over and all of it was sent: what follows is silence.
static bool voice_ended(const struct ls_session *s)
{
    return s->job.output.audio != LS_AUDIO_NONE && ls_features_ended(s->features) &&
           s->voice_sent == ls_features_voice_end(s->features);
}

static void push_part(struct ls_session *s, struct ls_pool_job *part,
                      void (*run)(struct ls_pool_job *part))
{
    *part = (struct ls_pool_job){.run = run,
                                 .on_done = on_part_done,
                                 .user = &s->outlet,
                                 .class = s->job.class,
                                 .live = s->job.live};
    s->outlet.parts_out++;
    s->busy++;
    ls_pool_push(s->engine->pool, part);
}

// The sound goes beside the picture, not before it, but in the first job, which opens the encoder,
// and from the sound's end on, when the picture says how much silence follows. Where jobs wait
// anyway one is as good as two, and cheaper.
static void push(struct ls_session *s, struct outlet_job *job)
{
    job->sound_apart = s->encode && job->shot_count > 0 && job->voice_count > 0 &&
                       !job->voice_ended && s->engine->opt.pool_threads > 1 &&
                       ls_pool_waiting(s->engine->pool) == 0;
    atomic_store_explicit(&job->parts_left, job->sound_apart ? 2 : 1, memory_order_relaxed);
    s->outlet_busy = true;
    push_part(s, &job->base, run_picture);
    if (job->sound_apart)
        push_part(s, &job->sound, run_sound);
}

int ls_outlet_advance(struct ls_session *s, struct ls_err *err)
{
    struct outlet_job *job = &s->outlet;
    int n = 0, r;

    if (s->outlet_busy || s->finish_sent ||
        (s->backlog > (size_t)s->engine->opt.out_bytes_ahead && s->out_idx > 0))
        return 0;
    while (n < JOB_SHOTS && n < s->shot_count && s->shot[n]->state == SHOT_READY)
        n++;
    if (n == 0 && !(s->shots_over && s->shot_count == 0))
        return 0;
    if (n == 0 && s->out_idx == 0)
        return ls_fail_field(err, LS_ESHORT, "audio",
                             "the voice lasts %.3f s, which is less than half a frame",
                             (double)ls_features_ticks(s->features) / LS_TICKS);
    memset(&job->err, 0, sizeof(job->err));
    memset(&job->sound_err, 0, sizeof(job->sound_err));
    job->busy_us = job->sound_us = 0;
    job->session = s;
    job->last = n == 0;
    job->shot_count = n;
    memcpy(job->shot, s->shot, (size_t)n * sizeof(*s->shot));
    r = take_voice(s, job, err);
    if (r < 0)
        return r;
    job->voice_ended = voice_ended(s);
    for (r = 0; r < n; r++)
        s->shot[r]->state = SHOT_ENCODING;
    if (job->last) {
        s->finish_sent = true;
        ls_report_stage(s, LS_STAGE_FINISHING);
    }
    push(s, job);
    return 0;
}

static void revoke_part(struct ls_session *s, struct ls_pool_job *part)
{
    if (ls_pool_revoke(s->engine->pool, part)) {
        s->outlet.parts_out--;
        s->busy--;
    }
}

void ls_outlet_revoke(struct ls_session *s)
{
    atomic_store_explicit(&s->outlet.stop, true, memory_order_relaxed);
    if (!s->outlet_busy)
        return;
    revoke_part(s, &s->outlet.base);
    if (s->outlet.sound_apart)
        revoke_part(s, &s->outlet.sound);
    s->outlet_busy = s->outlet.parts_out > 0;
}

void ls_outlet_close(struct ls_session *s)
{
    job_clear(&s->outlet);
    free(s->outlet.media);
    free(s->outlet.voice);
    s->outlet.media = NULL;
    s->outlet.voice = NULL;
    ls_encode_close(&s->encode);
    ls_digest_free(&s->digest);
}
