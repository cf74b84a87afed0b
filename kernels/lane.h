// SPDX-License-Identifier: Apache-2.0
// What the border of arithmetic (backend.c, generate.c) keeps of an open back end and of a lane.
// Nobody else looks inside. A lane belongs to one thread.
#ifndef LS_LANE_H
#define LS_LANE_H

#include "backend.h"
#include "levels.h"

// A voice is -1..1 and its mel -4..4; decoders overshoot, but not so much.
#define LS_SAMPLE_MAX 65536.0f

struct ls_backend {
    const struct ls_backend_ops *ops;
    void *be;
    const struct ls_model *model;
    int batch_max;
    char processor[64]; // the host's
    char note[320];
};

struct ls_lane {
    const struct ls_backend *backend;
    void *lane;
    int flying; // batches of faces begun and not finished
    // Faces as the network sees them, [batch_max], and what they were; NULL if the model's input
    // is the faces as they are.
    uint8_t *levelled; // [96][96][3] each
    struct ls_levels *levels;
};

// Whether all of a mel window are sane numbers; mel [16][80].
bool ls_mel_sane(const float *mel);

#endif
