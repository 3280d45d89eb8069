package dev.prefetch.inference;

import dev.prefetch.model.ExpertRouting;
import dev.prefetch.model.ExpertRouting.Score;
import dev.prefetch.model.ModelConfig;
import java.util.Arrays;
import org.jspecify.annotations.Nullable;

/** Chooses the experts of a token by their scores, and the weights of their results; see {@link ExpertRouting}. */
final class Router {

    /** Least sum of weights that they are divided by, so that experts without any weight do not give infinite ones. */
    private static final double LEAST_SUM = 0x1p-14;

    private final ExpertRouting routing;
    private final int experts;
    private final double[] probabilities;
    private final double[] ranks;
    private final boolean[] taken;
    private final boolean[] groupTaken;
    private final int[] chosen;
    private final float[] weights;

    Router(ModelConfig config) {
        routing = config.routing();
        experts = config.experts();
        probabilities = new double[experts];
        ranks = new double[experts];
        taken = new boolean[experts];
        groupTaken = new boolean[routing.groups()];
        chosen = new int[config.expertsUsed()];
        weights = new float[chosen.length];
    }

    /**
     * Decides about one token.
     *
     * @param scores of many tokens; those of this one begin at {@code offset}
     * @param choiceBias added to what scores become where experts are chosen, or null for none
     */
    void route(float[] scores, int offset, float @Nullable [] choiceBias) {
        computeProbabilities(scores, offset);
        for (int expert = 0; expert < experts; expert++) {
            ranks[expert] = probabilities[expert] + (choiceBias == null ? 0 : choiceBias[expert]);
        }
        if (routing.groups() > 1) {
            excludeGroups();
        }
        Arrays.fill(taken, false);
        for (int i = 0; i < chosen.length; i++) {
            chosen[i] = best(0, experts);
            taken[chosen[i]] = true;
        }
        weigh();
    }

    /** The experts of the token, best first. */
    int[] chosen() {
        return chosen;
    }

    /** The weight of each of {@link #chosen}. */
    float[] weights() {
        return weights;
    }

    private void computeProbabilities(float[] scores, int offset) {
        if (routing.score() == Score.SIGMOID) {
            for (int expert = 0; expert < experts; expert++) {
                probabilities[expert] = 1 / (1 + Math.exp(-(double) scores[offset + expert]));
            }
            return;
        }
        double most = scores[offset];
        for (int expert = 1; expert < experts; expert++) {
            most = Math.max(most, scores[offset + expert]);
        }
        double total = 0;
        for (int expert = 0; expert < experts; expert++) {
            probabilities[expert] = Math.exp(scores[offset + expert] - most);
            total += probabilities[expert];
        }
        for (int expert = 0; expert < experts; expert++) {
            probabilities[expert] /= total;
        }
    }

    /** Leaves only the experts of the best groups. */
    private void excludeGroups() {
        int size = experts / routing.groups();
        Arrays.fill(taken, false);
        Arrays.fill(groupTaken, false);
        for (int i = 0; i < routing.groupsUsed(); i++) {
            int best = -1;
            double bestScore = 0;
            for (int group = 0; group < routing.groups(); group++) {
                double score = groupScore(group * size, size);
                if (!groupTaken[group] && (best < 0 || score > bestScore)) {
                    best = group;
                    bestScore = score;
                }
            }
            groupTaken[best] = true;
        }
        for (int expert = 0; expert < experts; expert++) {
            if (!groupTaken[expert / size]) {
                ranks[expert] = Double.NEGATIVE_INFINITY;
            }
        }
    }

    private double groupScore(int first, int size) {
        int best = best(first, first + size);
        if (routing.score() == Score.SOFTMAX || size == 1) {
            return ranks[best];
        }
        taken[best] = true;
        double score = ranks[best] + ranks[best(first, first + size)];
        taken[best] = false;
        return score;
    }

    /** The highest rank of those that are left; ties go to the lower expert. */
    private int best(int from, int to) {
        int best = -1;
        for (int expert = from; expert < to; expert++) {
            if (!taken[expert] && (best < 0 || ranks[expert] > ranks[best])) {
                best = expert;
            }
        }
        return best;
    }

    private void weigh() {
        double total = 0;
        for (int expert : chosen) {
            total += probabilities[expert];
        }
        double divisor = routing.normalised() ? Math.max(total, LEAST_SUM) : 1;
        for (int i = 0; i < chosen.length; i++) {
            weights[i] = (float) (probabilities[chosen[i]] / divisor * routing.scale());
        }
    }
}
