// SPDX-License-Identifier: Apache-2.0
// lipstream-calibrate: finds what the generator's results reach on a caller's own clips, for the
// arithmetic with bytes (--arithmetic int8). Each face and voice goes through a whole session, as a
// call would, in floats; its pictures are thrown away. Flow: files -> session -> ranges -> file.
// One thread, the loop's, beside the engine's own.
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <uv.h>

#include "server/engine.h"
#include "server/log.h"
#include "server/places.h"
#include "server/session.h"

enum { EXIT_USAGE = 2, READ_SIZE = 65536, FACES_MIN = 100 };

static const char usage[] =
    "lipstream-calibrate " LS_VERSION
    ": what the generator's results reach, for --arithmetic int8\n"
    "usage: lipstream-calibrate [--percent P] OUT FACE VOICE [FACE VOICE]... [-- --flag value "
    "...]\n"
    "  OUT           the calibration, for lipstreamd's --calibration\n"
    "  FACE VOICE    a video or picture, and a voice for it (the same file twice for its own);\n"
    "                a few minutes of the people and voices that the service will see\n"
    "  --percent P   how many of all values the ranges hold, 50..100; default 99.99\n"
    "Flags behind -- are lipstreamd's: --model, --detector, --threads.\n";

// A session and the files that it is fed.
struct clip {
    struct ls_session *session;
    FILE *file[2]; // voice, face
    bool ended[2];
    bool done;
    struct ls_err err;
    int64_t generated;
};

static void on_reply(void *user, struct ls_reply *reply)
{
    struct clip *c = user;

    if (reply->kind == LS_REPLY_MEDIA)
        free(reply->media.data);
    else if (reply->kind == LS_REPLY_FRAMES)
        free(reply->frames.item);
    else if (reply->kind == LS_REPLY_SUMMARY)
        c->generated =
            reply->summary.frames[LS_ACTION_SYNCED] + reply->summary.frames[LS_ACTION_HELD];
}

static void on_hungry(void *user)
{
    (void)user; // the loop below asks
}

static void on_done(void *user, const struct ls_err *err)
{
    struct clip *c = user;

    c->done = true;
    c->err = *err;
    ls_session_free(&c->session);
}

// The next piece of one of the files, the voice and the face in turn.
static int feed(struct clip *c)
{
    static char data[READ_SIZE];
    bool video = c->ended[0] || (!c->ended[1] && ftell(c->file[1]) <= ftell(c->file[0]));
    size_t size = fread(data, 1, sizeof data, c->file[video]);
    struct ls_err err = {0};
    int r;

    if (ferror(c->file[video]))
        r = ls_fail(&err, LS_EFIELD, "%s cannot be read", video ? "the face" : "the voice");
    else
        r = ls_session_feed(c->session, video, data, size, feof(c->file[video]) != 0, &err);
    c->ended[video] = feof(c->file[video]) != 0;
    if (r < 0)
        ls_session_fail(c->session, &err);
    return r;
}

static void run(struct clip *c, struct ls_engine *engine)
{
    bool closed = false;

    while (!c->done) {
        while (!closed && !c->done && ls_session_hungry(c->session) &&
               !(c->ended[0] && c->ended[1]))
            if (feed(c) < 0)
                closed = true;
        if (!closed && c->ended[0] && c->ended[1]) {
            ls_session_half_close(c->session);
            closed = true;
        }
        if (!c->done)
            uv_run(engine->loop, UV_RUN_ONCE);
    }
}

// A picture is told from a video by its first bytes: JPEG, PNG, WebP.
static bool is_still(FILE *file)
{
    unsigned char head[12] = {0};
    size_t size = fread(head, 1, sizeof head, file);

    rewind(file);
    return size == sizeof head &&
           (!memcmp(head, "\xff\xd8\xff", 3) || !memcmp(head, "\x89PNG", 4) ||
            (!memcmp(head, "RIFF", 4) && !memcmp(head + 8, "WEBP", 4)));
}

static int open_clip(struct clip *c, struct ls_engine *engine, char *const *path,
                     struct ls_err *err)
{
    static const struct ls_session_events events = {on_reply, on_hungry, on_done};
    struct ls_violations wrong = {.count = 0};
    struct ls_job job;

    for (int i = 0; i < 2; i++) {
        c->file[i] = fopen(path[1 - i], "rb");
        if (!c->file[i])
            return ls_fail(err, LS_EFIELD, "%s cannot be opened", path[1 - i]);
    }
    ls_job_init(&job, engine->model->mask);
    job.audio.source = LS_SOURCE_CONTAINER;
    job.video.source = is_still(c->file[1]) ? LS_SOURCE_STILL : LS_SOURCE_CONTAINER;
    job.video.rate_num = 25;
    job.video.rate_den = 1;
    job.output.container = LS_CONTAINER_NONE;
    job.output.video = LS_VIDEO_I420;
    job.output.audio = LS_AUDIO_NONE;
    if (ls_job_check(&job, &engine->opt, &wrong) < 0)
        return ls_fail(err, LS_EFIELD, "%s: %s", wrong.item[0].field, wrong.item[0].text);
    return ls_session_new(&c->session, engine, &job, &events, c, err);
}

