package dev.prefetch.spring.resilience;

import dev.prefetch.spring.PrefetchEngines;

/** Names of the Resilience4j instances of an engine, which stand in keys such as {@code resilience4j.bulkhead.instances}. */
public final class ResilienceNames {

    private ResilienceNames() {}

    /** Bulkhead, circuit breaker, and the time limiter of the deadline: {@code prefetch}, or {@code prefetch-NAME}. */
    public static String of(String engine) {
        return engine.equals(PrefetchEngines.DEFAULT_NAME) ? engine : PrefetchEngines.DEFAULT_NAME + "-" + engine;
    }

    /** The time limiter of the time between two tokens. */
    public static String stallOf(String engine) {
        return of(engine) + "-stall";
    }
}
