// SPDX-License-Identifier: Apache-2.0
// The shim itself: that what is right works (barriers, shuffles, shared memory, half numbers, every
// order of streams, graphs run again) and that what is wrong shows: missing barriers and waits as
// wrong numbers, divergence and forbidden memory as a dead process.
#include <math.h>
#include <stdint.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/shim/self.h"
#include "tests/unit/_check.h"

#define OK(call, row) CHECK((call) == cudaSuccess, row)
// The call fails so, and so says cudaGetLastError, once.
#define REFUSED(call, error, row)                                                                  \
    CHECK((call) == (error) && cudaGetLastError() == (error) && cudaGetLastError() == 0, row)

#ifdef __SANITIZE_THREAD__
const char *__tsan_default_options(void);
const char *__tsan_default_options(void) // children that end do not wait for threads they lack
{
    return "atexit_sleep_ms=0";
}
#endif

static void *device_new(size_t size)
{
    void *memory = NULL;

    OK(cudaMalloc(&memory, size), "cudaMalloc");
    return memory;
}

static void check_kernels(void)
{
    enum { BLOCKS = 37, COUNT = 256 * BLOCKS };
    static float in[COUNT], sum[BLOCKS];
    float *in_d = device_new(sizeof in), *sum_d = device_new(sizeof sum);
    int *from = device_new(4096), *to = device_new(4096), host[1024];

    for (int i = 0; i < COUNT; i++)
        in[i] = (float)(i * 7 % 100);
    OK(cudaMemcpy(in_d, in, sizeof in, cudaMemcpyHostToDevice), "copy");
    CHECK(ls_self_sum(sum_d, in_d, BLOCKS, NULL) == 0, "sum");
    OK(cudaMemcpy(sum, sum_d, sizeof sum, cudaMemcpyDeviceToHost), "copy back");
    for (int b = 0; b < BLOCKS; b++) {
        float want = 0;

        for (int i = 0; i < 256; i++)
            want += in[256 * b + i];
        CHECK(sum[b] == want, "sum");
    }
    for (int count = 32; count <= 1024; count += 32) {
        for (int i = 0; i < count; i++)
            host[i] = i;
        OK(cudaMemcpy(from, host, 4096, cudaMemcpyHostToDevice), "reverse");
        CHECK(ls_self_reverse(to, from, count, 0, NULL) == 0, "reverse");
        OK(cudaMemcpy(host, to, 4096, cudaMemcpyDeviceToHost), "reverse");
        for (int i = 0; i < count; i++)
            CHECK(host[i] == count - 1 - i, "reverse");
    }
    CHECK(ls_self_reverse(to, from, 2048, 0, NULL) == cudaErrorInvalidConfiguration, "huge block");
    CHECK(cudaGetLastError() == cudaSuccess, "the launcher took the error");
    cudaFree(in_d);
    cudaFree(sum_d);
    cudaFree(from);
    cudaFree(to);
}

static float float_of(uint32_t bits)
{
    float v;

    memcpy(&v, &bits, sizeof v);
    return v;
}

static double half_value(unsigned h) // by the definition
{
    int exponent = (int)(h >> 10 & 31), fraction = (int)(h & 1023);
    double v = exponent ? ldexp(1024 + fraction, exponent - 25) : ldexp(fraction, -24);

    return h & 0x8000 ? -v : v;
}

// Every half and its neighbourhood: halfway to the next one, and a hair to each side.
static void check_half(void)
{
    for (unsigned h = 0; h < 65536; h++) {
        float v = ls_self_half_get((unsigned short)h);

        if ((h & 0x7c00) == 0x7c00) {
            CHECK(h & 1023 ? isnan(v) : isinf(v) && !!signbit(v) == h >> 15, "not finite");
            CHECK(ls_self_half_put(v) == (h & 1023 ? 0x7fff : h), "not finite, back");
            continue;
        }
        CHECK((double)v == half_value(h) && !!signbit(v) == h >> 15, "half to float");
        CHECK(ls_self_half_put(v) == h, "and back");
        double next = (h & 0x7fff) == 0x7bff ? copysign(65536, v) : half_value(h + 1);
        float middle = (float)(((double)v + next) / 2);
        unsigned even = h & 1 ? h + 1 : h;

        CHECK(ls_self_half_put(middle) == even, "tie");
        CHECK(ls_self_half_put(nextafterf(middle, v)) == h, "below a tie");
        CHECK(ls_self_half_put(nextafterf(middle, (float)next)) == h + 1, "above a tie");
    }
    CHECK(ls_self_half_put(1e30f) == 0x7c00 && ls_self_half_put(-1e30f) == 0xfc00, "too large");
    CHECK(ls_self_half_put(float_of(1)) == 0 && ls_self_half_put(1e-40f) == 0, "too small");
}

