// SPDX-License-Identifier: Apache-2.0
// Reading an input (see input.h). A piece is what has been read so far, at most a chunk: a pipe's
// bytes leave at once, a file's fill the chunk. With a pace, only as many bytes leave as time has
// passed for.
#include "client/input.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { SNIFF_BYTES = 12 };

int ls_input_open(struct ls_input *in, const char *path, size_t chunk, struct ls_fault *fault)
{
    struct stat st;
    bool standard = strcmp(path, "-") == 0;
    int fd = standard ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC);

    if (fd < 0)
        return ls_fault_set(fault, LS_EXIT_LOCAL, "%s: %s", path, strerror(errno));
    if (fstat(fd, &st) == 0 && S_ISDIR(st.st_mode)) {
        if (!standard)
            close(fd);
        return ls_fault_set(fault, LS_EXIT_LOCAL, "%s: is a folder", path);
    }
    in->fd = fd;
    in->name = standard ? "standard input" : path;
    in->size = S_ISREG(st.st_mode) ? st.st_size : -1;
    in->start = in->size >= 0 ? lseek(fd, 0, SEEK_CUR) : -1;
    in->chunk = chunk;
    // One byte more than a WAV header and a sniff need, whatever the chunk is.
    in->data = malloc(chunk < 64 ? 64 : chunk);
    if (!in->data)
        return ls_fault_set(fault, LS_EXIT_LOCAL, "out of memory");
    return 0;
}

static size_t room(const struct ls_input *in)
{
    size_t max = in->chunk;

    // Chunks smaller than a sniff: the first fill may be larger than a chunk, pieces never are.
    if (in->sent == 0 && max < 64)
        max = 64;
    return max > in->have ? max - in->have : 0;
}

bool ls_input_wants(const struct ls_input *in)
{
    return !in->eof && room(in) > 0;
}

int ls_input_read(struct ls_input *in, struct ls_fault *fault)
{
    ssize_t got = read(in->fd, in->data + in->have, room(in));

    if (got < 0 && (errno == EINTR || errno == EAGAIN))
        return 0;
    if (got < 0)
        return ls_fault_set(fault, LS_EXIT_LOCAL, "%s: %s", in->name, strerror(errno));
    if (got == 0)
        in->eof = true;
    in->have += (size_t)got;
    return 0;
}

size_t ls_input_piece(const struct ls_input *in, double elapsed_s)
{
    size_t piece = in->have < in->chunk ? in->have : in->chunk;

    if (in->bytes_per_s > 0) {
        double due = in->bytes_per_s * elapsed_s - (double)in->sent;

        if (due < (double)piece)
            piece = due > 0 ? (size_t)due : 0;
    }
    return piece;
}

bool ls_input_ready(const struct ls_input *in, double elapsed_s)
{
    if (in->ended)
        return false;
    return ls_input_piece(in, elapsed_s) > 0 || (in->eof && in->have == 0);
}

void ls_input_take(struct ls_input *in, size_t size)
{
    in->have -= size;
    memmove(in->data, in->data + size, in->have);
    in->sent += (int64_t)size;
}

bool ls_input_last(const struct ls_input *in, size_t size)
{
    return in->eof && size == in->have;
}

bool ls_input_sniffable(const struct ls_input *in)
{
    return in->eof || in->have >= SNIFF_BYTES;
}

bool ls_input_is_still(const struct ls_input *in)
{
    const uint8_t *d = in->data;

    if (in->have < SNIFF_BYTES)
        return false;
    return memcmp(d, "\x89PNG\r\n\x1a\n", 8) == 0 || memcmp(d, "\xff\xd8\xff", 3) == 0 ||
           (memcmp(d, "RIFF", 4) == 0 && memcmp(d + 8, "WEBP", 4) == 0);
}

double ls_input_wav_seconds(const struct ls_input *in)
{
    const uint8_t *d = in->data;
    uint32_t rate;

    if (in->size < 44 || in->have < 44 || memcmp(d, "RIFF", 4) != 0 ||
        memcmp(d + 8, "WAVEfmt ", 8) != 0)
        return 0;
    // Bytes a second stand at 28 of the usual header (RIFF, 1991: WAVEFORMAT.nAvgBytesPerSec).
    rate = d[28] | (uint32_t)d[29] << 8 | (uint32_t)d[30] << 16 | (uint32_t)d[31] << 24;
    return rate ? (double)in->size / rate : 0;
}

int ls_input_rewind(struct ls_input *in, struct ls_fault *fault)
{
    if (lseek(in->fd, in->start, SEEK_SET) < 0)
        return ls_fault_set(fault, LS_EXIT_LOCAL, "%s: %s", in->name, strerror(errno));
    in->have = 0;
    in->sent = 0;
    in->eof = in->ended = false;
    return 0;
}

void ls_input_close(struct ls_input *in)
{
    if (in->data && in->fd != STDIN_FILENO)
        close(in->fd);
    free(in->data);
    in->data = NULL;
}
