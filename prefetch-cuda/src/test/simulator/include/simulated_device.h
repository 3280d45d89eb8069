// Included before every .cu file that g++ compiles for the simulated device: CUDA C++ as ordinary C++.
// Kernels see the macro SIMCUDA.
#pragma once
#define SIMCUDA 1
#include "kernel_abi.h"
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

// ---- the language ----

#ifdef SIMULATOR_LIST_KERNELS
#define __global__ SIMULATOR_KERNEL
#else
#define __global__
#endif
#define __device__
#define __host__
#define __constant__ const
#define __shared__ static thread_local  // blocks run one after another on an OS thread
#define __forceinline__ inline __attribute__((always_inline))
#define __noinline__ __attribute__((noinline))
#define __launch_bounds__(...)
#define __grid_constant__
#define __align__(n) __attribute__((aligned(n)))
#ifndef __restrict__
#define __restrict__ __restrict
#endif
typedef unsigned int uint;
typedef unsigned short ushort;
typedef unsigned char uchar;

struct uint3 {
    unsigned x, y, z;
};
struct dim3 {
    unsigned x, y, z;
};
struct simulator_thread {
    uint3 thread_index, block_index;
    dim3 block_dimension, grid_dimension;
};

// "const" holds: a simulated thread keeps its indices for life.
extern "C" simulator_thread* simulator_self(void) __attribute__((const));
extern "C" int simulator_barrier(int reduction, int predicate);
extern "C" uint64_t simulator_warp(int operation, unsigned mask, uint64_t value, unsigned argument, int width);
extern "C" void simulator_together(const char* name, void (*function)(void** lanes), void* lane);
extern "C" void* simcuda_dyn_shared(void);
extern "C" void simulator_trap(const char* why);
extern "C" void simulator_access(const volatile void* address, unsigned bytes, int mode);
extern "C" long long simulator_clock(void);
extern "C" int printf(const char*, ...);

#define threadIdx (simulator_self()->thread_index)
#define blockIdx (simulator_self()->block_index)
#define blockDim (simulator_self()->block_dimension)
#define gridDim (simulator_self()->grid_dimension)
#define warpSize 32

#define SIMULATOR_VECTORS(T, NAME)                                                                     \
    struct __attribute__((aligned(sizeof(T) * 2))) NAME##2 { T x, y; };                                \
    struct NAME##3 { T x, y, z; };                                                                     \
    struct __attribute__((aligned(sizeof(T) * 4 > 16 ? 16 : sizeof(T) * 4))) NAME##4 { T x, y, z, w; }; \
    static inline NAME##2 make_##NAME##2(T x, T y) { return {x, y}; }                                   \
    static inline NAME##3 make_##NAME##3(T x, T y, T z) { return {x, y, z}; }                           \
    static inline NAME##4 make_##NAME##4(T x, T y, T z, T w) { return {x, y, z, w}; }
SIMULATOR_VECTORS(float, float)
SIMULATOR_VECTORS(double, double)
SIMULATOR_VECTORS(int, int)
SIMULATOR_VECTORS(short, short)
SIMULATOR_VECTORS(signed char, char)
SIMULATOR_VECTORS(unsigned char, uchar)
SIMULATOR_VECTORS(unsigned short, ushort)
SIMULATOR_VECTORS(long long, longlong)
struct __attribute__((aligned(8))) uint2 {
    unsigned x, y;
};
struct __attribute__((aligned(16))) uint4 {
    unsigned x, y, z, w;
};
static inline uint2 make_uint2(unsigned x, unsigned y) { return {x, y}; }
static inline uint3 make_uint3(unsigned x, unsigned y, unsigned z) { return {x, y, z}; }
static inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }

// ---- barriers and warps ----

static inline void __syncthreads() { simulator_barrier(0, 0); }
static inline int __syncthreads_or(int predicate) { return simulator_barrier(0, predicate); }
static inline int __syncthreads_and(int predicate) { return simulator_barrier(1, predicate); }
static inline int __syncthreads_count(int predicate) { return simulator_barrier(2, predicate); }

