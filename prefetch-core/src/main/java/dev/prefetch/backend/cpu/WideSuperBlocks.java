package dev.prefetch.backend.cpu;

import static dev.prefetch.backend.cpu.Memory.ALL;
import static dev.prefetch.backend.cpu.VectorActivations.SCALES;
import static dev.prefetch.backend.cpu.VectorActivations.SUMS;
import static dev.prefetch.backend.cpu.VectorActivations.SUPER_BLOCK_BYTES;
import static dev.prefetch.backend.cpu.VectorSuperBlocks.FIFTH_BITS;
import static dev.prefetch.backend.cpu.VectorSuperBlocks.NIBBLES;
import static dev.prefetch.backend.cpu.VectorSuperBlocks.UPPER_BITS;
import static dev.prefetch.backend.cpu.VectorSuperBlocks.UPPER_HALVES;
import static dev.prefetch.backend.cpu.Vectors.LE;
import static jdk.incubator.vector.VectorOperators.I2F;
import static jdk.incubator.vector.VectorOperators.LSHL;
import static jdk.incubator.vector.VectorOperators.LSHR;
import static jdk.incubator.vector.VectorOperators.ZERO_EXTEND_B2I;

import java.util.function.IntUnaryOperator;
import jdk.incubator.vector.ByteVector;
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
 * <p>Straight-line and without helpers: the compiler stops inlining what is not marked for it in the JDK long before the end
 * of such a method. Bytes are unpacked once for all rows of activations.
 */
final class WideSuperBlocks {

    private static final VectorSpecies<Short> S = ShortVector.SPECIES_512;
    private static final VectorSpecies<Integer> I = IntVector.SPECIES_512;
    private static final VectorSpecies<Float> F = FloatVector.SPECIES_512;
    private static final VectorSpecies<Byte> B128 = ByteVector.SPECIES_128;
    private static final VectorSpecies<Long> L128 = LongVector.SPECIES_128;

    private WideSuperBlocks() {}

    /** Groups of 32 in the order of {@link VectorActivations}: two to a vector. */
    private static final class Groups {

        static final VectorShuffle<Float> FIRST = shuffle(i -> i / 8 * 2);
        static final VectorShuffle<Float> SECOND = shuffle(i -> 1 + i / 8 * 2);
        static final VectorShuffle<Float> THIRD = shuffle(i -> 4 + i / 8 * 2);
        static final VectorShuffle<Float> FOURTH = shuffle(i -> 5 + i / 8 * 2);

        private Groups() {}
    }

    /** Groups of 16: four to a vector. */
    private static final class Sixteenths {

        static final VectorShuffle<Float> FIRST = shuffle(i -> i / 4);
        static final VectorShuffle<Float> SECOND = shuffle(i -> 4 + i / 4);
        static final VectorShuffle<Float> THIRD = shuffle(i -> 8 + i / 4);
        static final VectorShuffle<Float> FOURTH = shuffle(i -> 12 + i / 4);

        private Sixteenths() {}
    }

    private static final VectorShuffle<Integer> LOWER_HALF = VectorShuffle.fromOp(I, i -> i % 8);
    private static final VectorShuffle<Integer> UPPER_HALF = VectorShuffle.fromOp(I, i -> 8 + i % 8);
    private static final IntVector SHIFTS_0_2 = shifts(0, 2);
    private static final IntVector SHIFTS_1_3 = shifts(1, 3);
    private static final IntVector SHIFTS_3_1 = shifts(3, 1);
    private static final IntVector SHIFTS_4_2 = shifts(4, 2);

