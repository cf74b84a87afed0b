// SPDX-License-Identifier: Apache-2.0
// Opens a container of the allow-list on the spool file and decodes one stream of it. FFmpeg's only
// way to bytes is read_spool below: it has no protocol, may not open anything (io_open refuses),
// and sees a stream that cannot be rewound unless the whole input is wanted. Broken packets are
// counted and left out, as long as something can be decoded.
#include "worker.h"

#include <stdio.h>
#include <string.h>

#include <libavutil/hwcontext.h>
#include <libavutil/opt.h>

#include "formats.h"

enum {
    IO_BYTES = 16384,
    PROBE_BYTES = 4 << 20,
    BAD_PACKETS_MAX = 10000, // without a frame in between: nothing will come of this input
};

static int read_spool(void *user, uint8_t *to, int size)
{
    struct ls_input *in = user;
    int64_t there;

    if (in->head_bytes > 0 && in->pos >= in->head_bytes)
        return AVERROR_EOF;
    there = ls_worker_wait(in->w, in->pos);
    if (there == 0)
        return AVERROR_EOF;
    if (in->head_bytes > 0 && there > in->head_bytes - in->pos)
        there = in->head_bytes - in->pos;
    if (there < size)
        size = (int)there;
    size = ls_worker_read(in->w, in->pos, to, size);
    in->pos += size;
    return size;
}

// A stream goes back a little, too: demuxers look ahead and return, which FFmpeg does within what
// its last read happened to bring, a single byte for a slow caller. LS_WORKER_REACH bytes are kept
// for that.
static int64_t seek_spool(void *user, int64_t offset, int whence)
{
    struct ls_input *in = user;

    whence &= ~AVSEEK_FORCE;
    if (!in->w->rewinds) {
        int64_t front = in->pos > in->w->read_max ? in->pos : in->w->read_max;

        if (whence != SEEK_SET || offset < 0 || offset > front ||
            offset < in->w->read_max - LS_WORKER_REACH)
            return AVERROR(ENOSYS);
        in->pos = offset;
        return offset;
    }
    if (whence == AVSEEK_SIZE)
        return in->w->ended ? in->w->available : AVERROR(ENOSYS);
    if (whence == SEEK_CUR)
        offset += in->pos;
    else if (whence == SEEK_END && in->w->ended)
        offset += in->w->available;
    else if (whence != SEEK_SET)
        return AVERROR(EINVAL);
    if (offset < 0)
        return AVERROR(EINVAL);
    in->pos = offset;
    return offset;
}

static int refuse_open(AVFormatContext *fmt, AVIOContext **pb, const char *url, int flags,
                       AVDictionary **options)
{
    (void)fmt, (void)pb, (void)url, (void)flags, (void)options;
    return AVERROR(EPERM);
}

// "a,b,c"
static void join(char *to, size_t size, const char *const *list, const char *const *more)
{
    size_t n = 0;

    to[0] = '\0';
    for (; *list || (more && *more); list = *list ? list + 1 : list) {
        if (!*list) {
            list = more;
            more = NULL;
        }
        n += (size_t)snprintf(to + n, size - n, "%s%s", n ? "," : "", *list);
    }
}

static int open_format(struct ls_input *in, const char *container, struct ls_err *err)
{
    char codecs[512], formats[256];
    AVDictionary *opts = NULL;
    int r;

    join(codecs, sizeof codecs, ls_format_video, ls_format_audio);
    join(formats, sizeof formats, ls_format_containers, NULL);
    in->fmt->pb = in->io;
    in->fmt->io_open = refuse_open;
    in->fmt->flags |= AVFMT_FLAG_CUSTOM_IO;
    in->fmt->probesize = PROBE_BYTES;
    // MPEG program streams announce no end of their list of streams: FFmpeg then reads on for as
    // long as it may. The others stop by themselves when all is known.
    in->fmt->max_analyze_duration = strcmp(container, "mpeg") == 0 ? 700000 : 2000000; // us
    if (strcmp(container, "wav") == 0)
        in->fmt->max_probe_packets = 1; // else 128 KiB of PCM are searched for DTS
    in->fmt->max_ts_probe = 1; // packets without a time, as raw streams begin with; 50 are seconds
    in->fmt->fps_probe_size = 5; // frames; 20 would hold a live input up for most of a second
    av_dict_set(&opts, "format_whitelist", formats, 0);
    av_dict_set(&opts, "codec_whitelist", codecs, 0);
    av_dict_set(&opts, "protocol_whitelist", "none", 0);
    if (strcmp(container, "mov") == 0)
        av_dict_set(&opts, "enable_drefs", "0", 0);
    r = avformat_open_input(&in->fmt, NULL, av_find_input_format(container), &opts);
    av_dict_free(&opts);
    return r < 0 ? ls_worker_av(in->w, err, r, container) : 0;
}

