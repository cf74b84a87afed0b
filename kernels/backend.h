// SPDX-License-Identifier: Apache-2.0
// The one table of operations that a back end fills, and the functions that validate and call it. A
// back end is opened once per process (it holds the weights in the form it likes); each thread that
// computes has a lane of its own (buffers, scratch space). Lanes of one back end may run at the
// same time; one lane may not be used by two threads at once. Results do not depend on batch size,
// lane or load. `ref` defines every operation in plain C; the others are compared with it.
#ifndef LS_BACKEND_H
#define LS_BACKEND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "calibration.h"
#include "err.h"
#include "frame.h"
#include "model.h"
#include "wav2lip.h"

// Mel columns [first, first + count) of a 16 kHz mono voice of which samples [pcm_first,
// pcm_first + pcm_count) are at hand. Column c is centred on sample 200 c and needs 400 samples
// each side, plus one before for the pre-emphasis; indices below 0 are reflected at the start
// (x[-i] = x[i] of the pre-emphasised signal). total is the voice's length if it is known (then
// indices from it on are reflected at the end), else -1. All needed samples must be at hand. total
// must be >= 401 if known.
struct ls_mel_job {
    const float *pcm; // [pcm_count], -1..1
    int64_t pcm_first, pcm_count, total;
    int64_t first;
    int count;
};

// How to look for faces.
struct ls_detect_params {
    int long_side_px; // the frame is reduced so that its longer side has this; 0: 320.
                      // YuNet: 64..1280, multiple of 32. BlazeFace has one size and ignores it
    float score_min;  // 0: the detector's own (YuNet 0.6, BlazeFace 0.5)
    bool (*wanted)(void *user); // asked before each step, on the calling thread; once false, what
                                // was found means nothing. A back end may ask less often, or never.
                                // NULL: it is wanted
    void *user;
};
enum { LS_FACES_MAX = 32 };

enum ls_mask { LS_MASK_LOWER_FACE, LS_MASK_MOUTH, LS_MASK_RECTANGLE };

// How a generated face is put back. Valid when zeroed except box and face.
struct ls_paste {
    struct ls_box box;     // where in the frame; may stick out of it: the outside is not written
    float roll_rad;        // the box is turned by it about its centre, clockwise as seen; -1..1
    const float *face;     // [96][96][3] BGR 0..1, what `generate` made
    const uint8_t *source; // [96][96][3] BGR, what `crop` gave: what the face is compared with
    enum ls_mask mask;
    float mouth[4]; // ellipse in the face's own 0..1 coordinates: centre x, y, radius x, y; where
                    // all masks look for the lips, and the size of MOUTH and LOWER_FACE. 0 (but not
                    // with MOUTH): where faces have it on average
    float feather_px;   // width of the mask's soft edge in pixels of the 96 px face; 0..24
    float colour_match; // 0..1: how far the colours at the mask's edge are moved to the source's
    float strength;     // 0..1: opacity inside the mask
    float sharpness;    // 0..2: detail and grain that the 96 px face lacks; 0: the face as it is
    bool exact; // the original's paste: RECTANGLE, truncation to 8 bit, fixed-point bilinear
                // resize, integer box, overwrite; everything above but box and face is ignored
};

// What ls_generate_part makes, ls_generate's arguments. What lies outside part[i] of item i (a box
// in pixels of the face, not empty, inside of 0..96) is not looked at and may come out black; the
// rest is that of ls_generate but for rounding, and the same for any batch. A back end may make
// more than asked for. If the model says input_levels, faces get the same levels for the network
// and their own back (levels.h) on this side of a back end's table: its generate and generate_part
// know nothing of it.
struct ls_generate_job {
    float *out;                    // [count][96][96][3] BGR 0..1
    const uint8_t *face;           // [count][96][96][3] BGR
    const float *mel;              // [count][16][80]
    const struct ls_int_box *part; // [count]; NULL: all of all
    const bool *exact; // [count], as of their pastes: faces that keep their levels whatever the
                       // model says, and are computed in fp32 on a processor; NULL: none
    const uint64_t *source_key; // [count], as ls_face_job's; NULL: nothing is known
    int count;                  // 1..batch_max
    // Asked for an item before each step of its computation, on the calling thread; once false, the
    // rest of it is left out and its `out` means nothing. The others are not affected. A back end
    // may ask less often. NULL: all are wanted.
    bool (*wanted)(void *user, int item);
    void *user;
};

// One face of one frame on its way through a device: cut out, generated, put back; with the same
// levels for the network if the model says so and the paste is not exact.
struct ls_face_job {
    const struct ls_frame *frame; // no other job in flight may have the same one
    struct ls_paste paste;        // its face and source are ignored: they stay on the device
    const float *mel;             // [16][80]
    uint64_t source_key; // jobs of one key have the same pixels in the same box, so what was
                         // computed from them may be used again; 0: nothing is known
    struct ls_err err;   // out: this face's own fault; code 0 when it went well
};

