package dev.prefetch.prefetch;

import dev.prefetch.backend.Device;
import dev.prefetch.backend.DeviceBuffer;
import dev.prefetch.backend.Weight;
import dev.prefetch.model.BlockTensor;
import dev.prefetch.model.TensorRole;
import dev.prefetch.model.WeightBlock;
import java.lang.foreign.MemorySegment;
import java.util.EnumMap;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/**
 * All weights in place in the mapped file: what a device that computes in host memory uses when the model fits. Leases
 * cost nothing, since the bytes never move.
 */
public final class ResidentWeights implements WeightSource {

    private final DeviceBuffer file;
    private final PermanentLease[] leases;

    /**
     * @param device a device that computes in host memory
     * @param mapping the whole model file; must stay mapped until this source is closed
     * @param blocks the blocks in static order
     */
    public ResidentWeights(Device device, MemorySegment mapping, List<WeightBlock> blocks) {
        file = device.wrap(mapping);
        leases = blocks.stream().map(block -> new PermanentLease(block, file)).toArray(PermanentLease[]::new);
    }

    @Override
    public WeightLease acquire(WeightBlock block) {
        return leases[block.index()];
    }

    @Override
    public void close() {
        file.close();
    }

    private static final class PermanentLease implements WeightLease {

        private final WeightBlock block;
        private final Map<TensorRole, Weight> weights = new EnumMap<>(TensorRole.class);

        PermanentLease(WeightBlock block, DeviceBuffer file) {
            this.block = block;
            for (BlockTensor tensor : block.tensors()) {
                weights.put(
                        tensor.role(),
                        new Weight(tensor.type(), tensor.rows(), tensor.cols(), file, tensor.fileOffset()));
            }
        }

        @Override
        public WeightBlock block() {
            return block;
        }

        @Override
        public Weight weight(TensorRole role) {
            Weight weight = weights.get(role);
            if (weight == null) {
                throw new IllegalStateException("block " + block.label() + " has no " + role);
            }
            return weight;
        }

        @Override
        public @Nullable Weight find(TensorRole role) {
            return weights.get(role);
        }

        @Override
        public void close() {
            // The bytes stay where they are as long as the source is open.
        }
    }
}
