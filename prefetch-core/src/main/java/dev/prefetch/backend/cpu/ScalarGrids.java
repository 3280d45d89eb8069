package dev.prefetch.backend.cpu;

import static dev.prefetch.backend.cpu.Memory.getHalf;
import static dev.prefetch.backend.cpu.Memory.getInt;
import static dev.prefetch.backend.cpu.Memory.getShort;
import static dev.prefetch.backend.cpu.Memory.getUnsignedByte;
import static dev.prefetch.backend.cpu.Memory.putFloat;

/**
 * The scalar definition of the formats below three and a half bits: super-blocks of 256 in which four or eight elements are
 * an index into a table of points (see {@link Grids}), or in which an element is -1, 0 or 1.
 */
final class ScalarGrids {

    private static final int ELEMENTS = 256;

    /** What the points of {@code IQ1_S} and {@code IQ1_M} are shifted by. */
    private static final float DELTA = 0.125f;

    private static final int[] POWERS_OF_3 = {1, 3, 9, 27, 81};

    private ScalarGrids() {}

    /**
     * {@code half d; 8 x {uint8 index[4]; uint32 rest}}: {@code rest} has four sign patterns of 7 bits and a scale of 4 bits:
     * {@code d * (scale + 1/2) / 4}.
     */
    static void iq2xxs(long in, int elements, long out) {
        for (int g = 0; g < elements / 32; g++) {
            long block = in + 66L * (g / 8);
            long group = block + 2 + 8 * (g % 8);
            int rest = getInt(group + 4);
            float d = getHalf(block) * (0.5f + (rest >>> 28)) * 0.25f;
            for (int l = 0; l < 4; l++) {
                eight(Grids.IQ2_XXS, getUnsignedByte(group + l), signs(rest >>> 7 * l), d, out + 128L * g + 32L * l);
            }
        }
    }

    /** {@code half d; uint16 q[32]; uint8 scales[8]}: 9 bits of index, 7 of signs; a scale of 4 bits for 16 elements. */
    static void iq2xs(long in, int elements, long out) {
        for (int g = 0; g < elements / 32; g++) {
            long block = in + 74L * (g / 8);
            int scales = getUnsignedByte(block + 66 + g % 8);
            for (int l = 0; l < 4; l++) {
                int q = getShort(block + 2 + 8 * (g % 8) + 2 * l) & 0xffff;
                float d = getHalf(block) * (0.5f + (scales >> l / 2 * 4 & 15)) * 0.25f;
                eight(Grids.IQ2_XS, q & 511, signs(q >> 9), d, out + 128L * g + 32L * l);
            }
        }
    }

    /** {@code half d; uint8 q[32], signs[32], high[8], scales[8]}: two more bits of the index in {@code high}. */
    static void iq2s(long in, int elements, long out) {
        for (int g = 0; g < elements / 32; g++) {
            long block = in + 82L * (g / 8);
            int scales = getUnsignedByte(block + 74 + g % 8);
            int high = getUnsignedByte(block + 66 + g % 8);
            for (int l = 0; l < 4; l++) {
                long q = block + 2 + 4 * (g % 8) + l;
                int index = getUnsignedByte(q) | (high >> 2 * l & 3) << 8;
                float d = getHalf(block) * (0.5f + (scales >> l / 2 * 4 & 15)) * 0.25f;
                eight(Grids.IQ2_S, index, getUnsignedByte(q + 32), d, out + 128L * g + 32L * l);
            }
        }
    }

    /** {@code half d; uint8 q[64]; uint32 rest[8]}: as {@code IQ2_XXS} with points of four elements. */
    static void iq3xxs(long in, int elements, long out) {
        for (int g = 0; g < elements / 32; g++) {
            long block = in + 98L * (g / 8);
            int rest = getInt(block + 66 + 4 * (g % 8));
            float d = getHalf(block) * (0.5f + (rest >>> 28)) * 0.5f;
            for (int l = 0; l < 8; l++) {
                int index = getUnsignedByte(block + 2 + 8 * (g % 8) + l);
                int signs = signs(rest >>> 7 * (l / 2)) >> l % 2 * 4;
                four(Grids.IQ3_XXS, index, signs, d, out + 128L * g + 16L * l);
            }
        }
    }

    /** {@code half d; uint8 q[64], high[8], signs[32], scales[4]}: {@code d * (2 * scale + 1)}. */
    static void iq3s(long in, int elements, long out) {
        for (int g = 0; g < elements / 32; g++) {
            long block = in + 110L * (g / 8);
            int scale = getUnsignedByte(block + 106 + g % 8 / 2) >> g % 2 * 4 & 15;
            int high = getUnsignedByte(block + 66 + g % 8);
            float d = getHalf(block) * (1 + 2 * scale);
            for (int l = 0; l < 8; l++) {
                int index = getUnsignedByte(block + 2 + 8 * (g % 8) + l) | (high >> l & 1) << 8;
                int signs = getUnsignedByte(block + 74 + 4 * (g % 8) + l / 2) >> l % 2 * 4;
                four(Grids.IQ3_S, index, signs, d, out + 128L * g + 16L * l);
            }
        }
    }

