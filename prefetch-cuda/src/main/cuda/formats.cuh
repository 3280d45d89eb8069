// The block formats of GGUF, as the scalar kernels of the CPU backend define them.
//
// A format is a struct with
//   ELEMENTS, BYTES   of a block
//   MINIMUM           whether elements have an offset besides their scale
//   unit(row, u, q, scale, minimum)   the elements 8u .. 8u + 7 of a row: scale * q[i] - minimum
// Eight consecutive elements never cross a group with a scale of its own, and the 32 lanes of a warp that take consecutive
// units read consecutive bytes. Codes become floats without a conversion instruction, of which a multiprocessor has few: a
// byte put under the exponent of 2^23 is a float that is larger than the byte by exactly 2^23.
#pragma once
#include "common.cuh"

static __device__ __forceinline__ float half_at(const uint8_t* p) {
    return __half2float(__ushort_as_half(*(const uint16_t*)p));
}

// Eight bytes at an address of which only that alignment is known.
template <int ALIGNMENT> static __device__ __forceinline__ uint2 eight_bytes(const uint8_t* p) {
    uint2 v;
    if (ALIGNMENT >= 8) {
        v = *(const uint2*)p;
    } else if (ALIGNMENT >= 4) {
        v.x = ((const uint32_t*)p)[0];
        v.y = ((const uint32_t*)p)[1];
    } else if (ALIGNMENT >= 2) {
        const uint16_t* s = (const uint16_t*)p;
        v.x = s[0] | (uint32_t)s[1] << 16;
        v.y = s[2] | (uint32_t)s[3] << 16;
    } else {
        v.x = p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
        v.y = p[4] | (uint32_t)p[5] << 8 | (uint32_t)p[6] << 16 | (uint32_t)p[7] << 24;
    }
    return v;
}

// The four bytes of v, less zero.
static __device__ __forceinline__ void bytes_to_floats(uint32_t v, float zero, float* q) {
    for (int i = 0; i < 4; i++) {
        q[i] = __int_as_float((int)__byte_perm(v, 0x4B000000u, 0x7540u + i)) - (8388608.0f + zero);
    }
}

static __device__ __forceinline__ void codes_to_floats(uint32_t first, uint32_t second, float zero, float (&q)[8]) {
    bytes_to_floats(first, zero, q);
    bytes_to_floats(second, zero, q + 4);
}

// Four bits to bit 4 of each of four bytes.
static __device__ __forceinline__ uint32_t fifth_bits(uint32_t bits) {
    return (bits & 1) << 4 | (bits & 2) << 11 | (bits & 4) << 18 | (bits & 8) << 25;
}

// The bytes of a table of 16 that the low nibbles of the four bytes of v name, plus 128.
static __device__ __forceinline__ uint32_t look_up(uint32_t v, uint32_t t0, uint32_t t1, uint32_t t2, uint32_t t3) {
    const uint32_t packed = v | v >> 4;
    const uint32_t selector = ((packed & 0xffu) | (packed >> 8 & 0xff00u)) & 0x7777u;
    const uint32_t upper = (v >> 3 & 0x01010101u) * 0xffu;
    const uint32_t bytes = (__byte_perm(t0, t1, selector) & ~upper) | (__byte_perm(t2, t3, selector) & upper);
    return bytes ^ 0x80808080u;
}

// -127 -104 -83 -65 -49 -35 -22 -10 1 13 25 38 53 69 89 113
static __device__ __forceinline__ uint32_t non_linear(uint32_t v) {
    return look_up(v, 0xBFAD9881u, 0xF6EADDCFu, 0x26190D01u, 0x71594535u);
}

// 0 1 2 3 4 6 8 12 and their negatives: twice the 4-bit floats E2M1
static __device__ __forceinline__ uint32_t e2m1_doubled(uint32_t v) {
    return look_up(v, 0x03020100u, 0x0C080604u, 0xFDFEFF00u, 0xF4F8FAFCu);
}

