// SPDX-License-Identifier: Apache-2.0
// Batches of faces, begun and finished: each takes one of two flights, so that the copies of one
// overlap the arithmetic of the other. A batch with very many pixels goes in pieces, of which the
// last one stays in flight. Device thread; finish waits, start does only between pieces.
#include "faces.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "faces_parts.h"

// Frames' bytes that go in one pass, if it has more than one face: bounds the pinned memory of a
// flight. 64 faces of 690x690 px in I420; 2.5 ms on a bus of 25 GB/s.
#define PIECE_SIZE_MAX ((size_t)64 << 20)

size_t ls_cuda_faces_record_size(void)
{
    return LS_CUDA_SOURCE_SIZE;
}

// A flight's block as it is from the start: for faces of 400x400 px in I420. Larger ones let it
// grow, which stops the device once.
static size_t block_size(int batch_max)
{
    enum { FRAME_SIZE = 1 << 18 };

    return (size_t)batch_max *
           (FRAME_SIZE + LS_CUDA_MEL_VALUES * sizeof(float) + 2 * sizeof(struct ls_cuda_face));
}

size_t ls_cuda_faces_size(int batch_max)
{
    return (size_t)batch_max * (LS_CUDA_SOURCE_SIZE + ls_cuda_compose_size()) +
           LS_CUDA_FACES_DEPTH * block_size(batch_max);
}

static int make_stream(cudaStream_t *out, struct ls_err *err)
{
    return ls_cuda_check(err, (int)cudaStreamCreateWithFlags(out, cudaStreamNonBlocking),
                         "a stream");
}

static int make_buffers(struct ls_cuda_faces *f, struct ls_err *err)
{
    size_t items = (size_t)f->params.batch_max, records = (size_t)f->params.record_count;
    void *memory = NULL;
    int r;

    r = ls_cuda_alloc(&memory, records * LS_CUDA_SOURCE_SIZE, err);
    f->record_source = memory;
    if (r == 0) {
        memory = NULL;
        r = ls_cuda_alloc(&memory, items * LS_CUDA_SOURCE_SIZE, err);
        f->source = memory;
    }
    if (r == 0)
        r = ls_cuda_alloc(&f->scratch, items * ls_cuda_compose_size(), err);
    return r;
}

int ls_cuda_faces_new(struct ls_cuda_faces **out, const struct ls_cuda_faces_params *params,
                      struct ls_err *err)
{
    struct ls_cuda_faces *f = calloc(1, sizeof *f);
    int r;

    if (!f)
        return ls_fail(err, LS_ENOMEM, "no memory for batches of faces");
    assert(params->batch_max >= 1 && params->batch_max <= LS_CUDA_PASS_MAX);
    assert(params->record_count >= LS_CUDA_FACES_DEPTH * params->batch_max);
    f->params = *params;
    r = ls_cuda_records_new(&f->records, params->record_count, err);
    if (r == 0)
        r = make_stream(&f->in, err);
    if (r == 0)
        r = make_stream(&f->out, err);
    if (r == 0)
        r = make_buffers(f, err);
    for (int i = 0; i < LS_CUDA_FACES_DEPTH && r == 0; i++)
        r = ls_cuda_pass_init(&f->flight[i].pass, block_size(params->batch_max), err);
    if (r == 0)
        r = ls_cuda_pass_init(&f->single, 0, err);
    if (r < 0)
        ls_cuda_faces_free(&f);
    else
        *out = f;
    return r;
}

void ls_cuda_faces_drain(struct ls_cuda_faces *f)
{
    cudaStream_t stream[3] = {f->in, f->params.stream, f->out};

    for (int i = 0; i < 3; i++)
        if (stream[i] && cudaStreamSynchronize(stream[i]) != cudaSuccess)
            (void)cudaGetLastError();
}

void ls_cuda_faces_free(struct ls_cuda_faces **faces)
{
    struct ls_cuda_faces *f = faces ? *faces : NULL;
    cudaStream_t stream[2];
    void *memory[3];

    if (!f)
        return;
    ls_cuda_faces_drain(f);
    for (int i = 0; i < LS_CUDA_FACES_DEPTH; i++)
        ls_cuda_pass_done(&f->flight[i].pass);
    ls_cuda_pass_done(&f->single);
    memory[0] = f->record_source;
    memory[1] = f->source;
    memory[2] = f->scratch;
    for (int i = 0; i < 3; i++)
        ls_cuda_free(&memory[i]);
    stream[0] = f->in;
    stream[1] = f->out;
    for (int i = 0; i < 2; i++)
        if (stream[i] && cudaStreamDestroy(stream[i]) != cudaSuccess)
            (void)cudaGetLastError();
    ls_cuda_records_free(&f->records);
    free(f);
    *faces = NULL;
}

