// SPDX-License-Identifier: Apache-2.0
// The listening port's thread: one epoll set, one turn after another. A turn takes the events, runs
// every connection that has something to do once, then what time has run out for, then what the
// loop asked for. No libuv here: connections want edges, so that a side that is not read costs no
// system call to be silenced. Rings keep connections in the order in which their time runs out, so
// that ten thousand idle ones cost nothing a turn.
#include "server/front.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "server/front_impl.h"
#include "server/log.h"

enum {
    BACKLOG = 4096, // the kernel cuts it to net.core.somaxconn
    EVENTS = 256,
    ACCEPTS = 64,        // a turn
    PAUSE_MS = 100,      // after descriptors ran out
    LINGER_MS = 2000,    // for the peer to close after us
    DRAIN_TICK_MS = 200, // looks for newcomers that are to hear GOAWAY
    CLOSE_TICK_MS = 10,
    GRPC_CLOSE_MS = 200, // gRPC closes its descriptors shortly after its server is gone
    CLOSE_MS = 1000,     // for the last bytes to leave
    // Descriptors: a greeted connection, a session (two inputs: process, ring, spool), a decode
    // process that waits, all else.
    PER_CONNECTION = 3,
    PER_SESSION = 16,
    PER_DECODER = 8,
    OTHERS = 96,
};

static int64_t clock_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

int64_t ls_front_streams_max(const struct ls_options *opt)
{
    return opt->streams_max ? opt->streams_max : 2 * opt->sessions_max + 100;
}

int64_t ls_front_message_bytes_max(const struct ls_options *opt)
{
    return 2 * opt->message_bytes_max;
}

// --- who is behind a descriptor ---

void ls_front_remember(struct ls_front *f, int fd, const struct ls_peer *peer)
{
    pthread_mutex_lock(&f->lock);
    if (fd >= f->peer_count) {
        int count = fd + 64;
        struct ls_peer *more = realloc(f->peers, (size_t)count * sizeof *more);

        if (more) {
            memset(more + f->peer_count, 0, (size_t)(count - f->peer_count) * sizeof *more);
            f->peers = more;
            f->peer_count = count;
        }
    }
    if (fd < f->peer_count) // else it is a stranger, and judged as one
        f->peers[fd] = *peer;
    pthread_mutex_unlock(&f->lock);
}

void ls_front_peer(struct ls_front *f, int fd, struct ls_peer *out)
{
    *out = (struct ls_peer){.loopback = false};
    pthread_mutex_lock(&f->lock);
    if (fd >= 0 && fd < f->peer_count)
        *out = f->peers[fd];
    pthread_mutex_unlock(&f->lock);
}

// --- accepting ---

// The one that costs least goes: what has ended, then who has said nothing, then who is idle, then
// who is slow to take the end.
static bool evict(struct ls_front *f, int cause)
{
    struct ls_link *const rings[] = {&f->linger, &f->hello, &f->idle, &f->leaving, &f->flush};

    for (size_t i = 0; i < sizeof rings / sizeof rings[0]; i++) {
        struct ls_conn *c = LS_LINK_FIRST(rings[i], place);

        if (c) {
            ls_conn_evict(c, cause);
            return true;
        }
    }
    return false;
}

// So that running sessions find a descriptor, too: several of those who have said nothing go, or
// one who is idle.
static void make_room(struct ls_front *f)
{
    for (int i = 0; i < PER_SESSION; i++) {
        bool silent = f->hello.next != &f->hello || f->linger.next != &f->linger;

        if ((i && !silent) || !evict(f, LS_CLOSE_FILES))
            return;
    }
}

static void refuse(struct ls_front *f, int fd, int cause, const char *why)
{
    if (fd >= 0)
        close(fd);
    ls_log_foreign(LS_LOG_WARN, "accept", why);
    ls_metrics_add(f->metrics, LS_COUNT_CONNECTIONS, 0, 0, 1);
    ls_metrics_add(f->metrics, LS_COUNT_CLOSED, cause, 0, 1);
}

