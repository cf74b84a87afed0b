// SPDX-License-Identifier: Apache-2.0
// The profile WAV2LIP_EXACT against the original's whole flow (tests/golden/golden_exact.py): voice
// and RGB24 frames in, RGB24 frames out, boxes given per source frame. Real sessions and a real
// decode process, on both back ends. The number of frames is exact; inside a box every pixel is
// within 1 of 255, outside every byte is the input's. What surprises: 1 is needed, because the
// network's output is cut off to whole numbers, so that the last bit of a float sum may move a
// pixel by one step.
#include <inttypes.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "_check.h"
#include "_loopback.h"
#include "tests/golden/_noise.h"
#include "tests/golden/_read.h"

enum { W = 121, H = 101, FRAME = W * H * 3, SOURCES_MAX = 32, SAMPLES_MAX = 32000 };

// One case of exact.bin.
struct golden {
    char name[33];
    int num, den, sources, samples, frames;
    int box[SOURCES_MAX][4]; // left, top, right, bottom
    const uint8_t *pixel;    // of the boxes, one frame's after the other
};

static uint8_t film[SOURCES_MAX * FRAME];
static int16_t voice[SAMPLES_MAX];

// --- inputs, by the formulas of golden_exact.py
// ------------------------------------------------------

static void make_voice(int count)
{
    static const int tone[4][3] = {{110, 17, 5}, {420, 130, 4}, {1130, 290, 3}, {2450, 370, 2}};
    int64_t state = 20240611;

    for (int i = 0; i < count; i++) {
        int part = i / 800, level = 1 << part * 5 % 9;
        int64_t sum = -112000, noise = noise_next(&state) / 65536 % 256 - 128, wave;

        for (int k = 0; k < 4; k++) {
            wave = (int64_t)i * (tone[k][0] + tone[k][1] * (part * (3 + 2 * k) % 7)) % 16000;
            sum += tone[k][2] * llabs(2 * wave - 16000);
        }
        // Rounded down, negative sums too.
        voice[i] = (int16_t)((sum * level + (1 << 30)) / 1024 - (1 << 20) + noise * (part * 3 % 8));
    }
}

static int blob(int dx, int dy, int rx, int ry, int height)
{
    int t = 1024 - 1024 * dx * dx / (rx * rx) - 1024 * dy * dy / (ry * ry);

    return t > 0 ? t * height / 1024 : 0;
}

static void make_frame(uint8_t *out, int n)
{
    static const int slope[3][3] = {{60, 30, 4}, {30, 70, 3}, {80, 40, 2}};

    for (int i = 0; i < W * H; i++) {
        int x = i % W, y = i / W, dx = x - 52 - n % 5, dy = y - 46 - n % 3;
        int skin = blob(dx, dy, 18, 23, 110);
        int dark = blob(dx + 7, dy + 6, 4, 3, 70) + blob(dx - 7, dy + 6, 4, 3, 70) +
                   blob(dx, dy - 10, 7, 2 + n % 3, 80);

        for (int c = 0; c < 3; c++) {
            int v = 20 + 5 * c + x * slope[c][0] / W + y * slope[c][1] / H +
                    skin * slope[c][2] / 4 - dark * (c + 2) / 8 + n;

            *out++ = (uint8_t)(v < 0 ? 0 : v > 255 ? 255 : v);
        }
    }
}

// --- the golden
// --------------------------------------------------------------------------------------

static int area(const int box[4])
{
    return (box[2] - box[0]) * (box[3] - box[1]);
}

// The next case, with its inputs made and known to be the script's.
static int next_golden(struct golden *g, struct read_file *f)
{
    uint32_t voice_crc, film_crc;
    int i, bytes = 0;

    memset(g, 0, sizeof(*g));
    memcpy(g->name, read_bytes(f, 32), 32);
    g->num = read_i32(f);
    g->den = read_i32(f);
    g->sources = read_i32(f);
    g->samples = read_i32(f);
    voice_crc = (uint32_t)read_i32(f);
    film_crc = (uint32_t)read_i32(f);
    g->frames = read_i32(f);
    if (!CHECK(g->sources > 0 && g->sources <= SOURCES_MAX && g->samples > 0 &&
                   g->samples <= SAMPLES_MAX && g->frames > 0,
               g->name))
        return -1;
    memcpy(g->box, read_bytes(f, (size_t)g->sources * sizeof(g->box[0])),
           (size_t)g->sources * sizeof(g->box[0]));
    for (i = 0; i < g->frames; i++)
        bytes += 3 * area(g->box[i % g->sources]);
    g->pixel = read_bytes(f, (size_t)bytes);
    make_voice(g->samples);
    for (i = 0; i < g->sources; i++)
        make_frame(film + i * FRAME, i);
    return CHECK(noise_crc(0, (const uint8_t *)voice, 2 * g->samples) == voice_crc, g->name) &&
                   CHECK(noise_crc(0, film, g->sources * FRAME) == film_crc, g->name)
               ? 0
               : -1;
}

