// What works element by element or row by row: gates, sums, normalisation, rotation, rows picked and added.
#include "common.cuh"

#define EACH(i, n)                                                                                     \
    for (long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x; i < (n); i += (long long)gridDim.x * blockDim.x)

extern "C" __global__ void __launch_bounds__(256) swiglu(float* gate, const float* __restrict__ up, long long n) {
    EACH(i, n) {
        const float g = gate[i];
        gate[i] = g / (1 + expf(-g)) * up[i];
    }
}

extern "C" __global__ void __launch_bounds__(256) geglu(float* gate, const float* __restrict__ up, long long n) {
    EACH(i, n) {
        const float g = gate[i];
        const float inner = 0.79788456080286535588f * g * fmaf(0.044715f * g, g, 1.0f);
        gate[i] = 0.5f * g * (1 + tanhf(inner)) * up[i];
    }
}

extern "C" __global__ void __launch_bounds__(256)
clamped_swiglu(float* gate, const float* __restrict__ up, float slope, float limit, long long n) {
    EACH(i, n) {
        const float g = fminf(gate[i], limit);
        const float u = fminf(fmaxf(up[i], -limit), limit);
        gate[i] = g / (1 + expf(-slope * g)) * (u + 1);
    }
}

extern "C" __global__ void __launch_bounds__(256) scale(float* x, float factor, long long n) {
    EACH(i, n) x[i] *= factor;
}

extern "C" __global__ void __launch_bounds__(256) soft_cap(float* x, float cap, long long n) {
    EACH(i, n) x[i] = cap * tanhf(x[i] / cap);
}

extern "C" __global__ void __launch_bounds__(256) add(float* x, const float* y, long long n) {
    EACH(i, n) x[i] += y[i];
}

// y[i] += bias: block (part of a row, i)
extern "C" __global__ void __launch_bounds__(256) add_bias(float* y, const float* __restrict__ bias, int cols) {
    const int c = blockIdx.x * 256 + threadIdx.x;
    if (c < cols) y[(size_t)blockIdx.y * cols + c] += bias[c];
}

// One block per row, of one warp or of eight by the length of the row. out may be x.
extern "C" __global__ void __launch_bounds__(256)
rms_norm(const float* x, const float* __restrict__ gain, float* out, int dim, float epsilon) {
    const float* row = x + (size_t)blockIdx.x * dim;
    float* target = out + (size_t)blockIdx.x * dim;
    float squares = 0;
    for (int i = threadIdx.x; i < dim; i += blockDim.x) squares = fmaf(row[i], row[i], squares);
    squares = warp_sum(squares);
    __shared__ float parts[8];
    if (blockDim.x > 32) {
        if ((threadIdx.x & 31) == 0) parts[threadIdx.x >> 5] = squares;
        __syncthreads();
        squares = parts[0];
        for (int w = 1; w < 8; w++) squares += parts[w];
    }
    const float factor = 1 / sqrtf(squares / dim + epsilon);
    for (int i = threadIdx.x; i < dim; i += blockDim.x) {
        const float v = row[i] * factor;
        target[i] = gain ? v * gain[i] : v;
    }
}

// table[i] = cosines and sines of row i's angles: block (part of the pairs, i). In f64, because positions are large.
extern "C" __global__ void __launch_bounds__(128) rope_table(const float* __restrict__ frequencies,
    const int* __restrict__ positions, float2* __restrict__ table, int pairs, float magnitude) {
    const int pair = blockIdx.x * 128 + threadIdx.x;
    if (pair >= pairs) return;
    const double angle = (double)positions[blockIdx.y] * frequencies[pair];
    float2 v;
    v.x = (float)(cos(angle) * magnitude);
    v.y = (float)(sin(angle) * magnitude);
    table[(size_t)blockIdx.y * pairs + pair] = v;
}

