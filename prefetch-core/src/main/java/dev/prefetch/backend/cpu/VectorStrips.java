package dev.prefetch.backend.cpu;

import dev.prefetch.gguf.GgmlType;
import java.lang.invoke.MethodHandle;
import java.util.EnumMap;
import java.util.Map;

/**
 * Products with many rows of activations: strips of weights, see {@link VectorGemm}, one after the other.
 *
 * <p>Formats without an expander of their own are expanded row by row and then transposed.
 */
final class VectorStrips {

    /** Most columns of a strip: what all formats expand at a time. */
    private static final int COLS = 256;

    private static final long STRIP_BYTES = (long) COLS * VectorGemm.STRIP_BYTES;

    /** Bytes between rows that are copied or expanded here: not a power of two. */
    private static final long ROW_BYTES = 4L * COLS + 64;

    private final Kernels kernels;
    private final MethodHandle multiplyKernel = Isolated.stripProduct(VectorGemm.class, "multiply");
    private final MethodHandle transposer = Isolated.strip(VectorStripExpand.class, "f32");
    private final MethodHandle lanesQ80 = Isolated.strip(VectorStripExpand.class, "lanesQ80");
    private final MethodHandle lanesF16 = Isolated.expand(VectorStripExpand.class, "lanesF16");
    private final MethodHandle lanesBf16 = Isolated.expand(VectorStripExpand.class, "lanesBf16");
    private final FewTokens few = new FewTokens();
    private final Map<GgmlType, MethodHandle> expanders = new EnumMap<>(GgmlType.class);

    /** @param kernels what expands the other formats */
    VectorStrips(Kernels kernels) {
        this.kernels = kernels;
        expanders.put(GgmlType.F32, transposer);
        expanders.put(GgmlType.F16, Isolated.strip(VectorStripExpand.class, "f16"));
        expanders.put(GgmlType.BF16, Isolated.strip(VectorStripExpand.class, "bf16"));
        expanders.put(GgmlType.Q8_0, Isolated.strip(VectorStripExpand.class, "q80"));
    }

    /** See {@link Kernels#matmulTokens}. */
    static int tileTokens(GgmlType type, boolean packedWeights, int rows, int tokens) {
        boolean allFew = packedWeights && rows % LaneFormat.PAIR_ROWS == 0 && FewTokens.takes(type, tokens);
        return allFew ? FewTokens.tileTokens(tokens) : VectorGemm.TOKENS;
    }

    static long scratchBytes(int tokens) {
        return Math.max(FewTokens.SCRATCH_BYTES, sumsAt() + sumBytes(tokens));
    }

    /** Where in the scratch memory the sums of a strip are, behind what it is expanded with. */
    private static long sumsAt() {
        return STRIP_BYTES + Vectors.LANES * ROW_BYTES + VectorStripExpand.SCRATCH_BYTES + VectorGemm.SPARE_BYTES;
    }

    private static long sumBytes(int tokens) {
        return (long) Math.ceilDiv(tokens, VectorGemm.TOKENS) * VectorGemm.TOKENS * VectorGemm.STRIP_BYTES;
    }