enum { COUNT = 100 };

static void fill(int *to, int v)
{
    for (int i = 0; i < COUNT; i++)
        to[i] = v;
}

static int all_are(const int *got, int v)
{
    for (int i = 0; i < COUNT; i++)
        if (got[i] != v)
            return 0;
    return 1;
}

// Two streams, an event between them or not. Without it the copy back may come first, or the add
// may; `seen` says what was seen: 3 is right.
static int two_streams(const char *order, int with_wait)
{
    int *host, *device, seen = -1;
    cudaStream_t a, b;
    cudaEvent_t done;
    float ms = -1;

    setenv("LS_SHIM_ORDER", order, 1);
    OK(cudaStreamCreateWithFlags(&a, cudaStreamNonBlocking), order);
    OK(cudaStreamCreateWithFlags(&b, cudaStreamNonBlocking), order);
    OK(cudaEventCreate(&done), order);
    OK(cudaMallocHost((void **)&host, COUNT * sizeof(int)), order);
    device = device_new(COUNT * sizeof(int));
    fill(host, 1);
    OK(cudaEventRecord(done, a), order);
    OK(cudaEventSynchronize(done), order);
    OK(cudaMemcpyAsync(device, host, COUNT * sizeof(int), cudaMemcpyHostToDevice, a), order);
    CHECK(ls_self_add(device, 2, COUNT, a) == 0, order);
    OK(cudaEventRecord(done, a), order);
    if (with_wait)
        OK(cudaStreamWaitEvent(b, done, 0), order);
    OK(cudaMemcpyAsync(host, device, COUNT * sizeof(int), cudaMemcpyDeviceToHost, b), order);
    OK(cudaStreamSynchronize(b), order);
    for (int v = 0; v < 4; v++)
        if (all_are(host, v))
            seen = v;
    OK(cudaStreamSynchronize(a), order);
    OK(cudaEventElapsedTime(&ms, done, done), order);
    CHECK(ms == 0, order);
    OK(cudaStreamDestroy(a), order);
    OK(cudaStreamDestroy(b), order);
    OK(cudaEventDestroy(done), order);
    REFUSED(cudaEventDestroy(done), cudaErrorInvalidResourceHandle, order);
    cudaFreeHost(host);
    cudaFree(device);
    return seen;
}

static void check_orders(void)
{
    int wrong = 0;

    CHECK(two_streams("now", 0) == 3 && two_streams("now", 1) == 3, "now");
    CHECK(two_streams("late", 1) == 3, "late, with a wait");
    CHECK(two_streams("late", 0) == -1, "late, without a wait: memory as it came");
    for (int i = 0; i < 20; i++) {
        char order[32];

        snprintf(order, sizeof order, "random:%d", i);
        CHECK(two_streams(order, 1) == 3, order);
        wrong += two_streams(order, 0) != 3;
    }
    CHECK(wrong > 0, "random orders find a missing wait");
}

// A host buffer that is filled again before the stream was waited for.
static void check_reuse(void)
{
    int *host, *device = device_new(COUNT * sizeof(int)), got[COUNT];
    cudaStream_t s;

    setenv("LS_SHIM_ORDER", "late", 1);
    OK(cudaStreamCreate(&s), "reuse");
    OK(cudaHostAlloc((void **)&host, COUNT * sizeof(int), 0), "reuse");
    fill(host, 1);
    OK(cudaMemcpyAsync(device, host, COUNT * sizeof(int), cudaMemcpyHostToDevice, s), "reuse");
    CHECK(cudaStreamQuery(s) == cudaErrorNotReady && cudaStreamQuery(s) == cudaSuccess, "query");
    fill(host, 5);
    OK(cudaMemcpyAsync(device, host, COUNT * sizeof(int), cudaMemcpyHostToDevice, s), "reuse");
    fill(host, 6);
    OK(cudaMemcpy(got, device, sizeof got, cudaMemcpyDeviceToHost), "a blocking stream is waited");
    CHECK(all_are(got, 6), "what was written too early is seen");
    OK(cudaMemcpy(device, host, sizeof got, cudaMemcpyHostToDevice), "reuse");
    REFUSED(cudaMemcpy(device, host, sizeof got + 1, cudaMemcpyHostToDevice), cudaErrorInvalidValue,
            "one byte too far");
    REFUSED(cudaMemcpyAsync(host, got, 4, cudaMemcpyDeviceToHost, s), cudaErrorInvalidValue,
            "host memory as the device's");
    OK(cudaStreamDestroy(s), "reuse");
    cudaFreeHost(host);
    cudaFree(device);
}