static void list_streams(const AVFormatContext *fmt, char *to, size_t size)
{
    size_t n = 0;
    unsigned i;

    snprintf(to, size, "none");
    for (i = 0; i < fmt->nb_streams && n < size - 1; i++) {
        const AVCodecParameters *par = fmt->streams[i]->codecpar;
        const char *kind = av_get_media_type_string(par->codec_type);

        n += (size_t)snprintf(to + n, size - n, "%s%s %s", i ? ", " : "", kind ? kind : "unknown",
                              avcodec_get_name(par->codec_id));
    }
}

// The first stream of the kind, if there is one yet.
static void choose(struct ls_input *in, enum AVMediaType kind)
{
    unsigned i;

    for (i = 0; i < in->fmt->nb_streams && !in->stream; i++) {
        AVStream *st = in->fmt->streams[i];

        if (st->codecpar->codec_type == kind && !(st->disposition & AV_DISPOSITION_ATTACHED_PIC))
            in->stream = st;
    }
    for (i = 0; i < in->fmt->nb_streams && in->stream; i++) {
        if (in->fmt->streams[i] != in->stream)
            in->fmt->streams[i]->discard = AVDISCARD_ALL;
    }
}

// FFmpeg analyses every stream of a container before it gives the first packet; of a fragmented
// MP4, whose sound may stand seconds behind its pictures, that is a long wait. What will not be
// used is made to look like data, which needs no analysis.
static void ignore_others(struct ls_input *in)
{
    unsigned i;

    for (i = 0; i < in->fmt->nb_streams && in->stream; i++) {
        if (in->fmt->streams[i] != in->stream)
            in->fmt->streams[i]->codecpar->codec_type = AVMEDIA_TYPE_DATA;
    }
}

static int refuse_streams(struct ls_input *in, enum AVMediaType kind, struct ls_err *err)
{
    const char *word = kind == AVMEDIA_TYPE_VIDEO ? "video" : "sound";
    char all[160];

    list_streams(in->fmt, all, sizeof all);
    return ls_fail(err, LS_ECODEC, "it has no %s stream; its streams: %s", word, all);
}

static int analyse(struct ls_input *in, const char *container, enum AVMediaType kind,
                   struct ls_err *err)
{
    int r;

    in->timeline = strcmp(container, "mov") == 0 || strcmp(container, "matroska") == 0;
    if (in->timeline) {
        choose(in, kind);
        ignore_others(in);
    }
    r = avformat_find_stream_info(in->fmt, NULL);
    if (r < 0)
        return ls_worker_av(in->w, err, r, container);
    choose(in, kind);
    return in->stream ? 0 : refuse_streams(in, kind, err);
}

static const AVCodec *allowed_decoder(enum AVCodecID id)
{
    const char *const *lists[] = {ls_format_video, ls_format_audio, ls_format_stills};
    size_t i;

    for (i = 0; i < 3; i++) {
        const char *const *name;

        for (name = lists[i]; *name; name++) {
            const AVCodec *codec = avcodec_find_decoder_by_name(*name);

            if (codec && codec->id == id)
                return codec;
        }
    }
    return NULL;
}

// The device's format if the codec has it for this stream, else the first that needs no device.
static enum AVPixelFormat choose_format(AVCodecContext *dec, const enum AVPixelFormat *formats)
{
    const enum AVPixelFormat *f;

    for (f = formats; *f != AV_PIX_FMT_NONE; f++)
        if (*f == AV_PIX_FMT_CUDA)
            return *f;
    return avcodec_default_get_format(dec, formats);
}

