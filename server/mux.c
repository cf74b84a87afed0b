// SPDX-License-Identifier: Apache-2.0
// The muxer: merges video and audio packets by decoding time, cuts segments at counted frames and
// at keyframes, and collects what libavformat writes into pieces. Part of the encoder: one thread
// at a time. FMP4's moov waits for the first fragment (delay_moov), because only then does
// libavformat know the first timestamps and can write the edit list that hides the AAC encoder's
// 1024 samples of delay.
#include "mux.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include <libavcodec/avcodec.h>
#include <libavformat/avformat.h>
#include <libavutil/mathematics.h>

enum {
    IO_BUFFER_SIZE = 32 * 1024,
    AHEAD_S_MAX = 120, // one stream ahead of the other: more is a fault of the caller
    TS_PACKET_SIZE = 188,
};

// Packets of one stream that wait for the other one; a ring that grows up to AHEAD_S_MAX.
struct queue {
    AVPacket **item; // [size], of those beyond count made once and used again; NULL: not made yet
    int first, count, size;
    AVStream *stream;
    AVRational time_base; // of the packets, as the encoder gives them
    int64_t next_dts;     // audio: of the packet that follows the last one in the queue
    bool has_begun;       // a packet was written
};

struct ls_mux {
    AVFormatContext *fmt;
    bool header_written, init_done, is_ts, low, finished;
    struct queue video, audio; // audio.stream NULL: no sound
    int64_t video_end;         // latest end of a frame so far, in video ticks
    int64_t audio_end;         // valid once finished
    int64_t ts_shift;          // MPEG-TS: added to all timestamps, ticks
    bool ts_shift_known;
    uint8_t *bytes;                           // written, not yet a piece
    size_t bytes_size, bytes_max, piece_size; // piece_size: of the last one
    bool out_of_memory;
    size_t part_bytes_max;
    struct ls_pieces *to;
    struct ls_media segment; // what is known of the one being written
    bool segment_is_empty;
    int first_frames, segment_frames, gop_idx; // gop_idx: frames since the last keyframe
};

// --- the waiting packets
// ----------------------------------------------------------------------------

static int queue_grow(struct queue *q)
{
    int size = q->size ? 2 * q->size : 16;
    AVPacket **item = calloc((size_t)size, sizeof *item);

    if (!item)
        return -1;
    for (int i = 0; i < q->size; i++)
        item[i] = q->item[(q->first + i) % q->size];
    free(q->item);
    q->item = item;
    q->first = 0;
    q->size = size;
    return 0;
}

static AVPacket *queue_head(const struct queue *q)
{
    return q->count ? q->item[q->first] : NULL;
}

// The queue's own, empty again before the next push.
static AVPacket *queue_pop(struct queue *q)
{
    AVPacket *pkt = q->item[q->first];

    q->first = (q->first + 1) % q->size;
    q->count--;
    return pkt;
}

static int queue_push(struct queue *q, AVPacket *pkt, const char *name, struct ls_err *err)
{
    AVPacket **kept, *head = queue_head(q);

    if (head &&
        av_compare_ts(pkt->dts - head->dts, q->time_base, AHEAD_S_MAX, (AVRational){1, 1}) > 0)
        return ls_fail(err, LS_EENCODE, "%s is %d s ahead of the other stream", name, AHEAD_S_MAX);
    if (q->count == q->size && queue_grow(q) < 0)
        return ls_fail(err, LS_ENOMEM, "%d %s packets", q->count, name);
    kept = &q->item[(q->first + q->count) % q->size];
    if (!*kept)
        *kept = av_packet_alloc();
    if (!*kept)
        return ls_fail(err, LS_ENOMEM, "%d %s packets", q->count, name);
    av_packet_move_ref(*kept, pkt);
    q->count++;
    return 0;
}

static void queue_done(struct queue *q)
{
    for (int i = 0; i < q->size; i++)
        av_packet_free(&q->item[i]);
    free(q->item);
    q->item = NULL;
}

// --- bytes and pieces
// -------------------------------------------------------------------------------

static int on_write(void *opaque, uint8_t *data, int size)
{
    struct ls_mux *m = opaque;
    size_t need = m->bytes_size + (size_t)size;

    if (need > m->bytes_max) {
        size_t usual = m->piece_size + m->piece_size / 4;
        size_t max = need < usual ? usual : need + need / 2;
        uint8_t *bytes = realloc(m->bytes, max);
        if (!bytes) {
            m->out_of_memory = true;
            return AVERROR(ENOMEM);
        }
        m->bytes = bytes;
        m->bytes_max = max;
    }
    memcpy(m->bytes + m->bytes_size, data, (size_t)size);
    m->bytes_size = need;
    return size;
}