// Valid when zeroed except name and model. Texts and model must outlive the back end. Its open is
// given a batch_max already chosen, and an arithmetic that is not NULL.
struct ls_backend_params {
    const char *name;             // "ref", "cpu", "cuda" or "auto": cuda where a device answers,
                                  // else cpu
    const struct ls_model *model; // must outlive the back end
    int batch_max;                // 1..64, the largest count of ls_generate and ls_faces_start; 0:
                                  // the back end's own choice (ls_backend_batch_max)
    const char *arithmetic;       // "auto" or NULL, "fp32", "tf32", "fp16", "bf16", "int8": the
                                  // generator's; a back end refuses what it cannot do. "auto" on a
    // processor: what it multiplies itself of int8 (with a calibration),
    // bf16, fp32
    const struct ls_calibration *calibration; // of the model's generator, for "int8"; NULL: none
    struct ls_ranges *ranges; // of the cpu with "fp32" or "auto", which is fp32 then: is told what
                              // every result of the generator reaches; NULL: nobody
    const char *module;       // path of liblipstream_cuda.so; NULL: "cuda" is not to be had
    const char *cache;        // file in which a device's plans are kept; NULL: none
    bool plan_early; // all of a device's plans are made by open, as with a cache; else when needed
    void (*on_wait)(const char *why); // called by open before something that takes minutes, with a
                                      // line for the log; or NULL
    int64_t face_cache_bytes; // the device's memory, or the host's on a processor, for what depends
                              // on a known face alone; 0: none
};

// Rows from one place to another, each on the host or on the device.
struct ls_copy {
    void *to;
    const void *from;
    size_t to_stride, from_stride; // bytes from row to row
    size_t row_size;               // bytes
    int row_count;
    bool to_device, from_device;
};

struct ls_backend_ops {
    const char *name; // "ref", "cpu", "cuda"
    int (*open)(void **be, const struct ls_backend_params *params, struct ls_err *err);
    void (*close)(void **be);
    const char *(*arithmetic)(void *be); // "fp32 direct, AVX-512"
    int (*lane_open)(void **lane, void *be, struct ls_err *err);
    void (*lane_close)(void **lane);
    int (*mel)(void *lane, float *out, const struct ls_mel_job *job, struct ls_err *err);
    int (*detect)(void *lane, struct ls_face *out, int *count, const struct ls_frame *frame,
                  const struct ls_detect_params *params, struct ls_err *err);
    int (*crop)(void *lane, uint8_t *out, const struct ls_frame *frame, const struct ls_box *box,
                float roll_rad, bool exact, struct ls_err *err);
    int (*generate)(void *lane, float *out, const uint8_t *face, const float *mel, int count,
                    struct ls_err *err);
    int (*composite)(void *lane, const struct ls_frame *frame, const struct ls_paste *paste,
                     struct ls_err *err);
    int (*generate_part)(void *lane, const struct ls_generate_job *job,
                         struct ls_err *err); // NULL:
                                              // it makes all
    bool holds_weights;                       // once open it has a copy of the generator's weights
    unsigned formats;                         // of frames: bits 1 << enum ls_pixel
    bool device_frames;              // frames may lie in its own memory (ls_frame.on_device)
    int lanes_max;                   // 0: any number
    const char *(*device)(void *be); // "NVIDIA H200, driver 580.159"; NULL: the host's processor
    // NULL: one after the other by `mel`.
    int (*mel_batch)(void *lane, float *const *out, const struct ls_mel_job *job, int count,
                     struct ls_err *err);
    // NULL, all three: crop, generate_part and composite are to be used.
    int (*faces_start)(void *lane, struct ls_face_job *job, int count, struct ls_err *err);
    int (*faces_finish)(void *lane, struct ls_err *err);
    int depth;       // batches of faces that may be in flight, 1 or more
    int batch_usual; // what batch_max 0 means, 1..64
    // With device_frames; any thread.
    int (*memory_alloc)(void *be, void **out, size_t size, struct ls_err *err);
    void (*memory_free)(void *be, void **memory);
    int (*copy)(void *be, const struct ls_copy *copy, struct ls_err *err);
    bool (*lost)(void *be); // any thread; NULL: it cannot be
};

extern const struct ls_backend_ops ls_backend_ref;
extern const struct ls_backend_ops ls_backend_cpu;

struct ls_backend;
struct ls_lane;

// LS_EDEVICE with one clear line if "cuda" is asked for and cannot be had. "auto" then takes the
// cpu and ls_backend_note says why.
LS_MUST int ls_backend_open(struct ls_backend **out, const struct ls_backend_params *params,
                            struct ls_err *err);
