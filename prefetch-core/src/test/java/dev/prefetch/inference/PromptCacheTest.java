package dev.prefetch.inference;

import static org.assertj.core.api.Assertions.assertThat;

import dev.prefetch.prefetch.Regime;
import dev.prefetch.testing.Conformance;
import dev.prefetch.testing.DemoModel;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.SplittableRandom;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.atomic.AtomicLong;
import java.util.stream.IntStream;
import java.util.stream.Stream;
import org.awaitility.Awaitility;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/** What earlier prompts leave behind saves computing, and changes no token. */
@Timeout(300)
class PromptCacheTest {

    private static final int CONTEXT = 1024;
    private static final int UBATCH = 128;

    /** One without windows, and one of every architecture with them. */
    static Stream<Path> models() {
        List<Path> models = new ArrayList<>(List.of(DemoModel.file()));
        if (Conformance.isPresent()) {
            for (String name : List.of("gemma2-Q8_0", "gemma3-Q8_0", "gpt-oss-MXFP4")) {
                models.add(Conformance.folder().resolve("logits/" + name + ".gguf"));
            }
        }
        return models.stream();
    }

    private static BatchLimits limits(LoopFixture fixture, double sequences, boolean cached) {
        long kvBytes = (long) (sequences * fixture.kvBytes(CONTEXT, UBATCH));
        return new BatchLimits(CONTEXT, UBATCH, 4, kvBytes).withPromptCacheBytes(cached ? kvBytes : 0);
    }

    @ParameterizedTest
    @MethodSource("models")
    void theSecondTurnOfALongConversationComputesItsNewTokensAlone(Path model) {
        try (LoopFixture fixture = new LoopFixture(model);
                LoopFixture other = new LoopFixture(model)) {
            // Memory for exactly one sequence: what is kept has to make way for what runs, page by page.
            BatchLoop cached = fixture.loop(limits(fixture, 1, true));
            BatchLoop plain = other.loop(limits(fixture, 1, false));
            int[] first = tokens(1, 850);
            SequenceListener.End answer = fixture.generate(cached, first, 70);
            assertThat(answer.cachedTokens()).isZero();
            assertThat(answer.tokens())
                    .isEqualTo(other.generate(plain, first, 70).tokens());
            LoopFixture.awaitIdle(cached, 70);

            int[] second = join(first, answer.tokens(), tokens(2, 33));
            fixture.prefillTokens.set(0);
            SequenceListener.End next = fixture.generate(cached, second, 20);

            // 850 tokens of the prompt and 70 of the answer were there; 33 are new.
            assertThat(next.cachedTokens()).isEqualTo(920);
            LoopFixture.awaitIdle(cached, 70 + 20);
            assertThat(fixture.prefillTokens).hasValue(33 + 20);
            assertThat(next.tokens())
                    .isEqualTo(other.generate(plain, second, 20).tokens());
        }
    }

    @ParameterizedTest
    @MethodSource("models")
    void anAnswerThatWasNotComputedAheadIsPartOfTheNextPrompt(Path model) {
        try (LoopFixture fixture = new LoopFixture(model);
                LoopFixture other = new LoopFixture(model)) {
            BatchLoop cached = fixture.loop(limits(fixture, 3, true));
            BatchLoop plain = other.loop(limits(fixture, 3, false));
            int[] first = tokens(1, 200);
            // One that generates meanwhile keeps the loop from computing the answer ahead.
            LoopFixture.Running busy = fixture.submit(cached, tokens(9, 5), 400, SamplingOptions.GREEDY);
            SequenceListener.End answer = fixture.generate(cached, first, 30);
            int[] second = join(first, answer.tokens(), tokens(2, 40));
            SequenceListener.End next = fixture.generate(cached, second, 20);
            busy.cancel.run();

            assertThat(next.cachedTokens()).isEqualTo(200);
            assertThat(next.tokens())
                    .isEqualTo(other.generate(plain, second, 20).tokens());
        }
    }

    @ParameterizedTest
    @MethodSource("models")
    void sequencesThatRunTogetherShareThePagesOfTheirCommonBeginning(Path model) {
        try (LoopFixture fixture = new LoopFixture(model);
                LoopFixture other = new LoopFixture(model)) {
            BatchLoop cached = fixture.loop(limits(fixture, 4, true));
            BatchLoop plain = other.loop(limits(fixture, 4, false));
            int[] system = tokens(1, 640);
            CountDownLatch prompted = new CountDownLatch(1);
            CountDownLatch submitted = new CountDownLatch(1);
            AtomicLong together = new AtomicLong();
            fixture.weights.onSweep = (regime, tokens) -> {
                if (regime == Regime.DECODE) {
                    prompted.countDown();
                    awaitQuietly(submitted);
                }
                if (cached.load().running() == 3) {
                    together.set(cached.load().kvBytesInUse());
                }
            };
            LoopFixture.Running one = fixture.submit(cached, join(system, tokens(2, 20)), 60, SamplingOptions.GREEDY);
            awaitQuietly(prompted);
            long alone = cached.load().kvBytesInUse();
            LoopFixture.Running two = fixture.submit(cached, join(system, tokens(3, 30)), 60, SamplingOptions.GREEDY);
            LoopFixture.Running three = fixture.submit(cached, join(system, tokens(4, 10)), 60, SamplingOptions.GREEDY);
            submitted.countDown();

            assertThat(two.end().cachedTokens()).isEqualTo(640);
            assertThat(three.end().cachedTokens()).isEqualTo(640);
            // Twelve pages each, of which ten are there once; layers with a window share nothing, and a model may have
            // no others.
            assertThat(together.get()).isBetween(alone, 3 * alone);
            if (model.equals(DemoModel.file())) {
                assertThat(together.get()).isEqualTo(alone / 12 * (10 + 3 * 2));
            }
            List<LoopFixture.Running> all = List.of(one, two, three);
            for (int i = 0; i < all.size(); i++) {
                int[] prompt = join(system, tokens(2 + i, new int[] {20, 30, 10}[i]));
                assertThat(all.get(i).end().tokens())
                        .isEqualTo(other.generate(plain, prompt, 60).tokens());
            }
        }
    }

