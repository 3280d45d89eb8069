package dev.prefetch.tokenizer;

import static dev.prefetch.testing.DocumentedTable.assertDocumented;
import static org.assertj.core.api.Assertions.assertThat;

import dev.prefetch.gguf.GgufFile;
import dev.prefetch.gguf.GgufMetadata;
import dev.prefetch.testing.Conformance;
import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.stream.Collectors;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;

/**
 * What llama.cpp 0.5.0 makes of the same texts with every pre-tokenizer it knows: GPT-2's vocabulary under another
 * {@code tokenizer.ggml.pre}, and Llama's as one of characters for those that need such. The folder of another record can
 * be given by {@code -Dprefetch.tokenizer.recorded}.
 */
class RecordedIdsTest {

    private static final String SEPARATOR = "\n__ggml_vocab_test__\n";
    private static final String FOLDER = System.getProperty("prefetch.tokenizer.recorded", "");

    /** Names and the lines of ids recorded for all of them. */
    record Section(List<String> names, List<String> ids) {}

    /**
     * Texts of the record that llama.cpp, which writes some expressions in a simpler way, cuts otherwise than the model's
     * own expression: three digits are counted from the end of a number even where a word goes on behind it, and words are
     * not cut at capitals.
     */
    private static final Map<String, List<Integer>> OTHERWISE = Map.of(
            "cohere2moe", List.of(32, 45, 47, 54, 55),
            "tiny_aya", List.of(32, 45, 47, 54, 55),
            "kimi-k2", List.of(54),
            "youtu", List.of(54));

    @Test
    void encodesEveryTextAsRecorded() {
        List<String> texts = List.of(read("texts.txt").split(SEPARATOR, -1));
        texts = texts.subList(0, texts.size() - 1);
        Map<String, List<Integer>> otherwise = new TreeMap<>();
        List<String> differences = new ArrayList<>();
        Set<String> compared = new TreeSet<>();
        for (Section section : sections()) {
            assertThat(section.ids()).hasSameSizeAs(texts);
            for (String name : section.names()) {
                compared.add(name);
                Tokenizer tokenizer = tokenizer(name);
                for (int i = 0; i < texts.size(); i++) {
                    String ids = join(tokenizer.encode(texts.get(i)));
                    if (!ids.equals(section.ids().get(i))) {
                        otherwise.computeIfAbsent(name, n -> new ArrayList<>()).add(i);
                        differences.add("%s %d '%s'%n  ours %s%n  recorded %s"
                                .formatted(
                                        name,
                                        i,
                                        texts.get(i),
                                        ids,
                                        section.ids().get(i)));
                    }
                }
            }
        }
        assertThat(compared).isEqualTo(PreTokenizers.names());
        assertThat(otherwise).as(String.join("\n", differences)).isEqualTo(OTHERWISE);
    }

    @Test
    void namesAndWhatTheyAreHeldToAreDocumented() throws IOException {
        Map<PreTokenizer, List<String>> groups = new LinkedHashMap<>();
        for (String name : PreTokenizers.names()) {
            groups.computeIfAbsent(PreTokenizers.named(name).orElseThrow(), g -> new ArrayList<>())
                    .add(name);
        }
        long texts = read("texts.txt").split(SEPARATOR, -1).length - 1;
        StringBuilder table = new StringBuilder("| `tokenizer.ggml.pre` | same ids as llama.cpp 0.5.0 |\n|---|---|\n");
        for (List<String> names : groups.values()) {
            int otherwise = OTHERWISE.getOrDefault(names.getFirst(), List.of()).size();
            assertThat(names)
                    .allSatisfy(name ->
                            assertThat(OTHERWISE.getOrDefault(name, List.of())).hasSize(otherwise));
            table.append("| %s | %d of %d texts |\n"
                    .formatted(
                            names.stream().map(name -> "`" + name + "`").collect(Collectors.joining(", ")),
                            texts - otherwise,
                            texts));
        }
        assertDocumented("pre-tokenizers", table.toString());
    }

    private static List<Section> sections() {
        List<Section> sections = new ArrayList<>();
        for (String line : read("ids.txt").split("\n")) {
            if (line.startsWith("# ")) {
                sections.add(new Section(List.of(line.substring(2).split(" ")), new ArrayList<>()));
            } else {
                sections.getLast().ids().add(line);
            }
        }
        return sections;
    }

    /** A tokenizer with that pre-tokenizer over a real vocabulary. */
    static Tokenizer tokenizer(String preTokenizer) {
        boolean characters = PreTokenizers.named(preTokenizer).orElseThrow().symbols() != PreTokenizer.Symbols.BYTES;
        Path file =
                Conformance.folder().resolve("tokenizers/ggml-vocab-" + (characters ? "llama-spm" : "gpt-2") + ".gguf");
        try (GgufFile gguf = GgufFile.open(file)) {
            GgufMetadata metadata = gguf.metadata();
            Map<String, Object> values = new LinkedHashMap<>();
            values.put("tokenizer.ggml.model", preTokenizer.equals("whitespace") ? "whitespace" : "gpt2");
            values.put("tokenizer.ggml.pre", preTokenizer);
            List<String> tokens = metadata.requireStrings("tokenizer.ggml.tokens");
            long[] types = metadata.integers("tokenizer.ggml.token_type").orElseThrow();
            values.put("tokenizer.ggml.tokens", tokens);
            values.put("tokenizer.ggml.token_type", types);
            values.put(
                    "tokenizer.ggml.merges",
                    characters ? merges(tokens, types) : metadata.requireStrings("tokenizer.ggml.merges"));
            values.put("tokenizer.ggml.bos_token_id", metadata.longOr("tokenizer.ggml.bos_token_id", -1));
            return Tokenizers.from(GgufMetadata.of(file.toString(), values));
        }
    }

    /** Every way in which two tokens make a third, in the order of the third, which is that of the scores. */
    private static List<String> merges(List<String> tokens, long[] types) {
        Map<String, Integer> ids = new LinkedHashMap<>();
        IntStream.range(0, types.length)
                .filter(i -> types[i] == TokenType.NORMAL.ordinal())
                .forEach(i -> ids.put(tokens.get(i), i));
        List<String> merges = new ArrayList<>();
        for (String text : ids.keySet()) {
            IntStream.range(1, text.length())
                    .filter(i -> ids.containsKey(text.substring(0, i)) && ids.containsKey(text.substring(i)))
                    .boxed()
                    .sorted(Comparator.comparing(i -> ids.get(text.substring(0, i))))
                    .forEach(i -> merges.add(text.substring(0, i) + " " + text.substring(i)));
        }
        return merges;
    }

    private static String join(int[] ids) {
        StringBuilder text = new StringBuilder();
        for (int id : ids) {
            text.append(text.isEmpty() ? "" : " ").append(id);
        }
        return text.toString();
    }

    private static String read(String name) {
        try (InputStream in = FOLDER.isEmpty()
                ? RecordedIdsTest.class.getResourceAsStream("recorded/" + name)
                : Files.newInputStream(Path.of(FOLDER, name))) {
            return new String(in.readAllBytes(), StandardCharsets.UTF_8);
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }
}
