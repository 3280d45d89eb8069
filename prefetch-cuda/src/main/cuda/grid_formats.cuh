// The formats below three and a half bits: super-blocks of 256 elements in which four or eight are an index into a table of
// points, or in which an element is -1, 0 or 1.
//
// A point is a word of codes, as in the file, not of bytes: the lanes of a warp look up 32 different ones, which costs as
// many accesses as they touch lines of 128 bytes, so a table is kept as small as it can be (constant memory would serve one
// address at a time, and a copy in shared memory would be larger than the rows a block reads). A byte permutation turns
// codes into values: the word is its selector, after codes of two bits have been spread.
#pragma once
#include "formats.cuh"
#include "grids.cuh"

// Four bytes at an even address.
static __device__ __forceinline__ uint32_t four_bytes(const uint8_t* p) {
    const uint16_t* s = (const uint16_t*)p;
    return s[0] | (uint32_t)s[1] << 16;
}

// Eight codes of two bits to eight of four.
static __device__ __forceinline__ uint32_t nibbles(uint32_t codes) {
    codes = (codes | codes << 8) & 0x00ff00ffu;
    codes = (codes | codes << 4) & 0x0f0f0f0fu;
    return (codes | codes << 2) & 0x33333333u;
}

// Seven signs as they are stored, and an eighth that makes the number of negative elements even.
static __device__ __forceinline__ uint32_t even_signs(uint32_t bits) {
    const uint32_t seven = bits & 127;
    return seven | (__popc(seven) & 1) << 7;
}

// Four bytes between 1 and 127, negative where a bit of signs is set, plus 128.
static __device__ __forceinline__ uint32_t signed_bytes(uint32_t v, uint32_t signs) {
    const uint32_t negative = (signs & 15) * 0x00204081u & 0x01010101u;
    return ((v ^ negative * 0xffu) + negative) ^ 0x80808080u;
}

// Two words of four magnitudes each, with eight signs.
static __device__ __forceinline__ void signed_floats(uint32_t first, uint32_t second, uint32_t signs, float (&q)[8]) {
    codes_to_floats(signed_bytes(first, signs), signed_bytes(second, signs >> 4), 128, q);
}

// A point of eight magnitudes: 8, 25 or 43.
static __device__ __forceinline__ void point_of_eight(uint32_t point, uint32_t signs, float (&q)[8]) {
    const uint32_t selector = nibbles(point);
    const uint32_t values = 0x002b1908u;
    signed_floats(__byte_perm(values, 0, selector), __byte_perm(values, 0, selector >> 16), signs, q);
}

// half d; 8 x {uint8 index[4]; uint32 rest}: four sign patterns of 7 bits, and a scale of 4 bits
struct IQ2_XXS {
    static const int ELEMENTS = 256, BYTES = 66;
    static const bool MINIMUM = false;
    static __device__ __forceinline__ void unit(const uint8_t* row, int u, float (&q)[8], float& scale, float&) {
        const uint8_t* block = row + (size_t)(u >> 5) * BYTES;
        const uint8_t* group = block + 2 + (u >> 2 & 7) * 8;
        const uint32_t rest = four_bytes(group + 4);
        point_of_eight(__ldg(iq2_xxs_points + group[u & 3]), even_signs(rest >> 7 * (u & 3)), q);
        scale = half_at(block) * (0.125f + 0.25f * (float)(int)(rest >> 28));
    }
};

// half d; uint16 q[32]: 9 bits of index, 7 of signs; uint8 scales[8]: 4 bits for 16 elements
struct IQ2_XS {
    static const int ELEMENTS = 256, BYTES = 74;
    static const bool MINIMUM = false;
    static __device__ __forceinline__ void unit(const uint8_t* row, int u, float (&q)[8], float& scale, float&) {
        const uint8_t* block = row + (size_t)(u >> 5) * BYTES;
        const uint32_t code = *(const uint16_t*)(block + 2 + (u & 31) * 2);
        point_of_eight(__ldg(iq2_xs_points + (code & 511)), even_signs(code >> 9), q);
        const int group_scale = block[66 + (u >> 2 & 7)] >> (u >> 1 & 1) * 4 & 15;
        scale = half_at(block) * (0.125f + 0.25f * (float)group_scale);
    }
};

