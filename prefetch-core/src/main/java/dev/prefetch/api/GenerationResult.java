package dev.prefetch.api;

import dev.prefetch.prefetch.PrefetchStatistics;
import java.util.List;

/**
 * What a generation gave.
 *
 * @param text the whole text, without end token and stop sequence; other control tokens stand in it as text
 * @param tokens the generated ids, with the end token if the model gave one
 * @param finishReason why it ended
 * @param promptTokens tokens of the prompt
 * @param cachedPromptTokens of them, those that were not computed, since an earlier request began with the same tokens
 * @param timings how long it took
 * @param transfers what moved meanwhile and how well it was hidden, for all requests that shared the sweeps
 */
public record GenerationResult(
        String text,
        List<Integer> tokens,
        FinishReason finishReason,
        int promptTokens,
        int cachedPromptTokens,
        Timings timings,
        PrefetchStatistics transfers) {

    /** A result of an engine that moved nothing and computed the whole prompt. */
    public GenerationResult(
            String text, List<Integer> tokens, FinishReason finishReason, int promptTokens, Timings timings) {
        this(text, tokens, finishReason, promptTokens, 0, timings, PrefetchStatistics.NONE);
    }

    public GenerationResult {
        tokens = List.copyOf(tokens);
    }

    /** Tokens generated. */
    public int completionTokens() {
        return tokens.size();
    }

    /** Computed prompt tokens per second of prefill; 0 when nothing was processed. */
    public double promptTokensPerSecond() {
        return perSecond(promptTokens - cachedPromptTokens, timings.prefillNanos());
    }

    /** Generated tokens per second of decode, the first one excepted, which prefill gives; 0 when there was none. */
    public double decodeTokensPerSecond() {
        return perSecond(Math.max(0, tokens.size() - 1), timings.decodeNanos());
    }

    private static double perSecond(int count, long nanos) {
        return nanos <= 0 ? 0 : count * 1e9 / nanos;
    }

    /**
     * @param queueNanos from the request until the first sweep that served it
     * @param prefillNanos from then until the logits of the last prompt token
     * @param firstTokenNanos from the request until the first token was chosen; 0 when there was none
     * @param decodeNanos from the first token until the end
     */
    public record Timings(long queueNanos, long prefillNanos, long firstTokenNanos, long decodeNanos) {}
}
