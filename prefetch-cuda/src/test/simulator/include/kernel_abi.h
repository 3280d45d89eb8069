// What the simulated driver (libcuda.so.1) and a kernel library (a .cu file compiled by g++) know of each other.
#pragma once
#include <stddef.h>
#include <stdint.h>

#define SIMULATOR_ABI_VERSION 1

typedef struct {
    uint64_t begin, end;
} simulator_range;

typedef struct simulator_launch {
    // Given by the driver.
    uint32_t grid[3], block[3], dynamic_shared_bytes;
    int track;                        // collect the bytes read and written; needs a tracked library
    void* const* parameters;          // parameters[i] points to the value of parameter i
    const simulator_range* live;      // sorted and disjoint: the memory a kernel may touch
    size_t live_count;
    uint64_t device_begin, device_end;
    void (*report_access)(void* receiver, uint64_t begin, uint64_t end, int write);
    void* receiver;
    // Set by the library.
    int error;                        // a CUresult, 0 when the launch was good
    char message[400];
} simulator_launch;

typedef struct {
    const char* name;
    int parameter_count;
    const uint16_t* parameter_size;
    const uint16_t* parameter_alignment;
    void (*invoke)(void* const* parameters);
} simulator_kernel;

typedef struct {
    int abi_version, tracked, kernel_count;
    const char* source;
    const simulator_kernel* const* kernels;
    void (*run)(const simulator_kernel*, simulator_launch*);
} simulator_library;

// Every kernel library exports: extern "C" const simulator_library* simulator_kernel_library(void);
