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
import static dev.prefetch.backend.cpu.VectorSuperBlocks.unit;
import static dev.prefetch.backend.cpu.Vectors.LE;
import static jdk.incubator.vector.VectorOperators.B2F;
import static jdk.incubator.vector.VectorOperators.I2F;
import static jdk.incubator.vector.VectorOperators.LSHL;
import static jdk.incubator.vector.VectorOperators.LSHR;
import static jdk.incubator.vector.VectorOperators.ROL;
import static jdk.incubator.vector.VectorOperators.ROR;

import java.util.function.IntUnaryOperator;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.IntVector;
import jdk.incubator.vector.LongVector;
import jdk.incubator.vector.ShortVector;
import jdk.incubator.vector.VectorShuffle;
import jdk.incubator.vector.VectorSpecies;

/**
 * Kernels for super-blocks of 256 with vectors of 512 bits, where a vector of bytes spans several groups with scales of their
 * own. Otherwise as {@link VectorSuperBlocks}.
 *
 * <p>Without helpers, half a super-block at a time, and with no vector that is carried from one half to the next, which is why
 * the sums of halves go through memory: the compiler left such a vector in some processes as an object, which was allocated for
 * every block and cost up to two thirds of the speed; and so it did with a whole super-block in one body.
 *
 * <p>Unpacked integers become floats without being converted: with the bits of {@link #MAGIC} above them they are floats that
 * are {@link #MAGIC} more, which a multiply-add takes away again exactly.
 */
final class WideSuperBlocks {

    private static final VectorSpecies<Short> S = ShortVector.SPECIES_512;
    private static final VectorSpecies<Integer> I = IntVector.SPECIES_512;
    private static final VectorSpecies<Integer> I256 = IntVector.SPECIES_256;
    private static final VectorSpecies<Float> F = FloatVector.SPECIES_512;
    private static final VectorSpecies<Long> L128 = LongVector.SPECIES_128;

    /** Bytes of the multipliers of half a super-block. */
    private static final long HALF_BYTES = 256;

    /** Bytes of the floats of half a super-block. */
    private static final long HALF_FLOAT_BYTES = 512;

    private static final short NIBBLE_PAIRS = 0x0f0f;

    private static final float MAGIC = 0x1p23f;
    private static final int MAGIC_BITS = Float.floatToRawIntBits(MAGIC);

    /** Groups of 32 in the order of {@link VectorActivations}: two to a vector. */
    private static final VectorShuffle<Float> EVEN_GROUPS = shuffle(i -> i / 8 * 2);

    private static final VectorShuffle<Float> ODD_GROUPS = shuffle(i -> 1 + i / 8 * 2);

    /** Groups of 16: four to a vector. */
    private static final VectorShuffle<Float> FIRST_SIXTEENTHS = shuffle(i -> i / 4);

    private static final VectorShuffle<Float> SECOND_SIXTEENTHS = shuffle(i -> 4 + i / 4);

    private static final VectorShuffle<Integer> LOWER_HALF = VectorShuffle.fromOp(I, i -> i % 8);
    private static final IntVector SHIFTS_0_2 = shifts(0, 2);
    private static final IntVector SHIFTS_3_1 = shifts(3, 1);
    private static final IntVector SHIFTS_4_2 = shifts(4, 2);

    private WideSuperBlocks() {}

    private static IntVector shifts(int lower, int upper) {
        int[] shifts = new int[16];
        for (int i = 0; i < 16; i++) {
            shifts[i] = i < 8 ? lower : upper;
        }
        return IntVector.fromArray(I, shifts, 0);
    }

    private static VectorShuffle<Float> shuffle(IntUnaryOperator source) {
        return VectorShuffle.fromOp(F, source);
    }

