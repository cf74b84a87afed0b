// SPDX-License-Identifier: Apache-2.0
// The allow-lists of the decode process: what is not named here is refused, whatever FFmpeg could
// do. Containers are recognised by worker_sniff.c from their first bytes and opened by the name
// given here; decoders are FFmpeg's names. Included by the worker, which enforces them, and by
// GetServerInfo, which shows them, so that the two cannot differ. Constants only; any thread.
#ifndef LS_FORMATS_H
#define LS_FORMATS_H

#include <stddef.h>

// FFmpeg's demuxers. Each ends with NULL.
static const char *const ls_format_containers[] = {
    "mov", "matroska", "mpegts", "mpeg", "avi", "wav", "flac", "mp3", "aac", "ogg", NULL,
};
static const char *const ls_format_stills[] = {"png", "mjpeg", "webp", NULL};
static const char *const ls_format_video[] = {
    "h264", "hevc", "libdav1d", "vp8", "vp9", "mpeg4", "mpeg2video", "mpeg1video", "mjpeg", NULL,
};
static const char *const ls_format_audio[] = {
    "aac",       "mp3float",  "mp2float",  "opus",      "vorbis",   "flac",      "alac",
    "ac3",       "eac3",      "pcm_s16le", "pcm_s16be", "pcm_u8",   "pcm_s24le", "pcm_s24be",
    "pcm_s32le", "pcm_f32le", "pcm_f64le", "pcm_mulaw", "pcm_alaw", NULL,
};

#endif
