package dev.prefetch.inference;

import dev.prefetch.backend.Device;
import dev.prefetch.backend.DeviceBuffer;
import dev.prefetch.backend.Ops;
import dev.prefetch.backend.Weight;
import dev.prefetch.model.ModelConfig;
import dev.prefetch.model.ModelGraph;
import dev.prefetch.model.TensorRole;
import dev.prefetch.prefetch.WeightLease;
import dev.prefetch.prefetch.WeightSource;
import java.util.ArrayList;
import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * The second half of a layer on one device: a feed-forward network, dense or of experts, between its normalisation
 * and the residual stream. Used by the compute thread only.
 */
final class FeedForward implements AutoCloseable {

    private final Ops ops;
    private final ModelConfig config;
    private final ModelGraph graph;
    private final WeightSource weights;
    private final Adapters adapters;
    private final List<DeviceBuffer> owned = new ArrayList<>();
    private final DeviceBuffer normed;
    private final DeviceBuffer projected;
    private final boolean gated;
    /** What the activation is applied to. */
    private final DeviceBuffer gate;

    private final DeviceBuffer up;
    private final @Nullable MixtureOfExperts experts;

    /**
     * @param weights gives the weights to this device
     * @param adapters on this device; stay open
     * @param maxRows most rows of a sweep
     */
    FeedForward(
            Device device, ModelConfig config, ModelGraph graph, WeightSource weights, Adapters adapters, int maxRows) {
        this.ops = device.compute().ops();
        this.config = config;
        this.graph = graph;
        this.weights = weights;
        this.adapters = adapters;
        normed = activations(device, maxRows, config.dim());
        projected = activations(device, maxRows, config.dim());
        gated = config.architecture().traits().activation().gated();
        gate = activations(device, maxRows, Math.max(1, config.widestDenseFfnDim()));
        up = gated ? activations(device, maxRows, Math.max(1, config.widestDenseFfnDim())) : gate;
        experts = config.mixtureOfExperts()
                ? new MixtureOfExperts(device, config, graph, weights, adapters, maxRows)
                : null;
    }

    private DeviceBuffer activations(Device device, int rows, int columns) {
        DeviceBuffer buffer = device.allocate((long) rows * columns * Float.BYTES, "activations");
        owned.add(buffer);
        return buffer;
    }

    /** Bytes of what is allocated for sweeps of at most {@code maxRows} tokens. */
    static long activationBytes(ModelConfig config, int maxRows) {
        int wide = config.architecture().traits().activation().gated() ? 2 : 1;
        long columns = 2L * config.dim() + (long) wide * config.widestDenseFfnDim();
        long experts = config.mixtureOfExperts() ? MixtureOfExperts.activationBytes(config, maxRows) : 0;
        return Float.BYTES * maxRows * columns + experts;
    }

    /** Puts the residual stream {@code x [n x dim]} through a layer's network, in place. */
    void run(int layer, DeviceBuffer x, int decodeRows, int n) {
        boolean dense = config.denseFfnDim(layer) > 0;
        MixtureOfExperts experts = expertsOf(layer);
        DeviceBuffer input;
        try (WeightLease w = weights.acquire(graph.feedForward(layer))) {
            input = norm(x, n, w.find(TensorRole.FFN_NORM));
            if (experts != null) {
                input = apart(input, x, n);
                experts.route(w, input, decodeRows, n);
            }
            if (dense) {
                TensorRole role = gated ? TensorRole.FFN_GATE : TensorRole.FFN_UP;
                ops.matmul(w.weight(role), input, decodeRows, n, gate);
                adapters.add(w.block(), role, input, decodeRows, n, gate);
                ops.addBias(gate, n, w.find(gated ? TensorRole.FFN_GATE_BIAS : TensorRole.FFN_UP_BIAS));
            }
        }
        if (experts != null) {
            experts.prefetch(layer, n);
        }
        if (dense) {
            denseNetwork(layer, x, input, decodeRows, n);
        }
        if (experts != null) {
            experts.run(n, input, x);
            normSumOfExperts(layer, x, n);
        }
    }

    /** Experts add to {@code x} one after the other, so what they read is a copy where nothing normalises in front. */
    private DeviceBuffer apart(DeviceBuffer input, DeviceBuffer x, int n) {
        if (input != x) {
            return input;
        }
        ops.copy(x, 0, normed, 0, (long) n * config.dim() * Float.BYTES);
        return normed;
    }

    private void normSumOfExperts(int layer, DeviceBuffer x, int n) {
        if (!config.encoder() || layer == config.layers() - 1) {
            return;
        }
        try (WeightLease w = weights.acquire(graph.feedForwardDown(layer))) {
            Activations.normSum(
                    ops, config, x, n, w.find(TensorRole.FFN_SUM_NORM), w.find(TensorRole.FFN_SUM_NORM_BIAS));
        }
    }

    private @Nullable MixtureOfExperts expertsOf(int layer) {
        return config.layerConfigs().get(layer).experts() ? experts : null;
    }

    /** The network of a dense model, or the one beside the experts, from behind its first matrix on. */
    private void denseNetwork(int layer, DeviceBuffer x, DeviceBuffer input, int decodeRows, int n) {
        if (gated) {
            up(layer, input, decodeRows, n);
        }
        Activations.run(ops, config, gate, up, (long) n * config.denseFfnDim(layer));
        MixtureOfExperts experts = expertsOf(layer);
        try (WeightLease w = weights.acquire(graph.feedForwardDown(layer))) {
            ops.matmul(w.weight(TensorRole.FFN_DOWN), gate, decodeRows, n, projected);
            adapters.add(w.block(), TensorRole.FFN_DOWN, gate, decodeRows, n, projected);
            ops.addBias(projected, n, w.find(TensorRole.FFN_DOWN_BIAS));
            if (experts != null) {
                experts.addShared(projected, n, x);
            } else {
                Activations.addToResidual(ops, config, projected, n, w.find(TensorRole.FFN_POST_NORM), x);
            }
            Activations.normSum(
                    ops, config, x, n, w.find(TensorRole.FFN_SUM_NORM), w.find(TensorRole.FFN_SUM_NORM_BIAS));
        }
    }

    private void up(int layer, DeviceBuffer input, int decodeRows, int n) {
        try (WeightLease w = weights.acquire(graph.feedForwardUp(layer))) {
            ops.matmul(w.weight(TensorRole.FFN_UP), input, decodeRows, n, up);
            adapters.add(w.block(), TensorRole.FFN_UP, input, decodeRows, n, up);
            ops.addBias(up, n, w.find(TensorRole.FFN_UP_BIAS));
        }
    }

    /** The residual stream, normalised where the layer does so in front. */
    private DeviceBuffer norm(DeviceBuffer x, int n, @Nullable Weight gain) {
        if (gain == null) {
            return x;
        }
        ops.rmsNorm(x, n, config.dim(), gain, config.normEpsilon(), normed);
        return normed;
    }

    @Override
    public void close() {
        if (experts != null) {
            experts.close();
        }
        owned.forEach(DeviceBuffer::close);
    }
}