    static void q4k(long w, long rowStride, int rows, int cols, long x, long xStride, int count, long lanes) {
        // A single row of activations needs but the first of the lanes.
        long working = lanes + 64L * rows;
        for (int b = 0; b < cols / 256; b++) {
            long record = Memory.known(x + GROUPS_BYTES * b);
            float unit = Memory.getFloat(record + SCALE);
            for (int r = 0; r < rows; r++) {
                long p = Memory.known(w + rowStride * r + 144L * b);
                long sums = Memory.known(working + 128L * r);
                float scale = Memory.getHalf(p);
                float minimum = Memory.getHalf(p + 2);
                int s0 = Memory.getInt(p + 4);
                int s1 = Memory.getInt(p + 8);
                int s2 = Memory.getInt(p + 12);
                long scales = s0 & 0x3f3f3f3f | (long) (s2 & 0x0f0f0f0f | (s0 >>> 6 & 0x03030303) << 4) << 32;
                long minima = s1 & 0x3f3f3f3f | (long) (s2 >>> 4 & 0x0f0f0f0f | (s1 >>> 6 & 0x03030303) << 4) << 32;
                float factor = unit(scale, minimum) * unit;
                float ratio = minimum / scale;
                if (scale == 0) {
                    scales = 0;
                    ratio = 1;
                }
                for (int h = 0; h < 2; h++) {
                    long q = Memory.known(record + HALF_BYTES * h);
                    FloatVector small = (FloatVector) LongVector.broadcast(L128, scales >>> 32 * h)
                            .reinterpretAsBytes()
                            .convertShape(B2F, F, 0);
                    ShortVector z = ShortVector.fromMemorySegment(S, ALL, p + 16 + 64L * h, LE);
                    ShortVector u0 = z.and(NIBBLE_PAIRS);
                    ShortVector u1 = z.lanewise(LSHR, 4).and(NIBBLE_PAIRS);
                    IntVector v;
                    v = u0.mul(ShortVector.fromMemorySegment(S, ALL, q, LE))
                            .add(u0.lanewise(LSHR, 8).mul(ShortVector.fromMemorySegment(S, ALL, q + 64, LE)))
                            .reinterpretAsInts();
                    v = v.add(v.lanewise(LSHL, 16)).and(UPPER_HALVES);
                    FloatVector sum = ((FloatVector) v.convertShape(I2F, F, 0)).mul(small.rearrange(EVEN_GROUPS));
                    v = u1.mul(ShortVector.fromMemorySegment(S, ALL, q + 128, LE))
                            .add(u1.lanewise(LSHR, 8).mul(ShortVector.fromMemorySegment(S, ALL, q + 192, LE)))
                            .reinterpretAsInts();
                    v = v.add(v.lanewise(LSHL, 16)).and(UPPER_HALVES);
                    ((FloatVector) v.convertShape(I2F, F, 0))
                            .fma(small.rearrange(ODD_GROUPS), sum)
                            .intoMemorySegment(ALL, sums + 64L * h, LE);
                }
                FloatVector corrections = ((FloatVector) LongVector.broadcast(L128, minima)
                                .reinterpretAsBytes()
                                .convertShape(B2F, F, 0))
                        .mul(ratio);
                FloatVector whole = FloatVector.fromMemorySegment(F, ALL, sums, LE)
                        .add(FloatVector.fromMemorySegment(F, ALL, sums + 64, LE));
                long at = Memory.known(lanes + 64L * r);
                corrections
                        .fma(FloatVector.fromMemorySegment(F, ALL, record + CORRECTIONS, LE), whole)
                        .fma(FloatVector.broadcast(F, factor), FloatVector.fromMemorySegment(F, ALL, at, LE))
                        .intoMemorySegment(ALL, at, LE);
            }
        }
    }

