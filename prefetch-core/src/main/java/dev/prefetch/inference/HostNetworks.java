package dev.prefetch.inference;

import dev.prefetch.backend.DeviceBuffer;
import dev.prefetch.backend.Devices;
import dev.prefetch.backend.Weight;
import dev.prefetch.model.LoraAdapter;
import dev.prefetch.model.ModelConfig;
import dev.prefetch.model.ModelGraph;
import dev.prefetch.model.WeightBlock;
import dev.prefetch.prefetch.WeightLease;
import dev.prefetch.prefetch.WeightSource;
import java.lang.foreign.MemorySegment;
import java.util.List;

/**
 * What the host computes beside a device with memory of its own: it looks up the embedding, of which a sweep needs a row
 * per token, and it puts decode rows through feed-forward networks that are not in the device's memory, where it can read
 * them faster than they could be moved. Used by the compute thread only.
 */
final class HostNetworks implements AutoCloseable {

    private final Devices devices;
    private final ModelConfig config;
    private final Adapters adapters;
    private final FeedForward network;
    private final DeviceBuffer x;

    /**
     * @param weights of the device; the host takes what rests in its memory
     */
    HostNetworks(
            Devices devices,
            ModelConfig config,
            ModelGraph graph,
            WeightSource weights,
            List<LoraAdapter> lora,
            int maxRows) {
        this.devices = devices;
        this.config = config;
        this.adapters = new Adapters(devices.host(), lora, maxRows);
        this.network = new FeedForward(devices.host(), config, graph, new OnHost(weights), adapters, maxRows);
        this.x = devices.host().allocate((long) maxRows * config.dim() * Float.BYTES, "activations");
    }

    /** Bytes of the host's memory for sweeps of at most {@code maxRows} tokens. */
    static long activationBytes(ModelConfig config, int maxRows) {
        return FeedForward.activationBytes(config, maxRows) + (long) maxRows * config.dim() * Float.BYTES;
    }

    /** Looks up the tokens' rows of the table, which rests with the host; {@code out [count x dim]} is the device's. */
    void embed(Weight table, int[] tokens, int count, DeviceBuffer out) {
        devices.host().compute().ops().embed(table, tokens, count, x);
        devices.primary().compute().upload(rows(count), out, 0);
    }

    /** Takes the first {@code rows} of the device's residual stream over, once the device has computed them. */
    void take(DeviceBuffer from, int rows) {
        from.download(0, rows(rows));
    }

    /** Puts the rows taken through a layer's network. */
    void run(int layer, int rows) {
        network.run(layer, x, rows, rows);
    }

    /** Gives the rows back: what the device computes from now on sees them. */
    void give(int rows, DeviceBuffer to) {
        devices.primary().compute().upload(rows(rows), to, 0);
    }

    private MemorySegment rows(int count) {
        devices.host().compute().synchronize();
        return x.hostMemory().orElseThrow().asSlice(0, (long) count * config.dim() * Float.BYTES);
    }

    @Override
    public void close() {
        network.close();
        adapters.close();
        x.close();
    }

    /** A device's weights as the host reads them: in place, at once. */
    private record OnHost(WeightSource weights) implements WeightSource {

        @Override
        public WeightLease acquire(WeightBlock block) {
            return weights.acquireOnHost(block);
        }

        @Override
        public int readiest(List<WeightBlock> experts) {
            return 0;
        }

        @Override
        public void close() {
            // They belong to the device.
        }
    }
}
