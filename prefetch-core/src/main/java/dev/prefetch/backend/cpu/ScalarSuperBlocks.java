package dev.prefetch.backend.cpu;

import static dev.prefetch.backend.cpu.Memory.getByte;
import static dev.prefetch.backend.cpu.Memory.getHalf;
import static dev.prefetch.backend.cpu.Memory.getShort;
import static dev.prefetch.backend.cpu.Memory.getUnsignedByte;
import static dev.prefetch.backend.cpu.Memory.putFloat;

/** The scalar definition of the super-block formats: 256 elements in groups of 16 or 32 with small scales of their own. */
final class ScalarSuperBlocks {

    private static final int ELEMENTS = 256;

    private ScalarSuperBlocks() {}

    /**
     * {@code uint8 scales[16]; uint8 q[64]; half d, dmin}: 16 groups of 16; low nibble of a group's byte is the scale, high
     * nibble the minimum. Bits {@code 2s} of 32 consecutive bytes hold the groups {@code 2s} and {@code 2s + 1} of a half.
     */
    static void q2k(long in, int elements, long out) {
        for (int b = 0; b < elements / ELEMENTS; b++) {
            long block = in + 84L * b;
            float d = getHalf(block + 80);
            float dmin = getHalf(block + 82);
            for (int g = 0; g < 16; g++) {
                int packed = getUnsignedByte(block + g);
                float scale = d * (packed & 15);
                float minimum = dmin * (packed >> 4);
                int shift = g % 8 / 2 * 2;
                long q = block + 16 + g / 8 * 32 + g % 2 * 16;
                for (int i = 0; i < 16; i++) {
                    float value = scale * (getUnsignedByte(q + i) >> shift & 3) - minimum;
                    putFloat(out + 4L * (b * ELEMENTS + g * 16 + i), value);
                }
            }
        }
    }

    /**
     * {@code uint8 high[32]; uint8 q[64]; uint8 scales[12]; half d}: as {@code Q2_K} without minima; a third bit, which
     * subtracts 4 when clear, is bit {@code i / 32} of {@code high[i % 32]}; scales are 6-bit with zero point 32.
     */
    static void q3k(long in, int elements, long out) {
        for (int b = 0; b < elements / ELEMENTS; b++) {
            long block = in + 110L * b;
            float d = getHalf(block + 108);
            for (int g = 0; g < 16; g++) {
                float scale = d * (q3kScale(block + 96, g) - 32);
                int shift = g % 8 / 2 * 2;
                long q = block + 32 + g / 8 * 32 + g % 2 * 16;
                for (int i = 0; i < 16; i++) {
                    int low = getUnsignedByte(q + i) >> shift & 3;
                    int high = getUnsignedByte(block + g % 2 * 16 + i) >> g / 2 & 1;
                    putFloat(out + 4L * (b * ELEMENTS + g * 16 + i), scale * (low - 4 + 4 * high));
                }
            }
        }
    }

    /** Low four bits of the 16 scales in the nibbles of 8 bytes, then their upper two bits in the last 4 bytes. */
    private static int q3kScale(long scales, int group) {
        int low = getUnsignedByte(scales + group % 8) >> (group < 8 ? 0 : 4) & 15;
        int high = getUnsignedByte(scales + 8 + group % 4) >> group / 4 * 2 & 3;
        return low | high << 4;
    }

    /** {@code half d, dmin; uint8 scales[12]; uint8 q[128]}: 8 groups of 32, {@code d * scale * q - dmin * minimum}. */
    static void q4k(long in, int elements, long out) {
        for (int b = 0; b < elements / ELEMENTS; b++) {
            long block = in + 144L * b;
            for (int g = 0; g < 8; g++) {
                float scale = getHalf(block) * sixBitScale(block + 4, g);
                float minimum = getHalf(block + 2) * sixBitMinimum(block + 4, g);
                for (int i = 0; i < 32; i++) {
                    int q = getUnsignedByte(block + 16 + g / 2 * 32 + i) >> g % 2 * 4 & 15;
                    putFloat(out + 4L * (b * ELEMENTS + g * 32 + i), scale * q - minimum);
                }
            }
        }
    }

    /** As {@code Q4_K} with {@code uint8 high[32]} before the nibbles: a fifth bit, bit {@code g} for group {@code g}. */
    static void q5k(long in, int elements, long out) {
        for (int b = 0; b < elements / ELEMENTS; b++) {
            long block = in + 176L * b;
            for (int g = 0; g < 8; g++) {
                float scale = getHalf(block) * sixBitScale(block + 4, g);
                float minimum = getHalf(block + 2) * sixBitMinimum(block + 4, g);
                for (int i = 0; i < 32; i++) {
                    int low = getUnsignedByte(block + 48 + g / 2 * 32 + i) >> g % 2 * 4 & 15;
                    int high = getUnsignedByte(block + 16 + i) >> g & 1;
                    putFloat(out + 4L * (b * ELEMENTS + g * 32 + i), scale * (low | high << 4) - minimum);
                }
            }
        }
    }

    /** Scale of a group: 6 bits, for groups 4 to 7 split over two bytes. */
    static int sixBitScale(long scales, int group) {
        if (group < 4) {
            return getByte(scales + group) & 63;
        }
        return getByte(scales + group + 4) & 15 | getUnsignedByte(scales + group - 4) >> 6 << 4;
    }

    /** Minimum of a group, packed as the scales are. */
    static int sixBitMinimum(long scales, int group) {
        if (group < 4) {
            return getByte(scales + group + 4) & 63;
        }
        return getUnsignedByte(scales + group + 4) >> 4 | getUnsignedByte(scales + group) >> 6 << 4;
    }

    /**
     * {@code uint8 low[128]; uint8 high[64]; int8 scales[16]; half d}: 6-bit elements with zero point 32 in groups of 16.
     * Of each half of 128, nibbles of {@code low[0..63]} hold quarters 0, 1 (low) and 2, 3 (high), and {@code high[0..31]}
     * two bits for each quarter.
     */
    static void q6k(long in, int elements, long out) {
        for (int b = 0; b < elements / ELEMENTS; b++) {
            long block = in + 210L * b;
            float d = getHalf(block + 208);
            for (int i = 0; i < ELEMENTS; i++) {
                int half = i / 128;
                int quarter = i % 128 / 32;
                int low = getUnsignedByte(block + half * 64 + quarter % 2 * 32 + i % 32) >> quarter / 2 * 4 & 15;
                int high = getUnsignedByte(block + 128 + half * 32 + i % 32) >> quarter * 2 & 3;
                float scale = d * getByte(block + 192 + i / 16);
                putFloat(out + 4L * (b * ELEMENTS + i), scale * ((low | high << 4) - 32));
            }
        }
    }

    /**
     * {@code half d; uint16 scalesHigh; uint8 scalesLow[4]; uint8 q[128]}: 8 groups of 32 codes of the non-linear table with
     * 6-bit scales, zero point 32.
     */
    static void iq4xs(long in, int elements, long out) {
        for (int b = 0; b < elements / ELEMENTS; b++) {
            long block = in + 136L * b;
            float d = getHalf(block);
            for (int g = 0; g < 8; g++) {
                int low = getUnsignedByte(block + 4 + g / 2) >> g % 2 * 4 & 15;
                int high = getShort(block + 2) >> 2 * g & 3;
                ScalarDequantizer.nonLinearCodes(
                        block + 8 + 16L * g, d * ((low | high << 4) - 32), out + 4L * (b * ELEMENTS + g * 32));
            }
        }
    }
}
