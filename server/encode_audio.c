// SPDX-License-Identifier: Apache-2.0
// Sound to AAC-LC by FFmpeg's own encoder. Part of the encoder: one thread at a time. The encoder
// always gets whole frames of 1024 samples, and the resampler (only for rates that AAC does not
// have) whole blocks, so the packets depend on the samples alone and not on how they were cut. The
// encoder is never flushed: silence is pushed until the packets that are needed have come.
#include "encode_parts.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <libavcodec/avcodec.h>
#include <libavutil/channel_layout.h>
#include <libswresample/swresample.h>

enum { BLOCK = 1024 }; // AAC-LC's frame, in samples

struct ls_aac {
    AVCodecContext *ctx;
    AVFrame *frame; // filled up to frame_count samples
    AVPacket *pkt;
    int frame_count;
    int64_t packet_count;
    int rate_in_hz, channels;
    struct SwrContext *swr; // NULL: the rates are equal
    float *block;           // [BLOCK][channels]; input of swr
    int block_count;
    float *resampled; // [resampled_max][channels]
    int resampled_max;
    ls_aac_on_packet *on_packet;
    void *user;
};

// The lowest rate of AAC that is not below (ISO/IEC 14496-3, table 1.18, what FFmpeg has of it).
static int aac_rate(int rate_hz)
{
    static const int rates[] = {8000,  11025, 12000, 16000, 22050, 24000,
                                32000, 44100, 48000, 64000, 88200, 96000};
    int count = (int)(sizeof rates / sizeof rates[0]);

    for (int i = 0; i < count; i++) {
        if (rates[i] >= rate_hz)
            return rates[i];
    }
    return rates[count - 1];
}

static int open_codec(struct ls_aac *a, struct ls_err *err)
{
    const AVCodec *codec = avcodec_find_encoder(AV_CODEC_ID_AAC);
    int rate = aac_rate(a->rate_in_hz), r;

    if (!codec)
        return ls_fail(err, LS_EENCODE, "this FFmpeg has no AAC encoder");
    a->ctx = avcodec_alloc_context3(codec);
    if (!a->ctx)
        return ls_fail(err, LS_ENOMEM, "AAC encoder");
    a->ctx->sample_fmt = AV_SAMPLE_FMT_FLTP;
    a->ctx->sample_rate = rate;
    a->ctx->time_base = (AVRational){1, rate};
    av_channel_layout_default(&a->ctx->ch_layout, a->channels);
    // 64 kb/s a channel suit speech; below 16 kHz there are not that many bits worth spending.
    a->ctx->bit_rate = (int64_t)a->channels * (rate < 16000 ? 4 * rate : 64000);
    a->ctx->flags |= AV_CODEC_FLAG_BITEXACT | AV_CODEC_FLAG_GLOBAL_HEADER;
    a->ctx->thread_count = 1;
    r = avcodec_open2(a->ctx, codec, NULL);
    if (r < 0)
        return ls_fail(err, LS_EENCODE, "AAC refuses %d Hz, %d channels: %s", rate, a->channels,
                       av_err2str(r));
    if (a->ctx->frame_size != BLOCK)
        return ls_fail(err, LS_EENCODE, "AAC frames of %d samples", a->ctx->frame_size);
    return 0;
}

static int open_frame(struct ls_aac *a, struct ls_err *err)
{
    a->frame = av_frame_alloc();
    a->pkt = av_packet_alloc();
    if (!a->frame || !a->pkt)
        return ls_fail(err, LS_ENOMEM, "AAC frame");
    a->frame->format = AV_SAMPLE_FMT_FLTP;
    a->frame->nb_samples = BLOCK;
    a->frame->sample_rate = a->ctx->sample_rate;
    if (av_channel_layout_copy(&a->frame->ch_layout, &a->ctx->ch_layout) < 0 ||
        av_frame_get_buffer(a->frame, 0) < 0)
        return ls_fail(err, LS_ENOMEM, "AAC frame of %d channels", a->channels);
    return 0;
}

static int open_resampler(struct ls_aac *a, struct ls_err *err)
{
    int r, rate = a->ctx->sample_rate;

    if (rate == a->rate_in_hz)
        return 0;
    r = swr_alloc_set_opts2(&a->swr, &a->ctx->ch_layout, AV_SAMPLE_FMT_FLT, rate,
                            &a->ctx->ch_layout, AV_SAMPLE_FMT_FLT, a->rate_in_hz, 0, NULL);
    if (r >= 0)
        r = swr_init(a->swr);
    if (r < 0)
        return ls_fail(err, LS_EENCODE, "no resampling of %d Hz to %d Hz: %s", a->rate_in_hz, rate,
                       av_err2str(r));
    a->resampled_max = (int)av_rescale_rnd(2 * BLOCK, rate, a->rate_in_hz, AV_ROUND_UP) + 64;
    a->block = malloc(sizeof *a->block * BLOCK * (size_t)a->channels);
    a->resampled = malloc(sizeof *a->resampled * (size_t)a->resampled_max * (size_t)a->channels);
    if (!a->block || !a->resampled)
        return ls_fail(err, LS_ENOMEM, "resampler");
    return 0;
}

