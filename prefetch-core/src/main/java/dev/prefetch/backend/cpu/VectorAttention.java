package dev.prefetch.backend.cpu;

import static dev.prefetch.backend.cpu.Memory.ALL;
import static dev.prefetch.backend.cpu.Vectors.BYTES;
import static dev.prefetch.backend.cpu.Vectors.F;
import static dev.prefetch.backend.cpu.Vectors.LE;
import static jdk.incubator.vector.VectorOperators.MAX;

import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.VectorMask;

/** The pieces of attention over one block of positions. */
final class VectorAttention {

    private VectorAttention() {}

    /**
     * Eight keys at a time share the loads of the query; a key's score has the same bits in a group and alone. The memory of
     * the scores reaches to {@code positions} rounded up to whole vectors.
     */
    static void scores(long q, long k, int positions, int dim, float scale, long scores) {
        long keyBytes = 4L * dim;
        int whole = dim / Vectors.LANES * Vectors.LANES;
        int j = 0;
        for (; j + 8 <= positions; j += 8) {
            eightKeys(q, k + keyBytes * j, keyBytes, whole, scores + 4L * j);
        }
        for (; j < positions; j++) {
            oneKey(q, k + keyBytes * j, whole, scores + 4L * j);
        }
        if (whole < dim) {
            remainingDimensions(q, k, positions, whole, dim, scores);
        }
        for (j = 0; j < positions; j += Vectors.LANES) {
            long s = Memory.known(scores + 4L * j);
            FloatVector.fromMemorySegment(F, ALL, s, LE).mul(scale).intoMemorySegment(ALL, s, LE);
        }
    }

    private static void remainingDimensions(long q, long k, int positions, int from, int dim, long scores) {
        for (int j = 0; j < positions; j++) {
            float score = Memory.getFloat(scores + 4L * j);
            for (int i = from; i < dim; i++) {
                score = Math.fma(Memory.getFloat(q + 4L * i), Memory.getFloat(k + 4L * dim * j + 4L * i), score);
            }
            Memory.putFloat(scores + 4L * j, score);
        }
    }

    private static void eightKeys(long q, long k, long stride, int dim, long scores) {
        FloatVector a = Vectors.zero();
        FloatVector b = a;
        FloatVector c = a;
        FloatVector d = a;
        FloatVector e = a;
        FloatVector f = a;
        FloatVector g = a;
        FloatVector h = a;
        long x = q;
        long end = q + 4L * dim;
        long p = k;
        long r = k + 4 * stride;
        while (x < end) {
            x = Memory.known(x);
            p = Memory.known(p);
            r = Memory.known(r);
            FloatVector y = FloatVector.fromMemorySegment(F, ALL, x, LE);
            a = FloatVector.fromMemorySegment(F, ALL, p, LE).fma(y, a);
            b = FloatVector.fromMemorySegment(F, ALL, Memory.known(p + stride), LE)
                    .fma(y, b);
            c = FloatVector.fromMemorySegment(F, ALL, Memory.known(p + 2 * stride), LE)
                    .fma(y, c);
            d = FloatVector.fromMemorySegment(F, ALL, Memory.known(p + 3 * stride), LE)
                    .fma(y, d);
            e = FloatVector.fromMemorySegment(F, ALL, r, LE).fma(y, e);
            f = FloatVector.fromMemorySegment(F, ALL, Memory.known(r + stride), LE)
                    .fma(y, f);
            g = FloatVector.fromMemorySegment(F, ALL, Memory.known(r + 2 * stride), LE)
                    .fma(y, g);
            h = FloatVector.fromMemorySegment(F, ALL, Memory.known(r + 3 * stride), LE)
                    .fma(y, h);
            x += BYTES;
            p += BYTES;
            r += BYTES;
        }
        // A loop, since the compiler parses its body once: so many sums in a row were more than it inlines.
        long o = Memory.known(scores);
        for (int key = 0; key < 8; key++) {
            Memory.putFloat(o + 4 * (key & 7), Vectors.sum(a));
            a = b;
            b = c;
            c = d;
            d = e;
            e = f;
            f = g;
            g = h;
        }
    }

