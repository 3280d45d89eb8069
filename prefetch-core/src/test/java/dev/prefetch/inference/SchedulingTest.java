package dev.prefetch.inference;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatExceptionOfType;

import dev.prefetch.prefetch.Regime;
import dev.prefetch.testing.DemoModel;
import java.util.ArrayList;
import java.util.List;
import java.util.SplittableRandom;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import org.awaitility.Awaitility;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** Who waits for whom: told by counting sweeps and their tokens, not by the clock. */
@Timeout(60)
class SchedulingTest {

    private static final int CONTEXT = 1024;
    private static final int UBATCH = 256;

    private final LoopFixture fixture = new LoopFixture(DemoModel.file());
    private final CountDownLatch submitted = new CountDownLatch(1);
    private final List<String> sweeps = new ArrayList<>();

    @AfterEach
    void close() {
        fixture.close();
    }

    private BatchLoop loop(int maxConcurrency, int ubatchBesideDecode) {
        BatchLoop loop =
                fixture.loop(new BatchLimits(CONTEXT, UBATCH, maxConcurrency, 4 * fixture.kvBytes(CONTEXT, UBATCH))
                        .withUbatchBesideDecode(ubatchBesideDecode));
        return loop;
    }

    /** Holds sweeps of a regime until {@link #submitted}, and notes all of them. */
    private void hold(Regime held) {
        fixture.weights.onSweep = (regime, tokens) -> {
            if (regime == held) {
                awaitQuietly(submitted);
            }
            sweeps.add(regime + " " + tokens);
        };
    }

    @Test
    void aLongPromptComesInPartsBetweenTheTokensOfTheOthers() {
        BatchLoop loop = loop(4, 64);
        hold(Regime.DECODE);
        LoopFixture.Running talker = fixture.submit(loop, tokens(1, 5), 40, SamplingOptions.GREEDY);
        Awaitility.await().until(() -> loop.load().running() == 1);
        LoopFixture.Running reader = fixture.submit(loop, tokens(2, 640), 3, SamplingOptions.GREEDY);
        submitted.countDown();
        assertThat(talker.end().tokens()).hasSize(40);
        assertThat(reader.end().tokens()).hasSize(3);

        // 640 tokens in ten parts of 64, each beside a token of the one that talks, who waits for none of them longer
        // than for a part.
        assertThat(sweeps.stream().filter("PREFILL 65"::equals)).hasSize(10);
        assertThat(sweeps.stream().filter(sweep -> sweep.startsWith("PREFILL"))).hasSize(11);
        // 39 tokens behind the first, one per sweep: none was stalled.
        assertThat(sweeps).hasSize(1 + 39);
    }

    @Test
    void aPromptWithNobodyBesideItTakesWholeSweeps() {
        BatchLoop loop = loop(4, 64);
        hold(Regime.DECODE);
        submitted.countDown();
        fixture.generate(loop, tokens(2, 640), 1);
        assertThat(sweeps).containsExactly("PREFILL 256", "PREFILL 256", "PREFILL 128");
    }

    @Test
    void aShortPromptDoesNotWaitForALongOne() {
        BatchLoop loop = loop(4, UBATCH);
        hold(Regime.PREFILL);
        LoopFixture.Running first = fixture.submit(loop, tokens(1, 300), 1, SamplingOptions.GREEDY);
        Awaitility.await().until(() -> loop.load().running() == 1);
        LoopFixture.Running longOne = fixture.submit(loop, tokens(2, 900), 1, SamplingOptions.GREEDY);
        LoopFixture.Running shortOne = fixture.submit(loop, tokens(3, 20), 1, SamplingOptions.GREEDY);
        List<Integer> sweepsAtEnd = new ArrayList<>();
        shortOne.result.thenRun(() -> sweepsAtEnd.add(sweeps.size()));
        longOne.result.thenRun(() -> sweepsAtEnd.add(sweeps.size()));
        submitted.countDown();
        first.end();
        longOne.end();
        shortOne.end();

        // It is in the second sweep, beside what is left of the first prompt and a share of the long one.
        assertThat(sweepsAtEnd.getFirst()).isEqualTo(2);
        // 300 + 900 + 20 tokens at 256 each: nothing of a sweep was left empty but of the last.
        assertThat(sweeps).hasSize(5);
    }

