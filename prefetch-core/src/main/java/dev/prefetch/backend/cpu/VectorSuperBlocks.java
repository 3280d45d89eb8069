package dev.prefetch.backend.cpu;

import static dev.prefetch.backend.cpu.VectorActivations.BYTES_SCALES;
import static dev.prefetch.backend.cpu.VectorActivations.BYTES_SUMS_16;
import static dev.prefetch.backend.cpu.VectorActivations.BYTES_SUMS_32;
import static dev.prefetch.backend.cpu.VectorActivations.BYTES_SUPER_BLOCK_BYTES;
import static jdk.incubator.vector.VectorOperators.ASHR;
import static jdk.incubator.vector.VectorOperators.LSHL;
import static jdk.incubator.vector.VectorOperators.LSHR;

import java.lang.invoke.MethodHandle;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.IntVector;
import jdk.incubator.vector.ShortVector;

/**
 * Matrix-vector kernels for super-blocks of 256.
 *
 * <p>Each row takes two passes. The first turns the small scales into floats, multiplied with those of the activations, sums
 * the terms of the minima or zero points, and unpacks elements that are split into low and high bits. The second multiplies
 * the elements. Both passes in one exceed what the compiler inlines, hence {@link Isolated}.
 *
 * <p>Passes have the parameters: where to read, number of super-blocks, activations, scales, where to write. The scales are a
 * header of {@link #HEADER} bytes (16 for unpacking; from byte 32 on, 8 lanes that the sum starts from) and
 * {@link #SCALES_STRIDE} bytes per super-block: 8 floats, and for {@code Q6_K} its 16 scale bytes.
 */
final class VectorSuperBlocks {

    private static final int NIBBLES = 0x0f0f0f0f;

    private static final long HEADER = 64;
    private static final long SCALES_STRIDE = 64;

    /** Shifts that bring the first byte to the top of the lower four lanes and the second to the top of the others. */
    private static final IntVector BYTE_OF_HALF =
            IntVector.fromArray(Vectors.I256, new int[] {24, 24, 24, 24, 16, 16, 16, 16}, 0);

    private final MethodHandle q4kPrepare = Isolated.pass(VectorSuperBlocks.class, "q4kPrepare");
    private final MethodHandle q4kLanes = Isolated.pass(VectorSuperBlocks.class, "q4kLanes");
    private final MethodHandle q5kPrepare = Isolated.pass(VectorSuperBlocks.class, "q5kPrepare");
    private final MethodHandle q5kLanes = Isolated.pass(VectorSuperBlocks.class, "q5kLanes");
    private final MethodHandle q6kPrepare = Isolated.pass(VectorSuperBlocks.class, "q6kPrepare");
    private final MethodHandle q6kLanes = Isolated.pass(VectorSuperBlocks.class, "q6kLanes");

    /** Scratch: the lanes of every row, the scales, the bytes of a row. */
    static long scratchBytes(int rows, int cols) {
        return 32L * rows + scalesBytes(cols / 256) + cols;
    }

    private static long scalesBytes(int blocks) {
        return HEADER + SCALES_STRIDE * blocks;
    }

    void q4k(long w, int rows, int cols, long x, long y, long scratch) {
        int blocks = cols / 256;
        long scales = scratch + 32L * rows;
        for (int r = 0; r < rows; r++) {
            long row = w + 144L * blocks * r;
            // Nothing to unpack: the elements are read where they lie.
            Isolated.call(q4kPrepare, row, blocks, x, scales, 0);
            Isolated.call(q4kLanes, row, blocks, x, scales, scratch + 32L * r);
        }
        Vectors.sumRows(scratch, rows, y);
    }

    void q5k(long w, int rows, int cols, long x, long y, long scratch) {
        int blocks = cols / 256;
        long scales = scratch + 32L * rows;
        long bytes = scales + scalesBytes(blocks);
        for (int r = 0; r < rows; r++) {
            Isolated.call(q5kPrepare, w + 176L * blocks * r, blocks, x, scales, bytes);
            Isolated.call(q5kLanes, bytes, blocks, x, scales, scratch + 32L * r);
        }
        Vectors.sumRows(scratch, rows, y);
    }

    void q6k(long w, int rows, int cols, long x, long y, long scratch) {
        int blocks = cols / 256;
        long scales = scratch + 32L * rows;
        long bytes = scales + scalesBytes(blocks);
        for (int r = 0; r < rows; r++) {
            Isolated.call(q6kPrepare, w + 210L * blocks * r, blocks, x, scales, bytes);
            Isolated.call(q6kLanes, bytes, blocks, x, scales, scratch + 32L * r);
        }
        Vectors.sumRows(scratch, rows, y);
    }

    static void q4kPrepare(long row, int blocks, long x, long scales, long unused) {
        groupScales(row, 144, blocks, x, scales);
    }

    static void q5kPrepare(long row, int blocks, long x, long scales, long bytes) {
        groupScales(row, 176, blocks, x, scales);
        VectorUnpack.q5k(row, blocks, bytes);
    }

    /** 8 scales per super-block, and the terms of the minima. */
    private static void groupScales(long row, long blockBytes, int blocks, long x, long scales) {
        long header = Memory.known(scales);
        FloatVector minima = Vectors.zero();
        for (int b = 0; b < blocks; b++) {
            long p = Memory.known(row + blockBytes * b);
            long q = Memory.known(x + BYTES_SUPER_BLOCK_BYTES * b);
            unpackScales(p + 4, header);
            FloatVector d = Vectors.floats(q + BYTES_SCALES).mul(Memory.getHalf(p));
            FloatVector groups =
                    Vectors.toFloats(Vectors.unsignedBytesAsInts(header)).mul(d);
            Vectors.store(groups, header + HEADER + SCALES_STRIDE * b);
            FloatVector m = Vectors.floats(q + BYTES_SUMS_32).mul(Memory.getHalf(p + 2));
            minima = Vectors.toFloats(Vectors.unsignedBytesAsInts(header + 8)).fma(m, minima);
        }
        Vectors.store(minima.neg(), header + 32);
    }

