package dev.prefetch.backend.cpu;

import static dev.prefetch.backend.cpu.Memory.getByte;
import static dev.prefetch.backend.cpu.Memory.getHalf;
import static dev.prefetch.backend.cpu.Memory.getInt;
import static dev.prefetch.backend.cpu.Memory.getUnsignedByte;
import static dev.prefetch.backend.cpu.Memory.putFloat;

import dev.prefetch.gguf.GgmlType;
import java.util.Collections;
import java.util.EnumSet;
import java.util.Set;

/**
 * Expands the block formats of GGUF to f32, one element at a time: the definition of every format in this backend.
 *
 * <p>Formats with blocks of 32 hold the low nibbles of all bytes first (elements 0 to 15), then the high ones. The
 * super-block formats ("K", 256 elements) are in {@link ScalarSuperBlocks}, those
 * with tables of points in {@link ScalarGrids}.
 *
 * @see <a href="https://github.com/ggml-org/llama.cpp/blob/master/ggml/src/ggml-common.h">block layouts</a>
 */
final class ScalarDequantizer {

    /** The formats that can be expanded. */
    static final Set<GgmlType> TYPES = Collections.unmodifiableSet(EnumSet.of(
            GgmlType.F32,
            GgmlType.F16,
            GgmlType.BF16,
            GgmlType.Q8_0,
            GgmlType.Q4_0,
            GgmlType.Q4_1,
            GgmlType.Q5_0,
            GgmlType.Q5_1,
            GgmlType.IQ4_NL,
            GgmlType.MXFP4,
            GgmlType.Q2_K,
            GgmlType.Q3_K,
            GgmlType.Q4_K,
            GgmlType.Q5_K,
            GgmlType.Q6_K,
            GgmlType.IQ4_XS,
            GgmlType.IQ2_XXS,
            GgmlType.IQ2_XS,
            GgmlType.IQ2_S,
            GgmlType.IQ3_XXS,
            GgmlType.IQ3_S,
            GgmlType.IQ1_S,
            GgmlType.IQ1_M,
            GgmlType.TQ1_0,
            GgmlType.TQ2_0));

