// SPDX-License-Identifier: Apache-2.0
// The decode process's sandbox: a child locks itself in and tries one thing; what decoding needs
// works, everything else ends the child by SIGSYS. A child has the descriptors of a decode process.
#include "server/worker_jail.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "server/decode_wire.h"
#include "tests/unit/_check.h"

enum { FILE_BYTES = 65536 };

// --- what decoding needs: true if it worked ---

static bool memory(void)
{
    char *small = malloc(100), *large = malloc(50 << 20);
    char *map;

    if (!small || !large)
        return false;
    memset(large, 1, 50 << 20);
    large = realloc(large, 80 << 20);
    if (!large)
        return false;
    free(large);
    free(small);
    map = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_SHARED, LS_WIRE_FD_RING, 0);
    if (map == MAP_FAILED)
        return false;
    map[5] = 1;
    return mprotect(map, 4096, PROT_READ) == 0 && munmap(map, 1 << 20) == 0;
}

static bool pipes(void)
{
    struct pollfd fd = {0, POLLIN, 0};
    struct iovec part = {(void *)(uintptr_t) "ab", 2};
    char c;

    return poll(&fd, 1, 1000) == 1 && read(0, &c, 1) == 1 && c == 'x' && write(1, "y", 1) == 1 &&
           writev(1, &part, 1) == 2 && fprintf(stderr, "%s\n", "last words") == 11;
}

static bool spool(void)
{
    char text[4];

    return pwrite(LS_WIRE_FD_SPOOL, "abcd", 4, 1000) == 4 &&
           pread(LS_WIRE_FD_SPOOL, text, 4, 1000) == 4 && !memcmp(text, "abcd", 4) &&
           ftruncate(LS_WIRE_FD_SPOOL, 500) == 0;
}

static bool clocks(void)
{
    struct timespec t = {0, 1000};

    return clock_gettime(CLOCK_MONOTONIC, &t) == 0 && time(NULL) > 0;
}

static int compare(const void *a, const void *b)
{
    return *(const int *)a - *(const int *)b;
}

// The C library asks how much memory there is before it sorts more than a kilobyte (glibc 2.36).
static bool sorts(void)
{
    static int numbers[1000];

    for (int i = 0; i < 1000; i++)
        numbers[i] = i * 7 % 1000;
    qsort(numbers, 1000, sizeof numbers[0], compare);
    return numbers[0] == 0 && numbers[999] == 999;
}

// Refused, and life goes on.
static bool files(void)
{
    return open("/dev/null", O_RDONLY) == -1 && errno == EACCES &&
           open("/tmp/x", O_CREAT | O_RDWR, 0600) == -1 && !fopen("/proc/cpuinfo", "r") &&
           access("/", F_OK) == -1;
}

// --- what ends it ---

static bool try_unlink(void)
{
    return unlink("/tmp/nothing of that name") == 0;
}
static bool try_memfd(void)
{
    return memfd_create("x", 0) >= 0;
}
static bool try_socket(void)
{
    return socket(AF_INET, SOCK_STREAM, 0) >= 0;
}
static bool try_unix(void)
{
    int pair[2];

    return socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0;
}
static bool try_exec(void)
{
    char *argv[] = {(char *)(uintptr_t) "true", NULL};

    return execv("/bin/true", argv) == 0;
}
static bool try_fork(void)
{
    return fork() >= 0;
}
static void *nothing(void *user)
{
    return user;
}
static bool try_thread(void)
{
    pthread_t thread;

    return pthread_create(&thread, NULL, nothing, NULL) == 0;
}
static bool try_kill(void)
{
    return kill(getppid(), 0) == 0;
}
static bool try_tgkill(void)
{
    return syscall(SYS_tgkill, getpid(), syscall(SYS_gettid), SIGUSR1) == 0;
}
static bool try_ptrace(void)
{
    return ptrace(PTRACE_TRACEME, 0, NULL, NULL) == 0;
}
static bool try_read_other(void)
{
    char c;

    return pread(LS_WIRE_FD_RING, &c, 1, 0) >= 0;
}
static bool try_write_control(void)
{
    return write(0, "x", 1) == 1;
}
static bool try_code(void)
{
    return mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1,
                0) != MAP_FAILED;
}
static bool try_code_later(void)
{
    void *map = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    return mprotect(map, 4096, PROT_READ | PROT_EXEC) == 0;
}
static bool try_undo(void)
{
    return prctl(PR_SET_DUMPABLE, 1, 0, 0, 0) == 0;
}
static bool try_limits(void)
{
    struct rlimit r = {FILE_BYTES, FILE_BYTES};

    return setrlimit(RLIMIT_FSIZE, &r) == 0;
}
static bool too_far(void)
{
    return pwrite(LS_WIRE_FD_SPOOL, "abcd", 4, FILE_BYTES) == 4;
}
static bool abort_itself(void)
{
    abort();
}

