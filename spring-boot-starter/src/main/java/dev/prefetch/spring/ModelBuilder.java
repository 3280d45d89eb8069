package dev.prefetch.spring;

import dev.prefetch.api.PrefetchEngine;
import io.micrometer.observation.ObservationRegistry;
import java.util.Objects;

/**
 * What the builders of both models have in common.
 *
 * @param <B> the builder
 */
abstract sealed class ModelBuilder<B extends ModelBuilder<B>>
        permits PrefetchChatModel.Builder, PrefetchEmbeddingModel.Builder {

    final PrefetchEngine engine;
    ObservationRegistry observationRegistry = ObservationRegistry.NOOP;
    GenerationGuard guard = GenerationGuard.NONE;
    GenerationLimits limits = GenerationLimits.NONE;

    ModelBuilder(PrefetchEngine engine) {
        this.engine = Objects.requireNonNull(engine, "engine");
    }

    abstract B self();

    /** Where observations go; without it there are none. */
    public B observationRegistry(ObservationRegistry value) {
        this.observationRegistry = Objects.requireNonNull(value, "observationRegistry");
        return self();
    }

    /** What stands in front of every request and may refuse it; without it every one is let through to the engine. */
    public B guard(GenerationGuard value) {
        this.guard = Objects.requireNonNull(value, "guard");
        return self();
    }

    /** How long requests may take, of which only the deadline holds for vectors; without it as long as they need. */
    public B limits(GenerationLimits value) {
        this.limits = Objects.requireNonNull(value, "limits");
        return self();
    }
}
