// SPDX-License-Identifier: Apache-2.0
// The encoder's public face: frames go to H.264 or stay raw, sound to AAC, both to the muxer, whose
// pieces wait for ls_encode_pop. Runs in pool jobs of the session: one for the picture, and perhaps
// one for the sound at the same time; they meet at the muxer, under a lock. The order of calls for
// picture and sound does not matter, because sound is encoded as it comes and cut only by the
// muxer, at the end of the last frame.
#include "encode.h"

#include <assert.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include <libavcodec/avcodec.h>
#include <libavutil/log.h>

#include "encode_parts.h"
#include "mux.h"

struct ls_encode {
    struct ls_encode_params params;
    struct ls_pieces pieces;
    struct ls_h264 *video; // NULL: raw frames
    struct ls_aac *audio;  // NULL: no sound in the output
    struct ls_mux *mux;    // under the lock, once open
    pthread_mutex_t lock;
    struct ls_convert *convert; // raw frames in another format
    struct ls_fetch *fetch; // frames that are not on the host, or NV12, for those that want them so
    AVPacket *pkt;
    int64_t frame_count, first_pts, last_pts, end; // end: of the last frame
    bool sound_ended, finished;
};

// A server's log is its own: what FFmpeg has to say comes back as error codes.
static void silence_log(void)
{
    av_log_set_level(AV_LOG_QUIET);
}

// Nobody wants the output any more. Asked before each frame of picture or sound that would be
// encoded, also where one call means many of them.
static int check_stop(const struct ls_encode *e, struct ls_err *err)
{
    const atomic_bool *stop = e->params.stop;

    return stop && atomic_load_explicit(stop, memory_order_relaxed)
               ? ls_fail(err, LS_ECANCEL, "the encoder was stopped")
               : 0;
}

static int on_sound_packet(void *user, struct AVPacket *pkt, struct ls_err *err)
{
    struct ls_encode *e = user;
    int r = check_stop(e, err);

    if (r < 0)
        return r;
    pthread_mutex_lock(&e->lock);
    r = ls_mux_audio(e->mux, pkt, err);
    pthread_mutex_unlock(&e->lock);
    return r;
}

static enum ls_pixel raw_format(const struct ls_encode_params *p)
{
    return p->video == LS_VIDEO_RGB24 ? LS_PIX_RGB24 : LS_PIX_I420;
}

// What the encoder on the host sees of the frames that come.
static enum ls_pixel host_format(const struct ls_encode_params *p)
{
    return p->format == LS_PIX_NV12 ? LS_PIX_I420 : p->format;
}

static int open_raw(struct ls_encode *e, struct ls_err *err)
{
    const struct ls_encode_params *p = &e->params;
    struct ls_frame like = {.width_px = p->width_px,
                            .height_px = p->height_px,
                            .format = host_format(p),
                            .matrix = p->matrix,
                            .full_range = p->full_range};

    if (p->video == LS_VIDEO_H264)
        return ls_fail(err, LS_EENCODE, "H.264 without a container");
    if (raw_format(p) == host_format(p))
        return 0;
    return ls_convert_open(&e->convert, &like, raw_format(p), err);
}

static int open_parts(struct ls_encode *e, struct ls_err *err)
{
    const struct ls_encode_params *p = &e->params;
    int r;

    if (p->container == LS_CONTAINER_NONE)
        return open_raw(e, err);
    if (p->video != LS_VIDEO_H264)
        return ls_fail(err, LS_EENCODE, "raw frames in a container");
    e->pkt = av_packet_alloc();
    if (!e->pkt)
        return ls_fail(err, LS_ENOMEM, "encoder");
    r = ls_h264_open(&e->video, p, err);
    if (r >= 0 && p->audio == LS_AUDIO_AAC && p->sample_rate_hz > 0)
        r = ls_aac_open(&e->audio, p->sample_rate_hz, p->channels, on_sound_packet, e, err);
    if (r >= 0)
        r = ls_mux_open(&e->mux, p, ls_h264_codec(e->video),
                        e->audio ? ls_aac_codec(e->audio) : NULL, &e->pieces, err);
    return r;
}

int ls_encode_open(struct ls_encode **out, const struct ls_encode_params *params,
                   struct ls_err *err)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    struct ls_encode *e;
    int r;

    assert(params->width_px > 0 && params->height_px > 0 && params->chunk_bytes_max > 0);
    pthread_once(&once, silence_log);
    e = calloc(1, sizeof *e);
    if (!e)
        return ls_fail(err, LS_ENOMEM, "encoder");
    e->params = *params;
    pthread_mutex_init(&e->lock, NULL);
    r = open_parts(e, err);
    if (r == 0 && (params->on_device || params->format == LS_PIX_NV12) &&
        !(e->video && ls_h264_takes_device(e->video)))
        r = ls_fetch_new(&e->fetch, params->device, err);
    if (r < 0)
        goto done;
    *out = e;
    e = NULL;
done:
    ls_encode_close(&e);
    return r;
}

static int check_frame(const struct ls_encode *e, const struct ls_frame *f, int64_t pts,
                       int64_t duration, struct ls_err *err)
{
    const struct ls_encode_params *p = &e->params;

    if (e->finished)
        return ls_fail(err, LS_EENCODE, "a frame at %lld after the end", (long long)pts);
    if (f->width_px != p->width_px || f->height_px != p->height_px || f->format != p->format)
        return ls_fail(err, LS_EENCODE, "a frame of %dx%d (format %d) among %dx%d (format %d)",
                       f->width_px, f->height_px, f->format, p->width_px, p->height_px, p->format);
    if (duration <= 0 || (e->frame_count > 0 && pts <= e->last_pts))
        return ls_fail(err, LS_EENCODE, "a frame at %lld for %lld after one at %lld",
                       (long long)pts, (long long)duration, (long long)e->last_pts);
    return 0;
}