// half d; uint8 q[32], signs[32], high[8], scales[8]: two more bits of an index in high
struct IQ2_S {
    static const int ELEMENTS = 256, BYTES = 82;
    static const bool MINIMUM = false;
    static __device__ __forceinline__ void unit(const uint8_t* row, int u, float (&q)[8], float& scale, float&) {
        const uint8_t* block = row + (size_t)(u >> 5) * BYTES;
        const int group = u >> 2 & 7;
        const int high = block[66 + group] >> (u & 3) * 2 & 3;
        point_of_eight(__ldg(iq2_s_points + (block[2 + (u & 31)] | high << 8)), block[34 + (u & 31)], q);
        const int group_scale = block[74 + group] >> (u >> 1 & 1) * 4 & 15;
        scale = half_at(block) * (0.125f + 0.25f * (float)group_scale);
    }
};

// half d; uint8 q[64]; uint32 rest[8]: as IQ2_XXS with points of four elements
struct IQ3_XXS {
    static const int ELEMENTS = 256, BYTES = 98;
    static const bool MINIMUM = false;
    static __device__ __forceinline__ uint32_t magnitudes(int index) {
        return __byte_perm(0x1c140c04u, 0x3e342c24u, __ldg(iq3_xxs_points + index));
    }
    static __device__ __forceinline__ void unit(const uint8_t* row, int u, float (&q)[8], float& scale, float&) {
        const uint8_t* block = row + (size_t)(u >> 5) * BYTES;
        const uint32_t rest = four_bytes(block + 66 + (u >> 2 & 7) * 4);
        const int pair = *(const uint16_t*)(block + 2 + (u & 31) * 2);
        signed_floats(magnitudes(pair & 255), magnitudes(pair >> 8), even_signs(rest >> 7 * (u & 3)), q);
        scale = half_at(block) * (0.25f + 0.5f * (float)(int)(rest >> 28));
    }
};

// half d; uint8 q[64], high[8], signs[32], scales[4]: one more bit of an index in high
struct IQ3_S {
    static const int ELEMENTS = 256, BYTES = 110;
    static const bool MINIMUM = false;
    static __device__ __forceinline__ uint32_t magnitudes(int index) {
        return __byte_perm(0x07050301u, 0x0f0d0b09u, __ldg(iq3_s_points + index));
    }
    static __device__ __forceinline__ void unit(const uint8_t* row, int u, float (&q)[8], float& scale, float&) {
        const uint8_t* block = row + (size_t)(u >> 5) * BYTES;
        const int group = u >> 2 & 7;
        const int pair = *(const uint16_t*)(block + 2 + (u & 31) * 2);
        const int high = block[66 + group] >> (u & 3) * 2;
        signed_floats(magnitudes((pair & 255) | (high & 1) << 8), magnitudes(pair >> 8 | (high & 2) << 7),
            block[74 + (u & 31)], q);
        const int group_scale = block[106 + (group >> 1)] >> (group & 1) * 4 & 15;
        scale = half_at(block) * (float)(2 * group_scale + 1);
    }
};

// A point of eight elements -1, 0 or 1, shifted by 1/8 or -1/8: eight times that is whole.
static __device__ __forceinline__ void shifted_point(int index, bool down, float (&q)[8]) {
    const uint32_t selector = nibbles(__ldg(iq1_points + index));
    const uint32_t values = down ? 0x00877f77u : 0x00898179u;
    codes_to_floats(__byte_perm(values, 0, selector), __byte_perm(values, 0, selector >> 16), 128, q);
}

// half d; uint8 q[32]; uint16 high[8]: three more bits of each index, 3 of scale, the direction of the shift
struct IQ1_S {
    static const int ELEMENTS = 256, BYTES = 50;
    static const bool MINIMUM = false;
    static __device__ __forceinline__ void unit(const uint8_t* row, int u, float (&q)[8], float& scale, float&) {
        const uint8_t* block = row + (size_t)(u >> 5) * BYTES;
        const int high = *(const uint16_t*)(block + 34 + (u >> 2 & 7) * 2);
        shifted_point(block[2 + (u & 31)] | (high >> (u & 3) * 3 & 7) << 8, high >> 15, q);
        scale = half_at(block) * (float)(2 * (high >> 12 & 7) + 1) * 0.125f;
    }
};

