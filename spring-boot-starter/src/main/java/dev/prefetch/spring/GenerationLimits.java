package dev.prefetch.spring;

import java.time.Duration;
import org.jspecify.annotations.Nullable;

/**
 * How long generations of a {@link PrefetchChatModel} may take, and, as far as the deadline goes, requests of a
 * {@link PrefetchEmbeddingModel}. Thread-safe; asked anew for each generation.
 */
public interface GenerationLimits {

    /** No limits. */
    GenerationLimits NONE = new GenerationLimits() {};

    /** Longest time of a whole generation, waiting and prompt included; null for no limit. */
    default @Nullable Duration deadline() {
        return null;
    }

    /**
     * Longest time without a new token, once there is a first one; null for no limit. What comes before, waiting in the
     * queue and the prompt, may rightly take long and is limited by {@link #deadline()}.
     */
    default @Nullable Duration stall() {
        return null;
    }

    /** How to change the limits, as a sentence, for the message of a failure. */
    default String remedy() {
        return "Allow more time, or ask for fewer tokens.";
    }

    /** A generation ended within the limits. */
    default void kept() {}

    /** A generation was cancelled because of a limit. */
    default void exceeded(GenerationTimeoutException failure) {}

    /** The limits of one engine of several. */
    default GenerationLimits forEngine(String name) {
        return this;
    }
}
