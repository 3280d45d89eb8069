package dev.prefetch.inference;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatExceptionOfType;
import static org.assertj.core.api.Assertions.assertThatIllegalArgumentException;
import static org.assertj.core.api.Assertions.assertThatIllegalStateException;

import dev.prefetch.backend.Device;
import dev.prefetch.backend.DeviceOptions;
import dev.prefetch.backend.Devices;
import dev.prefetch.backend.OutOfDeviceMemoryException;
import dev.prefetch.gguf.GgmlType;
import dev.prefetch.gguf.GgufFile;
import dev.prefetch.model.ModelConfig;
import dev.prefetch.model.ModelGraph;
import dev.prefetch.model.WeightBlock.Kind;
import dev.prefetch.prefetch.Regime;
import dev.prefetch.prefetch.WeightUnavailableException;
import dev.prefetch.testing.DemoModel;
import dev.prefetch.testing.MeteredBackend;
import dev.prefetch.tokenizer.Tokenizer;
import dev.prefetch.tokenizer.Tokenizers;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.FutureTask;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicReference;
import java.util.function.Consumer;
import org.awaitility.Awaitility;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/** What one sequence, one listener or one sweep may do to the others: nothing. */
@Timeout(60)
class BatchLoopTest {

    private static final int CONTEXT = 64;

    private final AtomicInteger pagesLeft = new AtomicInteger(Integer.MAX_VALUE);
    private final Device device = MeteredBackend.metered(
            MeteredBackend.cpu().open(new DeviceOptions(1)),
            purpose -> purpose.contains("KV cache") && pagesLeft.getAndDecrement() <= 0);
    private final GgufFile file = GgufFile.open(DemoModel.file());
    private final Tokenizer tokenizer = Tokenizers.from(file.metadata());
    private final TestWeights weights = new TestWeights(device, file);
    private final List<BatchLoop> loops = new ArrayList<>();

    @AfterEach
    void close() {
        loops.forEach(BatchLoop::close);
        assertThat(weights.openLeases).hasValue(0);
        assertThat(weights.openSweeps).hasValue(0);
        weights.close();
        device.close();
        file.close();
    }

    @Test
    void aFailedSweepFailsTheSequencesItCarriedAndGivesTheirPagesBack() throws Exception {
        BatchLoop loop = loop(2, 2);
        List<Integer> expected = finish(loop, 5).tokens();
        CountDownLatch bothSubmitted = new CountDownLatch(1);
        AtomicBoolean failing = new AtomicBoolean();
        WeightUnavailableException fault = new WeightUnavailableException("the disk is gone", null);
        weights.onSweep = (regime, tokens) -> {
            await(bothSubmitted);
            failing.set(regime == Regime.DECODE && tokens == 2);
        };
        weights.onAcquire = (block, regime) -> {
            if (failing.get() && block.kind() == Kind.FEED_FORWARD && block.layer() == 1) {
                weights.onAcquire = (b, r) -> {};
                throw fault;
            }
        };
        Recorder one = submit(loop, 20);
        Recorder two = submit(loop, 20);
        bothSubmitted.countDown();
        assertThat(one.failure()).isSameAs(fault);
        assertThat(two.failure()).isSameAs(fault);
        // Both pages are needed for these to run at all.
        Recorder three = submit(loop, 5);
        Recorder four = submit(loop, 5);
        assertThat(three.end().tokens()).isEqualTo(expected);
        assertThat(four.end().tokens()).isEqualTo(expected);
    }

    @Test
    void tellsWhatItHasToDo() throws Exception {
        BatchLoop loop = loop(1, 1);
        CountDownLatch inSweep = new CountDownLatch(1);
        CountDownLatch goOn = new CountDownLatch(1);
        weights.onSweep = (regime, tokens) -> {
            inSweep.countDown();
            await(goOn);
        };
        Recorder one = submit(loop, 3);
        inSweep.await();
        Recorder two = submit(loop, 3);
        assertThat(loop.load())
                .isEqualTo(new BatchLoad(
                        BatchLoad.State.OPEN,
                        1,
                        1,
                        BatchLoop.kvBytes(ModelConfig.read(file), GgmlType.F32, CONTEXT, CONTEXT),
                        0,
                        new BatchTotals(prompt().length, 0, 0, 0, 0, 0, 0, 0, 0)));

        goOn.countDown();
        one.end();
        two.end();

        Awaitility.await()
                .untilAsserted(() -> assertThat(loop.load())
                        .isEqualTo(new BatchLoad(
                                BatchLoad.State.OPEN,
                                0,
                                0,
                                0,
                                0,
                                new BatchTotals(2L * prompt().length, 0, 0, 0, 0, 0, 0, 0, 0))));
        loop.close();
        assertThat(loop.load().state()).isEqualTo(BatchLoad.State.CLOSED);
    }

