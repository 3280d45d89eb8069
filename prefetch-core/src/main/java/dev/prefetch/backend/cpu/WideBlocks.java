package dev.prefetch.backend.cpu;

import static dev.prefetch.backend.cpu.Memory.ALL;
import static dev.prefetch.backend.cpu.Vectors.LE;
import static jdk.incubator.vector.VectorOperators.B2F;

import jdk.incubator.vector.ByteVector;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.VectorSpecies;

/**
 * Matrix-vector kernels for blocks of 32 with vectors of 512 bits. Parameters are those of {@link VectorMatvec}; activations
 * stay f32.
 *
 * <p>There is no multiply-add of bytes, and without it integers cost as much as floats for one row of activations and four
 * times as much for each further one: a weight is made a float once for all of them.
 */
final class WideBlocks {

    private static final VectorSpecies<Byte> B128 = ByteVector.SPECIES_128;
    private static final VectorSpecies<Float> F = FloatVector.SPECIES_512;

    private WideBlocks() {}

    static void q80(long w, long rowStride, int rows, int cols, long x, long xStride, int count, long lanes) {
        for (int pair = 0; pair < cols / 64; pair++) {
            for (int r = 0; r < rows; r++) {
                long p = Memory.known(w + rowStride * r + 68L * pair);
                FloatVector d = FloatVector.broadcast(F, Memory.getHalf(p));
                FloatVector w0 = ((FloatVector) ByteVector.fromMemorySegment(B128, ALL, p + 2, LE)
                                .convertShape(B2F, F, 0))
                        .mul(d);
                FloatVector w1 = ((FloatVector) ByteVector.fromMemorySegment(B128, ALL, p + 18, LE)
                                .convertShape(B2F, F, 0))
                        .mul(d);
                d = FloatVector.broadcast(F, Memory.getHalf(p + 34));
                FloatVector w2 = ((FloatVector) ByteVector.fromMemorySegment(B128, ALL, p + 36, LE)
                                .convertShape(B2F, F, 0))
                        .mul(d);
                FloatVector w3 = ((FloatVector) ByteVector.fromMemorySegment(B128, ALL, p + 52, LE)
                                .convertShape(B2F, F, 0))
                        .mul(d);
                long at = lanes + 64L * r * count;
                long end = at + 64L * count;
                long q = x + 256L * pair;
                // The step is no constant for the compiler, which would unroll the loop.
                do {
                    q = Memory.known(q);
                    at = Memory.known(at);
                    FloatVector a = w0.fma(
                            FloatVector.fromMemorySegment(F, ALL, q, LE),
                            FloatVector.fromMemorySegment(F, ALL, at, LE));
                    a = w1.fma(FloatVector.fromMemorySegment(F, ALL, q + 64, LE), a);
                    a = w2.fma(FloatVector.fromMemorySegment(F, ALL, q + 128, LE), a);
                    a = w3.fma(FloatVector.fromMemorySegment(F, ALL, q + 192, LE), a);
                    a.intoMemorySegment(ALL, at, LE);
                    at += 64;
                    q += xStride;
                } while (at < end);
            }
        }
        if (cols % 64 != 0) {
            q80LastBlock(w + 34L * (cols / 32 - 1), rowStride, rows, x + 4L * (cols - 32), xStride, count, lanes);
        }
    }

    /**
     * Makes a record for {@link FloatPanels} of each row. By {@link VectorExpand#q80}, which has a loop over the vectors of a
     * block, decoding of several rows was 0.93 times as fast.
     */
    static void unpackQ80(long w, long rowStride, int rows, long records) {
        for (int r = 0; r < rows; r++) {
            for (int b = 0; b < FloatPanels.ELEMENTS / 32; b++) {
                long p = Memory.known(w + rowStride * r + 34L * b);
                long o = Memory.known(records + FloatPanels.RECORD_BYTES * r + 128L * b);
                FloatVector d = FloatVector.broadcast(F, Memory.getHalf(p));
                ((FloatVector) ByteVector.fromMemorySegment(B128, ALL, p + 2, LE)
                                .convertShape(B2F, F, 0))
                        .mul(d)
                        .intoMemorySegment(ALL, o, LE);
                ((FloatVector) ByteVector.fromMemorySegment(B128, ALL, p + 18, LE)
                                .convertShape(B2F, F, 0))
                        .mul(d)
                        .intoMemorySegment(ALL, o + 64, LE);
            }
        }
    }

    private static void q80LastBlock(long w, long rowStride, int rows, long x, long xStride, int count, long lanes) {
        for (int r = 0; r < rows; r++) {
            long p = Memory.known(w + rowStride * r);
            float d = Memory.getHalf(p);
            for (int t = 0; t < count; t++) {
                for (int i = 0; i < 32; i++) {
                    long lane = Memory.known(lanes + 64L * (r * count + t) + 4L * (i % 16));
                    float product = d * Memory.getByte(p + 2 + i) * Memory.getFloat(x + xStride * t + 4L * i);
                    Memory.putFloat(lane, Memory.getFloat(lane) + product);
                }
            }
        }
    }
}
