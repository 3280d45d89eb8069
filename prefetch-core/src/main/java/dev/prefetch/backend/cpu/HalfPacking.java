package dev.prefetch.backend.cpu;

import dev.prefetch.gguf.GgmlType;

/**
 * How rows of 16-bit floats are packed: a group of {@link Vectors#LANES} rows have lanes of their own in a vector, and a lane has
 * two columns: {@code [rows / LANES][cols / 2][LANES][2]}. So a group is read from its beginning to its end without a jump, which is
 * what processors fetch ahead, and nothing has to be transposed while multiplying. Kernels take two groups, see {@link Kernels#apart};
 * rows that fill no two of them stay as they are, at the end.
 */
final class HalfPacking {

    /** Rows of two groups. */
    static final int ROWS = LaneFormat.PAIR_ROWS;

    /** Bytes of two columns of a group. */
    static final long STEP_BYTES = Vectors.BYTES;

    private HalfPacking() {}

    /** Whether the type has halves of words, two of which are packed and multiplied at a time. */
    static boolean packs(GgmlType type, long cols) {
        return (type == GgmlType.F16 || type == GgmlType.BF16) && cols % 2 == 0;
    }

    static boolean packs(GgmlType type, long rows, long cols) {
        return packs(type, cols) && rows >= ROWS;
    }

    /** Scratch bytes that {@link #pack} needs. */
    static long scratchBytes() {
        return (long) Vectors.LANES * Vectors.BYTES;
    }

    /**
     * Packs two groups.
     *
     * @param rows the first row, {@code rowBytes} from the next
     * @param present how many there are; where they are too few, the last ones are packed again
     * @param out memory for {@link #ROWS} rows that does not overlap them
     * @param scratch {@link #scratchBytes}
     */
    static void pack(long rows, long rowBytes, int present, int cols, long out, long scratch) {
        int words = cols / 2;
        for (int first = 0; first < ROWS; first += Vectors.LANES) {
            long o = out + rowBytes * first;
            int whole = first + Vectors.LANES <= present ? words / Vectors.LANES * Vectors.LANES : 0;
            for (int i = 0; i < whole; i += Vectors.LANES) {
                VectorGemm.transpose(
                        rows + rowBytes * first + 4L * i, rowBytes, scratch, o + STEP_BYTES * i, STEP_BYTES);
            }
            for (int r = 0; r < Vectors.LANES; r++) {
                long row = rows + rowBytes * Math.min(first + r, present - 1);
                for (int i = whole; i < words; i++) {
                    Memory.putInt(Memory.known(o + STEP_BYTES * i + 4L * r), Memory.getInt(Memory.known(row + 4L * i)));
                }
            }
        }
    }

    /** Packs all pairs of a matrix where they are. */
    static void packInPlace(long weights, long rows, int cols) {
        long rowBytes = 2L * cols;
        long pairBytes = rowBytes * ROWS;
        try (NativeMemory memory = NativeMemory.allocate(pairBytes + scratchBytes(), "packing weights")) {
            long pair = memory.address();
            for (long row = 0; row + ROWS <= rows; row += ROWS) {
                long at = weights + rowBytes * row;
                pack(at, rowBytes, ROWS, cols, pair, pair + pairBytes);
                Memory.copy(pair, at, pairBytes);
            }
        }
    }
}
