package dev.prefetch.prefetch;

import dev.prefetch.backend.Event;
import dev.prefetch.model.BlockTensor;
import dev.prefetch.prefetch.BlockLayout.Part;
import org.jspecify.annotations.Nullable;

/**
 * The way of blocks into the memory that compute reads: from the disk into the host's, or further into a device's. Called
 * by reader threads without the lock of the {@link TransferQueue}, unless a method says otherwise.
 */
sealed interface Link extends AutoCloseable permits HostLink, DeviceLink {

    /** Memory at the end of the link. */
    WeightMemory allocate(long bytes, String purpose);

    /** Alignment of the file offsets, lengths and host addresses of reads; a power of two. */
    int alignment();

    /** How bytes travel, in words, for the log. */
    String description();

    /** What the host must wait for before it delivers the first chunk; null for nothing. Called with the lock. */
    @Nullable
    Event hostWaitsFor(Transfer transfer);

    /**
     * Brings a chunk into the transfer's memory, or as far as needs the host. With the last chunk of a transfer, its
     * {@link Transfer#arrival} is set where the device must wait for it.
     *
     * @param turn the place of the chunk in the order in which the last hop is made: the number of calls that were decided
     *     on before this one. Every turn must be taken, and a call may wait for those before it
     * @return when the last hop was in progress, on the device's clock; null when it is over now
     * @throws dev.prefetch.storage.StorageException when the file cannot be read
     * @throws dev.prefetch.backend.DeviceFailedException when the device cannot take it
     */
    @Nullable
    Hop deliver(Transfer transfer, Part chunk, long turn);

    /** Whether compute finds a tensor packed where it arrives, see {@link dev.prefetch.backend.Device#pack}. */
    default boolean packs(BlockTensor tensor) {
        return false;
    }

    /** Makes a block ready for compute when all its chunks have been delivered; once, before anybody hears of it. */
    default void complete(Transfer transfer) {}

    /** The point at which everything delivered so far is there; null when it is there now. May be called with the lock. */
    @Nullable
    Event arrival();

    /** Ends the link; nothing may be delivered any more. */
    @Override
    void close();

    /**
     * A copy over the last hop.
     *
     * @param begun timed event before it
     * @param ended timed event behind it
     * @param fromDisk whether its bytes came from the disk in this sweep
     */
    record Hop(Event begun, Event ended, boolean fromDisk) {}
}
