package dev.prefetch.backend.cpu;

import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.VectorMask;

/** Kernels that go once over their data. */
final class VectorElementwise {

    private VectorElementwise() {}

    static void add(long x, long y, long n) {
        long i = 0;
        for (; i + Vectors.LANES <= n; i += Vectors.LANES) {
            Vectors.store(Vectors.floats(x + 4 * i).add(Vectors.floats(y + 4 * i)), x + 4 * i);
        }
        for (; i < n; i++) {
            Memory.putFloat(x + 4 * i, Memory.getFloat(x + 4 * i) + Memory.getFloat(y + 4 * i));
        }
    }

    static void addScaled(long x, long y, float factor, int n) {
        int i = 0;
        for (; i + Vectors.LANES <= n; i += Vectors.LANES) {
            FloatVector scaled = Vectors.floats(y + 4L * i).mul(factor);
            Vectors.store(Vectors.floats(x + 4L * i).add(scaled), x + 4L * i);
        }
        for (; i < n; i++) {
            Memory.putFloat(x + 4L * i, Memory.getFloat(x + 4L * i) + factor * Memory.getFloat(y + 4L * i));
        }
    }

    static void scale(long x, int n, float factor, long out) {
        int i = 0;
        for (; i + Vectors.LANES <= n; i += Vectors.LANES) {
            Vectors.store(Vectors.floats(x + 4L * i).mul(factor), out + 4L * i);
        }
        for (; i < n; i++) {
            Memory.putFloat(out + 4L * i, Memory.getFloat(x + 4L * i) * factor);
        }
    }

    static void swiGlu(long gate, long up, long n) {
        long i = 0;
        for (; i + Vectors.LANES <= n; i += Vectors.LANES) {
            FloatVector g = Vectors.floats(gate + 4 * i);
            Vectors.store(silu(g).mul(Vectors.floats(up + 4 * i)), gate + 4 * i);
        }
        if (i < n) {
            // The same arithmetic as above: an element's bits must not depend on where it stands.
            VectorMask<Float> rest = Vectors.F.indexInRange(i, n);
            FloatVector g = Vectors.floats(gate + 4 * i, rest);
            Vectors.store(silu(g).mul(Vectors.floats(up + 4 * i, rest)), gate + 4 * i, rest);
        }
    }

    private static FloatVector silu(FloatVector g) {
        return g.div(Vectors.exp(g.neg()).add(1));
    }

    static void rmsNorm(long x, int dim, long gain, float epsilon, long out) {
        float factor = (float) (1 / Math.sqrt((double) squares(x, dim) / dim + epsilon));
        if (gain == 0) {
            scale(x, dim, factor, out);
            return;
        }
        int i = 0;
        for (; i + Vectors.LANES <= dim; i += Vectors.LANES) {
            FloatVector v = Vectors.floats(x + 4L * i).mul(factor);
            Vectors.store(v.mul(Vectors.floats(gain + 4L * i)), out + 4L * i);
        }
        for (; i < dim; i++) {
            Memory.putFloat(out + 4L * i, Memory.getFloat(x + 4L * i) * factor * Memory.getFloat(gain + 4L * i));
        }
    }

    private static float squares(long x, int n) {
        FloatVector s0 = Vectors.zero();
        FloatVector s1 = s0;
        int i = 0;
        for (; i + 2 * Vectors.LANES <= n; i += 2 * Vectors.LANES) {
            FloatVector a = Vectors.floats(x + 4L * i);
            FloatVector b = Vectors.floats(x + 4L * i + Vectors.BYTES);
            s0 = a.fma(a, s0);
            s1 = b.fma(b, s1);
        }
        float rest = 0;
        for (; i < n; i++) {
            rest += Memory.getFloat(x + 4L * i) * Memory.getFloat(x + 4L * i);
        }
        return Vectors.sum(s0.add(s1)) + rest;
    }

