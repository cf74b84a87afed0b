// SPDX-License-Identifier: Apache-2.0
// SHA-256 by libavutil, hidden so that the session needs no FFmpeg header. The object is
// libavutil's own context under our name: there is nothing to add to it.
#include "digest.h"

#include <libavutil/mem.h>
#include <libavutil/sha.h>

static struct AVSHA *context(struct ls_digest *d)
{
    return (struct AVSHA *)d;
}

struct ls_digest *ls_digest_new(void)
{
    struct AVSHA *sha = av_sha_alloc();

    if (sha)
        av_sha_init(sha, 8 * LS_DIGEST_SIZE);
    return (struct ls_digest *)sha;
}

void ls_digest_update(struct ls_digest *d, const void *data, size_t size)
{
    av_sha_update(context(d), data, size);
}

void ls_digest_final(struct ls_digest *d, uint8_t out[LS_DIGEST_SIZE])
{
    av_sha_final(context(d), out);
    av_sha_init(context(d), 8 * LS_DIGEST_SIZE);
}

void ls_digest_free(struct ls_digest **d)
{
    av_freep(d);
}
