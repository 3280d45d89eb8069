package dev.prefetch.prefetch;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatExceptionOfType;
import static org.assertj.core.api.Assertions.assertThatIllegalArgumentException;
import static org.assertj.core.api.Assertions.within;

import dev.prefetch.model.WeightBlock;
import dev.prefetch.model.WeightBlock.Kind;
import dev.prefetch.prefetch.Plan.Residency;
import java.util.Arrays;
import java.util.List;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.ObjectMapper;

class PlannerTest {

    private static final long MIB = 1 << 20;

    /** 32 layers of about 256 KiB attention and 2 MiB feed-forward, 1 MiB each of embedding and output. */
    private final TestModel dense = TestModel.dense(32, 1024);

    private final long denseBytes =
            dense.blocks.stream().mapToLong(WeightBlock::byteSize).sum();

    private Plan plan(long bytes) {
        return Planner.plan(PlanRequest.of(dense.blocks, bytes).withUbatchTokens(4));
    }

    @Test
    void readsAllButTheEmbeddingIntoItsOwnMemoryWhenItFits() {
        Plan plan = plan(denseBytes + dense.blocks.size() * 2L * 4096);
        assertThat(plan.allResident()).isTrue();
        assertThat(residency(plan, Kind.EMBEDDING)).containsOnly(Residency.MAPPED);
        assertThat(plan.count(Residency.RESIDENT)).isEqualTo(dense.blocks.size() - 1);
        assertThat(plan.allocatedBytes())
                .isBetween(
                        denseBytes - dense.blocks.getFirst().byteSize(), denseBytes + dense.blocks.size() * 2L * 4096);
        assertThat(plan.decode().transferSeconds()).isZero();
    }

    @Test
    void mapsEverythingWhereItFitsButNotInMemoryOfItsOwn() {
        WeightBlock embedding = dense.blocks.getFirst();
        long bytes = denseBytes - embedding.byteSize();
        List<WeightBlock> blocks = dense.blocks.stream()
                .map(b -> b == embedding
                        ? new WeightBlock(
                                b.index(), b.kind(), -1, -1, dense.blocks.get(1).tensors())
                        : b)
                .toList();
        Plan plan = Planner.plan(PlanRequest.of(blocks, bytes).withUbatchTokens(4));
        assertThat(plan.allResident()).isTrue();
        assertThat(plan.count(Residency.MAPPED)).isEqualTo(blocks.size());
        assertThat(plan.allocatedBytes()).isZero();
        assertThat(plan.decode().transferSeconds()).isZero();
    }

    @ParameterizedTest
    @ValueSource(longs = {12, 20, 33, 47, 64, 90, 100})
    void staysWithinItsBudgetAndUsesIt(long mib) {
        Plan plan = plan(mib * MIB);
        assertThat(plan.allocatedBytes()).isLessThanOrEqualTo(mib * MIB);
        long block = plan.slotBytes();
        assertThat(plan.allocatedBytes()).isGreaterThan(mib * MIB - 2 * block);
        assertThat(plan.slots()).isGreaterThanOrEqualTo(2);
        assertThat(plan.lookAheadBlocks()).isEqualTo(plan.slots() - 1);
    }

    @Test
    void streamsFeedForwardBlocksFirstAndOnlyAsManyAsItMust() {
        Plan plan = plan(60 * MIB);
        assertThat(residency(plan, Kind.OUTPUT)).containsOnly(Residency.RESIDENT);
        assertThat(residency(plan, Kind.ATTENTION)).containsOnly(Residency.RESIDENT);
        assertThat(residency(plan, Kind.EMBEDDING)).containsOnly(Residency.MAPPED);
        long more = plan.allocatedBytes() + plan.slotBytes();
        assertThat(more).isGreaterThan(60 * MIB - MIB);
    }

    @Test
    void spreadsStreamedBlocksEvenly() {
        Plan plan = plan(60 * MIB);
        List<Integer> layers = plan.entries().stream()
                .filter(e -> e.residency() == Residency.STREAMED)
                .map(e -> e.block().layer())
                .toList();
        assertThat(layers).hasSizeBetween(10, 28);
        double gap = 32.0 / layers.size();
        for (int i = 1; i < layers.size(); i++) {
            assertThat((double) layers.get(i) - layers.get(i - 1)).isCloseTo(gap, within(1.0));
        }
    }