    /** Values of the 4-bit codes of {@code IQ4_NL} and {@code IQ4_XS}. */
    private static final byte[] NON_LINEAR = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};

    /** Twice the values of the 4-bit floats (E2M1) of {@code MXFP4}. */
    private static final byte[] E2M1_DOUBLED = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

    private ScalarDequantizer() {}

    /**
     * Expands {@code elements} weights, whole blocks, from {@code in} to {@code out}.
     *
     * @throws IllegalArgumentException when the type is not one of {@link #TYPES}
     */
    static void expand(GgmlType type, long in, int elements, long out) {
        switch (type) {
            case F32 -> Memory.copy(in, out, 4L * elements);
            case F16 -> f16(in, elements, out);
            case BF16 -> bf16(in, elements, out);
            case Q8_0 -> q80(in, elements, out);
            case Q4_0 -> q4(in, elements, out, false);
            case Q4_1 -> q4(in, elements, out, true);
            case Q5_0 -> q5(in, elements, out, false);
            case Q5_1 -> q5(in, elements, out, true);
            case IQ4_NL -> iq4nl(in, elements, out);
            case MXFP4 -> mxfp4(in, elements, out);
            case Q2_K -> ScalarSuperBlocks.q2k(in, elements, out);
            case Q3_K -> ScalarSuperBlocks.q3k(in, elements, out);
            case Q4_K -> ScalarSuperBlocks.q4k(in, elements, out);
            case Q5_K -> ScalarSuperBlocks.q5k(in, elements, out);
            case Q6_K -> ScalarSuperBlocks.q6k(in, elements, out);
            case IQ4_XS -> ScalarSuperBlocks.iq4xs(in, elements, out);
            case IQ2_XXS -> ScalarGrids.iq2xxs(in, elements, out);
            case IQ2_XS -> ScalarGrids.iq2xs(in, elements, out);
            case IQ2_S -> ScalarGrids.iq2s(in, elements, out);
            case IQ3_XXS -> ScalarGrids.iq3xxs(in, elements, out);
            case IQ3_S -> ScalarGrids.iq3s(in, elements, out);
            case IQ1_S -> ScalarGrids.iq1s(in, elements, out);
            case IQ1_M -> ScalarGrids.iq1m(in, elements, out);
            case TQ1_0 -> ScalarGrids.tq10(in, elements, out);
            case TQ2_0 -> ScalarGrids.tq20(in, elements, out);
            default -> throw unsupported(type);
        }
    }

    static IllegalArgumentException unsupported(GgmlType type) {
        return new IllegalArgumentException("the CPU backend does not support weights of type " + type);
    }

    private static void f16(long in, int elements, long out) {
        for (int i = 0; i < elements; i++) {
            putFloat(out + 4L * i, getHalf(in + 2L * i));
        }
    }

    private static void bf16(long in, int elements, long out) {
        for (int i = 0; i < elements; i++) {
            putFloat(out + 4L * i, Float.intBitsToFloat(Memory.getShort(in + 2L * i) << 16));
        }
    }

    /** {@code half d; int8 q[32]}: {@code d * q}. */
    private static void q80(long in, int elements, long out) {
        for (int b = 0; b < elements / 32; b++) {
            long block = in + 34L * b;
            float d = getHalf(block);
            for (int i = 0; i < 32; i++) {
                putFloat(out + 128L * b + 4L * i, d * getByte(block + 2 + i));
            }
        }
    }

    /** {@code half d; [half m;] uint8 q[16]}: {@code d * (q - 8)}, or with a minimum {@code d * q + m}. */
    private static void q4(long in, int elements, long out, boolean minimum) {
        int bytes = minimum ? 20 : 18;
        for (int b = 0; b < elements / 32; b++) {
            long block = in + (long) bytes * b;
            float d = getHalf(block);
            float m = minimum ? getHalf(block + 2) : 0;
            int zero = minimum ? 0 : 8;
            for (int i = 0; i < 16; i++) {
                int q = getUnsignedByte(block + bytes - 16 + i);
                putFloat(out + 128L * b + 4L * i, d * ((q & 15) - zero) + m);
                putFloat(out + 128L * b + 4L * (i + 16), d * ((q >> 4) - zero) + m);
            }
        }
    }

    /** {@code half d; [half m;] uint32 high; uint8 q[16]}: a fifth bit per element in {@code high}, 16 as zero point. */
    private static void q5(long in, int elements, long out, boolean minimum) {
        int bytes = minimum ? 24 : 22;
        for (int b = 0; b < elements / 32; b++) {
            long block = in + (long) bytes * b;
            float d = getHalf(block);
            float m = minimum ? getHalf(block + 2) : 0;
            int zero = minimum ? 0 : 16;
            int high = getInt(block + bytes - 20);
            for (int i = 0; i < 16; i++) {
                int q = getUnsignedByte(block + bytes - 16 + i);
                int low = q & 15 | (high >>> i & 1) << 4;
                int upper = q >> 4 | (high >>> i + 16 & 1) << 4;
                putFloat(out + 128L * b + 4L * i, d * (low - zero) + m);
                putFloat(out + 128L * b + 4L * (i + 16), d * (upper - zero) + m);
            }
        }
    }

    /** {@code half d; uint8 q[16]}: {@code d * table[q]}. */
    private static void iq4nl(long in, int elements, long out) {
        for (int b = 0; b < elements / 32; b++) {
            long block = in + 18L * b;
            codes(block + 2, getHalf(block), NON_LINEAR, out + 128L * b);
        }
    }

    /** {@code uint8 exponent; uint8 q[16]}: a power of two times 4-bit floats (OCP Microscaling Formats 1.0). */
    private static void mxfp4(long in, int elements, long out) {
        for (int b = 0; b < elements / 32; b++) {
            long block = in + 17L * b;
            // Half the scale, because the table holds doubled values.
            float d = (float) Math.scalb(1.0, getUnsignedByte(block) - 128);
            codes(block + 1, d, E2M1_DOUBLED, out + 128L * b);
        }
    }

    /** A block of 32 codes, low nibbles first. */
    static void codes(long q, float d, byte[] table, long out) {
        for (int i = 0; i < 16; i++) {
            int code = getUnsignedByte(q + i);
            putFloat(out + 4L * i, d * table[code & 15]);
            putFloat(out + 4L * (i + 16), d * table[code >> 4]);
        }
    }

    /** A block of 32 codes of the non-linear table. */
    static void nonLinearCodes(long q, float d, long out) {
        codes(q, d, NON_LINEAR, out);
    }
}