// True if the codec can decode on a device of this kind at all.
static bool has_device_way(const AVCodec *codec)
{
    const AVCodecHWConfig *config;
    int i;

    for (i = 0; (config = avcodec_get_hw_config(codec, i)); i++)
        if (config->device_type == AV_HWDEVICE_TYPE_CUDA &&
            config->methods & AV_CODEC_HW_CONFIG_METHOD_HW_DEVICE_CTX)
            return true;
    return false;
}

int ls_input_decoder(AVCodecContext **out, const AVCodecParameters *par, int64_t pixels_max,
                     struct AVBufferRef *hw, struct ls_err *err)
{
    const AVCodec *codec = allowed_decoder(par->codec_id);
    AVCodecContext *dec;
    int r;

    if (!codec)
        return ls_fail(err, LS_ECODEC, "codec %s is not accepted", avcodec_get_name(par->codec_id));
    dec = avcodec_alloc_context3(codec);
    if (!dec)
        return ls_fail(err, LS_ENOMEM, "no memory for a decoder");
    r = avcodec_parameters_to_context(dec, par);
    dec->thread_count = 1;
    // A little more than the limit, so that what is just too large gets the better message.
    dec->max_pixels = 2 * pixels_max;
    if (hw && has_device_way(codec)) {
        dec->hw_device_ctx = av_buffer_ref(hw);
        dec->get_format = choose_format;
        dec->extra_hw_frames = 2; // one waits for its duration, one is being copied
    }
    if (r >= 0)
        r = avcodec_open2(dec, codec, NULL);
    if (r < 0) {
        avcodec_free_context(&dec);
        if (r == AVERROR(ENOMEM))
            return ls_fail(err, LS_ENOMEM, "no memory for decoder %s", codec->name);
        return ls_fail(err, LS_EMEDIA, "decoder %s does not open: %s", codec->name, av_err2str(r));
    }
    *out = dec;
    return 0;
}

int ls_input_open(struct ls_input *in, struct ls_worker *w, const struct ls_sniff *sniff,
                  bool rewinds, enum AVMediaType kind, struct ls_err *err)
{
    const char *container = sniff->container;
    uint8_t *buffer = av_malloc(IO_BYTES);
    int r;

    memset(in, 0, sizeof *in);
    in->w = w;
    w->rewinds = rewinds;
    in->io = avio_alloc_context(buffer, IO_BYTES, 0, in, read_spool, NULL, seek_spool);
    in->fmt = avformat_alloc_context();
    in->pkt = av_packet_alloc();
    if (!buffer || !in->io || !in->fmt || !in->pkt) {
        if (!in->io)
            av_free(buffer);
        r = ls_fail(err, LS_ENOMEM, "no memory for a demuxer");
        goto done;
    }
    in->io->seekable = rewinds ? AVIO_SEEKABLE_NORMAL : 0; // what demuxers go by
    in->head_bytes = sniff->head_bytes;
    r = open_format(in, container, err);
    if (r < 0)
        goto done;
    in->head_bytes = 0;
    in->io->eof_reached = in->io->error = 0;
    r = analyse(in, container, kind, err);
    if (r < 0)
        goto done;
    if (in->stream->codecpar->codec_id == AV_CODEC_ID_NONE) {
        r = ls_fail(err, LS_ECODEC, "the codec of its %s stream is not known",
                    kind == AVMEDIA_TYPE_VIDEO ? "video" : "sound");
        goto done;
    }
    r = ls_input_decoder(&in->dec, in->stream->codecpar, w->job.pixels_max,
                         w->device ? w->device->hw : NULL, err);
    if (r < 0)
        goto done;
    in->dec->pkt_timebase = in->stream->time_base;
done:
    if (r < 0)
        ls_input_close(in);
    return r;
}

