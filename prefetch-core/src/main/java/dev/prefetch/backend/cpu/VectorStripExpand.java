package dev.prefetch.backend.cpu;

import static dev.prefetch.backend.cpu.Memory.ALL;
import static dev.prefetch.backend.cpu.VectorGemm.STRIP_BYTES;
import static dev.prefetch.backend.cpu.Vectors.BYTES;
import static dev.prefetch.backend.cpu.Vectors.F;
import static dev.prefetch.backend.cpu.Vectors.I;
import static dev.prefetch.backend.cpu.Vectors.LANES;
import static dev.prefetch.backend.cpu.Vectors.LE;
import static jdk.incubator.vector.VectorOperators.ASHR;
import static jdk.incubator.vector.VectorOperators.BITWISE_BLEND;
import static jdk.incubator.vector.VectorOperators.I2F;
import static jdk.incubator.vector.VectorOperators.LSHL;
import static jdk.incubator.vector.VectorOperators.LSHR;
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
 * <p>An expander takes at most {@link #COLS} columns; {@code offset} says how many columns of the block at {@code in} lie
 * before them, which is 0 or half a block of 256.
 *
 * <p>A field of a word is not shifted to its lowest bits: converted where it stands it is a power of two too large, and the
 * scale as much too small, which changes no bit of their product. Where a multiplication and an addition are one, the
 * product is exact, so that no bit changes either.
 */
final class VectorStripExpand {

    /** Most columns at a time: as strips of 512 bits they take half of a first-level cache. */
    static final int COLS = 128;

    // Scratch memory.
    private static final long HEADER = (long) LANES * BYTES;
    private static final long SCALES = HEADER + 8L * BYTES;
    private static final long WORDS = SCALES + 8L * BYTES;
    private static final long COMPOSED = WORDS + 32L * BYTES;
    private static final long COMPACT = COMPOSED + 32L * BYTES;

    /** Bytes between rows of quantized weights without their scales: not a power of two. */
    private static final long COMPACT_BYTES = COLS + 64;

    /** Scratch bytes that the expanders need. */
    static final long SCRATCH_BYTES = COMPACT + LANES * COMPACT_BYTES;

    private static final VectorSpecies<Byte> COPY_16 = ByteVector.SPECIES_128;
    private static final VectorSpecies<Byte> COPY_32 =
            VectorSpecies.of(byte.class, VectorShape.forBitSize(Math.min(256, Vectors.BITS)));

    private VectorStripExpand() {}

    /** Already expanded weights. */
    static void f32(long in, long rowBytes, int offset, int depth, long scratch, long strip) {
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

    static void bf16(long in, long rowBytes, int offset, int depth, long scratch, long strip) {
        int k = 0;
        for (; k + 2 * LANES <= depth; k += 2 * LANES) {
            VectorGemm.transpose(in + 2L * k, rowBytes, scratch, scratch + WORDS, BYTES);
            for (int i = 0; i < LANES; i++) {
                IntVector v = IntVector.fromMemorySegment(I, ALL, Memory.known(scratch + WORDS + (long) BYTES * i), LE);
                long o = Memory.known(strip + (long) STRIP_BYTES * (k + 2 * i));
                v.lanewise(LSHL, 16).intoMemorySegment(ALL, o, LE);
                v.and(0xffff0000).intoMemorySegment(ALL, o + STRIP_BYTES, LE);
            }
        }
        for (; k < depth; k++) {
            for (int r = 0; r < LANES; r++) {
                int bits = Memory.getShort(in + rowBytes * r + 2L * k) << 16;
                Memory.putInt(strip + (long) STRIP_BYTES * k + 4L * r, bits);
            }
        }
    }

    static void f16(long in, long rowBytes, int offset, int depth, long scratch, long strip) {
        int k = 0;
        for (; k + 2 * LANES <= depth; k += 2 * LANES) {
            VectorGemm.transpose(in + 2L * k, rowBytes, scratch, scratch + WORDS, BYTES);
            halves(scratch + WORDS, strip + (long) STRIP_BYTES * k);
        }
        for (; k < depth; k++) {
            for (int r = 0; r < LANES; r++) {
                Memory.putFloat(strip + (long) STRIP_BYTES * k + 4L * r, Memory.getHalf(in + rowBytes * r + 2L * k));
            }
        }
    }

    /** Two halves to a word. */
    private static void halves(long words, long strip) {
        for (int i = 0; i < LANES; i++) {
            VectorHalves.toFloats(words + (long) BYTES * i, strip + 2L * STRIP_BYTES * i, STRIP_BYTES);
        }
    }

    static void q80(long in, long rowBytes, int offset, int depth, long scratch, long strip) {
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
        bytes(scratch + WORDS, scratch + SCALES, blocks, 8, strip);
    }

    static void q40(long in, long rowBytes, int offset, int depth, long scratch, long strip) {
        int blocks = depth / 32;
        for (int r = 0; r < LANES; r++) {
            long row = in + rowBytes * r;
            long o = scratch + COMPACT + COMPACT_BYTES * r;
            long s = scratch + SCALES + 4L * r;
            for (int b = 0; b < blocks; b++) {
                long p = Memory.known(row + 18L * b);
                Memory.putFloat(Memory.known(s + (long) BYTES * b), Memory.getHalf(p) * 0x1p-28f);
                ByteVector.fromMemorySegment(COPY_16, ALL, p + 2, LE)
                        .intoMemorySegment(ALL, Memory.known(o + 16L * b), LE);
            }
        }
        for (int word = 0; word < depth / 8; word += LANES) {
            VectorGemm.transpose(
                    scratch + COMPACT + 4L * word,
                    COMPACT_BYTES,
                    scratch,
                    scratch + WORDS + (long) BYTES * word,
                    BYTES);
        }
        nibbles(scratch + WORDS, scratch + SCALES, blocks, strip);
    }

    /** Blocks of 4 words of nibbles, of which 8 are to be subtracted; {@code scales} are those of a nibble at the top. */
    private static void nibbles(long words, long scales, int blocks, long strip) {
        for (int block = 0; block < blocks; block++) {
            FloatVector d = FloatVector.fromMemorySegment(F, ALL, Memory.known(scales + (long) BYTES * block), LE);
            for (int i = 0; i < 4; i++) {
                // As a number with sign, a nibble is 8 less when its highest bit is turned.
                IntVector v = IntVector.fromMemorySegment(
                                I, ALL, Memory.known(words + (long) BYTES * (4 * block + i)), LE)
                        .lanewise(XOR, 0x88888888);
                long o = Memory.known(strip + (long) STRIP_BYTES * (32 * block + 4 * i));
                ((FloatVector) v.lanewise(LSHL, 28).convertShape(I2F, F, 0))
                        .mul(d)
                        .intoMemorySegment(ALL, o, LE);
                ((FloatVector) v.lanewise(LSHL, 20).and(15 << 28).convertShape(I2F, F, 0))
                        .mul(d)
                        .intoMemorySegment(ALL, o + STRIP_BYTES, LE);
                ((FloatVector) v.lanewise(LSHL, 12).and(15 << 28).convertShape(I2F, F, 0))
                        .mul(d)
                        .intoMemorySegment(ALL, o + 2 * STRIP_BYTES, LE);
                ((FloatVector) v.lanewise(LSHL, 4).and(15 << 28).convertShape(I2F, F, 0))
                        .mul(d)
                        .intoMemorySegment(ALL, o + 3 * STRIP_BYTES, LE);
                ((FloatVector) v.lanewise(LSHL, 24).and(15 << 28).convertShape(I2F, F, 0))
                        .mul(d)
                        .intoMemorySegment(ALL, o + 16 * STRIP_BYTES, LE);
                ((FloatVector) v.lanewise(LSHL, 16).and(15 << 28).convertShape(I2F, F, 0))
                        .mul(d)
                        .intoMemorySegment(ALL, o + 17 * STRIP_BYTES, LE);
                ((FloatVector) v.lanewise(LSHL, 8).and(15 << 28).convertShape(I2F, F, 0))
                        .mul(d)
                        .intoMemorySegment(ALL, o + 18 * STRIP_BYTES, LE);
                ((FloatVector) v.and(15 << 28).convertShape(I2F, F, 0))
                        .mul(d)
                        .intoMemorySegment(ALL, o + 19 * STRIP_BYTES, LE);
            }
        }
    }

    /**
     * Words of four signed bytes in the order of columns.
     *
     * @param scales of every group
     */
    private static void bytes(long words, long scales, int groups, int groupWords, long strip) {
        for (int group = 0; group < groups; group++) {
            // Of a byte at the top of a word.
            FloatVector d = FloatVector.fromMemorySegment(F, ALL, Memory.known(scales + (long) BYTES * group), LE)
                    .mul(0x1p-24f);
            for (int i = groupWords * group; i < groupWords * (group + 1); i++) {
                IntVector v = IntVector.fromMemorySegment(I, ALL, Memory.known(words + (long) BYTES * i), LE);
                long o = Memory.known(strip + 4L * STRIP_BYTES * i);
                ((FloatVector) v.lanewise(LSHL, 24).convertShape(I2F, F, 0))
                        .mul(d)
                        .intoMemorySegment(ALL, o, LE);
                ((FloatVector) v.lanewise(LSHL, 16).and(255 << 24).convertShape(I2F, F, 0))
                        .mul(d)
                        .intoMemorySegment(ALL, o + STRIP_BYTES, LE);
                ((FloatVector) v.lanewise(LSHL, 8).and(255 << 24).convertShape(I2F, F, 0))
                        .mul(d)
                        .intoMemorySegment(ALL, o + 2 * STRIP_BYTES, LE);
                ((FloatVector) v.and(255 << 24).convertShape(I2F, F, 0))
                        .mul(d)
                        .intoMemorySegment(ALL, o + 3 * STRIP_BYTES, LE);
            }
        }
    }

    /** Columns of a packed group, see {@link LaneFormat}; {@code words} and {@code halves} are those of 256 columns. */
    static void packedQ40(long words, long halves, int offset, int depth, long scratch, long strip) {
        int first = offset / 32;
        for (int block = 0; block < depth / 32; block++) {
            long s = scratch + SCALES + (long) BYTES * block;
            LaneUnpack.halvesToFloats(halves + 2L * LANES * (first + block), s);
            FloatVector.fromMemorySegment(F, ALL, Memory.known(s), LE)
                    .mul(0x1p-28f)
                    .intoMemorySegment(ALL, Memory.known(s), LE);
        }
        nibbles(words + 4L * BYTES * first, scratch + SCALES, depth / 32, strip);
    }

    static void packedQ6k(long words, long halves, int offset, int depth, long scratch, long strip) {
        int half = offset / 128;
        LaneUnpack.halvesToFloats(halves, scratch + HEADER);
        Memory.copy(words + 2L * BYTES * half, scratch + HEADER + BYTES, 2L * BYTES);
        q6kScales(scratch + HEADER, scratch + SCALES);
        LaneUnpack.q6kHalf(words + (4L + 24 * half) * BYTES, scratch + COMPOSED);
        subtract32(scratch + COMPOSED);
        bytes(scratch + COMPOSED, scratch + SCALES, 8, 4, strip);
    }

    private static void subtract32(long words) {
        for (int i = 0; i < 32; i++) {
            long p = Memory.known(words + (long) BYTES * i);
            IntVector.fromMemorySegment(I, ALL, p, LE)
                    .reinterpretAsBytes()
                    .sub((byte) 32)
                    .intoMemorySegment(ALL, p, LE);
        }
    }

    static void packedQ5k(long words, long halves, int offset, int depth, long scratch, long strip) {
        packedHeader(words, scratch + HEADER);
        groupScales(scratch + HEADER, offset / 32, scratch + SCALES);
        LaneUnpack.q5kHalf(words + (4L + 20 * (offset / 128)) * BYTES, scratch + COMPOSED);
        groups(scratch + COMPOSED, scratch + SCALES, strip);
    }

    static void packedQ4k(long words, long halves, int offset, int depth, long scratch, long strip) {
        packedHeader(words, scratch + HEADER);
        groupScales(scratch + HEADER, offset / 32, scratch + SCALES);
        q4kWords(words + (4L + offset / 8) * BYTES, scratch + SCALES, strip);
    }

    private static void packedHeader(long words, long out) {
        VectorHalves.toFloats(words, out, BYTES);
        Memory.copy(words + BYTES, out + 2L * BYTES, 3L * BYTES);
    }

    static void q6k(long in, long rowBytes, int offset, int depth, long scratch, long strip) {
        int half = offset / 128;
        for (int r = 0; r < LANES; r++) {
            long row = Memory.known(in + rowBytes * r);
            long o = Memory.known(scratch + HEADER + 4L * r);
            Memory.putFloat(o, Memory.getHalf(row + 208));
            Memory.putInt(o + BYTES, Memory.getInt(row + 192 + 8 * half));
            Memory.putInt(o + 2 * BYTES, Memory.getInt(row + 196 + 8 * half));
        }
        q6kScales(scratch + HEADER, scratch + SCALES);
        for (int word = 0; word < 16; word += LANES) {
            VectorGemm.transpose(
                    in + 64 * half + 4 * word, rowBytes, scratch, scratch + WORDS + (long) BYTES * word, BYTES);
            // Also those of the other half, without which a vector would end behind the block.
            VectorGemm.transpose(
                    in + 128 + 4 * word, rowBytes, scratch, scratch + WORDS + (long) BYTES * (16 + word), BYTES);
        }
        q6kBytes(scratch + WORDS, scratch + WORDS + BYTES * (16 + 8L * half), scratch + COMPOSED);
        bytes(scratch + COMPOSED, scratch + SCALES, 8, 4, strip);
    }

    private static void q6kScales(long header, long out) {
        FloatVector d = FloatVector.fromMemorySegment(F, ALL, header, LE);
        for (int i = 0; i < 8; i++) {
            IntVector v =
                    IntVector.fromMemorySegment(I, ALL, Memory.known(header + BYTES + (long) BYTES * (i / 4)), LE);
            ((FloatVector) v.lanewise(LSHL, 24 - 8 * (i % 4)).lanewise(ASHR, 24).convertShape(I2F, F, 0))
                    .mul(d)
                    .intoMemorySegment(ALL, Memory.known(out + (long) BYTES * i), LE);
        }
    }

    /** From 16 words of low and 8 words of high bits to 32 words of signed bytes in the order of columns. */
    private static void q6kBytes(long low, long high, long out) {
        for (int i = 0; i < 8; i++) {
            long p = Memory.known(low + (long) BYTES * i);
            IntVector a = IntVector.fromMemorySegment(I, ALL, p, LE);
            IntVector b = IntVector.fromMemorySegment(I, ALL, p + 8 * BYTES, LE);
            IntVector h = IntVector.fromMemorySegment(I, ALL, Memory.known(high + (long) BYTES * i), LE);
            long o = Memory.known(out + (long) BYTES * i);
            a.lanewise(BITWISE_BLEND, h.lanewise(LSHL, 4), 0x30303030)
                    .and(0x3f3f3f3f)
                    .reinterpretAsBytes()
                    .sub((byte) 32)
                    .intoMemorySegment(ALL, o, LE);
            b.lanewise(BITWISE_BLEND, h.lanewise(LSHL, 2), 0x30303030)
                    .and(0x3f3f3f3f)
                    .reinterpretAsBytes()
                    .sub((byte) 32)
                    .intoMemorySegment(ALL, o + 8 * BYTES, LE);
            a.lanewise(LSHR, 4)
                    .lanewise(BITWISE_BLEND, h, 0x30303030)
                    .and(0x3f3f3f3f)
                    .reinterpretAsBytes()
                    .sub((byte) 32)
                    .intoMemorySegment(ALL, o + 16 * BYTES, LE);
            b.lanewise(LSHR, 4)
                    .lanewise(BITWISE_BLEND, h.lanewise(LSHR, 2), 0x30303030)
                    .and(0x3f3f3f3f)
                    .reinterpretAsBytes()
                    .sub((byte) 32)
                    .intoMemorySegment(ALL, o + 24 * BYTES, LE);
        }
    }

    static void q5k(long in, long rowBytes, int offset, int depth, long scratch, long strip) {
        header(in, rowBytes, scratch + HEADER);
        groupScales(scratch + HEADER, offset / 32, scratch + SCALES);
        for (int word = 0; word < 8; word += LANES) {
            VectorGemm.transpose(in + 16 + 4 * word, rowBytes, scratch, scratch + WORDS + (long) BYTES * word, BYTES);
        }
        for (int word = 0; word < 16; word += LANES) {
            VectorGemm.transpose(
                    in + 48 + offset / 2 + 4 * word,
                    rowBytes,
                    scratch,
                    scratch + WORDS + (long) BYTES * (16 + word),
                    BYTES);
        }
        q5kBytes(scratch + WORDS, scratch + WORDS + 16L * BYTES, offset / 32, scratch + COMPOSED);
        groups(scratch + COMPOSED, scratch + SCALES, strip);
    }

    /**
     * From 8 words of high and 16 words of low bits to 32 words of bytes in the order of columns.
     *
     * @param firstBit where the high bits of the first group stand
     */
    private static void q5kBytes(long high, long low, int firstBit, long out) {
        for (int i = 0; i < 16; i++) {
            IntVector h = IntVector.fromMemorySegment(I, ALL, Memory.known(high + (long) BYTES * (i % 8)), LE);
            IntVector v = IntVector.fromMemorySegment(I, ALL, Memory.known(low + (long) BYTES * i), LE);
            long o = Memory.known(out + (long) BYTES * (i + i / 8 * 8));
            int bit = firstBit + i / 8 * 2;
            v.and(0x0f0f0f0f)
                    .or(h.lanewise(LSHR, bit).and(0x01010101).lanewise(LSHL, 4))
                    .intoMemorySegment(ALL, o, LE);
            v.lanewise(LSHR, 4)
                    .and(0x0f0f0f0f)
                    .or(h.lanewise(LSHR, bit + 1).and(0x01010101).lanewise(LSHL, 4))
                    .intoMemorySegment(ALL, o + 8 * BYTES, LE);
        }
    }

    /** 4 groups of 8 words of bytes below 128, with a scale and a negative minimum each. */
    private static void groups(long words, long scales, long strip) {
        for (int group = 0; group < 4; group++) {
            long s = Memory.known(scales + 2L * BYTES * group);
            FloatVector d0 = FloatVector.fromMemorySegment(F, ALL, s, LE);
            FloatVector m = FloatVector.fromMemorySegment(F, ALL, s + BYTES, LE);
            FloatVector d1 = d0.mul(0x1p-8f);
            FloatVector d2 = d0.mul(0x1p-16f);
            FloatVector d3 = d0.mul(0x1p-24f);
            for (int i = 8 * group; i < 8 * group + 8; i++) {
                IntVector v = IntVector.fromMemorySegment(I, ALL, Memory.known(words + (long) BYTES * i), LE);
                long o = Memory.known(strip + 4L * STRIP_BYTES * i);
                ((FloatVector) v.and(127).convertShape(I2F, F, 0)).fma(d0, m).intoMemorySegment(ALL, o, LE);
                ((FloatVector) v.and(127 << 8).convertShape(I2F, F, 0))
                        .fma(d1, m)
                        .intoMemorySegment(ALL, o + STRIP_BYTES, LE);
                ((FloatVector) v.and(127 << 16).convertShape(I2F, F, 0))
                        .fma(d2, m)
                        .intoMemorySegment(ALL, o + 2 * STRIP_BYTES, LE);
                ((FloatVector) v.and(127 << 24).convertShape(I2F, F, 0))
                        .fma(d3, m)
                        .intoMemorySegment(ALL, o + 3 * STRIP_BYTES, LE);
            }
        }
    }

    static void q4k(long in, long rowBytes, int offset, int depth, long scratch, long strip) {
        header(in, rowBytes, scratch + HEADER);
        groupScales(scratch + HEADER, offset / 32, scratch + SCALES);
        for (int word = 0; word < 16; word += LANES) {
            VectorGemm.transpose(
                    in + 16 + offset / 2 + 4 * word, rowBytes, scratch, scratch + WORDS + (long) BYTES * word, BYTES);
        }
        q4kWords(scratch + WORDS, scratch + SCALES, strip);
    }

    /** {@code [d, dmin, s0, s1, s2][LANES]} */
    private static void header(long p, long rowBytes, long out) {
        for (int r = 0; r < LANES; r++) {
            long row = Memory.known(p + rowBytes * r);
            long o = Memory.known(out + 4 * r);
            Memory.putFloat(o, Memory.getHalf(row));
            Memory.putFloat(o + BYTES, Memory.getHalf(row + 2));
            Memory.putInt(o + 2 * BYTES, Memory.getInt(row + 4));
            Memory.putInt(o + 3 * BYTES, Memory.getInt(row + 8));
            Memory.putInt(o + 4 * BYTES, Memory.getInt(row + 12));
        }
    }

    /** {@code [group][scale, negative minimum][LANES]} of 4 groups, of which the first is number 0 or 4. */
    private static void groupScales(long header, int first, long out) {
        long p = Memory.known(header);
        FloatVector d = FloatVector.fromMemorySegment(F, ALL, p, LE);
        FloatVector dmin = FloatVector.fromMemorySegment(F, ALL, p + BYTES, LE).neg();
        IntVector scales = IntVector.fromMemorySegment(I, ALL, p + 2 * BYTES, LE);
        IntVector minima = IntVector.fromMemorySegment(I, ALL, p + 3 * BYTES, LE);
        if (first > 0) {
            IntVector low = IntVector.fromMemorySegment(I, ALL, p + 4 * BYTES, LE);
            scales = low.and(0x0f0f0f0f).or(scales.lanewise(LSHR, 2).and(0x30303030));
            minima = low.lanewise(LSHR, 4)
                    .and(0x0f0f0f0f)
                    .or(minima.lanewise(LSHR, 2).and(0x30303030));
        }
        for (int group = 0; group < 4; group++) {
            long o = Memory.known(out + 2L * BYTES * group);
            ((FloatVector) scales.lanewise(LSHR, 8 * group).and(63).convertShape(I2F, F, 0))
                    .mul(d)
                    .intoMemorySegment(ALL, o, LE);
            ((FloatVector) minima.lanewise(LSHR, 8 * group).and(63).convertShape(I2F, F, 0))
                    .mul(dmin)
                    .intoMemorySegment(ALL, o + BYTES, LE);
        }
    }

    private static void q4kWords(long words, long scales, long out) {
        for (int pair = 0; pair < 2; pair++) {
            long s = Memory.known(scales + 4L * BYTES * pair);
            FloatVector d0 = FloatVector.fromMemorySegment(F, ALL, s, LE);
            FloatVector m0 = FloatVector.fromMemorySegment(F, ALL, s + BYTES, LE);
            FloatVector d1 = FloatVector.fromMemorySegment(F, ALL, s + 2 * BYTES, LE);
            FloatVector m1 = FloatVector.fromMemorySegment(F, ALL, s + 3 * BYTES, LE);
            // Scaled by powers of two, which changes no bit of the product, so that nothing need be shifted.
            FloatVector d2 = d0.mul(0x1p-8f);
            FloatVector d3 = d1.mul(0x1p-4f);
            FloatVector d4 = d1.mul(0x1p-12f);
            FloatVector d5 = d0.mul(0x1p-16f);
            FloatVector d6 = d1.mul(0x1p-20f);
            FloatVector d7 = d0.mul(0x1p-24f);
            for (int i = 0; i < 8; i++) {
                IntVector v = IntVector.fromMemorySegment(
                        I, ALL, Memory.known(words + 8L * BYTES * pair + (long) BYTES * i), LE);
                long o = Memory.known(out + (long) STRIP_BYTES * (64 * pair + 4 * i));
                ((FloatVector) v.and(15).convertShape(I2F, F, 0)).fma(d0, m0).intoMemorySegment(ALL, o, LE);
                ((FloatVector) v.and(15 << 8).convertShape(I2F, F, 0))
                        .fma(d2, m0)
                        .intoMemorySegment(ALL, o + STRIP_BYTES, LE);
                ((FloatVector) v.and(15 << 16).convertShape(I2F, F, 0))
                        .fma(d5, m0)
                        .intoMemorySegment(ALL, o + 2 * STRIP_BYTES, LE);
                ((FloatVector) v.and(15 << 24).convertShape(I2F, F, 0))
                        .fma(d7, m0)
                        .intoMemorySegment(ALL, o + 3 * STRIP_BYTES, LE);
                ((FloatVector) v.and(15 << 4).convertShape(I2F, F, 0))
                        .fma(d3, m1)
                        .intoMemorySegment(ALL, o + 32 * STRIP_BYTES, LE);
                ((FloatVector) v.and(15 << 12).convertShape(I2F, F, 0))
                        .fma(d4, m1)
                        .intoMemorySegment(ALL, o + 33 * STRIP_BYTES, LE);
                ((FloatVector) v.and(15 << 20).convertShape(I2F, F, 0))
                        .fma(d6, m1)
                        .intoMemorySegment(ALL, o + 34 * STRIP_BYTES, LE);
                ((FloatVector) v.lanewise(LSHR, 28).convertShape(I2F, F, 0))
                        .fma(d1, m1)
                        .intoMemorySegment(ALL, o + 35 * STRIP_BYTES, LE);
            }
        }
    }
}
