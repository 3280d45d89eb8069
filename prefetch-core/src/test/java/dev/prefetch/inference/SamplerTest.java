package dev.prefetch.inference;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatIllegalArgumentException;
import static org.assertj.core.api.Assertions.assertThatIllegalStateException;
import static org.assertj.core.api.Assertions.within;

import java.util.Comparator;
import java.util.Random;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;

class SamplerTest {

    private static final int DRAWS = 40_000;

    @Test
    void needsTheBestAloneWhereNothingIsDrawnOrPenalised() {
        assertThat(new Sampler(SamplingOptions.GREEDY, 4).takesBest()).isTrue();
        assertThat(new Sampler(options(1, 0, 1, 0), 4).takesBest()).isFalse();
        assertThat(new Sampler(new SamplingOptions(0, 0, 1, 0, 1.1f, 0, 0, 64, 0), 4).takesBest())
                .isFalse();
        assertThat(new Sampler(new SamplingOptions(0, 0, 1, 0, 1, 1, 0, 64, 0), 4).takesBest())
                .isFalse();
        assertThat(new Sampler(new SamplingOptions(0, 0, 1, 0, 1, 0, 1, 64, 0), 4).takesBest())
                .isFalse();
    }

    @Test
    void greedyTakesTheMostLikelyAndTheFirstOfEquals() {
        Sampler sampler = new Sampler(SamplingOptions.GREEDY, 4);
        assertThat(sampler.choose(new float[] {1, 3, 3, 2})).isEqualTo(1);
    }

    @Test
    void neverChoosesPaddingBeyondTheVocabulary() {
        Sampler sampler = new Sampler(SamplingOptions.GREEDY, 2);
        assertThat(sampler.choose(new float[] {1, 2, 99})).isEqualTo(1);
    }

    @Test
    void refusesLogitsThatAreNotNumbers() {
        Sampler sampler = new Sampler(SamplingOptions.GREEDY, 3);
        assertThatIllegalStateException()
                .isThrownBy(() -> sampler.choose(new float[] {1, Float.NaN, 2}))
                .withMessageContaining("token 1");
    }

    @Test
    void drawsInProportionToTheSoftmax() {
        float[] logits = {0, 1, 2, -1};
        double[] frequencies = frequencies(options(0.7f, 0, 1, 0), logits);
        double[] expected = softmax(logits, 0.7);
        for (int i = 0; i < logits.length; i++) {
            assertThat(frequencies[i]).isCloseTo(expected[i], within(0.01));
        }
    }

    @Test
    void topKKeepsTheKMostLikely() {
        double[] frequencies = frequencies(options(1, 2, 1, 0), new float[] {0, 1, 2, -1});
        assertThat(frequencies[0]).isZero();
        assertThat(frequencies[3]).isZero();
        assertThat(frequencies[2]).isCloseTo(Math.E / (1 + Math.E), within(0.01));
    }

    @Test
    void topPKeepsTheSmallestSetThatReachesP() {
        // probabilities 0.643, 0.236, 0.087, 0.032: two reach 0.8
        double[] frequencies = frequencies(options(1, 0, 0.8f, 0), new float[] {1, 2, 3, 0});
        assertThat(frequencies[0]).isZero();
        assertThat(frequencies[3]).isZero();
        assertThat(frequencies[1]).isPositive();
    }

    @Test
    void topPFindsANucleusThatIsLargerThanTheFirstGuess() {
        int size = 5_000;
        float[] logits = new float[size];
        double[] frequencies = frequencies(options(1, 0, 0.5f, 0), logits);
        long kept = IntStream.range(0, size).filter(i -> frequencies[i] > 0).count();
        assertThat(IntStream.range(size / 2 + 1, size).filter(i -> frequencies[i] > 0))
                .isEmpty();
        assertThat(kept).isGreaterThan(2_400);
    }

    @Test
    void minPDropsTokensFarBelowTheBest() {
        double[] frequencies = frequencies(options(1, 0, 1, 0.3f), new float[] {0, 1.9f, 2, -5});
        assertThat(frequencies[0]).isZero();
        assertThat(frequencies[3]).isZero();
        assertThat(frequencies[1]).isPositive();
    }

