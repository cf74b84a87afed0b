// SPDX-License-Identifier: Apache-2.0
// A call on C-core (see link.h). Two threads: the owner starts operations, the waiter takes
// completions and appends events under a mutex. The event list cannot overflow: a send, a receive
// and a status are all that can be open at once. Signals must be blocked before the first link, for
// C-core's threads inherit the mask.
#include "client/link.h"

#include <assert.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <grpc/byte_buffer.h>
#include <grpc/byte_buffer_reader.h>
#include <grpc/grpc.h>
#include <grpc/grpc_security.h>
#include <grpc/support/alloc.h>
#include <grpc/support/log.h>
#include <grpc/support/time.h>

#include "client/secure.h"

enum { EVENTS_MAX = 4, MESSAGE_BYTES_MAX = 16 << 20 };
enum tag { TAG_START = 1, TAG_SEND, TAG_RECEIVE, TAG_STATUS };

struct ls_link {
    grpc_channel *channel;
    grpc_completion_queue *queue;
    grpc_call *call;
    int fd;
    pthread_t waiter;
    bool waiting; // the thread runs

    // Written by C-core while an operation is open, read by the waiter when it has completed.
    grpc_metadata_array initial, trailing;
    grpc_metadata sent[2]; // priority and token, of which gRPC keeps no copy until they are sent
    size_t sent_count;
    grpc_byte_buffer *received;
    grpc_status_code code;
    grpc_slice details;

    pthread_mutex_t lock; // guards the rest
    struct ls_link_event events[EVENTS_MAX];
    int event_count;
    struct ls_link_status status;
};

// C-core prints to stderr on its own; that would tear the bar. GRPC_VERBOSITY brings it back.
static void drop_log(gpr_log_func_args *args)
{
    (void)args;
}

static void *tag_of(enum tag tag)
{
    return (void *)(intptr_t)tag;
}

static void start(struct ls_link *link, const grpc_op *ops, size_t count, enum tag tag)
{
    grpc_call_error e = grpc_call_start_batch(link->call, ops, count, tag_of(tag), NULL);

    assert(e == GRPC_CALL_OK); // fails only when the caller breaks link.h's rules
    (void)e;
}

static uint8_t *copy_bytes(const void *data, size_t size)
{
    uint8_t *copy = malloc(size + 1);

    if (!copy)
        abort(); // a client without memory for one message has nothing better to do
    memcpy(copy, data, size);
    copy[size] = 0;
    return copy;
}

static void take_message(struct ls_link *link, struct ls_link_event *event)
{
    grpc_byte_buffer_reader reader;
    grpc_slice all;

    if (!link->received)
        return;
    if (grpc_byte_buffer_reader_init(&reader, link->received)) {
        all = grpc_byte_buffer_reader_readall(&reader);
        event->size = GRPC_SLICE_LENGTH(all);
        event->data = copy_bytes(GRPC_SLICE_START_PTR(all), event->size);
        grpc_slice_unref(all);
        grpc_byte_buffer_reader_destroy(&reader);
    }
    grpc_byte_buffer_destroy(link->received);
    link->received = NULL;
}

// An answer that is a refusal alone has its metadata in the trailers.
static void take_session_id(struct ls_link *link, const grpc_metadata_array *from)
{
    for (size_t i = 0; i < from->count; i++)
        if (grpc_slice_str_cmp(from->metadata[i].key, "lipstream-session-id") == 0 &&
            !link->status.session_id)
            link->status.session_id = grpc_slice_to_c_string(from->metadata[i].value);
}

static void take_status(struct ls_link *link)
{
    take_session_id(link, &link->initial);
    take_session_id(link, &link->trailing);
    link->status.code = (int)link->code;
    link->status.message = grpc_slice_to_c_string(link->details);
    for (size_t i = 0; i < link->trailing.count; i++) {
        const grpc_metadata *m = &link->trailing.metadata[i];

        if (grpc_slice_str_cmp(m->key, "grpc-status-details-bin") != 0 || link->status.details)
            continue;
        link->status.details_size = GRPC_SLICE_LENGTH(m->value);
        link->status.details =
            copy_bytes(GRPC_SLICE_START_PTR(m->value), GRPC_SLICE_LENGTH(m->value));
    }
}

static void on_complete(struct ls_link *link, enum tag tag, bool ok)
{
    struct ls_link_event event = {.ok = ok};
    uint64_t one = 1;
    ssize_t written;

    if (tag == TAG_START)
        return;
    event.kind = tag == TAG_SEND      ? LS_LINK_SENT
                 : tag == TAG_RECEIVE ? LS_LINK_MESSAGE
                                      : LS_LINK_STATUS;
    if (tag == TAG_RECEIVE)
        take_message(link, &event);
    pthread_mutex_lock(&link->lock);
    if (tag == TAG_STATUS)
        take_status(link);
    assert(link->event_count < EVENTS_MAX);
    link->events[link->event_count++] = event;
    pthread_mutex_unlock(&link->lock);
    written = write(link->fd, &one, sizeof(one));
    assert(written == sizeof(one)); // an eventfd blocks only near 2^64
    (void)written;
}

