// SPDX-License-Identifier: Apache-2.0
// The border of arithmetic: every argument of every operation is checked here (the generator's in
// generate.c), once, for all back ends, which then only assert. A fault is the caller's
// (LS_EFIELD), except samples that no decoder should give (LS_EMEDIA). Calls belong to the lane's
// thread.
#include "backend.h"

#ifdef __x86_64__
#include <cpuid.h>
#endif
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lane.h"
#include "mel.h"
#include "module.h"

enum {
    BATCH_MAX = 64,
    SIDE_MIN = 16,
    SIDE_MAX = 8192,
    COLUMNS_MAX = 1 << 20, // of one job; 3.6 hours
    LONG_SIDE_MIN = 64,
    LONG_SIDE_MAX = 1280,
};
#define COORDINATE_MAX 32768.0f // four times the largest frame
#define FEATHER_MAX    24.0f
#define ROLL_MAX       1.0f // radians: heads lean, but do not stand on their side
#define SHARPNESS_MAX  2.0f

static bool among(const char *name, const char *const *names)
{
    while (*names && strcmp(*names, name) != 0)
        names++;
    return *names != NULL;
}

static int check_params(const struct ls_backend_params *p, struct ls_err *err)
{
    static const char *const back_ends[] = {"ref", "cpu", "cuda", "auto", NULL};
    static const char *const arithmetics[] = {"auto", "fp32", "tf32", "fp16", "bf16", "int8", NULL};

    if (!p || !p->name || !among(p->name, back_ends))
        return ls_fail(err, LS_EFIELD, "back end \"%.32s\" is not known (ref, cpu, cuda, auto)",
                       p && p->name ? p->name : "");
    if (p->arithmetic && !among(p->arithmetic, arithmetics))
        return ls_fail(err, LS_EFIELD,
                       "arithmetic \"%.32s\" is not known (auto, fp32, tf32, fp16, bf16, int8)",
                       p->arithmetic);
    if (!p->model || !p->model->generator)
        return ls_fail(err, LS_EMODEL, "no model");
    if (p->batch_max < 0 || p->batch_max > BATCH_MAX)
        return ls_fail(err, LS_EFIELD, "a batch of %d: 1 to %d are possible", p->batch_max,
                       BATCH_MAX);
    if (p->face_cache_bytes < 0)
        return ls_fail(err, LS_EFIELD, "%lld bytes for known faces",
                       (long long)p->face_cache_bytes);
    return 0;
}

// The processor's name for itself, as "AMD EPYC 9575F 64-Core Processor".
static void name_processor(char name[64])
{
    unsigned word[13] = {0}; // 48 characters and an end
    char *brand = (char *)word;

#ifdef __x86_64__
    for (unsigned i = 0; i < 3; i++)
        if (!__get_cpuid(0x80000002U + i, &word[4 * i], &word[4 * i + 1], &word[4 * i + 2],
                         &word[4 * i + 3]))
            break;
#endif
    for (size_t i = strlen(brand); i > 0 && brand[i - 1] == ' '; i--)
        brand[i - 1] = '\0';
    brand += strspn(brand, " ");
    snprintf(name, 64, "%s", *brand ? brand : "the host's processor");
}

static int open_ops(struct ls_backend *b, const struct ls_backend_ops *ops,
                    const struct ls_backend_params *params, struct ls_err *err)
{
    struct ls_backend_params p = *params;
    int r;

    p.name = ops->name;
    p.arithmetic = p.arithmetic ? p.arithmetic : "auto";
    p.batch_max = p.batch_max ? p.batch_max : ops->batch_usual;
    r = ops->open(&b->be, &p, err);
    if (r < 0)
        return r;
    b->ops = ops;
    b->batch_max = p.batch_max;
    return 0;
}

static int open_cuda(struct ls_backend *b, const struct ls_backend_params *params,
                     struct ls_err *err)
{
    const struct ls_backend_ops *ops = NULL;
    void *library = NULL;
    int r = ls_module_load(&ops, &library, params->module, err);

    if (r < 0)
        return r;
    r = open_ops(b, ops, params, err);
    if (r < 0)
        ls_module_leave(&library);
    return r;
}

static int open_auto(struct ls_backend *b, const struct ls_backend_params *params,
                     struct ls_err *err)
{
    struct ls_err why = {0};
    int r = open_cuda(b, params, &why);

