package dev.prefetch.prefetch;

/**
 * Plays the pipeline of link, slots and compute with given times. The link transfers in order, one block at a time; a
 * transfer starts when the link and a slot are free; compute of a block starts when the block before is done and its own
 * bytes are there; a slot is free when its block is computed.
 */
final class PipelineModel {

    private static final int SWEEPS = 4;

    private PipelineModel() {}

    /**
     * Seconds per sweep in the steady state, where the end of a sweep prefetches the start of the next.
     *
     * @param compute seconds per block, in order
     * @param transfer seconds per block; 0 for blocks that do not stream
     * @param slots slots, at least 1
     */
    static double sweepSeconds(double[] compute, double[] transfer, int slots) {
        double[] freeAt = new double[slots];
        int next = 0;
        double link = 0;
        double now = 0;
        double previousEnd = 0;
        double sweep = 0;
        for (int i = 0; i < SWEEPS; i++) {
            for (int block = 0; block < compute.length; block++) {
                if (transfer[block] > 0) {
                    link = Math.max(link, freeAt[next]) + transfer[block];
                    now = Math.max(now, link) + compute[block];
                    freeAt[next] = now;
                    next = (next + 1) % slots;
                } else {
                    now += compute[block];
                }
            }
            sweep = now - previousEnd;
            previousEnd = now;
        }
        return sweep;
    }
}
