package dev.prefetch.api;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.prefetch.backend.Tier;
import dev.prefetch.inference.SamplingOptions;
import dev.prefetch.prefetch.CostModel;
import dev.prefetch.prefetch.MemoryAmount;
import dev.prefetch.prefetch.Plan;
import dev.prefetch.prefetch.Plan.Residency;
import dev.prefetch.prefetch.PlanException;
import dev.prefetch.prefetch.PrefetchStatistics;
import dev.prefetch.prefetch.Regime;
import dev.prefetch.testing.DemoModel;
import dev.prefetch.testing.TestAccelerator;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.stream.IntStream;
import java.util.stream.Stream;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/** A device with memory of its own, whose streams run beside the host's thread and whose kernels are the CPU's. */
class AcceleratorTest {

    private static final int TOKENS = 40;

    /** Memory so slow, and a link so fast, that nothing is left to the host. */
    private static final CostModel FAST_LINK = new CostModel(1e12, 8e9, 60e9, 0.6, false);

    /** A link so slow that the host computes what it can. */
    private static final CostModel SLOW_LINK = new CostModel(1e6, 8e12, 60e12, 0.6, false);

    @BeforeEach
    @AfterEach
    void plainDevice() {
        TestAccelerator.capacityBytes = 4L << 30;
        TestAccelerator.locksInPlace = false;
        TestAccelerator.scratchBytes = 0;
        TestAccelerator.copyNanos = 0;
        TestAccelerator.FAILS_AT.set(0);
    }

    @AfterEach
    void everyDeviceIsClosed() {
        assertThat(TestAccelerator.OPEN).hasValue(0);
    }

    static Stream<Path> models() throws Exception {
        return StreamingLawTest.models();
    }

    private static EngineOptions onCpu(Path model) {
        return EngineOptions.of(model).withThreads(2).withMaxConcurrency(1).withUbatch(16);
    }

    private static EngineOptions accelerated(EngineOptions options, CostModel costs) {
        return options.withBackend(TestAccelerator.ID)
                .withMemory(options.memory().withCosts(costs));
    }

    @ParameterizedTest
    @MethodSource("models")
    void everyPlanGivesTheBitsOfTheCpu(Path model) throws Exception {
        EngineOptions cpu = onCpu(model);
        int[] tokens;
        float[] prefill;
        float[] decode;
        try (PrefetchEngine engine = PrefetchEngine.open(cpu)) {
            tokens = IntStream.range(0, TOKENS)
                    .map(i -> (i * 7919 + 13) % engine.info().vocabularySize())
                    .toArray();
            prefill = engine.logits(tokens, false);
            decode = engine.logits(tokens, true);
        }
        int streaming = 0;
        for (EngineOptions options : plans(cpu)) {
            TestAccelerator.locksInPlace = options.memory().lookAheadBlocks() == 0;
            try (PrefetchEngine engine = PrefetchEngine.open(options)) {
                streaming += engine.plan().allResident() ? 0 : 1;
                String name = model.getFileName() + " " + options.memory() + " "
                        + engine.plan().summary();
                assertThat(Arrays.equals(engine.logits(tokens, false), prefill))
                        .as(name)
                        .isTrue();
                assertThat(Arrays.equals(engine.logits(tokens, true), decode))
                        .as(name)
                        .isTrue();
                assertThat(engine.statistics().failures()).as(name).isZero();
            }
        }
        assertThat(streaming).isGreaterThanOrEqualTo(2);
    }

    private static List<EngineOptions> plans(EngineOptions cpu) {
        List<EngineOptions> plans = new ArrayList<>();
        plans.add(accelerated(cpu, FAST_LINK));
        for (CostModel costs : List.of(FAST_LINK, SLOW_LINK)) {
            for (int lookAhead : List.of(0, 2)) {
                EngineOptions options = accelerated(cpu, costs);
                plans.add(options.withMemory(
                        options.memory().withWeights(MemoryAmount.parse("70%")).withLookAheadBlocks(lookAhead)));
            }
        }
        return plans;
    }

    /** What is planned and what operations take by themselves must fit together. */
    @Test
    void leavesRoomForWhatOperationsTake() {
        EngineOptions options = accelerated(onCpu(DemoModel.file()), FAST_LINK)
                .withAccelerator(AcceleratorOptions.AUTO.withMemory(MemoryAmount.parse("100%")));
        long least = leastCapacity(options);
        TestAccelerator.capacityBytes = least;
        Plan without = PrefetchEngine.plan(options);
        assertThat(without.allResident()).isFalse();
        TestAccelerator.scratchBytes = 1L << 30;
        assertThatThrownBy(() -> PrefetchEngine.plan(options)).isInstanceOf(PlanException.class);
        TestAccelerator.capacityBytes = least + (1L << 30);
        Plan with = PrefetchEngine.plan(options);
        assertThat(with.allocatedBytes()).isEqualTo(without.allocatedBytes());
        assertThat(with.summary()).isEqualTo(without.summary());
    }

