package dev.prefetch.backend.cpu;

import dev.prefetch.gguf.GgmlType;
import java.util.Arrays;

/**
 * Matrix products of one input with several weights, as one parallel region per regime.
 *
 * <p>Which rows of activations go which way, {@link Kernels#matvecRows} says. Matrix-vector kernels take a group of weight rows that stays in the cache, so weights are
 * read from memory once. Otherwise panels of weights are expanded to f32 and multiplied with tiles of packed tokens;
 * every sum is one of its own and runs in ascending order, so the bits of a row's result depend neither on how many rows
 * there are nor on its place among them.
 */
final class MatmulRunner implements AutoCloseable {

    /** Weight bytes that one claim of a thread treats: small enough for the second-level cache and for balance. */
    private static final long GROUP_BYTES = 128 << 10;

    private static final long SMALLEST_GROUP_BYTES = 4 << 10;

    /** Rows that go together: their results fill cache lines, and kernels pack and treat no more at a time. */
    private static final int ROWS_TOGETHER = 32;

    /** Weight rows of a panel: a multiple of those that kernels expand at a time, and of those that they pack together. */
    private static final int PANEL_ROWS = 96;

    /** Columns that a thread packs at a time. */
    private static final int PACKED_COLS = 256;

    /** Tokens per pass: bounds the packed input and keeps the results of a panel in the second-level cache. */
    private static final int PASS_TOKENS = 512;

    /** Fewest tokens for which a thread expands a product's weights by itself. */
    private static final int LEAST_PART_TOKENS = 64;

    /** Prepared rows, and scratch memory of kernels, begin at multiples of this. */
    private static final long ALIGNMENT = 64;

    private final Kernels kernels;
    private final WorkerPool pool;
    private final Scratch packed = new Scratch("packed activations");
    /** By form. */
    private final Scratch[] prepared = new Scratch[ActivationForm.values().length];

    private final Scratch[] perWorker;

    private final Preparation preparation = new Preparation();
    private final Matvecs matvecs = new Matvecs();
    private final Packing packing = new Packing();
    private final Panels panels = new Panels();
    private final Parts parts = new Parts();

    /** The products of the next run, the first {@link #count}. Kept, like the regions, since a token needs many. */
    private Product[] products = {};

    private int count;

    /** One product. */
    private static final class Product {

        private GgmlType type = GgmlType.F32;
        /** Address of the first row. */
        private long weights;

        private boolean packed;

        private long rowBytes;
        private int rows;
        /** Address of the first row of the input, and the bytes between rows. */
        private long input;

        private long inputStride;
        /** Address of the first row of the result, and the bytes between rows. */
        private long output;

        private long outputStride;

        /** How many rows of activations, the first ones, go through matrix-vector kernels. */
        private int matvecRows;

        private ActivationForm form = ActivationForm.PLAIN;
        /** Address of the first row of activations as the kernel wants them, and the bytes between rows. */
        private long activations;

        private long activationStride;
        /** How the rows, or panels, of all products are divided. */
        private int rowsPerItem;

        private int firstItem;

        /** See {@link Kernels#apart}. */
        private int apart;

        /** Items of {@link #rowsPerItem}: with rows that are multiplied together half as many, and one for rows that are left. */
        int items() {
            if (apart == 0) {
                return Math.ceilDiv(rows, rowsPerItem);
            }
            return Math.ceilDiv(apart, rowsPerItem) + (rows > 2 * apart ? 1 : 0);
        }

        /** See {@link Kernels#matmulTokens}. */
        int tileTokens(Kernels kernels, int tokens) {
            return kernels.matmulTokens(type, packed, rows, tokens);
        }

        /** How many of {@link #matvecRows} there are in the pass that begins with that row. */
        int passRows(int first) {
            return Math.clamp(matvecRows - first, 0, PASS_TOKENS);
        }
    }

    MatmulRunner(Kernels kernels, WorkerPool pool) {
        this.kernels = kernels;
        this.pool = pool;
        this.perWorker = new Scratch[pool.threads()];
        Arrays.setAll(prepared, i -> new Scratch("prepared activations"));
        Arrays.setAll(perWorker, i -> new Scratch("expanded weights"));
    }

    /** Forgets the products added so far. */
    void clear() {
        count = 0;
    }