static void watch_listener(struct ls_front *f, bool wanted)
{
    struct epoll_event event = {.events = wanted ? EPOLLIN : 0, .data.u64 = 2};

    epoll_ctl(f->epoll_fd, EPOLL_CTL_MOD, f->listen_fd, &event);
}

// Descriptors ran out. The one kept for this takes one caller and lets it go, so that it hears of
// it at once; then the others wait in the kernel's queue for a while.
static void survive(struct ls_front *f)
{
    char text[128];
    int fd;

    snprintf(text, sizeof text, "accept: %s; pausing", strerror(errno));
    if (f->spare_fd >= 0) {
        close(f->spare_fd);
        fd = accept4(f->listen_fd, NULL, NULL, SOCK_CLOEXEC);
        if (fd >= 0)
            refuse(f, fd, LS_CLOSE_FILES, text);
    } else {
        ls_log_foreign(LS_LOG_WARN, "accept", text);
    }
    f->spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    make_room(f);
    f->pause_until_ms = f->now_ms + PAUSE_MS;
    watch_listener(f, false);
}

static void accept_some(struct ls_front *f)
{
    for (int i = 0; i < ACCEPTS && f->listen_fd >= 0; i++) {
        struct sockaddr_storage address = {.ss_family = AF_UNSPEC};
        socklen_t size = sizeof address;
        int fd =
            accept4(f->listen_fd, (struct sockaddr *)&address, &size, SOCK_NONBLOCK | SOCK_CLOEXEC);

        if (fd < 0) {
            if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)
                survive(f);
            if (errno == ECONNABORTED || errno == EINTR)
                continue;
            return;
        }
        if (atomic_load(&f->count) >= f->connections_max && !evict(f, LS_CLOSE_FULL))
            refuse(f, fd, LS_CLOSE_FULL, "a connection is refused: all of --connections-max work");
        else
            ls_conn_new(f, fd, (struct sockaddr *)&address);
    }
}

// --- time ---

