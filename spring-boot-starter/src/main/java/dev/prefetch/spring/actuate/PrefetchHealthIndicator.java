package dev.prefetch.spring.actuate;

import dev.prefetch.api.EngineStatus;
import dev.prefetch.api.PrefetchEngine;
import org.springframework.boot.health.contributor.AbstractHealthIndicator;
import org.springframework.boot.health.contributor.Health;

/**
 * {@code UP} while the engine takes requests, also where the host computes them since the device failed ({@code DEGRADED}),
 * {@code OUT_OF_SERVICE} while it is being loaded and when it was closed,
 * {@code DOWN} when it could not be loaded or its compute thread ended with an error. A single failed request does not make
 * it {@code DOWN}; it is shown as the last fault. Slow paths leave it {@code UP}: they are shown with their remedies.
 */
public final class PrefetchHealthIndicator extends AbstractHealthIndicator {

    private final PrefetchEngine engine;

    public PrefetchHealthIndicator(PrefetchEngine engine) {
        super("The health check of the engine failed");
        this.engine = engine;
    }

    @Override
    protected void doHealthCheck(Health.Builder builder) {
        EngineStatus status = engine.status();
        switch (status.state()) {
            // Degraded, it answers all the same, and must not be taken out of service for it.
            case READY, DEGRADED -> builder.up();
            case LOADING, CLOSED -> builder.outOfService();
            case FAILED -> builder.down();
        }
        builder.withDetail("state", status.state());
        EngineReport report = new EngineReport(engine);
        if (!report.isLoaded()) {
            report.loading().forEach(builder::withDetail);
            return;
        }
        builder.withDetail("model", engine.info().modelName())
                .withDetail("backend", report.backend())
                .withDetail("plan", engine.plan().summary())
                .withDetail("memory", report.memory())
                .withDetail("running", status.running())
                .withDetail("waiting", status.waiting())
                .withDetail("slowPaths", report.slowPaths());
        if (status.lastFault() != null) {
            builder.withDetail("lastFault", EngineReport.fault(status.lastFault()));
        }
    }
}
