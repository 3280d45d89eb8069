package dev.prefetch.inference;

import dev.prefetch.backend.DeviceBuffer;
import dev.prefetch.backend.Ops;
import dev.prefetch.model.ModelConfig;

/** The gated activation of a model's feed-forward networks. */
final class Activations {

    /** Constants of gpt-oss's activation; its files do not carry them. */
    private static final float SLOPE = 1.702f;

    private static final float LIMIT = 7;

    private Activations() {}

    /** {@code gate = activation(gate) * up}, {@code n} elements, in place. */
    static void run(Ops ops, ModelConfig config, DeviceBuffer gate, DeviceBuffer up, long n) {
        switch (config.architecture().traits().activation()) {
            case SWIGLU -> ops.swiGlu(gate, up, n);
            case GEGLU -> ops.geGlu(gate, up, n);
            case CLAMPED_SWIGLU -> ops.clampedSwiGlu(gate, up, SLOPE, LIMIT, n);
        }
    }
}
