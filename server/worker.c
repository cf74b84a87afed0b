// SPDX-License-Identifier: Apache-2.0
// lipstream-decode: decodes one input for lipstreamd and ends. Started by decode_pool.c with five
// descriptors and three words: the bytes of memory that it may have, those of the spool file, and
// whether system calls are filtered ("jail") or not ("open"). It locks itself in first
// (memory, core dumps, no new descriptors, worker_jail.c), waits for its job, and dies with the
// server's loop thread. One thread; nothing here outlives the input.
#include "worker.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "server/worker_jail.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1 // shadow memory alone is terabytes of address space
#else
#define SANITIZED 0
#endif

static int64_t address_space(void)
{
    FILE *f = fopen("/proc/self/statm", "re");
    long long pages = 0;

    if (f) {
        if (fscanf(f, "%lld", &pages) != 1)
            pages = 0;
        fclose(f);
    }
    return pages * sysconf(_SC_PAGESIZE);
}

static int limit(int what, int64_t value)
{
    struct rlimit r = {(rlim_t)value, (rlim_t)value};

    return setrlimit(what, &r);
}

static int lock_in(int64_t memory_bytes)
{
    int fd, r = 0;

    for (fd = LS_WIRE_FD_RING + 1; fd < 64; fd++)
        close(fd); // the server's are all close-on-exec; this is the belt
    signal(SIGPIPE, SIG_IGN);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    r |= prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    // The libraries' own mappings are no fault of the input: the limit counts from here.
    if (!SANITIZED)
        r |= limit(RLIMIT_AS, address_space() + memory_bytes);
    r |= limit(RLIMIT_CORE, 0);
    if (!SANITIZED)
        r |= limit(RLIMIT_NOFILE, LS_WIRE_FD_RING + 1);
    return r;
}

int main(int argc, char **argv)
{
    static struct ls_worker worker = {
        .control = 0, .events = 1, .spool = LS_WIRE_FD_SPOOL, .ring_file = LS_WIRE_FD_RING};

    struct ls_err err = {0};

    if (argc != 4 || lock_in(strtoll(argv[1], NULL, 10)) != 0) {
        fprintf(stderr, "lipstream-decode is started by lipstreamd\n");
        return 2;
    }
    if (!strcmp(argv[3], "jail") && ls_jail_close(strtoll(argv[2], NULL, 10), &err) < 0) {
        fprintf(stderr, "cannot lock itself in: %s\n", err.text);
        return 2;
    }
    av_log_set_callback(ls_worker_log);
    ls_worker_run(&worker);
    return 0;
}
