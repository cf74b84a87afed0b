// SPDX-License-Identifier: Apache-2.0
// One call to one server, on gRPC's C-core: the only file of the client that knows it. A thread of
// its own waits on the completion queue and turns what it gets into events; the owner polls
// ls_link_fd and takes them. At most one message is being sent and one awaited, so HTTP/2 flow
// control reaches the owner in both directions: a server that does not read is a "sent" that does
// not come.
#ifndef LS_CLIENT_LINK_H
#define LS_CLIENT_LINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "client/text.h"

struct ls_secure;

enum ls_link_kind {
    LS_LINK_SENT,    // the message (or half-close) was taken; ok is false if the call is over
    LS_LINK_MESSAGE, // a message; data is NULL at the end of the stream
    LS_LINK_STATUS   // the call is over; comes once
};

struct ls_link_event {
    enum ls_link_kind kind;
    bool ok;
    uint8_t *data; // malloc'ed, the taker's
    size_t size;
};

struct ls_link_status {
    int code;
    char *message;    // never NULL
    char *session_id; // that the server gave the call; NULL if none
    uint8_t *details; // google.rpc.Status as bytes, NULL if none
    size_t details_size;
};

struct ls_link_params {
    const char *server, *method;    // "/package.Service/Method"
    const struct ls_secure *secure; // must outlive the link
    const char *priority;           // NULL: the server's default
    double timeout_s;               // 0: no deadline
};

struct ls_link;

// Starts a call.
LS_MUST int ls_link_open(struct ls_link **out, const struct ls_link_params *params,
                         struct ls_fault *fault);
int ls_link_fd(const struct ls_link *link); // readable when an event waits
// Sends head and body, joined, as one message (both are copied). Only after the last one's event.
void ls_link_send(struct ls_link *link, const void *head, size_t head_size, const void *body,
                  size_t body_size);
void ls_link_half_close(struct ls_link *link); // counts as a send
void ls_link_receive(struct ls_link *link);    // asks for one message
void ls_link_cancel(struct ls_link *link);     // its status follows
// Takes the oldest event; false if there is none.
bool ls_link_take(struct ls_link *link, struct ls_link_event *event);
// After LS_LINK_STATUS; lives as long as the link.
const struct ls_link_status *ls_link_status(const struct ls_link *link);
// Cancels what still runs and waits for it. Accepts NULL; sets *link to NULL.
void ls_link_close(struct ls_link **link);

#endif
