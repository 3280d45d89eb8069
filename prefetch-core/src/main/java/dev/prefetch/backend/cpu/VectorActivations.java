package dev.prefetch.backend.cpu;

import static jdk.incubator.vector.VectorOperators.F2I;
import static jdk.incubator.vector.VectorOperators.LSHL;
import static jdk.incubator.vector.VectorOperators.LSHR;
import static jdk.incubator.vector.VectorOperators.MAX;

import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.IntVector;
import jdk.incubator.vector.LongVector;
import jdk.incubator.vector.ShortVector;
import jdk.incubator.vector.VectorSpecies;

/**
 * Prepares a row of activations for the matrix-vector kernels; see each method for its layout.
 *
 * <p>For quantised weights, activations become 8-bit integers with one scale {@code max|x| / 127} per 32 elements, rounded
 * half away from zero, as llama.cpp does for its formats of 32 (it uses one scale per 256 for the others, which loses more).
 * They are kept in 16-bit lanes, because there is no multiplication of bytes.
 *
 * <p>How four unsigned bytes {@code u0 .. u3} below 64 in an int lane are multiplied: the kernel computes, modulo 2^16 in
 * either half of the lane, {@code u * first + (u >>> 8) * second} with a 32-bit shift, and adds the halves. That is
 * {@code sum a(i) u(i)} when {@code first = (m0, m2)}, {@code second = (m1, m3)}, {@code m0 = a0} and
 * {@code m(i) = a(i) - 256 a(i-1)}: the multipliers cancel what neighbours contribute to each other's terms. With a 16-bit
 * shift, as {@link WideSuperBlocks} has it, a byte meets one neighbour only, and {@code m(2) = a2}.
 */
final class VectorActivations {

    /** Elements per scale. */
    static final int BLOCK = 32;

    /** Elements per super-block. */
    static final int SUPER_BLOCK = 256;

    /** The kernels find sums of integers in the upper halves of int lanes and leave them there. */
    static final int UPPER_HALF = 1 << 16;

    // Layout of a super-block of GROUPS and SIXTEENTHS, behind the multipliers
    static final long SUPER_BLOCK_BYTES = 640;
    static final long SCALES = 512;
    static final long SUMS = 576;

    /** Whether super-blocks are multiplied by {@link WideSuperBlocks}, a half at a time. */
    private static final boolean WIDE = Vectors.BITS == 512;

    /** Blocks whose nibbles fill a vector. */
    static final int NIBBLE_BLOCKS = Vectors.BYTES / 16;

    // Layout of a step of NIBBLES: multipliers of the low and high nibbles, start values, scales
    static final long NIBBLE_STEP_BYTES = 6L * Vectors.BYTES;
    static final long NIBBLE_STARTS = 4L * Vectors.BYTES;
    static final long NIBBLE_SCALES = 5L * Vectors.BYTES;

    private static final VectorSpecies<Short> S128 = ShortVector.SPECIES_128;
    private static final VectorSpecies<Integer> I64 = IntVector.SPECIES_64;

    private VectorActivations() {}

    static long bytes(ActivationForm form, int cols) {
        long quantized = 2L * cols + 4L * (cols / BLOCK);
        return switch (form) {
            case PLAIN, HALVES -> 4L * cols;
            case INT8 -> quantized;
            case NIBBLES -> nibbleRest(cols) + quantized;
            case GROUPS, SIXTEENTHS -> SUPER_BLOCK_BYTES * (cols / SUPER_BLOCK) + quantized;
        };
    }

    /** Offset of the scales of {@link ActivationForm#INT8}, behind the 16-bit lanes. */
    static long int8Scales(int cols) {
        return 2L * cols;
    }

    /** Offset of the plain 8-bit values and then scales of {@link ActivationForm#NIBBLES}, behind the whole steps. */
    static long nibbleRest(int cols) {
        return NIBBLE_STEP_BYTES * (cols / BLOCK / NIBBLE_BLOCKS);
    }

    /** Prepares a row; parameters as {@link Kernels#prepare}. */
    static void prepare(ActivationForm form, long x, int cols, long out) {
        switch (form) {
            case PLAIN -> Memory.copy(x, out, 4L * cols);
            case HALVES -> halves(x, cols, out);
            case INT8 -> quantize(x, cols, out);
            case NIBBLES -> nibbles(x, cols, out);
            case GROUPS -> groups(x, cols, out);
            case SIXTEENTHS -> sixteenths(x, cols, out);
        }
    }

