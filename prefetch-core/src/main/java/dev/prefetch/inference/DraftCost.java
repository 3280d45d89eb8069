package dev.prefetch.inference;

/**
 * What rows of decode sweeps cost here, by measurement: a straight line through the times of the latest sweeps by their
 * rows. Where sweeps wait for weights it is nearly level, and a wrong guess costs nearly nothing.
 */
final class DraftCost {

    /** Most tokens guessed at a time. */
    static final int MOST = 8;

    /** What of a sweep's weight is left after the next one. */
    private static final double MEMORY = 0.95;

    /** Tokens guessed while nothing is known, to learn what they cost. */
    private static final int TRIAL = 3;

    private double weight;
    private double rows;
    private double nanos;
    private double rowsSquared;
    private double rowsNanos;

    /** Notes how long a sweep of decode rows took. */
    void measured(int sweepRows, long sweepNanos) {
        weight = weight * MEMORY + 1;
        rows = rows * MEMORY + sweepRows;
        nanos = nanos * MEMORY + sweepNanos;
        rowsSquared = rowsSquared * MEMORY + (double) sweepRows * sweepRows;
        rowsNanos = rowsNanos * MEMORY + (double) sweepRows * sweepNanos;
    }

    /** Forgets what was measured: sweeps are computed elsewhere from now on. */
    void forget() {
        weight = 0;
        rows = 0;
        nanos = 0;
        rowsSquared = 0;
        rowsNanos = 0;
    }

    /**
     * How many tokens to guess for a sequence.
     *
     * @param sequences sequences that generate, each with a row of its own
     * @param hitRate how likely a guess is right; the second is as likely as both together
     */
    int worthwhile(int sequences, double hitRate) {
        double variance = weight == 0 ? 0 : rowsSquared / weight - rows / weight * (rows / weight);
        if (variance < 0.05) {
            return hitRate > 0.3 ? TRIAL : 0;
        }
        double perRow = Math.max(0, (rowsNanos / weight - rows / weight * (nanos / weight)) / variance);
        double sweep = Math.max(perRow * sequences, nanos / weight + perRow * (sequences - rows / weight));
        // A row pays when it brings tokens at a better price than the sweep without it.
        double priceOfToken = sweep / sequences;
        int count = 0;
        double chance = hitRate;
        while (count < MOST && chance * priceOfToken > perRow) {
            count++;
            chance *= hitRate;
        }
        return count;
    }
}