    static void unpackQ4k(long w, long rowStride, int rows, long records) {
        for (int r = 0; r < rows; r++) {
            long record = Memory.known(records + SuperBlockPanels.RECORD_BYTES * r);
            long p = Memory.known(w + rowStride * r);
            float scale = Memory.getHalf(p);
            float minimum = Memory.getHalf(p + 2);
            int s0 = Memory.getInt(p + 4);
            int s1 = Memory.getInt(p + 8);
            int s2 = Memory.getInt(p + 12);
            long scales = s0 & 0x3f3f3f3f | (long) (s2 & 0x0f0f0f0f | (s0 >>> 6 & 0x03030303) << 4) << 32;
            long minima = s1 & 0x3f3f3f3f | (long) (s2 >>> 4 & 0x0f0f0f0f | (s1 >>> 6 & 0x03030303) << 4) << 32;
            if (scale == 0) {
                scales = 0;
            }
            // All eight, twice.
            FloatVector corrections = ((FloatVector) LongVector.broadcast(L128, minima)
                            .reinterpretAsBytes()
                            .convertShape(B2F, F, 0))
                    .mul(scale == 0 ? 1 : minimum / scale);
            corrections.intoMemorySegment(ALL, record + SuperBlockPanels.corrections(0), LE);
            SuperBlockPanels.putScale(record, unit(scale, minimum));
            for (int h = 0; h < 2; h++) {
                long o = Memory.known(record + HALF_FLOAT_BYTES * h);
                FloatVector small = (FloatVector) LongVector.broadcast(L128, scales >>> 32 * h)
                        .reinterpretAsBytes()
                        .convertShape(B2F, F, 0);
                IntVector u0 = IntVector.fromMemorySegment(I, ALL, p + 16 + 64L * h, LE);
                IntVector u1 = u0.lanewise(LSHR, 4);
                FloatVector group;
                FloatVector magic;
                group = small.rearrange(EVEN_GROUPS);
                magic = group.mul(-MAGIC);
                u0.and(0xf)
                        .or(MAGIC_BITS)
                        .reinterpretAsFloats()
                        .fma(group, magic)
                        .intoMemorySegment(ALL, o, LE);
                u0.and(0xf00)
                        .or(MAGIC_BITS)
                        .reinterpretAsFloats()
                        .fma(group, magic)
                        .intoMemorySegment(ALL, o + 64, LE);
                u0.and(0xf0000)
                        .or(MAGIC_BITS)
                        .reinterpretAsFloats()
                        .fma(group, magic)
                        .intoMemorySegment(ALL, o + 128, LE);
                u0.lanewise(LSHR, 8)
                        .and(0xf0000)
                        .or(MAGIC_BITS)
                        .reinterpretAsFloats()
                        .fma(group, magic)
                        .intoMemorySegment(ALL, o + 192, LE);
                group = small.rearrange(ODD_GROUPS);
                magic = group.mul(-MAGIC);
                u1.and(0xf)
                        .or(MAGIC_BITS)
                        .reinterpretAsFloats()
                        .fma(group, magic)
                        .intoMemorySegment(ALL, o + 256, LE);
                u1.and(0xf00)
                        .or(MAGIC_BITS)
                        .reinterpretAsFloats()
                        .fma(group, magic)
                        .intoMemorySegment(ALL, o + 320, LE);
                u1.and(0xf0000)
                        .or(MAGIC_BITS)
                        .reinterpretAsFloats()
                        .fma(group, magic)
                        .intoMemorySegment(ALL, o + 384, LE);
                u1.lanewise(LSHR, 8)
                        .and(0xf0000)
                        .or(MAGIC_BITS)
                        .reinterpretAsFloats()
                        .fma(group, magic)
                        .intoMemorySegment(ALL, o + 448, LE);
            }
        }
    }

