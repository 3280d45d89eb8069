package dev.prefetch.backend.cpu;

import static jdk.incubator.vector.VectorOperators.F2I;
import static jdk.incubator.vector.VectorOperators.LSHL;
import static jdk.incubator.vector.VectorOperators.LSHR;
import static jdk.incubator.vector.VectorOperators.MAX;

import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.IntVector;
import jdk.incubator.vector.LongVector;
import jdk.incubator.vector.ShortVector;
import jdk.incubator.vector.VectorOperators;
import jdk.incubator.vector.VectorSpecies;

/**
 * Prepares a row of activations for the matrix-vector kernels; see each method for its layout.
 *
 * <p>For quantised weights, activations become 8-bit integers with one scale {@code max|x| / 127} per 32 elements, rounded
 * half away from zero, as llama.cpp does for its formats of 32 (it uses one scale per 256 for the others, which loses more).
 * They are kept in 16-bit lanes, because there is no multiplication of bytes.
 */
final class VectorActivations {

    /** Elements per scale. */
    static final int BLOCK = 32;

    /** Elements per super-block. */
    static final int SUPER_BLOCK = 256;

    // Layout of HALF
    static final long HALF_FACTOR = 0;
    static final long HALF_VALUES = 64;

    // Layout of a block of NIBBLE
    static final long NIBBLE_BLOCK_BYTES = 96;

    // Layout of a super-block of BYTES
    static final long BYTES_SUPER_BLOCK_BYTES = 640;
    static final long BYTES_SCALES = 512;
    static final long BYTES_SUMS_32 = 544;
    static final long BYTES_SUMS_16 = 576;

    private static final VectorSpecies<Integer> I128 = IntVector.SPECIES_128;

    private VectorActivations() {}

    static long bytes(ActivationForm form, int cols) {
        return switch (form) {
            case PLAIN -> 4L * cols;
            case HALF -> HALF_VALUES + 4L * cols;
            case BFLOAT -> 4L * cols;
            case INT8 -> int8Scales(cols) + 4L * cols / BLOCK;
            // The last two keep their 8-bit values behind the prepared ones.
            case NIBBLE -> nibbleScales(cols) + 4L * cols / BLOCK + 2L * cols;
            case BYTES -> BYTES_SUPER_BLOCK_BYTES * (cols / SUPER_BLOCK) + 4L * cols / BLOCK + 2L * cols;
        };
    }

    /** Offset of the scales of {@link ActivationForm#INT8}. */
    static long int8Scales(int cols) {
        return 2L * cols;
    }

    /** Offset of the scales of {@link ActivationForm#NIBBLE}. */
    static long nibbleScales(int cols) {
        return NIBBLE_BLOCK_BYTES * (cols / BLOCK);
    }

    static void prepare(ActivationForm form, long x, int cols, long out) {
        switch (form) {
            case PLAIN -> Memory.copy(x, out, 4L * cols);
            case HALF -> half(x, cols, out);
            case BFLOAT -> splitEvenOdd(x, cols, 1, out);
            case INT8 -> quantize(x, cols, out, out + int8Scales(cols));
            case NIBBLE -> nibble(x, cols, out);
            case BYTES -> bytes(x, cols, out);
        }
    }

    /**
     * A factor for the result, then the values as {@link #splitEvenOdd} puts them. The halves come as their value times
     * 2^-112, so activations are multiplied by 2^112, or less when the largest would overflow; the factor makes up for it.
     */
    private static void half(long x, int cols, long out) {
        float max = 0;
        for (int i = 0; i < cols; i++) {
            max = Math.max(max, Math.abs(Memory.getFloat(x + 4L * i)));
        }
        int excess = Float.isFinite(max) ? Math.max(0, Math.getExponent(max) - 14) : 0;
        Memory.putFloat(out + HALF_FACTOR, Math.scalb(1f, excess));
        splitEvenOdd(x, cols, Math.scalb(1f, 112 - excess), out + HALF_VALUES);
    }

    /** Groups of 16: first the 8 even elements, then the 8 odd ones; an incomplete group stays as it is, unscaled. */
    private static void splitEvenOdd(long x, int cols, float factor, long out) {
        int whole = cols / 16 * 16;
        for (int group = 0; group < whole; group += 16) {
            for (int i = 0; i < 8; i++) {
                Memory.putFloat(out + 4L * (group + i), factor * Memory.getFloat(x + 4L * (group + 2 * i)));
                Memory.putFloat(out + 4L * (group + 8 + i), factor * Memory.getFloat(x + 4L * (group + 2 * i + 1)));
            }
        }
        Memory.copy(x + 4L * whole, out + 4L * whole, 4L * (cols - whole));
    }

    /** 8-bit values in 16-bit lanes, and one scale per block. A NaN or infinity makes the scale of its block NaN or infinite. */
    private static void quantize(long x, int cols, long values, long scales) {
        for (int b = 0; b < cols / BLOCK; b++) {
            Memory.putFloat(scales + 4L * b, quantizeBlock(x + 4L * BLOCK * b, values + 2L * BLOCK * b));
        }
    }

    private static float quantizeBlock(long x, long values) {
        FloatVector a = Vectors.floats(x);
        FloatVector b = Vectors.floats(x + 32);
        FloatVector c = Vectors.floats(x + 64);
        FloatVector d = Vectors.floats(x + 96);
        float max = a.abs().max(b.abs()).max(c.abs().max(d.abs())).reduceLanes(MAX);
        float scale = max / 127;
        float inverse = scale < Float.MIN_NORMAL ? 0 : 127 / max;
        storeRounded(a.mul(inverse), values);
        storeRounded(b.mul(inverse), values + 16);
        storeRounded(c.mul(inverse), values + 32);
        storeRounded(d.mul(inverse), values + 48);
        return scale;
    }

