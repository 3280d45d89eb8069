package dev.prefetch.backend.cpu;

import static dev.prefetch.backend.cpu.Memory.ALL;
import static dev.prefetch.backend.cpu.SuperBlockPanels.laneTokens;
import static dev.prefetch.backend.cpu.Vectors.BITS;
import static dev.prefetch.backend.cpu.Vectors.BYTES;
import static dev.prefetch.backend.cpu.Vectors.F;
import static dev.prefetch.backend.cpu.Vectors.I;
import static dev.prefetch.backend.cpu.Vectors.LANES;
import static dev.prefetch.backend.cpu.Vectors.LE;
import static jdk.incubator.vector.VectorOperators.LSHR;

import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.IntVector;
import jdk.incubator.vector.VectorMask;

/**
 * Multiplies {@code Q4_0} weights that were unpacked to floats with several rows of activations; see {@link SuperBlockPanels}.
 *
 * <p>Here a record, of 256 elements as well, has parts of as many blocks as fill a vector with their bytes: 8 vectors of integers
 * as floats, and one of scales.
 */
final class BlockPanels {

    static final int ELEMENTS = 256;

    /** Fewest rows of activations for which unpacking pays. */
    static final int LEAST_ROWS = 5;

    /** Vectors of a part that hold integers. */
    private static final int INTEGERS = 8;

    static final long PART_BYTES = (INTEGERS + 1L) * BYTES;

    /** Elements of a part. */
    static final int PART_ELEMENTS = INTEGERS * LANES;

    /** Where in a part the scales are. */
    static final long SCALE = (long) INTEGERS * BYTES;

    static final long RECORD_BYTES = PART_BYTES * (ELEMENTS / PART_ELEMENTS);

    private static final float MAGIC = 0x1p23f;
    private static final int MAGIC_BITS = Float.floatToRawIntBits(MAGIC);

    private BlockPanels() {}

    /** As {@link SuperBlockPanels#multiply}. */
    static void multiply(long weights, int rows, long x, int count, long lanes) {
        int tokens = laneTokens(count);
        long stride = (long) BYTES * tokens;
        for (int r = 0; r < rows; r += 4) {
            for (long part = 0; part < RECORD_BYTES; part += PART_BYTES) {
                long w = weights + RECORD_BYTES * r + part;
                int t = 0;
                // Narrower vectors have but 16 registers.
                for (; BITS == 512 && t + 4 <= tokens; t += 4) {
                    fourTokens(w, x + RECORD_BYTES * t + part, lanes + stride * r + (long) BYTES * t, stride);
                }
                for (; t < tokens; t += 2) {
                    twoTokens(w, x + RECORD_BYTES * t + part, lanes + stride * r + (long) BYTES * t, stride);
                }
            }
        }
    }

