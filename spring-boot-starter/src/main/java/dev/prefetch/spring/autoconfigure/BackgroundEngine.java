package dev.prefetch.spring.autoconfigure;

import dev.prefetch.api.EmbeddingOptions;
import dev.prefetch.api.EmbeddingResult;
import dev.prefetch.api.EngineInfo;
import dev.prefetch.api.EngineStatus;
import dev.prefetch.api.Generation;
import dev.prefetch.api.GenerationListener;
import dev.prefetch.api.GenerationRequest;
import dev.prefetch.api.PrefetchEngine;
import dev.prefetch.api.Prompt;
import dev.prefetch.prefetch.LoadListener;
import dev.prefetch.prefetch.Plan;
import dev.prefetch.prefetch.PrefetchStatistics;
import dev.prefetch.prefetch.Regime;
import dev.prefetch.spring.LoadState;
import dev.prefetch.spring.LoadState.Phase;
import dev.prefetch.spring.LoadingEngine;
import dev.prefetch.tokenizer.Tokenizer;
import java.time.Duration;
import java.time.Instant;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.CancellationException;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionException;
import java.util.concurrent.ExecutionException;
import java.util.function.Consumer;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;
import org.springframework.boot.diagnostics.FailureAnalysis;
import org.springframework.boot.diagnostics.FailureAnalyzedException;

/**
 * An engine that is loaded by a thread of its own while the application starts.
 *
 * <p>How it works: {@link #load} runs once, on the loading thread, and completes {@link #loaded} in any case. Closing before
 * that makes the next report of progress throw, which ends the opening and frees what was read, and ends the warm-up;
 * then it waits for {@link #loaded}, so that the memory is given back when {@code close} returns.
 */
final class BackgroundEngine implements LoadingEngine {

    private static final Logger LOG = LoggerFactory.getLogger(BackgroundEngine.class);

    private final String name;
    private final CompletableFuture<PrefetchEngine> loaded = new CompletableFuture<>();
    private volatile LoadState state = LoadState.of(Phase.WAITING);
    private volatile boolean closed;
    private volatile @Nullable PrefetchEngine warmingUp;

    BackgroundEngine(String name) {
        this.name = name;
    }

    /** Opens an engine and tells how far it is. */
    interface Opening {
        PrefetchEngine open(LoadListener listener);
    }

    /** Opens the engine, and has it generate something. */
    void load(Opening opening, @Nullable WarmUp warming) {
        try {
            requireOpen();
            state = LoadState.of(Phase.LOADING);
            PrefetchEngine engine = opening.open((done, total) -> {
                requireOpen();
                state = state.loaded(done, total);
            });
            try {
                if (warming != null) {
                    state = LoadState.of(Phase.WARMING_UP);
                    warmingUp = engine;
                    requireOpen();
                    warming.run(engine);
                }
                requireOpen();
            } catch (Throwable e) {
                engine.close();
                throw e;
            }
            state = LoadState.of(Phase.READY);
            loaded.complete(engine);
        } catch (Throwable e) {
            Phase phase = state.phase();
            state = new LoadState(
                    Phase.FAILED,
                    Instant.now(),
                    state.loadedBytes(),
                    state.totalBytes(),
                    String.valueOf(e.getMessage()));
            loaded.completeExceptionally(e);
            if (closed) {
                LOG.info("Loading of engine {} was ended in the phase {}, because the application stops", name, phase);
            } else if (e instanceof FailureAnalyzedException analyzed) {
                FailureAnalysis analysis = analyzed.analysis();
                LOG.error(
                        "Engine {} could not be loaded. {} {}", name, analysis.getDescription(), analysis.getAction());
            } else {
                LOG.error("Engine {} could not be loaded", name, e);
            }
        }
    }

    private void requireOpen() {
        if (closed) {
            throw new CancellationException("the application stops");
        }
    }

    /** Completes when loading has ended in whatever way. */
    CompletableFuture<?> ended() {
        return loaded.handle((engine, failure) -> null);
    }

    @Override
    public LoadState loadState() {
        return state;
    }

    @Override
    public boolean isLoaded() {
        return loaded.isDone() && !loaded.isCompletedExceptionally();
    }

    @Override
    public void whenLoaded(Consumer<? super PrefetchEngine> action) {
        loaded.thenAccept(action).exceptionally(failure -> {
            if (isLoaded()) {
                LOG.error("What had to be done when engine {} was loaded failed", name, failure);
            }
            return null;
        });
    }

    @Override
    public void awaitLoaded() throws InterruptedException {
        try {
            loaded.get();
        } catch (ExecutionException e) {
            if (e.getCause() instanceof RuntimeException failure) {
                throw failure;
            }
            throw new CompletionException(e.getCause());
        }
    }

    private PrefetchEngine engine() {
        try {
            return loaded.get();
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
            throw new IllegalStateException("interrupted while waiting for engine " + name + " to be loaded", e);
        } catch (ExecutionException e) {
            throw new IllegalStateException(
                    closed
                            ? "the engine is closed"
                            : "engine " + name + " could not be loaded: "
                                    + e.getCause().getMessage(),
                    e.getCause());
        }
    }

    @Override
    public EngineStatus status() {
        if (isLoaded()) {
            return engine().status();
        }
        return EngineStatus.absent(
                closed
                        ? EngineStatus.State.CLOSED
                        : loaded.isDone() ? EngineStatus.State.FAILED : EngineStatus.State.LOADING);
    }

    @Override
    public EngineInfo info() {
        return engine().info();
    }

    @Override
    public Tokenizer tokenizer() {
        return engine().tokenizer();
    }

    @Override
    public Optional<String> chatTemplate() {
        return engine().chatTemplate();
    }

    @Override
    public String render(Prompt.Chat prompt) {
        return engine().render(prompt);
    }

    @Override
    public List<Integer> encode(Prompt prompt) {
        return engine().encode(prompt);
    }

    @Override
    public Generation generate(GenerationRequest request, GenerationListener listener) {
        return engine().generate(request, listener);
    }

    @Override
    public EmbeddingResult embed(List<String> texts, EmbeddingOptions options) throws InterruptedException {
        return engine().embed(texts, options);
    }

    @Override
    public float[] logits(int[] tokens, boolean stepByStep) throws InterruptedException {
        return engine().logits(tokens, stepByStep);
    }

    @Override
    public Duration warmUp(Duration limit) throws InterruptedException {
        return engine().warmUp(limit);
    }

    @Override
    public Plan plan() {
        return engine().plan();
    }

    @Override
    public void setLookAheadBlocks(int blocks) {
        engine().setLookAheadBlocks(blocks);
    }

    @Override
    public void chooseLookAhead() {
        engine().chooseLookAhead();
    }

    @Override
    public boolean choosesLookAhead() {
        return engine().choosesLookAhead();
    }

    @Override
    public PrefetchStatistics statistics() {
        return engine().statistics();
    }

    @Override
    public PrefetchStatistics statistics(Regime regime) {
        return engine().statistics(regime);
    }

    @Override
    public String chromeTrace() {
        return engine().chromeTrace();
    }

    @Override
    public void close() {
        closed = true;
        PrefetchEngine warming = warmingUp;
        if (warming != null) {
            // Ends the warm-up. Where it has ended already, this is the closing itself.
            warming.close();
        }
        PrefetchEngine engine;
        try {
            engine = loaded.join();
        } catch (CancellationException | CompletionException e) {
            LOG.debug("Engine {} was never loaded", name, e);
            return;
        }
        engine.close();
    }

    @Override
    public String toString() {
        return "engine " + name + " (" + state.phase() + ")";
    }
}
