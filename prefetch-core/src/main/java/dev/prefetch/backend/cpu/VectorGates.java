package dev.prefetch.backend.cpu;

import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.VectorMask;

/**
 * The activations that only some architectures have. The last elements go through the same arithmetic under a mask:
 * an element's bits must not depend on where it stands.
 */
final class VectorGates {

    private VectorGates() {}

    static void geGlu(long gate, long up, long n) {
        long i = 0;
        for (; i + Vectors.LANES <= n; i += Vectors.LANES) {
            Vectors.store(gelu(Vectors.floats(gate + 4 * i)).mul(Vectors.floats(up + 4 * i)), gate + 4 * i);
        }
        if (i < n) {
            VectorMask<Float> rest = Vectors.F.indexInRange(i, n);
            FloatVector g = Vectors.floats(gate + 4 * i, rest);
            Vectors.store(gelu(g).mul(Vectors.floats(up + 4 * i, rest)), gate + 4 * i, rest);
        }
    }

    static void gelu(long x, long n) {
        long i = 0;
        for (; i + Vectors.LANES <= n; i += Vectors.LANES) {
            Vectors.store(gelu(Vectors.floats(x + 4 * i)), x + 4 * i);
        }
        if (i < n) {
            VectorMask<Float> rest = Vectors.F.indexInRange(i, n);
            Vectors.store(gelu(Vectors.floats(x + 4 * i, rest)), x + 4 * i, rest);
        }
    }

    /** {@code 0.5 (1 + tanh z)} is the sigmoid of {@code 2z}. */
    private static FloatVector gelu(FloatVector g) {
        FloatVector z = g.mul(g).mul((float) ScalarKernels.GELU_CUBE).add(1).mul(g);
        return g.div(Vectors.exp(z.mul((float) (-2 * ScalarKernels.GELU_SCALE))).add(1));
    }

    static void clampedSwiGlu(long gate, long up, float slope, float limit, long n) {
        long i = 0;
        for (; i + Vectors.LANES <= n; i += Vectors.LANES) {
            FloatVector result = clamped(Vectors.floats(gate + 4 * i), Vectors.floats(up + 4 * i), slope, limit);
            Vectors.store(result, gate + 4 * i);
        }
        if (i < n) {
            VectorMask<Float> rest = Vectors.F.indexInRange(i, n);
            FloatVector g = Vectors.floats(gate + 4 * i, rest);
            Vectors.store(clamped(g, Vectors.floats(up + 4 * i, rest), slope, limit), gate + 4 * i, rest);
        }
    }

    private static FloatVector clamped(FloatVector gate, FloatVector up, float slope, float limit) {
        FloatVector g = gate.min(limit);
        FloatVector u = up.min(limit).max(-limit);
        return g.div(Vectors.exp(g.mul(-slope)).add(1)).mul(u.add(1));
    }

    static void silu(long x, long n) {
        long i = 0;
        for (; i + Vectors.LANES <= n; i += Vectors.LANES) {
            FloatVector v = Vectors.floats(x + 4 * i);
            Vectors.store(v.div(Vectors.exp(v.neg()).add(1)), x + 4 * i);
        }
        if (i < n) {
            VectorMask<Float> rest = Vectors.F.indexInRange(i, n);
            FloatVector v = Vectors.floats(x + 4 * i, rest);
            Vectors.store(v.div(Vectors.exp(v.neg()).add(1)), x + 4 * i, rest);
        }
    }

    static void sigmoidGate(long x, long gate, long n) {
        long i = 0;
        for (; i + Vectors.LANES <= n; i += Vectors.LANES) {
            FloatVector g = Vectors.exp(Vectors.floats(gate + 4 * i).neg()).add(1);
            Vectors.store(Vectors.floats(x + 4 * i).div(g), x + 4 * i);
        }
        if (i < n) {
            VectorMask<Float> rest = Vectors.F.indexInRange(i, n);
            FloatVector g =
                    Vectors.exp(Vectors.floats(gate + 4 * i, rest).neg()).add(1);
            Vectors.store(Vectors.floats(x + 4 * i, rest).div(g), x + 4 * i, rest);
        }
    }
}
