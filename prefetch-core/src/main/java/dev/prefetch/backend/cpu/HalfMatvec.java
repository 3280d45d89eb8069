package dev.prefetch.backend.cpu;

import dev.prefetch.gguf.GgmlType;
import java.lang.invoke.MethodHandle;

/**
 * Products of matrices of 16-bit floats with plain rows of activations, a pair of vectors of rows at a time, see
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
                    Isolated.panel(VectorHalves.class, one),
                    Isolated.panel(VectorHalves.class, two),
                    Isolated.panel(VectorHalves.class, four));
        }
    }

    /** So many rows of activations are multiplied here. For more it is worth the time to make floats of the weights first, the sooner the longer that takes. */
    static int fewRows(GgmlType type) {
        if (type == GgmlType.BF16) {
            return 16;
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
        for (int row = 0; row < rows; row += ROWS) {
            int present = Math.min(ROWS, rows - row);
            long pair = weights + rowBytes * row;
            if (!packed || present < ROWS) {
                long copy = packing + HalfPacking.scratchBytes();
                HalfPacking.pack(pair, rowBytes, present, cols, copy, packing);
                pair = copy;
            }
            for (int token = 0; token < count; token += TOKENS) {
                int tokens = Math.min(TOKENS, count - token);
                Memory.clear(scratch, SUM_BYTES * tokens);
                int together = tokens == 1 || tokens == 2 || tokens == 4 ? cols : COLS;
                for (int col = 0; col < cols; col += together) {
                    int width = Math.min(together, cols - col);
                    long q = x + xStride * token + 4L * col;
                    columns(kernels, pair + HalfPacking.STEP_BYTES * (col / 2), width, q, xStride, tokens, scratch);
                }
                for (int t = 0; t < tokens; t++) {
                    long out = y + yStride * (token + t) + 4L * row;
                    if (scaled) {
                        float scale = Memory.getFloat(x + xStride * (token + t) + 4L * cols);
                        VectorElementwise.scale(scratch + SUM_BYTES * t, present, scale, out);
                    } else {
                        Memory.copy(scratch + SUM_BYTES * t, out, 4L * present);
                    }
                }
            }
        }
    }

    private static void columns(Parts kernels, long words, int cols, long x, long xStride, int tokens, long sums) {
        int t = 0;
        while (t < tokens) {
            int left = tokens - t;
            int together = left >= 4 ? 4 : Math.min(2, left);
            MethodHandle kernel = switch (together) {
                case 1 -> kernels.one;
                case 2 -> kernels.two;
                default -> kernels.four;
            };
            Isolated.call(kernel, words, cols / 2, x + xStride * t, Math.toIntExact(xStride), sums + SUM_BYTES * t);
            t += together;
        }
    }
}