void ls_backend_close(struct ls_backend **be); // after all its lanes
const char *ls_backend_name(const struct ls_backend *be);
const char *ls_backend_arithmetic(const struct ls_backend *be);
const char *ls_backend_device(const struct ls_backend *be); // never NULL
const char *ls_backend_note(const struct ls_backend *be); // why "auto" has no device; "" if it has
bool ls_backend_takes(const struct ls_backend *be, enum ls_pixel format); // frames of this format
bool ls_backend_device_frames(const struct ls_backend *be);
// Its device failed for good: every operation fails until the process is started anew. Any thread.
bool ls_backend_lost(const struct ls_backend *be);
int ls_backend_lanes_max(const struct ls_backend *be);      // 0: any number
int ls_backend_batch_max(const struct ls_backend *be);      // what was asked for or chosen
int ls_backend_faces_depth(const struct ls_backend *be);    // 0: it has no ls_faces_start
bool ls_backend_holds_weights(const struct ls_backend *be); // then ls_model_trim is possible
// Device memory for frames, where ls_backend_device_frames; uninitialised. Any thread, also while
// lanes are at work; copy returns when the rows are there.
LS_MUST int ls_backend_memory_alloc(struct ls_backend *be, void **out, size_t size,
                                    struct ls_err *err);
void ls_backend_memory_free(struct ls_backend *be, void **memory); // accepts NULL in *memory
LS_MUST int ls_backend_copy(struct ls_backend *be, const struct ls_copy *copy, struct ls_err *err);
LS_MUST int ls_lane_open(struct ls_lane **out, struct ls_backend *be, struct ls_err *err);
void ls_lane_close(struct ls_lane **lane);

// out [count][80], normalised to -4..4 as Wav2Lip has it.
LS_MUST int ls_mel(struct ls_lane *lane, float *out, const struct ls_mel_job *job,
                   struct ls_err *err);
// ls_mel of `count` jobs (1..64), of any voices: out[i] [job[i].count][80].
LS_MUST int ls_mel_batch(struct ls_lane *lane, float *const *out, const struct ls_mel_job *job,
                         int count, struct ls_err *err);
// out [LS_FACES_MAX], best score first, boxes in frame pixels (may stick out), after non-maximum
// suppression; *count is 0 when there is none. Boxes follow WIDER FACE (YuNet's convention).
LS_MUST int ls_detect(struct ls_lane *lane, struct ls_face *out, int *count,
                      const struct ls_frame *frame, const struct ls_detect_params *params,
                      struct ls_err *err);
// out [96][96][3] BGR: the box, turned by roll_rad (-1..1) about its centre, clockwise as seen.
// Half-pixel centres, edge pixels repeated outside the frame; a cubic kernel that widens with the
// scale where the face is reduced, so that nothing is skipped. exact: OpenCV's fixed-point bilinear
// resize of the integer box (truncated), RGB24 frames only, no roll.
LS_MUST int ls_crop(struct ls_lane *lane, uint8_t *out, const struct ls_frame *frame,
                    const struct ls_box *box, float roll_rad, bool exact, struct ls_err *err);
// out [count][96][96][3] BGR 0..1; face [count][96][96][3] BGR; mel [count][16][80]: 16 consecutive
// columns each. count: 1..batch_max. No item is exact (ls_generate_job).
LS_MUST int ls_generate(struct ls_lane *lane, float *out, const uint8_t *face, const float *mel,
                        int count, struct ls_err *err);
// ls_generate when only a part is needed, which costs up to 40 % less: what ls_paste_reads
// (paste.h) says of an item's paste.
LS_MUST int ls_generate_part(struct ls_lane *lane, const struct ls_generate_job *job,
                             struct ls_err *err);
// Writes into the frame's planes, and only inside the mask.
LS_MUST int ls_composite(struct ls_lane *lane, const struct ls_frame *frame,
                         const struct ls_paste *paste, struct ls_err *err);
// For back ends whose ls_backend_faces_depth is not 0: begins the faces of 1..batch_max frames, as
// ls_crop, ls_generate_part and ls_composite would make them. Jobs, their mel and frames must stay
// untouched until ls_faces_finish, which waits for the oldest batch begun and has then filled each
// job's err. At most `depth` batches may be begun and not finished. If it fails, nothing was begun
// (one job's wrong argument refuses all); a failure of ls_faces_finish is
// the failure of all of its batch's faces, which is then finished.
LS_MUST int ls_faces_start(struct ls_lane *lane, struct ls_face_job *job, int count,
                           struct ls_err *err);
LS_MUST int ls_faces_finish(struct ls_lane *lane, struct ls_err *err);

#endif