    @Test
    void anErrorInASweepIsContainedToo() throws Exception {
        BatchLoop loop = loop(1, 1);
        weights.onAcquire = (block, regime) -> {
            weights.onAcquire = (b, r) -> {};
            throw new InternalError("a fault in mapped memory");
        };
        assertThat(submit(loop, 3).failure())
                .isInstanceOf(IllegalStateException.class)
                .hasMessageContaining("a fault in mapped memory");
        assertThat(finish(loop, 3).cause()).isEqualTo(StopCause.MAX_TOKENS);
    }

    @Test
    void cancellationDuringAPrefillEndsTheSweepEarly() throws Exception {
        BatchLoop loop = loop(1, 1);
        CountDownLatch submitted = new CountDownLatch(1);
        AtomicReference<Runnable> cancel = new AtomicReference<>();
        AtomicInteger deepest = new AtomicInteger(-1);
        weights.onAcquire = (block, regime) -> {
            await(submitted);
            deepest.accumulateAndGet(block.kind() == Kind.OUTPUT ? 99 : block.layer(), Math::max);
            if (block.kind() == Kind.ATTENTION && block.layer() == 1) {
                cancel.get().run();
            }
        };
        Recorder recorder = new Recorder(text -> {});
        int[] prompt = new int[CONTEXT - 2];
        Arrays.fill(prompt, 5);
        cancel.set(loop.submit(request(prompt, 2, List.of(), recorder)));
        submitted.countDown();
        assertThat(recorder.end().cause()).isEqualTo(StopCause.CANCELLED);
        assertThat(recorder.end().tokens()).isEmpty();
        assertThat(deepest).hasValue(1);
        weights.onAcquire = (block, regime) -> {};
        assertThat(finish(loop, 3).tokens()).hasSize(3);
    }

    @Test
    void waitingSequencesAreAdmittedWhenPagesComeBack() throws Exception {
        BatchLoop loop = loop(4, 1);
        List<Integer> expected = finish(loop, 6).tokens();
        AtomicInteger together = new AtomicInteger();
        weights.onSweep = (regime, tokens) -> {
            if (regime == Regime.DECODE) {
                together.accumulateAndGet(tokens, Math::max);
            }
        };
        List<Recorder> recorders = new ArrayList<>();
        for (int i = 0; i < 4; i++) {
            recorders.add(submit(loop, 6));
        }
        for (Recorder recorder : recorders) {
            assertThat(recorder.end().tokens()).isEqualTo(expected);
        }
        assertThat(together).as("one page, so one at a time").hasValue(1);
    }

    @Test
    void memoryThatCannotBeHadFailsItsOwnSequence() throws Exception {
        BatchLoop loop = loop(2, 2);
        CountDownLatch bothSubmitted = new CountDownLatch(1);
        weights.onSweep = (regime, tokens) -> await(bothSubmitted);
        pagesLeft.set(1);
        Recorder one = submit(loop, 6);
        Recorder two = submit(loop, 6);
        bothSubmitted.countDown();
        assertThat(two.failure()).isInstanceOf(OutOfDeviceMemoryException.class);
        assertThat(one.end().tokens()).hasSize(6);
        pagesLeft.set(Integer.MAX_VALUE);
        assertThat(finish(loop, 6).tokens()).isEqualTo(one.end().tokens());
    }

