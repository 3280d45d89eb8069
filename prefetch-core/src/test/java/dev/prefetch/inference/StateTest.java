package dev.prefetch.inference;

import static org.assertj.core.api.Assertions.assertThat;

import dev.prefetch.backend.Devices;
import dev.prefetch.testing.RandomModel;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.SplittableRandom;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** Models whose layers of linear attention carry a state from sweep to sweep. */
@Timeout(300)
class StateTest {

    private static final int CONTEXT = 256;
    private static final int UBATCH = 32;

    private static BatchLimits limits(LoopFixture fixture, int concurrency) {
        return new BatchLimits(CONTEXT, UBATCH, concurrency, concurrency * fixture.kvBytes(CONTEXT, UBATCH));
    }

    private static int[] tokens(int seed, int count) {
        return new SplittableRandom(seed).ints(count, 3, 250).toArray();
    }

    @ParameterizedTest
    @ValueSource(strings = {"qwen3next", "qwen35", "qwen35moe"})
    void aPromptMayBeCutAnywhere(String family) {
        int[] tokens = tokens(1, 90);
        for (boolean decode : new boolean[] {false, true}) {
            List<float[]> whole = logits(family, tokens, 90, decode);
            for (int rows : new int[] {1, 2, 3, 7, 64}) {
                List<float[]> cut = logits(family, tokens, rows, decode);
                for (int i = 0; i < tokens.length; i++) {
                    assertThat(Arrays.equals(cut.get(i), whole.get(i)))
                            .as("%s, %d at a time, token %d, decode %s", family, rows, i, decode)
                            .isTrue();
                }
            }
        }
    }

    private static List<float[]> logits(String family, int[] tokens, int rows, boolean decode) {
        List<float[]> result = new ArrayList<>();
        try (LoopFixture fixture = new LoopFixture(RandomModel.mixed(family));
                ForwardPass forward = new ForwardPass(
                        Devices.of(fixture.device), fixture.config, fixture.graph, fixture.weights, List.of(), rows);
                KvPool pool = new KvPool(fixture.device, fixture.layout(), rows, Long.MAX_VALUE, 0);
                KvCache cache = pool.open(tokens.length)) {
            Batch batch = new Batch(rows);
            for (int from = 0; from < tokens.length; from += rows) {
                int count = Math.min(rows, tokens.length - from);
                cache.ensure(from, from + count);
                batch.clear();
                if (decode) {
                    batch.addDecode(cache, Arrays.copyOfRange(tokens, from, from + count), from);
                } else {
                    batch.addPrefill(cache, tokens, from, count, Batch.Outputs.ALL);
                }
                forward.run(batch, () -> false, (output, logits) -> result.add(logits.clone()));
            }
        }
        return result;
    }

    /**
     * Many that come and go, some cancelled, so that states and pages change hands: every answer is the one it would be
     * alone.
     */
    @ParameterizedTest
    @ValueSource(strings = {"qwen3next", "qwen35"})
    void everySequenceHasItsOwnState(String family) {
        try (LoopFixture fixture = new LoopFixture(RandomModel.mixed(family));
                LoopFixture other = new LoopFixture(RandomModel.mixed(family))) {
            BatchLoop loop = fixture.loop(limits(fixture, 3));
            SplittableRandom random = new SplittableRandom(7);
            List<int[]> prompts = new ArrayList<>();
            List<LoopFixture.Running> running = new ArrayList<>();
            for (int i = 0; i < 16; i++) {
                int[] prompt = tokens(i % 5, 1 + random.nextInt(90));
                LoopFixture.Running one = fixture.submit(loop, prompt, 4 + random.nextInt(12), SamplingOptions.GREEDY);
                if (i % 5 == 3) {
                    one.cancel.run();
                }
                prompts.add(prompt);
                running.add(one);
            }
            BatchLoop alone = other.loop(limits(other, 1));
            for (int i = 0; i < running.size(); i++) {
                SequenceListener.End end = running.get(i).end();
                int most = end.tokens().size();
                if (most > 0) {
                    assertThat(other.generate(alone, prompts.get(i), most).tokens())
                            .as("%s, request %d", family, i)
                            .isEqualTo(end.tokens());
                }
            }
            assertThat(loop.load().kvBytesInUse()).isZero();
        }
    }

    /** A state cannot go back to where a guess was right, so nothing may ask it to, whatever the limits say. */
    @ParameterizedTest
    @ValueSource(strings = {"qwen3next", "qwen35"})
    void nothingIsGuessed(String family) {
        try (LoopFixture fixture = new LoopFixture(RandomModel.mixed(family));
                LoopFixture other = new LoopFixture(RandomModel.mixed(family))) {
            BatchLimits limits = limits(fixture, 2);
            BatchLoop asked =
                    fixture.loop(limits.withPromptCacheBytes(limits.kvBytes()).withSpeculation(Speculation.ON));
            BatchLoop plain = other.loop(limits);
            // Repeats itself, so that there would be something to guess.
            int[] part = tokens(3, 7);
            int[] prompt = new int[84];
            Arrays.setAll(prompt, i -> part[i % part.length]);
            List<Integer> expected = other.generate(plain, prompt, 40).tokens();
            for (int i = 0; i < 2; i++) {
                assertThat(fixture.generate(asked, prompt, 40).tokens()).isEqualTo(expected);
            }
            assertThat(asked.load().totals().draftedTokens()).isZero();
        }
    }

    /** Prompts of a few tokens that decode kernels compute, several rows of a sequence at a time. */
    @ParameterizedTest
    @ValueSource(strings = {"qwen3next", "qwen35"})
    void aShortPromptIsTheSameAloneAndBesideOthers(String family) {
        try (LoopFixture fixture = new LoopFixture(RandomModel.mixed(family))) {
            BatchLoop loop = fixture.loop(limits(fixture, 4).withShortPrompt(10));
            List<int[]> prompts = List.of(tokens(1, 5), tokens(2, 70), tokens(3, 9), tokens(4, 2));
            List<List<Integer>> alone = prompts.stream()
                    .map(prompt -> fixture.generate(loop, prompt, 10).tokens())
                    .toList();
            List<LoopFixture.Running> running = prompts.stream()
                    .map(prompt -> fixture.submit(loop, prompt, 10, SamplingOptions.GREEDY))
                    .toList();
            assertThat(running.stream().map(one -> one.end().tokens())).isEqualTo(alone);
        }
    }

    /** The state is part of what a sequence needs before anything is allocated. */
    @ParameterizedTest
    @ValueSource(strings = {"qwen3next", "qwen35", "qwen35moe"})
    void aSequenceIsPromisedItsState(String family) {
        try (LoopFixture fixture = new LoopFixture(RandomModel.mixed(family))) {
            long linear = fixture.config.layerConfigs().stream()
                    .filter(layer -> layer.attention() == null)
                    .count();
            long attention = fixture.config.layers() - linear;
            // Three rows of 512, eight matrices of 32 x 32; keys and values of two heads of 64.
            long state = 4 * linear * (3 * 512 + 8 * 32 * 32);
            assertThat(fixture.kvBytes(100, UBATCH)).isEqualTo(state + 4 * attention * 128 * 2 * (64 + 64));
        }
    }
}
