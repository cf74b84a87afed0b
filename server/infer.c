// SPDX-License-Identifier: Apache-2.0
// Work on a lane. Flow: batch -> here (crop, generate, composite; detect; mel) -> batch. Device
// thread. A face whose crop fails leaves the batch alone; an error of the generator is the error of
// every face in that batch. A device with memory of its own takes faces as whole jobs instead, up
// to `depth` batches at a time. A face that is revoked meanwhile is let go of before the next step
// of its network, not at the batch's end: its session waits for it to free its memory.
#include "server/infer.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/paste.h"
#include "server/clock.h"

// A batch begun at the device.
struct flight {
    struct ls_work **work;   // [batch_max]
    struct ls_face_job *job; // [batch_max]
    int count;
    int64_t begun_us;
};

enum { FACE_VALUES = LS_FACE_SIZE * LS_FACE_SIZE * 3, MEL_VALUES = LS_MEL_WINDOW * LS_MEL_BANDS };

struct ls_infer {
    struct ls_lane *lane;
    uint8_t *source;         // [batch_max][96][96][3]
    float *mel;              // [batch_max][16][80]
    float *face;             // [batch_max][96][96][3]
    struct ls_int_box *part; // [batch_max], what the paste reads
    bool *exact;             // [batch_max], as of the paste
    uint64_t *source_key;    // [batch_max]
    int batch_max;
    float **column;          // [batch_max], of mel work
    struct ls_mel_job *mels; // [batch_max]
    struct flight flight[LS_INFER_DEPTH_MAX];
    int depth, first, flying; // flight[first] is the oldest
    int64_t idle_from_us;     // when the device had nothing more to do
    void (*on_drop)(void *user, struct ls_work *work);
    void *drop_user;
};

// What a batch needs on the host: staging where the host does the work, jobs where a device does.
static bool alloc_buffers(struct ls_infer *infer)
{
    size_t n = (size_t)infer->batch_max;
    bool ok;

    infer->column = malloc(n * sizeof(*infer->column));
    infer->mels = malloc(n * sizeof(*infer->mels));
    ok = infer->column && infer->mels;
    for (int i = 0; i < infer->depth; i++) {
        infer->flight[i].work = malloc(n * sizeof(*infer->flight[i].work));
        infer->flight[i].job = malloc(n * sizeof(*infer->flight[i].job));
        ok = ok && infer->flight[i].work && infer->flight[i].job;
    }
    if (infer->depth > 0)
        return ok;
    infer->source = malloc(n * FACE_VALUES);
    infer->mel = malloc(n * MEL_VALUES * sizeof(float));
    infer->face = malloc(n * FACE_VALUES * sizeof(float));
    infer->part = malloc(sizeof *infer->part * n);
    infer->exact = malloc(n * sizeof(*infer->exact));
    infer->source_key = malloc(n * sizeof(*infer->source_key));
    return ok && infer->source && infer->mel && infer->face && infer->part && infer->exact &&
           infer->source_key;
}

int ls_infer_open(struct ls_infer **out, struct ls_backend *backend, int batch_max,
                  struct ls_err *err)
{
    struct ls_infer *infer = calloc(1, sizeof(*infer));
    int r = LS_ENOMEM;

