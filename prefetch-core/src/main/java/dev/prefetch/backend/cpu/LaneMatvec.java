package dev.prefetch.backend.cpu;

import static dev.prefetch.backend.cpu.VectorActivations.TILE_ROWS;

import java.lang.invoke.MethodHandle;
import java.util.EnumMap;
import java.util.Locale;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/**
 * Products of matrices of a {@link LaneFormat} with prepared rows of activations: a pair of groups of rows at a time, and of it 256
 * columns. With many rows of activations these are taken apart once for all. Pairs that are not packed are packed on
 * the way, which takes about as long as multiplying them twice.
 */
final class LaneMatvec {

    /** Rows of activations that are multiplied before the next pair: their results stay in the second-level cache. */
    private static final int TOKENS = 512;

    private static final int ROWS = LaneFormat.PAIR_ROWS;

    private static final long SUMS = LaneProducts.SUMS;
    private static final long ELEMENTS = SUMS + LaneProducts.SUM_BYTES;
    private static final long RESULTS = ELEMENTS + LaneUnpack.ELEMENT_BYTES;
    private static final long PACKING = RESULTS + (long) TOKENS * ROWS * 4;
    private static final long PAIR = PACKING + LanePacking.SCRATCH_BYTES;

    /**
     * The kernels of a format.
     *
     * @param one for a row alone, to its results
     * @param two for two rows, to sums
     * @param four for four, where they are faster than two times two
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
                            Isolated.unpack(LaneUnpack.class, "factors" + name),
                            Isolated.panel(LaneRow.class, name.toLowerCase(Locale.ROOT)),
                            Isolated.unpack(LaneRows.class, "two" + name),
                            format.fourRows() ? Isolated.unpack(LaneRows.class, "four" + name) : null,
                            Isolated.panel(LaneProducts.class, finish(format)),
                            format.manyRows() ? Isolated.unpack(LaneUnpack.class, "elements" + name) : null));
        }
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

    /** Scratch bytes that {@link #multiply} needs: room for a pair, and for rows that fill none. */
    static long scratchBytes(int cols) {
        return PAIR + 2 * pairBytes(cols);
    }

    /** At most: as many as the largest format has. */
    private static long pairBytes(int cols) {
        return LaneFormat.Q8_0.pairBytes(Math.ceilDiv(cols, LaneFormat.Q8_0.elements) * LaneFormat.Q8_0.elements);
    }

    /** See {@link Kernels#matvec}. */
    void multiply(
            LaneFormat format,
            long weights,
            boolean packed,
            int rows,
            int cols,
            long activations,
            int count,
            long y,
            long yStride,
            long scratch) {
        long rowBytes = format.type.byteSize(cols);
        for (int row = 0; row < rows; row += ROWS) {
            int present = Math.min(ROWS, rows - row);
            long pair = weights + rowBytes * row;
            if (!packed || present < ROWS) {
                pack(format, pair, present, cols, scratch);
                pair = scratch + PAIR;
            }
            for (int token = 0; token < count; token += TOKENS) {
                int tokens = Math.min(TOKENS, count - token);
                Memory.clear(scratch + RESULTS, 4L * ROWS * tokens);
                if (VectorActivations.hasRecords(format, count)) {
                    long x = activations + VectorActivations.RECORD_BYTES * token;
                    few(format, pair, cols, x, tokens, count, scratch);
                } else {
                    long x = activations + VectorActivations.laneBytes(format, token);
                    many(format, pair, cols, x, tokens, count, scratch);
                }
                for (int t = 0; t < tokens; t++) {
                    long out = y + yStride * (token + t) + 4L * row;
                    Memory.copy(scratch + RESULTS + 4L * ROWS * t, out, 4L * present);
                }
            }
        }
    }

    /** A pair with few rows of activations, which all see the packed weights. Results are left in the scratch memory. */
    private void few(LaneFormat format, long pair, int cols, long x, int tokens, int count, long scratch) {
        Parts kernels = parts.get(format);
        long step = format.pairBytes(LaneFormat.COLS);
        long recordBytes = VectorActivations.laneBytes(format, count);
        long at = pair;
        long records = x;
        int left = cols;
        while (left > 0) {
            // Of all that have 256 columns the places are the same.
            int width = Math.min(LaneFormat.COLS, left);
            long halves = format.halvesAfter(width, 0);
            long front = format.frontAfter(width, 0);
            long nextHalves = format.halvesAfter(width, 1);
            long nextFront = format.frontAfter(width, 1);
            long words = format.wordsAfter(width, 0);
            for (; left >= width; left -= width) {
                long nextFactors = scratch + LaneUnpack.FACTOR_BYTES;
                Isolated.call(kernels.factors, at + front, at + halves, width / 4, scratch);
                Isolated.call(kernels.factors, at + nextFront, at + nextHalves, width / 4, nextFactors);
                if (count == 1) {
                    Isolated.call(kernels.one, at + words, width / 4, records, (int) RESULTS, scratch);
                } else {
                    several(kernels, at + words, width / 4, records, tokens, scratch);
                }
                at += step;
                records += recordBytes;
            }
        }
    }

    private static void several(Parts kernels, long from, int words, long records, int tokens, long scratch) {
        int most = kernels.four == null ? 2 : TILE_ROWS;
        for (int t = 0; t < tokens; t += most) {
            int together = Math.min(most, tokens - t);
            MethodHandle kernel = together <= 2 ? kernels.two : kernels.four;
            long record = records + VectorActivations.RECORD_BYTES * t;
            Isolated.call(kernel, from, record, words, scratch + SUMS);
            long factors = VectorActivations.factors(records, t);
            Isolated.call(kernels.finish, scratch, together, factors, words, scratch + RESULTS + 4L * ROWS * t);
        }
    }

    /** The same with more rows of activations, for which the weights are taken apart once. */
    private void many(LaneFormat format, long pair, int cols, long x, int tokens, int count, long scratch) {
        Parts kernels = parts.get(format);
        long step = format.pairBytes(LaneFormat.COLS);
        long at = pair;
        long tile = x;
        for (int left = cols; left > 0; left -= LaneFormat.COLS) {
            int words = Math.min(LaneFormat.COLS, left) / 4;
            for (int group = 0; group < 2; group++) {
                long halves = at + format.halvesAfter(left, group);
                long front = at + format.frontAfter(left, group);
                Isolated.call(kernels.factors, front, halves, words, scratch + LaneUnpack.FACTOR_BYTES * group);
            }
            long from = at + format.wordsAfter(left, 0);
            Isolated.call(kernels.elements, from, at, words, scratch + ELEMENTS);
            int pairs = 2 * words;
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
                Isolated.call(kernels.finish, scratch, together, factors, words, scratch + RESULTS + 4L * ROWS * t);
            }
            at += step;
            tile += VectorActivations.laneBytes(format, count);
        }
    }

    /**
     * Packs so many rows as a pair; where they are too few, the last ones again. They are copied before: one row after the other is
     * read faster than some words of all.
     */
    private static void pack(LaneFormat format, long rows, int present, int cols, long scratch) {
        long rowBytes = format.type.byteSize(cols);
        long copies = scratch + PAIR + pairBytes(cols);
        for (int r = 0; r < ROWS; r++) {
            Memory.copy(rows + rowBytes * Math.min(r, present - 1), copies + rowBytes * r, rowBytes);
        }
        LanePacking.pack(format, copies, rowBytes, cols, scratch + PAIR, scratch + PACKING);
    }
}
