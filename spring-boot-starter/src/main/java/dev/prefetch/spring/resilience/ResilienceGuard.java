package dev.prefetch.spring.resilience;

import dev.prefetch.spring.ChatFallback;
import dev.prefetch.spring.GenerationGuard;
import dev.prefetch.spring.PrefetchEngines;
import io.github.resilience4j.bulkhead.Bulkhead;
import io.github.resilience4j.bulkhead.BulkheadFullException;
import io.github.resilience4j.bulkhead.BulkheadRegistry;
import io.github.resilience4j.circuitbreaker.CallNotPermittedException;
import io.github.resilience4j.circuitbreaker.CircuitBreaker;
import io.github.resilience4j.circuitbreaker.CircuitBreakerRegistry;
import io.github.resilience4j.reactor.bulkhead.operator.BulkheadOperator;
import io.github.resilience4j.reactor.circuitbreaker.operator.CircuitBreakerOperator;
import java.util.Objects;
import java.util.function.Supplier;
import org.jspecify.annotations.Nullable;
import reactor.core.publisher.Flux;

/**
 * Resilience4j in front of the generations of an engine.
 *
 * <p>A bulkhead admits as many at a time as it has places, running and waiting ones together; the others fail with
 * {@link BulkheadFullException}, at once or after the bulkhead's wait, which blocks the caller's thread, for a stream the one
 * that subscribes. Behind it a circuit breaker refuses with {@link CallNotPermittedException} while it is open; what counts as
 * a failure is its configuration's to say.
 */
public final class ResilienceGuard implements GenerationGuard {

    private final BulkheadRegistry bulkheads;
    private final @Nullable CircuitBreakerRegistry breakers;
    private final Bulkhead bulkhead;
    private final @Nullable CircuitBreaker breaker;

    /** A guard of the default engine. */
    public ResilienceGuard(BulkheadRegistry bulkheads, @Nullable CircuitBreakerRegistry breakers) {
        this(bulkheads, breakers, PrefetchEngines.DEFAULT_NAME);
    }

    private ResilienceGuard(BulkheadRegistry bulkheads, @Nullable CircuitBreakerRegistry breakers, String engine) {
        this.bulkheads = Objects.requireNonNull(bulkheads, "bulkheads");
        this.breakers = breakers;
        String name = ResilienceNames.of(engine);
        this.bulkhead = bulkheads.bulkhead(name);
        this.breaker = breakers == null ? null : breakers.circuitBreaker(name);
    }

    @Override
    public GenerationGuard forEngine(String name) {
        return new ResilienceGuard(bulkheads, breakers, name);
    }

    @Override
    public <T> T call(Supplier<T> generation) {
        Supplier<T> guarded = breaker == null ? generation : CircuitBreaker.decorateSupplier(breaker, generation);
        return bulkhead.executeSupplier(guarded);
    }

    @Override
    public <T> Flux<T> stream(Flux<T> generation) {
        Flux<T> guarded =
                breaker == null ? generation : generation.transformDeferred(CircuitBreakerOperator.of(breaker));
        return guarded.transformDeferred(BulkheadOperator.of(bulkhead));
    }

    @Override
    public ChatFallback.@Nullable Reason refusal(Throwable failure) {
        return switch (failure) {
            case BulkheadFullException full -> ChatFallback.Reason.SATURATED;
            case CallNotPermittedException open -> ChatFallback.Reason.DOWN;
            default -> null;
        };
    }
}
