package dev.prefetch.backend.cpu;

import static dev.prefetch.backend.cpu.Memory.ALL;
import static dev.prefetch.backend.cpu.VectorGemm.STRIP_BYTES;
import static dev.prefetch.backend.cpu.Vectors.BYTES;
import static dev.prefetch.backend.cpu.Vectors.F;
import static dev.prefetch.backend.cpu.Vectors.I;
import static dev.prefetch.backend.cpu.Vectors.LANES;
import static dev.prefetch.backend.cpu.Vectors.LE;
import static jdk.incubator.vector.VectorOperators.I2F;
import static jdk.incubator.vector.VectorOperators.LSHL;
import static jdk.incubator.vector.VectorOperators.XOR;

import jdk.incubator.vector.ByteVector;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.IntVector;
import jdk.incubator.vector.VectorShape;
import jdk.incubator.vector.VectorSpecies;

/**
 * Expands weights to strips of {@link VectorGemm}: {@link Vectors#LANES} rows, {@code rowBytes} apart, to as many lanes of
 * every column. What is transposed is the quantized weights, several to a 32-bit word, and only then, with rows in the
 * lanes, are they taken apart. The values are those of {@link VectorExpand} to the bit.
 *
 * <p>An expander takes at most {@link #COLS} columns.
 *
 * <p>A field of a word is not shifted to its lowest bits: converted where it stands it is a power of two too large, and the
 * scale as much too small, which changes no bit of their product.
 */
final class VectorStripExpand {

    /** Most columns at a time: as strips of 512 bits they take half of a first-level cache. */
    static final int COLS = 128;

    // Scratch memory.
    private static final long SCALES = (long) LANES * BYTES;
    private static final long WORDS = SCALES + COLS / 32 * BYTES;
    private static final long COMPACT = WORDS + COLS / 4 * BYTES;

    /** Bytes between rows of quantized weights without their scales: not a power of two. */
    private static final long COMPACT_BYTES = COLS + 64;

    /** Scratch bytes that the expanders need. */
    static final long SCRATCH_BYTES = COMPACT + LANES * COMPACT_BYTES;

    private static final VectorSpecies<Byte> COPY_16 = ByteVector.SPECIES_128;
    private static final VectorSpecies<Byte> COPY_32 =
            VectorSpecies.of(byte.class, VectorShape.forBitSize(Math.min(256, Vectors.BITS)));

    private VectorStripExpand() {}

    /** Already expanded weights. */
    static void f32(long in, long rowBytes, int depth, long scratch, long strip) {
        int k = 0;
        for (; k + LANES <= depth; k += LANES) {
            VectorGemm.transpose(in + 4L * k, rowBytes, scratch, strip + (long) STRIP_BYTES * k, STRIP_BYTES);
        }
        for (; k < depth; k++) {
            for (int r = 0; r < LANES; r++) {
                Memory.putFloat(strip + (long) STRIP_BYTES * k + 4L * r, Memory.getFloat(in + rowBytes * r + 4L * k));
            }
        }
    }

    static void bf16(long in, long rowBytes, int depth, long scratch, long strip) {
        int k = 0;
        for (; k + 2 * LANES <= depth; k += 2 * LANES) {
            VectorGemm.transpose(in + 2L * k, rowBytes, scratch, scratch + WORDS, BYTES);
            lanesBf16(scratch + WORDS, LANES, strip + (long) STRIP_BYTES * k);
        }
        for (; k < depth; k++) {
            for (int r = 0; r < LANES; r++) {
                int bits = Memory.getShort(in + rowBytes * r + 2L * k) << 16;
                Memory.putInt(strip + (long) STRIP_BYTES * k + 4L * r, bits);
            }
        }
    }

    static void f16(long in, long rowBytes, int depth, long scratch, long strip) {
        int k = 0;
        for (; k + 2 * LANES <= depth; k += 2 * LANES) {
            VectorGemm.transpose(in + 2L * k, rowBytes, scratch, scratch + WORDS, BYTES);
            lanesF16(scratch + WORDS, LANES, strip + (long) STRIP_BYTES * k);
        }
        for (; k < depth; k++) {
            for (int r = 0; r < LANES; r++) {
                Memory.putFloat(strip + (long) STRIP_BYTES * k + 4L * r, Memory.getHalf(in + rowBytes * r + 2L * k));
            }
        }
    }

