package dev.prefetch.tokenizer;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assertions.assertTimeoutPreemptively;

import java.time.Duration;
import java.util.Arrays;
import java.util.List;
import java.util.Random;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;

class BytePairTokenizerTest {

    private static Vocabularies english(String preTokenizer) {
        return Vocabularies.byteLevel(preTokenizer)
                .merge("h", "e")
                .merge("l", "l")
                .merge("he", "ll")
                .merge("hell", "o")
                .merge("Ġ", "w")
                .merge("o", "r")
                .merge("Ġw", "or")
                .merge("Ġ", "Ġ");
    }

    @Test
    void mergesInTheOrderOfTheList() {
        Vocabularies vocabulary = english("gpt-2");
        Tokenizer tokenizer = vocabulary.build();

        assertThat(tokenizer.encode("hello world"))
                .containsExactly(vocabulary.id("hello"), vocabulary.id("Ġwor"), 'l', 'd');
        // "lll": the left pair merges first.
        assertThat(tokenizer.encode("lll")).containsExactly(vocabulary.id("ll"), 'l');
        assertThat(tokenizer.encode("")).isEmpty();
    }

    @Test
    void doesNotMergeAcrossPieces() {
        Vocabularies vocabulary = english("gpt-2");
        // Three spaces: the last one stays with the word.
        assertThat(vocabulary.build().encode("   w")).containsExactly(vocabulary.id("ĠĠ"), vocabulary.id("Ġw"));
    }

    @Test
    void splitsDigitsAsThePreTokenizerSays() {
        assertThat(Vocabularies.byteLevel("gpt-2").merge("1", "2").build().encode("12"))
                .hasSize(1);
        assertThat(Vocabularies.byteLevel("qwen2").merge("1", "2").build().encode("12"))
                .hasSize(2);
    }

    @Test
    void takesWholeWordsFirstOnlyWhereThePreTokenizerSaysSo() {
        // No merge leads to "abc".
        assertThat(Vocabularies.byteLevel("llama-bpe")
                        .token("abc", TokenType.NORMAL)
                        .build()
                        .encode("abc"))
                .containsExactly(256);
        assertThat(Vocabularies.byteLevel("qwen2")
                        .token("abc", TokenType.NORMAL)
                        .build()
                        .encode("abc"))
                .containsExactly('a', 'b', 'c');
    }

    @Test
    void neverTakesAControlTokenForAWholeWord() {
        Tokenizer tokenizer = Vocabularies.byteLevel("llama-bpe")
                .token("abc", TokenType.CONTROL)
                .build();
        assertThat(tokenizer.encode("abc")).containsExactly('a', 'b', 'c');
    }

    @Test
    void neverMergesIntoAControlToken() {
        Vocabularies vocabulary = Vocabularies.byteLevel("gpt-2").merge("a", "b");
        int merged = vocabulary.id("ab");
        vocabulary.with("tokenizer.ggml.token_type", types(merged + 1, merged, TokenType.CONTROL));
        assertThat(vocabulary.build().encode("ab")).containsExactly('a', 'b');
    }

    @Test
    void ignoresMergesOfUnknownTokens() {
        Vocabularies vocabulary = english("gpt-2");
        var values = vocabulary.values();
        values.put("tokenizer.ggml.merges", List.of("q x", "zz z", "h e"));
        assertThat(Vocabularies.build(values).encode("heqxzzz"))
                .containsExactly(vocabulary.id("he"), 'q', 'x', 'z', 'z', 'z');
    }

    @Test
    void decodesWhatItEncodes() {
        long seed = 42;
        Random random = new Random(seed);
        Tokenizer[] tokenizers = {
            english("gpt-2").build(),
            english("qwen2").build(),
            english("llama-bpe").build(),
            english("gpt-4o").build(),
        };
        int rounds = Integer.getInteger("prefetch.tokenizer.roundTrips", 100_000);
        for (int i = 0; i < rounds; i++) {
            String text = i % 2 == 0 ? Texts.anything(random) : Texts.splittable(random);
            Tokenizer tokenizer = tokenizers[i % tokenizers.length];
            assertThat(tokenizer.decode(tokenizer.encode(text), false))
                    .as("seed %d, text %d", seed, i)
                    .isEqualTo(text);
        }
    }

    @Test
    void servesManyThreadsAtOnce() {
        Tokenizer tokenizer = english("llama-bpe").build();
        Random random = new Random(5);
        List<String> texts =
                Stream.generate(() -> Texts.splittable(random)).limit(5000).toList();
        int[][] expected = texts.stream().map(tokenizer::encode).toArray(int[][]::new);
        int[][] parallel = texts.parallelStream().map(tokenizer::encode).toArray(int[][]::new);
        assertThat(parallel).isDeepEqualTo(expected);
    }

    @Test
    void replacesHalvesOfSurrogatePairs() {
        Tokenizer tokenizer = english("gpt-2").build();
        assertThat(tokenizer.decode(tokenizer.encode("a\uD83Db\uDE00"), false)).isEqualTo("a\uFFFDb\uFFFD");
    }

    @Test
    void encodesAMegabyteOfOneCharacter() {
        Vocabularies vocabulary = Vocabularies.byteLevel("qwen2");
        StringBuilder run = new StringBuilder("a");
        for (int i = 0; i < 7; i++) {
            vocabulary.merge(run.toString(), run.toString());
            run.append(run);
        }
        Tokenizer tokenizer = vocabulary.build();
        int[] tokens = assertTimeoutPreemptively(Duration.ofSeconds(30), () -> tokenizer.encode("a".repeat(1 << 20)));
        assertThat(tokens).hasSize(1 << 13).containsOnly(vocabulary.id(run.toString()));
    }

    @Test
    void showsTokensThatAreWrittenUnmapped() {
        Vocabularies vocabulary = Vocabularies.byteLevel("gpt-2").token("two words 中", TokenType.NORMAL);
        assertThat(vocabulary.build().decode(new int[] {256}, false)).isEqualTo("two words 中");
    }

    private static long[] types(int size, int token, TokenType type) {
        long[] types = new long[size];
        Arrays.fill(types, TokenType.NORMAL.ordinal());
        types[token] = type.ordinal();
        return types;
    }
}
