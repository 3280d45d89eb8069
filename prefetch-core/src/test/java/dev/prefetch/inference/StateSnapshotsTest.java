package dev.prefetch.inference;

import static org.assertj.core.api.Assertions.assertThat;

import dev.prefetch.gguf.GgmlType;
import dev.prefetch.testing.RandomModel;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.SplittableRandom;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** The prompt cache of models with layers of linear attention: copies of their states save computing, and change no token. */
@Timeout(300)
class StateSnapshotsTest {

    private static final int CONTEXT = 1024;
    private static final int UBATCH = 100;

    private static long stateBytes(LoopFixture fixture) {
        return BatchLoop.stateBytes(fixture.config, GgmlType.F32);
    }

    /** Memory for so many sequences of full length and so many states more. */
    private static BatchLimits limits(LoopFixture fixture, int sequences, int states, boolean cached) {
        long kvBytes = sequences * fixture.kvBytes(CONTEXT, UBATCH) + states * stateBytes(fixture);
        return new BatchLimits(CONTEXT, UBATCH, 4, kvBytes).withPromptCacheBytes(cached ? kvBytes : 0);
    }

    private static int[] tokens(int seed, int count) {
        return new SplittableRandom(seed).ints(count, 3, 250).toArray();
    }

    private static int[] join(int[] first, List<Integer> answer, int[] next) {
        return IntStream.concat(
                        IntStream.concat(Arrays.stream(first), answer.stream().mapToInt(i -> i)), Arrays.stream(next))
                .toArray();
    }

    @ParameterizedTest
    @ValueSource(strings = {"qwen3next", "qwen3next-first", "qwen35", "qwen35moe"})
    void aConversationGoesOnFromTheLastPageOfItsPast(String family) {
        try (LoopFixture fixture = new LoopFixture(RandomModel.mixed(family));
                LoopFixture other = new LoopFixture(RandomModel.mixed(family))) {
            BatchLoop cached = fixture.loop(limits(fixture, 2, 2, true));
            BatchLoop plain = other.loop(limits(fixture, 2, 2, false));
            int[] prompt = tokens(1, 450);
            int there = 0;
            long answered = 0;
            for (int turn = 0; turn < 3; turn++) {
                fixture.prefillTokens.set(0);
                SequenceListener.End end = fixture.generate(cached, prompt, 30);
                assertThat(end.tokens())
                        .as("%s, turn %d", family, turn)
                        .isEqualTo(other.generate(plain, prompt, 30).tokens());
                assertThat(end.cachedTokens()).as("%s, turn %d", family, turn).isEqualTo(there);
                // The answer is computed once more, from the last page of its prompt on.
                int page = (prompt.length - 1) / 64 * 64;
                int whole = prompt.length + 30;
                answered += whole - page;
                LoopFixture.awaitIdle(cached, answered);
                assertThat(fixture.prefillTokens).hasValue(prompt.length - there + whole - page);
                there = whole / 64 * 64;
                prompt = join(prompt, end.tokens(), tokens(10 + turn, 17));
            }
            // A prompt that is there to its end: all but what follows its last page.
            assertThat(fixture.generate(cached, tokens(1, 450), 5).cachedTokens())
                    .isEqualTo(448);
        }
    }

    /** What prompts begin with and leave at different places is there from the third on. */
    @ParameterizedTest
    @ValueSource(strings = {"qwen3next", "qwen35moe"})
    void aCommonBeginningIsKeptOnceItIsKnown(String family) {
        try (LoopFixture fixture = new LoopFixture(RandomModel.mixed(family));
                LoopFixture other = new LoopFixture(RandomModel.mixed(family))) {
            BatchLoop cached = fixture.loop(limits(fixture, 3, 8, true));
            BatchLoop plain = other.loop(limits(fixture, 3, 8, false));
            int spacing = StateSnapshots.spacing(fixture.layout());
            int[] system = tokens(1, 7 * 64 + 20);
            List<Integer> there = new ArrayList<>();
            for (int i = 0; i < 4; i++) {
                int[] prompt = join(system, List.of(), tokens(20 + i, 90));
                SequenceListener.End end = fixture.generate(cached, prompt, 6);
                there.add(end.cachedTokens());
                assertThat(end.tokens())
                        .isEqualTo(other.generate(plain, prompt, 6).tokens());
            }
            int grid = 7 * 64 / spacing * spacing;
            assertThat(grid).as("the test is about a place between").isLessThan(7 * 64);
            assertThat(there).containsExactly(0, grid, 7 * 64, 7 * 64);
        }
    }

