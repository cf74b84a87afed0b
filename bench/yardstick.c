// SPDX-License-Identifier: Apache-2.0
// How fast this machine is just now: fixed work of three kinds, each as a rate per second of this
// thread's own processor time. bench/run.sh runs it before, in the middle of and after a run, and
// bench/compare.py divides by it, so that a slow machine or a busy neighbour is not taken for slow
// code. One thread, about three seconds: `bench_yardstick WHEN`, WHEN is put into the cases' names.
//   fma       products and sums in registers, in the widest vectors that the processor has
//   memory    a = b + s * c over 96 MiB, more than a last cache holds
//   branches  an adaptive binary coder over pseudo-random bits: branches nobody can foresee, small
//             tables, shifts
// A row "machine,taken by others WHEN" says how much of all processors others had meanwhile: what
// is measured by the clock on the wall wavers by it, and no yardstick mends that. The work never
// changes: whoever changes it breaks every comparison with an older result.
#include <inttypes.h>
#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#if defined __x86_64__
#include <immintrin.h>
#define TARGET(isa) __attribute__((target(isa)))
#endif

enum {
    PIECES_MIN = 15,
    PIECES_MAX = 400,
    FMA_STEPS = 1 << 18,
    LANES = 256,       // floats that each step goes over
    FLOATS = 32 << 18, // of one array: 32 MiB
    BITS = 1 << 19,
    CONTEXTS = 1024
};
#define KIND_SECONDS 0.9

static float *memory; // [3][FLOATS]
static volatile double sink;

static double cpu_s(void)
{
    struct timespec t;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

// --- fma: x = x * 0.999 + 0.001 in every lane, FMA_STEPS times; tends to 1 ---

static float fma_plain(int steps)
{
    float x[LANES], sum = 0;

    for (int i = 0; i < LANES; i++)
        x[i] = (float)i;
    for (int n = 0; n < steps; n++)
        for (int i = 0; i < LANES; i++)
            x[i] = x[i] * 0.999f + 0.001f;
    for (int i = 0; i < LANES; i++)
        sum += x[i];
    return sum;
}

#if defined __x86_64__
// 8 accumulators at a time hide what one sum takes, and stay in registers.
TARGET("avx2,fma") static float fma_avx2(int steps)
{
    const __m256 a = _mm256_set1_ps(0.999f), b = _mm256_set1_ps(0.001f);
    float out[8], sum = 0;

    for (int part = 0; part < LANES / 64; part++) {
        __m256 x[8];

        for (int i = 0; i < 8; i++)
            x[i] = _mm256_set1_ps((float)(part * 8 + i));
        for (int n = 0; n < steps; n++) {
            x[0] = _mm256_fmadd_ps(x[0], a, b);
            x[1] = _mm256_fmadd_ps(x[1], a, b);
            x[2] = _mm256_fmadd_ps(x[2], a, b);
            x[3] = _mm256_fmadd_ps(x[3], a, b);
            x[4] = _mm256_fmadd_ps(x[4], a, b);
            x[5] = _mm256_fmadd_ps(x[5], a, b);
            x[6] = _mm256_fmadd_ps(x[6], a, b);
            x[7] = _mm256_fmadd_ps(x[7], a, b);
        }
        for (int i = 0; i < 8; i++) {
            _mm256_storeu_ps(out, x[i]);
            for (int j = 0; j < 8; j++)
                sum += out[j];
        }
    }
    return sum;
}

TARGET("avx512f") static float fma_avx512(int steps)
{
    const __m512 a = _mm512_set1_ps(0.999f), b = _mm512_set1_ps(0.001f);
    float out[16], sum = 0;

    for (int part = 0; part < LANES / 128; part++) {
        __m512 x[8];

        for (int i = 0; i < 8; i++)
            x[i] = _mm512_set1_ps((float)(part * 8 + i));
        for (int n = 0; n < steps; n++) {
            x[0] = _mm512_fmadd_ps(x[0], a, b);
            x[1] = _mm512_fmadd_ps(x[1], a, b);
            x[2] = _mm512_fmadd_ps(x[2], a, b);
            x[3] = _mm512_fmadd_ps(x[3], a, b);
            x[4] = _mm512_fmadd_ps(x[4], a, b);
            x[5] = _mm512_fmadd_ps(x[5], a, b);
            x[6] = _mm512_fmadd_ps(x[6], a, b);
            x[7] = _mm512_fmadd_ps(x[7], a, b);
        }
        for (int i = 0; i < 8; i++) {
            _mm512_storeu_ps(out, x[i]);
            for (int j = 0; j < 16; j++)
                sum += out[j];
        }
    }
    return sum;
}
#endif

static float (*fma_best)(int steps) = fma_plain;
static const char *fma_isa = "plain";

static void choose_fma(void)
{
#if defined __x86_64__
    if (__builtin_cpu_supports("avx512f")) {
        fma_best = fma_avx512;
        fma_isa = "avx512f";
    } else if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
        fma_best = fma_avx2;
        fma_isa = "avx2, fma";
    }
#endif
}

