package dev.prefetch.spring;

import dev.prefetch.api.PrefetchEngine;
import java.util.function.Consumer;

/**
 * An engine that is loaded in the background. Until it is loaded, {@link #status()} and {@link #loadState()} answer at once
 * and everything else waits; when loading fails, everything else throws {@link IllegalStateException} with the reason.
 * Closing it ends the loading.
 */
public interface LoadingEngine extends PrefetchEngine {

    /** How far it is. */
    LoadState loadState();

    /** Whether it is loaded, so that nothing waits. */
    default boolean isLoaded() {
        return loadState().phase() == LoadState.Phase.READY;
    }

    /** Runs an action when the engine is loaded, at once if it is; never, if loading fails. Must not block. */
    void whenLoaded(Consumer<? super PrefetchEngine> action);

    /**
     * Waits until the engine is loaded.
     *
     * @throws RuntimeException why loading failed
     * @throws InterruptedException when the waiting thread is interrupted; loading goes on
     */
    void awaitLoaded() throws InterruptedException;

    /** Whether an engine answers without waiting for its loading: every engine but one that is being loaded. */
    static boolean isLoaded(PrefetchEngine engine) {
        return !(engine instanceof LoadingEngine loading) || loading.isLoaded();
    }

    /** Runs an action with an engine, at once or when it is loaded. */
    static void whenLoaded(PrefetchEngine engine, Consumer<? super PrefetchEngine> action) {
        if (engine instanceof LoadingEngine loading) {
            loading.whenLoaded(action);
        } else {
            action.accept(engine);
        }
    }
}
