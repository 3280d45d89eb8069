package dev.prefetch.backend.cpu;

import static dev.prefetch.backend.cpu.Memory.ALL;
import static dev.prefetch.backend.cpu.VectorActivations.SCALES;
import static dev.prefetch.backend.cpu.VectorActivations.SUPER_BLOCK_BYTES;
import static dev.prefetch.backend.cpu.VectorSuperBlocks.FIFTH_BITS;
import static dev.prefetch.backend.cpu.VectorSuperBlocks.NIBBLES;
import static dev.prefetch.backend.cpu.VectorSuperBlocks.UPPER_BITS;
import static dev.prefetch.backend.cpu.VectorSuperBlocks.UPPER_HALVES;
import static dev.prefetch.backend.cpu.Vectors.LE;
import static jdk.incubator.vector.VectorOperators.B2F;
import static jdk.incubator.vector.VectorOperators.I2F;
import static jdk.incubator.vector.VectorOperators.LSHL;
import static jdk.incubator.vector.VectorOperators.LSHR;

import java.util.function.IntUnaryOperator;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.IntVector;
import jdk.incubator.vector.LongVector;
import jdk.incubator.vector.ShortVector;
import jdk.incubator.vector.VectorShuffle;
import jdk.incubator.vector.VectorSpecies;

/**
 * Matrix-vector kernels for super-blocks of 256 with vectors of 512 bits, where a vector of bytes spans several groups with
 * scales of their own. Otherwise as {@link VectorSuperBlocks}.
 *
 * <p>Without helpers, and half a super-block at a time: with the whole of it in one body, the compiler left one vector in
 * three of four processes as an object, which was allocated for every block and cost a quarter of the speed. For the same
 * reason each format has a kernel for a single row of activations and one for several; both compute the same in the same
 * order. The loop over rows of activations has no constant step, so that it is not unrolled.
 */
final class WideSuperBlocks {

    private static final VectorSpecies<Short> S = ShortVector.SPECIES_512;
    private static final VectorSpecies<Integer> I = IntVector.SPECIES_512;
    private static final VectorSpecies<Integer> I256 = IntVector.SPECIES_256;
    private static final VectorSpecies<Float> F = FloatVector.SPECIES_512;
    private static final VectorSpecies<Long> L128 = LongVector.SPECIES_128;

    /** Bytes of the multipliers of half a super-block. */
    private static final long HALF_BYTES = 256;

    private static final short NIBBLE_PAIRS = 0x0f0f;

    private WideSuperBlocks() {}

    /** Groups of 32 in the order of {@link VectorActivations}: two to a vector. */
    private static final class Groups {

        static final VectorShuffle<Float> EVEN = shuffle(i -> i / 8 * 2);
        static final VectorShuffle<Float> ODD = shuffle(i -> 1 + i / 8 * 2);

        /** The lanes that belong to minima. */
        static final FloatVector MINIMA = lanes(4, 8);

        private Groups() {}
    }

    /** Groups of 16: four to a vector. */
    private static final class Sixteenths {

        static final VectorShuffle<Float> FIRST = shuffle(i -> i / 4);
        static final VectorShuffle<Float> SECOND = shuffle(i -> 4 + i / 4);

        /** The lanes that belong to the zero point. */
        static final FloatVector ZERO_POINT = lanes(8, 16);

        private Sixteenths() {}
    }

    private static final VectorShuffle<Integer> LOWER_HALF = VectorShuffle.fromOp(I, i -> i % 8);
    private static final IntVector SHIFTS_0_2 = shifts(0, 2);
    private static final IntVector SHIFTS_3_1 = shifts(3, 1);
    private static final IntVector SHIFTS_4_2 = shifts(4, 2);

    private static IntVector shifts(int lower, int upper) {
        int[] shifts = new int[16];
        for (int i = 0; i < 16; i++) {
            shifts[i] = i < 8 ? lower : upper;
        }
        return IntVector.fromArray(I, shifts, 0);
    }

    /** 1 in the lanes {@code from <= i < to}, 0 in the others. */
    private static FloatVector lanes(int from, int to) {
        float[] lanes = new float[16];
        for (int i = from; i < to; i++) {
            lanes[i] = 1;
        }
        return FloatVector.fromArray(F, lanes, 0);
    }

    private static VectorShuffle<Float> shuffle(IntUnaryOperator source) {
        return VectorShuffle.fromOp(F, source);
    }

