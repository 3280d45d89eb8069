package dev.prefetch.backend.cpu;

import dev.prefetch.gguf.GgmlType;
import java.lang.invoke.MethodHandle;
import java.util.EnumMap;
import java.util.Map;
import jdk.incubator.vector.FloatVector;

/**
 * Kernels on the Vector API, with vectors of {@link Vectors#BITS}. Load this class only where the module
 * {@code jdk.incubator.vector} is present.
 */
final class VectorKernels implements Kernels {

    /**
     * Weight rows that a matrix-vector kernel goes through at the same time. More would compete for the first-level cache and
     * for the hardware that fetches ahead.
     */
    private static final int STREAMS = 8;

    /** The same with a single row of activations, which waits for memory more than for sums: see docs/benchmarks.md. */
    private static final int SINGLE_ROW_STREAMS = 4;

    /** Rows of activations that share an unpacked weight; what is left over takes another turn over the cached weights. */
    private static final int TOKENS = 16;

    /** Columns that are expanded at a time where there is no kernel for the type itself. */
    private static final int CHUNK = 256;

    private static final long LANES_BYTES = (long) STREAMS * TOKENS * Vectors.BYTES;

    private final LaneMatvec lanes = new LaneMatvec();
    private final HalfMatvec halves = new HalfMatvec();
    private final Map<GgmlType, MethodHandle> expanders = new EnumMap<>(GgmlType.class);
    private final MethodHandle dotKernel = Isolated.dot(VectorMatvec.class, "f32");
    private final MethodHandle swiGlu = Isolated.gate(VectorElementwise.class, "swiGlu");
    private final MethodHandle geGlu = Isolated.gate(VectorGates.class, "geGlu");
    private final MethodHandle gelu = Isolated.function(VectorGates.class, "gelu");
    private final MethodHandle silu = Isolated.function(VectorGates.class, "silu");
    private final MethodHandle sigmoidGate = Isolated.gate(VectorGates.class, "sigmoidGate");
    private final MethodHandle clampedSwiGlu = Isolated.clampedGate(VectorGates.class, "clampedSwiGlu");
    private final MethodHandle prepareKernel = Isolated.prepare(VectorActivations.class, "prepare");
    private final MethodHandle scoresKernel = Isolated.attention(VectorAttention.class, "scores");
    private final MethodHandle deltaKernel = Isolated.delta(VectorDelta.class, "step");
    private final MethodHandle softCapKernel = Isolated.inPlace(VectorAttention.class, "softCap");
    private final MethodHandle expAndSumKernel = Isolated.softmax(VectorAttention.class, "expAndSum");
    private final MethodHandle multiplyLanesKernel = Isolated.multiplyLanes(VectorLanes.class, "multiply");
    private final MethodHandle softmaxLanesKernel = Isolated.softmaxLanes(VectorLanes.class, "softmax");
    private final MethodHandle accumulateKernel = Isolated.attention(VectorAttention.class, "accumulate");

    private final VectorStrips strips = new VectorStrips(this);

    VectorKernels() {
        expanders.put(GgmlType.F16, Isolated.expand(VectorExpand.class, "f16"));
        expanders.put(GgmlType.BF16, Isolated.expand(VectorExpand.class, "bf16"));
        expanders.put(GgmlType.Q8_0, Isolated.expand(VectorExpand.class, "q80"));
        expanders.put(GgmlType.Q4_0, Isolated.expand(VectorExpand.class, "q40"));
        expanders.put(GgmlType.Q4_K, Isolated.expand(VectorExpand.class, "q4k"));
        expanders.put(GgmlType.Q5_K, Isolated.expand(VectorExpand.class, "q5k"));
        expanders.put(GgmlType.Q6_K, Isolated.expand(VectorExpand.class, "q6k"));
        expanders.putAll(VectorGrids.expanders());
    }

    /** Vector width that this machine prefers. */
    static int preferredBits() {
        return FloatVector.SPECIES_PREFERRED.vectorBitSize();
    }

    @Override
    public String name() {
        return "vector (" + Vectors.BITS + " bits)";
    }

    @Override
    public int tileTokens() {
        return VectorLanes.TILE_TOKENS;
    }

    @Override
    public ActivationForm activationForm(GgmlType type, int cols, int count) {
        LaneFormat format = LaneFormat.of(type);
        if (format != null) {
            return format.form;
        }
        return HalfPacking.packs(type, cols) ? HalfMatvec.activationForm(type) : ActivationForm.PLAIN;
    }

    @Override
    public long activationStride(ActivationForm form, int cols) {
        return VectorActivations.stride(form, cols);
    }

    @Override
    public long activationBytes(ActivationForm form, int cols, int count) {
        return VectorActivations.bytes(form, cols, count);
    }

