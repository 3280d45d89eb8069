package dev.prefetch.inference;

/**
 * A text to make a vector of.
 *
 * @param tokens token ids, at least one
 * @param pooling how the hidden states become one vector
 * @param normalize whether the vector gets the Euclidean length 1
 * @param listener hears the vector, on the compute thread
 */
public record EmbeddingRequest(int[] tokens, Pooling pooling, boolean normalize, EmbeddingListener listener) {

    public EmbeddingRequest {
        if (tokens.length < 1) {
            throw new IllegalArgumentException("a text to embed needs at least one token");
        }
    }
}