static int64_t earlier(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static int64_t first_of(const struct ls_link *ring, int64_t after_ms)
{
    const struct ls_conn *c = LS_LINK_FIRST(ring, place);

    return c ? c->since_ms + after_ms : INT64_MAX;
}

static int timeout(const struct ls_front *f)
{
    const struct ls_conn *late = LS_LINK_FIRST(&f->late, late);
    int64_t at = INT64_MAX;

    if (f->ready.next != &f->ready)
        return 0;
    at = earlier(at, first_of(&f->hello, f->opt->handshake_ms_max));
    at = earlier(at, first_of(&f->leaving, f->opt->flush_ms_max));
    at = earlier(at, first_of(&f->flush, f->opt->flush_ms_max));
    at = earlier(at, first_of(&f->linger, LINGER_MS));
    if (late)
        at = earlier(at, late->guard.since_ms + f->limits.headers_ms_max);
    if (f->pause_until_ms)
        at = earlier(at, f->pause_until_ms);
    if (f->draining && f->idle.next != &f->idle)
        at = earlier(at, f->now_ms + DRAIN_TICK_MS);
    if (f->close_ms)
        at = earlier(at, f->now_ms + CLOSE_TICK_MS);
    if (at == INT64_MAX)
        return -1;
    at = at - f->now_ms + 1; // the limit itself is still in time
    return at < 0 ? 0 : at > 60000 ? 60000 : (int)at;
}

static void close_older(struct ls_front *f, struct ls_link *ring, int64_t after_ms, int cause)
{
    for (struct ls_conn *c; (c = LS_LINK_FIRST(ring, place)) && f->now_ms - c->since_ms > after_ms;)
        ls_conn_close(c, cause);
}

static void expire(struct ls_front *f)
{
    close_older(f, &f->hello, f->opt->handshake_ms_max, LS_CLOSE_SLOW);
    close_older(f, &f->leaving, f->opt->flush_ms_max, LS_CLOSE_SERVER);
    close_older(f, &f->flush, f->opt->flush_ms_max, LS_CLOSE_PEER);
    close_older(f, &f->linger, LINGER_MS, LS_CLOSE_PEER);
    for (struct ls_conn *c;
         (c = LS_LINK_FIRST(&f->late, late)) && ls_guard_late(&c->guard, f->now_ms);) {
        if (c->to_rpc.size) { // gRPC does not read, and what is missing may have come
            ls_guard_excuse(&c->guard, f->now_ms);
            ls_link_enter(&f->late, &c->late);
        } else {
            ls_conn_verdict(c, LS_GUARD_HEADERS, NULL, 0);
        }
    }
    if (f->pause_until_ms && f->now_ms >= f->pause_until_ms) {
        f->pause_until_ms = 0;
        if (f->listen_fd >= 0)
            watch_listener(f, true);
    }
}

// --- what the loop asks for ---

static void each(struct ls_link *ring, void (*act)(struct ls_conn *c))
{
    // act may move the connection to another ring.
    for (struct ls_link *l = ring->next, *next; l != ring; l = next) {
        next = l->next;
        act((struct ls_conn *)((char *)l - offsetof(struct ls_conn, place)));
    }
}

static void mark_old(struct ls_conn *c)
{
    c->old = true;
}

static void end_conn(struct ls_conn *c)
{
    ls_conn_end(c, LS_CLOSE_SERVER);
}

static void close_conn(struct ls_conn *c)
{
    ls_conn_close(c, LS_CLOSE_SERVER);
}

static void stop_listening(struct ls_front *f)
{
    if (f->listen_fd >= 0)
        close(f->listen_fd);
    f->listen_fd = -1;
    f->pause_until_ms = 0;
    each(&f->hello, close_conn); // gRPC takes none any more
}

static void obey(struct ls_front *f)
{
    bool drain, stop, finish, end;

    pthread_mutex_lock(&f->lock);
    drain = f->want_drain;
    stop = f->want_stop;
    finish = f->want_finish;
    end = f->want_close;
    pthread_mutex_unlock(&f->lock);
    if (drain && !f->draining) {
        f->draining = true;
        each(&f->busy, mark_old);
        each(&f->idle, mark_old);
    }
    if (f->draining) {
        each(&f->busy, ls_conn_goaway);
        each(&f->idle, ls_conn_goaway);
    }
    if ((stop || end) && f->listen_fd >= 0)
        stop_listening(f);
    if (finish)
        each(&f->idle, ls_conn_finish);
    if (end && !f->close_ms)
        f->close_ms = f->now_ms;
    pthread_mutex_lock(&f->lock);
    f->is_stopped |= stop || end;
    pthread_cond_broadcast(&f->stopped);
    pthread_mutex_unlock(&f->lock);
}

// The thread ends: what gRPC said last goes out, then all is closed.
static void wind_down(struct ls_front *f)
{
    if (f->now_ms - f->close_ms > GRPC_CLOSE_MS) {
        each(&f->busy, end_conn);
        each(&f->idle, end_conn);
        each(&f->leaving, end_conn);
    }
    if (f->now_ms - f->close_ms > CLOSE_MS) {
        each(&f->flush, close_conn);
        each(&f->linger, close_conn);
    }
}

// --- turns ---

static void note_event(struct ls_front *f, const struct epoll_event *event)
{
    struct ls_conn *c = (struct ls_conn *)(uintptr_t)(event->data.u64 & ~(uint64_t)1);
    bool end = event->events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR);
    bool in = end || event->events & EPOLLIN;
    bool out = event->events & (EPOLLOUT | EPOLLHUP | EPOLLERR);

    if (c->state == LS_CONN_DEAD)
        return;
    if (event->data.u64 & 1) {
        c->rpc_in |= in;
        c->rpc_out |= out;
        c->rpc_end |= end;
    } else {
        c->peer_in |= in;
        c->peer_out |= out;
        c->peer_end |= end;
    }
    ls_link_enter(&f->ready, &c->ready);
}

