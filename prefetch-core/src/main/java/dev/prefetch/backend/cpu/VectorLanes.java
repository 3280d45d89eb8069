package dev.prefetch.backend.cpu;

import static dev.prefetch.backend.cpu.Memory.ALL;
import static dev.prefetch.backend.cpu.Vectors.BYTES;
import static dev.prefetch.backend.cpu.Vectors.F;
import static dev.prefetch.backend.cpu.Vectors.LE;

import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.VectorMask;
import jdk.incubator.vector.VectorOperators;

/**
 * Attention of many queries over the same keys and values, of which each query has a vector lane of its own: products are
 * those of matrices, and a softmax goes down the lanes.
 */
final class VectorLanes {

    /** Queries of a tile. */
    static final int TILE_TOKENS = 2 * Vectors.LANES;

    private VectorLanes() {}

    /** See {@link Kernels#multiplyLanes}. Four or eight rows at a time; a sum has the same bits in all groups. */
    static void multiply(
            long w,
            long wRow,
            long wCol,
            int rows,
            int depth,
            long x,
            long xStride,
            long c,
            long cStride,
            int lanes,
            boolean accumulate) {
        int r = 0;
        if (lanes <= Vectors.LANES) {
            for (; r + 8 <= rows; r += 8) {
                eightRowsNarrow(w + r * wRow, wRow, wCol, depth, x, xStride, c + r * cStride, cStride, accumulate);
            }
            for (; r < rows; r++) {
                oneRowNarrow(w + r * wRow, wCol, depth, x, xStride, c + r * cStride, accumulate);
            }
            return;
        }
        for (; r + 4 <= rows; r += 4) {
            fourRows(w + r * wRow, wRow, wCol, depth, x, xStride, c + r * cStride, cStride, accumulate);
        }
        for (; r < rows; r++) {
            oneRowNarrow(w + r * wRow, wCol, depth, x, xStride, c + r * cStride, accumulate);
            oneRowNarrow(w + r * wRow, wCol, depth, x + BYTES, xStride, c + r * cStride + BYTES, accumulate);
        }
    }

    private static void fourRows(
            long w, long wRow, long wCol, int depth, long x, long xStride, long c, long cStride, boolean accumulate) {
        FloatVector a0 = Vectors.zero();
        FloatVector a1 = a0;
        FloatVector b0 = a0;
        FloatVector b1 = a0;
        FloatVector c0 = a0;
        FloatVector c1 = a0;
        FloatVector d0 = a0;
        FloatVector d1 = a0;
        if (accumulate) {
            a0 = FloatVector.fromMemorySegment(F, ALL, c, LE);
            a1 = FloatVector.fromMemorySegment(F, ALL, c + BYTES, LE);
            b0 = FloatVector.fromMemorySegment(F, ALL, c + cStride, LE);
            b1 = FloatVector.fromMemorySegment(F, ALL, c + cStride + BYTES, LE);
            c0 = FloatVector.fromMemorySegment(F, ALL, c + 2 * cStride, LE);
            c1 = FloatVector.fromMemorySegment(F, ALL, c + 2 * cStride + BYTES, LE);
            d0 = FloatVector.fromMemorySegment(F, ALL, c + 3 * cStride, LE);
            d1 = FloatVector.fromMemorySegment(F, ALL, c + 3 * cStride + BYTES, LE);
        }
        for (int k = 0; k < depth; k++) {
            long q = Memory.known(x + xStride * k);
            FloatVector x0 = FloatVector.fromMemorySegment(F, ALL, q, LE);
            FloatVector x1 = FloatVector.fromMemorySegment(F, ALL, q + BYTES, LE);
            long p = Memory.known(w + wCol * k);
            FloatVector t = FloatVector.broadcast(F, ALL.get(Memory.FLOAT, p));
            a0 = t.fma(x0, a0);
            a1 = t.fma(x1, a1);
            t = FloatVector.broadcast(F, ALL.get(Memory.FLOAT, Memory.known(p + wRow)));
            b0 = t.fma(x0, b0);
            b1 = t.fma(x1, b1);
            t = FloatVector.broadcast(F, ALL.get(Memory.FLOAT, Memory.known(p + 2 * wRow)));
            c0 = t.fma(x0, c0);
            c1 = t.fma(x1, c1);
            t = FloatVector.broadcast(F, ALL.get(Memory.FLOAT, Memory.known(p + 3 * wRow)));
            d0 = t.fma(x0, d0);
            d1 = t.fma(x1, d1);
        }
        a0.intoMemorySegment(ALL, c, LE);
        a1.intoMemorySegment(ALL, c + BYTES, LE);
        b0.intoMemorySegment(ALL, c + cStride, LE);
        b1.intoMemorySegment(ALL, c + cStride + BYTES, LE);
        c0.intoMemorySegment(ALL, c + 2 * cStride, LE);
        c1.intoMemorySegment(ALL, c + 2 * cStride + BYTES, LE);
        d0.intoMemorySegment(ALL, c + 3 * cStride, LE);
        d1.intoMemorySegment(ALL, c + 3 * cStride + BYTES, LE);
    }

