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
    static final long SCRATCH_BYTES = COMPACT + Math.max(LANES * COMPACT_BYTES, 52L * BYTES);

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
                    case Q4_K -> transpose(from, rowBytes, format.words, to, scratch);
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

    /** Scales, then eight times the fifth bits of four words of nibbles and these, as they are needed. */
    private static void q5k(long in, long rowBytes, long out, long scratch) {
        long words = scratch + COMPACT;
        transpose(in, rowBytes, 44, words, scratch);
        Memory.copy(words, out, 4L * BYTES);
        for (int i = 0; i < 8; i++) {
            long o = Memory.known(out + (4L + 5 * i) * BYTES);
            // In the file, a word has two bits of each of four pairs of groups.
            long p = Memory.known(words + (4L + 4 * (i % 2)) * BYTES);
            int pair = i / 2 * 2;
            IntVector.fromMemorySegment(I, ALL, p, LE)
                    .lanewise(LSHR, pair)
                    .and(0x03030303)
                    .or(bits(p + BYTES, pair, 2))
                    .or(bits(p + 2 * BYTES, pair, 4))
                    .or(bits(p + 3 * BYTES, pair, 6))
                    .intoMemorySegment(ALL, o, LE);
            Memory.copy(words + (12L + 4 * i) * BYTES, o + BYTES, 4L * BYTES);
        }
    }

    /** Scales, then for each half of 128 columns eight times the upper bits of two words of nibbles and these. */
    private static void q6k(long in, long rowBytes, long out, long scratch) {
        long words = scratch + COMPACT;
        transpose(in, rowBytes, 52, words, scratch);
        Memory.copy(words + 48L * BYTES, out, 4L * BYTES);
        for (int i = 0; i < 16; i++) {
            long o = Memory.known(out + (4L + 3 * i) * BYTES);
            // In the file, a word has two bits of each quarter: first and third, or second and fourth.
            long p = Memory.known(words + (32L + i / 8 * 8 + i % 4 * 2) * BYTES);
            int quarter = i / 4 % 2 * 2;
            IntVector.fromMemorySegment(I, ALL, p, LE)
                    .lanewise(LSHR, quarter)
                    .and(0x03030303)
                    .or(bits(p, quarter + 4, 2))
                    .or(bits(p + BYTES, quarter, 4))
                    .or(bits(p + BYTES, quarter + 4, 6))
                    .intoMemorySegment(ALL, o, LE);
            Memory.copy(words + 2L * BYTES * i, o + BYTES, 2L * BYTES);
        }
    }

    /** Two bits of each byte of a vector, brought from a place to another. */
    private static IntVector bits(long address, int from, int to) {
        return IntVector.fromMemorySegment(I, ALL, address, LE)
                .lanewise(LSHR, from)
                .and(0x03030303)
                .lanewise(LSHL, to);
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
