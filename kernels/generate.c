// SPDX-License-Identifier: Apache-2.0
// The border of the generator: its arguments are checked here, and faces get the levels that the
// model wants on their way in and their own on the way out, once for all back ends, which see
// nothing of it (but for faces_start, where pixels never leave a device). Calls belong to the
// lane's thread.
#include <math.h>
#include <string.h>

#include "lane.h"

enum { FACE = 3 * LS_FACE_SIZE * LS_FACE_SIZE, WINDOW = LS_MEL_WINDOW * LS_MEL_BANDS };

bool ls_mel_sane(const float *mel)
{
    for (int i = 0; i < WINDOW; i++)
        if (!(fabsf(mel[i]) <= LS_SAMPLE_MAX)) // so is what is not a number
            return false;
    return true;
}

static int check_generate(const struct ls_lane *lane, const struct ls_generate_job *j,
                          struct ls_err *err)
{
    if (!j || j->count < 1 || j->count > lane->backend->batch_max)
        return ls_fail(err, LS_EFIELD, "a batch of %d: 1 to %d are possible", j ? j->count : 0,
                       lane->backend->batch_max);
    if (!j->out || !j->face || !j->mel)
        return ls_fail(err, LS_EFIELD, "a batch without faces or sound");
    for (int i = 0; j->part && i < j->count; i++) {
        const struct ls_int_box *b = &j->part[i];

        if (b->x0 < 0 || b->y0 < 0 || b->x0 >= b->x1 || b->y0 >= b->y1 || b->x1 > LS_FACE_SIZE ||
            b->y1 > LS_FACE_SIZE)
            return ls_fail(err, LS_EFIELD, "item %d: %d,%d..%d,%d is no part of a face", i, b->x0,
                           b->y0, b->x1, b->y1);
    }
    for (int i = 0; i < j->count; i++)
        if (!ls_mel_sane(j->mel + (size_t)i * WINDOW))
            return ls_fail(err, LS_EFIELD, "item %d: a mel value is not a sane number", i);
    return 0;
}

static int run_all(struct ls_lane *lane, const struct ls_generate_job *job, struct ls_err *err)
{
    return lane->backend->ops->generate(lane->lane, job->out, job->face, job->mel, job->count, err);
}

// For back ends that ask nothing.
static int run_wanted(struct ls_lane *lane, const struct ls_generate_job *job, struct ls_err *err)
{
    int r = 0;

    for (int i = 0; r == 0 && i < job->count; i++)
        if (job->wanted(job->user, i))
            r = lane->backend->ops->generate(lane->lane, job->out + (size_t)i * FACE,
                                             job->face + (size_t)i * FACE,
                                             job->mel + (size_t)i * WINDOW, 1, err);
    return r;
}

static int run_part(struct ls_lane *lane, const struct ls_generate_job *job, struct ls_err *err)
{
    if (lane->backend->ops->generate_part)
        return lane->backend->ops->generate_part(lane->lane, job, err);
    return job->wanted ? run_wanted(lane, job, err) : run_all(lane, job, err);
}

static bool keeps_levels(const struct ls_generate_job *job, int item)
{
    return job->exact && job->exact[item];
}

static int run(struct ls_lane *lane, const struct ls_generate_job *job,
               int (*bare)(struct ls_lane *, const struct ls_generate_job *, struct ls_err *),
               struct ls_err *err)
{
    struct ls_generate_job inner = *job;
    int r;

    if (!lane->levels)
        return bare(lane, job, err);
    inner.face = lane->levelled;
    for (int i = 0; i < job->count; i++) {
        const uint8_t *face = job->face + (size_t)i * FACE;

        if (keeps_levels(job, i)) {
            memcpy(lane->levelled + (size_t)i * FACE, face, FACE);
            continue;
        }
        ls_levels_find(&lane->levels[i], face);
        ls_levels_apply(lane->levelled + (size_t)i * FACE, face, &lane->levels[i]);
    }
    r = bare(lane, &inner, err);
    for (int i = 0; r == 0 && i < job->count; i++)
        if (!keeps_levels(job, i))
            ls_levels_undo(job->out + (size_t)i * FACE, job->part ? &job->part[i] : NULL,
                           &lane->levels[i]);
    return r;
}

int ls_generate(struct ls_lane *lane, float *out, const uint8_t *face, const float *mel, int count,
                struct ls_err *err)
{
    struct ls_generate_job job = {.out = out, .face = face, .mel = mel, .count = count};
    int r = check_generate(lane, &job, err);

    return r < 0 ? r : run(lane, &job, run_all, err);
}

int ls_generate_part(struct ls_lane *lane, const struct ls_generate_job *job, struct ls_err *err)
{
    int r = check_generate(lane, job, err);

    return r < 0 ? r : run(lane, job, run_part, err);
}
