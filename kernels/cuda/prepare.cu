// SPDX-License-Identifier: Apache-2.0
// Cuts faces out of frames: one launch for a whole batch, from the planes as they lie in device
// memory to the network's input and to the bytes that the colour match wants later. Queued on a
// stream by the device thread. What surprises: positions are worked out in double, as ref does, and
// mixed in float, so that a byte differs from ref's only where a half rounds the other way.
#include "launch.h"

#include <math.h>

#include "samples.h"

enum { SIZE = LS_FACE_SIZE, CHANNELS = 8, ROWS = 4 }; // ROWS: of the face, a block

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

// Grid: (rows / ROWS, items), a thread a column. Bytes an item: up to 12 samples a pixel read (110
// KB, less where pixels share samples), 28 KB and 147 KB (half) or 295 KB (float) written.
template <typename T>
LS_KERNEL prepare_rows(uint8_t *source, T *input, const struct ls_cuda_face *faces)
{
    const struct ls_cuda_face *face = &faces[blockIdx.y];
    const struct ls_cuda_picture *p = &face->picture;
    const struct ls_box box = face->paste.box;
    double step_x = ((double)box.x1 - box.x0) * (1.0 / SIZE);
    double step_y = ((double)box.y1 - box.y0) * (1.0 / SIZE);
    int column = (int)threadIdx.x;
    double at = box.x0 + (column + 0.5) * step_x;
    struct ls_spot x[2], y[2];

    // A chroma sample lies on the left luma column of its two, between its two rows.
    x[0] = ls_spot_at(at - 0.5, p->width_px);
    x[1] = ls_spot_at((at - 0.5) * 0.5, (p->width_px + 1) / 2);
    for (int i = 0; i < ROWS; i++) {
        int row = (int)blockIdx.x * ROWS + i;
        int64_t to = ((int64_t)blockIdx.y * SIZE + row) * SIZE + column;
        struct pixel<T> all;
        float bgr[3];

        at = box.y0 + (row + 0.5) * step_y;
        y[0] = ls_spot_at(at - 0.5, p->height_px);
        y[1] = ls_spot_at((at - 1) * 0.5, (p->height_px + 1) / 2);
        look(bgr, p, x, y);
        for (int c = 0; c < 3; c++) {
            uint8_t byte = ls_colour_byte(bgr[c]);
            float v = (float)byte / 255.0f;

            source[3 * to + c] = byte;
            ls_put(&all.channel[c], row < SIZE / 2 ? v : 0.0f);
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
    dim3 grid(SIZE / ROWS, (unsigned)count);

    if (type == LS_CUDA_FP16)
        LS_LAUNCH_FLAT(prepare_rows<ls_half>, grid, SIZE, stream, source, (ls_half *)input, face);
    else
        LS_LAUNCH_FLAT(prepare_rows<float>, grid, SIZE, stream, source, (float *)input, face);
    return (int)cudaGetLastError();
}
