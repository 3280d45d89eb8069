package dev.prefetch.testing;

import dev.prefetch.gguf.GgmlType;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import java.util.stream.Collectors;
import java.util.stream.IntStream;
import java.util.stream.Stream;

/**
 * Small random encoders, made as the models of {@link RandomModel} are. Their vocabulary has a word per token, so that
 * {@link #text} says any tokens; their exact vectors ({@link ExactVectors}) lie beside the exact logits.
 */
public final class RandomEncoder {

    /** Positions of a text; those of {@link #tokens} go beyond a block of attention and a page of keys and values. */
    public static final int CONTEXT = 128;

    private static final int DIM = 256;
    private static final int FFN = 512;
    private static final int EXPERTS = 4;
    private static final int VOCABULARY = 260;
    private static final int CLS = 2;
    private static final int SEP = 3;

    private static final Path FOLDER = Path.of("target", "random-models");
    private static final Map<String, Path> WRITTEN = new ConcurrentHashMap<>();

    private final GgufWriter writer = new GgufWriter();
    private final String family;
    private final String architecture;
    private final String type;
    private final int layers;

    private RandomEncoder(String family, String type) {
        this.family = family;
        this.architecture = architectureOf(family);
        this.type = type;
        // With experts the last layer has some, and one before it.
        this.layers = family.equals("nomic-bert-moe") ? 4 : 3;
    }

    /** What there are models of: an architecture, or a variant of one; see {@link #architectureOf}. */
    public static List<String> families() {
        return List.of("bert", "bert-fused", "nomic-bert", "nomic-bert-moe");
    }

    /** {@code general.architecture} of a family. */
    public static String architectureOf(String family) {
        return family.equals("bert-fused") ? "bert" : family;
    }

    /** Names of all models: family, minus, weight format. */
    public static List<String> names() {
        return families().stream()
                .flatMap(family -> types(family).map(type -> family + "-" + type))
                .toList();
    }

    private static Stream<String> types(String family) {
        return family.equals("bert-fused")
                ? Stream.of("F32", "Q8_0")
                : Stream.of("F32", "F16", "BF16", "Q8_0", "Q4_K_M");
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
        RandomEncoder model = new RandomEncoder(name.substring(0, split), name.substring(split + 1));
        model.build();
        return model.writer.write(folder.resolve(name + ".gguf"));
    }

    /** A text of that many words, and what it becomes: the words between begin and end. */
    public static int[] tokens(int words) {
        return IntStream.concat(
                        IntStream.concat(
                                IntStream.of(CLS), IntStream.range(0, words).map(i -> 5 + (i * 7919 + 13) % 255)),
                        IntStream.of(SEP))
                .toArray();
    }

    /** The text that becomes these tokens, the first and the last of which are not words. */
    public static String text(int[] tokens) {
        return IntStream.of(tokens)
                .skip(1)
                .limit(tokens.length - 2L)
                .mapToObj(token -> "w" + token)
                .collect(Collectors.joining(" "));
    }

    private void build() {
        boolean rotates = architecture.startsWith("nomic-bert");
        int heads = rotates ? 4 : 8;
        writer.put("general.architecture", architecture).put("general.name", "random " + family);
        number("context_length", CONTEXT);
        number("embedding_length", DIM);
        number("block_count", layers);
        number("feed_forward_length", FFN);
        number("attention.head_count", heads);
        writer.put(architecture + ".attention.layer_norm_epsilon", 1e-12f)
                .put(architecture + ".attention.causal", false);
        number("pooling_type", family.equals("bert-fused") ? 2 : 1);
        if (rotates) {
            writer.put(architecture + ".rope.freq_base", 1000f);
        }
        if (family.equals("nomic-bert-moe")) {
            number("expert_count", EXPERTS);
            number("expert_used_count", 2);
            number("moe_every_n_layers", 2);
        }
        vocabulary();

        matrix("token_embd.weight", important(), 1, DIM, VOCABULARY);
        if (family.equals("bert-fused")) {
            vector("token_types.weight", 0.3, 0, DIM, 1);
        } else {
            vector("token_types.weight", 0.3, 0, DIM, 2);
        }
        if (!rotates) {
            vector("position_embd.weight", 0.5, 0, DIM, CONTEXT);
        }
        norm("token_embd_norm");
        for (int layer = 0; layer < layers; layer++) {
            attention("blk." + layer + ".");
            feedForward("blk." + layer + ".", layer);
        }
    }

    private void number(String key, int value) {
        writer.uint32(architecture + "." + key, value);
    }