    private static void oneKey(long q, long k, int dim, long scores) {
        FloatVector a = Vectors.zero();
        long x = q;
        long end = q + 4L * dim;
        long p = k;
        while (x < end) {
            x = Memory.known(x);
            p = Memory.known(p);
            a = FloatVector.fromMemorySegment(F, ALL, p, LE).fma(FloatVector.fromMemorySegment(F, ALL, x, LE), a);
            x += BYTES;
            p += BYTES;
        }
        Memory.putFloat(Memory.known(scores), Vectors.sum(a));
    }

    /** {@code tanh(t) = 1 - 2 / (exp(2t) + 1)}; its absolute error of 1e-7 is what matters next to the cap. */
    static void softCap(long scores, int n, float cap) {
        int j = 0;
        for (; j + Vectors.LANES <= n; j += Vectors.LANES) {
            Vectors.store(softCap(Vectors.floats(scores + 4L * j), cap), scores + 4L * j);
        }
        if (j < n) {
            // Whole logits are capped as well, and what lies behind them is not ours.
            VectorMask<Float> rest = Vectors.F.indexInRange(j, n);
            Vectors.store(softCap(Vectors.floats(scores + 4L * j, rest), cap), scores + 4L * j, rest);
        }
    }

    private static FloatVector softCap(FloatVector x, float cap) {
        FloatVector e = Vectors.exp(x.mul(2 / cap)).add(1);
        return FloatVector.broadcast(Vectors.F, -2 * cap).div(e).add(cap);
    }

    static float max(long scores, int n) {
        int j = 0;
        float max = Float.NEGATIVE_INFINITY;
        if (n >= Vectors.LANES) {
            FloatVector most = Vectors.floats(Memory.known(scores));
            for (j = Vectors.LANES; j + Vectors.LANES <= n; j += Vectors.LANES) {
                most = most.max(Vectors.floats(Memory.known(scores + 4L * j)));
            }
            max = most.reduceLanes(MAX);
        }
        for (; j < n; j++) {
            max = Math.max(max, Memory.getFloat(scores + 4L * j));
        }
        return max;
    }

    static float expAndSum(long scores, int n, float max) {
        for (int j = 0; j < n; j += Vectors.LANES) {
            Vectors.store(Vectors.exp(Vectors.floats(scores + 4L * j).sub(max)), scores + 4L * j);
        }
        FloatVector sum = Vectors.zero();
        int j = 0;
        for (; j + Vectors.LANES <= n; j += Vectors.LANES) {
            sum = sum.add(Vectors.floats(scores + 4L * j));
        }
        float rest = 0;
        for (; j < n; j++) {
            rest += Memory.getFloat(scores + 4L * j);
        }
        return Vectors.sum(sum) + rest;
    }

    static void accumulate(long weights, long v, int positions, int dim, float factor, long out) {
        int i = 0;
        for (; i + 8 * Vectors.LANES <= dim; i += 8 * Vectors.LANES) {
            eightVectors(weights, v + 4L * i, positions, 4L * dim, factor, out + 4L * i);
        }
        for (; i + 4 * Vectors.LANES <= dim; i += 4 * Vectors.LANES) {
            fourVectors(weights, v + 4L * i, positions, 4L * dim, factor, out + 4L * i);
        }
        for (; i + Vectors.LANES <= dim; i += Vectors.LANES) {
            oneVector(weights, v + 4L * i, positions, 4L * dim, factor, out + 4L * i);
        }
        for (; i < dim; i++) {
            float sum = Memory.getFloat(out + 4L * i) * factor;
            for (int j = 0; j < positions; j++) {
                sum = Math.fma(Memory.getFloat(weights + 4L * j), Memory.getFloat(v + 4L * i + 4L * dim * j), sum);
            }
            Memory.putFloat(out + 4L * i, sum);
        }
    }

