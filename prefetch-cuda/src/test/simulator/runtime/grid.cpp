// Runs a grid: blocks one after another, each CUDA thread as a fiber of the calling OS thread, so that barriers and
// shuffles are switches of stack. A wrong barrier or warp mask is an error here instead of a hang.
#include "grid.h"
#include <algorithm>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>

#if !defined(__x86_64__)
#error "The simulated device runs on x86-64, as JCuda's natives do."
#endif

namespace simulator {

static const size_t STACK_BYTES = 64 << 10, MOST_THREADS = 1024, PAGE = 4096;

thread_local Runner* runner;

extern "C" void simulator_switch(void** save_stack_pointer, void* to_stack_pointer);
asm(R"(
.text
.p2align 4
.type simulator_switch,@function
simulator_switch:
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
.size simulator_switch,.-simulator_switch
)");

static void to_scheduler() { simulator_switch(&runner->current->stack_pointer, runner->scheduler_stack_pointer); }

static void run_fiber() {
    runner->kernel->invoke(runner->launch->parameters);
    runner->current->state = DONE;
    to_scheduler();
    abort();
}

static void prepare_stack(Runner* r, Fiber* fiber) {
    fiber->stack = r->free_stacks.back();
    r->free_stacks.pop_back();
    auto top = (void**)(r->region + (size_t)(fiber->stack + 1) * STACK_BYTES);
    *--top = nullptr;
    *--top = (void*)run_fiber;
    for (int saved_registers = 0; saved_registers < 6; saved_registers++) *--top = nullptr;
    fiber->stack_pointer = top;
}

static void resume(Runner* r, Fiber* fiber) {
    if (fiber->state == NEW) prepare_stack(r, fiber);
    fiber->state = READY;
    r->current = fiber;
    simulator_switch(&r->scheduler_stack_pointer, fiber->stack_pointer);
    if (fiber->state == DONE) r->free_stacks.push_back(fiber->stack);
}

static Runner* make_runner() {
    auto r = new Runner();
    size_t fibers = (MOST_THREADS * sizeof(Fiber) + PAGE - 1) & ~(PAGE - 1);
    size_t shared = (LARGEST_SHARED_BYTES + PAGE - 1) & ~(PAGE - 1);
    r->region_bytes = MOST_THREADS * STACK_BYTES + fibers + shared;
    void* region = mmap(nullptr, r->region_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (region == MAP_FAILED) abort();
    r->region = (char*)region;
    r->fibers = (Fiber*)(r->region + MOST_THREADS * STACK_BYTES);
    r->dynamic_shared = (char*)r->fibers + fibers;
    return r;
}

static void describe(const Fiber* fiber, char* text, size_t length) {
    const simulator_thread& i = fiber->indices;
    snprintf(text, length, "kernel %s block (%u,%u,%u) thread (%u,%u,%u)", runner->kernel->name, i.block_index.x,
        i.block_index.y, i.block_index.z, i.thread_index.x, i.thread_index.y, i.thread_index.z);
}

static void set_error(const Fiber* fiber, int code, const char* what) {
    simulator_launch* launch = runner->launch;
    if (launch->error) return;
    char where[160];
    describe(fiber, where, sizeof where);
    launch->error = code;
    snprintf(launch->message, sizeof launch->message, "%s: %s", where, what);
}

[[noreturn]] void fail(int code, const char* what) {
    set_error(runner->current, code, what);
    to_scheduler();
    abort();
}

// ---- warps ----

static const char* name_of(const Fiber* fiber) {
    static const char* const names[] = {"__shfl_sync", "__shfl_up_sync", "__shfl_down_sync", "__shfl_xor_sync",
        "__ballot_sync", "__syncwarp", "__reduce_add_sync", "__reduce_min_sync", "__reduce_max_sync",
        "__reduce_and_sync", "__reduce_or_sync", "__reduce_xor_sync"};
    return fiber->warp_operation == SIMULATOR_TOGETHER ? fiber->together_name : names[fiber->warp_operation];
}

// Returns what is wrong with a lane that the mask of another names, or null.
static const char* absence(const Fiber* waiting, const Fiber* named) {
    if (named->state == DONE) return "has exited";
    if (named->state == AT_BARRIER) return "waits at __syncthreads";
    if (named->warp_operation != waiting->warp_operation || named->mask != waiting->mask) return "is at another warp operation or mask";
    return nullptr;
}

static bool mask_is_met(Fiber* warp, int lanes, int lane) {
    const Fiber* fiber = warp + lane;
    char what[200];
    if (!((fiber->mask >> lane) & 1)) {
        snprintf(what, sizeof what, "%s called by a lane outside its mask 0x%08x", name_of(fiber), fiber->mask);
        set_error(fiber, 719, what);
        return false;
    }
    for (int other = 0; other < lanes; other++) {
        const char* why = (fiber->mask >> other) & 1 ? absence(fiber, warp + other) : nullptr;
        if (!why) continue;
        snprintf(what, sizeof what, "%s mask 0x%08x names lane %d, which %s", name_of(fiber), fiber->mask, other, why);
        set_error(fiber, 719, what);
        return false;
    }
    return true;
}

static uint64_t combine(const Fiber* fiber, uint64_t a, uint64_t b) {
    bool is_signed = fiber->width & SIMULATOR_SIGNED;
    bool less = is_signed ? (int64_t)a < (int64_t)b : a < b;
    switch (fiber->warp_operation) {
        case SIMULATOR_REDUCE_ADD: return a + b;
        case SIMULATOR_REDUCE_MIN: return less ? a : b;
        case SIMULATOR_REDUCE_MAX: return less ? b : a;
        case SIMULATOR_REDUCE_AND: return a & b;
        case SIMULATOR_REDUCE_OR: return a | b;
        case SIMULATOR_REDUCE_XOR: return a ^ b;
        default: return a;
    }
}

static int shuffle_source(const Fiber* fiber, int lane) {
    int width = fiber->width, segment = lane & ~(width - 1), source = lane;
    switch (fiber->warp_operation) {
        case SIMULATOR_SHFL: return segment + (int)(fiber->argument & (width - 1));
        case SIMULATOR_SHFL_UP: source = lane - (int)fiber->argument; return source < segment ? lane : source;
        case SIMULATOR_SHFL_DOWN: source = lane + (int)fiber->argument; break;
        case SIMULATOR_SHFL_XOR: source = lane ^ (int)fiber->argument; break;
    }
    return source >= segment + width ? lane : source;
}

static bool run_together(Fiber* warp, int lanes, unsigned mask, const Fiber* fiber) {
    if (lanes != 32 || mask != 0xffffffffu) {
        set_error(fiber, 719, "a warp matrix operation needs all 32 lanes");
        return false;
    }
    void* arguments[32];
    for (int i = 0; i < 32; i++) arguments[i] = (void*)warp[i].value;
    // Runs on the stack of the scheduler, which is none of the memory that a kernel may touch.
    bool tracking = runner->tracking;
    runner->tracking = false;
    fiber->together(arguments);
    runner->tracking = tracking;
    return true;
}

static void exchange(Fiber* warp, int lanes, const Fiber* first) {
    const uint64_t undefined = 0xA5A5A5A5A5A5A5A5ull;  // what a GPU leaves undefined must show in the result
    unsigned mask = first->mask, ballot = 0;
    uint64_t reduced = 0;
    bool any = false;
    for (int i = 0; i < lanes; i++) {
        if (!((mask >> i) & 1)) continue;
        if (warp[i].value) ballot |= 1u << i;
        reduced = any ? combine(first, reduced, warp[i].value) : warp[i].value;
        any = true;
    }
    for (int i = 0; i < lanes; i++) {
        if (!((mask >> i) & 1)) continue;
        Fiber* fiber = warp + i;
        if (fiber->warp_operation == SIMULATOR_BALLOT) fiber->result = ballot;
        else if (fiber->warp_operation > SIMULATOR_SHFL_XOR) fiber->result = reduced;
        else {
            int source = shuffle_source(fiber, i);
            bool defined = source < lanes && ((mask >> source) & 1);
            fiber->result = defined ? warp[source].value : undefined;
        }
    }
}

// Every lane of a warp has run until it waits. False: an error was set.
static bool resolve_warp(Fiber* warp, int lanes) {
    for (int i = 0; i < lanes; i++) {
        Fiber* fiber = warp + i;
        if (fiber->state != AT_WARP_OPERATION) continue;
        if (!mask_is_met(warp, lanes, i)) return false;
        if (fiber->warp_operation != SIMULATOR_TOGETHER) exchange(warp, lanes, fiber);
        else if (!run_together(warp, lanes, fiber->mask, fiber)) return false;
        unsigned mask = fiber->mask;
        for (int j = 0; j < lanes; j++)
            if ((mask >> j) & 1) warp[j].state = READY;
    }
    return true;
}

// ---- blocks ----

// Runs the lanes of a warp until each has ended or waits at the barrier. False: an error was set.
static bool run_warp(Runner* r, Fiber* warp, int lanes, unsigned& running) {
    for (bool again = true; again;) {
        bool waiting = false;
        for (int i = 0; i < lanes; i++) {
            Fiber* fiber = warp + i;
            if (fiber->state == NEW || fiber->state == READY) {
                resume(r, fiber);
                if (r->launch->error) return false;
                if (fiber->state == DONE) running--;
            }
            waiting |= fiber->state == AT_WARP_OPERATION;
        }
        again = waiting;
        if (waiting && !resolve_warp(warp, lanes)) return false;
    }
    return true;
}

static void release_barrier(Fiber* fibers, unsigned threads) {
    int any = 0, all = 1, count = 0;
    for (unsigned t = 0; t < threads; t++) {
        if (fibers[t].state != AT_BARRIER) continue;
        bool predicate = fibers[t].predicate != 0;
        any |= predicate;
        all &= predicate;
        count += predicate;
    }
    for (unsigned t = 0; t < threads; t++) {
        if (fibers[t].state != AT_BARRIER) continue;
        fibers[t].reduced = fibers[t].reduction == 0 ? any : fibers[t].reduction == 1 ? all : count;
        fibers[t].state = READY;
    }
}

static bool run_block(Runner* r, uint3 block, unsigned threads) {
    const simulator_launch* launch = r->launch;
    const dim3 block_dimension = {launch->block[0], launch->block[1], launch->block[2]};
    const dim3 grid_dimension = {launch->grid[0], launch->grid[1], launch->grid[2]};
    if (r->tracking) memset(r->dynamic_shared, 0xFF, launch->dynamic_shared_bytes);
    for (unsigned t = 0; t < threads; t++) {
        const uint3 thread = {t % block_dimension.x, t / block_dimension.x % block_dimension.y,
            t / block_dimension.x / block_dimension.y};
        r->fibers[t].state = NEW;
        r->fibers[t].indices = {thread, block, block_dimension, grid_dimension};
    }
    for (unsigned running = threads; running;) {
        for (unsigned first = 0; first < threads; first += 32)
            if (!run_warp(r, r->fibers + first, (int)std::min(32u, threads - first), running)) return false;
        release_barrier(r->fibers, threads);
    }
    return true;
}

static void run_grid(Runner* r) {
    const simulator_launch* launch = r->launch;
    const unsigned threads = launch->block[0] * launch->block[1] * launch->block[2];
    for (unsigned z = 0; z < launch->grid[2]; z++)
        for (unsigned y = 0; y < launch->grid[1]; y++)
            for (unsigned x = 0; x < launch->grid[0]; x++)
                if (!run_block(r, {x, y, z}, threads)) return;
}

}  // namespace simulator

using namespace simulator;

extern "C" {

simulator_thread* simulator_self(void) { return &runner->current->indices; }

void* simcuda_dyn_shared(void) { return runner->dynamic_shared; }

void simulator_trap(const char* why) { fail(719, why); }

long long simulator_clock(void) {
    timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000000ll + now.tv_nsec;
}

int simulator_barrier(int reduction, int predicate) {
    Fiber* fiber = runner->current;
    fiber->reduction = reduction;
    fiber->predicate = predicate;
    fiber->state = AT_BARRIER;
    to_scheduler();
    return fiber->reduced;
}

uint64_t simulator_warp(int operation, unsigned mask, uint64_t value, unsigned argument, int width) {
    Fiber* fiber = runner->current;
    fiber->warp_operation = operation;
    fiber->mask = mask;
    fiber->value = value;
    fiber->argument = argument;
    fiber->width = width;
    fiber->state = AT_WARP_OPERATION;
    to_scheduler();
    return fiber->result;
}

void simulator_together(const char* name, void (*function)(void** lanes), void* lane) {
    runner->current->together_name = name;
    runner->current->together = function;
    simulator_warp(SIMULATOR_TOGETHER, 0xffffffffu, (uint64_t)lane, 0, 32);
}

void simulator_run(const simulator_kernel* kernel, simulator_launch* launch) {
    if (!runner) runner = make_runner();
    Runner* r = runner;
    r->kernel = kernel;
    r->launch = launch;
    r->tracking = launch->track && simulator_tracked;
    r->last_base = ~0ull;
    r->free_stacks.clear();
    for (int stack = (int)MOST_THREADS; stack-- > 0;) r->free_stacks.push_back(stack);
    run_grid(r);
    if (r->tracking) report_accesses(r);
    r->tracking = false;
    r->launch = nullptr;
}

}