    static void q4kSingle(long w, long rowStride, int rows, int cols, long x, long xStride, int count, long lanes) {
        for (int b = 0; b < cols / 256; b++) {
            for (int r = 0; r < rows; r++) {
                long p = Memory.known(w + rowStride * r + 144L * b);
                int s0 = Memory.getInt(p + 4);
                int s1 = Memory.getInt(p + 8);
                int s2 = Memory.getInt(p + 12);
                int scalesHigh = s2 & 0x0f0f0f0f | (s0 >>> 6 & 0x03030303) << 4;
                int minimaHigh = s2 >>> 4 & 0x0f0f0f0f | (s1 >>> 6 & 0x03030303) << 4;
                // For either half 4 scales, then 4 minima.
                long smallLow = s0 & 0x3f3f3f3f | (long) (s1 & 0x3f3f3f3f) << 32;
                long smallHigh = scalesHigh | (long) minimaHigh << 32;
                FloatVector d = FloatVector.broadcast(F, Memory.getHalf(p));
                FloatVector dmin =
                        FloatVector.broadcast(F, Memory.getHalf(p + 2)).mul(Groups.MINIMA);
                long at = Memory.known(lanes + 64L * r);
                FloatVector total = FloatVector.fromMemorySegment(F, ALL, at, LE);
                for (int h = 0; h < 2; h++) {
                    long q = Memory.known(x + SUPER_BLOCK_BYTES * b + HALF_BYTES * h);
                    long qs = Memory.known(x + SUPER_BLOCK_BYTES * b + SCALES + 64L * h);
                    FloatVector small = (FloatVector) LongVector.broadcast(L128, h == 0 ? smallLow : smallHigh)
                            .reinterpretAsBytes()
                            .convertShape(B2F, F, 0);
                    FloatVector scales = small.mul(FloatVector.fromMemorySegment(F, ALL, qs, LE));
                    ShortVector z = ShortVector.fromMemorySegment(S, ALL, p + 16 + 64L * h, LE);
                    ShortVector u0 = z.and(NIBBLE_PAIRS);
                    ShortVector u1 = z.lanewise(LSHR, 4).and(NIBBLE_PAIRS);
                    IntVector v;
                    v = u0.mul(ShortVector.fromMemorySegment(S, ALL, q, LE))
                            .add(u0.lanewise(LSHR, 8).mul(ShortVector.fromMemorySegment(S, ALL, q + 64, LE)))
                            .reinterpretAsInts();
                    v = v.add(v.lanewise(LSHL, 16)).and(UPPER_HALVES);
                    FloatVector sum = ((FloatVector) v.convertShape(I2F, F, 0)).mul(scales.rearrange(Groups.EVEN));
                    v = u1.mul(ShortVector.fromMemorySegment(S, ALL, q + 128, LE))
                            .add(u1.lanewise(LSHR, 8).mul(ShortVector.fromMemorySegment(S, ALL, q + 192, LE)))
                            .reinterpretAsInts();
                    v = v.add(v.lanewise(LSHL, 16)).and(UPPER_HALVES);
                    sum = ((FloatVector) v.convertShape(I2F, F, 0)).fma(scales.rearrange(Groups.ODD), sum);
                    total = scales.fma(dmin, sum.fma(d, total));
                }
                total.intoMemorySegment(ALL, at, LE);
            }
        }
    }

