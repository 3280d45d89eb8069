package dev.prefetch.backend.cpu;

import static dev.prefetch.backend.cpu.Vectors.BITS;
import static dev.prefetch.backend.cpu.Vectors.BYTES;
import static dev.prefetch.backend.cpu.Vectors.F;
import static jdk.incubator.vector.VectorOperators.ASHR;
import static jdk.incubator.vector.VectorOperators.LSHL;

import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.IntVector;
import jdk.incubator.vector.ShortVector;

/**
 * Matrix-vector kernels for f32 and for blocks of 32.
 *
 * <p>Those for blocks have the parameters: address of the first row, bytes from row to row, rows, columns, first prepared row
 * of activations, bytes from one to the next, their count, and where the sums of lanes stand, {@code [rows x count]} vectors,
 * to which they add. They go through all rows a few hundred elements at a time. The rows of a call lie far apart, in pages of
 * their own: the hardware fetches ahead for each page, so several streams hide the latency of memory that one does not.
 */
final class VectorMatvec {

    /** Blocks of {@code Q8_0} that are taken from a row at a time. */
    private static final int STEP_BLOCKS = 8;

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

    static void q80(long w, long rowStride, int rows, int cols, long x, long xStride, int count, long lanes) {
        int blocks = cols / 32;
        for (int first = 0; first < blocks; first += STEP_BLOCKS) {
            int n = Math.min(STEP_BLOCKS, blocks - first);
            for (int r = 0; r < rows; r++) {
                for (int t = 0; t < count; t++) {
                    long activations = x + xStride * t;
                    q80Step(
                            w + rowStride * r + 34L * first,
                            n,
                            activations + 64L * first,
                            activations + VectorActivations.int8Scales(cols) + 4L * first,
                            lanes + (long) BYTES * (r * count + t));
                }
            }
        }
    }

    private static void q80Step(long w, int blocks, long x, long scales, long lanes) {
        FloatVector sum = Vectors.floats(lanes);
        for (int b = 0; b < blocks; b++) {
            long p = Memory.known(w + 34L * b);
            long q = Memory.known(x + 64L * b);
            FloatVector d =
                    FloatVector.broadcast(F, Memory.getHalf(p) * Memory.getFloat(Memory.known(scales + 4L * b)));
            sum = Vectors.toFloats(q80Products(p + 2, q)).fma(d, sum);
        }
        Vectors.store(sum, lanes);
    }

    /**
     * Products of 8-bit values, of which two fit 16 bits because activations stay within 127; not for 512 bits, see
     * {@link WideBlocks}.
     */
    private static IntVector q80Products(long p, long q) {
        ShortVector a = Vectors.bytesAsShorts(p).mul(Vectors.shorts(q));
        a = a.add(Vectors.bytesAsShorts(p + BYTES / 2).mul(Vectors.shorts(q + BYTES)));
        if (BITS == 256) {
            return pairSums(a);
        }
        ShortVector b = Vectors.bytesAsShorts(p + BYTES).mul(Vectors.shorts(q + 2 * BYTES));
        b = b.add(Vectors.bytesAsShorts(p + BYTES * 3 / 2).mul(Vectors.shorts(q + 3 * BYTES)));
        return pairSums(a).add(pairSums(b));
    }

    /** In every int lane the sum of its two 16-bit halves. */
    private static IntVector pairSums(ShortVector v) {
        IntVector pairs = v.reinterpretAsInts();
        return pairs.lanewise(LSHL, 16).lanewise(ASHR, 16).add(pairs.lanewise(ASHR, 16));
    }
}
