// Kernels that the tests of the simulator run: as a backend would use them, and correct.
#include <cuda_fp16.h>
#include <stdint.h>

struct __align__(2) block_q8_0 {
    uint16_t scale;
    int8_t quants[32];
};

static __device__ __forceinline__ float warp_sum(float value) {
    for (int offset = 16; offset > 0; offset >>= 1) value += __shfl_down_sync(0xffffffffu, value, offset);
    return value;
}

// y[rows] = weights[rows x columns] * x[columns], a warp per row
extern "C" __global__ void __launch_bounds__(128) matvec_q8_0(const block_q8_0* __restrict__ weights,
    const float* __restrict__ x, float* __restrict__ y, int rows, int columns) {
    const int lane = threadIdx.x & 31, row = blockIdx.x * (blockDim.x >> 5) + (threadIdx.x >> 5);
    if (row >= rows) return;
    const block_q8_0* blocks = weights + (size_t)row * (columns >> 5);
    float sum = 0.0f;
    for (int b = 0; b < columns >> 5; b++)
        sum += __half2float(__ushort_as_half(blocks[b].scale)) * (float)blocks[b].quants[lane] * x[b * 32 + lane];
    sum = warp_sum(sum);
    if (lane == 0) y[row] = sum;
}

// out = x / sqrt(mean(x^2) + epsilon) * weights, one block; static shared memory and barriers
extern "C" __global__ void rms_norm(const float* x, const float* weights, float* out, int n, float epsilon) {
    __shared__ float partial[32];
    float sum = 0.0f;
    for (int i = threadIdx.x; i < n; i += blockDim.x) sum += x[i] * x[i];
    sum = warp_sum(sum);
    if ((threadIdx.x & 31) == 0) partial[threadIdx.x >> 5] = sum;
    __syncthreads();
    if (threadIdx.x < 32) {
        float total = warp_sum(threadIdx.x < (blockDim.x >> 5) ? partial[threadIdx.x] : 0.0f);
        if (threadIdx.x == 0) partial[0] = total;
    }
    __syncthreads();
    const float scale = rsqrtf(partial[0] / n + epsilon);
    for (int i = threadIdx.x; i < n; i += blockDim.x) out[i] = x[i] * scale * weights[i];
}

struct line {
    float slope, intercept;
    int n;
};

// a structure by value, a 64-bit scalar, a loop over the grid
extern "C" __global__ void scale_and_add(float* y, const float* x, line p, long long offset) {
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < p.n; i += gridDim.x * blockDim.x)
        y[i + offset] = p.slope * x[i] + p.intercept;
}

#ifdef SIMCUDA
#define DYNAMIC_SHARED(T, name) T* name = (T*)simcuda_dyn_shared()
#else
#define DYNAMIC_SHARED(T, name) extern __shared__ T name[]
#endif
extern "C" __global__ void histogram(const unsigned char* data, int n, unsigned int* counts) {
    DYNAMIC_SHARED(unsigned int, local);
    for (int i = threadIdx.x; i < 256; i += blockDim.x) local[i] = 0;
    __syncthreads();
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x) atomicAdd(&local[data[i]], 1u);
    __syncthreads();
    for (int i = threadIdx.x; i < 256; i += blockDim.x)
        if (local[i]) atomicAdd(&counts[i], local[i]);
}
