package dev.prefetch.backend.cpu;

import dev.prefetch.backend.BackendProvider;
import dev.prefetch.backend.Device;
import dev.prefetch.backend.DeviceOptions;
import java.nio.ByteOrder;

/** The backend that computes in host memory; always there, and the last choice under {@code backend=auto}. */
public final class CpuBackendProvider implements BackendProvider {

    /** Called by {@link java.util.ServiceLoader}. */
    public CpuBackendProvider() {}

    @Override
    public String id() {
        return "cpu";
    }

    @Override
    public int priority() {
        return 0;
    }

    @Override
    public boolean supportsEncoders() {
        return true;
    }

    @Override
    public Availability availability() {
        if (ByteOrder.nativeOrder() != ByteOrder.LITTLE_ENDIAN) {
            return new Availability.Unavailable(
                    "the processor " + System.getProperty("os.arch") + " is big-endian",
                    "run on a little-endian processor: x86-64 or AArch64");
        }
        try {
            Memory.ALL.byteSize();
        } catch (IllegalCallerException | LinkageError e) {
            return new Availability.Unavailable(
                    "access to memory outside the heap is denied: " + e,
                    "add --enable-native-access=ALL-UNNAMED to the java command");
        }
        return new Availability.Available(
                Runtime.getRuntime().availableProcessors() + " processors (" + System.getProperty("os.arch") + ")");
    }

    @Override
    public Device open(DeviceOptions options) {
        if (availability() instanceof Availability.Unavailable(String reason, String remedy)) {
            throw new IllegalStateException("the CPU backend is unavailable, " + reason + ": " + remedy);
        }
        return new CpuDevice(options.threads(), KernelSelection.select());
    }
}
