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
 * @param preemptions how often a request gave its KV cache to older ones and was put back at the head of the queue
 */
public record BatchTotals(
        long promptTokens,
        long cachedPromptTokens,
        long answerTokens,
        long draftedTokens,
        long acceptedTokens,
        long embeddedTexts,
        long refused,
        long expired,
        long preemptions) {

    /** Nothing yet. */
    public static final BatchTotals NONE = new BatchTotals(0, 0, 0, 0, 0, 0, 0, 0, 0);

    /** These, and requests that never came to a batch. */
    public BatchTotals plus(long moreRefused, long moreExpired) {
        return new BatchTotals(
                promptTokens,
                cachedPromptTokens,
                answerTokens,
                draftedTokens,
                acceptedTokens,
                embeddedTexts,
                refused + moreRefused,
                expired + moreExpired,
                preemptions);
    }
}
