package dev.prefetch.backend.cpu;

import dev.prefetch.gguf.GgmlType;
import java.lang.invoke.MethodHandle;

/**
 * Products of matrices of 16-bit floats with plain rows of activations, two groups of rows at a time, see
 * {@link HalfPacking}. Rows that are not packed are packed on the way.
 */
final class HalfMatvec {

    private static final int ROWS = HalfPacking.ROWS;

    /** Columns that all rows of activations see before the next, where there are more than a kernel takes: they stay in the first-level cache. */
    private static final int COLS = 256;

    /** Rows of activations whose sums are there at the same time. */
    private static final int TOKENS = 16;

    private static final long SUM_BYTES = 4L * ROWS;

    private final Parts f16 = new Parts("f16", "twoF16", "fourF16");
    private final Parts bf16 = new Parts("bf16", "twoBf16", "fourBf16");

    /** The kernels of a format. */
    private record Parts(MethodHandle one, MethodHandle two, MethodHandle four) {

        Parts(String one, String two, String four) {
            this(
                    Isolated.pair(VectorHalves.class, one),
                    Isolated.pair(VectorHalves.class, two),
                    Isolated.pair(VectorHalves.class, four));
        }
    }

    /** So many rows of activations are multiplied here. For more it is worth the time to make floats of the weights first, the sooner the longer that takes. */
    static int fewRows(GgmlType type) {
        if (type == GgmlType.BF16 || Subnormals.FAST) {
            return TOKENS;
        }
        return Vectors.BYTES == 64 ? 8 : 4;
    }

    /** Where subnormal floats are fast, halves are left as floats that are too small by a power of two, and activations make up for it. */
    static ActivationForm activationForm(GgmlType type) {
        return type == GgmlType.F16 && Subnormals.FAST ? ActivationForm.SCALED : ActivationForm.PLAIN;
    }

    /** Scratch bytes that {@link #multiply} needs. */
    static long scratchBytes(int cols) {
        return SUM_BYTES * TOKENS + HalfPacking.scratchBytes() + 2L * ROWS * cols;
    }

    /** See {@link Kernels#matvec}; the activations are in {@link #activationForm}. */
    void multiply(
            GgmlType type,
            long weights,
            boolean packed,
            int rows,
            int apart,
            int cols,
            long x,
            long xStride,
            int count,
            long y,
            long yStride,
            long scratch) {
        Parts kernels = type == GgmlType.F16 ? f16 : bf16;
        boolean scaled = activationForm(type) == ActivationForm.SCALED;
        long rowBytes = 2L * cols;
        long packing = scratch + SUM_BYTES * TOKENS;
        int step = apart > 0 ? Vectors.LANES : ROWS;
        int distance = apart > 0 ? apart : Vectors.LANES;
        for (int row = 0; row < rows; row += step) {
            int present = apart > 0 ? ROWS : Math.min(ROWS, rows - row);
            long group = weights + rowBytes * row;
            long between = rowBytes * distance;
            if (!packed || present < ROWS) {
                long copy = packing + HalfPacking.scratchBytes();
                HalfPacking.pack(group, rowBytes, present, cols, copy, packing);
                group = copy;
            }
            for (int token = 0; token < count; token += TOKENS) {
                int tokens = Math.min(TOKENS, count - token);
                Memory.clear(scratch, SUM_BYTES * tokens);
                int together = tokens == 1 || tokens == 2 || tokens == 4 ? cols : COLS;
                for (int col = 0; col < cols; col += together) {
                    int width = Math.min(together, cols - col);
                    long q = x + xStride * token + 4L * col;
                    long words = group + HalfPacking.STEP_BYTES * (col / 2);
                    columns(kernels, words, between, width, q, xStride, tokens, scratch);
                }
                for (int t = 0; t < tokens; t++) {
                    long out = y + yStride * (token + t) + 4L * row;
                    long sums = scratch + SUM_BYTES * t;
                    float scale = scaled ? Memory.getFloat(x + xStride * (token + t) + 4L * cols) : 1;
                    results(sums, Math.min(present, Vectors.LANES), scaled, scale, out);
                    if (present > Vectors.LANES) {
                        results(sums + Vectors.BYTES, present - Vectors.LANES, scaled, scale, out + 4L * distance);
                    }
                }
            }
        }
    }

    private static void results(long sums, int n, boolean scaled, float scale, long out) {
        if (scaled) {
            VectorElementwise.scale(sums, n, scale, out);
        } else {
            Memory.copy(sums, out, 4L * n);
        }
    }

    private static void columns(
            Parts kernels, long words, long apart, int cols, long x, long xStride, int tokens, long sums) {
        int t = 0;
        while (t < tokens) {
            int left = tokens - t;
            int together = left >= 4 ? 4 : Math.min(2, left);
            MethodHandle kernel = switch (together) {
                case 1 -> kernels.one;
                case 2 -> kernels.two;
                default -> kernels.four;
            };
            Isolated.call(kernel, words, apart, cols / 2, x + xStride * t, xStride, sums + SUM_BYTES * t);
            t += together;
        }
    }
}
