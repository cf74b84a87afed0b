// SPDX-License-Identifier: Apache-2.0
// A still picture: PNG, JPEG or WebP, decoded once when all of it is there. EXIF orientation is
// applied. No demuxer is involved: the file is one packet.
#include "worker.h"

#include <stdlib.h>
#include <string.h>

#include "formats.h"

enum {
    STILL_BYTES_MAX = 128 << 20
}; // compressed; 67 million pixels of noise, the largest --pixels-max

static int read_all(struct ls_worker *w, AVPacket *pkt, struct ls_err *err)
{
    int64_t size;

    while (ls_worker_wait(w, w->available) > 0) {
    }
    size = w->available;
    if (size > STILL_BYTES_MAX)
        return ls_fail(err, LS_ELIMIT, "the picture has %lld bytes; the most is %d",
                       (long long)size, STILL_BYTES_MAX);
    if (av_new_packet(pkt, (int)size) < 0)
        return ls_fail(err, LS_ENOMEM, "no memory for a picture of %lld bytes", (long long)size);
    ls_worker_read(w, 0, pkt->data, pkt->size);
    pkt->flags |= AV_PKT_FLAG_KEY;
    return 0;
}

static int decode(struct ls_worker *w, const char *name, const AVPacket *pkt, AVFrame *f,
                  struct ls_err *err)
{
    AVCodecParameters par = {.codec_type = AVMEDIA_TYPE_VIDEO};
    const AVCodec *codec = avcodec_find_decoder_by_name(name);
    AVCodecContext *dec = NULL;
    int r;

    par.codec_id = codec ? codec->id : AV_CODEC_ID_NONE;
    par.format = -1;
    r = ls_input_decoder(&dec, &par, w->job.pixels_max, NULL, err);
    if (r < 0)
        return r;
    r = avcodec_send_packet(dec, pkt);
    if (r >= 0)
        r = avcodec_send_packet(dec, NULL);
    if (r >= 0)
        r = avcodec_receive_frame(dec, f);
    if (r < 0 && strstr(w->log, "Picture size"))
        r = ls_fail(err, LS_ELIMIT, "%s; the limit is %lld for width times height", w->log,
                    (long long)w->job.pixels_max);
    else if (r < 0)
        r = ls_worker_av(w, err, r, "the picture cannot be decoded");
    avcodec_free_context(&dec);
    return r;
}

static struct ls_turn orientation(const AVFrame *f)
{
    const AVFrameSideData *side = av_frame_get_side_data(f, AV_FRAME_DATA_DISPLAYMATRIX);
    const AVDictionaryEntry *tag = av_dict_get(f->metadata, "Orientation", NULL, 0);
    int32_t matrix[9];

    if (tag)
        return ls_turn_exif(atoi(tag->value));
    if (!side || side->size < sizeof matrix)
        return ls_turn_matrix(NULL);
    memcpy(matrix, side->data, sizeof matrix);
    return ls_turn_matrix(matrix);
}

static int show(struct ls_worker *w, struct ls_film *film, const char *name, const AVFrame *f,
                struct ls_err *err)
{
    const struct ls_decode_params *p = &w->job.params;
    struct ls_turn turn = orientation(f);
    struct ls_decode_end end = {.frame_count = 1};
    int r = ls_picture_init(&film->picture, f, &turn, f->sample_aspect_ratio, p->work, err);

    if (r < 0)
        return r;
    film->info = film->picture.info;
    // A density of print (JFIF, pHYs) is seldom meant as the shape of a pixel on a screen.
    film->info.sar_num = film->info.sar_den = 1;
    film->info.rate_num = p->rate_num > 0 ? p->rate_num : 25;
    film->info.rate_den = p->rate_num > 0 && p->rate_den > 0 ? p->rate_den : 1;
    film->info.constant_rate = true;
    strncpy(film->info.codec, name, sizeof film->info.codec - 1);
    strcpy(film->info.container, "still");
    if (!w->map)
        r = ls_film_start(w, film, err);
    if (r < 0)
        return r;
    end.duration = av_rescale(90000, film->info.rate_den, film->info.rate_num);
    r = ls_film_emit(w, film, f, 0, 0, end.duration, err);
    if (r < 0)
        return r;
    ls_worker_send(w, LS_WIRE_END, &end, sizeof end);
    return 0;
}

int ls_still_pass(struct ls_worker *w, struct ls_film *film, struct ls_err *err)
{
    struct ls_sniff sniff = {0};
    AVPacket *pkt = av_packet_alloc();
    AVFrame *f = av_frame_alloc();
    int r;

    if (!pkt || !f) {
        r = ls_fail(err, LS_ENOMEM, "no memory for a picture");
        goto done;
    }
    w->rewinds = true;
    r = read_all(w, pkt, err);
    if (r < 0)
        goto done;
    r = ls_sniff_input(w, &sniff, err);
    if (r < 0)
        goto done;
    if (!sniff.still) {
        r = ls_fail(err, LS_ECODEC, "a still must be PNG, JPEG or WebP; it is %s",
                    sniff.container ? "audio or video: send it as `container`" : sniff.other);
        goto done;
    }
    r = decode(w, sniff.still, pkt, f, err);
    if (r < 0)
        goto done;
    r = show(w, film, sniff.still, f, err);
done:
    av_packet_free(&pkt);
    av_frame_free(&f);
    return r;
}
