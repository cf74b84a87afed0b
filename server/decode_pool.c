// SPDX-License-Identifier: Apache-2.0
// Starts decode processes, keeps some that wait for work, and buries them: a killed process is
// waited for, whoever used it. Loop thread. A process gets five descriptors and almost no
// environment, since it will read a stranger's bytes. It is started when the loop is idle after one
// was taken, so that opening a decoder costs no fork unless the pool is empty.
#include "decode_impl.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "server/log.h"
#include "server/worker_jail.h"

struct ls_decode_pool {
    struct uv_loop_s *loop;
    const struct ls_options *opt;
    struct ls_decode_threads *threads; // NULL: no device for frames
    char *path;
    struct ls_decode_proc *idle;
    int idle_count, live;
    int64_t spooled;
    bool jail;    // processes lock themselves in
    int failures; // starts that failed in a row: no endless trying
    uv_timer_t refill;
    bool closed, timer_closed;
};

static void free_pool(struct ls_decode_pool *pool)
{
    if (!pool->closed || !pool->timer_closed || pool->live > 0)
        return;
    free(pool->path);
    free(pool);
}

static void free_proc(struct ls_decode_proc *p)
{
    struct ls_decode_pool *pool = p->pool;

    if (p->spool_fd >= 0)
        close(p->spool_fd);
    if (p->ring_fd >= 0)
        close(p->ring_fd);
    free(p);
    pool->live--;
    free_pool(pool);
}

static void on_closed(uv_handle_t *handle)
{
    struct ls_decode_proc *p = handle->data;

    if (--p->handles == 0)
        free_proc(p);
}

static void drop_pipes(struct ls_decode_proc *p)
{
    p->dropped = true;
    p->on_exit = NULL;
    uv_close((uv_handle_t *)&p->control, on_closed);
    uv_close((uv_handle_t *)&p->events, on_closed);
    uv_close((uv_handle_t *)&p->errors, on_closed);
}

// The process handle is closed here and nowhere else: libuv waits only for processes with a handle.
static void on_process_exit(uv_process_t *process, int64_t status, int signal)
{
    struct ls_decode_proc *p = process->data, **at;

    p->exited = true;
    p->exit_status = status;
    p->term_signal = signal;
    uv_close((uv_handle_t *)process, on_closed);
    for (at = &p->pool->idle; *at; at = &(*at)->next) {
        if (*at == p) { // it died without ever having had work
            *at = p->next;
            p->pool->idle_count--;
            p->pool->failures++;
            drop_pipes(p);
            return;
        }
    }
    if (p->on_exit)
        p->on_exit(p->user);
}

static void on_error_alloc(uv_handle_t *handle, size_t size, uv_buf_t *buf)
{
    struct ls_decode_proc *p = handle->data;

    (void)size;
    *buf = uv_buf_init(p->line_buffer, sizeof p->line_buffer);
}

static void on_error_text(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    struct ls_decode_proc *p = stream->data;
    ssize_t i;

    if (n < 0) {
        uv_read_stop(stream);
        return;
    }
    for (i = 0; i < n; i++) {
        char c = buf->base[i];

        if (c == '\n') {
            p->line_size = 0; // the next character starts a new line over the old one
        } else if (p->line_size + 1 < sizeof p->last_line) {
            p->last_line[p->line_size++] = c >= ' ' && c <= '~' ? c : '?';
            p->last_line[p->line_size] = '\0';
        }
    }
}

static int open_spool(const char *dir)
{
    static int count; // one loop thread
    char name[PATH_MAX];
    int fd = open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

    if (fd >= 0 || (errno != EOPNOTSUPP && errno != EISDIR && errno != EINVAL))
        return fd;
    // A file system without O_TMPFILE (overlayfs of old kernels, NFS).
    snprintf(name, sizeof name, "%s/.lipstream-%ld-%d", dir, (long)getpid(), count++);
    fd = open(name, O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0600);
    if (fd >= 0)
        unlink(name);
    return fd;
}

