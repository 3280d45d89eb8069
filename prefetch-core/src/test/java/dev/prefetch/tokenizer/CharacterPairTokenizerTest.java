package dev.prefetch.tokenizer;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assertions.assertTimeoutPreemptively;

import java.time.Duration;
import java.util.List;
import java.util.Random;
import org.junit.jupiter.api.Test;

class CharacterPairTokenizerTest {

    @Test
    void mergesAcrossSpaces() {
        Vocabularies vocabulary = Vocabularies.characters("gemma4")
                .merge("a", "▁")
                .merge("a▁", "b")
                .merge("▁", "▁");
        Tokenizer tokenizer = vocabulary.build();
        int[] tokens = tokenizer.encode("a b  c");
        assertThat(tokens).containsExactly(vocabulary.id("a▁b"), vocabulary.id("▁▁"), vocabulary.id("c"));
        assertThat(tokenizer.decode(tokens, false)).isEqualTo("a b  c");
    }

    @Test
    void takesRunsOfLineBreaksWhole() {
        Vocabularies vocabulary =
                Vocabularies.characters("gemma4").token("\n", TokenType.NORMAL).token("\n\n\n", TokenType.NORMAL);
        // No merge leads to three line breaks; four are no token.
        assertThat(vocabulary.build().encode("a\n\n\nb"))
                .containsExactly(vocabulary.id("a"), vocabulary.id("\n\n\n"), vocabulary.id("b"));
        assertThat(vocabulary.build().encode("\n\n\n\n")).hasSize(4).containsOnly(vocabulary.id("\n"));
        assertThat(vocabulary.with("tokenizer.ggml.pre", "sarvam-moe").build().encode("\n\n\n"))
                .hasSize(3);
    }

    @Test
    void writesCharactersItHasNotAsBytesOrUnknown() {
        Vocabularies vocabulary = Vocabularies.characters("gemma4");
        // Bytes have ids from 3.
        assertThat(vocabulary.build().encode("é")).containsExactly(3 + 0xC3, 3 + 0xA9);
        assertThat(vocabulary.build().decode(new int[] {3 + 0xC3, 3 + 0xA9}, false))
                .isEqualTo("é");
        Vocabularies without = Vocabularies.byteLevel("gemma4")
                .token("<unk>", TokenType.UNKNOWN)
                .with("tokenizer.ggml.unknown_token_id", 256L);
        assertThat(without.build().encode("中a")).containsExactly(256, without.id("a"));
    }

    @Test
    void neverMakesTokensThatAreNotTextOutOfText() {
        Vocabularies vocabulary =
                Vocabularies.characters("gemma4").token("ab", TokenType.CONTROL).merge("a", "b");
        assertThat(vocabulary.build().encode("ab")).containsExactly(vocabulary.id("a"), vocabulary.id("b"));
    }

    @Test
    void gemma4WantsABeginTokenWhateverItsFileSays() {
        assertThat(Vocabularies.characters("gemma4")
                        .with("tokenizer.ggml.add_bos_token", false)
                        .build()
                        .addsBeginToken())
                .isTrue();
        assertThat(Vocabularies.characters("sarvam-moe").build().addsBeginToken())
                .isFalse();
    }

    @Test
    void takesTheModelTypesThatNameTheirPreTokenizer() {
        Vocabularies gemma = Vocabularies.characters("other").with("tokenizer.ggml.model", "gemma4");
        assertThat(gemma.build().encode("a b")).containsExactly(gemma.id("a"), gemma.id("▁"), gemma.id("b"));
        Vocabularies whitespace = Vocabularies.characters("whitespace")
                .with("tokenizer.ggml.model", "whitespace")
                .merge("a", "b");
        assertThat(whitespace.build().encode(" ab \n a\u3000b "))
                .containsExactly(whitespace.id("ab"), whitespace.id("a"), whitespace.id("b"));
        assertThat(whitespace.build().encode("AB")).containsExactly(3 + 'A', 3 + 'B');
        assertThat(whitespace
                        .with("tokenizer.ggml.normalizer.lowercase", true)
                        .build()
                        .encode("AB"))
                .containsExactly(whitespace.id("ab"));
    }

    @Test
    void decodesWhatItEncodes() {
        for (String name : List.of("gemma4", "granite-embed-multi-311m", "sarvam-moe")) {
            Tokenizer tokenizer = Vocabularies.characters(name)
                    .merge("a", "b")
                    .merge("▁", "▁")
                    .build();
            Random random = new Random(5);
            for (int i = 0; i < 5000; i++) {
                String text = (i % 2 == 0 ? Texts.anything(random) : Texts.splittable(random)).replace('▁', 'a');
                assertThat(tokenizer.decode(tokenizer.encode(text), false)).isEqualTo(text);
            }
        }
    }

    @Test
    void encodesAMegabyteOfOneCharacter() {
        Tokenizer tokenizer = Vocabularies.characters("gemma4")
                .merge("a", "a")
                .merge("aa", "aa")
                .merge("▁", "▁")
                .build();
        for (String unit : List.of("a", " ", "\n", "中", "a ")) {
            String text = unit.repeat(1 << 20);
            int[] tokens = assertTimeoutPreemptively(Duration.ofSeconds(60), () -> tokenizer.encode(text));
            assertThat(tokenizer.decode(tokens, false)).isEqualTo(text);
        }
    }
}