    /** Two vectors at a time: first the even elements, then the odd ones. What fills no {@link VectorHalves#STEP} stays as it is. */
    static void halves(long x, int cols, long out) {
        int whole = cols / VectorHalves.STEP * VectorHalves.STEP;
        for (int group = 0; group < whole; group += 2 * Vectors.LANES) {
            long in = Memory.known(x + 4L * group);
            long even = Memory.known(out + 4L * group);
            for (int i = 0; i < Vectors.LANES; i++) {
                Memory.putFloat(even + 4L * i, Memory.getFloat(in + 8L * i));
                Memory.putFloat(even + Vectors.BYTES + 4L * i, Memory.getFloat(in + 8L * i + 4));
            }
        }
        Memory.copy(x + 4L * whole, out + 4L * whole, 4L * (cols - whole));
    }

    /** 8-bit values in 16-bit lanes, then one scale per block. A NaN or infinity makes the scale of its block NaN or infinite. */
    private static void quantize(long x, int cols, long values) {
        long scales = values + 2L * cols;
        for (int b = 0; b < cols / BLOCK; b++) {
            Memory.putFloat(scales + 4L * b, quantizeBlock(x + 4L * BLOCK * b, values + 2L * BLOCK * b));
        }
    }

    private static float quantizeBlock(long x, long values) {
        FloatVector magnitude = Vectors.floats(x).abs();
        for (int i = Vectors.LANES; i < BLOCK; i += Vectors.LANES) {
            magnitude = magnitude.max(Vectors.floats(x + 4L * i).abs());
        }
        float max = magnitude.reduceLanes(MAX);
        float scale = max / 127;
        float inverse = scale < Float.MIN_NORMAL ? 0 : 127 / max;
        for (int i = 0; i < BLOCK; i += Vectors.LANES) {
            FloatVector v = Vectors.floats(x + 4L * i).mul(inverse);
            IntVector sign = v.reinterpretAsInts().and(0x80000000);
            FloatVector half = sign.or(0x3f000000).reinterpretAsFloats();
            IntVector rounded = (IntVector) v.add(half).convertShape(F2I, Vectors.I, 0);
            ((ShortVector) rounded.castShape(Vectors.HALF_S, 0))
                    .intoMemorySegment(Memory.ALL, values + 2L * i, Vectors.LE);
        }
        return scale;
    }

    /**
     * For blocks of 16 bytes with an element in the low and one in the high nibbles and zero point 8. A step of
     * {@link #NIBBLE_BLOCKS} blocks: first and second multipliers of the low nibbles, the same of the high ones, start
     * values ({@code -8 sum} of an int lane's activations), the scale of the block for each
     * int lane, divided by {@link #UPPER_HALF}; a vector each. Behind
     * all steps, the plain values and scales as in {@link #quantize}, for blocks that fill no step.
     */
    private static void nibbles(long x, int cols, long out) {
        long values = out + nibbleRest(cols);
        long scales = values + 2L * cols;
        quantize(x, cols, values);
        for (int b = 0; b < cols / BLOCK / NIBBLE_BLOCKS * NIBBLE_BLOCKS; b++) {
            long block = values + 2L * BLOCK * b;
            long place = out + NIBBLE_STEP_BYTES * (b / NIBBLE_BLOCKS) + 16L * (b % NIBBLE_BLOCKS);
            float scale = Memory.getFloat(scales + 4L * b) / UPPER_HALF;
            for (int i = 0; i < 2; i++) {
                multipliers(block + 16L * i, place + 8L * i, Vectors.BYTES, -1);
                multipliers(block + 32 + 16L * i, place + 2L * Vectors.BYTES + 8L * i, Vectors.BYTES, -1);
            }
            for (int lane = 0; lane < 4; lane++) {
                int start = -8 * (sumOfFour(block + 8L * lane) + sumOfFour(block + 32 + 8L * lane));
                Memory.putInt(place + NIBBLE_STARTS + 4L * lane, start & 0xffff);
                Memory.putFloat(place + NIBBLE_SCALES + 4L * lane, scale);
            }
        }
    }

    /**
     * First multipliers for 8 elements to {@code out}, second ones {@code distance} bytes on.
     *
     * @param neighbours the 16-bit parts of four elements from which a neighbour's contribution is taken away
     */
    private static void multipliers(long values, long out, long distance, long neighbours) {
        ShortVector a = ShortVector.fromMemorySegment(S128, Memory.ALL, values, Vectors.LE);
        ShortVector before =
                a.reinterpretAsLongs().lanewise(LSHL, 16).and(neighbours).reinterpretAsShorts();
        LongVector m = a.sub(before.mul((short) 256)).reinterpretAsLongs();
        LongVector first = m.and(0xffffL).or(m.lanewise(LSHR, 16).and(0xffff0000L));
        LongVector second =
                m.lanewise(LSHR, 16).and(0xffffL).or(m.lanewise(LSHR, 32).and(0xffff0000L));
        ((IntVector) first.castShape(I64, 0)).intoMemorySegment(Memory.ALL, out, Vectors.LE);
        ((IntVector) second.castShape(I64, 0)).intoMemorySegment(Memory.ALL, out + distance, Vectors.LE);
    }

