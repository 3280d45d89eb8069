package dev.prefetch.api;

import static dev.prefetch.api.ReferenceLogitsTest.logits;
import static org.assertj.core.api.Assertions.assertThat;

import dev.prefetch.prefetch.MemoryAmount;
import dev.prefetch.testing.ExpertFuser;
import dev.prefetch.testing.RandomAdapter;
import dev.prefetch.testing.RandomModel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** Gates and up projections of experts in one tensor against the same weights in two. */
class FusedExpertsTest {

    private static final int[] TOKENS =
            IntStream.range(0, 40).map(i -> (i * 7919 + 13) % 259).toArray();

    @TempDir
    private Path folder;

    private static EngineOptions options(Path model) {
        return EngineOptions.of(model).withThreads(2).withMaxConcurrency(1).withUbatch(16);
    }

    @ParameterizedTest
    @ValueSource(
            strings = {
                "qwen3next-F32",
                "qwen3next-Q4_K_M",
                "qwen35moe-Q8_0",
                "qwen35moe-Q4_K_M",
                "deepseek2-Q4_K_M",
                "qwen3moe-BF16",
                "mixtral-Q4_K_M",
                "gpt-oss-MXFP4"
            })
    void givesTheBitsOfSeparateTensorsResidentAndStreamed(String name) throws Exception {
        Path apart = RandomModel.file(name);
        EngineOptions fused = options(ExpertFuser.fuse(apart, folder.resolve("fused.gguf")));
        EngineOptions streamed = fused.withMemory(fused.memory().withWeights(MemoryAmount.parse("75%")));
        assertThat(PrefetchEngine.plan(streamed).allResident()).isFalse();
        for (boolean stepByStep : new boolean[] {false, true}) {
            float[] expected = logits(options(apart), TOKENS, stepByStep);
            assertThat(logits(fused, TOKENS, stepByStep)).isEqualTo(expected);
            assertThat(logits(streamed, TOKENS, stepByStep)).isEqualTo(expected);
        }
    }

    @Test
    void adaptersOfTheOneTensorAddWhatMergedWeightsHave() throws Exception {
        Path fused = ExpertFuser.fuse(RandomModel.file("qwen35moe-F32"), folder.resolve("fused.gguf"));
        RandomAdapter adapter = new RandomAdapter(fused, name -> name.contains("ffn_gate_up_exps"), 6, 1);
        Path merged = Files.copy(fused, folder.resolve("merged.gguf"));
        adapter.mergeInto(merged, 0.75f);
        EngineOptions adapted =
                options(fused).withLora(List.of(new LoraSource(adapter.write(folder.resolve("adapter.gguf")), 0.75f)));
        float[] expected = logits(options(merged), TOKENS, false);
        assertThat(ReferenceLogitsTest.relativeRms(logits(options(fused), TOKENS, false), expected))
                .as("the change matters")
                .isGreaterThan(0.1);
        assertThat(ReferenceLogitsTest.relativeRms(logits(adapted, TOKENS, false), expected))
                .isLessThan(1e-5);
    }
}
