package dev.prefetch.prefetch;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatExceptionOfType;
import static org.assertj.core.api.Assertions.assertThatIllegalArgumentException;
import static org.assertj.core.api.Assertions.assertThatIllegalStateException;
import static org.awaitility.Awaitility.await;

import dev.prefetch.backend.Devices;
import dev.prefetch.backend.Event;
import dev.prefetch.gguf.GgufPart;
import dev.prefetch.model.TensorRole;
import dev.prefetch.model.WeightBlock;
import dev.prefetch.model.WeightBlock.Kind;
import dev.prefetch.prefetch.Plan.Residency;
import dev.prefetch.storage.StorageException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionException;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.function.Function;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

@Timeout(60)
class StreamingWeightsTest {

    private static final StreamingOptions OPTIONS = StreamingOptions.DEFAULT
            .withChunkBytes(8192)
            .withAttempts(2, Duration.ofNanos(1))
            .withPoison(true)
            .withTimeouts(Duration.ofSeconds(20), Duration.ofSeconds(20));

    private final ExecutorService threads = Executors.newCachedThreadPool();
    private final TestDevice device = new TestDevice();
    private final List<StreamingWeights> opened = new ArrayList<>();
    private TestModel model = TestModel.dense(5, 24);
    private TestReader reader = new TestReader(model.fileSize);

    @AfterEach
    void leavesNothingBehind() {
        reader.resume();
        opened.forEach(StreamingWeights::close);
        threads.close();
        assertThat(device.freedBytes).hasValue(device.allocatedBytes.get());
        assertThat(reader.closed).isTrue();
    }

    private StreamingWeights open(Plan plan, StreamingOptions options) {
        StreamingWeights weights =
                StreamingWeights.open(plan, Devices.of(device), reader, List.of(), options, (done, total) -> {});
        opened.add(weights);
        return weights;
    }

    private StreamingWeights open(int slots, Function<WeightBlock, Residency> choice) {
        return open(model.plan(slots, 0, 0, choice), OPTIONS);
    }

    private void sweep(StreamingWeights weights) {
        weights.beginSweep(Regime.DECODE, 1);
        model.blocks.forEach(block -> check(weights, block));
        weights.endSweep();
    }

    private static void check(StreamingWeights weights, WeightBlock block) {
        try (WeightLease lease = weights.acquire(block)) {
            assertThat(TestModel.firstDifference(lease)).isNull();
        }
    }

    @ParameterizedTest
    @ValueSource(ints = {1, 2, 3, 4, 5, 6, 7, 12, 13})
    void givesEveryBlockItsOwnBytesForAnyNumberOfSlots(int slots) {
        StreamingWeights weights = open(slots, block -> Residency.STREAMED);
        for (int i = 0; i < 5; i++) {
            sweep(weights);
        }
        PrefetchStatistics statistics = weights.statistics();
        assertThat(statistics.sweeps()).isEqualTo(5);
        assertThat(statistics.hostBlocks()).isZero();
        assertThat(statistics.droppedBlocks()).isZero();
        assertThat(statistics.diskBlocks()).isBetween(5L * model.blocks.size(), 5L * model.blocks.size() + slots);
    }

    @ParameterizedTest
    @CsvSource({"2,2", "2,3", "3,2", "4,5"})
    void mixesResidentAndStreamedBlocks(int slots, int each) {
        StreamingWeights weights =
                open(slots, block -> block.index() % each == 0 ? Residency.STREAMED : Residency.RESIDENT);
        for (int i = 0; i < 4; i++) {
            sweep(weights);
        }
        long streamed = model.blocks.stream().filter(b -> b.index() % each == 0).count();
        PrefetchStatistics statistics = weights.statistics();
        assertThat(statistics.hostBlocks()).isEqualTo(4 * (model.blocks.size() - streamed));
        assertThat(statistics.loadedBytes()).isPositive();
        assertThat(statistics.diskBlocks()).isBetween(4 * streamed, 4 * streamed + slots);
    }