static int fail_av(const struct ls_mux *m, int av, const char *what, struct ls_err *err)
{
    if (m->out_of_memory || av == AVERROR(ENOMEM))
        return ls_fail(err, LS_ENOMEM, "%s, %zu bytes", what, m->bytes_size);
    return ls_fail(err, LS_EENCODE, "%s: %s", what, av_err2str(av));
}

// Makes a piece of what was written since the last one.
static int take_piece(struct ls_mux *m, const struct ls_media *about, struct ls_err *err)
{
    uint8_t *data = m->bytes;
    size_t size = m->bytes_size;

    if (size == 0)
        return 0;
    m->piece_size = size;
    m->bytes = NULL;
    m->bytes_size = m->bytes_max = 0;
    return ls_pieces_push(m->to, &data, size, m->part_bytes_max, about, err);
}

static int flush_fragment(struct ls_mux *m, struct ls_err *err)
{
    int r = av_write_frame(m->fmt, NULL);

    if (r < 0)
        return fail_av(m, r, "end of a segment", err);
    avio_flush(m->fmt->pb);
    if (m->fmt->pb->error < 0)
        return fail_av(m, m->fmt->pb->error, "end of a segment", err);
    return 0;
}

static int end_segment(struct ls_mux *m, struct ls_err *err)
{
    struct ls_media init = {.kind = LS_MEDIA_INIT};
    int64_t next = m->segment.first_frame + m->segment.frame_count;
    int r = flush_fragment(m, err);

    if (r >= 0 && !m->is_ts && !m->init_done) {
        m->init_done = true; // the first flush wrote ftyp and moov only
        r = take_piece(m, &init, err);
        if (r >= 0)
            r = flush_fragment(m, err);
    }
    if (r >= 0)
        r = take_piece(m, &m->segment, err);
    m->segment =
        (struct ls_media){.kind = LS_MEDIA_SEGMENT, .first_frame = next, .pts = m->video_end};
    m->segment_is_empty = true;
    return r;
}

// --- packets to the container
// -----------------------------------------------------------------------

// MPEG-TS has no negative timestamps and no edit list: everything moves by the same time, so that
// the encoder's delay lies before the first frame.
static void know_shift(struct ls_mux *m)
{
    AVPacket *video = queue_head(&m->video);
    int64_t first = video && video->dts < 0 ? video->dts : 0;

    if (m->ts_shift_known)
        return;
    if (m->audio.stream) {
        int64_t audio = av_rescale_q_rnd(-m->audio.stream->codecpar->initial_padding,
                                         m->audio.time_base, m->video.time_base, AV_ROUND_DOWN);
        first = audio < first ? audio : first;
    }
    m->ts_shift = m->is_ts ? -first : 0;
    m->ts_shift_known = true;
}

static int write_packet(struct ls_mux *m, struct queue *q, struct ls_err *err)
{
    AVPacket *pkt = queue_pop(q);
    int r;

    av_packet_rescale_ts(pkt, q->time_base, q->stream->time_base);
    pkt->pts += m->ts_shift;
    pkt->dts += m->ts_shift;
    pkt->stream_index = q->stream->index;
    r = av_write_frame(m->fmt, pkt);
    av_packet_unref(pkt);
    m->segment_is_empty = false;
    q->has_begun = true;
    if (r < 0)
        return fail_av(m, r, q == &m->video ? "a video packet" : "an audio packet", err);
    return 0;
}

// Whether a segment ends after the frame that was just written.
static bool segment_is_full(const struct ls_mux *m)
{
    if (m->audio.stream && !m->audio.has_begun)
        return false; // moov needs the first timestamp of both
    return m->gop_idx % m->segment_frames == 0 ||
           m->segment.first_frame + m->segment.frame_count == m->first_frames;
}

