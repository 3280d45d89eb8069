package dev.prefetch.inference;

import static org.assertj.core.api.Assertions.assertThat;

import dev.prefetch.backend.DeviceFailedException;
import dev.prefetch.backend.Devices;
import dev.prefetch.grammar.Grammar;
import dev.prefetch.grammar.GrammarMask;
import dev.prefetch.prefetch.Regime;
import dev.prefetch.testing.Conformance;
import dev.prefetch.testing.DemoModel;
import dev.prefetch.testing.RandomModel;
import dev.prefetch.tokenizer.Tokenizer;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.SplittableRandom;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicLong;
import java.util.stream.IntStream;
import java.util.stream.Stream;
import org.awaitility.Awaitility;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/** Requests that do not say how long their answers are share KV cache that is too small for all of them. */
@Timeout(300)
class PreemptionTest {

    private static final int CONTEXT = 512;
    private static final int UBATCH = 64;
    private static final int REQUESTS = 8;

    /** Dense, with windows, with windows and experts, with a state instead of keys and values. */
    static Stream<Path> models() {
        List<Path> models = new ArrayList<>(List.of(DemoModel.file(), RandomModel.mixed("qwen3next")));
        if (Conformance.isPresent()) {
            for (String name : List.of("gemma2-Q4_K_M", "gpt-oss-MXFP4", "llama-Q4_0")) {
                models.add(Conformance.folder().resolve("logits/" + name + ".gguf"));
            }
        }
        return models.stream();
    }

    private static BatchLimits limits(LoopFixture fixture, double contexts) {
        return new BatchLimits(CONTEXT, UBATCH, REQUESTS, (long) (contexts * fixture.kvBytes(CONTEXT, UBATCH)));
    }

    /** Notes the bits of all logits, and allows tokens by how many there are already. */
    private static final class Recording implements TokenConstraint {

        private int taken;
        private int bits;

        @Override
        public void mask(float[] logits) {
            bits = 31 * bits + Arrays.hashCode(logits);
            for (int token = taken % 7; token < logits.length; token += 7) {
                logits[token] = Float.NEGATIVE_INFINITY;
            }
        }

        @Override
        public void accept(int token) {
            taken++;
        }
    }

    /** One kind of request by its number; a stop is a piece of the answer without it. */
    private static SequenceRequest request(
            int number, List<String> stops, @Nullable TokenConstraint constraint, SequenceListener listener) {
        int[] part = new SplittableRandom(number).ints(11, 3, 250).toArray();
        int[] prompt = IntStream.range(0, 10 + 23 * number)
                .map(i -> part[i % part.length])
                .toArray();
        SamplingOptions sampling = number % 2 == 0
                ? SamplingOptions.GREEDY
                : new SamplingOptions(0.8f, 40, 0.95f, 0.02f, 1.1f, 0.1f, 0.1f, 64, 100 + number);
        return new SequenceRequest(prompt, 0, sampling, stops, true, constraint, 0, listener);
    }

    private static @Nullable Recording recording(int number) {
        return number % 4 < 2 ? new Recording() : null;
    }