static void copy_rows(uint8_t *to, const uint8_t *from, int stride, int row_size, int rows)
{
    for (int y = 0; y < rows; y++)
        memcpy(to + (size_t)y * (size_t)row_size, from + (ptrdiff_t)y * stride, (size_t)row_size);
}

static int write_raw(struct ls_encode *e, const struct ls_frame *frame, int64_t pts,
                     struct ls_err *err)
{
    const struct ls_encode_params *p = &e->params;
    struct ls_media about = {.kind = LS_MEDIA_FRAME,
                             .first_frame = e->frame_count,
                             .frame_count = 1,
                             .pts = pts,
                             .is_keyframe = true};
    size_t size = ls_packed_size(raw_format(p), p->width_px, p->height_px);
    uint8_t *data = malloc(size);
    struct ls_frame to;
    int r = 0;

    if (!data)
        return ls_fail(err, LS_ENOMEM, "a raw frame of %zu bytes", size);
    ls_packed_planes(&to, data, raw_format(p), p->width_px, p->height_px);
    if (e->convert) {
        r = ls_convert_run(e->convert, frame, to.plane, to.stride, err);
    } else {
        for (int i = 0; i < 3 && to.plane[i]; i++)
            copy_rows(to.plane[i], frame->plane[i], frame->stride[i], to.stride[i],
                      i ? (p->height_px + 1) / 2 : p->height_px);
    }
    if (r >= 0)
        r = ls_pieces_push(&e->pieces, &data, size, (size_t)p->chunk_bytes_max, &about, err);
    free(data);
    return r;
}

static int mux_video(struct ls_encode *e, struct ls_err *err)
{
    for (;;) {
        int r = check_stop(e, err);
        if (r == 0)
            r = ls_h264_pop(e->video, e->pkt, err);
        if (r <= 0)
            return r;
        pthread_mutex_lock(&e->lock);
        r = ls_mux_video(e->mux, e->pkt, err);
        pthread_mutex_unlock(&e->lock);
        av_packet_unref(e->pkt);
        if (r < 0)
            return r;
    }
}

int ls_encode_frame(struct ls_encode *e, const struct ls_frame *frame, int64_t pts,
                    int64_t duration, struct ls_err *err)
{
    struct ls_frame fetched;
    int r = check_frame(e, frame, pts, duration, err);

    if (r == 0)
        r = check_stop(e, err);
    if (r == 0 && e->fetch) {
        r = ls_fetch_run(e->fetch, &fetched, frame, err);
        frame = &fetched;
    }
    if (r < 0)
        return r;
    if (!e->video) {
        r = write_raw(e, frame, pts, err);
    } else {
        r = ls_h264_push(e->video, frame, pts, duration, err);
        if (r >= 0)
            r = mux_video(e, err);
    }
    if (r < 0)
        return r;
    if (e->frame_count++ == 0)
        e->first_pts = pts;
    e->last_pts = pts;
    e->end = pts + duration;
    return e->audio && e->sound_ended ? ls_aac_cover(e->audio, e->end, err) : 0;
}

int ls_encode_sound(struct ls_encode *e, const float *voice, int count, struct ls_err *err)
{
    if (e->finished || e->sound_ended)
        return ls_fail(err, LS_EENCODE, "%d samples after the end of the sound", count);
    return e->audio && count > 0 ? ls_aac_push(e->audio, voice, count, err) : 0;
}

int ls_encode_sound_end(struct ls_encode *e, struct ls_err *err)
{
    e->sound_ended = true;
    return e->audio && e->frame_count > 0 ? ls_aac_cover(e->audio, e->end, err) : 0;
}

int ls_encode_finish(struct ls_encode *e, struct ls_err *err)
{
    int r;

    if (e->finished)
        return ls_fail(err, LS_EENCODE, "finished twice");
    if (e->frame_count == 0)
        return ls_fail(err, LS_EENCODE, "no frame came: there is nothing to write");
    e->finished = true;
    if (!e->video)
        return 0;
    r = ls_h264_end(e->video, err);
    if (r >= 0)
        r = mux_video(e, err);
    if (r >= 0 && e->audio)
        r = ls_aac_cover(e->audio, e->end, err);
    if (r >= 0)
        r = ls_mux_finish(e->mux, e->audio ? ls_aac_samples(e->audio, e->end) : 0, err);
    return r;
}

bool ls_encode_pop(struct ls_encode *e, struct ls_media *out)
{
    return ls_pieces_pop(&e->pieces, out);
}

int64_t ls_encode_offset(const struct ls_encode *e)
{
    return e->audio && e->frame_count > 0 ? -e->first_pts : 0;
}

void ls_encode_close(struct ls_encode **e)
{
    if (!*e)
        return;
    ls_h264_close(&(*e)->video);
    ls_aac_close(&(*e)->audio);
    ls_mux_close(&(*e)->mux);
    ls_convert_close(&(*e)->convert);
    ls_fetch_free(&(*e)->fetch);
    av_packet_free(&(*e)->pkt);
    ls_pieces_done(&(*e)->pieces);
    pthread_mutex_destroy(&(*e)->lock);
    free(*e);
    *e = NULL;
}
