package dev.prefetch.inference;

import dev.prefetch.backend.DeviceBuffer;
import dev.prefetch.backend.Ops;
import dev.prefetch.backend.Weight;
import dev.prefetch.model.ModelConfig;
import org.jspecify.annotations.Nullable;

/** What both halves of a layer do with activations, as the model's configuration says. */
final class Activations {

    /** Constants of gpt-oss's activation; its files do not carry them. */
    private static final float SLOPE = 1.702f;

    private static final float LIMIT = 7;

    private Activations() {}

    /**
     * The activation: {@code gate = activation(gate) * up}, {@code n} elements, in place; where nothing gates,
     * {@code gate = activation(gate)}.
     */
    static void run(Ops ops, ModelConfig config, DeviceBuffer gate, DeviceBuffer up, long n) {
        switch (config.architecture().traits().activation()) {
            case SWIGLU -> ops.swiGlu(gate, up, n);
            case GEGLU -> ops.geGlu(gate, up, n);
            case CLAMPED_SWIGLU -> ops.clampedSwiGlu(gate, up, SLOPE, LIMIT, n);
            case GELU -> ops.gelu(gate, n);
        }
    }

    /** Adds {@code result [n x dim]}, normalised where the layer does so behind, to the residual stream {@code x}. */
    static void addToResidual(
            Ops ops, ModelConfig config, DeviceBuffer result, int n, @Nullable Weight gain, DeviceBuffer x) {
        if (gain != null) {
            ops.rmsNorm(result, n, config.dim(), gain, config.normEpsilon(), result);
        }
        scale(ops, result, config.scaling().residual(), (long) n * config.dim());
        ops.add(x, result, (long) n * config.dim());
    }

    /** Normalises the residual stream {@code x [n x dim]} itself, in layers that do so. */
    static void normSum(
            Ops ops, ModelConfig config, DeviceBuffer x, int n, @Nullable Weight gain, @Nullable Weight bias) {
        if (gain != null && bias != null) {
            ops.layerNorm(x, n, config.dim(), gain, bias, config.normEpsilon(), x);
        }
    }

    /** {@code values *= factor}, {@code n} elements. */
    static void scale(Ops ops, DeviceBuffer values, float factor, long n) {
        if (factor != 1) {
            ops.scale(values, factor, n);
        }
    }
}
