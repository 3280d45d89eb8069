// Warp matrix multiply, and two kernels that a macro makes.
#include <cuda_fp16.h>
#include <mma.h>

// c[16 x 16] = a[16 x inner] * b[16 x inner]^T; inner is a multiple of 16, one warp
extern "C" __global__ void multiply_16x16(const half* a, const half* b, float* c, int inner) {
    using namespace nvcuda;
    wmma::fragment<wmma::matrix_a, 16, 16, 16, half, wmma::row_major> left;
    wmma::fragment<wmma::matrix_b, 16, 16, 16, half, wmma::col_major> right;
    wmma::fragment<wmma::accumulator, 16, 16, 16, float> sum;
    wmma::fill_fragment(sum, 0.0f);
    for (int k = 0; k < inner; k += 16) {
        wmma::load_matrix_sync(left, a + k, inner);
        wmma::load_matrix_sync(right, b + k, inner);
        wmma::mma_sync(sum, left, right, sum);
    }
    wmma::store_matrix_sync(c, sum, 16, wmma::mem_row_major);
}

#define ELEMENTWISE(name, expression)                                 \
    extern "C" __global__ void name(float* x, int n) {                \
        int i = blockIdx.x * blockDim.x + threadIdx.x;                \
        if (i < n) x[i] = (expression);                               \
    }
ELEMENTWISE(negate, -x[i])
ELEMENTWISE(to_half_and_back, __half2float(__float2half_rn(x[i])))
