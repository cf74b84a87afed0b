// SPDX-License-Identifier: Apache-2.0
// Processor time, bytes and memory of encoding 1280x720 and 1920x1080 at 30 frames/s with sound, by
// speed and latency, and of the sound alone. Frames come from the presenter's clip
// (../shared/media, by the ffmpeg program) or, without it, from a moving pattern; the case's name
// says which. One encoder with one thread at a time, then several for the memory of each.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "server/encode.h"

// The voice is 7 frames ahead, as the generator's window (frame time + 212.5 ms) makes it anyway.
enum { FRAMES = 90, RATE = 30, HZ = 16000, ENCODERS = 4, AHEAD = 7 };

static int width, height;
static size_t frame_size;
static uint8_t *pictures; // [FRAMES][frame_size]
static const char *source = "pattern";

static void make_pattern(void)
{
    for (int n = 0; n < FRAMES; n++) {
        uint8_t *y = pictures + (size_t)n * frame_size;
        for (int i = 0; i < width * height; i++) {
            int x = i % width, row = i / width;
            y[i] = (uint8_t)(128 + ((x * 3 + n * 4) / 8 ^ row / 4) % 64 + (x * row * 7 & 3));
        }
        memset(y + width * height, 120, (size_t)(width * height / 2));
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
             "-vf scale=%d:%d -f rawvideo -pix_fmt yuv420p - 2>/dev/null",
             shared ? shared : "../shared", FRAMES, width, height);
    pipe = popen(command, "r");
    if (pipe) {
        got = fread(pictures, frame_size, FRAMES, pipe);
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
                                 .width_px = width,
                                 .height_px = height,
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
    uint8_t *y = pictures + (size_t)(n % FRAMES) * frame_size;
    struct ls_frame f = {.plane = {y, y + width * height, y + width * height * 5 / 4},
                         .stride = {width, width / 2, width / 2},
                         .width_px = width,
                         .height_px = height};
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
    printf("encode,%s %dp %s,%.2f,ms/frame\n", name, height, source, start / FRAMES);
    printf("encode,%s %dp %s,%.1f,kbit/s\n", name, height, source,
           8e-3 * (double)t.bytes * RATE / FRAMES);
    printf("encode,%s %dp first piece,%d,frames\n", name, height, t.first_piece_frames);
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
    printf("encode,%s %dp memory of one,%.1f,MB\n", name, height, (rss_mb() - before) / ENCODERS);
    for (int i = 0; i < ENCODERS; i++)
        ls_encode_close(&e[i]);
}

// What of it is the sound: a second of it at a time, ten of them, while there is one frame.
static void sound_alone(void)
{
    enum { SECONDS = 10, HERTZ = 48000 };
    static float sound[HERTZ];
    struct ls_encode_params p = {.container = LS_CONTAINER_FMP4,
                                 .video = LS_VIDEO_H264,
                                 .audio = LS_AUDIO_AAC,
                                 .crf = 20,
                                 .threads = 1,
                                 .chunk_bytes_max = 1 << 20,
                                 .width_px = 64,
                                 .height_px = 64,
                                 .rate_num = RATE,
                                 .rate_den = 1,
                                 .sample_rate_hz = HERTZ,
                                 .channels = 1};
    struct ls_encode *e = NULL;
    struct ls_err err = {0};
    double start;

    for (int i = 0; i < HERTZ; i++)
        sound[i] = (float)(i * 37 % 200 - 100) / 400 * (float)(i % 9000) / 9000;
    if (ls_encode_open(&e, &p, &err) < 0)
        die(&err);
    start = cpu_ms();
    for (int i = 0; i < SECONDS; i++)
        if (ls_encode_sound(e, sound, HERTZ, &err) < 0)
            die(&err);
    printf("encode,sound 48 kHz mono,%.2f,ms/s\n", (cpu_ms() - start) / SECONDS);
    ls_encode_close(&e);
}

static void all_speeds(void)
{
    static const char *names[] = {"ultrafast", "superfast", "veryfast", "faster", "medium"};
    char name[40];

    for (int speed = LS_SPEED_ULTRAFAST; speed <= LS_SPEED_MEDIUM; speed++) {
        one(names[speed], (enum ls_speed)speed, LS_LATENCY_NORMAL);
        snprintf(name, sizeof name, "%s low", names[speed]);
        one(name, (enum ls_speed)speed, LS_LATENCY_LOW);
    }
}

int main(void)
{
    static const int sizes[][2] = {{1280, 720}, {1920, 1080}};

    for (int i = 0; i < 2; i++) {
        width = sizes[i][0];
        height = sizes[i][1];
        frame_size = (size_t)width * (size_t)height * 3 / 2;
        pictures = malloc(FRAMES * frame_size);
        if (!pictures)
            return 1;
        load_pictures();
        memory("superfast", LS_SPEED_SUPERFAST, LS_LATENCY_NORMAL);
        memory("veryfast", LS_SPEED_VERYFAST, LS_LATENCY_NORMAL);
        memory("medium", LS_SPEED_MEDIUM, LS_LATENCY_NORMAL);
        all_speeds();
        free(pictures);
    }
    sound_alone();
    return 0;
}