// The key of what was cut out: exact, turned and other crops of one face differ. The roll changes
// the lower 40 bits alone: callers may tell their faces from each other's by the upper ones.
static uint64_t key_of(const struct ls_cuda_faces *f, const struct ls_face_job *job)
{
    uint32_t roll;

    if (!f->params.keys || !job->source_key)
        return 0;
    if (job->paste.exact)
        return ~job->source_key;
    memcpy(&roll, &job->paste.roll_rad, sizeof roll);
    return job->source_key ^ (roll * 0x9e3779b97f4a7c15u) >> 24;
}

// A job that cannot be done is left out of the batch; its err says why.
static bool is_possible(struct ls_face_job *job)
{
    const struct ls_frame *frame = job->frame;
    struct ls_int_box box;
    int r = LS_OK;

    job->err.code = LS_OK;
    job->err.field[0] = job->err.text[0] = '\0';
    if (!job->paste.exact)
        return true;
    if (frame->format != LS_PIX_RGB24 || frame->on_device)
        r = ls_fail(&job->err, LS_EFIELD, "an exact paste needs RGB24 frames on the host");
    else if (!ls_paste_exact_box(&box, frame, &job->paste.box))
        r = ls_fail(&job->err, LS_EFIELD, "box %g,%g..%g,%g has no whole pixel in the frame",
                    (double)job->paste.box.x0, (double)job->paste.box.y0, (double)job->paste.box.x1,
                    (double)job->paste.box.y1);
    return r == LS_OK;
}

// How many of the jobs go in one pass.
static int piece_of(const struct ls_face_job *job, int count)
{
    size_t size = 0;
    int n = 0;

    while (n < count) {
        if (job[n].paste.exact)
            size += LS_CUDA_SOURCE_SIZE + LS_CUDA_MADE_SIZE;
        else if (!job[n].frame->on_device)
            size += ls_cuda_stage_frame_size(job[n].frame, &job[n].paste);
        if (n > 0 && size > PIECE_SIZE_MAX)
            break;
        n++;
    }
    return n;
}

static void add_jobs(struct ls_cuda_faces *f, struct ls_cuda_pass *pass, struct ls_face_job *job,
                     int count)
{
    enum { SKIP = -1 };
    int place[LS_CUDA_PASS_MAX]; // 2 * cut, 1 more for what the host puts back

    for (int i = 0; i < count; i++) {
        struct ls_int_box reads;

        place[i] = SKIP;
        if (!is_possible(&job[i]))
            continue;
        ls_paste_reads(&reads, &job[i].paste);
        place[i] = 2 * (int)ls_cuda_cut_of(&reads) + job[i].paste.exact;
    }
    ls_cuda_pass_begin(pass);
    for (int want = 0; want < 2 * LS_CUDA_CUTS; want++)
        for (int i = 0; i < count; i++)
            if (place[i] == want)
                ls_cuda_pass_add(f, pass,
                                 &(struct ls_cuda_item){.job = &job[i],
                                                        .mel = job[i].mel,
                                                        .cut = (enum ls_cuda_cut)(want / 2),
                                                        .by_host = want % 2},
                                 key_of(f, &job[i]));
}

int ls_cuda_faces_start(struct ls_cuda_faces *f, struct ls_face_job *job, int count,
                        struct ls_err *err)
{
    struct ls_cuda_flight *flight = &f->flight[(f->first + f->flying) % LS_CUDA_FACES_DEPTH];
    int first = 0, r = LS_OK;

    assert(f->flying < LS_CUDA_FACES_DEPTH && count >= 1 && count <= f->params.batch_max);
    flight->err = (struct ls_err){0};
    while (first < count && r == 0) {
        int n = piece_of(job + first, count - first);

        add_jobs(f, &flight->pass, job + first, n);
        r = ls_cuda_pass_run(f, &flight->pass, &flight->err);
        // Between pieces only: the last one stays in flight.
        if (r == 0 && first + n < count)
            r = ls_cuda_pass_finish(f, &flight->pass, &flight->err);
        // Once frames were written, a failure can no longer be that of a batch never begun.
        if (r < 0 && first == 0) {
            if (err)
                *err = flight->err;
            return r;
        }
        first += n;
    }
    flight->r = r;
    f->flying++;
    return LS_OK;
}

int ls_cuda_faces_finish(struct ls_cuda_faces *f, struct ls_err *err)
{
    struct ls_cuda_flight *flight = &f->flight[f->first];
    int r = flight->r;

    assert(f->flying > 0);
    if (r == 0)
        r = ls_cuda_pass_finish(f, &flight->pass, err);
    else if (err)
        *err = flight->err;
    f->first = (f->first + 1) % LS_CUDA_FACES_DEPTH;
    f->flying--;
    return r;
}

void ls_cuda_faces_discard(struct ls_cuda_faces *f)
{
    ls_cuda_faces_drain(f);
    for (; f->flying > 0; f->flying--) {
        struct ls_cuda_flight *flight = &f->flight[f->first];

        if (flight->r == 0)
            ls_cuda_pass_drop(f, &flight->pass);
        f->first = (f->first + 1) % LS_CUDA_FACES_DEPTH;
    }
}
