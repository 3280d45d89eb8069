package dev.prefetch.spring.autoconfigure;

import dev.prefetch.api.EngineStatus;
import dev.prefetch.api.PrefetchEngine;
import java.util.Collection;
import java.util.concurrent.locks.LockSupport;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;
import org.springframework.context.SmartLifecycle;

/**
 * Lets running generations end when the application stops. Spring waits for this as long as
 * {@code spring.lifecycle.timeout-per-shutdown-phase} says; then the engines are closed, which cancels what still runs. It
 * stops after the web server has finished its requests, so what is left are generations of nobody's request.
 */
final class EngineDrain implements SmartLifecycle {

    private static final Logger LOG = LoggerFactory.getLogger(EngineDrain.class);

    /** Below the web server's phases, which are the two powers of two below the default. */
    private static final int PHASE = DEFAULT_PHASE - 4096;

    private static final long POLL_NANOS = 20_000_000;

    private final Collection<PrefetchEngine> engines;
    private volatile boolean running;

    EngineDrain(Collection<PrefetchEngine> engines) {
        this.engines = engines;
    }

    @Override
    public int getPhase() {
        return PHASE;
    }

    @Override
    public void start() {
        running = true;
    }

    @Override
    public boolean isRunning() {
        return running;
    }

    @Override
    public void stop(Runnable callback) {
        Thread.ofVirtual().name("prefetch-drain").start(() -> {
            try {
                drain();
            } finally {
                running = false;
                callback.run();
            }
        });
    }

    @Override
    public void stop() {
        drain();
        running = false;
    }

    private void drain() {
        boolean told = false;
        while (running) {
            int left = engines.stream().mapToInt(EngineDrain::unfinished).sum();
            if (left == 0) {
                return;
            }
            if (!told) {
                LOG.info("Waiting for {} generations to end", left);
                told = true;
            }
            LockSupport.parkNanos(POLL_NANOS);
        }
    }

    private static int unfinished(PrefetchEngine engine) {
        EngineStatus status = engine.status();
        return switch (status.state()) {
            case READY, DEGRADED -> status.running() + status.waiting();
            case LOADING, CLOSED, FAILED -> 0;
        };
    }
}
