// SPDX-License-Identifier: Apache-2.0
// The records between the server (decode.c) and its decode process (worker*.c). Both are built from
// one tree and run on one machine, so a record is a head and a plain struct in memory order. Down
// go orders on descriptor 0, up come events on descriptor 1; the server trusts nothing that comes
// up (decode_check.c). Descriptor 3 is the spool file, 4 the memory of the ring.
#ifndef LS_DECODE_WIRE_H
#define LS_DECODE_WIRE_H

#include "decode.h"

enum {
    LS_WIRE_FD_SPOOL = 3,
    LS_WIRE_FD_RING = 4,
    LS_WIRE_BYTES_MAX = 65536, // after the head
    LS_WIRE_SLOTS_MAX = 256,   // the range of --frames-in-flight
};

enum ls_wire_type {
    // orders
    LS_WIRE_JOB = 1, // ls_wire_job; the first, once
    LS_WIRE_AVAILABLE,
    LS_WIRE_RING, // the answer to VIDEO
    LS_WIRE_RELEASE,
    LS_WIRE_AGAIN,
    // events
    LS_WIRE_VIDEO = 16, // ls_decode_video
    LS_WIRE_AUDIO,      // ls_decode_audio
    LS_WIRE_FRAME,
    LS_WIRE_SOUND, // ls_wire_sound, then mono, then voice
    LS_WIRE_PROGRESS,
    LS_WIRE_WARNING, // ls_decode_warning
    LS_WIRE_END,     // ls_decode_end
    LS_WIRE_ERROR,   // the last
};

struct ls_wire_head {
    uint32_t type, size;
};
struct ls_wire_job {
    struct ls_decode_params params;
    int64_t pixels_max, side_px_max;
};
struct ls_wire_available {
    int64_t bytes; // that lie in the spool file, from its start
    int64_t ended; // 0 or 1: no more will come
};
struct ls_wire_ring {
    int64_t slot_bytes;
    int64_t offset[3]; // of the planes in a slot
    int32_t stride[3];
    int32_t slots;
};
struct ls_wire_release {
    int64_t slot;
};
struct ls_wire_again {
    int64_t backward;      // 0 or 1
    int64_t scratch_bytes; // that may be written behind the input in the spool file
};
struct ls_wire_frame {
    int64_t slot, idx, pts, duration, key;
};
struct ls_wire_sound {
    int64_t mono_count, voice_count;
};
struct ls_wire_progress {
    int64_t read;    // where the reader is, or wants to be
    int64_t needed;  // bytes before this are never asked for again
    int64_t waiting; // 0 or 1: it waits until there is a byte at `read`
};
struct ls_wire_error {
    int64_t code;
    char text[320];
};

#endif
