package dev.prefetch.prefetch;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatExceptionOfType;
import static org.awaitility.Awaitility.await;

import dev.prefetch.backend.Devices;
import dev.prefetch.model.WeightBlock;
import dev.prefetch.model.WeightBlock.Kind;
import dev.prefetch.prefetch.Plan.Residency;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.locks.LockSupport;
import java.util.stream.IntStream;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

@Timeout(60)
class ExpertCacheTest {

    private static final int EXPERTS = 8;

    private final TestDevice device = new TestDevice();
    private final TestModel model = TestModel.experts(2, EXPERTS, 8);
    private final TestReader reader = new TestReader(model.fileSize);
    private final List<StreamingWeights> opened = new ArrayList<>();

    @AfterEach
    void leavesNothingBehind() {
        reader.resume();
        opened.forEach(StreamingWeights::close);
        assertThat(device.freedBytes).hasValue(device.allocatedBytes.get());
    }

    private StreamingWeights open(int places, int passing) {
        Plan plan =
                model.plan(2, places, passing, b -> b.kind() == Kind.EXPERT ? Residency.ON_DEMAND : Residency.RESIDENT);
        StreamingWeights weights = StreamingWeights.open(
                plan,
                Devices.of(device),
                reader,
                List.of(),
                StreamingOptions.DEFAULT
                        .withChunkBytes(4096)
                        .withAttempts(1, Duration.ZERO)
                        .withPoison(true)
                        .withTimeouts(Duration.ofSeconds(20), Duration.ofSeconds(20)),
                (done, total) -> {});
        opened.add(weights);
        return weights;
    }

    private WeightBlock expert(int layer, int number) {
        return model.blocks.stream()
                .filter(b -> b.kind() == Kind.EXPERT && b.layer() == layer && b.expert() == number)
                .findFirst()
                .orElseThrow();
    }

    /** A sweep in which both layers use the same experts. */
    private void sweep(StreamingWeights weights, Regime regime, int... numbers) {
        weights.beginSweep(regime, 1);
        for (WeightBlock block : model.blocks) {
            if (block.kind() == Kind.EXPERT) {
                continue;
            }
            check(weights, block);
            if (block.kind() == Kind.FEED_FORWARD) {
                List<WeightBlock> chosen = IntStream.of(numbers)
                        .mapToObj(n -> expert(block.layer(), n))
                        .toList();
                weights.prefetch(chosen);
                chosen.forEach(e -> check(weights, e));
            }
        }
        weights.endSweep();
    }

    private static void check(StreamingWeights weights, WeightBlock block) {
        try (WeightLease lease = weights.acquire(block)) {
            assertThat(TestModel.firstDifference(lease)).isNull();
        }
    }

    @ParameterizedTest
    @ValueSource(ints = {1, 2, 3, 7, 16})
    void givesEveryExpertItsOwnBytesForAnyNumberOfPlaces(int places) {
        StreamingWeights weights = open(places, Math.min(places, 2));
        for (int i = 0; i < 12; i++) {
            sweep(weights, i % 3 == 0 ? Regime.PREFILL : Regime.DECODE, i % 8, (i + 3) % 8, (5 * i + 1) % 8);
        }
        assertThat(weights.statistics().failures()).isZero();
    }

    @Test
    void readsOnlyWhatTheRouterAskedFor() {
        StreamingWeights weights = open(8, 4);
        sweep(weights, Regime.DECODE, 1, 5);
        PrefetchStatistics statistics = weights.statistics();
        assertThat(statistics.diskBlocks()).isEqualTo(4);
        assertThat(statistics.expertMisses()).isEqualTo(4);
        assertThat(statistics.expertHits()).isZero();
    }

    @Test
    void keepsWhatIsAskedForOften() {
        StreamingWeights weights = open(8, 4);
        // Experts 0 and 1 of both layers fill the four kept places; the others pass.
        for (int i = 0; i < 4; i++) {
            sweep(weights, Regime.DECODE, 0, 1);
        }
        for (int i = 0; i < 6; i++) {
            sweep(weights, Regime.DECODE, 2 + i, 0);
        }
        PrefetchStatistics before = weights.statistics();
        sweep(weights, Regime.DECODE, 0, 1);
        PrefetchStatistics last = weights.statistics().since(before);
        assertThat(last.expertHits()).isEqualTo(4);
        assertThat(last.expertHitRate()).isEqualTo(1);
        assertThat(last.diskBytes()).isZero();
    }