    @Test
    void aListenerThatFailsInItsTextHarmsNobodyElse() throws Exception {
        BatchLoop loop = loop(2, 2);
        List<Integer> expected = finish(loop, 10).tokens();
        CountDownLatch bothSubmitted = new CountDownLatch(1);
        weights.onSweep = (regime, tokens) -> await(bothSubmitted);
        Recorder broken = submit(loop, 10, List.of(), text -> {
            throw new AssertionError("not this text");
        });
        Recorder sound = submit(loop, 10);
        bothSubmitted.countDown();
        assertThat(broken.failure()).hasMessageContaining("not this text");
        assertThat(sound.end().tokens()).isEqualTo(expected);
        assertThat(finish(loop, 10).tokens()).isEqualTo(expected);
    }

    @Test
    void aListenerThatFailsInItsLastTextHearsOfTheFailure() throws Exception {
        BatchLoop loop = loop(1, 1);
        String text = finish(loop, 5).text();
        // All of it may be the beginning of the stop sequence, so all of it comes at the end.
        Recorder recorder = submit(loop, 5, List.of(text + "never"), piece -> {
            throw new IllegalStateException("no room for " + piece);
        });
        assertThat(recorder.failure()).hasMessage("no room for " + text);
        assertThat(finish(loop, 5).text()).isEqualTo(text);
    }

    @Test
    void aListenerThatFailsAtTheEndGivesItsPagesBack() throws Exception {
        BatchLoop loop = loop(1, 1);
        CompletableFuture<SequenceListener.End> ended = new CompletableFuture<>();
        loop.submit(request(prompt(), 3, List.of(), new SequenceListener() {
            @Override
            public void onText(String text) {}

            @Override
            public void onEnd(End end) {
                ended.complete(end);
                throw new AssertionError("broken at the end");
            }

            @Override
            public void onFailure(RuntimeException failure) {
                ended.completeExceptionally(failure);
            }
        }));
        assertThat(ended.get().tokens()).hasSize(3);
        assertThat(finish(loop, 3).tokens()).isEqualTo(ended.get().tokens());
    }

    @Test
    void aListenerCannotMakeTheEngineWaitForItself() throws Exception {
        BatchLoop loop = loop(1, 1);
        assertThat(submit(loop, 3, List.of(), text -> loop.close()).failure())
                .isInstanceOf(IllegalStateException.class)
                .hasMessageContaining("another thread");
        Recorder logits = submit(loop, 3, List.of(), text -> {
            try {
                loop.logits(new int[] {1}, false);
            } catch (InterruptedException e) {
                throw new IllegalStateException(e);
            }
        });
        assertThat(logits.failure()).hasMessageContaining("another thread");
        assertThat(finish(loop, 3).tokens()).hasSize(3);
    }

    @Test
    void failedLogitsGiveTheirPagesBack() throws Exception {
        BatchLoop loop = loop(1, 1);
        float[] expected = loop.logits(new int[] {1, 2, 3}, false);
        weights.onAcquire = (block, regime) -> {
            if (block.kind() == Kind.OUTPUT) {
                weights.onAcquire = (b, r) -> {};
                throw new WeightUnavailableException("the disk is gone", null);
            }
        };
        assertThatExceptionOfType(WeightUnavailableException.class)
                .isThrownBy(() -> loop.logits(new int[] {1, 2, 3}, false));
        assertThat(loop.logits(new int[] {1, 2, 3}, false)).containsExactly(expected);
    }

    @Test
    void logitsNobodyWaitsForAreNotComputedToTheEnd() throws Exception {
        BatchLoop loop = loop(1, 1);
        AtomicInteger sweeps = new AtomicInteger();
        CountDownLatch started = new CountDownLatch(1);
        CountDownLatch interrupted = new CountDownLatch(1);
        weights.onSweep = (regime, tokens) -> {
            sweeps.incrementAndGet();
            started.countDown();
            await(interrupted);
        };
        FutureTask<float[]> task = new FutureTask<>(() -> loop.logits(new int[CONTEXT], true));
        Thread caller = Thread.ofPlatform().start(task);
        started.await();
        caller.interrupt();
        assertThatExceptionOfType(ExecutionException.class)
                .isThrownBy(task::get)
                .withCauseInstanceOf(InterruptedException.class);
        interrupted.countDown();
        assertThat(finish(loop, 1).tokens()).hasSize(1);
        // One for the abandoned logits, one for the sequence.
        assertThat(sweeps).hasValue(2);
    }