static const struct {
    const char *name;
    bool (*try)(void);
    int signal; // that ends it; 0: it works
} rows[] = {
    {"memory", memory, 0},
    {"pipes", pipes, 0},
    {"spool file", spool, 0},
    {"clocks", clocks, 0},
    {"qsort", sorts, 0},
    {"files", files, 0},
    {"unlink", try_unlink, SIGSYS},
    {"memfd_create", try_memfd, SIGSYS},
    {"socket", try_socket, SIGSYS},
    {"socketpair", try_unix, SIGSYS},
    {"exec", try_exec, SIGSYS},
    {"fork", try_fork, SIGSYS},
    {"thread", try_thread, SIGSYS},
    {"kill", try_kill, SIGSYS},
    {"a signal to itself", try_tgkill, SIGSYS},
    {"ptrace", try_ptrace, SIGSYS},
    {"pread of another descriptor", try_read_other, SIGSYS},
    {"write to another descriptor", try_write_control, SIGSYS},
    {"memory for code", try_code, SIGSYS},
    {"memory that becomes code", try_code_later, SIGSYS},
    {"prctl", try_undo, SIGSYS},
    {"setrlimit", try_limits, SIGSYS},
    {"a file larger than allowed", too_far, SIGXFSZ},
    {"abort", abort_itself, SIGABRT},
};

// What a decode process starts with: pipes at 0, 1, 2, a file at 3, memory at 4.
static void be_child(bool (*try)(void))
{
    int in[2], out[2], file, ring;
    struct ls_err err = {0};

    if (pipe(in) < 0 || pipe(out) < 0 || write(in[1], "x", 1) != 1)
        _exit(3);
    file = open("/var/tmp", O_TMPFILE | O_RDWR, 0600);
    if (file < 0)
        file = memfd_create("spool", 0);
    ring = memfd_create("ring", 0);
    if (file < 0 || ring < 0 || ftruncate(ring, 1 << 20) < 0)
        _exit(3);
    // Above all numbers that are given next.
    file = fcntl(file, F_DUPFD, 20);
    ring = fcntl(ring, F_DUPFD, 20);
    dup2(in[0], 0);
    dup2(out[1], 1);
    dup2(out[1], 2);
    dup2(file, LS_WIRE_FD_SPOOL);
    dup2(ring, LS_WIRE_FD_RING);
    if (ls_jail_close(FILE_BYTES, &err) < 0)
        _exit(4);
    _exit(try() ? 0 : 5);
}

int main(void)
{
    struct ls_err err = {0};

    if (ls_jail_possible(&err) < 0)
        CHECK_SKIP("%s", err.text);
    fflush(stdout);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        int status = 0;
        pid_t pid = fork();

        if (pid == 0)
            be_child(rows[i].try);
        CHECK(waitpid(pid, &status, 0) == pid, rows[i].name);
        if (rows[i].signal)
            CHECK(WIFSIGNALED(status) && WTERMSIG(status) == rows[i].signal, rows[i].name);
        else
            CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0, rows[i].name);
    }
    return check_done();
}