    private static void eightRowsNarrow(
            long w, long wRow, long wCol, int depth, long x, long xStride, long c, long cStride, boolean accumulate) {
        FloatVector a = Vectors.zero();
        FloatVector b = a;
        FloatVector d = a;
        FloatVector e = a;
        FloatVector f = a;
        FloatVector g = a;
        FloatVector h = a;
        FloatVector i = a;
        if (accumulate) {
            a = FloatVector.fromMemorySegment(F, ALL, c, LE);
            b = FloatVector.fromMemorySegment(F, ALL, c + cStride, LE);
            d = FloatVector.fromMemorySegment(F, ALL, c + 2 * cStride, LE);
            e = FloatVector.fromMemorySegment(F, ALL, c + 3 * cStride, LE);
            f = FloatVector.fromMemorySegment(F, ALL, c + 4 * cStride, LE);
            g = FloatVector.fromMemorySegment(F, ALL, c + 5 * cStride, LE);
            h = FloatVector.fromMemorySegment(F, ALL, c + 6 * cStride, LE);
            i = FloatVector.fromMemorySegment(F, ALL, c + 7 * cStride, LE);
        }
        for (int k = 0; k < depth; k++) {
            FloatVector y = FloatVector.fromMemorySegment(F, ALL, Memory.known(x + xStride * k), LE);
            long p = Memory.known(w + wCol * k);
            a = FloatVector.broadcast(F, ALL.get(Memory.FLOAT, p)).fma(y, a);
            b = FloatVector.broadcast(F, ALL.get(Memory.FLOAT, Memory.known(p + wRow)))
                    .fma(y, b);
            d = FloatVector.broadcast(F, ALL.get(Memory.FLOAT, Memory.known(p + 2 * wRow)))
                    .fma(y, d);
            e = FloatVector.broadcast(F, ALL.get(Memory.FLOAT, Memory.known(p + 3 * wRow)))
                    .fma(y, e);
            f = FloatVector.broadcast(F, ALL.get(Memory.FLOAT, Memory.known(p + 4 * wRow)))
                    .fma(y, f);
            g = FloatVector.broadcast(F, ALL.get(Memory.FLOAT, Memory.known(p + 5 * wRow)))
                    .fma(y, g);
            h = FloatVector.broadcast(F, ALL.get(Memory.FLOAT, Memory.known(p + 6 * wRow)))
                    .fma(y, h);
            i = FloatVector.broadcast(F, ALL.get(Memory.FLOAT, Memory.known(p + 7 * wRow)))
                    .fma(y, i);
        }
        a.intoMemorySegment(ALL, c, LE);
        b.intoMemorySegment(ALL, c + cStride, LE);
        d.intoMemorySegment(ALL, c + 2 * cStride, LE);
        e.intoMemorySegment(ALL, c + 3 * cStride, LE);
        f.intoMemorySegment(ALL, c + 4 * cStride, LE);
        g.intoMemorySegment(ALL, c + 5 * cStride, LE);
        h.intoMemorySegment(ALL, c + 6 * cStride, LE);
        i.intoMemorySegment(ALL, c + 7 * cStride, LE);
    }

