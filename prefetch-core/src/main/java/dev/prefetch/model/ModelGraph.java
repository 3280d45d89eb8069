package dev.prefetch.model;

import dev.prefetch.gguf.GgufFile;
import dev.prefetch.gguf.GgufTensor;
import dev.prefetch.model.WeightBlock.Kind;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.Set;
import java.util.regex.Pattern;
import java.util.stream.Collectors;

/**
 * The static graph: every weight block of a model in the order in which a sweep needs it. A model with a tied output has
 * the embedding matrix in two blocks, with the same bytes of the file behind both.
 */
public final class ModelGraph {

    /** Rotary frequencies: {@link RopeReader} reads the factors; old converters also stored what follows from the keys. */
    private static final Pattern IGNORED =
            Pattern.compile("rope_freqs\\.weight|blk\\.\\d+\\.(attn_rot_embd|rope_freqs)(\\.weight)?");

    private final List<WeightBlock> blocks;
    private final WeightBlock embedding;
    private final WeightBlock output;
    private final WeightBlock[] attention;
    private final WeightBlock[] feedForward;
    private final WeightBlock[] feedForwardUp;
    private final WeightBlock[] feedForwardDown;
    private final WeightBlock[][] experts;

    private ModelGraph(List<WeightBlock> blocks, int layers, int expertCount) {
        this.blocks = List.copyOf(blocks);
        this.embedding = blocks.getFirst();
        this.output = blocks.getLast();
        this.attention = new WeightBlock[layers];
        this.feedForward = new WeightBlock[layers];
        this.feedForwardUp = new WeightBlock[layers];
        this.feedForwardDown = new WeightBlock[layers];
        this.experts = new WeightBlock[layers][expertCount];
        for (WeightBlock block : blocks) {
            switch (block.kind()) {
                case ATTENTION -> attention[block.layer()] = block;
                case FEED_FORWARD -> feedForward[block.layer()] = block;
                case FEED_FORWARD_UP -> feedForwardUp[block.layer()] = block;
                case FEED_FORWARD_DOWN -> feedForwardDown[block.layer()] = block;
                case EXPERT -> experts[block.layer()][block.expert()] = block;
                case EMBEDDING, OUTPUT -> {
                    // The first and the last block.
                }
            }
        }
    }

    /**
     * Builds the graph of a file and checks that every tensor is there with the shape the hyper-parameters ask for, and
     * that there are no others.
     *
     * @throws UnsupportedModelException naming the tensor otherwise
     */
    public static ModelGraph of(GgufFile file, ModelConfig config) {
        List<WeightBlock> blocks = new ArrayList<>();
        Builder embedding = new Builder(file, "");
        embedding.matrix(TensorRole.TOKEN_EMBEDDING, "token_embd", config.vocabularySize(), config.dim());
        blocks.add(embedding.build(0, Kind.EMBEDDING, -1));
        for (int layer = 0; layer < config.layers(); layer++) {
            blocks.add(attention(file, config, layer).build(blocks.size(), Kind.ATTENTION, layer));
            addFeedForward(blocks, file, config, layer);
            for (int expert = 0; expert < config.experts(); expert++) {
                blocks.add(expert(file, config, layer, expert).build(blocks.size(), layer, expert));
            }
        }
        Builder output = new Builder(file, "");
        output.vector(TensorRole.OUTPUT_NORM, "output_norm", config.dim());
        boolean tied = file.find("output.weight").isEmpty();
        output.matrix(TensorRole.OUTPUT, tied ? "token_embd" : "output", config.vocabularySize(), config.dim());
        blocks.add(output.build(blocks.size(), Kind.OUTPUT, -1));
        requireAllUsed(file, blocks);
        return new ModelGraph(blocks, config.layers(), config.experts());
    }