// Rotates row i in place: block (part of heads x pairs, i). Pairs are adjacent, or a half of the rotated dimensions apart.
extern "C" __global__ void __launch_bounds__(128)
rope(float* x, const float2* __restrict__ table, int heads, int head_dim, int pairs, int adjacent) {
    const int i = blockIdx.x * 128 + threadIdx.x;
    if (i >= heads * pairs) return;
    const int pair = i % pairs;
    const float2 turn = table[(size_t)blockIdx.y * pairs + pair];
    float* head = x + (size_t)blockIdx.y * heads * head_dim + (size_t)(i / pairs) * head_dim;
    float* first = head + (adjacent ? 2 * pair : pair);
    float* second = first + (adjacent ? 1 : pairs);
    const float a = *first;
    const float b = *second;
    *first = a * turn.x - b * turn.y;
    *second = a * turn.y + b * turn.x;
}

// out[i] = x[rows[i]]: block (part of a row, i)
extern "C" __global__ void __launch_bounds__(256)
gather_rows(const float* __restrict__ x, const int* __restrict__ rows, float* __restrict__ out, int dim) {
    const int c = blockIdx.x * 256 + threadIdx.x;
    if (c < dim) out[(size_t)blockIdx.y * dim + c] = x[(size_t)rows[blockIdx.y] * dim + c];
}

// target[i][0 .. width] = source[i][0 .. width], rows a stride apart: block (i, part of the width)
extern "C" __global__ void __launch_bounds__(256) copy_columns(const float* __restrict__ source,
    float* __restrict__ target, int source_stride, int target_stride, int width) {
    const int c = blockIdx.y * blockDim.x + threadIdx.x;
    if (c < width) target[(size_t)blockIdx.x * target_stride + c] = source[(size_t)blockIdx.x * source_stride + c];
}

// target[rows[i]] += factors[i] * x[i] in ascending order of i: block (part of a row, i). The first of equal rows adds for
// all of them, the others leave.
extern "C" __global__ void __launch_bounds__(256) scatter_add_rows(const float* __restrict__ x,
    const int* __restrict__ rows, const float* __restrict__ factors, float* target, int count, int dim) {
    const int own = blockIdx.y;
    const int row = rows[own];
    int before = 0;
    for (int j = threadIdx.x; j < own; j += 256) before |= rows[j] == row;
    if (__syncthreads_or(before)) return;
    const int c = blockIdx.x * 256 + threadIdx.x;
    if (c >= dim) return;
    float sum = target[(size_t)row * dim + c];
    for (int j = own; j < count; j++) {
        if (rows[j] == row) sum = fmaf(factors[j], x[(size_t)j * dim + c], sum);
    }
    target[(size_t)row * dim + c] = sum;
}

// Larger is better: the value, a NaN above everything, then the lower index. Zeros of both signs are equal. Neither 0 nor all ones.
static __device__ __forceinline__ unsigned long long rank_of(float v, int index) {
    unsigned int bits = __float_as_uint(v);
    if (bits == 0x80000000u) bits = 0;
    const unsigned int ascending = v != v ? 0xffffffffu : bits & 0x80000000u ? ~bits : bits | 0x80000000u;
    return (unsigned long long)ascending << 32 | (0x7fffffffu - (unsigned int)index);
}

// The k best of the first n elements of each row, in order: block (row). One pass over the row for each.
extern "C" __global__ void __launch_bounds__(1024) top_k(const float* __restrict__ x, int stride, int n, int k,
    float* __restrict__ values, int* __restrict__ indices) {
    __shared__ unsigned long long best[1024];
    const float* row = x + (size_t)blockIdx.x * stride;
    unsigned long long last = 0xffffffffffffffffull;
    for (int j = 0; j < k; j++) {
        unsigned long long mine = 0;
        for (int i = threadIdx.x; i < n; i += 1024) {
            const unsigned long long rank = rank_of(row[i], i);
            if (rank < last && rank > mine) mine = rank;
        }
        best[threadIdx.x] = mine;
        __syncthreads();
        for (int half = 512; half > 0; half >>= 1) {
            if (threadIdx.x < half && best[threadIdx.x + half] > best[threadIdx.x]) {
                best[threadIdx.x] = best[threadIdx.x + half];
            }
            __syncthreads();
        }
        last = best[0];
        __syncthreads();
        if (threadIdx.x == 0) {
            const int index = (int)(0x7fffffffu - (unsigned int)last);
            values[(size_t)blockIdx.x * k + j] = row[index];
            indices[(size_t)blockIdx.x * k + j] = index;
        }
    }
}
