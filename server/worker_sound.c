// SPDX-License-Identifier: Apache-2.0
// Sound: decodes (or takes raw PCM) and resamples every stretch twice, to mono 16 kHz for the
// network and to the output's rate. How many samples come out follows from how many went in, so
// nothing drifts. Gaps between timestamps become silence, up to a minute each; timestamps that go
// back are ignored, since samples follow each other whatever they say. NaN and infinity become 0.
#include "worker.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include <libavutil/channel_layout.h>
#include <libavutil/opt.h>
#include <libswresample/swresample.h>

enum {
    MONO_RATE = 16000,
    PART = 4096, // samples of one channel in a record: 4096 * (2 + 1) * 4 bytes < 64 KiB
    GAP_MS = 40, // timestamps of good files jitter by less
    SILENCE_SECONDS_MAX = 60,
};

// One of the two resamplers. in_count and out_count are of the current input format.
struct lane {
    SwrContext *swr;
    int out_rate, out_channels;
    int64_t in_count, out_count;
};

struct sound {
    struct ls_worker *w;
    struct lane mono, voice;
    enum AVSampleFormat format; // of the input
    int rate;
    AVChannelLayout layout;
    bool open, told;
    struct ls_decode_audio info;
    double seconds_before; // of earlier input formats
    float mono_part[PART], voice_part[2 * PART];
};

static int nearest_rate(int rate)
{
    static const int rates[] = {8000,  11025, 12000, 16000, 22050, 24000, // AAC's (ISO/IEC 14496-3)
                                32000, 44100, 48000, 64000, 88200, 96000};
    int best = rates[0];
    size_t i;

    for (i = 0; i < sizeof rates / sizeof *rates; i++) {
        if (abs(rates[i] - rate) <= abs(best - rate))
            best = rates[i];
    }
    return best;
}

static void close_lanes(struct sound *s)
{
    swr_free(&s->mono.swr);
    swr_free(&s->voice.swr);
    av_channel_layout_uninit(&s->layout);
    s->open = false;
}

static int open_lane(struct sound *s, struct lane *lane, bool mean, struct ls_err *err)
{
    AVChannelLayout out;
    double matrix[64];
    int i, r;

    av_channel_layout_default(&out, lane->out_channels);
    lane->in_count = lane->out_count = 0;
    r = swr_alloc_set_opts2(&lane->swr, &out, AV_SAMPLE_FMT_FLT, lane->out_rate, &s->layout,
                            s->format, s->rate, 0, NULL);
    if (r >= 0 && s->layout.nb_channels > 1 && mean) {
        for (i = 0; i < s->layout.nb_channels; i++)
            matrix[i] = 1.0 / s->layout.nb_channels;
        r = swr_set_matrix(lane->swr, matrix, s->layout.nb_channels);
    }
    if (r >= 0)
        r = swr_init(lane->swr);
    return r < 0 ? ls_worker_av(s->w, err, r, "resampling") : 0;
}

static int open_lanes(struct sound *s, const AVFrame *f, const char *codec, const char *container,
                      struct ls_err *err)
{
    int r;

    if (f->sample_rate < 1000 || f->sample_rate > 768000 || f->ch_layout.nb_channels < 1 ||
        f->ch_layout.nb_channels > 64)
        return ls_fail(err, LS_ECODEC, "sound of %d Hz and %d channels is not accepted",
                       f->sample_rate, f->ch_layout.nb_channels);
    s->format = f->format;
    s->rate = f->sample_rate;
    // Without an order of channels, or with one that swresample cannot mix, the usual one is meant.
    if (f->ch_layout.order == AV_CHANNEL_ORDER_NATIVE)
        r = av_channel_layout_copy(&s->layout, &f->ch_layout);
    else
        r = (av_channel_layout_default(&s->layout, f->ch_layout.nb_channels), 0);
    if (r < 0)
        return ls_worker_av(s->w, err, r, "resampling");
    if (!s->told) {
        s->info.sample_rate_hz = nearest_rate(f->sample_rate);
        s->info.channels = f->ch_layout.nb_channels > 1 ? 2 : 1;
        snprintf(s->info.codec, sizeof s->info.codec, "%s", codec);
        snprintf(s->info.container, sizeof s->info.container, "%s", container);
        ls_worker_send(s->w, LS_WIRE_AUDIO, &s->info, sizeof s->info);
        s->told = true;
    }
    s->mono.out_rate = MONO_RATE;
    s->mono.out_channels = 1;
    s->voice.out_rate = s->info.sample_rate_hz;
    s->voice.out_channels = s->info.channels;
    s->open = true;
    r = open_lane(s, &s->mono, true, err);
    if (r < 0)
        return r;
    return open_lane(s, &s->voice, false, err);
}

