package dev.prefetch.prefetch;

import dev.prefetch.model.WeightBlock;
import java.util.List;
import org.jspecify.annotations.Nullable;

/** Gives compute the weights of a model, block by block, wherever they lie. */
public interface WeightSource extends AutoCloseable {

    /**
     * Waits until the block's bytes can be read by the device and holds them. Called by the compute thread, in the
     * static order within a sweep; the block of the highest index that was acquired tells the source how far compute is.
     * The experts of a layer may come in any order.
     *
     * @throws WeightUnavailableException when the bytes cannot be had
     */
    WeightLease acquire(WeightBlock block);

    /**
     * {@link #acquire} for the host's device: the block's bytes where the host reads them. Of the embedding, and of blocks
     * that {@link #decodesOnHost}.
     *
     * @throws WeightUnavailableException when the bytes cannot be had
     */
    default WeightLease acquireOnHost(WeightBlock block) {
        return acquire(block);
    }

    /** Whether decode rows are put through this block by the host, which has its bytes, and not by the device, which has not. */
    default boolean decodesOnHost(WeightBlock block) {
        return false;
    }

    /**
     * Says that a sweep begins now. Optional: a source notices by itself when the order starts again, but then counts
     * the time between two sweeps less exactly.
     *
     * @param regime what the sweep is for
     * @param tokens tokens it computes
     */
    default void beginSweep(Regime regime, int tokens) {}

    /** Says that the sweep is over, also when it failed. */
    default void endSweep() {}

    /**
     * Says which experts of a layer compute is going to acquire, as soon as the router has spoken, so that they are read
     * as one batch. Optional.
     *
     * @param experts the experts, in the order in which they will be acquired
     */
    default void prefetch(List<WeightBlock> experts) {}

    /**
     * Which of these experts to acquire next so as to wait least: one that is there, or else the one that comes first.
     *
     * @param experts experts of one layer that {@link #prefetch} was told of and that were not acquired yet, in that
     *     order; at least one
     * @return its place in the list
     */
    default int readiest(List<WeightBlock> experts) {
        return 0;
    }

    /**
     * Holds all experts of a layer together, where all of them stay in the memory of a device that picks those it needs
     * itself. Instead of {@link #prefetch} and {@link #acquire} for each.
     *
     * @param experts all experts of the layer
     * @param picks how many of them the device is going to read, for the accounts
     * @return null where they do not stay there and compute has to say which ones it needs
     */
    default @Nullable ExpertsLease acquireAll(List<WeightBlock> experts, int picks) {
        return null;
    }

    /** What moved so far; nothing for a source that moves nothing. Safe for any thread. */
    default PrefetchStatistics statistics() {
        return PrefetchStatistics.NONE;
    }

    /** Releases everything, after open leases have been closed. */
    @Override
    void close();
}
