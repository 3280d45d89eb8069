package dev.prefetch.prefetch;

import dev.prefetch.model.WeightBlock;
import java.util.EnumMap;
import java.util.Map;
import java.util.function.LongSupplier;
import org.jspecify.annotations.Nullable;

/**
 * Keeps the accounts of sweeps, stalls and the link. Guarded by the lock of the {@link TransferQueue}.
 *
 * <p>A sweep's time is divided without remainder into compute and stall: what lies between two acquires is compute of
 * the block acquired first, unless the second had to wait. The link's time is divided among the blocks whose reads
 * finish, so that reads that overlap are not counted twice.
 */
final class SweepMeter {

    /** Weight of the newest measurement in the running averages. */
    private static final double NEWEST = 0.25;

    private final LongSupplier nanoTime;
    private final TraceRecorder trace;
    private final double[][] computeNanosByBlock;

    private boolean inSweep;
    private Regime regime = Regime.DECODE;
    private int tokens;
    private SweepEvent sweepEvent = new SweepEvent();
    private long markNanos;
    private long lastReleaseNanos;
    private @Nullable WeightBlock computing;
    private PrefetchStatistics atSweepStart = PrefetchStatistics.NONE;
    private final Map<Regime, PrefetchStatistics> finished = new EnumMap<>(Regime.class);

    private long lastSweepNanos;
    private long sweepDenseNanos;
    private long sweepExpertNanos;
    private long prefillDenseNanos;
    private long prefillExpertNanos;

    private int readsInFlight;
    private long linkMarkNanos;

    private long sweeps;
    private long computeNanos;
    private long stallNanos;
    private long linkBusyNanos;
    private long idleLinkBusyNanos;
    private long diskBytes;
    private long diskBlocks;
    private long hostBytes;
    private long hostBlocks;
    private long loadedBytes;
    private long droppedBlocks;
    private long retries;
    private long failures;
    private long expertHits;
    private long expertMisses;

    SweepMeter(int blocks, LongSupplier nanoTime, TraceRecorder trace) {
        this.nanoTime = nanoTime;
        this.trace = trace;
        this.computeNanosByBlock = new double[Regime.values().length][blocks];
    }

    boolean inSweep() {
        return inSweep;
    }

    Regime regime() {
        return regime;
    }

    /** How long the last finished sweep took. */
    long lastSweepNanos() {
        return lastSweepNanos;
    }

    /** Tokens of the current sweep. */
    int tokens() {
        return tokens;
    }

    void beginSweep(Regime newRegime, int newTokens) {
        long now = nanoTime.getAsLong();
        if (inSweep) {
            endSweepAt(now);
        }
        settleLink(now, null);
        inSweep = true;
        regime = newRegime;
        tokens = newTokens;
        markNanos = now;
        lastReleaseNanos = now;
        computing = null;
        sweepDenseNanos = 0;
        sweepExpertNanos = 0;
        atSweepStart = snapshot();
        sweepEvent = new SweepEvent();
        sweepEvent.begin();
        trace.beginSweep(newRegime, newTokens, now);
    }

    /** Ends the sweep now. */
    void endSweep() {
        if (inSweep) {
            endSweepAt(nanoTime.getAsLong());
        }
    }

    /** Ends a sweep nobody has ended, at the time compute last let go of a block. */
    void endForgottenSweep() {
        if (inSweep) {
            endSweepAt(Math.max(markNanos, lastReleaseNanos));
        }
    }

    private void endSweepAt(long now) {
        settleLink(now, null);
        computed(now);
        if (regime == Regime.PREFILL) {
            prefillDenseNanos = sweepDenseNanos;
            prefillExpertNanos = sweepExpertNanos;
        }
        inSweep = false;
        sweeps++;
        trace.endSweep(now);
        PrefetchStatistics sweep = snapshot().since(atSweepStart);
        lastSweepNanos = sweep.sweepNanos();
        finished.merge(regime, sweep, PrefetchStatistics::plus);
        if (sweepEvent.shouldCommit()) {
            sweepEvent.regime = regime.name();
            sweepEvent.tokens = tokens;
            sweepEvent.diskBytes = sweep.diskBytes();
            sweepEvent.stallNanos = sweep.stallNanos();
            sweepEvent.linkBusyNanos = sweep.linkBusyNanos();
            sweepEvent.commit();
        }
    }

