// SPDX-License-Identifier: Apache-2.0
// What a method sees of a call: callbacks in, replies and one status out. Loop thread only. A
// method reads a message only when it asks for one, and replies wait in a queue of which one at a
// time is with gRPC: that is the back-pressure in both directions.
#ifndef LS_RPC_CALL_H
#define LS_RPC_CALL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/err.h"
#include "server/admit.h"
#include "server/auth.h"
#include "server/engine.h"
#include "server/job.h"
#include "server/session.h"

struct ls_call;

// All callbacks but on_start may be NULL; none but on_flushed comes after ls_call_end.
struct ls_method {
    const char *path;    // "/lipstream.v1.LipSync/Sync"
    bool quiet;          // leaves no log line unless it fails
    bool stays;          // as long as its caller likes: there are --watches-max of these at most
    enum ls_scope scope; // what a caller's credentials must allow; checked before on_start
    size_t state_size;   // of ls_call_state: zeroed, freed with the call
    void (*on_start)(struct ls_call *c);
    void (*on_message)(struct ls_call *c, const uint8_t *data,
                       size_t size); // borrowed until return
    void (*on_half_close)(struct ls_call *c);
    void (*on_sent)(struct ls_call *c); // the backlog became smaller
    // The peer is gone, or a limit of time ran out: ls_call_end must follow, now or later. NULL: it
    // does at once.
    void (*on_cancel)(struct ls_call *c, const struct ls_err *err);
    void (*on_drain)(struct ls_call *c); // the server begins to stop
    // Once, after (or inside) ls_call_end: no reply of it waits any more.
    void (*on_flushed)(struct ls_call *c);
};

void *ls_call_state(struct ls_call *c);
struct ls_engine *ls_call_engine(struct ls_call *c);

// Asks for the next message (or the half-close). Nothing happens while one is already asked for.
void ls_call_read(struct ls_call *c);
// Queues a reply: head is copied, then come the bytes of *data, which are given away (malloc'ed;
// NULL: none) and set to NULL.
void ls_call_send(struct ls_call *c, const void *head, size_t head_size, void **data,
                  size_t data_size);
// Bytes of replies that gRPC has not taken yet.
size_t ls_call_backlog(const struct ls_call *c);

// The call's end. err->code 0: OK, after all queued replies. Else queued replies are dropped, and
// the status carries err with details; all (or NULL) are its violations. state is for
// on_flushed alone afterwards, which may have been already.
void ls_call_end(struct ls_call *c, const struct ls_err *err, const struct ls_violations *all);
// The same for a status that no LS_E code stands for (UNIMPLEMENTED, NOT_FOUND).
void ls_call_end_status(struct ls_call *c, int grpc_status, const char *reason, const char *text);

// A value of the caller's metadata (key in lower case; the first of several), not zero-terminated;
// NULL: none.
const char *ls_call_metadata(const struct ls_call *c, const char *key, size_t *size);

// For the call's log line and metrics; kept by the call. session_id is drawn when the call begins
// and goes back in the metadata "lipstream-session-id".
struct ls_call_note {
    char session_id[40];
    bool is_session; // it is a Sync: its line has all figures below
    bool began;      // it was admitted and its config was taken
    enum ls_class class;
    bool live;
    int64_t waited_us; // for a place
    int64_t frames_in, frames_out;
    int64_t frames[LS_ACTIONS];
    int64_t audio_bytes, video_bytes, bytes_out;
    int64_t output_ticks, first_media_us; // first_media_us 0: none
    int64_t part_us[LS_PARTS];
};
struct ls_call_note *ls_call_note(struct ls_call *c);

extern const struct ls_method ls_method_sync, ls_method_info, ls_method_health_check,
    ls_method_health_watch, ls_method_reflect_v1, ls_method_reflect_v1alpha;

#endif
