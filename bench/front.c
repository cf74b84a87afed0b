// SPDX-License-Identifier: Apache-2.0
// What the listening port's thread costs: one stream that echoes chunks, over a socket that gRPC
// reads itself, through the front, and through the front with TLS.
//   bench_front [chunk_bytes [chunks [cert.pem key.pem]]]     (the certificate is for "localhost")
// Prints chunks a second, MB/s one way, and processor time a chunk, client and server together.
#include <arpa/inet.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <grpc/byte_buffer.h>
#include <grpc/grpc_posix.h>
#include <grpc/grpc_security.h>
#include <grpc/slice.h>
#include <grpc/support/time.h>

#include "server/front.h"
#include "server/tls.h"

enum { NEW = 1, READ, WRITE, CLOSE, STATUS, SHUT };

struct server {
    grpc_server *server;
    grpc_completion_queue *cq;
    grpc_server_credentials *creds;
    pthread_t thread;
    grpc_call *call;
    grpc_call_details details;
    grpc_metadata_array metadata;
};

static void must(int ok, const char *what)
{
    if (ok)
        return;
    fprintf(stderr, "bench_front: %s\n", what);
    exit(1);
}

static void *tag(int number)
{
    return (void *)(intptr_t)number;
}

static void start(grpc_call *call, const grpc_op *op, size_t count, int number)
{
    must(grpc_call_start_batch(call, op, count, tag(number), NULL) == GRPC_CALL_OK, "start");
}

static void start_read(grpc_call *call, grpc_byte_buffer **bytes)
{
    grpc_op op = {.op = GRPC_OP_RECV_MESSAGE};

    op.data.recv_message.recv_message = bytes;
    start(call, &op, 1, READ);
}

static void start_write(grpc_call *call, grpc_byte_buffer *bytes)
{
    grpc_op op = {.op = GRPC_OP_SEND_MESSAGE};

    op.data.send_message.send_message = bytes;
    start(call, &op, 1, WRITE);
}

// --- the echo: one call, one chunk at a time ---

static void begin_call(struct server *s)
{
    static int cancelled;
    grpc_op ops[2] = {{.op = GRPC_OP_SEND_INITIAL_METADATA}, {.op = GRPC_OP_RECV_CLOSE_ON_SERVER}};

    ops[1].data.recv_close_on_server.cancelled = &cancelled;
    start(s->call, ops, 2, CLOSE);
}

static void end_call(struct server *s)
{
    grpc_op op = {.op = GRPC_OP_SEND_STATUS_FROM_SERVER};

    start(s->call, &op, 1, STATUS);
}

static void *serve(void *arg)
{
    struct server *s = arg;
    grpc_byte_buffer *bytes = NULL;

    grpc_call_details_init(&s->details);
    grpc_metadata_array_init(&s->metadata);
    grpc_server_request_call(s->server, &s->call, &s->details, &s->metadata, s->cq, s->cq,
                             tag(NEW));
    for (;;) {
        grpc_event event =
            grpc_completion_queue_next(s->cq, gpr_inf_future(GPR_CLOCK_REALTIME), NULL);

        if (event.type == GRPC_QUEUE_SHUTDOWN)
            return NULL;
        switch ((intptr_t)event.tag) {
        case NEW:
            begin_call(s);
            start_read(s->call, &bytes);
            break;
        case READ:
            if (bytes)
                start_write(s->call, bytes);
            else
                end_call(s);
            break;
        case WRITE:
            grpc_byte_buffer_destroy(bytes);
            bytes = NULL;
            start_read(s->call, &bytes);
            break;
        case SHUT:
            grpc_completion_queue_shutdown(s->cq);
            break;
        }
    }
}

static void on_socket(void *user, int fd)
{
    struct server *s = user;

    grpc_server_add_channel_from_fd(s->server, fd, s->creds);
}

