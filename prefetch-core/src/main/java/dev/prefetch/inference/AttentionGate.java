package dev.prefetch.inference;

import dev.prefetch.backend.Device;
import dev.prefetch.backend.DeviceBuffer;
import dev.prefetch.backend.Ops;
import dev.prefetch.model.ModelConfig;

/**
 * A gate behind attention, projected together with the queries: every head's query, then its gate. Used by the compute
 * thread only.
 */
final class AttentionGate implements AutoCloseable {

    private final Ops ops;
    private final int headDim;
    private final int heads;
    private final DeviceBuffer queriesAndGates;
    private final DeviceBuffer gates;

    AttentionGate(Device device, ModelConfig config, int maxRows) {
        this.ops = device.compute().ops();
        this.heads = config.attention().heads();
        this.headDim = config.attention().keyDim();
        long bytes = (long) maxRows * config.queryDim() * Float.BYTES;
        queriesAndGates = device.allocate(2 * bytes, "activations");
        gates = device.allocate(bytes, "activations");
    }

    /** Bytes of what is allocated for sweeps of at most {@code maxRows} tokens. */
    static long activationBytes(ModelConfig config, int maxRows) {
        return 3L * Float.BYTES * maxRows * config.queryDim();
    }

    /** What the projection writes, {@code [n x heads x 2 x headDim]}. */
    DeviceBuffer projected() {
        return queriesAndGates;
    }

    /** Leaves the queries of {@code n} rows in {@code q [n x heads x headDim]}, and keeps the gates. */
    void split(int n, DeviceBuffer q) {
        ops.copyColumns(queriesAndGates, 0, 2 * headDim, q, 0, headDim, headDim, n * heads);
        ops.copyColumns(queriesAndGates, headDim, 2 * headDim, gates, 0, headDim, headDim, n * heads);
    }

    /** Multiplies what attention found, {@code [n x heads x headDim]}, by the sigmoid of the gates. */
    void apply(int n, DeviceBuffer attended) {
        ops.sigmoidGate(attended, gates, (long) n * heads * headDim);
    }

    @Override
    public void close() {
        queriesAndGates.close();
        gates.close();
    }
}