    /** See {@link Kernels#matmul}. */
    void multiply(
            GgmlType type,
            long weights,
            boolean packedWeights,
            int rows,
            int following,
            int cols,
            long packed,
            int tileTokens,
            int tokens,
            long y,
            long yStride,
            long scratch) {
        int most = expanders.containsKey(type) ? VectorStripExpand.COLS : COLS;
        long rowBytes = type.byteSize(cols);
        long sums = scratch + sumsAt();
        long tileBytes = 4L * VectorGemm.TOKENS * cols;
        LaneFormat format = LaneFormat.of(type);
        int packedRows = packedWeights ? rows / LaneFormat.PAIR_ROWS * LaneFormat.PAIR_ROWS : 0;
        int done = 0;
        if (packedRows > 0 && FewTokens.takes(type, tokens)) {
            few.multiply(weights, packedRows, cols, packed, tileTokens, tokens, y, yStride, scratch);
            done = packedRows;
        }
        for (int first = done; first < rows; first += VectorGemm.ROWS) {
            int present = Math.min(VectorGemm.ROWS, rows - first);
            if (present < VectorGemm.ROWS) {
                // The sums of rows beyond the last one are of no use, but computing with whatever is there may be slow.
                Memory.clear(scratch, STRIP_BYTES);
            }
            // The rows that come next, also behind those of this call.
            int next = Math.min(VectorGemm.ROWS, rows + following - first - present);
            long step = next * rowBytes / cols;
            long aheadStep = step < Integer.BYTES ? 0 : step;
            long ahead = weights + rowBytes * (first + present);
            Memory.clear(sums, sumBytes(tokens));
            for (int col = 0; col < cols; col += most) {
                int depth = Math.min(most, cols - col);
                int together = Math.clamp(packedRows - first, 0, present);
                if (format != null) {
                    expandLanes(format, weights, first, together, cols, col, depth, scratch);
                } else {
                    expandHalves(type, weights, first, together, cols, col, depth, scratch);
                }
                if (together < present) {
                    long in = weights + rowBytes * (first + together) + type.byteSize(col);
                    expand(type, in, rowBytes, present - together, depth, scratch, together);
                }
                long x = packed + 4L * VectorGemm.TOKENS * col;
                Isolated.call(
                        multiplyKernel, scratch, depth, x, tileBytes, tokens, sums, ahead + aheadStep * col, aheadStep);
            }
            for (int t = 0; t < tokens; t++) {
                Memory.copy(sums + (long) VectorGemm.STRIP_BYTES * t, y + yStride * t + 4L * first, 4L * present);
            }
        }
    }

    /** To a strip from that lane on. */
    private void expand(GgmlType type, long weights, long rowBytes, int rows, int depth, long strip, int lane) {
        MethodHandle expander = expanders.get(type);
        long whole = strip + STRIP_BYTES;
        long scratch = whole + Vectors.LANES * ROW_BYTES;
        int blocks = Math.ceilDiv(depth, type.blockElements());
        for (int first = 0; first < rows; first += Vectors.LANES) {
            int present = Math.min(Vectors.LANES, rows - first);
            long in = weights + rowBytes * first;
            long out = strip + 4L * (lane + first);
            if (expander != null && present == Vectors.LANES) {
                Isolated.call(expander, in, rowBytes, depth, scratch, out);
                continue;
            }
            for (int r = 0; r < Vectors.LANES; r++) {
                long row = whole + ROW_BYTES * r;
                if (r >= present) {
                    Memory.clear(row, ROW_BYTES);
                } else if (expander != null) {
                    Memory.copy(in + rowBytes * r, row, (long) blocks * type.blockBytes());
                } else {
                    kernels.expand(type, in + rowBytes * r, depth, row);
                }
            }
            Isolated.call(expander != null ? expander : transposer, whole, ROW_BYTES, depth, scratch, out);
        }
    }

    /** Rows of {@link LanePacking}. */
    private void expandLanes(
            LaneFormat format, long weights, int firstRow, int rows, int cols, int col, int depth, long strip) {
        int block = col % LaneFormat.COLS / format.elements;
        int unit = col - col % LaneFormat.COLS;
        for (int first = 0; first < rows; first += Vectors.LANES) {
            int row = firstRow + first;
            long group = weights + format.type.byteSize(cols) * row;
            long words = group + format.wordsAt(cols, unit) + (long) Vectors.BYTES * format.words * block;
            long halves = group + format.halvesAt(unit) + 2L * Vectors.LANES * block;
            long scratch = strip + STRIP_BYTES + Vectors.LANES * ROW_BYTES;
            Isolated.call(lanesQ80, words, halves, depth, scratch, strip + 4L * first);
        }
    }

    /** Rows of {@link HalfPacking}. */
    private void expandHalves(
            GgmlType type, long weights, int firstRow, int rows, int cols, int col, int depth, long strip) {
        MethodHandle expander = type == GgmlType.F16 ? lanesF16 : lanesBf16;
        for (int first = 0; first < rows; first += Vectors.LANES) {
            int row = firstRow + first;
            long words = weights + type.byteSize(cols) * row + HalfPacking.STEP_BYTES * (col / 2);
            Isolated.call(expander, words, depth / 2, strip + 4L * first);
        }
    }
}
