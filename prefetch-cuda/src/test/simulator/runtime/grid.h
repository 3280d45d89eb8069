// Shared by the parts of the run time that is linked into every kernel library.
#pragma once
#include "simulated_device.h"
#undef threadIdx
#undef blockIdx
#undef blockDim
#undef gridDim
#include <unordered_map>
#include <vector>

namespace simulator {

enum FiberState { NEW, READY, AT_BARRIER, AT_WARP_OPERATION, DONE };

// One CUDA thread.
struct Fiber {
    void* stack_pointer;
    simulator_thread indices;
    FiberState state;
    int stack;
    int warp_operation;
    unsigned mask, argument;
    int width;
    uint64_t value, result;
    const char* together_name;
    void (*together)(void** lanes);
    int reduction, predicate, reduced;
};

// What one launch touched of 64 KiB: a bit per 4 bytes.
struct Page {
    uint64_t base;
    enum { LIVE, MIXED, OWN } kind;
    uint64_t reads[256], writes[256];
};

// The runner of a launch; each OS thread that launches has one.
struct Runner {
    char* region;
    size_t region_bytes;
    Fiber* fibers;
    char* dynamic_shared;
    std::vector<int> free_stacks;
    void* scheduler_stack_pointer;
    Fiber* current;
    const simulator_kernel* kernel;
    simulator_launch* launch;
    bool tracking;

    uint64_t last_base;
    Page* last_page;
    std::unordered_map<uint64_t, Page*> pages;
    std::vector<Page*> spare_pages;
};

extern thread_local Runner* runner;
const size_t LARGEST_SHARED_BYTES = 232448;

[[noreturn]] void fail(int code, const char* what);
void report_accesses(Runner* r);

}  // namespace simulator
