package dev.prefetch.backend.cpu;

import dev.prefetch.gguf.GgmlType;
import java.util.Arrays;
import java.util.EnumMap;
import java.util.Map;

/**
 * Matrix products of one input with several weights, as one parallel region per regime.
 *
 * <p>Decode rows: matrix-vector kernels, row by row over a group of weight rows that stays in the cache, so weights are
 * read from memory once. Prefill rows: panels of weights are expanded to f32 and multiplied with tiles of packed tokens;
 * each token has a vector lane of its own and sums run in ascending order, so the bits of a row's result depend neither on
 * how many rows there are nor on its place among them.
 */
final class MatmulRunner implements AutoCloseable {

    /** Weight bytes that one claim of a thread treats: small enough for the second-level cache and for balance. */
    private static final long GROUP_BYTES = 64 << 10;

    private static final long SMALLEST_GROUP_BYTES = 4 << 10;

    /** Rows and columns of an expanded panel: 48 KiB, which leaves room for a tile of tokens in the cache. */
    private static final int PANEL_ROWS = 8 * Kernels.TILE_ROWS;

    private static final int PANEL_COLS = Kernels.PANEL_COLS;

    /** Tokens per pass: bounds the packed input and keeps the results of a panel in the second-level cache. */
    private static final int PASS_TOKENS = 512;

    /** Prepared rows begin at multiples of this. */
    private static final long ALIGNMENT = 64;

    private final Kernels kernels;
    private final WorkerPool pool;
    private final Scratch packed = new Scratch("packed activations");
    private final Map<ActivationForm, Scratch> prepared = new EnumMap<>(ActivationForm.class);
    private final Scratch[] perWorker;

    /**
     * One product.
     *
     * @param weights address of the first row
     * @param output address of {@code [count x rows]} floats
     */
    record Product(GgmlType type, long weights, long rowBytes, int rows, long output) {}

    MatmulRunner(Kernels kernels, WorkerPool pool) {
        this.kernels = kernels;
        this.pool = pool;
        this.perWorker = new Scratch[pool.threads()];
        Arrays.setAll(perWorker, i -> new Scratch("expanded weights"));
    }

    /** Computes all products of {@code x [count x cols]}, the first {@code decodeRows} rows by matrix-vector kernels. */
    void run(Product[] products, long x, int cols, int decodeRows, int count) {
        if (decodeRows > 0) {
            matvecs(products, x, cols, decodeRows);
        }
        for (int first = decodeRows; first < count; first += PASS_TOKENS) {
            int tokens = Math.min(PASS_TOKENS, count - first);
            long input = pack(x + 4L * cols * first, cols, tokens);
            panels(products, input, cols, first, tokens);
        }
    }

    // decode

    private void matvecs(Product[] products, long x, int cols, int count) {
        long[] activations = new long[products.length];
        long[] strides = new long[products.length];
        Map<ActivationForm, Long> done = new EnumMap<>(ActivationForm.class);
        long totalBytes = 0;
        for (int i = 0; i < products.length; i++) {
            ActivationForm form = kernels.activationForm(products[i].type());
            strides[i] = form == ActivationForm.PLAIN ? 4L * cols : align(kernels.activationBytes(form, cols));
            activations[i] = done.computeIfAbsent(form, f -> prepare(f, x, cols, count));
            totalBytes += products[i].rowBytes() * products[i].rows();
        }
        long groupBytes = Math.clamp(totalBytes / (8L * pool.threads()), SMALLEST_GROUP_BYTES, GROUP_BYTES);
        int[] rowsPerGroup = new int[products.length];
        int[] firstGroup = new int[products.length + 1];
        for (int i = 0; i < products.length; i++) {
            Product product = products[i];
            long rows = Math.max(1, groupBytes / product.rowBytes());
            // Kernels treat four rows at a time where that pays.
            rowsPerGroup[i] = (int) Math.min(product.rows(), (rows + 3) / 4 * 4);
            firstGroup[i + 1] = firstGroup[i] + Math.ceilDiv(product.rows(), rowsPerGroup[i]);
        }
        int groups = firstGroup[products.length];
        boolean alone = totalBytes * count <= 2 * SMALLEST_GROUP_BYTES;
        pool.run(groups, alone ? groups : 1, (from, to, worker) -> {
            int p = 0;
            for (int g = from; g < to; g++) {
                while (g >= firstGroup[p + 1]) {
                    p++;
                }
                int firstRow = (g - firstGroup[p]) * rowsPerGroup[p];
                int rows = Math.min(rowsPerGroup[p], products[p].rows() - firstRow);
                matvecGroup(products[p], firstRow, rows, cols, activations[p], strides[p], count, perWorker[worker]);
            }
        });
    }

    private void matvecGroup(
            Product product,
            int firstRow,
            int rows,
            int cols,
            long activations,
            long activationStride,
            int count,
            Scratch memory) {
        long scratch = memory.ensure(kernels.matvecScratchBytes(product.type(), rows, cols));
        long weights = product.weights() + firstRow * product.rowBytes();
        for (int t = 0; t < count; t++) {
            long y = product.output() + 4L * ((long) t * product.rows() + firstRow);
            kernels.matvec(product.type(), weights, rows, cols, activations + t * activationStride, y, scratch);
        }
    }

