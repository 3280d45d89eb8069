package dev.prefetch.api;

import dev.prefetch.inference.Pooling;
import java.time.Duration;
import org.jspecify.annotations.Nullable;

/**
 * How texts become vectors.
 *
 * @param pooling how the hidden states of a text become one vector; null for what the model's file says
 *     ({@link EngineInfo#pooling()})
 * @param normalize whether vectors get the Euclidean length 1, so that their dot product is their cosine
 * @param timeout how long all texts together may take, waiting included; afterwards the request fails with
 *     {@link dev.prefetch.inference.DeadlineExceededException}. Null for as long as it takes
 */
public record EmbeddingOptions(
        @Nullable Pooling pooling,
        boolean normalize,
        @Nullable Duration timeout) {

    /** As the file says, of length 1. */
    public static final EmbeddingOptions DEFAULT = new EmbeddingOptions(null, true);

    public EmbeddingOptions {
        if (timeout != null && !timeout.isPositive()) {
            throw new IllegalArgumentException("timeout must be above 0 but was " + timeout);
        }
    }

    /** Options of a request that takes as long as it takes. */
    public EmbeddingOptions(@Nullable Pooling pooling, boolean normalize) {
        this(pooling, normalize, null);
    }

    public EmbeddingOptions withPooling(@Nullable Pooling value) {
        return new EmbeddingOptions(value, normalize, timeout);
    }

    public EmbeddingOptions withNormalize(boolean value) {
        return new EmbeddingOptions(pooling, value, timeout);
    }

    public EmbeddingOptions withTimeout(@Nullable Duration value) {
        return new EmbeddingOptions(pooling, normalize, value);
    }
}
