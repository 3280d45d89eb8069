package dev.prefetch.backend.cpu;

import static dev.prefetch.backend.cpu.Memory.ALL;
import static dev.prefetch.backend.cpu.Vectors.BITS;
import static dev.prefetch.backend.cpu.Vectors.BYTES;
import static dev.prefetch.backend.cpu.Vectors.F;
import static dev.prefetch.backend.cpu.Vectors.LANES;
import static dev.prefetch.backend.cpu.Vectors.LE;

import jdk.incubator.vector.FloatVector;

/**
 * Multiplies super-blocks of 256 weights that were unpacked to floats with several rows of activations.
 *
 * <p>A super-block, of weights or of activations, is a record of one or more parts and a scale. A part has {@link #INTEGERS} vectors of integers as floats, then one of what
 * minima take away. Sums of the integers' products are exact: a weight times the scale of its group is at most 32 * 128, an
 * activation at most 255, and 16 products of them stay below 2^24. So they are the sums that the kernels for a single row find
 * with integers, and as these go on in the same way, the bits are the same.
 */
final class SuperBlockPanels {

    /** Rows of weights and of activations that there are records for. */
    static final int ROWS = 8;

    static final int TOKENS = 16;

    /** Vectors of a part that hold integers. */
    static final int INTEGERS = 16;

    /** Bytes of the scale, which stands there 16 times. */
    private static final long SCALE_BYTES = 64;

    private static final int PART = INTEGERS + 1;
    private static final long PART_BYTES = (long) PART * BYTES;

    /** Parts of a record; as many vectors of {@link Vectors#LANES} make 16 floats. */
    static final int PARTS = 16 / LANES;

    static final long SCALE = PARTS * PART_BYTES;
    static final long RECORD_BYTES = SCALE + SCALE_BYTES;

    /** Bytes of the records of {@link #ROWS} rows. */
    static final long PANEL_BYTES = ROWS * RECORD_BYTES;

    private SuperBlockPanels() {}

    /** Where in a record the vector with the integers of that index is. */
    static long integers(int vector) {
        return PART_BYTES * (vector / INTEGERS) + (long) BYTES * (vector % INTEGERS);
    }

    /** Where in a record the vector of corrections of that index is. */
    static long corrections(int vector) {
        return PART_BYTES * vector + (long) BYTES * INTEGERS;
    }

    /** Writes the scale of a record. */
    static void putScale(long record, float scale) {
        for (long i = 0; i < SCALE_BYTES; i += BYTES) {
            Vectors.store(FloatVector.broadcast(F, scale), record + SCALE + i);
        }
    }

    /** Tokens for which there must be lanes and records: what there is an odd number of is computed twice. */
    static int laneTokens(int count) {
        return Math.ceilDiv(count, 2) * 2;
    }

    /**
     * Adds the products of a super-block to the lanes {@code [ROWS x laneTokens(count)]}.
     *
     * @param weights the records of {@code rows} rows, one behind the other, in {@link #PANEL_BYTES} of memory; what lies behind
     *     them makes undefined lanes
     * @param x the records of {@code count} rows of activations, one behind the other; one more may be read
     */
    static void multiply(long weights, int rows, long x, int count, long lanes) {
        int tokens = laneTokens(count);
        long lanesStride = (long) BYTES * tokens;
        for (int r = 0; r < rows; r += 4) {
            for (int part = 0; part < PARTS; part++) {
                long w = weights + RECORD_BYTES * r + PART_BYTES * part;
                int t = 0;
                // Narrower vectors have but 16 registers.
                for (; BITS == 512 && t + 4 <= tokens; t += 4) {
                    fourTokens(
                            w,
                            x + RECORD_BYTES * t + PART_BYTES * part,
                            SCALE - PART_BYTES * part,
                            lanes + lanesStride * r + (long) BYTES * t,
                            lanesStride);
                }
                for (; t < tokens; t += 2) {
                    twoTokens(
                            w,
                            x + RECORD_BYTES * t + PART_BYTES * part,
                            SCALE - PART_BYTES * part,
                            lanes + lanesStride * r + (long) BYTES * t,
                            lanesStride);
                }
            }
        }
    }

