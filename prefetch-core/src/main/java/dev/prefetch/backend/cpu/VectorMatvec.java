package dev.prefetch.backend.cpu;

import static dev.prefetch.backend.cpu.VectorActivations.NIBBLE_BLOCK_BYTES;
import static jdk.incubator.vector.VectorOperators.ASHR;
import static jdk.incubator.vector.VectorOperators.LSHL;
import static jdk.incubator.vector.VectorOperators.LSHR;

import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.IntVector;
import jdk.incubator.vector.ShortVector;

/**
 * Matrix-vector kernels for plain weights and for blocks of 32.
 *
 * <p>Every kernel leaves the 8 lanes of each row's sum in scratch memory and adds them up afterwards, in an order of its own.
 * All have the parameters: address of the weights, rows, columns, prepared activations, results, scratch memory.
 */
final class VectorMatvec {

    private static final int HALF_BITS = 0x8fffe000;

    private VectorMatvec() {}

    static void f32(long w, int rows, int cols, long x, long y, long scratch) {
        for (int r = 0; r < rows; r++) {
            dotLanes(w + 4L * cols * r, x, cols / 32 * 32, scratch + 32L * r);
        }
        Vectors.sumRows(scratch, rows, y);
        for (int i = cols / 32 * 32; i < cols; i++) {
            for (int r = 0; r < rows; r++) {
                float term = Memory.getFloat(w + 4L * ((long) cols * r + i)) * Memory.getFloat(x + 4L * i);
                Memory.putFloat(y + 4L * r, Memory.getFloat(y + 4L * r) + term);
            }
        }
    }

    /** Product of {@code n} elements, a multiple of 32. */
    private static void dotLanes(long a, long b, int n, long lanes) {
        FloatVector s0 = Vectors.zero();
        FloatVector s1 = s0;
        FloatVector s2 = s0;
        FloatVector s3 = s0;
        for (int i = 0; i < n; i += 32) {
            long p = Memory.known(a + 4L * i);
            long q = Memory.known(b + 4L * i);
            s0 = Vectors.floats(p).fma(Vectors.floats(q), s0);
            s1 = Vectors.floats(p + 32).fma(Vectors.floats(q + 32), s1);
            s2 = Vectors.floats(p + 64).fma(Vectors.floats(q + 64), s2);
            s3 = Vectors.floats(p + 96).fma(Vectors.floats(q + 96), s3);
        }
        Vectors.store(s0.add(s1).add(s2.add(s3)), lanes);
    }

    /** 16 halves per load: the odd ones stand in the upper bits of their int lane, the even ones in the lower. */
    static void f16(long w, int rows, int cols, long activation, long y, long scratch) {
        long x = activation + VectorActivations.HALF_VALUES;
        int whole = cols / 16 * 16;
        for (int r = 0; r < rows; r++) {
            f16Lanes(w + 2L * cols * r, whole, x, scratch + 32L * r);
        }
        Vectors.sumRows(scratch, rows, y);
        float factor = Memory.getFloat(activation + VectorActivations.HALF_FACTOR);
        for (int r = 0; r < rows; r++) {
            float sum = factor * Memory.getFloat(y + 4L * r);
            for (int i = whole; i < cols; i++) {
                sum += Memory.getHalf(w + 2L * ((long) cols * r + i)) * Memory.getFloat(x + 4L * i);
            }
            Memory.putFloat(y + 4L * r, sum);
        }
    }

    private static void f16Lanes(long row, int cols, long x, long lanes) {
        FloatVector even = Vectors.zero();
        FloatVector odd = even;
        for (int i = 0; i < cols; i += 16) {
            IntVector z = Vectors.ints(Memory.known(row + 2L * i));
            long q = Memory.known(x + 4L * i);
            even = z.lanewise(LSHL, 16)
                    .lanewise(ASHR, 3)
                    .and(HALF_BITS)
                    .reinterpretAsFloats()
                    .fma(Vectors.floats(q), even);
            odd = z.lanewise(ASHR, 3).and(HALF_BITS).reinterpretAsFloats().fma(Vectors.floats(q + 32), odd);
        }
        Vectors.store(even.add(odd), lanes);
    }

