// SPDX-License-Identifier: Apache-2.0
// The way of a set of faces through the device: laid out in one block, copied in, cut out and
// encoded where their features are not known, decoded cut by cut, put back, copied out. Device
// thread; nothing here waits but the functions that say so. What surprises: the generator has one
// set of inputs for all passes; all that touches them is queued on one stream, so that a pass finds
// them free without asking.
#include <assert.h>
#include <string.h>

#include "../ref/ref.h"
#include "elements.h"
#include "faces_parts.h"

static int make_event(cudaEvent_t *out, unsigned flags, struct ls_err *err)
{
    return ls_cuda_check(err, (int)cudaEventCreateWithFlags(out, cudaEventDisableTiming | flags),
                         "an event");
}

int ls_cuda_pass_init(struct ls_cuda_pass *pass, size_t size, struct ls_err *err)
{
    int r = make_event(&pass->in_done, 0, err);

    if (r == 0)
        r = make_event(&pass->compute_done, 0, err);
    // The one that is waited for: asleep, as the processor's cores have videos to encode.
    if (r == 0)
        r = make_event(&pass->out_done, cudaEventBlockingSync, err);
    if (r == 0)
        r = ls_cuda_twin_reserve(&pass->stage.block, size, err);
    return r;
}

void ls_cuda_pass_done(struct ls_cuda_pass *pass)
{
    cudaEvent_t event[3] = {pass->in_done, pass->compute_done, pass->out_done};

    for (int i = 0; i < 3; i++)
        if (event[i] && cudaEventDestroy(event[i]) != cudaSuccess)
            (void)cudaGetLastError();
    ls_cuda_twin_done(&pass->stage.block);
}

void ls_cuda_pass_begin(struct ls_cuda_pass *pass)
{
    ls_cuda_stage_begin(&pass->stage);
    memset(pass->group, 0, sizeof pass->group);
    pass->count = pass->encode_count = pass->source_count = pass->made_count = 0;
}

void ls_cuda_pass_add(struct ls_cuda_faces *faces, struct ls_cuda_pass *pass,
                      const struct ls_cuda_item *item, uint64_t key)
{
    struct ls_cuda_item *i = &pass->item[pass->count];
    struct ls_cuda_group *g = &pass->group[item->cut];
    bool known;

    assert(pass->count < LS_CUDA_PASS_MAX);
    *i = *item;
    i->frame = -1;
    i->record = ls_cuda_records_take(faces->records, &known, key);
    i->encode = !known;
    if (g->count == 0)
        g->first = pass->count;
    assert(g->first + g->count == pass->count && (i->by_host || g->paste_count == g->count));
    g->count++;
    g->paste_count += !i->by_host;
    pass->count++;
    pass->encode_count += i->encode;
    pass->source_count += i->by_host && i->encode;
    pass->made_count += i->by_host;
}

static void lay_out(struct ls_cuda_pass *p)
{
    struct ls_cuda_stage *stage = &p->stage;
    size_t count = (size_t)p->count, encode_count = (size_t)p->encode_count;

    p->paste_face = ls_cuda_stage_take(stage, count * sizeof(struct ls_cuda_face));
    p->encode_face = ls_cuda_stage_take(stage, encode_count * sizeof(struct ls_cuda_face));
    p->mel = ls_cuda_stage_take(stage, count * LS_CUDA_MEL_VALUES * sizeof(float));
    p->encode_record = ls_cuda_stage_take(stage, encode_count * sizeof(int));
    p->use_record = ls_cuda_stage_take(stage, count * sizeof(int));
    p->source = ls_cuda_stage_take(stage, (size_t)p->source_count * LS_CUDA_SOURCE_SIZE);
    stage->out_from = stage->size;
    for (int k = 0; k < p->count; k++) {
        struct ls_cuda_item *i = &p->item[k];

        if (!i->by_host && !i->job->frame->on_device)
            i->frame = ls_cuda_stage_frame(stage, i->job->frame, i->encode ? &i->job->paste : NULL,
                                           &i->job->paste);
    }
    p->in_size = stage->size;
    p->made = ls_cuda_stage_take(stage, (size_t)p->made_count * LS_CUDA_MADE_SIZE);
}

