package dev.prefetch.testing;

import dev.prefetch.gguf.GgmlType;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import java.util.stream.IntStream;
import java.util.stream.Stream;

/**
 * Small random models of every architecture in the weight formats that people use, the same bytes on every machine: 256
 * wide, because the super-block formats need rows of that length, with a byte-level vocabulary of 260 tokens. What is
 * drawn at random are the blocks of a format themselves, so no quantiser stands between a model and its reference.
 *
 * <p>Their exact logits ({@link ExactLogits}) lie among the test resources of {@code dev.prefetch.api}; {@code exact.py}
 * there has computed them from the files that {@link #main} writes.
 */
public final class RandomModel {

    static final int DIM = 256;
    static final int HEADS = 4;
    static final int KV_HEADS = 2;
    static final int HEAD_DIM = 64;
    static final int RANK = 256;
    static final int ROTATED = 32;
    static final int FFN = 256;
    static final int EXPERTS = 4;
    static final int WINDOW = 5;
    static final int VOCABULARY = 260;
    static final int KEY_HEADS = 4;
    static final int VALUE_HEADS = 8;
    static final int STATE = 32;
    static final int KERNEL = 4;

    /** Formats below three and a half bits, which one architecture stands for. */
    private static final List<String> SMALLEST =
            List.of("IQ1_S", "IQ1_M", "TQ1_0", "TQ2_0", "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ3_XXS", "IQ3_S");

    private static final Path FOLDER = Path.of("target", "random-models");
    private static final Map<String, Path> WRITTEN = new ConcurrentHashMap<>();

    /** Another draw for models in which two experts would score almost the same, so that rounding turned the choice. */
    private static final Map<String, Integer> DRAWS =
            Map.of("gpt-oss-Q4_K_M", 2, "qwen3moe-Q4_K_M", 2, "deepseek2-Q8_0", 5);

    private final GgufWriter writer = new GgufWriter();
    private final String family;
    private final String architecture;
    private final String type;
    private final int layers;

    private RandomModel(String family, String architecture, String type, int layers) {
        this.family = family;
        this.architecture = architecture;
        this.type = type;
        this.layers = layers;
    }

    /** Names of all models: family, minus, weight format. */
    public static List<String> names() {
        return families().stream()
                .flatMap(family -> types(family).map(type -> family + "-" + type))
                .toList();
    }

    /** What there are models of: an architecture, or a variant of one; see {@link #architectureOf}. */
    public static List<String> families() {
        return List.of(
                "llama",
                "mixtral",
                "qwen2",
                "qwen2moe",
                "qwen3",
                "qwen3moe",
                "gemma2",
                "gemma3",
                "phi3",
                "gpt-oss",
                "granite",
                "olmo2",
                "olmo2-yarn",
                "smollm3",
                "deepseek2",
                "deepseek2-lite",
                "deepseek2-whole",
                "deepseek2-wide",
                "qwen3next",
                "qwen3next-first",
                "qwen35",
                "qwen35moe");
    }

    /** {@code general.architecture} of a family. */
    public static String architectureOf(String family) {
        return switch (family) {
            case "mixtral" -> "llama";
            case "olmo2-yarn" -> "olmo2";
            case "deepseek2-lite", "deepseek2-whole", "deepseek2-wide" -> "deepseek2";
            case "qwen3next-first" -> "qwen3next";
            default -> family;
        };
    }

    /** The usual formats, and the one in which the models of the family are published. */
    private static Stream<String> types(String family) {
        if (family.equals("olmo2-yarn") || family.equals("qwen3next-first")) {
            return Stream.of("F32", "Q8_0");
        }
        if (family.startsWith("deepseek2-")) {
            return Stream.of("F32", family.equals("deepseek2-lite") ? "F16" : "Q8_0");
        }
        Stream<String> usual = usualTypes(family);
        return family.equals("llama") ? Stream.concat(SMALLEST.stream(), usual) : usual;
    }

    private static Stream<String> usualTypes(String family) {
        return Stream.of("F32", "F16", family.equals("gpt-oss") ? "MXFP4" : "BF16", "Q8_0", "Q4_K_M");
    }

    /** The model with that name, written when it is first asked for. */
    public static Path file(String name) {
        return WRITTEN.computeIfAbsent(name, n -> {
            try {
                return write(n, Files.createDirectories(FOLDER));
            } catch (IOException e) {
                throw new UncheckedIOException(e);
            }
        });
    }