    /** Address of the rows in that form. */
    private long prepare(ActivationForm form, long x, int cols, int count) {
        if (form == ActivationForm.PLAIN) {
            return x;
        }
        long stride = align(kernels.activationBytes(form, cols));
        long target = prepared.computeIfAbsent(form, f -> new Scratch("prepared activations"))
                .ensure(stride * count);
        int rowsPerChunk = Math.max(1, (1 << 14) / cols);
        pool.run(count, rowsPerChunk, (from, to, worker) -> {
            for (int t = from; t < to; t++) {
                kernels.prepare(form, x + 4L * cols * t, cols, target + stride * t);
            }
        });
        return target;
    }

    private static long align(long bytes) {
        return (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    }

    // prefill

    /** Packs the tokens in tiles: {@code [tile][cols][TILE_TOKENS]}. */
    private long pack(long x, int cols, int tokens) {
        int tiles = Math.ceilDiv(tokens, Kernels.TILE_TOKENS);
        int stretches = Math.ceilDiv(cols, PANEL_COLS);
        long target = packed.ensure(4L * Kernels.TILE_TOKENS * cols * tiles);
        pool.run(tiles * stretches, 4, (from, to, worker) -> {
            for (int item = from; item < to; item++) {
                int firstToken = item / stretches * Kernels.TILE_TOKENS;
                int firstCol = item % stretches * PANEL_COLS;
                kernels.packTokens(
                        x + 4L * ((long) cols * firstToken + firstCol),
                        4L * cols,
                        Math.min(Kernels.TILE_TOKENS, tokens - firstToken),
                        Math.min(PANEL_COLS, cols - firstCol),
                        target + 4L * ((long) cols * firstToken + (long) firstCol * Kernels.TILE_TOKENS));
            }
        });
        return target;
    }

    private void panels(Product[] products, long input, int cols, int firstToken, int tokens) {
        int[] firstPanel = new int[products.length + 1];
        for (int i = 0; i < products.length; i++) {
            firstPanel[i + 1] = firstPanel[i] + Math.ceilDiv(products[i].rows(), PANEL_ROWS);
        }
        pool.run(firstPanel[products.length], 1, (from, to, worker) -> {
            int p = 0;
            for (int item = from; item < to; item++) {
                while (item >= firstPanel[p + 1]) {
                    p++;
                }
                int firstRow = (item - firstPanel[p]) * PANEL_ROWS;
                panel(products[p], firstRow, input, cols, firstToken, tokens, perWorker[worker]);
            }
        });
    }

    /** Multiplies up to {@link #PANEL_ROWS} weight rows with all packed tokens. */
    private void panel(
            Product product, int firstRow, long input, int cols, int firstToken, int tokens, Scratch memory) {
        int rows = Math.min(PANEL_ROWS, product.rows() - firstRow);
        int rowGroups = Math.ceilDiv(rows, Kernels.TILE_ROWS);
        int tiles = Math.ceilDiv(tokens, Kernels.TILE_TOKENS);
        long panelStride = Kernels.PANEL_ROW_BYTES;
        long sumStride = 4L * Kernels.TILE_TOKENS * tiles;
        long panel = memory.ensure(PANEL_ROWS * (panelStride + sumStride));
        long sums = panel + PANEL_ROWS * panelStride;
        // Rows beyond the last one take part with zeros and are not stored.
        Memory.clear(panel + rows * panelStride, (rowGroups * Kernels.TILE_ROWS - rows) * panelStride);
        for (int col = 0; col < cols; col += PANEL_COLS) {
            int depth = Math.min(PANEL_COLS, cols - col);
            long weights = product.weights()
                    + firstRow * product.rowBytes()
                    + product.type().byteSize(col);
            for (int r = 0; r < rows; r++) {
                kernels.expand(product.type(), weights + r * product.rowBytes(), depth, panel + r * panelStride);
            }
            for (int tile = 0; tile < tiles; tile++) {
                long tokensAt = input + 4L * Kernels.TILE_TOKENS * ((long) tile * cols + col);
                long sumsAt = sums + 4L * Kernels.TILE_TOKENS * tile;
                kernels.multiplyPanel(panel, rowGroups, depth, tokensAt, sumsAt, sumStride, col > 0);
            }
        }
        store(
                sums,
                sumStride,
                rows,
                tokens,
                product.output() + 4L * ((long) firstToken * product.rows() + firstRow),
                4L * product.rows());
    }

    /** Writes the transposed sums: {@code y[t][r] = sums[r][t]}. */
    private static void store(long sums, long sumStride, int rows, int tokens, long y, long yStride) {
        for (int t = 0; t < tokens; t++) {
            for (int r = 0; r < rows; r++) {
                Memory.putFloat(y + t * yStride + 4L * r, Memory.getFloat(sums + r * sumStride + 4L * t));
            }
        }
    }

    @Override
    public void close() {
        packed.close();
        prepared.values().forEach(Scratch::close);
        for (Scratch memory : perWorker) {
            memory.close();
        }
    }
}
