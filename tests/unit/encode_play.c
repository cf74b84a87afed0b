// SPDX-License-Identifier: Apache-2.0
// What others make of the encoder's files: ffprobe must see every frame at its own time, the
// declared shape, colours and lengths, and picture and sound starting together; ffmpeg must decode
// a picture and a sound close to what went in, the sound at the very sample. Skipped without those
// programs.
#include <fcntl.h>
#include <unistd.h>

#include "server/encode.h"
#include "tests/unit/_encode.h"

static const int64_t uneven[] = {0,     1500,  9000,  12600, 12700,  30000,  33003,  45000,
                                 60000, 70000, 83333, 90000, 100000, 104321, 130000, 131000};

static const struct row {
    const char *name;
    enum ls_container container;
    enum ls_latency latency;
    enum ls_speed speed;
    int rate_num, rate_den, width_px, height_px, sar_num, sar_den;
    enum ls_matrix matrix;
    bool full_range;
    enum ls_pixel format;
    int frames;
    const int64_t *pts;
    int hz, channels, samples;
} rows[] = {
    {"25", LS_CONTAINER_FMP4, LS_LATENCY_NORMAL, LS_SPEED_SUPERFAST, 25, 1, 320, 240, 1, 1,
     LS_MATRIX_BT601, false, LS_PIX_I420, 60, NULL, 16000, 1, 50000},
    {"30000/1001, stereo", LS_CONTAINER_FMP4, LS_LATENCY_NORMAL, LS_SPEED_ULTRAFAST, 30000, 1001,
     320, 240, 1, 1, LS_MATRIX_BT709, false, LS_PIX_I420, 61, NULL, 44100, 2, 100000},
    {"b-frames", LS_CONTAINER_FMP4, LS_LATENCY_NORMAL, LS_SPEED_MEDIUM, 30000, 1001, 320, 240, 1, 1,
     LS_MATRIX_BT709, false, LS_PIX_I420, 61, NULL, 48000, 1, 100000},
    {"uneven times", LS_CONTAINER_FMP4, LS_LATENCY_NORMAL, LS_SPEED_SUPERFAST, 0, 1, 320, 240, 1, 1,
     LS_MATRIX_BT601, false, LS_PIX_I420, 15, uneven, 48000, 1, 80000},
    {"uneven times, low", LS_CONTAINER_FMP4, LS_LATENCY_LOW, LS_SPEED_SUPERFAST, 12, 1, 320, 240, 1,
     1, LS_MATRIX_BT601, false, LS_PIX_I420, 15, uneven, 22050, 1, 80000},
    {"uneven times, ts", LS_CONTAINER_MPEG_TS, LS_LATENCY_NORMAL, LS_SPEED_SUPERFAST, 12, 1, 320,
     240, 1, 1, LS_MATRIX_BT601, false, LS_PIX_I420, 15, uneven, 48000, 1, 80000},
    {"odd size", LS_CONTAINER_FMP4, LS_LATENCY_NORMAL, LS_SPEED_SUPERFAST, 25, 1, 321, 241, 1, 1,
     LS_MATRIX_BT601, false, LS_PIX_I420, 10, NULL, 16000, 1, 6400},
    {"odd width, RGB24", LS_CONTAINER_FMP4, LS_LATENCY_NORMAL, LS_SPEED_SUPERFAST, 25, 1, 321, 240,
     1, 1, LS_MATRIX_BT2020, true, LS_PIX_RGB24, 10, NULL, 16000, 1, 6400},
    {"16:15, full range", LS_CONTAINER_FMP4, LS_LATENCY_NORMAL, LS_SPEED_SUPERFAST, 25, 1, 360, 288,
     16, 15, LS_MATRIX_BT601, true, LS_PIX_I420, 30, NULL, 16000, 1, 20000},
    {"low", LS_CONTAINER_FMP4, LS_LATENCY_LOW, LS_SPEED_SUPERFAST, 25, 1, 320, 240, 1, 1,
     LS_MATRIX_BT601, false, LS_PIX_I420, 60, NULL, 16000, 1, 50000},
    {"8 kHz, too short", LS_CONTAINER_FMP4, LS_LATENCY_NORMAL, LS_SPEED_SUPERFAST, 25, 1, 320, 240,
     1, 1, LS_MATRIX_BT601, false, LS_PIX_I420, 60, NULL, 8000, 1, 8000},
    {"25 kHz", LS_CONTAINER_FMP4, LS_LATENCY_NORMAL, LS_SPEED_SUPERFAST, 25, 1, 320, 240, 1, 1,
     LS_MATRIX_BT601, false, LS_PIX_I420, 60, NULL, 25000, 1, 70000},
    {"no sound", LS_CONTAINER_FMP4, LS_LATENCY_NORMAL, LS_SPEED_SUPERFAST, 24, 1, 320, 240, 1, 1,
     LS_MATRIX_BT601, false, LS_PIX_I420, 30, NULL, 0, 0, 0},
    {"ts", LS_CONTAINER_MPEG_TS, LS_LATENCY_NORMAL, LS_SPEED_SUPERFAST, 25, 1, 320, 240, 16, 15,
     LS_MATRIX_BT709, false, LS_PIX_I420, 60, NULL, 16000, 1, 50000},
    {"ts, low, stereo", LS_CONTAINER_MPEG_TS, LS_LATENCY_LOW, LS_SPEED_SUPERFAST, 60, 1, 320, 240,
     1, 1, LS_MATRIX_BT709, false, LS_PIX_I420, 60, NULL, 44100, 2, 50000},
    {"ts, b-frames", LS_CONTAINER_MPEG_TS, LS_LATENCY_NORMAL, LS_SPEED_VERYFAST, 25, 1, 320, 240, 1,
     1, LS_MATRIX_BT709, false, LS_PIX_I420, 60, NULL, 48000, 1, 120000},
};

