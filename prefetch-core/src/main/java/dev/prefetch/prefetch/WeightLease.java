package dev.prefetch.prefetch;

import dev.prefetch.backend.Weight;
import dev.prefetch.model.TensorRole;
import dev.prefetch.model.WeightBlock;
import org.jspecify.annotations.Nullable;

/**
 * What compute holds while it reads a block: until it is closed, the block's bytes stay where they are. Used by one
 * thread. Closing it lets the bytes go once everything issued on the compute stream so far has finished.
 */
public interface WeightLease extends AutoCloseable {

    /** The block held. */
    WeightBlock block();

    /**
     * The weight with that role.
     *
     * @throws IllegalStateException when the lease is closed or the block has no such weight
     */
    Weight weight(TensorRole role);

    /** The weight with that role, or null when the block has none. */
    @Nullable
    Weight find(TensorRole role);

    /** Ends the hold. Idempotent. */
    @Override
    void close();
}
