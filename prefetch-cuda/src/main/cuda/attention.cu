// Attention with the online softmax (Milakov and Gimelshein 2018, arXiv 1805.02867), over pages of keys and values.
//
// A warp owns one query head of one row. The eight warps of a block take queries that share a key/value head and go through
// the positions in tiles of 32: the keys of a tile are brought to shared memory once, every lane scores one position, and the
// values are added position by position, each lane holding its own dimensions.
//
// Positions are cut into chunks at multiples of CHUNK, whatever the row; every chunk starts with a maximum and a sum of its
// own, which are merged in ascending order. So a row's result does not depend on the other rows of the call, nor on whether
// one block walks all chunks (many rows) or every chunk has a block (few rows) and `attention_combine` merges.
//
// KV is what the cache keeps keys and values as; sums are f32 whatever it is.
#include "common.cuh"

#ifdef SIMCUDA
#define DYNAMIC_SHARED(name) float* name = (float*)simcuda_dyn_shared()
#else
#define DYNAMIC_SHARED(name) extern __shared__ float name[]
#endif

#define CHUNK 256
#define TILE 32
#define WARPS 8
#define THREADS (WARPS * 32)

struct attention_shape {
    const unsigned long long* pages; // addresses of the pages from first_page on
    long long key_offset;            // bytes, of this layer in every page
    long long value_offset;
    int first_page;
    int page_tokens;
    int heads;
    int kv_heads;
    int key_dim;
    int value_dim;
    int window;   // 0 for all
    int position; // of the first row
    int count;    // rows
    float scale;
    float soft_cap; // 0 for none
};

// A type of the cache: blocks of ELEMENTS dimensions of a head in BYTES bytes; `at` reads one dimension of a row, and `put`,
// called by a whole warp, writes a row.
struct kv_f32 {
    static const int ELEMENTS = 1, BYTES = 4;
    static __device__ __forceinline__ float at(unsigned long long address, int i) { return ((const float*)address)[i]; }
    static __device__ __forceinline__ void put(const float* x, int dim, unsigned long long address, int lane) {
        for (int d = lane; d < dim; d += 32) ((float*)address)[d] = x[d];
    }
};

// Rounded to nearest even; what is beyond the range of a half becomes infinite.
struct kv_f16 {
    static const int ELEMENTS = 1, BYTES = 2;
    static __device__ __forceinline__ float at(unsigned long long address, int i) {
        return __half2float(((const __half*)address)[i]);
    }
    static __device__ __forceinline__ void put(const float* x, int dim, unsigned long long address, int lane) {
        for (int d = lane; d < dim; d += 32) ((__half*)address)[d] = __float2half_rn(x[d]);
    }
};

// half d; int8 q[32]: d = max|x| / 127, q = x * (1 / d) rounded half away from zero, bit for bit as the CPU backend and ggml's
// quantize_row_q8_0_ref. A NaN or infinity makes d one, and so the whole block NaN when it is read.
struct kv_q8_0 {
    static const int ELEMENTS = 32, BYTES = 34;
    static __device__ __forceinline__ float at(unsigned long long address, int i) {
        const unsigned char* block = (const unsigned char*)address + (i >> 5) * BYTES;
        return __half2float(*(const __half*)block) * (signed char)block[2 + (i & 31)];
    }
    static __device__ __forceinline__ void put(const float* x, int dim, unsigned long long address, int lane) {
        for (int b = 0; b < dim / 32; b++) {
            const float v = x[32 * b + lane];
            float maximum = warp_max(fabsf(v));
            // fmaxf forgets a NaN.
            if (__any_sync(FULL_WARP, v != v)) maximum = NAN;
            const float d = maximum / 127;
            const float scaled = v * (d == 0 ? 0 : 1 / d);
            unsigned char* block = (unsigned char*)address + b * BYTES;
            if (lane == 0) *(__half*)block = __float2half_rn(d);
            // Beyond the range, or not a number, only where d is not finite or so small that it was rounded to zero.
            block[2 + lane] = fabsf(scaled) < 128 ? (unsigned char)(int)roundf(scaled) : 0;
        }
    }
};

// Running maximum, sum and values of one query.
template <int PARTS> struct softmax_state {
    float maximum;
    float sum;
    float values[PARTS];

    __device__ __forceinline__ void clear() {
        maximum = -INFINITY;
        sum = 0;
#pragma unroll
        for (int i = 0; i < PARTS; i++) values[i] = 0;
    }

    __device__ __forceinline__ void merge(float other_maximum, float other_sum, const float* other) {
        if (!(other_sum > 0)) return;
        const float now = fmaxf(maximum, other_maximum);
        const float own = sum > 0 ? expf(maximum - now) : 0;
        const float its = expf(other_maximum - now);
        sum = fmaf(other_sum, its, own * sum);
#pragma unroll
        for (int i = 0; i < PARTS; i++) values[i] = fmaf(other[i], its, own * values[i]);
        maximum = now;
    }
};