    /**
     * Adds a product to the next run.
     *
     * @param weights address of the first row
     * @param packed see {@link Kernels#packs}
     * @param input address of the first row of the input, {@code inputStride} bytes from the next
     * @param output address of the first row of the result, {@code outputStride} bytes from the next
     */
    void add(
            GgmlType type,
            long weights,
            boolean packed,
            long rowBytes,
            int rows,
            long input,
            long inputStride,
            long output,
            long outputStride) {
        if (count == products.length) {
            products = Arrays.copyOf(products, Math.max(4, 2 * count));
            Arrays.setAll(products, i -> i < count ? products[i] : new Product());
        }
        Product product = products[count++];
        product.type = type;
        product.weights = weights;
        product.packed = packed;
        product.rowBytes = rowBytes;
        product.rows = rows;
        product.input = input;
        product.inputStride = inputStride;
        product.output = output;
        product.outputStride = outputStride;
    }

    /**
     * Computes all products, which have the same input {@code [rows x cols]}, of which the first {@code decodeRows} rows decode.
     */
    void run(int cols, int decodeRows, int rows) {
        matvecs(cols, decodeRows, rows, false);
        // Of some formats all rows go through panels, of others those that do not decode.
        panels(cols, 0, rows);
        if (decodeRows > 0) {
            panels(cols, decodeRows, rows);
        }
    }

    /** Multiplies the rows from {@code firstRow} on with the weights whose panels begin there. */
    private void panels(int cols, int firstRow, int rows) {
        if (!anyInPanels(firstRow, rows)) {
            return;
        }
        for (int first = firstRow; first < rows; first += PASS_TOKENS) {
            int tokens = Math.min(PASS_TOKENS, rows - first);
            Product any = products[0];
            int tile = tileTokens(firstRow, tokens);
            long input = pack(any.input + any.inputStride * first, any.inputStride, cols, tokens, tile);
            panels(input, cols, firstRow, first, tokens, tile);
        }
    }

    /** Tokens of the tiles that serve all products whose panels begin with that row. */
    private int tileTokens(int firstRow, int tokens) {
        int most = 0;
        for (int i = 0; i < count; i++) {
            if (products[i].matvecRows == firstRow) {
                most = Math.max(most, products[i].tileTokens(kernels, tokens));
            }
        }
        return most;
    }

    /** Computes all products, each of an input of its own and of the same weight format: the same bits as one by one. */
    void runApart(int cols, int decodeRows, int rows) {
        matvecs(cols, decodeRows, rows, true);
        int first = count == 0 ? rows : products[0].matvecRows;
        if (first < rows) {
            parts.multiply(cols, first, rows);
        }
    }

    /** Whether any product has panels that begin with that row. */
    private boolean anyInPanels(int firstRow, int rows) {
        for (int i = 0; i < count && firstRow < rows; i++) {
            if (products[i].matvecRows == firstRow) {
                return true;
            }
        }
        return false;
    }

    // matrix-vector kernels

    /**
     * Multiplies the rows that the kernels want to multiply so.
     *
     * @param apart whether every product has an input of its own
     */
    private void matvecs(int cols, int decodeRows, int rows, boolean apart) {
        int most = 0;
        for (int i = 0; i < count; i++) {
            Product product = products[i];
            product.matvecRows = kernels.matvecRows(product.type, cols, decodeRows, rows);
            most = Math.max(most, product.matvecRows);
        }
        for (int first = 0; first < most; first += PASS_TOKENS) {
            matvecPass(cols, first, apart);
        }
    }

    private void matvecPass(int cols, int firstRow, boolean apart) {
        long totalBytes = 0;
        int most = 0;
        for (int i = 0; i < count; i++) {
            Product product = products[i];
            int rows = product.passRows(firstRow);
            if (rows == 0) {
                continue;
            }
            most = Math.max(most, rows);
            product.form = kernels.activationForm(product.type, cols, rows);
            Product same = apart ? product : firstOfForm(product.form, firstRow);
            if (same == product) {
                prepare(product, firstRow, cols, rows, apart ? i : 0, apart ? count : 1);
            } else {
                product.activations = same.activations;
                product.activationStride = same.activationStride;
            }
            totalBytes += product.rowBytes * product.rows;
        }
        long groupBytes = Math.clamp(totalBytes / (8L * pool.threads()), SMALLEST_GROUP_BYTES, GROUP_BYTES);
        int groups = 0;
        for (int i = 0; i < count; i++) {
            Product product = products[i];
            product.apart = kernels.apart(product.type, product.packed, product.rows);
            long perGroup = Math.max(1, groupBytes / product.rowBytes / (product.apart > 0 ? 2 : 1));
            // Kernels treat several rows at a time, and two threads should not write the same cache line.
            product.rowsPerItem = (int) Math.min(product.rows, Math.ceilDiv(perGroup, ROWS_TOGETHER) * ROWS_TOGETHER);
            product.firstItem = groups;
            groups += product.passRows(firstRow) == 0 ? 0 : product.items();
        }
        boolean alone = totalBytes * most <= 2 * SMALLEST_GROUP_BYTES;
        matvecs.cols = cols;
        matvecs.firstRow = firstRow;
        pool.run(groups, alone ? groups : 1, matvecs);
    }

