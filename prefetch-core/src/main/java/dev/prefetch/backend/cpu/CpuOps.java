package dev.prefetch.backend.cpu;

import static dev.prefetch.backend.OpsChecks.checkCols;
import static dev.prefetch.backend.OpsChecks.checkCount;
import static dev.prefetch.backend.OpsChecks.checkOutputs;
import static dev.prefetch.backend.OpsChecks.checkParts;
import static dev.prefetch.backend.OpsChecks.checkPositive;
import static dev.prefetch.backend.OpsChecks.checkRange;
import static dev.prefetch.backend.OpsChecks.checkRows;
import static dev.prefetch.backend.OpsChecks.checkVector;
import static dev.prefetch.backend.OpsChecks.columns;
import static dev.prefetch.backend.OpsChecks.floats;

import dev.prefetch.backend.AttentionShape;
import dev.prefetch.backend.DeltaShape;
import dev.prefetch.backend.DeviceBuffer;
import dev.prefetch.backend.KvLayer;
import dev.prefetch.backend.Ops;
import dev.prefetch.backend.Rope;
import dev.prefetch.backend.Weight;
import dev.prefetch.gguf.GgmlType;
import java.util.List;
import java.util.Objects;
import org.jspecify.annotations.Nullable;

/**
 * Checks the arguments of every operation and hands addresses to the kernels. This is the only place that stands between
 * a wrong size and a crash of the process, so nothing reaches a kernel unchecked.
 */
final class CpuOps implements Ops {

    /** Elements below which waking the other threads costs more than they save. */
    private static final int PARALLEL_ELEMENTS = 1 << 15;

    /** Columns that are added at a time, for all rows. */
    private static final int COLUMNS_PER_ITEM = 512;

    private final Kernels kernels;
    private final WorkerPool pool;
    private final Runnable awaitPending;
    private final Scratch gainScratch = new Scratch("an expanded vector");
    private final Scratch biasScratch = new Scratch("an expanded vector");
    private final MatmulRunner matmuls;
    private final AttentionRunner attention;
    private final DeltaRunner delta;
    private final RopeTables ropeTables = new RopeTables();
    // The parallel regions, kept because a token needs hundreds: each is filled by its operation before it runs.
    private final Biases biases = new Biases();
    private final Norms norms = new Norms();
    private final LayerNorms layerNorms = new LayerNorms();
    private final Rotations rotations = new Rotations();
    private final Additions additions = new Additions();
    private final Elements elements = new Elements();

    /** Addresses of the pages of the operation that runs. */
    private long[] pageAddresses = {};

    /**
     * @param awaitPending waits for the events that must precede the next operation
     */
    CpuOps(Kernels kernels, WorkerPool pool, Runnable awaitPending) {
        this.kernels = kernels;
        this.pool = pool;
        this.awaitPending = awaitPending;
        this.matmuls = new MatmulRunner(kernels, pool);
        this.attention = new AttentionRunner(kernels, pool);
        this.delta = new DeltaRunner(kernels, pool);
    }

    @Override
    public void embed(Weight table, int[] tokens, int count, DeviceBuffer out) {
        int cols = Math.toIntExact(table.cols());
        checkCount(count, tokens.length, "tokens");
        long target = writable(out, floats(count, cols), "out");
        long source = weight(table);
        long rowBytes = table.type().byteSize(cols);
        checkRows(tokens, count, table.rows());
        awaitPending.run();
        parallelRows(count, cols, (from, to, worker) -> {
            for (int i = from; i < to; i++) {
                kernels.expand(table.type(), source + tokens[i] * rowBytes, cols, target + 4L * cols * i);
            }
        });
    }

    @Override
    public void matmul(Weight weight, DeviceBuffer x, int decodeRows, int count, DeviceBuffer y) {
        int cols = Math.toIntExact(weight.cols());
        long input = input(x, cols, decodeRows, count);
        matmuls.clear();
        addProduct(weight, input, count, y);
        awaitPending.run();
        matmuls.run(cols, decodeRows, count);
    }

    @Override
    public void matmuls(List<Weight> weights, DeviceBuffer x, int decodeRows, int count, List<DeviceBuffer> ys) {
        checkOutputs(weights, ys);
        int cols = Math.toIntExact(weights.getFirst().cols());
        long input = input(x, cols, decodeRows, count);
        matmuls.clear();
        for (int i = 0; i < weights.size(); i++) {
            Weight w = weights.get(i);
            checkCols(w, cols);
            addProduct(w, input, count, ys.get(i));
        }
        awaitPending.run();
        matmuls.run(cols, decodeRows, count);
    }

