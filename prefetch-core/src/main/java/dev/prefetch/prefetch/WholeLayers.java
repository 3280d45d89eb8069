package dev.prefetch.prefetch;

import java.util.Arrays;

/**
 * Decides whether a prompt sweep reads all experts of a layer ahead of the router or waits for what it chooses. Learns
 * how many experts prompts of a size really touch: far fewer than an even choice would.
 */
final class WholeLayers {

    private static final double NEWEST = 0.1;

    /** Share of a layer's experts that were touched, by the binary logarithm of the sweep's tokens; -1 for unknown. */
    private final double[] touched = new double[Integer.SIZE];

    WholeLayers() {
        Arrays.fill(touched, -1);
    }

    /** The router of a layer has spoken. */
    void observe(int tokens, double share) {
        int size = size(tokens);
        touched[size] = touched[size] < 0 ? share : touched[size] + NEWEST * (share - touched[size]);
    }

    /** Share of a layer's experts that sweeps of this size touch; -1 when none was seen. */
    double touchedShare(int tokens) {
        return touched[size(tokens)];
    }

    private static int size(int tokens) {
        return Integer.SIZE - 1 - Integer.numberOfLeadingZeros(Math.max(1, tokens));
    }

    /**
     * Whether reading ahead pays. Waiting for the router, a layer takes its dense part and then the longer of reading and
     * computing what was chosen; reading everything ahead, it takes the longer of computing all of it and reading all.
     *
     * @param denseSeconds compute of a layer's attention and router
     * @param expertSeconds compute of a layer's chosen experts
     * @param readSeconds reading all of a layer's experts that are not in memory
     */
    boolean pay(int tokens, double denseSeconds, double expertSeconds, double readSeconds) {
        double share = touchedShare(tokens);
        if (share < 0 || readSeconds <= 0) {
            return false;
        }
        double chosenOnly = denseSeconds + Math.max(expertSeconds, share * readSeconds);
        double allAhead = Math.max(denseSeconds + expertSeconds, readSeconds);
        return allAhead < chosenOnly;
    }
}
