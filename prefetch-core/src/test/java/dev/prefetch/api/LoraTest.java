package dev.prefetch.api;

import static dev.prefetch.api.ReferenceLogitsTest.logits;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.prefetch.gguf.GgufFile;
import dev.prefetch.gguf.GgufFormatException;
import dev.prefetch.gguf.GgufTensor;
import dev.prefetch.inference.SamplingOptions;
import dev.prefetch.model.UnsupportedModelException;
import dev.prefetch.prefetch.MemoryAmount;
import dev.prefetch.testing.GgufFields;
import dev.prefetch.testing.GgufWriter;
import dev.prefetch.testing.RandomAdapter;
import dev.prefetch.testing.RandomModel;
import java.io.IOException;
import java.lang.foreign.ValueLayout;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.function.Predicate;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** LoRA adapters against the same changes inside the weights. */
class LoraTest {

    private static final int[] TOKENS =
            IntStream.range(0, 24).map(i -> (i * 7919 + 13) % 259).toArray();

    private static final Predicate<String> EVERY_MATRIX =
            name -> name.startsWith("blk.") && !name.matches(".*(bias|norm\\.weight|conv1d\\.weight)")
                    || name.equals("output.weight")
                    || name.equals("token_embd.weight");

    @TempDir
    private Path folder;

    private static EngineOptions options(Path model) {
        return EngineOptions.of(model).withThreads(2).withMaxConcurrency(2).withUbatch(16);
    }

    /** Plain, fused, experts' and heads' matrices, linear attention, the embedding and the output. */
    @ParameterizedTest
    @ValueSource(
            strings = {
                "llama-F32",
                "phi3-F32",
                "gemma2-F32",
                "gemma3-F32",
                "qwen3moe-F32",
                "qwen2moe-F32",
                "deepseek2-F32",
                "deepseek2-whole-F32",
                "granite-F32",
                "qwen3next-F32",
                "qwen3next-first-F32",
                "qwen35-F32"
            })
    void adaptersAddWhatMergedWeightsHave(String name) throws Exception {
        Path model = RandomModel.file(name);
        // Gemma's output is its embedding, which an adapter changes apart.
        Predicate<String> all = name.startsWith("gemma") ? EVERY_MATRIX.and(n -> n.startsWith("blk.")) : EVERY_MATRIX;
        RandomAdapter first = new RandomAdapter(model, all, 6, 1);
        RandomAdapter second = new RandomAdapter(model, n -> n.matches(".*attn_.*(?<!norm)\\.weight"), 0, 2);
        if (name.startsWith("deepseek2")) {
            second = new RandomAdapter(model, n -> n.contains("attn_output"), 0, 2);
        }
        Path merged = Files.copy(model, folder.resolve("merged.gguf"));
        first.mergeInto(merged, 0.75f);
        second.mergeInto(merged, -0.5f);
        EngineOptions adapted = options(model)
                .withLora(List.of(
                        new LoraSource(first.write(folder.resolve("first.gguf")), 0.75f),
                        new LoraSource(second.write(folder.resolve("second.gguf")), -0.5f)));
        float[] expected = logits(options(merged), TOKENS, false);
        assertThat(ReferenceLogitsTest.relativeRms(logits(options(model), TOKENS, false), expected))
                .as("the change matters")
                .isGreaterThan(0.1);
        assertThat(ReferenceLogitsTest.relativeRms(logits(adapted, TOKENS, false), expected))
                .isLessThan(1e-5);
        assertThat(ReferenceLogitsTest.relativeRms(logits(adapted, TOKENS, true), expected))
                .isLessThan(1e-5);
    }

    /** A copy of a model without one of its tensors. */
    private static GgufWriter without(Path model, String left) throws IOException {
        GgufWriter writer = new GgufWriter();
        GgufFields.of(Files.readAllBytes(model)).entries().forEach(writer::entry);
        try (GgufFile file = GgufFile.open(model)) {
            for (GgufTensor tensor : file.tensors()) {
                if (!tensor.name().equals(left)) {
                    byte[] bytes = file.slice(tensor).toArray(ValueLayout.JAVA_BYTE);
                    writer.tensor(tensor.name(), tensor.type(), tensor.dimensions(), bytes);
                }
            }
        }
        return writer;
    }

    /** A tied output keeps the matrix without the change, as in the training of such adapters. */
    @Test
    void anAdapterOfATiedEmbeddingLeavesTheOutputAlone() throws Exception {
        Path model = RandomModel.file("llama-F32");
        byte[] bytes = Files.readAllBytes(model);
        int embedding;
        int output;
        int length;
        try (GgufFile file = GgufFile.open(model)) {
            embedding = (int) file.find("token_embd.weight").orElseThrow().offset();
            output = (int) file.find("output.weight").orElseThrow().offset();
            length = (int) file.find("output.weight").orElseThrow().byteSize();
        }
        System.arraycopy(bytes, embedding, bytes, output, length);
        Path merged = Files.write(folder.resolve("untied.gguf"), bytes);
        RandomAdapter adapter = new RandomAdapter(merged, n -> n.equals("token_embd.weight"), 24, 1);
        adapter.mergeInto(merged, 1);

        // Without its output matrix, which is a copy of the embedding, the model is tied.
        Path tied = without(model, "output.weight").write(folder.resolve("tied.gguf"));
        EngineOptions adapted =
                options(tied).withLora(List.of(new LoraSource(adapter.write(folder.resolve("adapter.gguf")), 1)));
        float[] expected = logits(options(merged), TOKENS, false);
        assertThat(ReferenceLogitsTest.relativeRms(logits(options(tied), TOKENS, false), expected))
                .as("the change matters")
                .isGreaterThan(0.1);
        assertThat(ReferenceLogitsTest.relativeRms(logits(adapted, TOKENS, false), expected))
                .isLessThan(1e-5);
        assertThat(ReferenceLogitsTest.relativeRms(logits(adapted, TOKENS, true), expected))
                .isLessThan(1e-5);
    }

