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
    private static final long GROUP_BYTES = 128 << 10;

    private static final long SMALLEST_GROUP_BYTES = 4 << 10;

    /** Rows and columns of an expanded panel: 48 KiB, which leaves room for a tile of tokens in the cache. */
    private static final int PANEL_ROWS = 48;

    private static final int PANEL_COLS = Kernels.PANEL_COLS;

    /** Tokens per pass: bounds the packed input and keeps the results of a panel in the second-level cache. */
    private static final int PASS_TOKENS = 512;

    /** Prepared rows begin at multiples of this. */
    private static final long ALIGNMENT = 64;

    private final Kernels kernels;
    private final int tileTokens;
    private final int tileRows;
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
        this.tileTokens = kernels.tileTokens();
        this.tileRows = kernels.tileRows();
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
            strides[i] = inPlace(form, count) ? 4L * cols : preparedStride(form, cols);
            activations[i] = done.computeIfAbsent(form, f -> prepare(f, x, cols, count));
            totalBytes += products[i].rowBytes() * products[i].rows();
        }
        long groupBytes = Math.clamp(totalBytes / (8L * pool.threads()), SMALLEST_GROUP_BYTES, GROUP_BYTES);
        int[] rowsPerGroup = new int[products.length];
        int[] firstGroup = new int[products.length + 1];
        for (int i = 0; i < products.length; i++) {
            Product product = products[i];
            long rows = Math.max(1, groupBytes / product.rowBytes());
            // Kernels treat several rows at a time.
            rowsPerGroup[i] = (int) Math.min(product.rows(), (rows + 7) / 8 * 8);
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
        kernels.matvec(
                product.type(),
                product.weights() + firstRow * product.rowBytes(),
                rows,
                cols,
                activations,
                activationStride,
                count,
                product.output() + 4L * firstRow,
                4L * product.rows(),
                memory.ensure(kernels.matvecScratchBytes(cols)));
    }

    /** Several plain rows are copied as well, for the sake of {@link #preparedStride}. */
    private static boolean inPlace(ActivationForm form, int count) {
        return form == ActivationForm.PLAIN && count <= 2;
    }

    /** Address of the rows in that form. */
    private long prepare(ActivationForm form, long x, int cols, int count) {
        if (inPlace(form, count)) {
            return x;
        }
        long stride = preparedStride(form, cols);
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

    /** Bytes between prepared rows: not a power of two, or the rows would compete for the same places of the cache. */
    private long preparedStride(ActivationForm form, int cols) {
        return Math.ceilDiv(kernels.activationBytes(form, cols), ALIGNMENT) * ALIGNMENT + ALIGNMENT;
    }

    // prefill

    /** Packs the tokens in tiles: {@code [tile][cols][tileTokens]}. */
    private long pack(long x, int cols, int tokens) {
        int tiles = Math.ceilDiv(tokens, tileTokens);
        int stretches = Math.ceilDiv(cols, PANEL_COLS);
        long target = packed.ensure(4L * tileTokens * cols * tiles);
        pool.run(tiles * stretches, 4, (from, to, worker) -> {
            for (int item = from; item < to; item++) {
                int firstToken = item / stretches * tileTokens;
                int firstCol = item % stretches * PANEL_COLS;
                kernels.packTokens(
                        x + 4L * ((long) cols * firstToken + firstCol),
                        4L * cols,
                        Math.min(tileTokens, tokens - firstToken),
                        Math.min(PANEL_COLS, cols - firstCol),
                        target + 4L * ((long) cols * firstToken + (long) firstCol * tileTokens));
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
        int rowGroups = Math.ceilDiv(rows, tileRows);
        int tiles = Math.ceilDiv(tokens, tileTokens);
        long panelStride = Kernels.PANEL_ROW_BYTES;
        // Not a power of two, or the rows would compete for the same places of the cache.
        long sumStride = 4L * tileTokens * tiles + 64;
        long panel = memory.ensure(PANEL_ROWS * (panelStride + sumStride));
        long sums = panel + PANEL_ROWS * panelStride;
        // Rows beyond the last one take part with zeros and are not stored.
        Memory.clear(panel + rows * panelStride, (rowGroups * tileRows - rows) * panelStride);
        for (int col = 0; col < cols; col += PANEL_COLS) {
            int depth = Math.min(PANEL_COLS, cols - col);
            long weights = product.weights()
                    + firstRow * product.rowBytes()
                    + product.type().byteSize(col);
            for (int r = 0; r < rows; r++) {
                kernels.expand(product.type(), weights + r * product.rowBytes(), depth, panel + r * panelStride);
            }
            for (int tile = 0; tile < tiles; tile++) {
                long tokensAt = input + 4L * tileTokens * ((long) tile * cols + col);
                long sumsAt = sums + 4L * tileTokens * tile;
                int present = Math.min(tileTokens, tokens - tileTokens * tile);
                kernels.multiplyPanel(panel, rowGroups, depth, tokensAt, present, sumsAt, sumStride, col > 0);
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

    /** Writes the transposed sums: {@code y[t][r] = sums[r][t]}, four tokens at a time, so that few lines are in use. */
    private static void store(long sums, long sumStride, int rows, int tokens, long y, long yStride) {
        int t = 0;
        for (; t + 4 <= tokens; t += 4) {
            for (int r = 0; r < rows; r++) {
                long from = Memory.known(sums + r * sumStride + 4L * t);
                long to = Memory.known(y + t * yStride + 4L * r);
                Memory.putFloat(to, Memory.getFloat(from));
                Memory.putFloat(Memory.known(to + yStride), Memory.getFloat(from + 4));
                Memory.putFloat(Memory.known(to + 2 * yStride), Memory.getFloat(from + 8));
                Memory.putFloat(Memory.known(to + 3 * yStride), Memory.getFloat(from + 12));
            }
        }
        for (; t < tokens; t++) {
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