    @Test
    void streamsEverythingButTheEmbeddingWhenNothingMayStay() {
        Plan plan = Planner.plan(PlanRequest.of(dense.blocks, denseBytes * 2).withResidentBytes(0));
        assertThat(residency(plan, Kind.ATTENTION)).containsOnly(Residency.STREAMED);
        assertThat(residency(plan, Kind.OUTPUT)).containsOnly(Residency.STREAMED);
        assertThat(plan.bytes(Residency.RESIDENT)).isZero();
    }

    @ParameterizedTest
    @ValueSource(ints = {0, 1, 2, 5, 6})
    void obeysALookAhead(int lookAhead) {
        Plan plan = Planner.plan(
                PlanRequest.of(dense.blocks, 50 * MIB).withUbatchTokens(4).withLookAheadBlocks(lookAhead));
        assertThat(plan.slots()).isEqualTo(lookAhead + 1);
        assertThat(plan.allocatedBytes()).isLessThanOrEqualTo(50 * MIB);
    }

    @Test
    void obeysABufferSize() {
        Plan plan = Planner.plan(
                PlanRequest.of(dense.blocks, 50 * MIB).withUbatchTokens(4).withBufferBytes(13 * MIB));
        assertThat(plan.slots()).isEqualTo((int) (13 * MIB / plan.slotBytes()));
        assertThatExceptionOfType(PlanException.class)
                .isThrownBy(() ->
                        Planner.plan(PlanRequest.of(dense.blocks, 50 * MIB).withBufferBytes(1024)))
                .withMessageContaining("buffer");
    }

    @Test
    void saysWithNumbersThatAModelCannotRun() {
        assertThatExceptionOfType(PlanException.class)
                .isThrownBy(() -> plan(2 * MIB))
                .withMessageContaining("2.0 MiB")
                .withMessageContaining("at least")
                .withMessageContaining("more memory");
        assertThatExceptionOfType(PlanException.class).isThrownBy(() -> plan(0));
    }

    @Test
    void theLeastItNamesIsEnough() {
        PlanException refused = null;
        try {
            plan(2 * MIB);
        } catch (PlanException e) {
            refused = e;
        }
        assertThat(refused).isNotNull();
        double least = Double.parseDouble(refused.getMessage().replaceAll(".*at least ([0-9.]+) MiB.*", "$1"));
        assertThat(plan((long) ((least + 0.1) * MIB)).allocatedBytes()).isPositive();
    }

    @Test
    void givesExpertsWhatIsLeft() {
        TestModel model = TestModel.experts(4, 16, 64);
        PlanRequest request =
                PlanRequest.of(model.blocks, 5 * MIB).withExpertsPerToken(2).withUbatchTokens(4);
        Plan plan = Planner.plan(request);
        assertThat(residency(plan, Kind.EXPERT)).containsOnly(Residency.ON_DEMAND);
        assertThat(residency(plan, Kind.ATTENTION)).containsOnly(Residency.RESIDENT);
        assertThat(plan.allocatedBytes()).isBetween(5 * MIB - 2 * plan.expertSlotBytes(), 5 * MIB);
        assertThat(plan.expertSlots()).isGreaterThan(16);
        assertThat(plan.passingExpertSlots()).isBetween(4, plan.expertSlots());
        assertThatIllegalArgumentException()
                .isThrownBy(() -> Planner.plan(request.withExpertsPerToken(0)))
                .withMessageContaining("expertsPerToken");
    }

    @Test
    void expectsMoreOfMoreMemory() {
        double before = 0;
        for (long mib : new long[] {12, 30, 60, 90, 200}) {
            double now = plan(mib * MIB).decode().tokensPerSecond();
            assertThat(now).isGreaterThan(before);
            before = now;
        }
    }

