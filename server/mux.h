// SPDX-License-Identifier: Apache-2.0
// Puts packets in order and writes them as fragmented MP4 or MPEG-TS into pieces; for encode.c
// alone. One thread at a time. The order of packets in the output, and with it every byte, depends
// on the two packet sequences and not on when they come: a packet is written only once it is
// certain that none of the other stream belongs before it.
#ifndef LS_MUX_H
#define LS_MUX_H

#include <stdint.h>

#include "encode_parts.h"

struct ls_mux;

// audio: NULL when the output has no sound. The codecs are read, not kept. Pieces go to `to`.
LS_MUST int ls_mux_open(struct ls_mux **out, const struct ls_encode_params *params,
                        const struct AVCodecContext *video, const struct AVCodecContext *audio,
                        struct ls_pieces *to, struct ls_err *err);
// Take the packet's content. Timestamps in each codec's time base, dts rising; audio packets follow
// on from one another.
LS_MUST int ls_mux_video(struct ls_mux *m, struct AVPacket *pkt, struct ls_err *err);
LS_MUST int ls_mux_audio(struct ls_mux *m, struct AVPacket *pkt, struct ls_err *err);
// Writes all that is left. Sound is cut at this sample.
LS_MUST int ls_mux_finish(struct ls_mux *m, int64_t audio_end, struct ls_err *err);
void ls_mux_close(struct ls_mux **m);

#endif