    /** The model of a family with the most mixed formats. */
    public static Path mixed(String family) {
        return file(family + "-" + types(family).reduce((first, last) -> last).orElseThrow());
    }

    /** Writes all models into a folder. */
    public static void main(String[] arguments) throws IOException {
        Path folder = Files.createDirectories(Path.of(arguments[0]));
        for (String name : names()) {
            write(name, folder);
        }
    }

    /** Writes the model with that name into a folder that exists; returns the file, which is named after the model. */
    public static Path write(String name, Path folder) {
        int split = name.lastIndexOf('-');
        String family = name.substring(0, split);
        int layers = switch (family) {
            case "gemma3" -> 6;
            case "gemma2",
                    "olmo2",
                    "olmo2-yarn",
                    "smollm3",
                    "gpt-oss",
                    "qwen3next",
                    "qwen3next-first",
                    "qwen35",
                    "qwen35moe" -> 4;
            // By their number llama.cpp tells a model whose queries come from the residual stream.
            case "deepseek2-lite" -> 26;
            default -> 2;
        };
        RandomModel model = new RandomModel(family, architectureOf(family), name.substring(split + 1), layers);
        model.build();
        return model.writer.write(folder.resolve(name + ".gguf"));
    }

    private void build() {
        writer.put("general.architecture", architecture).put("general.name", "random");
        number("context_length", 512);
        number("embedding_length", DIM);
        number("block_count", layers);
        number("feed_forward_length", FFN);
        number("attention.head_count", heads());
        if (architecture.equals("deepseek2")) {
            latentKeys();
        } else {
            number("attention.head_count_kv", KV_HEADS);
            number("attention.key_length", HEAD_DIM);
            number("attention.value_length", HEAD_DIM);
            number("rope.dimension_count", isHybrid() ? ROTATED : HEAD_DIM);
        }
        number("attention.layer_norm_rms_epsilon", 1e-6f);
        architectureKeys();
        vocabulary();

        boolean gemma = family.startsWith("gemma");
        matrix("token_embd.weight", formats().getFirst(), gemma ? 1 / Math.sqrt(DIM) : 1, DIM, VOCABULARY);
        for (int layer = 0; layer < layers; layer++) {
            attention("blk." + layer + ".", layer);
            feedForward("blk." + layer + ".", layer);
        }
        norm("output_norm.weight", DIM);
        if (!gemma) {
            matrix("output.weight", formats().getLast(), 3 / Math.sqrt(DIM), DIM, VOCABULARY);
        }
    }

    private void latentKeys() {
        boolean whole = family.equals("deepseek2-whole");
        number("attention.head_count_kv", whole ? heads() : 1);
        number("attention.kv_lora_rank", RANK);
        number("attention.key_length", whole ? HEAD_DIM + ROTATED : RANK + ROTATED);
        number("attention.value_length", whole ? HEAD_DIM : RANK);
        if (!whole) {
            number("attention.key_length_mla", HEAD_DIM + ROTATED);
            number("attention.value_length_mla", HEAD_DIM);
        }
        number("rope.dimension_count", ROTATED);
        if (!family.equals("deepseek2-lite")) {
            number("attention.q_lora_rank", RANK);
        }
        number("leading_dense_block_count", 1);
        number("expert_shared_count", 2);
        if (family.equals("deepseek2")) {
            number("expert_gating_func", 2);
            writer.put(architecture + ".expert_weights_norm", true);
            number("expert_weights_scale", 1.5f);
            number("expert_group_count", 4);
            number("expert_group_used_count", 2);
            writer.put(architecture + ".rope.scaling.type", "yarn");
            number("rope.scaling.factor", 40f);
            number("rope.scaling.original_context_length", 64);
            number("rope.scaling.yarn_log_multiplier", 0.1f);
        }
    }