    /** The 12 bytes of {@code Q4_K}: 8 scales of 6 bits to 8 bytes, then 8 minima to 8 bytes. */
    private static void unpackScales(long packed, long out) {
        int first = Memory.getInt(packed);
        int second = Memory.getInt(packed + 4);
        int third = Memory.getInt(packed + 8);
        long scalesHigh = (third & 0x0f0f0f0fL) | (first >>> 6 & 0x03030303L) << 4;
        long minimaHigh = (third >>> 4 & 0x0f0f0f0fL) | (second >>> 6 & 0x03030303L) << 4;
        Memory.putLong(out, (first & 0x3f3f3f3fL) | scalesHigh << 32);
        Memory.putLong(out + 8, (second & 0x3f3f3f3fL) | minimaHigh << 32);
    }

    static void q6kPrepare(long row, int blocks, long x, long scales, long bytes) {
        long header = Memory.known(scales);
        FloatVector zeroPoints = Vectors.zero();
        for (int b = 0; b < blocks; b++) {
            long p = Memory.known(row + 210L * b);
            long q = Memory.known(x + BYTES_SUPER_BLOCK_BYTES * b);
            long out = header + HEADER + SCALES_STRIDE * b;
            float d = Memory.getHalf(p + 208);
            Vectors.store(Vectors.floats(q + BYTES_SCALES).mul(d), out);
            Memory.putLong(out + 32, Memory.getLong(p + 192));
            Memory.putLong(out + 40, Memory.getLong(p + 200));
            FloatVector t = Vectors.bytesAsFloats(p + 192).mul(Vectors.floats(q + BYTES_SUMS_16));
            t = Vectors.bytesAsFloats(p + 200).fma(Vectors.floats(q + BYTES_SUMS_16 + 32), t);
            zeroPoints = t.fma(FloatVector.broadcast(Vectors.F256, d), zeroPoints);
        }
        Vectors.store(zeroPoints.neg(), header + 32);
        VectorUnpack.q6k(row, blocks, bytes);
    }

    static void q4kLanes(long row, int blocks, long x, long scales, long lanes) {
        FloatVector s0 = Vectors.floats(scales + 32);
        FloatVector s1 = Vectors.zero();
        for (int b = 0; b < blocks; b++) {
            long p = Memory.known(row + 144L * b + 16);
            long q = Memory.known(x + BYTES_SUPER_BLOCK_BYTES * b);
            long d = Memory.known(scales + HEADER + SCALES_STRIDE * b);
            for (int c = 0; c < 4; c++) {
                IntVector z = Vectors.ints(p + 32L * c);
                FloatVector t0 = Vectors.toFloats(dot(z.and(NIBBLES), q + 128L * c));
                FloatVector t1 = Vectors.toFloats(dot(z.lanewise(LSHR, 4).and(NIBBLES), q + 128L * c + 64));
                s0 = t0.fma(Vectors.broadcast(d + 8L * c), s0);
                s1 = t1.fma(Vectors.broadcast(d + 8L * c + 4), s1);
            }
        }
        Vectors.store(s0.add(s1), lanes);
    }

    static void q5kLanes(long bytes, int blocks, long x, long scales, long lanes) {
        FloatVector sum = Vectors.floats(scales + 32);
        for (int b = 0; b < blocks; b++) {
            long u = Memory.known(bytes + 256L * b);
            long q = Memory.known(x + BYTES_SUPER_BLOCK_BYTES * b);
            long d = Memory.known(scales + HEADER + SCALES_STRIDE * b);
            for (int c = 0; c < 8; c++) {
                FloatVector t = Vectors.toFloats(dot(Vectors.ints(u + 32L * c), q + 64L * c));
                sum = t.fma(Vectors.broadcast(d + 4L * c), sum);
            }
        }
        Vectors.store(sum, lanes);
    }

    static void q6kLanes(long bytes, int blocks, long x, long scales, long lanes) {
        FloatVector sum = Vectors.floats(scales + 32);
        for (int b = 0; b < blocks; b++) {
            long u = Memory.known(bytes + 256L * b);
            long q = Memory.known(x + BYTES_SUPER_BLOCK_BYTES * b);
            long d = Memory.known(scales + HEADER + SCALES_STRIDE * b);
            for (int c = 0; c < 8; c++) {
                FloatVector factor = Vectors.broadcast(d + 4L * c);
                IntVector groups = IntVector.broadcast(Vectors.I256, Memory.getShort(d + 32 + 2L * c));
                groups = groups.lanewise(LSHL, BYTE_OF_HALF).lanewise(ASHR, 24);
                IntVector t = dot(Vectors.ints(u + 32L * c), q + 64L * c);
                sum = Vectors.toFloats(t.mul(groups)).fma(factor, sum);
            }
        }
        Vectors.store(sum, lanes);
    }

    /** Sums of four unsigned bytes times activations in every int lane; see {@link VectorActivations}. */
    private static IntVector dot(IntVector bytes, long multipliers) {
        ShortVector t = bytes.reinterpretAsShorts().mul(Vectors.shorts(multipliers));
        ShortVector shifted = bytes.lanewise(LSHR, 8).reinterpretAsShorts();
        return Vectors.narrowPairSums(t.add(shifted.mul(Vectors.shorts(multipliers + 32))));
    }
}
