package dev.prefetch.backend.cpu;

import static dev.prefetch.backend.cpu.Memory.ALL;
import static dev.prefetch.backend.cpu.VectorActivations.CORRECTIONS;
import static dev.prefetch.backend.cpu.VectorActivations.GROUPS_BYTES;
import static dev.prefetch.backend.cpu.VectorActivations.SCALE;
import static dev.prefetch.backend.cpu.VectorActivations.SIXTEENTHS_BYTES;
import static dev.prefetch.backend.cpu.VectorActivations.STARTS;
import static dev.prefetch.backend.cpu.VectorSuperBlocks.FIFTH_BITS;
import static dev.prefetch.backend.cpu.VectorSuperBlocks.NIBBLES;
import static dev.prefetch.backend.cpu.VectorSuperBlocks.UPPER_BITS;
import static dev.prefetch.backend.cpu.VectorSuperBlocks.UPPER_HALVES;
import static dev.prefetch.backend.cpu.Vectors.BITS;
import static dev.prefetch.backend.cpu.Vectors.BYTES;
import static dev.prefetch.backend.cpu.Vectors.F;
import static dev.prefetch.backend.cpu.Vectors.I;
import static dev.prefetch.backend.cpu.Vectors.LANES;
import static dev.prefetch.backend.cpu.Vectors.LE;
import static dev.prefetch.backend.cpu.Vectors.S;
import static jdk.incubator.vector.VectorOperators.I2F;
import static jdk.incubator.vector.VectorOperators.LSHL;
import static jdk.incubator.vector.VectorOperators.LSHR;

import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.IntVector;
import jdk.incubator.vector.ShortVector;
import jdk.incubator.vector.VectorShuffle;

/**
 * Kernels that multiply super-blocks of 256 with a single row of activations, with vectors of 128 or 256 bits; {@link WideSuperBlocks}
 * has those for 512. Parameters are those of {@link VectorMatvec}. {@link SuperBlockPanels} finds the same bits for several rows.
 *
 * <p>Elements are unpacked to unsigned bytes and multiplied as {@link VectorActivations} says; the sums of four
 * stand in the upper halves of int lanes, where they are converted to floats as they are,
 * {@link VectorActivations#UPPER_HALF} fold. Times the scale of their group they still are integers, and their sum is exact;
 * only with the scale of the super-block and of the activations it is rounded.
 *
 * <p>A super-block takes several methods, each with a loop over the rows of weights, and what they hand on lies in memory. In a body
 * of more than some forty operations on vectors the compiler puts off inlining the last ones, and when it comes back to them it leaves vectors
 * as objects in some processes, which then run at half speed. {@code -XX:CompileCommand=PrintInlining} shows such bodies in every
 * process: by {@code NodeCountInliningCutoff}, or {@code late inline succeeded} behind a method of a vector that is no intrinsic.
 */
final class SuperBlockRows {

    // Working space of a row of weights: bytes, floats made of them, and a sum of products for each vector of weights
    private static final long FACTOR = 16;
    private static final long SCALES = VectorSuperBlocks.SCALES;
    private static final long MINIMA = 128;
    private static final long SUMS = 192;
    private static final long ROW_BYTES = SUMS + 128;

    /** From the multipliers of the low nibbles of a vector of {@code Q4_K} or {@code Q5_K} to those of the high ones. */
    private static final long HIGH_NIBBLES = 64;

    /** The scales {@code 2 * quarter} and {@code 2 * quarter + 1} of 8, four times each; of use with 256 bits only. */
    static final VectorShuffle<Float> QUARTER_0 = pair(0);

    private static final VectorShuffle<Float> QUARTER_1 = pair(1);
    private static final VectorShuffle<Float> QUARTER_2 = pair(2);
    private static final VectorShuffle<Float> QUARTER_3 = pair(3);

    private SuperBlockRows() {}

    private static VectorShuffle<Float> pair(int quarter) {
        return VectorShuffle.fromOp(F, i -> (2 * quarter + i / 4) % LANES);
    }

    static void q4k(long w, long rowStride, int rows, int cols, long x, long xStride, int count, long lanes) {
        long working = working(rows, lanes);
        for (int b = 0; b < cols / 256; b++) {
            long q = Memory.known(x + GROUPS_BYTES * b);
            long p = w + 144L * b;
            groupScales(p, rowStride, rows, Memory.getFloat(q + SCALE), working);
            q4kProducts(p + 16, rowStride, rows, q, working);
            addGroups(rows, q + CORRECTIONS, working, lanes);
        }
    }

