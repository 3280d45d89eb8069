package dev.prefetch.spring.autoconfigure;

import dev.prefetch.api.PrefetchEngine;
import java.time.Duration;

/**
 * {@link PrefetchEngine#warmUp} as a step of the start.
 *
 * @param name the engine's, for messages
 * @param limit when it ends at the latest
 */
record WarmUp(String name, Duration limit) {

    /** @throws java.util.concurrent.CancellationException when the engine is closed meanwhile */
    void run(PrefetchEngine engine) {
        try {
            engine.warmUp(limit);
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
            throw new IllegalStateException("interrupted while warming up engine " + name, e);
        }
    }
}