    static void q4k(long w, long rowStride, int rows, int cols, long x, long xStride, int count, long lanes) {
        for (int b = 0; b < cols / 256; b++) {
            for (int r = 0; r < rows; r++) {
                long p = Memory.known(w + rowStride * r + 144L * b);
                int s0 = Memory.getInt(p + 4);
                int s1 = Memory.getInt(p + 8);
                int s2 = Memory.getInt(p + 12);
                int scalesHigh = s2 & 0x0f0f0f0f | (s0 >>> 6 & 0x03030303) << 4;
                int minimaHigh = s2 >>> 4 & 0x0f0f0f0f | (s1 >>> 6 & 0x03030303) << 4;
                // For either half 4 scales, then 4 minima.
                long smallLow = s0 & 0x3f3f3f3f | (long) (s1 & 0x3f3f3f3f) << 32;
                long smallHigh = scalesHigh | (long) minimaHigh << 32;
                FloatVector d = FloatVector.broadcast(F, Memory.getHalf(p));
                FloatVector dmin =
                        FloatVector.broadcast(F, Memory.getHalf(p + 2)).mul(Groups.MINIMA);
                for (int h = 0; h < 2; h++) {
                    FloatVector small = (FloatVector) LongVector.broadcast(L128, h == 0 ? smallLow : smallHigh)
                            .reinterpretAsBytes()
                            .convertShape(B2F, F, 0);
                    ShortVector z = ShortVector.fromMemorySegment(S, ALL, p + 16 + 64L * h, LE);
                    ShortVector u0 = z.and(NIBBLE_PAIRS);
                    ShortVector u1 = z.lanewise(LSHR, 4).and(NIBBLE_PAIRS);
                    long at = lanes + 64L * r * count;
                    long end = at + 64L * count;
                    long q = x + SUPER_BLOCK_BYTES * b + HALF_BYTES * h;
                    long toScales = SCALES + (64 - HALF_BYTES) * h;
                    do {
                        q = Memory.known(q);
                        at = Memory.known(at);
                        long qs = Memory.known(q + toScales);
                        FloatVector scales = small.mul(FloatVector.fromMemorySegment(F, ALL, qs, LE));
                        FloatVector total = FloatVector.fromMemorySegment(F, ALL, at, LE);
                        IntVector v;
                        v = u0.mul(ShortVector.fromMemorySegment(S, ALL, q, LE))
                                .add(u0.lanewise(LSHR, 8).mul(ShortVector.fromMemorySegment(S, ALL, q + 64, LE)))
                                .reinterpretAsInts();
                        v = v.add(v.lanewise(LSHL, 16)).and(UPPER_HALVES);
                        FloatVector sum = ((FloatVector) v.convertShape(I2F, F, 0)).mul(scales.rearrange(Groups.EVEN));
                        v = u1.mul(ShortVector.fromMemorySegment(S, ALL, q + 128, LE))
                                .add(u1.lanewise(LSHR, 8).mul(ShortVector.fromMemorySegment(S, ALL, q + 192, LE)))
                                .reinterpretAsInts();
                        v = v.add(v.lanewise(LSHL, 16)).and(UPPER_HALVES);
                        sum = ((FloatVector) v.convertShape(I2F, F, 0)).fma(scales.rearrange(Groups.ODD), sum);
                        total = scales.fma(dmin, sum.fma(d, total));
                        total.intoMemorySegment(ALL, at, LE);
                        at += 64;
                        q += xStride;
                    } while (at < end);
                }
            }
        }
    }

    static void q5kSingle(long w, long rowStride, int rows, int cols, long x, long xStride, int count, long lanes) {
        for (int b = 0; b < cols / 256; b++) {
            for (int r = 0; r < rows; r++) {
                long p = Memory.known(w + rowStride * r + 176L * b);
                int s0 = Memory.getInt(p + 4);
                int s1 = Memory.getInt(p + 8);
                int s2 = Memory.getInt(p + 12);
                int scalesHigh = s2 & 0x0f0f0f0f | (s0 >>> 6 & 0x03030303) << 4;
                int minimaHigh = s2 >>> 4 & 0x0f0f0f0f | (s1 >>> 6 & 0x03030303) << 4;
                // For either half 4 scales, then 4 minima.
                long smallLow = s0 & 0x3f3f3f3f | (long) (s1 & 0x3f3f3f3f) << 32;
                long smallHigh = scalesHigh | (long) minimaHigh << 32;
                FloatVector d = FloatVector.broadcast(F, Memory.getHalf(p));
                FloatVector dmin =
                        FloatVector.broadcast(F, Memory.getHalf(p + 2)).mul(Groups.MINIMA);
                IntVector fifth =
                        IntVector.fromMemorySegment(I, ALL, p + 16, LE).rearrange(LOWER_HALF);
                long at = Memory.known(lanes + 64L * r);
                FloatVector total = FloatVector.fromMemorySegment(F, ALL, at, LE);
                for (int h = 0; h < 2; h++) {
                    long q = Memory.known(x + SUPER_BLOCK_BYTES * b + HALF_BYTES * h);
                    long qs = Memory.known(x + SUPER_BLOCK_BYTES * b + SCALES + 64L * h);
                    FloatVector small = (FloatVector) LongVector.broadcast(L128, h == 0 ? smallLow : smallHigh)
                            .reinterpretAsBytes()
                            .convertShape(B2F, F, 0);
                    FloatVector scales = small.mul(FloatVector.fromMemorySegment(F, ALL, qs, LE));
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
                    FloatVector sum = ((FloatVector) v.convertShape(I2F, F, 0)).mul(scales.rearrange(Groups.EVEN));
                    v = u1.mul(ShortVector.fromMemorySegment(S, ALL, q + 128, LE))
                            .add(u1.lanewise(LSHR, 8).mul(ShortVector.fromMemorySegment(S, ALL, q + 192, LE)))
                            .reinterpretAsInts();
                    v = v.add(v.lanewise(LSHL, 16)).and(UPPER_HALVES);
                    sum = ((FloatVector) v.convertShape(I2F, F, 0)).fma(scales.rearrange(Groups.ODD), sum);
                    total = scales.fma(dmin, sum.fma(d, total));
                }
                total.intoMemorySegment(ALL, at, LE);
            }
        }
    }