    private static int sumOfFour(long values) {
        long p = Memory.known(values);
        return Memory.getShort(p) + Memory.getShort(p + 2) + Memory.getShort(p + 4) + Memory.getShort(p + 6);
    }

    private static int sumOfSixteen(long values) {
        return sumOfFour(values) + sumOfFour(values + 8) + sumOfFour(values + 16) + sumOfFour(values + 24);
    }

    /**
     * For {@code Q4_K} and {@code Q5_K}, where a byte holds elements of two groups of 32. A super-block: first and second
     * multipliers for each vector of bytes, 8 scales, and for each group its scale times the sum of its values,
     * {@code -}{@link #UPPER_HALF} fold. Vectors of 512 bits hold the groups 0 and 2, 1 and 3, 4 and 6, 5 and 7, and of the
     * scales and sums those of the first four groups come first, filled up with zeros; narrower vectors hold the elements in
     * order.
     */
    private static void groups(long x, int cols, long out) {
        long values = out + SUPER_BLOCK_BYTES * (cols / SUPER_BLOCK);
        long scales = values + 2L * cols;
        quantize(x, cols, values);
        for (int b = 0; b < cols / BLOCK; b++) {
            long block = values + 2L * BLOCK * b;
            long superBlock = out + SUPER_BLOCK_BYTES * (b / 8);
            int group = b % 8;
            // Groups 1 and 2, 5 and 6 change places.
            int place = WIDE && group % 4 % 3 != 0 ? group ^ 3 : group;
            multipliersOfBlock(block, superBlock, BLOCK * place);
            float scale = Memory.getFloat(scales + 4L * b);
            int sum = sumOfSixteen(block) + sumOfSixteen(block + 32);
            long scaleAt = superBlock + SCALES + (WIDE ? 64L * (group / 4) + 4L * (group % 4) : 4L * group);
            Memory.putFloat(scaleAt, scale);
            Memory.putFloat(scaleAt + (WIDE ? 16 : 32), -UPPER_HALF * scale * sum);
            if (WIDE) {
                // Lanes that count for nothing must at least be numbers.
                Memory.putLong(superBlock + SCALES + 64L * (group / 4) + 32 + 8L * (group % 4), 0);
            }
        }
    }

    /**
     * For {@code Q6_K} with its groups of 16 and zero point 32. A super-block: first and second multipliers for each vector
     * of bytes, elements in order, then for each group of 16 the scale and {@code -32 scale sum} of its values,
     * {@link #UPPER_HALF} fold; for 512 bits those of the first 8 groups come first.
     */
    private static void sixteenths(long x, int cols, long out) {
        long values = out + SUPER_BLOCK_BYTES * (cols / SUPER_BLOCK);
        long scales = values + 2L * cols;
        quantize(x, cols, values);
        for (int b = 0; b < cols / BLOCK; b++) {
            long block = values + 2L * BLOCK * b;
            long superBlock = out + SUPER_BLOCK_BYTES * (b / 8);
            multipliersOfBlock(block, superBlock, BLOCK * (b % 8));
            float scale = Memory.getFloat(scales + 4L * b);
            for (int i = 0; i < 2; i++) {
                long place = superBlock + SCALES + (WIDE ? 64L * (b % 8 / 4) + 8L * (b % 4) : 8L * (b % 8)) + 4L * i;
                Memory.putFloat(place, scale);
                long sumAt = place + (WIDE ? 32 : SUMS - SCALES);
                Memory.putFloat(sumAt, -32 * UPPER_HALF * scale * sumOfSixteen(block + 32L * i));
            }
        }
    }

    /** Multipliers of 32 elements, the first of which is element {@code first} in the order of the vectors. */
    private static void multipliersOfBlock(long values, long superBlock, int first) {
        for (int i = 0; i < BLOCK; i += 8) {
            int at = first + i;
            long vector = superBlock + 2L * Vectors.BYTES * (at / Vectors.BYTES);
            multipliers(values + 2L * i, vector + at % Vectors.BYTES, Vectors.BYTES, WIDE ? 0xffff0000ffff0000L : -1);
        }
    }
}
