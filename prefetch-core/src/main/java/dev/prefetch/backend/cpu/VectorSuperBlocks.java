package dev.prefetch.backend.cpu;

import static dev.prefetch.backend.cpu.Memory.ALL;
import static dev.prefetch.backend.cpu.Vectors.BITS;
import static dev.prefetch.backend.cpu.Vectors.BYTES;
import static dev.prefetch.backend.cpu.Vectors.F;
import static dev.prefetch.backend.cpu.Vectors.I;
import static dev.prefetch.backend.cpu.Vectors.LANES;
import static dev.prefetch.backend.cpu.Vectors.LE;
import static jdk.incubator.vector.VectorOperators.I2F;
import static jdk.incubator.vector.VectorOperators.LSHL;
import static jdk.incubator.vector.VectorOperators.LSHR;

import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.IntVector;

/**
 * For super-blocks of 256, with vectors of 128 or 256 bits: kernels that unpack a super-block of each row for
 * {@link SuperBlockPanels}; {@link WideSuperBlocks} has those for 512. For a single row of activations see {@link SuperBlockRows}.
 */
final class VectorSuperBlocks {

    /** Working space before the records: bytes, then floats made of them. */
    static final long HEADER = 128;

    /** Where in a working space the scales of a super-block stand as floats. */
    static final long SCALES = 64;

    static final int NIBBLES = 0x0f0f0f0f;
    static final int FIFTH_BITS = 0x10101010;
    static final int UPPER_BITS = 0x30303030;
    static final int UPPER_HALVES = 0xffff0000;

    private VectorSuperBlocks() {}

    /**
     * Of {@code Q4_K} and {@code Q5_K}: what a super-block is a multiple of. A super-block with a scale of zero consists of
     * minima only.
     */
    static float unit(float scale, float minimum) {
        return scale == 0 ? minimum : scale;
    }

    /**
     * From the 12 bytes of scales and minima of {@code Q4_K} and {@code Q5_K}: 8 scales to {@link #SCALES} of the working space,
     * whose first 16 bytes are used, 8 minima in {@link #unit}s to {@code minima}.
     */
    static void unpackScales(long packed, float scale, float minimum, long header, long minima) {
        int first = Memory.getInt(packed);
        int second = Memory.getInt(packed + 4);
        int third = Memory.getInt(packed + 8);
        long scales = first & 0x3f3f3f3f | (long) (third & 0x0f0f0f0f | (first >>> 6 & 0x03030303) << 4) << 32;
        float ratio = minimum / scale;
        if (scale == 0) {
            scales = 0;
            ratio = 1;
        }
        Memory.putLong(header, scales);
        Memory.putLong(
                header + 8,
                second & 0x3f3f3f3f | (long) (third >>> 4 & 0x0f0f0f0f | (second >>> 6 & 0x03030303) << 4) << 32);
        for (int i = 0; i < 8; i += LANES) {
            Vectors.store(Vectors.toFloats(Vectors.unsignedBytesAsInts(header + i)), header + SCALES + 4L * i);
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
                long s = header + SCALES + (i >> 5 << 3);
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
                long s = header + SCALES + (i >> 5 << 3);
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

    /** Makes a record of the super-block of each row. */
    static void unpackQ6k(long w, long rowStride, int rows, long records) {
        long header = Memory.known(records - HEADER);
        for (int r = 0; r < rows; r++) {
            long p = Memory.known(w + rowStride * r);
            long record = Memory.known(records + SuperBlockPanels.RECORD_BYTES * r);
            for (int i = 0; i < 16; i += LANES) {
                Vectors.store(Vectors.toFloats(Vectors.bytesAsInts(p + 192 + i)), header + SCALES + 4L * i);
            }
            finish(record, Memory.getHalf(p + 208), header + SCALES, 0);
            for (int i = 0; i < 64; i += BYTES) {
                int half = i / 32;
                long low = Memory.known(p + 32L * half + i);
                IntVector h = IntVector.fromMemorySegment(I, ALL, p + 128 + i, LE);
                for (int quarter = 0; quarter < 4; quarter++) {
                    int element = 128 * half + 32 * quarter + i % 32;
                    long s = header + SCALES + element / 4;
                    FloatVector scale = BITS == 256
                            ? FloatVector.fromMemorySegment(F, ALL, s, LE).rearrange(SuperBlockRows.QUARTER_0)
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