    static void q5k(long w, long rowStride, int rows, int cols, long x, long xStride, int count, long lanes) {
        for (int b = 0; b < cols / 256; b++) {
            for (int r = 0; r < rows; r++) {
                long p = Memory.known(w + rowStride * r + 176L * b);
                int s0 = Memory.getInt(p + 4);
                int s1 = Memory.getInt(p + 8);
                int s2 = Memory.getInt(p + 12);
                int scalesHigh = s2 & 0x0f0f0f0f | (s0 >>> 6 & 0x03030303) << 4;
                int minimaHigh = s2 >>> 4 & 0x0f0f0f0f | (s1 >>> 6 & 0x03030303) << 4;
                // For either half 4 scales, then 4 minima.
                long smallLow = s0 & 0x3f3f3f3f | (long) (s1 & 0x3f3f3f3f) << 32;
                long smallHigh = scalesHigh | (long) minimaHigh << 32;
                FloatVector d = FloatVector.broadcast(F, Memory.getHalf(p));
                FloatVector dmin =
                        FloatVector.broadcast(F, Memory.getHalf(p + 2)).mul(Groups.MINIMA);
                IntVector fifth =
                        IntVector.fromMemorySegment(I, ALL, p + 16, LE).rearrange(LOWER_HALF);
                for (int h = 0; h < 2; h++) {
                    FloatVector small = (FloatVector) LongVector.broadcast(L128, h == 0 ? smallLow : smallHigh)
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
                    long at = lanes + 64L * r * count;
                    long end = at + 64L * count;
                    long q = x + SUPER_BLOCK_BYTES * b + HALF_BYTES * h;
                    long toScales = SCALES + (64 - HALF_BYTES) * h;
                    do {
                        q = Memory.known(q);
                        at = Memory.known(at);
                        long qs = Memory.known(q + toScales);
                        FloatVector scales = small.mul(FloatVector.fromMemorySegment(F, ALL, qs, LE));
                        FloatVector total = FloatVector.fromMemorySegment(F, ALL, at, LE);
                        IntVector v;
                        v = u0.mul(ShortVector.fromMemorySegment(S, ALL, q, LE))
                                .add(u0.lanewise(LSHR, 8).mul(ShortVector.fromMemorySegment(S, ALL, q + 64, LE)))
                                .reinterpretAsInts();
                        v = v.add(v.lanewise(LSHL, 16)).and(UPPER_HALVES);
                        FloatVector sum = ((FloatVector) v.convertShape(I2F, F, 0)).mul(scales.rearrange(Groups.EVEN));
                        v = u1.mul(ShortVector.fromMemorySegment(S, ALL, q + 128, LE))
                                .add(u1.lanewise(LSHR, 8).mul(ShortVector.fromMemorySegment(S, ALL, q + 192, LE)))
                                .reinterpretAsInts();
                        v = v.add(v.lanewise(LSHL, 16)).and(UPPER_HALVES);
                        sum = ((FloatVector) v.convertShape(I2F, F, 0)).fma(scales.rearrange(Groups.ODD), sum);
                        total = scales.fma(dmin, sum.fma(d, total));
                        total.intoMemorySegment(ALL, at, LE);
                        at += 64;
                        q += xStride;
                    } while (at < end);
                }
            }
        }
    }