// half d; uint8 q[16]
struct Q4_0 {
    static const int ELEMENTS = 32, BYTES = 18;
    static const bool MINIMUM = false;
    static __device__ __forceinline__ void unit(const uint8_t* row, int u, float (&q)[8], float& scale, float&) {
        const uint8_t* block = row + (size_t)(u >> 2) * BYTES;
        const int shift = (u >> 1 & 1) * 4;
        const uint2 v = eight_bytes<2>(block + 2 + (u & 1) * 8);
        codes_to_floats(v.x >> shift & 0x0f0f0f0fu, v.y >> shift & 0x0f0f0f0fu, 8, q);
        scale = half_at(block);
    }
};

// half d, m; uint8 q[16]
struct Q4_1 {
    static const int ELEMENTS = 32, BYTES = 20;
    static const bool MINIMUM = true;
    static __device__ __forceinline__ void unit(const uint8_t* row, int u, float (&q)[8], float& scale, float& minimum) {
        const uint8_t* block = row + (size_t)(u >> 2) * BYTES;
        const int shift = (u >> 1 & 1) * 4;
        const uint2 v = eight_bytes<4>(block + 4 + (u & 1) * 8);
        codes_to_floats(v.x >> shift & 0x0f0f0f0fu, v.y >> shift & 0x0f0f0f0fu, 0, q);
        scale = half_at(block);
        minimum = -half_at(block + 2);
    }
};

// half d; uint32 high; uint8 q[16]
struct Q5_0 {
    static const int ELEMENTS = 32, BYTES = 22;
    static const bool MINIMUM = false;
    static __device__ __forceinline__ void unit(const uint8_t* row, int u, float (&q)[8], float& scale, float&) {
        const uint8_t* block = row + (size_t)(u >> 2) * BYTES;
        const int shift = (u >> 1 & 1) * 4;
        const uint32_t high = block[2 + (u & 3)];
        const uint2 v = eight_bytes<2>(block + 6 + (u & 1) * 8);
        codes_to_floats((v.x >> shift & 0x0f0f0f0fu) | fifth_bits(high),
            (v.y >> shift & 0x0f0f0f0fu) | fifth_bits(high >> 4), 16, q);
        scale = half_at(block);
    }
};

// half d, m; uint32 high; uint8 q[16]
struct Q5_1 {
    static const int ELEMENTS = 32, BYTES = 24;
    static const bool MINIMUM = true;
    static __device__ __forceinline__ void unit(const uint8_t* row, int u, float (&q)[8], float& scale, float& minimum) {
        const uint8_t* block = row + (size_t)(u >> 2) * BYTES;
        const int shift = (u >> 1 & 1) * 4;
        const uint32_t high = block[4 + (u & 3)];
        const uint2 v = eight_bytes<8>(block + 8 + (u & 1) * 8);
        codes_to_floats((v.x >> shift & 0x0f0f0f0fu) | fifth_bits(high),
            (v.y >> shift & 0x0f0f0f0fu) | fifth_bits(high >> 4), 0, q);
        scale = half_at(block);
        minimum = -half_at(block + 2);
    }
};

// half d; int8 q[32]
struct Q8_0 {
    static const int ELEMENTS = 32, BYTES = 34;
    static const bool MINIMUM = false;
    static __device__ __forceinline__ void unit(const uint8_t* row, int u, float (&q)[8], float& scale, float&) {
        const uint8_t* block = row + (size_t)(u >> 2) * BYTES;
        const uint2 v = eight_bytes<2>(block + 2 + (u & 3) * 8);
        codes_to_floats(v.x ^ 0x80808080u, v.y ^ 0x80808080u, 128, q);
        scale = half_at(block);
    }
};