    static void layerNorm(long x, int dim, long gain, long bias, float epsilon, long out) {
        float mean = (float) ((double) sum(x, dim) / dim);
        float factor = (float) (1 / Math.sqrt((double) squaredDeviations(x, dim, mean) / dim + epsilon));
        int i = 0;
        for (; i + Vectors.LANES <= dim; i += Vectors.LANES) {
            FloatVector v = Vectors.floats(x + 4L * i).sub(mean).mul(factor);
            Vectors.store(v.mul(Vectors.floats(gain + 4L * i)).add(Vectors.floats(bias + 4L * i)), out + 4L * i);
        }
        for (; i < dim; i++) {
            float v = (Memory.getFloat(x + 4L * i) - mean) * factor;
            Memory.putFloat(out + 4L * i, v * Memory.getFloat(gain + 4L * i) + Memory.getFloat(bias + 4L * i));
        }
    }

    private static float sum(long x, int n) {
        FloatVector s0 = Vectors.zero();
        FloatVector s1 = s0;
        int i = 0;
        for (; i + 2 * Vectors.LANES <= n; i += 2 * Vectors.LANES) {
            s0 = s0.add(Vectors.floats(x + 4L * i));
            s1 = s1.add(Vectors.floats(x + 4L * i + Vectors.BYTES));
        }
        float rest = 0;
        for (; i < n; i++) {
            rest += Memory.getFloat(x + 4L * i);
        }
        return Vectors.sum(s0.add(s1)) + rest;
    }

    private static float squaredDeviations(long x, int n, float mean) {
        FloatVector s0 = Vectors.zero();
        FloatVector s1 = s0;
        int i = 0;
        for (; i + 2 * Vectors.LANES <= n; i += 2 * Vectors.LANES) {
            FloatVector a = Vectors.floats(x + 4L * i).sub(mean);
            FloatVector b = Vectors.floats(x + 4L * i + Vectors.BYTES).sub(mean);
            s0 = a.fma(a, s0);
            s1 = b.fma(b, s1);
        }
        float rest = 0;
        for (; i < n; i++) {
            float deviation = Memory.getFloat(x + 4L * i) - mean;
            rest += deviation * deviation;
        }
        return Vectors.sum(s0.add(s1)) + rest;
    }

    static void rotateHalves(long x, int pairs, long table) {
        long second = 4L * pairs;
        int i = 0;
        for (; i + Vectors.LANES <= pairs; i += Vectors.LANES) {
            long p = x + 4L * i;
            FloatVector cos = Vectors.floats(table + 4L * i);
            FloatVector sin = Vectors.floats(table + second + 4L * i);
            FloatVector a = Vectors.floats(p);
            FloatVector b = Vectors.floats(p + second);
            Vectors.store(a.mul(cos).sub(b.mul(sin)), p);
            Vectors.store(a.mul(sin).add(b.mul(cos)), p + second);
        }
        for (; i < pairs; i++) {
            long p = x + 4L * i;
            float cos = Memory.getFloat(table + 4L * i);
            float sin = Memory.getFloat(table + second + 4L * i);
            float a = Memory.getFloat(p);
            float b = Memory.getFloat(p + second);
            Memory.putFloat(p, a * cos - b * sin);
            Memory.putFloat(p + second, a * sin + b * cos);
        }
    }

    static void rotateAdjacent(long x, int pairs, long table) {
        long sines = table + 8L * pairs;
        int n = 2 * pairs;
        int i = 0;
        for (; i + Vectors.LANES <= n; i += Vectors.LANES) {
            FloatVector v = Vectors.floats(x + 4L * i);
            FloatVector turned = Vectors.swapNeighbours(v).mul(Vectors.floats(sines + 4L * i));
            Vectors.store(v.mul(Vectors.floats(table + 4L * i)).add(turned), x + 4L * i);
        }
        for (; i < n; i += 2) {
            float cos = Memory.getFloat(table + 4L * i);
            float sin = Memory.getFloat(sines + 4L * i + 4);
            float a = Memory.getFloat(x + 4L * i);
            float b = Memory.getFloat(x + 4L * i + 4);
            Memory.putFloat(x + 4L * i, a * cos - b * sin);
            Memory.putFloat(x + 4L * i + 4, a * sin + b * cos);
        }
    }
}
