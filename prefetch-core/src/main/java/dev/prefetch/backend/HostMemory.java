package dev.prefetch.backend;

import java.lang.foreign.MemorySegment;

/** Page-locked memory of the host, from which a device copies at the full speed of its link. */
public interface HostMemory extends AutoCloseable {

    /** The memory, valid until closed. */
    MemorySegment memory();

    /** Unlocks the memory, and releases it if it was allocated. No copy from it may be in progress. Idempotent. */
    @Override
    void close();
}
