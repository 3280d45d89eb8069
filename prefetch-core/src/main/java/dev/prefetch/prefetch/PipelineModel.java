package dev.prefetch.prefetch;

import java.util.SplittableRandom;

/**
 * Plays the pipeline of link, slots and compute with given times. The link transfers in order, one block at a time; a
 * transfer starts when the link and a slot are free; compute of a block starts when the block before is done and its own
 * bytes are there; a slot is free when its block is computed.
 */
final class PipelineModel {

    /** Sweeps until the end of one prefetches the start of the next as it always will. */
    private static final int SETTLING_SWEEPS = 3;

    private static final int SWEEPS = 24;

    /** The same numbers for every plan, so that plans are compared and not luck. */
    private static final long SEED = 42;

    private PipelineModel() {}

    /**
     * Mean seconds per sweep in the steady state, where the end of a sweep prefetches the start of the next. Repeatable.
     *
     * @param compute seconds per block, in order
     * @param transfer mean seconds per block; 0 for blocks that do not stream
     * @param slots slots, at least 1
     * @param variation standard deviation of a transfer's time, as a share of its mean; 0 for a steady link. A disk's take
     *     unevenly long, which is what slots beyond the second are for
     */
    static double sweepSeconds(double[] compute, double[] transfer, int slots, double variation) {
        SplittableRandom random = new SplittableRandom(SEED);
        double[] freeAt = new double[slots];
        int next = 0;
        double link = 0;
        double now = 0;
        double settled = 0;
        for (int sweep = 0; sweep < SETTLING_SWEEPS + SWEEPS; sweep++) {
            if (sweep == SETTLING_SWEEPS) {
                settled = now;
            }
            for (int block = 0; block < compute.length; block++) {
                if (transfer[block] > 0) {
                    double factor = Math.clamp(1 + variation * random.nextGaussian(), 0.1, 1.9);
                    link = Math.max(link, freeAt[next]) + transfer[block] * factor;
                    now = Math.max(now, link) + compute[block];
                    freeAt[next] = now;
                    next = (next + 1) % slots;
                } else {
                    now += compute[block];
                }
            }
        }
        return (now - settled) / SWEEPS;
    }
}
