package dev.prefetch.backend.cpu;

import static dev.prefetch.backend.cpu.Memory.ALL;
import static dev.prefetch.backend.cpu.VectorActivations.SCALES;
import static dev.prefetch.backend.cpu.VectorActivations.SUMS;
import static dev.prefetch.backend.cpu.VectorActivations.SUPER_BLOCK_BYTES;
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
 * Matrix-vector kernels for super-blocks of 256 with vectors of 128 or 256 bits; {@link WideSuperBlocks} has those for 512.
 *
 * <p>Elements are unpacked to unsigned bytes and multiplied as {@link VectorActivations} says; the sums of four stand in the
 * upper halves of int lanes, where they are converted to floats as they are, {@link VectorActivations#UPPER_HALF} fold.
 *
 * <p>Without helpers where the work is done, see {@link VectorGemm}. Parameters are those of {@link VectorMatvec}; the {@link #HEADER} bytes before the lanes are working space.
 */
final class VectorSuperBlocks {

    /** Working space: 8 scales and 8 minima as bytes, then 16 floats from byte 64 on. */
    static final long HEADER = 128;

    static final int NIBBLES = 0x0f0f0f0f;
    static final int FIFTH_BITS = 0x10101010;
    static final int UPPER_BITS = 0x30303030;
    static final int UPPER_HALVES = 0xffff0000;

    /** The scales {@code 2 * quarter} and {@code 2 * quarter + 1} of 8, four times each; of use with 256 bits only. */
    private static final VectorShuffle<Float> QUARTER_0 = pair(0);

    private static final VectorShuffle<Float> QUARTER_1 = pair(1);
    private static final VectorShuffle<Float> QUARTER_2 = pair(2);
    private static final VectorShuffle<Float> QUARTER_3 = pair(3);

    private VectorSuperBlocks() {}

    private static VectorShuffle<Float> pair(int quarter) {
        return VectorShuffle.fromOp(F, i -> (2 * quarter + i / 4) % LANES);
    }

    static void q4k(long w, long rowStride, int rows, int cols, long x, long xStride, int count, long lanes) {
        long header = Memory.known(lanes - HEADER);
        for (int b = 0; b < cols / 256; b++) {
            for (int r = 0; r < rows; r++) {
                long p = Memory.known(w + rowStride * r + 144L * b);
                unpackScales(p + 4, header);
                for (int t = 0; t < count; t++) {
                    long q = Memory.known(x + xStride * t + SUPER_BLOCK_BYTES * b);
                    long at = Memory.known(lanes + (long) BYTES * (r * count + t));
                    FloatVector minima = Vectors.zero();
                    for (int i = 0; i < 8; i += LANES) {
                        FloatVector scales = Vectors.toFloats(Vectors.unsignedBytesAsInts(header + i));
                        Vectors.store(scales.mul(Vectors.floats(q + SCALES + 4L * i)), header + 64 + 4L * i);
                        FloatVector m = Vectors.toFloats(Vectors.unsignedBytesAsInts(header + 8 + i));
                        minima = m.fma(Vectors.floats(q + SCALES + 32 + 4L * i), minima);
                    }
                    FloatVector d = Vectors.broadcastHalf(p);
                    FloatVector dmin = Vectors.broadcastHalf(p + 2);
                    FloatVector sum = Vectors.zero();
                    for (int i = 0; i < 128; i += BYTES) {
                        // 32 bytes hold two groups of 32 elements.
                        long m = Memory.known(q + 2L * (i + (i & 96)));
                        long s = header + 64 + (i >> 5 << 3);
                        IntVector z = IntVector.fromMemorySegment(I, ALL, p + 16 + i, LE);
                        IntVector u = z.and(NIBBLES);
                        IntVector v;
                        v = u.reinterpretAsShorts()
                                .mul(ShortVector.fromMemorySegment(S, ALL, m, LE))
                                .add(u.lanewise(LSHR, 8)
                                        .reinterpretAsShorts()
                                        .mul(ShortVector.fromMemorySegment(S, ALL, m + BYTES, LE)))
                                .reinterpretAsInts();
                        v = v.add(v.lanewise(LSHL, 16)).and(UPPER_HALVES);
                        sum = ((FloatVector) v.convertShape(I2F, F, 0))
                                .fma(FloatVector.broadcast(F, ALL.get(Memory.FLOAT, s)), sum);
                        u = z.lanewise(LSHR, 4).and(NIBBLES);
                        v = u.reinterpretAsShorts()
                                .mul(ShortVector.fromMemorySegment(S, ALL, m + 64, LE))
                                .add(u.lanewise(LSHR, 8)
                                        .reinterpretAsShorts()
                                        .mul(ShortVector.fromMemorySegment(S, ALL, m + 64 + BYTES, LE)))
                                .reinterpretAsInts();
                        v = v.add(v.lanewise(LSHL, 16)).and(UPPER_HALVES);
                        sum = ((FloatVector) v.convertShape(I2F, F, 0))
                                .fma(FloatVector.broadcast(F, ALL.get(Memory.FLOAT, s + 4)), sum);
                    }
                    sum = sum.fma(d, FloatVector.fromMemorySegment(F, ALL, at, LE));
                    minima.fma(dmin, sum).intoMemorySegment(ALL, at, LE);
                }
            }
        }
    }

    /** Unpacks the 12 bytes of scales and minima of {@code Q4_K} and {@code Q5_K} to 8 bytes each. */
    private static void unpackScales(long packed, long out) {
        int first = Memory.getInt(packed);
        int second = Memory.getInt(packed + 4);
        int third = Memory.getInt(packed + 8);
        long scalesHigh = (third & 0x0f0f0f0fL) | (first >>> 6 & 0x03030303L) << 4;
        long minimaHigh = (third >>> 4 & 0x0f0f0f0fL) | (second >>> 6 & 0x03030303L) << 4;
        Memory.putLong(out, (first & 0x3f3f3f3fL) | scalesHigh << 32);
        Memory.putLong(out + 8, (second & 0x3f3f3f3fL) | minimaHigh << 32);
    }

    static void q5k(long w, long rowStride, int rows, int cols, long x, long xStride, int count, long lanes) {
        long header = Memory.known(lanes - HEADER);
        for (int b = 0; b < cols / 256; b++) {
            for (int r = 0; r < rows; r++) {
                long p = Memory.known(w + rowStride * r + 176L * b);
                unpackScales(p + 4, header);
                for (int t = 0; t < count; t++) {
                    long q = Memory.known(x + xStride * t + SUPER_BLOCK_BYTES * b);
                    long at = Memory.known(lanes + (long) BYTES * (r * count + t));
                    FloatVector minima = Vectors.zero();
                    for (int i = 0; i < 8; i += LANES) {
                        FloatVector scales = Vectors.toFloats(Vectors.unsignedBytesAsInts(header + i));
                        Vectors.store(scales.mul(Vectors.floats(q + SCALES + 4L * i)), header + 64 + 4L * i);
                        FloatVector m = Vectors.toFloats(Vectors.unsignedBytesAsInts(header + 8 + i));
                        minima = m.fma(Vectors.floats(q + SCALES + 32 + 4L * i), minima);
                    }
                    FloatVector d = Vectors.broadcastHalf(p);
                    FloatVector dmin = Vectors.broadcastHalf(p + 2);
                    FloatVector sum = Vectors.zero();
                    for (int i = 0; i < 32; i += BYTES) {
                        IntVector high = IntVector.fromMemorySegment(I, ALL, p + 16 + i, LE);
                        for (int c = 0; c < 4; c++) {
                            long m = Memory.known(q + 128L * c + 2L * i);
                            long s = header + 64 + 8L * c;
                            IntVector z = IntVector.fromMemorySegment(I, ALL, p + 48 + 32L * c + i, LE);
                            IntVector u =
                                    z.and(NIBBLES).or(high.lanewise(LSHL, 4).and(FIFTH_BITS));
                            IntVector v;
                            v = u.reinterpretAsShorts()
                                    .mul(ShortVector.fromMemorySegment(S, ALL, m, LE))
                                    .add(u.lanewise(LSHR, 8)
                                            .reinterpretAsShorts()
                                            .mul(ShortVector.fromMemorySegment(S, ALL, m + BYTES, LE)))
                                    .reinterpretAsInts();
                            v = v.add(v.lanewise(LSHL, 16)).and(UPPER_HALVES);
                            sum = ((FloatVector) v.convertShape(I2F, F, 0))
                                    .fma(FloatVector.broadcast(F, ALL.get(Memory.FLOAT, s)), sum);
                            u = z.lanewise(LSHR, 4)
                                    .and(NIBBLES)
                                    .or(high.lanewise(LSHL, 3).and(FIFTH_BITS));
                            v = u.reinterpretAsShorts()
                                    .mul(ShortVector.fromMemorySegment(S, ALL, m + 64, LE))
                                    .add(u.lanewise(LSHR, 8)
                                            .reinterpretAsShorts()
                                            .mul(ShortVector.fromMemorySegment(S, ALL, m + 64 + BYTES, LE)))
                                    .reinterpretAsInts();
                            v = v.add(v.lanewise(LSHL, 16)).and(UPPER_HALVES);
                            sum = ((FloatVector) v.convertShape(I2F, F, 0))
                                    .fma(FloatVector.broadcast(F, ALL.get(Memory.FLOAT, s + 4)), sum);
                            high = high.lanewise(LSHR, 2);
                        }
                    }
                    sum = sum.fma(d, FloatVector.fromMemorySegment(F, ALL, at, LE));
                    minima.fma(dmin, sum).intoMemorySegment(ALL, at, LE);
                }
            }
        }
    }

    static void q6k(long w, long rowStride, int rows, int cols, long x, long xStride, int count, long lanes) {
        long header = Memory.known(lanes - HEADER);
        for (int b = 0; b < cols / 256; b++) {
            for (int r = 0; r < rows; r++) {
                long p = Memory.known(w + rowStride * r + 210L * b);
                for (int t = 0; t < count; t++) {
                    long q = Memory.known(x + xStride * t + SUPER_BLOCK_BYTES * b);
                    long at = Memory.known(lanes + (long) BYTES * (r * count + t));
                    FloatVector sum = Vectors.zero();
                    for (int i = 0; i < 16; i += LANES) {
                        FloatVector scales = Vectors.toFloats(Vectors.bytesAsInts(p + 192 + i));
                        Vectors.store(scales.mul(Vectors.floats(q + SCALES + 4L * i)), header + 64 + 4L * i);
                        sum = scales.fma(Vectors.floats(q + SUMS + 4L * i), sum);
                    }
                    FloatVector d = Vectors.broadcastHalf(p + 208);
                    for (int i = 0; i < 64; i += BYTES) {
                        // Two halves of 128 elements, four quarters in each.
                        long low = Memory.known(p + i + (i & 32));
                        long m = Memory.known(q + 2L * (i + 3 * (i & 32)));
                        long s = header + 64 + (i & 32) + (i & 16) / 4;
                        IntVector z0 = IntVector.fromMemorySegment(I, ALL, low, LE);
                        IntVector z1 = IntVector.fromMemorySegment(I, ALL, low + 32, LE);
                        IntVector h = IntVector.fromMemorySegment(I, ALL, p + 128 + i, LE);
                        FloatVector scales = FloatVector.fromMemorySegment(F, ALL, s, LE);
                        FloatVector scale;
                        IntVector v;
                        IntVector u = z0.and(NIBBLES).or(h.lanewise(LSHL, 4).and(UPPER_BITS));
                        v = u.reinterpretAsShorts()
                                .mul(ShortVector.fromMemorySegment(S, ALL, m, LE))
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
                                .add(u.lanewise(LSHR, 8)
                                        .reinterpretAsShorts()
                                        .mul(ShortVector.fromMemorySegment(S, ALL, m + 128 + BYTES, LE)))
                                .reinterpretAsInts();
                        v = v.add(v.lanewise(LSHL, 16)).and(UPPER_HALVES);
                        scale = BITS == 256
                                ? scales.rearrange(QUARTER_2)
                                : FloatVector.broadcast(F, ALL.get(Memory.FLOAT, s + 16));
                        sum = ((FloatVector) v.convertShape(I2F, F, 0)).fma(scale, sum);
                        u = z1.lanewise(LSHR, 4)
                                .and(NIBBLES)
                                .or(h.lanewise(LSHR, 2).and(UPPER_BITS));
                        v = u.reinterpretAsShorts()
                                .mul(ShortVector.fromMemorySegment(S, ALL, m + 192, LE))
                                .add(u.lanewise(LSHR, 8)
                                        .reinterpretAsShorts()
                                        .mul(ShortVector.fromMemorySegment(S, ALL, m + 192 + BYTES, LE)))
                                .reinterpretAsInts();
                        v = v.add(v.lanewise(LSHL, 16)).and(UPPER_HALVES);
                        scale = BITS == 256
                                ? scales.rearrange(QUARTER_3)
                                : FloatVector.broadcast(F, ALL.get(Memory.FLOAT, s + 24));
                        sum = ((FloatVector) v.convertShape(I2F, F, 0)).fma(scale, sum);
                    }
                    sum.fma(d, FloatVector.fromMemorySegment(F, ALL, at, LE)).intoMemorySegment(ALL, at, LE);
                }
            }
        }
    }
}
