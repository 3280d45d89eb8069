package dev.prefetch.model;

import dev.prefetch.gguf.GgmlType;
import dev.prefetch.gguf.GgufFile;
import dev.prefetch.gguf.GgufTensor;
import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.EnumSet;
import java.util.HashSet;
import java.util.List;
import java.util.Optional;
import java.util.Set;
import java.util.stream.Stream;

/**
 * Low-rank changes of a model's matrices (Hu et al. 2021, arXiv 2106.09685), read from a GGUF file of the type
 * {@code adapter}: {@code W x} becomes {@code W x + scale * up (down x)}. Valid while the file is open.
 *
 * @param file the adapter's file
 * @param updates what it changes, one per matrix of a block
 */
public record LoraAdapter(GgufFile file, List<Update> updates) {

    public LoraAdapter {
        updates = List.copyOf(updates);
    }

    /**
     * A change of one matrix.
     *
     * @param block index of the block with the matrix
     * @param role the matrix
     * @param part index of the head whose matrix it is, where those of all heads are one tensor; else 0
     * @param down {@code [rank x cols]}; of the embedding {@code [vocabulary x rank]}, one row per token
     * @param up {@code [rows x rank]}
     * @param scale factor on the change
     */
    public record Update(int block, TensorRole role, int part, Matrix down, Matrix up, float scale) {

        /** Length of the vector between the two matrices. */
        public long rank() {
            return up.cols();
        }
    }

    /**
     * A matrix in the adapter's file.
     *
     * @param type element format
     * @param bytes its rows
     */
    public record Matrix(GgmlType type, long rows, long cols, MemorySegment bytes) {}

    /** The matrices that activations are multiplied with one by one. */
    private static final Set<TensorRole> ROLES = EnumSet.of(
            TensorRole.ATTENTION_Q,
            TensorRole.ATTENTION_K,
            TensorRole.ATTENTION_V,
            TensorRole.ATTENTION_Q_DOWN,
            TensorRole.ATTENTION_KV_DOWN,
            TensorRole.ATTENTION_KV_UP,
            TensorRole.ATTENTION_OUTPUT,
            TensorRole.DELTA_QKV,
            TensorRole.DELTA_GATE,
            TensorRole.DELTA_QKV_GATE,
            TensorRole.DELTA_ALPHA,
            TensorRole.DELTA_BETA,
            TensorRole.DELTA_BETA_ALPHA,
            TensorRole.FFN_GATE,
            TensorRole.FFN_UP,
            TensorRole.FFN_DOWN,
            TensorRole.FFN_ROUTER,
            TensorRole.FFN_SHARED_SCORE,
            TensorRole.OUTPUT);

    /** Those that every head has its own of. */
    private static final Set<TensorRole> PER_HEAD =
            EnumSet.of(TensorRole.ATTENTION_K_UP_TRANSPOSED, TensorRole.ATTENTION_V_UP);

    private static final String DOWN = ".lora_a";
    private static final String UP = ".lora_b";

    /**
     * Reads an adapter and checks that every tensor of it belongs to a matrix of the model and fits it.
     *
     * @param scale factor on the whole adapter, on top of its own {@code alpha / rank}
     * @throws UnsupportedModelException naming the adapter's file and the key or tensor otherwise
     */
    public static LoraAdapter read(GgufFile file, GgufFile model, ModelConfig config, ModelGraph graph, float scale) {
        return new Reader(file, model, scale).read(config, graph);
    }

    /** Bytes of all matrices. */
    public long byteSize() {
        return updates.stream()
                .mapToLong(u -> u.down().bytes().byteSize() + u.up().bytes().byteSize())
                .sum();
    }

    /** Element formats in use. */
    public Stream<GgmlType> types() {
        return updates.stream().flatMap(u -> Stream.of(u.down().type(), u.up().type()));
    }

    private record Pair(GgufTensor down, GgufTensor up) {}

    private record Reader(GgufFile file, GgufFile model, float scale) {