    @Test
    void readsMappedBlocksInPlace() {
        try (Arena arena = Arena.ofShared()) {
            MemorySegment file = arena.allocate((model.fileSize + 4095) & -4096, 4096);
            TestModel.fillFromFile(0, file);
            StreamingWeights weights = StreamingWeights.open(
                    model.plan(2, 0, 0, b -> Residency.MAPPED),
                    Devices.of(device),
                    reader,
                    List.of(new GgufPart(Path.of("model.gguf"), 0, file)),
                    OPTIONS,
                    (done, total) -> {});
            opened.add(weights);
            sweep(weights);
            sweep(weights);
            assertThat(reader.offsets).isEmpty();
            assertThat(device.allocatedBytes).hasValue(0);
            assertThat(weights.statistics().stallNanos()).isZero();
        }
    }

    @Test
    void refusesAPlanWithMappedBlocksWhenNothingIsMapped() {
        assertThatIllegalArgumentException()
                .isThrownBy(() -> open(2, block -> Residency.MAPPED))
                .withMessageContaining("not mapped");
    }

    @Test
    void prefetchesAcrossTheEndOfASweepWhileNobodyAsks() {
        StreamingWeights weights = open(3, block -> Residency.STREAMED);
        sweep(weights);
        await().until(() -> weights.statistics().diskBlocks() == model.blocks.size() + 3);
        PrefetchStatistics before = weights.statistics();
        reader.pause();
        weights.beginSweep(Regime.DECODE, 1);
        for (int i = 0; i < 3; i++) {
            check(weights, model.blocks.get(i));
        }
        reader.resume();
        assertThat(weights.statistics().since(before).stallNanos()).isZero();
    }

    @Test
    void neverReadsFurtherAheadThanTheLookAhead() {
        StreamingWeights weights = open(6, block -> Residency.STREAMED);
        weights.setLookAheadBlocks(2);
        assertThat(weights.lookAheadBlocks()).isEqualTo(2);
        check(weights, model.blocks.get(0));
        check(weights, model.blocks.get(1));
        // Opening filled all six slots before the look-ahead was shortened; nothing more is read until three are left.
        await().until(() -> weights.statistics().diskBlocks() == 6);
        check(weights, model.blocks.get(2));
        check(weights, model.blocks.get(3));
        await().until(() -> weights.statistics().diskBlocks() == 7);
        assertThat(reader.reading).hasValue(0);
        assertThatIllegalArgumentException().isThrownBy(() -> weights.setLookAheadBlocks(6));
    }

    @Test
    void readsTheBlockThatIsNeededFirstWithAllThreads() {
        reader.pause();
        open(4, block -> Residency.STREAMED);
        long chunksOfFirst =
                TestModel.layout(model.blocks.getFirst()).chunks(8192).size();
        await().until(() -> reader.reading.get() == Math.min(chunksOfFirst, OPTIONS.readerThreads()));
        long end = TestModel.layout(model.blocks.getFirst())
                .parts()
                .getFirst()
                .extent()
                .end();
        assertThat(reader.offsets).allMatch(offset -> offset < end);
    }

    @Test
    void givesUpWhatAnAbandonedSweepWouldHaveNeeded() {
        StreamingWeights weights = open(3, block -> Residency.STREAMED);
        weights.beginSweep(Regime.DECODE, 1);
        for (int i = 0; i < 4; i++) {
            check(weights, model.blocks.get(i));
        }
        weights.endSweep();
        sweep(weights);
        sweep(weights);
        assertThat(weights.statistics().droppedBlocks()).isBetween(1L, 3L);
    }

    @Test
    void followsComputeWhenItSkipsBlocks() {
        StreamingWeights weights = open(3, block -> Residency.STREAMED);
        for (int sweep = 0; sweep < 6; sweep++) {
            for (WeightBlock block : model.blocks) {
                if ((block.index() + sweep) % 3 != 0) {
                    check(weights, block);
                }
            }
        }
        assertThat(weights.statistics().failures()).isZero();
    }

    @Test
    void noticesSweepsByItself() {
        StreamingWeights weights = open(2, block -> Residency.STREAMED);
        for (int i = 0; i < 3; i++) {
            model.blocks.forEach(block -> check(weights, block));
        }
        assertThat(weights.statistics().sweeps()).isEqualTo(2);
        assertThat(weights.statistics().droppedBlocks()).isZero();
    }

    @Test
    void repeatsAReadThatFailsOnce() {
        List<Long> failed = new ArrayList<>();
        reader.broken = offset -> {
            synchronized (failed) {
                return !failed.contains(offset) && failed.add(offset);
            }
        };
        StreamingWeights weights = open(3, block -> Residency.STREAMED);
        sweep(weights);
        assertThat(weights.statistics().retries()).isPositive();
        assertThat(weights.statistics().failures()).isZero();
    }

