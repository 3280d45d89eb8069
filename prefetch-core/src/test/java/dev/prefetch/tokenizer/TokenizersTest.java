package dev.prefetch.tokenizer;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.prefetch.gguf.GgufFormatException;
import java.util.List;
import java.util.Map;
import java.util.function.Consumer;
import org.junit.jupiter.api.Test;

class TokenizersTest {

    private static final String PREFIX = "tokenizer.ggml.";

    @Test
    void namesTheKindItDoesNotSupport() {
        assertThatThrownBy(() -> Vocabularies.byteLevel("qwen2")
                        .with(PREFIX + "model", "rwkv")
                        .build())
                .isInstanceOf(UnsupportedTokenizerException.class)
                .hasMessageContainingAll("test.gguf", "'rwkv'", "bert");
        assertThatThrownBy(() -> Vocabularies.byteLevel("kwen").build())
                .isInstanceOf(UnsupportedTokenizerException.class)
                .hasMessageContainingAll("test.gguf", "'kwen'", "qwen2");
    }

    @Test
    void takesTheDefaultPreTokenizerForFilesWithoutTheKey() {
        Map<String, Object> values = Vocabularies.byteLevel("x").values();
        values.remove(PREFIX + "pre");
        assertThat(Vocabularies.build(values).encode("a1")).containsExactly('a', '1');
    }

    @Test
    void refusesBrokenVocabularies() {
        refuses(byteLevel -> byteLevel.remove(PREFIX + "model"), "model");
        refuses(byteLevel -> byteLevel.remove(PREFIX + "tokens"), "tokens");
        refuses(byteLevel -> byteLevel.remove(PREFIX + "merges"), "merges");
        refuses(byteLevel -> byteLevel.put(PREFIX + "tokens", List.of()), "tokens");
        refuses(byteLevel -> byteLevel.put(PREFIX + "tokens", new long[] {1}), "tokens");
        refuses(byteLevel -> byteLevel.put(PREFIX + "token_type", new long[] {1}), "token_type");
        refuses(byteLevel -> byteLevel.put(PREFIX + "token_type", new long[257]), "token_type");
        refuses(byteLevel -> byteLevel.put(PREFIX + "merges", List.of("ab")), "merges");
        refuses(byteLevel -> byteLevel.put(PREFIX + "merges", List.of("")), "merges");
        refuses(byteLevel -> byteLevel.put(PREFIX + "merges", List.of("a ")), "merges");
        refuses(byteLevel -> byteLevel.put(PREFIX + "merges", List.of(" a")), "merges");
        for (String key : List.of("bos", "eos", "unknown", "eot", "eom", "fim_pad")) {
            refuses(byteLevel -> byteLevel.put(PREFIX + key + "_token_id", 256L), key + "_token_id");
            refuses(byteLevel -> byteLevel.put(PREFIX + key + "_token_id", -1L), key + "_token_id");
            refuses(byteLevel -> byteLevel.put(PREFIX + key + "_token_id", "x"), key + "_token_id");
        }
        refuses(byteLevel -> byteLevel.put(PREFIX + "add_bos_token", true), "add_bos_token");
        refuses(byteLevel -> byteLevel.put(PREFIX + "add_bos_token", 1L), "add_bos_token");

        long[] types = (long[]) Vocabularies.byteLevel("qwen2").values().get(PREFIX + "token_type");
        types[17] = 7;
        refuses(byteLevel -> byteLevel.put(PREFIX + "token_type", types), "token_type");
    }

    @Test
    void refusesBrokenScores() {
        Vocabularies pieces = Vocabularies.sentencePiece();
        float[] scores = (float[]) pieces.values().get(PREFIX + "scores");
        Map<String, Object> without = pieces.values();
        without.remove(PREFIX + "scores");
        assertThatThrownBy(() -> Vocabularies.build(without))
                .isInstanceOf(GgufFormatException.class)
                .hasMessageContaining(PREFIX + "scores");
        assertThatThrownBy(() -> pieces.with(PREFIX + "scores", new float[] {1}).build())
                .isInstanceOf(GgufFormatException.class)
                .hasMessageContaining(PREFIX + "scores");
        scores[5] = Float.NaN;
        assertThatThrownBy(() -> pieces.with(PREFIX + "scores", scores).build())
                .isInstanceOf(GgufFormatException.class)
                .hasMessageContainingAll(PREFIX + "scores", "index 5");
    }

    @Test
    void refusesTwoTokensWithOneText() {
        assertThatThrownBy(() -> Vocabularies.byteLevel("qwen2")
                        .token("a", TokenType.CONTROL)
                        .build())
                .isInstanceOf(GgufFormatException.class)
                .hasMessageContainingAll(PREFIX + "tokens", "'a'", "97", "256");
    }

    @Test
    void refusesByteTokensThatAreNoBytes() {
        assertThatThrownBy(() -> Vocabularies.sentencePiece()
                        .token("<0xZZ>", TokenType.BYTE)
                        .build())
                .isInstanceOf(GgufFormatException.class)
                .hasMessageContaining("<0xZZ>");
    }

