package dev.prefetch.backend.cpu;

import static dev.prefetch.backend.cpu.VectorActivations.TILE_ROWS;

import java.lang.invoke.MethodHandle;
import java.util.EnumMap;
import java.util.Locale;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/**
 * Products of matrices of a {@link LaneFormat} with prepared rows of activations: two groups of rows at a time, and of them 256
 * columns. With many rows of activations these are taken apart once for all. Groups that are not packed are packed on
 * the way, which takes about as long as multiplying them twice.
 */
final class LaneMatvec {

    /** Rows of activations that are multiplied before the next groups: their results stay in the second-level cache. */
    private static final int TOKENS = 512;

    private static final int ROWS = LaneFormat.PAIR_ROWS;

    private static final long SUMS = LaneProducts.SUMS;
    private static final long ELEMENTS = SUMS + LaneProducts.SUM_BYTES;
    /** Where the results of two groups are in the scratch memory, at whose beginning their factors are: {@code [tokens][ROWS]}. */
    static final long RESULTS = ELEMENTS + LaneUnpack.ELEMENT_BYTES;

    private static final long PACKING = RESULTS + (long) TOKENS * ROWS * 4;
    private static final long PAIR = PACKING + LanePacking.SCRATCH_BYTES;

    /**
     * The kernels of a format.
     *
     * @param one for a row alone, to its results
     * @param two for two rows, to sums
     * @param four for four, where they are faster than two times two: to sums, or {@link LaneFormat#fourRowsToResults}
     * @param finish from sums to results
     * @param elements what takes words apart for {@link LaneProducts}, where many rows are multiplied by integers
     */
    private record Parts(
            MethodHandle factors,
            MethodHandle one,
            MethodHandle two,
            @Nullable MethodHandle four,
            MethodHandle finish,
            @Nullable MethodHandle elements) {}

    private final Map<LaneFormat, Parts> parts = new EnumMap<>(LaneFormat.class);
    private final MethodHandle two = Isolated.panel(LaneProducts.class, "two");
    private final MethodHandle four = Isolated.panel(LaneProducts.class, "four");

    LaneMatvec() {
        for (LaneFormat format : LaneFormat.values()) {
            String name = name(format);
            parts.put(
                    format,
                    new Parts(
                            Isolated.strip(LaneUnpack.class, "factors" + name),
                            Isolated.strip(LaneRow.class, name.toLowerCase(Locale.ROOT)),
                            Isolated.strip(LaneRows.class, "two" + name),
                            fourRows(format, "four" + name),
                            Isolated.panel(LaneProducts.class, finish(format)),
                            format.manyRows() ? Isolated.unpack(LaneUnpack.class, "elements" + name) : null));
        }
    }

    private static @Nullable MethodHandle fourRows(LaneFormat format, String name) {
        if (!format.fourRows()) {
            return null;
        }
        return format.fourRowsToResults() ? Isolated.rows(LaneRows.class, name) : Isolated.strip(LaneRows.class, name);
    }

    private static String finish(LaneFormat format) {
        return switch (format) {
            case Q8_0 -> "finishWide";
            case Q4_0 -> "finishBlocks";
            case Q4_K, Q5_K -> "finishWithMinima";
            case Q6_K -> "finishSixteenths";
        };
    }

    /** As in the names of kernels: {@code Q40}, {@code Q4k}. */
    private static String name(LaneFormat format) {
        return format.name().replace("_", "").replace("K", "k");
    }

    /** Scratch bytes that {@link #multiply} needs: room for two groups, and for rows that fill none. */
    static long scratchBytes(int cols) {
        return PAIR + 2 * mostPairBytes(cols);
    }

    /** Bytes of two groups of the largest format. */
    private static long mostPairBytes(int cols) {
        return 2 * LaneFormat.Q8_0.groupBytes(Math.ceilDiv(cols, LaneFormat.Q8_0.elements) * LaneFormat.Q8_0.elements);
    }

    /** See {@link Kernels#matvec}. */
    void multiply(
            LaneFormat format,
            long weights,
            boolean packed,
            int rows,
            int apart,
            int cols,
            long activations,
            int count,
            long y,
            long yStride,
            long scratch) {
        long rowBytes = format.type.byteSize(cols);
        int step = apart > 0 ? Vectors.LANES : ROWS;
        int distance = apart > 0 ? apart : Vectors.LANES;
        for (int row = 0; row < rows; row += step) {
            int present = apart > 0 ? ROWS : Math.min(ROWS, rows - row);
            long group = weights + rowBytes * row;
            long between = rowBytes * distance;
            if (!packed || present < ROWS) {
                pack(format, group, present, cols, scratch);
                group = scratch + PAIR;
            }
            for (int token = 0; token < count; token += TOKENS) {
                int tokens = Math.min(TOKENS, count - token);
                Memory.clear(scratch + RESULTS, 4L * ROWS * tokens);
                if (VectorActivations.hasRecords(format, count)) {
                    long x = activations + VectorActivations.RECORD_BYTES * token;
                    few(format, group, between, cols, x, tokens, count, scratch);
                } else {
                    long x = activations + VectorActivations.laneBytes(format, token);
                    many(format, group, between, cols, x, tokens, count, scratch);
                }
                copyResults(scratch + RESULTS, tokens, present, y + yStride * token + 4L * row, yStride, 4L * distance);
            }
        }
    }