    @Override
    public void matmulParts(
            Weight all,
            int parts,
            DeviceBuffer x,
            int xWidth,
            int decodeRows,
            int count,
            DeviceBuffer y,
            int yWidth,
            DeviceBuffer partOfX,
            DeviceBuffer partOfY) {
        checkParts(all, parts, xWidth, yWidth);
        int cols = Math.toIntExact(all.cols());
        int rows = Math.toIntExact(all.rows() / parts);
        long input = input(x, Math.multiplyExact(parts, xWidth), decodeRows, count);
        long output = writable(y, floats(count, (long) parts * yWidth), "y");
        long weights = weight(all);
        long rowBytes = all.type().byteSize(cols);
        matmuls.clear();
        for (int part = 0; part < parts; part++) {
            matmuls.add(
                    all.type(),
                    weights + part * rows * rowBytes,
                    false,
                    rowBytes,
                    rows,
                    input + 4L * part * xWidth,
                    4L * parts * xWidth,
                    output + 4L * part * yWidth,
                    4L * parts * yWidth);
        }
        awaitPending.run();
        matmuls.runApart(cols, decodeRows, count);
    }

    private static long input(DeviceBuffer x, int cols, int decodeRows, int count) {
        checkCount(count, Integer.MAX_VALUE, "rows");
        checkCount(decodeRows, count, "rows");
        return readable(x, floats(count, cols), "x");
    }

    private void addProduct(Weight w, long input, int count, DeviceBuffer y) {
        int rows = Math.toIntExact(w.rows());
        long output = writable(y, floats(count, rows), "y");
        matmuls.add(
                w.type(),
                matrix(w),
                w.packed(),
                w.type().byteSize(w.cols()),
                rows,
                input,
                4 * w.cols(),
                output,
                4L * rows);
    }

    @Override
    public void addBias(DeviceBuffer y, int count, @Nullable Weight bias) {
        if (bias == null) {
            return;
        }
        int cols = Math.toIntExact(bias.cols());
        checkCount(count, Integer.MAX_VALUE, "rows");
        long target = writable(y, floats(count, cols), "y");
        weight(bias);
        awaitPending.run();
        long values = vector(bias, cols, "bias");
        biases.target = target;
        biases.values = values;
        biases.cols = cols;
        parallelRows(count, cols, biases);
    }

    private final class Biases implements WorkerPool.Body {

        private long target;
        private long values;
        private int cols;

        @Override
        public void run(int from, int to, int worker) {
            for (int i = from; i < to; i++) {
                kernels.add(target + 4L * cols * i, values, cols);
            }
        }
    }

    @Override
    public void rmsNorm(DeviceBuffer x, int rows, int dim, @Nullable Weight gain, float epsilon, DeviceBuffer out) {
        checkCount(rows, Integer.MAX_VALUE, "rows");
        checkPositive(dim, "dim");
        long source = readable(x, floats(rows, dim), "x");
        long target = writable(out, floats(rows, dim), "out");
        if (gain != null) {
            weight(gain);
        }
        awaitPending.run();
        norms.source = source;
        norms.target = target;
        norms.factors = gain == null ? 0 : vector(gain, dim, "gain");
        norms.dim = dim;
        norms.epsilon = epsilon;
        parallelRows(rows, dim, norms);
    }

    private final class Norms implements WorkerPool.Body {

        private long source;
        private long target;
        private long factors;
        private int dim;
        private float epsilon;

        @Override
        public void run(int from, int to, int worker) {
            for (int i = from; i < to; i++) {
                kernels.rmsNorm(source + 4L * dim * i, dim, factors, epsilon, target + 4L * dim * i);
            }
        }
    }

    @Override
    public void layerNorm(
            DeviceBuffer x, int rows, int dim, Weight gain, Weight bias, float epsilon, DeviceBuffer out) {
        checkCount(rows, Integer.MAX_VALUE, "rows");
        checkPositive(dim, "dim");
        long source = readable(x, floats(rows, dim), "x");
        long target = writable(out, floats(rows, dim), "out");
        weight(gain);
        weight(bias);
        awaitPending.run();
        layerNorms.source = source;
        layerNorms.target = target;
        layerNorms.factors = vector(gain, dim, "gain", gainScratch);
        layerNorms.summands = vector(bias, dim, "bias", biasScratch);
        layerNorms.dim = dim;
        layerNorms.epsilon = epsilon;
        parallelRows(rows, dim, layerNorms);
    }

