package dev.prefetch.backend.cpu;

import dev.prefetch.gguf.GgmlType;

/**
 * How rows of 16-bit floats are packed: {@link #ROWS} rows take turns, with as many columns as a kernel takes from a row at a
 * time: {@code [rows / ROWS][cols / COLS][ROWS][COLS]}. So a matrix is read from its beginning to its end without a jump,
 * which is what processors fetch ahead. Rows that fill no group stay as they are, at the end.
 */
final class RowPacking {

    /** Rows of a group. */
    static final int ROWS = 16;

    /** Columns that a row has in one piece. */
    static final int COLS = VectorHalves.STEP;

    /** Bytes from the piece of a row to that of the next. */
    static final long PIECE_BYTES = 2L * COLS;

    private RowPacking() {}

    static boolean packs(GgmlType type, long rows, long cols) {
        return (type == GgmlType.F16 || type == GgmlType.BF16) && rows >= ROWS && cols % COLS == 0;
    }

    /** Packs all groups of a matrix where they are. */
    static void packInPlace(long weights, long rows, int cols) {
        long rowBytes = 2L * cols;
        try (NativeMemory memory = NativeMemory.allocate(ROWS * rowBytes, "packing weights")) {
            long group = memory.address();
            for (long row = 0; row + ROWS <= rows; row += ROWS) {
                long at = weights + rowBytes * row;
                for (int r = 0; r < ROWS; r++) {
                    for (int piece = 0; piece < cols / COLS; piece++) {
                        long from = at + rowBytes * r + PIECE_BYTES * piece;
                        Memory.copy(from, group + PIECE_BYTES * ((long) ROWS * piece + r), PIECE_BYTES);
                    }
                }
                Memory.copy(group, at, ROWS * rowBytes);
            }
        }
    }
}
