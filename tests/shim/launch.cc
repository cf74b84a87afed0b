// SPDX-License-Identifier: Apache-2.0
// Runs kernels: each thread of a block is a fiber with a stack of its own, switched by a few lines
// of assembly (ucontext on processors other than x86-64), warp by warp until all wait at a barrier.
// Warps and lanes go forwards or backwards, by block and by barrier, so that code which leans on
// one order fails. AddressSanitizer is told of each switch; for ThreadSanitizer each fiber is a
// thread that only barriers order, so it finds races between the threads of a block. This file
// itself must not be instrumented for threads (tests/CMakeLists.txt).
#include <cstdio>
#include <cstdlib>
#include <map>

#include <sys/mman.h>
#ifndef __x86_64__
#include <ucontext.h>
#endif

#include "_shim.h"
#include "ls_shim.h"

uint3 threadIdx, blockIdx;
dim3 blockDim, gridDim;
unsigned char *ls_shim_dynamic_shared;

#ifdef __SANITIZE_ADDRESS__
extern "C" void __sanitizer_start_switch_fiber(void **, const void *, size_t);
extern "C" void __sanitizer_finish_switch_fiber(void *, const void **, size_t *);
#endif
#ifdef LS_SHIM_TSAN
extern "C" void *__tsan_get_current_fiber(void);
extern "C" void *__tsan_create_fiber(unsigned);
extern "C" void __tsan_switch_to_fiber(void *, unsigned);
extern "C" void __tsan_acquire(void *);
extern "C" void __tsan_release(void *);
#else
static void *__tsan_get_current_fiber(void)
{
    return nullptr;
}
static void *__tsan_create_fiber(unsigned)
{
    return nullptr;
}
static void __tsan_switch_to_fiber(void *, unsigned)
{
}
static void __tsan_acquire(void *)
{
}
static void __tsan_release(void *)
{
}
#endif

namespace
{

enum {
    WARP = 32,
    THREADS_MAX = 1024,
    GUARD = 4096,
    SHARED_USUAL = 48 << 10,
    SHARED_MOST = 227 << 10
};
#if defined(__SANITIZE_ADDRESS__) || defined(LS_SHIM_TSAN)
enum { STACK = 256 << 10 };
#else
enum { STACK = 64 << 10 };
#endif

enum state { DONE, READY, AT_BARRIER, AT_WARP };

struct context {
#ifdef __x86_64__
    void *sp;
#else
    ucontext_t at;
#endif
    char *stack; // lowest address; of the host's thread as AddressSanitizer tells it
    size_t stack_size;
    void *fake_stack, *tsan;
};

struct fiber {
    struct context context;
    uint3 index;
    enum state state;
    int site;
    unsigned mask; // of the warp operation
    int from;      // -1: no value is exchanged
    unsigned barrier_count, warp_count;
    uint64_t value;
};

struct fiber fibers[THREADS_MAX];
struct context host;
struct fiber *current; // NULL: the scheduler, or a FLAT kernel
int fiber_count, thread_count;
const struct ls_shim_shape *shape;
const std::function<void()> *body;
std::map<const void *, int> shared_allowed; // cudaFuncSetAttribute
// What a thread gives when it comes to a barrier, all take when they leave it. Two in turn: who is
// early at the next barrier must not give to those who are still to leave this one.
char start_token, end_token, barrier_token[2], warp_token[THREADS_MAX / WARP][2];

[[noreturn]] void fault(const char *what, int site)
{
    fprintf(stderr, "shim: kernel %s, block (%u, %u, %u), thread (%u, %u, %u), line %d: %s\n",
            shape->name, blockIdx.x, blockIdx.y, blockIdx.z, threadIdx.x, threadIdx.y, threadIdx.z,
            site, what);
    abort();
}

void go(struct context *from, struct context *to);

// On the new stack. Whoever comes from the host learns where its stack is: threads take turns.
void arrive(void *fake_stack, bool from_host)
{
#ifdef __SANITIZE_ADDRESS__
    const void *bottom;
    size_t size;

    __sanitizer_finish_switch_fiber(fake_stack, &bottom, &size);
    if (from_host) {
        host.stack = (char *)bottom;
        host.stack_size = size;
    }
#else
    (void)fake_stack;
    (void)from_host;
#endif
}

// A fiber's life: one round a block.
void live()
{
    arrive(nullptr, true);
    for (;;) {
        __tsan_acquire(&start_token);
        (*body)();
        __tsan_release(&end_token);
        current->state = DONE;
        go(&current->context, &host);
    }
}

} // namespace

