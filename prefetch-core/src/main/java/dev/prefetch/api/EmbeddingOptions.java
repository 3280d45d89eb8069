package dev.prefetch.api;

import dev.prefetch.inference.Pooling;
import org.jspecify.annotations.Nullable;

/**
 * How texts become vectors.
 *
 * @param pooling how the hidden states of a text become one vector; null for what the model's file says
 *     ({@link EngineInfo#pooling()})
 * @param normalize whether vectors get the Euclidean length 1, so that their dot product is their cosine
 */
public record EmbeddingOptions(@Nullable Pooling pooling, boolean normalize) {

    /** As the file says, of length 1. */
    public static final EmbeddingOptions DEFAULT = new EmbeddingOptions(null, true);

    public EmbeddingOptions withPooling(@Nullable Pooling value) {
        return new EmbeddingOptions(value, normalize);
    }

    public EmbeddingOptions withNormalize(boolean value) {
        return new EmbeddingOptions(pooling, value);
    }
}