    /** The first product of the pass that wants activations in that form. */
    private Product firstOfForm(ActivationForm form, int firstRow) {
        int i = 0;
        while (products[i].form != form || products[i].passRows(firstRow) == 0) {
            i++;
        }
        return products[i];
    }

    /** The product to which an item belongs, looked for from {@code from} on. */
    private int productOf(int item, int from) {
        int p = from;
        while (p + 1 < count && item >= products[p + 1].firstItem) {
            p++;
        }
        return p;
    }

    private final class Matvecs implements WorkerPool.Body {

        private int cols;
        private int firstRow;

        @Override
        public void run(int from, int to, int worker) {
            int p = 0;
            for (int item = from; item < to; item++) {
                p = productOf(item, p);
                matvecGroup(products[p], item - products[p].firstItem, cols, firstRow, perWorker[worker]);
            }
        }
    }

    private void matvecGroup(Product product, int item, int cols, int firstRow, Scratch memory) {
        int firstWeight = item * product.rowsPerItem;
        int weightRows = Math.min(product.rowsPerItem, product.rows - firstWeight);
        int apart = product.apart;
        if (firstWeight < apart) {
            weightRows = Math.min(weightRows, apart - firstWeight);
        } else if (apart > 0) {
            // What fills no two groups.
            firstWeight = 2 * apart;
            weightRows = product.rows - firstWeight;
            apart = 0;
        }
        kernels.matvec(
                product.type,
                product.weights + firstWeight * product.rowBytes,
                product.packed,
                weightRows,
                apart,
                cols,
                product.activations,
                product.activationStride,
                product.passRows(firstRow),
                product.output + product.outputStride * firstRow + 4L * firstWeight,
                product.outputStride,
                memory.ensure(kernels.matvecScratchBytes(cols)));
    }

    /** Several plain rows are copied as well, for the sake of the distance between them. */
    private static boolean inPlace(ActivationForm form, int count) {
        return form == ActivationForm.PLAIN && count <= 2;
    }

    /** Brings the input of a product into its form, as one of {@code places} that are there at the same time. */
    private void prepare(Product product, int firstRow, int cols, int count, int place, int places) {
        long input = product.input + product.inputStride * firstRow;
        if (inPlace(product.form, count)) {
            product.activations = input;
            product.activationStride = product.inputStride;
            return;
        }
        long bytes = kernels.activationBytes(product.form, cols, count);
        Scratch memory = prepared[product.form.ordinal()];
        long target = memory.ensure(bytes * places) + bytes * place;
        int rowsPerChunk = Math.max(1, (1 << 14) / cols);
        preparation.form = product.form;
        preparation.x = input;
        preparation.xStride = product.inputStride;
        preparation.cols = cols;
        preparation.target = target;
        preparation.count = count;
        pool.run(count, rowsPerChunk, preparation);
        product.activations = target;
        product.activationStride = kernels.activationStride(product.form, cols);
    }

    private final class Preparation implements WorkerPool.Body {

        private ActivationForm form = ActivationForm.PLAIN;
        private long x;
        private long xStride;
        private int cols;
        private long target;
        private int count;

        @Override
        public void run(int from, int to, int worker) {
            for (int t = from; t < to; t++) {
                kernels.prepare(form, x + xStride * t, cols, t, count, target);
            }
        }
    }

    // panels

    /** Packs the tokens in tiles: {@code [tile][cols][tileTokens]}. */
    private long pack(long x, long xStride, int cols, int tokens, int tileTokens) {
        int tiles = Math.ceilDiv(tokens, tileTokens);
        int stretches = Math.ceilDiv(cols, PACKED_COLS);
        packing.x = x;
        packing.xStride = xStride;
        packing.cols = cols;
        packing.tokens = tokens;
        packing.tileTokens = tileTokens;
        packing.stretches = stretches;
        packing.target = packed.ensure(packedBytes(cols, tokens, tileTokens));
        pool.run(tiles * stretches, 4, packing);
        return packing.target;
    }

    private static long packedBytes(int cols, int tokens, int tileTokens) {
        long bytes = 4L * tileTokens * cols * Math.ceilDiv(tokens, tileTokens);
        return Math.ceilDiv(bytes, ALIGNMENT) * ALIGNMENT;
    }

