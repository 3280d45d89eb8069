package dev.prefetch.spring.actuate;

import dev.prefetch.spring.PrefetchEngines;
import java.util.LinkedHashMap;
import java.util.Map;
import org.springframework.boot.actuate.info.Info;
import org.springframework.boot.actuate.info.InfoContributor;

/**
 * Adds the model and the backend to the {@code info} endpoint, under {@code prefetch}; with several engines under their
 * names. An engine that is being loaded is left out.
 */
public final class PrefetchInfoContributor implements InfoContributor {

    private final PrefetchEngines engines;

    public PrefetchInfoContributor(PrefetchEngines engines) {
        this.engines = engines;
    }

    @Override
    public void contribute(Info.Builder builder) {
        Map<String, Object> byName = new LinkedHashMap<>();
        engines.byName().forEach((name, engine) -> {
            EngineReport report = new EngineReport(engine);
            if (report.isLoaded()) {
                byName.put(name, Map.of("model", report.model(), "backend", report.backend()));
            }
        });
        if (engines.byName().size() > 1) {
            builder.withDetail("prefetch", byName);
        } else if (!byName.isEmpty()) {
            builder.withDetail("prefetch", byName.get(engines.primary()));
        }
    }
}
