package dev.prefetch.cuda;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import dev.prefetch.api.AcceleratorOptions;
import dev.prefetch.api.ChatMessage;
import dev.prefetch.api.EngineOptions;
import dev.prefetch.api.EngineStatus;
import dev.prefetch.api.GenerationRequest;
import dev.prefetch.api.PrefetchEngine;
import dev.prefetch.api.Prompt;
import dev.prefetch.backend.Device;
import dev.prefetch.backend.DeviceOptions;
import dev.prefetch.cuda.simulator.Fault;
import dev.prefetch.cuda.simulator.Settings;
import dev.prefetch.cuda.simulator.SimulatedDriver;
import dev.prefetch.cuda.simulator.Span;
import dev.prefetch.cuda.simulator.Span.Engine;
import dev.prefetch.gguf.GgufFile;
import dev.prefetch.inference.SamplingOptions;
import dev.prefetch.model.ModelConfig;
import dev.prefetch.model.ModelGraph;
import dev.prefetch.model.WeightBlock;
import dev.prefetch.prefetch.CostModel;
import dev.prefetch.prefetch.MemoryAmount;
import dev.prefetch.prefetch.Plan;
import dev.prefetch.prefetch.PlanRequest;
import dev.prefetch.prefetch.Planner;
import dev.prefetch.prefetch.PrefetchStatistics;
import dev.prefetch.prefetch.Regime;
import dev.prefetch.prefetch.StreamingOptions;
import dev.prefetch.prefetch.StreamingWeights;
import dev.prefetch.storage.SplitReader;
import java.nio.file.Path;
import java.time.Duration;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.stream.IntStream;
import jcuda.driver.CUresult;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.EnumSource;

/** A whole engine that streams a model through a small part of a simulated device's memory. */
class StreamingEngineTest {

    private static final Path DEMO = Path.of("../sample-app/src/main/resources/demo-model/tiny-demo-chat-Q8_0.gguf");

    /** A link so fast that nothing is left to the host, and no time spent on measuring. */
    private static final CostModel FAST_LINK = new CostModel(1e12, 8e9, 60e9, 0.6, false);

    private static final int TOKENS = 10;

    private static final Map<String, Long> CALLS_DURING_AN_ANSWER = new HashMap<>();

    private SimulatedDriver driver;

    @AfterEach
    void nothingIsLeft() {
        assertThat(driver.live()).isEqualTo(SimulatedDriver.Live.NONE);
    }

    private static EngineOptions streaming(String weights, int lookAhead) {
        EngineOptions options = EngineOptions.of(DEMO)
                .withThreads(2)
                .withMaxConcurrency(2)
                .withContextLength(256)
                .withBackend("cuda")
                .withAccelerator(AcceleratorOptions.AUTO.withDecodeOnHost(false));
        return options.withMemory(options.memory()
                .withCosts(FAST_LINK)
                .withWeights(MemoryAmount.parse(weights))
                .withLookAheadBlocks(lookAhead)
                .withTraceSweeps(4));
    }

    private static GenerationRequest question() {
        return new GenerationRequest(
                new Prompt.Chat(List.of(ChatMessage.user("What is GGUF?")), List.of(), Map.of()),
                SamplingOptions.GREEDY,
                TOKENS,
                List.of(),
                true);
    }

    @Test
    void noAccessIsOutOfOrder() throws Exception {
        driver = SimulatedDriver.load(Settings.defaults().kernels(Devices.KERNELS, Settings.Kernels.TRACKED));
        try (PrefetchEngine engine = PrefetchEngine.open(streaming("60%", 1))) {
            assertThat(engine.generate(question()).tokens()).hasSize(TOKENS);
            assertThat(engine.statistics().linkBytes()).isPositive();
        }
        assertThat(driver.findings()).isEmpty();
    }

    /** The checker is worth something: it finds each wait of the scheduler that is left out, every time. */
    @ParameterizedTest
    @EnumSource(
            value = ForgetfulBackend.Mutation.class,
            names = {"NONE", "ARRIVAL", "SLOT_REUSE"})
    void everyWaitThatIsLeftOutIsFound(ForgetfulBackend.Mutation mutation) throws Exception {
        driver = SimulatedDriver.load(Settings.defaults().kernels(Devices.KERNELS, Settings.Kernels.TRACKED));
        ForgetfulBackend.mutation = mutation;
        EngineOptions options = streaming("60%", 1).withBackend(ForgetfulBackend.ID);
        try (PrefetchEngine engine = PrefetchEngine.open(options)) {
            engine.generate(question());
        } catch (IllegalStateException e) {
            assertThat(e).as("what wrong weights make of logits").hasMessageContaining("not a number");
        }
        expectFindings(mutation);
    }