    static void q5k(long w, long rowStride, int rows, int cols, long x, long xStride, int count, long lanes) {
        long working = working(rows, lanes);
        for (int b = 0; b < cols / 256; b++) {
            long q = Memory.known(x + GROUPS_BYTES * b);
            long p = w + 176L * b;
            groupScales(p, rowStride, rows, Memory.getFloat(q + SCALE), working);
            q5kProducts(p + 16, rowStride, rows, q, working);
            addGroups(rows, q + CORRECTIONS, working, lanes);
        }
    }

    static void q6k(long w, long rowStride, int rows, int cols, long x, long xStride, int count, long lanes) {
        long working = working(rows, lanes);
        for (int b = 0; b < cols / 256; b++) {
            long q = Memory.known(x + SIXTEENTHS_BYTES * b);
            long p = w + 210L * b;
            sixteenthScales(p + 192, rowStride, rows, Memory.getFloat(q + SCALE), working);
            q6kProducts(p, rowStride, rows, q, working, lanes);
        }
    }

    /** Behind the lanes, of which a single row of activations needs but the first. */
    private static long working(int rows, long lanes) {
        return lanes + (long) BYTES * rows;
    }

    /**
     * From the heads of super-blocks of {@code Q4_K} or {@code Q5_K}, one for each row: 8 scales, 8 minima as multiples of the
     * super-block's unit, and the unit times that of the activations.
     */
    private static void groupScales(long w, long rowStride, int rows, float unit, long working) {
        for (int r = 0; r < rows; r++) {
            long p = Memory.known(w + rowStride * r);
            long o = Memory.known(working + ROW_BYTES * r);
            float scale = Memory.getHalf(p);
            float minimum = Memory.getHalf(p + 2);
            VectorSuperBlocks.unpackScales(p + 4, scale, minimum, o, o + MINIMA);
            Memory.putFloat(o + FACTOR, VectorSuperBlocks.unit(scale, minimum) * unit);
        }
    }

    /** From the 16 scales and the half of super-blocks of {@code Q6_K}, one for each row. */
    private static void sixteenthScales(long w, long rowStride, int rows, float unit, long working) {
        for (int r = 0; r < rows; r++) {
            long p = Memory.known(w + rowStride * r);
            long o = Memory.known(working + ROW_BYTES * r);
            Memory.putFloat(o + FACTOR, Memory.getHalf(p + 16) * unit);
            for (int i = 0; i < 16; i += LANES) {
                Vectors.store(Vectors.toFloats(Vectors.bytesAsInts(p + i)), o + SCALES + 4L * i);
            }
        }
    }

    private static void q4kProducts(long w, long rowStride, int rows, long x, long working) {
        for (int i = 0; i < 128; i += BYTES) {
            // 32 bytes hold two groups of 32 elements.
            long m = Memory.known(x + 2L * (i + (i & 96)));
            long s = working + SCALES + (i >> 5 << 3);
            long o = working + SUMS + i;
            long p = w + i;
            long end = p + rowStride * rows;
            // A loop that does not count is not unrolled.
            do {
                p = Memory.known(p);
                s = Memory.known(s);
                o = Memory.known(o);
                IntVector z = IntVector.fromMemorySegment(I, ALL, p, LE);
                IntVector u = z.and(NIBBLES);
                IntVector v;
                v = u.reinterpretAsShorts()
                        .mul(ShortVector.fromMemorySegment(S, ALL, m, LE))
                        .add(u.lanewise(LSHR, 8)
                                .reinterpretAsShorts()
                                .mul(ShortVector.fromMemorySegment(S, ALL, m + BYTES, LE)))
                        .reinterpretAsInts();
                v = v.add(v.lanewise(LSHL, 16)).and(UPPER_HALVES);
                FloatVector sum = ((FloatVector) v.convertShape(I2F, F, 0))
                        .mul(FloatVector.broadcast(F, ALL.get(Memory.FLOAT, s)));
                u = z.lanewise(LSHR, 4).and(NIBBLES);
                v = u.reinterpretAsShorts()
                        .mul(ShortVector.fromMemorySegment(S, ALL, m + HIGH_NIBBLES, LE))
                        .add(u.lanewise(LSHR, 8)
                                .reinterpretAsShorts()
                                .mul(ShortVector.fromMemorySegment(S, ALL, m + HIGH_NIBBLES + BYTES, LE)))
                        .reinterpretAsInts();
                v = v.add(v.lanewise(LSHL, 16)).and(UPPER_HALVES);
                ((FloatVector) v.convertShape(I2F, F, 0))
                        .fma(FloatVector.broadcast(F, ALL.get(Memory.FLOAT, s + 4)), sum)
                        .intoMemorySegment(ALL, o, LE);
                p += rowStride;
                s += ROW_BYTES;
                o += ROW_BYTES;
            } while (p < end);
        }
    }