    private final class LayerNorms implements WorkerPool.Body {

        private long source;
        private long target;
        private long factors;
        private long summands;
        private int dim;
        private float epsilon;

        @Override
        public void run(int from, int to, int worker) {
            for (int i = from; i < to; i++) {
                kernels.layerNorm(source + 4L * dim * i, dim, factors, summands, epsilon, target + 4L * dim * i);
            }
        }
    }

    @Override
    public void rope(DeviceBuffer x, int count, int heads, int headDim, Rope rope, int[] positions) {
        checkCount(count, positions.length, "positions");
        checkPositive(heads, "heads");
        if (headDim < 1 || rope.rotatedDimensions() > headDim) {
            throw new IllegalArgumentException(
                    rope.rotatedDimensions() + " rotated dimensions do not fit a head of " + headDim);
        }
        int rowElements = Math.multiplyExact(heads, headDim);
        long data = writable(x, floats(count, rowElements), "x");
        awaitPending.run();
        int pairs = rope.rotatedDimensions() / 2;
        if (count == 0 || pairs == 0) {
            return;
        }
        rotations.data = data;
        rotations.table = ropeTables.table(rope, positions, count);
        rotations.tableRowBytes = RopeTables.rowBytes(rope);
        rotations.halves = rope.layout() == Rope.Layout.HALVES;
        rotations.pairs = pairs;
        rotations.heads = heads;
        rotations.headDim = headDim;
        parallelRows(count, rowElements, rotations);
    }

    private final class Rotations implements WorkerPool.Body {

        private long data;
        private long table;
        private long tableRowBytes;
        private boolean halves;
        private int pairs;
        private int heads;
        private int headDim;

        @Override
        public void run(int from, int to, int worker) {
            for (int i = from; i < to; i++) {
                long row = data + 4L * heads * headDim * i;
                for (int h = 0; h < heads; h++) {
                    if (halves) {
                        kernels.rotateHalves(row + 4L * headDim * h, pairs, table + tableRowBytes * i);
                    } else {
                        kernels.rotateAdjacent(row + 4L * headDim * h, pairs, table + tableRowBytes * i);
                    }
                }
            }
        }
    }

    @Override
    public void storeKv(
            AttentionShape shape,
            KvLayer cache,
            DeviceBuffer k,
            DeviceBuffer v,
            int firstRow,
            int count,
            int position) {
        checkRange(firstRow, count, position);
        long rows = (long) firstRow + count;
        long keys = readable(k, floats(rows, (long) shape.kvHeads() * shape.keyDim()), "k");
        long values = readable(v, floats(rows, (long) shape.kvHeads() * shape.valueDim()), "v");
        KvPages pages = new KvPages(shape, cache, position, position + count, true, pageAddresses);
        pageAddresses = pages.addresses();
        awaitPending.run();
        int keyDim = shape.keyDim();
        int valueDim = shape.valueDim();
        parallelRows(count, (long) shape.kvHeads() * (keyDim + valueDim), (from, to, worker) -> {
            for (int i = from; i < to; i++) {
                for (int h = 0; h < shape.kvHeads(); h++) {
                    long row = (long) (firstRow + i) * shape.kvHeads() + h;
                    KvEncoder.encode(pages.type(), keys + 4 * row * keyDim, keyDim, pages.key(h, position + i));
                    KvEncoder.encode(pages.type(), values + 4 * row * valueDim, valueDim, pages.value(h, position + i));
                }
            }
        });
    }

    @Override
    public void attention(
            AttentionShape shape,
            KvLayer cache,
            DeviceBuffer q,
            int firstRow,
            int count,
            int position,
            DeviceBuffer out) {
        attention(shape, cache, q, null, firstRow, count, position, out);
    }

    @Override
    public void attentionWithSinks(
            AttentionShape shape,
            KvLayer cache,
            DeviceBuffer q,
            Weight sinks,
            int firstRow,
            int count,
            int position,
            DeviceBuffer out) {
        weight(sinks);
        attention(shape, cache, q, sinks, firstRow, count, position, out);
    }

