package dev.prefetch.api;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.fail;

import dev.prefetch.gguf.GgufFile;
import dev.prefetch.inference.BatchLoop;
import dev.prefetch.model.ModelConfig;
import dev.prefetch.model.ModelGraph;
import dev.prefetch.prefetch.CostModel;
import dev.prefetch.prefetch.MeasuredCosts;
import dev.prefetch.prefetch.MemoryAmount;
import dev.prefetch.prefetch.Planner;
import dev.prefetch.testing.DemoModel;
import java.util.List;
import java.util.function.Supplier;
import org.junit.jupiter.api.Test;

class MemoryPlannerTest {

    private static final int CONTEXT = 2048;

    private static final Supplier<MeasuredCosts> NOT_MEASURED = () -> fail("measured for nothing");

    private final EngineOptions options =
            EngineOptions.of(DemoModel.file()).withThreads(1).withMaxConcurrency(1);

    private MemoryPlanner.Division divide(EngineOptions wanted) {
        return divide(wanted, CONTEXT);
    }

    private static MemoryPlanner.Division divide(EngineOptions wanted, int context) {
        try (GgufFile file = GgufFile.open(DemoModel.file())) {
            ModelConfig config = ModelConfig.read(file);
            return MemoryPlanner.divide(
                    wanted,
                    new Model(file, config, ModelGraph.of(file, config), List.of()),
                    context,
                    null,
                    NOT_MEASURED);
        }
    }

    private EngineOptions streaming(double diskBytesPerSecond) {
        return options.withMemory(MemoryOptions.AUTO
                .withWeights(MemoryAmount.parse("50%"))
                .withCosts(CostModel.ASSUMED.withDiskBytesPerSecond(diskBytesPerSecond)));
    }

    @Test
    void aModelThatFitsKeepsTheUsualNumberOfPromptTokensPerSweep() {
        MemoryPlanner.Division division = divide(options);
        assertThat(division.weights().allResident()).isTrue();
        assertThat(division.ubatch()).isEqualTo(EngineOptions.DEFAULT_UBATCH);
    }

    @Test
    void promptSweepsGrowUntilComputeHidesTheTransfers() {
        assertThat(divide(streaming(1e12)).ubatch()).isEqualTo(EngineOptions.DEFAULT_UBATCH);
        MemoryPlanner.Division slow = divide(streaming(60e6));
        assertThat(slow.ubatch()).isGreaterThan(EngineOptions.DEFAULT_UBATCH).isLessThanOrEqualTo(CONTEXT);
        assertThat(divide(streaming(1e3)).ubatch())
                .as("never beyond the context")
                .isEqualTo(CONTEXT);
    }

    @Test
    void aGivenNumberOfPromptTokensPerSweepStands() {
        assertThat(divide(streaming(1e3).withUbatch(32)).ubatch()).isEqualTo(32);
    }

    @Test
    void keysAndValuesOfFewerBitsTakeFewerBytesOfTheBudget() {
        long f32 = divide(options).kvBytes();
        assertThat(2 * divide(options.withKvCacheType(KvCacheType.F16)).kvBytes())
                .isEqualTo(f32);
        assertThat(128 * divide(options.withKvCacheType(KvCacheType.Q8_0)).kvBytes())
                .isEqualTo(34 * f32);
    }

    @Test
    void aSmallModelIsNotWorthMeasuring() {
        EngineOptions small = options.withMemory(MemoryOptions.AUTO.withWeights(MemoryAmount.parse("50%")));
        assertThat(divide(small).weights().allResident()).isFalse();
        assertThat(divide(small).weights().costs()).isEqualTo(CostModel.ASSUMED);
    }

    private static long modelBytes() {
        try (GgufFile file = GgufFile.open(DemoModel.file())) {
            return Planner.modelBytes(
                    ModelGraph.of(file, ModelConfig.read(file)).blocks());
        }
    }

    /** Options that leave so many models' bytes for weights and KV cache. */
    private EngineOptions leaving(double models, int concurrency) {
        try (GgufFile file = GgufFile.open(DemoModel.file())) {
            ModelConfig config = ModelConfig.read(file);
            int rows = EngineOptions.DEFAULT_UBATCH + concurrency;
            long bytes = BatchLoop.activationBytes(config, rows) + (long) (models * modelBytes());
            return options.withMaxConcurrency(concurrency)
                    .withUbatch(EngineOptions.DEFAULT_UBATCH)
                    .withMemory(MemoryOptions.AUTO.withRam(MemoryAmount.parse(bytes + "B")));
        }
    }

    /** How many sequences of 64 tokens there is room for. */
    private long shortSequences(EngineOptions wanted) {
        long one = divide(leaving(2, 1), 64).kvBytes();
        return divide(wanted, 64).kvBytes() / one;
    }

    @Test
    void whereWeightsStreamThereIsRoomForAShortSequenceForEachThatMayRun() {
        assertThat(divide(leaving(1, 4), 64).weights().allResident()).isFalse();
        assertThat(shortSequences(leaving(1, 4))).isEqualTo(4);
        assertThat(shortSequences(leaving(1, 64)))
                .as("in half of the memory")
                .isEqualTo(modelBytes() / 2 / divide(leaving(2, 1), 64).kvBytes());
    }

    @Test
    void aModelThatFitsDoesNotStreamForTheSakeOfMoreSequences() {
        MemoryPlanner.Division division = divide(leaving(1.2, 64), 64);
        assertThat(division.weights().allResident()).isTrue();
        assertThat(shortSequences(leaving(1.2, 64))).isEqualTo(2);
    }

    @Test
    void aLongContextIsNotCountedForEachThatMayRun() {
        long one = divide(leaving(4, 1)).kvBytes();
        assertThat(divide(leaving(4, 4)).kvBytes()).isEqualTo(one);
    }
}
