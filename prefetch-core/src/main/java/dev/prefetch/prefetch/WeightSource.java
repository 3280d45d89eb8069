package dev.prefetch.prefetch;

import dev.prefetch.model.WeightBlock;

/** Gives compute the weights of a model, block by block, wherever they lie. */
public interface WeightSource extends AutoCloseable {

    /**
     * Waits until the block's bytes can be read by the device and holds them. Called by the compute thread, in the
     * static order within a sweep; the block of the highest index that was acquired tells the source how far compute is.
     *
     * @throws WeightUnavailableException when the bytes cannot be had
     */
    WeightLease acquire(WeightBlock block);

    /** Releases everything, after open leases have been closed. */
    @Override
    void close();
}