    /** Four rows by four tokens: enough independent sums to hide the latency of an addition. */
    private static void fourTokens(long w, long x, long lanes, long lanesStride) {
        FloatVector a0 = Vectors.zero();
        FloatVector a1 = a0;
        FloatVector a2 = a0;
        FloatVector a3 = a0;
        FloatVector b0 = a0;
        FloatVector b1 = a0;
        FloatVector b2 = a0;
        FloatVector b3 = a0;
        FloatVector c0 = a0;
        FloatVector c1 = a0;
        FloatVector c2 = a0;
        FloatVector c3 = a0;
        FloatVector d0 = a0;
        FloatVector d1 = a0;
        FloatVector d2 = a0;
        FloatVector d3 = a0;
        for (int i = 0; i < INTEGERS; i++) {
            long p = Memory.known(w + (long) BYTES * i);
            long q = Memory.known(x + (long) BYTES * i);
            FloatVector w0 = FloatVector.fromMemorySegment(F, ALL, p, LE);
            FloatVector w1 = FloatVector.fromMemorySegment(F, ALL, p + RECORD_BYTES, LE);
            FloatVector w2 = FloatVector.fromMemorySegment(F, ALL, p + 2 * RECORD_BYTES, LE);
            FloatVector w3 = FloatVector.fromMemorySegment(F, ALL, p + 3 * RECORD_BYTES, LE);
            FloatVector y = FloatVector.fromMemorySegment(F, ALL, q, LE);
            a0 = w0.fma(y, a0);
            b0 = w1.fma(y, b0);
            c0 = w2.fma(y, c0);
            d0 = w3.fma(y, d0);
            y = FloatVector.fromMemorySegment(F, ALL, q + RECORD_BYTES, LE);
            a1 = w0.fma(y, a1);
            b1 = w1.fma(y, b1);
            c1 = w2.fma(y, c1);
            d1 = w3.fma(y, d1);
            y = FloatVector.fromMemorySegment(F, ALL, q + 2 * RECORD_BYTES, LE);
            a2 = w0.fma(y, a2);
            b2 = w1.fma(y, b2);
            c2 = w2.fma(y, c2);
            d2 = w3.fma(y, d2);
            y = FloatVector.fromMemorySegment(F, ALL, q + 3 * RECORD_BYTES, LE);
            a3 = w0.fma(y, a3);
            b3 = w1.fma(y, b3);
            c3 = w2.fma(y, c3);
            d3 = w3.fma(y, d3);
        }
        long q = Memory.known(x + SCALE);
        FloatVector s0 = FloatVector.fromMemorySegment(F, ALL, q, LE);
        FloatVector s1 = FloatVector.fromMemorySegment(F, ALL, q + RECORD_BYTES, LE);
        FloatVector s2 = FloatVector.fromMemorySegment(F, ALL, q + 2 * RECORD_BYTES, LE);
        FloatVector s3 = FloatVector.fromMemorySegment(F, ALL, q + 3 * RECORD_BYTES, LE);
        long at = Memory.known(lanes);
        FloatVector scale = FloatVector.fromMemorySegment(F, ALL, Memory.known(w + SCALE), LE);
        a0.fma(scale.mul(s0), FloatVector.fromMemorySegment(F, ALL, at, LE)).intoMemorySegment(ALL, at, LE);
        a1.fma(scale.mul(s1), FloatVector.fromMemorySegment(F, ALL, at + BYTES, LE))
                .intoMemorySegment(ALL, at + BYTES, LE);
        a2.fma(scale.mul(s2), FloatVector.fromMemorySegment(F, ALL, at + 2 * BYTES, LE))
                .intoMemorySegment(ALL, at + 2 * BYTES, LE);
        a3.fma(scale.mul(s3), FloatVector.fromMemorySegment(F, ALL, at + 3 * BYTES, LE))
                .intoMemorySegment(ALL, at + 3 * BYTES, LE);
        at = Memory.known(lanes + lanesStride);
        scale = FloatVector.fromMemorySegment(F, ALL, Memory.known(w + SCALE + RECORD_BYTES), LE);
        b0.fma(scale.mul(s0), FloatVector.fromMemorySegment(F, ALL, at, LE)).intoMemorySegment(ALL, at, LE);
        b1.fma(scale.mul(s1), FloatVector.fromMemorySegment(F, ALL, at + BYTES, LE))
                .intoMemorySegment(ALL, at + BYTES, LE);
        b2.fma(scale.mul(s2), FloatVector.fromMemorySegment(F, ALL, at + 2 * BYTES, LE))
                .intoMemorySegment(ALL, at + 2 * BYTES, LE);
        b3.fma(scale.mul(s3), FloatVector.fromMemorySegment(F, ALL, at + 3 * BYTES, LE))
                .intoMemorySegment(ALL, at + 3 * BYTES, LE);
        at = Memory.known(lanes + 2 * lanesStride);
        scale = FloatVector.fromMemorySegment(F, ALL, Memory.known(w + SCALE + 2 * RECORD_BYTES), LE);
        c0.fma(scale.mul(s0), FloatVector.fromMemorySegment(F, ALL, at, LE)).intoMemorySegment(ALL, at, LE);
        c1.fma(scale.mul(s1), FloatVector.fromMemorySegment(F, ALL, at + BYTES, LE))
                .intoMemorySegment(ALL, at + BYTES, LE);
        c2.fma(scale.mul(s2), FloatVector.fromMemorySegment(F, ALL, at + 2 * BYTES, LE))
                .intoMemorySegment(ALL, at + 2 * BYTES, LE);
        c3.fma(scale.mul(s3), FloatVector.fromMemorySegment(F, ALL, at + 3 * BYTES, LE))
                .intoMemorySegment(ALL, at + 3 * BYTES, LE);
        at = Memory.known(lanes + 3 * lanesStride);
        scale = FloatVector.fromMemorySegment(F, ALL, Memory.known(w + SCALE + 3 * RECORD_BYTES), LE);
        d0.fma(scale.mul(s0), FloatVector.fromMemorySegment(F, ALL, at, LE)).intoMemorySegment(ALL, at, LE);
        d1.fma(scale.mul(s1), FloatVector.fromMemorySegment(F, ALL, at + BYTES, LE))
                .intoMemorySegment(ALL, at + BYTES, LE);
        d2.fma(scale.mul(s2), FloatVector.fromMemorySegment(F, ALL, at + 2 * BYTES, LE))
                .intoMemorySegment(ALL, at + 2 * BYTES, LE);
        d3.fma(scale.mul(s3), FloatVector.fromMemorySegment(F, ALL, at + 3 * BYTES, LE))
                .intoMemorySegment(ALL, at + 3 * BYTES, LE);
    }