static void server_open(struct server *s)
{
    grpc_arg args[] = {
        {.type = GRPC_ARG_INTEGER, .key = (char *)(uintptr_t)GRPC_ARG_HTTP2_BDP_PROBE},
        {.type = GRPC_ARG_INTEGER,
         .key = (char *)(uintptr_t)GRPC_ARG_HTTP2_STREAM_LOOKAHEAD_BYTES,
         .value.integer = 524288},
    };
    grpc_channel_args all = {sizeof args / sizeof args[0], args};

    *s = (struct server){.server = grpc_server_create(&all, NULL),
                         .cq = grpc_completion_queue_create_for_next(NULL),
                         .creds = grpc_insecure_server_credentials_create()};
    grpc_server_register_completion_queue(s->server, s->cq, NULL);
    grpc_server_start(s->server);
    pthread_create(&s->thread, NULL, serve, s);
}

static void server_close(struct server *s)
{
    grpc_server_shutdown_and_notify(s->server, s->cq, tag(SHUT));
    grpc_server_cancel_all_calls(s->server);
    pthread_join(s->thread, NULL);
    grpc_server_destroy(s->server);
    if (s->call)
        grpc_call_unref(s->call);
    grpc_call_details_destroy(&s->details);
    grpc_metadata_array_destroy(&s->metadata);
    grpc_server_credentials_release(s->creds);
    grpc_completion_queue_destroy(s->cq);
}

// --- the caller: writes as fast as it may, reads what comes back ---

static double seconds(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

static double cpu(void)
{
    struct rusage use;

    getrusage(RUSAGE_SELF, &use);
    return (double)(use.ru_utime.tv_sec + use.ru_stime.tv_sec) +
           (double)(use.ru_utime.tv_usec + use.ru_stime.tv_usec) * 1e-6;
}

static void exchange(grpc_call *call, grpc_completion_queue *cq, int size, int count)
{
    grpc_slice slice = grpc_slice_malloc((size_t)size);
    grpc_op op = {.op = GRPC_OP_SEND_CLOSE_FROM_CLIENT};
    grpc_byte_buffer *out = grpc_raw_byte_buffer_create(&slice, 1), *in = NULL;
    int sent = 0, came = 0;

    memset(GRPC_SLICE_START_PTR(slice), 7, (size_t)size);
    start_write(call, out);
    start_read(call, &in);
    while (came < count) {
        grpc_event event = grpc_completion_queue_next(cq, gpr_inf_future(GPR_CLOCK_REALTIME), NULL);

        must(event.success, "the call broke");
        if (event.tag == tag(WRITE)) { // sending takes the slices out of the buffer
            grpc_byte_buffer_destroy(out);
            out = NULL;
        }
        if (event.tag == tag(WRITE) && ++sent < count) {
            out = grpc_raw_byte_buffer_create(&slice, 1);
            start_write(call, out);
        }
        if (event.tag == tag(READ)) {
            must(in && grpc_byte_buffer_length(in) == (size_t)size, "a chunk of another size");
            grpc_byte_buffer_destroy(in);
            in = NULL;
            if (++came < count)
                start_read(call, &in);
        }
    }
    start(call, &op, 1, CLOSE);
    grpc_completion_queue_next(cq, gpr_inf_future(GPR_CLOCK_REALTIME), NULL);
    if (out)
        grpc_byte_buffer_destroy(out);
    grpc_slice_unref(slice);
}

static void measure(const char *name, grpc_channel *channel, int size, int count)
{
    grpc_completion_queue *cq = grpc_completion_queue_create_for_next(NULL);
    grpc_slice path = grpc_slice_from_static_string("/echo");
    grpc_call *call = grpc_channel_create_call(channel, NULL, 0, cq, path, NULL,
                                               gpr_inf_future(GPR_CLOCK_REALTIME), NULL);
    grpc_op ops[2] = {{.op = GRPC_OP_SEND_INITIAL_METADATA}, {.op = GRPC_OP_RECV_INITIAL_METADATA}};
    grpc_metadata_array metadata;
    double began, used;

    grpc_metadata_array_init(&metadata);
    ops[1].data.recv_initial_metadata.recv_initial_metadata = &metadata;
    start(call, ops, 2, NEW);
    must(grpc_completion_queue_next(cq, gpr_inf_future(GPR_CLOCK_REALTIME), NULL).success,
         "no connection");
    began = seconds();
    used = cpu();
    exchange(call, cq, size, count);
    began = seconds() - began;
    used = cpu() - used;
    printf("%-12s %8.0f chunks/s %7.0f MB/s %6.1f us CPU a chunk\n", name, count / began,
           (double)count * size / began / 1e6, used / count * 1e6);
    grpc_metadata_array_destroy(&metadata);
    grpc_call_unref(call);
    grpc_completion_queue_shutdown(cq);
    while (grpc_completion_queue_next(cq, gpr_inf_future(GPR_CLOCK_REALTIME), NULL).type !=
           GRPC_QUEUE_SHUTDOWN)
        ;
    grpc_completion_queue_destroy(cq);
    grpc_channel_destroy(channel);
}

// gRPC itself reads the accepted socket.
static void direct(int size, int count)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    grpc_channel_credentials *creds = grpc_insecure_credentials_create();
    socklen_t to_size = sizeof to;
    struct server s;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0),
        caller = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    must(!bind(fd, (struct sockaddr *)&to, sizeof to) && !listen(fd, 1) &&
             !getsockname(fd, (struct sockaddr *)&to, &to_size),
         "listen");
    (void)!connect(caller, (struct sockaddr *)&to, sizeof to);
    server_open(&s);
    on_socket(&s, accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC));
    measure("direct", grpc_channel_create_from_fd("direct", caller, creds, NULL), size, count);
    server_close(&s);
    grpc_channel_credentials_release(creds);
    close(fd);
}

