// SPDX-License-Identifier: Apache-2.0
// Drives decode.h as a session would, on a real loop with a real decode process: feeds a file or
// bytes in chunks while hungry, keeps some frames for a while, asks for further passes, and keeps a
// digest of all that came. Used by decode.c, decode_stream.c and decode_bad.c; one thread.
#ifndef LS_TEST_DECODE_H
#define LS_TEST_DECODE_H

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include <uv.h>

#include "server/decode.h"
#include "tests/unit/_check.h"

enum { DRIVE_FRAMES_MAX = 2000, DRIVE_PASSES_MAX = 4, DRIVE_HELD = 3 };

struct drive_frame {
    int64_t idx, pts, duration;
    uint32_t digest;
};

struct drive {
    // what to do
    struct ls_decode_params params;
    const uint8_t *data;
    size_t size, chunk; // chunk 0: all at once
    size_t stop_at;     // feed so many bytes, then nothing more; 0: all
    int passes;         // further ones; odd bits of `backward` say which way
    unsigned backward;
    const int16_t *check_s16; // what the mono samples must be, times 32768
    bool stop_at_sound;
    bool never_release;
    bool pause_once;
    int timeout_ms;
    void (*on_frame_hook)(struct drive *t);

    // what came
    struct ls_decode_video video;
    struct ls_decode_audio audio;
    bool has_video, has_audio, ended, timed_out;
    struct drive_frame frame[DRIVE_FRAMES_MAX];
    int frame_count; // of all passes
    int pass_from[DRIVE_PASSES_MAX + 1];
    struct ls_decode_end end[DRIVE_PASSES_MAX];
    int pass_count;
    int64_t mono_count, voice_count;
    uint32_t mono_digest, voice_digest;
    int s16_bad;
    double mono_energy;
    char warnings[256];
    struct ls_err err;
    size_t fed_at_first; // bytes fed when the first frame or sound came
    uint64_t first_ns, start_ns;

    uv_loop_t loop;
    uv_timer_t timer, feeder;
    struct ls_decode_pool *pool;
    struct ls_decode *d;
    size_t fed;
    int held[DRIVE_HELD];
    int held_count;
};

static inline uint32_t drive_digest(uint32_t h, const void *data, size_t size)
{
    const uint8_t *p = data;
    size_t i;

    for (i = 0; i < size; i++) // FNV-1a
        h = (h ^ p[i]) * 16777619u;
    return h;
}

static inline uint32_t drive_frame_digest(const struct ls_frame *f)
{
    uint32_t h = 2166136261u;
    int i, y;

    for (i = 0; i < (f->format == LS_PIX_RGB24 ? 1 : 3); i++) {
        int w = i ? (f->width_px + 1) / 2 : f->width_px,
            rows = i ? (f->height_px + 1) / 2 : f->height_px;

        for (y = 0; y < rows; y++)
            h = drive_digest(h, f->plane[i] + (size_t)y * (size_t)f->stride[i],
                             (size_t)(f->format == LS_PIX_RGB24 ? 3 * w : w));
    }
    return h;
}

static inline void drive_stop(struct drive *t)
{
    if (t->ended)
        return;
    t->ended = true;
    ls_decode_close(&t->d);
    ls_decode_pool_close(&t->pool);
    uv_close((uv_handle_t *)&t->timer, NULL);
    uv_close((uv_handle_t *)&t->feeder, NULL);
}

static inline void drive_feed(struct drive *t)
{
    size_t all = t->stop_at ? t->stop_at : t->size;

    while (t->fed < all && ls_decode_hungry(t->d)) {
        size_t n = t->chunk && t->chunk < all - t->fed ? t->chunk : all - t->fed;

        if (ls_decode_feed(t->d, t->data + t->fed, n, &t->err) < 0) {
            drive_stop(t);
            return;
        }
        t->fed += n;
    }
    if (t->fed == t->size)
        ls_decode_end_input(t->d);
}

static inline void drive_on_feeder(uv_timer_t *timer)
{
    drive_feed(timer->data);
}

static inline void drive_on_hungry(void *user)
{
    drive_feed(user);
}

static inline void drive_on_timer(uv_timer_t *timer)
{
    struct drive *t = timer->data;

    t->timed_out = true;
    drive_stop(t);
}

static inline void drive_first(struct drive *t)
{
    if (!t->first_ns) {
        t->first_ns = uv_hrtime();
        t->fed_at_first = t->fed;
    }
}

static inline void drive_on_video(void *user, const struct ls_decode_video *info)
{
    struct drive *t = user;

    t->video = *info;
    t->has_video = true;
}

static inline void drive_on_audio(void *user, const struct ls_decode_audio *info)
{
    struct drive *t = user;

    t->audio = *info;
    t->has_audio = true;
}

static inline void drive_on_frame(void *user, const struct ls_decode_frame *f)
{
    struct drive *t = user;

    drive_first(t);
    if (t->frame_count < DRIVE_FRAMES_MAX)
        t->frame[t->frame_count++] =
            (struct drive_frame){f->idx, f->pts, f->duration, drive_frame_digest(&f->frame)};
    if (t->never_release)
        return;
    if (t->held_count == DRIVE_HELD) {
        ls_decode_release(t->d, t->held[0]);
        memmove(t->held, t->held + 1, sizeof t->held[0] * (DRIVE_HELD - 1));
        t->held_count--;
    }
    t->held[t->held_count++] = f->slot;
    if (t->on_frame_hook)
        t->on_frame_hook(t);
}