    static void q5k(long w, long rowStride, int rows, int cols, long x, long xStride, int count, long lanes) {
        // A single row of activations needs but the first of the lanes.
        long working = lanes + 64L * rows;
        for (int b = 0; b < cols / 256; b++) {
            long record = Memory.known(x + GROUPS_BYTES * b);
            float unit = Memory.getFloat(record + SCALE);
            for (int r = 0; r < rows; r++) {
                long p = Memory.known(w + rowStride * r + 176L * b);
                long sums = Memory.known(working + 128L * r);
                float scale = Memory.getHalf(p);
                float minimum = Memory.getHalf(p + 2);
                int s0 = Memory.getInt(p + 4);
                int s1 = Memory.getInt(p + 8);
                int s2 = Memory.getInt(p + 12);
                long scales = s0 & 0x3f3f3f3f | (long) (s2 & 0x0f0f0f0f | (s0 >>> 6 & 0x03030303) << 4) << 32;
                long minima = s1 & 0x3f3f3f3f | (long) (s2 >>> 4 & 0x0f0f0f0f | (s1 >>> 6 & 0x03030303) << 4) << 32;
                float factor = unit(scale, minimum) * unit;
                float ratio = minimum / scale;
                if (scale == 0) {
                    scales = 0;
                    ratio = 1;
                }
                IntVector fifth =
                        IntVector.fromMemorySegment(I, ALL, p + 16, LE).rearrange(LOWER_HALF);
                for (int h = 0; h < 2; h++) {
                    long q = Memory.known(record + HALF_BYTES * h);
                    FloatVector small = (FloatVector) LongVector.broadcast(L128, scales >>> 32 * h)
                            .reinterpretAsBytes()
                            .convertShape(B2F, F, 0);
                    IntVector z = IntVector.fromMemorySegment(I, ALL, p + 48 + 64L * h, LE);
                    IntVector bits = fifth.lanewise(LSHR, 4 * h);
                    ShortVector u0 = z.and(NIBBLES)
                            .or(bits.lanewise(LSHL, SHIFTS_4_2).and(FIFTH_BITS))
                            .reinterpretAsShorts();
                    ShortVector u1 = z.lanewise(LSHR, 4)
                            .and(NIBBLES)
                            .or(bits.lanewise(LSHL, SHIFTS_3_1).and(FIFTH_BITS))
                            .reinterpretAsShorts();
                    IntVector v;
                    v = u0.mul(ShortVector.fromMemorySegment(S, ALL, q, LE))
                            .add(u0.lanewise(LSHR, 8).mul(ShortVector.fromMemorySegment(S, ALL, q + 64, LE)))
                            .reinterpretAsInts();
                    v = v.add(v.lanewise(LSHL, 16)).and(UPPER_HALVES);
                    FloatVector sum = ((FloatVector) v.convertShape(I2F, F, 0)).mul(small.rearrange(EVEN_GROUPS));
                    v = u1.mul(ShortVector.fromMemorySegment(S, ALL, q + 128, LE))
                            .add(u1.lanewise(LSHR, 8).mul(ShortVector.fromMemorySegment(S, ALL, q + 192, LE)))
                            .reinterpretAsInts();
                    v = v.add(v.lanewise(LSHL, 16)).and(UPPER_HALVES);
                    ((FloatVector) v.convertShape(I2F, F, 0))
                            .fma(small.rearrange(ODD_GROUPS), sum)
                            .intoMemorySegment(ALL, sums + 64L * h, LE);
                }
                FloatVector corrections = ((FloatVector) LongVector.broadcast(L128, minima)
                                .reinterpretAsBytes()
                                .convertShape(B2F, F, 0))
                        .mul(ratio);
                FloatVector whole = FloatVector.fromMemorySegment(F, ALL, sums, LE)
                        .add(FloatVector.fromMemorySegment(F, ALL, sums + 64, LE));
                long at = Memory.known(lanes + 64L * r);
                corrections
                        .fma(FloatVector.fromMemorySegment(F, ALL, record + CORRECTIONS, LE), whole)
                        .fma(FloatVector.broadcast(F, factor), FloatVector.fromMemorySegment(F, ALL, at, LE))
                        .intoMemorySegment(ALL, at, LE);
            }
        }
    }