#ifdef __x86_64__
// Saves what a function must keep (System V ABI) on the old stack and takes it from the new one.
// rdi: where the old stack's pointer goes, rsi: the new one.
__asm__(R"(
    .text
    .type ls_shim_switch, @function
ls_shim_switch:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
    .size ls_shim_switch, .-ls_shim_switch
)");
extern "C" void ls_shim_switch(void **save, void *load) __asm__("ls_shim_switch");
#endif

namespace
{

void go(struct context *from, struct context *to)
{
#ifdef __SANITIZE_ADDRESS__
    __sanitizer_start_switch_fiber(&from->fake_stack, to->stack, to->stack_size);
#endif
    __tsan_switch_to_fiber(to->tsan, 1); // 1: the switch itself orders nothing
#ifdef __x86_64__
    ls_shim_switch(&from->sp, to->sp);
#else
    swapcontext(&from->at, &to->at);
#endif
    arrive(from->fake_stack, from != &host);
}

void fiber_init(struct fiber *f)
{
    char *memory = (char *)mmap(nullptr, GUARD + STACK, PROT_READ | PROT_WRITE,
                                MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    if (memory == MAP_FAILED || mprotect(memory, GUARD, PROT_NONE) < 0)
        abort();
    f->context.stack = memory + GUARD;
    f->context.stack_size = STACK;
    f->context.tsan = __tsan_create_fiber(0);
#ifdef __x86_64__
    // As if live had been called by nobody: its address, below it six registers that are zero.
    void **top = (void **)(memory + GUARD + STACK - 64);

    top[-1] = nullptr; // where it would return to; the stack is then aligned as a call leaves it
    top[-2] = (void *)live;
    for (int i = 3; i <= 8; i++)
        top[-i] = nullptr;
    f->context.sp = top - 8;
#else
    getcontext(&f->context.at);
    f->context.at.uc_stack.ss_sp = f->context.stack;
    f->context.at.uc_stack.ss_size = STACK;
    makecontext(&f->context.at, live, 0);
#endif
}

void resume(struct fiber *f)
{
    current = f;
    threadIdx = f->index;
    go(&host, &f->context);
    current = nullptr;
}

void wait_as(enum state state, int site)
{
    current->state = state;
    current->site = site;
    go(&current->context, &host);
}

// Lets the threads of a warp's complete operation go on. False if there is none.
bool warp_resolve(struct fiber *warp, int lane_count)
{
    bool any = false;

    for (int i = 0; i < lane_count; i++) {
        unsigned mask = warp[i].mask;

        if (warp[i].state != AT_WARP)
            continue;
        threadIdx = warp[i].index;
        for (int k = 0; k < WARP; k++)
            if (mask >> k & 1 && (k >= lane_count || warp[k].state != AT_WARP ||
                                  warp[k].mask != mask || warp[k].site != warp[i].site))
                fault("a warp operation that not all threads of its mask reach", warp[i].site);
        uint64_t value[WARP];

        for (int k = 0; k < lane_count; k++)
            value[k] = warp[k].value;
        for (int k = 0; k < lane_count; k++)
            if (mask >> k & 1) {
                if (warp[k].from >= 0 && !(mask >> warp[k].from & 1))
                    fault("a shuffle from a lane outside the mask", warp[i].site);
                if (warp[k].from >= 0)
                    warp[k].value = value[warp[k].from];
                warp[k].state = READY;
            }
        any = true;
    }
    return any;
}

// Runs a warp until all its threads wait at a barrier or are done.
void warp_run(int first, bool backwards)
{
    int lane_count = thread_count - first < WARP ? thread_count - first : WARP;

    do {
        for (int i = 0; i < lane_count; i++) {
            struct fiber *f = &fibers[first + (backwards ? lane_count - 1 - i : i)];

            if (f->state == READY)
                resume(f);
        }
    } while (warp_resolve(&fibers[first], lane_count));
}

// After all warps ran: true if the block goes on behind a barrier, false if it is done.
bool barrier_resolve()
{
    const struct fiber *waiting = nullptr, *done = nullptr;

    for (int i = 0; i < thread_count; i++)
        (fibers[i].state == AT_BARRIER ? waiting : done) = &fibers[i];
    if (!waiting)
        return false;
    threadIdx = waiting->index;
    if (done)
        fault("__syncthreads, but other threads have returned", waiting->site);
    for (int i = 0; i < thread_count; i++) {
        if (fibers[i].site != waiting->site)
            fault("__syncthreads at different lines", waiting->site);
        fibers[i].state = READY;
    }
    return true;
}

void block_run(unsigned number)
{
    int warp_count = (thread_count + WARP - 1) / WARP;

    for (int i = 0; i < thread_count; i++)
        fibers[i].state = READY;
    __tsan_release(&start_token);
    for (unsigned phase = number;; phase++) {
        // Three bits of a number that looks random, and is the same every time.
        unsigned turn = (phase + 1) * 0x9e3779b9u >> 29;

        for (int i = 0; i < warp_count; i++)
            warp_run(WARP * (turn & 1 ? warp_count - 1 - i : i), turn & 2);
        if (!barrier_resolve())
            break;
    }
    __tsan_acquire(&end_token);
}

#ifdef LS_SHIM_TSAN
// Threads take turns on a few fibers, so that they are told apart; nor are blocks ordered.
void flat_thread()
{
    static unsigned next;
    struct fiber *f = &fibers[next++ % 64];

    for (; fiber_count < 64; fiber_count++)
        fiber_init(&fibers[fiber_count]);
    f->index = threadIdx;
    __tsan_release(&start_token);
    resume(f);
}
#else
void flat_thread()
{
    (*body)();
}
#endif

void block_run_flat()
{
    for (threadIdx.z = 0; threadIdx.z < blockDim.z; threadIdx.z++)
        for (threadIdx.y = 0; threadIdx.y < blockDim.y; threadIdx.y++)
            for (threadIdx.x = 0; threadIdx.x < blockDim.x; threadIdx.x++)
                flat_thread();
}

void block_init()
{
    thread_count = (int)(blockDim.x * blockDim.y * blockDim.z);
    for (; fiber_count < thread_count; fiber_count++)
        fiber_init(&fibers[fiber_count]);
    for (int i = 0; i < thread_count; i++) {
        unsigned n = (unsigned)i;

        fibers[i].barrier_count = fibers[i].warp_count = 0;
        fibers[i].index = {n % blockDim.x, n / blockDim.x % blockDim.y,
                           n / blockDim.x / blockDim.y};
    }
}

void grid_run(const struct ls_shim_shape &launched, const std::function<void()> &run)
{
    unsigned number = 0;

    host.tsan = __tsan_get_current_fiber();
    shape = &launched;
    body = &run;
    gridDim = launched.grid;
    blockDim = launched.block;
    // Exactly as long as asked for, so that AddressSanitizer sees what is beyond.
    ls_shim_dynamic_shared = (unsigned char *)aligned_alloc(16, launched.shared_size);
    if (!launched.flat)
        block_init();
    for (blockIdx.z = 0; blockIdx.z < gridDim.z; blockIdx.z++)
        for (blockIdx.y = 0; blockIdx.y < gridDim.y; blockIdx.y++)
            for (blockIdx.x = 0; blockIdx.x < gridDim.x; blockIdx.x++, number++) {
                memset(ls_shim_dynamic_shared, 0xa5, launched.shared_size);
                if (launched.flat)
                    block_run_flat();
                else
                    block_run(number);
            }
    __tsan_acquire(&end_token);
    free(ls_shim_dynamic_shared);
    ls_shim_dynamic_shared = nullptr;
}

// The limits of every device from sm_75 on.
cudaError_t shape_check(const struct ls_shim_shape *s)
{
    const dim3 &g = s->grid, &b = s->block;

    if (g.x < 1 || g.y < 1 || g.z < 1 || g.x > 0x7fffffff || g.y > 65535 || g.z > 65535 ||
        b.x < 1 || b.y < 1 || b.z < 1 || b.x > 1024 || b.y > 1024 || b.z > 64 ||
        (uint64_t)b.x * b.y * b.z > THREADS_MAX)
        return cudaErrorInvalidConfiguration;
    return cudaSuccess;
}

} // namespace

void ls_shim_submit(const struct ls_shim_shape *launched, cudaStream_t stream, const void *kernel,
                    std::function<void()> run)
{
    ls_shim::locked l;
    auto allowed = shared_allowed.find(kernel);
    size_t shared_max =
        allowed == shared_allowed.end() ? (size_t)SHARED_USUAL : (size_t)allowed->second;
    cudaError_t error = shape_check(launched);
    struct ls_shim_shape kept = *launched;

    if (error == cudaSuccess && kept.shared_size > shared_max)
        error = cudaErrorInvalidValue;
    if (error == cudaSuccess && ls_shim::call_fails())
        error = cudaErrorLaunchFailure;
    if (error == cudaSuccess)
        error = ls_shim::push(stream, [kept, run] { grid_run(kept, run); });
    ls_shim::result(error);
}

cudaError_t ls_shim_allow_shared(const void *kernel, int size)
{
    ls_shim::locked l;

    if (size < 0 || size > SHARED_MOST)
        return ls_shim::result(cudaErrorInvalidValue);
    shared_allowed[kernel] = size;
    return cudaSuccess;
}

bool ls_shim_is_reachable(const void *memory)
{
    ls_shim::locked l;

    return !memory || ls_shim::touches_device(memory) || ls_shim::is_pinned(memory, 1);
}

void ls_shim_bad_pointer(const char *kernel, const void *memory)
{
    fprintf(stderr, "shim: kernel %s is given %p, which is no memory of the device\n", kernel,
            memory);
    abort();
}

void ls_shim_barrier(int site)
{
    if (!current || shape->flat)
        fault("__syncthreads in a FLAT kernel", site);

    char *token = &barrier_token[current->barrier_count++ % 2];

    __tsan_release(token);
    wait_as(AT_BARRIER, site);
    __tsan_acquire(token);
}

static void warp_wait(unsigned mask, int from, int site)
{
    if (!current || shape->flat)
        fault("a warp operation in a FLAT kernel", site);
    if (!(mask >> (current - fibers) % WARP & 1))
        fault("a warp operation by a thread that its mask leaves out", site);
    current->mask = mask;
    current->from = from;
    wait_as(AT_WARP, site);
}

void ls_shim_warp(unsigned mask, int site)
{
    static char none;
    char *token =
        current ? &warp_token[(current - fibers) / WARP][current->warp_count++ % 2] : &none;

    __tsan_release(token);
    warp_wait(mask, -1, site);
    __tsan_acquire(token);
}

uint64_t ls_shim_shuffle(unsigned mask, uint64_t value, int from, int site)
{
    if (current)
        current->value = value;
    warp_wait(mask, from, site); // orders no memory, here as on a device
    return current->value;
}