// half d; uint8 q[16]: codes of a table
struct IQ4_NL {
    static const int ELEMENTS = 32, BYTES = 18;
    static const bool MINIMUM = false;
    static __device__ __forceinline__ void unit(const uint8_t* row, int u, float (&q)[8], float& scale, float&) {
        const uint8_t* block = row + (size_t)(u >> 2) * BYTES;
        const int shift = (u >> 1 & 1) * 4;
        const uint2 v = eight_bytes<2>(block + 2 + (u & 1) * 8);
        codes_to_floats(non_linear(v.x >> shift & 0x0f0f0f0fu), non_linear(v.y >> shift & 0x0f0f0f0fu), 128, q);
        scale = half_at(block);
    }
};

// uint8 exponent; uint8 q[16]: codes of a table
struct MXFP4 {
    static const int ELEMENTS = 32, BYTES = 17;
    static const bool MINIMUM = false;
    static __device__ __forceinline__ void unit(const uint8_t* row, int u, float (&q)[8], float& scale, float&) {
        const uint8_t* block = row + (size_t)(u >> 2) * BYTES;
        const int shift = (u >> 1 & 1) * 4;
        const uint2 v = eight_bytes<1>(block + 1 + (u & 1) * 8);
        codes_to_floats(e2m1_doubled(v.x >> shift & 0x0f0f0f0fu), e2m1_doubled(v.y >> shift & 0x0f0f0f0fu), 128, q);
        // 2^(exponent - 128): half the scale, because the table holds doubled values; the two smallest are subnormal.
        const int exponent = block[0];
        scale = __int_as_float(exponent > 1 ? (exponent - 1) << 23 : 0x00200000 << exponent);
    }
};

// Six bits, packed with those of the minima: groups 4 to 7 are split over two bytes.
static __device__ __forceinline__ int six_bit_scale(const uint8_t* scales, int group) {
    return group < 4 ? scales[group] & 63 : (scales[group + 4] & 15) | scales[group - 4] >> 6 << 4;
}

static __device__ __forceinline__ int six_bit_minimum(const uint8_t* scales, int group) {
    return group < 4 ? scales[group + 4] & 63 : scales[group + 4] >> 4 | scales[group] >> 6 << 4;
}

// uint8 scales[16]; uint8 q[64]; half d, dmin
struct Q2_K {
    static const int ELEMENTS = 256, BYTES = 84;
    static const bool MINIMUM = true;
    static __device__ __forceinline__ void unit(const uint8_t* row, int u, float (&q)[8], float& scale, float& minimum) {
        const uint8_t* block = row + (size_t)(u >> 5) * BYTES;
        const int group = u >> 1 & 15;
        const int shift = (group & 7) >> 1 << 1;
        const uint2 v = eight_bytes<4>(block + 16 + (group >> 3) * 32 + (group & 1) * 16 + (u & 1) * 8);
        codes_to_floats(v.x >> shift & 0x03030303u, v.y >> shift & 0x03030303u, 0, q);
        scale = half_at(block + 80) * (float)(block[group] & 15);
        minimum = half_at(block + 82) * (float)(block[group] >> 4);
    }
};

// uint8 high[32]; uint8 q[64]; uint8 scales[12]; half d
struct Q3_K {
    static const int ELEMENTS = 256, BYTES = 110;
    static const bool MINIMUM = false;
    static __device__ __forceinline__ void unit(const uint8_t* row, int u, float (&q)[8], float& scale, float&) {
        const uint8_t* block = row + (size_t)(u >> 5) * BYTES;
        const int group = u >> 1 & 15;
        const int shift = (group & 7) >> 1 << 1;
        const int at = (group & 1) * 16 + (u & 1) * 8;
        const uint2 v = eight_bytes<2>(block + 32 + (group >> 3) * 32 + at);
        const uint2 high = eight_bytes<2>(block + at);
        const int bit = group >> 1;
        codes_to_floats((v.x >> shift & 0x03030303u) | (high.x >> bit & 0x01010101u) << 2,
            (v.y >> shift & 0x03030303u) | (high.y >> bit & 0x01010101u) << 2, 4, q);
        const int low = block[96 + (group & 7)] >> (group < 8 ? 0 : 4) & 15;
        const int upper = block[104 + (group & 3)] >> (group >> 2) * 2 & 3;
        scale = half_at(block + 108) * (float)((low | upper << 4) - 32);
    }
};

