package dev.prefetch.inference;

import dev.prefetch.backend.Device;
import dev.prefetch.backend.DeviceBuffer;
import dev.prefetch.backend.Ops;
import dev.prefetch.backend.Weight;
import dev.prefetch.model.LoraAdapter;
import dev.prefetch.model.LoraAdapter.Matrix;
import dev.prefetch.model.LoraAdapter.Update;
import dev.prefetch.model.TensorRole;
import dev.prefetch.model.WeightBlock;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;

/**
 * The LoRA adapters of an engine, resident on its device also where the model's weights stream. Each adds its change to the
 * product of the matrix it belongs to, in the order in which the adapters were given. Used by the compute thread only.
 */
final class Adapters implements AutoCloseable {

    /** Matrices begin at multiples of this. */
    private static final long ALIGNMENT = 64;

    private final Ops ops;
    private final List<DeviceBuffer> owned = new ArrayList<>();
    private final Map<Place, List<Change>> changes = new HashMap<>();
    private final DeviceBuffer inner;
    private final DeviceBuffer change;

    private record Place(int block, TensorRole role, int part) {}

    private record Change(Weight down, Weight up, float scale) {}

    Adapters(Device device, List<LoraAdapter> adapters, int maxRows) {
        ops = device.compute().ops();
        for (LoraAdapter adapter : adapters) {
            upload(device, adapter);
        }
        inner = allocate(device, Float.BYTES * Math.max(1, maxRows * widestInner(adapters)), "activations");
        change = allocate(device, Float.BYTES * Math.max(1, maxRows * widestOutput(adapters)), "activations");
    }

    private void upload(Device device, LoraAdapter adapter) {
        DeviceBuffer buffer = allocate(device, Math.max(1, weightBytes(adapter)), "a LoRA adapter");
        long offset = 0;
        for (Update update : adapter.updates()) {
            Weight down = upload(update.down(), buffer, offset);
            offset += aligned(update.down());
            Weight up = upload(update.up(), buffer, offset);
            offset += aligned(update.up());
            changes.computeIfAbsent(new Place(update.block(), update.role(), update.part()), place -> new ArrayList<>())
                    .add(new Change(down, up, update.scale()));
        }
    }

    private static Weight upload(Matrix matrix, DeviceBuffer buffer, long offset) {
        buffer.upload(matrix.bytes(), offset);
        return new Weight(matrix.type(), matrix.rows(), matrix.cols(), buffer, offset);
    }

    private DeviceBuffer allocate(Device device, long bytes, String purpose) {
        DeviceBuffer buffer = device.allocate(bytes, purpose);
        owned.add(buffer);
        return buffer;
    }

    private static long aligned(Matrix matrix) {
        return Math.ceilDiv(matrix.bytes().byteSize(), ALIGNMENT) * ALIGNMENT;
    }

    private static long weightBytes(LoraAdapter adapter) {
        return adapter.updates().stream()
                .mapToLong(u -> aligned(u.down()) + aligned(u.up()))
                .sum();
    }

    private static long widestInner(List<LoraAdapter> adapters) {
        return adapters.stream()
                .flatMap(adapter -> adapter.updates().stream())
                .mapToLong(Update::rank)
                .max()
                .orElse(0);
    }

    private static long widestOutput(List<LoraAdapter> adapters) {
        return adapters.stream()
                .flatMap(adapter -> adapter.updates().stream())
                .mapToLong(u -> u.up().rows())
                .max()
                .orElse(0);
    }

    boolean isEmpty() {
        return changes.isEmpty();
    }

    /** Bytes of what is allocated for sweeps of at most {@code maxRows} tokens. */
    static long byteSize(List<LoraAdapter> adapters, int maxRows) {
        return adapters.stream().mapToLong(Adapters::weightBytes).sum()
                + Float.BYTES * maxRows * (widestInner(adapters) + widestOutput(adapters));
    }

    /**
     * Adds the changes of a matrix to its product.
     *
     * @param block the block with the matrix
     * @param x what the matrix was multiplied with, {@code [count x cols]}
     * @param y the product, {@code [count x rows]}
     */
    void add(WeightBlock block, TensorRole role, DeviceBuffer x, int decodeRows, int count, DeviceBuffer y) {
        add(block, role, 0, x, decodeRows, count, y);
    }

    /**
     * Adds the changes of one of the matrices that are a tensor together.
     *
     * @param part index of the matrix
     */
    void add(WeightBlock block, TensorRole role, int part, DeviceBuffer x, int decodeRows, int count, DeviceBuffer y) {
        for (Change c : changesOf(block, role, part)) {
            ops.matmul(c.down(), x, decodeRows, count, inner);
            addInner(c, decodeRows, count, y);
        }
    }

    /** Whether one of the matrices that are a tensor together is changed. */
    boolean changes(WeightBlock block, TensorRole role, int part) {
        return !changesOf(block, role, part).isEmpty();
    }

    /**
     * Adds the changes of the embedding to what it has for some tokens.
     *
     * @param y embeddings, {@code [count x dim]}
     */
    void addEmbedding(WeightBlock block, int[] tokens, int decodeRows, int count, DeviceBuffer y) {
        for (Change c : changesOf(block, TensorRole.TOKEN_EMBEDDING, 0)) {
            ops.embed(c.down(), tokens, count, inner);
            addInner(c, decodeRows, count, y);
        }
    }

    private List<Change> changesOf(WeightBlock block, TensorRole role, int part) {
        return changes.isEmpty() ? List.of() : changes.getOrDefault(new Place(block.index(), role, part), List.of());
    }

    private void addInner(Change c, int decodeRows, int count, DeviceBuffer y) {
        ops.scale(inner, c.scale(), count * c.up().cols());
        ops.matmul(c.up(), inner, decodeRows, count, change);
        ops.add(y, change, count * c.up().rows());
    }

    @Override
    public void close() {
        owned.forEach(DeviceBuffer::close);
    }
}