    static void unpackQ5k(long w, long rowStride, int rows, long records) {
        for (int r = 0; r < rows; r++) {
            long record = Memory.known(records + SuperBlockPanels.RECORD_BYTES * r);
            long p = Memory.known(w + rowStride * r);
            float scale = Memory.getHalf(p);
            float minimum = Memory.getHalf(p + 2);
            int s0 = Memory.getInt(p + 4);
            int s1 = Memory.getInt(p + 8);
            int s2 = Memory.getInt(p + 12);
            long scales = s0 & 0x3f3f3f3f | (long) (s2 & 0x0f0f0f0f | (s0 >>> 6 & 0x03030303) << 4) << 32;
            long minima = s1 & 0x3f3f3f3f | (long) (s2 >>> 4 & 0x0f0f0f0f | (s1 >>> 6 & 0x03030303) << 4) << 32;
            if (scale == 0) {
                scales = 0;
            }
            // All eight, twice.
            FloatVector corrections = ((FloatVector) LongVector.broadcast(L128, minima)
                            .reinterpretAsBytes()
                            .convertShape(B2F, F, 0))
                    .mul(scale == 0 ? 1 : minimum / scale);
            IntVector fifth = IntVector.fromMemorySegment(I, ALL, p + 16, LE).rearrange(LOWER_HALF);
            corrections.intoMemorySegment(ALL, record + SuperBlockPanels.corrections(0), LE);
            SuperBlockPanels.putScale(record, unit(scale, minimum));
            for (int h = 0; h < 2; h++) {
                long o = Memory.known(record + HALF_FLOAT_BYTES * h);
                FloatVector small = (FloatVector) LongVector.broadcast(L128, scales >>> 32 * h)
                        .reinterpretAsBytes()
                        .convertShape(B2F, F, 0);
                IntVector z = IntVector.fromMemorySegment(I, ALL, p + 48 + 64L * h, LE);
                IntVector bits = fifth.lanewise(LSHR, 4 * h);
                IntVector u0 = z.and(NIBBLES).or(bits.lanewise(LSHL, SHIFTS_4_2).and(FIFTH_BITS));
                IntVector u1 = z.lanewise(LSHR, 4)
                        .and(NIBBLES)
                        .or(bits.lanewise(LSHL, SHIFTS_3_1).and(FIFTH_BITS));
                FloatVector group;
                FloatVector magic;
                group = small.rearrange(EVEN_GROUPS);
                magic = group.mul(-MAGIC);
                u0.and(0xff)
                        .or(MAGIC_BITS)
                        .reinterpretAsFloats()
                        .fma(group, magic)
                        .intoMemorySegment(ALL, o, LE);
                u0.and(0xff00)
                        .or(MAGIC_BITS)
                        .reinterpretAsFloats()
                        .fma(group, magic)
                        .intoMemorySegment(ALL, o + 64, LE);
                u0.and(0xff0000)
                        .or(MAGIC_BITS)
                        .reinterpretAsFloats()
                        .fma(group, magic)
                        .intoMemorySegment(ALL, o + 128, LE);
                u0.lanewise(LSHR, 8)
                        .and(0xff0000)
                        .or(MAGIC_BITS)
                        .reinterpretAsFloats()
                        .fma(group, magic)
                        .intoMemorySegment(ALL, o + 192, LE);
                group = small.rearrange(ODD_GROUPS);
                magic = group.mul(-MAGIC);
                u1.and(0xff)
                        .or(MAGIC_BITS)
                        .reinterpretAsFloats()
                        .fma(group, magic)
                        .intoMemorySegment(ALL, o + 256, LE);
                u1.and(0xff00)
                        .or(MAGIC_BITS)
                        .reinterpretAsFloats()
                        .fma(group, magic)
                        .intoMemorySegment(ALL, o + 320, LE);
                u1.and(0xff0000)
                        .or(MAGIC_BITS)
                        .reinterpretAsFloats()
                        .fma(group, magic)
                        .intoMemorySegment(ALL, o + 384, LE);
                u1.lanewise(LSHR, 8)
                        .and(0xff0000)
                        .or(MAGIC_BITS)
                        .reinterpretAsFloats()
                        .fma(group, magic)
                        .intoMemorySegment(ALL, o + 448, LE);
            }
        }
    }

    static void q6k(long w, long rowStride, int rows, int cols, long x, long xStride, int count, long lanes) {
        // A single row of activations needs but the first of the lanes.
        long working = lanes + 64L * rows;
        for (int b = 0; b < cols / 256; b++) {
            long record = Memory.known(x + SIXTEENTHS_BYTES * b);
            float unit = Memory.getFloat(record + SCALE);
            for (int r = 0; r < rows; r++) {
                long p = Memory.known(w + rowStride * r + 210L * b);
                long sums = Memory.known(working + 128L * r);
                float factor = Memory.getHalf(p + 208) * unit;
                for (int h = 0; h < 2; h++) {
                    long q = Memory.known(record + HALF_BYTES * h);
                    FloatVector small = (FloatVector) LongVector.broadcast(L128, Memory.getLong(p + 192 + 8L * h))
                            .reinterpretAsBytes()
                            .convertShape(B2F, F, 0);
                    IntVector z = IntVector.fromMemorySegment(I, ALL, p + 64L * h, LE);
                    IntVector bits = ((IntVector) IntVector.fromMemorySegment(I256, ALL, p + 128 + 32L * h, LE)
                                    .reinterpretShape(I, 0))
                            .rearrange(LOWER_HALF);
                    ShortVector u0 = z.and(NIBBLES)
                            .or(bits.lanewise(LSHL, SHIFTS_4_2).and(UPPER_BITS))
                            .reinterpretAsShorts();
                    ShortVector u1 = z.lanewise(LSHR, 4)
                            .and(NIBBLES)
                            .or(bits.lanewise(LSHR, SHIFTS_0_2).and(UPPER_BITS))
                            .reinterpretAsShorts();
                    IntVector v;
                    v = u0.mul(ShortVector.fromMemorySegment(S, ALL, q, LE))
                            .add(ShortVector.fromMemorySegment(S, ALL, record + STARTS + 128L * h, LE))
                            .add(u0.lanewise(LSHR, 8).mul(ShortVector.fromMemorySegment(S, ALL, q + 64, LE)))
                            .reinterpretAsInts();
                    v = v.add(v.lanewise(LSHL, 16)).and(UPPER_HALVES);
                    FloatVector sum = ((FloatVector) v.convertShape(I2F, F, 0)).mul(small.rearrange(FIRST_SIXTEENTHS));
                    v = u1.mul(ShortVector.fromMemorySegment(S, ALL, q + 128, LE))
                            .add(ShortVector.fromMemorySegment(S, ALL, record + STARTS + 128L * h + 64, LE))
                            .add(u1.lanewise(LSHR, 8).mul(ShortVector.fromMemorySegment(S, ALL, q + 192, LE)))
                            .reinterpretAsInts();
                    v = v.add(v.lanewise(LSHL, 16)).and(UPPER_HALVES);
                    ((FloatVector) v.convertShape(I2F, F, 0))
                            .fma(small.rearrange(SECOND_SIXTEENTHS), sum)
                            .intoMemorySegment(ALL, sums + 64L * h, LE);
                }
                FloatVector whole = FloatVector.fromMemorySegment(F, ALL, sums, LE)
                        .add(FloatVector.fromMemorySegment(F, ALL, sums + 64, LE));
                long at = Memory.known(lanes + 64L * r);
                whole.fma(FloatVector.broadcast(F, factor), FloatVector.fromMemorySegment(F, ALL, at, LE))
                        .intoMemorySegment(ALL, at, LE);
            }
        }
    }

