package dev.prefetch.model;

import dev.prefetch.model.ModelConfig.Keys;

/**
 * How the router's scores become the choice of experts and the weights of their results.
 *
 * @param score what a score becomes
 * @param normalised whether the weights of the chosen experts add up to one
 * @param scale factor on the weights
 * @param groups number of groups that the experts are divided into, in order; 1 for no groups
 * @param groupsUsed groups of which experts may be chosen: those with the best experts
 */
public record ExpertRouting(Score score, boolean normalised, float scale, int groups, int groupsUsed) {

    /** What a score becomes. */
    public enum Score {
        /** Its part of the softmax; the best expert of a group speaks for it (arXiv 2405.04434). */
        SOFTMAX,
        /** Its sigmoid; the best two experts of a group speak for it (arXiv 2412.19437). */
        SIGMOID
    }

    static ExpertRouting read(Keys keys, Traits traits, int experts) {
        return switch (traits.routing()) {
            case SOFTMAX_OVER_CHOSEN -> new ExpertRouting(Score.SOFTMAX, true, 1, 1, 1);
            case SOFTMAX_OVER_ALL -> new ExpertRouting(Score.SOFTMAX, false, 1, 1, 1);
            case OF_THE_FILE -> ofTheFile(keys, experts);
        };
    }

    private static ExpertRouting ofTheFile(Keys keys, int experts) {
        int function = keys.count("expert_gating_func");
        Score score = switch (function) {
            case 0, 1 -> Score.SOFTMAX;
            case 2 -> Score.SIGMOID;
            default -> throw keys.refuse("expert_gating_func", function + " is not supported");
        };
        int groups = Math.max(1, keys.count("expert_group_count"));
        int groupsUsed = groups == 1 ? 1 : keys.count("expert_group_used_count");
        if (experts > 0 && (experts % groups != 0 || groupsUsed < 1 || groupsUsed > groups)) {
            throw keys.refuse(
                    "expert_group_count", groupsUsed + " of " + groups + " groups of " + experts + " experts");
        }
        return new ExpertRouting(
                score, keys.flag("expert_weights_norm"), keys.positive("expert_weights_scale", 1), groups, groupsUsed);
    }
}