static void run_fma(void)
{
    sink = (double)fma_best(FMA_STEPS);
}

// --- memory: 12 bytes moved an element ---

static void run_memory(void)
{
    float *restrict a = memory;
    const float *restrict b = memory + FLOATS, *restrict c = memory + 2 * FLOATS;

    for (int i = 0; i < FLOATS; i++)
        a[i] = b[i] + 0.5f * c[i];
    sink = (double)a[FLOATS / 2];
}

// --- branches: a carryless binary range coder, its probabilities learned in 12 bits by context ---

static void run_branches(void)
{
    static uint16_t share[CONTEXTS];
    static uint8_t out[4096];
    uint32_t low = 0, high = UINT32_MAX, state = 1, context = 0;
    size_t written = 0;

    for (int i = 0; i < CONTEXTS; i++)
        share[i] = 2048;
    for (int n = 0; n < BITS; n++) {
        uint32_t middle = low + ((high - low) >> 12) * share[context];
        uint32_t bit;

        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        bit = (state & 1023) < 300 + (context & 255);
        if (bit) {
            high = middle;
            share[context] = (uint16_t)(share[context] + ((4096 - share[context]) >> 5));
        } else {
            low = middle + 1;
            share[context] = (uint16_t)(share[context] - (share[context] >> 5));
        }
        while (!((low ^ high) >> 24)) {
            out[written++ & 4095] = (uint8_t)(high >> 24);
            low <<= 8;
            high = high << 8 | 255;
        }
        context = (context << 1 | bit) & (CONTEXTS - 1);
    }
    sink = (double)(written + out[written & 4095]);
}

// --- what is printed ---

static const struct {
    const char *name, *unit;
    void (*run)(void);
    double work; // of one piece, in units
} kinds[] = {
    {"fma", "Gflop/s", run_fma, 2e-9 * LANES *FMA_STEPS},
    {"memory", "GB/s", run_memory, 12e-9 * FLOATS},
    {"branches", "Mbit/s", run_branches, 1e-6 * BITS},
};

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

// Ticks of all processors since the machine started, busy ones and all; false where /proc has none.
static bool read_ticks(double *busy, double *all)
{
    double t[8] = {0}; // user, nice, system, idle, iowait, irq, softirq, steal
    FILE *f = fopen("/proc/stat", "r");
    int n = 0;

    if (f) {
        n = fscanf(f, "cpu %lf %lf %lf %lf %lf %lf %lf %lf", &t[0], &t[1], &t[2], &t[3], &t[4],
                   &t[5], &t[6], &t[7]);
        fclose(f);
    }
    *busy = t[0] + t[1] + t[2] + t[5] + t[6] + t[7];
    *all = *busy + t[3] + t[4];
    return n == 8;
}

static void measure(const char *when, int kind)
{
    double took[PIECES_MAX], total = 0;
    int n = 0;

    kinds[kind].run(); // warms up
    while (n < PIECES_MAX && (n < PIECES_MIN || total < KIND_SECONDS)) {
        double start = cpu_s();

        kinds[kind].run();
        took[n] = cpu_s() - start;
        total += took[n++];
    }
    qsort(took, (size_t)n, sizeof took[0], by_size);
    printf("yardstick,%s %s,%.5g,%s\n", kinds[kind].name, when, kinds[kind].work / took[n / 2],
           kinds[kind].unit);
    printf("yardstick,%s %s spread,%.4g,percent\n", kinds[kind].name, when,
           100 * (took[3 * n / 4] - took[n / 4]) / took[n / 2]);
}

int main(int argc, char **argv)
{
    double busy[2], all[2], own_s;
    bool known;

    if (argc != 2 || strpbrk(argv[1], ",\"\n")) {
        fprintf(stderr, "usage: bench_yardstick before|middle|after\n");
        return 2;
    }
    known = read_ticks(&busy[0], &all[0]);
    own_s = cpu_s();
    memory = malloc(3 * sizeof *memory * FLOATS);
    if (!memory) {
        fprintf(stderr, "bench_yardstick: no memory\n");
        return 1;
    }
    for (int i = 0; i < 3 * FLOATS; i++)
        memory[i] = (float)(i & 1023);
    choose_fma();
    printf("# yardstick: fma is %s\n", fma_isa);
    for (int i = 0; i < (int)(sizeof kinds / sizeof *kinds); i++)
        measure(argv[1], i);
    if (known && read_ticks(&busy[1], &all[1]) && all[1] > all[0]) {
        double own = (cpu_s() - own_s) * (double)sysconf(_SC_CLK_TCK);

        printf("machine,taken by others %s,%.3g,%%\n", argv[1],
               100 * fmax(0, busy[1] - busy[0] - own) / (all[1] - all[0]));
    }
    free(memory);
    return 0;
}