template <class KV>
static __device__ __forceinline__ unsigned long long position_address(
    const attention_shape& s, int position, long long offset, int kv_head, int dim) {
    const int page = position / s.page_tokens;
    const long long row = (long long)kv_head * s.page_tokens + (position - page * s.page_tokens);
    return s.pages[page - s.first_page] + offset + row * (dim / KV::ELEMENTS * KV::BYTES);
}

// PARTS * 32 dimensions of values at most. With partials, block z handles one chunk and leaves {maximum, sum, values} there.
template <class KV, int PARTS>
static __device__ __forceinline__ void attention(const attention_shape& s, const float* __restrict__ q,
    const float* __restrict__ sinks, float* __restrict__ out, float* __restrict__ partials, int first_chunk) {
    DYNAMIC_SHARED(shared);
    const int lane = threadIdx.x & 31;
    const int warp = threadIdx.x >> 5;
    const int stride = s.key_dim + 1;
    float* query = shared + warp * s.key_dim;
    float* keys = shared + WARPS * s.key_dim;
    const int kv_head = blockIdx.y;
    const int group = s.heads / s.kv_heads;
    const int items = s.count * group;
    const int first_item = blockIdx.x * WARPS;
    const int item = first_item + warp;
    const bool active = item < items;
    const int row = (active ? item : items - 1) / group;
    const int head = kv_head * group + (active ? item : items - 1) % group;
    const int last_row = (first_item + WARPS < items ? first_item + WARPS - 1 : items - 1) / group;
    // what this warp sees, and what any warp of the block sees
    const int to = s.position + row + 1;
    const int from = s.window > 0 && to > s.window ? to - s.window : 0;
    const int block_to = s.position + last_row + 1;
    const int first_to = s.position + first_item / group + 1;
    const int block_from = s.window > 0 && first_to > s.window ? first_to - s.window : 0;

    for (int d = lane; d < s.key_dim; d += 32) query[d] = q[((size_t)row * s.heads + head) * s.key_dim + d];

    softmax_state<PARTS> total;
    total.clear();
    if (sinks && !partials) {
        // A score that comes first and has no value.
        total.maximum = sinks[head];
        total.sum = 1;
    }
    const int begin = partials ? first_chunk + (int)blockIdx.z : block_from / CHUNK;
    const int end = partials ? begin + 1 : (block_to - 1) / CHUNK + 1;
    for (int chunk = begin; chunk < end; chunk++) {
        softmax_state<PARTS> state;
        state.clear();
        for (int tile = chunk * CHUNK; tile < (chunk + 1) * CHUNK; tile += TILE) {
            if (tile + TILE <= block_from || tile >= block_to) continue; // the same for the whole block
            __syncthreads();
            for (int j = warp; j < TILE; j += WARPS) {
                const int position = tile + j;
                const bool inside = position >= block_from && position < block_to;
                const unsigned long long key =
                    inside ? position_address<KV>(s, position, s.key_offset, kv_head, s.key_dim) : 0;
                for (int d = lane; d < s.key_dim; d += 32) keys[j * stride + d] = inside ? KV::at(key, d) : 0;
            }
            __syncthreads();
            if (!active || tile + TILE <= from || tile >= to) continue; // the same for the whole warp
            const int position = tile + lane;
            const bool seen = position >= from && position < to;
            float s0 = 0, s1 = 0, s2 = 0, s3 = 0;
            const float* key = keys + lane * stride;
            int d = 0;
            for (; d + 4 <= s.key_dim; d += 4) {
                s0 = fmaf(query[d], key[d], s0);
                s1 = fmaf(query[d + 1], key[d + 1], s1);
                s2 = fmaf(query[d + 2], key[d + 2], s2);
                s3 = fmaf(query[d + 3], key[d + 3], s3);
            }
            for (; d < s.key_dim; d++) s0 = fmaf(query[d], key[d], s0);
            float score = ((s0 + s1) + (s2 + s3)) * s.scale;
            if (s.soft_cap > 0) score = s.soft_cap * tanhf(score / s.soft_cap);
            const float now = fmaxf(state.maximum, warp_max(seen ? score : -INFINITY));
            const float factor = state.sum > 0 ? expf(state.maximum - now) : 0;
            const float weight = seen ? expf(score - now) : 0;
            state.sum = fmaf(state.sum, factor, warp_sum(weight));
            state.maximum = now;
#pragma unroll
            for (int i = 0; i < PARTS; i++) state.values[i] *= factor;
            const unsigned long long value_address =
                seen ? position_address<KV>(s, position, s.value_offset, kv_head, s.value_dim) : 0;
            const int first = from > tile ? from - tile : 0;
            const int last = to < tile + TILE ? to - tile : TILE;
            for (int j = first; j < last; j++) {
                const float w = __shfl_sync(FULL_WARP, weight, j);
                const unsigned long long value = __shfl_sync(FULL_WARP, value_address, j);
#pragma unroll
                for (int i = 0; i < PARTS; i++) {
                    if (lane + 32 * i < s.value_dim) state.values[i] = fmaf(w, KV::at(value, lane + 32 * i), state.values[i]);
                }
            }
        }
        if (partials) {
            if (!active) return;
            float* partial = partials
                + (((size_t)row * s.heads + head) * gridDim.z + blockIdx.z) * (s.value_dim + 2);
            if (lane == 0) {
                partial[0] = state.maximum;
                partial[1] = state.sum;
            }
#pragma unroll
            for (int i = 0; i < PARTS; i++) {
                if (lane + 32 * i < s.value_dim) partial[2 + lane + 32 * i] = state.values[i];
            }
            return;
        }
        total.merge(state.maximum, state.sum, state.values);
    }
    if (!active) return;
    const float factor = 1 / total.sum;
    float* target = out + ((size_t)row * s.heads + head) * s.value_dim;
#pragma unroll
    for (int i = 0; i < PARTS; i++) {
        if (lane + 32 * i < s.value_dim) target[lane + 32 * i] = total.values[i] * factor;
    }
}

