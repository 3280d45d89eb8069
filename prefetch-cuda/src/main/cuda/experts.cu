// The choice of experts, and what belongs to it besides the products, which are in matvec.cu. Picks are the numbers of the
// chosen experts, ascending within a row, and then their weights.
#include "common.cuh"

#ifdef SIMCUDA
#define DYNAMIC_SHARED(name) double* name = (double*)simcuda_dyn_shared()
#else
#define DYNAMIC_SHARED(name) extern __shared__ double name[]
#endif

// Experts without any weight do not give infinite ones.
#define LEAST_SUM 6.103515625e-05

// In the order of the lanes' distances: the result depends on the values alone.
static __device__ __forceinline__ double warp_sum(double v) {
    for (int offset = 16; offset > 0; offset >>= 1) v += __shfl_xor_sync(FULL_WARP, v, offset);
    return v;
}

// Of two experts, the one with the higher rank, then the lower number; -1 for none.
static __device__ __forceinline__ bool better(double rank, int expert, double than_rank, int than_expert) {
    if (expert < 0) return false;
    return than_expert < 0 || rank > than_rank || (rank == than_rank && expert < than_expert);
}

// The best expert of from .. to whose rank is not a NaN, found by the lanes together or, one after another, by each alone.
static __device__ __forceinline__ int best_alone(const double* ranks, int from, int to, int step) {
    int best = -1;
    for (int e = from; e < to; e += step) {
        if (ranks[e] == ranks[e] && better(ranks[e], e, best < 0 ? 0 : ranks[best], best)) best = e;
    }
    return best;
}

static __device__ __forceinline__ int best_together(const double* ranks, int experts, int lane) {
    int best = best_alone(ranks, lane, experts, 32);
    double rank = best < 0 ? 0 : ranks[best];
    for (int offset = 16; offset > 0; offset >>= 1) {
        const double other_rank = __shfl_xor_sync(FULL_WARP, rank, offset);
        const int other = __shfl_xor_sync(FULL_WARP, best, offset);
        if (better(other_rank, other, rank, best)) {
            rank = other_rank;
            best = other;
        }
    }
    return best;
}

// One warp per row: block (row). In f64, as the host chooses. Shared memory: probabilities, ranks, scores of groups, and the
// chosen ones in the order of their choice; what is taken has a NaN for its rank or score.
extern "C" __global__ void __launch_bounds__(32) choose_experts(const float* __restrict__ scores,
    const float* __restrict__ bias, int* __restrict__ chosen, float* __restrict__ weights, int experts, int used,
    int sigmoid, int normalised, float scale, int groups, int groups_used) {
    DYNAMIC_SHARED(probabilities);
    double* ranks = probabilities + experts;
    double* group_scores = ranks + experts;
    int* order = (int*)(group_scores + groups);
    const int lane = threadIdx.x;
    const float* row = scores + (size_t)blockIdx.x * experts;

    double most = -INFINITY;
    double total = 0;
    if (!sigmoid) {
        for (int e = lane; e < experts; e += 32) most = fmax(most, (double)row[e]);
        for (int offset = 16; offset > 0; offset >>= 1) most = fmax(most, __shfl_xor_sync(FULL_WARP, most, offset));
        for (int e = lane; e < experts; e += 32) total += exp(row[e] - most);
        total = warp_sum(total);
    }
    for (int e = lane; e < experts; e += 32) {
        const double p = sigmoid ? 1 / (1 + exp(-(double)row[e])) : exp(row[e] - most) / total;
        const double rank = p + (bias ? (double)bias[e] : 0.0);
        probabilities[e] = p;
        ranks[e] = rank == rank ? rank : -INFINITY;
    }
    __syncwarp();
    if (groups > 1) {
        const int size = experts / groups;
        for (int g = lane; g < groups; g += 32) {
            const int best = best_alone(ranks, g * size, (g + 1) * size, 1);
            double score = ranks[best];
            if (sigmoid && size > 1) {
                double second = -INFINITY;
                for (int e = g * size; e < (g + 1) * size; e++) {
                    if (e != best) second = fmax(second, ranks[e]);
                }
                score += second;
            }
            group_scores[g] = score;
        }
        __syncwarp();
        for (int i = 0; i < groups_used; i++) {
            const int best = best_together(group_scores, groups, lane);
            __syncwarp();
            if (lane == 0 && best >= 0) group_scores[best] = NAN;
            __syncwarp();
        }
        for (int e = lane; e < experts; e += 32) {
            if (group_scores[e / size] == group_scores[e / size]) ranks[e] = -INFINITY;
        }
        __syncwarp();
    }
    total = 0;
    for (int i = 0; i < used; i++) {
        const int best = best_together(ranks, experts, lane);
        total += probabilities[best];
        __syncwarp();
        if (lane == 0) {
            order[i] = best;
            ranks[best] = NAN;
        }
        __syncwarp();
    }
    // a NaN stays one
    const double divisor = !normalised ? 1 : total < LEAST_SUM ? LEAST_SUM : total;
    for (int i = lane; i < used; i += 32) {
        int place = 0;
        for (int j = 0; j < used; j++) place += order[j] < order[i];
        chosen[(size_t)blockIdx.x * used + place] = order[i];
        weights[(size_t)blockIdx.x * used + place] = (float)(probabilities[order[i]] / divisor * scale);
    }
}

// y[i] += the bias that pick i names: block (part of a row, i)
extern "C" __global__ void __launch_bounds__(256) add_picked_bias(
    float* y, const unsigned long long* __restrict__ biases, const int* __restrict__ picks, int cols) {
    const int c = blockIdx.x * 256 + threadIdx.x;
    if (c < cols) y[(size_t)blockIdx.y * cols + c] += ((const float*)biases[picks[blockIdx.y]])[c];
}

// target[i] += weights[i][j] * x[i][j] for j < used in order: block (part of a row, i)
extern "C" __global__ void __launch_bounds__(256) add_picked(
    const float* __restrict__ x, const float* __restrict__ weights, float* target, int used, int dim) {
    const int c = blockIdx.x * 256 + threadIdx.x;
    if (c >= dim) return;
    const size_t first = (size_t)blockIdx.y * used;
    float sum = target[(size_t)blockIdx.y * dim + c];
    for (int j = 0; j < used; j++) sum = fmaf(weights[first + j], x[(first + j) * dim + c], sum);
    target[(size_t)blockIdx.y * dim + c] = sum;
}

// target[i] += sigmoid(scores[i]) * x[i]: block (part of a row, i)
extern "C" __global__ void __launch_bounds__(256)
add_by_score(const float* __restrict__ x, const float* __restrict__ scores, float* target, int dim) {
    __shared__ float factor;
    if (threadIdx.x == 0) factor = (float)(1 / (1 + exp(-(double)scores[blockIdx.y])));
    __syncthreads();
    const int c = blockIdx.x * 256 + threadIdx.x;
    const size_t i = (size_t)blockIdx.y * dim + c;
    if (c < dim) target[i] = fmaf(factor, x[i], target[i]);
}
