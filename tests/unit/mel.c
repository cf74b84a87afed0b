// SPDX-License-Identifier: Apache-2.0
// The mel front end's edges: any split of a voice gives the same columns bit for bit, an unknown
// end touches the last two columns alone, and silence, a tone and the loudest sound stay in range.
#include <math.h>
#include <string.h>

#include "kernels/ref/ref.h"
#include "tests/unit/_check.h"

enum { SAMPLES = 4321, COLUMNS = 1 + SAMPLES / LS_MEL_HOP };

static float voice[SAMPLES + 1000];
static float whole[COLUMNS][LS_MEL_BANDS];

static void columns(float *out, const char *row, int64_t pcm_first, int64_t pcm_end, int64_t total,
                    int first, int count)
{
    struct ls_mel_job job = {.pcm_first = pcm_first,
                             .pcm_count = pcm_end - pcm_first,
                             .total = total,
                             .first = first,
                             .count = count};
    // A copy of just the samples at hand, so that a sanitizer sees any step outside.
    float *at_hand = malloc((size_t)(pcm_end - pcm_first) * sizeof *at_hand);

    if (!CHECK(at_hand != NULL, "memory"))
        return;
    memcpy(at_hand, voice + pcm_first, (size_t)(pcm_end - pcm_first) * sizeof *at_hand);
    job.pcm = at_hand;
    CHECK(ls_ref_mel(out, &job, NULL) == LS_OK, row);
    free(at_hand);
}

static void splits(void)
{
    float part[COLUMNS][LS_MEL_BANDS];

    for (int c = 0; c < COLUMNS; c++) {
        int64_t from = c * LS_MEL_HOP - 400, to = c * LS_MEL_HOP + 400;

        if (to > SAMPLES)
            from = from < 2 * (SAMPLES - 1) - to ? from : 2 * (SAMPLES - 1) - to;
        columns(part[c], "one column, only its samples", from > 0 ? from : 0,
                to < SAMPLES ? to : SAMPLES, SAMPLES, c, 1);
    }
    CHECK(!memcmp(part, whole, sizeof whole), "one column at a time");
    for (int first = 0; first < COLUMNS; first += 7)
        columns(part[first], "seven columns", first > 2 ? first * LS_MEL_HOP - 400 : 0, SAMPLES,
                SAMPLES, first, first + 7 < COLUMNS ? 7 : COLUMNS - first);
    CHECK(!memcmp(part, whole, sizeof whole), "seven columns at a time");
}

static void ends(void)
{
    float got[COLUMNS][LS_MEL_BANDS];
    int same = 0;

    // With more voice to come, all columns but the last two are what they are in the end.
    columns(got[0], "end unknown", 0, SAMPLES + 1000, -1, 0, COLUMNS);
    while (same < COLUMNS && !memcmp(got[same], whole[same], sizeof got[0]))
        same++;
    CHECK(same == COLUMNS - 2, "an unknown end changes the last two columns");
    columns(got[0], "shortest voice", 0, 401, 401, 0, 3);
    for (int i = 0; i < 3 * LS_MEL_BANDS; i++)
        CHECK(isfinite(got[i / LS_MEL_BANDS][i % LS_MEL_BANDS]), "shortest voice is finite");
}

static void reflection(void)
{
    // A voice that is its own mirror image at the start: columns -1 and 1 must agree. The mirrored
    // signal is the pre-emphasised one, so this holds for any voice.
    float left[LS_MEL_BANDS];

    columns(left, "before the start", 0, 1000, -1, -1, 1);
    for (int b = 0; b < LS_MEL_BANDS; b++)
        CHECK(fabsf(left[b] - whole[1][b]) < 1e-4f, "reflection at the start");
}

static void levels(void)
{
    static float buffer[2000];
    float got[LS_MEL_BANDS];
    struct ls_mel_job job = {
        .pcm = buffer, .pcm_count = 2000, .total = 2000, .first = 4, .count = 1};
    int peak = 0;

    CHECK(ls_ref_mel(got, &job, NULL) == LS_OK, "silence");
    for (int b = 0; b < LS_MEL_BANDS; b++)
        CHECK(got[b] == -4, "silence is -4");
    for (int i = 0; i < 2000; i++)
        buffer[i] = (float)sin(2 * M_PI * 1000 * i / LS_SAMPLE_RATE);
    CHECK(ls_ref_mel(got, &job, NULL) == LS_OK, "tone");
    for (int b = 0; b < LS_MEL_BANDS; b++)
        peak = got[b] > got[peak] ? b : peak;
    // 55..7600 Hz is 0.825..44.5 mel in 81 steps: 1 kHz, 15 mel, is 26.3 steps up, band 25's centre
    // at 26.
    CHECK(peak == 25, "1 kHz is loudest in band 25");
    for (int i = 0; i < 2000; i++)
        buffer[i] = i % 2 ? -1 : 1;
    CHECK(ls_ref_mel(got, &job, NULL) == LS_OK, "loudest");
    for (int b = 0; b < LS_MEL_BANDS; b++)
        CHECK(got[b] >= -4 && got[b] <= 4, "loudest stays in range");
}

int main(void)
{
    uint32_t state = 1;

    for (int i = 0; i < SAMPLES + 1000; i++) {
        state = state * 1664525 + 1013904223;
        voice[i] = (float)((int)(state >> 16) - 32768) / 65536;
    }
    columns(whole[0], "whole", 0, SAMPLES, SAMPLES, 0, COLUMNS);
    splits();
    ends();
    reflection();
    levels();
    return check_done();
}