    private static void q5kProducts(long w, long rowStride, int rows, long x, long working) {
        for (int i = 0; i < 128; i += BYTES) {
            // 32 bytes hold two groups of 32 elements.
            long m = Memory.known(x + 2L * (i + (i & 96)));
            long s = working + SCALES + (i >> 5 << 3);
            long o = working + SUMS + i;
            long p = w + i;
            long end = p + rowStride * rows;
            // A loop that does not count is not unrolled.
            do {
                p = Memory.known(p);
                s = Memory.known(s);
                o = Memory.known(o);
                IntVector z = IntVector.fromMemorySegment(I, ALL, p + 32, LE);
                // A bit of each group, of which the lower nibbles are even.
                IntVector fifth =
                        IntVector.fromMemorySegment(I, ALL, p - (i & 96), LE).lanewise(LSHR, i >> 5 << 1);
                IntVector u = z.and(NIBBLES).or(fifth.lanewise(LSHL, 4).and(FIFTH_BITS));
                IntVector v;
                v = u.reinterpretAsShorts()
                        .mul(ShortVector.fromMemorySegment(S, ALL, m, LE))
                        .add(u.lanewise(LSHR, 8)
                                .reinterpretAsShorts()
                                .mul(ShortVector.fromMemorySegment(S, ALL, m + BYTES, LE)))
                        .reinterpretAsInts();
                v = v.add(v.lanewise(LSHL, 16)).and(UPPER_HALVES);
                FloatVector sum = ((FloatVector) v.convertShape(I2F, F, 0))
                        .mul(FloatVector.broadcast(F, ALL.get(Memory.FLOAT, s)));
                u = z.lanewise(LSHR, 4).and(NIBBLES).or(fifth.lanewise(LSHL, 3).and(FIFTH_BITS));
                v = u.reinterpretAsShorts()
                        .mul(ShortVector.fromMemorySegment(S, ALL, m + HIGH_NIBBLES, LE))
                        .add(u.lanewise(LSHR, 8)
                                .reinterpretAsShorts()
                                .mul(ShortVector.fromMemorySegment(S, ALL, m + HIGH_NIBBLES + BYTES, LE)))
                        .reinterpretAsInts();
                v = v.add(v.lanewise(LSHL, 16)).and(UPPER_HALVES);
                ((FloatVector) v.convertShape(I2F, F, 0))
                        .fma(FloatVector.broadcast(F, ALL.get(Memory.FLOAT, s + 4)), sum)
                        .intoMemorySegment(ALL, o, LE);
                p += rowStride;
                s += ROW_BYTES;
                o += ROW_BYTES;
            } while (p < end);
        }
    }

