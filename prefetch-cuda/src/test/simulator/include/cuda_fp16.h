// Stands in for CUDA's cuda_fp16.h: storage, conversions, and arithmetic that rounds after each operation.
#pragma once

static inline float simulator_half_to_float(unsigned short bits) {
#ifdef __F16C__
    typedef short halves __attribute__((vector_size(16)));
    return __builtin_ia32_vcvtph2ps((halves){(short)bits})[0];
#else
    unsigned sign = (bits & 0x8000u) << 16, exponent = (bits >> 10) & 31, mantissa = bits & 1023;
    if (exponent == 31) return __uint_as_float(sign | 0x7f800000u | (mantissa << 13));
    if (exponent) return __uint_as_float(sign | ((exponent + 112) << 23) | (mantissa << 13));
    return __uint_as_float(sign | __float_as_uint((float)mantissa * 5.9604644775390625e-8f));
#endif
}

// To the nearest, ties to even.
static inline unsigned short simulator_float_to_half(float value) {
    unsigned bits = __float_as_uint(value), sign = (bits >> 16) & 0x8000u, rounded;
    bits &= 0x7fffffffu;
    auto shift_to_even = [](unsigned number, int shift) {
        unsigned shifted = number >> shift, rest = number & ((1u << shift) - 1), half = 1u << (shift - 1);
        return shifted + (rest > half || (rest == half && (shifted & 1)));
    };
    if (bits >= 0x7f800000u) rounded = bits > 0x7f800000u ? 0x7fffu : 0x7c00u;
    else if (bits >= 0x477ff000u) rounded = 0x7c00u;
    else if (bits < 0x33000001u) rounded = 0;
    else if (bits < 0x38800000u) rounded = shift_to_even((bits & 0x7fffffu) | 0x800000u, 126 - (int)(bits >> 23));
    else rounded = shift_to_even(bits - 0x38000000u, 13);
    return (unsigned short)(sign | rounded);
}

struct __attribute__((aligned(2))) __half {
    unsigned short bits;
    __half() = default;
    __half(float value) : bits(simulator_float_to_half(value)) {}
    __half(double value) : bits(simulator_float_to_half((float)value)) {}
    __half(int value) : bits(simulator_float_to_half((float)value)) {}
    operator float() const { return simulator_half_to_float(bits); }
};
typedef __half half;
struct __attribute__((aligned(4))) __half2 {
    __half x, y;
    __half2() = default;
    __half2(__half x, __half y) : x(x), y(y) {}
};
typedef __half2 half2;

static inline __half __ushort_as_half(unsigned short bits) {
    __half h;
    h.bits = bits;
    return h;
}
static inline unsigned short __half_as_ushort(__half h) { return h.bits; }
static inline float __half2float(__half h) { return h; }
static inline __half __float2half(float f) { return __half(f); }
static inline __half __float2half_rn(float f) { return __half(f); }
static inline __half __int2half_rn(int i) { return __half((float)i); }
static inline __half2 __floats2half2_rn(float x, float y) { return __half2(__half(x), __half(y)); }
static inline __half2 __float22half2_rn(float2 f) { return __floats2half2_rn(f.x, f.y); }
static inline __half2 __float2half2_rn(float f) { return __floats2half2_rn(f, f); }
static inline float2 __half22float2(__half2 h) { return {(float)h.x, (float)h.y}; }
static inline __half2 __half2half2(__half h) { return __half2(h, h); }
static inline __half2 __halves2half2(__half x, __half y) { return __half2(x, y); }
static inline __half2 make_half2(__half x, __half y) { return __half2(x, y); }
static inline __half __low2half(__half2 h) { return h.x; }
static inline __half __high2half(__half2 h) { return h.y; }
static inline float __low2float(__half2 h) { return h.x; }
static inline float __high2float(__half2 h) { return h.y; }

#define SIMULATOR_HALF(NAME, OPERATOR)                                                                          \
    static inline __half NAME(__half a, __half b) { return __half((float)a OPERATOR(float) b); }                \
    static inline __half2 NAME##2(__half2 a, __half2 b) { return __half2(NAME(a.x, b.x), NAME(a.y, b.y)); }     \
    static inline __half operator OPERATOR(__half a, __half b) { return NAME(a, b); }                           \
    static inline __half2 operator OPERATOR(__half2 a, __half2 b) { return NAME##2(a, b); }
SIMULATOR_HALF(__hadd, +)
SIMULATOR_HALF(__hsub, -)
SIMULATOR_HALF(__hmul, *)
SIMULATOR_HALF(__hdiv, /)
static inline __half __hfma(__half a, __half b, __half c) { return __half(fmaf(a, b, c)); }
static inline __half2 __hfma2(__half2 a, __half2 b, __half2 c) {
    return __half2(__hfma(a.x, b.x, c.x), __hfma(a.y, b.y, c.y));
}
static inline __half __hmax(__half a, __half b) { return (float)a < (float)b ? b : a; }
static inline __half __hmin(__half a, __half b) { return (float)b < (float)a ? b : a; }
static inline __half2 __hmax2(__half2 a, __half2 b) { return __half2(__hmax(a.x, b.x), __hmax(a.y, b.y)); }
