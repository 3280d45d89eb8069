package dev.prefetch.tokenizer;

import static org.assertj.core.api.Assertions.assertThat;

import dev.prefetch.gguf.GgufFile;
import dev.prefetch.testing.Conformance;
import dev.prefetch.tokenizer.Tokenizer.TextSpan;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.json.JsonMapper;

/** The recorded ids of llama.cpp's vocabulary tests and of the demo model's reference run. */
class TokenizerConformanceTest {

    private static final String SEPARATOR = "\n__ggml_vocab_test__\n";

    @ParameterizedTest
    @ValueSource(strings = {"gpt-2", "falcon", "deepseek-llm", "starcoder", "llama-spm", "phi-3"})
    void encodesEveryCaseAsRecorded(String name) throws IOException {
        Path file = Conformance.folder().resolve("tokenizers/ggml-vocab-" + name + ".gguf");
        Tokenizer tokenizer = open(file);
        List<String> cases = List.of(Files.readString(Path.of(file + ".inp")).split(SEPARATOR, -1));
        List<String> expected = Files.readAllLines(Path.of(file + ".out"));

        // The last separator ends the file: what follows it is no case.
        assertThat(cases.getLast()).isEmpty();
        assertThat(cases.subList(0, cases.size() - 1)).hasSameSizeAs(expected);
        for (int i = 0; i < expected.size(); i++) {
            assertThat(tokenizer.encode(cases.get(i)))
                    .as("case %d: '%s'", i, cases.get(i))
                    .isEqualTo(ids(expected.get(i)));
        }
    }

    @ParameterizedTest
    @ValueSource(strings = {"gpt-2", "falcon", "deepseek-llm", "starcoder", "llama-spm", "phi-3"})
    void decodesEveryCaseBack(String name) throws IOException {
        Path file = Conformance.folder().resolve("tokenizers/ggml-vocab-" + name + ".gguf");
        Tokenizer tokenizer = open(file);
        for (String text : Files.readString(Path.of(file + ".inp")).split(SEPARATOR, -1)) {
            assertThat(tokenizer.decode(tokenizer.encode(text), false)).isEqualTo(text);
        }
    }

    @Test
    void encodesAndDecodesTheDemoModelsConversationsAsRecorded() throws IOException {
        Path directory = Conformance.folder().resolve("demo-model");
        Tokenizer tokenizer = open(directory.resolve("tiny-demo-chat-Q4_0.gguf"));
        JsonMapper json = JsonMapper.shared();
        List<String> lines = Files.readAllLines(directory.resolve("golden.jsonl"));
        assertThat(lines).hasSizeGreaterThan(10);
        for (String line : lines) {
            JsonNode golden = json.readTree(line);
            String prompt = golden.get("prompt").stringValue();
            int[] promptIds = json.treeToValue(golden.get("prompt_ids"), int[].class);
            assertThat(tokenizer.encode(List.of(new TextSpan(prompt, true)))).isEqualTo(promptIds);
            assertThat(tokenizer.decode(promptIds, true)).isEqualTo(prompt);

            int[] continuation = json.treeToValue(golden.get("continuation_ids"), int[].class);
            if (golden.get("finish").stringValue().equals("stop")) {
                int last = continuation[continuation.length - 1];
                assertThat(tokenizer.endOfGenerationTokens()).contains(last);
                continuation = Arrays.copyOf(continuation, continuation.length - 1);
            }
            // The tags of tool calls are control tokens in this vocabulary, and the record shows them.
            assertThat(tokenizer.decode(continuation, true))
                    .isEqualTo(golden.get("continuation").stringValue());
        }
    }

    @ParameterizedTest
    @ValueSource(strings = {"demo-model", "logits"})
    void readsTheVocabularyOfEveryModel(String folder) {
        String text = "Hello, world!\n  It's 2026 \uD83D\uDE00";
        for (Path file : Conformance.ggufFiles(folder)) {
            Tokenizer tokenizer = open(file);
            int[] tokens = tokenizer.encode(text);
            assertThat(tokens).as(file.toString()).isNotEmpty();
            if (folder.equals("demo-model")) {
                assertThat(tokenizer.decode(tokens, false)).as(file.toString()).isEqualTo(text);
            }
        }
    }

    private static Tokenizer open(Path file) {
        try (GgufFile gguf = GgufFile.open(file)) {
            return Tokenizers.from(gguf.metadata());
        }
    }

    private static int[] ids(String line) {
        return Arrays.stream(line.trim().split(" +"))
                .filter(id -> !id.isEmpty())
                .mapToInt(Integer::parseInt)
                .toArray();
    }
}
