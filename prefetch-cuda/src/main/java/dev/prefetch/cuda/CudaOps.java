package dev.prefetch.cuda;

import static dev.prefetch.backend.OpsChecks.checkCols;
import static dev.prefetch.backend.OpsChecks.checkCount;
import static dev.prefetch.backend.OpsChecks.checkOutputs;
import static dev.prefetch.backend.OpsChecks.checkPositive;
import static dev.prefetch.backend.OpsChecks.checkRange;
import static dev.prefetch.backend.OpsChecks.checkRows;
import static dev.prefetch.backend.OpsChecks.checkVector;
import static dev.prefetch.backend.OpsChecks.columns;
import static dev.prefetch.backend.OpsChecks.floats;

import dev.prefetch.backend.AttentionShape;
import dev.prefetch.backend.DeviceBuffer;
import dev.prefetch.backend.KvLayer;
import dev.prefetch.backend.Ops;
import dev.prefetch.backend.Rope;
import dev.prefetch.backend.Weight;
import dev.prefetch.cuda.KernelModules.Kernel;
import dev.prefetch.gguf.GgmlType;
import java.util.List;
import java.util.Objects;
import jcuda.driver.CUstream;
import org.jspecify.annotations.Nullable;

/**
 * Checks the arguments of every operation and launches the kernels. This is the only place that stands between a wrong size
 * and a fault of the device, so nothing reaches a kernel unchecked.
 */
final class CudaOps implements Ops {

    /** Most rows of activations for the tile of 32; beyond, one of 128 reads the weights less often. */
    private static final int NARROW_TOKENS = 64;

    private static final int TILE_ROWS = 64;
    static final int MATVEC_ROWS = 2;
    private static final int EMBED_ELEMENTS = 8 * 128;
    private static final int LARGEST_ELEMENT_GRID = 4096;

    private final CudaDevice device;
    private final KernelModules kernels;
    private final Launcher launcher;
    private final ArgumentRing ring;
    private final RopeTables ropeTables;
    private final AttentionLauncher attention;
    private final CudaExpertOps experts;
    private final DeviceScratch vectorScratch;
    private final DeviceScratch halfScratch;

    CudaOps(CudaDevice device, CUstream stream) {
        this.device = device;
        kernels = device.kernels();
        launcher = new Launcher(device.context(), stream);
        ring = new ArgumentRing(device, stream);
        ropeTables = new RopeTables(device, stream, ring, launcher);
        attention = new AttentionLauncher(device, stream, ring, launcher);
        experts = new CudaExpertOps(this, kernels, launcher, ring);
        vectorScratch = new DeviceScratch(device, stream, "an expanded vector");
        halfScratch = new DeviceScratch(device, stream, "activations in half precision");
    }

    @Override
    public void embed(Weight table, int[] tokens, int count, DeviceBuffer out) {
        int cols = Math.toIntExact(table.cols());
        checkCount(count, tokens.length, "tokens");
        long target = address(out, floats(count, cols), "out");
        long source = weight(table);
        checkRows(tokens, count, table.rows());
        if (count > 0) {
            expand(table.type(), source, ring.place(tokens, count), count, cols, target);
        }
    }

    /** Rows of a weight as f32; {@code tokens} is the address of their numbers, or 0 for the first ones. */
    private void expand(GgmlType type, long source, long tokens, int count, int cols, long target) {
        launcher.begin().arg(source).arg(tokens).arg(target).arg(cols).arg(wide(type, source, cols));
        launcher.launch(
                Objects.requireNonNull(kernels.embed.get(type)), Math.ceilDiv(cols, EMBED_ELEMENTS), count, 128);
    }

    @Override
    public void matmul(Weight weight, DeviceBuffer x, int decodeRows, int count, DeviceBuffer y) {
        matmuls(List.of(weight), x, decodeRows, count, List.of(y));
    }

    @Override
    public void matmuls(List<Weight> weights, DeviceBuffer x, int decodeRows, int count, List<DeviceBuffer> ys) {
        checkOutputs(weights, ys);
        int cols = Math.toIntExact(weights.getFirst().cols());
        checkCount(count, Integer.MAX_VALUE, "rows");
        checkCount(decodeRows, count, "rows");
        long input = address(x, floats(count, cols), "x");
        boolean half = false;
        for (int i = 0; i < weights.size(); i++) {
            Weight w = weights.get(i);
            checkCols(w, cols);
            address(ys.get(i), floats(count, Math.toIntExact(w.rows())), "y");
            weight(w);
            half |= w.type() != GgmlType.F32;
        }
        for (int i = 0; i < weights.size() && decodeRows > 0; i++) {
            matvec(weights.get(i), input, cols, decodeRows, ys.get(i));
        }
        int tokens = count - decodeRows;
        if (tokens == 0) {
            return;
        }
        long rest = input + 4L * cols * decodeRows;
        long halves = half ? toHalf(rest, cols, tokens) : 0;
        for (int i = 0; i < weights.size(); i++) {
            Weight w = weights.get(i);
            matmul(w, rest, halves, cols, tokens, own(ys.get(i), "y").address() + 4L * w.rows() * decodeRows);
        }
    }

