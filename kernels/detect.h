// SPDX-License-Identifier: Apache-2.0
// What finding faces needs besides running a network: how the frame is reduced, the plan for a
// size, and the network's numbers turned into faces. One definition for every back end, which only
// brings the frame into the network's input and runs it. No state; any thread. A call goes:
// ls_detect_letterbox, ls_detect_plan (kept by the back end per input size), fill the input as
// struct ls_letterbox says, run, ls_detect_faces.
#ifndef LS_DETECT_H
#define LS_DETECT_H

#include "backend.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { LS_DETECT_OUTPUTS_MAX = 12 };

// The frame lies reduced in the input's top left corner; the rest of the input is `empty`.
// Input [3][net_height][net_width]: value = byte value of the channel * gain + offset, channels B,
// G, R or R, G, B. The reduction is the mean over the area that an input pixel covers; where a side
// is enlarged, bilinear with half-pixel centres. Chroma planes count as covering the whole frame.
struct ls_letterbox {
    int net_width, net_height;
    int image_width, image_height;
    float x_scale, y_scale; // input pixels a frame pixel
    bool bgr;
    float gain, offset, empty;
};

void ls_detect_letterbox(struct ls_letterbox *out, enum ls_detector detector,
                         const struct ls_frame *frame, const struct ls_detect_params *params);

// The detector's network for an input of this size; its outputs are ls_detect_faces' outputs.
LS_MUST int ls_detect_plan(struct ls_net **out, const struct ls_model *model, int net_width,
                           int net_height, struct ls_err *err);

// Which of a few places, the back end's to fill, holds the network of an input size; the one used
// longest ago is given up for a new size. Valid when zeroed; one thread.
enum { LS_DETECT_SIZES_MAX = 4 };
struct ls_detect_sizes {
    struct {
        int width, height; // 0: free
        unsigned used_at;
    } place[LS_DETECT_SIZES_MAX];
    unsigned clock;
};
// *known: the size is there; else what lies in the place must go and the size's network be made, or
// ls_detect_sizes_drop be called.
int ls_detect_sizes_take(struct ls_detect_sizes *sizes, bool *known,
                         const struct ls_letterbox *letterbox);
void ls_detect_sizes_drop(struct ls_detect_sizes *sizes, int idx);

int ls_detect_outputs(enum ls_detector detector); // how many the plan has

// outputs: as the plan's rows marked `output`, NCHW, one item. out [LS_FACES_MAX] as ls_detect's.
void ls_detect_faces(struct ls_face *out, int *count, enum ls_detector detector,
                     const float *const *outputs, const struct ls_letterbox *letterbox,
                     const struct ls_detect_params *params);

// The least score of a face: the caller's, or the detector's own.
float ls_detect_score_min(enum ls_detector detector, const struct ls_detect_params *params);

// Faces that share more of their area are one (intersection over union), of both detectors, by
// their authors.
#define LS_DETECT_OVERLAP_MAX 0.3f

// Candidates on their way to faces, best score first, equals in the order of adding (which is the
// order of the detector's cells, cells.h).
enum { LS_CANDIDATES_MAX = 512 };
struct ls_candidates {
    struct ls_face face[LS_CANDIDATES_MAX]; // in input pixels
    int count;
};
// Adds a finite face; beyond 512 the last is dropped.
void ls_candidates_add(struct ls_candidates *c, const struct ls_face *face);

#ifdef __cplusplus
}
#endif

#endif
