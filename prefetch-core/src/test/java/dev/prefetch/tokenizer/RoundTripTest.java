package dev.prefetch.tokenizer;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assertions.assertTimeoutPreemptively;

import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Random;
import java.util.Set;
import java.util.function.BiFunction;
import java.util.function.Function;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * Random texts through every kind of tokenizer and every pre-tokenizer and back, and a megabyte in linear time. How many
 * texts each one gets is {@code -Dprefetch.test.roundTrips}.
 */
class RoundTripTest {

    private static final Logger LOG = LoggerFactory.getLogger(RoundTripTest.class);
    private static final int TEXTS = Integer.getInteger("prefetch.test.roundTrips", 1000);
    private static final long SEED = Long.getLong("prefetch.test.seed", 77);
    private static final String LETTERS = "abcdefghijklmnopqrstuvwxyzäжλ中あ";

    /**
     * @param text makes a random text that the vocabulary can write
     * @param expected what comes back
     */
    record Kind(
            String name,
            Tokenizer tokenizer,
            BiFunction<Random, Integer, String> text,
            Function<String, String> expected) {

        @Override
        public String toString() {
            return name;
        }
    }

    /** One for each pre-tokenizer of the table, and the kinds without one. */
    static List<Kind> kinds() {
        List<Kind> kinds = new ArrayList<>();
        Set<PreTokenizer> seen = new HashSet<>();
        for (String name : PreTokenizers.names()) {
            PreTokenizer preTokenizer = PreTokenizers.named(name).orElseThrow();
            if (!seen.add(preTokenizer)) {
                continue;
            }
            boolean dropsSpaces = name.equals("whitespace");
            kinds.add(new Kind(
                    name,
                    RecordedIdsTest.tokenizer(name),
                    // U+2581 is how vocabularies of characters write a space; it does not survive.
                    (random, i) -> (i % 2 == 0 ? Texts.anything(random) : Texts.splittable(random)).replace('▁', 'a'),
                    dropsSpaces ? RoundTripTest::withoutWhiteSpace : Function.identity()));
        }
        kinds.add(new Kind(
                "SentencePiece",
                pieces(Vocabularies.sentencePiece(), "", LETTERS).build(),
                (random, i) -> (i % 2 == 0 ? Texts.anything(random) : Texts.splittable(random)).replace('▁', 'a'),
                Function.identity()));
        kinds.add(new Kind(
                "unigram",
                pieces(Vocabularies.unigram(), "", LETTERS + "▁")
                        .with("tokenizer.ggml.remove_extra_whitespaces", false)
                        .build(),
                (random, i) -> letters(random),
                Function.identity()));
        Vocabularies words = pieces(Vocabularies.wordPiece(), "", LETTERS);
        kinds.add(new Kind(
                "WordPiece",
                pieces(words, "▁", LETTERS)
                        .with("tokenizer.ggml.normalizer.lowercase", false)
                        .build(),
                (random, i) -> letters(random),
                // Chinese characters are words of their own.
                text -> text.replace("中", " 中 ").strip().replaceAll(" +", " ")));
        return kinds;
    }

    private static String withoutWhiteSpace(String text) {
        return text.codePoints()
                .filter(c -> !CharacterClass.isWhiteSpace(c))
                .collect(StringBuilder::new, StringBuilder::appendCodePoint, StringBuilder::append)
                .toString();
    }

    /** Tokens for single letters and for some pairs. */
    private static Vocabularies pieces(Vocabularies vocabulary, String prefix, String letters) {
        letters.codePoints().forEach(c -> vocabulary.piece(prefix + Character.toString(c), -10));
        for (String pair : List.of("ab", "th", "he", "in", "er", "жλ", "äa")) {
            vocabulary.piece(prefix + pair, -5);
        }
        return vocabulary;
    }

    private static String letters(Random random) {
        StringBuilder text = new StringBuilder();
        for (int i = random.nextInt(30); i > 0; i--) {
            text.append(random.nextInt(5) == 0 ? ' ' : LETTERS.charAt(random.nextInt(LETTERS.length())));
        }
        return text.toString();
    }

    @ParameterizedTest
    @MethodSource("kinds")
    void decodesRandomTextsBack(Kind kind) {
        Random random = new Random(SEED);
        for (int i = 0; i < TEXTS; i++) {
            String text = kind.text().apply(random, i);
            assertThat(kind.tokenizer().decode(kind.tokenizer().encode(text), false))
                    .as("seed %d, text %d", SEED, i)
                    .isEqualTo(kind.expected().apply(text));
        }
    }

    @ParameterizedTest
    @MethodSource("kinds")
    void takesLinearTimeForAMegabyte(Kind kind) {
        Random random = new Random(SEED);
        StringBuilder mixed = new StringBuilder();
        while (mixed.length() < 10_000) {
            mixed.append(kind.text().apply(random, mixed.length())).append(' ');
        }
        long slowest = 0;
        String slowestUnit = "";
        for (String unit : List.of("a", " ", "=", mixed.toString())) {
            String text = unit.repeat((1 << 20) / unit.getBytes(StandardCharsets.UTF_8).length);
            long start = System.nanoTime();
            int[] tokens = assertTimeoutPreemptively(
                    Duration.ofSeconds(60), () -> kind.tokenizer().encode(text));
            long nanos = System.nanoTime() - start;
            if (nanos > slowest) {
                slowest = nanos;
                slowestUnit = unit.length() > 2 ? "mixed" : unit;
            }
            // One more where a space goes in front.
            assertThat(tokens.length).isLessThanOrEqualTo((1 << 20) + 1);
        }
        LOG.info("{}: a megabyte took {} ms at most (of '{}')", kind, slowest / 1_000_000, slowestUnit);
    }
}