// A graph of two streams: nothing runs while it is captured; each launch runs it once more.
static void check_graph(const char *order)
{
    int *host, *device = device_new(COUNT * sizeof(int));
    cudaStream_t s, side;
    cudaEvent_t fork, join;
    cudaGraph_t graph = NULL;
    cudaGraphExec_t exec = NULL;

    setenv("LS_SHIM_ORDER", order, 1);
    OK(cudaStreamCreateWithFlags(&s, cudaStreamNonBlocking), order);
    OK(cudaStreamCreateWithFlags(&side, cudaStreamNonBlocking), order);
    OK(cudaEventCreateWithFlags(&fork, cudaEventDisableTiming), order);
    OK(cudaEventCreateWithFlags(&join, cudaEventDisableTiming), order);
    OK(cudaMallocHost((void **)&host, COUNT * sizeof(int)), order);
    for (int joined = 0; joined < 2; joined++) {
        OK(cudaMemsetAsync(device, 0, COUNT * sizeof(int), s), order);
        OK(cudaStreamSynchronize(s), order);
        OK(cudaStreamBeginCapture(s, cudaStreamCaptureModeThreadLocal), order);
        CHECK(ls_self_add(device, 1, COUNT, s) == 0, order);
        OK(cudaEventRecord(fork, s), order);
        OK(cudaStreamWaitEvent(side, fork, 0), order);
        CHECK(ls_self_add(device, 10, COUNT, side) == 0, order);
        OK(cudaEventRecord(join, side), order);
        if (joined)
            OK(cudaStreamWaitEvent(s, join, 0), order);
        OK(cudaMemcpyAsync(host, device, COUNT * sizeof(int), cudaMemcpyDeviceToHost, s), order);
        if (joined)
            OK(cudaStreamEndCapture(s, &graph), order);
        else
            REFUSED(cudaStreamEndCapture(s, &graph), cudaErrorStreamCaptureUnjoined, order);
    }
    fill(host, 0);
    OK(cudaGraphInstantiate(&exec, graph, 0), order);
    OK(cudaGraphDestroy(graph), order);
    for (int i = 1; i <= 3; i++) {
        CHECK(all_are(host, 11 * (i - 1)), order);
        OK(cudaGraphLaunch(exec, s), order);
        OK(cudaStreamSynchronize(s), order);
    }
    CHECK(all_are(host, 33), order);
    OK(cudaStreamBeginCapture(s, cudaStreamCaptureModeThreadLocal), order);
    REFUSED(cudaStreamSynchronize(s), cudaErrorStreamCaptureUnsupported, "wait in a capture");
    REFUSED(cudaStreamEndCapture(s, &graph), cudaErrorStreamCaptureInvalidated, "broken capture");
    OK(cudaGraphExecDestroy(exec), order);
    OK(cudaStreamDestroy(s), order);
    OK(cudaStreamDestroy(side), order);
    OK(cudaEventDestroy(fork), order);
    OK(cudaEventDestroy(join), order);
    cudaFreeHost(host);
    cudaFree(device);
}

// 0: the child came to an end, else the signal or status that ended it. Its words are not shown.
static int fate(void (*run)(int), int arg)
{
    int status = 0;
    pid_t child;

    fflush(stdout);
    child = fork();
    if (child == 0) {
        if (!getenv("LS_TEST_LOUD") && !freopen("/dev/null", "w", stderr))
            _exit(0);
        run(arg);
#ifdef __SANITIZE_THREAD__
        exit(0); // on the way out it makes races a failure
#endif
        _exit(0);
    }
    return waitpid(child, &status, 0) == child ? status : 0;
}

static void run_fault(int fault)
{
    int *out;

    if (cudaMalloc((void **)&out, 64 * sizeof(int)) == cudaSuccess)
        (void)ls_self_fault(out, fault, NULL);
}

static void run_touch(int add)
{
    volatile int *out;

    setenv("LS_SHIM_PROTECT", "1", 1);
    if (cudaMalloc((void **)&out, 64 * sizeof(int)) != cudaSuccess)
        return;
    if (add && (ls_self_add((int *)(uintptr_t)out, 1, 64, NULL) != 0 ||
                cudaMemset((void *)(uintptr_t)out, 0, 256) != cudaSuccess))
        return;
    if (add < 2)
        *out = 1;
}

