package dev.prefetch.prefetch;

import dev.prefetch.backend.Device;
import dev.prefetch.backend.DeviceBuffer;
import java.lang.foreign.MemorySegment;
import org.jspecify.annotations.Nullable;

/** A part of a buffer of the device that a link leads to. */
final class WeightMemory {

    private final DeviceBuffer buffer;
    private final long offset;
    private final @Nullable MemorySegment host;

    private WeightMemory(DeviceBuffer buffer, long offset, @Nullable MemorySegment host) {
        this.buffer = buffer;
        this.offset = offset;
        this.host = host;
    }

    /** Allocates {@code bytes} that readers can reach, aligned to {@code alignment}, a power of two. */
    static WeightMemory inHost(Device device, long bytes, int alignment, String purpose) {
        DeviceBuffer buffer = device.allocate(Math.addExact(bytes, alignment), purpose);
        MemorySegment memory = buffer.hostMemory().orElseThrow(() -> {
            buffer.close();
            return new UnsupportedOperationException("the disk's link ends in host memory, and " + device.backend()
                    + " computes in " + device.tier() + " memory");
        });
        long offset = -memory.address() & (alignment - 1);
        return new WeightMemory(buffer, offset, memory.asSlice(offset, bytes));
    }

    /** Allocates {@code bytes} that only copies reach. */
    static WeightMemory inDevice(Device device, long bytes, String purpose) {
        return new WeightMemory(device.allocate(bytes, purpose), 0, null);
    }

    /** The device's buffer. */
    DeviceBuffer buffer() {
        return buffer;
    }

    /** Where the part starts in the buffer. */
    long offset() {
        return offset;
    }

    /** The part as the host sees it. */
    MemorySegment host() {
        if (host == null) {
            throw new UnsupportedOperationException("the host cannot see the device's memory");
        }
        return host;
    }

    /** A part of this memory. */
    WeightMemory slice(long from, long bytes) {
        return new WeightMemory(buffer, offset + from, host == null ? null : host.asSlice(from, bytes));
    }
}