// half d, dmin; uint8 scales[12]; uint8 q[128]
struct Q4_K {
    static const int ELEMENTS = 256, BYTES = 144;
    static const bool MINIMUM = true;
    static __device__ __forceinline__ void unit(const uint8_t* row, int u, float (&q)[8], float& scale, float& minimum) {
        const uint8_t* block = row + (size_t)(u >> 5) * BYTES;
        const int group = u >> 2 & 7;
        const int shift = (group & 1) * 4;
        const uint2 v = eight_bytes<8>(block + 16 + (group >> 1) * 32 + (u & 3) * 8);
        codes_to_floats(v.x >> shift & 0x0f0f0f0fu, v.y >> shift & 0x0f0f0f0fu, 0, q);
        scale = half_at(block) * (float)six_bit_scale(block + 4, group);
        minimum = half_at(block + 2) * (float)six_bit_minimum(block + 4, group);
    }
};

// half d, dmin; uint8 scales[12]; uint8 high[32]; uint8 q[128]
struct Q5_K {
    static const int ELEMENTS = 256, BYTES = 176;
    static const bool MINIMUM = true;
    static __device__ __forceinline__ void unit(const uint8_t* row, int u, float (&q)[8], float& scale, float& minimum) {
        const uint8_t* block = row + (size_t)(u >> 5) * BYTES;
        const int group = u >> 2 & 7;
        const int shift = (group & 1) * 4;
        const uint2 v = eight_bytes<8>(block + 48 + (group >> 1) * 32 + (u & 3) * 8);
        const uint2 high = eight_bytes<8>(block + 16 + (u & 3) * 8);
        codes_to_floats((v.x >> shift & 0x0f0f0f0fu) | (high.x >> group & 0x01010101u) << 4,
            (v.y >> shift & 0x0f0f0f0fu) | (high.y >> group & 0x01010101u) << 4, 0, q);
        scale = half_at(block) * (float)six_bit_scale(block + 4, group);
        minimum = half_at(block + 2) * (float)six_bit_minimum(block + 4, group);
    }
};

// uint8 low[128]; uint8 high[64]; int8 scales[16]; half d
struct Q6_K {
    static const int ELEMENTS = 256, BYTES = 210;
    static const bool MINIMUM = false;
    static __device__ __forceinline__ void unit(const uint8_t* row, int u, float (&q)[8], float& scale, float&) {
        const uint8_t* block = row + (size_t)(u >> 5) * BYTES;
        const int in = u & 31;
        const int half = in >> 4;
        const int quarter = in >> 2 & 3;
        const int shift = (quarter >> 1) * 4;
        const uint2 v = eight_bytes<2>(block + half * 64 + (quarter & 1) * 32 + (in & 3) * 8);
        const uint2 high = eight_bytes<2>(block + 128 + half * 32 + (in & 3) * 8);
        codes_to_floats((v.x >> shift & 0x0f0f0f0fu) | (high.x >> quarter * 2 & 0x03030303u) << 4,
            (v.y >> shift & 0x0f0f0f0fu) | (high.y >> quarter * 2 & 0x03030303u) << 4, 32, q);
        scale = half_at(block + 208) * (float)(int8_t)block[192 + (in >> 1)];
    }
};

// half d; uint16 scalesHigh; uint8 scalesLow[4]; uint8 q[128]: codes of a table
struct IQ4_XS {
    static const int ELEMENTS = 256, BYTES = 136;
    static const bool MINIMUM = false;
    static __device__ __forceinline__ void unit(const uint8_t* row, int u, float (&q)[8], float& scale, float&) {
        const uint8_t* block = row + (size_t)(u >> 5) * BYTES;
        const int group = u >> 2 & 7;
        const int shift = (u >> 1 & 1) * 4;
        const uint2 v = eight_bytes<8>(block + 8 + group * 16 + (u & 1) * 8);
        codes_to_floats(non_linear(v.x >> shift & 0x0f0f0f0fu), non_linear(v.y >> shift & 0x0f0f0f0fu), 128, q);
        const int low = block[4 + (group >> 1)] >> (group & 1) * 4 & 15;
        const int high = *(const uint16_t*)(block + 2) >> 2 * group & 3;
        scale = half_at(block) * (float)((low | high << 4) - 32);
    }
};

