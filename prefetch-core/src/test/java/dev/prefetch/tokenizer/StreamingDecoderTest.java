package dev.prefetch.tokenizer;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.nio.charset.StandardCharsets;
import java.util.Random;
import org.junit.jupiter.api.Test;

class StreamingDecoderTest {

    private final Tokenizer bytes = Vocabularies.byteLevel("gpt-2")
            .merge("a", "b")
            .token("<|end|>", TokenType.CONTROL)
            .build();

    /** The token of a byte in a byte-level vocabulary is the byte. */
    private static int[] tokens(String text) {
        byte[] utf8 = text.getBytes(StandardCharsets.UTF_8);
        int[] tokens = new int[utf8.length];
        for (int i = 0; i < tokens.length; i++) {
            tokens[i] = utf8[i] & 0xFF;
        }
        return tokens;
    }

    @Test
    void givesOutCharactersOnlyWhole() {
        String text = "é€😀👩\u200D💻";
        TokenDecoder decoder = bytes.newDecoder();
        StringBuilder all = new StringBuilder();
        for (int token : tokens(text)) {
            String next = decoder.next(token);
            assertThat(next.isEmpty() || Character.isBmpCodePoint(next.codePointAt(0)) == (next.length() == 1))
                    .as(next)
                    .isTrue();
            assertThat(next).doesNotContain("\uFFFD");
            all.append(next);
        }
        assertThat(all).hasToString(text);
        assertThat(decoder.flush()).isEmpty();
    }

    @Test
    void streamsWhatWholeDecodingGives() {
        long seed = 3;
        Random random = new Random(seed);
        Tokenizer pieces = Vocabularies.sentencePiece()
                .piece("▁▁", -1)
                .piece("▁x", -2)
                .token("<ud>", TokenType.USER_DEFINED)
                .build();
        for (int round = 0; round < 4000; round++) {
            Tokenizer tokenizer = round % 2 == 0 ? bytes : pieces;
            int[] tokens;
            if (round % 3 == 0) {
                // Any tokens: mostly malformed UTF-8.
                tokens = random.ints(random.nextInt(20), 0, tokenizer.vocabularySize())
                        .toArray();
            } else {
                tokens = tokenizer.encode(Texts.anything(random) + "😀");
            }
            TokenDecoder decoder = tokenizer.newDecoder();
            StringBuilder streamed = new StringBuilder();
            for (int token : tokens) {
                streamed.append(decoder.next(token));
            }
            streamed.append(decoder.flush());
            assertThat(streamed).as("seed %d, round %d", seed, round).hasToString(tokenizer.decode(tokens, false));
        }
    }

    @Test
    void replacesMalformedBytesAsJavaDoes() {
        long seed = 4;
        Random random = new Random(seed);
        for (int round = 0; round < 4000; round++) {
            byte[] utf8 = new byte[random.nextInt(12)];
            random.nextBytes(utf8);
            int[] tokens = new int[utf8.length];
            for (int i = 0; i < tokens.length; i++) {
                tokens[i] = utf8[i] & 0xFF;
            }
            assertThat(bytes.decode(tokens, false))
                    .as("seed %d, round %d", seed, round)
                    .isEqualTo(new String(utf8, StandardCharsets.UTF_8));
        }
    }

    @Test
    void startsAnewAfterFlushing() {
        TokenDecoder decoder = bytes.newDecoder();
        assertThat(decoder.next(0xE2)).isEmpty();
        assertThat(decoder.next(0x82)).isEmpty();
        assertThat(decoder.flush()).isEqualTo("\uFFFD");
        assertThat(decoder.next('a')).isEqualTo("a");
        assertThat(decoder.flush()).isEmpty();

        Vocabularies vocabulary = Vocabularies.sentencePiece().piece("▁x", -1);
        TokenDecoder pieces = vocabulary.build().newDecoder();
        for (int i = 0; i < 2; i++) {
            assertThat(pieces.next(vocabulary.id("▁x"))).isEqualTo("x");
            assertThat(pieces.next(vocabulary.id("▁x"))).isEqualTo(" x");
            assertThat(pieces.flush()).isEmpty();
        }
    }

    @Test
    void refusesIdsOutsideTheVocabulary() {
        int size = bytes.vocabularySize();
        for (int id : new int[] {-1, size, Integer.MAX_VALUE}) {
            assertThatThrownBy(() -> bytes.newDecoder().next(id)).isInstanceOf(IndexOutOfBoundsException.class);
            assertThatThrownBy(() -> bytes.decode(new int[] {id}, true)).isInstanceOf(IndexOutOfBoundsException.class);
            assertThatThrownBy(() -> bytes.tokenText(id)).isInstanceOf(IndexOutOfBoundsException.class);
            assertThatThrownBy(() -> bytes.isControl(id)).isInstanceOf(IndexOutOfBoundsException.class);
        }
    }
}