static void run_overrun(int missing)
{
    int *memory;

    if (cudaMalloc((void **)&memory, 64 * sizeof(int)) == cudaSuccess)
        (void)ls_self_reverse(memory, memory, 64, missing, NULL);
}

static void run_host_pointer(int unused)
{
    int here[64];

    (void)unused;
    (void)ls_self_add(here, 1, 64, NULL);
}

static void check_faults(void)
{
    static const char *const names[] = {"two at one place",          "the left one's number",
                                        "the right one's number",    "divergent barrier",
                                        "returned before a barrier", "divergent syncwarp",
                                        "lane outside the mask",     "barrier in FLAT"};
    int *out = device_new(64 * sizeof(int)), got[64] = {0};

    (void)got;
    setenv("LS_SHIM_ORDER", "now", 1);
#ifdef __SANITIZE_THREAD__
    CHECK(fate(run_fault, LS_SELF_CROWD) != 0, names[LS_SELF_CROWD]);
#endif
    for (int fault = LS_SELF_NO_BARRIER; fault <= LS_SELF_NO_BARRIER2; fault++) {
#ifdef __SANITIZE_THREAD__
        CHECK(fate(run_fault, fault) != 0, names[fault]); // a race is reported
#else
        int wrong = 0;

        CHECK(ls_self_fault(out, fault, NULL) == 0, names[fault]);
        OK(cudaMemcpy(got, out, sizeof got, cudaMemcpyDeviceToHost), names[fault]);
        for (int i = 0; i < 64; i++)
            wrong += got[i] != 0;
        CHECK(wrong, names[fault]);
#endif
    }
    for (int fault = LS_SELF_DIVERGENT_BARRIER; fault < LS_SELF_FAULTS; fault++)
        CHECK(fate(run_fault, fault) != 0, names[fault]);
    CHECK(fate(run_touch, 0) != 0, "device memory from the host");
    CHECK(fate(run_touch, 1) != 0, "device memory from the host after a kernel");
    CHECK(fate(run_touch, 2) == 0, "device memory from kernels alone");
#ifdef __SANITIZE_ADDRESS__
    CHECK(fate(run_overrun, 1) != 0, "dynamic shared memory too small");
#endif
    CHECK(fate(run_overrun, 0) == 0, "dynamic shared memory large enough");
    CHECK(fate(run_host_pointer, 0) != 0, "a kernel with host memory");
    cudaFree(out);
}

static void check_device(void)
{
    size_t free_size, total;
    void *memory = NULL;
    int n = -1;

    setenv("LS_SHIM_DEVICES", "0", 1);
    CHECK(cudaGetDeviceCount(&n) == cudaErrorNoDevice && n == 0, "no device");
    setenv("LS_SHIM_DRIVER", "12040", 1);
    REFUSED(cudaSetDevice(0), cudaErrorInsufficientDriver, "old driver");
    unsetenv("LS_SHIM_DRIVER");
    unsetenv("LS_SHIM_DEVICES");
    OK(cudaSetDevice(0), "a device");
    setenv("LS_SHIM_MEMORY_MB", "1", 1);
    CHECK(cudaMalloc(&memory, (1 << 20) + 1) == cudaErrorMemoryAllocation && !memory, "memory");
    OK(cudaMalloc(&memory, 1 << 20), "memory");
    OK(cudaMemGetInfo(&free_size, &total), "memory");
    CHECK(free_size == 0 && total == 1 << 20, "memory");
    cudaFree(memory);
    unsetenv("LS_SHIM_MEMORY_MB");
    (void)ls_shim_fail(2);
    OK(cudaMalloc(&memory, 16), "the first call");
    REFUSED(cudaMemset(memory, 0, 16), cudaErrorLaunchFailure, "the second call fails");
    OK(cudaMemset(memory, 0, 16), "the third call");
    CHECK(ls_shim_fail(0) == 3, "calls made");
    cudaFree(memory);
    CHECK(!strcmp(cudaGetErrorName(cudaErrorNoDevice), "cudaErrorNoDevice"), "names");
}

int main(void)
{
    check_kernels();
    check_half();
    check_orders();
    check_reuse();
    check_graph("now");
    check_graph("late");
    check_graph("random:3");
    check_faults();
    check_device();
    return check_done();
}