static int write_video(struct ls_mux *m, struct ls_err *err)
{
    const AVPacket *pkt = queue_head(&m->video);
    struct ls_media *s = &m->segment;
    bool key = pkt->flags & AV_PKT_FLAG_KEY;
    int64_t pts = pkt->pts;
    int r = 0;

    if (key && s->frame_count > 0)
        r = end_segment(m, err);
    if (r < 0)
        return r;
    if (key)
        m->gop_idx = 0;
    if (s->frame_count == 0)
        s->is_keyframe = key;
    if (s->frame_count == 0 || pts < s->pts)
        s->pts = pts;
    s->frame_count++;
    m->gop_idx++;
    r = write_packet(m, &m->video, err);
    if (r < 0)
        return r;
    return segment_is_full(m) ? end_segment(m, err) : 0;
}

// Sound that ends after the picture is cut: packets that begin there are dropped, the last one's
// duration is shortened. Only ones that cannot have been written before the end was known are
// touched.
static bool cut_audio(struct ls_mux *m, AVPacket *pkt)
{
    if (pkt->pts >= m->audio_end)
        return false;
    if (pkt->pts + pkt->duration > m->audio_end)
        pkt->duration = m->audio_end - pkt->pts;
    return true;
}

// Whether the head of the audio may leave: in normal latency it waits until the picture reaches its
// end, so that its length can still be cut.
static bool audio_is_free(const struct ls_mux *m, const AVPacket *audio)
{
    return m->finished || m->low ||
           av_compare_ts(audio->pts + audio->duration, m->audio.time_base, m->video_end,
                         m->video.time_base) <= 0;
}

static int write_ready(struct ls_mux *m, struct ls_err *err)
{
    for (;;) {
        AVPacket *video = queue_head(&m->video), *audio = queue_head(&m->audio);
        int64_t audio_dts = audio ? audio->dts : m->audio.next_dts;
        // On equal times sound goes first. After the end of the sound nothing holds up the picture.
        bool audio_first = m->audio.stream && (audio || !m->finished) &&
                           (!video || av_compare_ts(audio_dts, m->audio.time_base, video->dts,
                                                    m->video.time_base) <= 0);
        int r;
        if (audio_first) {
            if (!audio || (!video && !m->finished) || !audio_is_free(m, audio))
                return 0;
            know_shift(m);
            r = write_packet(m, &m->audio, err);
        } else {
            if (!video)
                return 0;
            know_shift(m);
            r = write_video(m, err);
        }
        if (r < 0)
            return r;
    }
}

int ls_mux_video(struct ls_mux *m, struct AVPacket *pkt, struct ls_err *err)
{
    int64_t end = pkt->pts + pkt->duration;
    int r = queue_push(&m->video, pkt, "video", err);

    if (r < 0)
        return r;
    if (end > m->video_end)
        m->video_end = end;
    return write_ready(m, err);
}

int ls_mux_audio(struct ls_mux *m, struct AVPacket *pkt, struct ls_err *err)
{
    int64_t next = pkt->dts + pkt->duration;
    int r = queue_push(&m->audio, pkt, "audio", err);

    if (r < 0)
        return r;
    m->audio.next_dts = next;
    return write_ready(m, err);
}

int ls_mux_finish(struct ls_mux *m, int64_t audio_end, struct ls_err *err)
{
    struct queue *q = &m->audio;
    int kept = 0, r;

    m->finished = true;
    m->audio_end = audio_end;
    for (int i = 0; i < q->count; i++) {
        if (cut_audio(m, q->item[(q->first + i) % q->size]))
            kept++;
    }
    while (q->count > kept) {
        av_packet_unref(q->item[(q->first + --q->count) % q->size]);
    }
    r = write_ready(m, err);
    if (r < 0)
        return r;
    if (!m->segment_is_empty)
        r = end_segment(m, err);
    if (r < 0)
        return r;
    r = av_write_trailer(m->fmt);
    m->header_written = false;
    if (r < 0)
        return fail_av(m, r, "end of the file", err);
    avio_flush(m->fmt->pb);
    return take_piece(m, &m->segment, err);
}

// --- open and close
// ---------------------------------------------------------------------------------

static int add_stream(struct ls_mux *m, struct queue *q, const AVCodecContext *codec,
                      struct ls_err *err)
{
    AVStream *st = avformat_new_stream(m->fmt, NULL);

    if (!st || avcodec_parameters_from_context(st->codecpar, codec) < 0)
        return ls_fail(err, LS_ENOMEM, "a stream of the output");
    st->time_base = q->time_base = codec->time_base;
    st->sample_aspect_ratio = codec->sample_aspect_ratio;
    if (codec->codec_type == AVMEDIA_TYPE_VIDEO)
        st->avg_frame_rate = codec->framerate;
    q->stream = st;
    q->next_dts = -codec->initial_padding;
    return 0;
}

