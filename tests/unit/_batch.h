// SPDX-License-Identifier: Apache-2.0
// batch.c's back ends: they compute nothing, and each of their steps waits for a semaphore that the
// test holds; what ran is written down. "ref" computes on the lane's thread, face by face; "cpu"
// stands in for a device that takes two batches. Header only, for one program: it defines the
// library's own tables, and a program's symbols come first.
#ifndef LS_TEST_BATCH_H
#define LS_TEST_BATCH_H

#include <pthread.h>
#include <semaphore.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/backend.h"

enum { FLIGHTS = 2, BATCH_MAX = 4 };

// What lanes did. A run is a word; small work is in brackets.
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char runs[256];
static sem_t begun;     // posted for each run
static sem_t go;        // taken by each step
static bool stop_items; // a run of faces takes `go` for each of its items, else once
static int keys_wrong;  // faces that came with another one's source_key
static char refused;    // a device takes no batch with this name among others

struct fake_lane {
    struct {
        struct ls_face_job *job;
        int count;
    } flight[FLIGHTS];
    int flying;
};

static void tell(const char *text)
{
    pthread_mutex_lock(&lock);
    strcat(runs, *runs ? " " : "");
    strcat(runs, text);
    pthread_mutex_unlock(&lock);
    sem_post(&begun);
}

static int fake_open(void **be, const struct ls_backend_params *params, struct ls_err *err)
{
    (void)params;
    (void)err;
    *be = runs; // something that is not NULL
    return 0;
}

static void fake_close(void **be)
{
    *be = NULL;
}

static const char *fake_arithmetic(void *be)
{
    (void)be;
    return "none";
}

static int fake_lane_open(void **lane, void *be, struct ls_err *err)
{
    (void)be;
    *lane = calloc(1, sizeof(struct fake_lane));
    return *lane ? 0 : ls_fail(err, LS_ENOMEM, "a lane");
}

static void fake_lane_close(void **lane)
{
    free(*lane);
    *lane = NULL;
}

static int fake_mel(void *lane, float *out, const struct ls_mel_job *job, struct ls_err *err)
{
    (void)lane;
    (void)out;
    (void)err;
    tell((char[]){'(', (char)job->pcm[0], ')', '\0'});
    sem_wait(&go);
    return 0;
}

static int fake_detect(void *lane, struct ls_face *out, int *count, const struct ls_frame *frame,
                       const struct ls_detect_params *params, struct ls_err *err)
{
    (void)lane;
    (void)out;
    (void)params;
    (void)err;
    tell((char[]){'[', (char)frame->plane[0][0], ']', '\0'});
    sem_wait(&go);
    *count = 0; // so that it looks again, as often as it may
    return 0;
}

static int fake_crop(void *lane, uint8_t *out, const struct ls_frame *frame,
                     const struct ls_box *box, float roll_rad, bool exact, struct ls_err *err)
{
    (void)lane;
    (void)box;
    (void)roll_rad;
    (void)exact;
    out[0] = frame->plane[0][0];
    return out[0] == '!' ? ls_fail(err, LS_EFIELD, "this one cannot be cropped") : 0;
}

static int fake_generate(void *lane, float *out, const uint8_t *face, const float *mel, int count,
                         struct ls_err *err)
{
    (void)lane;
    (void)out;
    (void)face;
    (void)mel;
    (void)count;
    return ls_fail(err, LS_EINTERNAL, "rows are asked for");
}

static int fake_generate_part(void *lane, const struct ls_generate_job *job, struct ls_err *err)
{
    char names[BATCH_MAX + 1] = "";
    bool each = stop_items;

    (void)lane;
    (void)err;
    for (int i = 0; i < job->count; i++)
        names[i] = (char)job->face[(size_t)i * 3 * LS_FACE_SIZE * LS_FACE_SIZE];
    pthread_mutex_lock(&lock);
    for (int i = 0; i < job->count; i++)
        keys_wrong += !job->source_key || job->source_key[i] != (uint64_t)names[i];
    pthread_mutex_unlock(&lock);
    tell(names);
    if (!each)
        sem_wait(&go);
    for (int i = 0; each && i < job->count; i++)
        if (job->wanted(job->user, i))
            sem_wait(&go);
    return 0;
}

static int fake_composite(void *lane, const struct ls_frame *frame, const struct ls_paste *paste,
                          struct ls_err *err)
{
    (void)lane;
    (void)paste;
    (void)err;
    frame->plane[0][1] = 'c';
    return 0;
}

static int fake_faces_start(void *lane, struct ls_face_job *job, int count, struct ls_err *err)
{
    struct fake_lane *l = lane;
    char names[BATCH_MAX + 1] = "";

    for (int i = 0; i < count; i++)
        names[i] = (char)job[i].frame->plane[0][0];
    if (refused && strchr(names, refused))
        return ls_fail(err, LS_EDEVICE, "refused");
    l->flight[l->flying].job = job;
    l->flight[l->flying++].count = count;
    tell(names);
    return 0;
}

static int fake_faces_finish(void *lane, struct ls_err *err)
{
    struct fake_lane *l = lane;

    (void)err;
    sem_wait(&go);
    for (int i = 0; i < l->flight[0].count; i++) {
        l->flight[0].job[i].frame->plane[0][1] = 'c';
        l->flight[0].job[i].err = (struct ls_err){0};
    }
    l->flight[0] = l->flight[1];
    l->flying--;
    return 0;
}

#define FAKE_OPS(n)                                                                                \
    .name = n, .open = fake_open, .close = fake_close, .arithmetic = fake_arithmetic,              \
    .lane_open = fake_lane_open, .lane_close = fake_lane_close, .mel = fake_mel,                   \
    .detect = fake_detect, .crop = fake_crop, .generate = fake_generate,                           \
    .composite = fake_composite, .formats = 1U << LS_PIX_I420, .batch_usual = BATCH_MAX

const struct ls_backend_ops ls_backend_ref = {FAKE_OPS("ref"), .generate_part = fake_generate_part};
const struct ls_backend_ops ls_backend_cpu = {FAKE_OPS("cpu"), .faces_start = fake_faces_start,
                                              .faces_finish = fake_faces_finish, .depth = FLIGHTS};

#endif