    @ParameterizedTest
    @MethodSource("models")
    void answersAreThoseOfRequestsThatRunAlone(Path model) {
        List<SequenceListener.End> alone = new ArrayList<>();
        List<List<String>> stops = new ArrayList<>();
        List<Integer> bits = new ArrayList<>();
        try (LoopFixture fixture = new LoopFixture(model)) {
            BatchLoop loop = fixture.loop(limits(fixture, 1));
            for (int i = 0; i < REQUESTS; i++) {
                stops.add(List.of());
                if (i == 2 || i == 5) {
                    LoopFixture.Running whole = new LoopFixture.Running();
                    loop.submit(request(i, List.of(), recording(i), whole));
                    String text = whole.end().text();
                    stops.set(i, List.of(text.substring(text.length() * 2 / 3)));
                }
                LoopFixture.Running running = new LoopFixture.Running();
                Recording recording = recording(i);
                loop.submit(request(i, stops.get(i), recording, running));
                alone.add(running.end());
                bits.add(recording == null ? 0 : recording.bits);
            }
            assertThat(loop.load().totals().preemptions()).isZero();
        }
        long preemptions = 0;
        for (double contexts : new double[] {1.4, 2.3}) {
            boolean cached = contexts > 2;
            try (LoopFixture fixture = new LoopFixture(model)) {
                BatchLimits limits = limits(fixture, contexts).withSpeculation(Speculation.ON);
                limits = limits.withPromptCacheBytes(cached ? limits.kvBytes() : 0);
                BatchLoop loop = fixture.loop(limits);
                CountDownLatch submitted = new CountDownLatch(1);
                AtomicLong mostBytes = new AtomicLong();
                fixture.weights.onSweep = (regime, tokens) -> {
                    awaitQuietly(submitted);
                    mostBytes.accumulateAndGet(loop.load().kvBytesInUse(), Math::max);
                };
                List<LoopFixture.Running> all = new ArrayList<>();
                List<@Nullable Recording> recordings = new ArrayList<>();
                for (int i = 0; i < REQUESTS; i++) {
                    LoopFixture.Running running = new LoopFixture.Running();
                    recordings.add(recording(i));
                    loop.submit(request(i, stops.get(i), recordings.get(i), running));
                    all.add(running);
                }
                submitted.countDown();
                for (int i = 0; i < REQUESTS; i++) {
                    String which = "request " + i + ", cached " + cached + ", contexts " + contexts;
                    SequenceListener.End end = all.get(i).end();
                    assertThat(end.tokens()).as(which).isEqualTo(alone.get(i).tokens());
                    assertThat(end.text()).as(which).isEqualTo(alone.get(i).text());
                    assertThat(end.cause()).as(which).isEqualTo(alone.get(i).cause());
                    assertThat(all.get(i).text).as(which).hasToString(end.text());
                    Recording recording = recordings.get(i);
                    if (recording != null) {
                        assertThat(recording.bits).as(which).isEqualTo(bits.get(i));
                    }
                }
                preemptions += loop.load().totals().preemptions();
                assertThat(mostBytes.get()).isBetween(1L, limits.kvBytes());
                assertNothingIsLeft(fixture, loop, limits);
            }
        }
        assertThat(preemptions).isPositive();
    }

    /** All memory can be had again, and no more was ever allocated than there is. */
    private static void assertNothingIsLeft(LoopFixture fixture, BatchLoop loop, BatchLimits limits) {
        Awaitility.await()
                .untilAsserted(() -> assertThat(loop.load().kvBytesInUse()).isZero());
        if (!fixture.layout().slides() && !fixture.layout().hasState()) {
            // Where all pages are of one size, one that is lost has to be allocated anew.
            assertThat(fixture.kvPagesAllocated.get())
                    .isBetween(1L, limits.kvBytes() / fixture.layout().pageBytes(KvLayout.Span.FULL));
        }
        fixture.weights.onSweep = (regime, tokens) -> {};
        assertThat(fixture.generate(loop, tokens(99, CONTEXT - 2), 0).cause()).isEqualTo(StopCause.CONTEXT_FULL);
    }

    @Test
    void moreRunAtOnceThanWholeContextsWouldFit() {
        try (LoopFixture fixture = new LoopFixture(DemoModel.file())) {
            // Room for two whole contexts, of eight pages each.
            BatchLimits limits = limits(fixture, 2);
            BatchLoop loop = fixture.loop(limits);
            CountDownLatch submitted = new CountDownLatch(1);
            AtomicInteger together = new AtomicInteger();
            fixture.weights.onSweep = (regime, tokens) -> {
                awaitQuietly(submitted);
                together.accumulateAndGet(loop.load().running(), Math::max);
            };
            List<LoopFixture.Running> all = new ArrayList<>();
            for (int i = 0; i < REQUESTS; i++) {
                all.add(fixture.submit(loop, tokens(i, 20), 0, SamplingOptions.GREEDY));
            }
            submitted.countDown();
            all.forEach(one -> assertThat(one.end().cause()).isEqualTo(StopCause.CONTEXT_FULL));
            // Each begins with 20 + 256 tokens, which is five pages of the sixteen.
            assertThat(together).hasValue(3);
            assertThat(loop.load().totals().preemptions()).isPositive();
            assertNothingIsLeft(fixture, loop, limits);
        }
    }