enum {
    SIMULATOR_SHFL, SIMULATOR_SHFL_UP, SIMULATOR_SHFL_DOWN, SIMULATOR_SHFL_XOR, SIMULATOR_BALLOT, SIMULATOR_SYNCWARP,
    SIMULATOR_REDUCE_ADD, SIMULATOR_REDUCE_MIN, SIMULATOR_REDUCE_MAX, SIMULATOR_REDUCE_AND, SIMULATOR_REDUCE_OR,
    SIMULATOR_REDUCE_XOR, SIMULATOR_TOGETHER
};
#define SIMULATOR_SIGNED 0x100

static inline void __syncwarp(unsigned mask = 0xffffffffu) { simulator_warp(SIMULATOR_SYNCWARP, mask, 0, 0, 32); }

#define SIMULATOR_SHUFFLE(NAME, OPERATION, ARGUMENT)                                    \
    template <class T>                                                                  \
    static inline T NAME(unsigned mask, T value, ARGUMENT argument, int width = 32) {   \
        static_assert(sizeof(T) <= 8, "a shuffle moves at most 8 bytes");               \
        uint64_t bits = 0;                                                              \
        memcpy(&bits, &value, sizeof value);                                            \
        bits = simulator_warp(OPERATION, mask, bits, (unsigned)argument, width);        \
        memcpy(&value, &bits, sizeof value);                                            \
        return value;                                                                   \
    }
SIMULATOR_SHUFFLE(__shfl_sync, SIMULATOR_SHFL, int)
SIMULATOR_SHUFFLE(__shfl_up_sync, SIMULATOR_SHFL_UP, unsigned)
SIMULATOR_SHUFFLE(__shfl_down_sync, SIMULATOR_SHFL_DOWN, unsigned)
SIMULATOR_SHUFFLE(__shfl_xor_sync, SIMULATOR_SHFL_XOR, int)

static inline unsigned __ballot_sync(unsigned mask, int predicate) {
    return (unsigned)simulator_warp(SIMULATOR_BALLOT, mask, predicate != 0, 0, 32);
}
static inline int __any_sync(unsigned mask, int predicate) { return __ballot_sync(mask, predicate) != 0; }
static inline int __all_sync(unsigned mask, int predicate) { return __ballot_sync(mask, !predicate) == 0; }

#define SIMULATOR_REDUCE(NAME, OPERATION)                                                               \
    template <class T>                                                                                  \
    static inline T NAME(unsigned mask, T value) {                                                      \
        int width = (T)-1 < (T)0 ? SIMULATOR_SIGNED : 0;                                                \
        return (T)simulator_warp(OPERATION, mask, (uint64_t)(int64_t)value, 0, width);                  \
    }
SIMULATOR_REDUCE(__reduce_add_sync, SIMULATOR_REDUCE_ADD)
SIMULATOR_REDUCE(__reduce_min_sync, SIMULATOR_REDUCE_MIN)
SIMULATOR_REDUCE(__reduce_max_sync, SIMULATOR_REDUCE_MAX)
SIMULATOR_REDUCE(__reduce_and_sync, SIMULATOR_REDUCE_AND)
SIMULATOR_REDUCE(__reduce_or_sync, SIMULATOR_REDUCE_OR)
SIMULATOR_REDUCE(__reduce_xor_sync, SIMULATOR_REDUCE_XOR)

static inline void __threadfence() { __atomic_thread_fence(__ATOMIC_SEQ_CST); }
static inline void __threadfence_block() {}
static inline void __threadfence_system() { __atomic_thread_fence(__ATOMIC_SEQ_CST); }
static inline void __trap() { simulator_trap("__trap()"); }

// ---- atomics: reported once, as read and written, instead of access by access ----

#define SIMULATOR_UNTRACKED __attribute__((no_sanitize("thread"), noinline))
#define SIMULATOR_ATOMIC(NAME, EXPRESSION)                                                                      \
    template <class T, class U>                                                                                 \
    SIMULATOR_UNTRACKED T NAME(T* address, U operand) {                                                         \
        T value = (T)operand, old, result;                                                                      \
        simulator_access(address, sizeof(T), 2);                                                                \
        __atomic_load(address, &old, __ATOMIC_RELAXED);                                                         \
        do {                                                                                                    \
            result = (EXPRESSION);                                                                              \
        } while (!__atomic_compare_exchange(address, &old, &result, false, __ATOMIC_SEQ_CST, __ATOMIC_RELAXED)); \
        return old;                                                                                             \
    }