    @Test
    void printsItselfAsTableAndAsJson() throws Exception {
        Plan plan = plan(60 * MIB);
        assertThat(plan.toTable()).contains("L00.attn").contains("streamed").contains("tokens/s expected");
        assertThat(plan.summary()).contains("stream through");
        JsonNode json = new ObjectMapper().readTree(plan.toJson());
        assertThat(json.get("blocks").size()).isEqualTo(dense.blocks.size());
        assertThat(json.get("slots").intValue()).isEqualTo(plan.slots());
        assertThat(json.get("bytes").get("streamed").longValue()).isEqualTo(plan.bytes(Residency.STREAMED));
        assertThat(json.get("decode").get("tokensPerSecond").doubleValue())
                .isCloseTo(plan.decode().tokensPerSecond(), within(1e-3));
    }

    @Test
    void countsATensorOfTwoBlocksOnce() {
        WeightBlock embedding = dense.blocks.getFirst();
        List<WeightBlock> tied = List.of(embedding, new WeightBlock(1, Kind.OUTPUT, -1, -1, embedding.tensors()));
        Plan plan = Planner.plan(PlanRequest.of(tied, embedding.byteSize()));
        assertThat(plan.allResident()).isTrue();
        assertThat(plan.bytes(Residency.MAPPED)).isEqualTo(plan.modelBytes()).isEqualTo(embedding.byteSize());
    }

    @Test
    void simulatesTheKnownPipelines() {
        double[] compute = new double[64];
        double[] all = new double[64];
        double[] spread = new double[64];
        double[] together = new double[64];
        for (int i = 0; i < 64; i++) {
            compute[i] = 1;
            all[i] = 1;
            spread[i] = i % 4 == 3 ? 4 : 0;
            together[i] = i < 16 ? 4 : 0;
        }
        assertThat(PipelineModel.sweepSeconds(compute, all, 1, 0)).isEqualTo(128);
        assertThat(PipelineModel.sweepSeconds(compute, all, 2, 0)).isCloseTo(64, within(1e-9));
        assertThat(PipelineModel.sweepSeconds(compute, spread, 2, 0)).isCloseTo(64, within(1e-9));
        // A contiguous run is up to 1.66 times slower.
        assertThat(PipelineModel.sweepSeconds(compute, together, 2, 0) / 64).isBetween(1.5, 1.75);
        assertThat(PipelineModel.sweepSeconds(compute, new double[64], 1, 0)).isEqualTo(64);
    }

    @Test
    void moreSlotsHelpAgainstAnUnevenLinkUpToAPoint() {
        double[] compute = new double[64];
        Arrays.fill(compute, 1);
        double[] last = new double[8];
        for (int slots = 2; slots < 8; slots++) {
            last[slots] = PipelineModel.sweepSeconds(compute, compute, slots, 0.3) / 64;
            assertThat(last[slots])
                    .isEqualTo(PipelineModel.sweepSeconds(compute, compute, slots, 0.3) / 64)
                    .isGreaterThan(0.97);
        }
        assertThat(last[2]).isBetween(1.08, 1.16);
        assertThat(last[3]).isLessThan(last[2] - 0.04);
        assertThat(last[6]).isLessThan(last[3]).isGreaterThan(last[7] - 0.01);
        assertThat(PipelineModel.sweepSeconds(compute, compute, 2, 0)).isCloseTo(64, within(1e-9));
    }

    @Test
    void keepsNoExpertsWhenToldSo() {
        TestModel model = TestModel.experts(4, 16, 64);
        PlanRequest request = PlanRequest.of(model.blocks, model.fileSize / 2).withExpertsPerToken(2);
        Plan keeping = Planner.plan(request);
        Plan passing = Planner.plan(request.withExpertCacheBytes(0));
        assertThat(keeping.expertSlots()).isGreaterThan(keeping.passingExpertSlots());
        assertThat(passing.expertSlots())
                .isEqualTo(passing.passingExpertSlots())
                .isEqualTo(4);
    }

    private static List<Residency> residency(Plan plan, Kind kind) {
        return IntStream.range(0, plan.entries().size())
                .mapToObj(plan.entries()::get)
                .filter(e -> e.block().kind() == kind)
                .map(Plan.Entry::residency)
                .toList();
    }
}