static void *waiter_main(void *user)
{
    struct ls_link *link = user;

    for (;;) {
        grpc_event e =
            grpc_completion_queue_next(link->queue, gpr_inf_future(GPR_CLOCK_REALTIME), NULL);

        if (e.type == GRPC_QUEUE_SHUTDOWN)
            return NULL;
        if (e.type == GRPC_OP_COMPLETE)
            on_complete(link, (enum tag)(intptr_t)e.tag, e.success != 0);
    }
}

static grpc_channel_credentials *credentials(const struct ls_secure *secure)
{
    grpc_ssl_pem_key_cert_pair pair = {.private_key = secure->key, .cert_chain = secure->cert};

    if (!secure->tls)
        return grpc_insecure_credentials_create();
    return grpc_ssl_credentials_create_ex(secure->roots, secure->key ? &pair : NULL, NULL, NULL);
}

static grpc_channel *open_channel(const char *server, const struct ls_secure *secure)
{
    grpc_channel_credentials *creds = credentials(secure);
    char size_key[] = GRPC_ARG_MAX_RECEIVE_MESSAGE_LENGTH;
    char proxy_key[] = GRPC_ARG_ENABLE_HTTP_PROXY;
    char ahead_key[] = GRPC_ARG_HTTP2_STREAM_LOOKAHEAD_BYTES;
    char probe_key[] = GRPC_ARG_HTTP2_BDP_PROBE;
    char name_key[] = GRPC_SSL_TARGET_NAME_OVERRIDE_ARG;
    // bdp_probe 0: a window of a fixed size. With the probe, a client that writes to a slow pipe
    // was given up to 32 MB ahead. No proxy: the default server is this machine.
    grpc_arg args[] = {
        {.type = GRPC_ARG_INTEGER, .key = size_key, .value.integer = MESSAGE_BYTES_MAX},
        {.type = GRPC_ARG_INTEGER, .key = proxy_key, .value.integer = 0},
        {.type = GRPC_ARG_INTEGER, .key = ahead_key, .value.integer = 1 << 20},
        {.type = GRPC_ARG_INTEGER, .key = probe_key, .value.integer = 0},
        {.type = GRPC_ARG_STRING, .key = name_key, .value.string = (char *)secure->server_name},
    };
    grpc_channel_args all = {.num_args = sizeof(args) / sizeof(args[0]) - !secure->server_name,
                             .args = args};
    grpc_channel *channel = creds ? grpc_channel_create(server, creds, &all) : NULL;

    grpc_channel_credentials_release(creds);
    return channel;
}

static void add_metadata(struct ls_link *link, const char *key, const char *before,
                         const char *value)
{
    grpc_metadata *m = &link->sent[link->sent_count++];
    size_t size = strlen(before), more = strlen(value);
    grpc_slice text = grpc_slice_malloc(size + more);

    memcpy(GRPC_SLICE_START_PTR(text), before, size);
    memcpy(GRPC_SLICE_START_PTR(text) + size, value, more);
    m->key = grpc_slice_from_static_string(key);
    m->value = text;
}

static void start_call(struct ls_link *link, const struct ls_link_params *params)
{
    gpr_timespec deadline = gpr_inf_future(GPR_CLOCK_MONOTONIC);
    grpc_slice name = grpc_slice_from_copied_string(params->method);
    grpc_op ops[2];

    if (params->timeout_s > 0)
        deadline =
            gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC),
                         gpr_time_from_micros((int64_t)(params->timeout_s * 1e6), GPR_TIMESPAN));
    link->call = grpc_channel_create_call(link->channel, NULL, GRPC_PROPAGATE_DEFAULTS, link->queue,
                                          name, NULL, deadline, NULL);
    grpc_slice_unref(name);
    if (params->priority)
        add_metadata(link, "lipstream-priority", "", params->priority);
    if (params->secure->token)
        add_metadata(link, "authorization", "Bearer ", params->secure->token);

    memset(ops, 0, sizeof(ops));
    ops[0].op = GRPC_OP_RECV_STATUS_ON_CLIENT;
    ops[0].data.recv_status_on_client.trailing_metadata = &link->trailing;
    ops[0].data.recv_status_on_client.status = &link->code;
    ops[0].data.recv_status_on_client.status_details = &link->details;
    start(link, ops, 1, TAG_STATUS);
    memset(ops, 0, sizeof(ops));
    ops[0].op = GRPC_OP_SEND_INITIAL_METADATA;
    ops[0].data.send_initial_metadata.metadata = link->sent;
    ops[0].data.send_initial_metadata.count = link->sent_count;
    ops[1].op = GRPC_OP_RECV_INITIAL_METADATA;
    ops[1].data.recv_initial_metadata.recv_initial_metadata = &link->initial;
    start(link, ops, 2, TAG_START);
}

