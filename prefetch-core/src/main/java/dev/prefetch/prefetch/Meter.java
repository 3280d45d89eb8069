package dev.prefetch.prefetch;

import dev.prefetch.backend.Tier;
import dev.prefetch.model.WeightBlock;
import dev.prefetch.prefetch.Link.Hop;
import org.jspecify.annotations.Nullable;

/** Keeps the accounts of sweeps, stalls and the link. Guarded by the lock of the {@link TransferQueue}. */
interface Meter {

    boolean inSweep();

    /** Of the current sweep, or of the last. */
    Regime regime();

    /** Tokens of the current sweep. */
    int tokens();

    /** How long the last finished sweep took. */
    long lastSweepNanos();

    void beginSweep(Regime regime, int tokens);

    /** Ends the sweep now; whatever it queued on a device has been waited for. */
    void endSweep();

    /** Ends a sweep nobody has ended, at the time compute last let go of a block. */
    void endForgottenSweep();

    /** Compute asks for its next block and does not find it. */
    void stallStarted();

    /** The wait that {@link #stallStarted()} began is over, with or without the block. */
    void stallEnded(WeightBlock block);

    /**
     * Compute has a block.
     *
     * @param foundIn the tier it was found in; null when it was brought for this
     */
    void acquired(WeightBlock block, @Nullable Tier foundIn);

    /** Compute has all experts of a layer, in the device's memory, which picks some of them: {@code picks} like the one given. */
    void picking(WeightBlock expert, int picks);

    void released();

    void readStarted();

    /**
     * A read has ended, well or not.
     *
     * @param bytes what it brought
     * @param load whether for resident blocks
     * @param hop what is left of its way, if anything
     */
    void readEnded(WeightBlock block, long bytes, boolean load, @Nullable Hop hop);

    void blockStreamed();

    void blockDropped();

    void retried();

    void failed();

    void expertAsked(boolean hit);

    /**
     * Measured compute of a prompt sweep per layer; 0 when never measured. Experts that were not used do not count.
     *
     * @param experts of the experts, or of everything else
     */
    double layerComputeSeconds(boolean experts, int layers);

    /** The finished sweeps of a regime; what was read between sweeps belongs to neither. */
    PrefetchStatistics finished(Regime ofRegime);

    PrefetchStatistics snapshot();
}