// Formats without blocks have rows of any length; a unit beyond the end is filled with zeros, and only rows whose elements
// come in whole, aligned units are read in wide words.
struct F32 {
    static const int ELEMENTS = 1, BYTES = 4;
    static __device__ __forceinline__ void wide(const uint8_t* p, float (&q)[8]) {
        const float4 a = ((const float4*)p)[0];
        const float4 b = ((const float4*)p)[1];
        q[0] = a.x, q[1] = a.y, q[2] = a.z, q[3] = a.w, q[4] = b.x, q[5] = b.y, q[6] = b.z, q[7] = b.w;
    }
    static __device__ __forceinline__ float element(const uint8_t* p) { return *(const float*)p; }
};

struct F16 {
    static const int ELEMENTS = 1, BYTES = 2;
    static __device__ __forceinline__ void wide(const uint8_t* p, float (&q)[8]) {
        const uint4 v = *(const uint4*)p;
        const uint32_t words[4] = {v.x, v.y, v.z, v.w};
        for (int i = 0; i < 8; i++) {
            q[i] = __half2float(__ushort_as_half((unsigned short)(words[i >> 1] >> (i & 1) * 16)));
        }
    }
    static __device__ __forceinline__ float element(const uint8_t* p) { return half_at(p); }
};

struct BF16 {
    static const int ELEMENTS = 1, BYTES = 2;
    static __device__ __forceinline__ void wide(const uint8_t* p, float (&q)[8]) {
        const uint4 v = *(const uint4*)p;
        const uint32_t words[4] = {v.x, v.y, v.z, v.w};
        for (int i = 0; i < 8; i++) {
            q[i] = __int_as_float((int)(i & 1 ? words[i >> 1] & 0xffff0000u : words[i >> 1] << 16));
        }
    }
    static __device__ __forceinline__ float element(const uint8_t* p) {
        return __int_as_float((int)((uint32_t)*(const uint16_t*)p << 16));
    }
};

// The unit of any format: scale * q[i] - minimum. wide says that rows of a plain format may be read in wide words.
template <class F, bool BLOCKS = (F::ELEMENTS > 1)> struct Unit {
    static const bool MINIMUM = F::MINIMUM;
    static __device__ __forceinline__ size_t row_bytes(int cols) { return (size_t)(cols / F::ELEMENTS) * F::BYTES; }
    static __device__ __forceinline__ void load(
        const uint8_t* row, int u, int, bool, float (&q)[8], float& scale, float& minimum) {
        F::unit(row, u, q, scale, minimum);
    }
};

template <class F> struct Unit<F, false> {
    static const bool MINIMUM = false;
    static __device__ __forceinline__ size_t row_bytes(int cols) { return (size_t)cols * F::BYTES; }
    static __device__ __forceinline__ void load(
        const uint8_t* row, int u, int cols, bool wide, float (&q)[8], float& scale, float&) {
        scale = 1;
        if (wide) {
            F::wide(row + (size_t)u * 8 * F::BYTES, q);
            return;
        }
        for (int i = 0; i < 8; i++) {
            const int col = u * 8 + i;
            q[i] = col < cols ? F::element(row + (size_t)col * F::BYTES) : 0.0f;
        }
    }
};

// Eight activations; zeros beyond the end of the row.
static __device__ __forceinline__ void load_activations(const float* row, int u, int cols, bool wide, float (&x)[8]) {
    if (wide) {
        F32::wide((const uint8_t*)(row + (size_t)u * 8), x);
        return;
    }
    for (int i = 0; i < 8; i++) {
        x[i] = u * 8 + i < cols ? row[u * 8 + i] : 0.0f;
    }
}
