package dev.prefetch.prefetch;

import dev.prefetch.backend.Device;
import dev.prefetch.backend.Event;
import dev.prefetch.backend.HostMemory;
import java.lang.foreign.MemorySegment;
import java.util.concurrent.ArrayBlockingQueue;
import java.util.concurrent.BlockingQueue;
import org.jspecify.annotations.Nullable;

/**
 * A capped number of page-locked buffers through which chunks pass on their way to a device.
 *
 * <p>How it works: a reader thread takes a place, which may still be copied from, waits for the event behind that copy,
 * fills it, queues the copy, and gives the place back with the event behind the new copy. Places come back in the order of
 * their copies, so the first to be taken is the first to be free.
 */
final class StagingRing implements AutoCloseable {

    private final HostMemory memory;
    private final long placeBytes;
    private final int size;
    private final BlockingQueue<Place> free;

    /**
     * @param places buffers, at least 1
     * @param placeBytes bytes of each
     * @throws dev.prefetch.backend.OutOfDeviceMemoryException when the host cannot give that much page-locked memory
     */
    StagingRing(Device device, int places, long placeBytes) {
        this.memory = device.allocateHost(places * placeBytes, "staging of transfers");
        this.placeBytes = placeBytes;
        this.size = places;
        this.free = new ArrayBlockingQueue<>(places);
        for (int i = 0; i < places; i++) {
            free.add(new Place(memory.memory().asSlice(i * placeBytes, placeBytes), null));
        }
    }

    int size() {
        return size;
    }

    long placeBytes() {
        return placeBytes;
    }

    /** Waits for a place whose memory may be written. The caller gives it back. */
    Place take() {
        boolean interrupted = false;
        try {
            while (true) {
                try {
                    Place place = free.take();
                    awaitCopy(place);
                    return place;
                } catch (InterruptedException e) {
                    // Only close() stops a reader, and it first lets the places come back.
                    interrupted = true;
                }
            }
        } finally {
            if (interrupted) {
                Thread.currentThread().interrupt();
            }
        }
    }

    private void awaitCopy(Place place) {
        Event copied = place.copied;
        if (copied == null) {
            return;
        }
        try {
            copied.await();
        } catch (RuntimeException e) {
            // The device is lost; nothing copies from the place any more.
            give(place, null);
            throw e;
        }
    }

    /**
     * Gives a place back.
     *
     * @param copied completes when it may be written again; null for now
     */
    void give(Place place, @Nullable Event copied) {
        free.add(new Place(place.memory, copied));
    }

    /** Releases the memory. No copy from it may be in progress. */
    @Override
    public void close() {
        memory.close();
    }

    /** Memory of one chunk. */
    record Place(MemorySegment memory, @Nullable Event copied) {}
}