    /** Memory for one sequence and one state: what is kept makes way for what runs, and is taken instead of copied. */
    @ParameterizedTest
    @ValueSource(strings = {"qwen3next", "qwen35"})
    void theOnlyStateThereIsRoomForIsTaken(String family) {
        try (LoopFixture fixture = new LoopFixture(RandomModel.mixed(family));
                LoopFixture other = new LoopFixture(RandomModel.mixed(family))) {
            BatchLimits limits = limits(fixture, 1, 1, true);
            BatchLoop cached = fixture.loop(limits);
            BatchLoop plain = other.loop(limits.withPromptCacheBytes(0));
            int[] first = tokens(1, 300);
            // As many tokens as the context holds, so that everything else is promised.
            SequenceListener.End answer = fixture.generate(cached, first, CONTEXT - 300);
            assertThat(answer.tokens())
                    .isEqualTo(other.generate(plain, first, CONTEXT - 300).tokens());
            int[] second = join(first, List.of(), tokens(2, 200));
            SequenceListener.End end = fixture.generate(cached, second, CONTEXT - 500);
            // The state at the end of the first prompt, unless the first answer has been computed once more with it
            // meanwhile.
            assertThat(end.cachedTokens()).isIn(0, 256);
            assertThat(end.tokens())
                    .isEqualTo(other.generate(plain, second, CONTEXT - 500).tokens());
        }
    }

    @ParameterizedTest
    @ValueSource(strings = {"qwen3next", "qwen35moe"})
    void whatIsKeptStaysWithinItsBytes(String family) {
        try (LoopFixture fixture = new LoopFixture(RandomModel.mixed(family));
                LoopFixture other = new LoopFixture(RandomModel.mixed(family))) {
            long state = stateBytes(fixture);
            long page = fixture.layout().pageBytes(KvLayout.Span.FULL);
            BatchLimits limits = limits(fixture, 4, 4, true);
            BatchLoop plain = other.loop(limits.withPromptCacheBytes(0));
            for (long budget : new long[] {state - 1, state + page, 2 * state + 5 * page}) {
                BatchLoop cached = fixture.loop(limits.withPromptCacheBytes(budget));
                for (int i = 0; i < 6; i++) {
                    int[] prompt = tokens(i % 2, 130 + 64 * (i % 3));
                    assertThat(fixture.generate(cached, prompt, 8).tokens())
                            .as("%d bytes, prompt %d", budget, i)
                            .isEqualTo(other.generate(plain, prompt, 8).tokens());
                    assertThat(cached.load().kvBytesCached()).isLessThanOrEqualTo(budget);
                }
                // It may still compute the last answer once more, and the device has one compute stream.
                cached.close();
            }
        }
    }

    /** Many that come and go beside each other, with beginnings in common, some cancelled. */
    @ParameterizedTest
    @ValueSource(strings = {"qwen3next", "qwen35"})
    void everyAnswerIsTheOneItWouldBeAlone(String family) {
        try (LoopFixture fixture = new LoopFixture(RandomModel.mixed(family));
                LoopFixture other = new LoopFixture(RandomModel.mixed(family))) {
            BatchLoop loop = fixture.loop(limits(fixture, 2, 3, true));
            SplittableRandom random = new SplittableRandom(5);
            int[][] stems = {tokens(1, 500), tokens(2, 200), tokens(3, 64)};
            List<int[]> prompts = new ArrayList<>();
            List<LoopFixture.Running> running = new ArrayList<>();
            for (int i = 0; i < 40; i++) {
                int[] stem = stems[random.nextInt(stems.length)];
                int[] begin = Arrays.copyOf(stem, 1 + random.nextInt(stem.length));
                int[] prompt = join(begin, List.of(), tokens(50 + i, random.nextInt(80)));
                LoopFixture.Running one = fixture.submit(loop, prompt, 4 + random.nextInt(12), SamplingOptions.GREEDY);
                if (i % 7 == 3) {
                    one.cancel.run();
                }
                prompts.add(prompt);
                running.add(one);
                if (i % 5 == 4) {
                    running.getLast().end();
                }
            }
            BatchLoop alone = other.loop(limits(other, 1, 0, false));
            long reused = 0;
            for (int i = 0; i < running.size(); i++) {
                SequenceListener.End end = running.get(i).end();
                reused += end.cachedTokens();
                int most = end.tokens().size();
                if (most > 0) {
                    assertThat(other.generate(alone, prompts.get(i), most).tokens())
                            .as("%s, request %d, %d cached", family, i, end.cachedTokens())
                            .isEqualTo(end.tokens());
                }
            }
            assertThat(reused).isPositive();
            LoopFixture.awaitIdle(loop, 0);
            assertThat(loop.load().kvBytesInUse()).isZero();
        }
    }

    @Test
    void copiesAreAsFarApartAsTheyWeigh() {
        try (LoopFixture fixture = new LoopFixture(RandomModel.mixed("qwen3next"))) {
            KvLayout layout = fixture.layout();
            int pages = StateSnapshots.spacing(layout) / KvLayout.PAGE_TOKENS;
            long state = layout.pageBytes(KvLayout.Span.STATE);
            assertThat(pages * layout.pageBytes(KvLayout.Span.FULL)).isGreaterThanOrEqualTo(state);
            assertThat((pages - 1) * layout.pageBytes(KvLayout.Span.FULL)).isLessThan(state);
        }
    }
}