    @Override
    public void prepare(ActivationForm form, long x, int cols, int row, int count, long activations) {
        Isolated.call(prepareKernel, form, x, cols, row, count, activations);
    }

    @Override
    public long matvecScratchBytes(int cols) {
        return Math.max(
                LANES_BYTES + 4L * CHUNK, Math.max(LaneMatvec.scratchBytes(cols), HalfMatvec.scratchBytes(cols)));
    }

    @Override
    public void matvec(
            GgmlType type,
            long weights,
            boolean packed,
            int rows,
            int apart,
            int cols,
            long activations,
            long activationStride,
            int count,
            long y,
            long yStride,
            long scratch) {
        LaneFormat format = LaneFormat.of(type);
        if (format != null) {
            lanes.multiply(format, weights, packed, rows, apart, cols, activations, count, y, yStride, scratch);
            return;
        }
        if (HalfPacking.packs(type, cols)) {
            halves.multiply(
                    type,
                    weights,
                    packed,
                    rows,
                    apart,
                    cols,
                    activations,
                    activationStride,
                    count,
                    y,
                    yStride,
                    scratch);
            return;
        }
        long rowBytes = type.byteSize(cols);
        int streams = count == 1 ? SINGLE_ROW_STREAMS : STREAMS;
        int distance = rows / streams;
        int spread = distance * streams;
        for (int first = 0; first < count; first += TOKENS) {
            int tokens = Math.min(TOKENS, count - first);
            long x = activations + activationStride * first;
            long out = y + yStride * first;
            for (int r = 0; r < distance; r++) {
                rows(
                        type,
                        weights + rowBytes * r,
                        rowBytes * distance,
                        streams,
                        cols,
                        x,
                        activationStride,
                        tokens,
                        scratch);
                storeSums(scratch, streams, tokens, out + 4L * r, 4L * distance, yStride);
            }
            if (spread < rows) {
                long rest = weights + rowBytes * spread;
                rows(type, rest, rowBytes, rows - spread, cols, x, activationStride, tokens, scratch);
                storeSums(scratch, rows - spread, tokens, out + 4L * spread, 4, yStride);
            }
        }
    }

    /** Leaves the lanes of {@code [rows x count]} sums in {@code lanes} and uses the memory behind them. */
    private void rows(
            GgmlType type,
            long weights,
            long rowStride,
            int rows,
            int cols,
            long x,
            long xStride,
            int count,
            long lanes) {
        for (int i = 0; i < rows * count; i++) {
            Vectors.store(Vectors.zero(), lanes + (long) Vectors.BYTES * i);
        }
        long expanded = lanes + LANES_BYTES;
        for (int col = 0; col < cols; col += CHUNK) {
            int n = Math.min(CHUNK, cols - col);
            for (int r = 0; r < rows; r++) {
                long row = weights + rowStride * r + type.byteSize(col);
                if (type != GgmlType.F32) {
                    expand(type, row, n, expanded);
                    row = expanded;
                }
                long rowLanes = lanes + (long) Vectors.BYTES * r * count;
                Isolated.call(dotKernel, row, n, x + 4L * col, xStride, count, rowLanes);
            }
        }
    }

    private static void storeSums(long lanes, int rows, int count, long y, long rowStride, long tokenStride) {
        for (int r = 0; r < rows; r++) {
            for (int t = 0; t < count; t++) {
                float sum = Vectors.sumLanes(lanes + (long) Vectors.BYTES * (r * count + t));
                Memory.putFloat(y + rowStride * r + tokenStride * t, sum);
            }
        }
    }

    @Override
    public int apart(GgmlType type, boolean packed, int rows) {
        int pairs = rows / (2 * LaneFormat.PAIR_ROWS);
        return packed ? pairs * LaneFormat.PAIR_ROWS : 0;
    }

    @Override
    public int matvecRows(GgmlType type, int cols, int decodeRows, int rows) {
        if (HalfPacking.packs(type, cols)) {
            return rows <= HalfMatvec.fewRows(type) ? rows : 0;
        }
        LaneFormat format = LaneFormat.of(type);
        return format != null && format.manyRows() ? rows : decodeRows;
    }

    @Override
    public boolean packs(GgmlType type, long rows, long cols) {
        return LaneFormat.packs(type, rows, cols) || HalfPacking.packs(type, rows, cols);
    }

    @Override
    public void pack(GgmlType type, long weights, long rows, int cols) {
        if (!packs(type, rows, cols)) {
            throw new UnsupportedOperationException(
                    "these kernels pack no weights of %s, %d x %d".formatted(type, rows, cols));
        }
        LaneFormat format = LaneFormat.of(type);
        if (format != null) {
            LanePacking.packInPlace(format, weights, rows, cols);
        } else {
            HalfPacking.packInPlace(weights, rows, cols);
        }
    }

