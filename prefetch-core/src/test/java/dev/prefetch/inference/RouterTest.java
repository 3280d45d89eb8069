package dev.prefetch.inference;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import dev.prefetch.backend.AttentionShape;
import dev.prefetch.backend.Rope;
import dev.prefetch.model.Architecture;
import dev.prefetch.model.ExpertRouting;
import dev.prefetch.model.ExpertRouting.Score;
import dev.prefetch.model.ModelConfig;
import java.util.List;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;

/** Choices and weights worked out by hand. */
class RouterTest {

    private static final float[] SCORES = {0, 1, 4, 0.5f, 3, 3.5f};

    private static Router router(ExpertRouting routing, int experts, int used) {
        return new Router(new ModelConfig(
                Architecture.DEEPSEEK2,
                "test",
                1,
                0,
                8,
                0,
                experts,
                used,
                8,
                0,
                routing,
                new AttentionShape(1, 1, 8, 8, 1, 0, 0),
                null,
                null,
                new Rope(Rope.Layout.ADJACENT, new float[0], 1),
                List.of(),
                new ModelConfig.Scaling(1, 1, 1, 0),
                0,
                8,
                8));
    }

    private static double softmax(int expert) {
        double total = IntStream.range(0, SCORES.length)
                .mapToDouble(i -> Math.exp(SCORES[i]))
                .sum();
        return Math.exp(SCORES[expert]) / total;
    }

    private static double sigmoid(int expert) {
        return 1 / (1 + Math.exp(-SCORES[expert]));
    }

    private static void assertWeights(Router router, double... expected) {
        for (int i = 0; i < expected.length; i++) {
            assertThat((double) router.weights()[i]).isCloseTo(expected[i], within(1e-6));
        }
    }

    @Test
    void weighsByTheSoftmaxOfAllOrOfTheChosen() {
        Router all = router(new ExpertRouting(Score.SOFTMAX, false, 1, 1, 1), 6, 2);
        all.route(SCORES, 0, null);
        assertThat(all.chosen()).containsExactly(2, 5);
        assertWeights(all, softmax(2), softmax(5));
        Router chosen = router(new ExpertRouting(Score.SOFTMAX, true, 1, 1, 1), 6, 2);
        chosen.route(SCORES, 0, null);
        double both = softmax(2) + softmax(5);
        assertWeights(chosen, softmax(2) / both, softmax(5) / both);
    }

    @Test
    void scalesTheWeights() {
        Router router = router(new ExpertRouting(Score.SIGMOID, true, 2.5f, 1, 1), 6, 2);
        router.route(SCORES, 0, null);
        double both = sigmoid(2) + sigmoid(5);
        assertWeights(router, 2.5 * sigmoid(2) / both, 2.5 * sigmoid(5) / both);
    }

    @Test
    void aBiasDecidesTheChoiceButNotTheWeight() {
        Router router = router(new ExpertRouting(Score.SIGMOID, false, 1, 1, 1), 6, 2);
        router.route(SCORES, 0, new float[] {1, 0, 0, 0, 0, 0});
        assertThat(router.chosen()).containsExactly(0, 2);
        assertWeights(router, sigmoid(0), sigmoid(2));
    }

    @Test
    void theBestTwoOfAGroupSpeakForItWithSigmoidsAndTheBestOneWithASoftmax() {
        // Groups {0, 1}, {4, 0.5}, {3, 3.5}: the second has the best expert, the third the best two.
        Router sigmoids = router(new ExpertRouting(Score.SIGMOID, false, 1, 3, 1), 6, 2);
        sigmoids.route(SCORES, 0, null);
        assertThat(sigmoids.chosen()).containsExactly(5, 4);
        Router softmax = router(new ExpertRouting(Score.SOFTMAX, false, 1, 3, 1), 6, 2);
        softmax.route(SCORES, 0, null);
        assertThat(softmax.chosen()).containsExactly(2, 3);
        Router two = router(new ExpertRouting(Score.SOFTMAX, false, 1, 3, 2), 6, 3);
        two.route(SCORES, 0, null);
        assertThat(two.chosen()).containsExactly(2, 5, 4);
    }

    @Test
    void readsTheScoresOfItsToken() {
        float[] two = new float[12];
        System.arraycopy(SCORES, 0, two, 6, 6);
        Router router = router(new ExpertRouting(Score.SOFTMAX, true, 1, 1, 1), 6, 1);
        router.route(two, 6, null);
        assertThat(router.chosen()).containsExactly(2);
        router.route(two, 0, null);
        assertThat(router.chosen()).containsExactly(0);
    }

    @Test
    void choosesDifferentExpertsEvenAmongScoresThatAreNoNumbers() {
        Router router = router(new ExpertRouting(Score.SIGMOID, true, 1, 3, 2), 6, 3);
        float[] damaged = {Float.NaN, Float.NaN, Float.NaN, Float.NaN, Float.NaN, Float.NaN};
        router.route(damaged, 0, null);
        assertThat(router.chosen()).doesNotHaveDuplicates();
    }
}