    /** So many words of a vector of rows, of two columns each, as packed weights have them: see {@link HalfPacking}. */
    static void lanesBf16(long words, int n, long strip) {
        for (int i = 0; i < n; i++) {
            IntVector v = IntVector.fromMemorySegment(I, ALL, Memory.known(words + HalfPacking.STEP_BYTES * i), LE);
            long o = Memory.known(strip + 2L * STRIP_BYTES * i);
            v.lanewise(LSHL, 16).intoMemorySegment(ALL, o, LE);
            v.and(VectorHalves.UPPER_HALVES).intoMemorySegment(ALL, o + STRIP_BYTES, LE);
        }
    }

    static void lanesF16(long words, int n, long strip) {
        for (int i = 0; i < n; i++) {
            VectorHalves.toFloats(words + HalfPacking.STEP_BYTES * i, strip + 2L * STRIP_BYTES * i, STRIP_BYTES);
        }
    }

    static void q80(long in, long rowBytes, int depth, long scratch, long strip) {
        int blocks = depth / 32;
        for (int r = 0; r < LANES; r++) {
            long row = in + rowBytes * r;
            long o = scratch + COMPACT + COMPACT_BYTES * r;
            long s = scratch + SCALES + 4L * r;
            for (int b = 0; b < blocks; b++) {
                long p = Memory.known(row + 34L * b);
                long q = Memory.known(o + 32L * b);
                Memory.putFloat(Memory.known(s + (long) BYTES * b), Memory.getHalf(p));
                ByteVector.fromMemorySegment(COPY_32, ALL, p + 2, LE).intoMemorySegment(ALL, q, LE);
                if (Vectors.BITS == 128) {
                    ByteVector.fromMemorySegment(COPY_16, ALL, p + 18, LE).intoMemorySegment(ALL, q + 16, LE);
                }
            }
        }
        for (int word = 0; word < depth / 4; word += LANES) {
            VectorGemm.transpose(
                    scratch + COMPACT + 4L * word,
                    COMPACT_BYTES,
                    scratch,
                    scratch + WORDS + (long) BYTES * word,
                    BYTES);
        }
        bytes(scratch + WORDS, 0, scratch + SCALES, blocks, strip + 3 * STRIP_BYTES, -STRIP_BYTES);
    }

    /** From packed weights, see {@link LaneFormat}: words and halves instead of rows. */
    static void lanesQ80(long words, long halves, int depth, long scratch, long strip) {
        LaneUnpack.blockScales(halves, depth / 32, scratch + SCALES);
        bytes(words, LanePacking.EVEN_SIGNS, scratch + SCALES, depth / 32, strip, STRIP_BYTES);
    }

    /**
     * Words of four signed bytes.
     *
     * @param signs those that have to be changed
     * @param scales of every group
     * @param first the strip's column of the byte on top of a word
     * @param step bytes of the strip from it to the next
     */
    private static void bytes(long words, int signs, long scales, int groups, long first, long step) {
        for (int group = 0; group < groups; group++) {
            // Of a byte at the top of a word.
            FloatVector d = FloatVector.fromMemorySegment(F, ALL, Memory.known(scales + (long) BYTES * group), LE)
                    .mul(0x1p-24f);
            for (int i = 8 * group; i < 8 * (group + 1); i++) {
                IntVector v = IntVector.fromMemorySegment(I, ALL, Memory.known(words + (long) BYTES * i), LE)
                        .lanewise(XOR, signs);
                long o = first + 4L * STRIP_BYTES * i;
                ((FloatVector) v.and(255 << 24).convertShape(I2F, F, 0))
                        .mul(d)
                        .intoMemorySegment(ALL, Memory.known(o), LE);
                ((FloatVector) v.lanewise(LSHL, 8).and(255 << 24).convertShape(I2F, F, 0))
                        .mul(d)
                        .intoMemorySegment(ALL, Memory.known(o + step), LE);
                ((FloatVector) v.lanewise(LSHL, 16).and(255 << 24).convertShape(I2F, F, 0))
                        .mul(d)
                        .intoMemorySegment(ALL, Memory.known(o + 2 * step), LE);
                ((FloatVector) v.lanewise(LSHL, 24).convertShape(I2F, F, 0))
                        .mul(d)
                        .intoMemorySegment(ALL, Memory.known(o + 3 * step), LE);
            }
        }
    }
}
