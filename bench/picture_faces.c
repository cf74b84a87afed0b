// SPDX-License-Identifier: Apache-2.0
// The generator alone, for bench/picture_run.py: `bench_picture_faces WEIGHTS`. From standard input
// jobs until it ends: int32 sample count and float32 samples (16 kHz), int32 face count, and per
// face float64 time in seconds and uint8 [96][96][3] BGR. To standard output the faces of each job
// as uint8. The whole service always shows a face as its own reference; here the caller may put
// another frame's lower half into the face, which is all that the reference adds to what the
// generator is shown of the face itself (its upper half).
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "kernels/backend.h"
#include "kernels/model.h"

enum { SIDE = 96, FACE = SIDE * SIDE * 3, COLUMNS = 16, BANDS = 80, COUNT_MAX = 1 << 24 };

static const float QUIET = -4;

// All columns of a voice; beyond its end 16 of silence, as the service has it.
static float *voice_mel(struct ls_lane *lane, int *columns, struct ls_err *err)
{
    int32_t samples;
    float *pcm = NULL, *mel = NULL;

    if (fread(&samples, sizeof samples, 1, stdin) != 1 || samples < 401 || samples > COUNT_MAX)
        return NULL;
    *columns = 1 + samples / 200;
    pcm = malloc((size_t)samples * sizeof *pcm);
    mel = malloc((size_t)(*columns + COLUMNS) * BANDS * sizeof *mel);
    if (!pcm || !mel || fread(pcm, sizeof *pcm, (size_t)samples, stdin) != (size_t)samples ||
        ls_mel(lane, mel,
               &(struct ls_mel_job){
                   .pcm = pcm, .pcm_count = samples, .total = samples, .count = *columns},
               err) < 0) {
        free(mel);
        mel = NULL;
    }
    for (int i = 0; mel && i < COLUMNS * BANDS; i++)
        mel[*columns * BANDS + i] = QUIET;
    free(pcm);
    return mel;
}

static int one_face(struct ls_lane *lane, const float *mel, int columns, struct ls_err *err)
{
    static float made[FACE];
    static uint8_t face[FACE];
    double time_s;
    int first;

    if (fread(&time_s, sizeof time_s, 1, stdin) != 1 || fread(face, sizeof face, 1, stdin) != 1 ||
        !(time_s >= 0 && time_s < COUNT_MAX))
        return -1;
    first = (int)(80 * time_s + 1e-9); // floor, as the service does
    if (first > columns)
        first = columns;
    if (ls_generate(lane, made, face, mel + first * BANDS, 1, err) < 0)
        return -1;
    for (int i = 0; i < FACE; i++)
        face[i] = (uint8_t)(255 * made[i] + 0.5f);
    return fwrite(face, sizeof face, 1, stdout) == 1 ? 0 : -1;
}

// 1: a job was done, 0: there is none, -1: it is broken.
static int one_job(struct ls_lane *lane, struct ls_err *err)
{
    int columns, next = getc(stdin);
    int32_t count;
    float *mel;
    int r = 1;

    if (next == EOF)
        return 0;
    ungetc(next, stdin);
    mel = voice_mel(lane, &columns, err);
    if (!mel || fread(&count, sizeof count, 1, stdin) != 1)
        r = -1;
    for (int32_t i = 0; r == 1 && i < count; i++)
        r = one_face(lane, mel, columns, err) < 0 ? -1 : 1;
    free(mel);
    return r;
}

int main(int argc, char **argv)
{
    struct ls_model *model = NULL;
    struct ls_backend *be = NULL;
    struct ls_lane *lane = NULL;
    struct ls_err err = {0};
    int r = -1;

    if (argc != 2) {
        fprintf(stderr, "usage: bench_picture_faces WEIGHTS <jobs >faces\n");
        return 2;
    }
    if (ls_model_open(&model, &(struct ls_model_params){.generator_path = argv[1]}, &err) < 0)
        goto done;
    if (ls_backend_open(&be, &(struct ls_backend_params){.name = "cpu", .model = model}, &err) < 0)
        goto done;
    if (ls_lane_open(&lane, be, &err) < 0)
        goto done;
    do
        r = one_job(lane, &err);
    while (r > 0);
    if (fflush(stdout))
        r = -1;
done:
    if (r < 0)
        fprintf(stderr, "bench_picture_faces: %s\n",
                err.text[0] ? err.text : "broken input or output");
    ls_lane_close(&lane);
    ls_backend_close(&be);
    ls_model_close(&model);
    return r < 0;
}
