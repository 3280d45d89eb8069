package dev.prefetch.backend;

/**
 * Shape of grouped-query attention. Query head {@code h} reads key/value head {@code h / (heads / kvHeads)}.
 *
 * @param heads query heads
 * @param kvHeads key/value heads, a divisor of {@code heads}
 * @param keyDim elements per query and key head
 * @param valueDim elements per value head
 * @param scale factor on the scores, usually {@code 1/sqrt(keyDim)}
 * @param softCap scores become {@code softCap * tanh(score / softCap)}; 0 for none
 * @param window only the last {@code window} positions, the current one included, are seen; 0 for all
 * @param causal whether a position sees itself and those before it alone; without, it sees all, and there is no window
 */
public record AttentionShape(
        int heads, int kvHeads, int keyDim, int valueDim, float scale, float softCap, int window, boolean causal) {

    public AttentionShape {
        if (heads < 1 || kvHeads < 1 || heads % kvHeads != 0 || keyDim < 1 || valueDim < 1 || window < 0) {
            throw new IllegalArgumentException("bad attention shape: heads " + heads + ", kvHeads " + kvHeads
                    + ", keyDim " + keyDim + ", valueDim " + valueDim + ", window " + window);
        }
        if (!causal && window > 0) {
            throw new IllegalArgumentException("attention that is not causal has no window but has one of " + window);
        }
    }

    /** Causal attention. */
    public AttentionShape(int heads, int kvHeads, int keyDim, int valueDim, float scale, float softCap, int window) {
        this(heads, kvHeads, keyDim, valueDim, scale, softCap, window, true);
    }

    /** The same shape with another window. */
    public AttentionShape withWindow(int newWindow) {
        return new AttentionShape(heads, kvHeads, keyDim, valueDim, scale, softCap, newWindow, causal);
    }

    /** The same shape in which every position sees all. */
    public AttentionShape notCausal() {
        return new AttentionShape(heads, kvHeads, keyDim, valueDim, scale, softCap, window, false);
    }
}
