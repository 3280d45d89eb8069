package dev.prefetch.model;

import dev.prefetch.backend.AttentionShape;
import dev.prefetch.backend.Rope;
import dev.prefetch.gguf.GgmlType;
import dev.prefetch.gguf.GgufFile;
import dev.prefetch.gguf.GgufMetadata;
import dev.prefetch.gguf.GgufTensor;

/**
 * Hyper-parameters of a model.
 *
 * @param architecture what kind of model
 * @param name {@code general.name}, or the file's name
 * @param layers number of layers
 * @param dim width of the residual stream
 * @param ffnDim width of the feed-forward network, or of one expert
 * @param experts experts per layer; 0 for a dense model
 * @param expertsUsed experts that serve a token; 0 for a dense model
 * @param attention shape of the attention of every layer
 * @param rope rotary embedding
 * @param normEpsilon epsilon of the RMS norms
 * @param vocabularySize number of tokens
 * @param trainedContextLength tokens the model was trained for
 */
public record ModelConfig(
        Architecture architecture,
        String name,
        int layers,
        int dim,
        int ffnDim,
        int experts,
        int expertsUsed,
        AttentionShape attention,
        Rope rope,
        float normEpsilon,
        int vocabularySize,
        int trainedContextLength) {

    /** Upper bound of every size read from a file; real models stay far below it and products of two fit a long. */
    private static final int MOST = 1 << 24;

    /** Upper bound of attention heads and of experts, so that they times the rows of a sweep fit an int. */
    private static final int MOST_PARTS = 1 << 14;

    /**
     * Reads and checks the hyper-parameters of a file.
     *
     * @throws dev.prefetch.gguf.GgufFormatException when a key is missing, out of range, or contradicts another key or
     *     the tensors
     */
    public static ModelConfig read(GgufFile file) {
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
        int layers = keys.size("block_count");
        int dim = keys.width("embedding_length");
        int context = keys.size("context_length");
        AttentionShape attention = attention(keys, dim);
        int experts = keys.count("expert_count");
        int expertsUsed = keys.count("expert_used_count");
        if (expertsUsed > experts || (experts > 0 && expertsUsed == 0)) {
            throw keys.refuse("expert_used_count", expertsUsed + " of " + experts + " experts is impossible");
        }
        boolean ownWidth = experts > 0 && metadata.contains(id + ".expert_feed_forward_length");
        return new ModelConfig(
                architecture,
                metadata.string("general.name")
                        .filter(name -> !name.isBlank())
                        .orElseGet(() -> file.path().getFileName().toString()),
                layers,
                dim,
                keys.width(ownWidth ? "expert_feed_forward_length" : "feed_forward_length"),
                experts,
                expertsUsed,
                attention,
                RopeReader.read(file, keys, architecture, attention.keyDim(), context),
                keys.epsilon("attention.layer_norm_rms_epsilon"),
                (int) embedding.dimension(1),
                context);
    }

    private static AttentionShape attention(Keys keys, int dim) {
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
        return new AttentionShape(heads, kvHeads, keyDim, valueDim, (float) (1 / Math.sqrt(keyDim)), 0, 0);
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

    /** Whether the feed-forward network is a mixture of experts. */
    public boolean mixtureOfExperts() {
        return experts > 0;
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

    /** Elements of the attention result of one token, before the output projection. */
    public int attentionDim() {
        return attention.heads() * attention.valueDim();
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

        UnsupportedModelException refuse(String key, String problem) {
            return new UnsupportedModelException(file.path() + ": key '" + prefix + "." + key + "': " + problem);
        }
    }
}