static inline void drive_on_unpause(uv_timer_t *timer)
{
    struct drive *t = timer->data;

    if (t->d)
        ls_decode_pause(t->d, false);
    drive_feed(t);
}

static inline void drive_on_sound(void *user, const float *mono, int mono_count, const float *voice,
                                  int voice_count)
{
    struct drive *t = user;
    int i;

    drive_first(t);
    for (i = 0; i < mono_count; i++) {
        t->mono_energy += (double)mono[i] * mono[i];
        if (t->check_s16 && mono[i] * 32768.0f != t->check_s16[t->mono_count + i])
            t->s16_bad++;
    }
    t->mono_digest = drive_digest(t->mono_digest, mono, sizeof *mono * (size_t)mono_count);
    t->voice_digest = drive_digest(t->voice_digest, voice,
                                   sizeof *voice * (size_t)(voice_count * t->audio.channels));
    t->mono_count += mono_count;
    t->voice_count += voice_count;
    if (t->stop_at_sound) {
        drive_stop(t);
    } else if (t->pause_once) {
        t->pause_once = false;
        ls_decode_pause(t->d, true);
        uv_timer_start(&t->feeder, drive_on_unpause, 300, 0);
    }
}

static inline void drive_on_warning(void *user, const struct ls_decode_warning *w)
{
    struct drive *t = user;
    size_t n = strlen(t->warnings);

    snprintf(t->warnings + n, sizeof t->warnings - n, "%s%s", n ? "," : "", w->reason);
}

static inline void drive_on_end(void *user, const struct ls_decode_end *end)
{
    struct drive *t = user;

    t->end[t->pass_count++] = *end;
    t->pass_from[t->pass_count] = t->frame_count;
    if (t->pass_count > t->passes) {
        drive_stop(t);
        return;
    }
    ls_decode_again(t->d, t->backward >> (t->pass_count - 1) & 1);
}

static inline void drive_on_error(void *user, const struct ls_err *err)
{
    struct drive *t = user;

    t->err = *err;
    drive_stop(t);
}

static inline const char *drive_worker(void)
{
    static char path[4096];
    const char *build = getenv("LS_BUILD");

    snprintf(path, sizeof path, "%s/lipstream-decode", build && *build ? build : "build");
    return path;
}

static inline bool drive_sanitized(void)
{
    const char *s = getenv("LS_SANITIZE");

    return s && *s;
}

// Opens the pool and the decoder and starts the timers; the caller runs the loop (drive_run does).
static inline int drive_start(struct drive *t, const struct ls_options *opt)
{
    static const struct ls_decode_events events = {
        drive_on_video,   drive_on_audio, drive_on_frame,  drive_on_sound,
        drive_on_warning, drive_on_end,   drive_on_hungry, drive_on_error,
    };
    int r;

    t->mono_digest = t->voice_digest = 2166136261u;
    t->start_ns = uv_hrtime();
    uv_loop_init(&t->loop);
    t->timer.data = t->feeder.data = t;
    uv_timer_init(&t->loop, &t->timer);
    uv_timer_init(&t->loop, &t->feeder);
    r = ls_decode_pool_open(&t->pool, &t->loop, drive_worker(), opt, NULL, &t->err);
    if (r == 0)
        r = ls_decode_open(&t->d, t->pool, &t->params, &events, t, &t->err);
    if (r < 0) {
        drive_stop(t);
        return r;
    }
    uv_timer_start(&t->timer, drive_on_timer, (uint64_t)(t->timeout_ms ? t->timeout_ms : 60000), 0);
    uv_timer_start(&t->feeder, drive_on_feeder, 0, 0);
    return 0;
}

// Runs the loop until all of its handles are closed, so that a process left behind would hang the
// test.
static inline void drive_run(struct drive *t, const struct ls_options *opt)
{
    (void)!drive_start(t, opt);
    uv_run(&t->loop, UV_RUN_DEFAULT);
    uv_loop_close(&t->loop);
}

static inline void drive_clear(struct drive *t)
{
    memset(t, 0, sizeof *t);
    t->params.slots = 8;
    t->params.work = LS_PIX_I420;
}

// The options of a test: small and strict.
static inline struct ls_options drive_options(void)
{
    struct ls_options opt = {0};

    opt.spool_dir = getenv("LS_BUILD") ? getenv("LS_BUILD") : "/tmp";
    opt.spool_bytes_max = 64 << 20;
    opt.spool_total_bytes_max = 1 << 30;
    opt.feed_bytes_ahead = 1 << 20;
    opt.audio_seconds_max = 600;
    opt.pixels_max = 8847360;
    opt.side_px_max = 4096;
    opt.rate_max = 120;
    opt.decoder_bytes_max = 1 << 30;
    opt.decoder_stuck_ms_max = 20000;
    return opt;
}

// A whole file; NULL if it is not there.
static inline uint8_t *drive_load(const char *path, size_t *size)
{
    FILE *f = fopen(path, "rb");
    uint8_t *data = NULL;
    long n;

    if (!f)
        return NULL;
    if (fseek(f, 0, SEEK_END) == 0 && (n = ftell(f)) >= 0 && fseek(f, 0, SEEK_SET) == 0 &&
        (data = malloc((size_t)n + 1)) != NULL) {
        *size = fread(data, 1, (size_t)n, f);
    }
    fclose(f);
    return data;
}

static inline uint8_t *drive_media(const char *name, size_t *size)
{
    char path[4096];

    snprintf(path, sizeof path, "%s/media/%s", check_shared(), name);
    return drive_load(path, size);
}

#endif
