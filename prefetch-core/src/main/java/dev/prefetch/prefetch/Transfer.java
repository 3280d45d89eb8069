package dev.prefetch.prefetch;

import dev.prefetch.backend.Event;
import dev.prefetch.prefetch.BlockLayout.Part;
import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * One block on its way into the memory that compute reads. Guarded by the lock of the {@link TransferQueue}, except for what
 * its {@link Link} keeps here.
 */
final class Transfer {

    final BlockLayout layout;
    final WeightMemory target;
    final long deadline;
    final Owner owner;

    /** The memory must not be written before this has completed. */
    final @Nullable Event writeAfter;

    final TransferEvent event = new TransferEvent();
    List<Part> chunks = List.of();
    long sequence;
    int nextChunk;
    int inFlight;
    int done;
    int retries;
    /** The link's own: the memory was filled with poison. */
    boolean poisoned;

    /** The link's own: chunks whose copies were queued. */
    int copied;

    boolean cancelled;
    boolean finished;

    @Nullable
    Throwable failure;

    /** What must be waited for, on the device, before the filled memory is read; null for nothing. */
    @Nullable
    Event arrival;

    Transfer(BlockLayout layout, WeightMemory target, long deadline, Owner owner, @Nullable Event writeAfter) {
        this.layout = layout;
        this.target = target;
        this.deadline = deadline;
        this.owner = owner;
        this.writeAfter = writeAfter;
    }

    /** Whether no more reads of it may start. */
    boolean stopped() {
        return cancelled || failure != null;
    }

    /** Who asked for a transfer; exactly one of the methods is called, once, under the lock. */
    interface Owner {

        /** All bytes are there. */
        void filled(Transfer transfer);

        /** Reading failed for good; nothing writes to the memory any more. */
        void failed(Transfer transfer, Throwable cause);

        /** The transfer was cancelled; nothing writes to the memory any more. */
        void dropped(Transfer transfer);
    }
}
