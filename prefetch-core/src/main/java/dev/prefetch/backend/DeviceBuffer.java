package dev.prefetch.backend;

import java.lang.foreign.MemorySegment;

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

    /** Releases the memory, if this buffer owns it. Idempotent. */
    @Override
    void close();
}
