// SPDX-License-Identifier: Apache-2.0
// Mel columns of any voices, a block each: pre-emphasis, reflection and Hann window while reading,
// 800 real samples as 400 complex ones by Stockham's steps (400 = 4 * 4 * 5 * 5), magnitudes, the
// sparse filter, dB, -4..4. Device thread.
//
// What surprises: the transform is double. The rounding of a float transform is spread over all
// bins; beside a tone it drowns what the window leaves of it 10 to 30 bins away, which is still
// above the scale's floor. Measured on the host against ref with the same steps, largest
// difference of a result: float 4.3e-4 for tones of amplitude 1, 1.5e-4 for two, 3.1 for a tone of
// amplitude 60000; double 1e-6 for all. From the magnitudes on it is float.
//
// A column: 27,000 flops in double (0.1 us of a T4's slow doubles, and a generated frame takes 3.2
// columns), 4,000 in float; reads 3.2 kB of samples (800 bytes of them new), writes 320 bytes; the
// tables, 17 kB, stay in the cache. A column's numbers depend on its own samples alone.
#include "launch.h"
#include "mel_columns.h"

enum { HALF = LS_MEL_FFT / 2, THREADS = 128 };

struct __align__(16) complex_number
{
    double re, im;
};

LS_DEVICE complex_number add(complex_number a, complex_number b)
{
    return {a.re + b.re, a.im + b.im};
}

LS_DEVICE complex_number subtract(complex_number a, complex_number b)
{
    return {a.re - b.re, a.im - b.im};
}

LS_DEVICE complex_number times(complex_number a, complex_number b)
{
    return {a.re * b.re - a.im * b.im, a.re * b.im + a.im * b.re};
}

LS_DEVICE complex_number times_i(complex_number a)
{
    return {-a.im, a.re};
}

// a + s * b + t * c
LS_DEVICE complex_number blend(complex_number a, double s, complex_number b, double t,
                               complex_number c)
{
    return {a.re + s * b.re + t * c.re, a.im + s * b.im + t * c.im};
}

LS_DEVICE complex_number unit(const ls_cuda_mel_table *table, int turn)
{
    return {table->unit[turn][0], table->unit[turn][1]};
}

LS_DEVICE void transform4(complex_number *a)
{
    complex_number even = add(a[0], a[2]), even_gap = subtract(a[0], a[2]);
    complex_number odd = add(a[1], a[3]), odd_gap = times_i(subtract(a[1], a[3]));

    a[0] = add(even, odd);
    a[1] = subtract(even_gap, odd_gap);
    a[2] = subtract(even, odd);
    a[3] = add(even_gap, odd_gap);
}

LS_DEVICE void transform5(complex_number *a)
{
    const double c1 = 0.30901699437494742410, s1 = 0.95105651629515357212;  // of 2 pi / 5
    const double c2 = -0.80901699437494742410, s2 = 0.58778525229247312917; // of 4 pi / 5
    complex_number zero = {0, 0};
    complex_number outer = add(a[1], a[4]), outer_gap = times_i(subtract(a[1], a[4]));
    complex_number inner = add(a[2], a[3]), inner_gap = times_i(subtract(a[2], a[3]));
    complex_number m1 = blend(a[0], c1, outer, c2, inner);
    complex_number m2 = blend(a[0], c2, outer, c1, inner);
    complex_number n1 = blend(zero, s1, outer_gap, s2, inner_gap);
    complex_number n2 = blend(zero, s2, outer_gap, -s1, inner_gap);

    a[0] = add(a[0], add(outer, inner));
    a[1] = subtract(m1, n1);
    a[2] = subtract(m2, n2);
    a[3] = add(m2, n2);
    a[4] = add(m1, n1);
}

// One butterfly of a step: of `length` remaining points in RADIX parts, `stride` transforms side by
// side. t: 0..400 / RADIX - 1.
template <int RADIX>
LS_DEVICE void step(complex_number *out, complex_number *a, const ls_cuda_mel_table *table, int t,
                    int length, int stride)
{
    int part = t / stride, first = t % stride + stride * RADIX * part;
    int turn = LS_MEL_FFT / length * part;

    if (RADIX == 4)
        transform4(a);
    else
        transform5(a);
    out[first] = a[0];
    for (int k = 1; k < RADIX; k++)
        out[first + stride * k] = times(a[k], unit(table, turn * k));
}