    @Test
    void aRequestThatSaysHowLongItsAnswerIsTakesNoMoreThanThat() {
        try (LoopFixture fixture = new LoopFixture(DemoModel.file())) {
            BatchLoop loop = fixture.loop(limits(fixture, 1));
            CountDownLatch submitted = new CountDownLatch(1);
            AtomicInteger together = new AtomicInteger();
            fixture.weights.onSweep = (regime, tokens) -> {
                awaitQuietly(submitted);
                together.accumulateAndGet(loop.load().running(), Math::max);
            };
            List<LoopFixture.Running> all = new ArrayList<>();
            for (int i = 0; i < REQUESTS; i++) {
                all.add(fixture.submit(loop, tokens(i, 20), 44, SamplingOptions.GREEDY));
            }
            submitted.countDown();
            all.forEach(one -> assertThat(one.end().tokens()).hasSize(44));
            assertThat(together).hasValue(8);
            assertThat(loop.load().totals().preemptions()).isZero();
        }
    }

    @Test
    void theOldestNeverGivesWayAndAllEndInTheOrderTheyCame() {
        try (LoopFixture fixture = new LoopFixture(DemoModel.file())) {
            BatchLoop loop = fixture.loop(limits(fixture, 1.5));
            CountDownLatch submitted = new CountDownLatch(1);
            fixture.weights.onSweep = (regime, tokens) -> awaitQuietly(submitted);
            List<Integer> order = new ArrayList<>();
            List<LoopFixture.Running> all = new ArrayList<>();
            for (int i = 0; i < 5; i++) {
                int number = i;
                LoopFixture.Running one = fixture.submit(loop, tokens(i, 20), 0, SamplingOptions.GREEDY);
                one.result.thenRun(() -> order.add(number));
                all.add(one);
            }
            AtomicLong sweeps = new AtomicLong();
            AtomicLong sweepsOfFirst = new AtomicLong();
            all.getFirst().result.thenRun(() -> sweepsOfFirst.set(sweeps.get()));
            fixture.weights.onSweep = (regime, tokens) -> sweeps.incrementAndGet();
            submitted.countDown();
            all.forEach(LoopFixture.Running::end);
            assertThat(order).containsExactly(0, 1, 2, 3, 4);
            // Its prompt may share the first sweeps with the others'; then a token each.
            assertThat(sweepsOfFirst.get()).isBetween(CONTEXT - 21L, CONTEXT - 20L + 3);
        }
    }

    @Test
    void whatWasPreemptedCanBeCancelledAndIsToldOnce() {
        try (LoopFixture fixture = new LoopFixture(DemoModel.file())) {
            BatchLimits limits = limits(fixture, 1.5);
            BatchLoop loop = fixture.loop(limits);
            CountDownLatch submitted = new CountDownLatch(1);
            List<LoopFixture.Running> all = new ArrayList<>();
            AtomicBoolean cancelled = new AtomicBoolean();
            fixture.weights.onSweep = (regime, tokens) -> {
                awaitQuietly(submitted);
                if (loop.load().totals().preemptions() > 0 && cancelled.compareAndSet(false, true)) {
                    assertThat(loop.load().waiting()).isEqualTo(1);
                    all.getLast().cancel.run();
                }
            };
            all.add(fixture.submit(loop, tokens(1, 20), 0, SamplingOptions.GREEDY));
            all.add(fixture.submit(loop, tokens(2, 20), 0, SamplingOptions.GREEDY));
            submitted.countDown();
            SequenceListener.End last = all.getLast().end();
            assertThat(last.cause()).isEqualTo(StopCause.CANCELLED);
            assertThat(last.tokens()).hasSizeBetween(200, CONTEXT - 22);
            assertThat(all.getLast().text).hasToString(last.text());
            assertThat(all.getFirst().end().cause()).isEqualTo(StopCause.CONTEXT_FULL);
            assertNothingIsLeft(fixture, loop, limits);
        }
    }

