// SPDX-License-Identifier: Apache-2.0
// Writing the output (see output.h). A pipe is written in pieces of PIPE_BUF after poll has said
// that it takes some: such a write does not block, and the pipe's own flags, which other processes
// share, stay as they are.
#include "client/output.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

int ls_output_open(struct ls_output *out, const char *path, struct ls_fault *fault)
{
    struct stat st;
    bool found = strcmp(path, "-") != 0 && stat(path, &st) == 0;

    out->path = path;
    if (strcmp(path, "-") == 0) {
        out->fd = STDOUT_FILENO;
        return 0;
    }
    if (found && S_ISDIR(st.st_mode))
        return ls_fault_set(fault, LS_EXIT_LOCAL, "%s: is a folder", path);
    out->regular = !found || S_ISREG(st.st_mode);
    if (!out->regular) {
        out->fd = open(path, O_WRONLY | O_CLOEXEC);
    } else {
        if (asprintf(&out->part, "%s.part", path) < 0) {
            out->part = NULL;
            return ls_fault_set(fault, LS_EXIT_LOCAL, "out of memory");
        }
        out->fd = open(out->part, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    }
    if (out->fd < 0)
        return ls_fault_set(fault, LS_EXIT_LOCAL, "%s: %s", out->part ? out->part : path,
                            strerror(errno));
    return 0;
}

void ls_output_put(struct ls_output *out, uint8_t **data, size_t size)
{
    free(out->data);
    out->data = *data;
    out->size = size;
    out->at = 0;
    *data = NULL;
}

bool ls_output_pending(const struct ls_output *out)
{
    return out->at < out->size;
}

// True if a write of up to PIPE_BUF bytes returns at once.
static bool takes_some(const struct ls_output *out)
{
    struct pollfd p = {.fd = out->fd, .events = POLLOUT};

    return out->regular || poll(&p, 1, 0) > 0;
}

int ls_output_write(struct ls_output *out, struct ls_fault *fault)
{
    while (ls_output_pending(out) && takes_some(out)) {
        size_t left = out->size - out->at;
        ssize_t wrote;

        if (!out->regular && left > PIPE_BUF)
            left = PIPE_BUF;
        wrote = write(out->fd, out->data + out->at, left);
        if (wrote < 0 && (errno == EINTR || errno == EAGAIN))
            continue;
        if (wrote < 0 && errno == EPIPE)
            return ls_fault_set(fault, LS_EXIT_LOCAL, "the reader of the output went away");
        if (wrote < 0)
            return ls_fault_set(fault, LS_EXIT_LOCAL, "%s: %s", out->path, strerror(errno));
        out->at += (size_t)wrote;
        out->total += wrote;
    }
    return 0;
}

int ls_output_close(struct ls_output *out, bool keep, struct ls_fault *fault)
{
    int r = 0;

    free(out->data);
    out->data = NULL;
    out->size = out->at = 0;
    if (out->fd >= 0 && out->fd != STDOUT_FILENO && close(out->fd) != 0 && keep)
        r = ls_fault_set(fault, LS_EXIT_LOCAL, "%s: %s", out->path, strerror(errno));
    if (out->part && out->fd >= 0) {
        if (keep && r == 0 && rename(out->part, out->path) != 0)
            r = ls_fault_set(fault, LS_EXIT_LOCAL, "%s: %s", out->path, strerror(errno));
        if (!keep || r != 0)
            unlink(out->part);
    }
    free(out->part);
    out->part = NULL;
    out->fd = -1;
    return r;
}
