// SPDX-License-Identifier: Apache-2.0
// systemd's readiness protocol, which its manual wants to be easy to speak without its library.
// Loop thread. A message that cannot be sent is dropped: the service runs on without systemd, too.
#include "server/notify.h"

#include <inttypes.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include <uv.h>

struct ls_notify {
    int fd;
    struct sockaddr_un to;
    socklen_t to_size;
    uv_timer_t alive;
};

static void say(const struct ls_notify *n, const char *text)
{
    ssize_t sent = sendto(n->fd, text, strlen(text), MSG_NOSIGNAL | MSG_DONTWAIT,
                          (const struct sockaddr *)&n->to, n->to_size);

    (void)sent;
}

static void on_alive(uv_timer_t *timer)
{
    say(timer->data, "WATCHDOG=1");
}

// A file's path, or "@name" for one without a file; anything else is another kind of socket.
static int set_address(struct ls_notify *n, const char *path)
{
    size_t size = strlen(path);

    if ((path[0] != '/' && path[0] != '@') || size >= sizeof n->to.sun_path)
        return -1;
    n->to.sun_family = AF_UNIX;
    memcpy(n->to.sun_path, path, size);
    if (path[0] == '@')
        n->to.sun_path[0] = '\0';
    n->to_size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + size);
    return 0;
}

// Half of what systemd waits for, in ms; 0: it does not wait.
static uint64_t watchdog_ms(void)
{
    const char *us = getenv("WATCHDOG_USEC"), *pid = getenv("WATCHDOG_PID");

    if (!us || (pid && strtoll(pid, NULL, 10) != getpid()))
        return 0;
    return strtoull(us, NULL, 10) / 2000;
}

void ls_notify_open(struct ls_notify **out, struct uv_loop_s *loop)
{
    const char *path = getenv("NOTIFY_SOCKET");
    struct ls_notify *n = path ? calloc(1, sizeof *n) : NULL;
    uint64_t ms = watchdog_ms();

    *out = NULL;
    if (n && set_address(n, path) == 0) {
        n->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        if (n->fd >= 0) {
            uv_timer_init(loop, &n->alive);
            n->alive.data = n;
            uv_unref((uv_handle_t *)&n->alive);
            if (ms)
                uv_timer_start(&n->alive, on_alive, ms, ms);
            *out = n;
        }
    }
    if (!*out)
        free(n);
    unsetenv("NOTIFY_SOCKET");
    unsetenv("WATCHDOG_USEC");
    unsetenv("WATCHDOG_PID");
}

void ls_notify_ready(struct ls_notify *n, const char *text)
{
    char message[512];

    if (!n)
        return;
    snprintf(message, sizeof message, "READY=1\nSTATUS=%s", text);
    say(n, message);
}

void ls_notify_reloading(struct ls_notify *n)
{
    struct timespec now;
    char message[80];

    if (!n)
        return;
    clock_gettime(CLOCK_MONOTONIC, &now);
    snprintf(message, sizeof message, "RELOADING=1\nMONOTONIC_USEC=%" PRId64,
             (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000);
    say(n, message);
}

void ls_notify_stopping(struct ls_notify *n)
{
    if (n)
        say(n, "STOPPING=1\nSTATUS=draining");
}

static void on_closed(uv_handle_t *handle)
{
    struct ls_notify *n = handle->data;

    close(n->fd);
    free(n);
}

void ls_notify_close(struct ls_notify **notify)
{
    struct ls_notify *n = *notify;

    if (!n)
        return;
    *notify = NULL;
    uv_close((uv_handle_t *)&n->alive, on_closed);
}