static int see_clip(struct ls_engine *engine, char *const *path, struct ls_err *err)
{
    struct clip c = {.session = NULL};
    int r = open_clip(&c, engine, path, err);

    if (r == 0) {
        run(&c, engine);
        r = c.err.code;
        if (r < 0)
            *err = c.err;
    }
    for (int i = 0; i < 2; i++)
        if (c.file[i])
            fclose(c.file[i]);
    if (r < 0)
        return ls_fail_prefix(err, "%s with %s", path[0], path[1]);
    printf("%s with %s: %" PRId64 " faces\n", path[0], path[1], c.generated);
    return 0;
}

// Whoever reads the file at the same time sees the old one or the new one.
static int write_file(const char *path, const struct ls_engine *engine, double percent,
                      struct ls_err *err)
{
    struct ls_calibration calibration;
    char part[4096];
    FILE *to;
    int r;

    if (ls_ranges_runs(engine->ranges) < FACES_MIN)
        return ls_fail(err, LS_EFIELD, "%" PRId64 " faces were generated; %d are needed at least",
                       ls_ranges_runs(engine->ranges), FACES_MIN);
    ls_ranges_calibration(&calibration, engine->ranges, percent);
    if (snprintf(part, sizeof part, "%s.part", path) >= (int)sizeof part)
        return ls_fail(err, LS_EFIELD, "%s: too long a path", path);
    to = fopen(part, "wb");
    if (!to)
        return ls_fail(err, LS_EFIELD, "%s cannot be written", part);
    r = ls_calibration_write(to, &calibration, engine->model->generator, err);
    if (fclose(to) != 0 && r == 0)
        r = ls_fail(err, LS_EFIELD, "%s cannot be written", part);
    if (r == 0 && rename(part, path) < 0)
        r = ls_fail(err, LS_EFIELD, "%s cannot be written", path);
    if (r < 0)
        unlink(part);
    return r;
}

static int calibrate(const struct ls_options *opt, char **argv, int count, double percent)
{
    struct ls_engine *engine = NULL;
    struct ls_err err = {0};
    uv_loop_t loop;
    int r;

    uv_loop_init(&loop);
    r = ls_engine_open_seeing(&engine, &loop, opt, &err);
    for (int i = 1; i + 1 < count && r == 0; i += 2)
        r = see_clip(engine, argv + i, &err);
    if (r == 0)
        r = write_file(argv[0], engine, percent, &err);
    if (r < 0)
        fprintf(stderr, "lipstream-calibrate: %s\n", err.text);
    else
        printf("%s: %" PRId64 " faces of generator %s\n", argv[0], ls_ranges_runs(engine->ranges),
               engine->model->generator_name);
    ls_engine_close(&engine);
    uv_run(&loop, UV_RUN_DEFAULT);
    uv_loop_close(&loop);
    return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}

// Takes "--percent P" off the arguments. False: P is no such number.
static bool take_percent(double *out, int *argc, char ***argv)
{
    char *end = NULL;

    *out = 99.99;
    if (*argc < 3 || strcmp((*argv)[1], "--percent") != 0)
        return true;
    *out = strtod((*argv)[2], &end);
    *argc -= 2;
    *argv += 2;
    return end[0] == '\0' && *out >= 50 && *out <= 100;
}

int main(int argc, char **argv)
{
    enum ls_options_action action;
    struct ls_options opt;
    struct ls_err err = {0};
    double percent;
    bool help = argc == 2 && !strcmp(argv[1], "--help");
    int own = 1;

    if (!take_percent(&percent, &argc, &argv)) {
        fprintf(stderr, "lipstream-calibrate: --percent wants a number of 50..100\n");
        return EXIT_USAGE;
    }
    while (own < argc && strcmp(argv[own], "--") != 0)
        own++;
    if (own < 4 || own % 2 || argv[1][0] == '-') {
        fputs(usage, help ? stdout : stderr);
        return help ? EXIT_SUCCESS : EXIT_USAGE;
    }
    ls_options_init(&opt);
    opt.backend = "cpu";
    // The "--" takes the program's name's place.
    if (ls_options_parse(&opt, &action, own < argc ? argc - own : 1, argv + (own < argc ? own : 0),
                         &err) < 0) {
        fprintf(stderr, "lipstream-calibrate: %s\n", err.text);
        return EXIT_USAGE;
    }
    opt.arithmetic = "fp32";
    opt.calibration = "";
    ls_places_find(&opt);
    ls_log_init(false);
    return calibrate(&opt, argv + 1, own - 1, percent);
}
