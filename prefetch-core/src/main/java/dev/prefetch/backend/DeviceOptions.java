package dev.prefetch.backend;

/**
 * What a device is opened with.
 *
 * @param threads compute threads of a CPU device, at least 1; ignored by accelerators
 */
public record DeviceOptions(int threads) {

    public DeviceOptions {
        if (threads < 1) {
            throw new IllegalArgumentException("threads must be at least 1 but was " + threads);
        }
    }
}
