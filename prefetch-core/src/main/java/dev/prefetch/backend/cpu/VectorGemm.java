package dev.prefetch.backend.cpu;

import static dev.prefetch.backend.cpu.Kernels.PANEL_ROW_BYTES;
import static dev.prefetch.backend.cpu.Memory.ALL;
import static dev.prefetch.backend.cpu.Vectors.BYTES;
import static dev.prefetch.backend.cpu.Vectors.F;
import static dev.prefetch.backend.cpu.Vectors.LE;

import jdk.incubator.vector.FloatVector;

/**
 * The matrix-matrix micro-kernel: 6 rows of weights, broadcast one by one, times the tokens of two vectors. Its 12 sums, two
 * vectors of tokens and a weight just fit the 16 registers of AVX2, and are enough to reach the peak of AVX-512 as well. More
 * rows would be more than the JVM's quick compiler takes.
 *
 * <p>Without helpers for loads and stores: so much is inlined here that the compiler stops before it reaches the last of
 * them, and only what the JDK marks for inlining still is.
 */
final class VectorGemm {

    static final int TILE_TOKENS = 2 * Vectors.LANES;
    static final int TILE_ROWS = 6;

    private VectorGemm() {}

    static void multiplyPanel(
            long panel, int rowGroups, int depth, long packed, int tokens, long c, long cStride, boolean accumulate) {
        int g = 0;
        if (tokens <= Vectors.LANES) {
            for (; g + 2 <= rowGroups; g += 2) {
                long sums = c + g * TILE_ROWS * cStride;
                if (!accumulate) {
                    clear(sums, cStride);
                    clear(sums + TILE_ROWS * cStride, cStride);
                }
                twelveRows(panel + g * TILE_ROWS * PANEL_ROW_BYTES, depth, packed, sums, cStride);
            }
        }
        for (; g < rowGroups; g++) {
            long rows = panel + g * TILE_ROWS * PANEL_ROW_BYTES;
            long sums = c + g * TILE_ROWS * cStride;
            if (!accumulate) {
                clear(sums, cStride);
            }
            sixRows(rows, depth, packed, sums, cStride);
        }
    }

    private static void clear(long c, long cStride) {
        for (int r = 0; r < TILE_ROWS; r++) {
            Vectors.store(Vectors.zero(), c + r * cStride);
            Vectors.store(Vectors.zero(), c + r * cStride + BYTES);
        }
    }

