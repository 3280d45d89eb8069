package dev.prefetch.backend.cpu;

import static dev.prefetch.backend.cpu.Memory.ALL;
import static dev.prefetch.backend.cpu.Vectors.BYTES;
import static dev.prefetch.backend.cpu.Vectors.F;
import static dev.prefetch.backend.cpu.Vectors.I;
import static dev.prefetch.backend.cpu.Vectors.LANES;
import static dev.prefetch.backend.cpu.Vectors.LE;
import static jdk.incubator.vector.VectorOperators.I2F;
import static jdk.incubator.vector.VectorOperators.LSHR;

import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.IntVector;

/**
 * Expands weights to strips of {@link VectorRows}: what is transposed is the quantized weights, several to a word, and only
 * then, with rows in the lanes, are they taken apart. The values are those of {@link VectorExpand} to the bit.
 */
final class VectorRowsExpand {

    private static final long WORDS = BYTES * (long) LANES;
    private static final long SCALES = WORDS + 32L * BYTES;

    /** Scratch bytes that the expanders need. */
    static final long SCRATCH_BYTES = SCALES + 32L * BYTES;

    private VectorRowsExpand() {}

    /**
     * Already expanded weights.
     *
     * @param in the first of {@link Vectors#LANES} rows, {@code rowBytes} bytes apart
     */
    static void f32(long in, long rowBytes, int depth, long scratch, long strip) {
        int k = 0;
        for (; k + LANES <= depth; k += LANES) {
            VectorRows.transpose(
                    in + 4L * k, rowBytes, scratch, strip + (long) VectorRows.STRIP_BYTES * k, VectorRows.STRIP_BYTES);
        }
        for (; k < depth; k++) {
            for (int r = 0; r < LANES; r++) {
                Memory.putFloat(
                        strip + (long) VectorRows.STRIP_BYTES * k + 4L * r,
                        Memory.getFloat(in + rowBytes * r + 4L * k));
            }
        }
    }

    static void q4k(long in, long rowBytes, int depth, long scratch, long strip) {
        for (int block = 0; block < depth / 256; block++) {
            long p = in + 144L * block;
            long out = strip + (long) VectorRows.STRIP_BYTES * 256 * block;
            header(p, rowBytes, scratch);
            q4kScales(scratch, scratch + SCALES);
            for (int word = 0; word < 32; word += LANES) {
                VectorRows.transpose(
                        p + 16 + 4 * word, rowBytes, scratch, scratch + WORDS + (long) BYTES * word, BYTES);
            }
            q4kWords(scratch + WORDS, scratch + SCALES, out);
        }
    }

    /** {@code [d, dmin, s0, s1, s2][LANES]} */
    private static void header(long p, long rowBytes, long out) {
        for (int r = 0; r < LANES; r++) {
            long row = Memory.known(p + rowBytes * r);
            long o = Memory.known(out + 4 * r);
            Memory.putFloat(o, Memory.getHalf(row));
            Memory.putFloat(o + BYTES, Memory.getHalf(row + 2));
            Memory.putInt(o + 2 * BYTES, Memory.getInt(row + 4));
            Memory.putInt(o + 3 * BYTES, Memory.getInt(row + 8));
            Memory.putInt(o + 4 * BYTES, Memory.getInt(row + 12));
        }
    }

    /** {@code [group][scale, minimum][LANES]} */
    private static void q4kScales(long header, long out) {
        long p = Memory.known(header);
        FloatVector d = FloatVector.fromMemorySegment(F, ALL, p, LE);
        FloatVector dmin = FloatVector.fromMemorySegment(F, ALL, p + BYTES, LE);
        IntVector s0 = IntVector.fromMemorySegment(I, ALL, p + 2 * BYTES, LE);
        IntVector s1 = IntVector.fromMemorySegment(I, ALL, p + 3 * BYTES, LE);
        IntVector s2 = IntVector.fromMemorySegment(I, ALL, p + 4 * BYTES, LE);
        IntVector upperScales =
                s2.and(0x0f0f0f0f).or(s0.lanewise(LSHR, 2).and(0x30303030));
        IntVector upperMinima =
                s2.lanewise(LSHR, 4).and(0x0f0f0f0f).or(s1.lanewise(LSHR, 2).and(0x30303030));
        for (int group = 0; group < 4; group++) {
            long o = Memory.known(out + 2L * BYTES * group);
            int shift = 8 * group;
            ((FloatVector) s0.lanewise(LSHR, shift).and(63).convertShape(I2F, F, 0))
                    .mul(d)
                    .intoMemorySegment(ALL, o, LE);
            ((FloatVector) s1.lanewise(LSHR, shift).and(63).convertShape(I2F, F, 0))
                    .mul(dmin)
                    .intoMemorySegment(ALL, o + BYTES, LE);
            ((FloatVector) upperScales.lanewise(LSHR, shift).and(63).convertShape(I2F, F, 0))
                    .mul(d)
                    .intoMemorySegment(ALL, o + 8 * BYTES, LE);
            ((FloatVector) upperMinima.lanewise(LSHR, shift).and(63).convertShape(I2F, F, 0))
                    .mul(dmin)
                    .intoMemorySegment(ALL, o + 9 * BYTES, LE);
        }
    }

