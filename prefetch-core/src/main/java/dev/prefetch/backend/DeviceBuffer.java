package dev.prefetch.backend;

import java.lang.foreign.MemorySegment;
import java.util.Optional;

/** Memory of a device. Not thread-safe; ordering between streams is the user's business (see {@link Event}). */
public interface DeviceBuffer extends AutoCloseable {

    /** Size in bytes. */
    long byteSize();

    /**
     * Copies into this buffer and returns when the bytes are there.
     *
     * @throws IndexOutOfBoundsException when the range leaves the buffer
     */
    void upload(MemorySegment source, long targetOffset);

    /**
     * Copies out of this buffer after everything issued on the device's compute stream so far has finished.
     *
     * @throws IndexOutOfBoundsException when the range leaves the buffer
     */
    void download(long sourceOffset, MemorySegment target);

    /**
     * This buffer's own memory, when it lies in the host's: what is written there is what operations see, without a copy.
     * The segment spans the whole buffer and is valid until the buffer is closed. Empty for memory of an accelerator.
     */
    default Optional<MemorySegment> hostMemory() {
        return Optional.empty();
    }

    /** Releases the memory, if this buffer owns it. Idempotent. */
    @Override
    void close();
}