    /** Chunks so small, and a link so slow, that staging buffers are wanted again while they are still copied from. */
    @ParameterizedTest
    @EnumSource(
            value = ForgetfulBackend.Mutation.class,
            names = {"NONE", "STAGING_REUSE"})
    void aStagingBufferRefilledTooEarlyIsFound(ForgetfulBackend.Mutation mutation) {
        driver = SimulatedDriver.load(Settings.defaults()
                .kernels(Devices.KERNELS, Settings.Kernels.TRACKED)
                .link(0.02, 0, Duration.ZERO));
        ForgetfulBackend.mutation = mutation;
        try (GgufFile file = GgufFile.open(DEMO);
                Device device = new ForgetfulBackend().open(new DeviceOptions(1));
                Device host = Devices.reference()) {
            ModelGraph graph = ModelGraph.of(file, ModelConfig.read(file));
            long budget = Planner.modelBytes(graph.blocks()) / 2;
            Plan plan = Planner.plan(PlanRequest.of(graph.blocks(), budget)
                    .withAccelerator(new PlanRequest.Accelerator(Long.MAX_VALUE, FAST_LINK, false)));
            try (StreamingWeights weights = StreamingWeights.open(
                    plan,
                    new dev.prefetch.backend.Devices(device, host),
                    SplitReader.open(file.parts()),
                    file.parts(),
                    StreamingOptions.DEFAULT.withChunkBytes(4096),
                    (done, total) -> {})) {
                weights.beginSweep(Regime.DECODE, 1);
                for (WeightBlock block : graph.blocks()) {
                    if (block.kind() != WeightBlock.Kind.EMBEDDING) {
                        weights.acquire(block).close();
                    }
                }
                weights.endSweep();
            }
        }
        expectFindings(mutation);
    }

    private void expectFindings(ForgetfulBackend.Mutation mutation) {
        if (mutation == ForgetfulBackend.Mutation.NONE) {
            assertThat(driver.findings()).isEmpty();
        } else {
            assertThat(driver.findings()).isNotEmpty();
        }
    }

    /**
     * With the link as slow as compute, sweeps take little longer than either: on the driver's virtual clock, so that it
     * does not depend on the machine.
     */
    @Test
    void transfersHideBehindComputeWhenBothTakeAsLong() throws Exception {
        Settings settings = Settings.defaults()
                .kernels(Devices.KERNELS, Settings.Kernels.FAST)
                .virtualClock(Duration.ofNanos(20))
                .kernelTimes(Duration.ZERO, Duration.ofNanos(400_000));
        driver = SimulatedDriver.load(settings);
        double bytesPerSweep;
        double computeSeconds;
        int[] tokens = IntStream.range(5, 5 + 12).toArray();
        try (PrefetchEngine engine = PrefetchEngine.open(streaming("55%", 4))) {
            engine.logits(tokens, true);
            PrefetchStatistics free = engine.statistics(Regime.DECODE);
            bytesPerSweep = (double) free.linkBytes() / free.sweeps();
            computeSeconds = free.computeNanos() / 1e9 / free.sweeps();
        }
        driver.apply(settings.link(bytesPerSweep / computeSeconds / 1e9, 0, Duration.ZERO));
        driver.reset();
        try (PrefetchEngine engine = PrefetchEngine.open(streaming("55%", 4))) {
            PrefetchStatistics best = PrefetchStatistics.NONE;
            PrefetchStatistics before = PrefetchStatistics.NONE;
            // The clock is virtual, but a reader thread that wakes late in real time queues its copies late on it too.
            for (int attempt = 0; attempt < 8 && (attempt == 0 || best.overlapEfficiency() < 0.9); attempt++) {
                engine.logits(tokens, true);
                PrefetchStatistics after = engine.statistics(Regime.DECODE);
                PrefetchStatistics latest = after.since(before);
                best = attempt == 0 || latest.overlapEfficiency() > best.overlapEfficiency() ? latest : best;
                before = after;
            }
            double ratio = (double) best.linkBusyNanos() / best.computeNanos();
            assertThat(ratio).as("T / C").isCloseTo(1, within(0.15));
            assertThat(best.overlapEfficiency()).as("%s", best).isGreaterThanOrEqualTo(0.9);
            assertThat(engine.chromeTrace()).contains("\"cat\":\"link\"");
        }
        assertThat(overlapNanos(driver.timeline()))
                .as("copies run beside kernels")
                .isPositive();
    }

