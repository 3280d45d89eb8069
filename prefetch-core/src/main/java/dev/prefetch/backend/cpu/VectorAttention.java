package dev.prefetch.backend.cpu;

import jdk.incubator.vector.FloatVector;

/** The pieces of attention over one block of positions. */
final class VectorAttention {

    private VectorAttention() {}

    /** Four keys at a time share the loads of the query; a key's score has the same bits in a group and alone. */
    static void scores(long q, long k, int positions, int dim, float scale, long scores) {
        long keyBytes = 4L * dim;
        int whole = dim / 16 * 16;
        int j = 0;
        for (; j + 4 <= positions; j += 4) {
            fourKeys(q, k + keyBytes * j, keyBytes, whole, scores + 4L * j);
        }
        for (; j < positions; j++) {
            oneKey(q, k + keyBytes * j, whole, scores + 4L * j);
        }
        for (j = 0; j < positions; j++) {
            float score = Memory.getFloat(scores + 4L * j);
            for (int i = whole; i < dim; i++) {
                score = Math.fma(Memory.getFloat(q + 4L * i), Memory.getFloat(k + keyBytes * j + 4L * i), score);
            }
            Memory.putFloat(scores + 4L * j, score * scale);
        }
    }

    private static void fourKeys(long q, long k, long stride, int dim, long scores) {
        FloatVector a0 = Vectors.zero();
        FloatVector a1 = a0;
        FloatVector b0 = a0;
        FloatVector b1 = a0;
        FloatVector c0 = a0;
        FloatVector c1 = a0;
        FloatVector d0 = a0;
        FloatVector d1 = a0;
        for (int i = 0; i < dim; i += 16) {
            FloatVector q0 = Vectors.floats(q + 4L * i);
            FloatVector q1 = Vectors.floats(q + 4L * i + 32);
            long p = k + 4L * i;
            a0 = Vectors.floats(p).fma(q0, a0);
            a1 = Vectors.floats(p + 32).fma(q1, a1);
            b0 = Vectors.floats(p + stride).fma(q0, b0);
            b1 = Vectors.floats(p + stride + 32).fma(q1, b1);
            c0 = Vectors.floats(p + 2 * stride).fma(q0, c0);
            c1 = Vectors.floats(p + 2 * stride + 32).fma(q1, c1);
            d0 = Vectors.floats(p + 3 * stride).fma(q0, d0);
            d1 = Vectors.floats(p + 3 * stride + 32).fma(q1, d1);
        }
        Memory.putFloat(scores, Vectors.sum(a0.add(a1)));
        Memory.putFloat(scores + 4, Vectors.sum(b0.add(b1)));
        Memory.putFloat(scores + 8, Vectors.sum(c0.add(c1)));
        Memory.putFloat(scores + 12, Vectors.sum(d0.add(d1)));
    }

    private static void oneKey(long q, long k, int dim, long scores) {
        FloatVector a0 = Vectors.zero();
        FloatVector a1 = a0;
        for (int i = 0; i < dim; i += 16) {
            a0 = Vectors.floats(k + 4L * i).fma(Vectors.floats(q + 4L * i), a0);
            a1 = Vectors.floats(k + 4L * i + 32).fma(Vectors.floats(q + 4L * i + 32), a1);
        }
        Memory.putFloat(scores, Vectors.sum(a0.add(a1)));
    }

    /** {@code tanh(t) = 1 - 2 / (exp(2t) + 1)}; its absolute error of 1e-7 is what matters next to the cap. */
    static void softCap(long scores, int n, float cap) {
        for (int j = 0; j < n; j += 8) {
            FloatVector t = Vectors.floats(scores + 4L * j).mul(2 / cap);
            FloatVector e = Vectors.exp(t).add(1);
            Vectors.store(FloatVector.broadcast(Vectors.F256, -2 * cap).div(e).add(cap), scores + 4L * j);
        }
    }

    static float max(long scores, int n) {
        float max = Float.NEGATIVE_INFINITY;
        for (int j = 0; j < n; j++) {
            max = Math.max(max, Memory.getFloat(scores + 4L * j));
        }
        return max;
    }

    static float expAndSum(long scores, int n, float max) {
        for (int j = 0; j < n; j += 8) {
            Vectors.store(Vectors.exp(Vectors.floats(scores + 4L * j).sub(max)), scores + 4L * j);
        }
        FloatVector sum = Vectors.zero();
        int j = 0;
        for (; j + 8 <= n; j += 8) {
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
        for (; i + 32 <= dim; i += 32) {
            accumulate32(weights, v + 4L * i, positions, 4L * dim, factor, out + 4L * i);
        }
        for (; i + 8 <= dim; i += 8) {
            accumulate8(weights, v + 4L * i, positions, 4L * dim, factor, out + 4L * i);
        }
        for (; i < dim; i++) {
            float sum = Memory.getFloat(out + 4L * i) * factor;
            for (int j = 0; j < positions; j++) {
                sum = Math.fma(Memory.getFloat(weights + 4L * j), Memory.getFloat(v + 4L * i + 4L * dim * j), sum);
            }
            Memory.putFloat(out + 4L * i, sum);
        }
    }

    private static void accumulate32(long weights, long v, int positions, long stride, float factor, long out) {
        FloatVector a = Vectors.floats(out).mul(factor);
        FloatVector b = Vectors.floats(out + 32).mul(factor);
        FloatVector c = Vectors.floats(out + 64).mul(factor);
        FloatVector d = Vectors.floats(out + 96).mul(factor);
        for (int j = 0; j < positions; j++) {
            FloatVector w = Vectors.broadcast(weights + 4L * j);
            long p = v + stride * j;
            a = Vectors.floats(p).fma(w, a);
            b = Vectors.floats(p + 32).fma(w, b);
            c = Vectors.floats(p + 64).fma(w, c);
            d = Vectors.floats(p + 96).fma(w, d);
        }
        Vectors.store(a, out);
        Vectors.store(b, out + 32);
        Vectors.store(c, out + 64);
        Vectors.store(d, out + 96);
    }

    private static void accumulate8(long weights, long v, int positions, long stride, float factor, long out) {
        FloatVector a = Vectors.floats(out).mul(factor);
        for (int j = 0; j < positions; j++) {
            a = Vectors.floats(v + stride * j).fma(Vectors.broadcast(weights + 4L * j), a);
        }
        Vectors.store(a, out);
    }
}