    /** {@code half d; uint8 q[32]; uint16 high[8]}: three more bits of each index, 3 of scale, the sign of the shift. */
    static void iq1s(long in, int elements, long out) {
        for (int g = 0; g < elements / 32; g++) {
            long block = in + 50L * (g / 8);
            int high = getShort(block + 34 + 2 * (g % 8)) & 0xffff;
            float d = getHalf(block) * (2 * (high >> 12 & 7) + 1);
            float delta = (high & 0x8000) == 0 ? DELTA : -DELTA;
            for (int l = 0; l < 4; l++) {
                int index = getUnsignedByte(block + 2 + 4 * (g % 8) + l) | (high >> 3 * l & 7) << 8;
                shifted(index, delta, d, out + 128L * g + 32L * l);
            }
        }
    }

    /**
     * {@code uint8 q[32], high[16]; uint16 scales[4]}: nibbles of {@code high} have three more bits of an index and the sign
     * of the shift; {@code scales} have a scale of 3 bits for each 16 elements, and above them a quarter of {@code d}.
     */
    static void iq1m(long in, int elements, long out) {
        for (int g = 0; g < elements / 32; g++) {
            long block = in + 56L * (g / 8);
            int scales = getShort(block + 48 + 2 * (g % 8 / 2)) & 0xffff;
            for (int l = 0; l < 4; l++) {
                int high = getUnsignedByte(block + 32 + 2 * (g % 8) + l / 2) >> l % 2 * 4;
                int index = getUnsignedByte(block + 4 * (g % 8) + l) | (high & 7) << 8;
                float d = iq1mScale(block + 48) * (2 * (scales >> 6 * (g % 2) + 3 * (l / 2) & 7) + 1);
                shifted(index, (high & 8) == 0 ? DELTA : -DELTA, d, out + 128L * g + 32L * l);
            }
        }
    }

    static float iq1mScale(long scales) {
        int bits = 0;
        for (int i = 0; i < 4; i++) {
            bits |= (getUnsignedByte(scales + 2 * i + 1) >> 4) << 4 * i;
        }
        return Float.float16ToFloat((short) bits);
    }

    /** {@code uint8 q[48], high[4]; half d}: five digits to the base 3 in a byte, as a fraction of 256; the last four in 4. */
    static void tq10(long in, int elements, long out) {
        for (int b = 0; b < elements / ELEMENTS; b++) {
            long block = in + 54L * b;
            long target = out + 4L * ELEMENTS * b;
            float d = getHalf(block + 52);
            ternaryDigits(block, 32, 5, d, target);
            ternaryDigits(block + 32, 16, 5, d, target + 4 * 160);
            ternaryDigits(block + 48, 4, 4, d, target + 4 * 240);
        }
    }

    static void ternaryDigits(long q, int bytes, int digits, float d, long out) {
        for (int n = 0; n < digits; n++) {
            for (int m = 0; m < bytes; m++) {
                int fraction = getUnsignedByte(q + m) * POWERS_OF_3[n] & 0xff;
                putFloat(out + 4L * (n * bytes + m), ((fraction * 3 >> 8) - 1) * d);
            }
        }
    }

    /** {@code uint8 q[64]; half d}: bits {@code 2s} of 32 consecutive bytes hold 32 consecutive elements, plus one. */
    static void tq20(long in, int elements, long out) {
        for (int b = 0; b < elements / ELEMENTS; b++) {
            long block = in + 66L * b;
            float d = getHalf(block + 64);
            for (int i = 0; i < ELEMENTS; i++) {
                int q = getUnsignedByte(block + i / 128 * 32 + i % 32) >> i % 128 / 32 * 2 & 3;
                putFloat(out + 4L * (b * ELEMENTS + i), (q - 1) * d);
            }
        }
    }

    /** Seven signs as they are stored, and an eighth that makes the number of negative elements even. */
    private static int signs(int bits) {
        int seven = bits & 127;
        return seven | (Integer.bitCount(seven) & 1) << 7;
    }

    private static void eight(byte[] grid, int index, int signs, float d, long out) {
        for (int j = 0; j < 8; j++) {
            float value = d * grid[8 * index + j];
            putFloat(out + 4L * j, (signs >> j & 1) == 0 ? value : -value);
        }
    }

    private static void four(byte[] grid, int index, int signs, float d, long out) {
        for (int j = 0; j < 4; j++) {
            float value = d * grid[4 * index + j];
            putFloat(out + 4L * j, (signs >> j & 1) == 0 ? value : -value);
        }
    }

    private static void shifted(int index, float delta, float d, long out) {
        for (int j = 0; j < 8; j++) {
            putFloat(out + 4L * j, d * (Grids.IQ1[8 * index + j] + delta));
        }
    }
}