// --- sessions
// ----------------------------------------------------------------------------------------

static const struct way {
    const char *name, *backend;
    size_t chunk;
    int order; // as in loopback_call
} ways[] = {
    {"ref, in step", "ref", 65536, 0},
    {"cpu, in step", "cpu", 65536, 0},
    {"cpu, voice first", "cpu", 997, 1},
    {"cpu, frames first", "cpu", 0, 2},
};

// The largest difference inside the boxes, and how many bytes outside are not the input's.
static void compare(int *worst, int *strange, const uint8_t *out, const struct golden *g)
{
    const uint8_t *want = g->pixel;

    *worst = *strange = 0;
    for (int i = 0; i < g->frames; i++) {
        const uint8_t *source = film + (i % g->sources) * FRAME;
        const int *b = g->box[i % g->sources];

        for (int k = 0; k < FRAME; k++, out++) {
            int x = k / 3 % W, y = k / 3 / W, gap;

            if (x < b[0] || x >= b[2] || y < b[1] || y >= b[3]) {
                *strange += *out != source[k];
                continue;
            }
            gap = abs((int)*out - (int)*want++);
            *worst = gap > *worst ? gap : *worst;
        }
    }
}

static void run_case(struct loopback *l, const struct golden *g, const struct way *way)
{
    struct ls_region region[SOURCES_MAX];
    struct loopback_call c = {.region = region,
                              .region_count = g->sources,
                              .chunk = way->chunk,
                              .order = way->order,
                              .audio = (const uint8_t *)voice,
                              .audio_size = 2 * (size_t)g->samples,
                              .video = film,
                              .video_size = (size_t)g->sources * FRAME};
    int worst = -1, strange = -1, i;
    char row[96];

    snprintf(row, sizeof(row), "%s: %s", g->name, way->name);
    for (i = 0; i < g->sources; i++) {
        const int *b = g->box[i];

        region[i] = (struct ls_region){.frame = i,
                                       .box = {(float)b[0], (float)b[1], (float)b[2], (float)b[3]},
                                       .present = true};
    }
    loopback_job(&c.job, W, H, g->num, g->den, LS_PIX_RGB24);
    c.job.profile = LS_PROFILE_WAV2LIP_EXACT;
    c.job.face.box_fixed = false;
    c.job.face.choose = LS_CHOOSE_GIVEN;
    c.job.output.container = LS_CONTAINER_NONE;
    c.job.output.video = LS_VIDEO_RGB24;
    c.job.output.audio = LS_AUDIO_NONE;
    loopback_run(l, &c, 1);
    CHECK(c.err.code == 0 && c.summary.summary.frames_out == g->frames, row);
    if (CHECK(c.size == (size_t)g->frames * FRAME, row)) {
        compare(&worst, &strange, c.data, g);
        CHECK(worst <= 1 && strange == 0, row);
    }
    printf("%s: %" PRId64 " frames of %d, worst %d, %d bytes outside differ%s%s\n", row,
           c.summary.summary.frames_out, g->frames, worst, strange, c.err.code ? ": " : "",
           c.err.text);
    loopback_clear(&c);
}

int main(void)
{
    const char *sanitize = getenv("LS_SANITIZE");
    struct read_file f;
    struct golden g;
    struct loopback l;

    for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++) {
        // ref is plain loops, ten times slower under a sanitizer: one short case shows as much
        // there.
        int frames_max = sanitize && *sanitize && !strcmp(ways[i].backend, "ref") ? 16 : INT_MAX;

        if (!CHECK(loopback_open(&l, ways[i].backend, NULL) == 0, ways[i].name))
            return 1;
        f = read_open("tests/golden/exact.bin");
        for (int left = read_i32(&f); left > 0 && next_golden(&g, &f) == 0; left--)
            if (g.frames <= frames_max)
                run_case(&l, &g, &ways[i]);
        free(f.data);
        loopback_close(&l);
    }
    return check_done();
}
