package dev.prefetch.tokenizer;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assertions.assertTimeoutPreemptively;
import static org.junit.jupiter.api.Assumptions.assumeFalse;

import dev.prefetch.gguf.GgufFile;
import dev.prefetch.testing.Conformance;
import dev.prefetch.tokenizer.Tokenizer.TextSpan;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.Arrays;
import java.util.List;
import java.util.Random;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;
import org.junit.jupiter.params.provider.ValueSource;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.json.JsonMapper;

/** The recorded ids of llama.cpp's vocabulary tests and of the demo model's reference run. */
class TokenizerConformanceTest {

    private static final String SEPARATOR = "\n__ggml_vocab_test__\n";

    /** Every vocabulary beside which cases are recorded. */
    static List<Path> vocabularies() {
        return Conformance.ggufFiles("tokenizers").stream()
                .filter(file -> Files.exists(Path.of(file + ".out")))
                .toList();
    }

    @Test
    void findsTheVocabulariesOfTheCommonFamilies() {
        assertThat(vocabularies().stream()
                        .map(file -> file.getFileName().toString().replaceAll("ggml-vocab-(.*)\\.gguf", "$1")))
                .contains("gpt-2", "falcon", "deepseek-llm", "starcoder", "llama-spm", "phi-3");
    }

    @ParameterizedTest
    @MethodSource("vocabularies")
    void encodesEveryCaseAsRecorded(Path file) throws IOException {
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
    @MethodSource("vocabularies")
    void decodesEveryCaseBack(Path file) throws IOException {
        Tokenizer tokenizer = open(file);
        // WordPiece drops case, accents and white space.
        assumeFalse(tokenizer instanceof WordPieceTokenizer);
        for (String text : Files.readString(Path.of(file + ".inp")).split(SEPARATOR, -1)) {
            assertThat(tokenizer.decode(tokenizer.encode(text), false)).isEqualTo(text);
        }
    }

    /**
     * A megabyte takes a second at most; quadratic time would take hours. Of a run of one character a merger must not
     * look again and again at what cannot be merged.
     */
    @ParameterizedTest
    @MethodSource("vocabularies")
    void takesLinearTimeForAMegabyte(Path file) throws IOException {
        Tokenizer tokenizer = open(file);
        boolean reversible = !(tokenizer instanceof WordPieceTokenizer);
        String prose = Files.readString(Path.of(file + ".inp"));
        for (String unit : List.of("a", " ", "\n", "中", "=", "\u0301", "😀", prose)) {
            String text = unit.repeat((1 << 20) / unit.getBytes(StandardCharsets.UTF_8).length);
            int[] tokens = assertTimeoutPreemptively(Duration.ofSeconds(60), () -> tokenizer.encode(text));
            if (reversible) {
                assertThat(tokenizer.decode(tokens, false)).as("'%s'", unit).isEqualTo(text);
            }
        }
    }

    /** As many random texts as the property says, shared by the vocabularies. */
    @ParameterizedTest
    @MethodSource("vocabularies")
    void decodesRandomTextsBack(Path file) {
        Tokenizer tokenizer = open(file);
        assumeFalse(tokenizer instanceof WordPieceTokenizer);
        long seed = 44;
        Random random = new Random(seed);
        int rounds = Integer.getInteger("prefetch.tokenizer.roundTrips", 60_000)
                / vocabularies().size();
        for (int i = 0; i < rounds; i++) {
            // U+2581 is how some vocabularies write a space; it does not survive.
            String text = (i % 2 == 0 ? Texts.anything(random) : Texts.splittable(random))
                    .replace('▁', 'a')
                    .codePoints()
                    .filter(c -> canWrite(tokenizer, c))
                    .collect(StringBuilder::new, StringBuilder::appendCodePoint, StringBuilder::append)
                    .toString();
            assertThat(tokenizer.decode(tokenizer.encode(text), false))
                    .as("seed %d, text %d", seed, i)
                    .isEqualTo(text);
        }
    }

    /** Whether the vocabulary can write the character: some byte-level ones lack bytes that were rare. */
    private static boolean canWrite(Tokenizer tokenizer, int c) {
        if (!(tokenizer instanceof BytePairTokenizer bytePair)) {
            return true;
        }
        for (byte b : Character.toString(c).getBytes(StandardCharsets.UTF_8)) {
            if (bytePair.vocabulary().find(String.valueOf(ByteCharacters.characterOf(b & 0xFF))) < 0) {
                return false;
            }
        }
        return true;
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