static int open_io(struct ls_mux *m, struct ls_err *err)
{
    uint8_t *buffer = av_malloc(IO_BUFFER_SIZE);

    if (!buffer)
        return ls_fail(err, LS_ENOMEM, "muxer");
    m->fmt->pb = avio_alloc_context(buffer, IO_BUFFER_SIZE, 1, m, NULL, on_write, NULL);
    if (!m->fmt->pb) {
        av_free(buffer);
        return ls_fail(err, LS_ENOMEM, "muxer");
    }
    m->fmt->pb->seekable = 0;
    return 0;
}

static int write_header(struct ls_mux *m, struct ls_err *err)
{
    AVDictionary *options = NULL;
    int r;

    if (m->is_ts) {
        av_dict_set(&options, "mpegts_flags", "+pat_pmt_at_frames", 0);
        av_dict_set(&m->fmt->metadata, "service_provider", "Lipstream", 0);
        av_dict_set(&m->fmt->metadata, "service_name", "Lipstream", 0);
        // Between a packet's clock reference and its decoding time, for the receiver's buffer.
        m->fmt->max_delay = (m->low ? 50 : 350) * 1000;
    } else {
        // skip_trailer: the index at the end would be kept in memory, a part for each segment.
        av_dict_set(&options, "movflags", "+frag_custom+delay_moov+default_base_moof+skip_trailer",
                    0);
        av_dict_set(&options, "use_editlist", "1", 0);
        av_dict_set(&options, "movie_timescale", "90000", 0); // the default, 1 ms, would round
    }
    m->fmt->flags |= AVFMT_FLAG_BITEXACT; // no names, versions and dates
    m->fmt->flags &= ~AVFMT_FLAG_FLUSH_PACKETS;
    m->fmt->avoid_negative_ts = 0;
    r = avformat_write_header(m->fmt, &options);
    av_dict_free(&options);
    if (r < 0)
        return fail_av(m, r, "start of the file", err);
    m->header_written = true;
    return 0;
}

int ls_mux_open(struct ls_mux **out, const struct ls_encode_params *p,
                const struct AVCodecContext *video, const struct AVCodecContext *audio,
                struct ls_pieces *to, struct ls_err *err)
{
    struct ls_mux *m = calloc(1, sizeof *m);
    int r = 0;

    if (!m)
        return ls_fail(err, LS_ENOMEM, "muxer");
    m->is_ts = p->container == LS_CONTAINER_MPEG_TS;
    m->low = p->latency == LS_LATENCY_LOW;
    m->to = to;
    m->part_bytes_max = (size_t)p->chunk_bytes_max;
    if (m->is_ts && m->part_bytes_max > TS_PACKET_SIZE)
        m->part_bytes_max -= m->part_bytes_max % TS_PACKET_SIZE;
    m->segment = (struct ls_media){.kind = LS_MEDIA_SEGMENT};
    m->segment_is_empty = true;
    m->segment_frames = ls_h264_segment_frames(p);
    // The first one is short, so that playing can start: a quarter of a second, or two frames.
    m->first_frames = m->low ? 2 : (m->segment_frames + 3) / 4;
    if (avformat_alloc_output_context2(&m->fmt, NULL, m->is_ts ? "mpegts" : "mp4", NULL) < 0)
        r = ls_fail(err, LS_EENCODE, "this FFmpeg has no muxer for %s", m->is_ts ? "TS" : "MP4");
    if (r >= 0)
        r = add_stream(m, &m->video, video, err);
    if (r >= 0 && audio)
        r = add_stream(m, &m->audio, audio, err);
    if (r >= 0)
        r = open_io(m, err);
    if (r >= 0)
        r = write_header(m, err);
    if (r < 0)
        goto done;
    *out = m;
    m = NULL;
done:
    ls_mux_close(&m);
    return r;
}

void ls_mux_close(struct ls_mux **pm)
{
    struct ls_mux *m = *pm;

    if (!m)
        return;
    if (m->fmt) {
        if (m->header_written)
            av_write_trailer(m->fmt); // frees what the muxer holds
        if (m->fmt->pb)
            av_freep(&m->fmt->pb->buffer);
        avio_context_free(&m->fmt->pb);
        avformat_free_context(m->fmt);
    }
    queue_done(&m->video);
    queue_done(&m->audio);
    free(m->bytes);
    free(m);
    *pm = NULL;
}
