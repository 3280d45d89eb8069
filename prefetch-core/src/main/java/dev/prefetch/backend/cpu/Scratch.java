package dev.prefetch.backend.cpu;

import org.jspecify.annotations.Nullable;

/** Memory that is kept between operations and grows when one needs more. Used by one thread at a time. */
final class Scratch implements AutoCloseable {

    private final String purpose;
    private @Nullable NativeMemory memory;
    private long bytes;

    Scratch(String purpose) {
        this.purpose = purpose;
    }

    /** Address of at least that many bytes, 64-byte aligned, contents undefined; invalidates earlier addresses. */
    long ensure(long needed) {
        NativeMemory current = memory;
        if (current != null && needed <= bytes) {
            return current.address();
        }
        close();
        // A quarter more, so that a slowly growing need does not reallocate every time.
        long grown = Math.max(4096, Math.addExact(needed, needed / 4));
        NativeMemory fresh = NativeMemory.allocate(grown, purpose);
        memory = fresh;
        bytes = grown;
        return fresh.address();
    }

    @Override
    public void close() {
        if (memory != null) {
            memory.close();
            memory = null;
            bytes = 0;
        }
    }
}
