package dev.prefetch.tokenizer;

import static org.assertj.core.api.Assertions.assertThat;

import dev.prefetch.tokenizer.Tokenizer.TextSpan;
import java.util.Arrays;
import java.util.List;
import java.util.Random;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;

class SpecialTokensTest {

    private final Vocabularies vocabulary = Vocabularies.byteLevel("qwen2")
            .merge("Ċ", "Ċ")
            .token("<|im_start|>", TokenType.CONTROL)
            .token("<|im_end|>", TokenType.CONTROL)
            .token("<|im_end|>>", TokenType.CONTROL)
            .token("<unk>", TokenType.UNKNOWN)
            .token("<think>", TokenType.USER_DEFINED)
            .token("x<", TokenType.USER_DEFINED)
            .token("  ", TokenType.USER_DEFINED)
            .token("    ", TokenType.USER_DEFINED);
    private final Tokenizer tokenizer = vocabulary.build();
    private final int start = vocabulary.id("<|im_start|>");
    private final int end = vocabulary.id("<|im_end|>");

    private int[] encode(TextSpan... spans) {
        return tokenizer.encode(List.of(spans));
    }

    private static TextSpan trusted(String text) {
        return new TextSpan(text, true);
    }

    private static TextSpan untrusted(String text) {
        return new TextSpan(text, false);
    }

    @Test
    void recognisesControlTokensInTrustedTextOnly() {
        assertThat(encode(trusted("<|im_start|>a<|im_end|>"))).containsExactly(start, 'a', end);

        int[] tokens = encode(trusted("<|im_start|>"), untrusted("<|im_end|><unk>"), trusted("<|im_end|>"));
        assertThat(tokens).startsWith(start).endsWith(end);
        assertThat(Arrays.copyOfRange(tokens, 1, tokens.length - 1))
                .isEqualTo("<|im_end|><unk>".chars().toArray());
    }

    @Test
    void neverFormsAControlTokenWithHelpOfUntrustedText() {
        for (int i = 1; i < "<|im_end|>".length(); i++) {
            String head = "<|im_end|>".substring(0, i);
            String tail = "<|im_end|>".substring(i);
            assertThat(encode(trusted(head), untrusted(tail))).doesNotContain(end);
            assertThat(encode(untrusted(head), trusted(tail))).hasSameSizeAs("<|im_end|>".toCharArray());
        }
        assertThat(encode(trusted("<|im"), untrusted("_"), trusted("end|>"))).doesNotContain(end);
    }

    @Test
    void neverYieldsAControlTokenForAnyUntrustedText() {
        long seed = 11;
        Random random = new Random(seed);
        List<String> parts =
                List.of("<|im_end|>", "<|im_", "start|>", "<unk>", "<", "|", ">", "im", "x", " ", "<think>", "\n");
        for (int i = 0; i < 5000; i++) {
            StringBuilder text = new StringBuilder();
            for (int j = random.nextInt(12); j > 0; j--) {
                text.append(parts.get(random.nextInt(parts.size())));
            }
            int[] tokens = encode(untrusted(text.toString()));
            assertThat(IntStream.of(tokens).filter(tokenizer::isControl))
                    .as("seed %d, '%s'", seed, text)
                    .isEmpty();
            assertThat(tokenizer.decode(tokens, false)).isEqualTo(text.toString());
        }
    }

    @Test
    void recognisesControlTokensThatTwoTrustedSpansForm() {
        assertThat(encode(trusted("<|im_"), untrusted(""), trusted("end|>"))).containsExactly(end);
    }

    @Test
    void prefersTheLongestControlToken() {
        assertThat(encode(trusted("<|im_end|>>"))).containsExactly(vocabulary.id("<|im_end|>>"));
        assertThat(encode(trusted("<|im_end|>"), untrusted(">"))).containsExactly(end, '>');
    }

    @Test
    void recognisesUserDefinedTokensEverywhereAndAcrossSpans() {
        int think = vocabulary.id("<think>");
        assertThat(encode(untrusted("a<think>b"))).containsExactly('a', think, 'b');
        assertThat(encode(trusted("<thi"), untrusted("nk>"))).containsExactly(think);
        assertThat(encode(untrusted("       ")))
                .containsExactly(vocabulary.id("    "), vocabulary.id("  "), vocabulary.id("Ġ"));
    }

    @Test
    void letsNoUserDefinedTokenEatIntoAControlToken() {
        assertThat(encode(untrusted("x"), trusted("<|im_end|>"))).containsExactly('x', end);
        assertThat(encode(trusted("x<|im_end|>"))).containsExactly('x', end);
    }

    @Test
    void encodesTheRestAsOneString() {
        int newlines = vocabulary.id("ĊĊ");
        assertThat(encode(trusted("\n"), untrusted("\n"))).containsExactly(newlines);
        // Half of a surrogate pair in each span.
        assertThat(tokenizer.decode(encode(trusted("\uD83D"), untrusted("\uDE00")), false))
                .isEqualTo("😀");
    }

    @Test
    void hidesControlTokensUnlessAskedForThem() {
        int[] tokens = encode(trusted("<|im_start|>a<think><|im_end|>"));
        assertThat(tokenizer.decode(tokens, false)).isEqualTo("a<think>");
        assertThat(tokenizer.decode(tokens, true)).isEqualTo("<|im_start|>a<think><|im_end|>");
        assertThat(tokenizer.newDecoder().next(start)).isEmpty();
        assertThat(tokenizer.newDecoder(true).next(start)).isEqualTo("<|im_start|>");
    }
}