    private void matvec(Weight w, long x, int cols, int tokens, DeviceBuffer y) {
        long source = weight(w);
        int rows = (int) w.rows();
        launcher.begin()
                .arg(source)
                .arg(x)
                .arg(own(y, "y").address())
                .arg(rows)
                .arg(cols)
                .arg(tokens);
        launcher.arg(wide(w.type(), source, cols));
        Kernel kernel = (tokens == 1 ? kernels.matvecOne : kernels.matvecFour).get(w.type());
        int threads = matvecThreads(cols);
        launcher.launch(
                Objects.requireNonNull(kernel), Math.ceilDiv(rows, MATVEC_ROWS), Math.ceilDiv(tokens, 4), threads);
    }

    /** Threads of a block: by the length of a row alone, which decides the order of its sum. */
    static int matvecThreads(int cols) {
        return cols <= 8 * 32 ? 32 : cols <= 8 * 64 ? 64 : 128;
    }

    /** Columns of half-precision rows: whole tiles. */
    private static long padded(long cols) {
        return Math.ceilDiv(cols, 64L) * 64;
    }

    /** Address of the rows in half precision, behind their scales. */
    private long toHalf(long x, int cols, int tokens) {
        int padded = (int) padded(cols);
        long scales = halfScratch.ensure(scaleBytes(tokens) + 2L * padded * tokens);
        launcher.begin()
                .arg(x)
                .arg(scales + scaleBytes(tokens))
                .arg(scales)
                .arg(cols)
                .arg(padded);
        launcher.launch(kernels.toHalf, tokens, 1, 256);
        return scales;
    }

    private static long scaleBytes(int tokens) {
        return Math.ceilDiv(4L * tokens, 256L) * 256;
    }

    private void matmul(Weight w, long x, long halves, int cols, int tokens, long y) {
        long source = weight(w);
        int rows = (int) w.rows();
        if (w.type() == GgmlType.F32) {
            launcher.begin().arg(source).arg(x).arg(y).arg(rows).arg(cols).arg(tokens);
            launcher.launch(kernels.matmulF32, Math.ceilDiv(rows, 32), Math.ceilDiv(tokens, 32), 256);
            return;
        }
        launcher.begin()
                .arg(source)
                .arg(halves + scaleBytes(tokens))
                .arg(halves)
                .arg(y);
        launcher.arg(rows).arg(cols).arg((int) padded(cols)).arg(tokens).arg(wide(w.type(), source, cols));
        boolean narrow = tokens <= NARROW_TOKENS;
        int tile = narrow ? 32 : 128;
        Kernel kernel = (narrow ? kernels.matmulNarrow : kernels.matmulWide).get(w.type());
        launcher.launch(Objects.requireNonNull(kernel), Math.ceilDiv(rows, TILE_ROWS), Math.ceilDiv(tokens, tile), 256);
    }

    @Override
    public void addBias(DeviceBuffer y, int count, @Nullable Weight bias) {
        if (bias == null) {
            return;
        }
        int cols = Math.toIntExact(bias.cols());
        checkCount(count, Integer.MAX_VALUE, "rows");
        long target = address(y, floats(count, cols), "y");
        long values = vector(bias, cols, "bias");
        if (count > 0) {
            launcher.begin().arg(target).arg(values).arg(cols);
            launcher.launch(kernels.addBias, Math.ceilDiv(cols, 256), count, 256);
        }
    }

