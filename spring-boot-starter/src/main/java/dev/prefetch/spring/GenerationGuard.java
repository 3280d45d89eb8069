package dev.prefetch.spring;

import java.util.function.Supplier;
import org.jspecify.annotations.Nullable;
import reactor.core.publisher.Flux;

/**
 * Stands in front of every generation of a {@link PrefetchChatModel}, and of every request of a
 * {@link PrefetchEmbeddingModel}, and may refuse it. Thread-safe.
 */
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

    /** Why the chat model cannot answer, if a failure is this guard's refusal; otherwise null. */
    default ChatFallback.@Nullable Reason refusal(Throwable failure) {
        return null;
    }

    /** The guard of one engine of several. */
    default GenerationGuard forEngine(String name) {
        return this;
    }

    /** A guard that asks this one first and the other one behind it. */
    default GenerationGuard then(GenerationGuard inner) {
        GenerationGuard outer = this;
        return new GenerationGuard() {
            @Override
            public <T> T call(Supplier<T> generation) {
                return outer.call(() -> inner.call(generation));
            }

            @Override
            public <T> Flux<T> stream(Flux<T> generation) {
                return outer.stream(inner.stream(generation));
            }

            @Override
            public ChatFallback.@Nullable Reason refusal(Throwable failure) {
                ChatFallback.Reason reason = outer.refusal(failure);
                return reason != null ? reason : inner.refusal(failure);
            }
        };
    }
}
