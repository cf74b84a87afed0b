// SPDX-License-Identifier: Apache-2.0
// HTTP on the admin port: libmicrohttpd without a thread of its own, driven by the loop. We accept
// for it, because it spins when descriptors run out. A connection takes one request and a fixed
// time, however slowly its peer goes on: at most --admin-connections-max of them can be held, and
// when so many are, each for half a second.
#include "server/admin.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <microhttpd.h>
#include <uv.h>

#include "server/admin_pages.h"
#include "server/listen.h"
#include "server/log.h"

// Room for a request's headers: a JWT in one of them has 1 to 4 KiB.
enum { BACKLOG = 64, CONNECTION_BYTES = 16384, PAUSE_MS = 100, AGE_MS = 250 };
// How long a connection may take while others wait: a probe's answer must not wait for a crowd that
// says nothing, and an honest request is there with its connection.
enum { CROWDED_MS = 500 };

struct connection {
    struct connection *prev, *next;
    struct ls_admin *admin;
    struct ls_peer peer;
    uint64_t since_ms;
    int fd;
};

struct ls_admin {
    struct ls_engine *engine;
    struct ls_auth *auth;
    struct ls_rpc *rpc;
    struct MHD_Daemon *daemon;
    char address[LS_ADDRESS_SIZE];
    int fd; // listens
    uv_poll_t listener, work;
    uv_timer_t turn, pause;
    struct connection *first;
    int connection_count;
    int handle_count; // still to be closed by the loop
    bool closing;
};

static void accept_some(uv_poll_t *poll, int status, int events);

static void turn(struct ls_admin *a);

static void on_turn(uv_timer_t *timer)
{
    turn(timer->data);
}

// Lets libmicrohttpd work, ends connections that are too old, and sees to it that both happen again
// in time.
static void turn(struct ls_admin *a)
{
    const struct ls_options *opt = &a->engine->opt;
    uint64_t now = uv_hrtime() / 1000000, ms_max = (uint64_t)opt->admin_ms_max;
    MHD_UNSIGNED_LONG_LONG ms = AGE_MS;

    if (a->connection_count >= opt->admin_connections_max && ms_max > CROWDED_MS)
        ms_max = CROWDED_MS;
    for (struct connection *c = a->first; c; c = c->next)
        if (now - c->since_ms > ms_max)
            shutdown(c->fd, SHUT_RDWR); // it notices by itself
    MHD_run(a->daemon);
    if (MHD_get_timeout(a->daemon, &ms) != MHD_YES || ms > AGE_MS)
        ms = AGE_MS;
    if (a->first)
        uv_timer_start(&a->turn, on_turn, ms, 0);
    else
        uv_timer_stop(&a->turn);
}

static void on_work(uv_poll_t *poll, int status, int events)
{
    (void)status;
    (void)events;
    turn(poll->data);
}

static void on_connection(void *user, struct MHD_Connection *connection, void **context,
                          enum MHD_ConnectionNotificationCode code)
{
    struct ls_admin *a = user;
    struct connection *c = *context;

    if (code == MHD_CONNECTION_NOTIFY_STARTED) {
        a->connection_count++;
        c = calloc(1, sizeof *c);
        *context = c;
        if (!c)
            return; // its request is refused
        c->admin = a;
        c->since_ms = uv_hrtime() / 1000000;
        c->fd = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd;
        c->next = a->first;
        if (c->next)
            c->next->prev = c;
        a->first = c;
        return;
    }
    a->connection_count--;
    if (!a->closing && !uv_is_active((uv_handle_t *)&a->pause))
        uv_poll_start(&a->listener, UV_READABLE, accept_some);
    if (!c)
        return;
    *(c->prev ? &c->prev->next : &a->first) = c->next;
    if (c->next)
        c->next->prev = c->prev;
    free(c);
    *context = NULL;
}

static enum MHD_Result send_page(struct MHD_Connection *connection, struct ls_page *page)
{
    struct MHD_Response *response =
        MHD_create_response_from_buffer(page->size, page->body, MHD_RESPMEM_MUST_FREE);
    enum MHD_Result r;

    if (!response) {
        free(page->body);
        return MHD_NO;
    }
    MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, page->type);
    MHD_add_response_header(response, MHD_HTTP_HEADER_CACHE_CONTROL, "no-store");
    MHD_add_response_header(response, "X-Content-Type-Options", "nosniff");
    MHD_add_response_header(response, MHD_HTTP_HEADER_CONNECTION, "close");
    if (page->challenge)
        MHD_add_response_header(response, MHD_HTTP_HEADER_WWW_AUTHENTICATE, "Bearer");
    if (page->allow)
        MHD_add_response_header(response, MHD_HTTP_HEADER_ALLOW, "GET, HEAD");
    r = MHD_queue_response(connection, (unsigned)page->status, response);
    MHD_destroy_response(response);
    return r;
}

// Comes when the headers are there; what a body might hold is not read.
static enum MHD_Result on_request(void *user, struct MHD_Connection *connection, const char *path,
                                  const char *method, const char *version, const char *data,
                                  size_t *size, void **state)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    struct connection *c = info ? info->socket_context : NULL;
    struct ls_admin *a = user;
    struct ls_page_request request = {.method = method, .path = path};
    struct ls_page page;

    (void)version;
    (void)data;
    (void)size;
    (void)state;
    if (!c)
        return MHD_NO;
    request.peer = c->peer;
    request.authorization =
        MHD_lookup_connection_value(connection, MHD_HEADER_KIND, MHD_HTTP_HEADER_AUTHORIZATION);
    if (!ls_page_make(&page, &request, a->engine, a->auth, a->rpc))
        return MHD_NO;
    return send_page(connection, &page);
}