    @Test
    void theDeadlineGoesOnForWhatWasPreempted() throws Exception {
        try (LoopFixture fixture = new LoopFixture(DemoModel.file())) {
            BatchLimits limits = limits(fixture, 1.25);
            BatchLoop loop = fixture.loop(limits);
            long timeout = TimeUnit.SECONDS.toNanos(3);
            LoopFixture.Running last = new LoopFixture.Running();
            AtomicLong start = new AtomicLong();
            LoopFixture.Running first = afterTokens(
                    280,
                    fixture,
                    loop,
                    () -> {
                        loop.submit(new SequenceRequest(
                                tokens(2, 20), 0, SamplingOptions.GREEDY, List.of(), true, null, timeout, last));
                        start.set(System.nanoTime());
                    },
                    () -> {
                        // Its time is over while it waits to begin again.
                        while (loop.load().totals().preemptions() > 0 && System.nanoTime() - start.get() < timeout) {
                            Thread.onSpinWait();
                        }
                    });
            try {
                throw new AssertionError("ended: " + last.result.get());
            } catch (ExecutionException e) {
                assertThat(e.getCause())
                        .isInstanceOf(DeadlineExceededException.class)
                        .hasMessageContaining("tokens were generated");
            }
            assertThat(first.end().cause()).isEqualTo(StopCause.CONTEXT_FULL);
            assertThat(loop.load().totals().preemptions()).isEqualTo(1);
            assertThat(loop.load().totals().expired()).isEqualTo(1);
            assertNothingIsLeft(fixture, loop, limits);
        }
    }

    /** Starts a request of 20 tokens without an end, and does something once it has so many tokens, and before each further sweep. */
    private static LoopFixture.Running afterTokens(
            int count, LoopFixture fixture, BatchLoop loop, Runnable once, Runnable then) {
        AtomicInteger sweeps = new AtomicInteger();
        fixture.weights.onSweep = (regime, tokens) -> {
            int sweep = sweeps.incrementAndGet();
            if (sweep == count) {
                once.run();
            } else if (sweep > count) {
                then.run();
            }
        };
        return fixture.submit(loop, tokens(1, 20), 0, SamplingOptions.GREEDY);
    }

    @Test
    void textsToEmbedGiveWayTooAndKeepTheirVectors() throws Exception {
        try (LoopFixture fixture = new LoopFixture(DemoModel.file());
                LoopFixture other = new LoopFixture(DemoModel.file())) {
            BatchLoop loop = fixture.loop(limits(fixture, 1.5).withUbatchBesideDecode(1));
            CountDownLatch talking = new CountDownLatch(1);
            CountDownLatch submitted = new CountDownLatch(1);
            fixture.weights.onSweep = (regime, tokens) -> {
                if (regime == Regime.DECODE) {
                    talking.countDown();
                    awaitQuietly(submitted);
                }
            };
            LoopFixture.Running talker = fixture.submit(loop, tokens(1, 50), 0, SamplingOptions.GREEDY);
            awaitQuietly(talking);
            // Five pages are the talker's at first, six the text's, so it has to give way before it is through.
            CompletableFuture<float[]> vector = embed(loop, tokens(2, 384));
            submitted.countDown();
            float[] expected =
                    embed(other.loop(limits(other, 1)), tokens(2, 384)).get();
            assertThat(vector.get()).isEqualTo(expected);
            assertThat(talker.end().cause()).isEqualTo(StopCause.CONTEXT_FULL);
            assertThat(loop.load().totals().preemptions()).isPositive();
        }
    }

    private static CompletableFuture<float[]> embed(BatchLoop loop, int[] tokens) {
        CompletableFuture<float[]> vector = new CompletableFuture<>();
        loop.submit(List.of(new EmbeddingRequest(tokens, Pooling.MEAN, true, new EmbeddingListener() {
            @Override
            public void onVector(float[] value) {
                vector.complete(value);
            }

            @Override
            public void onCancelled() {
                vector.cancel(false);
            }

            @Override
            public void onFailure(RuntimeException failure) {
                vector.completeExceptionally(failure);
            }
        })));
        return vector;
    }