    private void architectureKeys() {
        switch (family) {
            case "gemma2" -> {
                number("attn_logit_softcapping", 5f);
                number("final_logit_softcapping", 6f);
                number("attention.sliding_window", WINDOW);
            }
            case "gemma3", "olmo2" -> number("attention.sliding_window", WINDOW);
            case "olmo2-yarn" -> {
                number("attention.sliding_window", WINDOW);
                writer.put(architecture + ".rope.scaling.type", "yarn");
                number("rope.scaling.factor", 8f);
                number("rope.scaling.attn_factor", 1.2f);
                number("rope.scaling.original_context_length", 64);
            }
            case "phi3" -> {
                number("attention.sliding_window", WINDOW);
                number("rope.scaling.original_context_length", 512);
            }
            case "gpt-oss" -> {
                number("attention.sliding_window", WINDOW);
                writer.put(architecture + ".rope.scaling.type", "yarn");
                number("rope.scaling.factor", 32f);
                number("rope.scaling.original_context_length", 64);
            }
            case "qwen35" -> {
                writer.put(architecture + ".rope.dimension_sections", new int[] {6, 5, 5, 0});
                number("full_attention_interval", 2);
            }
            case "qwen35moe" -> writer.put(architecture + ".rope.dimension_sections", new int[] {6, 5, 5, 0});
            case "granite" -> {
                number("embedding_scale", 3f);
                number("residual_scale", 0.5f);
                number("attention.scale", 0.1f);
                number("logit_scale", 2f);
            }
            default -> {
                // Nothing of its own.
            }
        }
        if (isHybrid()) {
            number("ssm.conv_kernel", KERNEL);
            number("ssm.state_size", STATE);
            number("ssm.group_count", KEY_HEADS);
            number("ssm.time_step_rank", VALUE_HEADS);
            number("ssm.inner_size", VALUE_HEADS * STATE);
        }
        if (hasExperts()) {
            number("expert_count", experts());
            number("expert_used_count", family.equals("deepseek2") ? 3 : 2);
            number("expert_feed_forward_length", expertFfn());
        }
        if (sharesExpert()) {
            number("expert_shared_feed_forward_length", 2 * FFN);
        }
    }

    private boolean hasExperts() {
        return List.of("mixtral", "gpt-oss").contains(family)
                || List.of("qwen2moe", "qwen3moe", "qwen3next", "qwen35moe", "deepseek2")
                        .contains(architecture);
    }

    /** A network beside the experts with a weight of its own. */
    private boolean sharesExpert() {
        return List.of("qwen2moe", "qwen3next", "qwen35moe").contains(architecture);
    }

    private boolean isHybrid() {
        return List.of("qwen3next", "qwen35", "qwen35moe").contains(architecture);
    }

    /** Layers of linear attention: three of four, or every other. */
    private boolean isLinear(int layer) {
        return isHybrid() && (family.equals("qwen35") ? layer % 2 == 0 : layer % 4 < 3);
    }

    /** Enough for kernels that take the heads which share keys together. */
    private int heads() {
        return family.equals("deepseek2-wide") ? 4 * HEADS : HEADS;
    }

    private int experts() {
        return family.equals("deepseek2") ? 2 * EXPERTS : EXPERTS;
    }

    private int expertFfn() {
        return family.equals("deepseek2-lite") ? FFN / 8 : FFN;
    }

    private void number(String key, int value) {
        writer.uint32(architecture + "." + key, value);
    }

    private void number(String key, float value) {
        writer.put(architecture + "." + key, value);
    }

    /** One token per byte, one of two bytes, and three control tokens. */
    private void vocabulary() {
        List<String> tokens = new ArrayList<>();
        int others = 256;
        for (int b = 0; b < 256; b++) {
            boolean kept = b >= 33 && b < 127 || b >= 161 && b < 173 || b >= 174;
            tokens.add(String.valueOf((char) (kept ? b : others++)));
        }
        tokens.addAll(List.of("ab", "<|begin|>", "<|end|>", "<|pad|>"));
        writer.put("tokenizer.ggml.model", "gpt2")
                .put("tokenizer.ggml.pre", "qwen2")
                .put("tokenizer.ggml.tokens", tokens)
                .put(
                        "tokenizer.ggml.token_type",
                        IntStream.range(0, VOCABULARY).map(i -> i < 257 ? 1 : 3).toArray())
                .put("tokenizer.ggml.merges", List.of("a b"))
                .uint32("tokenizer.ggml.bos_token_id", 257)
                .uint32("tokenizer.ggml.eos_token_id", 258)
                .put("tokenizer.ggml.add_bos_token", false);
    }