static void on_pause_over(uv_timer_t *timer)
{
    struct ls_admin *a = timer->data;

    uv_poll_start(&a->listener, UV_READABLE, accept_some);
}

static void accept_one(struct ls_admin *a, int fd, const struct sockaddr_storage *address,
                       socklen_t size)
{
    const struct sockaddr *plain = (const struct sockaddr *)address;

    // Calls on_connection; closes fd when it fails.
    if (MHD_add_connection(a->daemon, fd, plain, size) == MHD_YES && a->first &&
        a->first->fd == fd) {
        ls_address_format(a->first->peer.address, plain);
        a->first->peer.loopback = ls_address_loopback(plain);
    }
}

static void accept_some(uv_poll_t *poll, int status, int events)
{
    struct ls_admin *a = poll->data;

    (void)status;
    (void)events;
    while (a->connection_count < a->engine->opt.admin_connections_max) {
        struct sockaddr_storage address;
        socklen_t size = sizeof address;
        int fd = accept4(a->fd, (struct sockaddr *)&address, &size, SOCK_NONBLOCK | SOCK_CLOEXEC);

        if (fd >= 0) {
            accept_one(a, fd, &address, size);
            continue;
        }
        if (errno == ECONNABORTED || errno == EINTR)
            continue;
        if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
            uv_poll_stop(poll);
            uv_timer_start(&a->pause, on_pause_over, PAUSE_MS, 0);
        }
        break;
    }
    turn(a);
    // Those beyond wait in the kernel's queue until one is gone.
    if (a->connection_count >= a->engine->opt.admin_connections_max)
        uv_poll_stop(poll);
}

static void on_handle_closed(uv_handle_t *handle)
{
    struct ls_admin *a = handle->data;

    if (--a->handle_count == 0)
        free(a);
}

static int start_daemon(struct ls_admin *a, struct ls_err *err)
{
    a->daemon = MHD_start_daemon(MHD_USE_EPOLL | MHD_USE_NO_LISTEN_SOCKET, 0, NULL, NULL,
                                 on_request, a, MHD_OPTION_CONNECTION_LIMIT,
                                 (unsigned)a->engine->opt.admin_connections_max,
                                 MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)CONNECTION_BYTES,
                                 MHD_OPTION_NOTIFY_CONNECTION, on_connection, a, MHD_OPTION_END);
    return a->daemon ? 0 : ls_fail_field(err, LS_ENOMEM, "admin-listen", "the admin port");
}

static int start_handles(struct ls_admin *a, struct ls_err *err)
{
    const union MHD_DaemonInfo *info = MHD_get_daemon_info(a->daemon, MHD_DAEMON_INFO_EPOLL_FD);
    uv_loop_t *loop = a->engine->loop;

    if (!info || uv_poll_init(loop, &a->work, info->epoll_fd))
        return ls_fail_field(err, LS_EIO, "admin-listen", "the admin port cannot be watched");
    a->work.data = a;
    a->handle_count = 1;
    if (uv_poll_init(loop, &a->listener, a->fd)) {
        uv_close((uv_handle_t *)&a->work, on_handle_closed);
        return ls_fail_field(err, LS_EIO, "admin-listen", "the admin port cannot be watched");
    }
    uv_timer_init(loop, &a->turn);
    uv_timer_init(loop, &a->pause);
    a->listener.data = a->turn.data = a->pause.data = a;
    a->handle_count = 4;
    uv_poll_start(&a->work, UV_READABLE, on_work);
    uv_poll_start(&a->listener, UV_READABLE, accept_some);
    return 0;
}

int ls_admin_open(struct ls_admin **out, struct ls_engine *engine, struct ls_auth *auth,
                  struct ls_rpc *rpc, struct ls_err *err)
{
    struct ls_admin *a;
    int r;

    if (!strcmp(engine->opt.admin_listen, "none")) {
        *out = NULL;
        return 0;
    }
    a = calloc(1, sizeof *a);
    if (!a)
        return ls_fail(err, LS_ENOMEM, "the admin port");
    a->engine = engine;
    a->auth = auth;
    a->rpc = rpc;
    a->fd = r = ls_listen(a->address, engine->opt.admin_listen, "admin-listen", BACKLOG, err);
    if (r >= 0)
        r = start_daemon(a, err);
    if (r >= 0)
        r = start_handles(a, err);
    if (r >= 0) {
        *out = a;
        return 0;
    }
    if (a->daemon)
        MHD_stop_daemon(a->daemon);
    if (a->fd >= 0)
        close(a->fd);
    if (!a->handle_count) // else the loop frees it
        free(a);
    return r;
}

const char *ls_admin_address(const struct ls_admin *a)
{
    return a ? a->address : "";
}

void ls_admin_close(struct ls_admin **admin)
{
    struct ls_admin *a = *admin;

    if (!a)
        return;
    *admin = NULL;
    a->closing = true;
    uv_close((uv_handle_t *)&a->work, on_handle_closed);
    uv_close((uv_handle_t *)&a->listener, on_handle_closed);
    uv_close((uv_handle_t *)&a->turn, on_handle_closed);
    uv_close((uv_handle_t *)&a->pause, on_handle_closed);
    MHD_stop_daemon(a->daemon); // ends the connections
    close(a->fd);
}
