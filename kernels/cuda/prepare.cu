// SPDX-License-Identifier: Apache-2.0
// Cuts faces out of frames: one launch for a whole batch, from the planes as they lie in device
// memory to the network's input and to the bytes that the colour match wants later. Queued on a
// stream by the device thread. What surprises: positions are worked out in double, as ref does, and
// mixed in float, so that a byte differs from ref's only where a half rounds the other way.
#include "launch.h"

#include <math.h>

#include "samples.h"

enum { SIZE = LS_FACE_SIZE, CHANNELS = 8 };
enum { ROWS = 8, LANES = 4 }; // a block makes 8 rows of the face by 96 x 4 threads

// The input's channels of one pixel, stored at once.
template <typename T> struct alignas(16) pixel {
    T channel[CHANNELS];
};

LS_DEVICE float sample(const uint8_t *data, int64_t stride, int step, bool deep, struct ls_spot x,
                       struct ls_spot y)
{
    const uint8_t *top = data + y.first * stride, *low = data + y.second * stride;
    float a = ls_sample_get(top + x.first * step, deep);
    float b = ls_sample_get(top + x.second * step, deep);
    float c = ls_sample_get(low + x.first * step, deep);
    float d = ls_sample_get(low + x.second * step, deep);
    float upper = a + x.part * (b - a), lower = c + x.part * (d - c);

    return upper + y.part * (lower - upper);
}

// The picture's colour at a place, which x[0] and y[0] are in plane 0, x[1] and y[1] in chroma.
LS_DEVICE void look(float bgr[3], const struct ls_cuda_picture *p, const struct ls_spot x[2],
                    const struct ls_spot y[2])
{
    bool deep = p->format == LS_PIX_P010;
    int bytes = deep ? 2 : 1;
    float yuv[3];

    if (p->format == LS_PIX_RGB24) {
        for (int c = 0; c < 3; c++)
            bgr[c] = sample(p->plane[0] + 2 - c, p->stride[0], 3, false, x[0], y[0]);
        return;
    }
    yuv[0] = sample(p->plane[0], p->stride[0], bytes, deep, x[0], y[0]);
    if (p->format == LS_PIX_I420) {
        yuv[1] = sample(p->plane[1], p->stride[1], 1, false, x[1], y[1]);
        yuv[2] = sample(p->plane[2], p->stride[2], 1, false, x[1], y[1]);
    } else {
        yuv[1] = sample(p->plane[1], p->stride[1], 2 * bytes, deep, x[1], y[1]);
        yuv[2] = sample(p->plane[1] + bytes, p->stride[1], 2 * bytes, deep, x[1], y[1]);
    }
    ls_colour_bgr(bgr, &p->colour, yuv);
}

// Where face column (axis 0) or row (1) `idx` lies between the picture's samples.
LS_DEVICE struct ls_spot place(const struct ls_cuda_face *face, bool chroma, int axis, int idx)
{
    const struct ls_box *box = &face->paste.box;
    double from = axis ? box->y0 : box->x0, to = axis ? box->y1 : box->x1;
    double at = from + (idx + 0.5) * ((to - from) * (1.0 / SIZE)) - 0.5;
    int count = axis ? face->picture.height_px : face->picture.width_px;

    // A chroma sample lies on the left luma column of its two, between its two rows.
    if (chroma)
        return ls_spot_at((axis ? at - 0.5 : at) * 0.5, (count + 1) / 2);
    return ls_spot_at(at, count);
}

// Grid: (rows / ROWS, items), a thread a column. Bytes an item: up to 12 samples a pixel read (110
// KB, less where pixels share samples), 28 KB and 147 KB (half) or 295 KB (float) written. Places
// are worked out once a block: consumers' devices do one operation in double for 64 in float.
template <typename T>
LS_KERNEL prepare_rows(uint8_t *source, T *input, const struct ls_cuda_face *faces)
{
    __shared__ struct ls_spot across[SIZE][2], down[ROWS][2];
    const struct ls_cuda_face *face = &faces[blockIdx.y];
    int column = (int)threadIdx.x, lane = (int)threadIdx.y, top = (int)blockIdx.x * ROWS;

    if (lane < 2)
        across[column][lane] = place(face, lane, 0, column);
    else if (column < ROWS)
        down[column][lane - 2] = place(face, lane - 2, 1, top + column);
    __syncthreads();
    for (int i = lane; i < ROWS; i += LANES) {
        int64_t to = ((int64_t)blockIdx.y * SIZE + top + i) * SIZE + column;
        struct pixel<T> all;
        float bgr[3];

        look(bgr, &face->picture, across[column], down[i]);
        for (int c = 0; c < 3; c++) {
            uint8_t byte = ls_colour_byte(bgr[c]);
            float v = (float)byte / 255.0f;

            source[3 * to + c] = byte;
            ls_put(&all.channel[c], top + i < SIZE / 2 ? v : 0.0f);
            ls_put(&all.channel[3 + c], v);
        }
        for (int c = 6; c < CHANNELS; c++)
            ls_put(&all.channel[c], 0.0f);
        *(struct pixel<T> *)(input + CHANNELS * to) = all;
    }
}

extern "C" int ls_cuda_prepare(uint8_t *source, void *input, enum ls_cuda_type type,
                               const struct ls_cuda_face *face, int count, cudaStream_t stream)
{
    dim3 grid(SIZE / ROWS, (unsigned)count), block(SIZE, LANES);

    if (type == LS_CUDA_FP16)
        LS_LAUNCH(prepare_rows<ls_half>, grid, block, 0, stream, source, (ls_half *)input, face);
    else
        LS_LAUNCH(prepare_rows<float>, grid, block, 0, stream, source, (float *)input, face);
    return (int)cudaGetLastError();
}
