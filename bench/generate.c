// SPDX-License-Identifier: Apache-2.0
// The generator alone, through the table that the service calls, driven line by line:
// `bench_generate WEIGHTS ARITHMETIC THREADS [CALIBRATION]`. It opens the cpu back end with a lane
// for each thread and says "ready" and what computes, or "SKIP" and why not (exit code 77). Then
// each line of standard input is answered by one line of standard output:
//
// * load FACES MELS COUNT: raw files, uint8 [COUNT][96][96][3] BGR and float32 [COUNT][16][80];
//   "ok".
// * part PART: pixels that a paste with this mask reads; "x0 y0 x1 y1".
// * run MODE BATCH THREADS PART KNOWN CALLS: "seconds of wall clock, of processors, faces made".
// * write PART KNOWN FILE: float32 [COUNT][96][96][3] of all that is loaded; "ok".
//
// MODE: "shared": a call has BATCH faces, which the threads divide, and ends when all are done;
// "flow": each thread makes calls of BATCH faces of its own. PART: whole, lower or mouth, as the
// service's defaults have them. KNOWN: 1: a face is told apart by its number, so that one that was
// seen before is not encoded anew. Faces keep their levels, whatever the model says, so that any
// engine can be compared.
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "kernels/backend.h"
#include "kernels/calibration.h"
#include "kernels/model.h"
#include "kernels/paste.h"

enum {
    SIDE = LS_FACE_SIZE,
    FACE = SIDE * SIDE * 3,
    MEL = LS_MEL_WINDOW * LS_MEL_BANDS,
    BATCH_MAX = 64,
    THREADS_MAX = 64,
    COUNT_MAX = 4096,
};

struct order {
    bool shared;
    int batch, threads, calls;
    int known;
    struct ls_int_box part;
    float *out; // [count] faces one after the other; NULL: each thread's own buffer
};

struct engine {
    struct ls_model *model;
    struct ls_calibration calibration;
    struct ls_backend *backend;
    struct ls_lane *lane[THREADS_MAX];
    pthread_t thread[THREADS_MAX];
    int threads, started;
    float *made[THREADS_MAX]; // [BATCH_MAX][96][96][3]
    uint8_t *face;            // [count + BATCH_MAX][96][96][3], its first ones again at the end
    float *mel;               // [count + BATCH_MAX][16][80]
    int count;
    // Given by the main thread before `begin`, read by all between `begin` and `end`.
    struct order order;
    bool stop;
    pthread_barrier_t begin, end; // of all threads and the main one
    pthread_barrier_t call;       // of order.threads, in shared mode
    pthread_mutex_t lock;         // of err
    struct ls_err err;            // the first failure
};

struct worker {
    struct engine *engine;
    int index;
};

static const struct {
    const char *name;
    struct ls_paste paste;
} parts[] = {
    {"whole", {.mask = LS_MASK_RECTANGLE}},
    {"lower", {.mask = LS_MASK_LOWER_FACE, .feather_px = 8}},
    {"mouth", {.mask = LS_MASK_MOUTH, .feather_px = 8, .mouth = {0.5f, 0.79f, 0.2f, 0.18f}}},
};

static bool find_part(struct ls_int_box *out, const char *name)
{
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        if (!strcmp(parts[i].name, name)) {
            ls_paste_reads(out, &parts[i].paste);
            return true;
        }
    return false;
}

// Faces [first, first + count) of those that are loaded; first may be beyond the end.
static void make(struct engine *e, int index, int first, int count)
{
    struct ls_int_box part[BATCH_MAX];
    uint64_t key[BATCH_MAX];
    struct ls_generate_job job = {
        .part = part, .source_key = e->order.known ? key : NULL, .count = count};
    struct ls_err err = {0};

    first %= e->count;
    job.face = e->face + (size_t)first * FACE;
    job.mel = e->mel + (size_t)first * MEL;
    job.out = e->order.out ? e->order.out + (size_t)first * FACE : e->made[index];
    for (int i = 0; i < count; i++) {
        part[i] = e->order.part;
        key[i] = 1 + (uint64_t)((first + i) % e->count);
    }
    if (count > 0 && ls_generate_part(e->lane[index], &job, &err) < 0) {
        pthread_mutex_lock(&e->lock);
        if (!e->err.text[0])
            e->err = err;
        pthread_mutex_unlock(&e->lock);
    }
}