    private void vocabulary() {
        List<String> tokens = new ArrayList<>(List.of("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"));
        IntStream.range(tokens.size(), VOCABULARY).forEach(i -> tokens.add("▁w" + i));
        writer.put("tokenizer.ggml.model", "bert")
                .put("tokenizer.ggml.pre", "jina-v2-en")
                .put("tokenizer.ggml.tokens", tokens)
                .put(
                        "tokenizer.ggml.token_type",
                        IntStream.range(0, VOCABULARY).map(i -> i < 5 ? 3 : 1).toArray())
                .uint32("tokenizer.ggml.token_type_count", family.equals("bert-fused") ? 1 : 2)
                .uint32("tokenizer.ggml.padding_token_id", 0)
                .uint32("tokenizer.ggml.unknown_token_id", 1)
                .uint32("tokenizer.ggml.bos_token_id", CLS)
                .uint32("tokenizer.ggml.eos_token_id", SEP)
                .uint32("tokenizer.ggml.seperator_token_id", SEP)
                .uint32("tokenizer.ggml.mask_token_id", 4);
    }

    private void attention(String block) {
        double keeping = 1 / Math.sqrt(DIM);
        if (family.equals("bert")) {
            for (String part : List.of("q", "k")) {
                matrix(block + "attn_" + part + ".weight", usual(), 1.5 * keeping, DIM, DIM);
                vector(block + "attn_" + part + ".bias", 0.3, 0, DIM);
            }
            matrix(block + "attn_v.weight", important(), keeping, DIM, DIM);
            vector(block + "attn_v.bias", 0.3, 0, DIM);
        } else {
            matrix(block + "attn_qkv.weight", usual(), 1.5 * keeping, DIM, 3 * DIM);
        }
        if (family.equals("bert-fused") || family.equals("nomic-bert-moe")) {
            vector(block + "attn_qkv.bias", 0.3, 0, 3 * DIM);
        }
        matrix(block + "attn_output.weight", usual(), 2 * keeping, DIM, DIM);
        if (!family.equals("nomic-bert")) {
            vector(block + "attn_output.bias", 0.2, 0, DIM);
        }
        norm(block + "attn_output_norm");
    }

    private void feedForward(String block, int layer) {
        double keeping = 1 / Math.sqrt(DIM);
        norm(block + "layer_output_norm");
        if (family.equals("nomic-bert-moe") && layer % 2 == 1) {
            vector(block + "ffn_gate_inp.weight", 2 * keeping, 0, DIM, EXPERTS);
            add(block + "ffn_up_exps.weight", usual(), keeping, 0, DIM, FFN, EXPERTS);
            add(block + "ffn_down_exps.weight", important(), 4 / Math.sqrt(FFN), 0, FFN, DIM, EXPERTS);
            return;
        }
        matrix(block + "ffn_up.weight", usual(), keeping, DIM, FFN);
        matrix(block + "ffn_down.weight", important(), 2 / Math.sqrt(FFN), FFN, DIM);
        if (family.equals("nomic-bert")) {
            matrix(block + "ffn_gate.weight", usual(), keeping, DIM, FFN);
        } else {
            vector(block + "ffn_up.bias", 0.2, 0, FFN);
            vector(block + "ffn_down.bias", 0.2, 0, DIM);
        }
    }

    private GgmlType usual() {
        return type.equals("Q4_K_M") ? GgmlType.Q4_K : GgmlType.valueOf(type);
    }

    /** The format of what mixtures store more exactly. */
    private GgmlType important() {
        return type.equals("Q4_K_M") ? GgmlType.Q6_K : GgmlType.valueOf(type);
    }

    private void norm(String name) {
        vector(name + ".weight", 0.1, 1, DIM);
        vector(name + ".bias", 0.1, 0, DIM);
    }

    private void vector(String name, double deviation, double mean, int... dimensions) {
        add(name, GgmlType.F32, deviation, mean, dimensions);
    }

    private void matrix(String name, GgmlType format, double deviation, int cols, int rows) {
        add(name, format, deviation, 0, cols, rows);
    }

    private void add(String name, GgmlType format, double deviation, double mean, int... dimensions) {
        int elements = IntStream.of(dimensions).reduce(1, Math::multiplyExact);
        writer.tensor(
                name,
                format,
                IntStream.of(dimensions).mapToObj(d -> (long) d).toList(),
                new RandomBlocks(family + "/" + type + "/" + name).make(format, elements, deviation, mean));
    }
}
