package dev.prefetch.api;

import dev.prefetch.grammar.Grammar;
import dev.prefetch.inference.SamplingOptions;
import java.time.Duration;
import java.util.List;
import java.util.Objects;
import org.jspecify.annotations.Nullable;

/**
 * A request to continue a prompt.
 *
 * @param prompt what to continue
 * @param sampling how tokens are chosen
 * @param maxTokens most tokens to generate; 0 for as many as the context has room for
 * @param stopSequences texts that end the answer and are not part of it; may span tokens
 * @param grammar what the answer must follow; null for anything. An answer that ends by a limit is the beginning of a text
 *     that follows it
 * @param ignoreEndTokens goes on after the model has ended its turn, for measurements of a fixed length
 * @param timeout how long the whole request may take, waiting included; afterwards it fails with
 *     {@link dev.prefetch.inference.DeadlineExceededException}. Null for as long as it takes
 */
public record GenerationRequest(
        Prompt prompt,
        SamplingOptions sampling,
        int maxTokens,
        List<String> stopSequences,
        @Nullable Grammar grammar,
        boolean ignoreEndTokens,
        @Nullable Duration timeout) {

    public GenerationRequest {
        Objects.requireNonNull(prompt, "prompt");
        Objects.requireNonNull(sampling, "sampling");
        stopSequences = List.copyOf(stopSequences);
        if (maxTokens < 0) {
            throw new IllegalArgumentException("maxTokens must be at least 0 but was " + maxTokens);
        }
        if (grammar != null && ignoreEndTokens) {
            throw new IllegalArgumentException("a grammar says where an answer ends, so end tokens cannot be ignored");
        }
        if (timeout != null && (timeout.isNegative() || timeout.isZero())) {
            throw new IllegalArgumentException("timeout must be above 0 but was " + timeout);
        }
        if (stopSequences.stream().anyMatch(String::isEmpty)) {
            throw new IllegalArgumentException("a stop sequence must not be empty");
        }
    }

    /** A request that ends when the model ends its turn. */
    public GenerationRequest(Prompt prompt, SamplingOptions sampling, int maxTokens, List<String> stopSequences) {
        this(prompt, sampling, maxTokens, stopSequences, null, false, null);
    }

    /** A request without a grammar. */
    public GenerationRequest(
            Prompt prompt,
            SamplingOptions sampling,
            int maxTokens,
            List<String> stopSequences,
            boolean ignoreEndTokens) {
        this(prompt, sampling, maxTokens, stopSequences, null, ignoreEndTokens, null);
    }

    /** A request that takes as long as it takes. */
    public GenerationRequest(
            Prompt prompt,
            SamplingOptions sampling,
            int maxTokens,
            List<String> stopSequences,
            @Nullable Grammar grammar,
            boolean ignoreEndTokens) {
        this(prompt, sampling, maxTokens, stopSequences, grammar, ignoreEndTokens, null);
    }

    /** The same request with a limit of time. */
    public GenerationRequest withTimeout(@Nullable Duration value) {
        return new GenerationRequest(prompt, sampling, maxTokens, stopSequences, grammar, ignoreEndTokens, value);
    }

    /** The same request for an answer that follows a grammar. */
    public GenerationRequest withGrammar(@Nullable Grammar value) {
        return new GenerationRequest(prompt, sampling, maxTokens, stopSequences, value, ignoreEndTokens, timeout);
    }

    /** Greedy, until the model ends its turn. */
    public static GenerationRequest greedy(Prompt prompt) {
        return new GenerationRequest(prompt, SamplingOptions.GREEDY, 0, List.of());
    }
}