    static void bf16(long w, int rows, int cols, long x, long y, long scratch) {
        int whole = cols / 16 * 16;
        for (int r = 0; r < rows; r++) {
            bf16Lanes(w + 2L * cols * r, whole, x, scratch + 32L * r);
        }
        Vectors.sumRows(scratch, rows, y);
        for (int i = whole; i < cols; i++) {
            for (int r = 0; r < rows; r++) {
                float weight = Float.intBitsToFloat(Memory.getShort(w + 2L * ((long) cols * r + i)) << 16);
                Memory.putFloat(y + 4L * r, Memory.getFloat(y + 4L * r) + weight * Memory.getFloat(x + 4L * i));
            }
        }
    }

    private static void bf16Lanes(long row, int cols, long x, long lanes) {
        FloatVector even = Vectors.zero();
        FloatVector odd = even;
        for (int i = 0; i < cols; i += 16) {
            IntVector z = Vectors.ints(Memory.known(row + 2L * i));
            long q = Memory.known(x + 4L * i);
            even = z.lanewise(LSHL, 16).reinterpretAsFloats().fma(Vectors.floats(q), even);
            odd = z.and(0xffff0000).reinterpretAsFloats().fma(Vectors.floats(q + 32), odd);
        }
        Vectors.store(even.add(odd), lanes);
    }

    /** Products of two 8-bit values: two of them fit 16 bits, since activations stay within 127. */
    static void q80(long w, int rows, int cols, long x, long y, long scratch) {
        int blocks = cols / 32;
        for (int r = 0; r < rows; r++) {
            q80Lanes(w + 34L * blocks * r, blocks, x, x + VectorActivations.int8Scales(cols), scratch + 32L * r);
        }
        Vectors.sumRows(scratch, rows, y);
    }

    private static void q80Lanes(long row, int blocks, long x, long scales, long lanes) {
        FloatVector sum = Vectors.zero();
        for (int b = 0; b < blocks; b++) {
            long p = Memory.known(row + 34L * b);
            long q = Memory.known(x + 64L * b);
            ShortVector t = Vectors.bytesAsShorts(p + 2).mul(Vectors.shorts(q));
            t = t.add(Vectors.bytesAsShorts(p + 18).mul(Vectors.shorts(q + 32)));
            float d = Memory.getHalf(p) * Memory.getFloat(Memory.known(scales + 4L * b));
            sum = Vectors.toFloats(Vectors.widePairSums(t)).fma(FloatVector.broadcast(Vectors.F256, d), sum);
        }
        Vectors.store(sum, lanes);
    }

    /** Nibbles without masking; see {@link VectorActivations} for the multipliers. */
    static void q40(long w, int rows, int cols, long x, long y, long scratch) {
        int blocks = cols / 32;
        for (int r = 0; r < rows; r++) {
            q40Lanes(w + 18L * blocks * r, blocks, x, x + VectorActivations.nibbleScales(cols), scratch + 32L * r);
        }
        Vectors.sumRows(scratch, rows, y);
    }

    private static void q40Lanes(long row, int blocks, long x, long scales, long lanes) {
        FloatVector sum = Vectors.zero();
        for (int b = 0; b < blocks; b++) {
            long p = Memory.known(row + 18L * b);
            long q = Memory.known(x + NIBBLE_BLOCK_BYTES * b);
            ShortVector z = Vectors.unsignedBytesAsShorts(p + 2);
            ShortVector shifted = z.reinterpretAsInts().lanewise(LSHR, 4).reinterpretAsShorts();
            ShortVector t = Vectors.shorts(q + 64).add(z.mul(Vectors.shorts(q)));
            t = t.add(shifted.mul(Vectors.shorts(q + 32)));
            float d = Memory.getHalf(p) * Memory.getFloat(Memory.known(scales + 4L * b));
            sum = Vectors.toFloats(Vectors.narrowPairSums(t)).fma(FloatVector.broadcast(Vectors.F256, d), sum);
        }
        Vectors.store(sum, lanes);
    }
}
