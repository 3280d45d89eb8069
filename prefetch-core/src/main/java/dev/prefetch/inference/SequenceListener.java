package dev.prefetch.inference;

import dev.prefetch.prefetch.PrefetchStatistics;
import java.util.List;

/** Hears a sequence as it is generated. Called by the compute thread, which must not be blocked. */
public interface SequenceListener {

    /** More text; never empty. */
    void onText(String text);

    /** The sequence ended; nothing follows. */
    void onEnd(End end);

    /** The sequence failed; nothing follows. */
    void onFailure(RuntimeException failure);

    /**
     * The end of a sequence.
     *
     * @param text the whole text
     * @param tokens the generated tokens, end token included
     * @param cause why it ended
     * @param cachedTokens tokens of the prompt that were not computed, since an earlier sequence began with them
     * @param queueNanos from submission to the first sweep
     * @param prefillNanos from then to the logits of the last prompt token
     * @param firstTokenNanos from submission to the first token; 0 when there was none
     * @param decodeNanos from the first token to the end
     * @param transfers what moved from the first sweep to the end, for all sequences that shared the sweeps
     */
    record End(
            String text,
            List<Integer> tokens,
            StopCause cause,
            int cachedTokens,
            long queueNanos,
            long prefillNanos,
            long firstTokenNanos,
            long decodeNanos,
            PrefetchStatistics transfers) {}
}
