package dev.prefetch.testing;

import dev.prefetch.backend.BackendProvider;
import dev.prefetch.backend.ComputeStream;
import dev.prefetch.backend.CopyStream;
import dev.prefetch.backend.Device;
import dev.prefetch.backend.DeviceBuffer;
import dev.prefetch.backend.DeviceOptions;
import dev.prefetch.backend.OutOfDeviceMemoryException;
import dev.prefetch.backend.Tier;
import dev.prefetch.gguf.GgmlType;
import java.lang.foreign.MemorySegment;
import java.util.List;
import java.util.ServiceLoader;
import java.util.Set;
import java.util.concurrent.atomic.AtomicLong;
import java.util.function.Predicate;

/** The CPU backend, with a count of the bytes that were asked of its device. Found by name only, never by preference. */
public final class MeteredBackend implements BackendProvider {

    /** Name for the engine's options. */
    public static final String ID = "metered";

    private static final AtomicLong ALLOCATED = new AtomicLong();

    /** Bytes asked of all devices so far. */
    public static long allocatedBytes() {
        return ALLOCATED.get();
    }

    /** The backend behind. */
    public static BackendProvider cpu() {
        return ServiceLoader.load(BackendProvider.class).stream()
                .map(ServiceLoader.Provider::get)
                .filter(provider -> provider.id().equals("cpu"))
                .findFirst()
                .orElseThrow();
    }

    /** A device that counts, and refuses memory for some purposes. */
    public static Device metered(Device device, Predicate<String> refused) {
        return new Metered(device, refused);
    }

    @Override
    public String id() {
        return ID;
    }

    @Override
    public int priority() {
        return Integer.MIN_VALUE;
    }

    @Override
    public boolean supportsEncoders() {
        return true;
    }

    @Override
    public Availability availability() {
        return cpu().availability();
    }

    @Override
    public Device open(DeviceOptions options) {
        return metered(cpu().open(options), purpose -> false);
    }

    private record Metered(Device device, Predicate<String> refused) implements Device {

        @Override
        public DeviceBuffer allocate(long bytes, String purpose) {
            if (refused.test(purpose)) {
                throw new OutOfDeviceMemoryException("refused " + purpose, new IllegalStateException("by the test"));
            }
            ALLOCATED.addAndGet(bytes);
            return device.allocate(bytes, purpose);
        }

        @Override
        public String backend() {
            return ID;
        }

        @Override
        public String description() {
            return device.description();
        }

        @Override
        public Tier tier() {
            return device.tier();
        }

        @Override
        public Set<GgmlType> weightTypes() {
            return device.weightTypes();
        }

        @Override
        public boolean supportsDeltaRule() {
            return device.supportsDeltaRule();
        }

        @Override
        public List<SlowPath> slowPaths() {
            return device.slowPaths();
        }

        @Override
        public DeviceBuffer wrap(MemorySegment hostMemory) {
            return device.wrap(hostMemory);
        }

        @Override
        public ComputeStream compute() {
            return device.compute();
        }

        @Override
        public CopyStream openCopyStream() {
            return device.openCopyStream();
        }

        @Override
        public void close() {
            device.close();
        }
    }
}