int ls_link_open(struct ls_link **out, const struct ls_link_params *params, struct ls_fault *fault)
{
    struct ls_link *link = calloc(1, sizeof(*link));
    const char *what = "cannot start a thread";

    if (!link)
        return ls_fault_set(fault, LS_EXIT_LOCAL, "out of memory");
    if (!getenv("GRPC_VERBOSITY"))
        gpr_set_log_function(drop_log);
    grpc_init();
    pthread_mutex_init(&link->lock, NULL);
    grpc_metadata_array_init(&link->initial);
    grpc_metadata_array_init(&link->trailing);
    link->details = grpc_empty_slice();
    link->queue = grpc_completion_queue_create_for_next(NULL);
    link->channel = open_channel(params->server, params->secure);
    link->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (!link->channel)
        what = "a certificate or key cannot be used (--ca, --cert, --key)";
    else if (link->fd >= 0)
        link->waiting = pthread_create(&link->waiter, NULL, waiter_main, link) == 0;
    if (!link->waiting) {
        ls_link_close(&link);
        return ls_fault_set(fault, LS_EXIT_LOCAL, "%s", what);
    }
    start_call(link, params);
    *out = link;
    return 0;
}

int ls_link_fd(const struct ls_link *link)
{
    return link->fd;
}

void ls_link_send(struct ls_link *link, const void *head, size_t head_size, const void *body,
                  size_t body_size)
{
    grpc_slice slices[2] = {grpc_slice_from_copied_buffer(head, head_size),
                            grpc_slice_from_copied_buffer(body_size ? body : "", body_size)};
    grpc_byte_buffer *buffer = grpc_raw_byte_buffer_create(slices, 2);
    grpc_op op;

    memset(&op, 0, sizeof(op));
    op.op = GRPC_OP_SEND_MESSAGE;
    op.data.send_message.send_message = buffer;
    start(link, &op, 1, TAG_SEND);
    grpc_byte_buffer_destroy(buffer); // C-core holds its own references
    grpc_slice_unref(slices[0]);
    grpc_slice_unref(slices[1]);
}

void ls_link_half_close(struct ls_link *link)
{
    grpc_op op;

    memset(&op, 0, sizeof(op));
    op.op = GRPC_OP_SEND_CLOSE_FROM_CLIENT;
    start(link, &op, 1, TAG_SEND);
}

void ls_link_receive(struct ls_link *link)
{
    grpc_op op;

    memset(&op, 0, sizeof(op));
    op.op = GRPC_OP_RECV_MESSAGE;
    op.data.recv_message.recv_message = &link->received;
    start(link, &op, 1, TAG_RECEIVE);
}

void ls_link_cancel(struct ls_link *link)
{
    grpc_call_cancel(link->call, NULL);
}

bool ls_link_take(struct ls_link *link, struct ls_link_event *event)
{
    bool some;

    pthread_mutex_lock(&link->lock);
    some = link->event_count > 0;
    if (some) {
        *event = link->events[0];
        link->event_count--;
        memmove(link->events, link->events + 1, sizeof(*event) * (size_t)link->event_count);
    } else {
        uint64_t all;
        ssize_t got = read(link->fd, &all, sizeof(all)); // back to "nothing waits"

        (void)got;
    }
    pthread_mutex_unlock(&link->lock);
    return some;
}

const struct ls_link_status *ls_link_status(const struct ls_link *link)
{
    return &link->status;
}

void ls_link_close(struct ls_link **pointer)
{
    struct ls_link *link = *pointer;

    *pointer = NULL;
    if (!link)
        return;
    if (link->call)
        grpc_call_cancel(link->call, NULL);
    grpc_completion_queue_shutdown(link->queue);
    if (link->waiting)
        pthread_join(link->waiter, NULL);
    else
        grpc_completion_queue_next(link->queue, gpr_inf_future(GPR_CLOCK_REALTIME), NULL);
    if (link->call)
        grpc_call_unref(link->call); // it owned the trailers that the waiter read
    for (int i = 0; i < link->event_count; i++)
        free(link->events[i].data);
    grpc_completion_queue_destroy(link->queue);
    if (link->channel)
        grpc_channel_destroy(link->channel);
    grpc_metadata_array_destroy(&link->initial);
    grpc_metadata_array_destroy(&link->trailing);
    for (size_t i = 0; i < link->sent_count; i++)
        grpc_slice_unref(link->sent[i].value);
    grpc_slice_unref(link->details);
    gpr_free(link->status.message);
    gpr_free(link->status.session_id);
    free(link->status.details);
    if (link->fd >= 0)
        close(link->fd);
    pthread_mutex_destroy(&link->lock);
    free(link);
    grpc_shutdown();
}