static void send_parts(struct sound *s, int mono_count, int voice_count)
{
    struct ls_wire_sound head = {mono_count, voice_count};
    uint8_t record[sizeof head + sizeof s->mono_part];
    size_t mono_bytes = sizeof(float) * (size_t)mono_count;

    if (mono_count + voice_count == 0)
        return;
    memcpy(record, &head, sizeof head);
    memcpy(record + sizeof head, s->mono_part, mono_bytes);
    ls_worker_send2(s->w, LS_WIRE_SOUND, record, sizeof head + mono_bytes, s->voice_part,
                    sizeof(float) * (size_t)voice_count * (size_t)s->info.channels);
}

// What one lane has ready, at most PART samples. Input may be NULL; at_end: the rest too.
static int pull(struct lane *lane, float *to, const uint8_t **in, int in_count, bool at_end,
                int rate)
{
    uint8_t *planes[1] = {(uint8_t *)to};
    int n;

    lane->in_count += in_count;
    n = swr_convert(lane->swr, planes, PART, at_end ? NULL : in, at_end ? 0 : in_count);
    if (n < 0)
        return n;
    if (at_end) { // exactly as many as the input's length gives, whatever the filter's tail
        int64_t left = av_rescale(lane->in_count, lane->out_rate, rate) - lane->out_count;

        if (n == 0 && left > 0) {
            n = left < PART ? (int)left : PART;
            memset(to, 0, sizeof(float) * (size_t)n * (size_t)lane->out_channels);
        }
        if (n > left)
            n = left > 0 ? (int)left : 0;
    }
    lane->out_count += n;
    return n;
}

// Pushes count samples (per channel) through both lanes and sends all that comes out.
static int push(struct sound *s, const uint8_t **in, int count, bool at_end, struct ls_err *err)
{
    for (;;) {
        int m = pull(&s->mono, s->mono_part, in, count, at_end, s->rate);
        int v = pull(&s->voice, s->voice_part, in, count, at_end, s->rate);

        if (m < 0 || v < 0)
            return ls_worker_av(s->w, err, m < 0 ? m : v, "resampling");
        send_parts(s, m, v);
        if (m == 0 && v == 0)
            return 0;
        if (!at_end && m < PART && v < PART)
            return 0;
        in = NULL; // swr has it; what is left in it comes out of calls without input
        count = 0;
    }
}

static void clean(const AVFrame *f)
{
    bool planar = av_sample_fmt_is_planar(f->format);
    int channels = f->ch_layout.nb_channels, planes = planar ? channels : 1;
    int64_t n = (int64_t)f->nb_samples * (planar ? 1 : channels);
    enum AVSampleFormat packed = av_get_packed_sample_fmt(f->format);
    int p;

    for (p = 0; p < planes; p++) {
        int64_t i;

        if (packed == AV_SAMPLE_FMT_FLT) {
            float *x = (float *)f->extended_data[p];

            for (i = 0; i < n; i++)
                x[i] = isfinite(x[i]) && fabsf(x[i]) < 1e6f ? x[i] : 0;
        } else if (packed == AV_SAMPLE_FMT_DBL) {
            double *x = (double *)f->extended_data[p];

            for (i = 0; i < n; i++)
                x[i] = isfinite(x[i]) && fabs(x[i]) < 1e6 ? x[i] : 0;
        }
    }
}

// The input's format changed, or it ended: nothing may stay behind in the filters.
static int drain(struct sound *s, struct ls_err *err)
{
    int r;

    if (!s->open)
        return 0;
    r = push(s, NULL, 0, true, err);
    s->seconds_before += (double)s->mono.in_count / s->rate;
    close_lanes(s);
    return r;
}

