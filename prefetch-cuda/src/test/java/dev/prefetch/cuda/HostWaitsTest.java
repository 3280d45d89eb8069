package dev.prefetch.cuda;

import static org.assertj.core.api.Assertions.assertThat;

import dev.prefetch.api.AcceleratorOptions;
import dev.prefetch.api.EngineOptions;
import dev.prefetch.api.PrefetchEngine;
import dev.prefetch.cuda.simulator.Settings;
import dev.prefetch.cuda.simulator.SimulatedDriver;
import dev.prefetch.prefetch.CostModel;
import dev.prefetch.prefetch.MemoryAmount;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.stream.IntStream;
import java.util.stream.Stream;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/** How often the host waits for the device while tokens are generated: for what they need, whatever the number of layers. */
class HostWaitsTest {

    private static final Path DEMO = Path.of("../sample-app/src/main/resources/demo-model/tiny-demo-chat-Q8_0.gguf");
    private static final CostModel FAST_LINK = new CostModel(1e12, 8e9, 60e9, 0.6, false);
    private static final int TOKENS = 5;

    private SimulatedDriver driver;

    @AfterEach
    void nothingIsFoundAndNothingLeft() {
        assertThat(driver.findings()).isEmpty();
        assertThat(driver.live()).isEqualTo(SimulatedDriver.Live.NONE);
    }

    /** A dense model, and mixtures of experts where they are at hand. */
    static List<Path> models() {
        String folder = System.getProperty("prefetch.conformance.dir", "");
        return Stream.concat(
                        Stream.of(DEMO),
                        Stream.of("qwen3moe-Q4_K_M", "mixtral-Q4_K_M", "gpt-oss-MXFP4")
                                .map(name -> Path.of(folder, "logits", name + ".gguf")))
                .filter(Files::isRegularFile)
                .toList();
    }

    private static EngineOptions options(Path model) {
        EngineOptions options = EngineOptions.of(model)
                .withThreads(2)
                .withMaxConcurrency(1)
                .withUbatch(16)
                .withBackend("cuda")
                .withAccelerator(AcceleratorOptions.AUTO.withDecodeOnHost(false));
        return options.withMemory(options.memory().withCosts(FAST_LINK));
    }

    @ParameterizedTest
    @MethodSource("models")
    void residentWeightsLetTheHostWaitForLogitsAlone(Path model) throws Exception {
        Waits waits = waits(model, options(model));
        assertThat(waits.copiesToHost).isEqualTo(TOKENS);
        // For the logits, and twice for the accounts at the end of a sweep.
        assertThat(waits.synchronizations).isLessThanOrEqualTo(3 * TOKENS);
    }

    /** The experts that are needed must be known where they are not there: once for every layer that has some. */
    @ParameterizedTest
    @MethodSource("models")
    void streamedWeightsLetItWaitForTheChoiceOfExperts(Path model) throws Exception {
        EngineOptions half = options(model);
        half = half.withMemory(half.memory().withWeights(MemoryAmount.parse("60%")));
        Waits waits = waits(model, half);
        int mixtures = model.equals(DEMO) ? 0 : waits.layers;
        assertThat(waits.copiesToHost).isBetween((long) TOKENS, TOKENS * (1L + mixtures));
        assertThat(waits.synchronizations).isLessThanOrEqualTo(TOKENS * (3L + mixtures));
    }

    private record Waits(long copiesToHost, long synchronizations, int layers) {}

    private Waits waits(Path model, EngineOptions options) throws Exception {
        driver = SimulatedDriver.load(Settings.defaults().kernels(Devices.KERNELS, Settings.Kernels.FAST));
        try (PrefetchEngine engine = PrefetchEngine.open(options)) {
            int[] tokens = IntStream.range(0, TOKENS)
                    .map(i -> (i * 7919 + 13) % engine.info().vocabularySize())
                    .toArray();
            // Memory is allocated the first time.
            float[] first = engine.logits(tokens, true);
            Map<String, Long> before = driver.calls();
            assertThat(engine.logits(tokens, true)).as("%s", model).isEqualTo(first);
            Map<String, Long> after = driver.calls();
            return new Waits(
                    calls("cuMemcpyDtoHAsync", before, after),
                    calls("cuStreamSynchronize", before, after),
                    engine.info().layers());
        }
    }

    private static long calls(String function, Map<String, Long> before, Map<String, Long> after) {
        return after.getOrDefault(function, 0L) - before.getOrDefault(function, 0L);
    }
}
