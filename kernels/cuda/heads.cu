// SPDX-License-Identifier: Apache-2.0
// Faces from a detector's numbers, as ls_detect_faces: cells that pass become keys in a list; one
// block sorts the list, keeps the 512 best, takes the strongest face and all that overlaps it, and
// again, until nothing is left. Device thread.
//
// What surprises: the list is filled in any order, yet the outcome has one: a key is a score and
// below it the cell's number, no two keys are equal, and the sort puts scores downwards and, among
// equal ones, cells upwards.
//
// find: 8 bytes a cell read (1,260 cells at 320 x 192, 33,600 at 1280 x 1280), 8 written for one
// that passes. choose: 72 bytes read for each candidate, 1 to 63 comparisons of boxes for each face
// found; a sort of n keys takes log2(n) (log2(n) + 1) / 2 steps, and one for every 512 keys more.
#include <string.h>

#include "heads.h"
#include "launch.h"

enum {
    THREADS = 512, // of choose
    FIND_THREADS = 128,
    NUMBERS = 15, // of a face: box, points, score; odd, so that threads hit different banks
    SCORE = 14,
};
static_assert((int)THREADS == (int)LS_CANDIDATES_MAX, "a thread a candidate");

#define NO_KEY (~(uint64_t)0)

LS_KERNEL find(struct ls_cuda_heads h, int cell_count)
{
    int idx = (int)(blockIdx.x * FIND_THREADS + threadIdx.x);
    struct ls_face face;
    uint32_t bits;

    if (idx >= cell_count || !ls_cells_face(&face, &h.cells, idx))
        return;
    memcpy(&bits, &face.score, sizeof bits); // of a positive number: larger ones have larger bits
    h.key[atomicAdd(h.found, 1)] = (uint64_t)~bits << 32 | (unsigned)idx;
}

// Sorts `size` keys upwards; size is a power of two, at most 2 * THREADS. Bitonic.
LS_DEVICE void sort(uint64_t *key, int size)
{
    for (int run = 2; run <= size; run *= 2) {
        for (int gap = run / 2; gap > 0; gap /= 2) {
            int t = threadIdx.x, i = 2 * t - (t & (gap - 1));

            if (t < size / 2 && (key[i] > key[i + gap]) == !(i & run)) {
                uint64_t held = key[i];

                key[i] = key[i + gap];
                key[i + gap] = held;
            }
            __syncthreads();
        }
    }
}

// The best keys of the list to key [2 * THREADS], sorted; how many of the first THREADS there are.
LS_DEVICE int best_keys(uint64_t *key, const uint64_t *list, int count)
{
    __shared__ int better;
    int t = threadIdx.x, size = 2;

    while (size < count && size < 2 * THREADS)
        size *= 2;
    key[t] = t < count ? list[t] : NO_KEY;
    key[THREADS + t] = THREADS + t < count ? list[THREADS + t] : NO_KEY;
    __syncthreads();
    sort(key, size);
    for (int first = 2 * THREADS; first < count; first += THREADS) {
        uint64_t next = first + t < count ? list[first + t] : NO_KEY;

        if (t == 0)
            better = 0;
        __syncthreads();
        if (next < key[THREADS - 1])
            atomicAdd(&better, 1);
        __syncthreads();
        if (better) { // the same for all threads
            key[THREADS + t] = next;
            __syncthreads();
            sort(key, size);
        }
        __syncthreads();
    }
    return count < THREADS ? count : THREADS;
}

LS_DEVICE void keep(float *out, const struct ls_cuda_heads *h, uint64_t key)
{
    struct ls_face face;

    (void)ls_cells_face(&face, &h->cells, (int)(key & 0xffffffff)); // it passed before
    out[0] = face.box.x0;
    out[1] = face.box.y0;
    out[2] = face.box.x1;
    out[3] = face.box.y1;
    for (int k = 0; k < 2 * LS_POINTS; k++)
        out[4 + k] = face.point[k / 2][k % 2];
    out[SCORE] = face.score;
}

LS_DEVICE struct ls_box box_of(const float *number)
{
    struct ls_box b;

    b.x0 = number[0];
    b.y0 = number[1];
    b.x1 = number[2];
    b.y1 = number[3];
    return b;
}

// Number k of the group's face: the strongest's, or the mean by score. In the candidates' order, as
// ls_detect_faces adds.
LS_DEVICE float group_number(const float (*number)[NUMBERS], const int *group, int f, int best,
                             int count, int k, bool average)
{
    float sum = 0, weight_sum = 0;

    if (!average || k == SCORE)
        return number[best][k];
    for (int i = best; i < count; i++) {
        if (group[i] == f) {
            sum += number[i][SCORE] * number[i][k];
            weight_sum += number[i][SCORE];
        }
    }
    return sum * (1 / weight_sum);
}

LS_DEVICE void put(struct ls_face *out, const float *number, const struct ls_cuda_heads *h)
{
    struct ls_face face;

    face.box = box_of(number);
    for (int k = 0; k < 2 * LS_POINTS; k++)
        face.point[k / 2][k % 2] = number[4 + k];
    face.score = number[SCORE];
    face.points_known = true;
    if (h->cells.detector == LS_DETECTOR_BLAZEFACE)
        ls_cells_map(&face, h->fit);
    ls_cells_to_frame(&face, &h->box);
    *out = face;
}

LS_KERNEL choose(struct ls_cuda_faces_found *out, struct ls_cuda_heads h)
{
    __shared__ uint64_t key[2 * THREADS];
    __shared__ float number[THREADS][NUMBERS], made[LS_FACES_MAX][NUMBERS];
    __shared__ int group[THREADS]; // the face that a candidate went into, -1: none yet
    __shared__ int best;           // the strongest candidate that is left
    int t = threadIdx.x, count = best_keys(key, h.key, *h.found), face_count = 0;
    bool average = h.cells.detector == LS_DETECTOR_BLAZEFACE;

    if (t < count)
        keep(number[t], &h, key[t]);
    group[t] = -1;
    if (t == 0)
        best = 0;
    __syncthreads();
    while (face_count < LS_FACES_MAX && best < count) { // the same for all threads
        struct ls_box a = box_of(number[t < count ? t : best]), b = box_of(number[best]);

        if (t < count && group[t] < 0 &&
            (t == best || !(ls_cells_overlap(&a, &b) <= LS_DETECT_OVERLAP_MAX)))
            group[t] = face_count;
        __syncthreads();
        if (t < NUMBERS)
            made[face_count][t] = group_number(number, group, face_count, best, count, t, average);
        face_count++;
        __syncthreads();
        if (t == 0)
            while (best < count && group[best] >= 0)
                best++;
        __syncthreads();
    }
    if (t < face_count)
        put(&out->face[t], made[t], &h);
    if (t == 0)
        out->count = face_count;
}

int ls_cuda_heads(struct ls_cuda_faces_found *out, const struct ls_cuda_heads *heads,
                  cudaStream_t stream)
{
    int cell_count = ls_cells_count(&heads->cells);
    cudaError_t r = cudaMemsetAsync(heads->found, 0, sizeof *heads->found, stream);

    if (r != cudaSuccess)
        return (int)r;
    LS_LAUNCH_FLAT(find, (unsigned)((cell_count + FIND_THREADS - 1) / FIND_THREADS), FIND_THREADS,
                   stream, *heads, cell_count);
    r = cudaGetLastError();
    if (r != cudaSuccess)
        return (int)r;
    LS_LAUNCH(choose, 1, THREADS, 0, stream, out, *heads);
    return (int)cudaGetLastError();
}