static void take_events(struct ls_front *f, const struct epoll_event *events, int count)
{
    bool callers = false;
    uint64_t wakes;

    for (int i = 0; i < count; i++) {
        if (events[i].data.u64 == 2)
            callers = true;
        else if (events[i].data.u64 == 4)
            (void)!read(f->wake_fd, &wakes, sizeof wakes);
        else
            note_event(f, &events[i]);
    }
    if (callers && f->listen_fd >= 0)
        accept_some(f);
}

static void run_ready(struct ls_front *f)
{
    struct ls_link now;

    if (f->ready.next == &f->ready)
        return;
    // The ring as it is moves to a head of this turn; who wants more enters the next turn's.
    now = f->ready;
    now.prev->next = now.next->prev = &now;
    ls_link_init(&f->ready);
    for (struct ls_conn *c; (c = LS_LINK_FIRST(&now, ready));) {
        ls_link_leave(&c->ready);
        ls_conn_run(c);
    }
}

static void *run(void *arg)
{
    struct ls_front *f = arg;
    struct epoll_event events[EVENTS];

    prctl(PR_SET_NAME, "front");
    while (!f->close_ms || atomic_load(&f->count)) {
        int count = epoll_wait(f->epoll_fd, events, EVENTS, timeout(f));

        f->now_ms = clock_ms();
        take_events(f, events, count);
        run_ready(f);
        expire(f);
        obey(f);
        if (f->close_ms)
            wind_down(f);
        for (struct ls_conn *c; (c = LS_LINK_FIRST(&f->dead, place));)
            ls_conn_free(c);
    }
    return NULL;
}

// --- open and close ---

static void limit_connections(struct ls_front *f)
{
    const struct ls_options *opt = f->opt;
    int64_t room, others = OTHERS + PER_SESSION * opt->sessions_max +
                           PER_DECODER * opt->warm_decoders + opt->admin_connections_max;
    struct rlimit files;

    f->connections_max = (int)opt->connections_max;
    if (getrlimit(RLIMIT_NOFILE, &files) || files.rlim_cur == RLIM_INFINITY)
        return;
    room = ((int64_t)files.rlim_cur - others) / PER_CONNECTION;
    room = room < 1 ? 1 : room;
    if (room >= f->connections_max)
        return;
    ls_log(LS_LOG_WARN, "limits", NULL, 0,
           "%lld connections at once instead of %d (--connections-max): of %lld descriptors "
           "(RLIMIT_NOFILE) sessions need %lld, and a connection needs %d",
           (long long)room, f->connections_max, (long long)files.rlim_cur, (long long)others,
           PER_CONNECTION);
    f->connections_max = (int)room;
}

static void set_limits(struct ls_front *f)
{
    const struct ls_options *opt = f->opt;

    f->limits = (struct ls_guard_limits){
        .resets_max = opt->resets_max,
        .control_frames_max = opt->control_frames_max,
        // Somewhat larger ones are refused by gRPC, a call at a time and with a status.
        .header_bytes_max = 4 * opt->metadata_bytes_max,
        .headers_ms_max = opt->handshake_ms_max,
        .streams_max = ls_front_streams_max(opt),
        .message_bytes_max = ls_front_message_bytes_max(opt),
    };
    limit_connections(f);
}

static int make_set(struct ls_front *f, struct ls_err *err)
{
    struct epoll_event listener = {.events = EPOLLIN, .data.u64 = 2};
    struct epoll_event wake = {.events = EPOLLIN, .data.u64 = 4};

    f->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    f->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    f->spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (f->epoll_fd < 0 || f->wake_fd < 0 ||
        epoll_ctl(f->epoll_fd, EPOLL_CTL_ADD, f->listen_fd, &listener) ||
        epoll_ctl(f->epoll_fd, EPOLL_CTL_ADD, f->wake_fd, &wake))
        return ls_fail(err, LS_EIO, "the listening port: %s", strerror(errno));
    return 0;
}

