package dev.prefetch.backend.cpu;

import static dev.prefetch.backend.cpu.Vectors.BYTES;

import jdk.incubator.vector.FloatVector;

/** The matrix-vector kernel for f32, and for rows of other formats that have been expanded to it. */
final class VectorMatvec {

    private VectorMatvec() {}

    /** Adds the products of {@code n} floats with those of {@code count} rows to the lanes of each. */
    static void f32(long w, int n, long x, long xStride, int count, long lanes) {
        int whole = n / Vectors.LANES * Vectors.LANES;
        for (int t = 0; t < count; t++) {
            dot(w, x + xStride * t, whole, lanes + (long) BYTES * t);
            for (int i = whole; i < n; i++) {
                long lane = lanes + (long) BYTES * t + 4L * (i - whole);
                float term = Memory.getFloat(w + 4L * i) * Memory.getFloat(x + xStride * t + 4L * i);
                Memory.putFloat(lane, Memory.getFloat(lane) + term);
            }
        }
    }

    private static void dot(long w, long x, int n, long lanes) {
        FloatVector s0 = Vectors.floats(lanes);
        FloatVector s1 = Vectors.zero();
        FloatVector s2 = s1;
        FloatVector s3 = s1;
        int i = 0;
        for (; i + 4 * Vectors.LANES <= n; i += 4 * Vectors.LANES) {
            long p = Memory.known(w + 4L * i);
            long q = Memory.known(x + 4L * i);
            s0 = Vectors.floats(p).fma(Vectors.floats(q), s0);
            s1 = Vectors.floats(p + BYTES).fma(Vectors.floats(q + BYTES), s1);
            s2 = Vectors.floats(p + 2 * BYTES).fma(Vectors.floats(q + 2 * BYTES), s2);
            s3 = Vectors.floats(p + 3 * BYTES).fma(Vectors.floats(q + 3 * BYTES), s3);
        }
        for (; i < n; i += Vectors.LANES) {
            s0 = Vectors.floats(w + 4L * i).fma(Vectors.floats(x + 4L * i), s0);
        }
        Vectors.store(s0.add(s1).add(s2.add(s3)), lanes);
    }
}
