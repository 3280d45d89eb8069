package dev.prefetch.backend.cpu;

import dev.prefetch.gguf.GgmlType;
import java.lang.invoke.MethodHandle;
import java.util.EnumMap;
import java.util.Map;
import jdk.incubator.vector.FloatVector;

/**
 * Kernels on the Vector API with 256-bit vectors. Load this class only where the module {@code jdk.incubator.vector} is
 * present.
 */
final class VectorKernels implements Kernels {

    /** Width of the vectors. */
    static final int BITS = 256;

    private final Map<GgmlType, MethodHandle> matvecs = new EnumMap<>(GgmlType.class);

    private final Map<GgmlType, MethodHandle> expanders = new EnumMap<>(GgmlType.class);
    private final MethodHandle scoresKernel = Isolated.attention(VectorAttention.class, "scores");
    private final MethodHandle accumulateKernel = Isolated.attention(VectorAttention.class, "accumulate");
    private final VectorSuperBlocks superBlocks = new VectorSuperBlocks();

    VectorKernels() {
        matvecs.put(GgmlType.F32, Isolated.matvec(VectorMatvec.class, "f32"));
        matvecs.put(GgmlType.F16, Isolated.matvec(VectorMatvec.class, "f16"));
        matvecs.put(GgmlType.BF16, Isolated.matvec(VectorMatvec.class, "bf16"));
        matvecs.put(GgmlType.Q8_0, Isolated.matvec(VectorMatvec.class, "q80"));
        matvecs.put(GgmlType.Q4_0, Isolated.matvec(VectorMatvec.class, "q40"));
        expanders.put(GgmlType.F16, Isolated.expand(VectorExpand.class, "f16"));
        expanders.put(GgmlType.BF16, Isolated.expand(VectorExpand.class, "bf16"));
        expanders.put(GgmlType.Q8_0, Isolated.expand(VectorExpand.class, "q80"));
        expanders.put(GgmlType.Q4_0, Isolated.expand(VectorExpand.class, "q40"));
        expanders.put(GgmlType.Q4_K, Isolated.expand(VectorExpand.class, "q4k"));
        expanders.put(GgmlType.Q6_K, Isolated.expand(VectorExpand.class, "q6k"));
    }

    /** Vector width that this machine prefers. */
    static int preferredBits() {
        return FloatVector.SPECIES_PREFERRED.vectorBitSize();
    }

    @Override
    public String name() {
        return "vector (" + BITS + " bits)";
    }

    @Override
    public ActivationForm activationForm(GgmlType type) {
        return switch (type) {
            case F16 -> ActivationForm.HALF;
            case BF16 -> ActivationForm.BFLOAT;
            case Q8_0 -> ActivationForm.INT8;
            case Q4_0 -> ActivationForm.NIBBLE;
            case Q4_K, Q5_K, Q6_K -> ActivationForm.BYTES;
            default -> ActivationForm.PLAIN;
        };
    }

    @Override
    public long activationBytes(ActivationForm form, int cols) {
        return VectorActivations.bytes(form, cols);
    }

    @Override
    public void prepare(ActivationForm form, long x, int cols, long activation) {
        VectorActivations.prepare(form, x, cols, activation);
    }

    @Override
    public long matvecScratchBytes(GgmlType type, int rows, int cols) {
        return activationForm(type) == ActivationForm.BYTES
                ? VectorSuperBlocks.scratchBytes(rows, cols)
                : 32L * rows + 4L * cols;
    }

    @Override
    public void matvec(GgmlType type, long weights, int rows, int cols, long activation, long y, long scratch) {
        switch (type) {
            case Q4_K -> superBlocks.q4k(weights, rows, cols, activation, y, scratch);
            case Q5_K -> superBlocks.q5k(weights, rows, cols, activation, y, scratch);
            case Q6_K -> superBlocks.q6k(weights, rows, cols, activation, y, scratch);
            default -> {
                MethodHandle kernel = matvecs.get(type);
                if (kernel != null) {
                    Isolated.call(kernel, weights, rows, cols, activation, y, scratch);
                } else {
                    expandAndMultiply(type, weights, rows, cols, activation, y, scratch);
                }
            }
        }
    }

    private void expandAndMultiply(
            GgmlType type, long weights, int rows, int cols, long activation, long y, long scratch) {
        long rowBytes = type.byteSize(cols);
        long lanes = scratch + 4L * cols;
        for (int r = 0; r < rows; r++) {
            expand(type, weights + rowBytes * r, cols, scratch);
            Isolated.call(matvecs.get(GgmlType.F32), scratch, 1, cols, activation, y + 4L * r, lanes);
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
    public void packTokens(long x, long xStride, int tokens, int depth, long packed) {
        VectorGemm.packTokens(x, xStride, tokens, depth, packed);
    }

    @Override
    public void multiplyPanel(
            long panel, int rowGroups, int depth, long packed, long c, long cStride, boolean accumulate) {
        VectorGemm.multiplyPanel(panel, rowGroups, depth, packed, c, cStride, accumulate);
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
        VectorElementwise.swiGlu(gate, up, n);
    }

    @Override
    public void geGlu(long gate, long up, long n) {
        VectorGates.geGlu(gate, up, n);
    }

    @Override
    public void clampedSwiGlu(long gate, long up, float slope, float limit, long n) {
        VectorGates.clampedSwiGlu(gate, up, slope, limit, n);
    }

    @Override
    public void rmsNorm(long x, int dim, long gain, float epsilon, long out) {
        VectorElementwise.rmsNorm(x, dim, gain, epsilon, out);
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
        VectorAttention.softCap(scores, n, cap);
    }

    @Override
    public float max(long scores, int n) {
        return VectorAttention.max(scores, n);
    }

    @Override
    public float expAndSum(long scores, int n, float max) {
        return VectorAttention.expAndSum(scores, n, max);
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
