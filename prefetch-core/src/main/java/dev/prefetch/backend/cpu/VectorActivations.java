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
 * <p>For quantised weights, activations become integers with a scale per block of the weights' format, rounded half away from
 * zero: up to 127 per 32 elements, as llama.cpp has them; up to 255 per 256 elements for formats with super-blocks, where
 * llama.cpp has 127, which loses more. With one scale per super-block, sums of products are integers until the very end, which
 * {@link SuperBlockPanels} needs. They are kept in 16-bit lanes, because there is no multiplication of bytes.
 *
 * <p>How four unsigned bytes {@code u0 .. u3} below 64 in an int lane are multiplied: the kernel computes, modulo 2^16 in
 * either half of the lane, {@code u * first + (u >>> 8) * second} with a 32-bit shift, and adds the halves. That is
 * {@code sum a(i) u(i)} when {@code first = (m0, m2)}, {@code second = (m1, m3)}, {@code m0 = a0} and
 * {@code m(i) = a(i) - 256 a(i-1)}: the multipliers cancel what neighbours contribute to each other's terms. With a 16-bit
 * shift, as {@link WideSuperBlocks} has it, a byte meets one neighbour only, and {@code m(2) = a2}.
 */
final class VectorActivations {

    /** Prepared rows begin at multiples of this. */
    private static final long ALIGNMENT = 64;

    /** Elements per scale. */
    static final int BLOCK = 32;

    /** The largest value. */
    private static final int MOST = 127;

    /**
     * The same with a scale per super-block: four products with weights up to 31, or from -32 to 31, have to fit 16 bits, and
     * {@link SuperBlockPanels} has a bound as well.
     */
    private static final int MOST_OF_SUPER_BLOCK = 255;

    /** Elements per super-block. */
    static final int SUPER_BLOCK = 256;

    /** The kernels find sums of integers in the upper halves of int lanes and leave them there. */
    static final int UPPER_HALF = 1 << 16;

    // Layout of a super-block of GROUPS and SIXTEENTHS, behind the multipliers
    static final long SCALE = 512;
    static final long CORRECTIONS = 576;
    static final long GROUPS_BYTES = 640;
    static final long STARTS = 576;
    static final long SIXTEENTHS_BYTES = 832;

    /** Whether super-blocks are multiplied by {@link WideSuperBlocks}, a half at a time. */
    private static final boolean WIDE = Vectors.BITS == 512;

    // What makes up for the place of a byte in its int lane, UPPER_HALF fold; see panels.
    private static final float SECOND_BYTE = 0x1p8f;
    private static final float FOURTH_BYTE = WIDE ? 1 : 0x1p-8f;

    /** Working space of a row while panels are prepared. */
    private static final long PANEL_WORK_BYTES = 2 * SUPER_BLOCK;

    /** Where the corrections of groups of 32 begin: with 512 bits they stand beside the scales. */
    private static final int FIRST_CORRECTION = 0;

    /** Blocks whose nibbles fill a vector. */
    static final int NIBBLE_BLOCKS = Vectors.BYTES / 16;

    // Layout of a step of NIBBLES: multipliers of the low and high nibbles, start values, scales
    static final long NIBBLE_STEP_BYTES = 6L * Vectors.BYTES;
    static final long NIBBLE_STARTS = 4L * Vectors.BYTES;
    static final long NIBBLE_SCALES = 5L * Vectors.BYTES;

    private static final VectorSpecies<Short> S128 = ShortVector.SPECIES_128;
    private static final VectorSpecies<Integer> I64 = IntVector.SPECIES_64;

    private VectorActivations() {}

    /** See {@link Kernels#activationStride}. Not a power of two, or the rows would compete for the same places of the cache. */
    static long stride(ActivationForm form, int cols) {
        if (form.isPanels()) {
            return SuperBlockPanels.RECORD_BYTES;
        }
        return Math.ceilDiv(rowBytes(form, cols), ALIGNMENT) * ALIGNMENT + ALIGNMENT;
    }

    /** See {@link Kernels#activationBytes}. */
    static long bytes(ActivationForm form, int cols, int count) {
        if (form.isPanels()) {
            // Behind the last record another may be read.
            return (SuperBlockPanels.RECORD_BYTES * (cols / SUPER_BLOCK) + PANEL_WORK_BYTES) * count
                    + SuperBlockPanels.RECORD_BYTES;
        }
        return stride(form, cols) * count;
    }

