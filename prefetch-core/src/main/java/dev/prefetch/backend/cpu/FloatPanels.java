package dev.prefetch.backend.cpu;

import static dev.prefetch.backend.cpu.Memory.ALL;
import static dev.prefetch.backend.cpu.Vectors.BYTES;
import static dev.prefetch.backend.cpu.Vectors.F;
import static dev.prefetch.backend.cpu.Vectors.LANES;
import static dev.prefetch.backend.cpu.Vectors.LE;

import jdk.incubator.vector.FloatVector;

/**
 * Multiplies weights that were unpacked to floats, their scales included, with several rows of f32 activations. Only
 * for vectors of 512 bits, of which there are 32.
 *
 * <p>A record is {@link #ELEMENTS} floats. Every lane is one sum in ascending order, as in the kernels for a single row.
 */
final class FloatPanels {

    static final int ELEMENTS = 256;

    /** Places of a record, more than its floats need: rows a power of two apart would compete for the same places of the cache. */
    static final long RECORD_BYTES = 4L * ELEMENTS + 128;

    /** Rows of weights and of activations that there are records for. */
    static final int ROWS = 8;

    static final int TOKENS = 16;

    /** Bytes of the records of {@link #ROWS} rows. */
    static final long PANEL_BYTES = ROWS * RECORD_BYTES;

    private static final int VECTORS = ELEMENTS / LANES;

    private FloatPanels() {}

    /** Tokens for which there must be lanes and records: what there is an odd number of is computed twice. */
    static int laneTokens(int count) {
        return Math.ceilDiv(count, 2) * 2;
    }

    /**
     * Adds the products of {@link #ELEMENTS} columns to the lanes {@code [ROWS x laneTokens(count)]}.
     *
     * @param weights the records of {@code rows} rows, one behind the other, in {@link #PANEL_BYTES} of memory; what lies behind
     *     them makes undefined lanes
     * @param x the records of {@code count} rows of activations, one behind the other; one more may be read
     */
    static void multiply(long weights, int rows, long x, int count, long lanes) {
        int tokens = laneTokens(count);
        long stride = (long) BYTES * tokens;
        for (int r = 0; r < rows; r += 4) {
            long w = weights + RECORD_BYTES * r;
            int t = 0;
            for (; t + 4 <= tokens; t += 4) {
                fourTokens(w, x + RECORD_BYTES * t, lanes + stride * r + (long) BYTES * t, stride);
            }
            for (; t < tokens; t += 2) {
                twoTokens(w, x + RECORD_BYTES * t, lanes + stride * r + (long) BYTES * t, stride);
            }
        }
    }