    @Test
    void aGrammarGoesOnWhereItWas() {
        try (LoopFixture fixture = new LoopFixture(DemoModel.file());
                LoopFixture other = new LoopFixture(DemoModel.file())) {
            BatchLoop loop = fixture.loop(limits(fixture, 1.25));
            LoopFixture.Running form = new LoopFixture.Running();
            LoopFixture.Running talker =
                    afterTokens(250, fixture, loop, () -> loop.submit(form(fixture.tokenizer, form)), () -> {});
            LoopFixture.Running expected = new LoopFixture.Running();
            other.loop(limits(other, 1)).submit(form(other.tokenizer, expected));
            assertThat(form.end().text()).isEqualTo(expected.end().text()).endsWith("]");
            assertThat(form.end().tokens()).isEqualTo(expected.end().tokens()).hasSizeGreaterThan(100);
            assertThat(form.text).hasToString(expected.end().text());
            assertThat(loop.load().totals().preemptions()).isEqualTo(1);
            talker.end();
        }
    }

    private static SequenceRequest form(Tokenizer tokenizer, SequenceListener listener) {
        Grammar grammar = Grammar.jsonSchema("""
                {"type": "array", "minItems": 35, "maxItems": 35, "items": {"enum": ["north", "south", "east", "west"]}}""");
        GrammarMask.Text text = new GrammarMask(grammar, GrammarBench.vocabulary(tokenizer)).begin();
        TokenConstraint constraint = new TokenConstraint() {
            @Override
            public void mask(float[] logits) {
                text.mask(logits);
            }

            @Override
            public void accept(int token) {
                text.accept(token);
            }
        };
        SamplingOptions sampling = new SamplingOptions(1, 0, 1, 0, 1, 0, 0, 0, 7);
        return new SequenceRequest(tokens(3, 20), 0, sampling, List.of(), false, constraint, 0, listener);
    }

    /** Whoever shared a beginning at the place that failed has it alone at the next, where there may be no room for all. */
    @Test
    void thoseForWhomThereIsNoRoomAtAnotherPlaceWaitForIt() {
        try (LoopFixture fixture = new LoopFixture(DemoModel.file())) {
            BatchLimits limits = limits(fixture, 1.5);
            limits = limits.withPromptCacheBytes(limits.kvBytes());
            Workplace place = new Workplace(Devices.of(fixture.device), fixture.weights, List.of());
            AtomicBoolean failing = new AtomicBoolean();
            Failover failover = new Failover() {
                @Override
                public Workplace after(DeviceFailedException failure) {
                    return place;
                }

                @Override
                public @Nullable Workplace recovered() {
                    return null;
                }
            };
            int[] system = tokens(1, 320);
            try (BatchLoop loop =
                    new BatchLoop(place, failover, fixture.config, fixture.graph, fixture.tokenizer, limits, null)) {
                CountDownLatch prompted = new CountDownLatch(1);
                CountDownLatch submitted = new CountDownLatch(1);
                fixture.weights.onSweep = (regime, tokens) -> {
                    if (regime == Regime.DECODE) {
                        prompted.countDown();
                        awaitQuietly(submitted);
                        if (tokens == 3 && failing.compareAndSet(false, true)) {
                            throw new DeviceFailedException("a test wants it so");
                        }
                    }
                };
                List<LoopFixture.Running> all = new ArrayList<>();
                all.add(fixture.submit(loop, join(system, tokens(2, 10)), 40, SamplingOptions.GREEDY));
                awaitQuietly(prompted);
                all.add(fixture.submit(loop, join(system, tokens(3, 10)), 40, SamplingOptions.GREEDY));
                all.add(fixture.submit(loop, join(system, tokens(4, 10)), 40, SamplingOptions.GREEDY));
                submitted.countDown();
                all.forEach(one -> assertThat(one.end().tokens()).hasSize(40));
                assertThat(failing).isTrue();
                // Twelve pages are enough for three with five in common, and for two without.
                assertThat(loop.load().totals().preemptions()).isEqualTo(1);
                Awaitility.await()
                        .untilAsserted(
                                () -> assertThat(loop.load().kvBytesInUse()).isZero());
            }
        }
    }

    private static int[] join(int[] first, int[] second) {
        return IntStream.concat(Arrays.stream(first), Arrays.stream(second)).toArray();
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
