package dev.prefetch.backend.cpu;

import dev.prefetch.gguf.GgmlType;
import java.lang.invoke.MethodHandle;

/**
 * Products of few tokens with packed {@code Q8_0}, straight from packed words: making floats of the weights first, as {@link VectorStrips}
 * does for more, takes longer than multiplying them. The bits are the same.
 */
final class FewTokens {

    /** Whether there are registers for the sums of eight tokens and two groups of rows, or of two tokens. */
    private static final boolean MANY_REGISTERS = Vectors.BYTES == 64;

    private static final int MOST = MANY_REGISTERS ? 16 : 8;

    /** Behind the factors of both groups. */
    private static final long SUMS = 2 * LaneUnpack.FACTOR_BYTES;

    private static final long ALL_SUM_BYTES = VectorBytes.SUM_BYTES * MOST;

    /** Scratch bytes that {@link #multiply} needs. */
    static final long SCRATCH_BYTES = SUMS + ALL_SUM_BYTES;

    private final MethodHandle factors = Isolated.strip(LaneUnpack.class, "factorsQ80");
    private final MethodHandle two = Isolated.pair(VectorBytes.class, "twoOfPair");
    private final MethodHandle four = Isolated.pair(VectorBytes.class, "fourOfPair");
    private final MethodHandle eight =
            Isolated.pair(VectorBytes.class, MANY_REGISTERS ? "eightOfPair" : "eightOfGroup");

    /** Whether so many tokens are multiplied here with packed weights of that type. */
    static boolean takes(GgmlType type, int tokens) {
        return type == GgmlType.Q8_0 && tokens <= MOST;
    }

    /** Tokens of the tiles that so many stand in: what is read of a tile for every row is read for nothing where tokens are absent. */
    static int tileTokens(int tokens) {
        if (tokens > 4) {
            return VectorGemm.TOKENS;
        }
        return MANY_REGISTERS && tokens > 2 ? 4 : 2;
    }

    /** See {@link Kernels#matmul}, for an even number of groups of rows: those of the first half are multiplied together with those of the second. */
    void multiply(
            long weights, int rows, int cols, long packed, int tile, int tokens, long y, long yStride, long scratch) {
        LaneFormat format = LaneFormat.Q8_0;
        MethodHandle kernel = switch (tile) {
            case 2 -> two;
            case 4 -> four;
            default -> eight;
        };
        int together = tile == VectorGemm.TOKENS && !MANY_REGISTERS ? 1 : 2;
        int half = rows / 2;
        long apart = format.type.byteSize(cols) * half;
        long sumBytes = VectorBytes.SUM_BYTES * Math.ceilDiv(tokens, tile) * tile;
        for (int row = 0; row < half; row += Vectors.LANES) {
            long first = weights + format.type.byteSize(cols) * row;
            Memory.clear(scratch + SUMS, sumBytes);
            for (int col = 0; col < cols; col += LaneFormat.COLS) {
                int blocks = Math.min(LaneFormat.COLS, cols - col) / format.elements;
                long halves = first + format.halvesAt(col);
                Isolated.call(factors, halves, apart, 8 * blocks, halves, scratch);
                for (int group = 0; group < 2; group += together) {
                    long words = first + format.wordsAt(cols, col) + apart * group;
                    long groupFactors = scratch + LaneUnpack.FACTOR_BYTES * group;
                    long sums = scratch + SUMS + (long) Vectors.BYTES * group;
                    for (int t = 0; t < tokens; t += tile) {
                        long x = packed + 4L * cols * t + 4L * tile * col;
                        Isolated.call(kernel, words, apart, blocks, x, groupFactors, sums + VectorBytes.SUM_BYTES * t);
                    }
                }
            }
            LaneMatvec.copyResults(scratch + SUMS, tokens, LaneFormat.PAIR_ROWS, y + 4L * row, yStride, 4L * half);
        }
    }
}
