package dev.prefetch.prefetch;

import dev.prefetch.backend.Tier;
import dev.prefetch.model.WeightBlock;
import dev.prefetch.prefetch.Link.Hop;
import dev.prefetch.prefetch.TraceRecorder.Lane;
import java.util.EnumMap;
import java.util.Map;
import java.util.function.LongSupplier;
import org.jspecify.annotations.Nullable;

/**
 * Keeps the accounts of what happens now, by the clock it is given.
 *
 * <p>A sweep's time is divided without remainder into compute and stall: what lies between two acquires is compute of
 * the block acquired first, unless the second had to wait. The link's time is divided among the blocks whose reads
 * finish, so that reads that overlap are not counted twice.
 */
final class SweepMeter implements Meter {

    /** Weight of the newest measurement in the running averages. */
    private static final double NEWEST = 0.25;

    private final LongSupplier nanoTime;
    private final TraceRecorder trace;
    private final Lane link;
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
    private long deviceBytes;
    private long linkBytes;
    private long loadedBytes;
    private long droppedBlocks;
    private long retries;
    private long failures;
    private long expertHits;
    private long expertMisses;

    /**
     * @param link the lane of the last hop: the disk's, or that of the link to a device
     */
    SweepMeter(int blocks, LongSupplier nanoTime, TraceRecorder trace, Lane link) {
        this.nanoTime = nanoTime;
        this.trace = trace;
        this.link = link;
        this.computeNanosByBlock = new double[Regime.values().length][blocks];
    }

    @Override
    public boolean inSweep() {
        return inSweep;
    }

    @Override
    public Regime regime() {
        return regime;
    }

    @Override
    public long lastSweepNanos() {
        return lastSweepNanos;
    }

    @Override
    public int tokens() {
        return tokens;
    }

    @Override
    public void beginSweep(Regime newRegime, int newTokens) {
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

    @Override
    public void endSweep() {
        if (inSweep) {
            endSweepAt(nanoTime.getAsLong());
        }
    }

    @Override
    public void endForgottenSweep() {
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

    @Override
    public void stallStarted() {
        computed(nanoTime.getAsLong());
        computing = null;
    }

    @Override
    public void stallEnded(WeightBlock block) {
        long now = nanoTime.getAsLong();
        if (inSweep) {
            stallNanos += now - markNanos;
            if (trace.recording()) {
                trace.add(Lane.WAITING, block.label(), markNanos, now, 0);
            }
            markNanos = now;
            computing = block;
        }
    }

    @Override
    public void acquired(WeightBlock block, @Nullable Tier foundIn) {
        computed(nanoTime.getAsLong());
        computing = block;
        if (foundIn == null) {
            return;
        }
        hostBlocks++;
        if (foundIn == Tier.DEVICE) {
            deviceBytes += block.byteSize();
        } else {
            hostBytes += block.byteSize();
        }
    }

    @Override
    public void picking(WeightBlock expert, int picks) {
        computed(nanoTime.getAsLong());
        computing = expert;
        hostBlocks += picks;
        deviceBytes += picks * expert.byteSize();
    }

    @Override
    public void released() {
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
            if (trace.recording()) {
                trace.add(Lane.COMPUTE, computing.label(), markNanos, now, 0);
            }
        } else if (spent > 0) {
            trace.add(Lane.COMPUTE, "before weights", markNanos, now, 0);
        }
        markNanos = now;
    }

    @Override
    public void readStarted() {
        linkStarted();
    }

    /** A copy over the link begins. */
    void linkStarted() {
        if (readsInFlight++ == 0) {
            linkMarkNanos = nanoTime.getAsLong();
        }
    }

    @Override
    public void readEnded(WeightBlock block, long bytes, boolean load, @Nullable Hop hop) {
        linkEnded(block);
        moved(bytes, load, true);
    }

    /** A copy over the link has ended, well or not. */
    void linkEnded(WeightBlock block) {
        settleLink(nanoTime.getAsLong(), block);
        readsInFlight--;
    }

    /** Counts what came over the link. */
    void moved(long bytes, boolean load, boolean fromDisk) {
        if (load) {
            loadedBytes += bytes;
            return;
        }
        if (fromDisk) {
            diskBytes += bytes;
        }
        if (link == Lane.LINK) {
            linkBytes += bytes;
            if (!fromDisk) {
                hostBytes += bytes;
            }
        }
        trace.addBytes(link, bytes);
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
        if (trace.recording()) {
            trace.add(link, block == null ? "" : block.label(), linkMarkNanos, now, 0);
        }
        linkMarkNanos = now;
    }

    @Override
    public void blockStreamed() {
        diskBlocks++;
    }

    @Override
    public void blockDropped() {
        droppedBlocks++;
    }

    @Override
    public void retried() {
        retries++;
    }

    @Override
    public void failed() {
        failures++;
    }

    @Override
    public void expertAsked(boolean hit) {
        if (regime == Regime.DECODE) {
            expertAskedInDecode(hit);
        }
    }

    void expertAskedInDecode(boolean hit) {
        if (hit) {
            expertHits++;
        } else {
            expertMisses++;
        }
    }

    @Override
    public double layerComputeSeconds(boolean experts, int layers) {
        return (experts ? prefillExpertNanos : prefillDenseNanos) / 1e9 / layers;
    }

    /** Running average of the compute time of a block; 0 when never measured. */
    double computeNanos(Regime ofRegime, int block) {
        return computeNanosByBlock[ofRegime.ordinal()][block];
    }

    @Override
    public PrefetchStatistics finished(Regime ofRegime) {
        return finished.getOrDefault(ofRegime, PrefetchStatistics.NONE);
    }

    @Override
    public PrefetchStatistics snapshot() {
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
                deviceBytes,
                linkBytes,
                loadedBytes,
                droppedBlocks,
                retries,
                failures,
                expertHits,
                expertMisses);
    }
}
