package dev.prefetch.spring;

import java.util.function.Supplier;
import reactor.core.publisher.Flux;

/** Stands in front of every generation of a {@link PrefetchChatModel} and may refuse it. Thread-safe. */
public interface GenerationGuard {

    /** A guard that lets everything pass. */
    GenerationGuard NONE = new GenerationGuard() {
        @Override
        public <T> T call(Supplier<T> generation) {
            return generation.get();
        }

        @Override
        public <T> Flux<T> stream(Flux<T> generation) {
            return generation;
        }
    };

    /** Runs a generation, or throws why not. */
    <T> T call(Supplier<T> generation);

    /** The generation, which begins when it is subscribed to, or an error that says why not. */
    <T> Flux<T> stream(Flux<T> generation);
}
