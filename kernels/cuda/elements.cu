// SPDX-License-Identifier: Apache-2.0
// The generator's work around its convolutions: sound into the network's layout, the face
// encoder's results into records and out of them, the output layer. Copies go 16 bytes at a time;
// nothing is shared between threads. Queued by generator.c; device thread. What surprises: a record
// holds tensors packed, whatever their strides in the buffers are.
#include "elements.h"

#include <assert.h>

#include "launch.h"

enum { THREADS = 256, BAND_COUNT = 80, COLUMN_COUNT = 16, OUTPUT_SIDE = 96 };

// 16 bytes; alignment is the contract's.
struct alignas(16) chunk {
    uint32_t v[4];
};
template <typename T> struct alignas(16) eight {
    T v[8];
};

static unsigned block_count(int64_t threads)
{
    return (unsigned)((threads + THREADS - 1) / THREADS);
}

// A pixel a thread. Bytes an item: 5120 read, 20,480 (half) or 40,960 written.
template <typename T> LS_KERNEL put_mel(T *out, const float *mel, int count)
{
    int64_t idx = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
    int column = (int)(idx % COLUMN_COUNT), band = (int)(idx / COLUMN_COUNT % BAND_COUNT);
    int64_t item = idx / (BAND_COUNT * COLUMN_COUNT);
    struct eight<T> pixel;

    if (item >= count)
        return;
    for (int c = 0; c < 8; c++)
        ls_put(&pixel.v[c], c ? 0.0f : mel[(item * COLUMN_COUNT + column) * BAND_COUNT + band]);
    *(struct eight<T> *)(out + idx * 8) = pixel;
}

extern "C" int ls_cuda_put_mel(void *out, enum ls_cuda_type type, const float *mel, int count,
                               cudaStream_t stream)
{
    dim3 grid(block_count((int64_t)count * BAND_COUNT * COLUMN_COUNT));

    if (type == LS_CUDA_FP16)
        LS_LAUNCH_FLAT(put_mel<ls_half>, grid, dim3(THREADS), stream, (ls_half *)out, mel, count);
    else
        LS_LAUNCH_FLAT(put_mel<float>, grid, dim3(THREADS), stream, (float *)out, mel, count);
    return (int)cudaGetLastError();
}

// One tensor as the kernel sees it, all sizes in chunks: row after row of pixels in the picture,
// packed in the record.
struct job {
    struct chunk *data;
    int64_t item, row, pixel; // strides
    int64_t offset, source_row;
    int h, w, c;
    int block_first;
};
struct jobs {
    struct job job[LS_CUDA_PARTS_MAX];
    int job_count;
    struct chunk *record;
    int64_t record_size;
    const int *slot;
};

// A chunk a thread, all tensors of one item in a row of blocks. Bytes: each copied number is read
// and written once.
template <bool STORE> LS_KERNEL copy(struct jobs jobs)
{
    int idx = 0, block = (int)blockIdx.x;

    while (idx + 1 < jobs.job_count && block >= jobs.job[idx + 1].block_first)
        idx++;

    const struct job &j = jobs.job[idx];
    int at = (block - j.block_first) * THREADS + (int)threadIdx.x;
    int c = at % j.c, x = at / j.c % j.w, y = at / j.c / j.w;

    if (y >= j.h)
        return;

    struct chunk *packed = jobs.record + jobs.slot[blockIdx.y] * jobs.record_size + j.offset +
                           y * j.source_row + (int64_t)x * j.c + c;
    struct chunk *picture = j.data + blockIdx.y * j.item + y * j.row + x * j.pixel + c;

    if (STORE)
        *packed = *picture;
    else
        *picture = *packed;
}