    @Test
    void closingDuringAPrefillCancelsIt() throws Exception {
        BatchLoop loop = loop(1, 1);
        CountDownLatch inside = new CountDownLatch(1);
        Thread closer = Thread.ofPlatform().unstarted(loop::close);
        weights.onAcquire = (block, regime) -> {
            if (block.kind() == Kind.ATTENTION && block.layer() == 1) {
                inside.countDown();
                // It waits for this thread once it has said that the loop is closed.
                while (closer.getState() != Thread.State.WAITING) {
                    Thread.onSpinWait();
                }
            }
            assertThat(block.layer()).isLessThan(2);
        };
        Recorder running = submit(loop, 3);
        Recorder waiting = submit(loop, 3);
        inside.await();
        closer.start();
        assertThat(running.end().cause()).isEqualTo(StopCause.CANCELLED);
        assertThat(waiting.end().cause()).isEqualTo(StopCause.CANCELLED);
        closer.join();
        assertThatIllegalStateException().isThrownBy(() -> submit(loop, 3)).withMessageContaining("closed");
    }

    @Test
    void refusesWhatCouldNeverRun() {
        BatchLoop loop = loop(1, 1);
        assertThatIllegalArgumentException()
                .isThrownBy(() -> loop.submit(request(new int[CONTEXT], 1, List.of(), new Recorder(text -> {}))))
                .withMessageContaining("64");
        assertThatIllegalArgumentException().isThrownBy(() -> request(new int[0], 1, List.of(), new Recorder(t -> {})));
        assertThatIllegalArgumentException().isThrownBy(() -> new BatchLimits(65, 0, 1, 1));
        assertThatIllegalArgumentException().isThrownBy(() -> loop(1, 0)).withMessageContaining("kvBytes");
        assertThatIllegalArgumentException().isThrownBy(() -> loop.logits(new int[CONTEXT + 1], false));
    }

    private BatchLoop loop(int maxConcurrency, int kvPages) {
        ModelConfig config = ModelConfig.read(file);
        BatchLoop loop = new BatchLoop(
                Devices.of(device),
                config,
                ModelGraph.of(file, config),
                weights,
                tokenizer,
                new BatchLimits(
                        CONTEXT,
                        CONTEXT,
                        maxConcurrency,
                        kvPages * BatchLoop.kvBytes(config, GgmlType.F32, CONTEXT, CONTEXT)));
        loops.add(loop);
        return loop;
    }

    private int[] prompt() {
        return tokenizer.encode("Once upon a time");
    }

    private static SequenceRequest request(int[] prompt, int maxTokens, List<String> stops, SequenceListener listener) {
        return new SequenceRequest(prompt, maxTokens, SamplingOptions.GREEDY, stops, true, listener);
    }

    private Recorder submit(BatchLoop loop, int maxTokens) {
        return submit(loop, maxTokens, List.of(), text -> {});
    }

    private Recorder submit(BatchLoop loop, int maxTokens, List<String> stops, Consumer<String> onText) {
        Recorder recorder = new Recorder(onText);
        loop.submit(request(prompt(), maxTokens, stops, recorder));
        return recorder;
    }

    private SequenceListener.End finish(BatchLoop loop, int maxTokens) throws Exception {
        return submit(loop, maxTokens).end();
    }

    private static void await(CountDownLatch latch) {
        try {
            latch.await();
        } catch (InterruptedException e) {
            throw new IllegalStateException(e);
        }
    }

    /** Keeps the end or the failure. */
    private static final class Recorder implements SequenceListener {

        private final Consumer<String> onText;
        private final CompletableFuture<End> result = new CompletableFuture<>();

        Recorder(Consumer<String> onText) {
            this.onText = onText;
        }

        @Override
        public void onText(String text) {
            onText.accept(text);
        }

        @Override
        public void onEnd(End end) {
            assertThat(result.complete(end)).isTrue();
        }

        @Override
        public void onFailure(RuntimeException failure) {
            assertThat(result.completeExceptionally(failure)).isTrue();
        }

        End end() throws Exception {
            return result.get();
        }

        Throwable failure() throws InterruptedException {
            try {
                throw new AssertionError("ended: " + result.get());
            } catch (ExecutionException e) {
                return e.getCause();
            }
        }
    }
}