    /** The sums of both halves go through memory, since a vector that is carried on may be left as an object. */
    private static void q6kProducts(long w, long rowStride, int rows, long x, long working, long lanes) {
        for (int r = 0; r < rows; r++) {
            long p = Memory.known(w + rowStride * r);
            long o = Memory.known(working + ROW_BYTES * r);
            long at = Memory.known(lanes + (long) BYTES * r);
            // Two halves of 128 elements, four quarters in each.
            for (int half = 0; half < 2; half++) {
                FloatVector sum = Vectors.zero();
                FloatVector upperSum = sum;
                for (int i = 0; i < 32; i += BYTES) {
                    long low = Memory.known(p + 64L * half + i);
                    long m = Memory.known(x + 256L * half + 2L * i);
                    long starts = Memory.known(x + STARTS + 128L * half + i);
                    long s = o + SCALES + 32L * half + i / 4;
                    IntVector z0 = IntVector.fromMemorySegment(I, ALL, low, LE);
                    IntVector z1 = IntVector.fromMemorySegment(I, ALL, low + 32, LE);
                    IntVector h = IntVector.fromMemorySegment(I, ALL, p + 128 + 32L * half + i, LE);
                    FloatVector scales = FloatVector.fromMemorySegment(F, ALL, s, LE);
                    FloatVector scale;
                    IntVector v;
                    IntVector u = z0.and(NIBBLES).or(h.lanewise(LSHL, 4).and(UPPER_BITS));
                    v = u.reinterpretAsShorts()
                            .mul(ShortVector.fromMemorySegment(S, ALL, m, LE))
                            .add(ShortVector.fromMemorySegment(S, ALL, starts, LE))
                            .add(u.lanewise(LSHR, 8)
                                    .reinterpretAsShorts()
                                    .mul(ShortVector.fromMemorySegment(S, ALL, m + BYTES, LE)))
                            .reinterpretAsInts();
                    v = v.add(v.lanewise(LSHL, 16)).and(UPPER_HALVES);
                    scale = BITS == 256
                            ? scales.rearrange(QUARTER_0)
                            : FloatVector.broadcast(F, ALL.get(Memory.FLOAT, s + 0));
                    sum = ((FloatVector) v.convertShape(I2F, F, 0)).fma(scale, sum);
                    u = z1.and(NIBBLES).or(h.lanewise(LSHL, 2).and(UPPER_BITS));
                    v = u.reinterpretAsShorts()
                            .mul(ShortVector.fromMemorySegment(S, ALL, m + 64, LE))
                            .add(ShortVector.fromMemorySegment(S, ALL, starts + 32, LE))
                            .add(u.lanewise(LSHR, 8)
                                    .reinterpretAsShorts()
                                    .mul(ShortVector.fromMemorySegment(S, ALL, m + 64 + BYTES, LE)))
                            .reinterpretAsInts();
                    v = v.add(v.lanewise(LSHL, 16)).and(UPPER_HALVES);
                    scale = BITS == 256
                            ? scales.rearrange(QUARTER_1)
                            : FloatVector.broadcast(F, ALL.get(Memory.FLOAT, s + 8));
                    sum = ((FloatVector) v.convertShape(I2F, F, 0)).fma(scale, sum);
                    u = z0.lanewise(LSHR, 4).and(NIBBLES).or(h.and(UPPER_BITS));
                    v = u.reinterpretAsShorts()
                            .mul(ShortVector.fromMemorySegment(S, ALL, m + 128, LE))
                            .add(ShortVector.fromMemorySegment(S, ALL, starts + 64, LE))
                            .add(u.lanewise(LSHR, 8)
                                    .reinterpretAsShorts()
                                    .mul(ShortVector.fromMemorySegment(S, ALL, m + 128 + BYTES, LE)))
                            .reinterpretAsInts();
                    v = v.add(v.lanewise(LSHL, 16)).and(UPPER_HALVES);
                    scale = BITS == 256
                            ? scales.rearrange(QUARTER_2)
                            : FloatVector.broadcast(F, ALL.get(Memory.FLOAT, s + 16));
                    upperSum = ((FloatVector) v.convertShape(I2F, F, 0)).fma(scale, upperSum);
                    u = z1.lanewise(LSHR, 4).and(NIBBLES).or(h.lanewise(LSHR, 2).and(UPPER_BITS));
                    v = u.reinterpretAsShorts()
                            .mul(ShortVector.fromMemorySegment(S, ALL, m + 192, LE))
                            .add(ShortVector.fromMemorySegment(S, ALL, starts + 96, LE))
                            .add(u.lanewise(LSHR, 8)
                                    .reinterpretAsShorts()
                                    .mul(ShortVector.fromMemorySegment(S, ALL, m + 192 + BYTES, LE)))
                            .reinterpretAsInts();
                    v = v.add(v.lanewise(LSHL, 16)).and(UPPER_HALVES);
                    scale = BITS == 256
                            ? scales.rearrange(QUARTER_3)
                            : FloatVector.broadcast(F, ALL.get(Memory.FLOAT, s + 24));
                    upperSum = ((FloatVector) v.convertShape(I2F, F, 0)).fma(scale, upperSum);
                }
                // A part is a half with 256 bits, two quarters with 128.
                FloatVector total = (BITS == 256 ? sum.add(upperSum) : sum)
                        .fma(
                                FloatVector.broadcast(F, ALL.get(Memory.FLOAT, o + FACTOR)),
                                FloatVector.fromMemorySegment(F, ALL, at, LE));
                if (BITS == 128) {
                    total = upperSum.fma(FloatVector.broadcast(F, ALL.get(Memory.FLOAT, o + FACTOR)), total);
                }
                total.intoMemorySegment(ALL, at, LE);
            }
        }
    }

    /** A part has the sums of two vectors of weights. */
    private static void addGroups(int rows, long corrections, long working, long lanes) {
        for (int r = 0; r < rows; r++) {
            long o = Memory.known(working + ROW_BYTES * r);
            long at = Memory.known(lanes + (long) BYTES * r);
            FloatVector factor = FloatVector.broadcast(F, ALL.get(Memory.FLOAT, o + FACTOR));
            FloatVector total = FloatVector.fromMemorySegment(F, ALL, at, LE);
            for (int part = 0; part < SuperBlockPanels.PARTS; part++) {
                long sums = o + SUMS + 2L * BYTES * part;
                FloatVector sum = FloatVector.fromMemorySegment(F, ALL, sums, LE)
                        .add(FloatVector.fromMemorySegment(F, ALL, sums + BYTES, LE));
                if (LANES * part < 8) {
                    sum = FloatVector.fromMemorySegment(F, ALL, o + MINIMA + (long) BYTES * part, LE)
                            .fma(FloatVector.fromMemorySegment(F, ALL, corrections + (long) BYTES * part, LE), sum);
                }
                total = sum.fma(factor, total);
            }
            total.intoMemorySegment(ALL, at, LE);
        }
    }
}
