package dev.prefetch.backend.cpu;

import static dev.prefetch.backend.cpu.Memory.ALL;
import static dev.prefetch.backend.cpu.VectorActivations.NIBBLE_BLOCKS;
import static dev.prefetch.backend.cpu.VectorActivations.NIBBLE_SCALES;
import static dev.prefetch.backend.cpu.VectorActivations.NIBBLE_STARTS;
import static dev.prefetch.backend.cpu.VectorActivations.NIBBLE_STEP_BYTES;
import static dev.prefetch.backend.cpu.VectorSuperBlocks.NIBBLES;
import static dev.prefetch.backend.cpu.VectorSuperBlocks.UPPER_HALVES;
import static dev.prefetch.backend.cpu.Vectors.BITS;
import static dev.prefetch.backend.cpu.Vectors.BYTES;
import static dev.prefetch.backend.cpu.Vectors.F;
import static dev.prefetch.backend.cpu.Vectors.I;
import static dev.prefetch.backend.cpu.Vectors.LE;
import static dev.prefetch.backend.cpu.Vectors.S;
import static jdk.incubator.vector.VectorOperators.ASHR;
import static jdk.incubator.vector.VectorOperators.I2F;
import static jdk.incubator.vector.VectorOperators.LSHL;
import static jdk.incubator.vector.VectorOperators.LSHR;

import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.IntVector;
import jdk.incubator.vector.ShortVector;
import jdk.incubator.vector.VectorMask;

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

    /** Nibbles of as many blocks as fill a vector; {@link VectorActivations} has the layout. */
    static void q40(long w, long rowStride, int rows, int cols, long x, long xStride, int count, long lanes) {
        // Made here, masks stay in registers of their own.
        VectorMask<Integer> second = VectorMask.fromLong(I, 0xf0);
        VectorMask<Integer> third = VectorMask.fromLong(I, 0xf00);
        VectorMask<Integer> fourth = VectorMask.fromLong(I, 0xf000);
        VectorMask<Float> secondScale = VectorMask.fromLong(F, 0xf0);
        VectorMask<Float> thirdScale = VectorMask.fromLong(F, 0xf00);
        VectorMask<Float> fourthScale = VectorMask.fromLong(F, 0xf000);
        int steps = cols / 32 / NIBBLE_BLOCKS;
        for (int s = 0; s < steps; s++) {
            for (int r = 0; r < rows; r++) {
                long p = Memory.known(w + rowStride * r + 18L * NIBBLE_BLOCKS * s);
                IntVector z = IntVector.fromMemorySegment(I, ALL, p + 2, LE);
                FloatVector d = FloatVector.broadcast(F, Memory.getHalf(p));
                if (BITS >= 256) {
                    z = z.blend(IntVector.fromMemorySegment(I, ALL, p + 4, LE), second);
                    d = d.blend(FloatVector.broadcast(F, Memory.getHalf(p + 18)), secondScale);
                }
                if (BITS == 512) {
                    z = z.blend(IntVector.fromMemorySegment(I, ALL, p + 6, LE), third);
                    d = d.blend(FloatVector.broadcast(F, Memory.getHalf(p + 36)), thirdScale);
                    z = z.blend(IntVector.fromMemorySegment(I, ALL, p + 8, LE), fourth);
                    d = d.blend(FloatVector.broadcast(F, Memory.getHalf(p + 54)), fourthScale);
                }
                IntVector low = z.and(NIBBLES);
                IntVector high = z.lanewise(LSHR, 4).and(NIBBLES);
                for (int t = 0; t < count; t++) {
                    long q = Memory.known(x + xStride * t + NIBBLE_STEP_BYTES * s);
                    long at = Memory.known(lanes + (long) BYTES * (r * count + t));
                    ShortVector v = low.reinterpretAsShorts()
                            .mul(ShortVector.fromMemorySegment(S, ALL, q, LE))
                            .add(ShortVector.fromMemorySegment(S, ALL, q + NIBBLE_STARTS, LE));
                    v = v.add(low.lanewise(LSHR, 8)
                            .reinterpretAsShorts()
                            .mul(ShortVector.fromMemorySegment(S, ALL, q + BYTES, LE)));
                    v = v.add(high.reinterpretAsShorts().mul(ShortVector.fromMemorySegment(S, ALL, q + 2 * BYTES, LE)));
                    v = v.add(high.lanewise(LSHR, 8)
                            .reinterpretAsShorts()
                            .mul(ShortVector.fromMemorySegment(S, ALL, q + 3 * BYTES, LE)));
                    IntVector sums = v.reinterpretAsInts();
                    sums = sums.add(sums.lanewise(LSHL, 16)).and(UPPER_HALVES);
                    FloatVector scale = d.mul(FloatVector.fromMemorySegment(F, ALL, q + NIBBLE_SCALES, LE));
                    ((FloatVector) sums.convertShape(I2F, F, 0))
                            .fma(scale, FloatVector.fromMemorySegment(F, ALL, at, LE))
                            .intoMemorySegment(ALL, at, LE);
                }
            }
        }
        for (int b = steps * NIBBLE_BLOCKS; b < cols / 32; b++) {
            for (int r = 0; r < rows; r++) {
                for (int t = 0; t < count; t++) {
                    long rest = x + xStride * t + VectorActivations.nibbleRest(cols);
                    float scale = Memory.getFloat(rest + 2L * cols + 4L * b);
                    float sum = q40Block(w + rowStride * r + 18L * b, rest + 64L * b) * scale;
                    long lane = lanes + (long) BYTES * (r * count + t);
                    Memory.putFloat(lane, Memory.getFloat(lane) + sum);
                }
            }
        }
    }

    private static float q40Block(long p, long values) {
        int sum = 0;
        for (int i = 0; i < 16; i++) {
            int z = Memory.getUnsignedByte(p + 2 + i);
            sum += ((z & 15) - 8) * Memory.getShort(values + 2L * i);
            sum += ((z >> 4) - 8) * Memory.getShort(values + 32 + 2L * i);
        }
        return Memory.getHalf(p) * sum;
    }
}