static int silence(struct sound *s, int64_t count, struct ls_err *err)
{
    uint8_t *data[64] = {0};
    int r = av_samples_alloc(data, NULL, s->layout.nb_channels, PART / 4, s->format, 0);

    if (r < 0)
        return ls_worker_av(s->w, err, r, "silence");
    av_samples_set_silence(data, 0, PART / 4, s->layout.nb_channels, s->format);
    for (r = 0; count > 0 && r == 0; count -= PART / 4)
        r = push(s, (const uint8_t **)data, (int)(count < PART / 4 ? count : PART / 4), false, err);
    av_freep(&data[0]);
    return r;
}

static int feed(struct sound *s, AVFrame *f, int64_t gap_us, const char *codec,
                const char *container, struct ls_err *err)
{
    const uint8_t *data[64];
    int planes, bytes, done, i, r;

    if (s->open && (s->format != f->format || s->rate != f->sample_rate ||
                    s->layout.nb_channels != f->ch_layout.nb_channels)) {
        r = drain(s, err);
        if (r < 0)
            return r;
    }
    r = s->open ? 0 : open_lanes(s, f, codec, container, err);
    if (r < 0)
        return r;
    if (gap_us > 0) {
        r = silence(s, av_rescale(gap_us, s->rate, 1000000), err);
        if (r < 0)
            return r;
    }
    if (av_frame_make_writable(f) < 0)
        return ls_fail(err, LS_ENOMEM, "no memory for sound");
    clean(f);
    planes = av_sample_fmt_is_planar(f->format) ? f->ch_layout.nb_channels : 1;
    bytes = av_get_bytes_per_sample(f->format) * (planes > 1 ? 1 : f->ch_layout.nb_channels);
    for (done = 0; done < f->nb_samples; done += PART / 4) { // in small parts: swr keeps no backlog
        int n = f->nb_samples - done < PART / 4 ? f->nb_samples - done : PART / 4;

        for (i = 0; i < planes; i++)
            data[i] = f->extended_data[i] + (int64_t)done * bytes;
        r = push(s, data, n, false, err);
        if (r < 0)
            return r;
    }
    return 0;
}

static double seconds(const struct sound *s)
{
    return s->seconds_before + (s->open ? (double)s->mono.in_count / s->rate : 0);
}

// us of silence that belong before f. expect: the time (us of the container) at which sound began.
static int64_t gap_before(const struct sound *s, const struct ls_input *in, const AVFrame *f,
                          int64_t *expect)
{
    int64_t ts = f->best_effort_timestamp, us, gap;

    if (ts == AV_NOPTS_VALUE)
        return 0;
    us = av_rescale_q(ts, in->stream->time_base, AV_TIME_BASE_Q);
    if (*expect == AV_NOPTS_VALUE) {
        *expect = us;
        gap = ls_input_start_gap(in);
        if (gap > 0)
            *expect = av_sat_sub64(us, gap);
        return gap > 0 && gap <= SILENCE_SECONDS_MAX * INT64_C(1000000) ? gap : 0;
    }
    gap = av_sat_sub64(av_sat_sub64(us, *expect), (int64_t)(seconds(s) * 1e6));
    if (gap > GAP_MS * 1000 && gap <= SILENCE_SECONDS_MAX * INT64_C(1000000))
        return gap;
    if (llabs(gap) > GAP_MS * 1000) // another clock from here on
        *expect = av_sat_add64(*expect, gap);
    return 0;
}

static int end_sound(struct sound *s, struct ls_err *err)
{
    struct ls_decode_end end = {0};
    int r = drain(s, err);

    if (r < 0)
        return r;
    end.duration = llrint(s->seconds_before * 90000);
    ls_worker_send(s->w, LS_WIRE_END, &end, sizeof end);
    return 0;
}

// Ticks of the whole input, if its container (or, for PCM that is all there, its size) says so; 0
// if not.
static int64_t declared_duration(const struct ls_input *in)
{
    AVRational ticks = {1, 90000};
    int64_t duration = 0;

    if (in->stream->duration != AV_NOPTS_VALUE)
        duration = av_rescale_q(in->stream->duration, in->stream->time_base, ticks);
    else if (in->fmt->duration != AV_NOPTS_VALUE)
        duration = av_rescale_q(in->fmt->duration, AV_TIME_BASE_Q, ticks);
    else if (in->w->ended && in->stream->codecpar->bit_rate > 0 &&
             av_get_exact_bits_per_sample(in->stream->codecpar->codec_id) > 0)
        // FFmpeg does not believe the size in a WAV file's head when it cannot seek.
        duration = av_rescale(in->w->available * 8, ticks.den, in->stream->codecpar->bit_rate);
    return duration > 0 ? duration : 0;
}