    @Test
    void choosesTheSameSetAsAFullSort() {
        long seed = 5;
        Random random = new Random(seed);
        for (int round = 0; round < 200; round++) {
            float[] logits = new float[700];
            for (int i = 0; i < logits.length; i++) {
                logits[i] = (float) random.nextGaussian() * 3;
            }
            int k = 1 + random.nextInt(699);
            SamplingOptions options = new SamplingOptions(50, k, 1, 0, 1, 0, 0, 0, round);
            Sampler sampler = new Sampler(options, logits.length);
            int[] order = IntStream.range(0, logits.length)
                    .boxed()
                    .sorted(Comparator.comparingDouble((Integer i) -> -logits[i]))
                    .mapToInt(Integer::intValue)
                    .toArray();
            int chosen = sampler.choose(logits.clone());
            assertThat(IntStream.of(order).limit(k).anyMatch(i -> i == chosen))
                    .as("seed %d round %d", seed, round)
                    .isTrue();
        }
    }

    @Test
    void sameSeedGivesTheSameTokens() {
        float[] logits = {1, 1, 1, 1, 1, 1};
        Sampler first = new Sampler(options(1, 0, 1, 0), 6);
        Sampler second = new Sampler(options(1, 0, 1, 0), 6);
        for (int i = 0; i < 100; i++) {
            assertThat(first.choose(logits.clone())).isEqualTo(second.choose(logits.clone()));
        }
    }

    @Test
    void repetitionPenaltyLooksAtTheWindowOnly() {
        SamplingOptions options = new SamplingOptions(0, 0, 1, 0, 2, 0, 0, 2, 0);
        Sampler sampler = new Sampler(options, 4);
        sampler.seePrompt(0);
        sampler.seePrompt(1);
        sampler.seeGenerated(2);
        // 0 has left the window; 1 and 2 are halved, a negative logit is doubled instead
        assertThat(sampler.choose(new float[] {2.5f, 4, 4.8f, 0})).isZero();
        assertThat(sampler.choose(new float[] {-1.5f, -1, -9, -9})).isZero();
    }

    @Test
    void presenceAndFrequencyPenaltiesCountGeneratedTokens() {
        Sampler presence = new Sampler(new SamplingOptions(0, 0, 1, 0, 1, 1, 0, 0, 0), 2);
        presence.seePrompt(1);
        assertThat(presence.choose(new float[] {0, 0.5f})).isEqualTo(1);
        presence.seeGenerated(1);
        assertThat(presence.choose(new float[] {0, 0.5f})).isZero();

        Sampler frequency = new Sampler(new SamplingOptions(0, 0, 1, 0, 1, 0, 1, 0, 0), 2);
        frequency.seeGenerated(1);
        assertThat(frequency.choose(new float[] {0, 1.5f})).isEqualTo(1);
        frequency.seeGenerated(1);
        assertThat(frequency.choose(new float[] {0, 1.5f})).isZero();
    }

    @Test
    void optionsNameTheValueThatIsOutOfRange() {
        assertThatIllegalArgumentException()
                .isThrownBy(() -> options(-1, 0, 1, 0))
                .withMessage("temperature must be at least 0 and finite but was -1.0");
        assertThatIllegalArgumentException()
                .isThrownBy(() -> options(1, 0, 0, 0))
                .withMessageContaining("topP");
    }

    private static SamplingOptions options(float temperature, int topK, float topP, float minP) {
        return new SamplingOptions(temperature, topK, topP, minP, 1, 0, 0, 0, 42);
    }

    private static double[] frequencies(SamplingOptions options, float[] logits) {
        Sampler sampler = new Sampler(options, logits.length);
        double[] frequencies = new double[logits.length];
        for (int i = 0; i < DRAWS; i++) {
            frequencies[sampler.choose(logits.clone())] += 1.0 / DRAWS;
        }
        return frequencies;
    }

    private static double[] softmax(float[] logits, double temperature) {
        double[] p = new double[logits.length];
        double total = 0;
        for (int i = 0; i < p.length; i++) {
            p[i] = Math.exp(logits[i] / temperature);
            total += p[i];
        }
        for (int i = 0; i < p.length; i++) {
            p[i] /= total;
        }
        return p;
    }
}
