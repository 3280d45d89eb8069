package dev.prefetch.cuda;

import static org.assertj.core.api.Assertions.assertThat;

import dev.prefetch.api.AcceleratorOptions;
import dev.prefetch.api.EngineOptions;
import dev.prefetch.api.GenerationRequest;
import dev.prefetch.api.KvCacheType;
import dev.prefetch.api.PrefetchEngine;
import dev.prefetch.api.Prompt;
import dev.prefetch.cuda.simulator.Settings;
import dev.prefetch.cuda.simulator.SimulatedDriver;
import dev.prefetch.inference.SamplingOptions;
import dev.prefetch.prefetch.CostModel;
import dev.prefetch.prefetch.MemoryAmount;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.stream.IntStream;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

/** A whole model with each type of KV cache, on the simulated driver; the kernels' own test is {@link AttentionTest}. */
class KvCacheTypeTest {

    private static final Path DEMO = Path.of("../sample-app/src/main/resources/demo-model/tiny-demo-chat-Q8_0.gguf");

    /** A link so fast that nothing is left to the host, and no time spent on measuring it. */
    private static final CostModel FAST_LINK = new CostModel(1e12, 8e9, 60e9, 0.6, false);

    private SimulatedDriver driver;

    @BeforeEach
    void load() {
        driver = SimulatedDriver.load(Settings.defaults().kernels(Devices.KERNELS, Settings.Kernels.FAST));
    }

    @AfterEach
    void nothingIsFoundAndNothingLeft() {
        assertThat(driver.findings()).isEmpty();
        assertThat(driver.live()).isEqualTo(SimulatedDriver.Live.NONE);
    }

    private static EngineOptions options(String backend, KvCacheType type) {
        EngineOptions options = EngineOptions.of(DEMO)
                .withThreads(2)
                .withMaxConcurrency(1)
                .withUbatch(16)
                .withContextLength(256)
                .withKvCacheType(type)
                .withBackend(backend)
                .withAccelerator(AcceleratorOptions.AUTO.withDecodeOnHost(false));
        return options.withMemory(options.memory().withCosts(FAST_LINK));
    }

    private static int[] tokens(int count) {
        return IntStream.range(0, count).map(i -> (i * 7919 + 13) % 259).toArray();
    }

    /**
     * What the cache rounds away is the same on both backends, but where keys and values differ in their last bits some are
     * rounded to the neighbouring value: hence more for fewer bits.
     */
    @ParameterizedTest
    @EnumSource(KvCacheType.class)
    void agreesWithTheCpuAndStreamsToTheSameBits(KvCacheType type) throws Exception {
        int[] tokens = tokens(70);
        float[] prefill;
        float[] decode;
        try (PrefetchEngine engine = PrefetchEngine.open(options("cuda", type))) {
            assertThat(engine.plan().accelerated()).isTrue();
            assertThat(engine.plan().allResident()).isTrue();
            assertThat(engine.info().kvCacheType()).isEqualTo(type);
            prefill = engine.logits(tokens, false);
            decode = engine.logits(Arrays.copyOf(tokens, 6), true);
        }
        try (PrefetchEngine engine = PrefetchEngine.open(options("cpu", type))) {
            assertThat(relativeRms(prefill, engine.logits(tokens, false)))
                    .as("prefill")
                    .isPositive()
                    .isLessThanOrEqualTo(type == KvCacheType.Q8_0 ? 1e-2 : 5e-3);
            // As a prompt: the CPU's kernels that decode round activations to 8 bits.
            assertThat(relativeRms(decode, engine.logits(Arrays.copyOf(tokens, 6), false)))
                    .as("decode")
                    .isLessThanOrEqualTo(type == KvCacheType.Q8_0 ? 1e-2 : 5e-3);
        }
        EngineOptions half = options("cuda", type).withUbatch(7);
        half = half.withMemory(half.memory().withWeights(MemoryAmount.parse("60%")));
        try (PrefetchEngine engine = PrefetchEngine.open(half)) {
            assertThat(engine.plan().allResident()).isFalse();
            assertThat(engine.logits(tokens, false)).as("streamed prefill").isEqualTo(prefill);
            assertThat(engine.logits(Arrays.copyOf(tokens, 6), true))
                    .as("streamed decode")
                    .isEqualTo(decode);
        }
    }

    @Test
    void fewerBitsTakeFewerBytes() {
        long[] capacity = Arrays.stream(KvCacheType.values())
                .mapToLong(type -> {
                    try (PrefetchEngine engine = PrefetchEngine.open(options("cuda", type))) {
                        return engine.status().kvBytesCapacity();
                    }
                })
                .toArray();
        assertThat(2 * capacity[1]).isEqualTo(capacity[0]);
        assertThat(128 * capacity[2]).isEqualTo(34 * capacity[0]);
    }

    /**
     * A page that a prompt shares in part is copied inside the device, and the host waits once for every token, whatever
     * the number of layers.
     */
    @ParameterizedTest
    @EnumSource(KvCacheType.class)
    void theHostGetsNothingButTokens(KvCacheType type) throws Exception {
        int answer = 8;
        try (PrefetchEngine engine = PrefetchEngine.open(options("cuda", type))) {
            List<Integer> fresh = generate(engine, 90, answer);
            Map<String, Long> before = driver.calls();
            List<Integer> again = generate(engine, 90, answer);
            Map<String, Long> after = driver.calls();
            assertThat(again).isEqualTo(fresh);
            assertThat(engine.status().counters().cachedPromptTokens()).isEqualTo(89);
            assertThat(calls("cuMemcpyDtoHAsync", before, after))
                    .as("a copy to the host per token")
                    .isEqualTo(answer);
            // One page, and one number per token to where it travels with the other. The idle engine computes
            // answers once more, which copies a page as well.
            assertThat(calls("cuMemcpyDtoDAsync", before, after)).isBetween(answer + 1L, answer + 3L);
            // Once for the token, twice for the accounts at the end of a sweep, and a few times more for the idle
            // engine. One for each of the four layers would make seven a token.
            assertThat(calls("cuStreamSynchronize", before, after)).isLessThan(5L * answer);
        }
    }

    private static long calls(String function, Map<String, Long> before, Map<String, Long> after) {
        return after.getOrDefault(function, 0L) - before.getOrDefault(function, 0L);
    }

    private static List<Integer> generate(PrefetchEngine engine, int prompt, int answer) throws Exception {
        return engine.generate(new GenerationRequest(
                        new Prompt.Tokens(Arrays.stream(tokens(prompt)).boxed().toList()),
                        SamplingOptions.GREEDY,
                        answer,
                        List.of(),
                        true))
                .tokens();
    }

    private static double relativeRms(float[] actual, float[] exact) {
        assertThat(actual).hasSameSizeAs(exact);
        double error = 0;
        double size = 0;
        for (int i = 0; i < exact.length; i++) {
            error += Math.pow((double) actual[i] - exact[i], 2);
            size += Math.pow(exact[i], 2);
        }
        double distance = Math.sqrt(error / size);
        assertThat(distance).isNotNaN();
        return distance;
    }
}
