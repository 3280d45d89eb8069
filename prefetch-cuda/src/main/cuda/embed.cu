// Expands rows of a weight to f32: out[i] = table[tokens[i]], or row i where there are no tokens. Block (part of a row, i).
#include "weights.cuh"

#define THREADS 128
#define ARGUMENTS                                                                                            \
    const uint8_t *__restrict__ table, const int *__restrict__ tokens, float *__restrict__ out, int cols, int wide
#define PASS table, tokens, out, cols, wide != 0

template <class F>
static __device__ __forceinline__ void embed(
    const uint8_t* __restrict__ table, const int* __restrict__ tokens, float* __restrict__ out, int cols, bool wide) {
    const int u = blockIdx.x * THREADS + threadIdx.x;
    if (u * 8 >= cols) return;
    const size_t row = tokens ? (size_t)tokens[blockIdx.y] : blockIdx.y;
    float q[8];
    float scale;
    float minimum = 0;
    Unit<F>::load(table + Unit<F>::row_bytes(cols) * row, u, cols, wide, q, scale, minimum);
    float* target = out + (size_t)blockIdx.y * cols;
    for (int i = 0; i < 8 && u * 8 + i < cols; i++) target[u * 8 + i] = fmaf(scale, q[i], -minimum);
}

#define KERNEL(F, name) \
    extern "C" __global__ void __launch_bounds__(THREADS) embed_##name(ARGUMENTS) { embed<F>(PASS); }
KERNEL(F32, f32)
HALF_FORMATS(KERNEL)
BLOCK_FORMATS(KERNEL)
