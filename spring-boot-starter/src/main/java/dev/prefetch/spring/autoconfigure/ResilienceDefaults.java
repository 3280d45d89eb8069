package dev.prefetch.spring.autoconfigure;

import dev.prefetch.api.EngineOptions;
import dev.prefetch.spring.EngineFaults;
import dev.prefetch.spring.PrefetchEngines;
import dev.prefetch.spring.resilience.ResilienceNames;
import io.github.resilience4j.common.bulkhead.configuration.BulkheadConfigCustomizer;
import io.github.resilience4j.common.circuitbreaker.configuration.CircuitBreakerConfigCustomizer;
import io.github.resilience4j.common.timelimiter.configuration.TimeLimiterConfigCustomizer;
import java.time.Duration;
import java.util.LinkedHashMap;
import java.util.Map;
import org.springframework.beans.factory.BeanRegistrar;
import org.springframework.beans.factory.BeanRegistry;
import org.springframework.boot.context.properties.bind.Binder;
import org.springframework.core.env.Environment;

/**
 * Registers, for every engine, what its Resilience4j instances are unless the application's properties say otherwise: each
 * default gives way to the key of the instance, of its {@code base-config}, or of the {@code default} configuration.
 */
final class ResilienceDefaults implements BeanRegistrar {

    /** Places of the bulkhead for each generation that can run. */
    static final int PLACES_PER_GENERATION = 4;

    /** A generation that takes longer is not waited for by anyone. */
    static final Duration DEADLINE = Duration.ofMinutes(30);

    /** Longer than any device that works needs for a token. */
    static final Duration STALL = Duration.ofMinutes(2);

    private static final int BREAKER_WINDOW = 10;
    private static final int BREAKER_LEAST_CALLS = 5;
    private static final Duration BREAKER_WAIT = Duration.ofSeconds(30);

    /** Long answers are no failures. */
    private static final Duration NEVER_SLOW = Duration.ofDays(1);

    @Override
    public void register(BeanRegistry registry, Environment environment) {
        PrefetchProperties properties =
                Binder.get(environment).bindOrCreate(PrefetchProperties.PREFIX, PrefetchProperties.class);
        engines(properties).forEach((engine, model) -> {
            Integer running = model.maxConcurrency();
            int places = (running == null ? EngineOptions.DEFAULT_MAX_CONCURRENCY : running) * PLACES_PER_GENERATION;
            String name = ResilienceNames.of(engine);
            String beans = name.replace('-', '_');
            registry.registerBean(
                    beans + "BulkheadDefaults",
                    BulkheadConfigCustomizer.class,
                    spec -> spec.supplier(context -> bulkhead(environment, name, places)));
            registry.registerBean(
                    beans + "CircuitBreakerDefaults",
                    CircuitBreakerConfigCustomizer.class,
                    spec -> spec.supplier(context -> circuitBreaker(environment, name)));
            registry.registerBean(
                    beans + "DeadlineDefaults",
                    TimeLimiterConfigCustomizer.class,
                    spec -> spec.supplier(context -> timeLimiter(environment, name, DEADLINE)));
            registry.registerBean(
                    beans + "StallDefaults",
                    TimeLimiterConfigCustomizer.class,
                    spec -> spec.supplier(context -> timeLimiter(environment, ResilienceNames.stallOf(engine), STALL)));
        });
    }

    private static Map<String, PrefetchProperties.Model> engines(PrefetchProperties properties) {
        Map<String, PrefetchProperties.Model> engines = new LinkedHashMap<>();
        engines.put(PrefetchEngines.DEFAULT_NAME, properties.rootModel());
        engines.putAll(properties.models());
        return engines;
    }

    private static BulkheadConfigCustomizer bulkhead(Environment environment, String name, int places) {
        Keys keys = new Keys(environment, "bulkhead", name);
        return BulkheadConfigCustomizer.of(name, config -> {
            if (keys.isUnset("max-concurrent-calls")) {
                config.maxConcurrentCalls(places);
            }
        });
    }

    private static CircuitBreakerConfigCustomizer circuitBreaker(Environment environment, String name) {
        Keys keys = new Keys(environment, "circuitbreaker", name);
        return CircuitBreakerConfigCustomizer.of(name, config -> {
            if (keys.isUnset("sliding-window-size")) {
                config.slidingWindowSize(BREAKER_WINDOW);
            }
            if (keys.isUnset("minimum-number-of-calls")) {
                config.minimumNumberOfCalls(BREAKER_LEAST_CALLS);
            }
            if (keys.isUnset("wait-duration-in-open-state")) {
                config.waitDurationInOpenState(BREAKER_WAIT);
            }
            if (keys.isUnset("permitted-number-of-calls-in-half-open-state")) {
                config.permittedNumberOfCallsInHalfOpenState(1);
            }
            if (keys.isUnset("slow-call-duration-threshold")) {
                config.slowCallDurationThreshold(NEVER_SLOW);
            }
            if (keys.isUnset("record-exceptions") && keys.isUnset("record-failure-predicate")) {
                config.recordException(EngineFaults::isInfrastructure);
            }
        });
    }

    private static TimeLimiterConfigCustomizer timeLimiter(Environment environment, String name, Duration limit) {
        Keys keys = new Keys(environment, "timelimiter", name);
        return TimeLimiterConfigCustomizer.of(name, config -> {
            if (keys.isUnset("timeout-duration")) {
                config.timeoutDuration(limit);
            }
        });
    }

    /** The keys of one instance. */
    private record Keys(Environment environment, String kind, String name) {

        boolean isUnset(String key) {
            String instance = "resilience4j." + kind + ".instances." + name + ".";
            String base = environment.getProperty(instance + "base-config", "default");
            String configuration = "resilience4j." + kind + ".configs." + base + ".";
            return !isSet(instance + key) && !isSet(configuration + key);
        }

        /** Also a list, whose elements have keys of their own. */
        private boolean isSet(String key) {
            return environment.containsProperty(key) || environment.containsProperty(key + "[0]");
        }
    }
}