    private static void storeRounded(FloatVector v, long out) {
        IntVector sign = v.reinterpretAsInts().and(0x80000000);
        FloatVector half = sign.or(0x3f000000).reinterpretAsFloats();
        IntVector rounded = (IntVector) v.add(half).convertShape(F2I, Vectors.I256, 0);
        ((ShortVector) rounded.castShape(Vectors.S128, 0)).intoMemorySegment(Memory.ALL, out, Vectors.LE);
    }

    /**
     * For 16 bytes of two nibbles, each byte widened to a 16-bit lane. Let an int lane hold the bytes {@code b0, b1} with
     * nibbles {@code l0 + 16 h0} and {@code l1 + 16 h1}. Instead of masking, the kernel computes, modulo 2^16 in either half,
     * {@code z * first + (z >>> 4) * second} with a 32-bit shift, and adds the halves. The multipliers cancel what the nibbles
     * contribute to each other's terms: {@code second = a(h) - 16 first}, and in the upper half {@code first} also loses
     * {@code 4096 second} of the lower half, because the shift moves {@code l1} down there.
     *
     * <p>Layout of a block: first multipliers, second multipliers, start values (-8 times the activations, for the zero point
     * of {@code Q4_0}), 16 shorts each. After all blocks, their scales.
     */
    private static void nibble(long x, int cols, long out) {
        long scales = out + nibbleScales(cols);
        long values = scales + 4L * cols / BLOCK;
        quantize(x, cols, values, scales);
        for (int b = 0; b < cols / BLOCK; b++) {
            nibbleBlock(values + 2L * BLOCK * b, out + NIBBLE_BLOCK_BYTES * b);
        }
    }

    private static void nibbleBlock(long values, long out) {
        ShortVector low = Vectors.shorts(values);
        ShortVector high = Vectors.shorts(values + 32);
        ShortVector lowerSecond = high.sub(low.mul((short) 16));
        ShortVector leak = lowerSecond.reinterpretAsInts().lanewise(LSHL, 28).reinterpretAsShorts();
        ShortVector first = low.sub(leak);
        first.intoMemorySegment(Memory.ALL, out, Vectors.LE);
        high.sub(first.mul((short) 16)).intoMemorySegment(Memory.ALL, out + 32, Vectors.LE);
        low.add(high).mul((short) -8).intoMemorySegment(Memory.ALL, out + 64, Vectors.LE);
    }

    /**
     * For int lanes of four unsigned bytes {@code u0 .. u3} below 64. The kernel computes, modulo 2^16 in either half,
     * {@code z * first + (z >>> 8) * second} with a 32-bit shift, and adds the halves; that is {@code sum a(i) u(i)} when
     * {@code first = (m0, m2)}, {@code second = (m1, m3)}, {@code m0 = a0} and {@code m(i) = a(i) - 256 a(i-1)}.
     *
     * <p>Layout of a super-block: for each of its 8 blocks first and second multipliers (16 shorts each), then 8 scales, then
     * {@code scale * sum} of each block, then {@code 32 * scale * sum} of each half block. Behind all of them, working space.
     */
    private static void bytes(long x, int cols, long out) {
        long scales = out + BYTES_SUPER_BLOCK_BYTES * (cols / SUPER_BLOCK);
        long values = scales + 4L * cols / BLOCK;
        quantize(x, cols, values, scales);
        for (int b = 0; b < cols / BLOCK; b++) {
            long block = values + 2L * BLOCK * b;
            long superBlock = out + BYTES_SUPER_BLOCK_BYTES * (b / 8);
            int at = b % 8;
            bytesQuarter(block, superBlock + 64L * at);
            bytesQuarter(block + 32, superBlock + 64L * at + 16);
            float scale = Memory.getFloat(scales + 4L * b);
            int lower = Vectors.shorts(block).reduceLanes(VectorOperators.ADD);
            int upper = Vectors.shorts(block + 32).reduceLanes(VectorOperators.ADD);
            Memory.putFloat(superBlock + BYTES_SCALES + 4L * at, scale);
            Memory.putFloat(superBlock + BYTES_SUMS_32 + 4L * at, scale * (lower + upper));
            Memory.putFloat(superBlock + BYTES_SUMS_16 + 8L * at, 32 * scale * lower);
            Memory.putFloat(superBlock + BYTES_SUMS_16 + 8L * at + 4, 32 * scale * upper);
        }
    }

    /** 16 values to 4 int lanes of first multipliers, and 32 bytes on, 4 of second multipliers. */
    private static void bytesQuarter(long values, long out) {
        ShortVector a = Vectors.shorts(values);
        ShortVector before = a.reinterpretAsLongs().lanewise(LSHL, 16).reinterpretAsShorts();
        LongVector m = a.sub(before.mul((short) 256)).reinterpretAsLongs();
        LongVector first = m.and(0xffffL).or(m.lanewise(LSHR, 16).and(0xffff0000L));
        LongVector second =
                m.lanewise(LSHR, 16).and(0xffffL).or(m.lanewise(LSHR, 32).and(0xffff0000L));
        storeLowHalves(first, out);
        storeLowHalves(second, out + 32);
    }

    private static void storeLowHalves(LongVector v, long out) {
        ((IntVector) v.castShape(I128, 0)).intoMemorySegment(Memory.ALL, out, Vectors.LE);
    }
}