    if (r == 0)
        return 0;
    snprintf(b->note, sizeof b->note, "%s", why.text);
    r = open_ops(b, &ls_backend_cpu, params, err);
    return r < 0 ? ls_fail_prefix(err, "no device (%s)", why.text) : 0;
}

int ls_backend_open(struct ls_backend **out, const struct ls_backend_params *params,
                    struct ls_err *err)
{
    struct ls_backend *b;
    int r = check_params(params, err);

    if (r < 0)
        return r;
    b = calloc(1, sizeof *b);
    if (!b)
        return ls_fail(err, LS_ENOMEM, "no memory for the back end");
    b->model = params->model;
    name_processor(b->processor);
    if (!strcmp(params->name, "auto"))
        r = open_auto(b, params, err);
    else if (!strcmp(params->name, "cuda"))
        r = open_cuda(b, params, err);
    else
        r = open_ops(b, !strcmp(params->name, "ref") ? &ls_backend_ref : &ls_backend_cpu, params,
                     err);
    if (r < 0) {
        free(b);
        return r;
    }
    *out = b;
    return 0;
}

void ls_backend_close(struct ls_backend **be)
{
    if (!be || !*be)
        return;
    (*be)->ops->close(&(*be)->be);
    free(*be);
    *be = NULL;
}

const char *ls_backend_name(const struct ls_backend *be)
{
    return be->ops->name;
}

const char *ls_backend_arithmetic(const struct ls_backend *be)
{
    return be->ops->arithmetic(be->be);
}

const char *ls_backend_device(const struct ls_backend *be)
{
    return be->ops->device ? be->ops->device(be->be) : be->processor;
}

const char *ls_backend_note(const struct ls_backend *be)
{
    return be->note;
}

bool ls_backend_takes(const struct ls_backend *be, enum ls_pixel format)
{
    return (unsigned)format <= LS_PIX_P010 && be->ops->formats >> format & 1;
}

bool ls_backend_device_frames(const struct ls_backend *be)
{
    return be->ops->device_frames;
}

int ls_backend_lanes_max(const struct ls_backend *be)
{
    return be->ops->lanes_max;
}

int ls_backend_batch_max(const struct ls_backend *be)
{
    return be->batch_max;
}

int ls_backend_faces_depth(const struct ls_backend *be)
{
    return be->ops->faces_start ? be->ops->depth : 0;
}

bool ls_backend_lost(const struct ls_backend *be)
{
    return be->ops->lost && be->ops->lost(be->be);
}

bool ls_backend_holds_weights(const struct ls_backend *be)
{
    return be->ops->holds_weights;
}

int ls_backend_memory_alloc(struct ls_backend *be, void **out, size_t size, struct ls_err *err)
{
    if (!be->ops->memory_alloc || !out || size < 1 || size > PTRDIFF_MAX)
        return ls_fail(err, LS_EFIELD, "%zu bytes of a device's memory (back end %s)", size,
                       be->ops->name);
    return be->ops->memory_alloc(be->be, out, size, err);
}

void ls_backend_memory_free(struct ls_backend *be, void **memory)
{
    if (memory && *memory)
        be->ops->memory_free(be->be, memory);
}

int ls_backend_copy(struct ls_backend *be, const struct ls_copy *copy, struct ls_err *err)
{
    const struct ls_copy *c = copy;

    if (!be->ops->copy || !c || !c->to || !c->from || c->row_count < 1 || c->row_size < 1 ||
        c->to_stride < c->row_size || c->from_stride < c->row_size)
        return ls_fail(err, LS_EFIELD, "a copy of %d rows of %zu bytes (back end %s)",
                       c ? c->row_count : 0, c ? c->row_size : 0, be->ops->name);
    return be->ops->copy(be->be, c, err);
}

static int alloc_levels(struct ls_lane *lane, struct ls_err *err)
{
    size_t items = (size_t)lane->backend->batch_max;

    if (!lane->backend->model->input_levels)
        return 0;
    lane->levelled = malloc(items * LS_FACE_SIZE * LS_FACE_SIZE * 3);
    lane->levels = malloc(items * sizeof *lane->levels);
    return lane->levelled && lane->levels
               ? 0
               : ls_fail(err, LS_ENOMEM, "no memory for a lane's levelled faces");
}

