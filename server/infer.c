// SPDX-License-Identifier: Apache-2.0
// Work on a lane. Flow: batch -> here (crop, generate, composite; detect; mel) -> batch. Device
// thread. A face whose crop fails leaves the batch alone; an error of the generator is the error of
// every face in that batch.
#include "infer.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"

enum { FACE_VALUES = LS_FACE_SIZE * LS_FACE_SIZE * 3, MEL_VALUES = LS_MEL_WINDOW * LS_MEL_BANDS };

struct ls_infer {
    struct ls_lane *lane;
    uint8_t *source; // [batch_max][96][96][3]
    float *mel;      // [batch_max][16][80]
    float *face;     // [batch_max][96][96][3]
    uint8_t *row;    // [batch_max], the first row that the paste reads
    int batch_max;
};

int ls_infer_open(struct ls_infer **out, struct ls_backend *backend, int batch_max,
                  struct ls_err *err)
{
    struct ls_infer *infer = calloc(1, sizeof(*infer));
    int r = LS_ENOMEM;

    if (!infer)
        return ls_fail(err, LS_ENOMEM, "a lane");
    infer->batch_max = batch_max;
    infer->source = malloc((size_t)batch_max * FACE_VALUES);
    infer->mel = malloc((size_t)batch_max * MEL_VALUES * sizeof(float));
    infer->face = malloc((size_t)batch_max * FACE_VALUES * sizeof(float));
    infer->row = malloc((size_t)batch_max);
    if (!infer->source || !infer->mel || !infer->face || !infer->row) {
        ls_fail(err, LS_ENOMEM, "staging for %d faces", batch_max);
        goto done;
    }
    r = ls_lane_open(&infer->lane, backend, err);
    if (r < 0)
        goto done;
    *out = infer;
    infer = NULL;
done:
    ls_infer_close(&infer);
    return r;
}

void ls_infer_close(struct ls_infer **infer)
{
    if (!infer || !*infer)
        return;
    ls_lane_close(&(*infer)->lane);
    free((*infer)->source);
    free((*infer)->mel);
    free((*infer)->face);
    free((*infer)->row);
    free(*infer);
    *infer = NULL;
}

static void run_detect(struct ls_infer *infer, struct ls_work *w)
{
    struct ls_detect_params params = {.long_side_px = w->detect.side_px};
    int r;

    for (;;) {
        r = ls_detect(infer->lane, w->detect.face, &w->detect.count, w->detect.frame, &params,
                      &w->err);
        if (r < 0 || w->detect.count > 0 || 2 * params.long_side_px > w->detect.side_px_max)
            break;
        params.long_side_px *= 2;
    }
    w->detect.side_px = params.long_side_px;
}

// Crops every face; those that fail are left out. Returns how many are staged, their works in
// front.
static int stage_faces(struct ls_infer *infer, struct ls_work **work, int count)
{
    struct ls_work *w;
    int64_t t0;
    int i, n = 0, r;

    for (i = 0; i < count; i++) {
        w = work[i];
        t0 = ls_now_us();
        r = ls_crop(infer->lane, infer->source + (size_t)n * FACE_VALUES, w->face.frame,
                    &w->face.box, w->face.paste.exact, &w->err);
        w->busy_us[1] = ls_now_us() - t0;
        if (r < 0)
            continue;
        memcpy(infer->mel + (size_t)n * MEL_VALUES, w->face.mel, sizeof(w->face.mel));
        infer->row[n] = (uint8_t)ls_paste_row_first(&w->face.paste);
        work[i] = work[n];
        work[n++] = w;
    }
    return n;
}

static void run_faces(struct ls_infer *infer, struct ls_work **work, int count)
{
    struct ls_err err = {0};
    int i, n = stage_faces(infer, work, count), r = 0;
    const struct ls_generate_job job = {.out = infer->face,
                                        .face = infer->source,
                                        .mel = infer->mel,
                                        .row_first = infer->row,
                                        .count = n};
    struct ls_work *w;
    int64_t t0, share_us;

    if (n == 0)
        return;
    t0 = ls_now_us();
    r = ls_generate_rows(infer->lane, &job, &err);
    share_us = (ls_now_us() - t0) / n;
    for (i = 0; i < n; i++) {
        w = work[i];
        w->busy_us[0] = share_us;
        if (r < 0) {
            w->err = err;
            continue;
        }
        t0 = ls_now_us();
        w->face.paste.box = w->face.box;
        w->face.paste.face = infer->face + (size_t)i * FACE_VALUES;
        w->face.paste.source = infer->source + (size_t)i * FACE_VALUES;
        // A failure is in w->err, which is where it is looked for.
        if (ls_composite(infer->lane, w->face.frame, &w->face.paste, &w->err) < 0)
            continue;
        w->busy_us[2] = ls_now_us() - t0;
    }
}

void ls_infer_run(struct ls_infer *infer, struct ls_work **work, int count)
{
    int64_t t0 = ls_now_us();

    assert(count >= 1 && count <= infer->batch_max);
    switch (work[0]->kind) {
    case LS_WORK_DETECT:
        run_detect(infer, work[0]);
        work[0]->busy_us[0] = ls_now_us() - t0;
        break;
    case LS_WORK_MEL:
        // A failure is in err, which is where it is looked for.
        if (ls_mel(infer->lane, work[0]->mel.column, &work[0]->mel.job, &work[0]->err) < 0)
            break;
        work[0]->busy_us[0] = ls_now_us() - t0;
        break;
    case LS_WORK_FACE:
        run_faces(infer, work, count);
        break;
    }
}