// Signals are the loop's.
static int start_thread(struct ls_front *f, struct ls_err *err)
{
    sigset_t all, before;
    int r;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    r = pthread_create(&f->thread, NULL, run, f);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return r ? ls_fail(err, LS_ENOMEM, "a thread for the port: %s", strerror(r)) : 0;
}

static void free_front(struct ls_front *f)
{
    int *const fds[] = {&f->epoll_fd, &f->wake_fd, &f->listen_fd, &f->spare_fd};

    for (size_t i = 0; i < sizeof fds / sizeof fds[0]; i++)
        if (*fds[i] >= 0)
            close(*fds[i]);
    pthread_cond_destroy(&f->stopped);
    pthread_mutex_destroy(&f->lock);
    free(f->peers);
    free(f);
}

int ls_front_open(struct ls_front **out, const struct ls_options *opt, struct ls_tls *tls,
                  struct ls_metrics *metrics, void (*on_socket)(void *user, int fd), void *user,
                  struct ls_err *err)
{
    char address[LS_ADDRESS_SIZE];
    int r, fd = ls_listen(address, opt->listen, "listen", BACKLOG, err);
    struct ls_front *f;

    if (fd < 0)
        return fd;
    f = calloc(1, sizeof *f);
    if (!f) {
        close(fd);
        return ls_fail(err, LS_ENOMEM, "listening on %s", opt->listen);
    }
    f->opt = opt;
    f->tls = tls;
    f->metrics = metrics;
    f->on_socket = on_socket;
    f->user = user;
    f->listen_fd = fd;
    f->epoll_fd = f->wake_fd = f->spare_fd = -1;
    f->now_ms = clock_ms();
    pthread_mutex_init(&f->lock, NULL);
    pthread_cond_init(&f->stopped, NULL);
    struct ls_link *const rings[] = {&f->hello,  &f->idle, &f->busy, &f->leaving, &f->flush,
                                     &f->linger, &f->dead, &f->late, &f->ready};
    for (size_t i = 0; i < sizeof rings / sizeof rings[0]; i++)
        ls_link_init(rings[i]);
    strcpy(f->address, address);
    set_limits(f);
    r = make_set(f, err);
    if (r == 0)
        r = start_thread(f, err);
    if (r < 0)
        free_front(f);
    else
        *out = f;
    return r;
}

const char *ls_front_address(const struct ls_front *f)
{
    return f->address;
}

int ls_front_connections(const struct ls_front *f)
{
    return atomic_load(&f->count);
}

// Tells the thread to look at what is wanted of it; the lock is held.
static void wake(struct ls_front *f, bool *wanted)
{
    uint64_t one = 1;

    *wanted = true;
    (void)!write(f->wake_fd, &one, sizeof one);
}

void ls_front_drain(struct ls_front *f)
{
    pthread_mutex_lock(&f->lock);
    wake(f, &f->want_drain);
    pthread_mutex_unlock(&f->lock);
}

void ls_front_stop(struct ls_front *f)
{
    pthread_mutex_lock(&f->lock);
    wake(f, &f->want_stop);
    while (!f->is_stopped)
        pthread_cond_wait(&f->stopped, &f->lock);
    pthread_mutex_unlock(&f->lock);
}

void ls_front_finish(struct ls_front *f)
{
    pthread_mutex_lock(&f->lock);
    wake(f, &f->want_finish);
    pthread_mutex_unlock(&f->lock);
}

void ls_front_close(struct ls_front **front)
{
    struct ls_front *f = *front;

    if (!f)
        return;
    *front = NULL;
    pthread_mutex_lock(&f->lock);
    wake(f, &f->want_close);
    pthread_mutex_unlock(&f->lock);
    pthread_join(f->thread, NULL);
    free_front(f);
}
