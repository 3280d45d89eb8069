package dev.prefetch.prefetch;

import dev.prefetch.backend.Device;
import dev.prefetch.backend.DeviceBuffer;
import java.lang.foreign.MemorySegment;

/**
 * Aligned memory inside a buffer of the device, reachable by readers.
 *
 * @param buffer the device's buffer
 * @param offset where the aligned part starts in it
 * @param host the aligned part, as the host sees it
 */
record WeightMemory(DeviceBuffer buffer, long offset, MemorySegment host) {

    /** Allocates {@code bytes} aligned to {@code alignment}, a power of two. */
    static WeightMemory allocate(Device device, long bytes, int alignment, String purpose) {
        DeviceBuffer buffer = device.allocate(Math.addExact(bytes, alignment), purpose);
        MemorySegment memory = buffer.hostMemory().orElseThrow(() -> {
            buffer.close();
            return new UnsupportedOperationException("the disk's link ends in host memory, and " + device.backend()
                    + " computes in " + device.tier() + " memory");
        });
        long offset = -memory.address() & (alignment - 1);
        return new WeightMemory(buffer, offset, memory.asSlice(offset, bytes));
    }

    /** A part of this memory. */
    WeightMemory slice(long from, long bytes) {
        return new WeightMemory(buffer, offset + from, host.asSlice(from, bytes));
    }
}