    if (!infer)
        return ls_fail(err, LS_ENOMEM, "a lane");
    infer->batch_max = batch_max;
    infer->depth = ls_backend_faces_depth(backend);
    assert(infer->depth <= LS_INFER_DEPTH_MAX);
    if (!alloc_buffers(infer)) {
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
    free((*infer)->part);
    free((*infer)->exact);
    free((*infer)->source_key);
    free((*infer)->column);
    free((*infer)->mels);
    for (int i = 0; i < LS_INFER_DEPTH_MAX; i++) {
        free((*infer)->flight[i].work);
        free((*infer)->flight[i].job);
    }
    free(*infer);
    *infer = NULL;
}

void ls_infer_on_drop(struct ls_infer *infer, void (*on_drop)(void *user, struct ls_work *work),
                      void *user)
{
    infer->on_drop = on_drop;
    infer->drop_user = user;
}

// Whether *w is still to be done. If not, it is given back and *w becomes NULL.
static bool wanted(struct ls_infer *infer, struct ls_work **w)
{
    if (*w && infer->on_drop && atomic_load_explicit(&(*w)->revoked, memory_order_relaxed)) {
        infer->on_drop(infer->drop_user, *w);
        *w = NULL;
    }
    return *w != NULL;
}

// Only looks: what is found is written into the work, so it is let go of afterwards.
static bool detect_wanted(void *user)
{
    const struct ls_work *w = user;

    return !atomic_load_explicit(&w->revoked, memory_order_relaxed);
}

static void run_detect(struct ls_infer *infer, struct ls_work *w)
{
    struct ls_detect_params params = {
        .long_side_px = w->detect.side_px, .wanted = detect_wanted, .user = w};
    int64_t t0 = ls_now_us();
    int r;

    for (;;) {
        r = ls_detect(infer->lane, w->detect.face, &w->detect.count, w->detect.frame, &params,
                      &w->err);
        if (!wanted(infer, &w))
            return;
        if (r < 0 || w->detect.count > 0 || 2 * params.long_side_px > w->detect.side_px_max)
            break;
        params.long_side_px *= 2;
    }
    w->detect.side_px = params.long_side_px;
    w->busy_us[0] = ls_now_us() - t0;
}

// Crops every face; those that fail are left out. Returns how many are staged, their works in
// front.
static int stage_faces(struct ls_infer *infer, struct ls_work **work, int count)
{
    struct ls_work *w;
    int64_t t0;
    int i, n = 0, r;

    for (i = 0; i < count; i++) {
        if (!wanted(infer, &work[i]))
            continue;
        w = work[i];
        t0 = ls_now_us();
        r = ls_crop(infer->lane, infer->source + (size_t)n * FACE_VALUES, w->face.frame,
                    &w->face.box, w->face.paste.roll_rad, w->face.paste.exact, &w->err);
        w->busy_us[1] = ls_now_us() - t0;
        if (r < 0)
            continue;
        memcpy(infer->mel + (size_t)n * MEL_VALUES, w->face.mel, sizeof(w->face.mel));
        ls_paste_reads(&infer->part[n], &w->face.paste);
        infer->exact[n] = w->face.paste.exact;
        infer->source_key[n] = w->face.source_key;
        work[i] = work[n];
        work[n++] = w;
    }
    return n;
}

struct staged {
    struct ls_infer *infer;
    struct ls_work **work;
};

static bool face_wanted(void *user, int item)
{
    const struct staged *s = user;

    return wanted(s->infer, &s->work[item]);
}

static void run_faces(struct ls_infer *infer, struct ls_work **work, int count)
{
    struct ls_err err = {0};
    int i, n = stage_faces(infer, work, count), r = 0;
    struct staged staged = {infer, work};
    const struct ls_generate_job job = {.out = infer->face,
                                        .face = infer->source,
                                        .mel = infer->mel,
                                        .part = infer->part,
                                        .exact = infer->exact,
                                        .source_key = infer->source_key,
                                        .count = n,
                                        .wanted = face_wanted,
                                        .user = &staged};
    struct ls_work *w;
    int64_t t0, share_us;

    if (n == 0)
        return;
    t0 = ls_now_us();
    r = ls_generate_part(infer->lane, &job, &err);
    share_us = (ls_now_us() - t0) / n;
    for (i = 0; i < n; i++) {
        if (!wanted(infer, &work[i]))
            continue;
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

static void run_mel(struct ls_infer *infer, struct ls_work **work, int count)
{
    int64_t t0 = ls_now_us(), share_us;
    struct ls_err err = {0};

    for (int i = 0; i < count; i++) {
        infer->column[i] = work[i]->mel.column;
        infer->mels[i] = work[i]->mel.job;
    }
    // A batch that fails is run again one by one, so that each voice has its own error only.
    if (count > 1 && ls_mel_batch(infer->lane, infer->column, infer->mels, count, &err) == 0) {
        share_us = (ls_now_us() - t0) / count;
        for (int i = 0; i < count; i++)
            work[i]->busy_us[0] = share_us;
        return;
    }
    for (int i = 0; i < count; i++) {
        t0 = ls_now_us();
        // A failure is in err, which is where it is looked for.
        if (ls_mel(infer->lane, work[i]->mel.column, &work[i]->mel.job, &work[i]->err) == 0)
            work[i]->busy_us[0] = ls_now_us() - t0;
    }
}

void ls_infer_run(struct ls_infer *infer, struct ls_work **work, int count)
{
    assert(count >= 1 && count <= infer->batch_max);
    switch (work[0]->kind) {
    case LS_WORK_DETECT:
        run_detect(infer, work[0]);
        break;
    case LS_WORK_MEL:
        run_mel(infer, work, count);
        break;
    case LS_WORK_FACE:
        run_faces(infer, work, count);
        break;
    }
}

int ls_infer_depth(const struct ls_infer *infer)
{
    return infer->depth;
}

bool ls_infer_start(struct ls_infer *infer, struct ls_work **work, int count)
{
    struct flight *f = &infer->flight[(infer->first + infer->flying) % infer->depth];
    struct ls_err err = {0};

    assert(infer->flying < infer->depth && count >= 1 && count <= infer->batch_max);
    f->count = count;
    f->begun_us = ls_now_us();
    for (int i = 0; i < count; i++) {
        f->work[i] = work[i];
        f->job[i] = (struct ls_face_job){.frame = work[i]->face.frame,
                                         .paste = work[i]->face.paste,
                                         .mel = work[i]->face.mel,
                                         .source_key = work[i]->face.source_key};
        f->job[i].paste.box = work[i]->face.box;
    }
    if (ls_faces_start(infer->lane, f->job, count, &err) < 0) {
        for (int i = 0; i < count; i++)
            work[i]->err = err;
        return false;
    }
    infer->flying++;
    return true;
}

int ls_infer_finish(struct ls_infer *infer, struct ls_work **work)
{
    struct flight *f = &infer->flight[infer->first];
    struct ls_err err = {0};
    int r = ls_faces_finish(infer->lane, &err);
    int64_t now_us = ls_now_us(), from_us = f->begun_us;

    assert(infer->flying > 0);
    if (from_us < infer->idle_from_us) // until then the device was busy with the batch before
        from_us = infer->idle_from_us;
    infer->idle_from_us = now_us;
    for (int i = 0; i < f->count; i++) {
        work[i] = f->work[i];
        work[i]->busy_us[0] = (now_us - from_us) / f->count;
        work[i]->err = r < 0 ? err : f->job[i].err;
    }
    infer->first = (infer->first + 1) % infer->depth;
    infer->flying--;
    return f->count;
}