    private static void oneRowNarrow(long w, long wCol, int depth, long x, long xStride, long c, boolean accumulate) {
        FloatVector a = accumulate ? FloatVector.fromMemorySegment(F, ALL, c, LE) : Vectors.zero();
        for (int k = 0; k < depth; k++) {
            FloatVector y = FloatVector.fromMemorySegment(F, ALL, Memory.known(x + xStride * k), LE);
            a = FloatVector.broadcast(F, ALL.get(Memory.FLOAT, Memory.known(w + wCol * k)))
                    .fma(y, a);
        }
        a.intoMemorySegment(ALL, c, LE);
    }

    /** See {@link Kernels#softmaxLanes}. */
    static void softmax(
            long scores,
            int positions,
            float scale,
            long limits,
            long maxima,
            long sums,
            long factors,
            int lanes,
            long weights) {
        long stride = 2L * BYTES;
        for (long at = 0; at < 4L * lanes; at += BYTES) {
            if (limits == 0) {
                largest(scores + at, stride, positions, scale, maxima + at, factors + at);
                weigh(scores + at, stride, positions, scale, maxima + at, factors + at, sums + at, weights + at);
            } else {
                largestBelow(scores + at, stride, positions, scale, limits + at, maxima + at, factors + at);
                weighBelow(
                        scores + at,
                        stride,
                        positions,
                        scale,
                        limits + at,
                        maxima + at,
                        factors + at,
                        sums + at,
                        weights + at);
            }
        }
    }

    private static void largest(long scores, long stride, int positions, float scale, long maximum, long factor) {
        FloatVector before = Vectors.floats(maximum);
        FloatVector max = before;
        for (int j = 0; j < positions; j++) {
            max = max.max(Vectors.floats(scores + stride * j).mul(scale));
        }
        rescale(before, max, maximum, factor);
    }

    private static void largestBelow(
            long scores, long stride, int positions, float scale, long limits, long maximum, long factor) {
        FloatVector before = Vectors.floats(maximum);
        FloatVector limit = Vectors.floats(limits);
        FloatVector max = before;
        for (int j = 0; j < positions; j++) {
            VectorMask<Float> seen = limit.compare(VectorOperators.GT, j);
            max = max.blend(max.max(Vectors.floats(scores + stride * j).mul(scale)), seen);
        }
        rescale(before, max, maximum, factor);
    }

    private static void rescale(FloatVector before, FloatVector max, long maximum, long factor) {
        VectorMask<Float> same = before.compare(VectorOperators.EQ, max);
        Vectors.store(max, maximum);
        Vectors.store(Vectors.exp(before.sub(max)).blend(1, same), factor);
    }

    private static void weigh(
            long scores, long stride, int positions, float scale, long maximum, long factor, long sums, long weights) {
        FloatVector max = Vectors.floats(maximum);
        FloatVector sum = Vectors.zero();
        for (int j = 0; j < positions; j++) {
            FloatVector e =
                    Vectors.exp(Vectors.floats(scores + stride * j).mul(scale).sub(max));
            Vectors.store(e, weights + stride * j);
            sum = sum.add(e);
        }
        Vectors.store(Vectors.floats(sums).mul(Vectors.floats(factor)).add(sum), sums);
    }

    private static void weighBelow(
            long scores,
            long stride,
            int positions,
            float scale,
            long limits,
            long maximum,
            long factor,
            long sums,
            long weights) {
        FloatVector max = Vectors.floats(maximum);
        FloatVector limit = Vectors.floats(limits);
        FloatVector sum = Vectors.zero();
        for (int j = 0; j < positions; j++) {
            VectorMask<Float> seen = limit.compare(VectorOperators.GT, j);
            FloatVector e =
                    Vectors.exp(Vectors.floats(scores + stride * j).mul(scale).sub(max));
            e = Vectors.zero().blend(e, seen);
            Vectors.store(e, weights + stride * j);
            sum = sum.add(e);
        }
        Vectors.store(Vectors.floats(sums).mul(Vectors.floats(factor)).add(sum), sums);
    }
}