    /** The sums take turns where they are loaded and stored. */
    private static void eightVectors(long weights, long v, int positions, long stride, float factor, long out) {
        long o = Memory.known(out);
        FloatVector a = Vectors.zero();
        FloatVector b = a;
        FloatVector c = a;
        FloatVector d = a;
        FloatVector e = a;
        FloatVector f = a;
        FloatVector g = a;
        FloatVector h = a;
        for (int i = 0; i < 8; i++) {
            a = b;
            b = c;
            c = d;
            d = e;
            e = f;
            f = g;
            g = h;
            h = FloatVector.fromMemorySegment(F, ALL, o + BYTES * (i & 7), LE).mul(factor);
        }
        long w = weights;
        long end = weights + 4L * positions;
        long p = v;
        while (w < end) {
            p = Memory.known(p);
            FloatVector y = Vectors.broadcast(Memory.known(w));
            a = FloatVector.fromMemorySegment(F, ALL, p, LE).fma(y, a);
            b = FloatVector.fromMemorySegment(F, ALL, p + BYTES, LE).fma(y, b);
            c = FloatVector.fromMemorySegment(F, ALL, p + 2 * BYTES, LE).fma(y, c);
            d = FloatVector.fromMemorySegment(F, ALL, p + 3 * BYTES, LE).fma(y, d);
            e = FloatVector.fromMemorySegment(F, ALL, p + 4 * BYTES, LE).fma(y, e);
            f = FloatVector.fromMemorySegment(F, ALL, p + 5 * BYTES, LE).fma(y, f);
            g = FloatVector.fromMemorySegment(F, ALL, p + 6 * BYTES, LE).fma(y, g);
            h = FloatVector.fromMemorySegment(F, ALL, p + 7 * BYTES, LE).fma(y, h);
            w += 4;
            p += stride;
        }
        for (int i = 0; i < 8; i++) {
            a.intoMemorySegment(ALL, o + BYTES * (i & 7), LE);
            a = b;
            b = c;
            c = d;
            d = e;
            e = f;
            f = g;
            g = h;
        }
    }

    private static void fourVectors(long weights, long v, int positions, long stride, float factor, long out) {
        long o = Memory.known(out);
        FloatVector a = FloatVector.fromMemorySegment(F, ALL, o, LE).mul(factor);
        FloatVector b = FloatVector.fromMemorySegment(F, ALL, o + BYTES, LE).mul(factor);
        FloatVector c = FloatVector.fromMemorySegment(F, ALL, o + 2 * BYTES, LE).mul(factor);
        FloatVector d = FloatVector.fromMemorySegment(F, ALL, o + 3 * BYTES, LE).mul(factor);
        long w = weights;
        long end = weights + 4L * positions;
        long p = v;
        while (w < end) {
            p = Memory.known(p);
            FloatVector y = Vectors.broadcast(Memory.known(w));
            a = FloatVector.fromMemorySegment(F, ALL, p, LE).fma(y, a);
            b = FloatVector.fromMemorySegment(F, ALL, p + BYTES, LE).fma(y, b);
            c = FloatVector.fromMemorySegment(F, ALL, p + 2 * BYTES, LE).fma(y, c);
            d = FloatVector.fromMemorySegment(F, ALL, p + 3 * BYTES, LE).fma(y, d);
            w += 4;
            p += stride;
        }
        a.intoMemorySegment(ALL, o, LE);
        b.intoMemorySegment(ALL, o + BYTES, LE);
        c.intoMemorySegment(ALL, o + 2 * BYTES, LE);
        d.intoMemorySegment(ALL, o + 3 * BYTES, LE);
    }

    private static void oneVector(long weights, long v, int positions, long stride, float factor, long out) {
        long o = Memory.known(out);
        FloatVector a = FloatVector.fromMemorySegment(F, ALL, o, LE).mul(factor);
        long w = weights;
        long end = weights + 4L * positions;
        long p = v;
        while (w < end) {
            a = FloatVector.fromMemorySegment(F, ALL, Memory.known(p), LE).fma(Vectors.broadcast(Memory.known(w)), a);
            w += 4;
            p += stride;
        }
        a.intoMemorySegment(ALL, o, LE);
    }
}