    /**
     * Many conversations with common beginnings in little memory, some cancelled: every answer is the one it would be
     * without a cache, no more memory is allocated than there is, and nothing stays in use.
     */
    @ParameterizedTest
    @MethodSource("models")
    void anyMixOfConversationsGivesTheAnswersOfAnEngineThatKeepsNothing(Path model) {
        long seed = 20261126;
        SplittableRandom random = new SplittableRandom(seed);
        for (double sequences : new double[] {1, 1.7, 3}) {
            try (LoopFixture fixture = new LoopFixture(model);
                    LoopFixture other = new LoopFixture(model)) {
                BatchLimits limits = limits(fixture, sequences, true);
                BatchLoop cached = fixture.loop(limits);
                BatchLoop plain = other.loop(limits(fixture, 4, false));
                List<int[]> known = new ArrayList<>(List.of(tokens(1, 70), tokens(2, 300)));
                List<int[]> prompts = new ArrayList<>();
                List<LoopFixture.Running> running = new ArrayList<>();
                for (int i = 0; i < 40; i++) {
                    int[] base = known.get(random.nextInt(known.size()));
                    int[] kept = Arrays.copyOf(base, 1 + random.nextInt(base.length));
                    int[] prompt = join(kept, tokens(random.nextInt(4), 1 + random.nextInt(150)));
                    prompt = Arrays.copyOf(prompt, Math.min(prompt.length, CONTEXT - 40));
                    known.add(prompt);
                    LoopFixture.Running one =
                            fixture.submit(cached, prompt, 1 + random.nextInt(30), SamplingOptions.GREEDY);
                    if (random.nextInt(6) == 0) {
                        one.cancel.run();
                    }
                    prompts.add(prompt);
                    running.add(one);
                    if (random.nextInt(3) == 0) {
                        SequenceListener.End end = one.end();
                        known.add(join(prompt, end.tokens()));
                    }
                }
                long cachedTokens = 0;
                for (int i = 0; i < running.size(); i++) {
                    SequenceListener.End end = running.get(i).end();
                    cachedTokens += end.cachedTokens();
                    // Of a cancelled one as many as it came to.
                    int most = end.tokens().size();
                    if (most > 0) {
                        assertThat(other.generate(plain, prompts.get(i), most).tokens())
                                .as("seed %d, %s sequences, request %d", seed, sequences, i)
                                .isEqualTo(end.tokens());
                    }
                }
                assertThat(cachedTokens).isPositive();
                Awaitility.await()
                        .untilAsserted(
                                () -> assertThat(cached.load().kvBytesInUse()).isZero());
                assertThat(cached.load().kvBytesCached()).isBetween(1L, limits.kvBytes());
            }
        }
    }

    @ParameterizedTest
    @MethodSource("models")
    void keepsNoMoreThanItMay(Path model) {
        try (LoopFixture fixture = new LoopFixture(model)) {
            long kvBytes = 3 * fixture.kvBytes(CONTEXT, UBATCH);
            long most = fixture.kvBytes(300, UBATCH);
            BatchLoop loop = fixture.loop(new BatchLimits(CONTEXT, UBATCH, 2, kvBytes).withPromptCacheBytes(most));
            for (int i = 0; i < 6; i++) {
                fixture.generate(loop, tokens(i, 250), 3);
                // An answer that is kept later would count as used later.
                LoopFixture.awaitIdle(loop, i + 1);
            }
            assertThat(loop.load().kvBytesCached()).isBetween(1L, most);
            // The last one is the one that is left.
            assertThat(fixture.generate(loop, join(tokens(5, 250), tokens(6, 5)), 1)
                            .cachedTokens())
                    .isGreaterThanOrEqualTo(192);
            assertThat(fixture.generate(loop, tokens(0, 250), 1).cachedTokens()).isZero();
        }
    }

    private static void awaitQuietly(CountDownLatch latch) {
        try {
            latch.await();
        } catch (InterruptedException e) {
            throw new IllegalStateException(e);
        }
    }

    private static int[] tokens(int seed, int count) {
        return new SplittableRandom(seed).ints(count, 3, 250).toArray();
    }

    private static int[] join(int[] first, int[] second) {
        return IntStream.concat(Arrays.stream(first), Arrays.stream(second)).toArray();
    }

    private static int[] join(int[] first, List<Integer> second) {
        return join(first, second.stream().mapToInt(Integer::intValue).toArray());
    }

    private static int[] join(int[] first, List<Integer> second, int[] third) {
        return join(join(first, second), third);
    }
}