static int container_pass(struct sound *s, const struct ls_sniff *sniff, AVFrame *f,
                          struct ls_err *err)
{
    struct ls_worker *w = s->w;
    struct ls_input in;
    int64_t expect = AV_NOPTS_VALUE;
    char name[24];
    int r = ls_input_open(&in, w, sniff, sniff->moov_last, AVMEDIA_TYPE_AUDIO, err);

    if (r < 0)
        return r;
    snprintf(name, sizeof name, "%.*s", (int)strcspn(in.fmt->iformat->name, ","),
             in.fmt->iformat->name);
    s->info.duration = declared_duration(&in);
    while ((r = ls_input_next(&in, f, err)) > 0) {
        if (f->nb_samples > 0)
            r = feed(s, f, gap_before(s, &in, f, &expect), avcodec_get_name(in.dec->codec_id), name,
                     err);
        av_frame_unref(f);
        if (r < 0)
            break;
    }
    if (r == 0 && !s->told)
        r = ls_fail(err, LS_EMEDIA, "none of its sound can be decoded (%lld broken packets)%s%s",
                    (long long)in.corrupt_count, w->log[0] ? "; " : "", w->log);
    if (r == 0 && in.corrupt_count > 0)
        ls_worker_warn(w, "CORRUPT_PACKETS", "%lld packets of the sound are broken",
                       (long long)in.corrupt_count);
    if (r == 0 && in.cut_off)
        ls_worker_warn(w, "TRUNCATED", "the sound is cut off; %s", w->log);
    if (r == 0)
        r = end_sound(s, err);
    ls_input_close(&in);
    return r;
}

static int pcm_pass(struct sound *s, AVFrame *f, struct ls_err *err)
{
    const struct ls_decode_params *p = &s->w->job.params;
    bool wide = p->sample == LS_SAMPLE_F32LE;
    int bytes = (wide ? 4 : 2) * p->channels, r = 0;
    int64_t pos = 0;

    s->w->rewinds = p->keep;
    f->format = wide ? AV_SAMPLE_FMT_FLT : AV_SAMPLE_FMT_S16;
    f->sample_rate = p->sample_rate_hz;
    f->nb_samples = PART / 4;
    av_channel_layout_default(&f->ch_layout, p->channels);
    if (av_frame_get_buffer(f, 0) < 0)
        return ls_fail(err, LS_ENOMEM, "no memory for sound");
    for (;;) {
        // What is there, rounded up to a whole sample: a live voice is not held up.
        int64_t there = ls_worker_wait(s->w, pos) / bytes * bytes;
        int size = (int)(there < bytes                ? bytes
                         : there < bytes * (PART / 4) ? there
                                                      : bytes * (PART / 4));
        int got = ls_worker_read(s->w, pos, f->data[0], size);

        f->nb_samples = got / bytes;
        pos += got;
        if (f->nb_samples > 0)
            r = feed(s, f, 0, wide ? "pcm_f32le" : "pcm_s16le", "raw", err);
        if (r < 0)
            return r;
        if (got < size) {
            if (!s->told)
                return ls_fail(err, LS_EMEDIA, got ? "it has %d bytes only" : "it is empty", got);
            if (got % bytes)
                ls_worker_warn(s->w, "TRUNCATED", "the last %d bytes are no whole sample of %d",
                               got % bytes, bytes);
            return end_sound(s, err);
        }
    }
}

int ls_sound_pass(struct ls_worker *w, const struct ls_sniff *sniff, struct ls_err *err)
{
    struct sound *s = av_mallocz(sizeof *s);
    AVFrame *f = av_frame_alloc();
    int r;

    if (!s || !f) {
        r = ls_fail(err, LS_ENOMEM, "no memory for sound");
        goto done;
    }
    s->w = w;
    r = w->job.params.source == LS_SOURCE_PCM ? pcm_pass(s, f, err)
                                              : container_pass(s, sniff, f, err);
done:
    if (s)
        close_lanes(s);
    av_freep(&s);
    av_frame_free(&f);
    return r;
}
