package dev.prefetch.inference;

import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * A sequence to generate.
 *
 * @param prompt token ids, at least one
 * @param maxTokens most tokens to generate; 0 for as many as fit
 * @param sampling how tokens are chosen
 * @param stopSequences texts that end the sequence
 * @param ignoreEndTokens goes on after an end token
 * @param constraint which tokens may be chosen; null for all
 * @param listener hears what happens, on the compute thread
 */
public record SequenceRequest(
        int[] prompt,
        int maxTokens,
        SamplingOptions sampling,
        List<String> stopSequences,
        boolean ignoreEndTokens,
        @Nullable TokenConstraint constraint,
        SequenceListener listener) {

    /** A sequence of any tokens. */
    public SequenceRequest(
            int[] prompt,
            int maxTokens,
            SamplingOptions sampling,
            List<String> stopSequences,
            boolean ignoreEndTokens,
            SequenceListener listener) {
        this(prompt, maxTokens, sampling, stopSequences, ignoreEndTokens, null, listener);
    }

    public SequenceRequest {
        if (prompt.length < 1 || maxTokens < 0) {
            throw new IllegalArgumentException("a sequence needs a prompt and at least 0 tokens to generate but has "
                    + prompt.length + " and " + maxTokens);
        }
        stopSequences = List.copyOf(stopSequences);
    }
}
