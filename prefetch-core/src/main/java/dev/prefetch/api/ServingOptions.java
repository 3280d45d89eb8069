package dev.prefetch.api;

import dev.prefetch.inference.Speculation;
import dev.prefetch.prefetch.MemoryAmount;
import java.nio.file.Path;
import java.util.Objects;
import org.jspecify.annotations.Nullable;

/**
 * How an engine serves requests. Immutable; start from {@link #DEFAULT}.
 *
 * @param promptCache most of the KV cache that prompts of earlier requests may take while nobody uses them; a share is of
 *     the KV cache. Null for whatever running requests leave, {@code 0} to keep none
 * @param queueLimit most generations that wait because as many run as may; further ones are refused
 * @param ubatchBesideDecode most prompt tokens of a sweep that also generates for others, who wait for it to end; 0 for as
 *     many as are computed while weights are read, and at least {@value #LEAST_UBATCH_BESIDE_DECODE}
 * @param speculation whether tokens are guessed from the prompt and verified together
 * @param promptCacheFile where the prompt cache is written when the engine is closed, and read when it is opened with the same
 *     model; null for nowhere. It holds prompts
 */
public record ServingOptions(
        @Nullable MemoryAmount promptCache,
        int queueLimit,
        int ubatchBesideDecode,
        Speculation speculation,
        @Nullable Path promptCacheFile) {

    /** Everything chosen by the engine, and a queue without limit. */
    public static final ServingOptions DEFAULT = new ServingOptions(null, Integer.MAX_VALUE, 0, Speculation.AUTO, null);

    /** Fewest prompt tokens of a sweep that also generates, where their number is left to the engine. */
    public static final int LEAST_UBATCH_BESIDE_DECODE = 64;

    /** An amount that keeps no prompts. */
    private static final MemoryAmount NOTHING = MemoryAmount.parse("0");

    /** @throws IllegalArgumentException naming the option that is out of its range */
    public ServingOptions {
        Objects.requireNonNull(speculation, "speculation");
        if (queueLimit < 0 || ubatchBesideDecode < 0) {
            throw new IllegalArgumentException("serving options must be at least 0: queueLimit " + queueLimit
                    + ", ubatchBesideDecode " + ubatchBesideDecode);
        }
    }

    public ServingOptions withPromptCache(@Nullable MemoryAmount value) {
        return new ServingOptions(value, queueLimit, ubatchBesideDecode, speculation, promptCacheFile);
    }

    /** Every prompt is computed from its first token on, as measurements need it. */
    public ServingOptions withoutPromptCache() {
        return withPromptCache(NOTHING);
    }

    public ServingOptions withQueueLimit(int value) {
        return new ServingOptions(promptCache, value, ubatchBesideDecode, speculation, promptCacheFile);
    }

    public ServingOptions withUbatchBesideDecode(int value) {
        return new ServingOptions(promptCache, queueLimit, value, speculation, promptCacheFile);
    }

    public ServingOptions withSpeculation(Speculation value) {
        return new ServingOptions(promptCache, queueLimit, ubatchBesideDecode, value, promptCacheFile);
    }

    public ServingOptions withPromptCacheFile(@Nullable Path value) {
        return new ServingOptions(promptCache, queueLimit, ubatchBesideDecode, speculation, value);
    }
}