    private static long leastCapacity(EngineOptions options) {
        for (TestAccelerator.capacityBytes = 1 << 20; ; TestAccelerator.capacityBytes += 256 << 10) {
            try {
                PrefetchEngine.plan(options);
                return TestAccelerator.capacityBytes;
            } catch (PlanException e) {
                assertThat(TestAccelerator.capacityBytes).isLessThan(4L << 30);
            }
        }
    }

    @Test
    void keepsEverythingInTheDeviceWhereItFits() throws Exception {
        try (PrefetchEngine engine = PrefetchEngine.open(accelerated(onCpu(DemoModel.file()), FAST_LINK))) {
            Plan plan = engine.plan();
            assertThat(plan.allResident()).isTrue();
            assertThat(plan.accelerated()).isTrue();
            assertThat(plan.count(Residency.RESIDENT)).isEqualTo(plan.entries().size() - 1);
            assertThat(plan.entries().getFirst().restsIn())
                    .as("the embedding stays with the host")
                    .isEqualTo(Tier.HOST);
            assertThat(engine.info().link()).isNotNull();
            assertThat(engine.info().link().bytesPerSecond()).isPositive();
            engine.generate(request("What is GGUF?"));
            PrefetchStatistics statistics = engine.statistics();
            assertThat(statistics.linkBytes()).isZero();
            assertThat(statistics.deviceBytes()).isPositive();
            assertThat(statistics.stallNanos()).isZero();
        }
    }

    @Test
    void streamsFromTheHostWhatTheDeviceCannotHold() throws Exception {
        EngineOptions options = accelerated(onCpu(DemoModel.file()), FAST_LINK);
        try (PrefetchEngine engine = PrefetchEngine.open(options.withMemory(
                options.memory().withWeights(MemoryAmount.parse("50%")).withTraceSweeps(4)))) {
            Plan plan = engine.plan();
            assertThat(plan.count(Residency.STREAMED)).isPositive();
            assertThat(plan.entries()).noneMatch(Plan.Entry::decodesOnHost);
            engine.generate(request("What is GGUF?"));
            PrefetchStatistics statistics = engine.statistics();
            assertThat(statistics.linkBytes()).isPositive();
            assertThat(statistics.diskBytes()).as("the file fits into the host").isZero();
            assertThat(statistics.sweepNanos()).isEqualTo(statistics.computeNanos() + statistics.stallNanos());
            assertThat(statistics.linkBusyNanos()).isPositive();
            assertThat(engine.chromeTrace()).contains("\"cat\":\"link\"", "\"cat\":\"compute\"");
        }
    }

    @Test
    void readsFromTheDiskWhatNeitherCanHold() throws Exception {
        EngineOptions options = accelerated(onCpu(DemoModel.file()), FAST_LINK);
        // Of the host's memory nothing is left for weights.
        try (PrefetchEngine engine = PrefetchEngine.open(options.withMemory(
                options.memory().withWeights(MemoryAmount.parse("50%")).withRam(MemoryAmount.parse("1MiB"))))) {
            assertThat(engine.plan().entries())
                    .filteredOn(e -> e.residency() == Residency.STREAMED)
                    .isNotEmpty()
                    .allMatch(e -> e.restsIn() == Tier.DISK);
            engine.generate(request("What is GGUF?"));
            PrefetchStatistics statistics = engine.statistics();
            assertThat(statistics.diskBytes()).isPositive().isEqualTo(statistics.linkBytes());
        }
    }

    @Test
    void leavesNetworksToTheHostWhereTheLinkIsSlow() throws Exception {
        EngineOptions options = accelerated(onCpu(DemoModel.file()), SLOW_LINK);
        EngineOptions half = options.withMemory(options.memory().withWeights(MemoryAmount.parse("60%")));
        try (PrefetchEngine engine = PrefetchEngine.open(half)) {
            assertThat(engine.plan().entries())
                    .filteredOn(e -> e.residency() == Residency.STREAMED)
                    .isNotEmpty()
                    .allMatch(Plan.Entry::decodesOnHost);
            engine.logits(new int[] {1, 2, 3, 4}, true);
            long afterDecode = engine.statistics(Regime.DECODE).linkBytes();
            engine.logits(new int[] {1, 2, 3, 4}, false);
            assertThat(engine.statistics(Regime.PREFILL).linkBytes())
                    .as("prompts stream what decoding leaves to the host")
                    .isPositive();
            assertThat(afterDecode).isZero();
        }
        EngineOptions never = half.withAccelerator(AcceleratorOptions.AUTO.withDecodeOnHost(false));
        assertThat(PrefetchEngine.plan(never).entries()).noneMatch(Plan.Entry::decodesOnHost);
    }

    @Test
    void refusesAModelWhoseCacheTheDeviceCannotHoldWithTheNumbers() {
        TestAccelerator.capacityBytes = 1 << 20;
        assertThatThrownBy(() -> PrefetchEngine.open(accelerated(onCpu(DemoModel.file()), FAST_LINK)))
                .isInstanceOf(PlanException.class)
                .hasMessageContaining("device memory")
                .hasMessageContaining("MiB");
    }

    private static GenerationRequest request(String text) {
        return new GenerationRequest(
                new Prompt.Chat(List.of(ChatMessage.user(text)), List.of(), Map.of()),
                SamplingOptions.GREEDY,
                12,
                List.of(),
                true);
    }
}
