package dev.prefetch.prefetch;

import dev.prefetch.backend.CopyStream;
import dev.prefetch.backend.Device;
import dev.prefetch.backend.Event;
import dev.prefetch.backend.HostMemory;
import dev.prefetch.backend.OutOfDeviceMemoryException;
import dev.prefetch.prefetch.BlockLayout.Part;
import dev.prefetch.prefetch.StagingRing.Place;
import dev.prefetch.storage.BlockReader;
import java.lang.foreign.MemorySegment;
import java.util.Locale;
import java.util.Objects;
import java.util.function.IntPredicate;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * From the disk or the host's memory into a device's.
 *
 * <p>How it works: a chunk that lies in page-locked memory is copied from there. Any other is first read into a place of
 * the {@link StagingRing}, from the mapped file where the plan keeps the block in the host's memory, else straight from the
 * disk. Copies go into one copy stream. Before the first chunk of a transfer the stream itself waits for the event behind
 * which the slot may be written, so the host waits for nothing but a free place.
 *
 * <p>Chunks are read side by side and enter the stream in turn. Otherwise the last chunk of a block could come behind the
 * wait for the slot of the next one, which compute frees only after it has read that very block: its transfer would then
 * be hidden by nothing. Places of the ring are taken in turn too, so whoever is first has one.
 */
final class DeviceLink implements Link {

    /** Places of the ring tried for, largest first. */
    private static final int[] PLACES = {16, 8, 4, 2};

    private static final Logger LOG = LoggerFactory.getLogger(DeviceLink.class);

    private final Device device;
    private final Sources sources;
    private final CopyStream stream;
    private final StagingRing staging;
    private final @Nullable HostMemory poison;
    private final Turnstile places = new Turnstile();
    private final Turnstile copies = new Turnstile();
    /** Guards the order of what belongs together in the stream. */
    private final Object order = new Object();

    private boolean closed;

    /**
     * Where chunks come from.
     *
     * @param disk reads the file itself; closed with the link
     * @param host reads blocks that rest in the host's memory; null when there are none
     * @param inHost whether a block, by its index, rests in the host's memory
     * @param locked page-locked parts of the mapped files; closed with the link
     */
    record Sources(BlockReader disk, @Nullable BlockReader host, IntPredicate inHost, LockedFiles locked) {}

    /**
     * @param chunkBytes most bytes of a chunk
     * @throws OutOfDeviceMemoryException when the host has no page-locked memory for even the smallest ring
     */
    DeviceLink(Device device, Sources sources, long chunkBytes, boolean poison) {
        this.device = device;
        this.sources = sources;
        this.staging = ring(device, Math.max(chunkBytes, sources.disk().alignment()));
        HostMemory filled = null;
        try {
            this.stream = device.openCopyStream();
            if (poison) {
                filled = device.allocateHost(staging.placeBytes(), "poison");
                filled.memory().fill(TransferQueue.POISON);
            }
        } catch (RuntimeException e) {
            staging.close();
            throw e;
        }
        this.poison = filled;
    }

    private static StagingRing ring(Device device, long placeBytes) {
        OutOfDeviceMemoryException last = null;
        for (int places : PLACES) {
            try {
                return new StagingRing(device, places, placeBytes);
            } catch (OutOfDeviceMemoryException e) {
                LOG.warn(
                        "No page-locked memory for {} staging buffers of {} bytes: {}",
                        places,
                        placeBytes,
                        e.getMessage());
                last = e;
            }
        }
        throw new OutOfDeviceMemoryException(
                "no page-locked memory for staging: lower spring.ai.prefetch.memory.ram or raise the system's limit"
                        + " on locked memory",
                last);
    }

    @Override
    public WeightMemory allocate(long bytes, String purpose) {
        return WeightMemory.inDevice(device, bytes, purpose);
    }

    @Override
    public int alignment() {
        return sources.disk().alignment();
    }

    @Override
    public String description() {
        return String.format(
                Locale.ROOT,
                "%s, then through %d page-locked buffers of %.1f MiB%s",
                sources.host() == null
                        ? sources.disk().description()
                        : sources.host().description(),
                staging.size(),
                staging.placeBytes() / (double) (1 << 20),
                sources.locked().isEmpty() ? "" : ", most of the file being page-locked in place");
    }

    @Override
    public @Nullable Event hostWaitsFor(Transfer transfer) {
        // The copy stream waits.
        return null;
    }

    @Override
    public Hop deliver(Transfer transfer, Part chunk, long turn) {
        try {
            long length = chunk.extent().length();
            boolean inHost = sources.inHost().test(transfer.layout.block().index());
            MemorySegment locked = inHost ? sources.locked().find(chunk.extent().offset(), length) : null;
            Place place = takePlace(locked == null, turn);
            return place == null
                    ? copy(transfer, chunk, Objects.requireNonNull(locked), false, turn)
                    : copyThrough(place, transfer, chunk, inHost, turn);
        } finally {
            copies.pass(turn);
        }
    }

    private @Nullable Place takePlace(boolean needed, long turn) {
        try {
            places.await(turn);
            return needed ? staging.take() : null;
        } finally {
            places.pass(turn);
        }
    }

    private Hop copyThrough(Place place, Transfer transfer, Part chunk, boolean inHost, long turn) {
        BlockReader reader = inHost && sources.host() != null ? sources.host() : sources.disk();
        Hop hop = null;
        try {
            MemorySegment memory = place.memory().asSlice(0, chunk.extent().length());
            reader.read(chunk.extent().offset(), memory);
            hop = copy(transfer, chunk, memory, reader == sources.disk(), turn);
            return hop;
        } finally {
            staging.give(place, hop == null ? null : hop.ended());
        }
    }

    private Hop copy(Transfer transfer, Part chunk, MemorySegment from, boolean fromDisk, long turn) {
        copies.await(turn);
        synchronized (order) {
            if (transfer.copied == 0) {
                if (transfer.writeAfter != null) {
                    stream.await(transfer.writeAfter);
                }
                poison(transfer);
            }
            Event begun = stream.recordTimed();
            stream.copy(from, transfer.target.buffer(), transfer.target.offset() + chunk.memoryOffset());
            Event ended = stream.recordTimed();
            transfer.copied++;
            if (transfer.copied == transfer.chunks.size()) {
                // Here, since what enters the stream next may wait for compute.
                transfer.arrival = stream.record();
            }
            return new Hop(begun, ended, fromDisk);
        }
    }

    private void poison(Transfer transfer) {
        if (poison == null) {
            return;
        }
        long bytes = transfer.layout.byteSize();
        for (long done = 0; done < bytes; done += staging.placeBytes()) {
            MemorySegment part = poison.memory().asSlice(0, Math.min(staging.placeBytes(), bytes - done));
            stream.copy(part, transfer.target.buffer(), transfer.target.offset() + done);
        }
    }

    @Override
    public Event arrival() {
        synchronized (order) {
            return stream.record();
        }
    }

    @Override
    public void close() {
        synchronized (order) {
            if (closed) {
                return;
            }
            closed = true;
        }
        try {
            stream.close();
        } finally {
            staging.close();
            if (poison != null) {
                poison.close();
            }
            sources.locked().close();
            sources.disk().close();
        }
    }
}
