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
 * @param timeoutNanos how long it may take from submission to its end; 0 for as long as it takes
 * @param listener hears what happens, on the compute thread
 */
public record SequenceRequest(
        int[] prompt,
        int maxTokens,
        SamplingOptions sampling,
        List<String> stopSequences,
        boolean ignoreEndTokens,
        @Nullable TokenConstraint constraint,
        long timeoutNanos,
        SequenceListener listener) {

    /** A sequence of any tokens that takes as long as it takes. */
    public SequenceRequest(
            int[] prompt,
            int maxTokens,
            SamplingOptions sampling,
            List<String> stopSequences,
            boolean ignoreEndTokens,
            SequenceListener listener) {
        this(prompt, maxTokens, sampling, stopSequences, ignoreEndTokens, null, 0, listener);
    }

    public SequenceRequest {
        if (prompt.length < 1 || maxTokens < 0) {
            throw new IllegalArgumentException("a sequence needs a prompt and at least 0 tokens to generate but has "
                    + prompt.length + " and " + maxTokens);
        }
        if (timeoutNanos < 0) {
            throw new IllegalArgumentException("timeoutNanos must be at least 0 but was " + timeoutNanos);
        }
        stopSequences = List.copyOf(stopSequences);
    }
}
