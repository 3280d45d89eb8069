package dev.prefetch.backend.cpu;

import static dev.prefetch.backend.cpu.Memory.ALL;
import static dev.prefetch.backend.cpu.Vectors.BYTES;
import static dev.prefetch.backend.cpu.Vectors.I;
import static dev.prefetch.backend.cpu.Vectors.LANES;
import static dev.prefetch.backend.cpu.Vectors.LE;
import static jdk.incubator.vector.VectorOperators.LSHL;
import static jdk.incubator.vector.VectorOperators.LSHR;
import static jdk.incubator.vector.VectorOperators.REVERSE_BYTES;
import static jdk.incubator.vector.VectorOperators.XOR;

import jdk.incubator.vector.ByteVector;
import jdk.incubator.vector.IntVector;
import jdk.incubator.vector.VectorSpecies;

/** Packs rows as {@link LaneFormat} says, unchanged in size. */
final class LanePacking {

    /** Bytes between rows that are copied: not a power of two. */
    private static final long COMPACT_BYTES = 256 + 64;

    private static final long COMPACT = (long) LANES * BYTES;

    private static final long BLOCKS = COMPACT + LANES * COMPACT_BYTES;

    /** Scratch bytes that {@link #pack} needs. */
    static final long SCRATCH_BYTES = Math.max(BLOCKS + 64L * BYTES, COMPACT + (52L + 16) * BYTES);

    private static final int NIBBLES = 0x0f0f0f0f;
    private static final int EVEN_BYTES = 0x00ff00ff;
    static final int EVEN_SIGNS = 0x00800080;

    private static final VectorSpecies<Byte> COPY = ByteVector.SPECIES_128;

    private LanePacking() {}

    /**
     * Packs a group.
     *
     * @param in the first row, {@code rowBytes} from the next
     * @param out memory for {@link Vectors#LANES} rows that does not overlap them
     * @param scratch {@link #SCRATCH_BYTES}
     */
    static void pack(LaneFormat format, long in, long rowBytes, int cols, long out, long scratch) {
        long blockBytes = format.type.blockBytes();
        for (int col = 0; col < cols; col += LaneFormat.COLS) {
            long from = in + format.type.byteSize(col);
            long to = out + format.wordsAt(cols, col);
            long front = out + format.frontAt(cols, col);
            int blocks = Math.min(LaneFormat.COLS, cols - col) / format.type.blockElements();
            switch (format) {
                case Q8_0 -> q80(from, rowBytes, blocks, to, scratch);
                case Q4_0 -> q40(from, rowBytes, blocks, to, scratch);
                case Q4_K -> q4k(from, rowBytes, front, to, scratch);
                case Q5_K -> q5k(from, rowBytes, front, to, scratch);
                case Q6_K -> q6k(from, rowBytes, front, to, scratch);
            }
            if (format.half) {
                // In front of the elements, or behind them.
                long half = from + (format == LaneFormat.Q6_K ? blockBytes - 2 : 0);
                halves(half, rowBytes, blocks, blockBytes, out + format.halvesAt(col));
            }
        }
    }

    /** Packs all groups of a matrix where they are, an even number. */
    static void packInPlace(LaneFormat format, long weights, long rows, int cols) {
        long rowBytes = format.type.byteSize(cols);
        long groupBytes = format.groupBytes(cols);
        long packedRows = rows / LaneFormat.PAIR_ROWS * LaneFormat.PAIR_ROWS;
        try (NativeMemory memory = NativeMemory.allocate(groupBytes + SCRATCH_BYTES, "packing weights")) {
            long group = memory.address();
            for (long row = 0; row < packedRows; row += LANES) {
                long at = weights + rowBytes * row;
                pack(format, at, rowBytes, cols, group, group + groupBytes);
                Memory.copy(group, at, groupBytes);
            }
        }
    }

    /** So many words of every row, at least {@link Vectors#LANES}. */
    private static void transpose(long in, long rowBytes, int words, long out, long scratch) {
        int whole = words / LANES * LANES;
        for (int i = 0; i < whole; i += LANES) {
            VectorGemm.transpose(in + 4L * i, rowBytes, scratch, out + (long) BYTES * i, BYTES);
        }
        if (words - whole > LANES / 4) {
            // Some of them were there before: nothing behind a row is read.
            int first = words - LANES;
            VectorGemm.transpose(in + 4L * first, rowBytes, scratch, out + (long) BYTES * first, BYTES);
            return;
        }
        for (int i = whole; i < words; i++) {
            for (int r = 0; r < LANES; r++) {
                Memory.putInt(
                        Memory.known(out + (long) BYTES * i + 4 * r),
                        Memory.getInt(Memory.known(in + rowBytes * r + 4L * i)));
            }
        }
    }

