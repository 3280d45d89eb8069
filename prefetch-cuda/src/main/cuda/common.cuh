// What every family of kernels uses. Included by nvcc, and by a C++ compiler for the simulated driver of the tests.
#pragma once
#include <cuda_fp16.h>
#include <stdint.h>

#define FULL_WARP 0xffffffffu

// Sums in a fixed order: the result depends on the values of the lanes alone.
static __device__ __forceinline__ float warp_sum(float v) {
    for (int offset = 16; offset > 0; offset >>= 1) v += __shfl_xor_sync(FULL_WARP, v, offset);
    return v;
}

static __device__ __forceinline__ float warp_max(float v) {
    for (int offset = 16; offset > 0; offset >>= 1) v = fmaxf(v, __shfl_xor_sync(FULL_WARP, v, offset));
    return v;
}

// Asks for the cache line at an address, and waits for nothing.
static __device__ __forceinline__ void prefetch(const void* address) {
#ifndef SIMCUDA
    asm volatile("prefetch.global.L1 [%0];" ::"l"(address));
#endif
}