static void work(struct engine *e, int index)
{
    const struct order *o = &e->order;
    int from = index * o->batch / o->threads, to = (index + 1) * o->batch / o->threads;

    for (int i = 0; i < o->calls; i++) {
        if (!o->shared) {
            make(e, index, (index * o->calls + i) * o->batch, o->batch);
            continue;
        }
        make(e, index, i * o->batch + from, to - from);
        pthread_barrier_wait(&e->call);
    }
}

static void *run_worker(void *user)
{
    struct worker w = *(struct worker *)user;

    free(user);
    for (;;) {
        pthread_barrier_wait(&w.engine->begin);
        if (w.engine->stop)
            return NULL;
        if (w.index < w.engine->order.threads)
            work(w.engine, w.index);
        pthread_barrier_wait(&w.engine->end);
    }
}

static double wall_s(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static double processor_s(void)
{
    struct rusage u;

    getrusage(RUSAGE_SELF, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
           1e-6 * (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec);
}

// Runs e->order on the threads. The answer is in reply.
static void carry_out(struct engine *e, char *reply, size_t reply_size)
{
    double wall, processor;

    e->err = (struct ls_err){0};
    pthread_barrier_init(&e->call, NULL, (unsigned)e->order.threads);
    wall = wall_s();
    processor = processor_s();
    pthread_barrier_wait(&e->begin);
    pthread_barrier_wait(&e->end);
    wall = wall_s() - wall;
    processor = processor_s() - processor;
    pthread_barrier_destroy(&e->call);
    if (e->err.text[0])
        snprintf(reply, reply_size, "FAIL %s", e->err.text);
    else
        snprintf(reply, reply_size, "%.6f %.6f %d", wall, processor,
                 e->order.batch * e->order.calls * (e->order.shared ? 1 : e->order.threads));
}

static bool read_file(void *to, const char *path, size_t size)
{
    FILE *f = fopen(path, "rb");
    bool ok = f && fread(to, 1, size, f) == size && getc(f) == EOF;

    if (f)
        fclose(f);
    return ok;
}

static bool load(struct engine *e, const char *faces, const char *mels, int count)
{
    size_t all = (size_t)count + BATCH_MAX;

    free(e->face);
    free(e->mel);
    e->face = malloc(all * FACE);
    e->mel = malloc(all * MEL * sizeof *e->mel);
    if (!e->face || !e->mel || !read_file(e->face, faces, (size_t)count * FACE) ||
        !read_file(e->mel, mels, (size_t)count * MEL * sizeof *e->mel)) {
        e->count = 0;
        return false;
    }
    e->count = count;
    for (int i = 0; i < BATCH_MAX; i++) { // so that a batch may begin at the last one
        memcpy(e->face + (size_t)(count + i) * FACE, e->face + (size_t)(i % count) * FACE, FACE);
        memcpy(e->mel + (size_t)(count + i) * MEL, e->mel + (size_t)(i % count) * MEL,
               MEL * sizeof *e->mel);
    }
    return true;
}

static bool write_all(struct engine *e, const char *path)
{
    char took[64];
    FILE *f;
    bool ok;

    e->order.out = calloc((size_t)e->count * FACE, sizeof(float));
    if (!e->order.out)
        return false;
    e->order.shared = true;
    e->order.batch = e->order.threads = 1;
    e->order.calls = e->count;
    carry_out(e, took, sizeof took);
    f = e->err.text[0] ? NULL : fopen(path, "wb");
    ok = f && fwrite(e->order.out, FACE * sizeof(float), (size_t)e->count, f) == (size_t)e->count;
    if (f && fclose(f))
        ok = false;
    free(e->order.out);
    return ok;
}

static void answer(struct engine *e, const char *line, char *reply, size_t reply_size)
{
    char first[1024], second[1024], mode[16], part[16];
    int count;
    struct order *o = &e->order;

    *o = (struct order){0};
    snprintf(reply, reply_size, "ok");
    if (sscanf(line, "load %1023s %1023s %d", first, second, &count) == 3) {
        if (count < 1 || count > COUNT_MAX || !load(e, first, second, count))
            snprintf(reply, reply_size, "FAIL cannot read %.999s or %.999s", first, second);
    } else if (sscanf(line, "part %15s", part) == 1 && find_part(&o->part, part)) {
        snprintf(reply, reply_size, "%d %d %d %d", o->part.x0, o->part.y0, o->part.x1, o->part.y1);
    } else if (sscanf(line, "run %15s %d %d %15s %d %d", mode, &o->batch, &o->threads, part,
                      &o->known, &o->calls) == 6 &&
               find_part(&o->part, part) && e->count && o->batch >= 1 && o->batch <= BATCH_MAX &&
               o->threads >= 1 && o->threads <= e->threads && o->calls >= 1) {
        o->shared = !strcmp(mode, "shared");
        carry_out(e, reply, reply_size);
    } else if (sscanf(line, "write %15s %d %1023s", part, &o->known, first) == 3 &&
               find_part(&o->part, part) && e->count) {
        if (!write_all(e, first))
            snprintf(reply, reply_size, "FAIL cannot make or write %.999s", first);
    } else {
        snprintf(reply, reply_size, "FAIL not understood: %.999s", line);
    }
}

static int open_engine(struct engine *e, char **argv, struct ls_err *err)
{
    struct ls_backend_params params = {.name = "cpu",
                                       .arithmetic = argv[2],
                                       .batch_max = BATCH_MAX,
                                       .face_cache_bytes = 256 << 20}; // the service's default
    int r = ls_model_open(&e->model, &(struct ls_model_params){.generator_path = argv[1]}, err);

    if (r == 0 && argv[3] && argv[4]) {
        r = ls_calibration_open(&e->calibration, argv[4], e->model->generator, err);
        params.calibration = &e->calibration;
    }
    if (r < 0)
        return r;
    e->model->input_levels = false;
    params.model = e->model;
    r = ls_backend_open(&e->backend, &params, err);
    for (int i = 0; i < e->threads && r == 0; i++) {
        e->made[i] = malloc((size_t)BATCH_MAX * FACE * sizeof(float));
        r = e->made[i] ? ls_lane_open(&e->lane[i], e->backend, err)
                       : ls_fail(err, LS_ENOMEM, "faces of a thread");
    }
    return r;
}

static bool start_threads(struct engine *e)
{
    pthread_barrier_init(&e->begin, NULL, (unsigned)e->threads + 1);
    pthread_barrier_init(&e->end, NULL, (unsigned)e->threads + 1);
    for (; e->started < e->threads; e->started++) {
        struct worker *w = malloc(sizeof *w);

        if (!w)
            return false;
        *w = (struct worker){e, e->started};
        if (pthread_create(&e->thread[e->started], NULL, run_worker, w)) {
            free(w);
            return false;
        }
    }
    return true;
}

static void close_engine(struct engine *e)
{
    if (e->started == e->threads) { // else the ones that wait end with the process
        e->stop = true;
        pthread_barrier_wait(&e->begin);
        for (int i = 0; i < e->started; i++)
            pthread_join(e->thread[i], NULL);
    }
    for (int i = 0; i < e->threads; i++) {
        ls_lane_close(&e->lane[i]);
        free(e->made[i]);
    }
    ls_backend_close(&e->backend);
    ls_model_close(&e->model);
    free(e->face);
    free(e->mel);
}

int main(int argc, char **argv)
{
    static struct engine e = {.lock = PTHREAD_MUTEX_INITIALIZER};
    static char line[4096], reply[4096];
    struct ls_err err = {0};

    if (argc < 4 || argc > 5 || (e.threads = atoi(argv[3])) < 1 || e.threads > THREADS_MAX) {
        fprintf(stderr, "usage: bench_generate WEIGHTS ARITHMETIC THREADS [CALIBRATION]\n");
        return 2;
    }
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (open_engine(&e, argv, &err) < 0) {
        printf("SKIP %s\n", err.text);
        close_engine(&e);
        return 77;
    }
    if (!start_threads(&e)) {
        printf("FAIL threads\n");
        return 1;
    }
    printf("ready %s\n", ls_backend_arithmetic(e.backend));
    while (fgets(line, sizeof line, stdin)) {
        answer(&e, line, reply, sizeof reply);
        printf("%s\n", reply);
    }
    close_engine(&e);
    return 0;
}
