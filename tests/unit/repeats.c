// SPDX-License-Identifier: Apache-2.0
// A picture that is shown again is looked at once: films that loop, swing back and forth or are
// held, and stills, cost as many detections as one pass does and have the same boxes in every pass.
// Real faces: the shared clips, by the detector built beside.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "_check.h"
#include "_loopback.h"
#include "server/engine.h"
#include "server/metrics.h"

enum { SKIPPED = 77, SAMPLES_MAX = 16000 * 12, FRAME_SAMPLES = 640 };

static int16_t voice[SAMPLES_MAX];

static const char *const films[] = {"media/hard/noaudio.mp4",
                                    "media/images/grace_hopper_512x512.jpg"};

static uint8_t *read_file(const char *name, size_t *size)
{
    const char *shared = getenv("LS_SHARED");
    char path[1024];
    uint8_t *data = NULL;
    long end;
    FILE *f;

    snprintf(path, sizeof path, "%s/%s", shared ? shared : "../shared", name);
    f = fopen(path, "rb");
    if (!f)
        return NULL;
    if (!fseek(f, 0, SEEK_END) && (end = ftell(f)) > 0 && !fseek(f, 0, SEEK_SET)) {
        data = malloc((size_t)end);
        *size = data ? fread(data, 1, (size_t)end, f) : 0;
    }
    fclose(f);
    return data;
}

static int64_t detections(const struct loopback *l)
{
    return ls_metrics_get(l->engine->metrics, LS_COUNT_DETECTIONS, LS_RESULT_FOUND, 0) +
           ls_metrics_get(l->engine->metrics, LS_COUNT_DETECTIONS, LS_RESULT_MISSED, 0);
}

// Runs a film with a voice of so many frames; returns the detections that it took.
static int64_t run(struct loopback *l, struct loopback_call *c, bool still,
                   enum ls_audio_longer fit, const uint8_t *film, size_t film_size, int frames)
{
    int64_t before = detections(l);

    memset(c, 0, sizeof(*c));
    loopback_job(&c->job, 0, 0, 25, 1, LS_PIX_I420);
    c->job.video.source = still ? LS_SOURCE_STILL : LS_SOURCE_CONTAINER;
    c->job.fit.audio_longer = fit;
    c->job.face.box_fixed = false;
    c->job.frame_info = true;
    c->job.output.container = LS_CONTAINER_NONE;
    c->job.output.video = LS_VIDEO_I420;
    c->job.output.audio = LS_AUDIO_NONE;
    c->audio = (const uint8_t *)voice;
    c->audio_size = (size_t)frames * FRAME_SAMPLES * 2;
    c->video = film;
    c->video_size = film_size;
    c->chunk = 65536;
    loopback_run(l, c, 1);
    return detections(l) - before;
}

// Every frame has the box that its source frame had when it was first shown.
static void same_boxes(const struct loopback_call *c, const char *name)
{
    int first[SAMPLES_MAX / FRAME_SAMPLES];
    int again = 0, wrong = 0;

    for (size_t i = 0; i < sizeof first / sizeof *first; i++)
        first[i] = -1;
    for (int i = 0; i < c->info_count; i++) {
        int *seen = &first[c->info[i].source_idx];

        if (*seen < 0) {
            *seen = i;
            continue;
        }
        again++;
        wrong += memcmp(&c->info[i].box, &c->info[*seen].box, sizeof c->info[i].box) != 0 ||
                 c->info[i].roll_rad != c->info[*seen].roll_rad || c->info[i].score <= 0;
    }
    if (!CHECK(again > 0 && wrong == 0, name))
        printf("%s: %d of %d repeated frames have another box\n", name, wrong, again);
}

static void check_films(struct loopback *l, const uint8_t *film, size_t film_size)
{
    static const struct {
        const char *name;
        enum ls_audio_longer fit;
    } rows[] = {{"loop", LS_FIT_LOOP}, {"ping-pong", LS_FIT_PING_PONG}, {"hold", LS_FIT_HOLD_LAST}};
    int frames_max = SAMPLES_MAX / FRAME_SAMPLES, pass;
    struct loopback_call c;
    int64_t once = run(l, &c, false, LS_FIT_STOP, film, film_size, frames_max), again;

    pass = c.info_count;
    CHECK(c.err.code == 0 && once > 1 && pass > 25 && pass < frames_max / 2, "one pass");
    loopback_clear(&c);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        again = run(l, &c, false, rows[i].fit, film, film_size, 2 * pass + 10);
        CHECK(c.err.code == 0 && c.info_count == 2 * pass + 10, rows[i].name);
        if (!CHECK(again == once, rows[i].name))
            printf("%s: %d detections, one pass has %d\n", rows[i].name, (int)again, (int)once);
        same_boxes(&c, rows[i].name);
        loopback_clear(&c);
    }
}

static void check_still(struct loopback *l, const uint8_t *film, size_t film_size)
{
    struct loopback_call c;
    int64_t count = run(l, &c, true, LS_FIT_HOLD_LAST, film, film_size, 30);

    CHECK(c.err.code == 0 && c.info_count == 30 && count == 1, "a still is looked at once");
    same_boxes(&c, "still");
    loopback_clear(&c);
}

int main(void)
{
    FILE *f = fopen("build/blazeface.safetensors", "rb");
    size_t size[2] = {0, 0};
    uint8_t *film[2] = {read_file(films[0], &size[0]), read_file(films[1], &size[1])};
    struct loopback l;

    if (!f || !film[0] || !film[1]) {
        printf("SKIP: no build/blazeface.safetensors, or no shared media\n");
        return SKIPPED;
    }
    fclose(f);
    for (int i = 0; i < SAMPLES_MAX; i++)
        voice[i] = (int16_t)(i % 97 * 150 - 7000);
    if (loopback_open(&l, "cpu", "build/blazeface.safetensors") < 0)
        return 1;
    check_films(&l, film[0], size[0]);
    check_still(&l, film[1], size[1]);
    loopback_close(&l);
    free(film[0]);
    free(film[1]);
    return check_done();
}