    @Test
    void letsWhatIsNoLongerAskedForGo() {
        StreamingWeights weights = open(6, 2);
        sweep(weights, Regime.DECODE, 0, 1);
        sweep(weights, Regime.DECODE, 0, 1);
        for (int i = 0; i < 5; i++) {
            sweep(weights, Regime.DECODE, 6, 7);
        }
        PrefetchStatistics before = weights.statistics();
        sweep(weights, Regime.DECODE, 6, 7);
        assertThat(weights.statistics().since(before).expertHits()).isEqualTo(4);
    }

    @Test
    void isNotSpoiledByPrompts() {
        StreamingWeights weights = open(8, 4);
        for (int i = 0; i < 3; i++) {
            sweep(weights, Regime.DECODE, 0, 1);
        }
        sweep(weights, Regime.PREFILL, 0, 1, 2, 3, 4, 5, 6, 7);
        PrefetchStatistics before = weights.statistics();
        sweep(weights, Regime.DECODE, 0, 1);
        assertThat(weights.statistics().since(before).diskBytes()).isZero();
        assertThat(before.expertHits() + before.expertMisses())
                .as("prompts do not count")
                .isEqualTo(12);
    }

    @Test
    void readsABatchAtOnceAndInOrder() {
        StreamingWeights weights = open(8, 4);
        weights.beginSweep(Regime.DECODE, 1);
        reader.offsets.clear();
        reader.pause();
        weights.prefetch(List.of(expert(0, 5), expert(0, 2)));
        await().until(() -> reader.reading.get() == StreamingOptions.DEFAULT_READER_THREADS);
        reader.resume();
        check(weights, expert(0, 5));
        check(weights, expert(0, 2));
        assertThat(weights.statistics().expertMisses()).isEqualTo(2);
    }

    @Test
    void aBatchLargerThanTheCacheStillArrives() {
        StreamingWeights weights = open(3, 3);
        sweep(weights, Regime.PREFILL, 0, 1, 2, 3, 4, 5, 6, 7);
        sweep(weights, Regime.PREFILL, 7, 6, 5, 4, 3, 2, 1, 0);
    }

    @Test
    void failsOnlyTheExpertThatCannotBeRead() {
        StreamingWeights weights = open(8, 4);
        long bad = expert(0, 3).tensors().getFirst().fileOffset() & -4096;
        reader.broken = offset -> offset == bad + 4096;
        weights.beginSweep(Regime.DECODE, 1);
        weights.prefetch(List.of(expert(0, 3), expert(0, 6)));
        assertThatExceptionOfType(WeightUnavailableException.class)
                .isThrownBy(() -> weights.acquire(expert(0, 3)))
                .withMessageContaining("L00.e3");
        check(weights, expert(0, 6));
        weights.endSweep();
        reader.broken = offset -> false;
        sweep(weights, Regime.DECODE, 3, 6);
    }

    @Test
    void readsWholeLayersAheadOfTheRouterOncePromptsTouchEverything() {
        StreamingWeights weights = open(12, 10);
        // The disk must be what prompts wait for.
        reader.before = () -> LockSupport.parkNanos(1_000_000);
        int[] all = IntStream.range(0, EXPERTS).toArray();
        sweep(weights, Regime.PREFILL, all);
        sweep(weights, Regime.PREFILL, all);
        weights.beginSweep(Regime.PREFILL, 1);
        check(weights, model.blocks.getFirst());
        reader.offsets.clear();
        check(weights, model.blocks.get(1));
        long first = expert(0, 0).tensors().getFirst().fileOffset() & -4096;
        long last = expert(0, EXPERTS - 1).tensors().getLast().fileOffset();
        await().until(() -> !reader.offsets.isEmpty() && reader.reading.get() == 0);
        assertThat(reader.offsets).allMatch(offset -> offset >= first && offset <= last + 8192);
        check(weights, model.blocks.get(2));
        List<WeightBlock> chosen = List.of(expert(0, 6), expert(0, 1));
        weights.prefetch(chosen);
        chosen.forEach(e -> check(weights, e));
        weights.endSweep();
        sweep(weights, Regime.DECODE, 3, 4);
    }

    @Test
    void saysWhichExpertIsThere() {
        StreamingWeights weights = open(8, 4);
        sweep(weights, Regime.DECODE, 2, 5);
        weights.beginSweep(Regime.DECODE, 1);
        List<WeightBlock> chosen = List.of(expert(0, 1), expert(0, 4), expert(0, 5));
        reader.pause();
        weights.prefetch(chosen);
        assertThat(weights.readiest(chosen)).isEqualTo(2);
        check(weights, expert(0, 5));
        assertThat(weights.readiest(chosen.subList(0, 2)))
                .as("the first to be read")
                .isZero();
        reader.resume();
        check(weights, expert(0, 1));
        check(weights, expert(0, 4));
    }
}
