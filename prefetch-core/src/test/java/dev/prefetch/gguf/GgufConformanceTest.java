package dev.prefetch.gguf;

import static org.assertj.core.api.Assertions.assertThat;

import dev.prefetch.testing.Conformance;
import java.nio.file.Path;
import java.util.Map;
import java.util.stream.Stream;
import org.junit.jupiter.api.DynamicTest;
import org.junit.jupiter.api.TestFactory;
import org.junit.jupiter.api.condition.EnabledIf;

/** Files written by other programs. */
@EnabledIf(
        value = "dev.prefetch.testing.Conformance#isPresent",
        disabledReason = "no conformance data: the system property prefetch.conformance.dir names no folder")
class GgufConformanceTest {

    /** Vocabulary sizes of the published models. */
    private static final Map<String, Integer> VOCABULARY_SIZES = Map.of(
            "ggml-vocab-deepseek-llm.gguf", 102_400,
            "ggml-vocab-falcon.gguf", 65_024,
            "ggml-vocab-gpt-2.gguf", 50_257,
            "ggml-vocab-llama-spm.gguf", 32_000,
            "ggml-vocab-phi-3.gguf", 32_064,
            "ggml-vocab-starcoder.gguf", 49_152);

    @TestFactory
    Stream<DynamicTest> readsModels() {
        return Stream.of("logits", "demo-model")
                .flatMap(folder -> Conformance.ggufFiles(folder).stream())
                .map(file -> DynamicTest.dynamicTest(file.getFileName().toString(), () -> readModel(file)));
    }

    @TestFactory
    Stream<DynamicTest> readsVocabularies() {
        return Conformance.ggufFiles("tokenizers").stream()
                .map(file -> DynamicTest.dynamicTest(file.getFileName().toString(), () -> readVocabulary(file)));
    }

    private static void readModel(Path file) {
        try (GgufFile gguf = GgufFile.open(file)) {
            String architecture = gguf.metadata().requireString("general.architecture");
            int layers = gguf.metadata().requireInt(architecture + ".block_count");
            long width = gguf.metadata().requireInt(architecture + ".embedding_length");
            assertThat(gguf.find("token_embd.weight").orElseThrow().dimension(0))
                    .isEqualTo(width);
            for (int i = 0; i < layers; i++) {
                assertThat(gguf.find("blk." + i + ".attn_norm.weight")).isPresent();
            }
            assertThat(gguf.find("blk." + layers + ".attn_norm.weight")).isEmpty();

            // Writers of this format leave no gaps: the tensors, padded, are the whole data section.
            long expected = gguf.dataOffset();
            for (GgufTensor tensor : gguf.tensors()) {
                assertThat(tensor.offset()).isEqualTo(expected);
                assertThat(gguf.slice(tensor).byteSize()).isEqualTo(tensor.byteSize());
                expected = Math.ceilDiv(tensor.offset() + tensor.byteSize(), gguf.alignment()) * gguf.alignment();
            }
            assertThat(gguf.byteSize()).isBetween(expected - gguf.alignment() + 1, expected);
        }
    }

    private static void readVocabulary(Path file) {
        try (GgufFile gguf = GgufFile.open(file)) {
            GgufMetadata metadata = gguf.metadata();
            assertThat(gguf.tensors()).isEmpty();
            assertThat(metadata.requireStrings("tokenizer.ggml.tokens"))
                    .hasSize(VOCABULARY_SIZES.get(file.getFileName().toString()))
                    .doesNotHaveDuplicates();
            assertThat(metadata.integers("tokenizer.ggml.token_type").orElseThrow())
                    .hasSize(metadata.requireStrings("tokenizer.ggml.tokens").size());
            if (metadata.requireString("tokenizer.ggml.model").equals("llama")) {
                assertThat(metadata.floats("tokenizer.ggml.scores").orElseThrow())
                        .hasSize(
                                metadata.requireStrings("tokenizer.ggml.tokens").size());
            } else {
                assertThat(metadata.requireStrings("tokenizer.ggml.merges"))
                        .isNotEmpty()
                        .allMatch(merge -> merge.indexOf(' ') > 0);
            }
        }
    }
}
