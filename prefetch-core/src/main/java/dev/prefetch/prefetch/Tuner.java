package dev.prefetch.prefetch;

import java.util.Arrays;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * Looks for the best look-ahead by trying: a few decode sweeps with the present value, a few with a neighbouring one, and
 * the change is kept only if the median sweep was faster by more than noise; else it is rolled back. When neither
 * neighbour is better it rests for a while, then looks again, since contexts grow and disks change.
 *
 * <p>Sweeps of different numbers of tokens are not compared: a change of the number starts the trial over.
 */
final class Tuner {

    /** Sweeps per side of a comparison. */
    static final int TRIAL_SWEEPS = 6;

    /** Sweeps after a change that do not count: the pipeline has to settle. */
    static final int SETTLING_SWEEPS = 2;

    /** Sweeps to rest when nothing was better. */
    static final int RESTING_SWEEPS = 200;

    /** A change must be faster by this much. */
    private static final double BETTER = 0.98;

    private static final Logger LOG = LoggerFactory.getLogger(Tuner.class);

    private final int most;
    private final long[] samples = new long[TRIAL_SWEEPS];
    private int count;
    private int toSkip = SETTLING_SWEEPS;
    private int tokens;
    private int accepted;
    private int current;
    private long acceptedNanos;
    private int direction = 1;
    private boolean otherDirectionTried;

    /**
     * @param start look-ahead to start from; from 0, which somebody may have fixed, the first sweep leads to 1
     * @param most largest look-ahead, what the slots allow
     */
    Tuner(int start, int most) {
        this.most = most;
        this.accepted = Math.clamp(start, Math.min(1, most), most);
        this.current = accepted;
    }

    /** Takes the time of a decode sweep and returns the look-ahead for the next. */
    int sweepTook(long nanos, int sweepTokens) {
        if (sweepTokens != tokens) {
            tokens = sweepTokens;
            restart();
            return current;
        }
        if (toSkip > 0) {
            toSkip--;
            return current;
        }
        samples[count++] = nanos;
        if (count == TRIAL_SWEEPS) {
            decide(median());
        }
        return current;
    }

    private void restart() {
        current = accepted;
        acceptedNanos = 0;
        otherDirectionTried = false;
        settle(SETTLING_SWEEPS);
    }

    private void settle(int sweeps) {
        count = 0;
        toSkip = sweeps;
    }

    private void decide(long nanos) {
        settle(SETTLING_SWEEPS);
        if (acceptedNanos == 0) {
            acceptedNanos = nanos;
            propose();
        } else if (nanos < acceptedNanos * BETTER) {
            LOG.info(
                    "Look-ahead {} is faster than {}: {} instead of {} ms per sweep",
                    current,
                    accepted,
                    nanos / 1_000_000,
                    acceptedNanos / 1_000_000);
            accepted = current;
            acceptedNanos = nanos;
            // It was better to come this way; the value before is known to be worse.
            otherDirectionTried = true;
            propose();
        } else {
            current = accepted;
            turn();
        }
    }

    private void propose() {
        int next = accepted + direction;
        if (next >= 1 && next <= most) {
            current = next;
        } else {
            current = accepted;
            turn();
        }
    }

    private void turn() {
        direction = -direction;
        if (otherDirectionTried) {
            otherDirectionTried = false;
            acceptedNanos = 0;
            settle(RESTING_SWEEPS);
            return;
        }
        otherDirectionTried = true;
        int next = accepted + direction;
        if (next >= 1 && next <= most) {
            current = next;
        } else {
            turn();
        }
    }

    private long median() {
        long[] sorted = samples.clone();
        Arrays.sort(sorted);
        return (sorted[(TRIAL_SWEEPS - 1) / 2] + sorted[TRIAL_SWEEPS / 2]) / 2;
    }
}