    private void attention(
            AttentionShape shape,
            KvLayer cache,
            DeviceBuffer q,
            @Nullable Weight sinks,
            int firstRow,
            int count,
            int position,
            DeviceBuffer out) {
        checkRange(firstRow, count, position);
        long rows = (long) firstRow + count;
        long queries = readable(q, floats(rows, (long) shape.heads() * shape.keyDim()), "q");
        long target = writable(out, floats(rows, (long) shape.heads() * shape.valueDim()), "out");
        int first = shape.window() == 0 ? 0 : Math.max(0, position - shape.window() + 1);
        KvPages pages = new KvPages(shape, cache, first, position + count, false, pageAddresses);
        pageAddresses = pages.addresses();
        awaitPending.run();
        if (count == 0) {
            return;
        }
        long queryRow = 4L * shape.heads() * shape.keyDim();
        long outRow = 4L * shape.heads() * shape.valueDim();
        long sinkScores = sinks == null ? 0 : vector(sinks, shape.heads(), "sinks");
        attention.run(
                shape, pages, queries + firstRow * queryRow, sinkScores, count, position, target + firstRow * outRow);
    }

    @Override
    public void swiGlu(DeviceBuffer gate, DeviceBuffer up, long n) {
        long g = writable(gate, floats(1, n), "gate");
        long u = readable(up, floats(1, n), "up");
        awaitPending.run();
        parallelElements((k, x, y, a, b, length) -> k.swiGlu(x, y, length), g, u, 0, 0, n);
    }

    @Override
    public void geGlu(DeviceBuffer gate, DeviceBuffer up, long n) {
        long g = writable(gate, floats(1, n), "gate");
        long u = readable(up, floats(1, n), "up");
        awaitPending.run();
        parallelElements((k, x, y, a, b, length) -> k.geGlu(x, y, length), g, u, 0, 0, n);
    }

    @Override
    public void gelu(DeviceBuffer x, long n) {
        long target = writable(x, floats(1, n), "x");
        awaitPending.run();
        parallelElements((k, at, y, a, b, length) -> k.gelu(at, length), target, 0, 0, 0, n);
    }

    @Override
    public void clampedSwiGlu(DeviceBuffer gate, DeviceBuffer up, float slope, float limit, long n) {
        long g = writable(gate, floats(1, n), "gate");
        long u = readable(up, floats(1, n), "up");
        awaitPending.run();
        parallelElements((k, x, y, a, b, length) -> k.clampedSwiGlu(x, y, a, b, length), g, u, slope, limit, n);
    }

    @Override
    public void sigmoidGate(DeviceBuffer x, DeviceBuffer gate, long n) {
        long target = writable(x, floats(1, n), "x");
        long g = readable(gate, floats(1, n), "gate");
        awaitPending.run();
        parallelElements((k, values, gates, a, b, length) -> k.sigmoidGate(values, gates, length), target, g, 0, 0, n);
    }

    @Override
    public void causalConvolution(
            DeltaShape shape,
            Weight weights,
            DeviceBuffer state,
            long stateOffset,
            DeviceBuffer x,
            int firstRow,
            int count,
            int position,
            DeviceBuffer out) {
        checkRange(firstRow, count, position);
        long rows = (long) firstRow + count;
        long source = readable(x, floats(rows, shape.channels()), "x");
        long target = writable(out, floats(rows, shape.channels()), "out");
        checkPlain(weights, shape.channels(), shape.kernel(), "weights");
        long before = writable(state, stateEnd(stateOffset, shape.convolutionBytes()), "state") + stateOffset;
        awaitPending.run();
        long row = 4L * shape.channels() * firstRow;
        delta.convolve(shape, weight(weights), before, source + row, count, position, target + row);
    }

    @Override
    public void gatedDeltaRule(
            DeltaShape shape,
            float epsilon,
            DeviceBuffer state,
            long stateOffset,
            DeviceBuffer qkv,
            DeviceBuffer alpha,
            DeviceBuffer beta,
            Weight decay,
            Weight decayBias,
            int firstRow,
            int count,
            int position,
            DeviceBuffer out) {
        checkRange(firstRow, count, position);
        long rows = (long) firstRow + count;
        long scoreRow = 4L * shape.valueHeads() * firstRow;
        checkPlain(decay, 1, shape.valueHeads(), "decay");
        checkPlain(decayBias, 1, shape.valueHeads(), "decayBias");
        DeltaRunner.Rule rule = new DeltaRunner.Rule(
                readable(qkv, floats(rows, shape.channels()), "qkv") + 4L * shape.channels() * firstRow,
                readable(alpha, floats(rows, shape.valueHeads()), "alpha") + scoreRow,
                readable(beta, floats(rows, shape.valueHeads()), "beta") + scoreRow,
                weight(decay),
                weight(decayBias),
                writable(state, stateEnd(stateOffset, shape.matrixBytes()), "state") + stateOffset,
                writable(out, floats(rows, shape.valueDim()), "out") + 4L * shape.valueDim() * firstRow);
        awaitPending.run();
        delta.rule(shape, epsilon, rule, count, position);
    }

