package dev.prefetch.spring.actuate;

import dev.prefetch.api.PrefetchEngine;
import java.util.Map;
import org.springframework.boot.actuate.info.Info;
import org.springframework.boot.actuate.info.InfoContributor;

/** Adds the model and the backend to the {@code info} endpoint, under {@code prefetch}. */
public final class PrefetchInfoContributor implements InfoContributor {

    private final EngineReport report;

    public PrefetchInfoContributor(PrefetchEngine engine) {
        this.report = new EngineReport(engine);
    }

    @Override
    public void contribute(Info.Builder builder) {
        builder.withDetail("prefetch", Map.of("model", report.model(), "backend", report.backend()));
    }
}
