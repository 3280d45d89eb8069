package dev.prefetch.backend;

import java.util.Objects;

/**
 * Rotary position embedding (Su et al. 2021, arXiv 2104.09864), already resolved to one frequency per pair.
 *
 * @param layout which elements of a head form a pair
 * @param inverseFrequencies angle per position and pair, length = rotated dimensions / 2; elements of a head beyond the
 *     rotated dimensions are left alone
 * @param magnitude factor on the rotated elements (YaRN and long-RoPE attention scaling; otherwise 1)
 */
public record Rope(Layout layout, float[] inverseFrequencies, float magnitude) {

    public Rope {
        Objects.requireNonNull(layout, "layout");
        inverseFrequencies = inverseFrequencies.clone();
    }

    /** Dimensions per head that are rotated. */
    public int rotatedDimensions() {
        return 2 * inverseFrequencies.length;
    }

    /** Pairing of elements; {@code d} is the number of rotated dimensions. */
    public enum Layout {
        /** Pairs (0,1), (2,3), ... as in {@code llama}. */
        ADJACENT,
        /** Pairs (0,d/2), (1,d/2+1), ... as in GPT-NeoX and {@code qwen}. */
        HALVES
    }
}