static struct enc_clip clip_of(const struct row *row)
{
    struct enc_clip c = {.params = enc_params(),
                         .frame_count = row->frames,
                         .pts = row->pts,
                         .sample_count = row->samples};
    struct ls_encode_params *p = &c.params;

    p->container = row->container;
    p->latency = row->latency;
    p->speed = row->speed;
    p->rate_num = row->rate_num;
    p->rate_den = row->rate_den;
    p->width_px = row->width_px;
    p->height_px = row->height_px;
    p->sar_num = row->sar_num;
    p->sar_den = row->sar_den;
    p->matrix = row->matrix;
    p->full_range = row->full_range;
    p->format = row->format;
    p->sample_rate_hz = row->hz;
    p->channels = row->channels;
    return c;
}

// All that a command prints; NULL when it fails.
static char *output_of(size_t *size, const char *command)
{
    FILE *pipe = popen(command, "r");
    char *all = NULL;
    size_t got, room = 0;

    *size = 0;
    if (!pipe)
        return NULL;
    do {
        if (room < *size + 65537)
            all = realloc(all, room = 2 * room + 131072);
        if (!all)
            abort();
        got = fread(all + *size, 1, 65536, pipe);
        *size += got;
    } while (got > 0);
    all[*size] = '\0';
    if (pclose(pipe) != 0) {
        free(all);
        all = NULL;
    }
    return all;
}

static char *probe(const char *path, const char *what)
{
    char command[400];
    size_t size;
    char *text;

    snprintf(command, sizeof command, "ffprobe -v error %s '%s'", what, path);
    text = output_of(&size, command);
    if (!text)
        return strdup("");
    return text;
}

static double number_after(const char *text, const char *key)
{
    const char *at = strstr(text, key);
    return at ? strtod(at + strlen(key), NULL) : NAN;
}

static int compare_times(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return x < y ? -1 : x > y;
}

// Presentation times of a stream's packets, sorted.
static int times_of(const char *path, char stream, int64_t *pts, int max)
{
    char what[120], *text, *line;
    int count = 0;

    snprintf(what, sizeof what,
             "-select_streams %c:0 -show_entries packet=pts -of default=nk=1:nw=1", stream);
    text = probe(path, what);
    for (line = strtok(text, "\n"); line && count < max; line = strtok(NULL, "\n"))
        pts[count++] = atoll(line);
    free(text);
    qsort(pts, (size_t)count, sizeof *pts, compare_times);
    return count;
}

static void shape(const struct row *row, const char *path)
{
    static const char *spaces[] = {"smpte170m", "bt709", "bt2020nc"};
    char want[80];
    char *text = probe(path, "-select_streams v:0 -show_entries stream=width,height,"
                             "sample_aspect_ratio,color_range,color_space,chroma_location");

    snprintf(want, sizeof want, "width=%d\nheight=%d\n", row->width_px + (row->width_px & 1),
             row->height_px + (row->height_px & 1));
    CHECK(strstr(text, want), row->name);
    snprintf(want, sizeof want, "sample_aspect_ratio=%d:%d\n", row->sar_num, row->sar_den);
    CHECK(strstr(text, want), row->name);
    snprintf(want, sizeof want, "color_range=%s\ncolor_space=%s\n", row->full_range ? "pc" : "tv",
             spaces[row->matrix]);
    CHECK(strstr(text, want), row->name);
    CHECK(strstr(text, "chroma_location=left"), row->name);
    free(text);
}