    /**
     * Four rows by four tokens: enough independent sums to hide the latency of an addition. With a larger body the quick compiler
     * gives up, and then the method stays interpreted.
     */
    private static void fourTokens(long w, long x, long toScale, long lanes, long lanesStride) {
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
        for (int i = 0; i < PART; i++) {
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
        long q = Memory.known(x + toScale);
        FloatVector s0 = FloatVector.fromMemorySegment(F, ALL, q, LE);
        FloatVector s1 = FloatVector.fromMemorySegment(F, ALL, q + RECORD_BYTES, LE);
        FloatVector s2 = FloatVector.fromMemorySegment(F, ALL, q + 2 * RECORD_BYTES, LE);
        FloatVector s3 = FloatVector.fromMemorySegment(F, ALL, q + 3 * RECORD_BYTES, LE);
        long at = Memory.known(lanes);
        FloatVector scale = FloatVector.fromMemorySegment(F, ALL, Memory.known(w + toScale), LE);
        a0.fma(scale.mul(s0), FloatVector.fromMemorySegment(F, ALL, at, LE)).intoMemorySegment(ALL, at, LE);
        a1.fma(scale.mul(s1), FloatVector.fromMemorySegment(F, ALL, at + BYTES, LE))
                .intoMemorySegment(ALL, at + BYTES, LE);
        a2.fma(scale.mul(s2), FloatVector.fromMemorySegment(F, ALL, at + 2 * BYTES, LE))
                .intoMemorySegment(ALL, at + 2 * BYTES, LE);
        a3.fma(scale.mul(s3), FloatVector.fromMemorySegment(F, ALL, at + 3 * BYTES, LE))
                .intoMemorySegment(ALL, at + 3 * BYTES, LE);
        at = Memory.known(lanes + lanesStride);
        scale = FloatVector.fromMemorySegment(F, ALL, Memory.known(w + toScale + RECORD_BYTES), LE);
        b0.fma(scale.mul(s0), FloatVector.fromMemorySegment(F, ALL, at, LE)).intoMemorySegment(ALL, at, LE);
        b1.fma(scale.mul(s1), FloatVector.fromMemorySegment(F, ALL, at + BYTES, LE))
                .intoMemorySegment(ALL, at + BYTES, LE);
        b2.fma(scale.mul(s2), FloatVector.fromMemorySegment(F, ALL, at + 2 * BYTES, LE))
                .intoMemorySegment(ALL, at + 2 * BYTES, LE);
        b3.fma(scale.mul(s3), FloatVector.fromMemorySegment(F, ALL, at + 3 * BYTES, LE))
                .intoMemorySegment(ALL, at + 3 * BYTES, LE);
        at = Memory.known(lanes + 2 * lanesStride);
        scale = FloatVector.fromMemorySegment(F, ALL, Memory.known(w + toScale + 2 * RECORD_BYTES), LE);
        c0.fma(scale.mul(s0), FloatVector.fromMemorySegment(F, ALL, at, LE)).intoMemorySegment(ALL, at, LE);
        c1.fma(scale.mul(s1), FloatVector.fromMemorySegment(F, ALL, at + BYTES, LE))
                .intoMemorySegment(ALL, at + BYTES, LE);
        c2.fma(scale.mul(s2), FloatVector.fromMemorySegment(F, ALL, at + 2 * BYTES, LE))
                .intoMemorySegment(ALL, at + 2 * BYTES, LE);
        c3.fma(scale.mul(s3), FloatVector.fromMemorySegment(F, ALL, at + 3 * BYTES, LE))
                .intoMemorySegment(ALL, at + 3 * BYTES, LE);
        at = Memory.known(lanes + 3 * lanesStride);
        scale = FloatVector.fromMemorySegment(F, ALL, Memory.known(w + toScale + 3 * RECORD_BYTES), LE);
        d0.fma(scale.mul(s0), FloatVector.fromMemorySegment(F, ALL, at, LE)).intoMemorySegment(ALL, at, LE);
        d1.fma(scale.mul(s1), FloatVector.fromMemorySegment(F, ALL, at + BYTES, LE))
                .intoMemorySegment(ALL, at + BYTES, LE);
        d2.fma(scale.mul(s2), FloatVector.fromMemorySegment(F, ALL, at + 2 * BYTES, LE))
                .intoMemorySegment(ALL, at + 2 * BYTES, LE);
        d3.fma(scale.mul(s3), FloatVector.fromMemorySegment(F, ALL, at + 3 * BYTES, LE))
                .intoMemorySegment(ALL, at + 3 * BYTES, LE);
    }

    /** Four rows by two tokens. */
    private static void twoTokens(long w, long x, long toScale, long lanes, long lanesStride) {
        FloatVector a0 = Vectors.zero();
        FloatVector a1 = a0;
        FloatVector b0 = a0;
        FloatVector b1 = a0;
        FloatVector c0 = a0;
        FloatVector c1 = a0;
        FloatVector d0 = a0;
        FloatVector d1 = a0;
        for (int i = 0; i < PART; i++) {
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
        long q = Memory.known(x + toScale);
        FloatVector s0 = FloatVector.fromMemorySegment(F, ALL, q, LE);
        FloatVector s1 = FloatVector.fromMemorySegment(F, ALL, q + RECORD_BYTES, LE);
        long at = Memory.known(lanes);
        FloatVector scale = FloatVector.fromMemorySegment(F, ALL, Memory.known(w + toScale), LE);
        a0.fma(scale.mul(s0), FloatVector.fromMemorySegment(F, ALL, at, LE)).intoMemorySegment(ALL, at, LE);
        a1.fma(scale.mul(s1), FloatVector.fromMemorySegment(F, ALL, at + BYTES, LE))
                .intoMemorySegment(ALL, at + BYTES, LE);
        at = Memory.known(lanes + lanesStride);
        scale = FloatVector.fromMemorySegment(F, ALL, Memory.known(w + toScale + RECORD_BYTES), LE);
        b0.fma(scale.mul(s0), FloatVector.fromMemorySegment(F, ALL, at, LE)).intoMemorySegment(ALL, at, LE);
        b1.fma(scale.mul(s1), FloatVector.fromMemorySegment(F, ALL, at + BYTES, LE))
                .intoMemorySegment(ALL, at + BYTES, LE);
        at = Memory.known(lanes + 2 * lanesStride);
        scale = FloatVector.fromMemorySegment(F, ALL, Memory.known(w + toScale + 2 * RECORD_BYTES), LE);
        c0.fma(scale.mul(s0), FloatVector.fromMemorySegment(F, ALL, at, LE)).intoMemorySegment(ALL, at, LE);
        c1.fma(scale.mul(s1), FloatVector.fromMemorySegment(F, ALL, at + BYTES, LE))
                .intoMemorySegment(ALL, at + BYTES, LE);
        at = Memory.known(lanes + 3 * lanesStride);
        scale = FloatVector.fromMemorySegment(F, ALL, Memory.known(w + toScale + 3 * RECORD_BYTES), LE);
        d0.fma(scale.mul(s0), FloatVector.fromMemorySegment(F, ALL, at, LE)).intoMemorySegment(ALL, at, LE);
        d1.fma(scale.mul(s1), FloatVector.fromMemorySegment(F, ALL, at + BYTES, LE))
                .intoMemorySegment(ALL, at + BYTES, LE);
    }
}
