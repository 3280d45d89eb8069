package dev.prefetch.spring;

import dev.prefetch.backend.OutOfDeviceMemoryException;
import dev.prefetch.prefetch.WeightUnavailableException;
import java.io.IOException;
import java.io.UncheckedIOException;

/**
 * Tells failures of what the engine runs on, such as the device, the disk and the memory, from failures of a request, such as a
 * prompt that is too long. Circuit breakers count the former alone.
 */
public final class EngineFaults {

    /** Everything that a backend throws is about its device. */
    private static final String BACKENDS = "dev.prefetch.backend.";

    private EngineFaults() {}

    /** Whether a failure, or what caused it, is one of the infrastructure. */
    public static boolean isInfrastructure(Throwable failure) {
        for (Throwable cause = failure; cause != null; cause = cause.getCause()) {
            if (cause instanceof GenerationTimeoutException timeout) {
                return timeout.isStall();
            }
            if (cause instanceof WeightUnavailableException
                    || cause instanceof OutOfDeviceMemoryException
                    || cause instanceof IOException
                    || cause instanceof UncheckedIOException
                    || cause instanceof OutOfMemoryError
                    || cause.getClass().getName().startsWith(BACKENDS)) {
                return true;
            }
        }
        return false;
    }
}
