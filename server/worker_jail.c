// SPDX-License-Identifier: Apache-2.0
// The decode process's sandbox (worker_jail.h). The list was found by running every kind of input
// through a traced process; what a decoder asks for beyond it is a fault of ours or of an input.
// Files are neither opened nor made, nothing is executed, no memory becomes code, no process is
// started or reached, no socket made. What surprises: gettid and tgkill are there, for the C
// library's abort, so that the server still hears of SIGABRT where the heap was found damaged.
#include "server/worker_jail.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <linux/seccomp.h>
#include <seccomp.h>

#include "server/decode_wire.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#else
#define SANITIZED 0
#endif

// With any arguments.
static const int any[] = {
    SCMP_SYS(munmap),
    SCMP_SYS(mremap),
    SCMP_SYS(brk),
    SCMP_SYS(madvise),
    SCMP_SYS(poll),
    SCMP_SYS(ppoll),
    SCMP_SYS(futex),
    SCMP_SYS(clock_gettime),
    SCMP_SYS(gettimeofday),
    SCMP_SYS(nanosleep),
    SCMP_SYS(clock_nanosleep),
    SCMP_SYS(getrandom),
    SCMP_SYS(rt_sigreturn),
    SCMP_SYS(rt_sigprocmask),
    SCMP_SYS(restart_syscall),
    SCMP_SYS(sched_yield),
    SCMP_SYS(sched_getaffinity),
    SCMP_SYS(sysinfo), // qsort of more than 1 KB asks how much memory there is (glibc up to 2.36)
    SCMP_SYS(getpid),
    SCMP_SYS(gettid),
    SCMP_SYS(exit),
    SCMP_SYS(exit_group),
};

// Answered with "no permission".
static const int refused[] = {SCMP_SYS(open),   SCMP_SYS(openat),     SCMP_SYS(stat),
                              SCMP_SYS(access), SCMP_SYS(newfstatat), SCMP_SYS(readlink)};

// On one descriptor.
static const struct {
    int call, fd;
} on[] = {
    {SCMP_SYS(read), 0},
    {SCMP_SYS(write), 1},
    {SCMP_SYS(writev), 1},
    {SCMP_SYS(write), 2},
    {SCMP_SYS(writev), 2},
    {SCMP_SYS(pread64), LS_WIRE_FD_SPOOL},
    {SCMP_SYS(pwrite64), LS_WIRE_FD_SPOOL},
    {SCMP_SYS(ftruncate), LS_WIRE_FD_SPOOL},
};

int ls_jail_possible(struct ls_err *err)
{
    unsigned action = SECCOMP_RET_KILL_PROCESS;

    if (SANITIZED)
        return ls_fail(err, LS_EIO, "this build has a sanitizer, which needs more system calls");
    if (prctl(PR_GET_SECCOMP, 0, 0, 0, 0) < 0 ||
        syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &action) < 0)
        return ls_fail(err, LS_EIO, "seccomp filters: %s", strerror(errno));
    return 0;
}

static int limit(int what, int64_t value)
{
    struct rlimit r = {(rlim_t)value, (rlim_t)value};

    return setrlimit(what, &r);
}

static int add_rules(scmp_filter_ctx filter)
{
    int r = 0;

    for (size_t i = 0; i < sizeof any / sizeof *any && r == 0; i++)
        r = seccomp_rule_add(filter, SCMP_ACT_ALLOW, any[i], 0);
    for (size_t i = 0; i < sizeof refused / sizeof *refused && r == 0; i++)
        r = seccomp_rule_add(filter, SCMP_ACT_ERRNO(EACCES), refused[i], 0);
    for (size_t i = 0; i < sizeof on / sizeof *on && r == 0; i++)
        r = seccomp_rule_add(filter, SCMP_ACT_ALLOW, on[i].call, 1,
                             SCMP_A0(SCMP_CMP_EQ, (scmp_datum_t)on[i].fd));
    if (r == 0)
        r = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(mmap), 1,
                             SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0));
    if (r == 0)
        r = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(mprotect), 1,
                             SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0));
    if (r == 0)
        r = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(tgkill), 2,
                             SCMP_A0(SCMP_CMP_EQ, (scmp_datum_t)getpid()),
                             SCMP_A2(SCMP_CMP_EQ, SIGABRT));
    return r;
}

int ls_jail_close(int64_t file_bytes_max, struct ls_err *err)
{
    scmp_filter_ctx filter;
    int r;

    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0 ||
        limit(RLIMIT_NPROC, 0) < 0 || limit(RLIMIT_FSIZE, file_bytes_max) < 0)
        return ls_fail(err, LS_EIO, "limits: %s", strerror(errno));
    filter = seccomp_init(SCMP_ACT_KILL_PROCESS);
    if (!filter)
        return ls_fail(err, LS_ENOMEM, "no memory for a seccomp filter");
    r = add_rules(filter);
    if (r == 0)
        r = seccomp_load(filter);
    seccomp_release(filter);
    if (r < 0)
        return ls_fail(err, LS_EIO, "seccomp filter: %s", strerror(-r));
    return 0;
}
