package dev.prefetch.spring;

import java.time.Duration;
import java.time.Instant;
import java.util.Objects;
import org.jspecify.annotations.Nullable;

/**
 * How far the loading of an engine is.
 *
 * @param phase what it does
 * @param since when the phase began
 * @param loadedBytes weights in memory so far; 0 also for a model that is mapped, which has nothing to load
 * @param totalBytes weights to load; 0 while that is not known, and for a model that is mapped
 * @param problem why it failed; null unless it did
 */
public record LoadState(
        Phase phase,
        Instant since,
        long loadedBytes,
        long totalBytes,
        @Nullable String problem) {

    /** What the loading of an engine does. */
    public enum Phase {
        /** Waits for the engines before it. */
        WAITING,
        /** Opens the file, measures, and reads the weights that stay in memory. */
        LOADING,
        /** Generates a few tokens, so that the first request finds everything in place. */
        WARMING_UP,
        /** Done: the engine answers. */
        READY,
        /** It ended with an error, or was ended because the application stops. */
        FAILED
    }

    public LoadState {
        Objects.requireNonNull(phase, "phase");
        Objects.requireNonNull(since, "since");
    }

    /** The beginning of a phase. */
    public static LoadState of(Phase phase) {
        return new LoadState(phase, Instant.now(), 0, 0, null);
    }

    /** The same phase, further. */
    public LoadState loaded(long bytes, long total) {
        return new LoadState(phase, since, bytes, total, null);
    }

    /** Share of the weights that are in memory, 0 to 100; 0 while nothing is known. */
    public int percent() {
        if (phase == Phase.WARMING_UP || phase == Phase.READY) {
            return 100;
        }
        return totalBytes == 0 ? 0 : (int) (100 * loadedBytes / totalBytes);
    }

    /** How long the phase lasts. */
    public Duration elapsed() {
        return Duration.between(since, Instant.now());
    }
}
