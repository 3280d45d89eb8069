package dev.prefetch.api;

import dev.prefetch.prefetch.CostModel;
import dev.prefetch.prefetch.MemoryAmount;
import org.jspecify.annotations.Nullable;

/**
 * How much memory an engine may use and how weights that do not fit reach compute. Immutable; start from
 * {@link #AUTO}.
 *
 * @param ram the engine's whole budget: weights, slots, KV cache and activations; a share is of the memory that is
 *     available now. Null for what is available without a reserve
 * @param weights the part of it for resident weights and slots; a share is of the model. Null for what the budget leaves.
 *     Less than the model forces streaming
 * @param lookAheadBlocks streamed blocks on their way while compute holds one; {@link #CHOOSE} to choose
 * @param bufferBytes bytes for slots; {@link #CHOOSE} to choose
 * @param expertCache most memory for experts that are kept because they are asked for often; a share is of the model's
 *     bytes. Null for what the budget leaves, {@code 0} to keep none
 * @param costs what blocks cost to read and to compute. Null to measure when a model does not fit
 * @param traceSweeps how many of the last sweeps {@link PrefetchEngine#chromeTrace()} shows; 0 for none
 */
public record MemoryOptions(
        @Nullable MemoryAmount ram,
        @Nullable MemoryAmount weights,
        int lookAheadBlocks,
        long bufferBytes,
        @Nullable MemoryAmount expertCache,
        @Nullable CostModel costs,
        int traceSweeps) {

    /** Let the engine choose. */
    public static final int CHOOSE = -1;

    /** Everything chosen by the engine. */
    public static final MemoryOptions AUTO = new MemoryOptions(null, null, CHOOSE, CHOOSE, null, null, 0);

    public MemoryOptions {
        if (lookAheadBlocks < CHOOSE || bufferBytes < CHOOSE || traceSweeps < 0) {
            throw new IllegalArgumentException("memory options out of range: lookAheadBlocks " + lookAheadBlocks
                    + ", bufferBytes " + bufferBytes + ", traceSweeps " + traceSweeps);
        }
    }

    public MemoryOptions withRam(@Nullable MemoryAmount value) {
        return new MemoryOptions(value, weights, lookAheadBlocks, bufferBytes, expertCache, costs, traceSweeps);
    }

    public MemoryOptions withWeights(@Nullable MemoryAmount value) {
        return new MemoryOptions(ram, value, lookAheadBlocks, bufferBytes, expertCache, costs, traceSweeps);
    }

    public MemoryOptions withLookAheadBlocks(int value) {
        return new MemoryOptions(ram, weights, value, bufferBytes, expertCache, costs, traceSweeps);
    }

    public MemoryOptions withBufferBytes(long value) {
        return new MemoryOptions(ram, weights, lookAheadBlocks, value, expertCache, costs, traceSweeps);
    }

    public MemoryOptions withExpertCache(@Nullable MemoryAmount value) {
        return new MemoryOptions(ram, weights, lookAheadBlocks, bufferBytes, value, costs, traceSweeps);
    }

    public MemoryOptions withCosts(@Nullable CostModel value) {
        return new MemoryOptions(ram, weights, lookAheadBlocks, bufferBytes, expertCache, value, traceSweeps);
    }

    public MemoryOptions withTraceSweeps(int value) {
        return new MemoryOptions(ram, weights, lookAheadBlocks, bufferBytes, expertCache, costs, value);
    }
}