    private static void halves(long in, long rowBytes, int blocks, long blockBytes, long out) {
        for (int b = 0; b < blocks; b++) {
            for (int r = 0; r < LANES; r++) {
                short half = Memory.getShort(Memory.known(in + rowBytes * r + blockBytes * b));
                Memory.putShort(Memory.known(out + 2L * LANES * b + 2 * r), half);
            }
        }
    }

    /** Scales, then for each group of 32 columns four words: bytes with nibbles of one group instead of two. */
    private static void q4k(long in, long rowBytes, long front, long out, long scratch) {
        long words = scratch + COMPACT;
        transpose(in, rowBytes, 36, words, scratch);
        Memory.copy(words, front, 4L * BYTES);
        for (int i = 0; i < 16; i++) {
            int word = i / 4 * 8 + i % 4;
            long p = Memory.known(words + (4L + word) * BYTES);
            long o = Memory.known(out + (long) BYTES * word);
            IntVector a = IntVector.fromMemorySegment(I, ALL, p, LE);
            IntVector b = IntVector.fromMemorySegment(I, ALL, p + 4 * BYTES, LE);
            a.and(NIBBLES).or(b.and(NIBBLES).lanewise(LSHL, 4)).intoMemorySegment(ALL, o, LE);
            a.lanewise(LSHR, 4).and(NIBBLES).or(b.and(~NIBBLES)).intoMemorySegment(ALL, o + 4 * BYTES, LE);
        }
    }

    /** Scales, then for each group of 32 columns five words with three elements in either half, and a bit of the sixteenth on top. */
    private static void q5k(long in, long rowBytes, long front, long out, long scratch) {
        long words = scratch + COMPACT;
        long pairs = words + 52L * BYTES;
        transpose(in, rowBytes, 44, words, scratch);
        Memory.copy(words, front, 4L * BYTES);
        for (int group = 0; group < 8; group++) {
            for (int i = 0; i < 8; i++) {
                long nibbles = words + (12L + group / 2 * 8 + i) * BYTES;
                elements(nibbles, group % 2 * 4, words + (4L + i) * BYTES, group, 0x01010101, pairs + 2L * BYTES * i);
            }
            for (int i = 0; i < 5; i++) {
                five(pairs + 3L * BYTES * i, pairs + 15L * BYTES, i, out + (5L * group + i) * BYTES);
            }
        }
    }

    /**
     * Scales, then for each group of 16 columns three words with two elements in either half, and on top the lower bits of a third
     * in the first two, and the upper ones of both in the last.
     */
    private static void q6k(long in, long rowBytes, long front, long out, long scratch) {
        long words = scratch + COMPACT;
        long pairs = words + 52L * BYTES;
        transpose(in, rowBytes, 52, words, scratch);
        Memory.copy(words + 48L * BYTES, front, 4L * BYTES);
        for (int group = 0; group < 16; group++) {
            // Of each half of 128 columns the first 64 are low nibbles and the second high ones.
            int half = group / 8;
            int quarter = group / 2 % 4;
            for (int i = 0; i < 4; i++) {
                int word = group % 2 * 4 + i;
                long nibbles = words + (16L * half + quarter % 2 * 8 + word) * BYTES;
                long upper = words + (32L + 8 * half + word) * BYTES;
                elements(nibbles, quarter / 2 * 4, upper, 2 * quarter, 0x03030303, pairs + 2L * BYTES * i);
            }
            long o = out + 3L * BYTES * group;
            six(pairs, pairs + 2 * BYTES, 0, 0x000f000f, 12, o);
            six(pairs + 3 * BYTES, pairs + 5 * BYTES, 0, 0x000f000f, 12, o + BYTES);
            six(pairs + 6 * BYTES, pairs + 2 * BYTES, 4, 0x00030003, 12, o + 2 * BYTES);
            add(pairs + 5 * BYTES, 4, 0x00030003, 14, o + 2 * BYTES);
        }
    }