    /**
     * A tensor that no block reads is part of the model all the same: a bias, a shared expert, a layer beyond
     * {@code block_count}. Leaving it out would give wrong tokens without a word.
     */
    private static void requireAllUsed(GgufFile file, List<WeightBlock> blocks) {
        Set<String> used = blocks.stream()
                .flatMap(block -> block.tensors().stream())
                .map(BlockTensor::name)
                .collect(Collectors.toSet());
        for (GgufTensor tensor : file.tensors()) {
            if (!used.contains(tensor.name()) && !IGNORED.matcher(tensor.name()).matches()) {
                throw new UnsupportedModelException(file.path() + ": tensor " + tensor.name()
                        + " is not part of the architecture as it is supported, so the model would answer wrongly"
                        + " without it");
            }
        }
    }

    private static Builder attention(GgufFile file, ModelConfig config, int layer) {
        Builder builder = new Builder(file, "blk." + layer + ".");
        builder.vector(TensorRole.ATTENTION_NORM, "attn_norm", config.dim());
        builder.matrix(TensorRole.ATTENTION_Q, "attn_q", config.queryDim(), config.dim());
        builder.matrix(TensorRole.ATTENTION_K, "attn_k", config.keyDim(), config.dim());
        builder.matrix(TensorRole.ATTENTION_V, "attn_v", config.valueDim(), config.dim());
        builder.matrix(TensorRole.ATTENTION_OUTPUT, "attn_output", config.dim(), config.attentionDim());
        builder.optionalBias(TensorRole.ATTENTION_Q_BIAS, "attn_q", config.queryDim());
        builder.optionalBias(TensorRole.ATTENTION_K_BIAS, "attn_k", config.keyDim());
        builder.optionalBias(TensorRole.ATTENTION_V_BIAS, "attn_v", config.valueDim());
        if (config.architecture().queryKeyNorm()) {
            builder.vector(
                    TensorRole.ATTENTION_Q_NORM,
                    "attn_q_norm",
                    config.attention().keyDim());
            builder.vector(
                    TensorRole.ATTENTION_K_NORM,
                    "attn_k_norm",
                    config.attention().keyDim());
        }
        return builder;
    }

    /**
     * The three matrices of a dense network are used one after the other, so each is a block: smaller blocks let a buffer
     * of the same size run further ahead of compute, and let a budget be used up more exactly.
     */
    private static void addFeedForward(List<WeightBlock> blocks, GgufFile file, ModelConfig config, int layer) {
        Builder first = new Builder(file, "blk." + layer + ".");
        first.vector(TensorRole.FFN_NORM, "ffn_norm", config.dim());
        if (config.mixtureOfExperts()) {
            first.matrix(TensorRole.FFN_ROUTER, "ffn_gate_inp", config.experts(), config.dim());
            blocks.add(first.build(blocks.size(), Kind.FEED_FORWARD, layer));
            return;
        }
        first.matrix(TensorRole.FFN_GATE, "ffn_gate", config.ffnDim(), config.dim());
        blocks.add(first.build(blocks.size(), Kind.FEED_FORWARD, layer));
        Builder up = new Builder(file, "blk." + layer + ".");
        up.matrix(TensorRole.FFN_UP, "ffn_up", config.ffnDim(), config.dim());
        blocks.add(up.build(blocks.size(), Kind.FEED_FORWARD_UP, layer));
        Builder down = new Builder(file, "blk." + layer + ".");
        down.matrix(TensorRole.FFN_DOWN, "ffn_down", config.dim(), config.ffnDim());
        blocks.add(down.build(blocks.size(), Kind.FEED_FORWARD_DOWN, layer));
    }

    private static Builder expert(GgufFile file, ModelConfig config, int layer, int expert) {
        Builder builder = new Builder(file, "blk." + layer + ".");
        int experts = config.experts();
        builder.slice(TensorRole.FFN_GATE, "ffn_gate_exps", config.ffnDim(), config.dim(), expert, experts);
        builder.slice(TensorRole.FFN_UP, "ffn_up_exps", config.ffnDim(), config.dim(), expert, experts);
        builder.slice(TensorRole.FFN_DOWN, "ffn_down_exps", config.dim(), config.ffnDim(), expert, experts);
        return builder;
    }