// A given source as a frame of its own, which prepare cuts out whole: at 96 samples for 96 pixels
// it takes each sample as it is.
static int put_source(struct ls_cuda_pass *p, struct ls_cuda_face *face, int idx,
                      const struct ls_cuda_item *item, struct ls_err *err)
{
    static const struct ls_paste whole = {.box = {0, 0, LS_FACE_SIZE, LS_FACE_SIZE},
                                          .mask = LS_MASK_RECTANGLE};
    size_t at = p->source + (size_t)idx * LS_CUDA_SOURCE_SIZE;
    struct ls_frame frame = {.plane = {ls_cuda_stage_device(&p->stage, at)},
                             .stride = {3 * LS_FACE_SIZE},
                             .width_px = LS_FACE_SIZE,
                             .height_px = LS_FACE_SIZE,
                             .format = LS_PIX_RGB24,
                             .on_device = true};
    uint8_t cut[LS_CUDA_SOURCE_SIZE], *to = ls_cuda_stage_host(&p->stage, at);
    const uint8_t *from = item->source;
    int r = LS_OK;

    if (item->job) {
        r = ls_ref_crop(cut, item->job->frame, &item->job->paste.box, 0, true, err);
        from = cut;
    }
    for (int i = 0; i < LS_CUDA_PIXELS && r == 0; i++)
        for (int c = 0; c < 3; c++)
            to[3 * i + c] = from[3 * i + 2 - c];
    ls_cuda_face_init(face, &frame, &whole);
    return r;
}

static void put_face(const struct ls_cuda_faces *faces, const struct ls_cuda_pass *p,
                     struct ls_cuda_face *face, const struct ls_cuda_item *item)
{
    ls_cuda_face_init(face, item->job->frame, &item->job->paste);
    face->levels = faces->params.levels;
    if (item->frame >= 0)
        ls_cuda_stage_place(&face->picture, &p->stage, item->frame);
}

static void widen(struct ls_cuda_group *g, const struct ls_int_box *write)
{
    int width = write->x1 - write->x0, height = write->y1 - write->y0;

    g->width_max = width > g->width_max ? width : g->width_max;
    g->height_max = height > g->height_max ? height : g->height_max;
}

// What the host puts back is exact, or its levels are the caller's to see to (../generate.c).
static int fill(const struct ls_cuda_faces *faces, struct ls_cuda_pass *p, struct ls_err *err)
{
    struct ls_cuda_face *paste_face = ls_cuda_stage_host(&p->stage, p->paste_face);
    struct ls_cuda_face *encode_face = ls_cuda_stage_host(&p->stage, p->encode_face);
    float *mel = ls_cuda_stage_host(&p->stage, p->mel);
    int *encode_record = ls_cuda_stage_host(&p->stage, p->encode_record);
    int *use_record = ls_cuda_stage_host(&p->stage, p->use_record);
    int encoded = 0, given = 0, r = LS_OK;

    for (int k = 0; k < p->count && r == 0; k++) {
        const struct ls_cuda_item *i = &p->item[k];

        memcpy(mel + (size_t)k * LS_CUDA_MEL_VALUES, i->mel, LS_CUDA_MEL_VALUES * sizeof *mel);
        use_record[k] = i->record;
        if (!i->by_host) {
            put_face(faces, p, &paste_face[k], i);
            widen(&p->group[i->cut], &paste_face[k].write[0]);
        }
        if (!i->encode)
            continue;
        encode_record[encoded] = i->record;
        if (i->by_host)
            r = put_source(p, &encode_face[encoded], given++, i, err);
        else
            encode_face[encoded] = paste_face[k];
        encoded++;
    }
    ls_cuda_stage_put(&p->stage);
    return r;
}

static int copy(void *to, const void *from, size_t size, cudaStream_t stream, struct ls_err *err)
{
    return ls_cuda_check(err,
                         (int)cudaMemcpyAsync(to, from, size, cudaMemcpyDeviceToDevice, stream),
                         "a copy on the device");
}

int ls_cuda_pass_in(struct ls_cuda_faces *faces, struct ls_cuda_pass *p, struct ls_err *err)
{
    int r = ls_cuda_check(err,
                          (int)cudaMemcpyAsync(p->stage.block.device, p->stage.block.host,
                                               p->in_size, cudaMemcpyHostToDevice, faces->in),
                          "a copy to the device");

    if (r == 0)
        r = ls_cuda_check(err, (int)cudaEventRecord(p->in_done, faces->in), "an event");
    if (r == 0)
        r = ls_cuda_check(err, (int)cudaStreamWaitEvent(faces->params.stream, p->in_done, 0),
                          "an event");
    return r;
}

