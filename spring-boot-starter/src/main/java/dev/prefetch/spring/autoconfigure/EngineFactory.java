package dev.prefetch.spring.autoconfigure;

import dev.prefetch.api.PrefetchEngine;
import dev.prefetch.prefetch.LoadListener;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CopyOnWriteArrayList;
import org.jspecify.annotations.Nullable;
import org.springframework.boot.ApplicationArguments;
import org.springframework.boot.ApplicationRunner;
import org.springframework.core.Ordered;

/**
 * Makes the engines of the properties, one after the other in the order in which they are asked for: each takes the memory
 * that the ones before have left.
 *
 * <p>As a runner it holds the start of the application until all are loaded. Spring Boot counts an application as ready
 * for traffic when its runners have ended, and a runner that fails makes the start fail: so loading in the background
 * shows its progress through the web server and still is a part of the start.
 */
final class EngineFactory implements ApplicationRunner, Ordered {

    private final PrefetchProperties properties;
    private final EngineOpener opener;
    private final ModelLocator locator;
    private final LoadListener listener;
    private final List<BackgroundEngine> engines = new CopyOnWriteArrayList<>();
    private CompletableFuture<?> previous = CompletableFuture.completedFuture(null);

    EngineFactory(PrefetchProperties properties, EngineOpener opener, ModelLocator locator, LoadListener listener) {
        this.properties = properties;
        this.opener = opener;
        this.locator = locator;
        this.listener = listener;
    }

    /**
     * The engine of a definition, loaded or about to be.
     *
     * @throws org.springframework.boot.diagnostics.FailureAnalyzedException when a property is wrong or the model is not
     *     found; also when it cannot be loaded, if that is not done in the background
     */
    synchronized PrefetchEngine open(EngineDefinition definition) {
        EngineLoader loader = new EngineLoader(definition, opener, locator);
        // What can be refused at once is refused before anything is loaded.
        EngineLoader.Prepared prepared = loader.prepare();
        WarmUp warmUp = properties.warmUp() ? new WarmUp(definition.name(), properties.warmUpLimit()) : null;
        if (!properties.loadInBackground()) {
            return openNow(loader, prepared, warmUp);
        }
        BackgroundEngine engine = new BackgroundEngine(definition.name());
        CompletableFuture<?> before = previous;
        previous = engine.ended();
        engines.add(engine);
        Thread.ofPlatform().name("prefetch-load-" + definition.name()).daemon().start(() -> {
            before.join();
            engine.load(progress -> loader.load(prepared, both(listener, progress)), warmUp);
        });
        return engine;
    }

    private PrefetchEngine openNow(EngineLoader loader, EngineLoader.Prepared prepared, @Nullable WarmUp warmUp) {
        PrefetchEngine engine = loader.load(prepared, listener);
        if (warmUp != null) {
            try {
                warmUp.run(engine);
            } catch (RuntimeException e) {
                engine.close();
                throw e;
            }
        }
        return engine;
    }

    private static LoadListener both(LoadListener first, LoadListener second) {
        return (done, total) -> {
            first.progress(done, total);
            second.progress(done, total);
        };
    }

    @Override
    public void run(ApplicationArguments arguments) throws InterruptedException {
        for (BackgroundEngine engine : engines) {
            engine.awaitLoaded();
        }
    }

    /** The application's own runners may use the model. */
    @Override
    public int getOrder() {
        return HIGHEST_PRECEDENCE;
    }
}