    /** Compute asks for its next block and does not find it. */
    void stallStarted() {
        computed(nanoTime.getAsLong());
        computing = null;
    }

    /** The wait that {@link #stallStarted()} began is over, with or without the block. */
    void stallEnded(WeightBlock block) {
        long now = nanoTime.getAsLong();
        if (inSweep) {
            stallNanos += now - markNanos;
            trace.add(TraceRecorder.Lane.WAITING, block.label(), markNanos, now, 0);
            markNanos = now;
            computing = block;
        }
    }

    /** Compute has a block. */
    void acquired(WeightBlock block, boolean transferred) {
        computed(nanoTime.getAsLong());
        computing = block;
        if (!transferred) {
            hostBlocks++;
            hostBytes += block.byteSize();
        }
    }

    void released() {
        lastReleaseNanos = nanoTime.getAsLong();
    }

    private void computed(long now) {
        if (!inSweep) {
            return;
        }
        long spent = now - markNanos;
        computeNanos += spent;
        if (computing != null) {
            double[] averages = computeNanosByBlock[regime.ordinal()];
            double before = averages[computing.index()];
            averages[computing.index()] = before == 0 ? spent : before + NEWEST * (spent - before);
            if (computing.kind() == WeightBlock.Kind.EXPERT) {
                sweepExpertNanos += spent;
            } else {
                sweepDenseNanos += spent;
            }
            trace.add(TraceRecorder.Lane.COMPUTE, computing.label(), markNanos, now, 0);
        } else if (spent > 0) {
            trace.add(TraceRecorder.Lane.COMPUTE, "before weights", markNanos, now, 0);
        }
        markNanos = now;
    }

    void readStarted() {
        if (readsInFlight++ == 0) {
            linkMarkNanos = nanoTime.getAsLong();
        }
    }

    /** A read has ended, well or not. */
    void readEnded(WeightBlock block, long bytes, boolean load) {
        settleLink(nanoTime.getAsLong(), block);
        readsInFlight--;
        if (load) {
            loadedBytes += bytes;
        } else {
            diskBytes += bytes;
            trace.addDiskBytes(bytes);
        }
    }

    private void settleLink(long now, @Nullable WeightBlock block) {
        if (readsInFlight == 0) {
            return;
        }
        long spent = now - linkMarkNanos;
        if (inSweep) {
            linkBusyNanos += spent;
        } else {
            idleLinkBusyNanos += spent;
        }
        trace.add(TraceRecorder.Lane.DISK, block == null ? "" : block.label(), linkMarkNanos, now, 0);
        linkMarkNanos = now;
    }

    void blockStreamed() {
        diskBlocks++;
    }

    void blockDropped() {
        droppedBlocks++;
    }

    void retried() {
        retries++;
    }

    void failed() {
        failures++;
    }

    void expertAsked(boolean hit) {
        if (regime == Regime.DECODE) {
            if (hit) {
                expertHits++;
            } else {
                expertMisses++;
            }
        }
    }

    /**
     * Measured compute of a prompt sweep per layer; 0 when never measured. Experts that were not used do not count.
     *
     * @param experts of the experts, or of everything else
     */
    double layerComputeSeconds(boolean experts, int layers) {
        return (experts ? prefillExpertNanos : prefillDenseNanos) / 1e9 / layers;
    }

    /** Running average of the compute time of a block; 0 when never measured. */
    double computeNanos(Regime ofRegime, int block) {
        return computeNanosByBlock[ofRegime.ordinal()][block];
    }

    /** The finished sweeps of a regime; what was read between sweeps belongs to neither. */
    PrefetchStatistics finished(Regime ofRegime) {
        return finished.getOrDefault(ofRegime, PrefetchStatistics.NONE);
    }

    PrefetchStatistics snapshot() {
        return new PrefetchStatistics(
                sweeps,
                computeNanos + stallNanos,
                computeNanos,
                stallNanos,
                linkBusyNanos,
                idleLinkBusyNanos,
                diskBytes,
                diskBlocks,
                hostBytes,
                hostBlocks,
                loadedBytes,
                droppedBlocks,
                retries,
                failures,
                expertHits,
                expertMisses);
    }
}