static void free_lane(struct ls_lane *lane)
{
    free(lane->levelled);
    free(lane->levels);
    free(lane);
}

int ls_lane_open(struct ls_lane **out, struct ls_backend *be, struct ls_err *err)
{
    struct ls_lane *l = calloc(1, sizeof *l);
    int r;

    if (!l)
        return ls_fail(err, LS_ENOMEM, "no memory for a lane");
    l->backend = be;
    r = alloc_levels(l, err);
    if (r == 0)
        r = be->ops->lane_open(&l->lane, be->be, err);
    if (r < 0) {
        free_lane(l);
        return r;
    }
    *out = l;
    return 0;
}

void ls_lane_close(struct ls_lane **lane)
{
    if (!lane || !*lane)
        return;
    (*lane)->backend->ops->lane_close(&(*lane)->lane);
    free_lane(*lane);
    *lane = NULL;
}

// False for NaN.
static bool within(float v, float low, float high)
{
    return v >= low && v <= high;
}

static int check_frame(const struct ls_lane *lane, const struct ls_frame *f, struct ls_err *err)
{
    if (!f || f->width_px < SIDE_MIN || f->width_px > SIDE_MAX || f->height_px < SIDE_MIN ||
        f->height_px > SIDE_MAX)
        return ls_fail(err, LS_EFIELD, "a frame of %dx%d: sides of %d to %d are possible",
                       f ? f->width_px : 0, f ? f->height_px : 0, SIDE_MIN, SIDE_MAX);
    if (!ls_backend_takes(lane->backend, f->format) ||
        (f->format != LS_PIX_RGB24 && (unsigned)f->matrix > LS_MATRIX_BT2020))
        return ls_fail(err, LS_EFIELD, "a frame of format %d, matrix %d", (int)f->format,
                       (int)f->matrix);
    if (f->on_device && !lane->backend->ops->device_frames)
        return ls_fail(err, LS_EFIELD, "a frame on a device, of which the back end %s has none",
                       lane->backend->ops->name);
    for (int i = 0; i < ls_frame_planes(f->format); i++) {
        int row_size = ls_frame_row_size(f, i);

        if (!f->plane[i] || f->stride[i] < row_size)
            return ls_fail(err, LS_EFIELD, "plane %d of a frame: rows of %d bytes, %d apart", i,
                           row_size, f->plane[i] ? f->stride[i] : 0);
        if (f->format == LS_PIX_P010 && (f->stride[i] % 2 || (uintptr_t)f->plane[i] % 2))
            return ls_fail(err, LS_EFIELD,
                           "plane %d of a frame: samples of 2 bytes are not aligned", i);
    }
    return 0;
}

static int check_box(const struct ls_box *b, struct ls_err *err)
{
    const float m = COORDINATE_MAX;

    if (!b)
        return ls_fail(err, LS_EFIELD, "no box");
    if (!within(b->x0, -m, m) || !within(b->y0, -m, m) || !within(b->x1, -m, m) ||
        !within(b->y1, -m, m) || !(b->x1 > b->x0) || !(b->y1 > b->y0))
        return ls_fail(err, LS_EFIELD, "box (%g, %g, %g, %g) is empty or far away", (double)b->x0,
                       (double)b->y0, (double)b->x1, (double)b->y1);
    return 0;
}

static int check_roll(float roll_rad, struct ls_err *err)
{
    if (!within(roll_rad, -ROLL_MAX, ROLL_MAX))
        return ls_fail(err, LS_EFIELD, "a roll of %g: -%g..%g are possible", (double)roll_rad,
                       (double)ROLL_MAX, (double)ROLL_MAX);
    return 0;
}