template <int RADIX> LS_DEVICE void load(complex_number *a, const complex_number *in, int t)
{
    for (int j = 0; j < RADIX; j++)
        a[j] = in[t + HALF / RADIX * j];
}

// Windowed sample n of the column, as ls_mel_gather has it.
LS_DEVICE double sample(const float *pcm, const ls_cuda_mel_column *c, int n,
                        const ls_cuda_mel_table *table)
{
    int i = c->start + n;

    if (n == 0)
        return 0; // the periodic window begins with zero, so its sample need not be at hand
    if (i < c->zero)
        i = 2 * c->zero - i;
    if (i > c->last)
        i = 2 * c->last - i;
    pcm += c->offset + i;
    return (0.5 - 0.5 * table->unit[n][0]) *
           (i == c->zero ? (double)pcm[0] : (double)pcm[0] - 0.97 * (double)pcm[-1]);
}

// The real transform's magnitudes k and 400 - k from the complex one's bins; k: 0..200. Sums are
// double, because they cancel; the root need not be.
LS_DEVICE void magnitudes(float *out, const complex_number *z, const ls_cuda_mel_table *table,
                          int k)
{
    complex_number a = z[k], b = z[k == 0 ? 0 : HALF - k];
    complex_number mirror = {b.re, -b.im};
    complex_number even = add(a, mirror);
    complex_number odd = times(times_i(subtract(mirror, a)), unit(table, k));
    complex_number low = add(even, odd), high = subtract(even, odd);
    float re = (float)low.re, im = (float)low.im;

    out[k] = 0.5f * sqrtf(re * re + im * im);
    re = (float)high.re;
    im = (float)high.im;
    if (k != HALF - k)
        out[HALF - k] = 0.5f * sqrtf(re * re + im * im);
}

LS_DEVICE float band(const float *magnitude, const ls_cuda_mel_table *table, int b)
{
    const float *weight = table->weight + table->weight_first[b];
    float sum = 0, db;

    for (int k = table->bin_first[b]; k < table->bin_end[b]; k++)
        sum += *weight++ * magnitude[k];
    db = 20 * log10f(fmaxf(1e-5f, sum)) - 20; // floor of -100 dB, ref_level_db 20
    return fminf(fmaxf(8 * (db + 100) / 100 - 4, -4), 4);
}

LS_KERNEL columns(float *out, const float *pcm, const ls_cuda_mel_column *column,
                  const ls_cuda_mel_table *table)
{
    __shared__ complex_number here[HALF], there[HALF];
    __shared__ float magnitude[LS_MEL_BINS];
    const ls_cuda_mel_column c = column[blockIdx.x];
    complex_number a[5];
    int t = threadIdx.x;

    if (t < HALF / 4) {
        for (int j = 0; j < 4; j++) {
            int n = 2 * (t + HALF / 4 * j);

            a[j] = {sample(pcm, &c, n, table), sample(pcm, &c, n + 1, table)};
        }
        step<4>(here, a, table, t, 400, 1);
    }
    __syncthreads();
    if (t < HALF / 4) {
        load<4>(a, here, t);
        step<4>(there, a, table, t, 100, 4);
    }
    __syncthreads();
    if (t < HALF / 5) {
        load<5>(a, there, t);
        step<5>(here, a, table, t, 25, 16);
    }
    __syncthreads();
    if (t < HALF / 5) {
        load<5>(a, here, t);
        step<5>(there, a, table, t, 5, 80);
    }
    __syncthreads();
    for (int k = t; k <= HALF / 2; k += THREADS)
        magnitudes(magnitude, there, table, k);
    __syncthreads();
    if (t < LS_MEL_BANDS)
        out[(int64_t)blockIdx.x * LS_MEL_BANDS + t] = band(magnitude, table, t);
}

int ls_cuda_mel_columns(float *out, const float *pcm, const struct ls_cuda_mel_column *column,
                        int count, const struct ls_cuda_mel_table *table, cudaStream_t stream)
{
    LS_LAUNCH(columns, count, THREADS, 0, stream, out, pcm, column, table);
    return (int)cudaGetLastError();
}
