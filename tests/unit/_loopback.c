// SPDX-License-Identifier: Apache-2.0
// See _loopback.h. Feeding follows ls_session_hungry, as the RPC layer does.
#include "_loopback.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char decoder[4096];

int loopback_open(struct loopback *l, const char *backend, const char *detector)
{
    const char *build = getenv("LS_BUILD");
    struct ls_err err = {0};

    memset(l, 0, sizeof(*l));
    snprintf(decoder, sizeof(decoder), "%s/lipstream-decode", build ? build : ".");
    uv_loop_init(&l->loop);
    ls_options_init(&l->opt);
    l->opt.backend = backend;
    l->opt.detector = detector ? detector : "";
    l->opt.model = "kernels/demo/lipstream_demo_fp16.safetensors";
    l->opt.decoder = decoder;
    if (ls_engine_open(&l->engine, &l->loop, &l->opt, &err) == 0)
        return 0;
    fprintf(stderr, "engine: %s\n", err.text);
    return -1;
}

void loopback_close(struct loopback *l)
{
    ls_engine_close(&l->engine);
    uv_run(&l->loop, UV_RUN_DEFAULT);
    if (uv_loop_close(&l->loop) != 0)
        fprintf(stderr, "handles are left open\n");
}

void loopback_job(struct ls_job *job, int width, int height, int num, int den, enum ls_pixel pixel)
{
    ls_job_init(job, "MOUTH");
    job->audio.source = LS_SOURCE_PCM;
    job->audio.sample_rate_hz = 16000;
    job->audio.channels = 1;
    job->audio.format = LS_SAMPLE_S16LE;
    job->video.source = LS_SOURCE_FRAMES;
    job->video.width_px = width;
    job->video.height_px = height;
    job->video.rate_num = num;
    job->video.rate_den = den;
    job->video.format = pixel;
    job->face.box_fixed = true;
    job->face.box = (struct ls_box){(float)width * 0.2f, (float)height * 0.2f, (float)width * 0.8f,
                                    (float)height * 0.9f};
}

static void keep_warning(struct loopback_call *c, const char *reason)
{
    size_t n = strlen(c->warnings);

    c->warning_count++;
    snprintf(c->warnings + n, sizeof(c->warnings) - n, "%s ", reason);
}

static void keep_media(struct loopback_call *c, struct ls_media *media)
{
    if (c->media_count++ == 0)
        c->fed_at_first_media = c->audio_fed + c->video_fed;
    c->data = realloc(c->data, c->size + media->size);
    memcpy(c->data + c->size, media->data, media->size);
    c->size += media->size;
    c->backlog += media->size;
    ls_session_backlog(c->session, c->backlog); // at once, as the RPC layer does
    free(media->data);
}

static void keep_info(struct loopback_call *c, const struct ls_reply *reply)
{
    size_t n = (size_t)(c->info_count + reply->frames.count);

    c->info = realloc(c->info, n * sizeof(*c->info));
    memcpy(c->info + c->info_count, reply->frames.item,
           (size_t)reply->frames.count * sizeof(*c->info));
    c->info_count = (int)n;
    free(reply->frames.item);
}

static void on_reply(void *user, struct ls_reply *reply)
{
    struct loopback_call *c = user;

    switch (reply->kind) {
    case LS_REPLY_ACCEPTED:
        c->accepted_count++;
        break;
    case LS_REPLY_PROGRESS:
        c->progress_count++;
        break;
    case LS_REPLY_MEDIA:
        keep_media(c, &reply->media);
        break;
    case LS_REPLY_FRAMES:
        keep_info(c, reply);
        break;
    case LS_REPLY_WARNING:
        keep_warning(c, reply->warning.reason);
        break;
    case LS_REPLY_SUMMARY:
        c->summary = *reply;
        break;
    }
}

static void on_hungry(void *user)
{
    (void)user; // the run loop asks
}

static void on_done(void *user, const struct ls_err *err)
{
    struct loopback_call *c = user;

    c->done = true;
    c->err = *err;
    ls_session_figures(c->session, &c->figures);
    ls_session_free(&c->session);
}

static int feed_one(struct loopback_call *c, bool video, struct ls_err *err)
{
    const uint8_t *data = video ? c->video : c->audio;
    size_t size = video ? c->video_size : c->audio_size;
    size_t *fed = video ? &c->video_fed : &c->audio_fed;
    size_t n = c->chunk && size - *fed > c->chunk ? c->chunk : size - *fed;
    int r = ls_session_feed(c->session, video, data + *fed, n, *fed + n == size, err);

    *fed += n;
    return r;
}

// Feeds one message, or half-closes. Returns false when there is nothing left to do.
static bool feed_next(struct loopback_call *c)
{
    bool audio = c->audio_fed < c->audio_size, video = c->video_fed < c->video_size;
    struct ls_err err = {0};
    bool pick;
    int r;

    if (!audio && !video) {
        if (!c->closed && !c->no_close)
            ls_session_half_close(c->session);
        c->closed = true;
        return false;
    }
    if (c->order == 0 && audio && video) // in step with their sizes
        pick = (double)c->video_fed / (double)c->video_size <=
               (double)c->audio_fed / (double)c->audio_size;
    else
        pick = c->order == 1 ? !audio : video;
    r = feed_one(c, pick, &err);
    if (r < 0)
        ls_session_fail(c->session, &err);
    return r == 0;
}

static void act(struct loopback_call *c)
{
    static const struct ls_err cancel = {.code = LS_ECANCEL, .text = "cancelled by the test"};

    if (c->stop_after > 0 && c->media_count >= c->stop_after) {
        ls_session_stop(c->session);
        c->stop_after = 0;
    }
    if (c->fail_after > 0 && c->media_count >= c->fail_after) {
        ls_session_fail(c->session, &cancel);
        c->fail_after = 0;
    }
    if (!c->never_reads && c->backlog > 0)
        c->backlog = 0;
    ls_session_backlog(c->session, c->backlog);
}

static void begin(struct loopback *l, struct loopback_call *c)
{
    static const struct ls_session_events events = {on_reply, on_hungry, on_done};

    struct ls_violations wrong = {.count = 0};

    c->owner = l;
    if (ls_job_check(&c->job, &l->engine->opt, &wrong) < 0)
        fprintf(stderr, "job: %s: %s\n", wrong.item[0].field, wrong.item[0].text);
    c->done = ls_session_new(&c->session, l->engine, &c->job, &events, c, &c->err) < 0;
    if (!c->done && c->region_count > 0 &&
        ls_session_regions(c->session, c->region, c->region_count, &c->err) < 0)
        ls_session_fail(c->session, &c->err);
}

void loopback_run(struct loopback *l, struct loopback_call *call, int count)
{
    int i, left = count;

    for (i = 0; i < count; i++)
        begin(l, &call[i]);
    while (left > 0) {
        left = 0;
        for (i = 0; i < count; i++) {
            if (call[i].done)
                continue;
            left++;
            while (ls_session_hungry(call[i].session) && feed_next(&call[i]))
                ;
            // The end of the inputs is told even when nothing is wanted any more.
            if (call[i].audio_fed == call[i].audio_size && call[i].video_fed == call[i].video_size)
                feed_next(&call[i]);
            act(&call[i]);
        }
        if (left > 0)
            uv_run(&l->loop, UV_RUN_ONCE);
    }
}

void loopback_clear(struct loopback_call *call)
{
    free(call->data);
    free(call->info);
    call->data = NULL;
    call->info = NULL;
}
