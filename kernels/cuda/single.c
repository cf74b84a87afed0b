// SPDX-License-Identifier: Apache-2.0
// Operations alone, as the table of a back end has them: a crop, a composite, generated faces for
// arrays of the host. For tests, the start-up check and callers without jobs; they wait for their
// result, and, as they are computed on the same stream, for the batches begun before them. Device
// thread.
#include <string.h>

#include "faces_parts.h"

static int finish_alone(struct ls_cuda_faces *f, int r, struct ls_err *err)
{
    if (r == 0)
        r = ls_cuda_pass_out(f, &f->single, err);
    if (r == 0)
        r = ls_cuda_pass_wait(&f->single, err);
    if (r < 0)
        ls_cuda_faces_drain(f);
    return r;
}

// Room for one face and for what is read and written of its frame.
static int lay_out_alone(struct ls_cuda_stage *stage, const struct ls_frame *frame,
                         const struct ls_paste *cut, const struct ls_paste *paste)
{
    stage->out_from = stage->size;
    return frame->on_device ? -1 : ls_cuda_stage_frame(stage, frame, cut, paste);
}

static void put_face(const struct ls_cuda_stage *stage, size_t at, int idx,
                     const struct ls_frame *frame, const struct ls_paste *paste)
{
    struct ls_cuda_face *face = ls_cuda_stage_host(stage, at);

    ls_cuda_face_init(face, frame, paste);
    if (idx >= 0)
        ls_cuda_stage_place(&face->picture, stage, idx);
    ls_cuda_stage_put(stage);
}

int ls_cuda_faces_crop(struct ls_cuda_faces *f, uint8_t *out, const struct ls_frame *frame,
                       const struct ls_box *box, float roll_rad, struct ls_err *err)
{
    const struct ls_paste paste = {.box = *box, .roll_rad = roll_rad, .mask = LS_MASK_RECTANGLE};
    struct ls_cuda_pass *p = &f->single;
    struct ls_cuda_stage *stage = &p->stage;
    size_t face_at, out_at;
    int idx, r;

    ls_cuda_pass_begin(p);
    face_at = ls_cuda_stage_take(stage, sizeof(struct ls_cuda_face));
    idx = lay_out_alone(stage, frame, &paste, NULL);
    p->in_size = stage->size;
    out_at = ls_cuda_stage_take(stage, LS_CUDA_SOURCE_SIZE);
    r = ls_cuda_stage_reserve(stage, err);
    if (r < 0)
        return r;
    put_face(stage, face_at, idx, frame, &paste);
    r = ls_cuda_pass_in(f, p, err);
    if (r == 0)
        r = ls_cuda_check(err,
                          ls_cuda_prepare(ls_cuda_stage_device(stage, out_at),
                                          ls_cuda_generator_input(f->params.generator),
                                          f->params.type, ls_cuda_stage_device(stage, face_at), 1,
                                          f->params.stream),
                          "cutting a face out");
    r = finish_alone(f, r, err);
    if (r == 0)
        memcpy(out, ls_cuda_stage_host(stage, out_at), LS_CUDA_SOURCE_SIZE);
    return r;
}

int ls_cuda_faces_composite(struct ls_cuda_faces *f, const struct ls_frame *frame,
                            const struct ls_paste *paste, struct ls_err *err)
{
    struct ls_cuda_pass *p = &f->single;
    struct ls_cuda_stage *stage = &p->stage;
    size_t face_at, made_at, source_at;
    const struct ls_int_box *write;
    struct ls_cuda_face *face;
    int idx, r;

    ls_cuda_pass_begin(p);
    face_at = ls_cuda_stage_take(stage, sizeof(struct ls_cuda_face));
    made_at = ls_cuda_stage_take(stage, LS_CUDA_MADE_SIZE);
    source_at = ls_cuda_stage_take(stage, LS_CUDA_SOURCE_SIZE);
    idx = lay_out_alone(stage, frame, NULL, paste);
    p->in_size = stage->size;
    r = ls_cuda_stage_reserve(stage, err);
    if (r < 0)
        return r;
    put_face(stage, face_at, idx, frame, paste);
    face = ls_cuda_stage_host(stage, face_at);
    face->source_known = paste->source != NULL;
    memcpy(ls_cuda_stage_host(stage, made_at), paste->face, LS_CUDA_MADE_SIZE);
    if (paste->source)
        memcpy(ls_cuda_stage_host(stage, source_at), paste->source, LS_CUDA_SOURCE_SIZE);
    write = &face->write[0];
    r = ls_cuda_pass_in(f, p, err);
    if (r == 0)
        r = ls_cuda_check(err,
                          ls_cuda_compose(ls_cuda_stage_device(stage, face_at), 1,
                                          ls_cuda_stage_device(stage, made_at),
                                          ls_cuda_stage_device(stage, source_at), f->scratch,
                                          write->x1 - write->x0, write->y1 - write->y0,
                                          f->params.stream),
                          "putting a face back");
    r = finish_alone(f, r, err);
    if (r == 0)
        ls_cuda_stage_get(stage);
    return r;
}

// There are records for full batches in flight, and besides only for faces that are known.
static bool has_records(const struct ls_cuda_faces *f, int count)
{
    for (int i = 0; i < LS_CUDA_FACES_DEPTH && i < f->flying; i++)
        count += f->flight[(f->first + i) % LS_CUDA_FACES_DEPTH].pass.count;
    return count <= f->params.record_count;
}

int ls_cuda_faces_generate(struct ls_cuda_faces *f, const struct ls_generate_job *job,
                           struct ls_err *err)
{
    static const struct ls_int_box all = {0, 0, LS_FACE_SIZE, LS_FACE_SIZE};
    struct ls_cuda_pass *p = &f->single;
    const uint8_t *made;
    int r;

    if (!has_records(f, job->count))
        return ls_fail(err, LS_EFIELD, "no room for %d faces beside %d batches that were begun",
                       job->count, f->flying);
    ls_cuda_pass_begin(p);
    for (int cut = 0; cut < LS_CUDA_CUTS; cut++)
        for (int i = 0; i < job->count; i++) {
            if ((int)ls_cuda_cut_of(job->part ? &job->part[i] : &all) != cut)
                continue;
            ls_cuda_pass_add(
                f, p,
                &(struct ls_cuda_item){.source = job->face + (size_t)i * LS_CUDA_SOURCE_SIZE,
                                       .mel = job->mel + (size_t)i * LS_CUDA_MEL_VALUES,
                                       .cut = (enum ls_cuda_cut)cut,
                                       .by_host = true},
                0);
        }
    r = ls_cuda_pass_run(f, p, err);
    if (r == 0)
        r = ls_cuda_pass_finish(f, p, err);
    if (r < 0)
        return r;
    made = ls_cuda_stage_host(&p->stage, p->made);
    for (int k = 0; k < p->count; k++) {
        size_t i = (size_t)(p->item[k].source - job->face) / LS_CUDA_SOURCE_SIZE;
        const struct ls_int_box *part = job->part ? &job->part[i] : &all;
        const float *from = (const float *)(const void *)(made + (size_t)k * LS_CUDA_MADE_SIZE);
        float *to = job->out + i * LS_CUDA_PIXELS * 3;

        memset(to, 0, LS_CUDA_MADE_SIZE); // beside the part lies what another face has left there
        for (int y = part->y0; y < part->y1; y++) {
            size_t at = (size_t)(y * LS_FACE_SIZE + part->x0) * 3;

            memcpy(to + at, from + at, sizeof *to * 3 * (size_t)(part->x1 - part->x0));
        }
    }
    return LS_OK;
}