#define ARGUMENTS                                                                                               \
    attention_shape shape, const float *__restrict__ q, const float *__restrict__ sinks, float *__restrict__ out, \
        float *__restrict__ partials, int first_chunk
#define PASS shape, q, sinks, out, partials, first_chunk

// One warp per row and head: block (head, row).
extern "C" __global__ void __launch_bounds__(32) attention_combine(const float* __restrict__ partials,
    const float* __restrict__ sinks, float* __restrict__ out, int heads, int value_dim, int chunks) {
    const int lane = threadIdx.x;
    const int head = blockIdx.x;
    const size_t query = (size_t)blockIdx.y * heads + head;
    for (int first = 0; first < value_dim; first += 32) {
        const int d = first + lane;
        softmax_state<1> total;
        total.clear();
        if (sinks) {
            total.maximum = sinks[head];
            total.sum = 1;
        }
        for (int c = 0; c < chunks; c++) {
            const float* partial = partials + (query * chunks + c) * (value_dim + 2);
            const float value = d < value_dim ? partial[2 + d] : 0;
            total.merge(partial[0], partial[1], &value);
        }
        if (d < value_dim) out[query * value_dim + d] = total.values[0] * (1 / total.sum);
    }
}

// Puts keys and values of `count` rows to their positions: block (kv head, row) of two warps, one for each.
template <class KV>
static __device__ __forceinline__ void store(
    const attention_shape& s, const float* __restrict__ k, const float* __restrict__ v) {
    const int lane = threadIdx.x & 31;
    const int head = blockIdx.x;
    const int row = blockIdx.y;
    const int position = s.position + row;
    const size_t source = (size_t)row * s.kv_heads + head;
    if (threadIdx.x < 32) {
        KV::put(k + source * s.key_dim, s.key_dim, position_address<KV>(s, position, s.key_offset, head, s.key_dim), lane);
    } else {
        KV::put(v + source * s.value_dim, s.value_dim,
            position_address<KV>(s, position, s.value_offset, head, s.value_dim), lane);
    }
}

#define KERNELS(type)                                                                                        \
    extern "C" __global__ void __launch_bounds__(THREADS) attention_##type##_64(ARGUMENTS) {                 \
        attention<kv_##type, 2>(PASS);                                                                       \
    }                                                                                                        \
    extern "C" __global__ void __launch_bounds__(THREADS) attention_##type##_128(ARGUMENTS) {                \
        attention<kv_##type, 4>(PASS);                                                                       \
    }                                                                                                        \
    extern "C" __global__ void __launch_bounds__(THREADS) attention_##type##_256(ARGUMENTS) {                \
        attention<kv_##type, 8>(PASS);                                                                       \
    }                                                                                                        \
    extern "C" __global__ void __launch_bounds__(THREADS) attention_##type##_512(ARGUMENTS) {                \
        attention<kv_##type, 16>(PASS);                                                                      \
    }                                                                                                        \
    extern "C" __global__ void __launch_bounds__(64)                                                         \
    store_kv_##type(attention_shape shape, const float* __restrict__ k, const float* __restrict__ v) {       \
        store<kv_##type>(shape, k, v);                                                                       \
    }

KERNELS(f32)
KERNELS(f16)
KERNELS(q8_0)