    @Test
    void sequencesStartInTheOrderTheyCame() {
        BatchLoop loop = loop(1, UBATCH);
        hold(Regime.PREFILL);
        List<Integer> order = new ArrayList<>();
        List<LoopFixture.Running> all = new ArrayList<>();
        for (int i = 0; i < 5; i++) {
            int number = i;
            LoopFixture.Running one = fixture.submit(loop, tokens(i, 30 - 5 * i), 2, SamplingOptions.GREEDY);
            one.result.thenRun(() -> order.add(number));
            all.add(one);
        }
        submitted.countDown();
        all.forEach(LoopFixture.Running::end);
        assertThat(order).containsExactly(0, 1, 2, 3, 4);
    }

    @Test
    void refusesWhatTheQueueHasNoRoomFor() {
        BatchLoop loop = fixture.loop(
                new BatchLimits(CONTEXT, UBATCH, 1, 2 * fixture.kvBytes(CONTEXT, UBATCH)).withQueueLimit(2));
        hold(Regime.PREFILL);
        LoopFixture.Running running = fixture.submit(loop, tokens(1, 5), 2, SamplingOptions.GREEDY);
        Awaitility.await().until(() -> loop.load().running() == 1);
        LoopFixture.Running one = fixture.submit(loop, tokens(2, 5), 2, SamplingOptions.GREEDY);
        LoopFixture.Running two = fixture.submit(loop, tokens(3, 5), 2, SamplingOptions.GREEDY);
        assertThatExceptionOfType(QueueFullException.class)
                .isThrownBy(() -> fixture.submit(loop, tokens(4, 5), 2, SamplingOptions.GREEDY))
                .withMessageContaining("2 generations wait")
                .withMessageContaining("queue limit");
        assertThat(loop.load().totals().refused()).isEqualTo(1);
        submitted.countDown();
        running.end();
        one.end();
        two.end();
        // There is room again.
        assertThat(fixture.generate(loop, tokens(4, 5), 2).tokens()).hasSize(2);
    }

    @Test
    void anEmptyQueueLimitStillLetsThoseInForWhomThereIsAPlace() {
        BatchLoop loop = fixture.loop(
                new BatchLimits(CONTEXT, UBATCH, 1, 2 * fixture.kvBytes(CONTEXT, UBATCH)).withQueueLimit(0));
        hold(Regime.PREFILL);
        LoopFixture.Running running = fixture.submit(loop, tokens(1, 5), 2, SamplingOptions.GREEDY);
        assertThatExceptionOfType(QueueFullException.class)
                .isThrownBy(() -> fixture.submit(loop, tokens(4, 5), 2, SamplingOptions.GREEDY));
        submitted.countDown();
        running.end();
    }

    @Test
    void failsWhatIsNotDoneInTimeAndSaysHowFarItCame() throws Exception {
        BatchLoop loop = loop(1, UBATCH);
        long timeout = TimeUnit.MILLISECONDS.toNanos(50);
        fixture.weights.onSweep = (regime, tokens) -> {
            if (regime == Regime.DECODE) {
                // The time of the first is up before its second token.
                long until = System.nanoTime() + 2 * timeout;
                while (System.nanoTime() < until) {
                    Thread.onSpinWait();
                }
            }
        };
        LoopFixture.Running talking = submit(loop, 1000, TimeUnit.SECONDS.toNanos(1));
        LoopFixture.Running queued = submit(loop, 2, timeout);
        assertThat(failure(queued))
                .isInstanceOf(DeadlineExceededException.class)
                .hasMessageContaining("50 ms")
                .hasMessageContaining("waited in the queue");
        assertThat(failure(talking))
                .isInstanceOf(DeadlineExceededException.class)
                .hasMessageContaining("1000 ms")
                .hasMessageContaining("tokens were generated");
        assertThat(loop.load().totals().expired()).isEqualTo(2);
        // Their memory is there for the next.
        Awaitility.await()
                .untilAsserted(() -> assertThat(loop.load().kvBytesInUse()).isZero());
        fixture.weights.onSweep = (regime, tokens) -> {};
        assertThat(fixture.generate(loop, tokens(4, 5), 2).tokens()).hasSize(2);
    }