    private static long stateEnd(long offset, long bytes) {
        if (offset < 0) {
            throw new IndexOutOfBoundsException("offset " + offset + " of a state is negative");
        }
        return Math.addExact(offset, bytes);
    }

    private static void checkPlain(Weight weight, int rows, int cols, String what) {
        if (weight.type() != GgmlType.F32 || weight.rows() != rows || weight.cols() != cols) {
            throw new IllegalArgumentException(what + " must be " + rows + " x " + cols + " of F32 but is "
                    + weight.rows() + " x " + weight.cols() + " of " + weight.type());
        }
    }

    @Override
    public void scale(DeviceBuffer x, float factor, long n) {
        long target = writable(x, floats(1, n), "x");
        awaitPending.run();
        parallelElements((k, at, y, a, b, length) -> k.scale(at, (int) length, a, at), target, 0, factor, 0, n);
    }

    @Override
    public void softCap(DeviceBuffer x, float cap, long n) {
        if (!(cap > 0)) {
            throw new IllegalArgumentException("cap must be positive but was " + cap);
        }
        long target = writable(x, floats(1, n), "x");
        awaitPending.run();
        parallelElements((k, at, y, a, b, length) -> k.softCap(at, (int) length, a), target, 0, cap, 0, n);
    }

    @Override
    public void add(DeviceBuffer x, DeviceBuffer y, long n) {
        long target = writable(x, floats(1, n), "x");
        long source = readable(y, floats(1, n), "y");
        awaitPending.run();
        parallelElements((k, at, from, a, b, length) -> k.add(at, from, length), target, source, 0, 0, n);
    }

    @Override
    public void gatherRows(DeviceBuffer x, int[] rows, int count, int dim, DeviceBuffer out) {
        checkCount(count, rows.length, "rows");
        checkPositive(dim, "dim");
        long target = writable(out, floats(count, dim), "out");
        long rowBytes = 4L * dim;
        long available = x.byteSize() / rowBytes;
        checkRows(rows, count, available);
        long source = readable(x, 0, "x");
        awaitPending.run();
        for (int i = 0; i < count; i++) {
            Memory.copy(source + rows[i] * rowBytes, target + i * rowBytes, rowBytes);
        }
    }

    @Override
    public void copyColumns(
            DeviceBuffer source,
            long sourceOffset,
            int sourceStride,
            DeviceBuffer target,
            long targetOffset,
            int targetStride,
            int width,
            int rows) {
        long from = readable(source, columns(sourceOffset, sourceStride, width, rows), "source");
        long to = writable(target, columns(targetOffset, targetStride, width, rows), "target");
        if (rows == 0 || width == 0) {
            return;
        }
        awaitPending.run();
        for (int i = 0; i < rows; i++) {
            Memory.copy(
                    from + 4 * (sourceOffset + (long) sourceStride * i),
                    to + 4 * (targetOffset + (long) targetStride * i),
                    4L * width);
        }
    }

    @Override
    public void copy(DeviceBuffer source, long sourceOffset, DeviceBuffer target, long targetOffset, long bytes) {
        Objects.checkFromIndexSize(sourceOffset, bytes, source.byteSize());
        Objects.checkFromIndexSize(targetOffset, bytes, target.byteSize());
        long from = readable(source, bytes, "source");
        long to = writable(target, bytes, "target");
        awaitPending.run();
        Memory.copy(from + sourceOffset, to + targetOffset, bytes);
    }

    @Override
    public void scatterAddRows(DeviceBuffer x, int[] rows, float[] factors, int count, int dim, DeviceBuffer target) {
        checkCount(count, Math.min(rows.length, factors.length), "rows and factors");
        checkPositive(dim, "dim");
        long source = readable(x, floats(count, dim), "x");
        long rowBytes = 4L * dim;
        long available = target.byteSize() / rowBytes;
        checkRows(rows, count, available);
        long sums = writable(target, 0, "target");
        awaitPending.run();
        // By columns, because rows may repeat and are added in order.
        int itemsPerChunk = Math.max(1, PARALLEL_ELEMENTS / Math.max(1, COLUMNS_PER_ITEM * count));
        additions.source = source;
        additions.sums = sums;
        additions.rows = rows;
        additions.factors = factors;
        additions.count = count;
        additions.dim = dim;
        pool.run(Math.ceilDiv(dim, COLUMNS_PER_ITEM), itemsPerChunk, additions);
    }