    private final class Packing implements WorkerPool.Body {

        private long x;
        private long xStride;
        private int cols;
        private int tokens;
        private int tileTokens;
        private int stretches;
        private long target;

        @Override
        public void run(int from, int to, int worker) {
            for (int item = from; item < to; item++) {
                int firstToken = item / stretches * tileTokens;
                int firstCol = item % stretches * PACKED_COLS;
                kernels.packTokens(
                        x + xStride * firstToken + 4L * firstCol,
                        xStride,
                        Math.min(tileTokens, tokens - firstToken),
                        tileTokens,
                        Math.min(PACKED_COLS, cols - firstCol),
                        target + 4L * ((long) cols * firstToken + (long) firstCol * tileTokens));
            }
        }
    }

    private void panels(long input, int cols, int firstRow, int firstToken, int tokens, int tileTokens) {
        int items = 0;
        for (int i = 0; i < count; i++) {
            products[i].firstItem = items;
            // All have the same number of rows, of which those of some formats are done.
            items += products[i].matvecRows != firstRow ? 0 : Math.ceilDiv(products[i].rows, PANEL_ROWS);
        }
        panels.input = input;
        panels.cols = cols;
        panels.firstToken = firstToken;
        panels.tokens = tokens;
        panels.tileTokens = tileTokens;
        pool.run(items, 1, panels);
    }

    private final class Panels implements WorkerPool.Body {

        private long input;
        private int cols;
        private int firstToken;
        private int tokens;
        private int tileTokens;

        @Override
        public void run(int from, int to, int worker) {
            int p = 0;
            for (int item = from; item < to; item++) {
                p = productOf(item, p);
                Product product = products[p];
                int firstRow = (item - product.firstItem) * PANEL_ROWS;
                int present = Math.min(PANEL_ROWS, product.rows - firstRow);
                long memory = perWorker[worker].ensure(kernels.matmulScratchBytes(tokens));
                panel(product, firstRow, present, input, cols, firstToken, tokens, tileTokens, memory);
            }
        }
    }

    /** Whole products, or some tokens of them, one after the other by one thread, which packs its own input. */
    private final class Parts implements WorkerPool.Body {

        private int cols;
        private int firstToken;
        private int tokens;
        private int each;
        private int cuts;

        void multiply(int columns, int first, int end) {
            cols = columns;
            firstToken = first;
            tokens = end - first;
            each = Math.min(PASS_TOKENS, tokens);
            while (each > LEAST_PART_TOKENS && (long) count * Math.ceilDiv(tokens, each) < 4L * pool.threads()) {
                each /= 2;
            }
            cuts = Math.ceilDiv(tokens, each);
            pool.run(Math.multiplyExact(count, cuts), 1, this);
        }

        @Override
        public void run(int from, int to, int worker) {
            for (int item = from; item < to; item++) {
                Product product = products[item / cuts];
                int first = item % cuts * each;
                int present = Math.min(each, tokens - first);
                int tile = product.tileTokens(kernels, present);
                long packedBytes = packedBytes(cols, present, tile);
                long input = perWorker[worker].ensure(packedBytes + kernels.matmulScratchBytes(present));
                for (int token = 0; token < present; token += tile) {
                    kernels.packTokens(
                            product.input + product.inputStride * (firstToken + first + token),
                            product.inputStride,
                            Math.min(tile, present - token),
                            tile,
                            cols,
                            input + 4L * cols * token);
                }
                panel(product, 0, product.rows, input, cols, firstToken + first, present, tile, input + packedBytes);
            }
        }
    }

    /**
     * Multiplies some weight rows with packed tokens.
     *
     * @param memory {@link Kernels#matmulScratchBytes}
     */
    private void panel(
            Product product,
            int firstRow,
            int weightRows,
            long input,
            int cols,
            int firstToken,
            int tokens,
            int tileTokens,
            long memory) {
        kernels.matmul(
                product.type,
                product.weights + firstRow * product.rowBytes,
                product.packed,
                weightRows,
                Math.min(PANEL_ROWS, product.rows - firstRow - weightRows),
                cols,
                input,
                tileTokens,
                tokens,
                product.output + product.outputStride * firstToken + 4L * firstRow,
                product.outputStride,
                memory);
    }

    @Override
    public void close() {
        packed.close();
        for (Scratch memory : prepared) {
            memory.close();
        }
        for (Scratch memory : perWorker) {
            memory.close();
        }
    }
}