    static void unpackQ6k(long w, long rowStride, int rows, long records) {
        for (int r = 0; r < rows; r++) {
            long record = Memory.known(records + SuperBlockPanels.RECORD_BYTES * r);
            long p = Memory.known(w + rowStride * r);
            FloatVector.zero(F).intoMemorySegment(ALL, record + SuperBlockPanels.corrections(0), LE);
            SuperBlockPanels.putScale(record, Memory.getHalf(p + 208));
            for (int h = 0; h < 2; h++) {
                long o = Memory.known(record + HALF_FLOAT_BYTES * h);
                long scales = Memory.getLong(p + 192 + 8L * h);
                IntVector z = IntVector.fromMemorySegment(I, ALL, p + 64L * h, LE);
                IntVector bits = ((IntVector) IntVector.fromMemorySegment(I256, ALL, p + 128 + 32L * h, LE)
                                .reinterpretShape(I, 0))
                        .rearrange(LOWER_HALF)
                        .lanewise(ROL, SHIFTS_4_2);
                // A loop for the sake of the compiler, which does not inline twice as much in every process.
                for (int upper = 0; upper < 2; upper++) {
                    long to = Memory.known(o + 256L * upper);
                    FloatVector group = ((FloatVector) LongVector.broadcast(L128, scales >>> 32 * upper)
                                    .reinterpretAsBytes()
                                    .convertShape(B2F, F, 0))
                            .rearrange(FIRST_SIXTEENTHS);
                    FloatVector second = group.mul(-(MAGIC + 8192));
                    FloatVector third = group.mul(-(MAGIC + 2097152));
                    IntVector u = z.lanewise(LSHR, 4 * upper)
                            .and(NIBBLES)
                            .or(bits.lanewise(ROR, 4 * upper).and(UPPER_BITS));
                    u.and(0xff)
                            .or(MAGIC_BITS)
                            .reinterpretAsFloats()
                            .sub(MAGIC + 32)
                            .mul(group)
                            .intoMemorySegment(ALL, to, LE);
                    u.and(0xff00)
                            .or(MAGIC_BITS)
                            .reinterpretAsFloats()
                            .fma(group, second)
                            .intoMemorySegment(ALL, to + 64, LE);
                    u.and(0xff0000)
                            .or(MAGIC_BITS)
                            .reinterpretAsFloats()
                            .fma(group, third)
                            .intoMemorySegment(ALL, to + 128, LE);
                    u.lanewise(LSHR, 8)
                            .and(0xff0000)
                            .or(MAGIC_BITS)
                            .reinterpretAsFloats()
                            .fma(group, third)
                            .intoMemorySegment(ALL, to + 192, LE);
                }
            }
        }
    }
}
