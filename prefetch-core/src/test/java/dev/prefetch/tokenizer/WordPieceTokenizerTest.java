package dev.prefetch.tokenizer;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.junit.jupiter.api.Assertions.assertTimeoutPreemptively;

import dev.prefetch.gguf.GgufFormatException;
import dev.prefetch.tokenizer.Tokenizer.TextSpan;
import java.time.Duration;
import java.util.Arrays;
import java.util.List;
import org.junit.jupiter.api.Test;

class WordPieceTokenizerTest {

    private static final int UNKNOWN = 2;

    private static Vocabularies pieces() {
        Vocabularies result = Vocabularies.wordPiece();
        for (String text :
                List.of("▁un", "▁unaff", "aff", "able", "▁able", "▁,", "▁!", "▁+", "▁中", "▁hello", "▁ı", "s")) {
            result.token(text, TokenType.NORMAL);
        }
        return result;
    }

    private static List<String> texts(Tokenizer tokenizer, String text) {
        return Arrays.stream(tokenizer.encode(text))
                .mapToObj(tokenizer::tokenText)
                .toList();
    }

    @Test
    void takesTheLongestTokenFromLeftToRight() {
        Tokenizer tokenizer = pieces().build();
        assertThat(texts(tokenizer, "unable")).containsExactly("▁un", "able");
        assertThat(texts(tokenizer, "unaffable")).containsExactly("▁unaff", "able");
        assertThat(texts(tokenizer, " able  able\n")).containsExactly("▁able", "▁able");
    }

    @Test
    void makesAWordThatCannotBeWrittenUnknownAsAWhole() {
        Tokenizer tokenizer = pieces().build();
        assertThat(tokenizer.encode("unaffx")).containsExactly(UNKNOWN);
        assertThat(tokenizer.encode("x able"))
                .containsExactly(UNKNOWN, tokenizer.encode("able")[0]);
    }

    @Test
    void makesPunctuationAndChineseCharactersWordsOfTheirOwn() {
        Tokenizer tokenizer = pieces().build();
        assertThat(texts(tokenizer, "hello,hello+able!中中"))
                .containsExactly("▁hello", "▁,", "▁hello", "▁+", "▁able", "▁!", "▁中", "▁中");
    }

    @Test
    void putsTextIntoLowerCaseWithoutAccentsUnlessToldNotTo() {
        assertThat(texts(pieces().build(), "HÉLLÖ")).containsExactly("▁hello");
        assertThat(texts(pieces().build(), "he\u0301llo")).containsExactly("▁hello");
        Tokenizer cased =
                pieces().with("tokenizer.ggml.normalizer.lowercase", false).build();
        assertThat(cased.encode("Hello")).containsExactly(UNKNOWN);
        assertThat(cased.encode("héllo")).containsExactly(UNKNOWN);
        Tokenizer accented =
                pieces().with("tokenizer.ggml.normalizer.strip_accents", false).build();
        assertThat(texts(accented, "HELLO")).containsExactly("▁hello");
        assertThat(accented.encode("héllo")).containsExactly(UNKNOWN);
    }

    @Test
    void dropsControlCharactersWithinWords() {
        assertThat(texts(pieces().build(), "he\u0000l\u200Blo\uFFFD")).containsExactly("▁hello");
        assertThat(texts(pieces().build(), "hello\uD83D")).containsExactly("▁hello");
    }

    @Test
    void recognisesSpecialTokensOnlyWhereTheyAreAllowed() {
        Tokenizer tokenizer = pieces().build();
        assertThat(tokenizer.encode(List.of(new TextSpan("[CLS]hello[SEP]", true))))
                .containsExactly(0, tokenizer.encode("hello")[0], 1);
        assertThat(tokenizer.encode("[CLS]")).containsExactly(UNKNOWN, UNKNOWN, UNKNOWN);
    }

    @Test
    void wrapsTextsIntoBeginAndSeparator() {
        Tokenizer tokenizer = pieces().build();
        assertThat(tokenizer.addsBeginToken()).isTrue();
        assertThat(tokenizer.beginToken()).isZero();
        assertThat(tokenizer.addsEndToken()).isTrue();
        assertThat(tokenizer.endToken()).isEqualTo(1);
    }

    @Test
    void decodesWordsWithSpacesBetween() {
        Tokenizer tokenizer = pieces().build();
        assertThat(tokenizer.decode(tokenizer.encode("unable hello"), false)).isEqualTo("unable hello");
    }

    @Test
    void refusesAVocabularyWithoutUnknownToken() {
        var values = pieces().values();
        values.remove("tokenizer.ggml.unknown_token_id");
        assertThatThrownBy(() -> Vocabularies.build(values))
                .isInstanceOf(GgufFormatException.class)
                .hasMessageContainingAll("test.gguf", "tokenizer.ggml.unknown_token_id");
    }

    @Test
    void takesLinearTimeForOneWordOfAMegabyte() {
        Tokenizer tokenizer = pieces().token("▁s", TokenType.NORMAL).build();
        String text = "s".repeat(1 << 20);
        assertThat(assertTimeoutPreemptively(Duration.ofSeconds(30), () -> tokenizer.encode(text)))
                .hasSize(1 << 20);
        assertThat(assertTimeoutPreemptively(Duration.ofSeconds(30), () -> tokenizer.encode(text + "x")))
                .containsExactly(UNKNOWN);
    }
}
