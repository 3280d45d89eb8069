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
        /** Attention, or what stands in its place. */
        ATTENTION,
        /**
         * The norm and the gate of a dense feed-forward network, or the up projection where there is no gate, or the norm and
         * the router of a mixture of experts.
         */
        FEED_FORWARD,
        /** The up projection of a dense feed-forward network with a gate. */
        FEED_FORWARD_UP,
        /** The down projection of a dense feed-forward network, with the norm behind it; with experts alone, that norm. */
        FEED_FORWARD_DOWN,
        EXPERT,
        OUTPUT;

        /** Whether it belongs to a feed-forward network without being an expert. */
        public boolean isFeedForward() {
            return this == FEED_FORWARD || this == FEED_FORWARD_UP || this == FEED_FORWARD_DOWN;
        }
    }

    /** Total bytes of the tensors. */
    public long byteSize() {
        // Asked for every block of every sweep, so without a stream.
        long bytes = 0;
        for (int i = 0; i < tensors.size(); i++) {
            bytes += tensors.get(i).byteSize();
        }
        return bytes;
    }

    /** The tensor with that role, if the block has one. */
    public Optional<BlockTensor> find(TensorRole role) {
        return tensors.stream().filter(t -> t.role() == role).findFirst();
    }

    /** Short name for tables and traces, for example {@code L07.attn}, {@code L07.down} or {@code L07.e113}. */
    public String label() {
        return switch (kind) {
            case EMBEDDING -> "embed";
            case OUTPUT -> "output";
            case ATTENTION ->
                (find(TensorRole.DELTA_CONVOLUTION).isPresent() ? "L%02d.delta" : "L%02d.attn").formatted(layer);
            case FEED_FORWARD ->
                (find(TensorRole.FFN_ROUTER).isPresent()
                                ? "L%02d.router"
                                : find(TensorRole.FFN_UP).isPresent() ? "L%02d.up" : "L%02d.gate")
                        .formatted(layer);
            case FEED_FORWARD_UP -> "L%02d.up".formatted(layer);
            case FEED_FORWARD_DOWN ->
                (find(TensorRole.FFN_DOWN).isPresent() ? "L%02d.down" : "L%02d.norm").formatted(layer);
            case EXPERT -> "L%02d.e%d".formatted(layer, expert);
        };
    }
}
