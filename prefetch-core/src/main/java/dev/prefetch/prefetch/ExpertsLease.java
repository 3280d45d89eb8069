package dev.prefetch.prefetch;

import dev.prefetch.backend.Weight;
import dev.prefetch.model.TensorRole;
import java.util.List;

/**
 * A hold of all experts of a layer, which stay in the device's memory where they are until their source is closed. Used by
 * one thread.
 */
public interface ExpertsLease extends AutoCloseable {

    /** The weight of that role of every expert, in their order; empty when they have none. */
    List<Weight> weights(TensorRole role);

    /** Ends the hold. Idempotent. */
    @Override
    void close();
}
