// SPDX-License-Identifier: Apache-2.0
// What a decode process tells, made into callbacks: each record is checked (decode_check.c),
// counted and handed on. The ring of frames is made here, when the picture's size has become known:
// in shared memory, or, for a decode thread, on the device.
// Loop thread, called by decode.c alone; after each callback the decoder may have been closed.
#include "decode_impl.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static int64_t align(int64_t n, int64_t to)
{
    return (n + to - 1) / to * to;
}

static void lay_out(struct ls_wire_ring *ring, const struct ls_decode_video *v, int slots)
{
    const struct ls_frame shape = {
        .width_px = v->width_px, .height_px = v->height_px, .format = v->pixel};
    int64_t at = 0;
    int i;

    memset(ring, 0, sizeof *ring);
    for (i = 0; i < ls_frame_planes(v->pixel); i++) {
        ring->offset[i] = at;
        ring->stride[i] = (int32_t)align(ls_frame_row_size(&shape, i), 64);
        at += (int64_t)ring->stride[i] * ls_frame_row_count(&shape, i);
    }
    ring->slot_bytes = align(at + 64, 4096); // 64 bytes of slack: vector code may read past a row
    ring->slots = slots;
}

// The size is sealed: a process that shrank it would make the server's own reads fault.
static int make_ring(struct ls_decode *d, struct ls_err *err)
{
    lay_out(&d->ring, &d->video, d->params.slots);
    d->map_size = (size_t)(d->ring.slot_bytes * d->ring.slots);
    d->check.slots = d->ring.slots;
    if (d->proc->thread) {
        int r = ls_decode_thread_ring(d->proc->thread, &d->map, d->map_size, err);

        d->check.has_ring = r == 0;
        return r;
    }
    if (ftruncate(d->ring_fd, (off_t)d->map_size) < 0 ||
        fcntl(d->ring_fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0)
        return ls_fail(err, LS_EIO, "%zu bytes for frames: %s", d->map_size, strerror(errno));
    d->map = mmap(NULL, d->map_size, PROT_READ | PROT_WRITE, MAP_SHARED, d->ring_fd, 0);
    if (d->map == MAP_FAILED) {
        d->map = NULL;
        return ls_fail(err, LS_ENOMEM, "%zu bytes for frames: %s", d->map_size, strerror(errno));
    }
    d->check.has_ring = true;
    return 0;
}

static int on_video(struct ls_decode *d, const uint8_t *payload, struct ls_err *err)
{
    int r;

    if (!d->params.video || d->check.has_info)
        return ls_fail(err, LS_EDECODER, "the decode process told of a video out of order");
    memcpy(&d->video, payload, sizeof d->video);
    r = ls_check_video(&d->video, err);
    if (r == 0 && d->video.pixel != d->params.work &&
        !(d->proc->thread && d->params.work == LS_PIX_I420 && d->video.pixel == LS_PIX_NV12))
        r = ls_fail(err, LS_EDECODER, "the decode process makes frames of format %d",
                    (int)d->video.pixel);
    if (r == 0)
        r = ls_check_limits(&d->video, d->opt, err);
    if (r == 0)
        r = make_ring(d, err);
    if (r < 0)
        return r;
    d->check.has_info = true;
    ls_decode_order(d, LS_WIRE_RING, &d->ring, sizeof d->ring);
    d->events.on_video(d->user, &d->video);
    return 0;
}

static int on_audio(struct ls_decode *d, const uint8_t *payload, struct ls_err *err)
{
    struct ls_decode_audio a;
    int r;

    memcpy(&a, payload, sizeof a);
    r = ls_check_audio(&a, err);
    if (r < 0)
        return r;
    if (d->params.video)
        return ls_fail(err, LS_EDECODER, "the decode process told of sound out of order");
    if (d->check.has_info) { // a later pass begins
        if (memcmp(&a, &d->audio, sizeof a) != 0)
            return ls_fail(err, LS_EDECODER, "the decode process changed the sound's format");
        return 0;
    }
    d->audio = a;
    d->check.has_info = true;
    d->check.channels = a.channels;
    d->events.on_audio(d->user, &a);
    return 0;
}

static int on_frame(struct ls_decode *d, const uint8_t *payload, struct ls_err *err)
{
    struct ls_decode_frame out = {0};
    struct ls_wire_frame f;
    int i, r;

    memcpy(&f, payload, sizeof f);
    r = ls_check_frame(&d->check, &f, err);
    if (r < 0)
        return r;
    out.slot = (int)f.slot;
    out.idx = f.idx;
    out.pts = f.pts;
    out.duration = f.duration;
    out.key = f.pts == 0;
    for (i = 0; i < 3 && d->ring.stride[i]; i++) {
        out.frame.plane[i] = d->map + f.slot * d->ring.slot_bytes + d->ring.offset[i];
        out.frame.stride[i] = d->ring.stride[i];
    }
    out.frame.width_px = d->video.width_px;
    out.frame.height_px = d->video.height_px;
    out.frame.format = d->video.pixel;
    out.frame.on_device = d->proc->thread != NULL;
    out.frame.matrix = d->video.matrix;
    out.frame.full_range = d->video.full_range;
    d->events.on_frame(d->user, &out);
    return 0;
}

static int on_sound(struct ls_decode *d, const uint8_t *payload, size_t size, struct ls_err *err)
{
    static _Alignas(16) float samples[LS_WIRE_BYTES_MAX / sizeof(float)]; // one loop thread
    struct ls_wire_sound s;
    int r = ls_check_sound(&d->check, payload, size, err);

    if (r < 0)
        return r;
    if (d->check.mono_count > d->opt->audio_seconds_max * 16000)
        return ls_fail_field(err, LS_ELIMIT, "audio",
                             "the voice is longer than %lld s, the limit (--audio-seconds-max)",
                             (long long)d->opt->audio_seconds_max);
    if (d->check.voice_count > (d->opt->audio_seconds_max + 1) * d->audio.sample_rate_hz)
        return ls_fail(err, LS_EDECODER, "the decode process sent two voices of different length");
    memcpy(&s, payload, sizeof s);
    memcpy(samples, payload + sizeof s, size - sizeof s);
    d->events.on_sound(d->user, samples, (int)s.mono_count, samples + s.mono_count,
                       (int)s.voice_count);
    return 0;
}

static int on_progress(struct ls_decode *d, const uint8_t *payload, struct ls_err *err)
{
    struct ls_wire_progress p;

    memcpy(&p, payload, sizeof p);
    if (p.read < 0 || p.needed < 0 || p.needed > d->spool.written || p.needed > p.read)
        return ls_fail(err, LS_EDECODER,
                       "the decode process broke its protocol: place in the input");
    if (p.read > d->read)
        d->read = p.read;
    d->reader_waits = p.waiting != 0;
    if (!d->params.keep)
        ls_spool_punch(&d->spool, ls_decode_pool_loop(d->pool), p.needed);
    if (!d->was_hungry && ls_decode_hungry(d)) {
        d->was_hungry = true;
        d->events.on_hungry(d->user);
    }
    return 0;
}

static int on_end(struct ls_decode *d, const uint8_t *payload, struct ls_err *err)
{
    struct ls_decode_end e;
    int r;

    memcpy(&e, payload, sizeof e);
    r = ls_check_end(&d->check, &e, d->params.video, err);
    if (r < 0)
        return r;
    d->over = !d->params.keep;
    d->events.on_end(d->user, &e);
    if (!d->closed && d->over && !d->was_hungry && !d->input_ended) {
        d->was_hungry = true; // what may still come is taken and thrown away
        d->events.on_hungry(d->user);
    }
    return 0;
}

static int on_error_record(struct ls_decode *d, const uint8_t *payload, struct ls_err *err)
{
    struct ls_wire_error e;

    memcpy(&e, payload, sizeof e);
    ls_printable(e.text, sizeof e.text);
    if (e.code != LS_EMEDIA && e.code != LS_ECODEC && e.code != LS_ELIMIT && e.code != LS_ENOMEM &&
        e.code != LS_EIO)
        return ls_fail(err, LS_EDECODER, "the decode process ended with %s", e.text);
    return ls_fail(err, (int)e.code, "the %s input: %s", ls_decode_side(d), e.text);
}

static int on_warning(struct ls_decode *d, const uint8_t *payload, struct ls_err *err)
{
    struct ls_decode_warning warning;
    int r;

    memcpy(&warning, payload, sizeof warning);
    r = ls_check_warning(&warning, err);
    if (r == 0)
        d->events.on_warning(d->user, &warning);
    return r;
}

int ls_decode_record(struct ls_decode *d, const struct ls_wire_head *head, const uint8_t *payload,
                     struct ls_err *err)
{
    static const size_t sizes[] = {
        [LS_WIRE_VIDEO] = sizeof(struct ls_decode_video),
        [LS_WIRE_AUDIO] = sizeof(struct ls_decode_audio),
        [LS_WIRE_FRAME] = sizeof(struct ls_wire_frame),
        [LS_WIRE_PROGRESS] = sizeof(struct ls_wire_progress),
        [LS_WIRE_WARNING] = sizeof(struct ls_decode_warning),
        [LS_WIRE_END] = sizeof(struct ls_decode_end),
        [LS_WIRE_ERROR] = sizeof(struct ls_wire_error),
    };

    if (head->type != LS_WIRE_SOUND && (head->type >= sizeof sizes / sizeof *sizes ||
                                        sizes[head->type] == 0 || sizes[head->type] != head->size))
        return ls_fail(err, LS_EDECODER, "the decode process sent record %u of %u bytes",
                       head->type, head->size);
    switch (head->type) {
    case LS_WIRE_VIDEO:
        return on_video(d, payload, err);
    case LS_WIRE_AUDIO:
        return on_audio(d, payload, err);
    case LS_WIRE_FRAME:
        return on_frame(d, payload, err);
    case LS_WIRE_SOUND:
        return on_sound(d, payload, head->size, err);
    case LS_WIRE_PROGRESS:
        return on_progress(d, payload, err);
    case LS_WIRE_WARNING:
        return on_warning(d, payload, err);
    case LS_WIRE_END:
        return on_end(d, payload, err);
    default:
        return on_error_record(d, payload, err);
    }
}
