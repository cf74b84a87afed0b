// SPDX-License-Identifier: Apache-2.0
// lipstream-decode: decodes one input for lipstreamd and ends. Started by decode_pool.c with five
// descriptors and one number: the bytes of memory that it may have. It locks itself in first
// (memory, core dumps, no new descriptors), waits for its job, and dies with the server's loop
// thread. One thread; nothing here outlives the input.
#include "worker.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1 // shadow memory alone is terabytes of address space
#else
#define SANITIZED 0
#endif

static struct ls_worker worker; // FFmpeg's log callback has no other way to it

// Keeps the last complaint, printable and without addresses, for the error that may follow.
static void on_log(void *context, int level, const char *fmt, va_list args)
{
    char line[sizeof worker.log];
    size_t i;

    (void)context;
    if (level > AV_LOG_ERROR)
        return;
    vsnprintf(line, sizeof line, fmt, args);
    line[strcspn(line, "\n")] = '\0';
    for (i = 0; line[i]; i++) {
        if (line[i] < ' ' || line[i] > '~')
            line[i] = '?';
    }
    // Of several, the one with the numbers is kept (worker_still.c looks for it).
    if (line[0] && !strstr(worker.log, "Picture size"))
        memcpy(worker.log, line, sizeof line);
}

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
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    // The libraries' own mappings are no fault of the input: the limit counts from here.
    if (!SANITIZED)
        r |= limit(RLIMIT_AS, address_space() + memory_bytes);
    r |= limit(RLIMIT_CORE, 0);
    if (!SANITIZED)
        r |= limit(RLIMIT_NOFILE, LS_WIRE_FD_RING + 1);
    return r;
}

static int run_film(struct ls_worker *w, const struct ls_sniff *sniff, struct ls_err *err)
{
    enum ls_source source = w->job.params.source;
    struct ls_film *film = calloc(1, sizeof *film);
    bool backward = false;
    int r;

    if (!film)
        return ls_fail(err, LS_ENOMEM, "no memory for a video");
    for (;;) {
        if (source == LS_SOURCE_FRAMES)
            r = ls_raw_pass(w, film, backward, err);
        else if (source == LS_SOURCE_STILL)
            r = ls_still_pass(w, film, err);
        else if (backward)
            r = ls_film_backward(w, film, sniff, err);
        else
            r = ls_film_forward(w, film, sniff, err);
        if (r < 0 || !w->job.params.keep)
            break;
        while (!w->has_again)
            ls_worker_order(w, true);
        w->has_again = false;
        backward = w->again.backward;
    }
    ls_picture_done(&film->picture);
    free(film);
    return r;
}

static int run_sound(struct ls_worker *w, const struct ls_sniff *sniff, struct ls_err *err)
{
    int r;

    for (;;) {
        r = ls_sound_pass(w, sniff, err);
        if (r < 0 || !w->job.params.keep)
            return r;
        while (!w->has_again)
            ls_worker_order(w, true);
        w->has_again = false;
    }
}

static int run(struct ls_worker *w, struct ls_err *err)
{
    const struct ls_decode_params *p = &w->job.params;
    struct ls_sniff sniff = {0};
    int r;

    w->rewinds = true; // nothing is read for good yet
    if (p->source == LS_SOURCE_CONTAINER) {
        r = ls_sniff_input(w, &sniff, err);
        if (r < 0)
            return r;
        if (sniff.still)
            return ls_fail(err, LS_ECODEC, "it is a picture (%s), not a %s", sniff.still,
                           p->video ? "video: send it as `still`" : "voice");
        if (!sniff.container)
            return ls_fail(err, LS_ECODEC, "%s is not accepted", sniff.other);
    }
    return p->video ? run_film(w, &sniff, err) : run_sound(w, &sniff, err);
}

int main(int argc, char **argv)
{
    struct ls_worker *w = &worker;
    struct ls_err err = {0};
    struct ls_wire_error out = {0};

    if (argc != 2 || lock_in(strtoll(argv[1], NULL, 10)) != 0) {
        fprintf(stderr, "lipstream-decode is started by lipstreamd\n");
        return 2;
    }
    av_log_set_callback(on_log);
    while (!w->has_job)
        ls_worker_order(w, true);
    if (run(w, &err) < 0) {
        out.code = err.code;
        snprintf(out.text, sizeof out.text, "%s", err.text);
        ls_worker_send(w, LS_WIRE_ERROR, &out, sizeof out);
    }
    return 0;
}
