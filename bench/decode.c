// SPDX-License-Identifier: Apache-2.0
// Frames a second of decoding alone: the decode process, the shared ring and the events, without
// anything after them. `bench_decode [CLIP...]`; without arguments the clips of ../shared/media
// that span the codecs, each skipped by name when it is not there. One thread here, one process
// there.
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <uv.h>

#include "server/decode.h"

enum { CHUNK = 65536 };

struct run {
    struct ls_decode *decode;
    FILE *from;
    int width_px, height_px;
    char codec[24];
    int64_t frame_count;
    double first_s, end_s;
    bool done, failed;
};

static double now_s(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void on_error(void *user, const struct ls_err *err)
{
    struct run *run = user;

    printf("# failed: %s\n", err->text);
    run->done = run->failed = true;
}

static void on_hungry(void *user)
{
    struct run *run = user;
    struct ls_err err = {0};
    static char chunk[CHUNK];

    while (!run->done && ls_decode_hungry(run->decode)) {
        size_t size = fread(chunk, 1, sizeof chunk, run->from);

        if (!size) {
            ls_decode_end_input(run->decode);
            return;
        }
        if (ls_decode_feed(run->decode, chunk, size, &err) < 0) {
            on_error(run, &err);
            return;
        }
    }
}

static void on_video(void *user, const struct ls_decode_video *info)
{
    struct run *run = user;

    run->width_px = info->width_px;
    run->height_px = info->height_px;
    snprintf(run->codec, sizeof run->codec, "%s", info->codec);
}

static void on_frame(void *user, const struct ls_decode_frame *frame)
{
    struct run *run = user;

    if (!run->frame_count++)
        run->first_s = now_s();
    ls_decode_release(run->decode, frame->slot);
}

static void on_warning(void *user, const struct ls_decode_warning *warning)
{
    (void)user;
    (void)warning;
}

static void on_end(void *user, const struct ls_decode_end *end)
{
    struct run *run = user;

    (void)end;
    run->end_s = now_s();
    run->done = true;
}

static const struct ls_decode_events events = {.on_video = on_video,
                                               .on_frame = on_frame,
                                               .on_warning = on_warning,
                                               .on_end = on_end,
                                               .on_hungry = on_hungry,
                                               .on_error = on_error};

static int measure(uv_loop_t *loop, struct ls_decode_pool *pool, const struct ls_options *opt,
                   const char *path)
{
    struct ls_decode_params params = {.video = true,
                                      .source = LS_SOURCE_CONTAINER,
                                      .work = LS_PIX_I420,
                                      .slots = (int)opt->frames_in_flight};
    struct run run = {.from = fopen(path, "rb")};
    const char *name = strrchr(path, '/') ? strrchr(path, '/') + 1 : path;
    struct ls_err err = {0};
    double begin_s = now_s();

    if (!run.from) {
        printf("# SKIP: decode %s is not there\n", name);
        return 0;
    }
    if (ls_decode_open(&run.decode, pool, &params, &events, &run, &err) < 0) {
        printf("# failed: %s\n", err.text);
        fclose(run.from);
        return 1;
    }
    on_hungry(&run);
    while (!run.done)
        uv_run(loop, UV_RUN_ONCE);
    ls_decode_close(&run.decode);
    fclose(run.from);
    if (run.failed || run.frame_count < 2)
        return 1;
    printf("decode,%s %dx%d %s,%.1f,frames/s\n", run.codec, run.width_px, run.height_px, name,
           (double)(run.frame_count - 1) / (run.end_s - run.first_s));
    printf("decode,%s first frame,%.2f,ms\n", name, 1e3 * (run.first_s - begin_s));
    return 0;
}

int main(int argc, char **argv)
{
    static const char *const clips[] = {"talking/presenter_720p_faststart.mp4",
                                        "talking/lbbc2a.mpg"};
    const char *shared = getenv("LS_SHARED");
    char path[4096], self[4096];
    struct ls_decode_pool *pool = NULL;
    struct ls_options opt;
    struct ls_err err = {0};
    uv_loop_t loop;
    size_t size = sizeof self;
    int failed = 0;

    ls_options_init(&opt);
    if (uv_loop_init(&loop) || uv_exepath(self, &size))
        return 1;
    snprintf(path, sizeof path, "%.4000s/lipstream-decode", dirname(self));
    if (ls_decode_pool_open(&pool, &loop, path, &opt, NULL, &err) < 0) {
        printf("# failed: %s\n", err.text);
        return 1;
    }
    for (int i = 1; i < argc; i++)
        failed |= measure(&loop, pool, &opt, argv[i]);
    for (size_t i = 0; argc == 1 && i < sizeof clips / sizeof *clips; i++) {
        snprintf(path, sizeof path, "%.2000s/media/%s", shared ? shared : "../shared", clips[i]);
        failed |= measure(&loop, pool, &opt, path);
    }
    ls_decode_pool_close(&pool);
    uv_run(&loop, UV_RUN_DEFAULT);
    uv_loop_close(&loop);
    return failed;
}
