package dev.prefetch.backend.cpu;

import static dev.prefetch.backend.cpu.VectorActivations.BYTES_SCALES;
import static dev.prefetch.backend.cpu.VectorActivations.BYTES_SUMS_16;
import static dev.prefetch.backend.cpu.VectorActivations.BYTES_SUMS_32;
import static dev.prefetch.backend.cpu.VectorActivations.BYTES_SUPER_BLOCK_BYTES;
import static jdk.incubator.vector.VectorOperators.LSHR;

import java.lang.invoke.MethodHandle;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.IntVector;
import jdk.incubator.vector.ShortVector;

/**
 * Matrix-vector kernels for super-blocks of 256.
 *
 * <p>Each row takes two passes. The first turns the small scales into floats, multiplied with those of the activations, sums
 * the terms of the minima or zero points, and unpacks the elements to bytes. The second multiplies the elements. Both passes
 * in one exceed what the compiler inlines, hence {@link Isolated}; even where unpacking is hardly more than a mask, as for
 * {@code Q4_K}, the second pass gains more from being short than the detour over the first-level cache costs.
 *
 * <p>Passes have the parameters: where to read, number of super-blocks, activations, scales, where to write. The scales are a
 * header of {@link #HEADER} bytes (16 for unpacking; from byte 32 on, 8 lanes that the sum starts from), then floats for each
 * super-block.
 */
final class VectorSuperBlocks {

    private static final long HEADER = 64;

    /** Bytes of the 8 scales of a super-block of {@code Q4_K} or {@code Q5_K}. */
    private static final long GROUP_STRIDE = 32;

    /** Bytes of the 16 scales of a super-block of {@code Q6_K}, each in four lanes, and of working space behind. */
    private static final long Q6K_STRIDE = 256 + 64;

    private final MethodHandle q4kPrepare = Isolated.pass(VectorSuperBlocks.class, "q4kPrepare");
    private final MethodHandle q5kPrepare = Isolated.pass(VectorSuperBlocks.class, "q5kPrepare");
    private final MethodHandle groupLanes = Isolated.pass(VectorSuperBlocks.class, "groupLanes");
    private final MethodHandle q6kPrepare = Isolated.pass(VectorSuperBlocks.class, "q6kPrepare");
    private final MethodHandle q6kLanes = Isolated.pass(VectorSuperBlocks.class, "q6kLanes");

    /** Scratch: the lanes of every row, the scales, the bytes of a row. */
    static long scratchBytes(int rows, int cols) {
        return 32L * rows + scalesBytes(cols / 256) + cols;
    }

    private static long scalesBytes(int blocks) {
        return HEADER + Q6K_STRIDE * blocks;
    }

    void q4k(long w, int rows, int cols, long x, long y, long scratch) {
        int blocks = cols / 256;
        long scales = scratch + 32L * rows;
        long bytes = scales + scalesBytes(blocks);
        for (int r = 0; r < rows; r++) {
            Isolated.call(q4kPrepare, w + 144L * blocks * r, blocks, x, scales, bytes);
            Isolated.call(groupLanes, bytes, blocks, x, scales, scratch + 32L * r);
        }
        Vectors.sumRows(scratch, rows, y);
    }

    void q5k(long w, int rows, int cols, long x, long y, long scratch) {
        int blocks = cols / 256;
        long scales = scratch + 32L * rows;
        long bytes = scales + scalesBytes(blocks);
        for (int r = 0; r < rows; r++) {
            Isolated.call(q5kPrepare, w + 176L * blocks * r, blocks, x, scales, bytes);
            Isolated.call(groupLanes, bytes, blocks, x, scales, scratch + 32L * r);
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

    static void q4kPrepare(long row, int blocks, long x, long scales, long bytes) {
        groupScales(row, 144, blocks, x, scales);
        VectorUnpack.q4k(row, blocks, bytes);
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
            Vectors.store(groups, header + HEADER + GROUP_STRIDE * b);
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
            float d = Memory.getHalf(p + 208);
            FloatVector first = Vectors.bytesAsFloats(p + 192).mul(d);
            FloatVector last = Vectors.bytesAsFloats(p + 200).mul(d);
            zeroPoints = first.fma(Vectors.floats(q + BYTES_SUMS_16), zeroPoints);
            zeroPoints = last.fma(Vectors.floats(q + BYTES_SUMS_16 + 32), zeroPoints);
            // Into the working space, from where they are spread over the lanes.
            long place = header + HEADER + Q6K_STRIDE * b;
            Vectors.store(first, place + Q6K_STRIDE - 64);
            Vectors.store(last, place + Q6K_STRIDE - 32);
        }
        Vectors.store(zeroPoints.neg(), header + 32);
        spreadScales(blocks, x, header + HEADER);
        VectorUnpack.q6k(row, blocks, bytes);
    }

    /** For each block of 32: its two scales times that of the activations, each four times. */
    private static void spreadScales(int blocks, long x, long scales) {
        for (int b = 0; b < blocks; b++) {
            long place = Memory.known(scales + Q6K_STRIDE * b);
            long d = Memory.known(x + BYTES_SUPER_BLOCK_BYTES * b + BYTES_SCALES);
            for (int c = 0; c < 8; c++) {
                float factor = Memory.getFloat(d + 4L * c);
                float lower = factor * Memory.getFloat(place + Q6K_STRIDE - 64 + 8L * c);
                float upper = factor * Memory.getFloat(place + Q6K_STRIDE - 60 + 8L * c);
                fourTimes(lower, place + 32L * c);
                fourTimes(upper, place + 32L * c + 16);
            }
        }
    }

    private static void fourTimes(float value, long out) {
        FloatVector.broadcast(FloatVector.SPECIES_128, value).intoMemorySegment(Memory.ALL, out, Vectors.LE);
    }

    /** Second pass of {@code Q4_K} and {@code Q5_K}: one scale per 32 elements. */
    static void groupLanes(long bytes, int blocks, long x, long scales, long lanes) {
        FloatVector sum = Vectors.floats(scales + 32);
        for (int b = 0; b < blocks; b++) {
            long u = Memory.known(bytes + 256L * b);
            long q = Memory.known(x + BYTES_SUPER_BLOCK_BYTES * b);
            long d = Memory.known(scales + HEADER + GROUP_STRIDE * b);
            for (int c = 0; c < 8; c++) {
                FloatVector t = Vectors.toFloats(dot(Vectors.ints(u + 32L * c), q + 64L * c));
                sum = t.fma(Vectors.broadcast(d + 4L * c), sum);
            }
        }
        Vectors.store(sum, lanes);
    }

    /** Second pass of {@code Q6_K}: one scale per 16 elements, laid out for the lanes. */
    static void q6kLanes(long bytes, int blocks, long x, long scales, long lanes) {
        FloatVector sum = Vectors.floats(scales + 32);
        for (int b = 0; b < blocks; b++) {
            long u = Memory.known(bytes + 256L * b);
            long q = Memory.known(x + BYTES_SUPER_BLOCK_BYTES * b);
            long d = Memory.known(scales + HEADER + Q6K_STRIDE * b);
            for (int c = 0; c < 8; c++) {
                FloatVector t = Vectors.toFloats(dot(Vectors.ints(u + 32L * c), q + 64L * c));
                sum = t.fma(Vectors.floats(d + 32L * c), sum);
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
