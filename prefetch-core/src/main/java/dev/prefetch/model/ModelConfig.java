package dev.prefetch.model;

import dev.prefetch.backend.AttentionShape;
import dev.prefetch.backend.DeltaShape;
import dev.prefetch.backend.Rope;
import dev.prefetch.gguf.GgmlType;
import dev.prefetch.gguf.GgufFile;
import dev.prefetch.gguf.GgufMetadata;
import dev.prefetch.gguf.GgufTensor;
import dev.prefetch.model.Traits.DeltaHeads;
import java.util.ArrayList;
import java.util.List;
import java.util.stream.IntStream;
import org.jspecify.annotations.Nullable;

/**
 * Hyper-parameters of a model.
 *
 * @param architecture what kind of model
 * @param name {@code general.name}, or the file's name
 * @param layers number of layers
 * @param guessingLayers layers of the file behind those, which would guess tokens ahead and are left out
 * @param dim width of the residual stream
 * @param ffnDim width of the feed-forward network of a layer without experts; 0 when there is no such layer
 * @param experts experts of a layer that has some; 0 for a dense model
 * @param expertsUsed experts that serve a token; 0 for a dense model
 * @param expertFfnDim width of one expert; 0 for a dense model
 * @param sharedFfnDim width of the network that serves every token beside the experts; 0 for none
 * @param routing how experts are chosen
 * @param attention shape of the attention of a layer that sees everything
 * @param latent where keys and values come from in multi-head latent attention; null in any other
 * @param delta shape of the layers of linear attention; null where there are none
 * @param rope rotary embedding of such a layer
 * @param layerConfigs what differs between layers, one per layer
 * @param scaling factors on the residual stream and the logits
 * @param normEpsilon epsilon of the norms
 * @param vocabularySize number of tokens
 * @param trainedContextLength tokens the model was trained for
 */