    /**
     * Moves results of two groups, {@code [row of activations][group]}, to where they belong.
     *
     * @param present how many rows of the groups there are
     * @param stride bytes from what one row of activations has to what the next one has
     * @param apart bytes from the first group's to the second one's
     */
    static void copyResults(long results, int tokens, int present, long y, long stride, long apart) {
        for (int t = 0; t < tokens; t++) {
            long from = results + 4L * ROWS * t;
            long to = y + stride * t;
            Memory.copy(from, to, 4L * Math.min(present, Vectors.LANES));
            if (present > Vectors.LANES) {
                Memory.copy(from + Vectors.BYTES, to + apart, 4L * (present - Vectors.LANES));
            }
        }
    }

    /**
     * Two groups with few rows of activations, which all see the packed weights. Results are left in the scratch memory.
     *
     * @param apart bytes from the one group to the other
     */
    private void few(LaneFormat format, long group, long apart, int cols, long x, int tokens, int count, long scratch) {
        Parts kernels = parts.get(format);
        long recordBytes = VectorActivations.laneBytes(format, count);
        long wordsStep = format.wordsStep();
        long halvesStep = format.halvesAt(LaneFormat.COLS);
        long records = x;
        int col = 0;
        while (col < cols) {
            // All that have 256 columns follow each other at the same distances.
            int width = Math.min(LaneFormat.COLS, cols - col);
            int n = width / 4;
            long halves = group + format.halvesAt(col);
            long front = group + format.frontAt(cols, col);
            long words = group + format.wordsAt(cols, col);
            for (; cols - col >= width; col += width) {
                Isolated.call(kernels.factors, front, apart, n, halves, scratch);
                if (count == 1) {
                    Isolated.call(kernels.one, words, apart, n, records, scratch);
                } else {
                    several(format, words, apart, n, records, tokens, scratch);
                }
                halves += halvesStep;
                front += wordsStep;
                words += wordsStep;
                records += recordBytes;
            }
        }
    }

    private void several(LaneFormat format, long words, long apart, int n, long records, int tokens, long scratch) {
        Parts kernels = parts.get(format);
        MethodHandle fourRows = kernels.four;
        int most = fourRows == null ? 2 : TILE_ROWS;
        int first = 0;
        if (fourRows != null && format.fourRowsToResults()) {
            // A rest of one or two is left.
            first = (tokens + 1) / TILE_ROWS * TILE_ROWS;
            if (first > 0) {
                Isolated.call(fourRows, words, apart, n, records, first, scratch, scratch + RESULTS);
            }
        }
        for (int t = first; t < tokens; t += most) {
            int together = Math.min(most, tokens - t);
            long record = records + VectorActivations.RECORD_BYTES * t;
            long results = scratch + RESULTS + 4L * ROWS * t;
            MethodHandle kernel = fourRows == null || together <= 2 ? kernels.two : fourRows;
            Isolated.call(kernel, words, apart, n, record, scratch + SUMS);
            Isolated.call(kernels.finish, scratch, together, VectorActivations.factors(records, t), n, results);
        }
    }

    /** The same with more rows of activations, for which the weights are taken apart once. */
    private void many(
            LaneFormat format, long group, long apart, int cols, long x, int tokens, int count, long scratch) {
        Parts kernels = parts.get(format);
        long tile = x;
        for (int col = 0; col < cols; col += LaneFormat.COLS) {
            int n = Math.min(LaneFormat.COLS, cols - col) / 4;
            long halves = group + format.halvesAt(col);
            long front = group + format.frontAt(cols, col);
            Isolated.call(kernels.factors, front, apart, n, halves, scratch);
            Isolated.call(kernels.elements, group + format.wordsAt(cols, col), apart, n, scratch + ELEMENTS);
            int pairs = 2 * n;
            for (int t = 0; t < tokens; t += TILE_ROWS) {
                int together = Math.min(TILE_ROWS, tokens - t);
                long q = tile + VectorActivations.TILE_BYTES * (t / TILE_ROWS);
                Isolated.call(
                        together <= 2 ? two : four,
                        scratch + ELEMENTS,
                        pairs,
                        q,
                        2 * format.wordsPerSum,
                        scratch + SUMS);
                long factors = q + VectorActivations.TILE_FACTORS;
                Isolated.call(kernels.finish, scratch, together, factors, n, scratch + RESULTS + 4L * ROWS * t);
            }
            tile += VectorActivations.laneBytes(format, count);
        }
    }

    /**
     * Packs so many rows as two groups; where they are too few, the last ones again. They are copied before: one row after the other is
     * read faster than some words of all.
     */
    private static void pack(LaneFormat format, long rows, int present, int cols, long scratch) {
        long rowBytes = format.type.byteSize(cols);
        long copies = scratch + PAIR + mostPairBytes(cols);
        for (int r = 0; r < ROWS; r++) {
            Memory.copy(rows + rowBytes * Math.min(r, present - 1), copies + rowBytes * r, rowBytes);
        }
        for (int group = 0; group < 2; group++) {
            long at = format.groupBytes(cols) * group;
            LanePacking.pack(format, copies + at, rowBytes, cols, scratch + PAIR + at, scratch + PACKING);
        }
    }
}