    private final class Additions implements WorkerPool.Body {

        private long source;
        private long sums;
        private int[] rows = {};
        private float[] factors = {};
        private int count;
        private int dim;

        @Override
        public void run(int from, int to, int worker) {
            long rowBytes = 4L * dim;
            int first = from * COLUMNS_PER_ITEM;
            int columns = Math.min(dim, to * COLUMNS_PER_ITEM) - first;
            for (int i = 0; i < count; i++) {
                kernels.addScaled(
                        sums + rows[i] * rowBytes + 4L * first,
                        source + i * rowBytes + 4L * first,
                        factors[i],
                        columns);
            }
        }
    }

    void close() {
        gainScratch.close();
        biasScratch.close();
        matmuls.close();
        attention.close();
        delta.close();
        ropeTables.close();
    }

    // checks

    static CpuBuffer buffer(DeviceBuffer buffer, String what) {
        if (buffer instanceof CpuBuffer cpuBuffer) {
            return cpuBuffer;
        }
        throw new IllegalArgumentException(what + " is not a buffer of the CPU device: " + buffer);
    }

    private static long readable(DeviceBuffer buffer, long bytes, String what) {
        CpuBuffer cpuBuffer = buffer(buffer, what);
        if (bytes > cpuBuffer.byteSize()) {
            throw new IndexOutOfBoundsException(
                    what + " needs " + bytes + " bytes but its buffer has " + cpuBuffer.byteSize());
        }
        return cpuBuffer.address();
    }

    private static long writable(DeviceBuffer buffer, long bytes, String what) {
        long address = readable(buffer, bytes, what);
        if (buffer(buffer, what).isReadOnly()) {
            throw new IllegalArgumentException(what + " is a read-only buffer");
        }
        return address;
    }

    /** Address of a weight in the order of the file: only products with whole matrices know another. */
    private static long weight(Weight weight) {
        if (weight.packed()) {
            throw new IllegalArgumentException("a packed weight can only be multiplied as a whole: " + weight);
        }
        return matrix(weight);
    }

    /** Address of a weight; that it lies inside its buffer was checked when the record was made. */
    private static long matrix(Weight weight) {
        if (!ScalarDequantizer.TYPES.contains(weight.type())) {
            throw ScalarDequantizer.unsupported(weight.type());
        }
        return buffer(weight.buffer(), "weight").address() + weight.offset();
    }

    /** A vector as f32: in place, or expanded. */
    private long vector(Weight vector, int dim, String what) {
        return vector(vector, dim, what, gainScratch);
    }

    private long vector(Weight vector, int dim, String what, Scratch scratch) {
        checkVector(vector, dim, what);
        long address = weight(vector);
        if (vector.type() == GgmlType.F32) {
            return address;
        }
        long expanded = scratch.ensure(4L * dim);
        kernels.expand(vector.type(), address, dim, expanded);
        return expanded;
    }

    // distribution

    private void parallelRows(int rows, long elementsPerRow, WorkerPool.Body body) {
        long perChunk = Math.max(1, PARALLEL_ELEMENTS / Math.max(1, elementsPerRow));
        pool.run(rows, (int) Math.min(perChunk, Integer.MAX_VALUE), body);
    }

    /**
     * A kernel on {@code n} elements from the addresses {@code x} and {@code y} on, with up to two numbers. Must capture
     * nothing, or every operation would make an object.
     */
    private interface ElementKernel {
        void run(Kernels kernels, long x, long y, float a, float b, long n);
    }

    private void parallelElements(ElementKernel kernel, long x, long y, float a, float b, long n) {
        elements.kernel = kernel;
        elements.x = x;
        elements.y = y;
        elements.a = a;
        elements.b = b;
        elements.n = n;
        pool.run(Math.toIntExact(Math.ceilDiv(n, (long) PARALLEL_ELEMENTS)), 1, elements);
    }

    private final class Elements implements WorkerPool.Body {

        private ElementKernel kernel = (k, x, y, a, b, n) -> {};
        private long x;
        private long y;
        private float a;
        private float b;
        private long n;

        @Override
        public void run(int from, int to, int worker) {
            long first = (long) from * PARALLEL_ELEMENTS;
            long length = Math.min(n, (long) to * PARALLEL_ELEMENTS) - first;
            kernel.run(kernels, x + 4 * first, y + 4 * first, a, b, length);
        }
    }
}