// Feeds the decoder one more packet, or its end. 0, or out of memory.
static int push_packet(struct ls_input *in, struct ls_err *err)
{
    int r = av_read_frame(in->fmt, in->pkt);

    if (r == AVERROR(ENOMEM))
        return ls_worker_av(in->w, err, r, "reading");
    ls_worker_alive(in->w, in->pos);
    if (r == AVERROR(EAGAIN))
        return 0;
    if (r < 0) {
        in->cut_off = r != AVERROR_EOF;
        in->draining = true;
        r = avcodec_send_packet(in->dec, NULL);
    } else if (in->pkt->stream_index == in->stream->index) {
        if (in->pkt->flags & AV_PKT_FLAG_CORRUPT)
            in->corrupt_count++;
        r = avcodec_send_packet(in->dec, in->pkt);
        if (r < 0 && r != AVERROR_EOF)
            in->corrupt_count++;
    }
    av_packet_unref(in->pkt);
    return r == AVERROR(ENOMEM) ? ls_worker_av(in->w, err, r, "decoding") : 0;
}

// FFmpeg crops pictures in a device's memory on the right and below alone
// (av_frame_apply_cropping): one that is to be cropped on the left or above as well comes to the
// host, which is rare.
static int crop(AVFrame *frame)
{
    AVFrame *host;
    int r;

    if (frame->format != AV_PIX_FMT_CUDA || (frame->crop_left == 0 && frame->crop_top == 0))
        return 0;
    host = av_frame_alloc();
    r = host ? av_hwframe_transfer_data(host, frame, 0) : AVERROR(ENOMEM);
    if (r == 0)
        r = av_frame_copy_props(host, frame);
    if (r == 0)
        r = av_frame_apply_cropping(host, 0);
    if (r == 0) {
        av_frame_unref(frame);
        av_frame_move_ref(frame, host);
    }
    av_frame_free(&host);
    return r;
}

int ls_input_next(struct ls_input *in, AVFrame *frame, struct ls_err *err)
{
    int64_t bad_from = in->corrupt_count;

    for (;;) {
        int r = avcodec_receive_frame(in->dec, frame);

        if (r == 0) {
            r = crop(frame);
            return r < 0 ? ls_worker_av(in->w, err, r, "a frame on the device") : 1;
        }
        if (r == AVERROR_EOF)
            return 0;
        if (r == AVERROR(ENOMEM))
            return ls_worker_av(in->w, err, r, "decoding");
        if (r != AVERROR(EAGAIN))
            in->corrupt_count++;
        if (in->corrupt_count - bad_from > BAD_PACKETS_MAX)
            return ls_fail(err, LS_EMEDIA, "%d packets in a row cannot be decoded; %s",
                           BAD_PACKETS_MAX, in->w->log);
        if (in->draining)
            continue;
        r = push_packet(in, err);
        if (r < 0)
            return r;
    }
}

int ls_input_seek(struct ls_input *in, int64_t ts)
{
    int r = av_seek_frame(in->fmt, in->stream->index, ts, AVSEEK_FLAG_BACKWARD);

    if (r < 0)
        return r;
    avcodec_flush_buffers(in->dec);
    in->draining = false;
    return 0;
}

int64_t ls_input_start_gap(const struct ls_input *in)
{
    int64_t own = AV_NOPTS_VALUE, first = INT64_MAX;
    unsigned i;

    for (i = 0; i < in->fmt->nb_streams; i++) {
        const AVStream *st = in->fmt->streams[i];
        int64_t start;

        if (st->start_time == AV_NOPTS_VALUE || (st->disposition & AV_DISPOSITION_ATTACHED_PIC) ||
            (st->codecpar->codec_type != AVMEDIA_TYPE_VIDEO &&
             st->codecpar->codec_type != AVMEDIA_TYPE_AUDIO))
            continue;
        start = av_rescale_q(st->start_time, st->time_base, AV_TIME_BASE_Q);
        if (start < first)
            first = start;
        if (st == in->stream)
            own = start;
    }
    if (in->timeline && first > 0)
        first = 0;
    return own == AV_NOPTS_VALUE ? 0 : own - first;
}

void ls_input_close(struct ls_input *in)
{
    avcodec_free_context(&in->dec);
    avformat_close_input(&in->fmt);
    if (in->io)
        av_freep(&in->io->buffer);
    avio_context_free(&in->io);
    av_packet_free(&in->pkt);
    in->stream = NULL;
}