int ls_cuda_pass_out(struct ls_cuda_faces *faces, struct ls_cuda_pass *p, struct ls_err *err)
{
    size_t from = p->stage.out_from, size = p->stage.size - from;
    int r =
        ls_cuda_check(err, (int)cudaEventRecord(p->compute_done, faces->params.stream), "an event");

    if (r == 0)
        r = ls_cuda_check(err, (int)cudaStreamWaitEvent(faces->out, p->compute_done, 0),
                          "an event");
    if (r == 0 && size > 0)
        r = ls_cuda_check(err,
                          (int)cudaMemcpyAsync(ls_cuda_stage_host(&p->stage, from),
                                               ls_cuda_stage_device(&p->stage, from), size,
                                               cudaMemcpyDeviceToHost, faces->out),
                          "a copy from the device");
    if (r == 0)
        r = ls_cuda_check(err, (int)cudaEventRecord(p->out_done, faces->out), "an event");
    return r;
}

int ls_cuda_pass_wait(struct ls_cuda_pass *p, struct ls_err *err)
{
    return ls_cuda_check(err, (int)cudaEventSynchronize(p->out_done), "a batch of faces");
}

// Sources go into records beside the features, and out of them again: as floats only because they
// are moved 4 bytes at a time; no arithmetic is done.
static struct ls_cuda_parts source_parts(const struct ls_cuda_faces *faces, const int *record)
{
    enum { ROW = 3 * LS_FACE_SIZE / 4 };

    return (struct ls_cuda_parts){.part = {{.data = faces->source,
                                            .tensor = {.h = LS_FACE_SIZE,
                                                       .w = 1,
                                                       .c = ROW,
                                                       .item = LS_CUDA_SOURCE_SIZE / 4,
                                                       .row = ROW,
                                                       .pixel = ROW},
                                            .source_w = 1}},
                                  .part_count = 1,
                                  .type = LS_CUDA_FP32,
                                  .record = faces->record_source,
                                  .record_size = LS_CUDA_SOURCE_SIZE,
                                  .slot = record};
}

static int encode(struct ls_cuda_faces *faces, const struct ls_cuda_pass *p, struct ls_err *err)
{
    struct ls_cuda_generator *generator = faces->params.generator;
    cudaStream_t stream = faces->params.stream;
    const int *record = ls_cuda_stage_device(&p->stage, p->encode_record);
    struct ls_cuda_parts parts = source_parts(faces, record);
    int count = p->encode_count, r;

    r = copy(ls_cuda_generator_encode_slot(generator), record, (size_t)count * sizeof(int), stream,
             err);
    if (r == 0)
        r = ls_cuda_check(
            err,
            ls_cuda_prepare(faces->source, ls_cuda_generator_input(generator), faces->params.type,
                            ls_cuda_stage_device(&p->stage, p->encode_face), count, stream),
            "cutting faces out");
    if (r == 0 && faces->params.levels)
        r = ls_cuda_check(
            err,
            ls_cuda_level(faces->source, ls_cuda_generator_input(generator), faces->params.type,
                          ls_cuda_stage_device(&p->stage, p->encode_face), count, stream),
            "faces' levels");
    if (r == 0)
        r = ls_cuda_check(err, ls_cuda_store(&parts, count, stream), "keeping faces");
    if (r == 0)
        r = ls_cuda_generator_encode(generator, count, stream, err);
    return r;
}

static int paste(struct ls_cuda_faces *faces, const struct ls_cuda_pass *p,
                 const struct ls_cuda_group *g, const float *made, struct ls_err *err)
{
    const struct ls_cuda_face *face = ls_cuda_stage_device(&p->stage, p->paste_face);
    const int *record = ls_cuda_stage_device(&p->stage, p->use_record);
    struct ls_cuda_parts parts = source_parts(faces, record + g->first);
    int r = ls_cuda_check(err, ls_cuda_gather(&parts, g->paste_count, faces->params.stream),
                          "fetching faces");

    if (r == 0)
        r = ls_cuda_check(err,
                          ls_cuda_compose(face + g->first, g->paste_count, made, faces->source,
                                          faces->scratch, g->width_max, g->height_max,
                                          faces->params.stream),
                          "putting faces back");
    return r;
}