    private static void q4kWords(long words, long scales, long out) {
        for (int pair = 0; pair < 4; pair++) {
            long s = Memory.known(scales + 4L * BYTES * pair);
            FloatVector d0 = FloatVector.fromMemorySegment(F, ALL, s, LE);
            FloatVector m0 = FloatVector.fromMemorySegment(F, ALL, s + BYTES, LE);
            FloatVector d1 = FloatVector.fromMemorySegment(F, ALL, s + 2 * BYTES, LE);
            FloatVector m1 = FloatVector.fromMemorySegment(F, ALL, s + 3 * BYTES, LE);
            // Scaled by powers of two, which changes no bit of the product, so that nothing need be shifted.
            FloatVector d2 = d0.mul(0x1p-8f);
            FloatVector d3 = d1.mul(0x1p-4f);
            FloatVector d4 = d1.mul(0x1p-12f);
            FloatVector d5 = d0.mul(0x1p-16f);
            FloatVector d6 = d1.mul(0x1p-20f);
            FloatVector d7 = d0.mul(0x1p-24f);
            for (int i = 0; i < 8; i++) {
                IntVector v = IntVector.fromMemorySegment(
                        I, ALL, Memory.known(words + 8L * BYTES * pair + (long) BYTES * i), LE);
                long o = Memory.known(out + (long) VectorRows.STRIP_BYTES * (64 * pair + 4 * i));
                ((FloatVector) v.and(15).convertShape(I2F, F, 0))
                        .mul(d0)
                        .sub(m0)
                        .intoMemorySegment(ALL, o, LE);
                ((FloatVector) v.and(15 << 8).convertShape(I2F, F, 0))
                        .mul(d2)
                        .sub(m0)
                        .intoMemorySegment(ALL, o + VectorRows.STRIP_BYTES, LE);
                ((FloatVector) v.and(15 << 16).convertShape(I2F, F, 0))
                        .mul(d5)
                        .sub(m0)
                        .intoMemorySegment(ALL, o + 2 * VectorRows.STRIP_BYTES, LE);
                ((FloatVector) v.and(15 << 24).convertShape(I2F, F, 0))
                        .mul(d7)
                        .sub(m0)
                        .intoMemorySegment(ALL, o + 3 * VectorRows.STRIP_BYTES, LE);
                ((FloatVector) v.and(15 << 4).convertShape(I2F, F, 0))
                        .mul(d3)
                        .sub(m1)
                        .intoMemorySegment(ALL, o + 32 * VectorRows.STRIP_BYTES, LE);
                ((FloatVector) v.and(15 << 12).convertShape(I2F, F, 0))
                        .mul(d4)
                        .sub(m1)
                        .intoMemorySegment(ALL, o + 33 * VectorRows.STRIP_BYTES, LE);
                ((FloatVector) v.and(15 << 20).convertShape(I2F, F, 0))
                        .mul(d6)
                        .sub(m1)
                        .intoMemorySegment(ALL, o + 34 * VectorRows.STRIP_BYTES, LE);
                ((FloatVector) v.lanewise(LSHR, 28).convertShape(I2F, F, 0))
                        .mul(d1)
                        .sub(m1)
                        .intoMemorySegment(ALL, o + 35 * VectorRows.STRIP_BYTES, LE);
            }
        }
    }
}
