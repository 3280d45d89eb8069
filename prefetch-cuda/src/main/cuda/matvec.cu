// Matrix-vector products for decode: y[t][r] = weights[r] . x[t], for a few rows of activations at once.
//
// A block of one, two or four warps, by the length of the rows, takes ROWS weight rows; its threads take the units of eight
// elements in turn, so that they read consecutive bytes and every activation serves ROWS rows. Each thread sums its own part, then the lanes of a warp, then the
// warps, always in the same order: the result of a row of activations has the same bits whether it comes alone (ONE) or
// with others (FOUR), because every step is an explicit fused multiply-add that the compiler cannot regroup.
#include "weights.cuh"

#define ROWS 2
#define THREADS 128
#define WARPS (THREADS / 32)

#define ARGUMENTS                                                                                          \
    const uint8_t *__restrict__ weights, const float *__restrict__ x, float *__restrict__ y, int rows, int cols, \
        int tokens, int wide
#define PASS weights, x, y, rows, cols, tokens, wide != 0

template <class F, int TOKENS>
static __device__ __forceinline__ void matvec(const uint8_t* __restrict__ weights, const float* __restrict__ x,
    float* __restrict__ y, int rows, int cols, int tokens, bool wide) {
    const int first_row = blockIdx.x * ROWS;
    const int first_token = blockIdx.y * TOKENS;
    const size_t row_bytes = Unit<F>::row_bytes(cols);
    const uint8_t* row[ROWS];
    for (int r = 0; r < ROWS; r++) {
        row[r] = weights + row_bytes * (first_row + r < rows ? first_row + r : rows - 1);
    }
    float sums[ROWS][TOKENS];
    for (int r = 0; r < ROWS; r++) {
        for (int t = 0; t < TOKENS; t++) sums[r][t] = 0;
    }
    const int units = (cols + 7) / 8;
    for (int u = threadIdx.x; u < units; u += blockDim.x) {
        float a[TOKENS][8];
        float total[TOKENS];
#pragma unroll
        for (int t = 0; t < TOKENS; t++) {
            if (TOKENS == 1 || first_token + t < tokens) {
                load_activations(x + (size_t)(first_token + t) * cols, u, cols, wide, a[t]);
            } else {
                for (int i = 0; i < 8; i++) a[t][i] = 0;
            }
            if (Unit<F>::MINIMUM) {
                total[t] = a[t][0];
                for (int i = 1; i < 8; i++) total[t] += a[t][i];
            }
        }
#pragma unroll
        for (int r = 0; r < ROWS; r++) {
            float q[8];
            float scale;
            float minimum = 0;
            Unit<F>::load(row[r], u, cols, wide, q, scale, minimum);
#pragma unroll
            for (int t = 0; t < TOKENS; t++) {
                float sum = fmaf(q[0], a[t][0], 0.0f);
                for (int i = 1; i < 8; i++) sum = fmaf(q[i], a[t][i], sum);
                sums[r][t] = fmaf(scale, sum, sums[r][t]);
                if (Unit<F>::MINIMUM) sums[r][t] = fmaf(-minimum, total[t], sums[r][t]);
            }
        }
    }
    __shared__ float partial[WARPS][ROWS * TOKENS];
    const int warp = threadIdx.x >> 5;
#pragma unroll
    for (int r = 0; r < ROWS; r++) {
#pragma unroll
        for (int t = 0; t < TOKENS; t++) {
            const float sum = warp_sum(sums[r][t]);
            if ((threadIdx.x & 31) == 0) partial[warp][r * TOKENS + t] = sum;
        }
    }
    __syncthreads();
    const int warps = blockDim.x >> 5;
    if (threadIdx.x < ROWS * TOKENS) {
        const int r = first_row + threadIdx.x / TOKENS;
        const int t = first_token + threadIdx.x % TOKENS;
        if (r < rows && t < tokens) {
            float sum = partial[0][threadIdx.x];
            for (int w = 1; w < warps; w++) sum += partial[w][threadIdx.x];
            y[(size_t)t * rows + r] = sum;
        }
    }
}

// One row of activations with the matrix that its pick names: block (rows, pick), with the bits of ONE. `per_input` picks in
// turn read the same activations.
#define PICKED_ARGUMENTS                                                                                           \
    const unsigned long long *__restrict__ table, const int *__restrict__ picks, int per_input,                    \
        const float *__restrict__ x, float *__restrict__ y, int rows, int cols, int wide
#define PICKED                                                                                                     \
    (const uint8_t*)table[picks[blockIdx.y]], x + ((long long)(blockIdx.y / per_input) - blockIdx.y) * cols, y, rows, \
        cols, (int)gridDim.y, wide != 0

#define KERNELS(F, name)                                                                                          \
    extern "C" __global__ void __launch_bounds__(THREADS) matvec_one_##name(ARGUMENTS) { matvec<F, 1>(PASS); } \
    extern "C" __global__ void __launch_bounds__(THREADS) matvec_four_##name(ARGUMENTS) { matvec<F, 4>(PASS); } \
    extern "C" __global__ void __launch_bounds__(THREADS) matvec_picked_##name(PICKED_ARGUMENTS) { matvec<F, 1>(PICKED); }
KERNELS(F32, f32)
HALF_FORMATS(KERNELS)
BLOCK_FORMATS(KERNELS)
