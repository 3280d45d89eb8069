package dev.prefetch.prefetch;

import dev.prefetch.backend.DeviceBuffer;
import dev.prefetch.backend.Weight;
import dev.prefetch.model.BlockTensor;
import dev.prefetch.model.TensorRole;
import dev.prefetch.model.WeightBlock;
import java.util.List;
import org.jspecify.annotations.Nullable;

/** A lease of {@link StreamingWeights}. */
final class StreamingLease implements WeightLease {

    private final WeightBlock block;
    private final Placement placement;
    private final Runnable release;
    private volatile boolean closed;

    StreamingLease(WeightBlock block, Placement placement, Runnable release) {
        this.block = block;
        this.placement = placement;
        this.release = release;
    }

    @Override
    public WeightBlock block() {
        return block;
    }

    @Override
    public Weight weight(TensorRole role) {
        Weight weight = find(role);
        if (weight == null) {
            throw new IllegalStateException("block " + block.label() + " has no weight " + role);
        }
        return weight;
    }

    @Override
    public @Nullable Weight find(TensorRole role) {
        if (closed) {
            throw new IllegalStateException("the lease of block " + block.label() + " is closed");
        }
        List<BlockTensor> tensors = block.tensors();
        for (int i = 0; i < tensors.size(); i++) {
            BlockTensor tensor = tensors.get(i);
            if (tensor.role() == role) {
                return new Weight(
                        tensor.type(),
                        tensor.rows(),
                        tensor.cols(),
                        placement.buffer(i),
                        placement.offset(i),
                        placement.packed(i));
            }
        }
        return null;
    }

    @Override
    public void close() {
        synchronized (this) {
            if (closed) {
                return;
            }
            closed = true;
        }
        release.run();
    }

    /** Where the tensors of a block lie. */
    interface Placement {

        /** The buffer that holds the block's tensor {@code i}. */
        DeviceBuffer buffer(int i);

        /** Where in that buffer it starts. */
        long offset(int i);

        /** Whether the device has packed it. */
        boolean packed(int i);
    }
}
