// Expands rows of a weight to f32: out[i] = table[tokens[i]], or row i where there are no tokens. Block (part of a row, i).
#include "formats.cuh"

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

extern "C" __global__ void __launch_bounds__(THREADS) embed_f32(ARGUMENTS) { embed<F32>(PASS); }
extern "C" __global__ void __launch_bounds__(THREADS) embed_f16(ARGUMENTS) { embed<F16>(PASS); }
extern "C" __global__ void __launch_bounds__(THREADS) embed_bf16(ARGUMENTS) { embed<BF16>(PASS); }
extern "C" __global__ void __launch_bounds__(THREADS) embed_q4_0(ARGUMENTS) { embed<Q4_0>(PASS); }
extern "C" __global__ void __launch_bounds__(THREADS) embed_q4_1(ARGUMENTS) { embed<Q4_1>(PASS); }
extern "C" __global__ void __launch_bounds__(THREADS) embed_q5_0(ARGUMENTS) { embed<Q5_0>(PASS); }
extern "C" __global__ void __launch_bounds__(THREADS) embed_q5_1(ARGUMENTS) { embed<Q5_1>(PASS); }
extern "C" __global__ void __launch_bounds__(THREADS) embed_q8_0(ARGUMENTS) { embed<Q8_0>(PASS); }
extern "C" __global__ void __launch_bounds__(THREADS) embed_iq4_nl(ARGUMENTS) { embed<IQ4_NL>(PASS); }
extern "C" __global__ void __launch_bounds__(THREADS) embed_mxfp4(ARGUMENTS) { embed<MXFP4>(PASS); }
extern "C" __global__ void __launch_bounds__(THREADS) embed_q2_k(ARGUMENTS) { embed<Q2_K>(PASS); }
extern "C" __global__ void __launch_bounds__(THREADS) embed_q3_k(ARGUMENTS) { embed<Q3_K>(PASS); }
extern "C" __global__ void __launch_bounds__(THREADS) embed_q4_k(ARGUMENTS) { embed<Q4_K>(PASS); }
extern "C" __global__ void __launch_bounds__(THREADS) embed_q5_k(ARGUMENTS) { embed<Q5_K>(PASS); }
extern "C" __global__ void __launch_bounds__(THREADS) embed_q6_k(ARGUMENTS) { embed<Q6_K>(PASS); }
extern "C" __global__ void __launch_bounds__(THREADS) embed_iq4_xs(ARGUMENTS) { embed<IQ4_XS>(PASS); }