        LoraAdapter read(ModelConfig config, ModelGraph graph) {
            requireKey("general.type", "adapter");
            requireKey("adapter.type", "lora");
            requireKey("general.architecture", config.architecture().id());
            if (file.metadata().contains("adapter.alora.invocation_tokens")) {
                throw refuse(
                        "key 'adapter.alora.invocation_tokens': adapters that a token activates are not supported");
            }
            float alpha = file.metadata().floatOr("adapter.lora.alpha", 0);
            List<Update> updates = new ArrayList<>();
            Set<String> used = new HashSet<>();
            for (WeightBlock block : graph.blocks()) {
                for (BlockTensor tensor : block.tensors()) {
                    // Changes of a tied matrix are those of the embedding.
                    boolean tied =
                            tensor.role() == TensorRole.OUTPUT && !tensor.name().equals("output.weight");
                    if (tensor.role() == TensorRole.TOKEN_EMBEDDING) {
                        embedding(block, tensor, alpha, used).ifPresent(updates::add);
                    } else if (PER_HEAD.contains(tensor.role())) {
                        long heads = model.find(tensor.name()).orElseThrow().dimension(2);
                        for (int head = 0; head < heads; head++) {
                            update(block, tensor, head, heads, alpha, used).ifPresent(updates::add);
                        }
                    } else if (ROLES.contains(tensor.role()) && !tied) {
                        update(block, tensor, 0, 1, alpha, used).ifPresent(updates::add);
                    }
                }
            }
            for (GgufTensor tensor : file.tensors()) {
                if (!used.contains(tensor.name())) {
                    throw refuse("tensor " + tensor.name() + " belongs to no matrix of the model that can be adapted");
                }
            }
            return new LoraAdapter(file, updates);
        }

        private void requireKey(String key, String expected) {
            String value = file.metadata().stringOr(key, "");
            if (!value.equals(expected)) {
                throw refuse("key '" + key + "' is '" + value + "', but a LoRA adapter of this model has '" + expected
                        + "'");
            }
        }

        /** The two tensors that change a matrix, if the file has them. */
        private Optional<Pair> pair(String target, Set<String> used) {
            Optional<GgufTensor> down = file.find(target + DOWN);
            Optional<GgufTensor> up = file.find(target + UP);
            if (down.isEmpty() && up.isEmpty()) {
                return Optional.empty();
            }
            if (down.isEmpty() || up.isEmpty()) {
                throw refuse("tensor " + target + (down.isEmpty() ? DOWN : UP) + " is missing");
            }
            used.add(down.get().name());
            used.add(up.get().name());
            return Optional.of(new Pair(down.get(), up.get()));
        }

        /** The part of the pair that belongs to the rows which a block has of a tensor, or to one part of several. */
        private Optional<Update> update(
                WeightBlock block, BlockTensor target, int part, long parts, float alpha, Set<String> used) {
            Optional<Pair> found = pair(target.name(), used);
            if (found.isEmpty()) {
                return Optional.empty();
            }
            GgufTensor down = found.get().down();
            GgufTensor up = found.get().up();
            GgufTensor whole = model.find(target.name()).orElseThrow();
            long rank = down.dimension(1);
            long experts = whole.dimension(2);
            requireDimensions(down, whole.dimension(0), rank, experts);
            requireDimensions(up, rank, whole.dimension(1), experts);
            long rows = target.rows() / parts;
            long firstRow =
                    (target.fileOffset() - whole.offset()) / target.type().byteSize(target.cols()) + part * rows;
            long expert = firstRow / whole.dimension(1);
            return Optional.of(new Update(
                    block.index(),
                    target.role(),
                    part,
                    rows(down, expert * rank, rank),
                    rows(up, firstRow, rows),
                    factor(alpha, rank)));
        }

        /** The change of the embedding, whose first matrix has a row per token. */
        private Optional<Update> embedding(WeightBlock block, BlockTensor target, float alpha, Set<String> used) {
            Optional<Pair> found = pair(target.name(), used);
            if (found.isEmpty()) {
                return Optional.empty();
            }
            GgufTensor down = found.get().down();
            GgufTensor up = found.get().up();
            long rank = down.dimension(0);
            requireDimensions(down, rank, target.rows(), 1);
            requireDimensions(up, rank, target.cols(), 1);
            return Optional.of(new Update(
                    block.index(),
                    target.role(),
                    0,
                    rows(down, 0, target.rows()),
                    rows(up, 0, target.cols()),
                    factor(alpha, rank)));
        }

        private float factor(float alpha, long rank) {
            return alpha == 0 ? scale : scale * alpha / rank;
        }

        private void requireDimensions(GgufTensor tensor, long cols, long rows, long experts) {
            if (tensor.dimension(0) != cols || tensor.dimension(1) != rows || tensor.dimension(2) != experts) {
                throw refuse("tensor " + tensor.name() + " has dimensions " + tensor.dimensions()
                        + " but the model asks" + " for " + List.of(cols, rows, experts));
            }
        }

        private Matrix rows(GgufTensor tensor, long first, long count) {
            long cols = tensor.dimension(0);
            long rowBytes = tensor.type().byteSize(cols);
            MemorySegment bytes = file.slice(tensor).asSlice(first * rowBytes, count * rowBytes);
            return new Matrix(tensor.type(), count, cols, bytes);
        }

        private UnsupportedModelException refuse(String problem) {
            return new UnsupportedModelException(file.path() + ": " + problem);
        }
    }
}
