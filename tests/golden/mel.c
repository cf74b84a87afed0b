// SPDX-License-Identifier: Apache-2.0
// ref's mel columns against librosa's (golden_audio.py made mel.bin): a synthetic voice always, the
// real ones where the shared media and ffmpeg are at hand. Tolerance 1e-5 of a range of 8: librosa
// rounds the spectrum to float32, and a float32 of 100 dB has steps of 7.6e-6 dB.
#include <math.h>

#include "kernels/ref/ref.h"
#include "tests/golden/_read.h"
#include "tests/unit/_check.h"

struct voice {
    char name[33];
    int sample_count;
    uint32_t check;
    int column_count, pick_count;
};

static int16_t *synthetic(int count)
{
    int16_t *pcm = calloc((size_t)count, sizeof *pcm);
    int64_t state = 20240607;

    for (int i = 0; pcm && i < count - 9000; i++) {
        int level = i / 1600 * 37 % 11 * (i % 1600) / 16, noise, product;

        state = (state * 1103515245 + 12345) % 2147483648;
        noise = (int)(state / 65536 % 256) - 128;
        product = noise * level;
        pcm[i] = (int16_t)(product >= 0 ? product / 128 : -((-product + 127) / 128)); // floor
    }
    return pcm;
}

static int16_t *decoded(const char *name, int count)
{
    char command[600];
    int16_t *pcm = calloc((size_t)count, sizeof *pcm);
    FILE *in;

    snprintf(
        command, sizeof command,
        "ffmpeg -nostdin -v error -i '%s/media/audio/%s' -ac 1 -ar 16000 -f s16le - 2>/dev/null",
        check_shared(), name);
    in = popen(command, "r");
    if (!pcm || !in || fread(pcm, sizeof *pcm, (size_t)count, in) != (size_t)count) {
        free(pcm);
        pcm = NULL;
    }
    if (in)
        pclose(in);
    return pcm;
}

static uint32_t checksum(const int16_t *pcm, int count)
{
    uint32_t sum = 0;

    for (int i = 0; i < count; i++)
        sum += (uint32_t)(pcm[i] * (i % 65521 + 1));
    return sum;
}

// Returns 1 if the voice could be compared.
static int compare(struct read_file *f, const struct voice *v)
{
    const char *pick = read_bytes(f, 4 * (size_t)v->pick_count);
    int made_here = !strcmp(v->name, "synthetic");
    int16_t *raw = made_here ? synthetic(v->sample_count) : decoded(v->name, v->sample_count);
    float *pcm = calloc((size_t)v->sample_count, sizeof *pcm), worst = 0;
    int usable = pcm && raw && checksum(raw, v->sample_count) == v->check;

    for (int i = 0; usable && i < v->sample_count; i++)
        pcm[i] = (float)raw[i] / 32768;
    for (int p = 0; p < v->pick_count; p++) {
        float want[LS_MEL_BANDS], got[LS_MEL_BANDS];
        struct ls_mel_job job = {
            .pcm = pcm, .pcm_count = v->sample_count, .total = v->sample_count, .count = 1};
        int32_t column;

        memcpy(&column, pick + 4 * p, 4);
        memcpy(want, read_bytes(f, sizeof want), sizeof want);
        job.first = column;
        if (!usable || !CHECK(ls_ref_mel(got, &job, NULL) == LS_OK, v->name))
            continue;
        for (int b = 0; b < LS_MEL_BANDS; b++)
            worst = fmaxf(worst, fabsf(got[b] - want[b]));
    }
    if (usable) {
        CHECK(worst <= 1e-5f, v->name);
        printf("%s: largest difference %.2g\n", v->name, worst);
    } else {
        CHECK(!made_here, "the synthetic voice is the script's");
        printf("not compared: %s (no media, no ffmpeg, or another resampler)\n", v->name);
    }
    free(raw);
    free(pcm);
    return usable;
}

int main(void)
{
    struct read_file f = read_open("tests/golden/mel.bin");
    int voice_count = read_i32(&f), compared = 0;

    for (int i = 0; i < voice_count; i++) {
        struct voice v = {0};

        memcpy(v.name, read_bytes(&f, 32), 32);
        v.sample_count = read_i32(&f);
        v.check = (uint32_t)read_i32(&f);
        v.column_count = read_i32(&f);
        v.pick_count = read_i32(&f);
        CHECK(v.column_count == 1 + v.sample_count / LS_MEL_HOP, v.name);
        compared += compare(&f, &v);
    }
    CHECK(f.at == f.size, "the golden file was read to its end");
    free(f.data);
    if (!check_failures && compared < voice_count)
        CHECK_SKIP("real voices of %s/media/audio (the synthetic one passed)", check_shared());
    return check_done();
}