    static void sixRows(long w, int depth, long x, long c, long cStride) {
        FloatVector a0 = FloatVector.fromMemorySegment(F, ALL, c, LE);
        FloatVector a1 = FloatVector.fromMemorySegment(F, ALL, c + BYTES, LE);
        FloatVector b0 = FloatVector.fromMemorySegment(F, ALL, c + cStride, LE);
        FloatVector b1 = FloatVector.fromMemorySegment(F, ALL, c + cStride + BYTES, LE);
        FloatVector c0 = FloatVector.fromMemorySegment(F, ALL, c + 2 * cStride, LE);
        FloatVector c1 = FloatVector.fromMemorySegment(F, ALL, c + 2 * cStride + BYTES, LE);
        FloatVector d0 = FloatVector.fromMemorySegment(F, ALL, c + 3 * cStride, LE);
        FloatVector d1 = FloatVector.fromMemorySegment(F, ALL, c + 3 * cStride + BYTES, LE);
        FloatVector e0 = FloatVector.fromMemorySegment(F, ALL, c + 4 * cStride, LE);
        FloatVector e1 = FloatVector.fromMemorySegment(F, ALL, c + 4 * cStride + BYTES, LE);
        FloatVector f0 = FloatVector.fromMemorySegment(F, ALL, c + 5 * cStride, LE);
        FloatVector f1 = FloatVector.fromMemorySegment(F, ALL, c + 5 * cStride + BYTES, LE);
        for (int k = 0; k < depth; k++) {
            long q = Memory.known(x + 2L * BYTES * k);
            FloatVector x0 = FloatVector.fromMemorySegment(F, ALL, q, LE);
            FloatVector x1 = FloatVector.fromMemorySegment(F, ALL, q + BYTES, LE);
            long p = Memory.known(w + 4L * k);
            FloatVector t = FloatVector.broadcast(F, ALL.get(Memory.FLOAT, p));
            a0 = t.fma(x0, a0);
            a1 = t.fma(x1, a1);
            t = FloatVector.broadcast(F, ALL.get(Memory.FLOAT, p + PANEL_ROW_BYTES));
            b0 = t.fma(x0, b0);
            b1 = t.fma(x1, b1);
            t = FloatVector.broadcast(F, ALL.get(Memory.FLOAT, p + 2 * PANEL_ROW_BYTES));
            c0 = t.fma(x0, c0);
            c1 = t.fma(x1, c1);
            t = FloatVector.broadcast(F, ALL.get(Memory.FLOAT, p + 3 * PANEL_ROW_BYTES));
            d0 = t.fma(x0, d0);
            d1 = t.fma(x1, d1);
            t = FloatVector.broadcast(F, ALL.get(Memory.FLOAT, p + 4 * PANEL_ROW_BYTES));
            e0 = t.fma(x0, e0);
            e1 = t.fma(x1, e1);
            t = FloatVector.broadcast(F, ALL.get(Memory.FLOAT, p + 5 * PANEL_ROW_BYTES));
            f0 = t.fma(x0, f0);
            f1 = t.fma(x1, f1);
        }
        a0.intoMemorySegment(ALL, c, LE);
        a1.intoMemorySegment(ALL, c + BYTES, LE);
        b0.intoMemorySegment(ALL, c + cStride, LE);
        b1.intoMemorySegment(ALL, c + cStride + BYTES, LE);
        c0.intoMemorySegment(ALL, c + 2 * cStride, LE);
        c1.intoMemorySegment(ALL, c + 2 * cStride + BYTES, LE);
        d0.intoMemorySegment(ALL, c + 3 * cStride, LE);
        d1.intoMemorySegment(ALL, c + 3 * cStride + BYTES, LE);
        e0.intoMemorySegment(ALL, c + 4 * cStride, LE);
        e1.intoMemorySegment(ALL, c + 4 * cStride + BYTES, LE);
        f0.intoMemorySegment(ALL, c + 5 * cStride, LE);
        f1.intoMemorySegment(ALL, c + 5 * cStride + BYTES, LE);
    }

