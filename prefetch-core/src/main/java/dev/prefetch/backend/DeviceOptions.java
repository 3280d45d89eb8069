package dev.prefetch.backend;

/**
 * What a device is opened with.
 *
 * @param threads compute threads of a CPU device, at least 1; ignored by accelerators
 * @param ordinal which of several accelerators, counted from 0; ignored by a CPU device
 */
public record DeviceOptions(int threads, int ordinal) {

    /** The first device. */
    public DeviceOptions(int threads) {
        this(threads, 0);
    }

    public DeviceOptions {
        if (threads < 1) {
            throw new IllegalArgumentException("threads must be at least 1 but was " + threads);
        }
        if (ordinal < 0) {
            throw new IllegalArgumentException("ordinal must not be negative but was " + ordinal);
        }
    }
}