    /** Four rows by two tokens. */
    private static void twoTokens(long w, long x, long lanes, long lanesStride) {
        FloatVector a0 = Vectors.zero();
        FloatVector a1 = a0;
        FloatVector b0 = a0;
        FloatVector b1 = a0;
        FloatVector c0 = a0;
        FloatVector c1 = a0;
        FloatVector d0 = a0;
        FloatVector d1 = a0;
        for (int i = 0; i < INTEGERS; i++) {
            long p = Memory.known(w + (long) BYTES * i);
            long q = Memory.known(x + (long) BYTES * i);
            FloatVector w0 = FloatVector.fromMemorySegment(F, ALL, p, LE);
            FloatVector w1 = FloatVector.fromMemorySegment(F, ALL, p + RECORD_BYTES, LE);
            FloatVector w2 = FloatVector.fromMemorySegment(F, ALL, p + 2 * RECORD_BYTES, LE);
            FloatVector w3 = FloatVector.fromMemorySegment(F, ALL, p + 3 * RECORD_BYTES, LE);
            FloatVector y = FloatVector.fromMemorySegment(F, ALL, q, LE);
            a0 = w0.fma(y, a0);
            b0 = w1.fma(y, b0);
            c0 = w2.fma(y, c0);
            d0 = w3.fma(y, d0);
            y = FloatVector.fromMemorySegment(F, ALL, q + RECORD_BYTES, LE);
            a1 = w0.fma(y, a1);
            b1 = w1.fma(y, b1);
            c1 = w2.fma(y, c1);
            d1 = w3.fma(y, d1);
        }
        long q = Memory.known(x + SCALE);
        FloatVector s0 = FloatVector.fromMemorySegment(F, ALL, q, LE);
        FloatVector s1 = FloatVector.fromMemorySegment(F, ALL, q + RECORD_BYTES, LE);
        long at = Memory.known(lanes);
        FloatVector scale = FloatVector.fromMemorySegment(F, ALL, Memory.known(w + SCALE), LE);
        a0.fma(scale.mul(s0), FloatVector.fromMemorySegment(F, ALL, at, LE)).intoMemorySegment(ALL, at, LE);
        a1.fma(scale.mul(s1), FloatVector.fromMemorySegment(F, ALL, at + BYTES, LE))
                .intoMemorySegment(ALL, at + BYTES, LE);
        at = Memory.known(lanes + lanesStride);
        scale = FloatVector.fromMemorySegment(F, ALL, Memory.known(w + SCALE + RECORD_BYTES), LE);
        b0.fma(scale.mul(s0), FloatVector.fromMemorySegment(F, ALL, at, LE)).intoMemorySegment(ALL, at, LE);
        b1.fma(scale.mul(s1), FloatVector.fromMemorySegment(F, ALL, at + BYTES, LE))
                .intoMemorySegment(ALL, at + BYTES, LE);
        at = Memory.known(lanes + 2 * lanesStride);
        scale = FloatVector.fromMemorySegment(F, ALL, Memory.known(w + SCALE + 2 * RECORD_BYTES), LE);
        c0.fma(scale.mul(s0), FloatVector.fromMemorySegment(F, ALL, at, LE)).intoMemorySegment(ALL, at, LE);
        c1.fma(scale.mul(s1), FloatVector.fromMemorySegment(F, ALL, at + BYTES, LE))
                .intoMemorySegment(ALL, at + BYTES, LE);
        at = Memory.known(lanes + 3 * lanesStride);
        scale = FloatVector.fromMemorySegment(F, ALL, Memory.known(w + SCALE + 3 * RECORD_BYTES), LE);
        d0.fma(scale.mul(s0), FloatVector.fromMemorySegment(F, ALL, at, LE)).intoMemorySegment(ALL, at, LE);
        d1.fma(scale.mul(s1), FloatVector.fromMemorySegment(F, ALL, at + BYTES, LE))
                .intoMemorySegment(ALL, at + BYTES, LE);
    }