// Returns the blocks of one item.
static unsigned jobs_init(struct jobs *out, const struct ls_cuda_parts *parts)
{
    int64_t size = (int64_t)ls_cuda_size(parts->type), block = 0;

    assert(parts->part_count > 0 && parts->part_count <= LS_CUDA_PARTS_MAX);
    assert((uintptr_t)parts->record % 16 == 0 && parts->record_size % 16 == 0);
    out->job_count = parts->part_count;
    out->record = (struct chunk *)parts->record;
    out->record_size = parts->record_size / 16;
    out->slot = parts->slot;
    for (int i = 0; i < parts->part_count; i++) {
        const struct ls_cuda_part *p = &parts->part[i];
        const struct ls_cuda_tensor *t = &p->tensor;
        struct job *j = &out->job[i];

        assert((uintptr_t)p->data % 16 == 0 && p->offset % 16 == 0);
        assert(t->c % LS_CUDA_CHANNELS == 0 && t->pixel % LS_CUDA_CHANNELS == 0 &&
               t->row % LS_CUDA_CHANNELS == 0 && t->item % LS_CUDA_CHANNELS == 0);
        assert(p->x0 >= 0 && p->y0 >= 0 && p->x0 + t->w <= p->source_w);
        j->data = (struct chunk *)p->data;
        j->item = t->item * size / 16;
        j->row = t->row * size / 16;
        j->pixel = t->pixel * size / 16;
        j->h = t->h;
        j->w = t->w;
        j->c = (int)(t->c * size / 16);
        j->source_row = (int64_t)p->source_w * j->c;
        j->offset = p->offset / 16 + p->y0 * j->source_row + (int64_t)p->x0 * j->c;
        j->block_first = (int)block;
        block += block_count((int64_t)j->h * j->w * j->c);
    }
    return (unsigned)block;
}

extern "C" int ls_cuda_store(const struct ls_cuda_parts *parts, int count, cudaStream_t stream)
{
    struct jobs jobs;
    unsigned blocks = jobs_init(&jobs, parts);

    LS_LAUNCH_FLAT(copy<true>, dim3(blocks, (unsigned)count), dim3(THREADS), stream, jobs);
    return (int)cudaGetLastError();
}

extern "C" int ls_cuda_gather(const struct ls_cuda_parts *parts, int count, cudaStream_t stream)
{
    struct jobs jobs;
    unsigned blocks = jobs_init(&jobs, parts);

    LS_LAUNCH_FLAT(copy<false>, dim3(blocks, (unsigned)count), dim3(THREADS), stream, jobs);
    return (int)cudaGetLastError();
}

// A pixel a thread. The sum starts from the bias and takes the channels in order, as ref's does.
// Bytes a pixel: its c channels read (64 in half, of 32), 12 written; weights come from L1. 6 c
// flops and three exponentials.
template <typename T> LS_KERNEL head(struct ls_cuda_head h, int count)
{
    int64_t idx = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
    int x = (int)(idx % h.tensor.w), y = (int)(idx / h.tensor.w % h.tensor.h), c = h.tensor.c;
    int64_t item = idx / h.tensor.w / h.tensor.h;

    if (item >= count)
        return;

    const T *in = (const T *)h.in + item * h.tensor.item + y * h.tensor.row + x * h.tensor.pixel;
    float *made = h.made + ((item * OUTPUT_SIDE + h.y0 + y) * OUTPUT_SIDE + h.x0 + x) * 3;
    float sum[3] = {h.bias[0], h.bias[1], h.bias[2]};

    for (int first = 0; first < c; first += 8) {
        const struct eight<T> v = *(const struct eight<T> *)(in + first);

        for (int i = 0; i < 8; i++)
            for (int k = 0; k < 3; k++)
                sum[k] += ls_get(v.v[i]) * h.weight[k * c + first + i];
    }
    for (int k = 0; k < 3; k++)
        made[k] = 1 / (1 + expf(-sum[k]));
}

extern "C" int ls_cuda_head(const struct ls_cuda_head *h, int count, cudaStream_t stream)
{
    dim3 grid(block_count((int64_t)count * h->tensor.h * h->tensor.w));

    assert(h->x0 >= 0 && h->y0 >= 0 && h->x0 + h->tensor.w <= OUTPUT_SIDE &&
           h->y0 + h->tensor.h <= OUTPUT_SIDE);
    assert((uintptr_t)h->in % 16 == 0 && h->tensor.c % LS_CUDA_CHANNELS == 0);
    if (h->type == LS_CUDA_FP16)
        LS_LAUNCH_FLAT(head<ls_half>, grid, dim3(THREADS), stream, *h, count);
    else
        LS_LAUNCH_FLAT(head<float>, grid, dim3(THREADS), stream, *h, count);
    return (int)cudaGetLastError();
}