// What there is too little of comes again: the caller may try later.
static int error_code(int error)
{
    return error == EMFILE || error == ENFILE || error == ENOSPC || error == EAGAIN ||
                   error == ENOMEM
               ? LS_EFULL
               : LS_EIO;
}

// The pipe ends and files of a process that is about to start.
static int open_files(struct ls_decode_proc *p, struct ls_err *err)
{
    p->spool_fd = open_spool(p->pool->opt->spool_dir);
    if (p->spool_fd < 0)
        return ls_fail(err, error_code(errno), "no spool file in %s: %s", p->pool->opt->spool_dir,
                       strerror(errno));
    p->ring_fd = memfd_create("lipstream-ring", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (p->ring_fd < 0)
        return ls_fail(err, error_code(errno), "no shared memory: %s", strerror(errno));
    return 0;
}

enum { ENVIRONMENT_MAX = 8 };

static void keep_environment(char **env, char texts[ENVIRONMENT_MAX][512])
{
    static const char *const names[] = {"LD_LIBRARY_PATH", "ASAN_OPTIONS", "UBSAN_OPTIONS",
                                        "LSAN_OPTIONS"};
    size_t i, n = 0;

    for (i = 0; i < sizeof names / sizeof *names; i++) {
        const char *value = getenv(names[i]);

        if (!value)
            continue;
        snprintf(texts[n], 512, "%s=%s", names[i], value);
        env[n] = texts[n];
        n++;
    }
    env[n] = NULL;
}

static int spawn(struct ls_decode_proc *p)
{
    const struct ls_options *opt = p->pool->opt;
    char memory[24], file[24], texts[ENVIRONMENT_MAX][512];
    char jail[] = "jail", open[] = "open";
    char *argv[] = {p->pool->path, memory, file, p->pool->jail ? jail : open, NULL};
    char *env[ENVIRONMENT_MAX + 1];
    uv_stdio_container_t stdio[5] = {
        {.flags = UV_CREATE_PIPE | UV_READABLE_PIPE, .data.stream = (uv_stream_t *)&p->control},
        {.flags = UV_CREATE_PIPE | UV_WRITABLE_PIPE, .data.stream = (uv_stream_t *)&p->events},
        {.flags = UV_CREATE_PIPE | UV_WRITABLE_PIPE, .data.stream = (uv_stream_t *)&p->errors},
        {.flags = UV_INHERIT_FD, .data.fd = p->spool_fd},
        {.flags = UV_INHERIT_FD, .data.fd = p->ring_fd},
    };
    uv_process_options_t options = {.exit_cb = on_process_exit,
                                    .file = p->pool->path,
                                    .args = argv,
                                    .env = env,
                                    .cwd = "/",
                                    .stdio_count = 5,
                                    .stdio = stdio};

    snprintf(memory, sizeof memory, "%lld", (long long)opt->decoder_bytes_max);
    snprintf(file, sizeof file, "%lld", (long long)opt->spool_bytes_max);
    keep_environment(env, texts);
    return uv_spawn(p->pool->loop, &p->process, &options);
}

static int start(struct ls_decode_proc **out, struct ls_decode_pool *pool, struct ls_err *err)
{
    struct ls_decode_proc *p = calloc(1, sizeof *p);
    int r;

    if (!p)
        return ls_fail(err, LS_ENOMEM, "no memory for a decode process");
    p->pool = pool;
    p->spool_fd = p->ring_fd = -1;
    p->process.data = p->control.data = p->events.data = p->errors.data = p;
    pool->live++;
    r = open_files(p, err);
    if (r < 0) {
        free_proc(p);
        return r;
    }
    uv_pipe_init(pool->loop, &p->control, 0);
    uv_pipe_init(pool->loop, &p->events, 0);
    uv_pipe_init(pool->loop, &p->errors, 0);
    p->handles = 4;
    r = spawn(p);
    if (r < 0) {
        r = ls_fail(err, error_code(-r) == LS_EFULL ? LS_EFULL : LS_EDECODER,
                    "%s does not start: %s", pool->path, uv_strerror(r));
        // A handle that failed to start must be closed all the same.
        uv_close((uv_handle_t *)&p->process, on_closed);
        drop_pipes(p);
        return r;
    }
    uv_read_start((uv_stream_t *)&p->errors, on_error_alloc, on_error_text);
    *out = p;
    return 0;
}

// A pipe end of the server, the other one is the thread's.
static int open_pair(uv_pipe_t *pipe, int *other, struct ls_err *err)
{
    int pair[2], r;

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
        return ls_fail(err, error_code(errno), "a decode thread's pipe: %s", strerror(errno));
    r = uv_pipe_open(pipe, pair[0]);
    if (r < 0) {
        close(pair[0]);
        close(pair[1]);
        return ls_fail(err, LS_EIO, "a decode thread's pipe: %s", uv_strerror(r));
    }
    *other = pair[1];
    return 0;
}

// No thread waits ahead: to start one is quick.
static int start_thread(struct ls_decode_proc **out, struct ls_decode_pool *pool,
                        struct ls_err *err)
{
    struct ls_decode_proc *p = calloc(1, sizeof *p);
    int control = -1, events = -1, spool, r;

    if (!p)
        return ls_fail(err, LS_ENOMEM, "no memory for a decode thread");
    p->pool = pool;
    p->ring_fd = -1;
    p->exited = true; // there is no process: its end is the end of its events
    p->control.data = p->events.data = p->errors.data = p;
    pool->live++;
    uv_pipe_init(pool->loop, &p->control, 0);
    uv_pipe_init(pool->loop, &p->events, 0);
    uv_pipe_init(pool->loop, &p->errors, 0);
    p->handles = 3;
    p->spool_fd = open_spool(pool->opt->spool_dir);
    spool = p->spool_fd < 0 ? -1 : fcntl(p->spool_fd, F_DUPFD_CLOEXEC, 0);
    r = spool < 0 ? ls_fail(err, error_code(errno), "no spool file in %s: %s", pool->opt->spool_dir,
                            strerror(errno))
                  : open_pair(&p->control, &control, err);
    if (r == 0)
        r = open_pair(&p->events, &events, err);
    if (r == 0)
        r = ls_decode_thread_start(&p->thread, pool->threads, control, events, spool, err);
    else if (spool >= 0)
        close(spool);
    if (r < 0) {
        if (events < 0 && control >= 0)
            close(control);
        drop_pipes(p);
        return r;
    }
    *out = p;
    return 0;
}

static void on_refill(uv_timer_t *timer)
{
    struct ls_decode_pool *pool = timer->data;
    struct ls_decode_proc *p;

    if (pool->idle_count >= pool->opt->warm_decoders || pool->failures > 3)
        return;
    if (start(&p, pool, NULL) < 0) {
        pool->failures++;
        return;
    }
    p->next = pool->idle;
    pool->idle = p;
    if (++pool->idle_count < pool->opt->warm_decoders)
        uv_timer_start(timer, on_refill, 1, 0); // one a turn: the loop is held for one fork at most
}

// Whether processes are to lock themselves in; negative: they must and cannot.
static int choose_jail(const struct ls_options *opt, struct ls_err *err)
{
    const char *how = opt->sandbox ? opt->sandbox : "auto";
    struct ls_err why = {0};

    if (!strcmp(how, "none"))
        return 0;
    if (ls_jail_possible(&why) == 0)
        return 1;
    if (!strcmp(how, "required"))
        return ls_fail(err, LS_EIO, "--sandbox required: %s", why.text);
    ls_log(LS_LOG_WARN, "sandbox", NULL, 0, "decode processes may make any system call: %s",
           why.text);
    return 0;
}

int ls_decode_pool_open(struct ls_decode_pool **out, struct uv_loop_s *loop, const char *path,
                        const struct ls_options *opt, const struct ls_video_device *device,
                        struct ls_err *err)
{
    char *full = realpath(path, NULL); // a process starts in "/"
    struct ls_decode_pool *pool;
    int jail;

    if (!full || access(full, X_OK) != 0) {
        free(full);
        return ls_fail(err, LS_EIO, "decoder %s: %s", path, strerror(errno));
    }
    jail = choose_jail(opt, err);
    if (jail < 0) {
        free(full);
        return jail;
    }
    pool = calloc(1, sizeof *pool);
    if (!pool) {
        free(full);
        return ls_fail(err, LS_ENOMEM, "no memory for decode processes");
    }
    if (device && ls_decode_threads_new(&pool->threads, device, err) < 0) {
        free(full);
        free(pool);
        return LS_ENOMEM;
    }
    // libuv writes to a pipe whose process has just ended; that is an error code, no reason to die.
    signal(SIGPIPE, SIG_IGN);
    pool->loop = loop;
    pool->opt = opt;
    pool->path = full;
    pool->jail = jail;
    pool->refill.data = pool;
    uv_timer_init(loop, &pool->refill);
    uv_timer_start(&pool->refill, on_refill, 0, 0);
    *out = pool;
    return 0;
}

static void on_timer_closed(uv_handle_t *handle)
{
    struct ls_decode_pool *pool = handle->data;

    pool->timer_closed = true;
    free_pool(pool);
}

bool ls_decode_pool_close(struct ls_decode_pool **at)
{
    struct ls_decode_pool *pool = *at;

    if (!pool)
        return true;
    *at = NULL;
    pool->closed = true;
    uv_close((uv_handle_t *)&pool->refill, on_timer_closed);
    while (pool->idle) {
        struct ls_decode_proc *p = pool->idle;

        pool->idle = p->next;
        ls_decode_proc_drop(&p);
    }
    pool->idle_count = 0;
    return ls_decode_threads_free(&pool->threads, pool->opt->decoder_stuck_ms_max);
}

int ls_decode_pool_live(const struct ls_decode_pool *pool)
{
    return pool->live;
}

int ls_decode_pool_idle(const struct ls_decode_pool *pool)
{
    return pool->idle_count;
}

int64_t ls_decode_pool_spooled(const struct ls_decode_pool *pool)
{
    return pool->spooled;
}

bool ls_decode_pool_full(const struct ls_decode_pool *pool)
{
    return pool->spooled > pool->opt->spool_total_bytes_max - pool->opt->feed_bytes_ahead;
}

void ls_decode_pool_spool(struct ls_decode_pool *pool, int64_t delta)
{
    pool->spooled += delta;
}

const struct ls_options *ls_decode_pool_options(const struct ls_decode_pool *pool)
{
    return pool->opt;
}

struct uv_loop_s *ls_decode_pool_loop(const struct ls_decode_pool *pool)
{
    return pool->loop;
}

int ls_decode_proc_take(struct ls_decode_proc **out, struct ls_decode_pool *pool, bool on_device,
                        struct ls_err *err)
{
    struct ls_decode_proc *p = pool->idle;

    if (on_device)
        return pool->threads ? start_thread(out, pool, err)
                             : ls_fail(err, LS_EINTERNAL, "no device to decode to");
    if (!p) {
        int r = start(&p, pool, err);

        if (r < 0)
            return r;
    } else {
        pool->idle = p->next;
        pool->idle_count--;
    }
    p->next = NULL;
    pool->failures = 0;
    uv_timer_start(&pool->refill, on_refill, 1, 0);
    *out = p;
    return 0;
}

void ls_decode_proc_kill(struct ls_decode_proc *p)
{
    if (!p->exited)
        uv_process_kill(&p->process, SIGKILL);
}

void ls_decode_proc_drop(struct ls_decode_proc **at)
{
    struct ls_decode_proc *p = *at;

    if (!p)
        return;
    *at = NULL;
    ls_decode_proc_kill(p);
    drop_pipes(p);
    ls_decode_thread_drop(&p->thread);
}