    /** Four rows by four tokens: enough independent sums to hide the latency of an addition. */
    private static void fourTokens(long w, long x, long lanes, long stride) {
        long at0 = Memory.known(lanes);
        long at1 = Memory.known(lanes + stride);
        long at2 = Memory.known(lanes + 2 * stride);
        long at3 = Memory.known(lanes + 3 * stride);
        FloatVector a0 = FloatVector.fromMemorySegment(F, ALL, at0, LE);
        FloatVector a1 = FloatVector.fromMemorySegment(F, ALL, at0 + BYTES, LE);
        FloatVector a2 = FloatVector.fromMemorySegment(F, ALL, at0 + 2 * BYTES, LE);
        FloatVector a3 = FloatVector.fromMemorySegment(F, ALL, at0 + 3 * BYTES, LE);
        FloatVector b0 = FloatVector.fromMemorySegment(F, ALL, at1, LE);
        FloatVector b1 = FloatVector.fromMemorySegment(F, ALL, at1 + BYTES, LE);
        FloatVector b2 = FloatVector.fromMemorySegment(F, ALL, at1 + 2 * BYTES, LE);
        FloatVector b3 = FloatVector.fromMemorySegment(F, ALL, at1 + 3 * BYTES, LE);
        FloatVector c0 = FloatVector.fromMemorySegment(F, ALL, at2, LE);
        FloatVector c1 = FloatVector.fromMemorySegment(F, ALL, at2 + BYTES, LE);
        FloatVector c2 = FloatVector.fromMemorySegment(F, ALL, at2 + 2 * BYTES, LE);
        FloatVector c3 = FloatVector.fromMemorySegment(F, ALL, at2 + 3 * BYTES, LE);
        FloatVector d0 = FloatVector.fromMemorySegment(F, ALL, at3, LE);
        FloatVector d1 = FloatVector.fromMemorySegment(F, ALL, at3 + BYTES, LE);
        FloatVector d2 = FloatVector.fromMemorySegment(F, ALL, at3 + 2 * BYTES, LE);
        FloatVector d3 = FloatVector.fromMemorySegment(F, ALL, at3 + 3 * BYTES, LE);
        for (int i = 0; i < VECTORS; i++) {
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
        a0.intoMemorySegment(ALL, at0, LE);
        a1.intoMemorySegment(ALL, at0 + BYTES, LE);
        a2.intoMemorySegment(ALL, at0 + 2 * BYTES, LE);
        a3.intoMemorySegment(ALL, at0 + 3 * BYTES, LE);
        b0.intoMemorySegment(ALL, at1, LE);
        b1.intoMemorySegment(ALL, at1 + BYTES, LE);
        b2.intoMemorySegment(ALL, at1 + 2 * BYTES, LE);
        b3.intoMemorySegment(ALL, at1 + 3 * BYTES, LE);
        c0.intoMemorySegment(ALL, at2, LE);
        c1.intoMemorySegment(ALL, at2 + BYTES, LE);
        c2.intoMemorySegment(ALL, at2 + 2 * BYTES, LE);
        c3.intoMemorySegment(ALL, at2 + 3 * BYTES, LE);
        d0.intoMemorySegment(ALL, at3, LE);
        d1.intoMemorySegment(ALL, at3 + BYTES, LE);
        d2.intoMemorySegment(ALL, at3 + 2 * BYTES, LE);
        d3.intoMemorySegment(ALL, at3 + 3 * BYTES, LE);
    }

    /** Four rows by two tokens. */
    private static void twoTokens(long w, long x, long lanes, long stride) {
        long at0 = Memory.known(lanes);
        long at1 = Memory.known(lanes + stride);
        long at2 = Memory.known(lanes + 2 * stride);
        long at3 = Memory.known(lanes + 3 * stride);
        FloatVector a0 = FloatVector.fromMemorySegment(F, ALL, at0, LE);
        FloatVector a1 = FloatVector.fromMemorySegment(F, ALL, at0 + BYTES, LE);
        FloatVector b0 = FloatVector.fromMemorySegment(F, ALL, at1, LE);
        FloatVector b1 = FloatVector.fromMemorySegment(F, ALL, at1 + BYTES, LE);
        FloatVector c0 = FloatVector.fromMemorySegment(F, ALL, at2, LE);
        FloatVector c1 = FloatVector.fromMemorySegment(F, ALL, at2 + BYTES, LE);
        FloatVector d0 = FloatVector.fromMemorySegment(F, ALL, at3, LE);
        FloatVector d1 = FloatVector.fromMemorySegment(F, ALL, at3 + BYTES, LE);
        for (int i = 0; i < VECTORS; i++) {
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
        a0.intoMemorySegment(ALL, at0, LE);
        a1.intoMemorySegment(ALL, at0 + BYTES, LE);
        b0.intoMemorySegment(ALL, at1, LE);
        b1.intoMemorySegment(ALL, at1 + BYTES, LE);
        c0.intoMemorySegment(ALL, at2, LE);
        c1.intoMemorySegment(ALL, at2 + BYTES, LE);
        d0.intoMemorySegment(ALL, at3, LE);
        d1.intoMemorySegment(ALL, at3 + BYTES, LE);
    }
}