static int check_mel(const struct ls_mel_job *j, struct ls_err *err)
{
    int64_t first, last;

    if (!j || !j->pcm || j->count < 1 || j->count > COLUMNS_MAX || j->first < 0 ||
        j->first > INT64_MAX / LS_TICKS || j->pcm_first < 0 || j->pcm_count < 1 ||
        j->pcm_first > INT64_MAX - j->pcm_count)
        return ls_fail(err, LS_EFIELD, "a mel job of %d columns from %lld on", j ? j->count : 0,
                       j ? (long long)j->first : 0);
    if (j->total >= 0 &&
        (j->total <= LS_MEL_FFT / 2 || j->first + j->count - 1 > j->total / LS_MEL_HOP))
        return ls_fail(err, LS_EFIELD, "columns %lld + %d of a voice of %lld samples",
                       (long long)j->first, j->count, (long long)j->total);
    ls_mel_span(&first, &last, j);
    if (first < j->pcm_first || last >= j->pcm_first + j->pcm_count)
        return ls_fail(err, LS_EFIELD, "columns %lld + %d need samples %lld to %lld",
                       (long long)j->first, j->count, (long long)first, (long long)last);
    for (int64_t i = first; i <= last; i++)
        if (!within(j->pcm[i - j->pcm_first], -LS_SAMPLE_MAX, LS_SAMPLE_MAX))
            return ls_fail(err, LS_EMEDIA, "sample %lld of the voice is not a sane number",
                           (long long)i);
    return 0;
}

int ls_mel(struct ls_lane *lane, float *out, const struct ls_mel_job *job, struct ls_err *err)
{
    int r = out ? check_mel(job, err) : ls_fail(err, LS_EFIELD, "nowhere to put mel columns");

    return r < 0 ? r : lane->backend->ops->mel(lane->lane, out, job, err);
}

int ls_mel_batch(struct ls_lane *lane, float *const *out, const struct ls_mel_job *job, int count,
                 struct ls_err *err)
{
    const struct ls_backend_ops *ops = lane->backend->ops;
    int r = 0;

    if (!out || !job || count < 1 || count > BATCH_MAX)
        return ls_fail(err, LS_EFIELD, "%d mel jobs: 1 to %d are possible", count, BATCH_MAX);
    for (int i = 0; i < count && r == 0; i++) {
        r = out[i] ? check_mel(&job[i], err)
                   : ls_fail(err, LS_EFIELD, "nowhere to put mel columns");
        if (r < 0)
            ls_fail_prefix(err, "job %d", i);
    }
    if (r < 0)
        return r;
    if (ops->mel_batch)
        return ops->mel_batch(lane->lane, out, job, count, err);
    for (int i = 0; i < count && r == 0; i++)
        r = ops->mel(lane->lane, out[i], &job[i], err);
    return r;
}

int ls_detect(struct ls_lane *lane, struct ls_face *out, int *count, const struct ls_frame *frame,
              const struct ls_detect_params *params, struct ls_err *err)
{
    static const struct ls_detect_params usual = {0};
    const struct ls_detect_params *p = params ? params : &usual;
    int r = check_frame(lane, frame, err);

    if (r < 0)
        return r;
    if (!out || !count)
        return ls_fail(err, LS_EFIELD, "nowhere to put faces");
    if (p->long_side_px && (p->long_side_px < LONG_SIDE_MIN || p->long_side_px > LONG_SIDE_MAX ||
                            p->long_side_px % 32))
        return ls_fail(err, LS_EFIELD, "a long side of %d: multiples of 32, %d to %d, are possible",
                       p->long_side_px, LONG_SIDE_MIN, LONG_SIDE_MAX);
    if (!within(p->score_min, 0, 1))
        return ls_fail(err, LS_EFIELD, "a lowest score of %g", (double)p->score_min);
    if (lane->backend->model->detector == LS_DETECTOR_NONE)
        return ls_fail(err, LS_EMODEL, "no face detector was loaded");
    return lane->backend->ops->detect(lane->lane, out, count, frame, p, err);
}

int ls_crop(struct ls_lane *lane, uint8_t *out, const struct ls_frame *frame,
            const struct ls_box *box, float roll_rad, bool exact, struct ls_err *err)
{
    int r = check_frame(lane, frame, err);

    if (r == 0)
        r = check_box(box, err);
    if (r == 0 && !exact)
        r = check_roll(roll_rad, err);
    if (r == 0 && exact && frame->format != LS_PIX_RGB24)
        r = ls_fail(err, LS_EFIELD, "an exact crop needs RGB24 frames");
    if (r == 0 && !out)
        r = ls_fail(err, LS_EFIELD, "nowhere to put a face");
    return r < 0 ? r : lane->backend->ops->crop(lane->lane, out, frame, box, roll_rad, exact, err);
}

