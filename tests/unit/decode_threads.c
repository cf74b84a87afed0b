// SPDX-License-Identifier: Apache-2.0
// The end of decode threads: a thread ends when its pipes are closed, and one that does not is not
// waited for without a limit.
#include <sys/socket.h>
#include <unistd.h>

#include "_check.h"
#include "server/decode_impl.h"
#include "server/video_device.h"

// A thread that waits for its job. ends: the caller's sides of its pipes.
static bool start(struct ls_decode_thread **out, struct ls_decode_threads *threads, int ends[2])
{
    int control[2], events[2];

    if (!CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, control) == 0, "control") ||
        !CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, events) == 0, "events"))
        return false;
    ends[0] = control[0];
    ends[1] = events[0];
    return CHECK(ls_decode_thread_start(out, threads, control[1], events[1], dup(0), NULL) == 0,
                 "a thread");
}

int main(void)
{
    static struct ls_decode_threads *left; // leak checkers see that it is known
    const struct ls_video_device device = {.backend = NULL};
    struct ls_decode_threads *threads = NULL;
    struct ls_decode_thread *thread = NULL;
    int ends[2];
    char byte;

    if (!CHECK(ls_decode_threads_new(&threads, &device, NULL) == 0, "new") ||
        !start(&thread, threads, ends))
        return check_done();
    ls_decode_thread_drop(&thread);
    close(ends[0]);
    close(ends[1]);
    CHECK(ls_decode_threads_free(&threads, 20000) && !threads, "ended: waited for");

    if (!CHECK(ls_decode_threads_new(&threads, &device, NULL) == 0, "new") ||
        !start(&thread, threads, ends))
        return check_done();
    left = threads;
    CHECK(!ls_decode_threads_free(&threads, 50) && !threads, "hanging: left behind");
    ls_decode_thread_drop(&thread);
    close(ends[0]);
    CHECK(read(ends[1], &byte, 1) == 0, "it ends when its pipes do");
    close(ends[1]);
    CHECK(ls_decode_threads_free(&left, 20000), "and is waited for then");
    return check_done();
}