    /** The lanes that belong to minima. */
    private static final FloatVector MINIMA =
            FloatVector.fromArray(F, new float[] {0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1}, 0);

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
        for (int b = 0; b < cols / 256; b++) {
            for (int r = 0; r < rows; r++) {
                long p = Memory.known(w + rowStride * r + 144L * b);
                int s0 = Memory.getInt(p + 4);
                int s1 = Memory.getInt(p + 8);
                int s2 = Memory.getInt(p + 12);
                int scalesHigh = s2 & 0x0f0f0f0f | (s0 >>> 6 & 0x03030303) << 4;
                int minimaHigh = s2 >>> 4 & 0x0f0f0f0f | (s1 >>> 6 & 0x03030303) << 4;
                long packedScales = s0 & 0x3f3f3f3f | (long) scalesHigh << 32;
                long packedMinima = s1 & 0x3f3f3f3f | (long) minimaHigh << 32;
                // 8 scales, then 8 minima.
                FloatVector small = (FloatVector) LongVector.broadcast(L128, packedScales)
                        .withLane(1, packedMinima)
                        .reinterpretAsBytes()
                        .convertShape(ZERO_EXTEND_B2I, I, 0)
                        .convertShape(I2F, F, 0);
                FloatVector d = FloatVector.broadcast(F, Memory.getHalf(p));
                FloatVector dmin =
                        FloatVector.broadcast(F, Memory.getHalf(p + 2)).mul(MINIMA);
                IntVector z0 = IntVector.fromMemorySegment(I, ALL, p + 16, LE);
                IntVector z1 = IntVector.fromMemorySegment(I, ALL, p + 80, LE);
                IntVector u0 = z0.and(NIBBLES);
                IntVector u1 = z0.lanewise(LSHR, 4).and(NIBBLES);
                IntVector u2 = z1.and(NIBBLES);
                IntVector u3 = z1.lanewise(LSHR, 4).and(NIBBLES);
                for (int t = 0; t < count; t++) {
                    long q = Memory.known(x + xStride * t + SUPER_BLOCK_BYTES * b);
                    long at = Memory.known(lanes + 64L * (r * count + t));
                    FloatVector scales = small.mul(FloatVector.fromMemorySegment(F, ALL, q + SCALES, LE));
                    IntVector v;
                    FloatVector sum;
                    v = u0.reinterpretAsShorts()
                            .mul(ShortVector.fromMemorySegment(S, ALL, q, LE))
                            .add(u0.lanewise(LSHR, 8)
                                    .reinterpretAsShorts()
                                    .mul(ShortVector.fromMemorySegment(S, ALL, q + 64, LE)))
                            .reinterpretAsInts();
                    v = v.add(v.lanewise(LSHL, 16)).and(UPPER_HALVES);
                    sum = ((FloatVector) v.convertShape(I2F, F, 0)).mul(scales.rearrange(Groups.FIRST));
                    v = u1.reinterpretAsShorts()
                            .mul(ShortVector.fromMemorySegment(S, ALL, q + 128, LE))
                            .add(u1.lanewise(LSHR, 8)
                                    .reinterpretAsShorts()
                                    .mul(ShortVector.fromMemorySegment(S, ALL, q + 192, LE)))
                            .reinterpretAsInts();
                    v = v.add(v.lanewise(LSHL, 16)).and(UPPER_HALVES);
                    sum = ((FloatVector) v.convertShape(I2F, F, 0)).fma(scales.rearrange(Groups.SECOND), sum);
                    v = u2.reinterpretAsShorts()
                            .mul(ShortVector.fromMemorySegment(S, ALL, q + 256, LE))
                            .add(u2.lanewise(LSHR, 8)
                                    .reinterpretAsShorts()
                                    .mul(ShortVector.fromMemorySegment(S, ALL, q + 320, LE)))
                            .reinterpretAsInts();
                    v = v.add(v.lanewise(LSHL, 16)).and(UPPER_HALVES);
                    sum = ((FloatVector) v.convertShape(I2F, F, 0)).fma(scales.rearrange(Groups.THIRD), sum);
                    v = u3.reinterpretAsShorts()
                            .mul(ShortVector.fromMemorySegment(S, ALL, q + 384, LE))
                            .add(u3.lanewise(LSHR, 8)
                                    .reinterpretAsShorts()
                                    .mul(ShortVector.fromMemorySegment(S, ALL, q + 448, LE)))
                            .reinterpretAsInts();
                    v = v.add(v.lanewise(LSHL, 16)).and(UPPER_HALVES);
                    sum = ((FloatVector) v.convertShape(I2F, F, 0)).fma(scales.rearrange(Groups.FOURTH), sum);
                    sum = sum.fma(d, FloatVector.fromMemorySegment(F, ALL, at, LE));
                    scales.fma(dmin, sum).intoMemorySegment(ALL, at, LE);
                }
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
                long packedScales = s0 & 0x3f3f3f3f | (long) scalesHigh << 32;
                long packedMinima = s1 & 0x3f3f3f3f | (long) minimaHigh << 32;
                // 8 scales, then 8 minima.
                FloatVector small = (FloatVector) LongVector.broadcast(L128, packedScales)
                        .withLane(1, packedMinima)
                        .reinterpretAsBytes()
                        .convertShape(ZERO_EXTEND_B2I, I, 0)
                        .convertShape(I2F, F, 0);
                FloatVector d = FloatVector.broadcast(F, Memory.getHalf(p));
                FloatVector dmin =
                        FloatVector.broadcast(F, Memory.getHalf(p + 2)).mul(MINIMA);
                IntVector z0 = IntVector.fromMemorySegment(I, ALL, p + 48, LE);
                IntVector z1 = IntVector.fromMemorySegment(I, ALL, p + 112, LE);
                IntVector h = IntVector.fromMemorySegment(I, ALL, p + 16, LE).rearrange(LOWER_HALF);
                IntVector u0 = z0.and(NIBBLES).or(h.lanewise(LSHL, SHIFTS_4_2).and(FIFTH_BITS));
                IntVector u1 = z0.lanewise(LSHR, 4)
                        .and(NIBBLES)
                        .or(h.lanewise(LSHL, SHIFTS_3_1).and(FIFTH_BITS));
                IntVector u2 = z1.and(NIBBLES).or(h.lanewise(LSHR, SHIFTS_0_2).and(FIFTH_BITS));
                IntVector u3 = z1.lanewise(LSHR, 4)
                        .and(NIBBLES)
                        .or(h.lanewise(LSHR, SHIFTS_1_3).and(FIFTH_BITS));
                for (int t = 0; t < count; t++) {
                    long q = Memory.known(x + xStride * t + SUPER_BLOCK_BYTES * b);
                    long at = Memory.known(lanes + 64L * (r * count + t));
                    FloatVector scales = small.mul(FloatVector.fromMemorySegment(F, ALL, q + SCALES, LE));
                    IntVector v;
                    FloatVector sum;
                    v = u0.reinterpretAsShorts()
                            .mul(ShortVector.fromMemorySegment(S, ALL, q, LE))
                            .add(u0.lanewise(LSHR, 8)
                                    .reinterpretAsShorts()
                                    .mul(ShortVector.fromMemorySegment(S, ALL, q + 64, LE)))
                            .reinterpretAsInts();
                    v = v.add(v.lanewise(LSHL, 16)).and(UPPER_HALVES);
                    sum = ((FloatVector) v.convertShape(I2F, F, 0)).mul(scales.rearrange(Groups.FIRST));
                    v = u1.reinterpretAsShorts()
                            .mul(ShortVector.fromMemorySegment(S, ALL, q + 128, LE))
                            .add(u1.lanewise(LSHR, 8)
                                    .reinterpretAsShorts()
                                    .mul(ShortVector.fromMemorySegment(S, ALL, q + 192, LE)))
                            .reinterpretAsInts();
                    v = v.add(v.lanewise(LSHL, 16)).and(UPPER_HALVES);
                    sum = ((FloatVector) v.convertShape(I2F, F, 0)).fma(scales.rearrange(Groups.SECOND), sum);
                    v = u2.reinterpretAsShorts()
                            .mul(ShortVector.fromMemorySegment(S, ALL, q + 256, LE))
                            .add(u2.lanewise(LSHR, 8)
                                    .reinterpretAsShorts()
                                    .mul(ShortVector.fromMemorySegment(S, ALL, q + 320, LE)))
                            .reinterpretAsInts();
                    v = v.add(v.lanewise(LSHL, 16)).and(UPPER_HALVES);
                    sum = ((FloatVector) v.convertShape(I2F, F, 0)).fma(scales.rearrange(Groups.THIRD), sum);
                    v = u3.reinterpretAsShorts()
                            .mul(ShortVector.fromMemorySegment(S, ALL, q + 384, LE))
                            .add(u3.lanewise(LSHR, 8)
                                    .reinterpretAsShorts()
                                    .mul(ShortVector.fromMemorySegment(S, ALL, q + 448, LE)))
                            .reinterpretAsInts();
                    v = v.add(v.lanewise(LSHL, 16)).and(UPPER_HALVES);
                    sum = ((FloatVector) v.convertShape(I2F, F, 0)).fma(scales.rearrange(Groups.FOURTH), sum);
                    sum = sum.fma(d, FloatVector.fromMemorySegment(F, ALL, at, LE));
                    scales.fma(dmin, sum).intoMemorySegment(ALL, at, LE);
                }
            }
        }
    }

    static void q6k(long w, long rowStride, int rows, int cols, long x, long xStride, int count, long lanes) {
        for (int b = 0; b < cols / 256; b++) {
            for (int r = 0; r < rows; r++) {
                long p = Memory.known(w + rowStride * r + 210L * b);
                FloatVector small = (FloatVector)
                        ByteVector.fromMemorySegment(B128, ALL, p + 192, LE).castShape(F, 0);
                FloatVector d = FloatVector.broadcast(F, Memory.getHalf(p + 208));
                IntVector z0 = IntVector.fromMemorySegment(I, ALL, p, LE);
                IntVector z1 = IntVector.fromMemorySegment(I, ALL, p + 64, LE);
                IntVector high = IntVector.fromMemorySegment(I, ALL, p + 128, LE);
                IntVector h = high.rearrange(LOWER_HALF);
                IntVector u0 = z0.and(NIBBLES).or(h.lanewise(LSHL, SHIFTS_4_2).and(UPPER_BITS));
                IntVector u1 = z0.lanewise(LSHR, 4)
                        .and(NIBBLES)
                        .or(h.lanewise(LSHR, SHIFTS_0_2).and(UPPER_BITS));
                h = high.rearrange(UPPER_HALF);
                IntVector u2 = z1.and(NIBBLES).or(h.lanewise(LSHL, SHIFTS_4_2).and(UPPER_BITS));
                IntVector u3 = z1.lanewise(LSHR, 4)
                        .and(NIBBLES)
                        .or(h.lanewise(LSHR, SHIFTS_0_2).and(UPPER_BITS));
                for (int t = 0; t < count; t++) {
                    long q = Memory.known(x + xStride * t + SUPER_BLOCK_BYTES * b);
                    long at = Memory.known(lanes + 64L * (r * count + t));
                    FloatVector scales = small.mul(FloatVector.fromMemorySegment(F, ALL, q + SCALES, LE));
                    IntVector v;
                    // The zero point first.
                    FloatVector sum = small.mul(FloatVector.fromMemorySegment(F, ALL, q + SUMS, LE));
                    v = u0.reinterpretAsShorts()
                            .mul(ShortVector.fromMemorySegment(S, ALL, q, LE))
                            .add(u0.lanewise(LSHR, 8)
                                    .reinterpretAsShorts()
                                    .mul(ShortVector.fromMemorySegment(S, ALL, q + 64, LE)))
                            .reinterpretAsInts();
                    v = v.add(v.lanewise(LSHL, 16)).and(UPPER_HALVES);
                    sum = ((FloatVector) v.convertShape(I2F, F, 0)).fma(scales.rearrange(Sixteenths.FIRST), sum);
                    v = u1.reinterpretAsShorts()
                            .mul(ShortVector.fromMemorySegment(S, ALL, q + 128, LE))
                            .add(u1.lanewise(LSHR, 8)
                                    .reinterpretAsShorts()
                                    .mul(ShortVector.fromMemorySegment(S, ALL, q + 192, LE)))
                            .reinterpretAsInts();
                    v = v.add(v.lanewise(LSHL, 16)).and(UPPER_HALVES);
                    sum = ((FloatVector) v.convertShape(I2F, F, 0)).fma(scales.rearrange(Sixteenths.SECOND), sum);
                    v = u2.reinterpretAsShorts()
                            .mul(ShortVector.fromMemorySegment(S, ALL, q + 256, LE))
                            .add(u2.lanewise(LSHR, 8)
                                    .reinterpretAsShorts()
                                    .mul(ShortVector.fromMemorySegment(S, ALL, q + 320, LE)))
                            .reinterpretAsInts();
                    v = v.add(v.lanewise(LSHL, 16)).and(UPPER_HALVES);
                    sum = ((FloatVector) v.convertShape(I2F, F, 0)).fma(scales.rearrange(Sixteenths.THIRD), sum);
                    v = u3.reinterpretAsShorts()
                            .mul(ShortVector.fromMemorySegment(S, ALL, q + 384, LE))
                            .add(u3.lanewise(LSHR, 8)
                                    .reinterpretAsShorts()
                                    .mul(ShortVector.fromMemorySegment(S, ALL, q + 448, LE)))
                            .reinterpretAsInts();
                    v = v.add(v.lanewise(LSHL, 16)).and(UPPER_HALVES);
                    sum = ((FloatVector) v.convertShape(I2F, F, 0)).fma(scales.rearrange(Sixteenths.FOURTH), sum);
                    sum.fma(d, FloatVector.fromMemorySegment(F, ALL, at, LE)).intoMemorySegment(ALL, at, LE);
                }
            }
        }
    }
}