    /** Makes a record of the 256 elements of each row. */
    static void unpackQ40(long w, long rowStride, int rows, long records) {
        VectorMask<Integer> second = VectorMask.fromLong(I, 0xf0);
        VectorMask<Integer> third = VectorMask.fromLong(I, 0xf00);
        VectorMask<Integer> fourth = VectorMask.fromLong(I, 0xf000);
        VectorMask<Float> secondScale = VectorMask.fromLong(F, 0xf0);
        VectorMask<Float> thirdScale = VectorMask.fromLong(F, 0xf00);
        VectorMask<Float> fourthScale = VectorMask.fromLong(F, 0xf000);
        for (int r = 0; r < rows; r++) {
            for (int part = 0; part < ELEMENTS / PART_ELEMENTS; part++) {
                long p = Memory.known(w + rowStride * r + 18L * PART_ELEMENTS / 32 * part);
                long o = Memory.known(records + RECORD_BYTES * r + PART_BYTES * part);
                IntVector z = IntVector.fromMemorySegment(I, ALL, p + 2, LE);
                FloatVector d = FloatVector.broadcast(F, Memory.getHalf(p));
                if (BITS >= 256) {
                    z = z.blend(IntVector.fromMemorySegment(I, ALL, p + 4, LE), second);
                    d = d.blend(FloatVector.broadcast(F, Memory.getHalf(p + 18)), secondScale);
                }
                if (BITS == 512) {
                    z = z.blend(IntVector.fromMemorySegment(I, ALL, p + 6, LE), third);
                    d = d.blend(FloatVector.broadcast(F, Memory.getHalf(p + 36)), thirdScale);
                    z = z.blend(IntVector.fromMemorySegment(I, ALL, p + 8, LE), fourth);
                    d = d.blend(FloatVector.broadcast(F, Memory.getHalf(p + 54)), fourthScale);
                }
                d.intoMemorySegment(ALL, o + SCALE, LE);
                // A loop for the sake of the compiler, which does not inline twice as much in every process.
                for (int half = 0; half < 2; half++) {
                    IntVector v = z.lanewise(LSHR, 4 * half);
                    long to = Memory.known(o + 4L * BYTES * half);
                    v.and(0xf)
                            .or(MAGIC_BITS)
                            .reinterpretAsFloats()
                            .sub(MAGIC + 8)
                            .intoMemorySegment(ALL, to, LE);
                    v.and(0xf00)
                            .or(MAGIC_BITS)
                            .reinterpretAsFloats()
                            .sub(MAGIC + 2048)
                            .intoMemorySegment(ALL, to + BYTES, LE);
                    v.and(0xf0000)
                            .or(MAGIC_BITS)
                            .reinterpretAsFloats()
                            .sub(MAGIC + 524288)
                            .intoMemorySegment(ALL, to + 2 * BYTES, LE);
                    v.lanewise(LSHR, 8)
                            .and(0xf0000)
                            .or(MAGIC_BITS)
                            .reinterpretAsFloats()
                            .sub(MAGIC + 524288)
                            .intoMemorySegment(ALL, to + 3 * BYTES, LE);
                }
            }
        }
    }
}
