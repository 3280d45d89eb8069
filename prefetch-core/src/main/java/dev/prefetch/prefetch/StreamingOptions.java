package dev.prefetch.prefetch;

import java.time.Duration;
import java.util.Objects;
import java.util.function.Consumer;

/**
 * How blocks are read. Immutable; start from {@link #DEFAULT}.
 *
 * @param readerThreads reads in progress at a time, which is the disk's queue depth
 * @param chunkBytes most bytes per read, a power of two
 * @param mergeGapBytes runs of a block with at most this much between them are read as one
 * @param attempts how often a read is tried before it fails
 * @param retryDelay wait before the second attempt; doubles with each further one
 * @param acquireTimeout how long compute waits for a block before the sweep fails
 * @param closeTimeout how long closing waits for open leases; their memory is never freed before they end
 * @param poison fill a slot with {@code 0xDB} before it is filled, so that reading it too early or too late shows; for
 *     finding faults
 * @param traceSweeps how many of the last sweeps the trace remembers; 0 for none
 * @param tune look for the best look-ahead while decoding; leave it off where the user has fixed the look-ahead
 * @param pageLock try to page-lock the mapped file in place where blocks are copied from it to a device
 */
public record StreamingOptions(
        int readerThreads,
        int chunkBytes,
        long mergeGapBytes,
        int attempts,
        Duration retryDelay,
        Duration acquireTimeout,
        Duration closeTimeout,
        boolean poison,
        int traceSweeps,
        boolean tune,
        boolean pageLock) {

    /** Reader threads used when none are given. */
    public static final int DEFAULT_READER_THREADS = 4;

    /** Bytes per read used when none are given. */
    public static final int DEFAULT_CHUNK_BYTES = 2 << 20;

    /** Gap between runs that are read as one used when none is given. */
    public static final long DEFAULT_MERGE_GAP_BYTES = 64L << 10;

    /** What serves an NVMe disk. */
    public static final StreamingOptions DEFAULT = new StreamingOptions(
            DEFAULT_READER_THREADS,
            DEFAULT_CHUNK_BYTES,
            DEFAULT_MERGE_GAP_BYTES,
            3,
            Duration.ofMillis(20),
            Duration.ofMinutes(2),
            Duration.ofSeconds(30),
            false,
            0,
            false,
            true);

    public StreamingOptions {
        Objects.requireNonNull(retryDelay, "retryDelay");
        Objects.requireNonNull(acquireTimeout, "acquireTimeout");
        Objects.requireNonNull(closeTimeout, "closeTimeout");
        require(readerThreads >= 1, "readerThreads must be at least 1 but was " + readerThreads);
        require(
                chunkBytes >= 4096 && Integer.bitCount(chunkBytes) == 1,
                "chunkBytes must be a power of two of at least 4096 but was " + chunkBytes);
        require(mergeGapBytes >= 0, "mergeGapBytes must not be negative but was " + mergeGapBytes);
        require(attempts >= 1, "attempts must be at least 1 but was " + attempts);
        require(traceSweeps >= 0, "traceSweeps must not be negative but was " + traceSweeps);
    }

    public StreamingOptions withReaderThreads(int value) {
        return with(changed -> changed.readerThreads = value);
    }

    public StreamingOptions withChunkBytes(int value) {
        return with(changed -> changed.chunkBytes = value);
    }

    public StreamingOptions withAttempts(int value, Duration delay) {
        return with(changed -> {
            changed.attempts = value;
            changed.retryDelay = delay;
        });
    }

    public StreamingOptions withTimeouts(Duration acquire, Duration close) {
        return with(changed -> {
            changed.acquireTimeout = acquire;
            changed.closeTimeout = close;
        });
    }

    public StreamingOptions withPoison(boolean value) {
        return with(changed -> changed.poison = value);
    }

    public StreamingOptions withTraceSweeps(int value) {
        return with(changed -> changed.traceSweeps = value);
    }

    public StreamingOptions withTune(boolean value) {
        return with(changed -> changed.tune = value);
    }

    private static void require(boolean condition, String message) {
        if (!condition) {
            throw new IllegalArgumentException(message);
        }
    }

    public StreamingOptions withPageLock(boolean value) {
        return with(changed -> changed.pageLock = value);
    }

    private StreamingOptions with(Consumer<Changed> change) {
        Changed changed = new Changed(this);
        change.accept(changed);
        return new StreamingOptions(
                changed.readerThreads,
                changed.chunkBytes,
                mergeGapBytes,
                changed.attempts,
                changed.retryDelay,
                changed.acquireTimeout,
                changed.closeTimeout,
                changed.poison,
                changed.traceSweeps,
                changed.tune,
                changed.pageLock);
    }

    /** What a copy may have otherwise. */
    private static final class Changed {

        private int readerThreads;
        private int chunkBytes;
        private int attempts;
        private Duration retryDelay;
        private Duration acquireTimeout;
        private Duration closeTimeout;
        private boolean poison;
        private int traceSweeps;
        private boolean tune;
        private boolean pageLock;

        Changed(StreamingOptions from) {
            readerThreads = from.readerThreads;
            chunkBytes = from.chunkBytes;
            attempts = from.attempts;
            retryDelay = from.retryDelay;
            acquireTimeout = from.acquireTimeout;
            closeTimeout = from.closeTimeout;
            poison = from.poison;
            traceSweeps = from.traceSweeps;
            tune = from.tune;
            pageLock = from.pageLock;
        }
    }
}
