package dev.prefetch.cuda;

import static org.assertj.core.api.Assertions.assertThat;

import dev.prefetch.api.ChatMessage;
import dev.prefetch.api.EngineOptions;
import dev.prefetch.api.GenerationRequest;
import dev.prefetch.api.PrefetchEngine;
import dev.prefetch.api.Prompt;
import dev.prefetch.api.ServingOptions;
import dev.prefetch.cuda.simulator.Settings;
import dev.prefetch.cuda.simulator.SimulatedDriver;
import dev.prefetch.inference.SamplingOptions;
import dev.prefetch.prefetch.MemoryAmount;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;

/** Where the most likely token is wanted, the device finds it, and the logits stay there. */
class GreedyTest {

    private static final int TOKENS = 10;

    private static final Path DEMO = Path.of("../sample-app/src/main/resources/demo-model/tiny-demo-chat-Q8_0.gguf");

    /** Greedy with a penalty too small to change a logit: the host needs all of them, and chooses the same. */
    private static final SamplingOptions ON_HOST = new SamplingOptions(0, 0, 1, 0, 1, 1e-30f, 0, 64, 0);

    @Test
    void theDeviceChoosesTheTokensTheHostWouldAndSendsNothingElse() throws Exception {
        SimulatedDriver driver =
                SimulatedDriver.load(Settings.defaults().kernels(Devices.KERNELS, Settings.Kernels.FAST));
        EngineOptions options = EngineOptions.of(DEMO)
                .withMaxConcurrency(1)
                .withBackend("cuda")
                // What a cache copies would be counted with the logits.
                .withServing(ServingOptions.DEFAULT.withPromptCache(MemoryAmount.parse("0")));
        try (PrefetchEngine engine = PrefetchEngine.open(options)) {
            long logits = TOKENS * 4L * engine.info().vocabularySize();
            long start = driver.counter("d2h_bytes");
            List<Integer> onHost = generate(engine, ON_HOST);
            long all = driver.counter("d2h_bytes") - start;
            List<Integer> onDevice = generate(engine, SamplingOptions.GREEDY);
            long best = driver.counter("d2h_bytes") - start - all;
            assertThat(onDevice).hasSize(TOKENS).isEqualTo(onHost);
            assertThat(all - best).isBetween(logits * 3 / 4, logits);
        }
        assertThat(driver.findings()).isEmpty();
        assertThat(driver.live()).isEqualTo(SimulatedDriver.Live.NONE);
    }

    private static List<Integer> generate(PrefetchEngine engine, SamplingOptions sampling) throws Exception {
        return engine.generate(new GenerationRequest(
                        new Prompt.Chat(List.of(ChatMessage.user("What is GGUF?")), List.of(), Map.of()),
                        sampling,
                        TOKENS,
                        List.of(),
                        true))
                .tokens();
    }
}