    private void attention(String block, int layer) {
        boolean after = architecture.equals("olmo2");
        boolean both = family.startsWith("gemma");
        if (!after) {
            norm(block + "attn_norm.weight", DIM);
        }
        if (isLinear(layer)) {
            linearAttention(block);
            return;
        }
        int q = heads() * HEAD_DIM;
        int kv = KV_HEADS * HEAD_DIM;
        if (architecture.equals("deepseek2")) {
            latentAttention(block);
        } else if (family.equals("phi3")) {
            matrix(block + "attn_qkv.weight", q + 2 * kv, DIM);
        } else {
            matrix(block + "attn_q.weight", isHybrid() ? 2 * q : q, DIM);
            matrix(block + "attn_k.weight", kv, DIM);
            important(block + "attn_v.weight", layer, 1, kv, DIM);
        }
        if (List.of("qwen2", "qwen2moe", "gpt-oss").contains(family)) {
            vector(block + "attn_q.bias", 0.3, 0, q);
            vector(block + "attn_k.bias", 0.3, 0, kv);
            vector(block + "attn_v.bias", 0.1, 0, kv);
        }
        if (List.of("qwen3", "qwen3moe", "gemma3").contains(family) || isHybrid()) {
            norm(block + "attn_q_norm.weight", HEAD_DIM);
            norm(block + "attn_k_norm.weight", HEAD_DIM);
        }
        if (after) {
            norm(block + "attn_q_norm.weight", q);
            norm(block + "attn_k_norm.weight", kv);
        }
        matrix(block + "attn_output.weight", 2 * damping(), DIM, q);
        if (List.of("gpt-oss", "granite").contains(family)) {
            vector(block + "attn_output.bias", 0.05, 0, DIM);
        }
        if (family.equals("gpt-oss")) {
            vector(block + "attn_sinks.weight", 1, 0, HEADS);
        }
        if (after || both) {
            vector(block + "post_attention_norm.weight", 0.2 * damping(), 2 * damping(), DIM);
        }
    }

    private void linearAttention(String block) {
        int values = VALUE_HEADS * STATE;
        int channels = 2 * KEY_HEADS * STATE + values;
        if (family.equals("qwen3next-first")) {
            matrix(block + "ssm_in.weight", channels + values, DIM);
        } else {
            matrix(block + "attn_qkv.weight", channels, DIM);
            matrix(block + "attn_gate.weight", values, DIM);
        }
        vector(block + "ssm_conv1d.weight", 0.5, 0, KERNEL, channels);
        vector(block + "ssm_dt.bias", 1, 0, VALUE_HEADS);
        vector(block + "ssm_a", 0.2, -0.7, VALUE_HEADS);
        if (architecture.equals("qwen3next")) {
            matrix(block + "ssm_ba.weight", 2 * VALUE_HEADS, DIM);
        } else {
            matrix(block + "ssm_beta.weight", VALUE_HEADS, DIM);
            matrix(block + "ssm_alpha.weight", VALUE_HEADS, DIM);
        }
        norm(block + "ssm_norm.weight", STATE);
        matrix(block + "ssm_out.weight", 2 * damping(), DIM, values);
    }

    private void latentAttention(String block) {
        if (family.equals("deepseek2-lite")) {
            matrix(block + "attn_q.weight", heads() * (HEAD_DIM + ROTATED), DIM);
        } else {
            matrix(block + "attn_q_a.weight", RANK, DIM);
            norm(block + "attn_q_a_norm.weight", RANK);
            matrix(block + "attn_q_b.weight", heads() * (HEAD_DIM + ROTATED), RANK);
        }
        matrix(block + "attn_kv_a_mqa.weight", RANK + ROTATED, DIM);
        norm(block + "attn_kv_a_norm.weight", RANK);
        if (family.equals("deepseek2-whole")) {
            matrix(block + "attn_kv_b.weight", heads() * 2 * HEAD_DIM, RANK);
        } else {
            matrix(block + "attn_k_b.weight", 0.5, RANK, HEAD_DIM, heads());
            matrix(block + "attn_v_b.weight", HEAD_DIM, RANK, heads());
        }
    }

    private void feedForward(String block, int layer) {
        if (family.equals("gpt-oss") || isHybrid()) {
            norm(block + "post_attention_norm.weight", DIM);
        } else if (!architecture.equals("olmo2")) {
            norm(block + "ffn_norm.weight", DIM);
        }
        if (hasExperts() && !(architecture.equals("deepseek2") && layer == 0)) {
            experts(block, layer);
        } else if (family.equals("phi3")) {
            matrix(block + "ffn_up.weight", 2 * FFN, DIM);
            important(block + "ffn_down.weight", layer, 4 * damping(), DIM, FFN);
        } else {
            matrix(block + "ffn_gate.weight", FFN, DIM);
            matrix(block + "ffn_up.weight", FFN, DIM);
            important(block + "ffn_down.weight", layer, 4 * damping(), DIM, FFN);
        }
        if (architecture.equals("olmo2") || family.startsWith("gemma")) {
            vector(block + "post_ffw_norm.weight", 0.2 * damping(), 2 * damping(), DIM);
        }
    }