// Yields the first audio packet's time in samples at *rate (0 for MPEG-TS: in ticks before the
// picture).
static int64_t times(const struct row *row, const char *path, int *rate)
{
    struct enc_clip c = clip_of(row);
    static int64_t video[1000], audio[1000];
    int count = times_of(path, 'v', video, 1000), audio_count = times_of(path, 'a', audio, 1000);
    bool ts = row->container == LS_CONTAINER_MPEG_TS;
    double end = (double)enc_pts(&c, row->frames) / 90000, length;
    char *text;

    CHECK(count == row->frames, row->name);
    for (int i = 0; i < count; i++)
        CHECK(video[i] - (ts ? video[0] : 0) == enc_pts(&c, i), row->name);
    text = probe(path, "-select_streams v:0 -show_entries stream=duration");
    length = number_after(text, "duration=");
    free(text);
    if (!ts) // a transport stream does not say how long its last frame is
        CHECK(fabs(length - end) < 1e-5, row->name);
    CHECK((audio_count > 0) == (row->hz > 0), row->name);
    if (!audio_count)
        return 0;
    text = probe(path, "-select_streams a:0 -show_entries stream=sample_rate,start_time,duration");
    *rate = (int)number_after(text, "sample_rate=");
    length = number_after(text, "duration=");
    free(text);
    CHECK(*rate >= row->hz, row->name);
    if (ts) {
        double priming = (double)(video[0] - audio[0]) - 1024.0 * 90000 / *rate;
        CHECK(fabs(priming) <= 1, row->name);
        return -1024;
    }
    CHECK(audio[0] == -1024, row->name);
    length -= 1024.0 / *rate; // from the first heard sample on
    CHECK(length > end - 1.5 / *rate, row->name);
    CHECK(length < end + (row->latency == LS_LATENCY_LOW ? 1024.0 : 1.5) / *rate, row->name);
    return audio[0];
}

// Peak signal to noise of the luma of the first and the last frame.
static void picture(const struct row *row, const char *path)
{
    struct enc_clip c = clip_of(row);
    int w = row->width_px, h = row->height_px, full_w = w + (w & 1), full_h = h + (h & 1);
    size_t size, frame = (size_t)full_w * (size_t)full_h * 3 / 2;
    char command[300];
    uint8_t *all;

    if (row->format != LS_PIX_I420)
        return; // conversion is tested with raw frames
    snprintf(command, sizeof command,
             "ffmpeg -v fatal -nostdin -i '%s' -map 0:v -vsync passthrough -f rawvideo "
             "-pix_fmt %s -",
             path, row->full_range ? "yuvj420p" : "yuv420p");
    all = (uint8_t *)output_of(&size, command);
    if (!CHECK(all && size == frame * (size_t)row->frames, row->name)) {
        free(all);
        return;
    }
    for (int n = 0; n < row->frames; n += row->frames - 1) {
        struct ls_frame f;
        double sum = 0;
        enc_picture(&f, &c.params, n);
        for (int y = 0; y < h; y++) {
            for (int x = 0; x < w; x++) {
                double d = f.plane[0][y * f.stride[0] + x] -
                           (double)all[frame * (size_t)n + (size_t)(y * full_w + x)];
                sum += d * d;
            }
        }
        enc_picture_free(&f);
        if (!CHECK(sum / (w * h) < 255.0 * 255.0 / 1e4, row->name)) // 40 dB
            printf("  frame %d: %.1f dB\n", n, 10 * log10(65025.0 * w * h / sum));
    }
    free(all);
}

// How well the decoded sound, taken `lag` samples later, is the voice: signal to noise as a factor.
static double likeness(const struct row *row, const float *got, int count, int rate, int lag)
{
    double signal = 0, noise = 0;
    int last = (int)fmin((double)count - lag, (double)row->samples * rate / row->hz);

    for (int i = 500; i < last - 500; i++) {
        double want = enc_sample(rate, i, 0);
        signal += want * want;
        noise += (got[i + lag] - want) * (got[i + lag] - want);
    }
    return signal / (noise + 1e-9);
}

static void sound(const struct row *row, const char *path, int rate, int64_t first)
{
    char command[300];
    size_t size;
    float *got;
    int count, lag = (int)-first;

    snprintf(command, sizeof command,
             "ffmpeg -v error -nostdin -i '%s' -map 0:a -af pan='mono|c0=c0' -f f32le -", path);
    got = (float *)output_of(&size, command);
    count = (int)(size / sizeof *got);
    if (CHECK(got && count > 2048, row->name)) {
        double at = likeness(row, got, count, rate, lag);
        CHECK(at > 30, row->name); // 15 dB and more
        CHECK(at > likeness(row, got, count, rate, lag - 1), row->name);
        CHECK(at > likeness(row, got, count, rate, lag + 1), row->name);
    }
    free(got);
}

static void play(const struct row *row)
{
    struct enc_clip c = clip_of(row);
    char path[40];
    struct ls_err err = {0};
    struct enc_out out;
    int fd, rate = 0;
    int64_t first;

    snprintf(path, sizeof(path), "build/encode_%d.media", (int)getpid());
    fd = open(path, O_CREAT | O_TRUNC | O_WRONLY, 0600);
    if (!CHECK(fd >= 0 && enc_run(&c, ENC_IN_STEP, 777, &out, &err) == 0, row->name))
        return;
    CHECK(write(fd, out.bytes, out.size) == (ssize_t)out.size, row->name);
    close(fd);
    shape(row, path);
    first = times(row, path, &rate);
    picture(row, path);
    if (row->hz)
        sound(row, path, rate, first);
    unlink(path);
    enc_out_free(&out);
}

int main(void)
{
    if (system("ffprobe -version >/dev/null 2>&1 && ffmpeg -version >/dev/null 2>&1") != 0)
        CHECK_SKIP("ffprobe and ffmpeg are not installed");
    for (int i = 0; i < (int)(sizeof rows / sizeof rows[0]); i++)
        play(&rows[i]);
    return check_done();
}
