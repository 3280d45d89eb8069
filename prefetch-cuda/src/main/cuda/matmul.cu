// Matrix products for prefill: y[t][r] = weights[r] . x[t], for many rows of activations.
//
// to_half makes half-precision rows of the activations, each divided by a power of two of its own that puts its largest
// element between 2^13 and 2^14: nothing overflows, and what is lost is below 2^-12 of each element.
//
// matmul: a block takes TOKENS rows of activations and 64 weight rows. In steps of 64 columns it expands the weights to half
// precision in shared memory, once for all of its tokens, and multiplies on the tensor cores with f32 sums. Every element of
// the result is the sum of the same products in the same order wherever in a tile and in a tile of whatever size it lies.
//
// matmul_f32 is for f32 weights, whose precision half would not hold: a plain tile of fused multiply-adds.
#include <mma.h>
#include "weights.cuh"

using namespace nvcuda;

#define TILE_ROWS 64
#define TILE_COLS 64
#define STRIDE (TILE_COLS + 8) /* halves between rows in shared memory: a multiple of 8 that spreads over the banks */
#define THREADS 256
#define BLOCKS 3 /* on a multiprocessor: one register more for each thread, and there would be two */
#define STAGE (TILE_ROWS + 4)  /* floats between rows of the result */

extern "C" __global__ void __launch_bounds__(256)
to_half(const float* __restrict__ x, half* __restrict__ out, float* __restrict__ scales, int cols, int padded) {
    const float* row = x + (size_t)blockIdx.x * cols;
    float largest = 0;
    for (int i = threadIdx.x; i < cols; i += 256) largest = fmaxf(largest, fabsf(row[i]));
    __shared__ float parts[8];
    largest = warp_max(largest);
    if ((threadIdx.x & 31) == 0) parts[threadIdx.x >> 5] = largest;
    __syncthreads();
    largest = parts[0];
    for (int w = 1; w < 8; w++) largest = fmaxf(largest, parts[w]);
    int exponent = (__float_as_int(largest) >> 23 & 255) - 127;
    // A row of zeros, or one that is not finite, stays as it is.
    exponent = largest > 0 && exponent < 128 ? (exponent < -100 ? -100 : exponent) : 13;
    const float factor = __int_as_float((13 - exponent + 127) << 23);
    if (threadIdx.x == 0) scales[blockIdx.x] = __int_as_float((exponent - 13 + 127) << 23);
    half* target = out + (size_t)blockIdx.x * padded;
    for (int i = threadIdx.x; i < padded; i += 256) target[i] = __float2half_rn(i < cols ? row[i] * factor : 0.0f);
}

#define ARGUMENTS                                                                                                 \
    const uint8_t *__restrict__ weights, const half *__restrict__ x, const float *__restrict__ scales,           \
        float *__restrict__ y, int rows, int cols, int padded, int tokens, int wide
#define PASS weights, x, scales, y, rows, cols, padded, tokens, wide != 0

