package dev.prefetch.backend;

/**
 * Entry point of a backend, found by {@link java.util.ServiceLoader}. Loading the class and calling
 * {@link #availability()} never throw: what is missing is reported as {@link Availability.Unavailable}.
 */
public interface BackendProvider {

    /** Stable name as used in configuration, for example {@code cpu}. */
    String id();

    /** Preference under {@code backend=auto}: the available provider with the highest value serves. */
    int priority();

    /** The tier its devices compute in, as {@link Device#tier()}; known without opening one. */
    default Tier tier() {
        return Tier.HOST;
    }

    /**
     * Whether its devices compute encoders: {@link Ops#layerNorm}, {@link Ops#gelu}, and attention that is not causal. Known
     * without opening one.
     */
    default boolean supportsEncoders() {
        return false;
    }

    /** Whether the backend can be used on this machine now, or why not. */
    Availability availability();

    /**
     * Opens the device. The caller closes it.
     *
     * @throws IllegalStateException when {@link #availability()} says unavailable
     */
    Device open(DeviceOptions options);

    /** What {@link #availability()} found. */
    sealed interface Availability {

        /**
         * @param description the device in words, for the log and for Actuator
         */
        record Available(String description) implements Availability {}

        /**
         * @param reason what is missing
         * @param remedy what the user can do about it
         */
        record Unavailable(String reason, String remedy) implements Availability {}
    }
}
