package dev.prefetch.model;

import java.util.List;
import java.util.Optional;

/**
 * The unit of transfer: the tensors one step of the graph needs together.
 *
 * @param index place in the static order, from 0
 * @param kind what step it serves
 * @param layer layer number, or -1 for embedding and output
 * @param expert expert number, or -1
 * @param tensors its tensors, in file order
 */
public record WeightBlock(int index, Kind kind, int layer, int expert, List<BlockTensor> tensors) {

    public WeightBlock {
        tensors = List.copyOf(tensors);
    }

    /** The step a block serves. */
    public enum Kind {
        EMBEDDING,
        ATTENTION,
        /** A dense feed-forward network, or the norm and router of a mixture of experts. */
        FEED_FORWARD,
        EXPERT,
        OUTPUT
    }

    /** Total bytes of the tensors. */
    public long byteSize() {
        return tensors.stream().mapToLong(BlockTensor::byteSize).sum();
    }

    /** The tensor with that role, if the block has one. */
    public Optional<BlockTensor> find(TensorRole role) {
        return tensors.stream().filter(t -> t.role() == role).findFirst();
    }

    /** Short name for tables and traces, for example {@code L07.attn} or {@code L07.e113}. */
    public String label() {
        return switch (kind) {
            case EMBEDDING -> "embed";
            case OUTPUT -> "output";
            case ATTENTION -> "L%02d.attn".formatted(layer);
            case FEED_FORWARD -> "L%02d.ffn".formatted(layer);
            case EXPERT -> "L%02d.e%d".formatted(layer, expert);
        };
    }
}
