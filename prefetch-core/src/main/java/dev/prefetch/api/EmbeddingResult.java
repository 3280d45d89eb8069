package dev.prefetch.api;

import java.util.List;

/**
 * The vectors of texts.
 *
 * @param vectors one per text, in their order, each of {@link EngineInfo#embeddingDimensions()} elements
 * @param tokens tokens of every text, begin and end token included where the model wants them
 */
public record EmbeddingResult(List<float[]> vectors, List<Integer> tokens) {

    public EmbeddingResult {
        vectors = List.copyOf(vectors);
        tokens = List.copyOf(tokens);
    }

    /** Tokens of all texts together. */
    public int totalTokens() {
        return tokens.stream().mapToInt(Integer::intValue).sum();
    }
}