// host_idx: how many items of groups before are put back by the host.
static int decode(struct ls_cuda_faces *faces, const struct ls_cuda_pass *p, int cut, int host_idx,
                  struct ls_err *err)
{
    struct ls_cuda_generator *generator = faces->params.generator;
    cudaStream_t stream = faces->params.stream;
    const struct ls_cuda_group *g = &p->group[cut];
    const int *record = ls_cuda_stage_device(&p->stage, p->use_record);
    const float *mel = ls_cuda_stage_device(&p->stage, p->mel);
    uint8_t *out = ls_cuda_stage_device(&p->stage, p->made);
    size_t first = (size_t)g->first, count = (size_t)g->count;
    float *made = NULL;
    int r;

    r = copy(ls_cuda_generator_decode_slot(generator), record + first, count * sizeof *record,
             stream, err);
    if (r == 0)
        r = copy(ls_cuda_generator_mel(generator), mel + first * LS_CUDA_MEL_VALUES,
                 count * LS_CUDA_MEL_VALUES * sizeof *mel, stream, err);
    if (r == 0)
        r = ls_cuda_generator_decode(generator, &made, g->count, &ls_cuda_cut_box[cut], stream,
                                     err);
    if (r == 0 && g->paste_count > 0)
        r = paste(faces, p, g, made, err);
    if (r == 0 && g->count > g->paste_count)
        r = copy(out + (size_t)host_idx * LS_CUDA_MADE_SIZE,
                 made + (size_t)g->paste_count * LS_CUDA_PIXELS * 3,
                 (size_t)(g->count - g->paste_count) * LS_CUDA_MADE_SIZE, stream, err);
    return r;
}

static void give_records(struct ls_cuda_faces *faces, const struct ls_cuda_pass *p, bool failed)
{
    for (int k = 0; k < p->count; k++) {
        if (failed && p->item[k].encode)
            ls_cuda_records_forget(faces->records, p->item[k].record);
        ls_cuda_records_give(faces->records, p->item[k].record);
    }
}

void ls_cuda_pass_drop(struct ls_cuda_faces *faces, struct ls_cuda_pass *p)
{
    give_records(faces, p, true);
}

int ls_cuda_pass_run(struct ls_cuda_faces *faces, struct ls_cuda_pass *p, struct ls_err *err)
{
    int host_idx = 0, r;

    if (p->count == 0)
        return LS_OK;
    lay_out(p);
    r = ls_cuda_stage_reserve(&p->stage, err);
    if (r == 0)
        r = fill(faces, p, err);
    if (r == 0)
        r = ls_cuda_pass_in(faces, p, err);
    if (r == 0 && p->encode_count > 0)
        r = encode(faces, p, err);
    for (int cut = 0; cut < LS_CUDA_CUTS && r == 0; cut++) {
        if (p->group[cut].count > 0)
            r = decode(faces, p, cut, host_idx, err);
        host_idx += p->group[cut].count - p->group[cut].paste_count;
    }
    if (r == 0)
        r = ls_cuda_pass_out(faces, p, err);
    if (r < 0) {
        ls_cuda_faces_drain(faces);
        give_records(faces, p, true);
    }
    return r;
}

// An exact paste's failure is its job's alone: its err says it.
static void paste_exact(const struct ls_cuda_pass *p)
{
    const uint8_t *made = ls_cuda_stage_host(&p->stage, p->made);

    for (int k = 0; k < p->count; k++) {
        const struct ls_cuda_item *i = &p->item[k];
        struct ls_paste exact;

        if (!i->by_host)
            continue;
        if (i->job) {
            exact = i->job->paste;
            exact.face = (const float *)made;
            if (ls_ref_composite(i->job->frame, &exact, &i->job->err) < 0)
                assert(i->job->err.code < 0);
        }
        made += LS_CUDA_MADE_SIZE;
    }
}

int ls_cuda_pass_finish(struct ls_cuda_faces *faces, struct ls_cuda_pass *p, struct ls_err *err)
{
    int r = p->count > 0 ? ls_cuda_pass_wait(p, err) : LS_OK;

    if (r < 0)
        ls_cuda_faces_drain(faces);
    if (r == 0) {
        ls_cuda_stage_get(&p->stage);
        paste_exact(p);
    }
    give_records(faces, p, r < 0);
    return r;
}
