package dev.prefetch.backend.cpu;

import static dev.prefetch.backend.cpu.Memory.ALL;
import static dev.prefetch.backend.cpu.Vectors.BYTES;
import static dev.prefetch.backend.cpu.Vectors.I;
import static dev.prefetch.backend.cpu.Vectors.LANES;
import static dev.prefetch.backend.cpu.Vectors.LE;
import static jdk.incubator.vector.VectorOperators.LSHL;
import static jdk.incubator.vector.VectorOperators.LSHR;

import jdk.incubator.vector.IntVector;

/** Packs rows as {@link LaneFormat} says, unchanged in size. */
final class LanePacking {

    /** Bytes between rows that are copied: not a power of two. */
    private static final long COMPACT_BYTES = 128 + 64;

    private static final long COMPACT = (long) LANES * BYTES;

    /** Scratch bytes that {@link #pack} needs. */
    static final long SCRATCH_BYTES = COMPACT + Math.max(LANES * COMPACT_BYTES, (52L + 16) * BYTES);

    private static final int NIBBLES = 0x0f0f0f0f;
    private static final int EVEN_BYTES = 0x00ff00ff;

    private LanePacking() {}

    /**
     * Packs a pair of groups.
     *
     * @param in the first row, {@code rowBytes} from the next
     * @param out memory for {@link LaneFormat#PAIR_ROWS} rows that does not overlap them
     * @param scratch {@link #SCRATCH_BYTES}
     */
    static void pack(LaneFormat format, long in, long rowBytes, int cols, long out, long scratch) {
        long blockBytes = format.type.blockBytes();
        for (int group = 0; group < 2; group++) {
            long rows = in + rowBytes * LANES * group;
            for (int col = 0; col < cols; col += LaneFormat.COLS) {
                long from = rows + format.type.byteSize(col);
                long to = out + format.wordsAt(cols, col, group);
                int blocks = Math.min(LaneFormat.COLS, cols - col) / format.type.blockElements();
                switch (format) {
                    case Q4_0 -> q40(from, rowBytes, blocks, to, scratch);
                    case Q4_K -> q4k(from, rowBytes, to, scratch);
                    case Q5_K -> q5k(from, rowBytes, to, scratch);
                    case Q6_K -> q6k(from, rowBytes, to, scratch);
                }
                if (format.half) {
                    // In front of the elements, or behind them.
                    long half = from + (format == LaneFormat.Q4_0 ? 0 : blockBytes - 2);
                    halves(half, rowBytes, blocks, blockBytes, out + format.halvesAt(cols, col, group));
                }
            }
        }
    }

