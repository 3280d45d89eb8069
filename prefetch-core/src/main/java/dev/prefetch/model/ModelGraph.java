package dev.prefetch.model;

import dev.prefetch.backend.DeltaShape;
import dev.prefetch.gguf.GgmlType;
import dev.prefetch.gguf.GgufFile;
import dev.prefetch.gguf.GgufTensor;
import dev.prefetch.model.Traits.HeadNorms;
import dev.prefetch.model.Traits.LayerNorms;
import dev.prefetch.model.WeightBlock.Kind;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.Set;
import java.util.regex.Pattern;
import java.util.stream.Collectors;
import java.util.stream.IntStream;

/**
 * The static graph: every weight block of a model in the order in which a sweep needs it. A model with a tied output has
 * the embedding matrix in two blocks, with the same bytes of the file behind both.
 */
public final class ModelGraph {

    /** Rotary frequencies: {@link RopeReader} reads the factors; old converters also stored what follows from the keys. */
    private static final Pattern IGNORED = Pattern.compile(
            "rope_(freqs|factors_long|factors_short)\\.weight|blk\\.\\d+\\.(attn_rot_embd|rope_freqs)(\\.weight)?");

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
        this.experts = new WeightBlock[layers][0];
        for (WeightBlock block : blocks) {
            switch (block.kind()) {
                case ATTENTION -> attention[block.layer()] = block;
                case FEED_FORWARD -> feedForward[block.layer()] = block;
                case FEED_FORWARD_UP -> feedForwardUp[block.layer()] = block;
                case FEED_FORWARD_DOWN -> feedForwardDown[block.layer()] = block;
                case EXPERT -> {
                    // The first layers may be without.
                    if (experts[block.layer()].length == 0) {
                        experts[block.layer()] = new WeightBlock[expertCount];
                    }
                    experts[block.layer()][block.expert()] = block;
                }
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
        if (config.encoder()) {
            addToEmbedding(embedding, config);
        }
        blocks.add(embedding.build(0, Kind.EMBEDDING, -1));
        for (int layer = 0; layer < config.layers(); layer++) {
            blocks.add(attention(file, config, layer).build(blocks.size(), Kind.ATTENTION, layer));
            addFeedForward(blocks, file, config, layer);
            int experts = config.layerConfigs().get(layer).experts() ? config.experts() : 0;
            for (int expert = 0; expert < experts; expert++) {
                blocks.add(expert(file, config, layer, expert).build(blocks.size(), layer, expert));
            }
        }
        blocks.add(output(file, config).build(blocks.size(), Kind.OUTPUT, -1));
        requireAllUsed(file, config, blocks);
        return new ModelGraph(blocks, config.layers(), config.experts());
    }

    /** Of the kinds of text only the first is used, as embedding models do. */
    private static void addToEmbedding(Builder embedding, ModelConfig config) {
        if (embedding.has("token_types.weight")) {
            long types = embedding.rowsOf("token_types.weight");
            embedding.rows(TensorRole.TYPE_EMBEDDING, "token_types", 0, 1, types, config.dim());
        }
        if (config.architecture().traits().learntPositions()) {
            embedding.matrix(
                    TensorRole.POSITION_EMBEDDING, "position_embd", config.trainedContextLength(), config.dim());
        }
        embedding.layerNorm(TensorRole.EMBEDDING_NORM, TensorRole.EMBEDDING_NORM_BIAS, "token_embd_norm", config.dim());
    }

    /** The last norm and the logits; of an encoder the norm that ends the last layer. */
    private static Builder output(GgufFile file, ModelConfig config) {
        if (config.encoder()) {
            Builder output = new Builder(file, "blk." + (config.layers() - 1) + ".");
            output.layerNorm(TensorRole.OUTPUT_NORM, TensorRole.OUTPUT_NORM_BIAS, "layer_output_norm", config.dim());
            return output;
        }
        Builder output = new Builder(file, "");
        output.vector(TensorRole.OUTPUT_NORM, "output_norm", config.dim());
        boolean tied = file.find("output.weight").isEmpty();
        output.matrix(TensorRole.OUTPUT, tied ? "token_embd" : "output", config.vocabularySize(), config.dim());
        return output;
    }

    /**
     * A tensor that no block reads is part of the model all the same: a bias, a shared expert, a layer beyond
     * {@code block_count}. Leaving it out would give wrong tokens without a word.
     */
    private static void requireAllUsed(GgufFile file, ModelConfig config, List<WeightBlock> blocks) {
        Set<String> used = blocks.stream()
                .flatMap(block -> block.tensors().stream())
                .map(BlockTensor::name)
                .collect(Collectors.toSet());
        int most = config.layers() + config.guessingLayers();
        Set<String> leftOut = IntStream.range(config.layers(), most)
                .mapToObj(layer -> "blk." + layer)
                .collect(Collectors.toSet());
        for (GgufTensor tensor : file.tensors()) {
            if (!used.contains(tensor.name())
                    && !leftOut.contains(layerOf(tensor.name()))
                    && !IGNORED.matcher(tensor.name()).matches()) {
                throw new UnsupportedModelException(file.path() + ": tensor " + tensor.name()
                        + " is not part of the architecture as it is supported, so the model would answer wrongly"
                        + " without it");
            }
        }
    }

    /** {@code blk.N} of the tensor of a layer; another name as it is. */
    private static String layerOf(String name) {
        int end = name.indexOf('.', "blk.".length());
        return name.startsWith("blk.") && end > 0 ? name.substring(0, end) : name;
    }

    private static Builder attention(GgufFile file, ModelConfig config, int layer) {
        Traits traits = config.architecture().traits();
        Builder builder = new Builder(file, "blk." + layer + ".");
        if (traits.layerNorms() != LayerNorms.AFTER && traits.layerNorms() != LayerNorms.OF_THE_SUM) {
            builder.vector(TensorRole.ATTENTION_NORM, "attn_norm", config.dim());
        }
        if (config.delta() != null && config.layerConfigs().get(layer).attention() == null) {
            delta(builder, config, config.delta());
            return builder;
        }
        if (config.latent() != null) {
            latent(builder, config, config.latent());
        } else {
            queryKeyValue(builder, config);
        }
        if (traits.headNorms() != HeadNorms.NONE) {
            boolean each = traits.headNorms() == HeadNorms.EACH_HEAD;
            int headDim = config.attention().keyDim();
            builder.vector(TensorRole.ATTENTION_Q_NORM, "attn_q_norm", each ? headDim : config.queryDim());
            builder.vector(TensorRole.ATTENTION_K_NORM, "attn_k_norm", each ? headDim : config.keyDim());
        }
        if (traits.sinks()) {
            builder.vector(
                    TensorRole.ATTENTION_SINKS, "attn_sinks", config.attention().heads());
        }
        builder.matrix(TensorRole.ATTENTION_OUTPUT, "attn_output", config.dim(), config.attentionDim());
        builder.optionalBias(TensorRole.ATTENTION_OUTPUT_BIAS, "attn_output", config.dim());
        if (traits.normsAfter()) {
            builder.vector(TensorRole.ATTENTION_POST_NORM, "post_attention_norm", config.dim());
        }
        if (traits.layerNorms() == LayerNorms.OF_THE_SUM) {
            builder.layerNorm(
                    TensorRole.ATTENTION_SUM_NORM,
                    TensorRole.ATTENTION_SUM_NORM_BIAS,
                    "attn_output_norm",
                    config.dim());
        }
        return builder;
    }

    /**
     * Linear attention. Files have what a head learns and forgets in two matrices or in one, and the first ones also queries,
     * keys, values and gates.
     */
    private static void delta(Builder builder, ModelConfig config, DeltaShape delta) {
        int dim = config.dim();
        int heads = delta.valueHeads();
        if (builder.has("ssm_in.weight")) {
            builder.matrix(TensorRole.DELTA_QKV_GATE, "ssm_in", (long) delta.channels() + delta.valueDim(), dim);
        } else {
            builder.matrix(TensorRole.DELTA_QKV, "attn_qkv", delta.channels(), dim);
            builder.matrix(TensorRole.DELTA_GATE, "attn_gate", delta.valueDim(), dim);
        }
        builder.plain(TensorRole.DELTA_CONVOLUTION, "ssm_conv1d.weight", delta.channels(), delta.kernel());
        builder.plain(TensorRole.DELTA_DECAY, "ssm_a", 1, heads);
        builder.plain(TensorRole.DELTA_DECAY_BIAS, "ssm_dt.bias", 1, heads);
        if (builder.has("ssm_ba.weight")) {
            builder.matrix(TensorRole.DELTA_BETA_ALPHA, "ssm_ba", 2L * heads, dim);
        } else {
            builder.matrix(TensorRole.DELTA_BETA, "ssm_beta", heads, dim);
            builder.matrix(TensorRole.DELTA_ALPHA, "ssm_alpha", heads, dim);
        }
        builder.vector(TensorRole.DELTA_NORM, "ssm_norm", delta.headDim());
        builder.matrix(TensorRole.ATTENTION_OUTPUT, "ssm_out", dim, delta.valueDim());
    }

    private static void latent(Builder builder, ModelConfig config, LatentShape latent) {
        int heads = config.attention().heads();
        int queries = heads * latent.keyDim();
        int rank = latent.rank();
        if (latent.queryRank() > 0) {
            builder.matrix(TensorRole.ATTENTION_Q_DOWN, "attn_q_a", latent.queryRank(), config.dim());
            builder.vector(TensorRole.ATTENTION_Q_DOWN_NORM, "attn_q_a_norm", latent.queryRank());
            builder.matrix(TensorRole.ATTENTION_Q, "attn_q_b", queries, latent.queryRank());
        } else {
            builder.matrix(TensorRole.ATTENTION_Q, "attn_q", queries, config.dim());
        }
        builder.matrix(TensorRole.ATTENTION_KV_DOWN, "attn_kv_a_mqa", rank + latent.rotatedDim(), config.dim());
        builder.vector(TensorRole.ATTENTION_KV_DOWN_NORM, "attn_kv_a_norm", rank);
        if (latent.absorbed()) {
            builder.stack(TensorRole.ATTENTION_K_UP_TRANSPOSED, "attn_k_b", rank, latent.plainDim(), heads);
            builder.stack(TensorRole.ATTENTION_V_UP, "attn_v_b", latent.valueDim(), rank, heads);
        } else {
            int both = latent.plainDim() + latent.valueDim();
            builder.matrix(TensorRole.ATTENTION_KV_UP, "attn_kv_b", (long) heads * both, rank);
        }
    }

    /** Three matrices, or one whose rows are those of the three. */
    private static void queryKeyValue(Builder builder, ModelConfig config) {
        int q = config.queryDim() * (config.gatesAttention() ? 2 : 1);
        int k = config.keyDim();
        int v = config.valueDim();
        if (builder.has("attn_qkv.weight")) {
            int all = q + k + v;
            builder.rows(TensorRole.ATTENTION_Q, "attn_qkv", 0, q, all, config.dim());
            builder.rows(TensorRole.ATTENTION_K, "attn_qkv", q, k, all, config.dim());
            builder.rows(TensorRole.ATTENTION_V, "attn_qkv", q + k, v, all, config.dim());
            builder.optionalBiasPart(TensorRole.ATTENTION_Q_BIAS, "attn_qkv", 0, q, all);
            builder.optionalBiasPart(TensorRole.ATTENTION_K_BIAS, "attn_qkv", q, k, all);
            builder.optionalBiasPart(TensorRole.ATTENTION_V_BIAS, "attn_qkv", q + k, v, all);
            return;
        }
        builder.matrix(TensorRole.ATTENTION_Q, "attn_q", q, config.dim());
        builder.matrix(TensorRole.ATTENTION_K, "attn_k", k, config.dim());
        builder.matrix(TensorRole.ATTENTION_V, "attn_v", v, config.dim());
        builder.optionalBias(TensorRole.ATTENTION_Q_BIAS, "attn_q", q);
        builder.optionalBias(TensorRole.ATTENTION_K_BIAS, "attn_k", k);
        builder.optionalBias(TensorRole.ATTENTION_V_BIAS, "attn_v", v);
    }

    /**
     * Norm and router first, then the dense network: that of a dense model, or the one beside the experts. Its three
     * matrices are used one after the other, so each is a block: smaller blocks let a buffer of the same size run further
     * ahead of compute, and let a budget be used up more exactly.
     */
    private static void addFeedForward(List<WeightBlock> blocks, GgufFile file, ModelConfig config, int layer) {
        Traits traits = config.architecture().traits();
        Builder first = new Builder(file, "blk." + layer + ".");
        switch (traits.layerNorms()) {
            case BEFORE, BEFORE_AND_AFTER -> first.vector(TensorRole.FFN_NORM, "ffn_norm", config.dim());
            case BEFORE_BY_ANOTHER_NAME -> first.vector(TensorRole.FFN_NORM, "post_attention_norm", config.dim());
            case AFTER, OF_THE_SUM -> {
                // Nothing in front.
            }
        }
        String suffix = "";
        if (config.layerConfigs().get(layer).experts()) {
            first.matrix(TensorRole.FFN_ROUTER, "ffn_gate_inp", config.experts(), config.dim());
            first.optionalBias(TensorRole.FFN_ROUTER_BIAS, "ffn_gate_inp", config.experts());
            first.optionalPlainBias(TensorRole.FFN_ROUTER_CHOICE_BIAS, "exp_probs_b", config.experts());
            suffix = "_shexp";
            if (config.sharedFfnDim() == 0) {
                blocks.add(first.build(blocks.size(), Kind.FEED_FORWARD, layer));
                Builder behind = new Builder(file, "blk." + layer + ".");
                if (normSum(behind, config, layer)) {
                    blocks.add(behind.build(blocks.size(), Kind.FEED_FORWARD_DOWN, layer));
                }
                return;
            }
            first.optionalVector(TensorRole.FFN_SHARED_SCORE, "ffn_gate_inp_shexp", config.dim());
        }
        Builder up = new Builder(file, "blk." + layer + ".");
        Builder down = new Builder(file, "blk." + layer + ".");
        int width = config.denseFfnDim(layer);
        boolean gated = traits.activation().gated();
        if (gated) {
            gateAndUp(first, up, suffix, width, config.dim());
        } else {
            up(first, suffix, width, config.dim());
        }
        down.matrix(TensorRole.FFN_DOWN, "ffn_down" + suffix, config.dim(), width);
        down.optionalBias(TensorRole.FFN_DOWN_BIAS, "ffn_down" + suffix, config.dim());
        if (traits.normsAfter()) {
            down.vector(TensorRole.FFN_POST_NORM, "post_ffw_norm", config.dim());
        }
        normSum(down, config, layer);
        blocks.add(first.build(blocks.size(), Kind.FEED_FORWARD, layer));
        if (gated) {
            blocks.add(up.build(blocks.size(), Kind.FEED_FORWARD_UP, layer));
        }
        blocks.add(down.build(blocks.size(), Kind.FEED_FORWARD_DOWN, layer));
    }

    /** The norm of the residual stream that ends a layer, if it has one; that of the last is part of the output. */
    private static boolean normSum(Builder builder, ModelConfig config, int layer) {
        boolean has =
                config.architecture().traits().layerNorms() == LayerNorms.OF_THE_SUM && layer < config.layers() - 1;
        if (has) {
            builder.layerNorm(TensorRole.FFN_SUM_NORM, TensorRole.FFN_SUM_NORM_BIAS, "layer_output_norm", config.dim());
        }
        return has;
    }

    /** Two matrices, or one whose rows are those of the two. */
    private static void gateAndUp(Builder gate, Builder up, String suffix, int width, int dim) {
        if (!gate.has("ffn_gate" + suffix + ".weight") && gate.rowsOf("ffn_up" + suffix + ".weight") == 2L * width) {
            gate.rows(TensorRole.FFN_GATE, "ffn_up" + suffix, 0, width, 2L * width, dim);
            up.rows(TensorRole.FFN_UP, "ffn_up" + suffix, width, width, 2L * width, dim);
            return;
        }
        gate.matrix(TensorRole.FFN_GATE, "ffn_gate" + suffix, width, dim);
        gate.optionalBias(TensorRole.FFN_GATE_BIAS, "ffn_gate" + suffix, width);
        up(up, suffix, width, dim);
    }

    private static void up(Builder up, String suffix, int width, int dim) {
        up.matrix(TensorRole.FFN_UP, "ffn_up" + suffix, width, dim);
        up.optionalBias(TensorRole.FFN_UP_BIAS, "ffn_up" + suffix, width);
    }

    private static Builder expert(GgufFile file, ModelConfig config, int layer, int expert) {
        Builder builder = new Builder(file, "blk." + layer + ".");
        int experts = config.experts();
        int width = config.expertFfnDim();
        if (config.architecture().traits().activation().gated()) {
            builder.slice(TensorRole.FFN_GATE, "ffn_gate_exps", width, config.dim(), expert, experts);
            builder.optionalBiasSlice(TensorRole.FFN_GATE_BIAS, "ffn_gate_exps", width, expert, experts);
        }
        builder.slice(TensorRole.FFN_UP, "ffn_up_exps", width, config.dim(), expert, experts);
        builder.slice(TensorRole.FFN_DOWN, "ffn_down_exps", config.dim(), width, expert, experts);
        builder.optionalBiasSlice(TensorRole.FFN_UP_BIAS, "ffn_up_exps", width, expert, experts);
        builder.optionalBiasSlice(TensorRole.FFN_DOWN_BIAS, "ffn_down_exps", config.dim(), expert, experts);
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

    /** Norm and gate of the feed-forward network of a layer, or up projection without gate; with experts, norm and router. */
    public WeightBlock feedForward(int layer) {
        return feedForward[layer];
    }

    /** The up projection of a dense feed-forward network with a gate. */
    public WeightBlock feedForwardUp(int layer) {
        return feedForwardUp[layer];
    }

    /**
     * The down projection of a dense feed-forward network, with the norm behind it; where there are experts alone, that norm.
     */
    public WeightBlock feedForwardDown(int layer) {
        return feedForwardDown[layer];
    }

    /** An expert of a layer. */
    public WeightBlock expert(int layer, int expert) {
        return experts[layer][expert];
    }

    /** The block with most of what a layer's network computes: one of its experts, or the gate of a dense one. */
    public WeightBlock network(int layer) {
        return experts[layer].length > 0 ? experts[layer][0] : feedForward[layer];
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

        void layerNorm(TensorRole gain, TensorRole bias, String name, long cols) {
            vector(gain, name, cols);
            add(bias, require(name + ".bias"), 1, cols);
        }

        void matrix(TensorRole role, String name, long rows, long cols) {
            add(role, require(name + ".weight"), rows, cols);
        }

        boolean has(String name) {
            return file.find(prefix + name).isPresent();
        }

        /** Rows of a matrix, or 0 when there is none of that name. */
        long rowsOf(String name) {
            return file.find(prefix + name).map(tensor -> tensor.dimension(1)).orElse(0L);
        }

        /** Some rows of a matrix, as a matrix. */
        void rows(TensorRole role, String name, long first, long rows, long all, long cols) {
            GgufTensor tensor = require(name + ".weight");
            requireDimensions(tensor, List.of(cols, all));
            long rowBytes = tensor.byteSize() / all;
            tensors.add(new BlockTensor(
                    role,
                    tensor.name(),
                    tensor.type(),
                    rows,
                    cols,
                    tensor.offset() + first * rowBytes,
                    rows * rowBytes));
        }

        void optionalVector(TensorRole role, String name, long cols) {
            file.find(prefix + name + ".weight").ifPresent(tensor -> add(role, tensor, 1, cols));
        }

        /** One expert's vector out of a tensor that holds all of them, if there is one. */
        void optionalBiasSlice(TensorRole role, String name, long cols, int index, int count) {
            file.find(prefix + name + ".bias").ifPresent(tensor -> {
                requireDimensions(tensor, List.of(cols, (long) count));
                long bytes = tensor.byteSize() / count;
                long offset = tensor.offset() + index * bytes;
                tensors.add(new BlockTensor(role, tensor.name(), tensor.type(), 1, cols, offset, bytes));
            });
        }

        /** Some elements of a plain bias, if there is one. */
        void optionalBiasPart(TensorRole role, String name, long first, long count, long all) {
            if (has(name + ".bias")) {
                GgufTensor tensor = requirePlain(name + ".bias");
                requireDimensions(tensor, List.of(all));
                tensors.add(new BlockTensor(
                        role,
                        tensor.name(),
                        tensor.type(),
                        1,
                        count,
                        tensor.offset() + first * Float.BYTES,
                        count * Float.BYTES));
            }
        }

        void optionalBias(TensorRole role, String name, long cols) {
            file.find(prefix + name + ".bias").ifPresent(tensor -> add(role, tensor, 1, cols));
        }

        /** A bias that the processor reads itself, so it must be of plain numbers. */
        void optionalPlainBias(TensorRole role, String name, long cols) {
            if (has(name + ".bias")) {
                plain(role, name + ".bias", 1, cols);
            }
        }

        /** A tensor of plain numbers, with its full name. */
        void plain(TensorRole role, String name, long rows, long cols) {
            add(role, requirePlain(name), rows, cols);
        }

        private GgufTensor requirePlain(String name) {
            GgufTensor tensor = require(name);
            if (tensor.type() != GgmlType.F32) {
                throw new UnsupportedModelException(
                        file.path() + ": tensor " + tensor.name() + " must be F32 but is " + tensor.type());
            }
            return tensor;
        }

        /** Several matrices of one tensor, as one matrix with the rows of all. */
        void stack(TensorRole role, String name, long rows, long cols, int count) {
            GgufTensor tensor = require(name + ".weight");
            requireDimensions(tensor, List.of(cols, rows, (long) count));
            tensors.add(new BlockTensor(
                    role, tensor.name(), tensor.type(), rows * count, cols, tensor.offset(), tensor.byteSize()));
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
