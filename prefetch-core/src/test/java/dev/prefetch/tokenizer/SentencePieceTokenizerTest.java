package dev.prefetch.tokenizer;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assertions.assertTimeoutPreemptively;

import dev.prefetch.tokenizer.Tokenizer.TextSpan;
import java.time.Duration;
import java.util.List;
import java.util.Random;
import org.junit.jupiter.api.Test;

class SentencePieceTokenizerTest {

    private static final int FIRST_BYTE = 3;

    private static Vocabularies pieces() {
        return Vocabularies.sentencePiece()
                .piece("a", -10)
                .piece("b", -11)
                .piece("c", -12)
                .piece("ab", -2)
                .piece("bc", -1)
                .piece("▁a", -3)
                .piece("▁ab", -4);
    }

    @Test
    void mergesTheBestScoreFirst() {
        Vocabularies vocabulary = pieces().with("tokenizer.ggml.add_space_prefix", false);
        Tokenizer tokenizer = vocabulary.build();
        assertThat(tokenizer.encode("abc")).containsExactly(vocabulary.id("a"), vocabulary.id("bc"));
        assertThat(tokenizer.encode("ab")).containsExactly(vocabulary.id("ab"));
        assertThat(tokenizer.encode(" ab")).containsExactly(vocabulary.id("▁ab"));
    }

    @Test
    void mergesTheLeftmostOfEqualScoresFirst() {
        Vocabularies vocabulary = Vocabularies.sentencePiece()
                .piece("x", -1)
                .piece("xx", -0f)
                .with("tokenizer.ggml.add_space_prefix", false);
        assertThat(vocabulary.build().encode("xxx")).containsExactly(vocabulary.id("xx"), vocabulary.id("x"));
    }

    @Test
    void putsASpaceInFrontOfTextUnlessToldNotTo() {
        Vocabularies vocabulary = pieces();
        Tokenizer tokenizer = vocabulary.build();
        assertThat(tokenizer.encode("ab")).containsExactly(vocabulary.id("▁ab"));
        assertThat(tokenizer.encode("")).isEmpty();
        assertThat(tokenizer.decode(new int[] {vocabulary.id("▁ab")}, false)).isEqualTo("ab");

        Tokenizer without =
                vocabulary.with("tokenizer.ggml.add_space_prefix", false).build();
        assertThat(without.encode("ab")).containsExactly(vocabulary.id("ab"));
        assertThat(without.decode(new int[] {vocabulary.id("▁ab")}, false)).isEqualTo(" ab");
    }

    @Test
    void putsASpaceBehindSpecialTokensAndTakesItAwayAgain() {
        Vocabularies vocabulary = pieces();
        Tokenizer tokenizer = vocabulary.build();
        int[] tokens = tokenizer.encode(List.of(new TextSpan("ab</s>ab ab", true)));
        int ab = vocabulary.id("▁ab");
        assertThat(tokens).containsExactly(ab, tokenizer.endToken(), ab, ab);
        assertThat(tokenizer.decode(tokens, true)).isEqualTo("ab</s>ab ab");
    }

    @Test
    void takesTheSpaceAwayFromUntrainedTokensToo() {
        Vocabularies vocabulary = pieces().token("▁x", TokenType.UNUSED).token(" y", TokenType.USER_DEFINED);
        Tokenizer tokenizer = vocabulary.build();
        assertThat(tokenizer.encode("x")).containsExactly(vocabulary.id("▁x"));
        assertThat(tokenizer.decode(tokenizer.encode("x y x"), false)).isEqualTo("x y x");
        assertThat(tokenizer.decode(tokenizer.encode(" yx"), false)).isEqualTo(" yx");
    }

    @Test
    void writesUnknownCharactersAsBytes() {
        Tokenizer tokenizer =
                pieces().with("tokenizer.ggml.add_space_prefix", false).build();
        assertThat(tokenizer.encode("é")).containsExactly(FIRST_BYTE + 0xC3, FIRST_BYTE + 0xA9);
        assertThat(tokenizer.encode("\uD83D")).containsExactly(FIRST_BYTE + 0xEF, FIRST_BYTE + 0xBF, FIRST_BYTE + 0xBD);
    }