    /** Packs all pairs of a matrix where they are. */
    static void packInPlace(LaneFormat format, long weights, long rows, int cols) {
        long rowBytes = format.type.byteSize(cols);
        long pairBytes = rowBytes * LaneFormat.PAIR_ROWS;
        try (NativeMemory memory = NativeMemory.allocate(pairBytes + SCRATCH_BYTES, "packing weights")) {
            long pair = memory.address();
            for (long row = 0; row + LaneFormat.PAIR_ROWS <= rows; row += LaneFormat.PAIR_ROWS) {
                long at = weights + rowBytes * row;
                pack(format, at, rowBytes, cols, pair, pair + pairBytes);
                Memory.copy(pair, at, pairBytes);
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
    private static void q4k(long in, long rowBytes, long out, long scratch) {
        long words = scratch + COMPACT;
        transpose(in, rowBytes, 36, words, scratch);
        Memory.copy(words, out, 4L * BYTES);
        for (int i = 0; i < 16; i++) {
            int word = i / 4 * 8 + i % 4;
            long p = Memory.known(words + (4L + word) * BYTES);
            long o = Memory.known(out + (4L + word) * BYTES);
            IntVector a = IntVector.fromMemorySegment(I, ALL, p, LE);
            IntVector b = IntVector.fromMemorySegment(I, ALL, p + 4 * BYTES, LE);
            a.and(NIBBLES).or(b.and(NIBBLES).lanewise(LSHL, 4)).intoMemorySegment(ALL, o, LE);
            a.lanewise(LSHR, 4).and(NIBBLES).or(b.and(~NIBBLES)).intoMemorySegment(ALL, o + 4 * BYTES, LE);
        }
    }

    /** Scales, then for each group of 32 columns five words with three elements in either half, and a bit of the sixteenth on top. */
    private static void q5k(long in, long rowBytes, long out, long scratch) {
        long words = scratch + COMPACT;
        long pairs = words + 52L * BYTES;
        transpose(in, rowBytes, 44, words, scratch);
        Memory.copy(words, out, 4L * BYTES);
        for (int group = 0; group < 8; group++) {
            for (int i = 0; i < 8; i++) {
                long upper = Memory.known(words + (4L + i) * BYTES);
                long nibbles = Memory.known(words + (12L + group / 2 * 8 + i) * BYTES);
                long o = Memory.known(pairs + 2L * BYTES * i);
                IntVector v = IntVector.fromMemorySegment(I, ALL, nibbles, LE)
                        .lanewise(LSHR, group % 2 * 4)
                        .and(NIBBLES)
                        .or(IntVector.fromMemorySegment(I, ALL, upper, LE)
                                .lanewise(LSHR, group)
                                .and(0x01010101)
                                .lanewise(LSHL, 4));
                v.and(EVEN_BYTES).intoMemorySegment(ALL, o, LE);
                v.lanewise(LSHR, 8).and(EVEN_BYTES).intoMemorySegment(ALL, o + BYTES, LE);
            }
            for (int i = 0; i < 5; i++) {
                long p = Memory.known(pairs + 3L * BYTES * i);
                IntVector last = IntVector.fromMemorySegment(I, ALL, Memory.known(pairs + 15L * BYTES), LE);
                IntVector.fromMemorySegment(I, ALL, p, LE)
                        .or(IntVector.fromMemorySegment(I, ALL, p + BYTES, LE).lanewise(LSHL, 5))
                        .or(IntVector.fromMemorySegment(I, ALL, p + 2 * BYTES, LE)
                                .lanewise(LSHL, 10))
                        .or(last.lanewise(LSHR, i).and(0x00010001).lanewise(LSHL, 15))
                        .intoMemorySegment(ALL, Memory.known(out + (4L + 5 * group + i) * BYTES), LE);
            }
        }
    }

    /**
     * Scales, then for each group of 16 columns three words with two elements in either half, and on top the lower bits of a third
     * in the first two, and the upper ones of both in the last.
     */
    private static void q6k(long in, long rowBytes, long out, long scratch) {
        long words = scratch + COMPACT;
        long pairs = words + 52L * BYTES;
        transpose(in, rowBytes, 52, words, scratch);
        Memory.copy(words + 48L * BYTES, out, 4L * BYTES);
        for (int group = 0; group < 16; group++) {
            // Of each half of 128 columns the first 64 are low nibbles and the second high ones.
            int half = group / 8;
            int quarter = group / 2 % 4;
            for (int i = 0; i < 4; i++) {
                int word = group % 2 * 4 + i;
                long nibbles = Memory.known(words + (16L * half + quarter % 2 * 8 + word) * BYTES);
                long upper = Memory.known(words + (32L + 8 * half + word) * BYTES);
                long o = Memory.known(pairs + 2L * BYTES * i);
                IntVector v = IntVector.fromMemorySegment(I, ALL, nibbles, LE)
                        .lanewise(LSHR, quarter / 2 * 4)
                        .and(NIBBLES)
                        .or(IntVector.fromMemorySegment(I, ALL, upper, LE)
                                .lanewise(LSHR, 2 * quarter)
                                .and(0x03030303)
                                .lanewise(LSHL, 4));
                v.and(EVEN_BYTES).intoMemorySegment(ALL, o, LE);
                v.lanewise(LSHR, 8).and(EVEN_BYTES).intoMemorySegment(ALL, o + BYTES, LE);
            }
            long p = Memory.known(pairs);
            long o = Memory.known(out + (4L + 3 * group) * BYTES);
            IntVector third = IntVector.fromMemorySegment(I, ALL, p + 2 * BYTES, LE);
            IntVector sixth = IntVector.fromMemorySegment(I, ALL, p + 5 * BYTES, LE);
            beside(p).or(third.and(0x000f000f).lanewise(LSHL, 12)).intoMemorySegment(ALL, o, LE);
            beside(p + 3 * BYTES).or(sixth.and(0x000f000f).lanewise(LSHL, 12)).intoMemorySegment(ALL, o + BYTES, LE);
            beside(p + 6 * BYTES)
                    .or(third.lanewise(LSHR, 4).lanewise(LSHL, 12).and(0x30003000))
                    .or(sixth.lanewise(LSHR, 4).lanewise(LSHL, 14).and(0xc000c000))
                    .intoMemorySegment(ALL, o + 2 * BYTES, LE);
        }
    }

    /** Two elements of six bits beside each other. */
    private static IntVector beside(long pairs) {
        return IntVector.fromMemorySegment(I, ALL, pairs, LE)
                .or(IntVector.fromMemorySegment(I, ALL, pairs + BYTES, LE).lanewise(LSHL, 6));
    }

    /** The elements of at most 8 blocks. */
    private static void q40(long in, long rowBytes, int blocks, long out, long scratch) {
        long compact = scratch + COMPACT;
        for (int r = 0; r < LANES; r++) {
            for (int i = 0; i < blocks; i++) {
                long p = Memory.known(in + rowBytes * r + 18L * i + 2);
                long o = Memory.known(compact + COMPACT_BYTES * r + 16L * i);
                Memory.putLong(o, Memory.getLong(p));
                Memory.putLong(o + 8, Memory.getLong(p + 8));
            }
        }
        if (4 * blocks >= LANES) {
            transpose(compact, COMPACT_BYTES, 4 * blocks, out, scratch);
            return;
        }
        for (int i = 0; i < 4 * blocks * LANES; i++) {
            Memory.putInt(out + 4L * i, Memory.getInt(compact + COMPACT_BYTES * (i % LANES) + i / LANES * 4L));
        }
    }
}
