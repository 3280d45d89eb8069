package dev.prefetch.backend.cpu;

import static dev.prefetch.backend.cpu.Memory.ALL;
import static dev.prefetch.backend.cpu.VectorActivations.CORRECTIONS;
import static dev.prefetch.backend.cpu.VectorActivations.GROUPS_BYTES;
import static dev.prefetch.backend.cpu.VectorActivations.SCALE;
import static dev.prefetch.backend.cpu.VectorActivations.SIXTEENTHS_BYTES;
import static dev.prefetch.backend.cpu.VectorActivations.STARTS;
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
 * Kernels for super-blocks of 256 with vectors of 128 or 256 bits; {@link WideSuperBlocks} has those for 512. For each format one
 * that multiplies with a single row of activations, whose parameters are those of {@link VectorMatvec}, and one that unpacks
 * a super-block of each row for {@link SuperBlockPanels}; the bits of both ways are the same.
 *
 * <p>Of a single row, elements are unpacked to unsigned bytes and multiplied as {@link VectorActivations} says; the sums of four
 * stand in the upper halves of int lanes, where they are converted to floats as they are,
 * {@link VectorActivations#UPPER_HALF} fold. Times the scale of their group they still are integers, and their sum is exact;
 * only with the scale of the super-block and of the activations it is rounded.
 *
 * <p>Without helpers where the work is done, see {@link VectorGemm}.
 */
final class VectorSuperBlocks {

    /** Working space before the lanes, and before the records: bytes, then 16 floats from byte 64 on. */
    static final long HEADER = 128;

    static final int NIBBLES = 0x0f0f0f0f;
    static final int FIFTH_BITS = 0x10101010;
    static final int UPPER_BITS = 0x30303030;
    static final int UPPER_HALVES = 0xffff0000;

    /** Pairs of groups of 32 whose products have one exact sum. */
    private static final int PART_PAIRS = LANES / 4;

    /** The scales {@code 2 * quarter} and {@code 2 * quarter + 1} of 8, four times each; of use with 256 bits only. */
    private static final VectorShuffle<Float> QUARTER_0 = pair(0);

    private static final VectorShuffle<Float> QUARTER_1 = pair(1);
    private static final VectorShuffle<Float> QUARTER_2 = pair(2);
    private static final VectorShuffle<Float> QUARTER_3 = pair(3);

    private VectorSuperBlocks() {}

    private static VectorShuffle<Float> pair(int quarter) {
        return VectorShuffle.fromOp(F, i -> (2 * quarter + i / 4) % LANES);
    }

    /**
     * Of {@code Q4_K} and {@code Q5_K}: what a super-block is a multiple of. A super-block with a scale of zero consists of
     * minima only.
     */
    static float unit(float scale, float minimum) {
        return scale == 0 ? minimum : scale;
    }

    /**
     * From the 12 bytes of scales and minima of {@code Q4_K} and {@code Q5_K}: 8 scales to the working space, 8 minima in
     * {@link #unit}s to {@code minima}.
     */
    private static void unpackScales(long packed, float scale, float minimum, long header, long minima) {
        int first = Memory.getInt(packed);
        int second = Memory.getInt(packed + 4);
        int third = Memory.getInt(packed + 8);
        long scalesHigh = (third & 0x0f0f0f0fL) | (first >>> 6 & 0x03030303L) << 4;
        long minimaHigh = (third >>> 4 & 0x0f0f0f0fL) | (second >>> 6 & 0x03030303L) << 4;
        Memory.putLong(header, scale == 0 ? 0 : (first & 0x3f3f3f3fL) | scalesHigh << 32);
        Memory.putLong(header + 8, (second & 0x3f3f3f3fL) | minimaHigh << 32);
        float ratio = scale == 0 ? 1 : minimum / scale;
        for (int i = 0; i < 8; i += LANES) {
            Vectors.store(Vectors.toFloats(Vectors.unsignedBytesAsInts(header + i)), header + 64 + 4L * i);
            FloatVector m = Vectors.toFloats(Vectors.unsignedBytesAsInts(header + 8 + i));
            Vectors.store(m.mul(ratio), minima + 4L * i);
        }
    }

    /** Writes the scale of a record, and up to 16 corrections, of which what is not there is 0. */
    private static void finish(long record, float scale, long corrections, int n) {
        for (int i = 0; i < 16 / LANES; i++) {
            FloatVector v = LANES * i < n ? Vectors.floats(corrections + (long) BYTES * i) : Vectors.zero();
            Vectors.store(v, record + SuperBlockPanels.corrections(i));
        }
        SuperBlockPanels.putScale(record, scale);
    }

    static void q4k(long w, long rowStride, int rows, int cols, long x, long xStride, int count, long lanes) {
        long header = Memory.known(lanes - HEADER);
        for (int b = 0; b < cols / 256; b++) {
            long q = Memory.known(x + GROUPS_BYTES * b);
            for (int r = 0; r < rows; r++) {
                long p = Memory.known(w + rowStride * r + 144L * b);
                long at = Memory.known(lanes + (long) BYTES * r);
                float scale = Memory.getHalf(p);
                float minimum = Memory.getHalf(p + 2);
                unpackScales(p + 4, scale, minimum, header, header + 96);
                FloatVector unit = FloatVector.broadcast(F, unit(scale, minimum) * Memory.getFloat(q + SCALE));
                FloatVector total = FloatVector.fromMemorySegment(F, ALL, at, LE);
                for (int part = 0; part < 4 / PART_PAIRS; part++) {
                    FloatVector sum = Vectors.zero();
                    for (int i = 32 * PART_PAIRS * part; i < 32 * PART_PAIRS * (part + 1); i += BYTES) {
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
                    if (LANES * part < 8) {
                        sum = FloatVector.fromMemorySegment(F, ALL, header + 96 + (long) BYTES * part, LE)
                                .fma(
                                        FloatVector.fromMemorySegment(
                                                F, ALL, q + CORRECTIONS + (long) BYTES * part, LE),
                                        sum);
                    }
                    total = sum.fma(unit, total);
                }
                total.intoMemorySegment(ALL, at, LE);
            }
        }
    }

    /** Makes a record of the super-block of each row. */
    static void unpackQ4k(long w, long rowStride, int rows, long records) {
        long header = Memory.known(records - HEADER);
        for (int r = 0; r < rows; r++) {
            long p = Memory.known(w + rowStride * r);
            long record = Memory.known(records + SuperBlockPanels.RECORD_BYTES * r);
            float scale = Memory.getHalf(p);
            float minimum = Memory.getHalf(p + 2);
            unpackScales(p + 4, scale, minimum, header, header + 96);
            finish(record, unit(scale, minimum), header + 96, 8);
            for (int i = 0; i < 128; i += BYTES) {
                int vector = 4 * (i + (i & 96)) / BYTES;
                long s = header + 64 + (i >> 5 << 3);
                IntVector z = IntVector.fromMemorySegment(I, ALL, p + 16 + i, LE);
                for (int nibble = 0; nibble < 2; nibble++) {
                    FloatVector group = FloatVector.broadcast(F, ALL.get(Memory.FLOAT, s + 4L * nibble));
                    for (int j = 0; j < 4; j++) {
                        ((FloatVector) z.and(0xf << 8 * j).convertShape(I2F, F, 0))
                                .mul(group)
                                .intoMemorySegment(
                                        ALL, record + SuperBlockPanels.integers(vector + 128 / BYTES * nibble + j), LE);
                    }
                    z = z.lanewise(LSHR, 4);
                }
            }
        }
    }

    static void q5k(long w, long rowStride, int rows, int cols, long x, long xStride, int count, long lanes) {
        long header = Memory.known(lanes - HEADER);
        for (int b = 0; b < cols / 256; b++) {
            long q = Memory.known(x + GROUPS_BYTES * b);
            for (int r = 0; r < rows; r++) {
                long p = Memory.known(w + rowStride * r + 176L * b);
                long at = Memory.known(lanes + (long) BYTES * r);
                float scale = Memory.getHalf(p);
                float minimum = Memory.getHalf(p + 2);
                unpackScales(p + 4, scale, minimum, header, header + 96);
                FloatVector unit = FloatVector.broadcast(F, unit(scale, minimum) * Memory.getFloat(q + SCALE));
                FloatVector total = FloatVector.fromMemorySegment(F, ALL, at, LE);
                for (int part = 0; part < 4 / PART_PAIRS; part++) {
                    FloatVector sum = Vectors.zero();
                    for (int i = 32 * PART_PAIRS * part; i < 32 * PART_PAIRS * (part + 1); i += BYTES) {
                        long m = Memory.known(q + 2L * (i + (i & 96)));
                        long s = header + 64 + (i >> 5 << 3);
                        IntVector z = IntVector.fromMemorySegment(I, ALL, p + 48 + i, LE);
                        IntVector high = IntVector.fromMemorySegment(I, ALL, p + 16 + (i & 31), LE)
                                .lanewise(LSHR, i >> 5 << 1);
                        IntVector u = z.and(NIBBLES).or(high.lanewise(LSHL, 4).and(FIFTH_BITS));
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
                    }
                    if (LANES * part < 8) {
                        sum = FloatVector.fromMemorySegment(F, ALL, header + 96 + (long) BYTES * part, LE)
                                .fma(
                                        FloatVector.fromMemorySegment(
                                                F, ALL, q + CORRECTIONS + (long) BYTES * part, LE),
                                        sum);
                    }
                    total = sum.fma(unit, total);
                }
                total.intoMemorySegment(ALL, at, LE);
            }
        }
    }

    /** Makes a record of the super-block of each row. */
    static void unpackQ5k(long w, long rowStride, int rows, long records) {
        long header = Memory.known(records - HEADER);
        for (int r = 0; r < rows; r++) {
            long p = Memory.known(w + rowStride * r);
            long record = Memory.known(records + SuperBlockPanels.RECORD_BYTES * r);
            float scale = Memory.getHalf(p);
            float minimum = Memory.getHalf(p + 2);
            unpackScales(p + 4, scale, minimum, header, header + 96);
            finish(record, unit(scale, minimum), header + 96, 8);
            for (int i = 0; i < 128; i += BYTES) {
                int vector = 4 * (i + (i & 96)) / BYTES;
                long s = header + 64 + (i >> 5 << 3);
                IntVector z = IntVector.fromMemorySegment(I, ALL, p + 48 + i, LE);
                IntVector high = IntVector.fromMemorySegment(I, ALL, p + 16 + (i & 31), LE)
                        .lanewise(LSHR, i >> 5 << 1);
                for (int nibble = 0; nibble < 2; nibble++) {
                    FloatVector group = FloatVector.broadcast(F, ALL.get(Memory.FLOAT, s + 4L * nibble));
                    IntVector u = z.and(NIBBLES).or(high.lanewise(LSHL, 4).and(FIFTH_BITS));
                    for (int j = 0; j < 4; j++) {
                        ((FloatVector) u.and(0xff << 8 * j).convertShape(I2F, F, 0))
                                .mul(group)
                                .intoMemorySegment(
                                        ALL, record + SuperBlockPanels.integers(vector + 128 / BYTES * nibble + j), LE);
                    }
                    z = z.lanewise(LSHR, 4);
                    high = high.lanewise(LSHR, 1);
                }
            }
        }
    }

    static void q6k(long w, long rowStride, int rows, int cols, long x, long xStride, int count, long lanes) {
        long header = Memory.known(lanes - HEADER);
        for (int b = 0; b < cols / 256; b++) {
            long q = Memory.known(x + SIXTEENTHS_BYTES * b);
            for (int r = 0; r < rows; r++) {
                long p = Memory.known(w + rowStride * r + 210L * b);
                long at = Memory.known(lanes + (long) BYTES * r);
                for (int i = 0; i < 16; i += LANES) {
                    Vectors.store(Vectors.toFloats(Vectors.bytesAsInts(p + 192 + i)), header + 64 + 4L * i);
                }
                float unit = Memory.getFloat(q + SCALE) * Memory.getHalf(p + 208);
                // Two halves of 128 elements, four quarters in each.
                for (int half = 0; half < 2; half++) {
                    FloatVector sum = Vectors.zero();
                    FloatVector upperSum = sum;
                    for (int i = 0; i < 32; i += BYTES) {
                        long low = Memory.known(p + 64L * half + i);
                        long m = Memory.known(q + 256L * half + 2L * i);
                        long starts = Memory.known(q + STARTS + 128L * half + i);
                        long s = header + 64 + 32L * half + i / 4;
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
                        u = z1.lanewise(LSHR, 4)
                                .and(NIBBLES)
                                .or(h.lanewise(LSHR, 2).and(UPPER_BITS));
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
                    // The total goes through memory, since a vector that is carried on may be left as an object.
                    FloatVector total = (BITS == 256 ? sum.add(upperSum) : sum)
                            .fma(FloatVector.broadcast(F, unit), FloatVector.fromMemorySegment(F, ALL, at, LE));
                    if (BITS == 128) {
                        total = upperSum.fma(FloatVector.broadcast(F, unit), total);
                    }
                    total.intoMemorySegment(ALL, at, LE);
                }
            }
        }
    }

    /** Makes a record of the super-block of each row. */
    static void unpackQ6k(long w, long rowStride, int rows, long records) {
        long header = Memory.known(records - HEADER);
        for (int r = 0; r < rows; r++) {
            long p = Memory.known(w + rowStride * r);
            long record = Memory.known(records + SuperBlockPanels.RECORD_BYTES * r);
            for (int i = 0; i < 16; i += LANES) {
                Vectors.store(Vectors.toFloats(Vectors.bytesAsInts(p + 192 + i)), header + 64 + 4L * i);
            }
            finish(record, Memory.getHalf(p + 208), header + 64, 0);
            for (int i = 0; i < 64; i += BYTES) {
                int half = i / 32;
                long low = Memory.known(p + 32L * half + i);
                IntVector h = IntVector.fromMemorySegment(I, ALL, p + 128 + i, LE);
                for (int quarter = 0; quarter < 4; quarter++) {
                    int element = 128 * half + 32 * quarter + i % 32;
                    long s = header + 64 + element / 4;
                    FloatVector scale = BITS == 256
                            ? FloatVector.fromMemorySegment(F, ALL, s, LE).rearrange(QUARTER_0)
                            : FloatVector.broadcast(F, ALL.get(Memory.FLOAT, s));
                    IntVector u = IntVector.fromMemorySegment(I, ALL, low + 32L * (quarter % 2), LE)
                            .lanewise(LSHR, quarter / 2 * 4)
                            .and(NIBBLES)
                            .or(h.lanewise(LSHR, 2 * quarter).and(0x03030303).lanewise(LSHL, 4));
                    for (int j = 0; j < 4; j++) {
                        ((FloatVector) u.and(0xff << 8 * j).sub(32 << 8 * j).convertShape(I2F, F, 0))
                                .mul(scale)
                                .intoMemorySegment(
                                        ALL, record + SuperBlockPanels.integers(4 * element / BYTES + j), LE);
                    }
                }
            }
        }
    }
}