    @Test
    void failsTheSweepThatNeedsUnreadableBytesAndGoesOnWhenTheDiskDoes() {
        WeightBlock bad = model.blocks.get(4);
        long from = bad.tensors().getFirst().fileOffset() & -4096;
        reader.broken = offset -> offset == from;
        StreamingWeights weights = open(3, block -> Residency.STREAMED);
        for (int attempt = 0; attempt < 2; attempt++) {
            weights.beginSweep(Regime.DECODE, 1);
            for (WeightBlock block : model.blocks.subList(0, 3)) {
                check(weights, block);
            }
            // The neighbour may share the page that cannot be read.
            assertThatExceptionOfType(WeightUnavailableException.class)
                    .isThrownBy(() -> {
                        check(weights, model.blocks.get(3));
                        check(weights, bad);
                    })
                    .withMessageContaining("the disk is broken")
                    .withMessageContaining("made-up.gguf")
                    .withMessageContaining(String.valueOf(from))
                    .withCauseInstanceOf(StorageException.class);
            weights.endSweep();
        }
        reader.broken = offset -> false;
        sweep(weights);
        sweep(weights);
        assertThat(weights.statistics().failures()).isGreaterThanOrEqualTo(2);
    }

    @Test
    void doesNotAskADeadDiskForBlockAfterBlock() {
        reader.broken = offset -> true;
        StreamingWeights weights = open(3, block -> Residency.STREAMED);
        await().until(() -> weights.statistics().failures() == 3 && reader.reading.get() == 0);
        assertThatExceptionOfType(WeightUnavailableException.class)
                .isThrownBy(() -> weights.acquire(model.blocks.getFirst()));
        assertThat(weights.statistics().failures()).isLessThanOrEqualTo(7);
        reader.broken = offset -> false;
        sweep(weights);
    }

    @Test
    void survivesAReaderThatFailsInAnUnexpectedWay() {
        reader.before = () -> {
            throw new IllegalArgumentException("surprise");
        };
        StreamingWeights weights = open(2, block -> Residency.STREAMED);
        assertThatExceptionOfType(WeightUnavailableException.class)
                .isThrownBy(() -> weights.acquire(model.blocks.getFirst()))
                .withMessageContaining("surprise");
        reader.before = () -> {};
        sweep(weights);
    }

    @Test
    void failsToOpenWhenResidentWeightsCannotBeLoaded() {
        reader.broken = offset -> true;
        assertThatExceptionOfType(WeightUnavailableException.class)
                .isThrownBy(() -> open(2, block -> Residency.RESIDENT))
                .withMessageContaining("Resident weights could not be loaded")
                .withMessageContaining("the disk is broken");
    }

    @Test
    void tellsHowTheLoadingGoes() {
        List<Long> progress = new ArrayList<>();
        List<Long> totals = new ArrayList<>();
        StreamingWeights weights = StreamingWeights.open(
                model.plan(2, 0, 0, b -> Residency.RESIDENT),
                Devices.of(device),
                reader,
                List.of(),
                OPTIONS,
                (done, total) -> {
                    progress.add(done);
                    totals.add(total);
                });
        opened.add(weights);
        long expected = model.blocks.stream()
                .mapToLong(b -> TestModel.layout(b).byteSize())
                .sum();
        assertThat(progress).isSorted().startsWith(0L).endsWith(expected);
        assertThat(totals).containsOnly(expected);
        assertThat(weights.statistics().loadedBytes()).isEqualTo(expected);
    }

    @Test
    void timesOutWhenTheDiskHangsAndRecovers() {
        reader.pause();
        StreamingWeights weights = open(
                model.plan(2, 0, 0, b -> Residency.STREAMED),
                OPTIONS.withTimeouts(Duration.ofMillis(100), Duration.ofSeconds(20)));
        assertThatExceptionOfType(WeightUnavailableException.class)
                .isThrownBy(() -> weights.acquire(model.blocks.getFirst()))
                .withMessageContaining("did not arrive")
                .withMessageContaining("FILLING");
        reader.resume();
        await().ignoreExceptions().untilAsserted(() -> sweep(weights));
    }

