package dev.prefetch.tokenizer;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;
import static org.junit.jupiter.api.Assertions.assertTimeoutPreemptively;

import dev.prefetch.gguf.GgufFormatException;
import java.time.Duration;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Random;
import org.junit.jupiter.api.Test;

class UnigramTokenizerTest {

    private static final int UNKNOWN = 2;

    private static Vocabularies pieces() {
        return Vocabularies.unigram()
                .piece("▁", -2)
                .piece("a", -3)
                .piece("b", -3.5f)
                .piece("ab", -4)
                .piece("▁a", -4.5f)
                .piece("▁ab", -9)
                .piece("ba", -4.25f)
                .piece("😀", -5);
    }

    private static List<String> texts(Tokenizer tokenizer, String text) {
        List<String> result = new ArrayList<>();
        for (int token : tokenizer.encode(text)) {
            result.add(tokenizer.tokenText(token));
        }
        return result;
    }

    @Test
    void takesTheMostProbableSegmentation() {
        Tokenizer tokenizer =
                pieces().with("tokenizer.ggml.add_space_prefix", true).build();
        // -2 - 4 beats -4.5 - 3.5 and -9.
        assertThat(texts(tokenizer, "ab")).containsExactly("▁", "ab");
        assertThat(texts(tokenizer, "a")).containsExactly("▁a");
        // -4.5 - 4.25 beats -2 - 4 - 3.
        assertThat(texts(tokenizer, "aba")).containsExactly("▁a", "ba");
    }

    @Test
    void findsNoWorseThanEverySegmentation() {
        Vocabularies vocabulary = pieces();
        Tokenizer tokenizer = vocabulary.build();
        Map<String, Double> scores = new LinkedHashMap<>();
        float[] given = (float[]) vocabulary.values().get("tokenizer.ggml.scores");
        for (int i = 3; i < given.length; i++) {
            scores.put(tokenizer.tokenText(i), (double) given[i]);
        }
        long seed = 45;
        Random random = new Random(seed);
        for (int round = 0; round < 3000; round++) {
            StringBuilder text = new StringBuilder();
            for (int i = random.nextInt(10); i > 0; i--) {
                text.append(List.of("a", "b", " ", "😀", "x").get(random.nextInt(5)));
            }
            double sum = 0;
            StringBuilder spelled = new StringBuilder();
            for (int token : tokenizer.encode(text.toString())) {
                sum += token == UNKNOWN ? 0 : given[token];
                spelled.append(token == UNKNOWN ? "x" : tokenizer.tokenText(token));
            }
            String written = text.toString().replace(' ', '▁');
            assertThat(spelled.toString()).isEqualTo(written.replaceAll("x+", "x"));
            double best = 0;
            for (String part : written.split("x")) {
                best += bestOf(part, scores);
            }
            assertThat(sum).as("seed %d, '%s'", seed, text).isCloseTo(best, within(1e-9));
        }
    }

    /** By trying everything. */
    private static double bestOf(String text, Map<String, Double> scores) {
        if (text.isEmpty()) {
            return 0;
        }
        double best = Double.NEGATIVE_INFINITY;
        for (var piece : scores.entrySet()) {
            if (text.startsWith(piece.getKey())) {
                best = Math.max(
                        best,
                        piece.getValue() + bestOf(text.substring(piece.getKey().length()), scores));
            }
        }
        return best;
    }

    @Test
    void joinsNeighbouringUnknownCharacters() {
        Tokenizer tokenizer = pieces().build();
        assertThat(tokenizer.encode("xyz")).containsExactly(UNKNOWN);
        assertThat(texts(tokenizer, "xayy")).containsExactly("<unk>", "a", "<unk>");
        assertThat(tokenizer.encode("\uD83D")).containsExactly(UNKNOWN);
        assertThat(tokenizer.encode("")).isEmpty();
    }

    @Test
    void treatsSpacesAsTheFileAsks() {
        Tokenizer plain = pieces().build();
        assertThat(texts(plain, " b  b ")).containsExactly("▁", "b", "▁", "▁", "b", "▁");
        Tokenizer merging = pieces().with("tokenizer.ggml.remove_extra_whitespaces", true)
                .with("tokenizer.ggml.add_space_prefix", true)
                .build();
        assertThat(texts(merging, "b  b ")).containsExactly("▁", "b", "▁", "b");
        assertThat(merging.decode(merging.encode("b b"), false)).isEqualTo("b b");
    }

    @Test
    void prefersUserDefinedTokens() {
        Vocabularies vocabulary = pieces().token("abba", TokenType.USER_DEFINED);
        assertThat(texts(vocabulary.build(), "aabbab")).containsExactly("a", "abba", "b");
    }

    @Test
    void asksForAnEndTokenUnlessTheFileSaysOtherwise() {
        assertThat(pieces().build().addsEndToken()).isTrue();
        assertThat(pieces().build().endToken()).isEqualTo(1);
        assertThat(pieces().build().addsBeginToken()).isFalse();
        assertThat(pieces().with("tokenizer.ggml.add_eos_token", false).build().addsEndToken())
                .isFalse();
    }

    @Test
    void refusesInfiniteScores() {
        assertThatThrownBy(() -> pieces().piece("c", Float.NEGATIVE_INFINITY).build())
                .isInstanceOf(GgufFormatException.class)
                .hasMessageContainingAll("tokenizer.ggml.scores", "index 11");
    }

    @Test
    void takesLinearTimeForAMegabyteOfOneCharacter() {
        Tokenizer tokenizer = pieces().piece("a".repeat(40), -1).build();
        String text = "a".repeat(1 << 20);
        int[] tokens = assertTimeoutPreemptively(Duration.ofSeconds(30), () -> tokenizer.encode(text));
        assertThat(tokenizer.decode(tokens, false)).isEqualTo(text);
        assertThat(tokens.length).isEqualTo((1 << 20) / 40 + (1 << 20) % 40);
    }
}