    private static long overlapNanos(List<Span> timeline) {
        long overlap = 0;
        for (Span copy : timeline) {
            for (Span kernel : timeline) {
                if (copy.engine() == Engine.HOST_TO_DEVICE && kernel.engine() == Engine.COMPUTE) {
                    overlap += Math.max(
                            0,
                            Math.min(copy.endNanos(), kernel.endNanos())
                                    - Math.max(copy.beginNanos(), kernel.beginNanos()));
                }
            }
        }
        return overlap;
    }

    /** Faults of the device, each at several places of an answer: it is completed by the host all the same. */
    @ParameterizedTest
    @CsvSource({
        "cuLaunchKernel,       true",
        "cuMemcpyHtoDAsync,    true",
        "cuMemcpyDtoHAsync,    true",
        "cuLaunchKernel,       false",
        "cuMemcpyHtoDAsync,    false",
        "cuEventRecord,        false",
        "cuStreamWaitEvent,    false",
        "cuStreamSynchronize,  false",
    })
    void aFaultDuringAnAnswerDoesNotLoseIt(String function, boolean sticky) throws Exception {
        driver = SimulatedDriver.load(Settings.defaults().kernels(Devices.KERNELS, Settings.Kernels.FAST));
        long during = callsDuringAnAnswer().getOrDefault(function, 0L);
        if (during == 0) {
            // Not every function is needed for an answer; the others must be.
            assertThat(function).isIn("cuStreamSynchronize", "cuMemcpyDtoHAsync");
            return;
        }
        for (int share : new int[] {1, 60}) {
            driver.faults();
            try (PrefetchEngine engine = PrefetchEngine.open(streaming("60%", 2))) {
                int call = (int) Math.max(1, during * share / 100);
                driver.faults(
                        sticky
                                ? Fault.sticky(function, call, CUresult.CUDA_ERROR_ILLEGAL_ADDRESS)
                                : Fault.returned(function, call, CUresult.CUDA_ERROR_LAUNCH_FAILED));
                assertThat(engine.generate(question()).tokens())
                        .as("%s at %d %% of an answer", function, share)
                        .hasSize(TOKENS);
                assertThat(engine.status().state())
                        .as("%s at %d %%", function, share)
                        .isEqualTo(EngineStatus.State.DEGRADED);
                assertThat(engine.status().lastFault().message()).contains("CUDA_ERROR");
                assertThat(driver.live()).as("the device is given back").isEqualTo(SimulatedDriver.Live.NONE);
                assertThat(engine.generate(question()).tokens()).hasSize(TOKENS);
            }
        }
    }

    /** How often an answer calls each function, counted once. */
    private Map<String, Long> callsDuringAnAnswer() throws Exception {
        if (CALLS_DURING_AN_ANSWER.isEmpty()) {
            driver.faults();
            try (PrefetchEngine engine = PrefetchEngine.open(streaming("60%", 2))) {
                Map<String, Long> before = driver.calls();
                engine.generate(question());
                driver.calls()
                        .forEach((function, calls) ->
                                CALLS_DURING_AN_ANSWER.put(function, calls - before.getOrDefault(function, 0L)));
            }
        }
        return CALLS_DURING_AN_ANSWER;
    }

    @Test
    void aRefusedAllocationMakesASmallerPlan() throws Exception {
        driver = SimulatedDriver.load(Settings.defaults().kernels(Devices.KERNELS, Settings.Kernels.FAST));
        driver.faults(Fault.returned("cuMemAlloc", 12, CUresult.CUDA_ERROR_OUT_OF_MEMORY));
        try (PrefetchEngine engine = PrefetchEngine.open(streaming("60%", 1))) {
            assertThat(engine.generate(question()).tokens()).hasSize(TOKENS);
            assertThat(engine.status().state()).isEqualTo(EngineStatus.State.READY);
        }
    }
}
