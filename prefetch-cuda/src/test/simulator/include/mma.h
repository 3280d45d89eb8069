// Stands in for CUDA's mma.h: warp matrix multiply (nvcuda::wmma). A fragment is spread over the 32 lanes in an order
// that is this header's own, as it is unspecified on a GPU. Products are summed in f32, in the order of k.
#pragma once

namespace nvcuda {
namespace wmma {

struct matrix_a;
struct matrix_b;
struct accumulator;
struct row_major;
struct col_major;
namespace precision {
struct tf32;
}
enum layout_t { mem_row_major, mem_col_major };

template <class Use, int M, int N, int K> struct simulator_shape;
template <int M, int N, int K> struct simulator_shape<matrix_a, M, N, K> {
    static constexpr int rows = M, columns = K;
};
template <int M, int N, int K> struct simulator_shape<matrix_b, M, N, K> {
    static constexpr int rows = K, columns = N;
};
template <int M, int N, int K> struct simulator_shape<accumulator, M, N, K> {
    static constexpr int rows = M, columns = N;
};
template <class T> struct simulator_storage {
    typedef T type;
};
template <> struct simulator_storage<precision::tf32> {
    typedef float type;
};
// What products are summed in.
template <class T> struct simulator_sum {
    typedef float type;
};
template <> struct simulator_sum<int> {
    typedef int type;
};
template <> struct simulator_sum<double> {
    typedef double type;
};
template <class Layout> struct simulator_layout;
template <> struct simulator_layout<row_major> {
    static constexpr layout_t value = mem_row_major;
};
template <> struct simulator_layout<col_major> {
    static constexpr layout_t value = mem_col_major;
};

template <class Use, int M, int N, int K, class T, class Layout = void>
struct fragment : simulator_shape<Use, M, N, K> {
    typedef typename simulator_storage<T>::type element_type;
    static constexpr int num_elements = fragment::rows * fragment::columns / 32;
    element_type x[num_elements];
};

static inline int simulator_lane() {
    const simulator_thread* self = simulator_self();
    unsigned linear = self->thread_index.x
        + self->block_dimension.x * (self->thread_index.y + self->block_dimension.y * self->thread_index.z);
    return (int)(linear & 31);
}

template <class Fragment, class Element>
static inline void simulator_visit(Element* memory, unsigned stride, layout_t layout, Fragment& f, bool store) {
    const int first = simulator_lane() * Fragment::num_elements;
    for (int i = 0; i < Fragment::num_elements; i++) {
        int row = (first + i) / Fragment::columns, column = (first + i) % Fragment::columns;
        Element& element = memory[layout == mem_row_major ? (size_t)row * stride + column : (size_t)column * stride + row];
        if (store) element = f.x[i];
        else f.x[i] = element;
    }
}

template <class Use, int M, int N, int K, class T, class Layout, class Element>
static inline void load_matrix_sync(fragment<Use, M, N, K, T, Layout>& f, const Element* memory, unsigned stride) {
    __syncwarp();
    simulator_visit(const_cast<Element*>(memory), stride, simulator_layout<Layout>::value, f, false);
}
template <int M, int N, int K, class T, class Element>
static inline void load_matrix_sync(
    fragment<accumulator, M, N, K, T>& f, const Element* memory, unsigned stride, layout_t layout) {
    __syncwarp();
    simulator_visit(const_cast<Element*>(memory), stride, layout, f, false);
}
template <int M, int N, int K, class T, class Element>
static inline void store_matrix_sync(
    Element* memory, const fragment<accumulator, M, N, K, T>& f, unsigned stride, layout_t layout) {
    __syncwarp();
    simulator_visit(memory, stride, layout, const_cast<fragment<accumulator, M, N, K, T>&>(f), true);
    __syncwarp();
}

template <class Fragment, class V>
static inline void fill_fragment(Fragment& f, const V& value) {
    for (int i = 0; i < Fragment::num_elements; i++) f.x[i] = value;
}

static inline float __float_to_tf32(float value) {
    unsigned bits = __float_as_uint(value);
    return __uint_as_float((bits + 0xfffu + ((bits >> 13) & 1)) & ~0x1fffu);
}

template <class A, class B, class C, class D>
struct simulator_product {
    const A* a;
    const B* b;
    const C* c;
    D* d;
    static constexpr int rows = A::rows, columns = B::columns, inner = A::columns;

    SIMULATOR_UNTRACKED static void multiply(void** lanes) {
        typedef typename D::element_type sum_type;
        typedef typename simulator_sum<sum_type>::type wide;
        static thread_local wide left[rows * inner], right[inner * columns], sum[rows * columns];
        auto lane = [&](int i) { return (simulator_product*)lanes[i]; };
        for (int i = 0; i < 32; i++) {
            for (int e = 0; e < A::num_elements; e++) left[i * A::num_elements + e] = lane(i)->a->x[e];
            for (int e = 0; e < B::num_elements; e++) right[i * B::num_elements + e] = lane(i)->b->x[e];
            for (int e = 0; e < C::num_elements; e++) sum[i * C::num_elements + e] = lane(i)->c->x[e];
        }
        for (int m = 0; m < rows; m++)
            for (int k = 0; k < inner; k++)
                for (int n = 0; n < columns; n++) sum[m * columns + n] += left[m * inner + k] * right[k * columns + n];
        for (int i = 0; i < 32; i++)
            for (int e = 0; e < D::num_elements; e++) lane(i)->d->x[e] = (sum_type)sum[i * D::num_elements + e];
    }
};

template <int M, int N, int K, class TA, class LA, class TB, class LB, class TC, class TD>
static inline void mma_sync(fragment<accumulator, M, N, K, TD>& d, const fragment<matrix_a, M, N, K, TA, LA>& a,
    const fragment<matrix_b, M, N, K, TB, LB>& b, const fragment<accumulator, M, N, K, TC>& c) {
    typedef simulator_product<fragment<matrix_a, M, N, K, TA, LA>, fragment<matrix_b, M, N, K, TB, LB>,
        fragment<accumulator, M, N, K, TC>, fragment<accumulator, M, N, K, TD>>
        product;
    product lane = {&a, &b, &c, &d};
    simulator_together("mma_sync", product::multiply, &lane);
}

}  // namespace wmma
}  // namespace nvcuda