public record ModelConfig(
        Architecture architecture,
        String name,
        int layers,
        int guessingLayers,
        int dim,
        int ffnDim,
        int experts,
        int expertsUsed,
        int expertFfnDim,
        int sharedFfnDim,
        ExpertRouting routing,
        AttentionShape attention,
        @Nullable LatentShape latent,
        @Nullable DeltaShape delta,
        Rope rope,
        List<LayerConfig> layerConfigs,
        Scaling scaling,
        float normEpsilon,
        int vocabularySize,
        int trainedContextLength) {

    public ModelConfig {
        layerConfigs = List.copyOf(layerConfigs);
    }

    /**
     * What may differ between layers.
     *
     * @param attention its shape: {@link ModelConfig#attention()}, perhaps with a window; null where attention is linear,
     *     in the shape of {@link ModelConfig#delta()}
     * @param rope its rotary embedding, or null when it has none
     * @param experts whether its feed-forward network is a mixture of experts
     */
    public record LayerConfig(
            @Nullable AttentionShape attention, @Nullable Rope rope, boolean experts) {}

    /**
     * Factors; 1 for none.
     *
     * @param embedding on the embedding of a token
     * @param residual on what a layer adds to the residual stream
     * @param logits on the logits
     * @param logitSoftCap logits become {@code cap * tanh(logit / cap)}; 0 for none
     */
    public record Scaling(float embedding, float residual, float logits, float logitSoftCap) {}

    /** Upper bound of every size read from a file; real models stay far below it and products of two fit a long. */
    private static final int MOST = 1 << 24;

    /** Upper bound of attention heads and of experts, so that they times the rows of a sweep fit an int. */
    private static final int MOST_PARTS = 1 << 14;

    /** {@link #read(GgufFile, int)} for sequences as long as the model was trained for. */
    public static ModelConfig read(GgufFile file) {
        return read(file, 0);
    }

    /**
     * Reads and checks the hyper-parameters of a file.
     *
     * @param contextLength most positions of a sequence, on which the rotation of some models depends; 0 for what the
     *     model was trained for, which also counts where it is less
     * @throws dev.prefetch.gguf.GgufFormatException when a key is missing, out of range, or contradicts another key or
     *     the tensors
     */
    public static ModelConfig read(GgufFile file, int contextLength) {
        GgufMetadata metadata = file.metadata();
        String id = metadata.requireString("general.architecture");
        Architecture architecture = Architecture.find(id)
                .orElseThrow(() -> new UnsupportedModelException(file.path() + ": architecture '" + id
                        + "' is not supported; supported are " + Architecture.supported()));
        Keys keys = Keys.of(file, id);
        GgufTensor embedding = file.find("token_embd.weight")
                .orElseThrow(
                        () -> new UnsupportedModelException(file.path() + ": tensor token_embd.weight is missing"));
        if (embedding.dimension(1) > MOST) {
            throw new UnsupportedModelException(file.path() + ": tensor token_embd.weight has " + embedding.dimension(1)
                    + " rows, but at most " + MOST + " tokens are supported");
        }
        int blocks = keys.size("block_count");
        if (blocks > file.tensors().size()) {
            // Known before anything is made per layer.
            throw keys.refuse(
                    "block_count",
                    "asks for " + blocks + " layers, but the file has only "
                            + file.tensors().size() + " tensors");
        }
        int dim = keys.width("embedding_length");
        int context = keys.size("context_length");
        Traits traits = architecture.traits();
        boolean hybrid = traits.deltaHeads() != DeltaHeads.NONE;
        int guessingLayers = hybrid ? keys.count("nextn_predict_layers") : 0;
        if (guessingLayers >= blocks) {
            throw keys.refuse("nextn_predict_layers", guessingLayers + " of " + blocks + " layers are impossible");
        }
        int layers = blocks - guessingLayers;
        LatentShape latent =
                traits.latentAttention() ? LatentShape.read(keys, keys.parts("attention.head_count", 0)) : null;
        requireDirection(keys, traits);
        AttentionShape attention =
                latent == null ? attention(keys, traits, layers, dim) : latentAttention(keys, latent);
        if (hybrid && attention.valueDim() != attention.keyDim()) {
            throw keys.refuse(
                    "attention.value_length",
                    attention.valueDim() + " is not the size of queries and their gates, " + attention.keyDim());
        }
        int experts = keys.count("expert_count");
        int expertsUsed = keys.count("expert_used_count");
        if (expertsUsed > experts || (experts > 0 && expertsUsed == 0)) {
            throw keys.refuse("expert_used_count", expertsUsed + " of " + experts + " experts is impossible");
        }
        RopeReader ropes = new RopeReader(
                file,
                keys,
                traits.ropeLayout(),
                latent == null ? attention.keyDim() : latent.rotatedDim(),
                context,
                contextLength == 0 ? context : Math.min(context, contextLength));
        Rope rope = ropes.scaled();
        if (hybrid) {
            DeltaLayers.requireTextRotation(keys, rope.rotatedDimensions() / 2);
        }
        LayerSet withExperts = layersWithExperts(keys, traits, experts, layers);
        int denseLayers = (int) IntStream.range(0, layers)
                .takeWhile(layer -> !withExperts.contains(layer))
                .count();
        return new ModelConfig(
                architecture,
                metadata.string("general.name")
                        .filter(name -> !name.isBlank())
                        .orElseGet(() -> file.path().getFileName().toString()),
                layers,
                guessingLayers,
                dim,
                IntStream.range(0, layers).allMatch(withExperts::contains) ? 0 : keys.width("feed_forward_length"),
                experts,
                expertsUsed,
                experts == 0 ? 0 : expertFfnDim(keys),
                experts == 0 || traits.encoder() || denseLayers == layers ? 0 : sharedFfnDim(file, keys, denseLayers),
                ExpertRouting.read(keys, traits, experts),
                attention,
                latent,
                hybrid ? DeltaLayers.shape(keys, traits) : null,
                rope,
                layerConfigs(keys, traits, layers, withExperts, attention, rope, ropes),
                scaling(keys, traits, dim),
                keys.epsilon(traits.encoder() ? "attention.layer_norm_epsilon" : "attention.layer_norm_rms_epsilon"),
                (int) embedding.dimension(1),
                context);
    }

    /** A file may say whether attention is causal; both ways are known of no architecture. */
    private static void requireDirection(Keys keys, Traits traits) {
        if (keys.contains("attention.causal") && keys.flag("attention.causal") == traits.encoder()) {
            throw keys.refuse(
                    "attention.causal",
                    traits.encoder()
                            ? "an encoder whose positions see only those before them is not supported"
                            : "attention that is not causal is supported in encoders alone");
        }
    }

    /** All but the first few; of encoders the second of every so many. */
    private static LayerSet layersWithExperts(Keys keys, Traits traits, int experts, int layers) {
        if (experts == 0) {
            return layer -> false;
        }
        if (traits.encoder()) {
            int period = keys.size("moe_every_n_layers");
            return layer -> layer % period == 1;
        }
        int dense = Math.min(layers, keys.count("leading_dense_block_count"));
        return layer -> layer >= dense;
    }

    private static int expertFfnDim(Keys keys) {
        return keys.width(
                keys.contains("expert_feed_forward_length") ? "expert_feed_forward_length" : "feed_forward_length");
    }

    /**
     * Files name the width of the shared network, or how many experts' width it has; before they did, it was the dense
     * width.
     *
     * @param layer the first layer with experts
     */
    private static int sharedFfnDim(GgufFile file, Keys keys, int layer) {
        if (file.find("blk." + layer + ".ffn_up_shexp.weight").isEmpty()) {
            return 0;
        }
        if (keys.contains("expert_shared_feed_forward_length")) {
            return keys.width("expert_shared_feed_forward_length");
        }
        if (keys.contains("expert_shared_count")) {
            long width = (long) keys.count("expert_shared_count") * expertFfnDim(keys);
            return (int) keys.requireWidth("expert_shared_count", width);
        }
        return keys.width("feed_forward_length");
    }

    /**
     * Where the matrices of keys and values are apart, all heads attend to the one short vector with its rotated key:
     * {@code q . (K c) = (K^T q) . c}. YaRN's factor on the scores is {@code (1 + m ln(factor))^2} with the file's
     * {@code m}.
     */
    private static AttentionShape latentAttention(Keys keys, LatentShape latent) {
        int heads = keys.parts("attention.head_count", 0);
        double magnitude = 1;
        if (keys.contains("rope.scaling.yarn_log_multiplier")) {
            double factor = keys.positive("rope.scaling.factor", 1);
            magnitude += keys.positive("rope.scaling.yarn_log_multiplier", 1) * Math.log(Math.max(1, factor));
        }
        float scale = (float) (magnitude * magnitude / Math.sqrt(latent.keyDim()));
        if (!latent.absorbed()) {
            return new AttentionShape(heads, heads, latent.keyDim(), latent.valueDim(), scale, 0, 0);
        }
        keys.requireWidth("attention.kv_lora_rank", (long) latent.rank() + latent.rotatedDim());
        return new AttentionShape(heads, 1, latent.rank() + latent.rotatedDim(), latent.rank(), scale, 0, 0);
    }

    private static AttentionShape attention(Keys keys, Traits traits, int layers, int dim) {
        int heads = keys.parts("attention.head_count", 0);
        int kvHeads = keys.parts("attention.head_count_kv", heads);
        if (heads % kvHeads != 0) {
            throw keys.refuse("attention.head_count", heads + " is not a multiple of head_count_kv " + kvHeads);
        }
        if (heads > dim && !keys.contains("attention.key_length")) {
            throw keys.refuse("attention.head_count", heads + " heads cannot share embedding_length " + dim);
        }
        int keyDim = keys.width("attention.key_length", dim / heads);
        int valueDim = keys.width("attention.value_length", keyDim);
        keys.requireWidth("attention.key_length", (long) heads * keyDim);
        keys.requireWidth("attention.value_length", (long) heads * valueDim);
        double scale = 1 / Math.sqrt(scaledDim(traits, layers, dim, heads, keyDim));
        if (traits.multipliers()) {
            scale = keys.positive("attention.scale", (float) scale);
        }
        float softCap =
                traits.attentionSoftCap() > 0 ? keys.positive("attn_logit_softcapping", traits.attentionSoftCap()) : 0;
        return new AttentionShape(heads, kvHeads, keyDim, valueDim, (float) scale, softCap, 0, !traits.encoder());
    }

    /**
     * What scores are divided by the square root of. Gemma's 27B models (46 layers in the second generation, 62 in the
     * third) were trained with another value than the size of a head, and files do not say so.
     */
    private static int scaledDim(Traits traits, int layers, int dim, int heads, int keyDim) {
        boolean gemma27b =
                traits.embeddingTimesSqrtDim() && (traits.attentionSoftCap() > 0 ? layers == 46 : layers == 62);
        return gemma27b ? dim / heads : keyDim;
    }

    private static List<LayerConfig> layerConfigs(
            Keys keys,
            Traits traits,
            int layers,
            LayerSet withExperts,
            AttentionShape attention,
            Rope rope,
            RopeReader ropes) {
        int window = 0;
        if (traits.slidingPeriod() > 0 && (traits.slidingWindow() > 0 || keys.contains("attention.sliding_window"))) {
            window = keys.size("attention.sliding_window", Math.max(1, traits.slidingWindow()));
        }
        AttentionShape slidingShape = attention.withWindow(window);
        Rope slidingRope = rope;
        if (window > 0 && traits.slidingUnscaled()) {
            slidingRope = ropes.unscaled(traits.slidingRopeBase());
        }
        LayerSet linear = traits.deltaHeads() == DeltaHeads.NONE ? layer -> false : DeltaLayers.which(keys, layers);
        LayerSet sliding = window == 0 ? layer -> false : keys.slidingLayers(traits.slidingPeriod(), layers);
        List<LayerConfig> configs = new ArrayList<>();
        for (int layer = 0; layer < layers; layer++) {
            boolean slides = sliding.contains(layer);
            boolean rotates = !traits.learntPositions()
                    && (traits.unrotatedPeriod() == 0 || (layer + 1) % traits.unrotatedPeriod() != 0);
            Rope own = slides ? slidingRope : rope;
            configs.add(
                    linear.contains(layer)
                            ? new LayerConfig(null, null, withExperts.contains(layer))
                            : new LayerConfig(
                                    slides ? slidingShape : attention,
                                    rotates ? own : null,
                                    withExperts.contains(layer)));
        }
        return configs;
    }

    /** Some of the layers. */
    @FunctionalInterface
    interface LayerSet {

        boolean contains(int layer);
    }

    private static Scaling scaling(Keys keys, Traits traits, int dim) {
        float logitSoftCap = 0;
        if (traits.logitSoftCap() > 0 || keys.contains("final_logit_softcapping")) {
            logitSoftCap = keys.positive("final_logit_softcapping", Math.max(1, traits.logitSoftCap()));
        }
        if (traits.multipliers()) {
            return new Scaling(
                    keys.positive("embedding_scale", 1),
                    keys.positive("residual_scale", 1),
                    1 / keys.positive("logit_scale", 1),
                    logitSoftCap);
        }
        return new Scaling(traits.embeddingTimesSqrtDim() ? (float) Math.sqrt(dim) : 1, 1, 1, logitSoftCap);
    }

    /** Most frequent weight format by bytes, for display. */
    public static GgmlType dominantType(GgufFile file) {
        long[] bytes = new long[GgmlType.values().length];
        for (GgufTensor tensor : file.tensors()) {
            bytes[tensor.type().ordinal()] += tensor.byteSize();
        }
        int best = 0;
        for (int i = 1; i < bytes.length; i++) {
            if (bytes[i] > bytes[best]) {
                best = i;
            }
        }
        return GgmlType.values()[best];
    }

    /** Whether it makes vectors of texts alone: every position sees the whole text, and there are no logits. */
    public boolean encoder() {
        return architecture.traits().encoder();
    }

    /** Logits of a position: one per token, none of an encoder. */
    public int logits() {
        return encoder() ? 0 : vocabularySize;
    }

    /** Whether there are layers whose feed-forward network is a mixture of experts. */
    public boolean mixtureOfExperts() {
        return experts > 0;
    }

    /** Width of the dense network of a layer: the feed-forward network, or the one beside the experts; 0 for none. */
    public int denseFfnDim(int layer) {
        return layerConfigs.get(layer).experts() ? sharedFfnDim : ffnDim;
    }

    /** The largest {@link #denseFfnDim}. */
    public int widestDenseFfnDim() {
        return Math.max(ffnDim, sharedFfnDim);
    }

    /** Elements of the query of one token. */
    public int queryDim() {
        return attention.heads() * attention.keyDim();
    }

    /** Elements of the key of one token. */
    public int keyDim() {
        return attention.kvHeads() * attention.keyDim();
    }

    /** Elements of the value of one token. */
    public int valueDim() {
        return attention.kvHeads() * attention.valueDim();
    }

    /** Whether attention has a gate, which is projected with the queries. */
    public boolean gatesAttention() {
        return delta != null;
    }

    /** Elements of the attention result of one token, before the output projection. */
    public int attentionDim() {
        return attention.heads() * (latent == null ? attention.valueDim() : latent.valueDim());
    }

    /** Most columns of the input of a product. */
    public int widestInput() {
        int widestAttention = Math.max(attentionDim(), delta == null ? 0 : delta.valueDim());
        return Math.max(Math.max(dim, widestAttention), Math.max(expertFfnDim(), widestDenseFfnDim()));
    }

    /**
     * Checked access to the keys of one architecture.
     *
     * @param widest largest extent of any tensor of the file: no width of the model can be larger, so that nothing is
     *     allocated by a damaged key before the tensors have been compared with it
     */
    record Keys(GgufFile file, String prefix, long widest) {

        static Keys of(GgufFile file, String prefix) {
            long widest = file.tensors().stream()
                    .flatMap(tensor -> tensor.dimensions().stream())
                    .mapToLong(Long::longValue)
                    .max()
                    .orElse(0);
            return new Keys(file, prefix, Math.min(widest, MOST));
        }

        boolean contains(String key) {
            return file.metadata().contains(prefix + "." + key);
        }

        int size(String key) {
            return checked(key, file.metadata().requireInt(prefix + "." + key), MOST);
        }

        int size(String key, int fallback) {
            return checked(key, file.metadata().intOr(prefix + "." + key, fallback), MOST);
        }

        /** An extent of tensors. */
        int width(String key) {
            return (int) requireWidth(key, size(key));
        }

        int width(String key, int fallback) {
            return (int) requireWidth(key, size(key, fallback));
        }

        long requireWidth(String key, long value) {
            if (value > widest) {
                throw refuse(key, "asks for a width of " + value + ", but the widest tensor has " + widest);
            }
            return value;
        }

        /** A number of heads; missing is allowed with a fallback other than 0. */
        int parts(String key, int fallback) {
            int value = fallback == 0 ? size(key) : size(key, fallback);
            return checked(key, value, MOST_PARTS);
        }

        /** A switch, off where it is missing. */
        boolean flag(String key) {
            return file.metadata().bool(prefix + "." + key).orElse(false);
        }

        /** Small numbers, at most so many; those that are missing are 0. */
        int[] counts(String key, int most) {
            List<?> values = file.metadata()
                    .list(prefix + "." + key)
                    .filter(list -> list.size() <= most)
                    .orElseThrow(() -> refuse(key, "is not an array of at most " + most + " numbers"));
            int[] counts = new int[most];
            for (int i = 0; i < values.size(); i++) {
                if (!(values.get(i) instanceof Long number) || number < 0 || number > MOST_PARTS) {
                    throw refuse(key, "element " + i + " is " + values.get(i) + ", not in 0 .. " + MOST_PARTS);
                }
                counts[i] = number.intValue();
            }
            return counts;
        }

        /** A number of experts, which may be 0 or missing. */
        int count(String key) {
            int value = file.metadata().intOr(prefix + "." + key, 0);
            return value == 0 ? 0 : checked(key, value, MOST_PARTS);
        }

        private int checked(String key, int value, int most) {
            if (value < 1 || value > most) {
                throw refuse(key, value + " is outside 1 .. " + most);
            }
            return value;
        }

        float epsilon(String key) {
            float value = file.metadata().requireFloat(prefix + "." + key);
            if (!(value >= 0 && value < 1)) {
                throw refuse(key, value + " is outside [0, 1)");
            }
            return value;
        }

        float positive(String key, float fallback) {
            float value = file.metadata().floatOr(prefix + "." + key, fallback);
            if (!(value > 0 && value < 1e12f)) {
                throw refuse(key, value + " is not a positive number below 1e12");
            }
            return value;
        }

        /**
         * {@code attention.sliding_window_pattern}: per layer whether it slides, or the period after whose other layers
         * one does not.
         */
        LayerSet slidingLayers(int usualPeriod, int layers) {
            String key = "attention.sliding_window_pattern";
            return isArray(key) ? marked(key, layers) : allButTheLastOf(size(key, usualPeriod));
        }

        /** All layers but the last of every so many. */
        static LayerSet allButTheLastOf(int period) {
            return layer -> layer % period < period - 1;
        }

        boolean isArray(String key) {
            return file.metadata().isArray(prefix + "." + key);
        }

        /** An array that says of every layer whether it belongs. */
        LayerSet marked(String key, int layers) {
            List<?> pattern = file.metadata().list(prefix + "." + key).orElseThrow();
            if (pattern.size() < layers) {
                throw refuse(key, "has " + pattern.size() + " elements, but there are " + layers + " layers");
            }
            boolean[] marks = new boolean[layers];
            for (int layer = 0; layer < layers; layer++) {
                marks[layer] = switch (pattern.get(layer)) {
                    case Boolean yes -> yes;
                    case Number number -> number.longValue() != 0;
                    default -> throw refuse(key, "is an array of neither bools nor numbers");
                };
            }
            return layer -> marks[layer];
        }

        UnsupportedModelException refuse(String key, String problem) {
            return new UnsupportedModelException(file.path() + ": key '" + prefix + "." + key + "': " + problem);
        }
    }
}