    /** All blocks, in static order. */
    public List<WeightBlock> blocks() {
        return blocks;
    }

    /** The token embedding. */
    public WeightBlock embedding() {
        return embedding;
    }

    /** The attention of a layer. */
    public WeightBlock attention(int layer) {
        return attention[layer];
    }

    /** Norm and gate of the feed-forward network of a layer; with experts, its norm and router. */
    public WeightBlock feedForward(int layer) {
        return feedForward[layer];
    }

    /** The up projection of a dense feed-forward network. */
    public WeightBlock feedForwardUp(int layer) {
        return feedForwardUp[layer];
    }

    /** The down projection of a dense feed-forward network. */
    public WeightBlock feedForwardDown(int layer) {
        return feedForwardDown[layer];
    }

    /** An expert of a layer. */
    public WeightBlock expert(int layer, int expert) {
        return experts[layer][expert];
    }

    /** The output norm and projection. */
    public WeightBlock output() {
        return output;
    }

    /** Collects the tensors of one block, checking each. */
    private static final class Builder {

        private final GgufFile file;
        private final String prefix;
        private final List<BlockTensor> tensors = new ArrayList<>();

        Builder(GgufFile file, String prefix) {
            this.file = file;
            this.prefix = prefix;
        }

        void vector(TensorRole role, String name, long cols) {
            add(role, require(name + ".weight"), 1, cols);
        }

        void matrix(TensorRole role, String name, long rows, long cols) {
            add(role, require(name + ".weight"), rows, cols);
        }

        void optionalBias(TensorRole role, String name, long cols) {
            file.find(prefix + name + ".bias").ifPresent(tensor -> add(role, tensor, 1, cols));
        }

        /** One expert's matrix out of a tensor that holds all of them. */
        void slice(TensorRole role, String name, long rows, long cols, int index, int count) {
            GgufTensor tensor = require(name + ".weight");
            requireDimensions(tensor, List.of(cols, rows, (long) count));
            long bytes = tensor.byteSize() / count;
            long offset = tensor.offset() + index * bytes;
            tensors.add(new BlockTensor(role, tensor.name(), tensor.type(), rows, cols, offset, bytes));
        }

        private void add(TensorRole role, GgufTensor tensor, long rows, long cols) {
            requireDimensions(tensor, rows == 1 ? List.of(cols) : List.of(cols, rows));
            tensors.add(new BlockTensor(
                    role, tensor.name(), tensor.type(), rows, cols, tensor.offset(), tensor.byteSize()));
        }

        private GgufTensor require(String name) {
            return file.find(prefix + name)
                    .orElseThrow(() ->
                            new UnsupportedModelException(file.path() + ": tensor " + prefix + name + " is missing"));
        }

        private void requireDimensions(GgufTensor tensor, List<Long> expected) {
            for (int i = 0; i < 4; i++) {
                if (tensor.dimension(i) != (i < expected.size() ? expected.get(i) : 1)) {
                    throw new UnsupportedModelException(file.path() + ": tensor " + tensor.name() + " has dimensions "
                            + tensor.dimensions() + " but the hyper-parameters ask for " + expected);
                }
            }
        }

        WeightBlock build(int index, int layer, int expert) {
            return build(index, Kind.EXPERT, layer, expert);
        }

        WeightBlock build(int index, Kind kind, int layer) {
            return build(index, kind, layer, -1);
        }

        private WeightBlock build(int index, Kind kind, int layer, int expert) {
            tensors.sort(Comparator.comparingLong(BlockTensor::fileOffset));
            return new WeightBlock(index, kind, layer, expert, tensors);
        }
    }
}
