// SPDX-License-Identifier: Apache-2.0
// Wav2Lip-96, the lip-sync generator (Prajwal et al., ACM Multimedia 2020), as one table, and the
// arithmetic around it that is the same for every back end: mel windows by time, by frame.
// Inputs of the table, in order: face [6][96][96] (BGR/255 with rows 48..95 zeroed, then BGR/255),
// mel [1][80][16]. Output: [3][96][96], BGR, 0..1.
#ifndef LS_WAV2LIP_H
#define LS_WAV2LIP_H

#include <stdint.h>

#include "net.h"

enum {
    LS_FACE_SIZE = 96,
    LS_MEL_BANDS = 80,
    LS_MEL_WINDOW = 16,     // columns that one frame hears
    LS_SAMPLE_RATE = 16000, // of the voice as the network hears it
    LS_MEL_HOP = 200,       // samples a column: 80 columns a second
    LS_MEL_FFT = 800,
    LS_TICKS = 90000, // a second of the session's clock
};
#define LS_MEL_QUIET (-4.0f) // a mel value of digital silence

extern const struct ls_net_spec ls_wav2lip;

// First column of the window for a frame shown at `ticks` (1/90000 s): floor(80 * (t + offset)).
// Exact integer arithmetic; negative for negative times.
int64_t ls_mel_start(int64_t ticks, int offset_ms);
// The original's rule: (int)(frame * (80.0 / fps)) in doubles.
int64_t ls_mel_start_exact(int64_t frame, double fps);
// Frames that the original makes of `columns` mel columns at fps (its loop's stop included); 0 if
// there are fewer than 16 columns.
int64_t ls_mel_frames_exact(int64_t columns, double fps);

// A seeded random network with the original's widths (wide) or the demo model's.
LS_MUST int ls_wav2lip_seed(struct ls_weights *w, int wide, uint64_t seed, struct ls_err *err);

#endif