    @Test
    void neverMakesTokensThatAreNotTextOutOfText() {
        // Every prefix is a piece, so that merging alone could spell the special tokens.
        Vocabularies vocabulary = Vocabularies.sentencePiece();
        for (String text :
                List.of("<", "s", ">", "<s", "/", "</", "</s", "0", "x", "A", "<0", "<0x", "<0x0", "<0x0A", "x0A>")) {
            vocabulary.piece(text, -text.length());
        }
        Tokenizer tokenizer = vocabulary.build();
        for (String text : List.of("<s>", "</s>", "<0x0A>")) {
            int[] tokens = tokenizer.encode(text);
            assertThat(tokens).doesNotContain(1, 2, FIRST_BYTE + 0x0A);
            assertThat(tokenizer.decode(tokens, false)).isEqualTo(text);
        }
    }

    @Test
    void decodesWhatItEncodes() {
        long seed = 43;
        Random random = new Random(seed);
        Tokenizer[] tokenizers = {
            pieces().build(),
            pieces().with("tokenizer.ggml.add_space_prefix", false).build()
        };
        int rounds = Integer.getInteger("prefetch.tokenizer.roundTrips", 100_000);
        for (int i = 0; i < rounds; i++) {
            // U+2581 is how the vocabulary writes a space; it does not survive.
            String text = (i % 2 == 0 ? Texts.anything(random) : Texts.splittable(random)).replace('▁', 'a');
            Tokenizer tokenizer = tokenizers[random.nextInt(2)];
            assertThat(tokenizer.decode(tokenizer.encode(text), false))
                    .as("seed %d, text %d", seed, i)
                    .isEqualTo(text);
        }
    }

    @Test
    void knowsByteTokensByTheirTextWhenTheFileHasNoTypes() {
        var values = pieces().values();
        values.remove("tokenizer.ggml.token_type");
        Tokenizer tokenizer = Vocabularies.build(values);
        assertThat(tokenizer.decode(tokenizer.encode("aéb"), false)).isEqualTo("aéb");
    }

    @Test
    void stripsSpaceBehindThePhi3SpecialTokens() {
        Vocabularies vocabulary = pieces().token("<|user|>", TokenType.CONTROL).token("<|end|>", TokenType.CONTROL);
        List<TextSpan> prompt = List.of(
                new TextSpan("<s> ab<|user|>\n", true), new TextSpan("\t ab", false), new TextSpan("<|end|>\n", true));
        int user = vocabulary.id("<|user|>");
        int end = vocabulary.id("<|end|>");
        int ab = vocabulary.id("▁ab");
        int space = vocabulary.id("▁");

        assertThat(vocabulary.with("general.name", "Phi3").build().encode(prompt))
                .containsExactly(1, space, ab, user, ab, end);
        assertThat(vocabulary.with("general.name", "other").build().encode(prompt))
                .containsExactly(
                        1,
                        space,
                        ab,
                        user,
                        space,
                        FIRST_BYTE + '\n',
                        FIRST_BYTE + '\t',
                        ab,
                        end,
                        space,
                        FIRST_BYTE + '\n');
    }

    @Test
    void encodesAMegabyteOfOneCharacter() {
        Vocabularies vocabulary =
                Vocabularies.sentencePiece().piece("a", -9).piece("aa", -1).piece("aaaa", -2);
        Tokenizer tokenizer =
                vocabulary.with("tokenizer.ggml.add_space_prefix", false).build();
        int[] tokens = assertTimeoutPreemptively(Duration.ofSeconds(30), () -> tokenizer.encode("a".repeat(1 << 20)));
        assertThat(tokens).hasSize(1 << 18).containsOnly(vocabulary.id("aaaa"));
    }
}
