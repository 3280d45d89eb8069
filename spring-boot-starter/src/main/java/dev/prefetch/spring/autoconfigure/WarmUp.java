package dev.prefetch.spring.autoconfigure;

import dev.prefetch.api.PrefetchEngine;
import java.time.Duration;
import java.util.Locale;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * {@link PrefetchEngine#warmUp} as a step of the start.
 *
 * @param name the engine's, for the log
 * @param limit when it ends at the latest
 */
record WarmUp(String name, Duration limit) {

    private static final Logger LOG = LoggerFactory.getLogger(WarmUp.class);

    /** @throws java.util.concurrent.CancellationException when the engine is closed meanwhile */
    void run(PrefetchEngine engine) {
        Duration taken;
        try {
            taken = engine.warmUp(limit);
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
            throw new IllegalStateException("interrupted while warming up", e);
        }
        LOG.info(String.format(Locale.ROOT, "Warmed engine %s up in %.2f s", name, taken.toNanos() / 1e9));
    }
}
