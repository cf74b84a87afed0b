// SPDX-License-Identifier: Apache-2.0
// Processor time, bytes and memory of encoding 1280x720 at 30 frames/s with sound, by speed and
// latency: the encoder has one thread, and the clock on the wall would show what else runs.
// Frames come from the presenter's clip (../shared/media, by the ffmpeg program) or, without it,
// from a moving pattern; the case's name says which. One encoder at a time, then several for the
// memory of each.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "server/encode.h"

// The voice is 7 frames ahead, as the generator's window (frame time + 212.5 ms) makes it anyway.
enum { W = 1280, H = 720, FRAMES = 90, RATE = 30, HZ = 16000, ENCODERS = 4, AHEAD = 7 };
#define FRAME_SIZE ((size_t)W * H * 3 / 2)

static uint8_t *pictures; // [FRAMES][FRAME_SIZE]
static const char *source = "pattern";

static void make_pattern(void)
{
    for (int n = 0; n < FRAMES; n++) {
        uint8_t *y = pictures + (size_t)n * FRAME_SIZE;
        for (int i = 0; i < W * H; i++) {
            int x = i % W, row = i / W;
            y[i] = (uint8_t)(128 + ((x * 3 + n * 4) / 8 ^ row / 4) % 64 + (x * row * 7 & 3));
        }
        memset(y + W * H, 120, W * H / 2);
    }
}

static void load_pictures(void)
{
    const char *shared = getenv("LS_SHARED");
    char command[600];
    FILE *pipe;
    size_t got = 0;

    snprintf(command, sizeof command,
             "ffmpeg -v quiet -i '%s/media/talking/presenter_720p_faststart.mp4' -frames:v %d "
             "-f rawvideo -pix_fmt yuv420p - 2>/dev/null",
             shared ? shared : "../shared", FRAMES);
    pipe = popen(command, "r");
    if (pipe) {
        got = fread(pictures, FRAME_SIZE, FRAMES, pipe);
        pclose(pipe);
    }
    if (got == FRAMES)
        source = "presenter";
    else
        make_pattern();
}

static double cpu_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return 1e3 * (double)t.tv_sec + 1e-6 * (double)t.tv_nsec;
}

static double rss_mb(void)
{
    long pages = 0, all;
    FILE *f = fopen("/proc/self/statm", "r");

    if (f && fscanf(f, "%ld %ld", &all, &pages) != 2)
        pages = 0;
    if (f)
        fclose(f);
    return (double)pages * (double)sysconf(_SC_PAGESIZE) / 1e6;
}

static void die(const struct ls_err *err)
{
    printf("# %s\n", err->text);
    exit(1);
}

static struct ls_encode *open_one(enum ls_speed speed, enum ls_latency latency)
{
    struct ls_encode_params p = {.container = LS_CONTAINER_FMP4,
                                 .video = LS_VIDEO_H264,
                                 .audio = LS_AUDIO_AAC,
                                 .crf = 20,
                                 .speed = speed,
                                 .latency = latency,
                                 .threads = 1,
                                 .chunk_bytes_max = 1 << 20,
                                 .width_px = W,
                                 .height_px = H,
                                 .matrix = LS_MATRIX_BT709,
                                 .sar_num = 1,
                                 .sar_den = 1,
                                 .rate_num = RATE,
                                 .rate_den = 1,
                                 .sample_rate_hz = HZ,
                                 .channels = 1};
    struct ls_encode *e = NULL;
    struct ls_err err = {0};

    if (ls_encode_open(&e, &p, &err) < 0)
        die(&err);
    return e;
}

struct tally {
    size_t bytes;
    int first_piece_frames; // frames given before the first piece came; -1: none yet
};

static void pop_all(struct ls_encode *e, struct tally *t, int frames)
{
    struct ls_media m;

    while (ls_encode_pop(e, &m)) {
        if (t->first_piece_frames < 0)
            t->first_piece_frames = frames;
        t->bytes += m.size;
        free(m.data);
    }
}

static void feed(struct ls_encode *e, int n, struct tally *t)
{
    static float sound[(AHEAD + 1) * (HZ / RATE + 1)];
    uint8_t *y = pictures + (size_t)(n % FRAMES) * FRAME_SIZE;
    struct ls_frame f = {.plane = {y, y + W * H, y + W * H * 5 / 4},
                         .stride = {W, W / 2, W / 2},
                         .width_px = W,
                         .height_px = H};
    struct ls_err err = {0};
    int from = n ? (int)((long)(n + AHEAD) * HZ / RATE) : 0;
    int to = (int)((long)(n + AHEAD + 1) * HZ / RATE);

    for (int i = 0; i < to - from; i++)
        sound[i] = (float)((from + i) * 37 % 200 - 100) / 400;
    if (ls_encode_sound(e, sound, to - from, &err) < 0 ||
        ls_encode_frame(e, &f, (int64_t)n * 90000 / RATE, 90000 / RATE, &err) < 0)
        die(&err);
    pop_all(e, t, n + 1);
}

static void one(const char *name, enum ls_speed speed, enum ls_latency latency)
{
    struct ls_encode *e = open_one(speed, latency);
    struct tally t = {0, -1};
    struct ls_err err = {0};
    double start = cpu_ms();

    for (int n = 0; n < FRAMES; n++)
        feed(e, n, &t);
    if (ls_encode_finish(e, &err) < 0)
        die(&err);
    pop_all(e, &t, FRAMES);
    start = cpu_ms() - start;
    ls_encode_close(&e);
    printf("encode,%s 720p %s,%.2f,ms/frame\n", name, source, start / FRAMES);
    printf("encode,%s 720p %s,%.1f,kbit/s\n", name, source, 8e-3 * (double)t.bytes * RATE / FRAMES);
    printf("encode,%s 720p first piece,%d,frames\n", name, t.first_piece_frames);
}

static void memory(const char *name, enum ls_speed speed, enum ls_latency latency)
{
    struct ls_encode *e[ENCODERS];
    struct tally t = {0, -1};
    double before = rss_mb();

    for (int i = 0; i < ENCODERS; i++) {
        e[i] = open_one(speed, latency);
        for (int n = 0; n < FRAMES; n++)
            feed(e[i], n, &t);
    }
    printf("encode,%s 720p memory of one,%.1f,MB\n", name, (rss_mb() - before) / ENCODERS);
    for (int i = 0; i < ENCODERS; i++)
        ls_encode_close(&e[i]);
}

int main(void)
{
    static const char *names[] = {"ultrafast", "superfast", "veryfast", "faster", "medium"};
    char name[40];

    pictures = malloc(FRAMES * FRAME_SIZE);
    if (!pictures)
        return 1;
    load_pictures();
    memory("superfast", LS_SPEED_SUPERFAST, LS_LATENCY_NORMAL);
    memory("veryfast", LS_SPEED_VERYFAST, LS_LATENCY_NORMAL);
    memory("medium", LS_SPEED_MEDIUM, LS_LATENCY_NORMAL);
    for (int speed = LS_SPEED_ULTRAFAST; speed <= LS_SPEED_MEDIUM; speed++) {
        one(names[speed], (enum ls_speed)speed, LS_LATENCY_NORMAL);
        snprintf(name, sizeof name, "%s low", names[speed]);
        one(name, (enum ls_speed)speed, LS_LATENCY_LOW);
    }
    free(pictures);
    return 0;
}