// A paste's numbers; its pictures are the caller's to look at.
static int check_mask(const struct ls_paste *p, struct ls_err *err)
{
    const float *e = p->mouth;
    float least = p->mask == LS_MASK_MOUTH ? 1e-3f : 0; // others may do without

    if ((unsigned)p->mask > LS_MASK_RECTANGLE)
        return ls_fail(err, LS_EFIELD, "mask %d is not known", (int)p->mask);
    if (!within(p->feather_px, 0, FEATHER_MAX) || !within(p->colour_match, 0, 1) ||
        !within(p->strength, 0, 1))
        return ls_fail(err, LS_EFIELD,
                       "feather %g (0..%g), colour match %g (0..1), strength %g "
                       "(0..1)",
                       (double)p->feather_px, (double)FEATHER_MAX, (double)p->colour_match,
                       (double)p->strength);
    if (!within(p->sharpness, 0, SHARPNESS_MAX))
        return ls_fail(err, LS_EFIELD, "sharpness %g (0..%g)", (double)p->sharpness,
                       (double)SHARPNESS_MAX);
    if (!within(e[0], -4, 4) || !within(e[1], -4, 4) || !within(e[2], least, 4) ||
        !within(e[3], least, 4))
        return ls_fail(err, LS_EFIELD, "mouth at (%g, %g), radii %g and %g", (double)e[0],
                       (double)e[1], (double)e[2], (double)e[3]);
    return check_roll(p->roll_rad, err);
}

static int check_paste(const struct ls_paste *p, struct ls_err *err)
{
    int r;

    if (!p->face)
        return ls_fail(err, LS_EFIELD, "no face to paste");
    if (p->exact)
        return 0;
    r = check_mask(p, err);
    if (r == 0 && (p->colour_match > 0 || p->sharpness > 0) && !p->source)
        r = ls_fail(err, LS_EFIELD, "a colour match or sharpness needs the source's face");
    return r;
}

int ls_composite(struct ls_lane *lane, const struct ls_frame *frame, const struct ls_paste *paste,
                 struct ls_err *err)
{
    int r = check_frame(lane, frame, err);

    if (r == 0 && !paste)
        r = ls_fail(err, LS_EFIELD, "nothing to paste");
    if (r == 0)
        r = check_box(&paste->box, err);
    if (r == 0)
        r = check_paste(paste, err);
    return r < 0 ? r : lane->backend->ops->composite(lane->lane, frame, paste, err);
}

static int check_face(const struct ls_lane *lane, const struct ls_face_job *j, struct ls_err *err)
{
    int r = check_frame(lane, j->frame, err);

    if (r == 0)
        r = check_box(&j->paste.box, err);
    if (r == 0 && !j->paste.exact)
        r = check_mask(&j->paste, err);
    else if (r == 0 && j->frame->format != LS_PIX_RGB24)
        r = ls_fail(err, LS_EFIELD, "an exact paste needs RGB24 frames");
    if (r == 0 && !j->mel)
        r = ls_fail(err, LS_EFIELD, "no sound");
    if (r == 0 && !ls_mel_sane(j->mel))
        r = ls_fail(err, LS_EFIELD, "a mel value is not a sane number");
    return r;
}

int ls_faces_start(struct ls_lane *lane, struct ls_face_job *job, int count, struct ls_err *err)
{
    const struct ls_backend *b = lane->backend;
    int r = 0;

    if (lane->flying >= ls_backend_faces_depth(b))
        return ls_fail(err, LS_EFIELD, "the back end %s takes %d batches of faces at a time",
                       b->ops->name, ls_backend_faces_depth(b));
    if (!job || count < 1 || count > b->batch_max)
        return ls_fail(err, LS_EFIELD, "a batch of %d: 1 to %d are possible", count, b->batch_max);
    for (int i = 0; i < count && r == 0; i++) {
        r = check_face(lane, &job[i], err);
        for (int k = 0; k < i && r == 0; k++)
            if (job[k].frame == job[i].frame)
                r = ls_fail(err, LS_EFIELD, "the frame of item %d", k);
        if (r < 0)
            ls_fail_prefix(err, "item %d", i);
    }
    if (r == 0)
        r = b->ops->faces_start(lane->lane, job, count, err);
    if (r == 0)
        lane->flying++;
    return r;
}

int ls_faces_finish(struct ls_lane *lane, struct ls_err *err)
{
    if (lane->flying == 0)
        return ls_fail(err, LS_EFIELD, "no batch of faces was begun");
    lane->flying--;
    return lane->backend->ops->faces_finish(lane->lane, err);
}
