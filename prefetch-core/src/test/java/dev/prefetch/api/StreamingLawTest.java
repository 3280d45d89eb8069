package dev.prefetch.api;

import static org.assertj.core.api.Assertions.assertThat;

import dev.prefetch.prefetch.MemoryAmount;
import dev.prefetch.prefetch.PlanException;
import dev.prefetch.prefetch.PrefetchStatistics;
import dev.prefetch.testing.Conformance;
import dev.prefetch.testing.DemoModel;
import dev.prefetch.testing.GgufSplitter;
import dev.prefetch.testing.RandomModel;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.stream.IntStream;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/** Law 1: streaming, any look-ahead, any plan gives bit-identical logits to everything resident. */
class StreamingLawTest {

    private static final int TOKENS = 40;

    /** Every architecture and every weight format there is a model for. */
    static Stream<Path> models() throws IOException {
        List<Path> models = new ArrayList<>(List.of(DemoModel.file()));
        RandomModel.families().stream().map(RandomModel::mixed).forEach(models::add);
        if (Conformance.isPresent()) {
            try (Stream<Path> files = Files.list(Conformance.folder().resolve("logits"))) {
                files.filter(file -> file.toString().endsWith(".gguf")).sorted().forEach(models::add);
            }
            models.add(Conformance.folder().resolve("demo-model/tiny-demo-moe-Q8_0.gguf"));
        }
        return models.stream();
    }

    @ParameterizedTest
    @MethodSource("models")
    void everyPlanGivesTheSameBits(Path model) throws Exception {
        EngineOptions options =
                EngineOptions.of(model).withThreads(2).withMaxConcurrency(1).withUbatch(16);
        float[] prefill;
        float[] decode;
        int[] tokens;
        try (PrefetchEngine engine = PrefetchEngine.open(options)) {
            assertThat(engine.plan().allResident()).isTrue();
            tokens = tokens(engine.info().vocabularySize());
            prefill = engine.logits(tokens, false);
            decode = engine.logits(tokens, true);
        }
        for (EngineOptions streaming : plans(options)) {
            String name = model.getFileName() + " " + streaming.memory();
            try (PrefetchEngine engine = PrefetchEngine.open(streaming)) {
                assertThat(engine.plan().allResident()).as(name).isFalse();
                assertThat(Arrays.equals(engine.logits(tokens, false), prefill))
                        .as(name)
                        .isTrue();
                assertThat(Arrays.equals(engine.logits(tokens, true), decode))
                        .as(name)
                        .isTrue();
                PrefetchStatistics statistics = engine.statistics();
                assertThat(statistics.diskBlocks()).as(name).isPositive();
                assertThat(statistics.failures()).as(name).isZero();
            }
        }
    }

    @Test
    void aModelInSeveralFilesGivesTheSameBits(@TempDir Path folder) throws Exception {
        EngineOptions whole = EngineOptions.of(DemoModel.file()).withThreads(2).withUbatch(16);
        EngineOptions split = EngineOptions.of(
                        GgufSplitter.split(DemoModel.file(), 3, folder).getFirst())
                .withThreads(2)
                .withUbatch(16);
        int[] tokens = tokens(1000);
        float[] expected;
        try (PrefetchEngine engine = PrefetchEngine.open(whole)) {
            expected = engine.logits(tokens, false);
        }
        List<EngineOptions> all = new ArrayList<>(plans(split));
        all.add(split);
        for (EngineOptions options : all) {
            try (PrefetchEngine engine = PrefetchEngine.open(options)) {
                assertThat(engine.plan().allResident()).isEqualTo(options == split);
                assertThat(Arrays.equals(engine.logits(tokens, false), expected))
                        .as("%s", options.memory())
                        .isTrue();
            }
        }
    }

    @ParameterizedTest
    @MethodSource("models")
    void sequencesThatShareSweepsGetTheSameTokens(Path model) throws Exception {
        EngineOptions options =
                EngineOptions.of(model).withThreads(2).withMaxConcurrency(4).withUbatch(16);
        List<GenerationRequest> requests = IntStream.range(0, 6)
                .mapToObj(i -> new GenerationRequest(
                        new Prompt.Tokens(IntStream.range(0, 5 + 7 * i)
                                .mapToObj(t -> (31 * t + 17 * i) % 259)
                                .toList()),
                        dev.prefetch.inference.SamplingOptions.GREEDY,
                        12,
                        List.of(),
                        true))
                .toList();
        List<List<Integer>> expected = new ArrayList<>();
        try (PrefetchEngine engine = PrefetchEngine.open(options)) {
            for (GenerationRequest request : requests) {
                expected.add(engine.generate(request).tokens());
            }
        }
        EngineOptions least = options.withMemory(options.memory().withWeights(leastWeights(options)));
        try (PrefetchEngine engine = PrefetchEngine.open(least)) {
            List<Generation> running = requests.stream()
                    .map(request -> engine.generate(request, GenerationListener.NONE))
                    .toList();
            for (int i = 0; i < running.size(); i++) {
                assertThat(running.get(i).await().tokens())
                        .as("%s request %d", model.getFileName(), i)
                        .isEqualTo(expected.get(i));
            }
        }
    }

    /** Half of the model with every look-ahead, and the least that works, which leaves room for slots alone. */
    private static List<EngineOptions> plans(EngineOptions options) {
        List<EngineOptions> plans = new ArrayList<>();
        plans.add(options.withMemory(options.memory().withWeights(leastWeights(options))));
        for (int lookAhead = 0; lookAhead <= 6; lookAhead++) {
            addPossible(plans, options, "50%", lookAhead);
            addPossible(plans, options, "75%", lookAhead);
        }
        if (plans.size() <= 2) {
            // One block is most of the model.
            addPossible(plans, options, "90%", 0);
        }
        assertThat(plans).hasSizeGreaterThan(2);
        return plans;
    }

    private static void addPossible(List<EngineOptions> plans, EngineOptions options, String weights, int lookAhead) {
        EngineOptions plan = options.withMemory(
                options.memory().withWeights(MemoryAmount.parse(weights)).withLookAheadBlocks(lookAhead));
        if (possible(plan)) {
            plans.add(plan);
        }
    }

    private static MemoryAmount leastWeights(EngineOptions options) {
        for (int percent = 1; percent < 100; percent++) {
            MemoryAmount weights = MemoryAmount.parse(percent + "%");
            if (possible(options.withMemory(options.memory().withWeights(weights)))) {
                return weights;
            }
        }
        throw new AssertionError(options.model() + " cannot stream at all");
    }

    /** Whether weights stream with these options, and can. */
    static boolean possible(EngineOptions options) {
        try {
            return !PrefetchEngine.plan(options).allResident();
        } catch (PlanException e) {
            return false;
        }
    }

    private static int[] tokens(int vocabulary) {
        return IntStream.range(0, TOKENS).map(i -> (i * 7919 + 13) % vocabulary).toArray();
    }
}
