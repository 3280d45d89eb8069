package dev.prefetch.spring.resilience;

import dev.prefetch.spring.GenerationGuard;
import io.github.resilience4j.bulkhead.Bulkhead;
import io.github.resilience4j.reactor.bulkhead.operator.BulkheadOperator;
import java.util.Objects;
import java.util.function.Supplier;
import reactor.core.publisher.Flux;

/**
 * Admits as many generations at a time as a bulkhead has places, running and waiting ones together. The others fail with
 * {@link io.github.resilience4j.bulkhead.BulkheadFullException}, at once or after the bulkhead's wait, which blocks the
 * caller's thread, for a stream the one that subscribes.
 */
public final class BulkheadGuard implements GenerationGuard {

    private final Bulkhead bulkhead;

    public BulkheadGuard(Bulkhead bulkhead) {
        this.bulkhead = Objects.requireNonNull(bulkhead, "bulkhead");
    }

    @Override
    public <T> T call(Supplier<T> generation) {
        return bulkhead.executeSupplier(generation);
    }

    @Override
    public <T> Flux<T> stream(Flux<T> generation) {
        return generation.transformDeferred(BulkheadOperator.of(bulkhead));
    }
}