    static void q6kSingle(long w, long rowStride, int rows, int cols, long x, long xStride, int count, long lanes) {
        for (int b = 0; b < cols / 256; b++) {
            for (int r = 0; r < rows; r++) {
                long p = Memory.known(w + rowStride * r + 210L * b);
                FloatVector d = FloatVector.broadcast(F, Memory.getHalf(p + 208));
                long at = Memory.known(lanes + 64L * r);
                FloatVector total = FloatVector.fromMemorySegment(F, ALL, at, LE);
                for (int h = 0; h < 2; h++) {
                    long q = Memory.known(x + SUPER_BLOCK_BYTES * b + HALF_BYTES * h);
                    long qs = Memory.known(x + SUPER_BLOCK_BYTES * b + SCALES + 64L * h);
                    FloatVector small = (FloatVector) LongVector.broadcast(L128, Memory.getLong(p + 192 + 8L * h))
                            .reinterpretAsBytes()
                            .convertShape(B2F, F, 0);
                    FloatVector scales = small.mul(FloatVector.fromMemorySegment(F, ALL, qs, LE));
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
                    // The zero point first.
                    FloatVector sum = scales.mul(Sixteenths.ZERO_POINT);
                    v = u0.mul(ShortVector.fromMemorySegment(S, ALL, q, LE))
                            .add(u0.lanewise(LSHR, 8).mul(ShortVector.fromMemorySegment(S, ALL, q + 64, LE)))
                            .reinterpretAsInts();
                    v = v.add(v.lanewise(LSHL, 16)).and(UPPER_HALVES);
                    sum = ((FloatVector) v.convertShape(I2F, F, 0)).fma(scales.rearrange(Sixteenths.FIRST), sum);
                    v = u1.mul(ShortVector.fromMemorySegment(S, ALL, q + 128, LE))
                            .add(u1.lanewise(LSHR, 8).mul(ShortVector.fromMemorySegment(S, ALL, q + 192, LE)))
                            .reinterpretAsInts();
                    v = v.add(v.lanewise(LSHL, 16)).and(UPPER_HALVES);
                    sum = ((FloatVector) v.convertShape(I2F, F, 0)).fma(scales.rearrange(Sixteenths.SECOND), sum);
                    total = sum.fma(d, total);
                }
                total.intoMemorySegment(ALL, at, LE);
            }
        }
    }

    static void q6k(long w, long rowStride, int rows, int cols, long x, long xStride, int count, long lanes) {
        for (int b = 0; b < cols / 256; b++) {
            for (int r = 0; r < rows; r++) {
                long p = Memory.known(w + rowStride * r + 210L * b);
                FloatVector d = FloatVector.broadcast(F, Memory.getHalf(p + 208));
                for (int h = 0; h < 2; h++) {
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
                    long at = lanes + 64L * r * count;
                    long end = at + 64L * count;
                    long q = x + SUPER_BLOCK_BYTES * b + HALF_BYTES * h;
                    long toScales = SCALES + (64 - HALF_BYTES) * h;
                    do {
                        q = Memory.known(q);
                        at = Memory.known(at);
                        long qs = Memory.known(q + toScales);
                        FloatVector scales = small.mul(FloatVector.fromMemorySegment(F, ALL, qs, LE));
                        FloatVector total = FloatVector.fromMemorySegment(F, ALL, at, LE);
                        IntVector v;
                        // The zero point first.
                        FloatVector sum = scales.mul(Sixteenths.ZERO_POINT);
                        v = u0.mul(ShortVector.fromMemorySegment(S, ALL, q, LE))
                                .add(u0.lanewise(LSHR, 8).mul(ShortVector.fromMemorySegment(S, ALL, q + 64, LE)))
                                .reinterpretAsInts();
                        v = v.add(v.lanewise(LSHL, 16)).and(UPPER_HALVES);
                        sum = ((FloatVector) v.convertShape(I2F, F, 0)).fma(scales.rearrange(Sixteenths.FIRST), sum);
                        v = u1.mul(ShortVector.fromMemorySegment(S, ALL, q + 128, LE))
                                .add(u1.lanewise(LSHR, 8).mul(ShortVector.fromMemorySegment(S, ALL, q + 192, LE)))
                                .reinterpretAsInts();
                        v = v.add(v.lanewise(LSHL, 16)).and(UPPER_HALVES);
                        sum = ((FloatVector) v.convertShape(I2F, F, 0)).fma(scales.rearrange(Sixteenths.SECOND), sum);
                        total = sum.fma(d, total);
                        total.intoMemorySegment(ALL, at, LE);
                        at += 64;
                        q += xStride;
                    } while (at < end);
                }
            }
        }
    }
}
