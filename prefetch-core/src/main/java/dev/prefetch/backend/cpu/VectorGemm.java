package dev.prefetch.backend.cpu;

import jdk.incubator.vector.FloatVector;

/**
 * The matrix-matrix micro-kernel: 6 rows of weights, broadcast one by one, times 16 tokens in two vectors. Its 12 sums, two
 * tokens and one weight just fit the 16 registers of AVX2.
 */
final class VectorGemm {

    private VectorGemm() {}

    static void multiplyPanel(
            long panel,
            long panelStride,
            int rowGroups,
            int depth,
            long packed,
            long c,
            long cStride,
            boolean accumulate) {
        for (int g = 0; g < rowGroups; g++) {
            long rows = panel + g * Kernels.TILE_ROWS * panelStride;
            long sums = c + g * Kernels.TILE_ROWS * cStride;
            if (!accumulate) {
                clear(sums, cStride);
            }
            sixRows(rows, panelStride, depth, packed, sums, cStride);
        }
    }

    private static void clear(long c, long cStride) {
        for (int r = 0; r < Kernels.TILE_ROWS; r++) {
            Vectors.store(Vectors.zero(), c + r * cStride);
            Vectors.store(Vectors.zero(), c + r * cStride + 32);
        }
    }

    private static void sixRows(long w, long stride, int depth, long x, long c, long cStride) {
        FloatVector a0 = Vectors.floats(c);
        FloatVector a1 = Vectors.floats(c + 32);
        FloatVector b0 = Vectors.floats(c + cStride);
        FloatVector b1 = Vectors.floats(c + cStride + 32);
        FloatVector c0 = Vectors.floats(c + 2 * cStride);
        FloatVector c1 = Vectors.floats(c + 2 * cStride + 32);
        FloatVector d0 = Vectors.floats(c + 3 * cStride);
        FloatVector d1 = Vectors.floats(c + 3 * cStride + 32);
        FloatVector e0 = Vectors.floats(c + 4 * cStride);
        FloatVector e1 = Vectors.floats(c + 4 * cStride + 32);
        FloatVector f0 = Vectors.floats(c + 5 * cStride);
        FloatVector f1 = Vectors.floats(c + 5 * cStride + 32);
        for (int k = 0; k < depth; k++) {
            FloatVector x0 = Vectors.floats(x + 64L * k);
            FloatVector x1 = Vectors.floats(x + 64L * k + 32);
            long p = w + 4L * k;
            FloatVector t = Vectors.broadcast(p);
            a0 = t.fma(x0, a0);
            a1 = t.fma(x1, a1);
            t = Vectors.broadcast(p + stride);
            b0 = t.fma(x0, b0);
            b1 = t.fma(x1, b1);
            t = Vectors.broadcast(p + 2 * stride);
            c0 = t.fma(x0, c0);
            c1 = t.fma(x1, c1);
            t = Vectors.broadcast(p + 3 * stride);
            d0 = t.fma(x0, d0);
            d1 = t.fma(x1, d1);
            t = Vectors.broadcast(p + 4 * stride);
            e0 = t.fma(x0, e0);
            e1 = t.fma(x1, e1);
            t = Vectors.broadcast(p + 5 * stride);
            f0 = t.fma(x0, f0);
            f1 = t.fma(x1, f1);
        }
        Vectors.store(a0, c);
        Vectors.store(a1, c + 32);
        Vectors.store(b0, c + cStride);
        Vectors.store(b1, c + cStride + 32);
        Vectors.store(c0, c + 2 * cStride);
        Vectors.store(c1, c + 2 * cStride + 32);
        Vectors.store(d0, c + 3 * cStride);
        Vectors.store(d1, c + 3 * cStride + 32);
        Vectors.store(e0, c + 4 * cStride);
        Vectors.store(e1, c + 4 * cStride + 32);
        Vectors.store(f0, c + 5 * cStride);
        Vectors.store(f1, c + 5 * cStride + 32);
    }

    static void packTokens(long x, long xStride, int tokens, int depth, long packed) {
        for (int t = 0; t < tokens; t++) {
            long row = x + t * xStride;
            for (int k = 0; k < depth; k++) {
                Memory.putFloat(packed + 4L * (k * Kernels.TILE_TOKENS + t), Memory.getFloat(row + 4L * k));
            }
        }
        for (int t = tokens; t < Kernels.TILE_TOKENS; t++) {
            for (int k = 0; k < depth; k++) {
                Memory.putFloat(packed + 4L * (k * Kernels.TILE_TOKENS + t), 0);
            }
        }
    }
}