static char *read_text(const char *path)
{
    static char text[65536];
    FILE *file = fopen(path, "r");

    must(file != NULL, path);
    text[fread(text, 1, sizeof text - 1, file)] = '\0';
    fclose(file);
    return text;
}

static void through(const char *cert, const char *key, int size, int count)
{
    grpc_arg name = {.type = GRPC_ARG_STRING,
                     .key = (char *)(uintptr_t)GRPC_SSL_TARGET_NAME_OVERRIDE_ARG,
                     .value.string = (char *)(uintptr_t) "localhost"};
    grpc_channel_args args = {1, &name};
    grpc_channel_credentials *creds;
    struct ls_front *front = NULL;
    struct ls_tls *tls = NULL;
    struct ls_options opt;
    struct ls_err err = {0};
    struct server s;

    ls_options_init(&opt);
    opt.listen = "127.0.0.1:0";
    opt.tls_cert = cert;
    opt.tls_key = key;
    must(ls_tls_open(&tls, &opt, &err) == 0, err.text);
    creds = tls ? grpc_ssl_credentials_create(read_text(cert), NULL, NULL, NULL)
                : grpc_insecure_credentials_create();
    server_open(&s);
    must(ls_front_open(&front, &opt, tls, NULL, on_socket, &s, &err) == 0, err.text);
    measure(tls ? "front, TLS" : "front",
            grpc_channel_create(ls_front_address(front), creds, &args), size, count);
    ls_front_stop(front);
    server_close(&s);
    ls_front_close(&front);
    ls_tls_close(&tls);
    grpc_channel_credentials_release(creds);
}

int main(int argc, char **argv)
{
    int size = argc > 1 ? atoi(argv[1]) : 65536, count = argc > 2 ? atoi(argv[2]) : 20000;

    grpc_init();
    for (int i = 0; i < 3; i++) {
        direct(size, count);
        through("", "", size, count);
        if (argc > 4)
            through(argv[3], argv[4], size, count);
    }
    grpc_shutdown();
    return 0;
}
