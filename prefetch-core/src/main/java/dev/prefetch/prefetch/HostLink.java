package dev.prefetch.prefetch;

import dev.prefetch.backend.Device;
import dev.prefetch.backend.Event;
import dev.prefetch.backend.Weight;
import dev.prefetch.model.BlockTensor;
import dev.prefetch.model.TensorRole;
import dev.prefetch.prefetch.BlockLayout.Part;
import dev.prefetch.storage.BlockReader;
import java.lang.foreign.MemorySegment;
import java.util.List;
import org.jspecify.annotations.Nullable;

/** From the disk straight into the memory that compute reads, where matrices are packed. */
final class HostLink implements Link {

    private final Device device;
    private final BlockReader reader;
    private final boolean poison;

    HostLink(Device device, BlockReader reader, boolean poison) {
        this.device = device;
        this.reader = reader;
        this.poison = poison;
    }

    @Override
    public WeightMemory allocate(long bytes, String purpose) {
        return WeightMemory.inHost(device, bytes, reader.alignment(), purpose);
    }

    @Override
    public int alignment() {
        return reader.alignment();
    }

    @Override
    public String description() {
        return reader.description();
    }

    @Override
    public @Nullable Event hostWaitsFor(Transfer transfer) {
        return transfer.writeAfter;
    }

    @Override
    public @Nullable Hop deliver(Transfer transfer, Part chunk, long turn) {
        MemorySegment memory = transfer.target.host();
        if (poison) {
            // Once, and before any thread has read a part.
            synchronized (transfer) {
                if (!transfer.poisoned) {
                    transfer.poisoned = true;
                    memory.fill(TransferQueue.POISON);
                }
            }
        }
        reader.read(
                chunk.extent().offset(),
                memory.asSlice(chunk.memoryOffset(), chunk.extent().length()));
        return null;
    }

    /** Matrices of which every head has a part of its own stay as they are. */
    @Override
    public boolean packs(BlockTensor tensor) {
        return tensor.role() != TensorRole.ATTENTION_K_UP_TRANSPOSED
                && tensor.role() != TensorRole.ATTENTION_V_UP
                && device.packs(tensor.type(), tensor.rows(), tensor.cols());
    }

    @Override
    public void complete(Transfer transfer) {
        BlockLayout layout = transfer.layout;
        List<BlockTensor> tensors = layout.block().tensors();
        for (int i = 0; i < tensors.size(); i++) {
            BlockTensor tensor = tensors.get(i);
            if (packs(tensor)) {
                long offset = transfer.target.offset() + layout.tensorOffset(i);
                device.pack(new Weight(tensor.type(), tensor.rows(), tensor.cols(), transfer.target.buffer(), offset));
            }
        }
    }

    @Override
    public @Nullable Event arrival() {
        return null;
    }

    @Override
    public void close() {
        reader.close();
    }
}