// uint8 q[32], high[16]; uint16 scales[4]: nibbles of high have three more bits of an index and the direction of the shift;
// scales have 3 bits for each 16 elements, and above them a quarter of half d
struct IQ1_M {
    static const int ELEMENTS = 256, BYTES = 56;
    static const bool MINIMUM = false;
    static __device__ __forceinline__ void unit(const uint8_t* row, int u, float (&q)[8], float& scale, float&) {
        const uint8_t* block = row + (size_t)(u >> 5) * BYTES;
        const int high = block[32 + (u >> 1 & 15)] >> (u & 1) * 4;
        shifted_point(block[u & 31] | (high & 7) << 8, high & 8, q);
        const uint2 scales = eight_bytes<8>(block + 48);
        const uint32_t d = (scales.x >> 12 & 0xfu) | (scales.x >> 24 & 0xf0u) | (scales.y >> 4 & 0xf00u)
            | (scales.y >> 16 & 0xf000u);
        const uint32_t word = (u & 16 ? scales.y : scales.x) >> (u >> 3 & 1) * 16;
        const int group_scale = word >> (u >> 1 & 3) * 3 & 7;
        scale = __half2float(__ushort_as_half((unsigned short)d)) * (float)(2 * group_scale + 1) * 0.125f;
    }
};

// uint8 q[48], high[4]; half d: five digits to the base 3 in a byte, as a fraction of 256; four in the last four bytes
struct TQ1_0 {
    static const int ELEMENTS = 256, BYTES = 54;
    static const bool MINIMUM = false;
    // Digit n of each of four bytes: the leading one of the fraction times 3^n, two bytes to a product.
    static __device__ __forceinline__ uint32_t digits(uint32_t v, int n) {
        const uint32_t power = __byte_perm(0x1b090301u, 81u, 0x5550u + n);
        const uint32_t even = (v & 0x00ff00ffu) * power & 0x00ff00ffu;
        const uint32_t odd = (v >> 8 & 0x00ff00ffu) * power & 0x00ff00ffu;
        return (even * 3 >> 8 & 0x00030003u) | (odd * 3 & 0x03000300u);
    }
    static __device__ __forceinline__ void unit(const uint8_t* row, int u, float (&q)[8], float& scale, float&) {
        const uint8_t* block = row + (size_t)(u >> 5) * BYTES;
        // 20 units of 32 bytes, 10 of 16, and 2 that take two digits of the last four: a warp has them all, so no branches.
        const int in = u & 31;
        const bool last = in >= 30;
        const int digit = in < 20 ? in >> 2 : last ? (in - 30) * 2 : (in - 20) >> 1;
        const uint8_t* bytes = block + (in < 20 ? (in & 3) * 8 : last ? 48 : 32 + (in & 1) * 8);
        const uint32_t first = four_bytes(bytes);
        const uint32_t second = four_bytes(bytes + (last ? 0 : 4));
        codes_to_floats(digits(first, digit), digits(second, digit + last), 1, q);
        scale = half_at(block + 52);
    }
};

// uint8 q[64]; half d: bits 2s of 32 consecutive bytes hold 32 consecutive elements, plus one
struct TQ2_0 {
    static const int ELEMENTS = 256, BYTES = 66;
    static const bool MINIMUM = false;
    static __device__ __forceinline__ void unit(const uint8_t* row, int u, float (&q)[8], float& scale, float&) {
        const uint8_t* block = row + (size_t)(u >> 5) * BYTES;
        const int shift = (u >> 2 & 3) * 2;
        const uint2 v = eight_bytes<2>(block + (u >> 4 & 1) * 32 + (u & 3) * 8);
        codes_to_floats(v.x >> shift & 0x03030303u, v.y >> shift & 0x03030303u, 1, q);
        scale = half_at(block + 64);
    }
};
