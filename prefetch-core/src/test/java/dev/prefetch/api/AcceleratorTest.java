package dev.prefetch.api;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.prefetch.backend.OutOfDeviceMemoryException;
import dev.prefetch.backend.Tier;
import dev.prefetch.inference.SamplingOptions;
import dev.prefetch.model.UnsupportedModelException;
import dev.prefetch.prefetch.CostModel;
import dev.prefetch.prefetch.MemoryAmount;
import dev.prefetch.prefetch.Plan;
import dev.prefetch.prefetch.Plan.Residency;
import dev.prefetch.prefetch.PlanException;
import dev.prefetch.prefetch.PrefetchStatistics;
import dev.prefetch.prefetch.Regime;
import dev.prefetch.testing.Conformance;
import dev.prefetch.testing.DemoModel;
import dev.prefetch.testing.RandomModel;
import dev.prefetch.testing.TestAccelerator;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.stream.IntStream;
import java.util.stream.Stream;
import org.assertj.core.api.ThrowableAssert.ThrowingCallable;
import org.awaitility.Awaitility;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;
import org.junit.jupiter.params.provider.ValueSource;

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
        TestAccelerator.hiddenBytes = 0;
        TestAccelerator.deltaRule = true;
        TestAccelerator.FAILS_AT.set(0);
    }

    @AfterEach
    void everyDeviceIsClosed() {
        assertThat(TestAccelerator.OPEN).hasValue(0);
    }

    /** Every architecture once, and every format the CPU's kernels are not the same for. */
    static Stream<Path> models() throws Exception {
        return StreamingLawTest.models().filter(model -> {
            String name = model.getFileName().toString();
            boolean conformance = model.startsWith(Conformance.folder());
            return !conformance
                    || name.matches("(llama-F32|llama-Q8_0|mixtral-Q4_K_M|gpt-oss-MXFP4|.*moe-Q8_0)\\.gguf");
        });
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
                // Of the smallest models less than nine tenths has no room for the slots.
                Stream.of("70%", "80%", "90%")
                        .map(MemoryAmount::parse)
                        .map(weights -> options.withMemory(
                                options.memory().withWeights(weights).withLookAheadBlocks(lookAhead)))
                        .filter(StreamingLawTest::possible)
                        .findFirst()
                        .ifPresent(plans::add);
            }
        }
        return plans;
    }

    /** A penalty too small to change a logit makes the host choose among all of them. */
    @Test
    void theDeviceChoosesTheTokensTheHostWould() throws Exception {
        SamplingOptions onHost = new SamplingOptions(0, 0, 1, 0, 1, 1e-30f, 0, 64, 0);
        GenerationRequest request = request("What is GGUF?");
        // Keeping an answer would download a page of the cache at a moment of its own.
        EngineOptions options = accelerated(onCpu(DemoModel.file()), FAST_LINK)
                .withServing(ServingOptions.DEFAULT.withoutPromptCache());
        try (PrefetchEngine cpu = PrefetchEngine.open(onCpu(DemoModel.file()));
                PrefetchEngine engine = PrefetchEngine.open(options)) {
            List<Integer> expected = cpu.generate(request).tokens();
            long start = TestAccelerator.DOWNLOADED_BYTES.get();
            List<Integer> best = engine.generate(request).tokens();
            long after = TestAccelerator.DOWNLOADED_BYTES.get();
            assertThat(best).isEqualTo(expected);
            assertThat(after - start).isLessThan(4L * engine.info().vocabularySize());
            GenerationRequest penalised = new GenerationRequest(
                    request.prompt(), onHost, request.maxTokens(), request.stopSequences(), null, true);
            assertThat(engine.generate(penalised).tokens()).isEqualTo(expected);
            assertThat(TestAccelerator.DOWNLOADED_BYTES.get() - after)
                    .isGreaterThanOrEqualTo(4L * engine.info().vocabularySize() * expected.size());
        }
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

    /** Fails at operations and copies all over an answer, each time at another; the answer is the same every time. */
    @Test
    void everyFaultEndsInTheSameAnswerFromTheHost() throws Exception {
        EngineOptions options = accelerated(onCpu(DemoModel.file()), FAST_LINK);
        EngineOptions streaming = options.withMemory(options.memory().withWeights(MemoryAmount.parse("50%")))
                .withMaxConcurrency(3);
        List<List<Integer>> expected = new ArrayList<>();
        try (PrefetchEngine engine = PrefetchEngine.open(streaming)) {
            expected.addAll(answers(engine));
            assertThat(engine.status().state()).isEqualTo(EngineStatus.State.READY);
        }
        for (int fault : new int[] {1, 2, 5, 13, 40, 77, 150, 400, 900, 1500}) {
            try (PrefetchEngine engine = PrefetchEngine.open(streaming)) {
                TestAccelerator.FAILS_AT.set(fault);
                assertThat(answers(engine)).as("fault at %d", fault).isEqualTo(expected);
                assertThat(TestAccelerator.FAILS_AT).as("the fault happened").hasValue(0);
                assertThat(engine.status().state()).isEqualTo(EngineStatus.State.DEGRADED);
                assertThat(engine.status().failures()).isZero();
                assertThat(TestAccelerator.OPEN)
                        .as("the failed device is closed")
                        .hasValue(0);
                assertThat(answers(engine)).as("later requests").isEqualTo(expected);
            }
        }
    }

    /**
     * What a device had learnt of a sequence is lost with it, and computed again from the tokens, by a prompt's kernels: with
     * F32 weights the last bits in which those differ choose no other token.
     */
    @ParameterizedTest
    @ValueSource(strings = {"qwen35-F32", "qwen3next-F32"})
    void theStateOfLinearAttentionIsComputedAgainElsewhere(String model) throws Exception {
        EngineOptions options =
                accelerated(onCpu(RandomModel.file(model)), FAST_LINK).withMaxConcurrency(2);
        List<GenerationRequest> requests = Stream.of(5, 40)
                .map(length -> new GenerationRequest(
                        new Prompt.Tokens(IntStream.range(0, length)
                                .map(i -> 7 * i % 250)
                                .boxed()
                                .toList()),
                        SamplingOptions.GREEDY,
                        12,
                        List.of(),
                        true))
                .toList();
        List<List<Integer>> expected;
        try (PrefetchEngine engine = PrefetchEngine.open(options)) {
            expected = together(engine, requests);
        }
        for (int fault : new int[] {3, 90, 333, 700, 1100}) {
            try (PrefetchEngine engine = PrefetchEngine.open(options)) {
                TestAccelerator.FAILS_AT.set(fault);
                assertThat(together(engine, requests)).as("fault at %d", fault).isEqualTo(expected);
                assertThat(TestAccelerator.FAILS_AT).as("the fault happened").hasValue(0);
                assertThat(engine.status().failures()).isZero();
            }
        }
    }

    private static List<List<Integer>> together(PrefetchEngine engine, List<GenerationRequest> requests)
            throws Exception {
        List<Generation> running = requests.stream()
                .map(request -> engine.generate(request, GenerationListener.NONE))
                .toList();
        List<List<Integer>> answers = new ArrayList<>();
        for (Generation generation : running) {
            answers.add(generation.await().tokens());
        }
        return answers;
    }

    @Test
    void refusesLinearAttentionThatTheDeviceDoesNotHave() {
        TestAccelerator.deltaRule = false;
        EngineOptions options = accelerated(onCpu(RandomModel.mixed("qwen35")), FAST_LINK);
        for (ThrowingCallable use : List.<ThrowingCallable>of(
                () -> PrefetchEngine.open(options).close(), () -> PrefetchEngine.plan(options))) {
            assertThatThrownBy(use)
                    .isInstanceOf(UnsupportedModelException.class)
                    .hasMessageContaining("qwen35-Q4_K_M.gguf")
                    .hasMessageContaining("linear attention")
                    .hasMessageContaining("backend=cpu");
        }
    }

    private static List<List<Integer>> answers(PrefetchEngine engine) throws Exception {
        List<Generation> running = new ArrayList<>();
        for (String text : List.of("What is GGUF?", "Who are you?", "Please count from 3 up to 9.")) {
            running.add(engine.generate(request(text), GenerationListener.NONE));
        }
        List<List<Integer>> answers = new ArrayList<>();
        for (Generation generation : running) {
            answers.add(generation.await().tokens());
        }
        return answers;
    }

    @Test
    void comesBackToTheDeviceOnceItWorksAgain() throws Exception {
        EngineOptions options = accelerated(onCpu(DemoModel.file()), FAST_LINK)
                .withAccelerator(AcceleratorOptions.AUTO.withRetryAfter(Duration.ofMillis(50)));
        try (PrefetchEngine engine = PrefetchEngine.open(options)) {
            List<List<Integer>> expected = answers(engine);
            TestAccelerator.FAILS_AT.set(100);
            assertThat(answers(engine)).isEqualTo(expected);
            Awaitility.await().atMost(Duration.ofSeconds(20)).untilAsserted(() -> {
                assertThat(answers(engine)).isEqualTo(expected);
                assertThat(engine.status().state()).isEqualTo(EngineStatus.State.READY);
            });
            long before = engine.statistics().deviceBytes();
            assertThat(answers(engine)).isEqualTo(expected);
            assertThat(engine.statistics().deviceBytes()).isGreaterThan(before);
            assertThat(TestAccelerator.OPEN).hasValue(1);
        }
    }

    @Test
    void aTrialThatFailsIsRepeated() throws Exception {
        EngineOptions options = accelerated(onCpu(DemoModel.file()), FAST_LINK)
                .withAccelerator(AcceleratorOptions.AUTO.withRetryAfter(Duration.ofMillis(20)));
        try (PrefetchEngine engine = PrefetchEngine.open(options)) {
            List<List<Integer>> expected = answers(engine);
            TestAccelerator.capacityBytes = 1 << 10;
            TestAccelerator.FAILS_AT.set(50);
            assertThat(answers(engine)).isEqualTo(expected);
            assertThat(engine.status().state()).isEqualTo(EngineStatus.State.DEGRADED);
            TestAccelerator.capacityBytes = 4L << 30;
            Awaitility.await().atMost(Duration.ofSeconds(20)).untilAsserted(() -> {
                assertThat(answers(engine)).isEqualTo(expected);
                assertThat(engine.status().state()).isEqualTo(EngineStatus.State.READY);
            });
        }
    }

    @Test
    void logitsAreComputedAgainElsewhere() throws Exception {
        int[] tokens = IntStream.range(0, TOKENS).toArray();
        try (PrefetchEngine engine = PrefetchEngine.open(accelerated(onCpu(DemoModel.file()), FAST_LINK))) {
            float[] expected = engine.logits(tokens, true);
            TestAccelerator.FAILS_AT.set(300);
            assertThat(Arrays.equals(engine.logits(tokens, true), expected)).isTrue();
            assertThat(engine.status().state()).isEqualTo(EngineStatus.State.DEGRADED);
        }
    }

    @Test
    void plansWithLessWhenTheDeviceGivesLessThanItSays() throws Exception {
        EngineOptions options = accelerated(onCpu(DemoModel.file()), FAST_LINK)
                .withAccelerator(AcceleratorOptions.AUTO.withMemory(MemoryAmount.parse("100%")));
        long needed;
        long cache;
        try (PrefetchEngine engine = PrefetchEngine.open(options)) {
            assertThat(engine.plan().allResident()).isTrue();
            needed = TestAccelerator.allocatedBytes();
            cache = engine.status().kvBytesCapacity();
        }
        TestAccelerator.capacityBytes = needed + 2 * cache;
        TestAccelerator.hiddenBytes = 2 * cache + needed / 10;
        try (PrefetchEngine engine = PrefetchEngine.open(options)) {
            assertThat(engine.plan().allResident()).isFalse();
            assertThat(answers(engine)).hasSize(3);
        }
    }

    @Test
    void saysWhatIsMissingWhenNoPlanFits() {
        TestAccelerator.hiddenBytes = TestAccelerator.capacityBytes - (1 << 20);
        assertThatThrownBy(() -> PrefetchEngine.open(accelerated(onCpu(DemoModel.file()), FAST_LINK)))
                .isInstanceOf(OutOfDeviceMemoryException.class)
                .hasMessageContaining("bytes");
    }

    @Test
    void shortPromptsAreComputedWhereDecodingIs() throws Exception {
        EngineOptions options = accelerated(onCpu(DemoModel.file()), SLOW_LINK);
        EngineOptions half = options.withMemory(options.memory().withWeights(MemoryAmount.parse("60%")))
                .withMaxConcurrency(4);
        GenerationRequest few =
                new GenerationRequest(new Prompt.Tokens(List.of(5, 6, 7)), SamplingOptions.GREEDY, 6, List.of(), true);
        try (PrefetchEngine engine = PrefetchEngine.open(half)) {
            List<Integer> alone = engine.generate(few).tokens();
            assertThat(engine.statistics().linkBytes())
                    .as("nothing was moved for it")
                    .isZero();
            List<Generation> beside = List.of(
                    engine.generate(request("What is GGUF?"), GenerationListener.NONE),
                    engine.generate(few, GenerationListener.NONE),
                    engine.generate(few, GenerationListener.NONE));
            assertThat(beside.get(1).await().tokens()).isEqualTo(alone);
            assertThat(beside.get(2).await().tokens()).isEqualTo(alone);
            beside.get(0).await();
        }
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
