package dev.prefetch.inference;

import static org.assertj.core.api.Assertions.assertThat;

import dev.prefetch.testing.Conformance;
import dev.prefetch.testing.DemoModel;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.SplittableRandom;
import java.util.stream.IntStream;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/** Guessing changes how many sweeps an answer takes, and nothing else. */
@Timeout(300)
class SpeculationTest {

    private static final int CONTEXT = 512;
    private static final int UBATCH = 64;

    /** Dense, experts, windows. */
    static Stream<Path> models() {
        List<Path> models = new ArrayList<>(List.of(DemoModel.file()));
        if (Conformance.isPresent()) {
            models.add(Conformance.folder().resolve("demo-model/tiny-demo-moe-Q8_0.gguf"));
            for (String name : List.of("gemma2-Q4_K_M", "gpt-oss-MXFP4", "llama-Q4_0")) {
                models.add(Conformance.folder().resolve("logits/" + name + ".gguf"));
            }
        }
        return models.stream();
    }

    @ParameterizedTest
    @MethodSource("models")
    void givesTheSameTokensGreedilyAndByTheSeed(Path model) {
        try (LoopFixture plain = new LoopFixture(model);
                LoopFixture guessing = new LoopFixture(model)) {
            BatchLoop off = plain.loop(limits(plain));
            BatchLoop on = guessing.loop(limits(guessing).withSpeculation(Speculation.ON));
            List<LoopFixture.Running> expected = submitAll(plain, off);
            List<LoopFixture.Running> found = submitAll(guessing, on);
            for (int i = 0; i < expected.size(); i++) {
                SequenceListener.End end = expected.get(i).end();
                assertThat(found.get(i).end().tokens()).as("request %d", i).isEqualTo(end.tokens());
                assertThat(found.get(i).end().text()).isEqualTo(end.text());
                assertThat(found.get(i).end().cause()).isEqualTo(end.cause());
            }
            BatchTotals totals = on.load().totals();
            assertThat(totals.draftedTokens()).isPositive();
            if (model.equals(DemoModel.file())) {
                // Both happens: guesses that are right and guesses that are wrong and have to be forgotten. Models of
                // random weights may repeat themselves always or never.
                assertThat(totals.acceptedTokens()).isPositive().isLessThan(totals.draftedTokens());
            }
            assertThat(off.load().totals().draftedTokens()).isZero();
        }
    }

    private static List<LoopFixture.Running> submitAll(LoopFixture fixture, BatchLoop loop) {
        List<LoopFixture.Running> running = new ArrayList<>();
        for (int i = 0; i < 12; i++) {
            SamplingOptions sampling = i % 2 == 0
                    ? SamplingOptions.GREEDY
                    : new SamplingOptions(0.7f, 40, 0.95f, 0.02f, i % 3 == 0 ? 1.1f : 1, 0, 0, 64, 100 + i);
            // Prompts that repeat themselves, so that there is something to guess; the last ones fill the context.
            int[] part = new SplittableRandom(i).ints(7, 3, 250).toArray();
            int length = i >= 10 ? CONTEXT - 20 : 20 + 9 * i;
            int[] prompt =
                    IntStream.range(0, length).map(t -> part[t % part.length]).toArray();
            running.add(fixture.submit(loop, prompt, i >= 10 ? 0 : 60, sampling));
        }
        return running;
    }

    private static BatchLimits limits(LoopFixture fixture) {
        return new BatchLimits(CONTEXT, UBATCH, 3, 3 * fixture.kvBytes(CONTEXT, UBATCH));
    }

    @Test
    void anAnswerThatRepeatsItselfTakesFewerSweepsThanTokens() {
        try (LoopFixture fixture = new LoopFixture(DemoModel.file())) {
            BatchLoop loop = fixture.loop(limits(fixture).withSpeculation(Speculation.ON));
            int[] prompt = fixture.tokenizer.encode("one two three one two three one two three one two three one");
            SequenceListener.End end = fixture.generate(loop, prompt, 100);
            assertThat(end.tokens()).hasSize(100);
            // The first token comes from the prompt; each further sweep gives one and what was guessed right.
            long accepted = loop.load().totals().acceptedTokens();
            assertThat(accepted).isPositive();
            assertThat(fixture.decodeSweeps.get()).isBetween(99 - accepted, 99L);
        }
    }

    @Test
    void guessesWhatFollowedTheLastTime() {
        DraftSource source = new DraftSource(new int[] {1, 2, 3, 4, 5, 9, 2, 3, 4, 7, 8});
        assertThat(source.propose(4)).isEmpty();
        source.add(2);
        source.add(3);
        assertThat(source.propose(3)).as("two tokens").containsExactly(4, 7, 8);
        source.add(4);
        assertThat(source.propose(2)).as("three tokens, the latest place").containsExactly(7, 8);
        assertThat(source.propose(9)).as("round where it ends").containsExactly(7, 8, 2, 3, 4, 7, 8, 2, 3);
        DraftSource loop = new DraftSource(new int[] {6, 6, 6});
        assertThat(loop.propose(4)).containsExactly(6, 6, 6, 6);
        assertThat(new DraftSource(new int[] {1}).propose(4)).isEmpty();
    }

    @Test
    void guessesWhereRowsCostLittleAndNotWhereTheyCostAsMuchAsSweeps() {
        DraftCost streaming = new DraftCost();
        DraftCost resident = new DraftCost();
        for (int i = 0; i < 50; i++) {
            int rows = 1 + i % 4;
            streaming.measured(rows, 1_000_000 + 1_000 * rows);
            resident.measured(rows, 10_000 + 1_000_000 * rows);
        }
        assertThat(streaming.worthwhile(1, 0.6)).isEqualTo(DraftCost.MOST);
        assertThat(streaming.worthwhile(1, 0.05))
                .as("seldom right, but nearly free")
                .isBetween(1, 2);
        assertThat(resident.worthwhile(1, 0.6)).isZero();
        assertThat(resident.worthwhile(1, 0.9)).isZero();
        // A row at a third of a sweep pays while it is right more often than that.
        DraftCost middling = new DraftCost();
        for (int i = 0; i < 50; i++) {
            int rows = 1 + i % 4;
            middling.measured(rows, 200 + 100 * rows);
        }
        assertThat(middling.worthwhile(1, 0.3)).isZero();
        assertThat(middling.worthwhile(1, 0.6)).isEqualTo(2);
        assertThat(middling.worthwhile(1, 0.8)).isEqualTo(4);
        // With eight sequences the sweep is shared by eight already.
        assertThat(middling.worthwhile(8, 0.75)).isZero();
    }

    @Test
    void learnsFromWhatItDidNotDraft() {
        DraftSource source = new DraftSource(new int[] {1, 2});
        double before = source.hitRate();
        source.learn(false);
        assertThat(source.hitRate()).isLessThan(before);
        for (int i = 0; i < 50; i++) {
            source.learn(true);
        }
        assertThat(source.hitRate()).isGreaterThan(0.98);
    }
}