    @Override
    public void rmsNorm(DeviceBuffer x, int rows, int dim, @Nullable Weight gain, float epsilon, DeviceBuffer out) {
        checkCount(rows, Integer.MAX_VALUE, "rows");
        checkPositive(dim, "dim");
        long source = address(x, floats(rows, dim), "x");
        long target = address(out, floats(rows, dim), "out");
        long factors = gain == null ? 0 : vector(gain, dim, "gain");
        if (rows > 0) {
            launcher.begin().arg(source).arg(factors).arg(target).arg(dim).arg(epsilon);
            launcher.launch(kernels.rmsNorm, rows, 1, dim <= 256 ? 32 : 256);
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
        long data = address(x, floats(count, Math.multiplyExact(heads, headDim)), "x");
        int pairs = rope.rotatedDimensions() / 2;
        if (count == 0 || pairs == 0) {
            return;
        }
        long table = ropeTables.table(rope, positions, count);
        launcher.begin().arg(data).arg(table).arg(heads).arg(headDim).arg(pairs);
        launcher.arg(rope.layout() == Rope.Layout.ADJACENT ? 1 : 0);
        launcher.launch(kernels.rope, Math.ceilDiv(heads * pairs, 128), count, 128);
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
        long keyRow = (long) shape.kvHeads() * shape.keyDim();
        long valueRow = (long) shape.kvHeads() * shape.valueDim();
        long keys = address(k, floats(rows, keyRow), "k") + 4 * keyRow * firstRow;
        long values = address(v, floats(rows, valueRow), "v") + 4 * valueRow * firstRow;
        attention.store(shape, cache, keys, values, count, position);
    }

    /** See {@link dev.prefetch.backend.Device#supportsAttention}. */
    boolean supportsAttention(AttentionShape shape) {
        return attention.supports(shape);
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
        long queryRow = (long) shape.heads() * shape.keyDim();
        long outRow = (long) shape.heads() * shape.valueDim();
        long queries = address(q, floats(rows, queryRow), "q") + 4 * queryRow * firstRow;
        long target = address(out, floats(rows, outRow), "out") + 4 * outRow * firstRow;
        long sinkScores = sinks == null ? 0 : vector(sinks, shape.heads(), "sinks");
        attention.run(shape, cache, queries, sinkScores, count, position, target);
    }

    @Override
    public void swiGlu(DeviceBuffer gate, DeviceBuffer up, long n) {
        long g = address(gate, floats(1, n), "gate");
        long u = address(up, floats(1, n), "up");
        launcher.begin().arg(g).arg(u).arg(n);
        launchElements(kernels.swiGlu, n);
    }

    @Override
    public void geGlu(DeviceBuffer gate, DeviceBuffer up, long n) {
        long g = address(gate, floats(1, n), "gate");
        long u = address(up, floats(1, n), "up");
        launcher.begin().arg(g).arg(u).arg(n);
        launchElements(kernels.geGlu, n);
    }

    @Override
    public void clampedSwiGlu(DeviceBuffer gate, DeviceBuffer up, float slope, float limit, long n) {
        long g = address(gate, floats(1, n), "gate");
        long u = address(up, floats(1, n), "up");
        launcher.begin().arg(g).arg(u).arg(slope).arg(limit).arg(n);
        launchElements(kernels.clampedSwiGlu, n);
    }

    @Override
    public void scale(DeviceBuffer x, float factor, long n) {
        long target = address(x, floats(1, n), "x");
        launcher.begin().arg(target).arg(factor).arg(n);
        launchElements(kernels.scale, n);
    }

    @Override
    public void softCap(DeviceBuffer x, float cap, long n) {
        if (!(cap > 0)) {
            throw new IllegalArgumentException("cap must be positive but was " + cap);
        }
        long target = address(x, floats(1, n), "x");
        launcher.begin().arg(target).arg(cap).arg(n);
        launchElements(kernels.softCap, n);
    }

    @Override
    public void add(DeviceBuffer x, DeviceBuffer y, long n) {
        long target = address(x, floats(1, n), "x");
        long source = address(y, floats(1, n), "y");
        launcher.begin().arg(target).arg(source).arg(n);
        launchElements(kernels.add, n);
    }

    private void launchElements(Kernel kernel, long n) {
        if (n > 0) {
            launcher.launch(kernel, Math.min(Math.ceilDiv(n, 256L), LARGEST_ELEMENT_GRID), 1, 256);
        }
    }

    @Override
    public void gatherRows(DeviceBuffer x, int[] rows, int count, int dim, DeviceBuffer out) {
        checkCount(count, rows.length, "rows");
        checkPositive(dim, "dim");
        long target = address(out, floats(count, dim), "out");
        long source = address(x, 0, "x");
        checkRows(rows, count, x.byteSize() / (4L * dim));
        if (count > 0) {
            launcher.begin()
                    .arg(source)
                    .arg(ring.place(rows, count))
                    .arg(target)
                    .arg(dim);
            launcher.launch(kernels.gatherRows, Math.ceilDiv(dim, 256), count, 256);
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
        long from = address(source, columns(sourceOffset, sourceStride, width, rows), "source") + 4 * sourceOffset;
        long to = address(target, columns(targetOffset, targetStride, width, rows), "target") + 4 * targetOffset;
        if (rows == 0 || width == 0) {
            return;
        }
        launcher.begin().arg(from).arg(to).arg(sourceStride).arg(targetStride).arg(width);
        int threads = Math.clamp(Integer.highestOneBit(2 * width - 1), 32, 256);
        launcher.launch(kernels.copyColumns, rows, Math.ceilDiv(width, threads), threads);
    }

    @Override
    public void copy(DeviceBuffer source, long sourceOffset, DeviceBuffer target, long targetOffset, long bytes) {
        long from = own(source, "source").range(sourceOffset, bytes);
        long to = own(target, "target").range(targetOffset, bytes);
        if (bytes > 0) {
            launcher.copy(from, to, bytes);
        }
    }

    @Override
    public void scatterAddRows(DeviceBuffer x, int[] rows, float[] factors, int count, int dim, DeviceBuffer target) {
        checkCount(count, Math.min(rows.length, factors.length), "rows and factors");
        checkPositive(dim, "dim");
        long source = address(x, floats(count, dim), "x");
        long sums = address(target, 0, "target");
        checkRows(rows, count, target.byteSize() / (4L * dim));
        if (count > 0) {
            long placed = ring.place(rows, factors, count);
            launcher.begin()
                    .arg(source)
                    .arg(placed)
                    .arg(placed + 4L * count)
                    .arg(sums)
                    .arg(count)
                    .arg(dim);
            launcher.launch(kernels.scatterAddRows, Math.ceilDiv(dim, 256), count, 256);
        }
    }

    void close() {
        vectorScratch.close();
        halfScratch.close();
        attention.close();
        ropeTables.close();
        ring.close();
        launcher.close();
    }

    @Override
    public void topK(DeviceBuffer x, int rows, int stride, int n, int k, DeviceBuffer values, DeviceBuffer indices) {
        checkCount(n, stride, "elements of a row");
        if (k < 1 || k > Math.min(n, MOST_TOP_K)) {
            throw new IllegalArgumentException(
                    "k must be 1 to " + Math.min(n, MOST_TOP_K) + " of " + n + " elements but was " + k);
        }
        long source = address(x, floats(rows, stride), "x");
        long best = address(values, floats(rows, k), "values");
        long places = address(indices, floats(rows, k), "indices");
        if (rows > 0) {
            launcher.begin().arg(source).arg(stride).arg(n).arg(k).arg(best).arg(places);
            launcher.launch(kernels.topK, rows, 1, 1024);
        }
    }

    @Override
    public CudaExpertOps experts() {
        return experts;
    }

    /** What {@link dev.prefetch.backend.Device#scratchBytes} says. */
    long scratchBytes(int rows, long widestInput) {
        long halves = scaleBytes(rows) + 2 * padded(widestInput) * rows;
        return DeviceScratch.rounded(halves)
                + DeviceScratch.rounded(Float.BYTES * widestInput)
                + attention.scratchBytes()
                + RopeTables.scratchBytes(rows, attention.largestKeyDim())
                + ArgumentRing.deviceBytes(rows);
    }

    // checks

    CudaBuffer own(DeviceBuffer buffer, String what) {
        return device.own(buffer, what);
    }

    long address(DeviceBuffer buffer, long bytes, String what) {
        CudaBuffer own = own(buffer, what);
        if (bytes > own.byteSize()) {
            throw new IndexOutOfBoundsException(
                    what + " needs " + bytes + " bytes but its buffer has " + own.byteSize());
        }
        return own.address();
    }

    /** Address of a weight; that it lies inside its buffer was checked when the record was made. */
    long weight(Weight weight) {
        GgmlType type = weight.type();
        if (!WeightFormat.TYPES.contains(type)) {
            throw new IllegalArgumentException("the CUDA backend does not support weights of type " + type);
        }
        long address = own(weight.buffer(), "weight").address() + weight.offset();
        if (address % WeightFormat.alignment(type) != 0) {
            throw new IllegalArgumentException("a weight of type " + type + " must start at a multiple of "
                    + WeightFormat.alignment(type) + " bytes but its offset is " + weight.offset());
        }
        return address;
    }

    /** Whether rows can be read in wide words: always, except where a plain format is not aligned to them. */
    static int wide(GgmlType type, long address, int cols) {
        return type.blockElements() > 1 || (cols % 8 == 0 && address % 16 == 0) ? 1 : 0;
    }

    /** A vector as f32: in place, or expanded. */
    private long vector(Weight vector, int dim, String what) {
        checkVector(vector, dim, what);
        long address = weight(vector);
        if (vector.type() == GgmlType.F32) {
            return address;
        }
        long expanded = vectorScratch.ensure(4L * dim);
        expand(vector.type(), address, 0, 1, dim, expanded);
        return expanded;
    }
}