int ls_aac_open(struct ls_aac **out, int sample_rate_hz, int channels, ls_aac_on_packet *on_packet,
                void *user, struct ls_err *err)
{
    struct ls_aac *a = calloc(1, sizeof *a);
    int r;

    if (!a)
        return ls_fail(err, LS_ENOMEM, "AAC encoder");
    a->rate_in_hz = sample_rate_hz;
    a->channels = channels;
    a->on_packet = on_packet;
    a->user = user;
    r = open_codec(a, err);
    if (r >= 0)
        r = open_frame(a, err);
    if (r >= 0)
        r = open_resampler(a, err);
    if (r < 0)
        goto done;
    *out = a;
    a = NULL;
done:
    ls_aac_close(&a);
    return r;
}

static int pop_packets(struct ls_aac *a, struct ls_err *err)
{
    for (;;) {
        int r = avcodec_receive_packet(a->ctx, a->pkt);
        if (r == AVERROR(EAGAIN))
            return 0;
        if (r < 0)
            return ls_fail(err, LS_EENCODE, "AAC packet %lld: %s", (long long)a->packet_count,
                           av_err2str(r));
        a->pkt->pts = a->pkt->dts = a->packet_count++ * BLOCK - a->ctx->initial_padding;
        a->pkt->duration = BLOCK;
        r = a->on_packet(a->user, a->pkt, err);
        av_packet_unref(a->pkt);
        if (r < 0)
            return r;
    }
}

static int send_frame(struct ls_aac *a, struct ls_err *err)
{
    int r = avcodec_send_frame(a->ctx, a->frame);

    if (r < 0)
        return ls_fail(err, LS_EENCODE, "AAC frame %lld: %s", (long long)a->packet_count,
                       av_err2str(r));
    a->frame->pts += BLOCK;
    a->frame_count = 0;
    r = pop_packets(a, err);
    if (r < 0)
        return r;
    if (av_frame_make_writable(a->frame) < 0)
        return ls_fail(err, LS_ENOMEM, "AAC frame");
    return 0;
}

// Clipped; what is not a number is silence (the encoder would refuse it).
static float clean(float x)
{
    if (!(x >= -1.0f))
        return isnan(x) ? 0.0f : -1.0f;
    return x > 1.0f ? 1.0f : x;
}

// Samples at the encoder's rate.
static int fill_frames(struct ls_aac *a, const float *samples, int count, struct ls_err *err)
{
    for (int done = 0; done < count;) {
        int take = BLOCK - a->frame_count;
        if (take > count - done)
            take = count - done;
        for (int c = 0; c < a->channels; c++) {
            float *to = (float *)a->frame->extended_data[c] + a->frame_count;
            const float *from = samples ? samples + (size_t)done * (size_t)a->channels + c : NULL;
            for (int i = 0; i < take; i++)
                to[i] = from ? clean(from[(size_t)i * (size_t)a->channels]) : 0.0f;
        }
        a->frame_count += take;
        done += take;
        if (a->frame_count == BLOCK) {
            int r = send_frame(a, err);
            if (r < 0)
                return r;
        }
    }
    return 0;
}

static int resample_block(struct ls_aac *a, struct ls_err *err)
{
    const uint8_t *from = (const uint8_t *)a->block;
    uint8_t *to = (uint8_t *)a->resampled;
    int count = swr_convert(a->swr, &to, a->resampled_max, &from, BLOCK);

    a->block_count = 0;
    if (count < 0)
        return ls_fail(err, LS_EENCODE, "resampling of %d Hz: %s", a->rate_in_hz,
                       av_err2str(count));
    return fill_frames(a, a->resampled, count, err);
}

int ls_aac_push(struct ls_aac *a, const float *samples, int count, struct ls_err *err)
{
    size_t channels = (size_t)a->channels;

    if (!a->swr)
        return fill_frames(a, samples, count, err);
    for (int done = 0; done < count;) {
        int take = BLOCK - a->block_count;
        float *to = a->block + (size_t)a->block_count * channels;
        if (take > count - done)
            take = count - done;
        for (size_t i = 0; i < (size_t)take * channels; i++)
            to[i] = samples ? clean(samples[(size_t)done * channels + i]) : 0.0f;
        a->block_count += take;
        done += take;
        if (a->block_count == BLOCK) {
            int r = resample_block(a, err);
            if (r < 0)
                return r;
        }
    }
    return 0;
}

int ls_aac_cover(struct ls_aac *a, int64_t end, struct ls_err *err)
{
    int64_t samples = ls_aac_samples(a, end);

    while (a->packet_count * BLOCK - a->ctx->initial_padding < samples) {
        // up to the end of the frame or block that is being filled
        int r = ls_aac_push(a, NULL, BLOCK - (a->swr ? a->block_count : a->frame_count), err);
        if (r < 0)
            return r;
    }
    return 0;
}

int64_t ls_aac_samples(const struct ls_aac *a, int64_t ticks)
{
    return av_rescale(ticks, a->ctx->sample_rate, LS_TICKS_PER_S);
}

const struct AVCodecContext *ls_aac_codec(const struct ls_aac *a)
{
    return a->ctx;
}

void ls_aac_close(struct ls_aac **a)
{
    if (!*a)
        return;
    avcodec_free_context(&(*a)->ctx);
    av_frame_free(&(*a)->frame);
    av_packet_free(&(*a)->pkt);
    swr_free(&(*a)->swr);
    free((*a)->block);
    free((*a)->resampled);
    free(*a);
    *a = NULL;
}
