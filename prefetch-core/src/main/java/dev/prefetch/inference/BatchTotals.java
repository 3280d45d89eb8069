package dev.prefetch.inference;

/**
 * What has been done since an engine was opened; every number only grows.
 *
 * @param promptTokens tokens of the prompts of sequences that started
 * @param cachedPromptTokens of them, those that were not computed, since an earlier prompt began with the same tokens
 * @param answerTokens tokens of answers computed ahead as part of the prompt that may come next
 * @param draftedTokens tokens guessed and verified
 * @param acceptedTokens of them, those that were right
 * @param embeddedTexts texts whose vectors were computed
 * @param refused requests refused because the queue was full
 * @param expired requests that were not done in their time
 */
public record BatchTotals(
        long promptTokens,
        long cachedPromptTokens,
        long answerTokens,
        long draftedTokens,
        long acceptedTokens,
        long embeddedTexts,
        long refused,
        long expired) {

    /** Nothing yet. */
    public static final BatchTotals NONE = new BatchTotals(0, 0, 0, 0, 0, 0, 0, 0);
}
