package dev.prefetch.inference;

/**
 * How the next token is chosen from the logits. The steps run in this order: penalties, temperature, top-k, top-p,
 * min-p, draw.
 *
 * @param temperature divides the logits; 0 chooses the most likely token (greedy), whatever the rest says
 * @param topK keep the k most likely tokens; 0 keeps all
 * @param topP keep the smallest set of most likely tokens whose probabilities reach p (Holtzman et al. 2020, arXiv
 *     1904.09751); 1 keeps all
 * @param minP keep tokens at least p times as likely as the most likely one; 0 keeps all
 * @param repetitionPenalty divides positive and multiplies negative logits of tokens seen in the last
 *     {@code penaltyWindow} tokens (Keskar et al. 2019, arXiv 1909.05858); 1 for none
 * @param presencePenalty subtracted once from the logit of every token generated so far
 * @param frequencyPenalty subtracted from the logit of a token for each time it was generated so far
 * @param penaltyWindow how many of the last tokens, prompt included, the repetition penalty looks at
 * @param seed seed of the draw: the same seed, prompt and options give the same tokens
 */
public record SamplingOptions(
        float temperature,
        int topK,
        float topP,
        float minP,
        float repetitionPenalty,
        float presencePenalty,
        float frequencyPenalty,
        int penaltyWindow,
        long seed) {

    /** Greedy choice without penalties. */
    public static final SamplingOptions GREEDY = new SamplingOptions(0, 0, 1, 0, 1, 0, 0, 64, 0);

    /** @throws IllegalArgumentException naming the option that is out of its range */
    public SamplingOptions {
        require(temperature >= 0 && Float.isFinite(temperature), "temperature", "at least 0 and finite", temperature);
        require(topK >= 0, "topK", "at least 0", topK);
        require(topP > 0 && topP <= 1, "topP", "in (0, 1]", topP);
        require(minP >= 0 && minP <= 1, "minP", "in [0, 1]", minP);
        require(
                repetitionPenalty > 0 && Float.isFinite(repetitionPenalty),
                "repetitionPenalty",
                "above 0 and finite",
                repetitionPenalty);
        require(Float.isFinite(presencePenalty), "presencePenalty", "finite", presencePenalty);
        require(Float.isFinite(frequencyPenalty), "frequencyPenalty", "finite", frequencyPenalty);
        require(penaltyWindow >= 0, "penaltyWindow", "at least 0", penaltyWindow);
    }

    private static void require(boolean condition, String name, String range, Object value) {
        if (!condition) {
            throw new IllegalArgumentException(name + " must be " + range + " but was " + value);
        }
    }
}