    @Test
    void aScaleOfZeroChangesNothing() throws Exception {
        Path model = RandomModel.file("qwen3moe-Q4_K_M");
        Path adapter = new RandomAdapter(model, EVERY_MATRIX, 6, 1).write(folder.resolve("adapter.gguf"));
        EngineOptions adapted = options(model).withLora(List.of(new LoraSource(adapter, 0)));
        assertThat(logits(adapted, TOKENS, true)).isEqualTo(logits(options(model), TOKENS, true));
    }

    @ParameterizedTest
    @ValueSource(strings = {"llama-Q4_K_M", "qwen3moe-Q4_K_M"})
    void adaptersOfStreamedWeightsGiveTheSameBits(String name) throws Exception {
        Path model = RandomModel.file(name);
        Path adapter = new RandomAdapter(model, EVERY_MATRIX, 6, 1).write(folder.resolve("adapter.gguf"));
        EngineOptions resident = options(model).withLora(List.of(new LoraSource(adapter, 1)));
        EngineOptions streaming = resident.withMemory(resident.memory().withWeights(MemoryAmount.parse("75%")));
        assertThat(PrefetchEngine.plan(streaming).allResident()).isFalse();
        assertThat(logits(streaming, TOKENS, false)).isEqualTo(logits(resident, TOKENS, false));
        assertThat(logits(streaming, TOKENS, true)).isEqualTo(logits(resident, TOKENS, true));
    }

    @Test
    void sequencesThatShareSweepsGetTheSameTokens() throws Exception {
        Path model = RandomModel.file("qwen3moe-Q4_K_M");
        Path adapter = new RandomAdapter(model, EVERY_MATRIX, 6, 1).write(folder.resolve("adapter.gguf"));
        List<GenerationRequest> requests = IntStream.range(0, 4)
                .mapToObj(i -> new GenerationRequest(
                        new Prompt.Tokens(IntStream.range(0, 3 + 9 * i)
                                .mapToObj(t -> (31 * t + 17 * i) % 259)
                                .toList()),
                        SamplingOptions.GREEDY,
                        8,
                        List.of(),
                        true))
                .toList();
        try (PrefetchEngine engine =
                PrefetchEngine.open(options(model).withLora(List.of(new LoraSource(adapter, 1))))) {
            List<List<Integer>> alone = new ArrayList<>();
            for (GenerationRequest request : requests) {
                alone.add(engine.generate(request).tokens());
            }
            List<Generation> together = requests.stream()
                    .map(request -> engine.generate(request, GenerationListener.NONE))
                    .toList();
            for (int i = 0; i < alone.size(); i++) {
                assertThat(together.get(i).await().tokens()).isEqualTo(alone.get(i));
            }
        }
    }

    @Test
    void refusesWhatDoesNotBelongToTheModel() throws Exception {
        Path model = RandomModel.file("llama-F32");
        RandomAdapter adapter = new RandomAdapter(model, n -> n.equals("blk.0.attn_q.weight"), 6, 1);
        assertRefused(
                model,
                adapter.writer().f32Tensor("blk.7.attn_q.weight.lora_a", List.of(256L, 1L), new float[256]),
                "blk.7.attn_q.weight.lora_a");
        assertRefused(
                model,
                adapter.writer().f32Tensor("token_embd.weight.lora_a", List.of(1L, 260L), new float[260]),
                "token_embd.weight.lora_b is missing");
        assertRefused(
                model,
                adapter.writer()
                        .f32Tensor("token_embd.weight.lora_a", List.of(256L, 1L), new float[256])
                        .f32Tensor("token_embd.weight.lora_b", List.of(1L, 260L), new float[260]),
                "dimensions");
        assertRefused(
                model,
                adapter.writer().f32Tensor("blk.0.attn_k.weight.lora_a", List.of(256L, 1L), new float[256]),
                "blk.0.attn_k.weight.lora_b is missing");
        assertRefused(
                model,
                adapter.writer()
                        .f32Tensor("blk.0.attn_k.weight.lora_a", List.of(256L, 1L), new float[256])
                        .f32Tensor("blk.0.attn_k.weight.lora_b", List.of(1L, 64L), new float[64]),
                "dimensions");
        assertRefused(RandomModel.file("qwen2-F32"), adapter.writer(), "general.architecture");
        assertRefused(model, new GgufWriter().put("general.architecture", "llama"), "general.type");
    }

    private void assertRefused(Path model, GgufWriter adapter, String message) {
        Path file = adapter.write(folder.resolve("bad.gguf"));
        EngineOptions options = options(model).withLora(List.of(new LoraSource(file, 1)));
        assertThatThrownBy(() -> PrefetchEngine.open(options))
                .isInstanceOf(UnsupportedModelException.class)
                .isInstanceOf(GgufFormatException.class)
                .hasMessageStartingWith(file + ": ")
                .hasMessageContaining(message);
    }
}
