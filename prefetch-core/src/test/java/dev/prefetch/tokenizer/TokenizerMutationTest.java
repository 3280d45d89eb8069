package dev.prefetch.tokenizer;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.fail;

import dev.prefetch.gguf.GgufFile;
import dev.prefetch.gguf.GgufFormatException;
import dev.prefetch.testing.GgufMutator;
import dev.prefetch.testing.GgufWriter;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.random.RandomGenerator;
import java.util.random.RandomGeneratorFactory;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/** Damaged vocabularies of every kind: each encodes and decodes, or is refused with an error that names the file. */
class TokenizerMutationTest {

    private static final Logger LOG = LoggerFactory.getLogger(TokenizerMutationTest.class);
    private static final int MUTATIONS = Integer.getInteger("prefetch.test.mutations", 1000);
    private static final String TEXT = "Hello, world! 12345 \n\n 中文 é\u0301 😀\t<s>ab";

    @Test
    void opensOrRefusesEveryMutation(@TempDir Path folder) throws IOException {
        long seed = Long.getLong("prefetch.test.seed", System.nanoTime());
        LOG.info("Tokenizer mutations: seed {} (repeat with -Dprefetch.test.seed)", seed);
        RandomGenerator random = RandomGeneratorFactory.of("L64X128MixRandom").create(seed);
        List<GgufMutator> bases = List.of(
                base(folder, Vocabularies.byteLevel("llama-bpe").merge("a", "b")),
                base(folder, Vocabularies.characters("gemma4").merge("a", "b")),
                base(folder, Vocabularies.sentencePiece().piece("ab", -1)),
                base(folder, Vocabularies.unigram().piece("▁", -2).piece("ab", -1)),
                base(folder, Vocabularies.wordPiece().piece("▁ab", 0).piece("a", 0)));
        for (GgufMutator base : bases) {
            assertThat(open(Files.write(folder.resolve("base.gguf"), base.bytes()), base.name()))
                    .isTrue();
        }
        int refused = 0;
        for (int i = 0; i < MUTATIONS; i++) {
            GgufMutator base = bases.get(i % bases.size());
            StringBuilder story = new StringBuilder("seed " + seed + ", mutation " + i + " of " + base.name() + ":");
            byte[] mutated = random.nextBoolean() ? base.contradict(random, story) : base.damage(random, story);
            refused += open(Files.write(folder.resolve("mutated.gguf"), mutated), story.toString()) ? 0 : 1;
        }
        LOG.info("Tokenizer mutations: {} of {} refused", refused, MUTATIONS);
        assertThat(refused).as("seed %d", seed).isBetween(MUTATIONS / 4, MUTATIONS - 1);
    }

    private static GgufMutator base(Path folder, Vocabularies vocabulary) throws IOException {
        GgufWriter writer = new GgufWriter().uint32("tokenizer.ggml.eot_token_id", 1);
        Map<String, Object> values = vocabulary.values();
        values.forEach((key, value) -> {
            if (value instanceof Long number) {
                writer.uint32(key, number);
            } else {
                writer.put(key, value);
            }
        });
        String name = values.getOrDefault("tokenizer.ggml.pre", values.get("tokenizer.ggml.model")) + ".gguf";
        return GgufMutator.of(
                name,
                Files.readAllBytes(
                        writer.f32Tensor("t", List.of(1L), new float[1]).write(folder.resolve(name))));
    }

    /** Whether the vocabulary was taken; false when it was refused as it should be. */
    private static boolean open(Path file, String story) {
        try (GgufFile gguf = GgufFile.open(file)) {
            Tokenizer tokenizer = Tokenizers.from(gguf.metadata());
            int[] tokens = tokenizer.encode(TEXT);
            for (int token : tokens) {
                assertThat(token).as(story).isBetween(0, tokenizer.vocabularySize() - 1);
            }
            tokenizer.decode(tokens, true);
            return true;
        } catch (GgufFormatException e) {
            assertThat(e.getMessage()).as(story).startsWith(file + ": ");
            return false;
        } catch (RuntimeException | Error e) {
            return fail(story, e);
        }
    }
}