    /** The router's scores lie far apart, so that rounding in front of it seldom turns the choice. */
    private void experts(String block, int layer) {
        vector(block + "ffn_gate_inp.weight", (family.equals("deepseek2") ? 2 : 6) / Math.sqrt(DIM), 0, DIM, experts());
        matrix(block + "ffn_gate_exps.weight", expertFfn(), DIM, experts());
        matrix(block + "ffn_up_exps.weight", expertFfn(), DIM, experts());
        important(block + "ffn_down_exps.weight", layer, 4 * damping(), DIM, expertFfn(), experts());
        if (family.equals("gpt-oss")) {
            vector(block + "ffn_gate_inp.bias", 0.3, 0, experts());
            vector(block + "ffn_gate_exps.bias", 0.1, 0, expertFfn(), experts());
            vector(block + "ffn_up_exps.bias", 0.1, 0, expertFfn(), experts());
            vector(block + "ffn_down_exps.bias", 0.05, 0, DIM, experts());
        }
        int shared = 2 * expertFfn();
        if (family.equals("deepseek2")) {
            vector(block + "exp_probs_b.bias", 0.4, 0, experts());
        }
        if (sharesExpert()) {
            vector(block + "ffn_gate_inp_shexp.weight", 2 / Math.sqrt(DIM), 0, DIM);
        }
        if (sharesExpert() || architecture.equals("deepseek2")) {
            matrix(block + "ffn_gate_shexp.weight", shared, DIM);
            matrix(block + "ffn_up_shexp.weight", shared, DIM);
            important(block + "ffn_down_shexp.weight", layer, 4 * damping(), DIM, shared);
        }
    }

    /** Keeps the residual stream from growing with the layers. */
    private double damping() {
        return 1 / Math.sqrt(2 * layers);
    }

    /** The formats of embedding, other matrices, those that mixtures store more exactly, and the output. */
    private List<GgmlType> formats() {
        return switch (type) {
            case "Q4_K_M" -> List.of(GgmlType.Q4_K, GgmlType.Q4_K, GgmlType.Q6_K, GgmlType.Q6_K);
            case "MXFP4" -> List.of(GgmlType.Q8_0, GgmlType.Q8_0, GgmlType.Q8_0, GgmlType.Q8_0);
            default -> Collections.nCopies(4, GgmlType.valueOf(type));
        };
    }

    private void norm(String name, int length) {
        vector(name, 0.1, 1, length);
    }

    private void vector(String name, double deviation, double mean, int... dimensions) {
        add(name, GgmlType.F32, deviation, mean, dimensions);
    }

    /** A matrix, or one per expert, that keeps the size of what it multiplies. */
    private void matrix(String name, int rows, int cols, int... experts) {
        matrix(name, 1, rows, cols, experts);
    }

    private void matrix(String name, double gain, int rows, int cols, int... experts) {
        boolean expert = experts.length > 0 && type.equals("MXFP4");
        matrix(name, expert ? GgmlType.MXFP4 : formats().get(1), gain / Math.sqrt(cols), cols, rows, experts);
    }

    /** A matrix that mixtures store more exactly in some layers. */
    private void important(String name, int layer, double gain, int rows, int cols, int... experts) {
        if (layer % 2 == 0 && type.equals("Q4_K_M")) {
            matrix(name, formats().get(2), gain / Math.sqrt(cols), cols, rows, experts);
        } else {
            matrix(name, gain, rows, cols, experts);
        }
    }

    /** Rows that no super-block fits have blocks of 32, as the tools that quantise give them. */
    private void matrix(String name, GgmlType wanted, double deviation, int cols, int rows, int... experts) {
        GgmlType format = cols % wanted.blockElements() == 0 ? wanted : GgmlType.Q8_0;
        int[] dimensions = IntStream.concat(IntStream.of(cols, rows), IntStream.of(experts))
                .toArray();
        add(name, format, deviation, 0, dimensions);
    }

    private String draw() {
        Integer draw = DRAWS.get(family + "-" + type);
        return draw == null ? "" : "/" + draw;
    }

    private void add(String name, GgmlType format, double deviation, double mean, int... dimensions) {
        int elements = IntStream.of(dimensions).reduce(1, Math::multiplyExact);
        RandomBlocks blocks = new RandomBlocks(family + "/" + type + "/" + name + draw());
        writer.tensor(
                name,
                format,
                IntStream.of(dimensions).mapToObj(d -> (long) d).toList(),
                blocks.make(format, elements, deviation, mean));
    }
}
