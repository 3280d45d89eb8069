package dev.prefetch.backend;

/**
 * How experts are chosen by the scores of a router, and what weights their results get.
 *
 * <p>Every score becomes a probability: its part of the softmax, or its sigmoid. The experts with the highest ones serve,
 * where a bias may be added for the choice alone. With groups, only experts of the best groups may be chosen: by its best
 * expert (softmax) or the sum of its best two (sigmoid). Ties go to the lower number. The weights are the probabilities,
 * divided by their sum where they are normalised, times a scale; all of it in f64.
 *
 * @param experts how many there are
 * @param used how many are chosen
 * @param sigmoid whether scores become sigmoids
 * @param normalised whether the weights of the chosen experts add up to one before they are scaled
 * @param scale factor on the weights
 * @param groups groups of the same size that follow each other; 1 for none
 * @param groupsUsed groups that experts are chosen from
 */
public record ExpertChoice(
        int experts, int used, boolean sigmoid, boolean normalised, float scale, int groups, int groupsUsed) {

    public ExpertChoice {
        if (experts < 1
                || used < 1
                || used > experts
                || groups < 1
                || experts % groups != 0
                || groupsUsed < 1
                || groupsUsed > groups) {
            throw new IllegalArgumentException("bad choice: " + used + " of " + experts + " experts in " + groupsUsed
                    + " of " + groups + " groups");
        }
    }
}