SIMULATOR_ATOMIC(atomicAdd, old + value)
SIMULATOR_ATOMIC(atomicSub, old - value)
SIMULATOR_ATOMIC(atomicMax, old > value ? old : value)
SIMULATOR_ATOMIC(atomicMin, old < value ? old : value)
SIMULATOR_ATOMIC(atomicExch, value)
SIMULATOR_ATOMIC(atomicAnd, old & value)
SIMULATOR_ATOMIC(atomicOr, old | value)
SIMULATOR_ATOMIC(atomicXor, old ^ value)
template <class T>
SIMULATOR_UNTRACKED T atomicCAS(T* address, T expected, T value) {
    simulator_access(address, sizeof(T), 2);
    __atomic_compare_exchange(address, &expected, &value, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
    return expected;
}

// ---- loads, bits, arithmetic ----

template <class T> static inline T __ldg(const T* p) { return *p; }
template <class T> static inline T __ldcs(const T* p) { return *p; }
template <class T> static inline T __ldcg(const T* p) { return *p; }
template <class T> static inline T __ldca(const T* p) { return *p; }
template <class T> static inline void __stcs(T* p, T value) { *p = value; }
template <class T> static inline void __stcg(T* p, T value) { *p = value; }

static inline int __popc(unsigned x) { return __builtin_popcount(x); }
static inline int __popcll(unsigned long long x) { return __builtin_popcountll(x); }
static inline int __clz(int x) { return x ? __builtin_clz((unsigned)x) : 32; }
static inline int __ffs(int x) { return __builtin_ffs(x); }
static inline unsigned __brev(unsigned x) {
    unsigned reversed = 0;
    for (int i = 0; i < 32; i++) reversed |= ((x >> i) & 1) << (31 - i);
    return reversed;
}
static inline unsigned __byte_perm(unsigned a, unsigned b, unsigned selector) {
    uint64_t bytes = ((uint64_t)b << 32) | a;
    unsigned result = 0;
    for (int i = 0; i < 4; i++) {
        unsigned select = (selector >> (4 * i)) & 15, byte = (unsigned)(bytes >> (8 * (select & 7))) & 255;
        if (select & 8) byte = (byte & 128) ? 255 : 0;
        result |= byte << (8 * i);
    }
    return result;
}
static inline unsigned __funnelshift_r(unsigned low, unsigned high, unsigned shift) {
    return (unsigned)(((((uint64_t)high) << 32) | low) >> (shift & 31));
}
static inline unsigned __funnelshift_l(unsigned low, unsigned high, unsigned shift) {
    return (unsigned)((((((uint64_t)high) << 32) | low) << (shift & 31)) >> 32);
}
static inline int __dp4a(int a, int b, int c) {
    for (int i = 0; i < 4; i++) c += (int)(int8_t)(a >> (8 * i)) * (int)(int8_t)(b >> (8 * i));
    return c;
}
static inline unsigned __dp4a(unsigned a, unsigned b, unsigned c) {
    for (int i = 0; i < 4; i++) c += (unsigned)(uint8_t)(a >> (8 * i)) * (unsigned)(uint8_t)(b >> (8 * i));
    return c;
}
template <class F>
static inline unsigned simulator_bytewise(unsigned a, unsigned b, F function) {
    unsigned result = 0;
    for (int i = 0; i < 4; i++)
        result |= (unsigned)(uint8_t)function((int8_t)(a >> (8 * i)), (int8_t)(b >> (8 * i))) << (8 * i);
    return result;
}
static inline unsigned __vadd4(unsigned a, unsigned b) {
    return simulator_bytewise(a, b, [](int x, int y) { return x + y; });
}
static inline unsigned __vsub4(unsigned a, unsigned b) {
    return simulator_bytewise(a, b, [](int x, int y) { return x - y; });
}
static inline unsigned __vsubss4(unsigned a, unsigned b) {
    return simulator_bytewise(a, b, [](int x, int y) { return x - y > 127 ? 127 : x - y < -128 ? -128 : x - y; });
}
static inline unsigned __vcmpeq4(unsigned a, unsigned b) {
    return simulator_bytewise(a, b, [](int x, int y) { return x == y ? 255 : 0; });
}
static inline unsigned __vcmpne4(unsigned a, unsigned b) { return ~__vcmpeq4(a, b); }

#define SIMULATOR_SAME_BITS(NAME, FROM, TO)      \
    static inline TO NAME(FROM value) {          \
        TO result;                               \
        memcpy(&result, &value, sizeof result);  \
        return result;                           \
    }
SIMULATOR_SAME_BITS(__int_as_float, int, float)
SIMULATOR_SAME_BITS(__uint_as_float, unsigned, float)
SIMULATOR_SAME_BITS(__float_as_int, float, int)
SIMULATOR_SAME_BITS(__float_as_uint, float, unsigned)

static inline int __float2int_rn(float x) { return (int)rintf(x); }
static inline int __float2int_rz(float x) { return (int)x; }
static inline float __int2float_rn(int x) { return (float)x; }
static inline float rsqrtf(float x) { return 1.0f / sqrtf(x); }
static inline float __frsqrt_rn(float x) { return 1.0f / sqrtf(x); }
static inline float __fsqrt_rn(float x) { return sqrtf(x); }
static inline float __frcp_rn(float x) { return 1.0f / x; }
static inline float __fdividef(float a, float b) { return a / b; }
static inline float __fdiv_rn(float a, float b) { return a / b; }
static inline float __fadd_rn(float a, float b) { return a + b; }
static inline float __fmul_rn(float a, float b) { return a * b; }
static inline float __fmaf_rn(float a, float b, float c) { return fmaf(a, b, c); }
// glibc declares functions of these names.
#define __expf(x) expf(x)
#define __logf(x) logf(x)
#define __sinf(x) sinf(x)
#define __cosf(x) cosf(x)
#define __powf(x, y) powf(x, y)
#define __tanhf(x) tanhf(x)
template <class T> static inline T min(T a, T b) { return b < a ? b : a; }
template <class T> static inline T max(T a, T b) { return a < b ? b : a; }
static inline float min(float a, float b) { return fminf(a, b); }
static inline float max(float a, float b) { return fmaxf(a, b); }
static inline long long clock64() { return simulator_clock(); }

// ---- the table of kernels, in the source that is generated round a .cu file ----

template <class F, F* f> struct simulator_thunk;
template <size_t... I> struct simulator_indices {};
template <size_t N, size_t... I> struct simulator_count : simulator_count<N - 1, N - 1, I...> {};
template <size_t... I> struct simulator_count<0, I...> {
    typedef simulator_indices<I...> type;
};
template <class... A, void (*f)(A...)>
struct simulator_thunk<void(A...), f> {
    template <size_t... I>
    static __attribute__((no_sanitize("thread"))) void unpack(void* const* values, simulator_indices<I...>) {
        (void)values;
        f(*(A*)values[I]...);
    }
    static void invoke(void* const* values) { unpack(values, typename simulator_count<sizeof...(A)>::type()); }
    static constexpr int count = sizeof...(A);
    static constexpr uint16_t size[count + 1] = {sizeof(A)..., 0}, alignment[count + 1] = {alignof(A)..., 0};
};
#define SIMULATOR_REGISTER(KERNEL)                                                                               \
    static const simulator_kernel simulator_kernel_##KERNEL = {#KERNEL, simulator_thunk<decltype(KERNEL), &KERNEL>::count, \
        simulator_thunk<decltype(KERNEL), &KERNEL>::size, simulator_thunk<decltype(KERNEL), &KERNEL>::alignment, \
        &simulator_thunk<decltype(KERNEL), &KERNEL>::invoke};
extern "C" void simulator_run(const simulator_kernel*, simulator_launch*);
extern "C" const int simulator_tracked;