    /** One vector of tokens: the same sums as {@link #sixRows} has, where its second vector would be empty. */
    static void twelveRows(long w, int depth, long x, long c, long cStride) {
        FloatVector a0 = FloatVector.fromMemorySegment(F, ALL, c, LE);
        FloatVector b0 = FloatVector.fromMemorySegment(F, ALL, c + cStride, LE);
        FloatVector c0 = FloatVector.fromMemorySegment(F, ALL, c + 2 * cStride, LE);
        FloatVector d0 = FloatVector.fromMemorySegment(F, ALL, c + 3 * cStride, LE);
        FloatVector e0 = FloatVector.fromMemorySegment(F, ALL, c + 4 * cStride, LE);
        FloatVector f0 = FloatVector.fromMemorySegment(F, ALL, c + 5 * cStride, LE);
        FloatVector g0 = FloatVector.fromMemorySegment(F, ALL, c + 6 * cStride, LE);
        FloatVector h0 = FloatVector.fromMemorySegment(F, ALL, c + 7 * cStride, LE);
        FloatVector i0 = FloatVector.fromMemorySegment(F, ALL, c + 8 * cStride, LE);
        FloatVector j0 = FloatVector.fromMemorySegment(F, ALL, c + 9 * cStride, LE);
        FloatVector k0 = FloatVector.fromMemorySegment(F, ALL, c + 10 * cStride, LE);
        FloatVector l0 = FloatVector.fromMemorySegment(F, ALL, c + 11 * cStride, LE);
        for (int k = 0; k < depth; k++) {
            FloatVector x0 = FloatVector.fromMemorySegment(F, ALL, Memory.known(x + 2L * BYTES * k), LE);
            long p = Memory.known(w + 4L * k);
            a0 = FloatVector.broadcast(F, ALL.get(Memory.FLOAT, p)).fma(x0, a0);
            b0 = FloatVector.broadcast(F, ALL.get(Memory.FLOAT, p + PANEL_ROW_BYTES))
                    .fma(x0, b0);
            c0 = FloatVector.broadcast(F, ALL.get(Memory.FLOAT, p + 2 * PANEL_ROW_BYTES))
                    .fma(x0, c0);
            d0 = FloatVector.broadcast(F, ALL.get(Memory.FLOAT, p + 3 * PANEL_ROW_BYTES))
                    .fma(x0, d0);
            e0 = FloatVector.broadcast(F, ALL.get(Memory.FLOAT, p + 4 * PANEL_ROW_BYTES))
                    .fma(x0, e0);
            f0 = FloatVector.broadcast(F, ALL.get(Memory.FLOAT, p + 5 * PANEL_ROW_BYTES))
                    .fma(x0, f0);
            g0 = FloatVector.broadcast(F, ALL.get(Memory.FLOAT, p + 6 * PANEL_ROW_BYTES))
                    .fma(x0, g0);
            h0 = FloatVector.broadcast(F, ALL.get(Memory.FLOAT, p + 7 * PANEL_ROW_BYTES))
                    .fma(x0, h0);
            i0 = FloatVector.broadcast(F, ALL.get(Memory.FLOAT, p + 8 * PANEL_ROW_BYTES))
                    .fma(x0, i0);
            j0 = FloatVector.broadcast(F, ALL.get(Memory.FLOAT, p + 9 * PANEL_ROW_BYTES))
                    .fma(x0, j0);
            k0 = FloatVector.broadcast(F, ALL.get(Memory.FLOAT, p + 10 * PANEL_ROW_BYTES))
                    .fma(x0, k0);
            l0 = FloatVector.broadcast(F, ALL.get(Memory.FLOAT, p + 11 * PANEL_ROW_BYTES))
                    .fma(x0, l0);
        }
        a0.intoMemorySegment(ALL, c, LE);
        b0.intoMemorySegment(ALL, c + cStride, LE);
        c0.intoMemorySegment(ALL, c + 2 * cStride, LE);
        d0.intoMemorySegment(ALL, c + 3 * cStride, LE);
        e0.intoMemorySegment(ALL, c + 4 * cStride, LE);
        f0.intoMemorySegment(ALL, c + 5 * cStride, LE);
        g0.intoMemorySegment(ALL, c + 6 * cStride, LE);
        h0.intoMemorySegment(ALL, c + 7 * cStride, LE);
        i0.intoMemorySegment(ALL, c + 8 * cStride, LE);
        j0.intoMemorySegment(ALL, c + 9 * cStride, LE);
        k0.intoMemorySegment(ALL, c + 10 * cStride, LE);
        l0.intoMemorySegment(ALL, c + 11 * cStride, LE);
    }

    static void packTokens(long x, long xStride, int tokens, int width, int depth, long packed) {
        for (int t = 0; t < tokens; t++) {
            long row = x + t * xStride;
            for (int k = 0; k < depth; k++) {
                Memory.putFloat(packed + 4L * (k * width + t), Memory.getFloat(row + 4L * k));
            }
        }
        for (int t = tokens; t < width; t++) {
            for (int k = 0; k < depth; k++) {
                Memory.putFloat(packed + 4L * (k * width + t), 0);
            }
        }
    }
}