    @Override
    public void expand(GgmlType type, long weights, int elements, long out) {
        MethodHandle kernel = expanders.get(type);
        if (kernel != null) {
            Isolated.call(kernel, weights, elements, out);
        } else {
            ScalarDequantizer.expand(type, weights, elements, out);
        }
    }

    @Override
    public void packTokens(long x, long xStride, int tokens, int width, int depth, long packed) {
        VectorGemm.packTokens(x, xStride, tokens, width, depth, packed);
    }

    @Override
    public int matmulTokens(GgmlType type, boolean packedWeights, int rows, int tokens) {
        return VectorStrips.tileTokens(type, packedWeights, rows, tokens);
    }

    @Override
    public long matmulScratchBytes(int tokens) {
        return VectorStrips.scratchBytes(tokens);
    }

    @Override
    public void matmul(
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
        strips.multiply(
                type, weights, packedWeights, rows, following, cols, packed, tileTokens, tokens, y, yStride, scratch);
    }

    @Override
    public void add(long x, long y, long n) {
        VectorElementwise.add(x, y, n);
    }

    @Override
    public void addScaled(long x, long y, float factor, int n) {
        VectorElementwise.addScaled(x, y, factor, n);
    }

    @Override
    public void swiGlu(long gate, long up, long n) {
        Isolated.call(swiGlu, gate, up, n);
    }

    @Override
    public void geGlu(long gate, long up, long n) {
        Isolated.call(geGlu, gate, up, n);
    }

    @Override
    public void gelu(long x, long n) {
        Isolated.call(gelu, x, n);
    }

    @Override
    public void clampedSwiGlu(long gate, long up, float slope, float limit, long n) {
        Isolated.call(clampedSwiGlu, gate, up, slope, limit, n);
    }

    @Override
    public void silu(long x, long n) {
        Isolated.call(silu, x, n);
    }

    @Override
    public void sigmoidGate(long x, long gate, long n) {
        Isolated.call(sigmoidGate, x, gate, n);
    }

    @Override
    public void addProduct(long x, long a, long b, int n) {
        VectorDelta.addProduct(x, a, b, n);
    }

    @Override
    public void deltaStep(long matrix, int dim, long q, long k, long v, float decay, float beta, long out) {
        Isolated.call(deltaKernel, matrix, dim, q, k, v, decay, beta, out);
    }

    @Override
    public void rmsNorm(long x, int dim, long gain, float epsilon, long out) {
        VectorElementwise.rmsNorm(x, dim, gain, epsilon, out);
    }

    @Override
    public void layerNorm(long x, int dim, long gain, long bias, float epsilon, long out) {
        VectorElementwise.layerNorm(x, dim, gain, bias, epsilon, out);
    }

    @Override
    public void rotateHalves(long x, int pairs, long table) {
        VectorElementwise.rotateHalves(x, pairs, table);
    }

    @Override
    public void rotateAdjacent(long x, int pairs, long table) {
        VectorElementwise.rotateAdjacent(x, pairs, table);
    }

    @Override
    public void scores(long q, long k, int positions, int dim, float scale, long scores) {
        Isolated.call(scoresKernel, q, k, positions, dim, scale, scores);
    }

    @Override
    public void softCap(long scores, int n, float cap) {
        Isolated.call(softCapKernel, scores, n, cap);
    }

    @Override
    public float max(long scores, int n) {
        return VectorAttention.max(scores, n);
    }

    @Override
    public float expAndSum(long scores, int n, float max) {
        return Isolated.sum(expAndSumKernel, scores, n, max);
    }

    @Override
    public void multiplyLanes(
            long w,
            long wRow,
            long wCol,
            int rows,
            int depth,
            long x,
            long xStride,
            long c,
            long cStride,
            int lanes,
            boolean accumulate) {
        Isolated.call(multiplyLanesKernel, w, wRow, wCol, rows, depth, x, xStride, c, cStride, lanes, accumulate);
    }

    @Override
    public void softmaxLanes(
            long scores,
            int positions,
            float scale,
            long limits,
            long maxima,
            long sums,
            long factors,
            int lanes,
            long weights) {
        Isolated.call(softmaxLanesKernel, scores, positions, scale, limits, maxima, sums, factors, lanes, weights);
    }

    @Override
    public void accumulate(long weights, long v, int positions, int dim, float factor, long out) {
        Isolated.call(accumulateKernel, weights, v, positions, dim, factor, out);
    }

    @Override
    public void scale(long x, int n, float factor, long out) {
        VectorElementwise.scale(x, n, factor, out);
    }
}
