package dev.prefetch.prefetch;

import java.util.Map;

/**
 * What moved and what it cost, since the weights were opened or, as a difference, over a span of time. Times are of
 * sweeps only: what happens between two sweeps (idle engine, prefetching for the next) is in {@code idleLinkBusyNanos}.
 *
 * @param sweeps finished sweeps
 * @param sweepNanos how long they took; {@code computeNanos + stallNanos}
 * @param computeNanos of it, what compute used
 * @param stallNanos of it, what compute waited for weights
 * @param linkBusyNanos of it, how long at least one read was in progress
 * @param idleLinkBusyNanos how long at least one read was in progress outside sweeps
 * @param diskBytes read from the disk for streaming, useful or not
 * @param diskBlocks blocks read completely for streaming
 * @param hostBytes bytes of blocks that lay in the host's memory: where compute read them, or before they were copied to a
 *     device
 * @param hostBlocks blocks that compute found where it reads them, without a transfer
 * @param deviceBytes bytes of blocks that compute found in a device's memory, without a transfer
 * @param linkBytes copied to a device for streaming, useful or not; 0 where compute reads the host's memory
 * @param loadedBytes read from the disk once, for resident blocks
 * @param droppedBlocks transfers and filled slots given up because compute no longer needed them
 * @param retries reads repeated after an error
 * @param failures transfers that failed for good
 * @param expertHits experts found in the cache, in decode sweeps
 * @param expertMisses experts that had to be read, in decode sweeps
 */
public record PrefetchStatistics(
        long sweeps,
        long sweepNanos,
        long computeNanos,
        long stallNanos,
        long linkBusyNanos,
        long idleLinkBusyNanos,
        long diskBytes,
        long diskBlocks,
        long hostBytes,
        long hostBlocks,
        long deviceBytes,
        long linkBytes,
        long loadedBytes,
        long droppedBlocks,
        long retries,
        long failures,
        long expertHits,
        long expertMisses) {

    /** Nothing has happened yet. */
    public static final PrefetchStatistics NONE =
            new PrefetchStatistics(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0);

    /** What happened after an earlier snapshot of the same weights. */
    public PrefetchStatistics since(PrefetchStatistics earlier) {
        return new PrefetchStatistics(
                sweeps - earlier.sweeps,
                sweepNanos - earlier.sweepNanos,
                computeNanos - earlier.computeNanos,
                stallNanos - earlier.stallNanos,
                linkBusyNanos - earlier.linkBusyNanos,
                idleLinkBusyNanos - earlier.idleLinkBusyNanos,
                diskBytes - earlier.diskBytes,
                diskBlocks - earlier.diskBlocks,
                hostBytes - earlier.hostBytes,
                hostBlocks - earlier.hostBlocks,
                deviceBytes - earlier.deviceBytes,
                linkBytes - earlier.linkBytes,
                loadedBytes - earlier.loadedBytes,
                droppedBlocks - earlier.droppedBlocks,
                retries - earlier.retries,
                failures - earlier.failures,
                expertHits - earlier.expertHits,
                expertMisses - earlier.expertMisses);
    }

    /** What happened here and there together. */
    public PrefetchStatistics plus(PrefetchStatistics other) {
        return new PrefetchStatistics(
                sweeps + other.sweeps,
                sweepNanos + other.sweepNanos,
                computeNanos + other.computeNanos,
                stallNanos + other.stallNanos,
                linkBusyNanos + other.linkBusyNanos,
                idleLinkBusyNanos + other.idleLinkBusyNanos,
                diskBytes + other.diskBytes,
                diskBlocks + other.diskBlocks,
                hostBytes + other.hostBytes,
                hostBlocks + other.hostBlocks,
                deviceBytes + other.deviceBytes,
                linkBytes + other.linkBytes,
                loadedBytes + other.loadedBytes,
                droppedBlocks + other.droppedBlocks,
                retries + other.retries,
                failures + other.failures,
                expertHits + other.expertHits,
                expertMisses + other.expertMisses);
    }

    /**
     * Share of the time that could be hidden that was hidden, {@code (C + T - measured) / min(C, T)}, with C compute, T
     * link busy and measured the sweeps' time; 1 when there was nothing to hide.
     */
    public double overlapEfficiency() {
        long hideable = Math.min(computeNanos, linkBusyNanos);
        return hideable == 0 ? 1 : (double) (computeNanos + linkBusyNanos - sweepNanos) / hideable;
    }

    /** {@code max(C, T) / measured}: 1 when the slower of compute and link never waited; 1 when nothing was measured. */
    public double rooflineFraction() {
        return sweepNanos == 0 ? 1 : (double) Math.max(computeNanos, linkBusyNanos) / sweepNanos;
    }

    /** Share of the sweeps' time in which the link was busy. */
    public double linkUtilisation() {
        return sweepNanos == 0 ? 0 : (double) linkBusyNanos / sweepNanos;
    }

    /** Bytes per second of the link while it was busy; 0 when it never was. */
    public double linkBytesPerSecond() {
        long busy = linkBusyNanos + idleLinkBusyNanos;
        return busy == 0 ? 0 : (linkBytes > 0 ? linkBytes : diskBytes) * 1e9 / busy;
    }

    /** Share of the experts asked for in decode sweeps that were in the cache; 0 when none was asked for. */
    public double expertHitRate() {
        long asked = expertHits + expertMisses;
        return asked == 0 ? 0 : (double) expertHits / asked;
    }

    /** Bytes that compute used, by the tier they came from in that sweep, slowest first. */
    public Map<String, Long> bytesByTier() {
        return Map.of("DISK", diskBytes, "HOST", hostBytes, "DEVICE", deviceBytes);
    }
}