    @Test
    void aSweepEndsEarlyWhenTheTimeOfAllItCarriesIsUp() throws Exception {
        BatchLoop loop = loop(1, UBATCH);
        long timeout = TimeUnit.MILLISECONDS.toNanos(50);
        List<Integer> layers = new ArrayList<>();
        fixture.weights.onAcquire = (block, regime) -> {
            layers.add(block.layer());
            if (block.layer() == 0) {
                long until = System.nanoTime() + timeout;
                while (System.nanoTime() < until) {
                    Thread.onSpinWait();
                }
            }
        };
        assertThat(failure(submit(loop, 2, timeout))).hasMessageContaining("0 of 5 prompt tokens");
        fixture.weights.onAcquire = (block, regime) -> {};
        assertThat(layers).doesNotContain(1);
    }

    /** Cancelled in the queue, in their prompts and in their answers, three hundred of them in the memory of four. */
    @ParameterizedTest
    @ValueSource(booleans = {false, true})
    void cancellationGivesEveryPageBack(boolean cached) {
        long kvBytes = 4 * fixture.kvBytes(CONTEXT, UBATCH);
        BatchLoop loop = fixture.loop(new BatchLimits(CONTEXT, UBATCH, 4, kvBytes)
                .withPromptCacheBytes(cached ? kvBytes : 0)
                .withSpeculation(Speculation.ON));
        SplittableRandom random = new SplittableRandom(5);
        List<LoopFixture.Running> running = new ArrayList<>();
        for (int i = 0; i < 300; i++) {
            LoopFixture.Running one =
                    fixture.submit(loop, tokens(i % 7, 1 + random.nextInt(300)), 0, SamplingOptions.GREEDY);
            running.add(one);
            if (random.nextInt(3) == 0) {
                running.get(random.nextInt(running.size())).cancel.run();
            }
            if (i % 20 == 0) {
                // Lets some come as far as their answers.
                Awaitility.await()
                        .until(() -> !one.text.isEmpty() || loop.load().waiting() > 8);
            }
        }
        running.forEach(one -> one.cancel.run());
        running.forEach(LoopFixture.Running::end);
        Awaitility.await()
                .untilAsserted(() -> assertThat(loop.load().kvBytesInUse()).isZero());
        // A page that is lost has to be allocated anew: there would be more of them than there is room for.
        assertThat(fixture.kvPagesAllocated.get()).isBetween(1L, 4L * CONTEXT / KvLayout.PAGE_TOKENS);
        assertThat(loop.load().kvBytesCached()).isBetween(0L, cached ? kvBytes : 0);
        // All of the memory can be had again at once.
        fixture.weights.onSweep = (regime, tokens) -> {};
        List<LoopFixture.Running> full = new ArrayList<>();
        for (int i = 0; i < 4; i++) {
            full.add(fixture.submit(loop, tokens(100 + i, CONTEXT - 2), 0, SamplingOptions.GREEDY));
        }
        full.forEach(one -> assertThat(one.end().cause()).isEqualTo(StopCause.CONTEXT_FULL));
        assertThat(fixture.kvPagesAllocated.get()).isLessThanOrEqualTo(4L * CONTEXT / KvLayout.PAGE_TOKENS);
    }

    private LoopFixture.Running submit(BatchLoop loop, int maxTokens, long timeoutNanos) {
        LoopFixture.Running running = new LoopFixture.Running();
        loop.submit(new SequenceRequest(
                tokens(1, 5), maxTokens, SamplingOptions.GREEDY, List.of(), true, null, timeoutNanos, running));
        return running;
    }

    private static Throwable failure(LoopFixture.Running running) throws InterruptedException {
        try {
            throw new AssertionError("ended: " + running.result.get());
        } catch (ExecutionException e) {
            return e.getCause();
        }
    }

    private static int[] tokens(int seed, int count) {
        return new SplittableRandom(seed).ints(count, 3, 250).toArray();
    }

    private static void awaitQuietly(CountDownLatch latch) {
        try {
            latch.await();
        } catch (InterruptedException e) {
            throw new IllegalStateException(e);
        }
    }
}