// A warp sums FRAGMENTS x FRAGMENTS squares of 16 x 16. There are always eight warps: a block of few tokens would otherwise wait
// for its weights most of the time.
template <class F, int TOKENS, int FRAGMENTS>
static __device__ __forceinline__ void matmul(const uint8_t* __restrict__ weights, const half* __restrict__ x,
    const float* __restrict__ scales, float* __restrict__ y, int rows, int cols, int padded, int tokens, bool wide) {
    const int SQUARE = 16 * FRAGMENTS;
    static_assert(TOKENS / SQUARE * (TILE_ROWS / SQUARE) * 32 == THREADS, "a warp for every square");
    const int OPERANDS = (TOKENS + TILE_ROWS) * STRIDE * 2;
    const int RESULT = TOKENS * STAGE * 4;
    __shared__ __align__(128) unsigned char memory[OPERANDS > RESULT ? OPERANDS : RESULT];
    half* left = (half*)memory;
    half* right = left + TOKENS * STRIDE;
    float* stage = (float*)memory;
    const int first_row = blockIdx.x * TILE_ROWS;
    const int first_token = blockIdx.y * TOKENS;
    const size_t row_bytes = Unit<F>::row_bytes(cols);
    const int warp = threadIdx.x >> 5;
    const int warp_token = warp / (TILE_ROWS / SQUARE) * SQUARE;
    const int warp_row = warp % (TILE_ROWS / SQUARE) * SQUARE;

    wmma::fragment<wmma::accumulator, 16, 16, 16, float> sums[FRAGMENTS][FRAGMENTS];
#pragma unroll
    for (int i = 0; i < FRAGMENTS; i++) {
#pragma unroll
        for (int j = 0; j < FRAGMENTS; j++) wmma::fill_fragment(sums[i][j], 0.0f);
    }
    // What a thread brings of each tile of activations, one tile ahead.
    const int SHARE = TOKENS * TILE_COLS / 8 / THREADS;
    uint4 ahead[SHARE];
    const int part = threadIdx.x % (TILE_COLS / 8);
    const int part_token = threadIdx.x / (TILE_COLS / 8);
    const half* part_x = x + (size_t)(first_token + part_token) * padded + part * 8;
    const int STEP = THREADS / (TILE_COLS / 8);
#pragma unroll
    for (int i = 0; i < SHARE; i++) {
        const bool inside = first_token + part_token + i * STEP < tokens;
        ahead[i] = inside ? *(const uint4*)(part_x + (size_t)i * STEP * padded) : make_uint4(0, 0, 0, 0);
    }
    for (int col = 0; col < cols; col += TILE_COLS) {
#pragma unroll
        for (int i = 0; i < SHARE; i++) *(uint4*)(left + (part_token + i * STEP) * STRIDE + part * 8) = ahead[i];
        // weights
#pragma unroll
        for (int i = threadIdx.x; i < TILE_ROWS * TILE_COLS / 8; i += THREADS) {
            const int r = i / (TILE_COLS / 8);
            const int u = i % (TILE_COLS / 8);
            uint32_t packed[4] = {0, 0, 0, 0};
            if (first_row + r < rows && col + u * 8 < cols) {
                float q[8];
                float scale;
                float minimum = 0;
                Unit<F>::load(weights + row_bytes * (first_row + r), col / 8 + u, cols, wide, q, scale, minimum);
                for (int e = 0; e < 4; e++) {
                    const float a = fmaf(scale, q[2 * e], -minimum);
                    const float b = fmaf(scale, q[2 * e + 1], -minimum);
                    packed[e] = __half_as_ushort(__float2half_rn(a)) | (uint32_t)__half_as_ushort(__float2half_rn(b)) << 16;
                }
            }
            *(uint4*)(right + r * STRIDE + u * 8) = make_uint4(packed[0], packed[1], packed[2], packed[3]);
        }
        __syncthreads();
        if (col + TILE_COLS < cols) {
#pragma unroll
            for (int i = 0; i < SHARE; i++) {
                const bool inside = first_token + part_token + i * STEP < tokens;
                ahead[i] = inside ? *(const uint4*)(part_x + (size_t)i * STEP * padded + col + TILE_COLS)
                                  : make_uint4(0, 0, 0, 0);
            }
            if (threadIdx.x < TILE_ROWS && first_row + threadIdx.x < rows) {
                prefetch(weights + row_bytes * (first_row + threadIdx.x) + row_bytes * (col + TILE_COLS) / cols);
            }
        }
#pragma unroll
        for (int k = 0; k < TILE_COLS; k += 16) {
            wmma::fragment<wmma::matrix_a, 16, 16, 16, half, wmma::row_major> a[FRAGMENTS];
            wmma::fragment<wmma::matrix_b, 16, 16, 16, half, wmma::col_major> b[FRAGMENTS];
#pragma unroll
            for (int i = 0; i < FRAGMENTS; i++) {
                wmma::load_matrix_sync(a[i], left + (warp_token + i * 16) * STRIDE + k, STRIDE);
                wmma::load_matrix_sync(b[i], right + (warp_row + i * 16) * STRIDE + k, STRIDE);
            }
#pragma unroll
            for (int i = 0; i < FRAGMENTS; i++) {
#pragma unroll
                for (int j = 0; j < FRAGMENTS; j++) wmma::mma_sync(sums[i][j], a[i], b[j], sums[i][j]);
            }
        }
        __syncthreads();
    }
#pragma unroll
    for (int i = 0; i < FRAGMENTS; i++) {
#pragma unroll
        for (int j = 0; j < FRAGMENTS; j++) {
            wmma::store_matrix_sync(
                stage + (warp_token + i * 16) * STAGE + warp_row + j * 16, sums[i][j], STAGE, wmma::mem_row_major);
        }
    }
    __syncthreads();
    for (int i = threadIdx.x; i < TOKENS * TILE_ROWS; i += THREADS) {
        const int t = i / TILE_ROWS;
        const int r = i % TILE_ROWS;
        if (first_token + t < tokens && first_row + r < rows) {
            y[(size_t)(first_token + t) * rows + first_row + r] = stage[t * STAGE + r] * scales[first_token + t];
        }
    }
}

extern "C" __global__ void __launch_bounds__(256) matmul_f32(const float* __restrict__ weights,
    const float* __restrict__ x, float* __restrict__ y, int rows, int cols, int tokens) {
    __shared__ float left[32][33];
    __shared__ float right[32][33];
    const int first_row = blockIdx.x * 32;
    const int first_token = blockIdx.y * 32;
    const int lane = threadIdx.x & 31;
    const int warp = threadIdx.x >> 5;
    float sums[4] = {0, 0, 0, 0};
    for (int col = 0; col < cols; col += 32) {
        for (int i = warp; i < 32; i += 8) {
            const bool inside = col + lane < cols;
            left[i][lane] = inside && first_token + i < tokens ? x[(size_t)(first_token + i) * cols + col + lane] : 0;
            right[i][lane] = inside && first_row + i < rows ? weights[(size_t)(first_row + i) * cols + col + lane] : 0;
        }
        __syncthreads();
        for (int k = 0; k < 32; k++) {
            const float w = right[lane][k];
#pragma unroll
            for (int i = 0; i < 4; i++) sums[i] = fmaf(left[warp * 4 + i][k], w, sums[i]);
        }
        __syncthreads();
    }
    for (int i = 0; i < 4; i++) {
        const int t = first_token + warp * 4 + i;
        if (t < tokens && first_row + lane < rows) y[(size_t)t * rows + first_row + lane] = sums[i];
    }
}

#define KERNELS(F, name)                                                                                         \
    extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS) matmul_narrow_##name(ARGUMENTS) { matmul<F, 32, 1>(PASS); }  \
    extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS) matmul_wide_##name(ARGUMENTS) { matmul<F, 128, 2>(PASS); }
HALF_FORMATS(KERNELS)
BLOCK_FORMATS(KERNELS)