    /** Four elements of a nibble each and upper bits, as two pairs. */
    private static void elements(long nibbles, int shift, long upper, int bit, int mask, long out) {
        long o = Memory.known(out);
        IntVector v = IntVector.fromMemorySegment(I, ALL, Memory.known(nibbles), LE)
                .lanewise(LSHR, shift)
                .and(NIBBLES)
                .or(IntVector.fromMemorySegment(I, ALL, Memory.known(upper), LE)
                        .lanewise(LSHR, bit)
                        .and(mask)
                        .lanewise(LSHL, 4));
        v.and(EVEN_BYTES).intoMemorySegment(ALL, o, LE);
        v.lanewise(LSHR, 8).and(EVEN_BYTES).intoMemorySegment(ALL, o + BYTES, LE);
    }

    /** Three elements of five bits beside each other, and a bit of another one. */
    private static void five(long pairs, long last, int bit, long out) {
        long p = Memory.known(pairs);
        IntVector.fromMemorySegment(I, ALL, p, LE)
                .or(IntVector.fromMemorySegment(I, ALL, p + BYTES, LE).lanewise(LSHL, 5))
                .or(IntVector.fromMemorySegment(I, ALL, p + 2 * BYTES, LE).lanewise(LSHL, 10))
                .or(IntVector.fromMemorySegment(I, ALL, Memory.known(last), LE)
                        .lanewise(LSHR, bit)
                        .and(0x00010001)
                        .lanewise(LSHL, 15))
                .intoMemorySegment(ALL, Memory.known(out), LE);
    }

    /** Two elements of six bits beside each other, and some bits of another one. */
    private static void six(long pairs, long part, int bit, int mask, int to, long out) {
        long p = Memory.known(pairs);
        IntVector.fromMemorySegment(I, ALL, p, LE)
                .or(IntVector.fromMemorySegment(I, ALL, p + BYTES, LE).lanewise(LSHL, 6))
                .intoMemorySegment(ALL, Memory.known(out), LE);
        add(part, bit, mask, to, out);
    }

    private static void add(long part, int bit, int mask, int to, long out) {
        long o = Memory.known(out);
        IntVector.fromMemorySegment(I, ALL, o, LE)
                .or(IntVector.fromMemorySegment(I, ALL, Memory.known(part), LE)
                        .lanewise(LSHR, bit)
                        .and(mask)
                        .lanewise(LSHL, to))
                .intoMemorySegment(ALL, o, LE);
    }

    /**
     * The elements of at most 8 blocks, the first of a word on top; of two bytes that share a half of a lane the lower one becomes unsigned.
     */
    private static void q80(long in, long rowBytes, int blocks, long out, long scratch) {
        long words = scratch + BLOCKS;
        blocks(in, rowBytes, blocks, 32, words, scratch);
        for (int i = 0; i < 8 * blocks; i++) {
            IntVector.fromMemorySegment(I, ALL, Memory.known(words + (long) BYTES * i), LE)
                    .lanewise(REVERSE_BYTES)
                    .lanewise(XOR, EVEN_SIGNS)
                    .intoMemorySegment(ALL, Memory.known(out + (long) BYTES * i), LE);
        }
    }

    private static void q40(long in, long rowBytes, int blocks, long out, long scratch) {
        blocks(in, rowBytes, blocks, 16, out, scratch);
    }

    /** The words of at most 8 blocks with so many bytes behind their half. */
    private static void blocks(long in, long rowBytes, int blocks, int bytes, long out, long scratch) {
        long compact = scratch + COMPACT;
        for (int r = 0; r < LANES; r++) {
            for (int i = 0; i < blocks; i++) {
                long p = in + rowBytes * r + (bytes + 2L) * i + 2;
                long o = compact + COMPACT_BYTES * r + (long) bytes * i;
                for (int j = 0; j < bytes; j += 16) {
                    ByteVector.fromMemorySegment(COPY, ALL, Memory.known(p + j), LE)
                            .intoMemorySegment(ALL, Memory.known(o + j), LE);
                }
            }
        }
        int words = bytes / 4 * blocks;
        if (words >= LANES) {
            transpose(compact, COMPACT_BYTES, words, out, scratch);
            return;
        }
        for (int i = 0; i < words * LANES; i++) {
            Memory.putInt(out + 4L * i, Memory.getInt(compact + COMPACT_BYTES * (i % LANES) + i / LANES * 4L));
        }
    }
}