    @Test
    void toleratesTokensWithoutText() {
        Tokenizer tokenizer = Vocabularies.byteLevel("qwen2")
                .token("", TokenType.NORMAL)
                .token("", TokenType.CONTROL)
                .token("", TokenType.USER_DEFINED)
                .build();
        assertThat(tokenizer.encode(List.of(new Tokenizer.TextSpan("ab", true))))
                .containsExactly('a', 'b');
        assertThat(tokenizer.decode(new int[] {'a', 256, 257, 258, 'b'}, true)).isEqualTo("ab");
    }

    @Test
    void toleratesAVocabularyOfOneToken() {
        for (String model : List.of("gpt2", "llama")) {
            Tokenizer tokenizer = Vocabularies.build(Map.of(
                    PREFIX + "model",
                    model,
                    PREFIX + "pre",
                    "qwen2",
                    PREFIX + "tokens",
                    List.of("b"),
                    PREFIX + "scores",
                    new float[1],
                    PREFIX + "merges",
                    List.of(),
                    PREFIX + "add_space_prefix",
                    false));
            assertThat(tokenizer.encode("abc").length).isBetween(1, 3);
            assertThat(tokenizer.decode(tokenizer.encode("b"), false)).isEqualTo("b");
            assertThat(tokenizer.endToken()).isEqualTo(-1);
        }
    }

    @Test
    void saysWhetherABeginTokenIsWanted() {
        assertThat(Vocabularies.sentencePiece().build().addsBeginToken()).isTrue();
        assertThat(Vocabularies.sentencePiece()
                        .with(PREFIX + "add_bos_token", false)
                        .build()
                        .addsBeginToken())
                .isFalse();
        assertThat(Vocabularies.byteLevel("qwen2")
                        .with(PREFIX + "bos_token_id", 0L)
                        .build()
                        .addsBeginToken())
                .isFalse();
        assertThat(Vocabularies.byteLevel("llama-bpe")
                        .with(PREFIX + "bos_token_id", 0L)
                        .build()
                        .addsBeginToken())
                .isTrue();
        assertThat(Vocabularies.byteLevel("llama-bpe").build().addsBeginToken()).isFalse();
    }

    @Test
    void collectsTheTokensThatEndATurn() {
        Vocabularies vocabulary = Vocabularies.byteLevel("qwen2")
                .token("<|im_end|>", TokenType.CONTROL)
                .token("<|endoftext|>", TokenType.CONTROL)
                .token("<|im_start|>", TokenType.CONTROL)
                .with(PREFIX + "eos_token_id", 65L)
                .with(PREFIX + "eot_token_id", 66L)
                .with(PREFIX + "eom_token_id", 67L);
        Tokenizer tokenizer = vocabulary.build();
        assertThat(tokenizer.endOfGenerationTokens()).containsExactlyInAnyOrder(65, 66, 67, 256, 257);
        assertThat(tokenizer.endToken()).isEqualTo(65);
    }

    @Test
    void endsNoTurnAtTheEndOfAHarmonyMessage() {
        Vocabularies harmony = Vocabularies.byteLevel("gpt-4o")
                .token("<|end|>", TokenType.CONTROL)
                .token("<|return|>", TokenType.CONTROL);
        assertThat(harmony.build().endOfGenerationTokens()).containsExactlyInAnyOrder(256, 257);
        harmony.token("<|call|>", TokenType.CONTROL);
        assertThat(harmony.build().endOfGenerationTokens()).containsExactlyInAnyOrder(257, 258);
    }

    @Test
    void treatsTheEndOfATurnAsControlWhateverItsType() {
        Tokenizer tokenizer = Vocabularies.byteLevel("qwen2")
                .token("</s>", TokenType.USER_DEFINED)
                .build();
        assertThat(tokenizer.isControl(256)).isTrue();
        assertThat(tokenizer.encode("</s>")).hasSize(4);
    }

    @Test
    void tellsTextsAndRoles() {
        Tokenizer tokenizer = Vocabularies.sentencePiece().build();
        assertThat(tokenizer.vocabularySize()).isEqualTo(260);
        assertThat(tokenizer.beginToken()).isEqualTo(1);
        assertThat(tokenizer.tokenText(1)).isEqualTo("<s>");
        assertThat(tokenizer.tokenText(259)).isEqualTo("▁");
        assertThat(tokenizer.isControl(0)).isTrue();
        assertThat(tokenizer.isControl(259)).isFalse();
        assertThat(tokenizer.endOfGenerationTokens()).containsExactly(2);
    }

    private static void refuses(Consumer<Map<String, Object>> breaker, String key) {
        Map<String, Object> values = Vocabularies.byteLevel("qwen2").values();
        breaker.accept(values);
        assertThatThrownBy(() -> Vocabularies.build(values))
                .as(key)
                .isInstanceOf(GgufFormatException.class)
                .hasMessageContainingAll("test.gguf", PREFIX + key);
    }
}