    private static long rowBytes(ActivationForm form, int cols) {
        long quantized = 2L * cols + 4L * (cols / BLOCK);
        return switch (form) {
            case PLAIN, HALVES -> 4L * cols;
            case INT8 -> quantized;
            case NIBBLES -> nibbleRest(cols) + quantized;
            case GROUPS -> GROUPS_BYTES * (cols / SUPER_BLOCK) + 2L * SUPER_BLOCK;
            case SIXTEENTHS -> SIXTEENTHS_BYTES * (cols / SUPER_BLOCK) + 2L * SUPER_BLOCK;
            case GROUP_PANELS, SIXTEENTH_PANELS, NIBBLE_PANELS, PLAIN_PANELS ->
                throw new IllegalArgumentException("no rows of their own: " + form);
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
    static void prepare(ActivationForm form, long x, int cols, int row, int count, long rows) {
        long out = rows + stride(form, cols) * row;
        switch (form) {
            case PLAIN -> Memory.copy(x, out, 4L * cols);
            case HALVES -> halves(x, cols, out);
            case INT8 -> quantize(x, cols, out);
            case NIBBLES -> nibbles(x, cols, out);
            case GROUPS -> groups(x, cols, out);
            case SIXTEENTHS -> sixteenths(x, cols, out);
            case NIBBLE_PANELS -> nibblePanels(x, cols, row, count, rows);
            case GROUP_PANELS -> panels(x, cols, false, row, count, rows);
            case SIXTEENTH_PANELS -> panels(x, cols, true, row, count, rows);
            case PLAIN_PANELS -> plainPanels(x, cols, row, count, rows);
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
        round(x, inverse(max, MOST), values);
        return max / MOST;
    }

    private static float inverse(float max, int most) {
        return max / most < Float.MIN_NORMAL ? 0 : most / max;
    }

    /** A block, multiplied and rounded half away from zero. */
    private static void round(long x, float inverse, long values) {
        for (int i = 0; i < BLOCK; i += Vectors.LANES) {
            FloatVector v = Vectors.floats(x + 4L * i).mul(inverse);
            IntVector sign = v.reinterpretAsInts().and(0x80000000);
            FloatVector half = sign.or(0x3f000000).reinterpretAsFloats();
            IntVector rounded = (IntVector) v.add(half).convertShape(F2I, Vectors.I, 0);
            ((ShortVector) rounded.castShape(Vectors.HALF_S, 0))
                    .intoMemorySegment(Memory.ALL, values + 2L * i, Vectors.LE);
        }
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
     * For {@code Q4_K} and {@code Q5_K}, where a byte holds elements of two groups of 32: for each super-block first and second
     * multipliers for each vector of bytes, the {@link #SCALE} and 16 {@link #CORRECTIONS}.
     */
    private static void groups(long x, int cols, long out) {
        long values = out + GROUPS_BYTES * (cols / SUPER_BLOCK);
        for (int b = 0; b < cols / SUPER_BLOCK; b++) {
            long record = out + GROUPS_BYTES * b;
            Memory.putFloat(record + SCALE, quantizeSuperBlock(x + 4L * SUPER_BLOCK * b, values));
            for (int i = 0; i < SUPER_BLOCK / BLOCK; i++) {
                multipliersOfBlock(values + 2L * BLOCK * i, record, BLOCK * place(i));
            }
            for (int i = 0; i < 16; i++) {
                Memory.putFloat(record + CORRECTIONS + 4L * i, correction(values, i));
            }
        }
    }

    /**
     * For {@code Q6_K} with its zero point 32: for each super-block first and second multipliers for each vector of bytes, the
     * {@link #SCALE} and {@link #STARTS}, {@code -32 sum} of an int lane's activations.
     */
    private static void sixteenths(long x, int cols, long out) {
        long values = out + SIXTEENTHS_BYTES * (cols / SUPER_BLOCK);
        for (int b = 0; b < cols / SUPER_BLOCK; b++) {
            long record = out + SIXTEENTHS_BYTES * b;
            Memory.putFloat(record + SCALE, quantizeSuperBlock(x + 4L * SUPER_BLOCK * b, values));
            for (int i = 0; i < SUPER_BLOCK; i += BLOCK) {
                multipliersOfBlock(values + 2L * i, record, i);
            }
            for (int i = 0; i < SUPER_BLOCK; i += 4) {
                Memory.putInt(record + STARTS + i, -32 * sumOfFour(values + 2L * i) & 0xffff);
            }
        }
    }

    /**
     * The same as records for {@link SuperBlockPanels}; those of a super-block of all {@code count} rows stand one behind the
     * other. Of the bytes of an int lane that weights are unpacked to, each is there in its place, so that it is 256 times as
     * much as the one before; activations make up for it. With 512 bits the fourth byte stands where the third does.
     */
    private static void panels(long x, int cols, boolean sixteenths, int row, int count, long records) {
        long superBlockBytes = SuperBlockPanels.RECORD_BYTES * count;
        long values = records + superBlockBytes * (cols / SUPER_BLOCK) + PANEL_WORK_BYTES * row;
        for (int b = 0; b < cols / SUPER_BLOCK; b++) {
            long superBlock = records + superBlockBytes * b;
            long record = superBlock + SuperBlockPanels.RECORD_BYTES * row;
            float scale = quantizeSuperBlock(x + 4L * SUPER_BLOCK * b, values);
            for (int i = 0; i < SUPER_BLOCK; i += 4) {
                long from = Memory.known(values + 2L * ((sixteenths ? i : BLOCK * place(i / BLOCK) + i % BLOCK)));
                long to = Memory.known(record + SuperBlockPanels.integers(4 * (i / Vectors.BYTES)) + i % Vectors.BYTES);
                putFour(from, to, FOURTH_BYTE);
            }
            for (int i = 0; i < 16; i++) {
                long to = record + SuperBlockPanels.corrections(i / Vectors.LANES) + 4L * (i % Vectors.LANES);
                Memory.putFloat(to, sixteenths ? 0 : correction(values, i));
            }
            SuperBlockPanels.putScale(record, scale);
        }
    }

    /** Four values to a lane each of four vectors, with what makes up for the places of their bytes. */
    private static void putFour(long from, long to, float fourth) {
        Memory.putFloat(to, UPPER_HALF * (float) Memory.getShort(from));
        Memory.putFloat(to + Vectors.BYTES, SECOND_BYTE * Memory.getShort(from + 2));
        Memory.putFloat(to + 2 * Vectors.BYTES, Memory.getShort(from + 4));
        Memory.putFloat(to + 3 * Vectors.BYTES, fourth * Memory.getShort(from + 6));
    }

    /** The values and scales of {@link #nibbles} as records for {@link BlockPanels}, in the same order as those of {@link #panels}. */
    private static void nibblePanels(long x, int cols, int row, int count, long records) {
        long stretchBytes = BlockPanels.RECORD_BYTES * count;
        long values = records + stretchBytes * (cols / SUPER_BLOCK) + PANEL_WORK_BYTES * row;
        for (int b = 0; b < cols / BLOCK; b++) {
            float scale = quantizeBlock(x + 4L * BLOCK * b, values) / UPPER_HALF;
            long record = records + stretchBytes * (b / 8) + BlockPanels.RECORD_BYTES * row;
            long part = record + BlockPanels.PART_BYTES * (b % 8 / NIBBLE_BLOCKS) + 16L * (b % NIBBLE_BLOCKS);
            for (int i = 0; i < BLOCK; i += 4) {
                long from = Memory.known(values + 2L * i);
                // Four lanes for the low nibbles of a block, then four of other vectors for the high ones.
                long to = Memory.known(part + 4L * Vectors.BYTES * (i / 16) + i % 16);
                putFour(from, to, 1);
            }
            for (int lane = 0; lane < 4; lane++) {
                Memory.putFloat(part + BlockPanels.SCALE + 4L * lane, scale);
            }
        }
    }

    /** The elements as records for {@link FloatPanels}, in the same order as those of {@link #panels}. */
    private static void plainPanels(long x, int cols, int row, int count, long records) {
        for (int b = 0; b < cols / FloatPanels.ELEMENTS; b++) {
            long record = records + FloatPanels.RECORD_BYTES * ((long) count * b + row);
            Memory.copy(x + 4L * FloatPanels.ELEMENTS * b, record, 4L * FloatPanels.ELEMENTS);
        }
    }

    /** The values in 16-bit lanes; returns the scale. See {@link #quantizeBlock}. */
    private static float quantizeSuperBlock(long x, long values) {
        FloatVector magnitude = Vectors.floats(x).abs();
        for (int i = Vectors.LANES; i < SUPER_BLOCK; i += Vectors.LANES) {
            magnitude = magnitude.max(Vectors.floats(x + 4L * i).abs());
        }
        float max = magnitude.reduceLanes(MAX);
        float inverse = inverse(max, MOST_OF_SUPER_BLOCK);
        for (int i = 0; i < SUPER_BLOCK; i += BLOCK) {
            round(x + 4L * i, inverse, values + 2L * i);
        }
        return max / MOST_OF_SUPER_BLOCK;
    }

    /**
     * What the minimum of a group takes away for each unit: the sum of the group's activations, negative and
     * {@link #UPPER_HALF} fold; 0 for an index that no group has.
     */
    private static float correction(long values, int index) {
        int group = index - FIRST_CORRECTION;
        if (group < 0 || group >= 8) {
            return 0;
        }
        return -UPPER_HALF * (float) (sumOfSixteen(values + 64L * group) + sumOfSixteen(values + 64L * group + 32));
    }

    /**
     * The place of a group of 32 among those of its super-block: vectors of 512 bits hold the groups 0 and 2, 1 and 3, 4 and 6,
     * 5 and 7, because these share their bytes.
     */
    private static int place(int group) {
        return WIDE && group % 4 % 3 != 0 ? group ^ 3 : group;
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
