package dev.prefetch.prefetch;

import dev.prefetch.backend.DeviceBuffer;
import dev.prefetch.backend.Event;
import dev.prefetch.prefetch.SlotRing.State;
import java.util.ArrayList;
import java.util.List;
import org.jspecify.annotations.Nullable;

/** Slots with their memory. Guarded by the lock of the {@link TransferQueue}, except for the states themselves. */
final class SlotPool {

    /** Most bytes asked of the device at once, so that a pool does not need one huge run of memory. */
    private static final long SLAB_BYTES = 1L << 30;

    private final SlotRing ring;
    private final long slotBytes;
    private final List<WeightMemory> memory = new ArrayList<>();
    private final List<DeviceBuffer> slabs = new ArrayList<>();
    private final @Nullable Event[] refillAfter;

    SlotPool(Link link, int slots, long slotBytes, String purpose) {
        this.ring = new SlotRing(slots);
        this.slotBytes = slotBytes;
        this.refillAfter = new Event[slots];
        int perSlab = (int) Math.max(1, Math.min(slots, SLAB_BYTES / Math.max(1, slotBytes)));
        try {
            for (int first = 0; first < slots; first += perSlab) {
                int count = Math.min(perSlab, slots - first);
                WeightMemory slab = link.allocate(count * slotBytes, purpose);
                slabs.add(slab.buffer());
                for (int i = 0; i < count; i++) {
                    memory.add(slab.slice(i * slotBytes, slotBytes));
                }
            }
        } catch (RuntimeException e) {
            free();
            throw e;
        }
    }

    SlotRing ring() {
        return ring;
    }

    int size() {
        return ring.size();
    }

    long slotBytes() {
        return slotBytes;
    }

    WeightMemory memory(SlotTicket ticket) {
        return memory.get(ticket.slot());
    }

    /** Claims an empty slot for a block, or returns null when there is none. */
    @Nullable
    SlotTicket claim(int block) {
        return ring.claim(block);
    }

    /** Slots that are not empty. */
    int occupied() {
        int occupied = 0;
        for (int slot = 0; slot < ring.size(); slot++) {
            if (ring.state(slot) != State.EMPTY) {
                occupied++;
            }
        }
        return occupied;
    }

    /** Ends a lease; once it is the last one the memory may be refilled as soon as the event has completed. */
    boolean release(SlotTicket ticket, Event readUntil, State after) {
        // Events of one stream complete in order and leases end under one lock, so the latest covers the earlier ones.
        refillAfter[ticket.slot()] = readUntil;
        return ring.release(ticket, after);
    }

    /** What a filling of the claimed slot must wait for, or null. */
    @Nullable
    Event takeRefillEvent(SlotTicket ticket) {
        Event event = refillAfter[ticket.slot()];
        refillAfter[ticket.slot()] = null;
        return event;
    }

    /** Releases the memory. */
    void free() {
        slabs.forEach(DeviceBuffer::close);
        slabs.clear();
    }
}
