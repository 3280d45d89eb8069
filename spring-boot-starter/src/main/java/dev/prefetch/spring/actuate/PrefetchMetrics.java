package dev.prefetch.spring.actuate;

import dev.prefetch.api.GenerationResult;
import dev.prefetch.spring.ChatFallback;
import dev.prefetch.spring.GenerationRecorder;
import dev.prefetch.spring.LoadingEngine;
import dev.prefetch.spring.PrefetchEngines;
import io.micrometer.core.instrument.MeterRegistry;
import io.micrometer.core.instrument.binder.MeterBinder;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.concurrent.CopyOnWriteArrayList;

/**
 * Meters of the engines, all tagged with the engine's name and the model's. What an engine counts itself is read when a
 * registry asks, from the moment it is loaded; what belongs to a single generation is recorded when it ends.
 */
public final class PrefetchMetrics implements MeterBinder, GenerationRecorder {

    private final PrefetchEngines engines;
    private final Map<String, EngineMeters> byName;
    private final List<MeterRegistry> registries = new CopyOnWriteArrayList<>();

    public PrefetchMetrics(PrefetchEngines engines) {
        this.engines = engines;
        Map<String, EngineMeters> meters = new LinkedHashMap<>();
        engines.byName().forEach((name, engine) -> meters.put(name, new EngineMeters(name, engine, registries)));
        this.byName = Map.copyOf(meters);
    }

    @Override
    public void bindTo(MeterRegistry registry) {
        registries.add(registry);
        engines.byName()
                .forEach((name, engine) -> LoadingEngine.whenLoaded(
                        engine,
                        loaded -> Objects.requireNonNull(byName.get(name)).bindTo(registry)));
    }

    /** The recorder of an engine; that of the primary one for a name that is unknown here. */
    @Override
    public GenerationRecorder forEngine(String name) {
        return byName.getOrDefault(name, Objects.requireNonNull(byName.get(engines.primary())));
    }

    @Override
    public void completed(GenerationResult result) {
        forEngine(engines.primary()).completed(result);
    }

    @Override
    public void failed(RuntimeException failure) {
        forEngine(engines.primary()).failed(failure);
    }

    @Override
    public void fellBack(ChatFallback.Reason reason) {
        forEngine(engines.primary()).fellBack(reason);
    }
}