    @Test
    void holdsASlotUntilTheDeviceHasFinishedReading() {
        ManualEvent reading = new ManualEvent();
        StreamingWeights weights = open(1, block -> Residency.STREAMED);
        device.events = () -> reading;
        check(weights, model.blocks.getFirst());
        device.events = () -> TestDevice.DONE;
        await().until(() -> reading.waiting.getCount() == 0);
        int reads = reader.offsets.size();
        CompletableFuture<Void> next = CompletableFuture.runAsync(() -> check(weights, model.blocks.get(1)), threads);
        assertThat(reader.offsets).hasSize(reads);
        assertThat(next).isNotDone();
        reading.complete.countDown();
        next.join();
        assertThat(reader.offsets).hasSizeGreaterThan(reads);
    }

    private static final class ManualEvent implements Event {

        final CountDownLatch complete = new CountDownLatch(1);
        final CountDownLatch waiting = new CountDownLatch(1);

        @Override
        public boolean isComplete() {
            return complete.getCount() == 0;
        }

        @Override
        public void await() {
            waiting.countDown();
            try {
                complete.await();
            } catch (InterruptedException e) {
                throw new IllegalStateException(e);
            }
        }
    }

    @Test
    void keepsTheMemoryOfALeaseThatOutlivesTheWeights() {
        StreamingWeights weights = open(2, block -> block.index() == 0 ? Residency.RESIDENT : Residency.STREAMED);
        WeightLease resident = weights.acquire(model.blocks.get(0));
        WeightLease streamed = weights.acquire(model.blocks.get(1));
        weights.close();
        assertThat(device.freedBytes).hasValue(0);
        assertThat(TestModel.firstDifference(resident)).isNull();
        assertThat(TestModel.firstDifference(streamed)).isNull();
        streamed.close();
        assertThat(device.freedBytes).hasValue(0);
        resident.close();
        assertThat(device.freedBytes).hasValue(device.allocatedBytes.get());
        assertThatIllegalStateException().isThrownBy(() -> weights.acquire(model.blocks.get(0)));
    }

    @Test
    void closingWaitsForTheLeasesOfOtherThreads() {
        StreamingWeights weights = open(2, block -> Residency.STREAMED);
        WeightLease lease = weights.acquire(model.blocks.get(0));
        CompletableFuture<Void> closing = CompletableFuture.runAsync(weights::close, threads);
        await().until(() -> reader.closed);
        assertThat(closing).isNotDone();
        assertThat(TestModel.firstDifference(lease)).isNull();
        lease.close();
        closing.join();
    }

    @Test
    void closingEndsAWaitForWeights() {
        reader.pause();
        StreamingWeights weights = open(2, block -> Residency.STREAMED);
        CompletableFuture<WeightLease> waiting =
                CompletableFuture.supplyAsync(() -> weights.acquire(model.blocks.get(0)), threads);
        await().until(() -> reader.reading.get() > 0);
        CompletableFuture<Void> closing = CompletableFuture.runAsync(weights::close, threads);
        assertThatExceptionOfType(CompletionException.class)
                .isThrownBy(waiting::join)
                .withCauseInstanceOf(IllegalStateException.class);
        reader.resume();
        closing.join();
    }

    @Test
    void refusesToBeUsedAfterALeaseIsClosed() {
        StreamingWeights weights = open(2, block -> Residency.STREAMED);
        WeightLease lease = weights.acquire(model.blocks.get(1));
        assertThat(lease.find(TensorRole.OUTPUT)).isNull();
        assertThatIllegalStateException()
                .isThrownBy(() -> lease.weight(TensorRole.OUTPUT))
                .withMessageContaining("L00.attn")
                .withMessageContaining("OUTPUT");
        lease.close();
        lease.close();
        assertThatIllegalStateException().isThrownBy(() -> lease.weight(TensorRole.ATTENTION_Q));
    }

    @Test
    void refusesABlockOfAnotherModel() {
        StreamingWeights weights = open(2, block -> Residency.STREAMED);
        WeightBlock foreign = TestModel.dense(5, 32).blocks.get(3);
        assertThatIllegalArgumentException()
                .isThrownBy(() -> weights.acquire(foreign))
                .withMessageContaining("not part of the plan");
        assertThat(foreign.kind()).isEqualTo(Kind.ATTENTION);
    }
}
