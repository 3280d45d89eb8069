package dev.prefetch.api;

import dev.prefetch.prefetch.MemoryAmount;
import org.jspecify.annotations.Nullable;

/**
 * How an engine serves requests. Immutable; start from {@link #DEFAULT}.
 *
 * @param promptCache most of the KV cache that prompts of earlier requests may take while nobody uses them; a share is of
 *     the KV cache. Null for whatever running requests leave, {@code 0} to keep none
 */
public record ServingOptions(@Nullable MemoryAmount promptCache) {

    /** Everything chosen by the engine. */
    public static final ServingOptions DEFAULT = new ServingOptions(null);

    /** An amount that keeps no prompts. */
    private static final MemoryAmount NOTHING = MemoryAmount.parse("0");

    public ServingOptions withPromptCache(@Nullable MemoryAmount value) {
        return new ServingOptions(value);
    }

    /** Every prompt is computed from its first token on, as measurements need it. */
    public ServingOptions withoutPromptCache() {
        return withPromptCache(NOTHING);
    }
}
